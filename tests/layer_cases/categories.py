"""Cases for `verify.forward.layers.categories`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case

EDGES = [-0.9, -0.1, 0.1, 0.7, 2.0]
"""Most of them are not numbers of float32."""


def _at_edges(rng):
    """Numbers, and the boundaries themselves as float32 and float64 have them."""
    import numpy as np

    x = rng.normal(size=(BATCH, 6, 3))
    x[0, :5, 0] = EDGES
    x[1, :5, 1] = np.asarray(EDGES, dtype="float32")
    x[2, :, :] = 0
    return [x]


def _ids(*shape, top=5):
    return lambda rng: [rng.integers(0, top, size=(BATCH, *shape)).astype("int32")]


def _fractions(rng):
    return [rng.uniform(0, 5, size=(BATCH, 6))]


def _weighted(rng):
    return [*_ids(6)(rng), rng.normal(size=(BATCH, 6))]


def _with_weights(layer, x):
    return layer(x[0], count_weights=x[1])


HOT = {"output_mode": "one_hot"}
MANY = {"output_mode": "multi_hot"}
COUNT = {"output_mode": "count"}
BINS = {"bin_boundaries": EDGES}

CASES = [
    Case("Discretization", BINS, inputs=_at_edges,
         wrong=[HOT, COUNT, {"bin_boundaries": [-0.9, -0.1, 0.1, 0.6, 2.0]}]),
    Case("Discretization", BINS, masked=True, after=True, wrong=[
        {"bin_boundaries": [-0.9, -0.1, 0.1, 0.7, 1.0]}]),
    Case("Discretization", {**BINS, **HOT}, shape=(6,), wrong=[MANY]),
    Case("Discretization", {**BINS, **HOT}, shape=(6, 1), after=True, wrong=[MANY]),
    Case("Discretization", {**BINS, **HOT}, shape=(1,), wrong=[{"output_mode": "int"}]),
    Case("Discretization", {**BINS, **MANY}, shape=(6,), wrong=[COUNT]),
    Case("Discretization", {**BINS, **COUNT}, shape=(6,), wrong=[MANY]),
    Case("Discretization", {**BINS, **MANY}, after=True, wrong=[COUNT]),
    Case("Discretization", {**BINS, **COUNT}, shape=(6, 3), wrong=[MANY]),
    Case("Discretization", {"bin_boundaries": [1, 2, 4]}, shape=(6,), dtypes=["int32"],
         inputs=_ids(6), wrong=[{"bin_boundaries": [0, 1, 3]}]),
    Case("CategoryEncoding", {"num_tokens": 5}, shape=(6,), dtypes=["int32"],
         inputs=_ids(6), wrong=[COUNT, {"num_tokens": 4}]),
    Case("CategoryEncoding", {"num_tokens": 5, **COUNT}, shape=(6,), dtypes=["int32"],
         inputs=_ids(6), wrong=[MANY]),
    Case("CategoryEncoding", {"num_tokens": 5, **HOT}, shape=(6,), dtypes=["int32"],
         inputs=_ids(6), after=True, wrong=[MANY]),
    Case("CategoryEncoding", {"num_tokens": 5, **HOT}, shape=(6, 1), dtypes=["int32"],
         inputs=_ids(6, 1), after=True, wrong=[MANY]),
    Case("CategoryEncoding", {"num_tokens": 4, **HOT}, shape=(6, 2), dtypes=["int32"],
         inputs=_ids(6, 2), wrong=[{"num_tokens": 5}]),
    Case("CategoryEncoding", {"num_tokens": 4}, shape=(6,), dtypes=["int32"],
         inputs=_ids(6), wrong=[COUNT]),
    Case("CategoryEncoding", {"num_tokens": 5}, shape=(6, 3), dtypes=["int32"],
         inputs=_ids(6, 3), after=True, wrong=[COUNT]),
    Case("CategoryEncoding", {"num_tokens": 5, **COUNT}, shape=(6, 3), dtypes=["int32"],
         inputs=_ids(6, 3), wrong=[MANY]),
    Case("CategoryEncoding", {"num_tokens": 5}, shape=(6,), inputs=_fractions,
         wrong=[COUNT]),
    Case("CategoryEncoding", {"num_tokens": 5, **HOT}, shape=(6,), inputs=_fractions,
         wrong=[COUNT]),
    Case("CategoryEncoding", {"num_tokens": 5, **COUNT}, shape=[(6,), (6,)],
         dtypes=["int32", "float64"], inputs=_weighted, call=_with_weights,
         wrong=[MANY]),
]  # fmt: skip
