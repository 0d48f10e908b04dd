"""The same numbers in another order: rows, columns, axes, outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import permutations

import numpy as np

from verify.errors import join_and
from verify.mistakes.presentation.view import SCREENED, Found, Given, Part, View
from verify.model.arrays import Array

MAX_COLUMNS = 1000
"""Columns whose order is sought, at most."""

MAX_SAME_ROWS = 64
"""Rows alike that are looked at where sorting does not tell which is which."""

LOOKED_AT = 16
"""Rows that are looked at before all of them."""

SHOWN_PLACES = 8
"""Places of an order that a sentence shows."""

SAME_SHAPE = 0.9999
"""Correlation from which two columns may be the same in other units."""

SHIFTS = (1, -1, 2, -2)
"""Rows that an order may be off by, with those at one end lost."""

AXES = {2: ("batch", "units"), 3: ("batch", "time", "features")}


def log2_factorial(count: int) -> float:
    """Return the binary logarithm of the number of orders of so many things."""
    return math.lgamma(count + 1) / math.log(2)


def exchanged_outputs(shapes: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Yield the orders of a few outputs in which each has the shape of its place."""
    if not 1 < len(shapes) <= 5:
        return
    for order in permutations(range(len(shapes))):
        moved = any(k != place for place, k in enumerate(order))
        if moved and all(shapes[k] == shapes[place] for place, k in enumerate(order)):
            yield order


# ---- columns


def columns_in_another_order(view: View, given: Given) -> Found | None:
    """Return the view with its last axis in another order, if that fits."""
    count = view.values.shape[-1]
    if view.values.ndim < 2 or not 1 < count <= MAX_COLUMNS:
        return None
    fits = _alike_columns(view, given)
    order = None if fits is None else _only_order(fits)
    if order is None:
        return None
    return given.decided(
        in_column_order(view, order), arrangements=log2_factorial(count)
    )


def in_column_order(view: View, order: Array) -> View:
    """Return the view with its last axis in another order.

    Parameters
    ----------
    view : View
    order : (columns,) of int
        Which column of the view stands in each place.
    """
    count = len(order)
    back = np.argsort(order)
    part = Part(
        "columns in another order",
        f"the columns are in another order: {_listed(order)} of numpy's",
        f"reorder them: theirs[..., {_listed(back, every=True)}]"
        if count <= SHOWN_PLACES
        else "put the columns into the order of the model's units",
    )
    return view.then(part, view.values[..., order], view.tolerance[..., order])


def _alike_columns(view: View, given: Given) -> Array | None:
    """Return which column of theirs fits which of ours; (columns of theirs, of ours).

    Rows are looked at one by one, so that most pairs are given up after a few.
    """
    count = view.values.shape[-1]
    ours, wide, theirs, form = (
        array.reshape(-1, count)
        for array in (view.values, view.tolerance, given.values, given.width)
    )
    fits = np.ones((count, count), dtype=bool)
    for k in range(min(len(ours), 8)):
        near = np.abs(theirs[k][:, None] - ours[k]) <= form[k][:, None] + wide[k]
        fits &= near
    there, here = np.nonzero(fits)
    if len(there) > 8 * count + 64:
        return None
    for j, i in zip(there, here, strict=True):
        near = np.abs(theirs[:, j] - ours[:, i]) <= form[:, j] + wide[:, i]
        fits[j, i] = near.all()
    return fits


def _only_order(fits: Array) -> Array | None:
    """Return the only order that fits, or None; columns that may stay do.

    Parameters
    ----------
    fits : (columns of theirs, columns of ours) of bool
    """
    count = len(fits)
    open_, order = fits.copy(), np.full(count, -1)

    def settle(place: int, column: int) -> None:
        order[place] = column
        open_[place, :] = False
        open_[:, column] = False

    while (order < 0).any():
        left = open_.sum(axis=1)
        certain = np.flatnonzero((order < 0) & (left == 1))
        if (left[order < 0] == 0).any():
            return None
        if len(certain):
            place = int(certain[0])
            settle(place, int(np.argmax(open_[place])))
            continue
        staying = [k for k in np.flatnonzero(order < 0) if open_[k, k]]
        if not staying:
            return None  # several orders fit: not decidable
        settle(int(staying[0]), int(staying[0]))
    return None if np.array_equal(order, np.arange(count)) else order


