"""Cut the layers that cannot be read out of a model, and leave the rest complete.

In the place of every tensor that comes from such a layer stands an input. What remains
is a model like any other: its shapes are found, Keras can build it, and `check` can
compare it. Models inside that are not whole are opened first, so that their other
layers remain.

The shape of such an input stands in a config of Keras 3. Otherwise the layers behind it
tell it: by their weights, or because they can be computed with some shapes and not with
others. Every call that remains has been tried on outlines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import numpy as np

from verify.errors import ModelFileError, UnsupportedError, VerifyError, printable
from verify.forward.evaluate import Evaluation, cast_to
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor
from verify.forward.outlines import outline
from verify.model.dtypes import dtype_of
from verify.model.graph import MaskOf, Node, TensorRef, flatten, map_structure, refs_of
from verify.model.spec import LayerSpec
from verify.model_files.opening import (
    Opened,
    Place,
    Shape,
    is_whole,
    opened,
)
from verify.model_files.shapes import SIZES, blank, knowing_all
from verify.model_files.told_shapes import merged, told_shape, without_time

INSIDE = "a layer inside it cannot be read"
BEHIND = "the shape of what it is given by {} is not known"
UNFIT = "it cannot be computed on what is known of its inputs ({})"
UNCALLED = "no call on the way to the outputs takes what it returns"

MOST_TRIES = 24
"""Combinations of shapes that are tried for the inputs of one call, at most."""

FOLLOWED = 40
"""Calls behind one call that are tried with a shape, at most."""


@dataclass(frozen=True)
class StandIn:
    """Hold an input in the place of what a layer returns.

    Attributes
    ----------
    ref : TensorRef
        The tensor that it stands for, in `Cut.opened`.
    layer : LayerSpec
        The InputLayer.
    masked : str
        Name of the Masking layer that gives it a mask, or ``""``.
    given : tuple of TensorRef
        What the layer that returns it is given.
    steps : TensorRef or None
        The tensor of which it holds one step of each row; see `Opened.steps`.
    """

    ref: TensorRef
    layer: LayerSpec
    masked: str
    given: tuple[TensorRef, ...]
    steps: TensorRef | None = None

    @property
    def name(self) -> str:
        """Return the name of the input."""
        return self.layer.name


@dataclass(frozen=True)
class Cut:
    """Hold what remains of a model.

    Attributes
    ----------
    opened : Opened
        The model, with the models inside it opened that are not whole.
    config
        The config of what remains, in Keras 3's form.
    layers : mapping of str to LayerSpec
        Its layers, with their weights.
    stand_ins : mapping of str to StandIn
        The inputs that were added, by name.
    left_out : mapping of str to str
        Name of a layer that can be read, but is not in it -> why.
    numbers : mapping
        A call in `opened`, (layer, number) -> the number of that call in what remains.
    """

    opened: Opened
    config: Any
    layers: Mapping[str, LayerSpec]
    stand_ins: Mapping[str, StandIn]
    left_out: Mapping[str, str]
    numbers: Mapping[tuple[str, int], int]

    def place(self, ref: TensorRef) -> Place:
        """Return where a tensor of the model is in what remains."""
        for one in self.stand_ins.values():
            if one.ref == ref:
                return one.masked or one.name, 0, 0
        return ref.layer, self.numbers.get((ref.layer, ref.node), ref.node), ref.tensor

    @property
    def maskings(self) -> frozenset[str]:
        """Return the names of the Masking layers that were added."""
        return frozenset(x.masked for x in self.stand_ins.values() if x.masked)


def cut(
    root: LayerSpec,
    config: Any,
    *,
    certain: bool = False,
    masks: Mapping[TensorRef, bool] | None = None,
) -> Cut:
    """Cut out the layers of a model that cannot be read.

    Parameters
    ----------
    root : LayerSpec
        The model, read with ``partial=True``.
    config
        Its config in Keras 3's form.
    certain : bool
        Whether to do without shapes that the weights behind leave open, such as how
        many axes the input of a Dense layer has, and without masks.
    masks : mapping of TensorRef to bool, optional
        Tensors of layers that cannot be read -> whether they have a mask, where that is
        known. Otherwise they have one if such a layer is given one.

    Raises
    ------
    UnsupportedError
        Nothing remains.
    """
    if root.graph is None:
        raise UnsupportedError(f"{root}: it has no layers")
    whole = opened(root, config)
    best: _Cutter | None = None
    for sizes in SIZES:
        cutter = _Cutter(whole, certain, masks or {}, sizes)
        cutter.run()
        if best is None or len(cutter.kept) > len(best.kept):
            best = cutter
        if not cutter.unfit:
            break
    assert best is not None
    if not best.kept:
        first = next(x for _, x in root.walk() if x.unread)
        raise UnsupportedError(
            f"{first}: {first.unread}. No other layer can be computed without it"
        )
    return best.result(root)


Values = dict[Place, Tensor]
"""Tensors of one evaluation on outlines, by place."""


@dataclass(frozen=True)
class _Candidate:
    """Hold a shape that a tensor may have."""

    shape: Shape
    dtype: str
    masked: bool = False


@dataclass
class _Cutter:
    model: Opened
    certain: bool
    masks: Mapping[TensorRef, bool]
    sizes: tuple[int, int]
    kept: list[Node] = field(default_factory=list)
    stand_ins: dict[Place, StandIn] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unfit: bool = False
    _values: tuple[Values, Values] = field(default_factory=lambda: ({}, {}))
    _numbers: dict[tuple[str, int], int] = field(default_factory=dict)
    _cast: dict[str, LayerSpec] = field(default_factory=dict)

    def run(self) -> None:
        """Keep every call that can be computed."""
        for ref in flatten(self.model.inputs):
            options = self.model.layers[ref.layer].options
            self._set(ref, _Candidate(options["batch_shape"], options["dtype"]))
        for node in self.model.nodes:
            if is_whole(self.model.layers[node.layer]):
                self._keep(node)

    def _keep(self, node: Node) -> None:
        """Keep a call if it can be computed, and make the inputs that it needs."""
        unknown = [ref for ref in refs_of(node) if ref.place not in self._values[0]]
        unknown = list(dict.fromkeys(unknown))
        candidates = [list(self._candidates(ref, node)) for ref in unknown]
        for ref, found in zip(unknown, candidates, strict=True):
            if not found:
                shown = f"'{printable(ref.layer, 60)}'"
                self.left_out[node.layer] = BEHIND.format(shown)
                return
        best: tuple[int, Sequence[_Candidate]] | None = None
        why = ""
        for choice in islice(product(*candidates), MOST_TRIES):
            try:
                failures = self._tried(node, unknown, choice)
            except VerifyError as error:
                why = why or printable(error, 200)
                continue
            if best is None or failures < best[0]:
                best = failures, choice
            if not failures:
                break
        if best is None:
            self.unfit = True
            self.left_out[node.layer] = UNFIT.format(why)
            return
        for ref, candidate in zip(unknown, best[1], strict=True):
            self._set(ref, candidate)
            self.stand_ins[ref.place] = self._stand_in(ref, candidate)
        for values in self._values:
            self._called(node, values)
        calls = sum(kept.layer == node.layer for kept in self.kept)
        self._numbers[node.layer, node.index] = calls
        self.kept.append(node)

    def _tried(
        self, node: Node, unknown: Sequence[TensorRef], choice: Sequence[_Candidate]
    ) -> int:
        """Return how many calls behind a call fail if what it is given is chosen so.

        Raises
        ------
        VerifyError
            The call itself cannot be computed.
        """
        both = tuple(dict(values) for values in self._values)
        for ref, candidate in zip(unknown, choice, strict=True):
            self._set(ref, candidate, both)
        for values in both:
            self._called(node, values)
        if self.certain or all(len(self._expected(ref)) == 1 for ref in unknown):
            return 0
        moved = {(node.layer, node.index)} | {(r.layer, r.node) for r in unknown}
        after = self.model.nodes[self.model.nodes.index(node) + 1 :]
        failures = 0
        for other in after[:FOLLOWED]:
            refs = refs_of(other)
            if (
                not is_whole(self.model.layers[other.layer])
                or not any((r.layer, r.node) in moved for r in refs)
                or any(r.place not in both[0] for r in refs)
            ):
                continue
            try:
                for values in both:
                    self._called(other, values)
            except VerifyError:
                failures += 1
            else:
                moved.add((other.layer, other.index))
        return failures

    def _expected(self, ref: TensorRef) -> Sequence[_Candidate]:
        """Return the shape that the config states or the layers behind tell."""
        if ref.place in self.model.declared:
            return [_Candidate(*self.model.declared[ref.place])]
        told = told_shape(self.model, ref, self._shape, certain=True)
        return [] if told is None else [_Candidate(told, "float32")]

    def _candidates(self, ref: TensorRef, node: Node) -> Iterator[_Candidate]:
        """Yield what a tensor may be, the likeliest first."""
        seen: set[tuple[Shape, str]] = set()
        for one in self._shapes(ref, node):
            fixed = (self.model.batch_size, *one.shape[1:])
            valid = all(n is None or (type(n) is int and n > 0) for n in fixed)
            if (fixed, one.dtype) in seen or not valid:
                continue
            seen.add((fixed, one.dtype))
            if self._may_be_masked(ref, fixed):
                yield _Candidate(fixed, one.dtype, masked=True)
            yield _Candidate(fixed, one.dtype)

    def _shapes(self, ref: TensorRef, node: Node) -> Iterator[_Candidate]:
        expected = self._expected(ref)
        yield from expected
        if expected or self.certain:
            return
        layer = self.model.layers[node.layer]
        dtype = "int32" if layer.class_name == "Embedding" else "float32"
        told = told_shape(self.model, ref, self._shape)
        named = self._named(ref)
        if named is not None and (told is None or told[-1] in (None, named[-1])):
            yield _Candidate(named, dtype)
        if told is not None:
            yield _Candidate(told, dtype)
        others = [r for r in refs_of(node) if r != ref]
        for other in (*self._given(ref), *others):
            shape = self._shape(other)
            for like in (shape, None if shape is None else without_time(shape)):
                if like is None:
                    continue
                if told is not None and len(like) > 1:
                    yield _Candidate((*like[:-1], told[-1]), dtype)
                yield _Candidate(like, dtype)

    def _named(self, ref: TensorRef) -> Shape | None:
        """Return the shape that the options of a custom recurrent layer suggest."""
        config = self.model.entries.get(ref.layer, {}).get("config", {})
        units, every = config.get("units"), config.get("return_sequences")
        given = [self._shape(other) for other in self._given(ref)]
        first = given[0] if given else None
        if type(units) is not int or type(every) is not bool or first is None:
            return None
        return (first[0], *(first[1:-1] if every else ()), units)

    def _given(self, ref: TensorRef) -> tuple[TensorRef, ...]:
        """Return what the call that returns a tensor is given."""
        found = (
            n for n in self.model.nodes if (n.layer, n.index) == (ref.layer, ref.node)
        )
        return tuple(other for node in found for other in refs_of(node))

    def _may_be_masked(self, ref: TensorRef, shape: Shape) -> bool:
        """Return whether a tensor is taken to have a mask."""
        if self.certain or len(shape) != 3 or None in shape[2:]:
            return False
        if ref in self.masks:
            return self.masks[ref]
        values = self._values[0]
        given = [values[r.place] for r in self._given(ref) if r.place in values]
        return any(tensor.mask is not None for tensor in given)

    def _shape(self, ref: TensorRef) -> Shape | None:
        """Return the shape of a tensor, with None for every open axis."""
        small, large = (values.get(ref.place) for values in self._values)
        if small is None or large is None:
            return None
        return merged(np.shape(small.value), np.shape(large.value))

    def _set(
        self,
        ref: TensorRef,
        what: _Candidate,
        both: Sequence[Values] | None = None,
    ) -> None:
        """Put an outline in the place of a tensor."""
        for k, values in enumerate(self._values if both is None else both):
            shape = [
                n if n is not None else 2 + k if axis == 0 else self.sizes[k]
                for axis, n in enumerate(what.shape)
            ]
            value = blank(shape, dtype_of(what.dtype), self.sizes[k])
            mask = outline(shape[:2], np.ones((), bool)) if what.masked else None
            values[ref.place] = Tensor(value, mask)

    def _called(self, node: Node, values: Values) -> None:
        """Compute a call on outlines, and add what it returns."""
        layer = self.model.layers[node.layer]
        if node.layer not in self._cast:
            self._cast[node.layer] = cast_to(layer.mapped(knowing_all), "float32")
        try:
            for place, tensor in returned(self._cast[node.layer], node, values, True):
                values[place] = tensor
        except (ValueError, TypeError, IndexError, KeyError, MemoryError) as error:
            if isinstance(error, VerifyError):
                raise
            raise ModelFileError(f"{layer}: {error}") from error

    def _stand_in(self, ref: TensorRef, what: _Candidate) -> StandIn:
        """Return an input in the place of a tensor."""
        name = f"{ref.layer}_output" + (f"_{ref.tensor}" if ref.tensor else "")
        taken = {*self.model.layers}
        taken |= {x.name for x in self.stand_ins.values()}
        taken |= {x.masked for x in self.stand_ins.values()}
        while name in taken or f"{name}_mask" in taken:
            name += "_"
        options = REGISTRY["InputLayer"].read_options(
            name, {"batch_shape": what.shape, "dtype": what.dtype}
        )
        return StandIn(
            ref,
            LayerSpec(name, "InputLayer", options),
            f"{name}_mask" if what.masked else "",
            self._given(ref),
            self.model.steps.get(ref.place),
        )

    def result(self, root: LayerSpec) -> Cut:
        """Return what was kept."""
        used = {ref.place for node in self.kept for ref in refs_of(node)}
        inputs = [
            self.model.layers[ref.layer]
            for ref in flatten(self.model.inputs)
            if ref.place in used
        ]
        stand_ins = [x for place, x in self.stand_ins.items() if place in used]
        names = list(dict.fromkeys(node.layer for node in self.kept))
        entrances = [*inputs, *(x.layer for x in stand_ins)]
        layers = [_input_entry(x) for x in entrances]
        layers += [_masking_entry(x) for x in stand_ins if x.masked]
        for name in names:
            entry = self.model.entries[name]
            rest = {k: v for k, v in entry.items() if k != "inbound_nodes"}
            calls = [self._call(node) for node in self.kept if node.layer == name]
            layers.append({**rest, "name": name, "inbound_nodes": calls})
        config = {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "registered_name": None,
            "config": {
                "name": root.name,
                "trainable": True,
                "layers": layers,
                "input_layers": [[x.name, 0, 0] for x in entrances],
                "output_layers": list(self._outputs(used)),
            },
        }
        return Cut(
            opened=self.model,
            config=config,
            layers={name: self.model.layers[name] for name in names},
            stand_ins={x.name: x for x in stand_ins},
            left_out=self._all_left_out(set(names)),
            numbers=dict(self._numbers),
        )

    def _all_left_out(self, names: set[str]) -> dict[str, str]:
        found = {}
        for name, layer in self.model.layers.items():
            if name in names or layer.unread or layer.class_name == "InputLayer":
                continue
            reason = self.left_out.get(name, UNCALLED)
            found[name] = reason if is_whole(layer) else INSIDE
        return found

    def _outputs(self, used: set[Place]) -> Iterator[list[Any]]:
        """Yield the outputs: what no call that was kept takes, and those of before."""
        ends = {ref.place for ref in flatten(self.model.outputs)}
        for node in self.kept:
            taken = [p for p in (*used, *ends) if p[:2] == (node.layer, node.index)]
            places = {p for p in taken if p in ends} or (
                set() if taken else {(node.layer, node.index, 0)}
            )
            nested = self.model.layers[node.layer].class_name == "Functional"
            for _, _, k in sorted(places):
                number = self._numbers[node.layer, node.index] + nested
                yield [node.layer, number, k]  # see `functional._read_endpoints`

    def _call(self, node: Node) -> dict[str, Any]:
        kwargs = {key: self._serialised(value) for key, value in node.kwargs.items()}
        return {"args": list(map(self._serialised, node.args)), "kwargs": kwargs}

    def _serialised(self, leaf: Any) -> Any:
        """Return an argument as a config has it."""
        if isinstance(leaf, list):
            return list(map(self._serialised, leaf))
        if isinstance(leaf, tuple):
            return {"class_name": "__tuple__", "items": self._serialised(list(leaf))}
        if isinstance(leaf, Mapping):
            return {key: self._serialised(value) for key, value in leaf.items()}
        if isinstance(leaf, MaskOf):
            inner = self._serialised(leaf.tensor)
            return {**inner, "class_name": "__keras_mask__"}
        if isinstance(leaf, TensorRef):
            return _tensor(*self._place(leaf))
        if isinstance(leaf, slice):
            ends = {"start": leaf.start, "stop": leaf.stop, "step": leaf.step}
            return {"class_name": "__slice__", "config": ends}
        if leaf is Ellipsis:
            return {"class_name": "__ellipsis__", "config": {}}
        if isinstance(leaf, np.ndarray):
            value = {"value": leaf.tolist(), "dtype": leaf.dtype.name}
            return {"class_name": "__numpy__", "config": value}
        return leaf

    def _place(self, ref: TensorRef) -> Place:
        """Return where a tensor is in what remains."""
        stand_in = self.stand_ins.get(ref.place)
        if stand_in is not None:
            return stand_in.masked or stand_in.name, 0, 0
        number = self._numbers.get((ref.layer, ref.node), ref.node)
        return ref.layer, number, ref.tensor


def returned(
    layer: LayerSpec, node: Node, values: Mapping[Place, Tensor], outlining: bool
) -> Iterator[tuple[Place, Tensor]]:
    """Yield what one call of a layer returns, by place."""

    def resolved(leaf: Any) -> Any:
        if isinstance(leaf, MaskOf):
            return values[leaf.tensor.place].mask
        return values[leaf.place] if isinstance(leaf, TensorRef) else leaf

    outputs = Evaluation(outlining=outlining)(
        layer,
        *map_structure(resolved, node.args),
        at=node.layer,
        **map_structure(resolved, dict(node.kwargs)),
    )
    for k, output in enumerate(flatten(outputs)):
        yield (node.layer, node.index, k), output


def _tensor(name: str, number: int, k: int) -> dict[str, Any]:
    history = {"keras_history": [name, number, k]}
    return {"class_name": "__keras_tensor__", "config": history}


def _input_entry(layer: LayerSpec) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "name": layer.name,
        "config": {
            "name": layer.name,
            "batch_shape": list(layer.options["batch_shape"]),
            "dtype": layer.options["dtype"],
        },
        "registered_name": None,
        "inbound_nodes": [],
    }


def _masking_entry(stand_in: StandIn) -> dict[str, Any]:
    """Return a layer that gives a stand-in a mask: steps of zeros are padding."""
    dtype = stand_in.layer.options["dtype"]
    call = {"args": [_tensor(stand_in.name, 0, 0)], "kwargs": {}}
    return {
        "module": "keras.layers",
        "class_name": "Masking",
        "name": stand_in.masked,
        "config": {"name": stand_in.masked, "mask_value": 0.0, "dtype": dtype},
        "registered_name": None,
        "inbound_nodes": [call],
    }
