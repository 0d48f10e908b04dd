"""Branches merged in another order, or by another operation, or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from itertools import pairwise, permutations
from typing import Any

import numpy as np

from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Run
from verify.forward.layers.merging import Merge, of_one_rank
from verify.mistakes.catalogue.graphs import (
    Arguments,
    GraphCall,
    graph_calls,
    tensors,
)
from verify.mistakes.catalogue.mistake import (
    Call,
    Change,
    Mistake,
    ModelOperator,
    Mutant,
    MutationOperator,
    on_call,
)
from verify.model.arrays import Array
from verify.model.graph import TensorRef
from verify.model.spec import LayerSpec, ModelSpec


def wrong_order(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield inputs of a Concatenate, a Subtract or a Dot in another order."""
    for call in graph_calls(spec, "Concatenate", "ops.Concatenate", "ops.Stack"):
        key = "inputs" if call.layer.class_name == "Concatenate" else "xs"
        given = list(call.arguments[key])
        for order in _orders(len(given)):
            moved = [given[k] for k in order]
            if moved == given:
                continue
            text = ", ".join(map(str, order))
            yield _other_arguments(
                call,
                f"inputs concatenated in the order {text}",
                f"its inputs, counted from 0, are put side by side in the order {text}",
                "put its inputs side by side in the order of the model",
                {key: moved},
            )
    for call in graph_calls(spec, "Subtract", "ops.Subtract"):
        yield from _the_other_way(
            call, "subtracted the other way round", "b - a is computed", "compute a - b"
        )
    for call in graph_calls(spec, "Divide", "ops.Divide", "ops.TrueDivide"):
        yield from _the_other_way(
            call, "divided the other way round", "b / a is computed", "compute a / b"
        )
    for call in graph_calls(spec, "Dot", "ops.Matmul"):
        both = tensors(call.arguments)
        if len(both) == 2 and call.alike(*both) and len(call.shape(both[0]) or ()) > 2:
            yield from _the_other_way(
                call,
                "factors of the product exchanged",
                "the two factors are exchanged, so the product comes out transposed",
                "take the factors in the order of the model",
            )


def _orders(count: int) -> Iterator[tuple[int, ...]]:
    """Yield other orders of some inputs: all of three, likely ones of more."""
    own = tuple(range(count))
    if count <= 3:
        yield from (order for order in permutations(own) if order != own)
        return
    yield own[::-1]
    for a, b in pairwise(own):
        yield tuple({a: b, b: a}.get(k, k) for k in own)


def _the_other_way(
    call: GraphCall, name: str, does: str, right: str
) -> Iterator[Mutant]:
    given = call.arguments
    if "inputs" in given:
        one, other = given["inputs"]
        moved: Arguments = {"inputs": [other, one]}
    else:
        one, other = given["x1"], given["x2"]
        moved = {"x1": other, "x2": one}
    shapes = {call.shape(ref) for ref in (one, other) if isinstance(ref, TensorRef)}
    same_result = len(shapes) == 1 or call.layer.class_name.endswith("Subtract")
    if one != other and same_result:
        yield _other_arguments(call, name, does, right, moved)


def _other_arguments(
    call: GraphCall, name: str, does: str, right: str, moved: Arguments
) -> Mutant:
    return Mutant(
        name,
        call.path,
        does,
        right,
        call.with_arguments(lambda arguments: {**arguments, **moved}),
        common=True,
    )


def _in_one_dtype(run: Run, layer: LayerSpec, inputs: Any) -> list[Array]:
    kind = REGISTRY[layer.class_name]
    assert isinstance(kind, Merge)
    return kind.listed(run, inputs)


def _merged(merge: Callable[[list[Array]], Array]) -> Change:
    """Return a merging layer that merges its inputs, of one rank, otherwise."""

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Array:
        arrays = _in_one_dtype(run, layer, arguments["inputs"])
        return np.asarray(merge(of_one_rank(arrays)))

    return on_call(changed)


def _sum(arrays: list[Array]) -> Array:
    return reduce(np.add, arrays)


def _mean(arrays: list[Array]) -> Array:
    return reduce(np.add, arrays) / arrays[0].dtype.type(len(arrays))


def _product(arrays: list[Array]) -> Array:
    return reduce(np.multiply, arrays)


OTHER_MERGES = {
    "Add": {"mean": _mean, "product": _product},
    "Average": {"sum": _sum},
    "Multiply": {"sum": _sum},
}
OWN_MERGES = {"Add": "sum", "Average": "mean", "Multiply": "product"}


def wrong_merges(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield inputs merged by another operation, or one of two left out."""
    if layer.class_name == "Dot":
        scaled = layer.options["normalize"]
        yield Mistake(
            f"normalize {not scaled}",
            "the vectors are " + ("not " * scaled) + "divided by their lengths; the "
            f"model has normalize={scaled}",
            f"do as normalize={scaled} says",
            lambda layer: layer.with_options(normalize=not layer.options["normalize"]),
            common=True,
        )
    own = OWN_MERGES.get(layer.class_name)
    if own is None:
        return
    for other, merge in OTHER_MERGES[layer.class_name].items():
        yield Mistake(
            f"{other} instead of {own}",
            f"the {other} of the inputs is taken; the model takes their {own}",
            f"take the {own}",
            _merged(merge),
            common=True,
        )
    shapes = layer.input_shape
    if not isinstance(shapes, list) or len(shapes) != 2:
        return
    for k, which in enumerate(("first", "second")):
        if tuple(shapes[1 - k]) == layer.output_shape:
            yield Mistake(
                f"{which} input left out",
                f"the {which} of its two inputs is left out",
                "merge both inputs",
                on_call(partial(_one_alone, kept=1 - k)),
                common=True,
            )


def _one_alone(
    call: Call,
    run: Run,
    layer: LayerSpec,
    arguments: dict[str, Any],
    mask: Any,
    kept: int,
) -> Array:
    return _in_one_dtype(run, layer, arguments["inputs"])[kept]


def constants_left_out(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield a factor, a divisor or a summand of an operation left out."""
    words = {
        "ops.Multiply": ("factor", "multiply by it"),
        "ops.Divide": ("divisor", "divide by it"),
        "ops.TrueDivide": ("divisor", "divide by it"),
        "ops.Add": ("summand", "add it"),
        "ops.Subtract": ("number that is subtracted", "subtract it"),
    }
    for call in graph_calls(spec, *words):
        what, right = words[call.layer.class_name]
        given = call.arguments
        numbers = [k for k in ("x1", "x2") if not isinstance(given[k], TensorRef)]
        for key in ("x1", "x2"):
            kept = given["x2" if key == "x1" else "x1"]
            commutes = call.layer.class_name in ("ops.Multiply", "ops.Add")
            if key == "x1" and not commutes:
                continue
            if call.shape(kept) is None or call.shape(kept) != call.layer.output_shape:
                continue
            if numbers:
                name = f"{what} {given[key]} left out" if key in numbers else ""
            else:
                name = f"{'first' if key == 'x1' else 'second'} {what} left out"
            if not name or (key in numbers and not np.isscalar(given[key])):
                continue
            neutral = 1 if what in ("factor", "divisor") else 0
            yield _other_arguments(
                call,
                name,
                f"the {name.removesuffix(' left out')} is left out",
                right,
                {"x1": kept, "x2": neutral},
            )


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_merges,)
MODEL_OPERATORS: tuple[ModelOperator, ...] = (wrong_order, constants_left_out)
