"""Record the operations that move numbers and compute nothing.

The result of such an operation is the same whatever the numbers are. So it is made of
the numbers 1, 2, 3 ... too, which tell where each number of the result comes from; 0
stands for a number that comes from nowhere, such as padding. The adjoint is carried
back the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from verify.backward.recording.tape import (
    ONE_TO_ONE,
    NotRecorded,
    Part,
    Pullback,
    Recorded,
    Tape,
    value_of,
)
from verify.model.arrays import Array
from verify.model.graph import flatten, map_structure

MOVING: tuple[Callable[..., Any], ...] = (
    np.repeat, np.tile, np.flip, np.roll, np.take, np.broadcast_to, np.split,
    np.array_split, np.pad, np.take_along_axis, np.diagonal, np.tril, np.triu,
    np.rot90, np.flipud, np.fliplr, sliding_window_view, np.concatenate, np.stack,
    np.hstack, np.vstack, np.broadcast_arrays, np.delete, np.insert, np.append,
    np.unstack, np.compress, np.dstack,
)  # fmt: skip
"""Functions of NumPy that only move numbers."""

SAME_ORDER: tuple[Callable[..., Any], ...] = (
    np.reshape, np.ravel, np.squeeze, np.expand_dims, np.atleast_1d, np.atleast_2d,
    np.copy, np.asarray, np.ascontiguousarray,
)  # fmt: skip
"""Functions of NumPy that keep the numbers in their order."""

AXES: tuple[Callable[..., Any], ...] = (np.transpose, np.moveaxis, np.swapaxes)
"""Functions of NumPy that move axes."""


def take_items(tape: Tape, x: Recorded, key: Any) -> Any:
    """Return ``x[key]``."""
    items = key if isinstance(key, tuple) else (key,)
    if any(isinstance(item, Recorded) for item in items):
        raise NotRecorded("an index that is computed from floats")
    basic = all(
        item is None or item is Ellipsis or isinstance(item, (slice, int, np.integer))
        for item in items
    )
    if not basic:
        return tape.looked_up(move(tape, lambda value: value[key], (x,), {}))

    def pullback(output: Array) -> Pullback:
        return lambda d: [Part(items, d)]

    return tape.record([x], lambda value: value[key], pullback, place=ONE_TO_ONE)


def keep_order(tape: Tape, function: Any, args: Any, kwargs: Any) -> Any:
    """Record a function of `SAME_ORDER`."""
    x, *rest = args

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        return lambda d: [d.reshape(len(d), *x.shape)]

    return tape.record(
        [x],
        lambda value: function(value, *rest, **kwargs),
        pullback,
        place=ONE_TO_ONE,
    )


def move_axes(tape: Tape, function: Any, args: Any, kwargs: Any) -> Any:
    """Record a function of `AXES`."""
    x, *rest = args
    numbers = np.empty((1,) * x.ndim)
    # sizes of a power of two each tell the axes apart
    numbers = np.broadcast_to(numbers, tuple(2 + k for k in range(x.ndim)))
    order = [size - 2 for size in function(numbers, *rest, **kwargs).shape]
    back_order = (0, *(1 + k for k in np.argsort(order)))

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        return lambda d: [d.transpose(back_order)]

    return tape.record(
        [x],
        lambda value: function(value, *rest, **kwargs),
        pullback,
        place=ONE_TO_ONE,
    )


def move(tape: Tape, function: Any, args: Any, kwargs: Any) -> Any:
    """Record any function that only moves numbers; it may return several arrays."""
    given = [x for x in flatten([args, kwargs]) if isinstance(x, Recorded)]
    if function is np.pad and kwargs.get("mode", "constant") == "constant":
        unpadded = {k: v for k, v in kwargs.items() if k != "constant_values"}
    else:
        unpadded = kwargs
    ends = np.cumsum([0, *(x.size for x in given)])
    numbers = iter(
        1 + np.arange(a, b).reshape(x.shape)
        for a, b, x in zip(ends[:-1], ends[1:], given, strict=True)
    )

    def numbered(leaf: Any) -> Any:
        if isinstance(leaf, Recorded):
            return next(numbers)
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f":
            return np.zeros(leaf.shape, dtype=np.int64)
        return leaf

    sources = function(*map_structure(numbered, args), **_mapped(numbered, unpadded))
    several = isinstance(sources, (list, tuple))
    found = [
        _moved(tape, function, args, kwargs, given, source, k if several else None)
        for k, source in enumerate(sources if several else [sources])
    ]
    return found if several else found[0]


def _mapped(change: Callable[[Any], Any], kwargs: Any) -> Any:
    return {key: map_structure(change, value) for key, value in kwargs.items()}


def _moved(
    tape: Tape,
    function: Any,
    args: Any,
    kwargs: Any,
    given: Sequence[Recorded],
    sources: Array,
    which: int | None,
) -> Any:
    """Record one result, whose numbers come from `sources`."""
    total = sum(x.size for x in given)
    flat = np.asarray(sources).reshape(-1)

    def applied(*values: Any) -> Any:
        rest = iter(values)

        def filled(leaf: Any) -> Any:
            return next(rest) if isinstance(leaf, Recorded) else value_of(leaf)

        result = function(*map_structure(filled, args), **_mapped(filled, kwargs))
        return result if which is None else result[which]

    def pullback(output: Array) -> Callable[[Array], list[Array | None]]:
        def back(d: Array) -> list[Array | None]:
            joined = gathered(d.reshape(len(d), -1), flat, total)
            cuts = np.cumsum([x.size for x in given])[:-1]
            parts = np.split(joined, cuts, axis=1)
            return [
                part.reshape(len(d), *x.shape)
                for part, x in zip(parts, given, strict=True)
            ]

        return back

    return tape.record(
        given, applied, pullback, place=ONE_TO_ONE if _once(flat, total) else None
    )


def _once(sources: Array, total: int) -> bool:
    """Return whether no number is moved to two places."""
    return bool(np.bincount(sources, minlength=total + 1)[1:].max(initial=0) <= 1)


def gathered(d: Array, sources: Array, total: int) -> Array:
    """Add up the adjoints of all numbers that come from the same one.

    Parameters
    ----------
    d : (sweeps, n)
    sources : (n,) of int
        Number from 1 that each comes from; 0 for none.
    total : int
        How many numbers there are to come from.

    Returns
    -------
    (sweeps, total)
    """
    found = np.zeros((len(d), total + 1))
    if _once(sources, total):
        found[:, sources] = d
    else:
        for k, row in enumerate(d):
            found[k] = np.bincount(sources, weights=row, minlength=total + 1)
    return found[:, 1:]
