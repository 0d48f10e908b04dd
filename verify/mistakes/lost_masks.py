"""Find layers that padding was to be masked for, and that see no mask of it.

Keras loses a mask without a word. A layer that does not support masks hands none on;
a Concatenate with one input that has no mask makes one that is true everywhere; a model
inside that takes several inputs casts one to its own dtype. A recurrent layer behind
it then computes padding like any other step, pooling averages it, attention attends to
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from verify.errors import DataError, VerifyError, printable
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import LayerTrace
from verify.forward.layers import REGISTRY
from verify.forward.layers.attention import KINDS as ATTENTION
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of, is_float
from verify.model.graph import (
    Graph,
    MaskOf,
    Node,
    TensorRef,
    flatten,
    in_order,
    map_structure,
    matched,
)
from verify.model.spec import LayerSpec, ModelSpec

ATTENTION_CLASSES = frozenset(kind.class_name for kind in ATTENTION)
"""Layers whose output has the steps of their first input, and its mask if any."""

QUERY_AND_VALUE = frozenset({"Attention", "AdditiveAttention"})
"""Attention whose first argument is ``[query, value]`` or ``[query, value, key]``."""

AVERAGES = frozenset({"GlobalAveragePooling2D", "GlobalAveragePooling3D"})
"""Means over time and space, which use no mask even if one reaches them."""

OPEN_SIZES = (4, 60, 1)
"""Sizes that are tried for the axes a model leaves open."""

CASTS = "casts the tensor to another dtype"
"""What a model inside does with the tensor of an input."""

Call = tuple[str, int]
"""Name of a layer in a model, and the number of the call."""


class Gift(NamedTuple):
    """Hold what a call would have to be given so that a mask is not lost.

    Attributes
    ----------
    holder : str
        Path of the model in whose graph the call is; empty for the whole one.
    call : (str, int)
    mask : MaskOf or TensorRef, or a structure of them and None
        Its argument ``mask``.
    """

    holder: str
    call: Call
    mask: Any


@dataclass(frozen=True, eq=False)
class LostMask:
    """Describe a layer whose mask is never false although there is padding.

    Attributes
    ----------
    path : str
        Path of the layer that does not see the mask.
    layer : LayerSpec
        That layer: recurrent, pooling or attention.
    culprit : LayerSpec
        The nearest layer before it that received a mask that is false somewhere; the
        layer itself if it got the mask and knows none.
    culprit_path : str
        Path of that layer.
    how : str
        What it does with the mask: ``hands none on``, for example.
    arrives : bool
        Whether a mask reaches the layer, one that is true everywhere.
    padded : (batch, time) of bool
        The steps that are padding, by the mask that `culprit` received.
    gift : Gift or None
        What would have to be given in which call; None if none has an argument for it.
    """

    path: str
    layer: LayerSpec
    culprit: LayerSpec
    culprit_path: str
    how: str
    arrives: bool
    padded: Array
    gift: Gift | None

    @property
    def reason(self) -> str:
        """Return how the mask is lost, as part of a sentence."""
        if self.culprit_path == self.path:
            return f"it {self.how}"
        state = "its mask is never false" if self.arrives else "no mask reaches it"
        return f"{state}, because {self.culprit} {self.how}"

    @property
    def fate(self) -> str:
        """Return what the layer does with padding, as part of a sentence."""
        if self.layer.class_name in ATTENTION_CLASSES:
            return "is attended to like any other step"
        if _has_a_direction(self.layer):
            return "is computed like any other step"
        return "is averaged like any other step"

    @property
    def remedy(self) -> str:
        """Return what to do if the layer should skip padding."""
        if self.how.startswith(CASTS):
            return "give that keras.Input the dtype of what it is given, dtype=..."
        return "give the mask to the layer in its call, mask=..., if it should skip it"

    @property
    def where(self) -> str:
        """Return how many steps are padding, and which is the first."""
        count, first = int(self.padded.sum()), int(np.argwhere(self.padded)[0, 1])
        return f"{count:,} of {self.padded.size:,} steps, the first is step {first}"

    def restored(self, spec: ModelSpec) -> ModelSpec | None:
        """Return the model with the mask given in the call that would keep it.

        None if that cannot be done.
        """
        if self.gift is None:
            return None
        holder = self.gift.holder
        model = spec[holder] if holder else spec.root
        if model.graph is None:
            return None
        nodes = tuple(
            replace(node, kwargs={**node.kwargs, "mask": self.gift.mask})
            if (node.layer, node.index) == self.gift.call
            else node
            for node in model.graph.nodes
        )
        changed = replace(model, graph=replace(model.graph, nodes=nodes))
        return (
            spec.with_layer(changed, holder) if holder else replace(spec, root=changed)
        )

    def effect(self, net: Network, x: Inputs) -> float:
        """Return how far the outputs move if the layer is given the mask; 0 if unknown.

        It is the greatest absolute difference, in float64.
        """
        spec = self.restored(net.spec)
        if spec is None:
            return 0.0
        try:
            there = Network(spec, net.floatx).flat(x, dtype="float64")
        except VerifyError:
            return 0.0
        here = net.flat(x, dtype="float64")
        return max(
            float(np.abs(np.subtract(a, b, dtype=float)).max(initial=0.0))
            for a, b in zip(here, there, strict=True)
        )


@dataclass(frozen=True, eq=False)
class _Origin:
    """Hold the last call on the way to a layer to which padding was masked.

    Attributes
    ----------
    path : str
        Path of the layer that was called.
    layer : LayerSpec
        That layer.
    mask : structure of ndarray
        The masks that reached it.
    node : Node or None
        The call; None if it is outside of the model that is searched.
    how : str
        What it does with the masks; empty if its outputs tell.
    gift : Gift or None
        What it would have to be given itself, if that would help.
    """

    path: str
    layer: LayerSpec
    mask: Any
    node: Node | None
    how: str = ""
    gift: Gift | None = None


def lost_masks(model: LayerSpec, trace: Mapping[str, LayerTrace]) -> Iterator[LostMask]:
    """Yield every layer of a model that lost a mask on the way to it.

    Of several calls in which a layer lost it in the same way, the first is given.

    Parameters
    ----------
    model : LayerSpec
        With a graph; the models inside it are searched too.
    trace : mapping
        From `Network.trace`, on inputs that have padding.
    """
    known = set()
    for lost in _lost_masks(model, trace, "", {}, Counter()):
        key = (lost.path, lost.culprit_path, lost.how)
        if key not in known:
            known.add(key)
            yield lost


def _lost_masks(
    model: LayerSpec,
    trace: Mapping[str, LayerTrace],
    path: str,
    outside: Mapping[str, _Origin],
    seen: Counter[str],
) -> Iterator[LostMask]:
    """Yield every layer of a model, or of a call of a model inside, that lost a mask.

    Parameters
    ----------
    model : LayerSpec
    trace : mapping of str to LayerTrace
    path : str
        Path of the model; empty for the whole one.
    outside : mapping of str to _Origin
        Name of an input of the model -> where its mask was lost before it.
    seen : Counter of str
        How often each path was called before, to which the calls here are added.
    """
    if model.graph is None:
        return
    search = _Search(model, trace, path, outside, seen)
    for call, values in search.calls.items():
        layer = model.sublayers[call[0]]
        here = search.path_of(call)
        if layer.graph is not None:
            lost_before = search.before_inputs(call, layer.graph)
            yield from _lost_masks(layer, trace, here, lost_before, seen)
        node = search.nodes[call]
        wanted = _wanted(layer, node, values)
        if wanted is None or any(_false(m) for m in _masks(wanted.masks)):
            continue
        own = layer.class_name in AVERAGES and any(map(_false, _masks(values.mask)))
        origin = search.at(call) if own else search.before(wanted.tensors)
        if origin is None:
            continue
        arrives = bool(_masks(wanted.masks))
        how = "knows no mask" if own else _what_it_does(origin.mask, arrives)
        false = [mask for mask in _masks(origin.mask) if _false(mask)]
        gift = origin.gift
        if origin.node is not None:
            mask = _mask_to_give(layer, node, origin.node, origin.mask)
            gift = None if mask is None else Gift(path, call, mask)
        yield LostMask(
            here,
            layer,
            origin.layer,
            origin.path,
            origin.how or how,
            arrives,
            ~false[0].astype(bool),
            gift,
        )


@dataclass(frozen=True)
class _Wanted:
    """Hold the masks that a layer wants, as far as it got them, and of what tensors."""

    masks: Any
    tensors: Sequence[TensorRef]


def _wanted(layer: LayerSpec, node: Node, values: LayerTrace) -> _Wanted | None:
    """Return which masks a layer wants; None if masks make no difference to it.

    Attention wants those of its values and keys. Means over time and space want one
    that they can make no use of.
    """
    tensors, masks = _references(node), flatten(values.mask)
    if layer.class_name in QUERY_AND_VALUE:
        return _Wanted(masks[1:2], tensors[1:2])
    if layer.class_name in ATTENTION_CLASSES:
        given = REGISTRY[layer.class_name].by_name(node.args, node.kwargs)
        if given.get("attention_mask") is not None:
            return None  # made by hand, and it may well be of padding
        names = [name for name in ("value", "key") if given.get(name) is not None]
        found = [values.arguments.get(f"{name}_mask") for name in names]
        return _Wanted(found, [ref for name in names for ref in flatten(given[name])])
    if layer.class_name in AVERAGES:
        last = layer.options["data_format"] == "channels_last"
        return _Wanted([], tensors[:1]) if last else None
    averages = layer.class_name == "GlobalAveragePooling1D"
    wants = averages or _has_a_direction(layer)
    return _Wanted(masks[:1], tensors[:1]) if wants else None


def _mask_to_give(
    layer: LayerSpec, node: Node, culprit: Node, received: Any
) -> MaskOf | TensorRef | None:
    """Return the argument ``mask`` by which a layer would see what the culprit saw."""
    arguments = REGISTRY[layer.class_name].arguments
    if "mask" not in arguments or layer.class_name in ATTENTION_CLASSES:
        return None
    if len(node.args) > arguments.index("mask"):
        return None
    flags = [isinstance(m, np.ndarray) and _false(m) for m in flatten(received)]
    given = flatten(culprit.kwargs.get("mask"))
    found = given if any(given) else [MaskOf(ref) for ref in _references(culprit)]
    for flag, mask in zip(flags, found, strict=False):
        if flag and isinstance(mask, (MaskOf, TensorRef)):
            return mask
    return None


def _what_it_does(received: Any, arrives: bool) -> str:
    """Say how a layer loses the mask that it received."""
    if not arrives:
        return "hands none on"
    if any(mask is None for mask in flatten(received)):
        return "combines the mask with an input that has none"
    return "counts every step that any of its inputs counts"


def padding_alone(spec: ModelSpec) -> Inputs | None:
    """Return inputs in which every step is padding; None if the model refuses them.

    They are zeros, or numbers that a Masking layer masks. The sizes that a model leaves
    open are such that a Reshape can split them.
    """
    net = Network(spec)
    values = [layer.options.get("mask_value") for _, layer in spec.walk()]
    fill = next((value for value in values if value is not None), 0.0)
    for steps in OPEN_SIZES:
        arrays = []
        for layer in spec.inputs:
            rows, *sizes = layer.options["batch_shape"]
            shape = (rows or 1, *(size or steps for size in sizes))
            empty = np.zeros(0, dtype_of(layer.options["dtype"]))
            blank: str | float = 0 if not is_float(empty) else fill
            arrays.append(np.full(shape, "" if empty.dtype.kind == "U" else blank))
        try:
            x = net.prepare(arrays if len(arrays) > 1 else arrays[0])
            net.outline(x)
        except DataError:
            continue
        return x
    return None


def _has_a_direction(layer: LayerSpec) -> bool:
    """Return whether a layer, or each half of a Bidirectional, may go backwards."""
    inner = layer.sublayers.get("forward_layer", layer)
    return "go_backwards" in inner.options


class _Search:
    """Find in the graph of one model where a mask was lost, going back from a layer.

    Parameters
    ----------
    model : LayerSpec
    trace : mapping of str to LayerTrace
    path : str
        Path of the model.
    outside : mapping of str to _Origin
        Name of an input of the model -> where its mask was lost before it.
    seen : Counter of str
        See `_lost_masks`.
    """

    def __init__(
        self,
        model: LayerSpec,
        trace: Mapping[str, LayerTrace],
        path: str,
        outside: Mapping[str, _Origin],
        seen: Counter[str],
    ) -> None:
        self._model, self._path, self._outside = model, path, outside
        graph = model.graph
        every = () if graph is None else graph.nodes
        self.nodes = {(node.layer, node.index): node for node in every}
        self.calls: dict[Call, LayerTrace] = {}
        for call in self.nodes:
            key = self.path_of(call)
            seen[key] += 1
            key += f":{seen[key]}" if seen[key] > 1 else ""
            if key in trace:
                self.calls[call] = trace[key]

    def path_of(self, call: Call) -> str:
        """Return the path of the layer that is called."""
        return f"{self._path}/{call[0]}" if self._path else call[0]

    def at(self, call: Call, mask: Any = None, how: str = "") -> _Origin:
        """Return a call as the one at which a mask was lost."""
        layer, values = self._model.sublayers[call[0]], self.calls[call]
        mask = values.mask if mask is None else mask
        return _Origin(self.path_of(call), layer, mask, self.nodes[call], how)

    def before(self, tensors: Sequence[TensorRef]) -> _Origin | None:
        """Return the nearest call before some tensors that received padding, or None.

        The search goes back along the sequence only: it ends at calls that take another
        axis of time, or none, because the steps of their output are no longer padding.
        """
        waiting, seen = [(ref.layer, ref.node) for ref in tensors], set()
        while waiting:
            here = waiting.pop(0)
            if here in seen:
                continue
            seen.add(here)
            if here not in self.calls:
                if here[0] in self._outside:
                    return self._outside[here[0]]
                continue
            values = self.calls[here]
            # of several inputs of attention the first, the query, decides
            count = 1 if values.layer.class_name in ATTENTION_CLASSES else None
            masks = _masks(flatten(values.mask)[:count])
            steps = _steps(values.output)
            if any(_false(m) for m in masks):
                if {m.shape[1] for m in masks} == {steps}:
                    return self.at(here)
            elif steps == _steps(values.input):
                refs = _references(self.nodes[here])[:count]
                waiting += [(ref.layer, ref.node) for ref in refs]
        return None

    def before_inputs(self, call: Call, graph: Graph) -> dict[str, _Origin]:
        """Return where masks were lost before the inputs of a model that is called."""
        values, node, found = self.calls[call], self.nodes[call], {}
        names = [ref.layer for ref in flatten(graph.inputs)]
        tensors = in_order(graph.inputs, _first(node))
        carried = _each(graph.inputs, values.carried, len(names))
        received = _each(graph.inputs, values.mask, len(names))
        if len(tensors) != len(names):
            return {}
        for name, ref, had, has in zip(names, tensors, carried, received, strict=True):
            if any(map(_false, _masks(has))) or not isinstance(ref, TensorRef):
                continue
            if any(map(_false, _masks(had))):
                how = f"{CASTS} for its input '{printable(name)}'"
                masks = _with_mask(graph.inputs, node.kwargs.get("mask"), name, ref)
                gift = None if masks is None else Gift(self._path, call, masks)
                origin: _Origin | None = replace(self.at(call, had, how), gift=gift)
            else:
                origin = self.before([ref])
            if origin is not None:
                found[name] = replace(origin, node=None)
        return found


def _first(node: Node) -> Any:
    """Return the first argument of a call."""
    return node.args[0] if node.args else next(iter(node.kwargs.values()), [])


def _with_mask(inputs: Any, masks: Any, name: str, ref: TensorRef) -> Any:
    """Return the argument ``mask`` of a model with that of one input filled in.

    None if it fits the inputs in no way that Keras knows.
    """
    if matched(inputs, masks) is None and isinstance(masks, Mapping):
        return {**masks, name: MaskOf(ref)}
    given = in_order(inputs, masks)
    names = [one.layer for one in flatten(inputs)]
    if len(given) != len(names):
        return None
    pairs = zip(names, given, strict=True)
    filled = iter([MaskOf(ref) if one == name else mask for one, mask in pairs])
    return map_structure(lambda _: next(filled), inputs)


def _each(inputs: Any, masks: Any, count: int) -> list[Any]:
    """Return the mask of each input of a model, None where there is none."""
    found = [None] * count if masks is None else in_order(inputs, masks)
    return found if len(found) == count else [None] * count


def _references(node: Node) -> list[TensorRef]:
    """Return the tensors in the first argument of a call."""
    return [leaf for leaf in flatten(_first(node)) if isinstance(leaf, TensorRef)]


def _masks(structure: Any) -> list[Array]:
    return [
        mask
        for mask in flatten(structure)
        if isinstance(mask, np.ndarray) and mask.ndim == 2
    ]


def _false(mask: Array) -> bool:
    return not mask.astype(bool).all()


def _steps(structure: Any) -> int | None:
    """Return the number of steps of a sequence, (batch, time, ...); None without."""
    first = flatten(structure)[0]
    return first.shape[1] if isinstance(first, np.ndarray) and first.ndim > 2 else None
