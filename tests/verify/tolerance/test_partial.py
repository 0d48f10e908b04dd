"""What is known of batches of rows adds up to what is known of all of them."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.tolerance.compare import Comparison, compare, most_different
from verify.tolerance.partial import Decimals, Ranking

NAN, INF = float("nan"), float("inf")


def cut(draw, rows: int) -> list[slice]:
    cuts = draw(st.lists(st.integers(1, rows - 1), unique=True, max_size=5))
    return [slice(a, b) for a, b in pairwise([0, *sorted(cuts), rows])]


@st.composite
def outputs(draw, most_axes: int = 3):
    """Two arrays that mostly agree, what is allowed, and how to cut them."""
    axes = draw(st.integers(1, most_axes))
    rows = draw(st.integers(2, 12))
    shape = (rows, *draw(st.tuples(*[st.integers(1, 4)] * (axes - 1))))
    seed = draw(st.integers(0, 2**20))
    rng = np.random.default_rng(seed)
    ours = rng.normal(size=shape).round(1)
    theirs = ours.copy()
    for _ in range(draw(st.integers(0, 4))):
        at = tuple(rng.integers(size) for size in shape)
        theirs[at] = draw(st.sampled_from([NAN, INF, ours[at] + 0.1, ours[at] - 0.3]))
    allowed = rng.choice([0.0, 0.05, 0.15, 1.0], size=shape)
    return ours, theirs, allowed, cut(draw, rows)


@given(outputs())
@settings(max_examples=300, deadline=None)
def test_comparisons_of_batches_add_up_to_that_of_all_rows(given_):
    ours, theirs, allowed, batches = given_
    parts = [compare(ours[p], theirs[p], allowed=allowed[p]) for p in batches]
    at_once = compare(ours, theirs, allowed=allowed)
    assert repr(reduce(Comparison.merge, parts)) == repr(at_once)


def test_comparisons_merged_in_another_order_are_others():
    ours, theirs = np.zeros((6, 3, 2)), np.zeros((6, 3, 2))
    theirs[4, 1, 0] = 1.0
    first, second = (
        compare(ours[p], theirs[p], allowed=0.1) for p in (slice(0, 4), slice(4, 6))
    )
    assert first.merge(second).first == (4, 1, 0)
    assert second.merge(first).first == (0, 1, 0)


@given(st.data(), st.integers(1, 3), st.integers(2, 40), st.integers(1, 10))
@settings(max_examples=200, deadline=None)
def test_the_rows_that_differ_most_are_those_of_all_rows(data, count, rows, most):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    ours = [rng.normal(size=(rows, 2)) * 10.0**k for k in range(count)]
    theirs = [y + rng.normal(size=y.shape) for y in ours]
    theirs[0][rng.integers(rows), 0] = data.draw(st.sampled_from([NAN, 0.5, INF]))
    parts = [
        Ranking.of(p.start, [a[p] for a in ours], [b[p] for b in theirs], most)
        for p in cut(data.draw, rows)
    ]
    found = reduce(lambda a, b: a.merge(b, most), parts).most(most)
    assert found.tolist() == sorted(most_different(ours, theirs)[:most].tolist())


@given(st.data(), st.integers(0, 8), st.integers(2, 60))
@settings(max_examples=200, deadline=None)
def test_decimals_of_batches_add_up(data, places, rows):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    values = rng.uniform(-2, 2, size=(rows, 1)).round(places).astype(np.float32)
    if data.draw(st.booleans()):
        values[-1] = data.draw(st.sampled_from([0.123456, NAN, 1e7]))
    parts = [Decimals.of([values[p]]) for p in cut(data.draw, rows)]
    assert reduce(Decimals.merge, parts) == Decimals.of([values])
