"""Find the rule for each function of NumPy that is applied to a recorded value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from verify.backward.derivatives import DERIVATIVES, PULLBACKS
from verify.backward.recording import moving, summing
from verify.backward.recording.elementwise import (
    EXACT,
    SLOPES,
    TIED,
    times_slope,
    unbroadcast,
)
from verify.backward.recording.tape import (
    NotRecorded,
    Recorded,
    Tape,
    constant_error,
    value_of,
)
from verify.model.arrays import Array

DECIDING = frozenset(
    {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
    | {"isnan", "isfinite", "isinf", "signbit", "logical_not", "logical_and"}
    | {"logical_or", "logical_xor"}
)
"""Functions of NumPy whose results are true or false."""


def apply_ufunc(
    tape: Tape, ufunc: np.ufunc, method: str, inputs: Any, kwargs: dict[str, Any]
) -> Any:
    """Record a universal function, its reduction, or what ``y += x`` makes of it."""
    out = kwargs.pop("out", None)
    if out is not None and isinstance(out[0], Recorded):
        raise NotRecorded(f"{ufunc.__name__} into a recorded value")
    # of `y += x` the caller takes what is returned, so a new value serves
    if kwargs.get("dtype") is not None:
        kwargs.pop("dtype")
    if method == "reduce" and ufunc is np.add:
        axis, keep = kwargs.get("axis", 0), kwargs.get("keepdims", False)
        return summing.total(tape, inputs[0], axis, keep)
    if method != "__call__" or kwargs:
        raise NotRecorded(f"{ufunc.__name__}.{method} with {sorted(kwargs)}")
    if ufunc.__name__ in DECIDING:
        return tape.decide(ufunc, *inputs)
    if ufunc is np.matmul:
        a, b = inputs
        return summing.products(tape, np.matmul, (a, b), summing.of_matmul(a, b))
    if ufunc not in SLOPES:
        raise NotRecorded(f"the function {ufunc.__name__}")
    slopes = TIED.get(ufunc, SLOPES[ufunc]) if tape.single else SLOPES[ufunc]
    return elementwise(tape, ufunc.__name__, ufunc, inputs, slopes)


def elementwise(
    tape: Tape,
    name: str,
    function: Callable[..., Any],
    inputs: Sequence[Any],
    slopes: Callable[..., Sequence[Any]],
    place: Any = None,
) -> Any:
    """Record a function of single elements, with its derivatives."""
    values = [value_of(x) for x in inputs]
    wanted = [getattr(x, "place", None) is not None for x in inputs]
    inexact = name not in EXACT or name in ("maximum", "minimum", "absolute", "fabs")
    flat = name in ("floor", "ceil", "rint", "trunc", "sign", "floor_divide")

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        def back(d: Array) -> list[Array | None]:
            with np.errstate(all="ignore"):
                found = slopes(*values, output)
            return [
                unbroadcast(times_slope(d, slope), np.shape(x)) if want else None
                for slope, x, want in zip(found, values, wanted, strict=True)
            ]

        return back

    if flat:
        tape.decide(function, *inputs)
    return tape.record(
        inputs,
        function,
        pullback,
        name=name if inexact or flat else "",
        slopes=slopes,
        place=place,
    )


def where(tape: Tape, condition: Any, *pair: Any) -> Any:
    """Record a choice between two arrays."""
    if not pair or isinstance(condition, Recorded):
        raise NotRecorded("where, by a condition that is no mask")
    keep = np.asarray(condition)
    shapes = [np.shape(value_of(x)) for x in pair]

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        def back(d: Array) -> list[Array | None]:
            parts = np.where(keep, d, 0.0), np.where(keep, 0.0, d)
            return [
                unbroadcast(part, shape)
                for part, shape in zip(parts, shapes, strict=True)
            ]

        return back

    def slopes(a: Array, b: Array, y: Array) -> Sequence[Any]:
        return keep, ~keep.astype(bool)

    # a constant that float32 does not have is rounded
    inexact = any(np.any(constant_error(x)) for x in pair)
    return tape.record(
        pair,
        lambda a, b: np.where(keep, a, b),
        pullback,
        name="where" if inexact else "",
        slopes=slopes if inexact else None,
    )


def clip(tape: Tape, x: Any, low: Any = None, high: Any = None, **more: Any) -> Any:
    """Record ``np.clip`` as a maximum and a minimum."""
    low = more.get("min", more.get("a_min", low))
    high = more.get("max", more.get("a_max", high))
    y = x if low is None else np.maximum(x, low)
    return y if high is None else np.minimum(y, high)


def _variance(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    keep = more.pop("keepdims", False)
    if more:
        raise NotRecorded(f"var with {sorted(more)}")
    apart = x - np.mean(x, axis=axis, keepdims=True)
    return np.mean(np.square(apart), axis=axis, keepdims=keep)


def _deviation(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    return np.sqrt(_variance(tape, x, axis, **more))


def _norm(tape: Tape, x: Any, **options: Any) -> Any:
    if options.get("ord") not in (None, 2):
        raise NotRecorded(f"norm with ord={options['ord']}")
    options = {k: v for k, v in options.items() if k != "ord"}
    return np.sqrt(np.sum(np.square(x), **options))


def _sum(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    return summing.total(tape, x, axis, more.get("keepdims", False))


def _mean(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    return summing.total(tape, x, axis, more.get("keepdims", False), mean=True)


def _product(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    return summing.product(tape, x, axis, more.get("keepdims", False))


def _maximum(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    return summing.extreme(tape, x, axis, more.get("keepdims", False), np.max)


def _minimum(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    return summing.extreme(tape, x, axis, more.get("keepdims", False), np.min)


def _running_sum(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    return summing.running_sum(tape, x, axis)


def _sorted(tape: Tape, x: Any, axis: int = -1) -> Any:
    return summing.in_order(tape, x, axis)


def _running_product(tape: Tape, x: Any, axis: Any = None, **more: Any) -> Any:
    return summing.running_product(tape, x, axis)


def _tensordot(tape: Tape, a: Any, b: Any, axes: Any = 2) -> Any:
    equation = summing.of_tensordot(a, b, axes)
    return summing.products(
        tape, lambda x, y: np.tensordot(x, y, axes), (a, b), equation
    )


def _dot(tape: Tape, a: Any, b: Any) -> Any:
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if b.ndim <= 2:
        return _tensordot(tape, a, b, ([a.ndim - 1], [max(b.ndim - 2, 0)]))
    return _tensordot(tape, a, b, ([a.ndim - 1], [b.ndim - 2]))


def _einsum(tape: Tape, equation: str, *operands: Any, **more: Any) -> Any:
    if len(operands) != 2:
        return _long_einsum(tape, equation, *operands)
    full = summing.of_einsum(equation, [x.ndim for x in operands])
    return summing.products(
        tape, lambda a, b: np.einsum(full, a, b, optimize=True), operands, full
    )


def _long_einsum(tape: Tape, equation: str, *operands: Any) -> Any:
    """Record an einsum of one operand, or of more than two, taken in turn."""
    full = summing.of_einsum(equation, [x.ndim for x in operands])
    inputs, _, output = full.partition("->")
    terms = inputs.split(",")
    if len(operands) == 1:
        ones = np.ones(1)
        return _einsum(tape, f"{terms[0]},Y->{output}", operands[0], ones)
    left, first, second, *rest = "", *terms
    kept = [s for s in dict.fromkeys(first + second) if s in output + "".join(rest)]
    left = "".join(kept)
    joined = _einsum(tape, f"{first},{second}->{left}", *operands[:2])
    return _einsum(tape, f"{','.join([left, *rest])}->{output}", joined, *operands[2:])


def _searched(tape: Tape, edges: Any, x: Any, side: Any = "left", **more: Any) -> Any:
    """Return the bins of recorded numbers, which are decided by fixed edges."""
    if isinstance(edges, Recorded):
        raise NotRecorded("a search among edges that are computed")
    return tape.decide(lambda value: np.searchsorted(edges, value, side, **more), x)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a rule for a function that asks for shape and dtype alone."""

    def asked(tape: Tape, *args: Any, **kwargs: Any) -> Any:
        return function(*map(value_of, args), **kwargs)

    return asked


