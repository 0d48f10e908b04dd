"""Evaluate Hashing and HashedCrossing, which number categories by a hash.

Keras computes both by TensorFlow on every backend.

Source: keras/src/layers/preprocessing/hashing.py, hashed_crossing.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.hashing import crossed_hash, farm_hash, sip_hash
from verify.forward.layers.base import LayerType, Option, Run, Unexpected, optional
from verify.forward.layers.base import positive as whole
from verify.forward.layers.categories import (
    SPARSE,
    encoded,
    encoding_notes,
    output_modes,
)
from verify.forward.layers.lookups import key, require_texts
from verify.forward.texts import as_bytes
from verify.model.arrays import Array
from verify.model.backends import TENSORFLOW
from verify.model.dtypes import POLICIES, is_float
from verify.model.spec import LayerSpec


def _value(value: Any) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Unexpected("a number or a text")
    return value


@cache
def bucket(data: bytes, salt: tuple[int, int] | None, count: int) -> int:
    """Return the hash of some bytes, as a number below `count`."""
    value = farm_hash(data) if salt is None else sip_hash(data, salt)
    return value % count


class Hashing(LayerType):
    """Return ``hash(x) mod num_bins``, of texts or of the digits of whole numbers.

    The hash is FarmHash64, or SipHash-2-4 with ``salt``. A ``mask_value`` has bin 0,
    and the hashes are those of one bin less, from 1 on. Floats are truncated first.
    """

    class_name = "Hashing"
    options: ClassVar[Mapping[str, Option]] = {
        "num_bins": Option(whole),
        "mask_value": Option(optional(_value), None),
        "salt": Option(optional(key), None),
        "output_mode": output_modes(
            *("int", "one_hot", "multi_hot", "count"), default="int"
        ),
        "sparse": SPARSE,
    }
    autocast = False
    casts_outputs = False

    def notes(self, layer: LayerSpec) -> list[str]:
        name = "FarmHash64" if layer.options["salt"] is None else "SipHash-2-4"
        bins, mask = layer.options["num_bins"], layer.options["mask_value"]
        line = f"y = {name}(x) mod {bins}"
        if mask is not None and bins > 1:
            line = f"y = 0 for {mask!r}, else 1 + {name}(x) mod {bins - 1}"
        return [line, *encoding_notes(layer)]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        mode, x = layer.options["output_mode"], inputs
        if mode == "one_hot" and x.ndim > 1 and x.shape[-1] == 1:
            x = x[..., 0]
        bins = self._bins(layer, x)
        if mode == "int":
            return bins
        plain = replace(layer, rules=TENSORFLOW)
        dtype = POLICIES[layer.policy].variable
        return encoded(plain, bins, mode, layer.options["num_bins"], dtype)

    def _bins(self, layer: LayerSpec, x: Array) -> Array:
        count, mask = layer.options["num_bins"], layer.options["mask_value"]
        masked = None
        if mask is not None and count > 1:
            count -= 1
            masked = x == (mask if isinstance(mask, str) else x.dtype.type(mask))
        salt = layer.options["salt"]
        found = (bucket(data, salt, count) for data in _written(layer, x))
        bins = np.fromiter(found, dtype=np.int64, count=x.size).reshape(x.shape)
        return bins if masked is None else np.where(masked, 0, bins + 1)


def _written(layer: LayerSpec, x: Array) -> list[bytes]:
    """Return what is hashed: texts, or the digits of whole numbers."""
    if x.dtype.kind == "U":
        return as_bytes(require_texts(layer, x))
    if x.dtype.kind == "b":
        raise ValueError("texts or numbers")
    if is_float(x):
        x = np.trunc(x)
    return [b"%d" % number for number in x.astype(np.int64).ravel().tolist()]


class HashedCrossing(LayerType):
    """Return one hash of several categories together, ``hash(features) mod num_bins``.

    A whole number stands for itself and a text for its FarmHash64; they are joined one
    after the other, so that their order counts.
    """

    class_name = "HashedCrossing"
    options: ClassVar[Mapping[str, Option]] = {
        "num_bins": Option(whole),
        "output_mode": output_modes("int", "one_hot", default="int"),
        "sparse": SPARSE,
    }
    autocast = False
    casts_outputs = False

    def notes(self, layer: LayerSpec) -> list[str]:
        bins = layer.options["num_bins"]
        return [
            f"y = hash of all inputs, in their order, mod {bins}",
            *encoding_notes(layer),
        ]

    def call(self, run: Run, layer: LayerSpec, inputs: Any) -> Array:
        if not isinstance(inputs, list) or len(inputs) < 2:
            raise ValueError("a list of two inputs or more")
        shape = inputs[0].shape
        if any(x.shape != shape for x in inputs) or shape[1:] not in ((), (1,)):
            raise ValueError("inputs of one shape, (batch,) or (batch, 1)")
        columns = [self._features(layer, x) for x in inputs]
        count, mode = layer.options["num_bins"], layer.options["output_mode"]
        found = (crossed_hash(row) % count for row in zip(*columns, strict=True))
        bins = np.fromiter(found, dtype=np.int64, count=len(inputs[0])).reshape(shape)
        if mode == "int":
            return bins
        plain = replace(layer, rules=TENSORFLOW)
        return encoded(plain, bins, mode, count, POLICIES[layer.policy].variable)

    def _features(self, layer: LayerSpec, x: Array) -> list[int]:
        if x.dtype.kind == "U":
            return [farm_hash(data) for data in as_bytes(require_texts(layer, x))]
        if x.dtype.kind not in "iu":
            raise UnsupportedError(
                f"{layer}: expected whole numbers or texts, as Keras does. "
                f"Received: {x.dtype}"
            )
        return [int(number) for number in x.ravel().tolist()]


KINDS: tuple[type[LayerType], ...] = (Hashing, HashedCrossing)
"""The layer types of this module, for the registry."""