# ---- rows


def rows_in_another_order(view: View, given: Given) -> Found | None:
    """Return the view with its rows in another order, if that fits.

    Rows that are turned round or moved by some places are tried first; the rows that
    are lost at one end may then hold anything.
    """
    rows = len(view.values)
    if rows < 2 or given.fit(view) is not None:
        return None
    order = np.arange(rows)
    for moved, part in _simple_orders(order):
        if not _may_fit(view, given, moved):
            continue
        found = given.decided(_in_row_order(view, moved, part))
        if found is not None:
            return found
    for by in SHIFTS:
        if rows <= 2 * abs(by) + 2 or not _may_fit(view, given, np.roll(order, by)):
            continue
        found = _shifted_rows(view, given, by)
        if found is not None:
            return found
    sought = row_order(view, given)
    if sought is None:
        return None
    shown = in_row_order(view, sought)
    return given.decided(shown, arrangements=log2_factorial(rows))


def _simple_orders(order: Array) -> Iterator[tuple[Array, Part]]:
    last = len(order) - 1
    yield (
        order[::-1],
        Part(
            "rows reversed",
            f"the rows are in reverse order: row 0 of theirs is row {last} of numpy's",
            "return the outputs in the order of the inputs",
        ),
    )
    for by in (1, -1):
        yield np.roll(order, by), _rolled(by)


def _may_fit(view: View, given: Given, order: Array) -> bool:
    """Say whether some rows fit in an order; those at the ends are not looked at."""
    last = len(order) - 1
    some = np.unique(np.linspace(min(2, last), max(last - 2, 0), LOOKED_AT).astype(int))
    from_ = order[some]
    off = np.abs(view.values[from_] - given.values[some])
    return bool(np.all(off <= view.tolerance[from_] + 2 * given.width[some]))


def _rolled(by: int) -> Part:
    places = f"{abs(by)} place" + ("s" if abs(by) > 1 else "")
    return Part(
        "rows moved round",
        f"the rows are moved {'down' if by > 0 else 'up'} by {places}, and those that "
        "leave at one end come back at the other",
        "return the outputs in the order of the inputs",
    )


def _in_row_order(view: View, order: Array, part: Part) -> View:
    return view.then(part, view.values[order], view.tolerance[order])