def _decided(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a rule for a function whose result is no float."""

    def found(tape: Tape, x: Any, *args: Any, **kwargs: Any) -> Any:
        return tape.decide(lambda value: function(value, *args, **kwargs), x)

    return found


RULES: Mapping[Any, Callable[..., Any]] = {
    np.where: where, np.clip: clip, np.searchsorted: _searched,
    np.sum: _sum, np.mean: _mean, np.prod: _product,
    np.max: _maximum, np.amax: _maximum, np.min: _minimum, np.amin: _minimum,
    np.var: _variance, np.std: _deviation, np.linalg.norm: _norm,
    np.cumsum: _running_sum, np.cumprod: _running_product, np.sort: _sorted,
    np.tensordot: _tensordot, np.dot: _dot, np.einsum: _einsum,
    **{f: _plain(f) for f in (np.shape, np.ndim, np.size, np.zeros_like, np.ones_like,
                              np.full_like, np.empty_like, np.result_type)},
    **{f: _decided(f) for f in (np.argmax, np.argmin, np.any, np.all, np.argsort,
                                np.array_equal, np.count_nonzero, np.isposinf,
                                np.isneginf)},
}  # fmt: skip
"""Function of NumPy -> its rule."""


def apply_function(tape: Tape, function: Any, args: Any, kwargs: Any) -> Any:
    """Record a function of NumPy that is no universal one."""
    if function in RULES:
        return RULES[function](tape, *args, **kwargs)
    if function in moving.SAME_ORDER:
        return moving.keep_order(tape, function, args, kwargs)
    if function in moving.AXES:
        return moving.move_axes(tape, function, args, kwargs)
    if function in moving.MOVING:
        return moving.move(tape, function, args, kwargs)
    raise NotRecorded(f"the function {function.__name__}")


def apply_activation(
    tape: Tape, name: str, function: Any, x: Recorded, args: Any, kwargs: Any
) -> Any:
    """Record an activation as one operation, or its parts if it has no derivative."""
    applied = partial(_with, function, args, kwargs)
    if name in DERIVATIVES:
        slope = DERIVATIVES[name]

        def slopes(value: Array, y: Array) -> Sequence[Any]:
            return (slope(value, y, *args, **kwargs),)

        given = args or {k: v for k, v in kwargs.items() if k != "exact"}
        place = "with arguments" if any(np.any(v) for v in _values(given)) else None
        return elementwise(tape, f"activation:{name}", applied, [x], slopes, place)
    if name in PULLBACKS:
        back = PULLBACKS[name]

        def pullback(y: Array) -> Callable[[Array], list[Array | None]]:
            return lambda d: [back(x.value, y, d, *args, **kwargs)]

        axis = args[0] if args else kwargs.get("axis", -1)
        return tape.record(
            [x],
            applied,
            pullback,
            name=f"activation:{name}",
            place=("axes", summing.axes_of(x, axis)),
        )
    return function(x, *args, **kwargs)


def _values(given: Any) -> list[Any]:
    """Return arguments that are not None."""
    items = given.values() if isinstance(given, Mapping) else given
    return [item for item in items if item is not None]


def _with(function: Any, args: Any, kwargs: Any, value: Any) -> Any:
    return function(value, *args, **kwargs)
