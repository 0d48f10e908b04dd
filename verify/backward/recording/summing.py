"""Record the operations that sum: matrix products, sums, means and extremes."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verify.backward.recording.elementwise import unbroadcast
from verify.backward.recording.tape import NotRecorded, Recorded, Tape, value_of
from verify.model.arrays import Array

SWEEP = "Z"
"""Letter of the axis of the sweeps in the equations of this module."""


def products(tape: Tape, function: Any, pair: Sequence[Any], equation: str) -> Any:
    """Record a sum of products that an equation of einsum describes.

    Parameters
    ----------
    tape : Tape
    function : callable
        Of the two operands.
    pair : two of Recorded or array
    equation : str
        Without dots; an axis of size 1 may meet a longer one of the same letter.
    """
    inputs, _, output = equation.partition("->")
    letters = inputs.split(",")
    if any(len(set(term)) < len(term) for term in letters):
        raise NotRecorded("an einsum with a letter twice in one operand")
    a, b = pair
    sizes: dict[str, int] = {}
    for term, x in zip(letters, pair, strict=True):
        for letter, size in zip(term, x.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    contracted = sorted(set("".join(letters)) - set(output))
    terms = math.prod(sizes[letter] for letter in contracted)
    place = next((id(x.value) for x in pair if _is_weight(x)), None)
    summed: tuple[int | None, ...] = ()
    if place is None and contracted:
        longest = max(contracted, key=lambda letter: sizes[letter])
        if any(longest in term[:-1] for term in letters):
            summed = tuple(t.index(longest) if longest in t else None for t in letters)

    def towards(d: Array, k: int) -> Array:
        """Return the adjoint of operand k."""
        own, other = letters[k], letters[1 - k]
        x, y = value_of(pair[k]), value_of(pair[1 - k])
        if _plain_kernel(own, other, output) and k == 0:
            rows = d.reshape(-1, d.shape[-1])
            return np.asarray(rows @ y.T).reshape(len(d), *x.shape)
        missing = [s for s in own if s not in output and s not in other]
        ones = [np.ones(sizes[s]) for s in missing]
        given = ",".join([SWEEP + output, other, *missing])
        found = np.einsum(f"{given}->{SWEEP}{own}", d, y, *ones, optimize=True)
        return unbroadcast(found, x.shape)

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        wanted = [getattr(x, "place", None) is not None for x in pair]
        return lambda d: [towards(d, k) if wanted[k] else None for k in (0, 1)]

    return tape.record(
        [a, b], function, pullback, name="products", terms=terms, place=place,
        summed=summed,
    )  # fmt: skip


def _is_weight(x: Any) -> bool:
    return isinstance(x, Recorded) and x.place is None


def _plain_kernel(own: str, other: str, output: str) -> bool:
    """Return whether the equation is ``x @ kernel`` with a matrix."""
    return len(other) == 2 and own[-1] == other[0] and output == own[:-1] + other[1]


def of_matmul(a: Any, b: Any) -> str:
    """Return the equation of ``a @ b``."""
    if a.ndim < 1 or b.ndim < 1:
        raise NotRecorded("a matrix product with a number")
    batch = string.ascii_lowercase[: max(a.ndim, b.ndim) - 2 if a.ndim > 1 else 0]
    if b.ndim > 2 and a.ndim == 1:
        batch = string.ascii_lowercase[: b.ndim - 2]
    left = batch[len(batch) - (a.ndim - 2) :] if a.ndim > 2 else ""
    right = batch[len(batch) - (b.ndim - 2) :] if b.ndim > 2 else ""
    first = f"{left}XY" if a.ndim > 1 else "Y"
    second = f"{right}YW" if b.ndim > 1 else "Y"
    longer = left if len(left) >= len(right) else right
    output = longer + ("X" if a.ndim > 1 else "") + ("W" if b.ndim > 1 else "")
    return f"{first},{second}->{output}"


def of_tensordot(a: Any, b: Any, axes: Any) -> str:
    """Return the equation of ``np.tensordot(a, b, axes)``."""
    if isinstance(axes, (int, np.integer)):
        over_a = list(range(a.ndim - axes, a.ndim))
        over_b = list(range(axes))
    else:
        over_a, over_b = (
            [k % x.ndim for k in np.atleast_1d(one)]
            for one, x in zip(axes, (a, b), strict=True)
        )
    first = list(string.ascii_lowercase[: a.ndim])
    second = list(string.ascii_uppercase[: b.ndim])
    for i, j in zip(over_a, over_b, strict=True):
        second[j] = first[i]
    kept = [s for k, s in enumerate(first) if k not in over_a]
    kept += [s for k, s in enumerate(second) if k not in over_b]
    return f"{''.join(first)},{''.join(second)}->{''.join(kept)}"


def of_einsum(equation: str, ranks: Sequence[int]) -> str:
    """Return an equation of einsum without spaces and dots, and with a result."""
    equation = equation.replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    used = set(equation) | {SWEEP}
    spare = [s for s in string.ascii_letters if s not in used]
    most = max(
        (
            rank - len(term) + 3
            for term, rank in zip(terms, ranks, strict=True)
            if "..." in term
        ),
        default=0,
    )
    dots = "".join(spare[:most])
    full = []
    for term, rank in zip(terms, ranks, strict=True):
        count = rank - len(term) + 3
        full.append(term.replace("...", dots[most - count :] if count else ""))
    if not arrow:
        once = "".join(full)
        output = "".join(sorted(s for s in set(once) if once.count(s) == 1))
    return f"{','.join(full)}->{output.replace('...', dots)}"


def axes_of(x: Any, axis: Any) -> tuple[int, ...]:
    """Return axes counted from the front; all of them for None."""
    if axis is None:
        return tuple(range(x.ndim))
    items = axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(int(k) % x.ndim for k in items)


def spread(d: Array, shape: tuple[int, ...], axes: Sequence[int]) -> Array:
    """Return the adjoint of a reduction with its axes in their places, of size 1."""
    kept = tuple(1 if k in axes else size for k, size in enumerate(shape))
    return d.reshape(len(d), *kept)


def total(tape: Tape, x: Any, axis: Any, keepdims: bool, mean: bool = False) -> Any:
    """Record a sum or a mean along axes."""
    axes = axes_of(x, axis)
    count = 1
    for k in axes:
        count *= x.shape[k]
    function = np.mean if mean else np.sum

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        share = 1 / count if mean else 1.0

        def back(d: Array) -> list[Array | None]:
            wide = spread(d, x.shape, axes) * share
            return [np.broadcast_to(wide, (len(d), *x.shape))]

        return back

    return tape.record(
        [x],
        lambda value: function(value, axis=axes, keepdims=keepdims),
        pullback,
        name="mean" if mean else "sum",
        terms=count,
        summed=tuple(k for k in sorted(axes)[:1] if k < x.ndim - 1),
    )


def product(tape: Tape, x: Any, axis: Any, keepdims: bool) -> Any:
    """Record a product along axes."""
    axes = axes_of(x, axis)
    value = value_of(x)
    count = 1
    for k in axes:
        count *= x.shape[k]

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        others = _products_of_others(value, axes)
        return lambda d: [spread(d, x.shape, axes) * others]

    return tape.record(
        [x],
        lambda v: np.prod(v, axis=axes, keepdims=keepdims),
        pullback,
        name="prod",
        terms=count,
    )


def _products_before(factors: Array) -> Array:
    """Return for each place along the first axis the product of all earlier ones."""
    found = np.ones_like(factors)
    np.cumprod(factors[:-1], axis=0, out=found[1:])
    return found


def _products_of_others(value: Array, axes: Sequence[int]) -> Array:
    """Return for each number the product of all others along some axes.

    A factor may be 0, so that the whole product cannot be divided by it.
    """
    front = tuple(range(len(axes)))
    moved = np.moveaxis(value, axes, front)
    factors = moved.reshape(-1, *moved.shape[len(axes) :])
    after = _products_before(factors[::-1])[::-1]
    others = (_products_before(factors) * after).reshape(moved.shape)
    return np.moveaxis(others, front, axes)


def running_product(tape: Tape, x: Any, axis: Any) -> Any:
    """Record a running product along an axis."""
    (k,) = axes_of(x, axis)
    factors = np.moveaxis(value_of(x), k, 0)

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        before = _products_before(factors)

        def back(d: Array) -> list[Array | None]:
            d_y = np.moveaxis(d, k + 1, 0)
            found, later = np.empty_like(d_y), np.zeros_like(d_y[0])
            for n in reversed(range(len(factors))):
                later = d_y[n] + later  # of all products that have factor n
                found[n] = before[n] * later
                later = later * factors[n]
            return [np.moveaxis(found, 0, k + 1)]

        return back

    return tape.record(
        [x],
        lambda v: np.cumprod(v, axis=k),
        pullback,
        name="cumprod",
        terms=x.shape[k],
        place=("axes", (k,)),
    )


def extreme(tape: Tape, x: Any, axis: Any, keepdims: bool, function: Any) -> Any:
    """Record a maximum or a minimum along axes; equal numbers share the adjoint."""
    axes = axes_of(x, axis)
    value = value_of(x)

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        shares = extreme_shares(value, axes, function, all_of_them=tape.single)
        return lambda d: [spread(d, x.shape, axes) * shares]

    return tape.record(
        [x],
        lambda v: function(v, axis=axes, keepdims=keepdims),
        pullback,
        name="max" if function is np.max else "min",
        terms=0,
        place=("axes", axes),
    )


def extreme_shares(
    value: Array, axes: tuple[int, ...], function: Any, *, all_of_them: bool
) -> Array:
    """Return which numbers are the maximum or minimum along axes.

    Equal ones share the adjoint, or each has all of it, for those who ask how far
    errors may move the result: any of them may turn out to be the extreme.
    """
    chosen = value == function(value, axis=axes, keepdims=True)
    if all_of_them:
        return np.asarray(chosen, dtype=np.float64)
    return np.asarray(chosen / np.maximum(chosen.sum(axis=axes, keepdims=True), 1))


def running_sum(tape: Tape, x: Any, axis: Any) -> Any:
    """Record a running sum along an axis."""
    (k,) = axes_of(x, axis)

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        return lambda d: [_sums_to_the_end(d, k + 1)]

    return tape.record(
        [x],
        lambda v: np.cumsum(v, axis=k),
        pullback,
        name="cumsum",
        terms=x.shape[k],
        place=("axes", (k,)),
    )


def in_order(tape: Tape, x: Any, axis: int = -1) -> Any:
    """Record the sorting of numbers along an axis."""
    (k,) = axes_of(x, axis)
    order = np.argsort(value_of(x), axis=k, kind="stable")

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        def back(d: Array) -> list[Array | None]:
            found = np.empty_like(d)
            np.put_along_axis(found, np.broadcast_to(order, d.shape), d, axis=k + 1)
            return [found]

        return back

    return tape.record(
        [x], lambda v: np.sort(v, axis=k), pullback, name="sort", place=("axes", (k,))
    )


def _sums_to_the_end(d: Array, axis: int) -> Array:
    """Return for each place along an axis the sum of it and all later ones."""
    return np.flip(np.cumsum(np.flip(d, axis=axis), axis=axis), axis=axis)