def in_row_order(view: View, order: Array) -> View:
    """Return the view with its rows in another order.

    Parameters
    ----------
    view : View
    order : (batch,) of int
        Which row of the view stands in each place.
    """
    rows = len(order)
    by = int(-order[0]) % rows
    if by and np.array_equal(order, np.roll(np.arange(rows), by)):
        return _in_row_order(view, order, _rolled(by if by <= rows // 2 else by - rows))
    moved = np.flatnonzero(order != np.arange(rows))
    if len(moved) <= SHOWN_PLACES:
        text = join_and([f"row {k} of theirs is row {order[k]}" for k in moved])
        text = f"the rows are in another order: {text} of numpy's"
    else:
        first = ", ".join(map(str, order[:SHOWN_PLACES]))
        text = (
            f"the rows are in another order: the first of theirs are rows {first} of "
            f"numpy's; {len(moved):,} of {rows:,} are in another place"
        )
    part = Part(
        "rows in another order",
        text,
        "return the outputs in the order of the inputs: no shuffling, no sorting by "
        "length without undoing it",
    )
    return _in_row_order(view, order, part)


def _shifted_rows(view: View, given: Given, by: int) -> Found | None:
    """Return the view with its rows moved by some places; lost rows are let alone."""
    values = np.roll(view.values, by, axis=0)
    tolerance = np.roll(view.tolerance, by, axis=0)
    lost = slice(0, by) if by > 0 else slice(by, None)
    values[lost], tolerance[lost] = given.values[lost], np.inf
    if not np.isfinite(given.values[lost]).all():
        return None
    count = f"{abs(by)} place" + ("s" if abs(by) > 1 else "")
    first = (
        f"row {by} of theirs is row 0" if by > 0 else f"row 0 of theirs is row {-by}"
    )
    end = "first" if by > 0 else "last"
    part = Part(
        "rows off by some places",
        f"the rows are off by {count}: {first} of numpy's, and so on; the {end} "
        f"{'row is' if abs(by) == 1 else f'{abs(by)} rows are'} none of these",
        "pair every output with the input it was computed from",
    )
    return given.decided(view.then(part, values, tolerance))


def row_order(view: View, given: Given) -> Array | None:
    """Return which row of the view stands in each place of theirs, or None.

    Both are sorted by a random sum of their columns, which rounding moves by a known
    amount at most.

    Returns
    -------
    (batch,) of int
    """
    rows = len(view.values)
    a, b = view.values.reshape(rows, -1), given.values.reshape(rows, -1)
    width = np.broadcast_to(view.tolerance, view.values.shape).reshape(rows, -1)
    coarse = given.width.reshape(rows, -1)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    if not (np.isfinite(width).all() and np.isfinite(coarse).all()):
        return None
    unit = np.maximum(width.max(axis=0) + coarse.max(axis=0), 1e-300)  # (columns,)
    rng = np.random.default_rng(0)
    weights = rng.choice([-1.0, 1.0], size=a.shape[1]) * rng.uniform(
        0.5, 1.0, size=a.shape[1]
    )
    mine, their = (a / unit) @ weights, (b / unit) @ weights  # (batch,)
    reach = float(np.abs(weights).sum())
    here, there = np.argsort(mine, kind="stable"), np.argsort(their, kind="stable")
    if np.max(np.abs(mine[here] - their[there])) > 2 * reach:
        return None
    order = np.empty(rows, dtype=np.int64)
    order[there] = here

    def alike(places: Array, chosen: Array) -> Array:
        near = np.abs(a[chosen] - b[places]) <= width[chosen] + coarse[places]
        fits: Array = near.all(axis=1)
        return fits

    bad = np.flatnonzero(~alike(np.arange(rows), order))
    if len(bad) > max(MAX_SAME_ROWS, rows // 2):
        return None
    free = set(order[bad].tolist())
    for place in bad:
        low, high = np.searchsorted(
            mine[here], [their[place] - 2 * reach, their[place] + 2 * reach]
        )
        window = [k for k in here[low:high].tolist() if k in free][:MAX_SAME_ROWS]
        near = [
            k
            for k in window
            if alike(np.array([place]), np.array([k], dtype=np.int64))[0]
        ]
        if not near:
            return None
        order[place] = near[0]
        free.discard(near[0])
    for place in np.flatnonzero(order != np.arange(rows)):
        if alike(np.array([place]), np.array([place]))[0]:  # it may be where it was
            order[np.flatnonzero(order == place)] = order[place]
            order[place] = place
    return None if np.array_equal(order, np.arange(rows)) else order


def columns_by_correlation(view: View, given: Given) -> tuple[View | None, float]:
    """Return the view with its columns in the order of those they are proportional to.

    Returns
    -------
    view : View or None
        None if that is no other order, or not the only one.
    arrangements : float
        Binary logarithm of the number of orders it was chosen from.
    """
    count = view.values.shape[-1]
    if view.values.ndim < 2 or not 1 < count <= MAX_COLUMNS:
        return None, 0.0
    a, b = (_standardised(y.reshape(-1, count)) for y in (view.values, given.values))
    fits = np.abs(b.T @ a) > SAME_SHAPE  # (columns of theirs, of ours)
    order = fits.argmax(axis=1)
    only = (fits.sum(axis=1) == 1).all() and len(set(order.tolist())) == count
    if not only or np.array_equal(order, np.arange(count)):
        return None, 0.0
    return in_column_order(view, order), log2_factorial(count)


def rows_by_correlation(view: View, given: Given) -> tuple[View | None, float]:
    """Return the view with its rows in the order in which they are proportional.

    Rows are sorted by their number that spreads most; parameters and results are those
    of `columns_by_correlation`.
    """
    rows = len(view.values)
    a, b = view.values.reshape(rows, -1), given.values.reshape(rows, -1)
    if rows < 4 or not np.isfinite(b).all():
        return None, 0.0
    at = int(np.argmax(np.ptp(a, axis=0)))
    here, there = (
        np.argsort(a[:, at], kind="stable"),
        np.argsort(b[:, at], kind="stable"),
    )
    sorted_ = _standardised(b[there, at : at + 1])[:, 0]
    for chosen, sign in ((here, 1), (here[::-1], -1)):
        alike = _standardised(a[chosen, at : at + 1])[:, 0] @ sorted_
        if sign * alike > SAME_SHAPE:
            order = np.empty(rows, dtype=np.int64)
            order[there] = chosen
            if not np.array_equal(order, np.arange(rows)):
                return in_row_order(view, order), log2_factorial(rows)
    return None, 0.0


def _standardised(columns: Array) -> Array:
    """Return columns of mean 0 and length 1; constant ones are zeros."""
    off = columns - columns.mean(axis=0)
    length = np.linalg.norm(off, axis=0)
    return np.where(length > 0, off / np.maximum(length, 1e-300), 0.0)


# ---- axes


def other_axes(view: View, given: Given) -> Iterator[View]:
    """Yield the numbers stored axis by axis in another order, in the same shape.

    Either the port stored them so, or it read them so; with axes of one size the two
    may be the same. Orders in which the first numbers do not fit are left out.
    """
    shape = view.values.shape
    if len(shape) > 4:
        return
    for axes in list(permutations(range(len(shape))))[1:]:
        for stored in (True, False):
            turned = partial(_turned, axes=axes, stored=stored)
            first = [turned(y, first=SCREENED) for y in (view.values, view.tolerance)]
            off = np.abs(first[0] - given.values.flat[: len(first[0])])
            if np.all(off <= first[1] + 2 * given.width.flat[: len(off)]):
                part = _axes_part(axes, shape, stored)
                yield view.then(part, turned(view.values), turned(view.tolerance))


def _turned(
    array: Array, axes: tuple[int, ...], stored: bool, first: int | None = None
) -> Array:
    """Return an array stored, or read, with its axes in another order.

    Parameters
    ----------
    array : array
    axes : tuple of int
    stored : bool
        Whether it was stored so; otherwise it was read so.
    first : int, optional
        Return so many numbers at most, in a row.
    """
    shape = array.shape
    if stored:
        turned = array.transpose(axes)
    else:
        turned = array.reshape([shape[k] for k in axes]).transpose(np.argsort(axes))
    return turned.reshape(shape) if first is None else turned.flat[:first]


def _axes_part(axes: tuple[int, ...], shape: tuple[int, ...], stored: bool) -> Part:
    back = tuple(int(k) for k in np.argsort(axes))
    names = AXES.get(len(shape), tuple(f"axis {k}" for k in range(len(shape))))
    moved = [names[k] for k in range(len(shape)) if axes[k] != k]
    same = all(shape[k] == size for k, size in zip(axes, shape, strict=True))
    which = f"{join_and(moved)} are exchanged"
    if len(moved) > 2:
        which = f"the axes are in the order {', '.join(names[k] for k in axes)}"
    if same:
        says, use = f"{which}", f"theirs.transpose{back}"
    elif stored:
        there = tuple(shape[k] for k in axes)
        says = f"{which} in the order in which the numbers are stored"
        use = f"theirs.reshape{there}.transpose{back}"
    else:
        says = f"{which} in the order in which the numbers were read"
        use = f"theirs.transpose{axes}.reshape{shape}"
    return Part("axes exchanged", says, f"store them as predict returns them: {use}")


def _listed(order: Array, every: bool = False) -> str:
    shown = order if every else order[:SHOWN_PLACES]
    more = ", ..." if len(shown) < len(order) else ""
    return f"[{', '.join(map(str, shown))}{more}]"
