"""Assign the arrays of a legacy ``.h5`` file to the weights of its layers.

Sources: keras 2.2.5, keras/engine/saving.py; Keras 3.15,
keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from verify.errors import ModelFileError, UnsupportedError, join_and, printable
from verify.forward.layers import REGISTRY
from verify.forward.layers.lora import merged_lora
from verify.model.arrays import Array, shape_text
from verify.model.spec import GATES, LayerSpec
from verify.model_files.keras2_config import CUDNN_CLASSES


def under_names_of(
    structure: LayerSpec, arrays: Mapping[str, list[Array]]
) -> tuple[Mapping[str, list[Array]], tuple[str, ...]]:
    """Return the arrays of a file under the names that the layers of a config have.

    Keras counts the layers of a session, so a model that is built once more has other
    names: ``lstm_3`` for ``lstm_1``. ``load_weights`` does not look at names, but
    assigns in the order of the layers. So it is done here where some name is missing
    and as many layers have weights.

    Parameters
    ----------
    structure : LayerSpec
        The model without its weights.
    arrays : mapping
        Name of a layer -> its arrays, in the order of the file.

    Returns
    -------
    mapping
        Likewise.
    tuple of str
        A note, if the names are others.
    """
    if any(layer.unread for _, layer in structure.walk()):
        return arrays, ()
    wanted = [
        name
        for name, layer in structure.sublayers.items()
        if any(_weight_slots(name, layer))
    ]
    held = [name for name, found in arrays.items() if found]
    if len(wanted) != len(held) or set(wanted) == set(held):
        return arrays, ()
    pairs = list(zip(wanted, held, strict=True))
    others = [f"'{a}' '{b}'" for a, b in pairs if a != b]
    shown = others[:SHOWN_NAMES]
    shown += ["so on"] * (len(others) > len(shown))
    note = (
        "the weights are taken in the order of the layers, as Keras takes them, since "
        f"their file has other names: it calls {printable(join_and(shown))}"
    )
    return {a: arrays[b] for a, b in pairs}, (note,)


def notes_on_lora(structure: LayerSpec) -> tuple[str, ...]:
    """Say of which layers Keras loses the ``lora_alpha`` when it loads the file.

    Only a convolution keeps it, up to Keras 3.16.
    """
    return tuple(
        f"{layer}: Keras loads this file as if lora_alpha were the lora_rank, {rank}; "
        f"here it is {alpha:g}, as in the model that was saved"
        for _, layer in structure.walk()
        if (rank := layer.options.get("lora_rank"))
        and (alpha := layer.options["lora_alpha"]) not in (None, rank)
        and "kernel_size" not in layer.options
    )


SHOWN_NAMES = 3
"""Layers whose names are given as examples."""


class LegacyWeights:
    """Find the arrays of layers in a legacy file by the names of the layers.

    This is a `verify.model_files.config.WeightSource`. In the group of a layer, all
    trainable weights come first, those of sublayers included, and then all weights that
    are not trained.

    Parameters
    ----------
    structure : LayerSpec
        The model without its weights.
    arrays : dict
        Name of a layer -> its arrays, in the order of the file.
    shown : str
        Name of the file in messages.
    names : mapping, optional
        Name of a layer -> the names of its arrays, such as ``"lstm/kernel:0"``. In a
        model inside they tell which belong to a layer that cannot be read.
    """

    def __init__(
        self,
        structure: LayerSpec,
        arrays: Mapping[str, list[Array]],
        shown: str,
        names: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._found: dict[str, list[Array]] = {}
        self._shown = shown
        self._names = names
        self._held = [name for name, found in arrays.items() if found]
        for name, layer in structure.sublayers.items():
            self._assign(name, layer, list(arrays.get(name, [])))

    def _assign(self, name: str, layer: LayerSpec, arrays: list[Array]) -> None:
        slots = list(_weight_slots(name, layer))
        unread = [at for at, x in [(name, layer), *layer.walk(name)] if x.unread]
        own = self._of_unread(name, unread, len(arrays))
        if len(slots) + sum(map(len, own.values())) == len(arrays):
            for path, places in own.items():
                self._found[path] = [arrays[k] for k in places]
            gone = {k for places in own.values() for k in places}
            arrays = [array for k, array in enumerate(arrays) if k not in gone]
        elif len(unread) == 1:  # what no other layer has is its own
            more = max(0, len(arrays) - len(slots))
            slots = list(_weight_slots(name, layer, unread=more))
        elif unread:
            raise ModelFileError(
                f"{self._shown}: {layer}: the names of its arrays do not say which of "
                f"them belong to the layers that cannot be read: {join_and(unread)}"
            )
        if len(slots) != len(arrays):
            raise ModelFileError(
                f"{self._shown}: {layer}: expected {len(slots)} arrays. "
                f"Received: {len(arrays)}{self._others(name, arrays)}"
            )
        ordered = [s for s in slots if s.trainable] + [
            s for s in slots if not s.trainable
        ]
        by_slot = dict(zip(map(id, ordered), arrays, strict=True))
        named = {(slot.path, slot.key): by_slot[id(slot)] for slot in slots}
        for path, inner in [(name, layer), *layer.walk(name)]:
            if path in self._found:
                continue
            keys = REGISTRY[inner.class_name].weight_shapes(inner.options)
            if inner.unread:
                keys = {key: () for at, key in named if at == path}
            if inner.options.get("lora_rank"):
                kernel, *pair = [named[path, k] for k in (next(iter(keys)), *LORA_PAIR)]
                named[path, next(iter(keys))] = self._merged(inner, kernel, *pair)
            self._found[path] = [named[path, key] for key in keys]
            if inner.class_name in CUDNN_CLASSES.values():
                self._found[path] = from_cudnn(inner, self._found[path])

    def _of_unread(
        self, name: str, unread: Sequence[str], count: int
    ) -> dict[str, list[int]]:
        """Return the numbers of the arrays that have the names of unread layers."""
        parts = [weight.split("/") for weight in self._names.get(name, ())]
        if len(parts) != count:
            return {}
        return {
            path: [k for k, part in enumerate(parts) if path.rpartition("/")[2] in part]
            for path in unread
        }

    def _merged(
        self, layer: LayerSpec, kernel: Array, left: Array, right: Array
    ) -> Array:
        """Return the kernel of a layer after ``enable_lora``."""
        if layer.options.get("quantization_mode"):
            raise UnsupportedError(
                f"{self._shown}: {layer}: LoRA beside 8-bit weights is not supported. "
                "Save the model as .keras, where Keras joins both, and use that file"
            )
        rank = layer.options["lora_rank"]
        wanted = (*kernel.shape[:-1], rank), (rank, kernel.shape[-1])
        if (left.shape, right.shape) != wanted:
            raise ModelFileError(
                f"{self._shown}: {layer}: expected matrices of LoRA of "
                f"{shape_text(wanted[0])} and {shape_text(wanted[1])}. "
                f"Received: {shape_text(left.shape)} and {shape_text(right.shape)}"
            )
        return merged_lora(layer.options, kernel, left, right)

    def _others(self, name: str, arrays: Sequence[Array]) -> str:
        """Say which layers the file has weights of, where it has none of this one."""
        if arrays or not self._held:
            return ""
        held = printable(", ".join(self._held), 80)
        return f"; the file has {len(self._held)} layers with weights: {held}"

    def own(self, group: str) -> list[Array]:
        """Return no arrays, because the model itself has none."""
        return []

    def vocabulary(self) -> tuple[None, None]:
        """Return nothing: the config has the vocabulary, or no one has."""
        return None, None

    def everything(self) -> dict[str, Array]:
        """Return no arrays, because the model itself has none."""
        return {}

    def inside(
        self, container: str, key: str, class_name: str, number: int
    ) -> _LegacyLayerWeights:
        """Find the arrays of a layer by its name."""
        return _LegacyLayerWeights(self._found, key)


class _LegacyLayerWeights:
    """Find the arrays of one layer in a legacy file, by its path."""

    def __init__(self, found: Mapping[str, list[Array]], path: str) -> None:
        self._found = found
        self._path = path
        self._taken = False

    def own(self, group: str) -> list[Array]:
        """Return all arrays of the layer for its first group, none for the others."""
        if self._taken:
            return []
        self._taken = True
        return self._found.get(self._path, [])

    def vocabulary(self) -> tuple[None, None]:
        """Return nothing, as `LegacyWeights.vocabulary`."""
        return None, None

    def everything(self) -> dict[str, Array]:
        """Return the arrays of the layer and of those inside it, by their numbers."""
        arrays = self._found.get(self._path, [])
        return {f"array {k}": array for k, array in enumerate(arrays)}

    def inside(
        self, container: str, key: str, class_name: str, number: int
    ) -> _LegacyLayerWeights:
        """Find the arrays of a sublayer."""
        return _LegacyLayerWeights(self._found, f"{self._path}/{key}")


LORA_PAIR = ("lora a", "lora b")
"""Names here of the two matrices beside a kernel that is no longer trained."""


@dataclass(frozen=True)
class _WeightSlot:
    """Identify one weight by the path of its layer and its name."""

    path: str
    key: str
    trainable: bool


def _weight_slots(
    path: str, layer: LayerSpec, trainable: bool = True, *, unread: int = 0
) -> Iterator[_WeightSlot]:
    """Yield the weights of a layer and its sublayers, in the order of get_weights.

    A layer that cannot be read has `unread` of them, which count as trained.
    """
    kind = REGISTRY[layer.class_name]
    trainable = trainable and layer.trainable
    fixed = kind.non_trainable(layer.options)
    keys = list(kind.weight_shapes(layer.options))
    if layer.options.get("lora_rank"):
        fixed |= {keys[0]} if trainable else set()
        keys += LORA_PAIR
    for key in sorted(keys, key=fixed.__contains__):  # trainable ones first
        yield _WeightSlot(path, key, trainable and key not in fixed)
    if layer.unread:
        for k in range(unread):
            yield _WeightSlot(path, f"array {k}", trainable)
    for key, inner in layer.sublayers.items():
        yield from _weight_slots(f"{path}/{key}", inner, trainable, unread=unread)


def from_cudnn(layer: LayerSpec, arrays: list[Array]) -> list[Array]:
    """Convert weights of an LSTM or GRU from cuDNN's layout to that of Keras.

    The layout is recognised by the bias. cuDNN has one bias for x and one for h, joined
    in one axis: 8 * units numbers for an LSTM, 6 * units for a GRU. In that layout the
    kernel of each gate is transposed.

    Parameters
    ----------
    layer : LayerSpec
    arrays : list of ndarray
        Kernel (features, gates * units), recurrent kernel (units, gates * units) and
        bias.

    Returns
    -------
    list of ndarray
        The arrays in Keras's layout; `arrays` itself if they have that layout already.
    """
    gates, units = len(GATES[layer.class_name]), layer.options["units"]
    if len(arrays) != 3 or arrays[2].shape != (2 * gates * units,):
        return arrays
    kernel, recurrent_kernel, bias = arrays

    def by_gate(weight: Array, change: Callable[[Array], Array]) -> Array:
        return np.hstack([change(block) for block in np.hsplit(weight, gates)])

    rows = bias.reshape(2, -1)
    return [
        # a block of the kernel is stored in Fortran order, under the shape that it has
        # in Keras; the square blocks of the recurrent kernel are simply transposed
        by_gate(kernel, lambda k: k.T.reshape(k.shape, order="F")),
        by_gate(recurrent_kernel, np.transpose),
        rows.sum(axis=0) if layer.class_name == "LSTM" else rows,
    ]
