"""Follow the masks of a model from the layers that make them to those that use them.

The flow is found without computing the model. Every layer's own rule for masks is
applied to a single step that is padding, so that a mask is either gone, or still false
there, or true (and then masks nothing, as after a Concatenate with an input that has no
mask).

Keras writes the masks of a Functional model into its graph: operations such as
``not_equal(ids, 0)`` compute them, and each call is given the result as an argument.
`with_implicit_masks` takes out the arguments that a layer would find by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from verify.errors import VerifyError
from verify.forward.evaluate import Evaluation, bind_arguments, fill_masks, strip_mask
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import LayerType, Tensor
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES
from verify.model.graph import MaskOf, Node, TensorRef, flatten, map_structure
from verify.model.spec import LayerSpec

NO_EFFECT = ("BatchNormalization", "TimeDistributed")
"""Layers whose ``call`` has a mask that changes nothing by itself."""

MASK_OPERATIONS = ("ops.OnesLike", "ops.ZerosLike")
"""Operations with which Keras begins the mask of an input that has none."""


class Maker(NamedTuple):
    """Name what makes a mask: a call of a layer, or an argument of a call.

    Attributes
    ----------
    path : str
        Path of the layer.
    call : int
        Number of the call among those of the layer.
    argument : str
        The argument that the mask is given as; empty if the layer makes it.
    """

    path: str
    call: int
    argument: str = ""


class Use(NamedTuple):
    """Name where a mask is used.

    Attributes
    ----------
    path : str
        Path of the layer; of a Bidirectional each half uses the mask.
    call : int
        Number of the call among those of the layer.
    argument : str
        Name of the argument of its ``call``.
    position : int
        Which of the masks in that argument.
    """

    path: str
    call: int
    argument: str = "mask"
    position: int = 0


Makers = frozenset[Maker]
"""Stands for a mask: what it is made of. Empty for a mask that is always true."""

NOTHING: Makers = frozenset()


@dataclass(eq=False, slots=True)
class Step(Tensor):
    """Hold one step of padding of a tensor, with 1 as the size of every axis.

    Its `mask` is a `Makers` in place of an array.

    Attributes
    ----------
    made_of : Makers or None
        What it is made of, if it is the result of operations on masks.
    """

    made_of: Makers | None = None


@dataclass(frozen=True, eq=False)
class Call:
    """Describe one call of a layer in a graph.

    Attributes
    ----------
    model : str
        Path of the model whose graph it is; empty for the whole model.
    path : str
        Path of the layer.
    layer : LayerSpec
    node : Node
    incoming : list of Makers or None
        The masks of the tensors in the first argument.
    used : dict of str to Makers or None, or a structure of these
        The masks that it is called with, by the names of the arguments.
    outgoing : list of Makers or None
        The masks of the outputs.
    """

    model: str
    path: str
    layer: LayerSpec
    node: Node
    incoming: Sequence[Makers | None]
    used: Mapping[str, Any]
    outgoing: Sequence[Makers | None]


@dataclass(eq=False)
class MaskFlow:
    """Hold where the masks of a model are used, and what they are made of.

    Attributes
    ----------
    uses : dict of Use to Makers
        Only masks that may mask a step.
    calls : list of Call
        Every call of a layer, also inside models and TimeDistributed, in the order of
        evaluation.
    superfluous : list of (Node, str)
        Arguments of calls, by name, that are the masks which the layer would find.
    """

    uses: dict[Use, Makers] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    superfluous: list[tuple[Node, str]] = field(default_factory=list)

    @classmethod
    def of(cls, model: LayerSpec) -> MaskFlow:
        """Return the flow of the masks in a whole model."""
        flow = cls()
        flow._enter(model, "", [])
        return flow

    @property
    def makers(self) -> Makers:
        """Return everything that makes a mask which is used somewhere."""
        return NOTHING.union(*self.uses.values())

    def reaches(self, path: str) -> bool:
        """Return whether a layer, or a layer inside it, uses a mask."""
        return any(f"{use.path}/".startswith(f"{path}/") for use in self.uses)

    def _enter(
        self, model: LayerSpec, path: str, masks: Sequence[Makers | None]
    ) -> list[Makers | None]:
        """Follow the calls in a model's graph; return the masks of its outputs."""
        graph = model.graph
        if graph is None:
            return []
        steps: dict[tuple[str, int, int], Step] = {}
        refs = flatten(graph.inputs)
        for ref, mask in zip(refs, [*masks, *[None] * len(refs)], strict=False):
            shape = model.sublayers[ref.layer].options["batch_shape"]
            steps[ref.place] = _step(shape, mask)
        compared = _compared(model, path)

        def resolved(leaf: Any) -> Any:
            if isinstance(leaf, MaskOf):
                return steps[leaf.tensor.place].mask
            return steps[leaf.place] if isinstance(leaf, TensorRef) else leaf

        for node in graph.nodes:
            layer = model.sublayers[node.layer]
            here = f"{path}/{node.layer}" if path else node.layer
            args = map_structure(resolved, list(node.args))
            kwargs = map_structure(resolved, dict(node.kwargs))
            if layer.class_name.startswith("ops."):
                makers = compared.get(_compares(layer, node), NOTHING)
                outputs = _operation(layer, args, kwargs, makers)
                if outputs[0].made_of is None:
                    masks = [_mask_of(leaf) for leaf in flatten(args[:1])]
                    _pass_on(layer, masks, outputs)
                    out = [_mask_of(output) for output in outputs]
                    self.calls.append(Call(path, here, layer, node, masks, {}, out))
            else:
                outputs = self._call(path, here, layer, node, args, kwargs)
            for k, output in enumerate(outputs):
                steps[node.layer, node.index, k] = output
        return [
            getattr(resolved(leaf), "mask", None) for leaf in flatten(graph.outputs)
        ]

    def _call(
        self,
        model: str,
        path: str,
        layer: LayerSpec,
        node: Node,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> list[Step]:
        """Follow one call of a layer; return its outputs, each with its mask."""
        kind = REGISTRY[layer.class_name]
        given = bind_arguments(layer, kind, args, kwargs)
        for name in kind.masks_from_tensor:
            given.pop(name, None)
        stated = {
            name: map_structure(
                partial(_as_makers, own=Maker(path, node.index, name)), given.pop(name)
            )
            for name in kind.mask_arguments & given.keys()
        }
        found = dict(given)
        fill_masks(kind, found)
        self.superfluous += [(node, k) for k in stated if found.get(k) == stated[k]]
        given |= stated
        fill_masks(kind, given)
        first = given[kind.arguments[0]]
        incoming = map_structure(_mask_of, first)
        mask = given.get("mask", incoming)
        used = {
            name: _replaced(layer, name, given[name])
            for name in kind.mask_arguments & given.keys()
        }
        self._note(path, layer, node.index, used)
        if layer.graph is not None:
            masks = self._enter(layer, path, flatten(mask))
        else:
            if layer.class_name == "TimeDistributed":
                self._enter(layer.sublayers["layer"], f"{path}/layer", [])
            masks = self._passed(path, layer, kind, node.index, first, mask)
        for name in kind.strips_masks:
            if isinstance(given.get(name), Tensor):
                strip_mask(given[name], POLICIES[layer.policy].compute)
        outputs = [
            _step(shape, found)
            for shape, found in _paired(shapes_in(layer.output_shape), masks)
        ]
        _pass_on(layer, mask, outputs)
        self.calls.append(
            Call(
                model,
                path,
                layer,
                node,
                flatten(incoming),
                used,
                [output.mask for output in outputs],  # type: ignore[misc]
            )
        )
        return outputs

    def _note(
        self, path: str, layer: LayerSpec, call: int, used: Mapping[str, Any]
    ) -> None:
        """Note that a layer, or each half of a Bidirectional, uses masks."""
        if layer.class_name in NO_EFFECT or layer.graph is not None:
            return
        users = {path: layer}
        if layer.class_name == "Bidirectional":
            users = {f"{path}/{key}": half for key, half in layer.sublayers.items()}
        for at, user in users.items():
            for name, masks in used.items():
                own = masks if user is layer else _replaced(user, name, masks)
                for position, makers in enumerate(flatten(own)):
                    if makers:
                        self.uses[Use(at, call, name, position)] = makers

    def _passed(
        self,
        path: str,
        layer: LayerSpec,
        kind: LayerType,
        call: int,
        first: Any,
        mask: Any,
    ) -> list[Makers | None]:
        """Return the masks that a layer passes on, by its own rule for one step."""
        if not kind.passes_masks(layer):
            return []
        own, padding = frozenset({Maker(path, call)}), 0.0
        if layer.class_name == "Masking":
            padding = layer.options["mask_value"]
            if padding and padding == padding:  # it also makes zeros of the padding
                self.uses[Use(path, call, "inputs")] = own
        values = map_structure(partial(_filled, number=padding), first)
        try:
            masks = kind.compute_mask(layer, values, map_structure(_one_step, mask))
        except (ValueError, IndexError, TypeError):
            return []
        if layer.class_name not in ("Embedding", "Masking"):
            own = NOTHING.union(*(m for m in flatten(mask) if m))
        return [
            None if m is None else NOTHING if np.all(m) else own for m in flatten(masks)
        ]


def with_implicit_masks(model: LayerSpec) -> LayerSpec:
    """Return a model without the mask arguments that its layers find by themselves.

    It computes the same. What changes a mask where it is made, or on its way, then
    reaches every layer that uses it.
    """
    flow = MaskFlow.of(model)
    if not flow.superfluous:
        return model
    names: dict[int, set[str]] = {}
    for node, name in flow.superfluous:
        names.setdefault(id(node), set()).add(name)

    changed = _without_arguments(model, names)
    return changed if MaskFlow.of(changed).uses == flow.uses else model


def _without_arguments(layer: LayerSpec, names: Mapping[int, set[str]]) -> LayerSpec:
    """Return a layer with some arguments left out of calls, by the `id` of the node.

    Layers in which nothing changes stay the same objects, of which results are known.
    """
    inside = {k: _without_arguments(x, names) for k, x in layer.sublayers.items()}
    if any(inside[key] is not layer.sublayers[key] for key in inside):
        layer = replace(layer, sublayers=inside)
    if layer.graph is None or not any(id(node) in names for node in layer.graph.nodes):
        return layer
    nodes = tuple(
        without(node, names[id(node)]) if id(node) in names else node
        for node in layer.graph.nodes
    )
    return replace(layer, graph=replace(layer.graph, nodes=nodes))


def without(node: Node, names: set[str]) -> Node:
    """Return a call without some of its keyword arguments."""
    kwargs = {key: value for key, value in node.kwargs.items() if key not in names}
    return replace(node, kwargs=kwargs)


def _pass_on(layer: LayerSpec, masks: Any, outputs: Sequence[Step]) -> None:
    """Change the masks of a layer's outputs, by its override if it has one."""
    if "pass_mask" in layer.overrides:
        for output in outputs:
            output.mask = layer.overrides["pass_mask"](masks, output)


def _replaced(layer: LayerSpec, name: str, masks: Any) -> Any:
    """Return the masks that a layer uses, by its override if it has one."""
    change = layer.overrides.get("use_mask")
    return masks if change is None else change(name, masks)


def _compared(
    model: LayerSpec, path: str
) -> dict[tuple[tuple[str, int, int], float] | None, Makers]:
    """Return what makes a mask of a tensor, and from which number in it.

    The same mask may be made by several layers.
    """
    found: dict[tuple[tuple[str, int, int], float] | None, Makers] = {}
    for node in model.graph.nodes if model.graph is not None else ():
        layer = model.sublayers[node.layer]
        padding = layer.options.get("mask_value", 0)
        makes = layer.options.get("mask_zero") or layer.class_name == "Masking"
        if makes and isinstance(node.args[0], TensorRef):
            here = f"{path}/{node.layer}" if path else node.layer
            key = node.args[0].place, float(padding)
            found[key] = found.get(key, NOTHING) | {Maker(here, node.index)}
    return found


def _compares(
    layer: LayerSpec, node: Node
) -> tuple[tuple[str, int, int], float] | None:
    """Return the tensor and the number that an operation ``not_equal`` compares."""
    if layer.class_name != "ops.NotEqual":
        return None
    operands = [*node.args, *node.kwargs.values(), *layer.options.values()]
    tensors = [leaf for leaf in operands if isinstance(leaf, TensorRef)]
    numbers = [leaf for leaf in operands if isinstance(leaf, (int, float))]
    if len(tensors) != 1 or len(numbers) != 1:
        return None
    return tensors[0].place, float(numbers[0])


def _operation(
    layer: LayerSpec, args: Sequence[Any], kwargs: Mapping[str, Any], makers: Makers
) -> list[Step]:
    """Return the results of an operation, computed if it makes or changes a mask."""
    steps = [x for x in flatten([*args, dict(kwargs)]) if isinstance(x, Step)]
    made_of = makers.union(*(x.made_of for x in steps if x.made_of is not None))
    shapes = shapes_in(layer.output_shape)
    on_masks = any(x.made_of is not None for x in steps)
    if not (makers or on_masks or layer.class_name in MASK_OPERATIONS):
        # such an operation may return its input itself, and the mask with it
        kept = REGISTRY[layer.class_name].returns_input in ("cast", "swap")
        masks = [steps[0].mask if kept and steps else None]
        return [_step(*pair) for pair in _paired(shapes, masks)]  # type: ignore[arg-type]
    if makers:  # the step is padding
        return [Step(np.zeros(steps[0].value.shape, dtype=bool), made_of=made_of)]
    try:
        results = Evaluation()(layer, *args, at="", **kwargs)
    except VerifyError:
        return [Step(np.zeros((1, 1), dtype=bool), made_of=made_of)]
    return [Step(result.value, made_of=made_of) for result in flatten(results)]


def _as_makers(leaf: Any, own: Maker) -> Any:
    """Return what a mask that is given as an argument is made of."""
    if leaf is None or isinstance(leaf, frozenset):
        return leaf
    if isinstance(leaf, Step) and leaf.made_of is not None:
        return NOTHING if np.all(leaf.value) else leaf.made_of or frozenset({own})
    return frozenset({own})


def _one_step(makers: Makers | None) -> Array | None:
    """Return the mask of one step of padding, (1, 1)."""
    return None if makers is None else np.full((1, 1), not makers)


def _filled(leaf: Any, number: float) -> Any:
    """Return a step that holds one number everywhere."""
    return np.full(leaf.value.shape, number) if isinstance(leaf, Tensor) else leaf


def _step(shape: Sequence[int | None] | None, mask: Makers | None) -> Step:
    axes = 3 if shape is None else len(shape)
    # `fill_masks` passes masks about without looking into them
    return Step(np.zeros((1,) * axes), mask)  # type: ignore[arg-type]


def _mask_of(leaf: Any) -> Any:
    return leaf.mask if isinstance(leaf, Tensor) else None


def _paired(
    shapes: Sequence[tuple[int | None, ...]], masks: Sequence[Makers | None]
) -> list[tuple[tuple[int | None, ...] | None, Makers | None]]:
    """Pair the shape of each output with its mask; None for what is not known."""
    count = max(len(shapes), len(masks), 1)
    return [
        (
            shapes[k] if k < len(shapes) else None,
            masks[k] if k < len(masks) else None,
        )
        for k in range(count)
    ]


def shapes_in(structure: Any) -> list[tuple[int | None, ...]]:
    """Return the shapes in a structure of shapes, in order."""
    if structure is None:
        return []
    if isinstance(structure, Mapping):
        return [shape for value in structure.values() for shape in shapes_in(value)]
    if all(axis is None or isinstance(axis, int) for axis in structure):
        return [tuple(structure)]
    return [shape for value in structure for shape in shapes_in(value)]
