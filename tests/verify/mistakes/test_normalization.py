"""Mistakes in normalisation, each planted by a few lines of NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from support.graphs import computed, given, made, named, net

from verify import Network, compare_outputs

BATCH, TIME, WIDTH = 40, 5, 4
X = np.random.default_rng(2).integers(-9, 20, (BATCH, TIME, WIDTH)) / 8


def alone(layer):
    return net([given("x", TIME, WIDTH), layer], {layer.name: "x"}, layer.name)


LAYER = alone(
    made("LayerNormalization", "norm", (WIDTH,), (WIDTH,), seed=1, epsilon=1e-3)
)
BATCHED = alone(made("BatchNormalization", "norm", *[(WIDTH,)] * 4, seed=1))


def parameters(spec):
    return [w.astype(np.float64) for w in spec["norm"].weights.values()]


def by_layer(axis=-1, epsilon=1e-3, ddof=0, centre=True, outside=0.0):
    gamma, beta = parameters(LAYER)
    mean = X.mean(axis=axis, keepdims=True) * centre
    square = ((X - mean) ** 2).mean(axis=axis, keepdims=True)
    n = WIDTH
    square = square * n / (n - ddof)
    return (X - mean) / (np.sqrt(square + epsilon) + outside) * gamma + beta


def by_batch(axes, rows=BATCH):
    gamma, beta, *_ = parameters(BATCHED)
    found = []
    for k in range(0, BATCH, rows):
        x = X[k : k + rows]
        mean, variance = (
            x.mean(axis=axes, keepdims=True),
            x.var(axis=axes, keepdims=True),
        )
        found.append((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta)
    return np.concatenate(found)


MISTAKES = {
    "epsilon 1e-05 instead of 0.001": (LAYER, by_layer(epsilon=1e-5)),
    "epsilon missing": (LAYER, by_layer(epsilon=1e-12)),
    "normalised over steps and features": (LAYER, by_layer(axis=(1, 2))),
    "normalised over the steps": (LAYER, by_layer(axis=1)),
    "variance divided by n - 1": (LAYER, by_layer(ddof=1)),
    "mean not subtracted": (LAYER, by_layer(centre=False)),
    "statistics of all rows instead of the moving ones": (BATCHED, by_batch((0, 1))),
    "statistics of each batch of 32 rows instead of the moving ones": (
        BATCHED,
        by_batch((0, 1), rows=32),
    ),
    "statistics of each row instead of the moving ones": (BATCHED, by_batch((1,))),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_has_the_outputs_of_its_entry_alone(name):
    spec, outputs = MISTAKES[name]
    assert np.abs(by_layer() - computed(LAYER, X)).max() < 1e-6
    assert named(spec, X, outputs) == {name}


def test_the_layer_that_is_left_out_or_applied_twice_is_named():
    assert named(LAYER, X, X) == {"layer left out"}
    gamma, beta, mean, variance = parameters(BATCHED)

    def normalize(x):
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    assert named(BATCHED, X, normalize(normalize(X)), 1e-9) == {"layer applied twice"}


def test_statistics_of_more_rows_than_a_search_looks_at_are_named():
    x = np.random.default_rng(4).integers(-9, 20, (200, TIME, WIDTH)) / 8
    gamma, beta, *_ = parameters(BATCHED)
    mean, variance = x.mean(axis=(0, 1)), x.var(axis=(0, 1))
    outputs = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    report = compare_outputs(Network(BATCHED), x, outputs.astype(np.float32))
    found = report.diagnosis.explanations[0]
    assert found.mistake == "statistics of all rows instead of the moving ones"


@pytest.mark.parametrize("add", ["Add", "ops.Add"])
@pytest.mark.parametrize("first", [True, False])
def test_a_sum_that_is_normalised_in_part_is_named(add, first):
    """Behind it a Dense, so that the order of the calls matters."""
    rng = np.random.default_rng(5)
    a, b = x = [rng.normal(size=(6, 4)) for _ in range(2)]
    norm = made("LayerNormalization", "norm", (4,), (4,), epsilon=1e-3)
    dense = made("Dense", "dense", (4, 2), (2,), units=2)
    (gamma, beta), (kernel, bias) = (
        [w.astype(float) for w in layer.weights.values()] for layer in (norm, dense)
    )

    def normalised(z):
        gap = z - z.mean(1, keepdims=True)
        return gamma * gap / np.sqrt(z.var(1, keepdims=True) + 1e-3) + beta

    both = ("one", "norm") if not first else ("one", "two")
    args = (list(both),) if add == "Add" else both
    calls = {"add": args, "norm": "add"} if first else {"norm": "two", "add": args}
    layers = [given("one", 4), given("two", 4), norm, made(add, "add"), dense]
    spec = net(layers, {**calls, "dense": "norm" if first else "add"}, "dense")
    post, pre, other = normalised(a + b), a + normalised(b), b + normalised(a)
    right = (post if first else pre) @ kernel + bias
    assert np.abs(computed(spec, x) - right).max() < 1e-6
    if first:
        names = ["second summand normalised", "first summand normalised"]
        for name, wrong in zip(names, (pre, other), strict=True):
            wanted = {f"{name} instead of the sum"}
            assert named(spec, x, wrong @ kernel + bias, 1e-6) == wanted
    else:
        wanted = {"sum normalised instead of one summand"}
        assert named(spec, x, post @ kernel + bias, 1e-6) == wanted
