"""The selftest of a long window takes few of its steps, and says how many."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import nets
from support.any_layer import chain

from verify import Network, selftest
from verify.checks import selftest as testing
from verify.checks.shorter_windows import LEAST_STEPS, shortened

TIME = 5000


def long_net(steps: int | None = TIME, *more, batch: int | None = None) -> Network:
    gru = nets.layer("GRU", "gru", units=4, return_sequences=True)
    both = nets.layer("Bidirectional", "both", layer=gru)
    dense = nets.layer("Dense", "dense", units=2, activation="softmax")
    return Network(
        chain([(batch, steps, 3)], nets.layer("Masking", "masking"), both, *more, dense)
    )


def padded(rows: int = 6) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(rows, TIME, 3)).astype(np.float32)
    x[0, 30:] = 0
    x[1, :-30] = 0
    return x


def test_a_window_has_as_many_steps_as_can_be_paid_for():
    net = long_net()
    few = shortened(net, None, 40_000)
    more = shortened(net, None, 80_000)
    assert LEAST_STEPS < few.steps < more.steps < TIME
    assert few.of_steps == TIME
    assert few.net.spec.input_shape == (None, few.steps, 3)
    assert few.net.spec["both"].output_shape == (None, few.steps, 8)
    assert shortened(net, None, 1).steps == LEAST_STEPS
    assert shortened(net, None, 1e9) is None
    assert shortened(long_net(150), None, 1) is None
    assert shortened(long_net(None), None, 1) is None


def test_what_it_computes_are_the_first_steps_of_the_long_window():
    net = long_net()
    x = net.prepare(padded())
    short = shortened(net, x, 40_000)
    forwards = "both/forward_layer"
    whole, part = (n.trace(given) for n, given in ((net, x), (short.net, short.inputs)))
    a, b = whole[forwards].h[2, : short.steps], part[forwards].h[2]
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert np.abs(a[1:] - b[:-1]).max() > 1e-2
    # other rows have the last steps, with the padding in front of them
    np.testing.assert_array_equal(short.inputs[0][1], x[0][1, -short.steps :])
    assert not part["masking"].output[1, :-30].any()


def test_open_windows_are_cut_where_the_inputs_are_long():
    short = shortened(long_net(None), long_net(None).prepare(padded()), 40_000)
    assert short.inputs[0].shape == (6, short.steps, 3)


@pytest.mark.parametrize(
    "more",
    [
        [nets.layer("Flatten", "flat")],
        [nets.layer("Reshape", "shape", target_shape=[TIME // 2, 16])],
    ],
)
def test_a_layer_that_takes_these_steps_alone_keeps_them(more):
    assert shortened(long_net(TIME, *more), None, 1) is None


def test_the_selftest_says_how_many_steps_it_took(monkeypatch):
    monkeypatch.setattr(testing, "SELFTEST_NUMBERS", 2**14)
    found = selftest(long_net())
    steps = found.window.steps
    assert steps < TIME / 10
    assert f"row(s), of the {steps:,} of 5,000 steps each" in str(found)
    content = json.loads(found.to_json())
    assert (content["steps"], content["of_steps"]) == (steps, TIME)
    assert len(found.results) > 50
    assert any(r.mistake == "mask ignored" and r.caught for r in found.results)
    net = long_net()
    given = shortened(net, net.prepare(padded()), 40_000)
    assert str(given) == f"the first or last {given.steps:,} of 5,000 steps"


def test_without_time_the_rest_is_not_tried_and_the_exit_code_is_3(monkeypatch):
    monkeypatch.setattr(testing, "MAX_SELFTEST_SECONDS", -1.0)
    found = selftest(long_net(None))
    assert found.results == ()
    assert found.exit_code == 3
    assert "there was no time left after 300 s" in str(found)
    assert len(found.untried) > 50


def test_short_windows_are_taken_whole():
    found = selftest(long_net(None))
    assert found.window is None
    assert json.loads(found.to_json())["steps"] is None
