"""Bounds of long windows: never below those of one backpropagation for each output."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from support.any_layer import chain
from support.nets import layer, rnn, word_net

from verify import Network
from verify.forward.evaluable import LayerCall
from verify.forward.layers.base import Tensor
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.error_bound import (
    bounds,
    call_bounds,
    loop_cells,
    loops,
    output_bounds,
    random_errors,
    time_windows,
)
from verify.tolerance.error_bound.time_windows import (
    FEWEST_COPIES,
    MOST_COPIES,
    LongBounds,
)

TIME, ERRORS = 23, worst_known_errors()
BEFORE = "GRU that resets before"
CELLS = ("SimpleRNN", "LSTM", "GRU", BEFORE)


def net_of(*layers, shape=(None, TIME, 3)):
    return Network(chain([shape], *layers, seed=3))


def loop(kind, name="a", *, units=4, sequences=True, **options):
    if kind == BEFORE:
        kind, options = "GRU", {"reset_after": False, **options}
    return layer(kind, name, units=units, return_sequences=sequences, **options)


def both(kind, **options):
    return layer("Bidirectional", "both", layer=loop(kind, "inner", **options))


def dense(name="d", units=3):
    inner = layer("Dense", name, units=units, activation="softmax")
    return layer("TimeDistributed", f"each_{name}", layer=inner)


MASKING = layer("Masking", "m", mask_value=0.0)


def given(rows=4, *, zeros=False):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, TIME, 3)).astype(np.float32)
    if zeros:
        x[rng.random((rows, TIME)) < 0.4] = 0
        x[1, :3] = 0  # nothing before the first step that counts
    return x


def long_bounds(net, x):
    return LongBounds(
        net, x, ERRORS, bounds.STANDARD_DEVIATIONS, bounds.MAX_LINEAR_DEVIATION
    )


def in_windows(net, x, steps):
    """The bounds, with at most so many steps in memory."""
    x = net.prepare(x)
    own = long_bounds(net, x)
    size = 4 * own._numbers() * x.rows * MOST_COPIES // TIME
    with (
        patch.object(time_windows, "WINDOW_BYTES", steps * size),
        patch.object(loops, "BLOCK_NUMBERS", 4000),
    ):
        return own.bounds([np.ones(y.shape) for y in net.flat(x)])


def exact_bounds(net, x):
    x = net.prepare(x)
    ours = net.flat(x, dtype="float64")
    return output_bounds(net, x, [np.ones(y.shape) for y in ours], ERRORS)


def hard(kind):
    return {} if kind == "SimpleRNN" else {"recurrent_activation": "hard_sigmoid"}


NETS = {
    "two loops": lambda kind: (net_of(loop(kind), dense(), loop(kind, "b")), False),
    "last step": lambda kind: (
        net_of(
            loop(kind), loop(kind, "b", sequences=False), layer("Dense", "e", units=2)
        ),
        False,
    ),
    "kinks": lambda kind: (net_of(loop(kind, activation="relu", **hard(kind))), False),
    "masked": lambda kind: (
        net_of(MASKING, loop(kind), loop(kind, "b", sequences=False)),
        True,
    ),
    "zeroed": lambda kind: (
        net_of(MASKING, loop(kind, zero_output_for_mask=True)),
        True,
    ),
    "both directions": lambda kind: (net_of(both(kind), dense()), False),
    "backwards": lambda kind: (
        net_of(MASKING, loop(kind, go_backwards=True), dense()),
        True,
    ),
}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("name", NETS)
def test_no_bound_is_below_that_of_backpropagation_nor_far_above(name, kind):
    net, zeros = NETS[name](kind)
    x = given(zeros=zeros)
    (found,), (exact,) = in_windows(net, x, 5), exact_bounds(net, x)
    right, single = (net.predict(x, dtype=d) for d in ("float64", "float32"))
    assert np.isfinite(exact).all()
    # how far a kink is taken into account depends on float32's errors up to there
    assert (found >= exact).mean() >= (0.95 if name == "kinks" else 1)
    assert (found >= np.abs(single - right)).all()
    assert np.median(found / exact) < 12


WINDOWED = {
    "of ids": lambda: (word_net(rnn("GRU", return_sequences=True)), ["steps"]),
    "of features": lambda: (chain([(None, 9, 2)], loop("LSTM"), dense()), ["steps"]),
    "the last state": lambda: (
        chain(
            [(None, 9, 2)], loop("GRU", sequences=False), layer("Dense", "d", units=2)
        ),
        ["last"],
    ),
    "a Bidirectional": lambda: (chain([(None, 9, 2)], both("LSTM")), []),
    "backwards": lambda: (chain([(None, 9, 2)], loop("GRU", go_backwards=True)), []),
    "over the axis of time": lambda: (
        chain([(None, 9, 2)], loop("GRU"), layer("Softmax", "s", axis=1)),
        [],
    ),
    "with neighbours": lambda: (
        chain([(None, 9, 2)], layer("Conv1D", "c", filters=2, kernel_size=3)),
        [],
    ),
    "all steps": lambda: (
        chain([(None, 9, 2)], loop("GRU"), layer("GlobalMaxPooling1D", "g")),
        [],
    ),
    "steps as features": lambda: (chain([(None, 9)], layer("Dense", "d", units=2)), []),
    "a cell whose equations are not here": lambda: (
        chain([(None, 9, 2)], loop("GRU", activation="softmax")),
        [],
    ),
}


@pytest.mark.parametrize("name", WINDOWED)
def test_only_a_model_that_never_looks_ahead_is_bounded_window_by_window(name):
    spec, expected = WINDOWED[name]()
    net = Network(spec)
    open_shape = spec.inputs[0].options["batch_shape"][1:]
    shape = [9 if size is None else size for size in open_shape]
    x = net.prepare(np.ones((2, *shape)))
    assert time_windows.windowed(spec.root, x) == expected


def typical_change(net, x, steps=5):
    """The change that is multiplied with the factor, over the bound, in the median."""
    (found,), (exact,) = in_windows(net, x, steps), exact_bounds(net, x)
    return np.median(found / exact) / random_errors.rank_and_factor(MOST_COPIES)[1]


def integrator(kind):
    """A loop that keeps what it has, so that early errors count as much as late."""
    net = net_of(loop(kind))
    weights = {name: np.zeros_like(w) for name, w in net.spec["a"].weights.items()}
    weights["kernel"] += np.float32(0.3)
    if kind == "LSTM":
        weights["bias"][4:8] = 6.0  # the forget gate
    elif kind == "GRU":
        weights["bias"][:, :4] = 1.5
    else:
        weights["recurrent_kernel"] += np.eye(4, dtype=np.float32)
    return Network(net.spec.with_layer(net.spec["a"].with_weights(**weights)))


MISTAKES = {
    "windows begin without changes": (
        *("LSTM", loops.ChangingLoops, "begin"),
        lambda self: [
            setattr(each.held, "changes", [0 * c for c in each.held.changes])
            for each in self._loops.values()
        ],
    ),
    "errors are not random numbers of Cauchy's distribution": (
        *("GRU", random_errors.RandomErrors, "cauchy"),
        lambda self, shape: np.zeros(shape, np.float32),
    ),
    "changes of the state are not carried on": (
        *("SimpleRNN", loop_cells.LoopCell, "through"),
        lambda self, changes: np.zeros(
            (*changes.shape[:2], self.recurrent.shape[1]), np.float32
        ),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_random_errors_makes_bounds_too_small(mistake):
    kind, owner, attribute, wrong = MISTAKES[mistake]
    net, x = integrator(kind), given()
    assert 0.8 < typical_change(net, x) < 3
    with patch.object(owner, attribute, wrong):
        assert typical_change(net, x) < 0.7


@pytest.mark.parametrize("kind", CELLS)
def test_changes_of_the_inputs_reach_the_states(kind):
    net = net_of(loop(kind, "a", units=30), loop(kind, "b", units=2))
    x = given()
    right = in_windows(net, x, 5)[0]
    cell = loop_cells.CELLS["GRU" if kind == BEFORE else kind]
    with patch.object(cell, "add_inputs", lambda self, *given: None):
        wrong = in_windows(net, x, 5)[0]
    # a row in which NumPy's own float32 exceeds its bounds has none
    assert np.median(np.nan_to_num(wrong / right)) < 0.8


def test_rows_that_differ_most_have_bounds_where_not_all_can_be_paid_for():
    net, x = net_of(loop("LSTM")), given(rows=6)
    x = net.prepare(x)
    apart = [np.ones(y.shape) for y in net.flat(x)]
    apart[0][2, 3, 1] = apart[0][4, 7, 0] = 9.0
    own = long_bounds(net, x)
    most = 2.5 * own._numbers() * FEWEST_COPIES
    with patch.object(time_windows, "MAX_NUMBERS", most):
        (found,) = own.bounds(apart)
    (bounded,) = np.nonzero(np.isfinite(found).all(axis=(1, 2)))
    assert bounded.tolist() == [2, 4]
    with patch.multiple(time_windows, MAX_NUMBERS=1, MAX_NUMBERS_OF_ONE=1):
        assert np.isnan(own.bounds(apart)[0]).all()


def test_bounds_are_of_fewer_changes_where_all_rows_can_be_paid_for_then():
    net, x = net_of(loop("GRU")), given(rows=6)
    x = net.prepare(x)
    exact = exact_bounds(net, x)[0]
    own = long_bounds(net, x)
    seen = []
    drawn = random_errors.RandomErrors.cauchy

    def counted(self, shape):
        seen.append(shape)
        return drawn(self, shape)

    for share, copies in ((40, 32), (20, 20), (16, 16)):
        most = 6 * share * own._numbers()
        with (
            patch.object(time_windows, "MAX_NUMBERS", most),
            patch.object(random_errors.RandomErrors, "cauchy", counted),
        ):
            (found,) = own.bounds([np.ones_like(exact)])
        assert (found >= exact).all()
        assert {shape[1] for shape in seen} == {copies}
        seen.clear()


@pytest.mark.parametrize("steps", [1, 5, TIME])
def test_a_loop_of_convolutions_goes_on_from_window_to_window(steps):
    frames = [
        layer("ConvLSTM1D", "a", filters=2, kernel_size=2, return_sequences=True),
        layer("ConvLSTM1D", "b", filters=3, kernel_size=2, padding="same"),
    ]
    net, x = Network(chain([(None, TIME, 3, 1)], *frames)), given()[..., None]
    assert long_bounds(net, net.prepare(x))._kinds
    (found,), (exact,) = in_windows(net, x, steps), exact_bounds(net, x)
    assert (found >= exact).all()
    assert np.median(found / exact) < 25


def test_rows_in_which_float32_goes_astray_have_none():
    net, x = net_of(loop("SimpleRNN", activation="linear")), given()
    weights = {"recurrent_kernel": np.full((4, 4), 3.0, np.float32)}
    net = Network(net.spec.with_layer(net.spec["a"].with_weights(**weights)))
    x[1] *= 1e-3
    with patch.object(bounds, "MAX_LINEAR_DEVIATION", 1e-12):
        assert np.isnan(in_windows(net, x, 5)[0]).all()


def test_long_loops_are_bounded_so_where_sweeps_cannot_be_paid_for(monkeypatch):
    net, x = net_of(loop("GRU"), dense()), given()
    x = net.prepare(x)
    apart = [np.ones(y.shape) for y in net.flat(x)]
    (exact,) = output_bounds(net, x, apart, ERRORS)
    monkeypatch.setattr(time_windows, "LONG_LOOPS", TIME)
    np.testing.assert_array_equal(output_bounds(net, x, apart, ERRORS)[0], exact)
    (found,) = output_bounds(net, x, apart, ERRORS, work=1e4)
    assert (found > exact).all()
    monkeypatch.setattr(time_windows, "LONG_LOOPS", TIME + 1)
    with patch.object(time_windows.LongBounds, "bounds") as windows:
        output_bounds(net, x, apart, ERRORS, work=1e4)
    windows.assert_not_called()


@pytest.mark.parametrize("kind", CELLS)
def test_a_layer_alone_has_bounds_too(kind, monkeypatch):
    net, x = net_of(loop(kind), loop(kind, "b")), given()
    call = LayerCall("b", [Tensor(np.repeat(x, 2, axis=2)[..., :4])], {})
    apart = [np.ones(y.shape) for y in call.evaluate(net, "float64")]
    (exact,) = call_bounds(net, call, apart, ERRORS)
    monkeypatch.setattr(time_windows, "LONG_LOOPS", TIME)
    monkeypatch.setattr(bounds, "MAX_LAYER_ADJOINTS", 1e3)
    (found,) = call_bounds(net, call, apart, ERRORS)
    assert (found > exact).all()
    assert np.median(found / exact) < 12


def test_what_has_no_loop_here_is_recorded():
    net, x = net_of(loop("LSTM", activation="softmax")), given()
    (found,), (exact,) = in_windows(net, x, 5), exact_bounds(net, x)
    assert (found >= exact).all()
    with patch.object(time_windows, "MAX_RECORDED_STEPS", TIME - 1):
        assert np.isnan(in_windows(net, x, 5)[0]).all()
