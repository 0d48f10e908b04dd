"""Long windows take fewer rows at a time, so that memory does not grow with time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.any_layer import chain
from support.nets import feature_net, layer

from verify import Network
from verify.checks._batches import BatchPlan, Examiner, Limits
from verify.checks.inputs import (
    FEWEST_PROBE_ROWS,
    MIN_PROBE_ROWS,
    PROBE_ROWS,
    as_source,
    usable_inputs,
)
from verify.forward.fast.row_blocks import MAX_BATCH_BYTES, row_blocks_for
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.error_bound import unbounded


def long_net(steps: int | None, units: int = 4) -> Network:
    """An LSTM that returns every step."""
    lstm = layer("LSTM", "lstm", units=units, return_sequences=True)
    return Network(chain([(None, steps, 3)], lstm))


@pytest.fixture
def x():
    """Rows of many steps."""
    return np.zeros((64, 1000, 3), np.float32)


def test_a_batch_has_as_many_rows_as_fit_even_fewer_than_keras_takes(x):
    net = long_net(None)
    every = BatchPlan.of(net, as_source(net, x)).numbers
    assert every > 1000 * 4 * 6  # gates and states of every step
    numbers = 1000 * 4  # what the layer returns
    plan = BatchPlan.of(
        net, as_source(net, x), 32, Limits(batch_numbers=3 * numbers + 1)
    )
    assert (plan.size, plan.batches) == (2, 32)  # of 3, 22 parts would be unequal
    odd = as_source(net, x[:61])
    plan = BatchPlan.of(net, odd, 32, Limits(batch_numbers=3 * numbers + 1))
    assert (plan.size, plan.batches) == (3, 21)  # no equal parts of 2 or 3 rows
    plan = BatchPlan.of(net, as_source(net, x), 32, Limits(batch_numbers=1))
    assert plan.size == 1
    plan = BatchPlan.of(net, as_source(net, x), 32, Limits(batch_numbers=33 * numbers))
    assert plan.size == 32  # whole batches where one fits
    short = BatchPlan.of(
        net, as_source(net, x[:, :999]), 2, Limits(batch_numbers=4 * every)
    )
    assert short.size == 4  # a batch of few steps is as before


def test_fewer_rows_are_compared_layer_by_layer(x):
    net = long_net(None)
    plan = BatchPlan.of(net, as_source(net, x))

    def closer(layer_numbers: int) -> int:
        limits = Limits(layer_numbers=layer_numbers)
        errors = ActivationErrors("none", {})
        return Examiner(net, errors, plan, native=True, limits=limits).closer_rows

    assert closer(10 * plan.numbers) == 10
    assert closer(1) == 1
    assert closer(10**12) == Limits().layer_rows


def test_a_block_of_rows_is_smaller_than_a_batch_of_keras_only_where_that_is_too_much():
    root = long_net(None, units=64).cast_to("float64")
    assert row_blocks_for(root, 26, None).multiple == 32
    many = row_blocks_for(root, 100_000, None)
    assert many.multiple == many.max_rows == MAX_BATCH_BYTES // (100_000 * 64 * 8)
    assert row_blocks_for(root, 100_000, 32).multiple == 32  # fixed in the model


def test_rows_in_smaller_blocks_are_the_same(monkeypatch, x):
    net = feature_net("LSTM")
    rows = np.random.default_rng(0).normal(size=(33, 5, 3)).astype(np.float32)
    expected = net.predict(rows)
    monkeypatch.setattr("verify.forward.fast.row_blocks.MAX_BATCH_BYTES", 1)
    monkeypatch.setattr("verify.forward.fast.row_blocks.MAX_SEQUENCE_BYTES", 1)
    np.testing.assert_allclose(net.predict(rows), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "fewest"),
    [([], FEWEST_PROBE_ROWS), ([layer("Masking", "masking")], MIN_PROBE_ROWS)],
)
def test_there_are_fewer_probe_rows_but_one_for_each_kind_of_padding(
    monkeypatch, first, fewest
):
    lstm = layer("LSTM", "lstm", units=4)
    net = Network(chain([(None, 50, 3)], *first, lstm))
    assert usable_inputs(net).rows == PROBE_ROWS
    monkeypatch.setattr("verify.checks.inputs.PROBE_NUMBERS", 1)
    assert usable_inputs(net).rows == fewest


def test_probe_inputs_are_smaller_where_outputs_would_overflow():
    dense = layer("Dense", "dense", units=2, activation="exponential")
    net = Network(chain([(None, 7, 3)], dense))
    (usual,) = usable_inputs(net)
    weights = {k: np.sign(w) * 70 for k, w in net.spec["dense"].weights.items()}
    weights["bias"] = net.spec["dense"].weights["bias"]
    steep = Network(net.spec.with_layer(replace(net.spec["dense"], weights=weights)))
    assert not np.isfinite(steep.predict(usual)).all()
    (smaller,) = usable_inputs(steep)
    assert np.isfinite(steep.predict(smaller)).all()
    np.testing.assert_allclose(smaller, 0.1 * usual, rtol=1e-6)


def test_no_bound_is_derived_through_thousands_of_calls(monkeypatch):
    dense = layer("Dense", "dense", units=2)

    def timed(steps: int) -> Network:
        return Network(
            chain([(None, steps, 3)], layer("TimeDistributed", "td", layer=dense))
        )

    assert not unbounded(timed(1001))  # one call on all steps
    monkeypatch.setattr(
        "verify.tolerance.error_bound.sites.merges_steps", lambda inner: False
    )
    assert not unbounded(timed(1000))
    assert unbounded(timed(1001)).endswith("bounds through 1,001 calls take too long")
    assert "1,001 calls" in unbounded(timed(1001), "td")
