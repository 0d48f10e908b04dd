"""Evaluate Discretization and CategoryEncoding, and encode ids as rows of numbers.

`encoded` is what the output modes of all layers of categories share: those of this
module, of `verify.forward.layers.lookups` and of `verify.forward.layers.hashing`.

Source: keras/src/utils/numerical_utils.py, ``encode_categorical_inputs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.layers.base import (
    LayerType,
    Option,
    Run,
    Unexpected,
    exact_constants,
    number,
    one_of,
    only,
    optional,
    positive,
    refuse,
)
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.backends import Limit, Rule
from verify.model.dtypes import POLICIES, dtype_of, is_float, working
from verify.model.spec import LayerSpec

SPARSE = only(False)
"""The option ``sparse``: NumPy has no sparse tensors, and predict returns none."""


def output_modes(*modes: str, default: str) -> Option:
    """Return the option ``output_mode``; Keras takes old names for two modes."""
    known = one_of(*modes)
    names = {"binary": "multi_hot", "tf-idf": "tf_idf"}

    def parse(value: Any) -> str:
        return str(known(names.get(value, value)))

    return Option(parse, default)


def encoded(
    layer: LayerSpec,
    ids: Array,
    mode: str,
    depth: int,
    dtype: str,
    weights: Array | None = None,
) -> Array:
    """Return ids as rows of `depth` numbers, in one of the output modes.

    An id that is not in ``range(depth)`` has a row of zeros. With ``one_hot`` the new
    axis is the last one, and a last axis of size 1 is dropped first. With ``multi_hot``
    and ``count`` the rows are joined over **axis 1**, whatever Keras's documentation
    says: of (batch, time, tokens) over time.

    Parameters
    ----------
    layer : LayerSpec
    ids : (batch, ...)
        Floats are truncated.
    mode : "one_hot", "multi_hot" or "count"
    depth : int
    dtype : str
        Of the result.
    weights : (batch, ...), optional
        What each id counts, with ``count``.

    Raises
    ------
    DataError
        An id is negative where Keras has no row for it.
    UnsupportedError
        Keras cannot compute this on the backend that the layer follows.
    """
    if mode != "one_hot" and ids.ndim < 2:
        raise ValueError("an axis of ids beside the rows; Keras would join the rows")
    if mode == "one_hot" and ids.ndim > 1 and ids.shape[-1] == 1:
        ids = ids[..., 0]
    whole = _whole(layer, ids, mode)
    _require_rows(layer, whole, mode, depth)
    hot = (whole[..., None] == np.arange(depth)).astype(dtype_of(dtype))
    if mode == "one_hot":
        return hot  # (batch, ..., depth)
    if mode == "multi_hot":
        return as_array(hot.max(axis=1, initial=0))
    if weights is not None:
        hot = hot * weights[..., None]
    return as_array(hot.sum(axis=1))


def _whole(layer: LayerSpec, ids: Array, mode: str) -> Array:
    """Return ids as whole numbers; those that are floats are truncated."""
    if not is_float(ids):
        return ids.astype(np.int64, copy=False)
    if mode != "multi_hot":  # there Keras casts the ids itself
        refuse(layer, Limit.ONE_HOT_OF_FLOATS)
        if Rule.FRACTIONS_HAVE_NO_ROW in layer.rules:
            ids = np.where(np.trunc(ids) == ids, ids, -1)
    with np.errstate(invalid="ignore"):
        return np.trunc(ids).astype(np.int64)


def _require_rows(layer: LayerSpec, ids: Array, mode: str, depth: int) -> None:
    """Raise an error for ids of which Keras makes no row, not even one of zeros."""
    if (ids >= depth).any():
        refuse(layer, Limit.ONE_HOT_BEYOND)
    counted = not layer.rules and mode != "one_hot" and ids.ndim == 2
    if counted and (ids < 0).any():
        first = [int(k) for k in np.argwhere(ids < 0)[0]]
        raise DataError(
            f"{layer}: expected ids from 0 on. Received: {ids.min()}, the first "
            f"negative one at {first}. Keras raises an error there on TensorFlow"
        )


def boundaries(value: Any) -> tuple[float, ...]:
    """Read the boundaries of bins: numbers in ascending order."""
    if not isinstance(value, (list, tuple)):
        raise Unexpected("a list of numbers, in ascending order")
    found = tuple(number(item) for item in value)
    if list(found) != sorted(found):
        raise Unexpected("numbers in ascending order")
    return found


class Discretization(LayerType):
    """Return the number of the bin that holds each ``x``: ``sum(boundaries <= x)``.

    Bin 0 ends at the first boundary; a number that equals a boundary is in the bin
    above it. TensorFlow holds the boundaries in float32. Other output modes than
    ``int`` encode the numbers; see `encoded`.

    Source: keras/src/layers/preprocessing/discretization.py.
    """

    class_name = "Discretization"
    options: ClassVar[Mapping[str, Option]] = {
        "bin_boundaries": Option(optional(boundaries), None),
        "output_mode": output_modes(
            *("int", "one_hot", "multi_hot", "count"), default="int"
        ),
        "sparse": SPARSE,
    }
    inert = frozenset({"num_bins", "epsilon"})
    casts_outputs = False

    def used_arrays(self, arrays: list[Array]) -> list[Array]:
        return []  # older versions of Keras save what adapt has seen

    def check(self, where: str, layer: LayerSpec) -> None:
        if layer.options["bin_boundaries"] is None:
            raise UnsupportedError(
                f"{where}: it has no 'bin_boundaries', so Keras cannot call it either. "
                "Call adapt with data, and save the model again"
            )

    def notes(self, layer: LayerSpec) -> list[str]:
        bins = len(layer.options["bin_boundaries"]) + 1
        lines = [
            f"{bins} bins: y counts the boundaries that are x or less, so a number at "
            "a boundary is in the bin above it"
        ]
        return lines + encoding_notes(layer)

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        edges = np.asarray(layer.options["bin_boundaries"], dtype=np.float64)
        if not exact_constants(layer):
            edges = edges.astype(np.float32)
        if Rule.EXACT_BOUNDARIES not in layer.rules and is_float(inputs):
            edges = edges.astype(inputs.dtype)
        bins = np.searchsorted(edges, inputs, side="right").astype(np.int32)
        mode = layer.options["output_mode"]
        if mode == "int":
            return bins
        compute = POLICIES[layer.policy].compute
        return encoded(layer, bins, mode, len(edges) + 1, compute)


class CategoryEncoding(LayerType):
    """Encode ids as rows of ``num_tokens`` numbers; see `encoded`.

    With ``count``, each id may count as much as ``count_weights`` says.

    Source: keras/src/layers/preprocessing/category_encoding.py.
    """

    class_name = "CategoryEncoding"
    options: ClassVar[Mapping[str, Option]] = {
        "num_tokens": Option(positive),
        "output_mode": output_modes(
            "one_hot", "multi_hot", "count", default="multi_hot"
        ),
        "sparse": SPARSE,
    }
    arguments = ("inputs", "count_weights")
    autocast = False
    casts_outputs = False

    def notes(self, layer: LayerSpec) -> list[str]:
        return encoding_notes(layer)

    def call(
        self,
        run: Run,
        layer: LayerSpec,
        inputs: Array,
        count_weights: Array | None = None,
    ) -> Array:
        mode, policy = layer.options["output_mode"], POLICIES[layer.policy]
        if count_weights is not None:
            if mode != "count":
                raise ValueError("count_weights together with output_mode 'count'")
            count_weights = count_weights.astype(working(policy.compute))
        depth = layer.options["num_tokens"]
        return encoded(layer, inputs, mode, depth, policy.variable, count_weights)


def encoding_notes(layer: LayerSpec) -> list[str]:
    """Return what `describe` says of an output mode."""
    mode = layer.options["output_mode"]
    if mode == "int":
        return []
    outside = "an id that is not in range has zeros"
    if mode == "one_hot":
        return [f"y has a 1 at each id on a new last axis; {outside}"]
    what = "a 1 at every id" if mode == "multi_hot" else "how often each id"
    return [
        f"y has {what} that occurs along axis 1, which is gone; {outside}. Keras's "
        "documentation speaks of the last axis, which is another one for three axes"
    ]


KINDS: tuple[type[LayerType], ...] = (Discretization, CategoryEncoding)
"""The layer types of this module, for the registry."""
