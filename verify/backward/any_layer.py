"""Go back through one call of any layer, by recording what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from verify.backward.layers import Adjoints, Backward, BackwardCall
from verify.backward.recording import NotRecorded, Operation, Recorded, Tape
from verify.backward.recording.tape import value_of as array_of
from verify.errors import DataError
from verify.forward.evaluate import NUMPY_ERRORS, Evaluation, value_of
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import TensorRef, flatten, map_structure
from verify.model.spec import LayerSpec

WHOLE = 2**24
"""Whole numbers below it are exact in float32."""


def recorded_layer(back: Backward, call: BackwardCall) -> Adjoints:
    """Evaluate a layer once more on recorded values, and go back over the tape.

    A visitor with an attribute ``recordings``, a dict, has what is recorded kept there,
    by the key of the call, for the next sweeps of the same rows. One whose attribute
    ``counts_only`` is true is shown zeros in place of the adjoints, which cost nothing.

    Raises
    ------
    NotRecorded
        The layer computes something that has no derivative here.
    """
    try:
        kept = getattr(back.visit, "recordings", None)
        made = None if kept is None else kept.get(call.key)
        if made is None:
            made = _recorded(back, call)
        if kept is not None:
            kept[call.key] = made
        tape = made.tape
        front = (int(np.prod(back.sweeps, dtype=int)),)
        adjoints: dict[int, Array] = {}
        for output, d in zip(made.outputs, call.adjoints, strict=True):
            if isinstance(output, Recorded) and output.place is not None:
                d = d.reshape(*front, *output.shape)
                known = adjoints.get(output.place)
                adjoints[output.place] = d if known is None else known + d
            elif isinstance(output, Recorded) and back.visit is not None:
                # made of weights alone, such as the vectors of an 8-bit table
                constant = Operation(
                    "constant", (output.value,), output.value, np.copy,
                    errors=(output.error,),
                )  # fmt: skip
                back.visit(call.key, None, {"output": d}, constant)
        _show_recorded_decisions(back, call, tape)
        if getattr(back.visit, "counts_only", False):
            found = tape.counted(front[0], _visitor(back, call))
        else:
            found = tape.back(adjoints, _visitor(back, call))
    except NotRecorded as error:
        raise NotRecorded(f"{call.layer}: {error} has no derivative here") from None
    except DataError:
        if call.layer.class_name not in REGISTRY.own:
            raise
        # code of the user's may do with arrays what cannot be recorded
        reason = "what its own code does has no derivative here"
        raise NotRecorded(f"{call.layer}: {reason}") from None

    def adjoint(place: int) -> Array:
        shape = tape.shapes[place]
        d = found.get(place)
        d = np.zeros((*front, *shape)) if d is None else d
        return d.reshape((*back.sweeps, *shape))

    for path, names in made.weights.items():
        back.add_weights(path, {name: adjoint(k) for name, k in names.items()})
    return {
        name: [
            adjoint(leaf) if isinstance(leaf, int)
            else np.zeros((*back.sweeps, *leaf))
            for leaf in places
        ]
        for name, places in made.leaves.items()
    }  # fmt: skip


class Recording(NamedTuple):
    """Hold what one call of a layer was recorded as.

    Attributes
    ----------
    tape : Tape
    outputs : list
        Recorded values, or arrays that no input has an effect on.
    leaves, weights : dict
        As `_given` and `with_recorded_weights` return them.
    """

    tape: Tape
    outputs: list[Any]
    leaves: Mapping[str, list[Any]]
    weights: Mapping[str, Mapping[str, int]]


def _recorded(back: Backward, call: BackwardCall) -> Recording:
    """Evaluate the layer on recorded values."""
    single = None if back.visit is None or back.single is None else back.single
    tape = Tape(single=single is not None)
    alone = None if single is None else single[call.key]
    given, leaves = _given(tape, call, alone, back.unneeded)
    layer, weights = with_recorded_weights(
        tape, call.layer, call.path, wanted=back.wants_weights
    )

    def evaluated(arguments: dict[str, Any]) -> Any:
        run = Evaluation(floatx="float64", merge_steps=partial(merged, tape))
        return REGISTRY[layer.class_name].call(run, layer, **arguments)

    outputs = floats_recorded(tape, evaluated, given)
    return Recording(tape, [value_of(y) for y in flatten(outputs)], leaves, weights)


def floats_recorded(tape: Tape, evaluate: Callable[[Any], Any], arguments: Any) -> Any:
    """Return what a layer makes of its arguments, with every float recorded.

    Whole numbers are not recorded, since a layer may look things up by them. Where it
    makes floats of them alone, which may be rounded, it is evaluated once more on
    recorded values in their place.

    Parameters
    ----------
    tape : Tape
    evaluate : callable
        Arguments -> a structure of outputs.
    arguments : structure
        Recorded values, arrays and `Tensor` among them.

    Returns
    -------
    A structure of outputs.

    Raises
    ------
    NotRecorded
        It is not known how those floats are made.
    """
    outputs = evaluate(arguments)
    if not any(map(_unrecorded, flatten(outputs))):
        return outputs
    try:
        again = evaluate(map_structure(partial(_number_recorded, tape), arguments))
    except (NotRecorded, DataError, *NUMPY_ERRORS):
        again = outputs  # it needs whole numbers, and may count them or look them up
    pairs = zip(flatten(outputs), flatten(again), strict=True)
    if not all(_same(_plain(before), _plain(after)) for before, after in pairs):
        again = outputs
    if not all(_counts(y) for y in flatten(again) if _unrecorded(y)):
        raise NotRecorded("what is made of whole numbers alone")
    return map_structure(partial(_exact_recorded, tape), again)


def _stand_in(tape: Tape, leaf: Any) -> Any:
    """Return a recorded value in place of exact numbers."""
    value = value_of(leaf).astype(np.float64)
    exact: Any = tape.leaf(value, value.astype(np.float32), needed=False)
    return Tensor(exact, leaf.mask) if isinstance(leaf, Tensor) else exact


def _exact_recorded(tape: Tape, leaf: Any) -> Any:
    """Return a recorded value in place of floats; anything else as it is."""
    return _stand_in(tape, leaf) if _unrecorded(leaf) else leaf


def _number_recorded(tape: Tape, leaf: Any) -> Any:
    """Return a recorded value in place of whole numbers; anything else as it is."""
    value = value_of(leaf)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biu":
        return leaf
    if value.size and np.abs(value.astype(np.float64)).max() >= WHOLE:
        return leaf
    return _stand_in(tape, leaf)


def _same(a: Any, b: Any) -> bool:
    """Return whether two arrays differ by no more than float64 rounds."""
    if not is_float(a):
        return np.array_equal(a, b)
    most = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return np.allclose(a, b, rtol=0.0, atol=1e-12 * most, equal_nan=True)


def _plain(leaf: Any) -> Any:
    """Return the array that a leaf stands for."""
    return array_of(value_of(leaf))


def _unrecorded(leaf: Any) -> bool:
    """Return whether a leaf is an array of floats, of which nothing is recorded."""
    value = value_of(leaf)
    return isinstance(value, np.ndarray) and is_float(value) and bool(value.size)


def _counts(leaf: Any) -> bool:
    """Return whether all numbers are whole, and exact in float32."""
    value = value_of(leaf)
    return bool(np.all(value == np.round(value)) and np.all(np.abs(value) < WHOLE))


def show_decisions(back: Backward, call: BackwardCall) -> None:
    """Show a visitor what a call decides whose results have no derivative.

    Ids and masks are no floats, and yet a layer may compute them of floats that float32
    has otherwise. A call of floats that it has alike is not evaluated.
    """
    if back.visit is None or back.single is None:
        return
    pairs = zip(
        flatten(dict(call.trace.arguments)),
        flatten(dict(back.single[call.key].arguments)),
        strict=True,
    )
    apart = [value_of(b) for a, b in pairs if _differ(value_of(a), value_of(b))]
    if not apart:
        return
    try:
        recorded_layer(back, call)
    except NotRecorded:
        value = apart[0].astype(np.float64)
        undecided = Operation("undecided", (value,), value, np.copy)
        back.visit(call.key, None, {}, undecided)


def _differ(a: Any, b: Any) -> bool:
    if not isinstance(a, np.ndarray) or not is_float(a):
        return False
    return not np.array_equal(a, b, equal_nan=True)


def merged(
    tape: Tape, inner: LayerSpec, steps: int
) -> AbstractContextManager[None] | None:
    """Return what surrounds the call of a layer on the steps of all rows.

    Code of the user's and operations may name the number of rows.
    """
    layers = [inner, *(layer for _, layer in inner.walk())]
    if steps < 2 or not all(map(merges_steps, layers)):
        return None
    return tape.merged(steps)


def merges_steps(layer: LayerSpec) -> bool:
    """Return whether a layer inside TimeDistributed treats every row alike."""
    name = layer.class_name
    return name not in REGISTRY.own and not name.startswith("ops.")


def folds_axes(layer: LayerSpec) -> bool:
    """Return whether a layer inside may fold other axes into that of the rows."""
    return any(inner.class_name == "ops.Reshape" for _, inner in layer.walk())


def _given(
    tape: Tape, call: BackwardCall, single: Any, unneeded: Set[TensorRef]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the arguments of a call with recorded values in place of its tensors.

    Returns
    -------
    given : dict
        Name of an argument -> what the layer is given.
    leaves : dict
        Name of an argument -> for each tensor in it its place on the tape, or its shape
        if it does not hold floats.
    """
    given = dict(call.trace.arguments)
    leaves: dict[str, list[Any]] = {}
    for name, structure in call.arguments.items():
        refs = flatten(structure)
        if name not in given or not any(isinstance(r, TensorRef) for r in refs):
            continue
        singles = flatten(single.arguments[name]) if single is not None else []
        found: list[Any] = []
        values = []
        for k, (ref, leaf) in enumerate(zip(refs, flatten(given[name]), strict=True)):
            value = value_of(leaf)
            if not isinstance(ref, TensorRef):
                values.append(leaf)
                continue
            if not is_float(value):
                found.append(value.shape)
                values.append(leaf)
                continue
            other = value_of(singles[k]) if singles else None
            exact, needed = value.astype(np.float64, copy=False), ref not in unneeded
            stands: Any = tape.leaf(exact, other, needed=needed)
            found.append(stands.place)
            values.append(Tensor(stands, leaf.mask) if leaf is not value else stands)
        rest = iter(values)
        given[name] = map_structure(partial(_next, rest), given[name])
        leaves[name] = found
    return given, leaves


def _next(rest: Iterator[Any], _: Any) -> Any:
    return next(rest)


def with_recorded_weights(
    tape: Tape, layer: LayerSpec, path: str, *, wanted: bool
) -> tuple[LayerSpec, dict[str, dict[str, int]]]:
    """Return the layer with recorded weights, and the places of those of each path."""
    places: dict[str, dict[str, int]] = {}

    def changed(layer: LayerSpec, path: str) -> LayerSpec:
        inside = {
            key: changed(one, f"{path}/{key}") for key, one in layer.sublayers.items()
        }
        copy = replace(layer, sublayers=inside)
        stand: dict[str, Any] = {}
        for name, value in layer.weights.items():
            if not is_float(value):
                stand[name] = value
            elif wanted:
                stand[name] = tape.leaf(value)
                places.setdefault(path, {})[name] = stand[name].place
            else:
                stand[name] = tape.constant(value)
        object.__setattr__(copy, "weights", stand)  # it would make arrays of them
        return copy

    return changed(layer, path), places


def _visitor(back: Backward, call: BackwardCall) -> Any:
    """Return a function that shows an operation to the visitor of a pass."""
    if back.visit is None:
        return None
    rows = _rows(call.trace.arguments)
    folds = folds_axes(call.layer)

    def visit(operation: Operation, d: Array) -> None:
        assert back.visit is not None
        shape = d.shape[1:]
        steps = operation.steps
        most = rows * steps
        if not shape or not (shape[0] == most or (folds and shape[0] % most == 0)):
            raise NotRecorded(f"{operation.name} across rows")
        front = (rows,) if shape[0] == rows else (rows, shape[0] // rows)
        adjoint = d.reshape((*back.sweeps, *front, *shape[1:]))
        back.visit(call.key, None, {"output": adjoint}, operation)

    return visit


def _show_recorded_decisions(back: Backward, call: BackwardCall, tape: Tape) -> None:
    for operation in tape.decisions:
        if back.visit is not None:
            back.visit(call.key, None, {}, operation)


def _rows(arguments: Mapping[str, Any]) -> int:
    leaves: Sequence[Any] = flatten(dict(arguments))
    return next(len(value_of(x)) for x in leaves if np.ndim(value_of(x)))
