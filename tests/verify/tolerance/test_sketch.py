"""Bounds of all outputs at once: never below those of one backpropagation each."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
from support.any_layer import chain
from support.nets import features, ids, layer, lstm_spec, rnn, word_net

from verify import Network
from verify.backward.recording import pending, tangents
from verify.tolerance.activation_errors import (
    KNOWN_PLATFORMS,
    MEASURED_ACTIVATIONS,
    ActivationErrors,
)
from verify.tolerance.error_bound import (
    costs,
    loops,
    output_bounds,
    random_errors,
    sites,
    sketch,
    sweeps,
    time_windows,
)
from verify.tolerance.error_bound.deviations import MAX_LINEAR_DEVIATION
from verify.tolerance.error_bound.sums import STANDARD_DEVIATIONS

TIME = 5

ERRORS = ActivationErrors(
    "the backends of Keras",
    {
        name: max(errors.constants[name] for errors in KNOWN_PLATFORMS.values())
        for name in MEASURED_ACTIVATIONS
    },
    frozenset().union(*(errors.relative_to_one for errors in KNOWN_PLATFORMS.values())),
)


def steps(*layers, shape=(None, TIME, 3), seed=0):
    """A model of these layers, with features as inputs."""
    return Network(chain([shape], *layers, seed=seed))


NETS = {
    "ids": lambda: Network(lstm_spec(return_sequences=True)),
    "masked": lambda: Network(word_net(rnn("GRU", return_sequences=True))),
    "dots": lambda: steps(
        layer("Dense", "d", units=40), layer("Dense", "e", units=7, use_bias=False)
    ),
    "conv": lambda: steps(
        layer("Conv1D", "c", filters=4, kernel_size=3, activation="relu"),
        layer("BatchNormalization", "b"),
        layer("MaxPooling1D", "m", pool_size=2, padding="same"),
        layer("SimpleRNN", "r", units=3, return_sequences=True),
    ),
    "moved": lambda: steps(
        layer("Dense", "d", units=7, use_bias=False), layer("Permute", "p", dims=[2, 1])
    ),
    "memory": lambda: steps(
        layer("SimpleRNN", "r", units=12, activation="linear"),
        shape=(None, 30, 3),
    ),
    "images": lambda: steps(
        layer("Conv2D", "c", filters=2, kernel_size=3, padding="same"),
        layer("ReLU", "a", negative_slope=0.1),
        layer("AveragePooling2D", "p", pool_size=2),
        layer("UpSampling2D", "u", size=2),
        layer("Conv2DTranspose", "t", filters=2, kernel_size=2, strides=2),
        shape=(None, 6, 6, 2),
    ),
    "frames": lambda: steps(
        layer("ConvLSTM1D", "c", filters=2, kernel_size=3, return_sequences=True),
        layer("LayerNormalization", "n"),
        shape=(None, 3, 5, 2),
    ),
    "frame by frame": lambda: steps(
        layer(
            *("ConvLSTM2D", "c"),
            filters=2,
            kernel_size=(2, 3),
            strides=(1, 2),
            return_sequences=True,
            recurrent_activation="hard_sigmoid",
        ),
        layer("ConvLSTM2D", "d", filters=3, kernel_size=2, dilation_rate=2),
        layer("Flatten", "f"),
        shape=(None, 4, 5, 7, 2),
    ),
    "frames turned round": lambda: steps(
        layer(
            *("ConvLSTM1D", "c"),
            filters=4,
            kernel_size=5,
            padding="same",
            activation="linear",
            return_sequences=True,
            go_backwards=True,
        ),
        shape=(None, 6, 5, 2),
    ),
    "inside": lambda: steps(
        layer(
            "Bidirectional",
            "b",
            layer=layer("LSTM", "l", units=2, return_sequences=True),
        ),
        layer("TimeDistributed", "t", layer=layer("Dense", "d", units=3)),
        layer("Softmax", "s"),
        layer("GlobalMaxPooling1D", "g"),
        layer("RepeatVector", "v", n=2),
    ),
    "activations": lambda: steps(
        layer("Dense", "e", units=3, activation="log_softmax"),
        layer("Dense", "g", units=4, activation="gelu"),
        layer("ELU", "u", alpha=0.5),
        layer("UnitNormalization", "n"),
        layer("Flatten", "f"),
        layer("Dense", "d", units=6, activation="hard_sigmoid"),
    ),
}


def sketched(net, x, groups=1):
    """The bounds of all outputs, and the rows that have none."""
    return sketch.sketched_bounds(
        net, x, ERRORS, standard_deviations=STANDARD_DEVIATIONS,
        max_deviation=MAX_LINEAR_DEVIATION, groups=groups,
    )  # fmt: skip


def given(net, rows=4, seed=1):
    """Inputs of a model, and the bounds by backpropagation."""
    shape = net.spec.root.input_shape
    if net.spec.root.name == "model" and np.size(shape) and len(shape) == 2:
        x = ids(seed=seed, batch=rows)
    else:
        sizes = [TIME if size is None else size for size in shape[1:]]
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(rows, *sizes)).astype(np.float32)
    x = net.prepare(x)
    ours = net.flat(x, dtype="float64")
    exact = output_bounds(net, x, [np.ones(y.shape) for y in ours], ERRORS)
    return x, ours, exact


@pytest.mark.parametrize("name", NETS)
def test_no_bound_is_below_that_of_backpropagation_nor_far_above(name):
    net = NETS[name]()
    x, ours, exact = given(net)
    found, near = sketched(net, x)
    single = net.flat(x, dtype="float32")
    assert [a.shape for a in found] == [a.shape for a in ours]
    assert not near.any()
    for own, one, right, there in zip(found, exact, ours, single, strict=True):
        assert np.isfinite(one).all()
        assert (own >= one).all()
        assert (own >= np.abs(there - right)).all()
        assert np.median(own / one) < 12
        assert own.max() < 1e-3 * np.abs(right).max()


@pytest.mark.parametrize("copies", [16, 32, 64])
def test_the_probability_is_that_of_the_ratio_to_an_order_statistic(copies):
    rank, factor = random_errors.rank_and_factor(copies)
    share = 2 * random_errors.PEAK / factor
    below = sum(
        math.comb(copies, k) * share**k * (1 - share) ** (copies - k)
        for k in range(rank, copies + 1)
    )
    assert below == pytest.approx(random_errors.MAX_CHANCE, rel=1e-2)


def test_no_mixture_of_acauchy_and_anormal_number_is_denser_than_said():
    x = np.linspace(-40, 40, 400_001)
    for a in np.linspace(0.02, 0.98, 25):
        b = 1 - a
        normal = np.exp(-((x / b) ** 2) / 2) / (b * np.sqrt(2 * np.pi))
        # the density of the sum at 0, where it is greatest
        assert (
            np.trapezoid(normal * a / (np.pi * (a * a + x * x)), x) < random_errors.PEAK
        )


def test_random_errors_have_the_scale_of_the_error_they_stand_for():
    rng = random_errors.RandomErrors(sketch.MOST_COPIES, 3, ERRORS, 10.0, seed=1)
    shape = 64, 3, 5000
    cauchy, normal = np.abs(rng.cauchy(shape)), rng.normal(shape)
    assert np.median(cauchy) == pytest.approx(1, rel=0.02)
    assert np.mean(cauchy > np.tan(0.45 * np.pi)) == pytest.approx(0.1, rel=0.05)
    assert normal.std() == pytest.approx(1, rel=0.02)


def typical_change(net, x, exact):
    """The change that is multiplied with the factor, over the bound, in the median."""
    found, _ = sketched(net, x)
    pairs = zip(found, exact, strict=True)
    ratios = np.concatenate([(a / b).ravel() for a, b in pairs])
    return np.median(ratios) / random_errors.rank_and_factor(sketch.MOST_COPIES)[1]


MISTAKES = {
    "errors are not random numbers of Cauchy's distribution": (
        *("conv", random_errors.RandomErrors, "cauchy"),
        lambda self, shape: self._random.random(shape) / 100,
    ),
    "no errors of dot products": (
        *("dots", random_errors.RandomErrors, "normal"),
        lambda self, shape: np.zeros(shape, np.float32),
    ),
    "sums do not carry changes": (
        *("images", tangents, "_of_products"),
        lambda operation, given: np.zeros(
            (len(given[0]), *operation.output.shape), np.float32
        ),
    ),
    "functions do not carry changes": (
        *("frames", tangents, "_by_slopes"),
        lambda operation, given: np.zeros(
            (sketch.MOST_COPIES, *operation.output.shape), np.float32
        ),
    ),
    "numbers that are moved lose their errors": (
        *("moved", pending, "_through_moves"),
        lambda operation, waiting, rows: pending.PassedOn([True] * len(waiting), None),
    ),
    "errors that are not drawn yet are lost in functions": (
        *("images", pending, "_through_slopes"),
        lambda operation, waiting: pending.PassedOn([True] * len(waiting), None),
    ),
    "a loop makes no errors": (
        *("masked", loops, "sites_of"),
        lambda rounding, values: [
            site._replace(max_error=0 * site.max_error, standard_deviation=None)
            for site in sites.sites_of(rounding, values)
        ],
    ),
    "a convolution of a loop loses what it is given": (
        *("frame by frame", loops.LOOP_CELLS["ConvLSTM2D"], "of_inputs"),
        lambda self, changes: np.zeros((len(changes), 2, 1, 12), np.float32),
    ),
    "a loop of convolutions forgets its states": (
        *("frames turned round", loops.LOOP_CELLS["ConvLSTM1D"], "through"),
        lambda self, changes: np.zeros(
            (*changes.shape[:-1], 4 * changes.shape[-1]), np.float32
        ),
    ),
    "a loop forgets its states": (
        *("memory", loops.LOOP_CELLS["SimpleRNN"], "through"),
        lambda self, changes: np.zeros_like(changes),
    ),
}


def test_errors_that_are_alike_are_held_once_for_all_steps():
    """Not once for each of the steps, which would take the square of their time."""
    counts = {}
    for time in (3, 9):
        cell = layer(
            *("ConvLSTM1D", "c"),
            filters=2,
            kernel_size=3,
            data_format="channels_first",
        )
        net = steps(cell, shape=(None, time, 2, 5))
        seen = []
        draw = random_errors.RandomErrors.draw

        def counted(self, errors, shape, seen=seen, draw=draw):
            seen.append(len(errors.alike))
            return draw(self, errors, shape)

        with patch.object(random_errors.RandomErrors, "draw", counted):
            sketched(net, given(net, rows=2)[0])
        counts[time] = max(seen)
    assert 0 < counts[3] == counts[9]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_random_errors_makes_bounds_too_small(mistake):
    name, owner, attribute, wrong = MISTAKES[mistake]
    net = NETS[name]()
    x, _, exact = given(net)
    assert 0.8 < typical_change(net, x, exact) < 1.7
    with patch.object(owner, attribute, wrong):
        assert typical_change(net, x, exact) < 0.7


def test_an_operation_without_a_known_derivative_is_differentiated_by_changes():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    changes = rng.normal(size=(5, 4, 3)).astype(np.float32) * 1e5
    operation = tangents.Operation(
        "prod", (x, w), np.cumprod(x, axis=1) * w, lambda a, b: np.cumprod(a, 1) * b
    )
    found = tangents._by_differences(operation, [changes, None])
    slope = [np.eye(3)[k] for k in range(3)]
    expected = np.zeros((5, 4, 3))
    for k in range(3):
        others = np.where(slope[k], 1.0, x)
        after = np.cumprod(others, axis=1) * w * (np.arange(3) >= k)
        expected += changes[:, :, [k]] * after
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * 1e5)


def test_all_outputs_have_a_bound_where_the_budget_is_for_a_few():
    net = NETS["images"]()
    x, ours, exact = given(net, rows=3)
    apart = [np.ones(y.shape) for y in ours]
    apart[0][1, 2, 3, 0] = 9.0
    work = 0.2 * ours[0].size * 400  # sweeps of a row cost some hundreds
    (found,) = output_bounds(net, x, apart, ERRORS, work)
    with patch.object(
        sweeps, "sketched_rows", lambda *a: [np.full(y.shape, np.nan) for y in ours]
    ):
        (few,) = output_bounds(net, x, apart, ERRORS, work)
    assert np.isfinite(found).all()
    assert 0 < np.isfinite(few).mean() < 0.5
    np.testing.assert_array_equal(found[1, 2, 3, 0], exact[0][1, 2, 3, 0])


def test_a_few_rows_of_a_dear_model_are_sketched_for_longer_than_the_budget_says():
    net = NETS["images"]()
    x, ours, _ = given(net, rows=3)
    apart = [np.ones(y.shape) for y in ours]

    def sketched_by(work: float, **constants: int) -> int:
        rows = []

        def seen(sketch, some, like, *a):
            rows.extend(some)
            return [np.full((len(some), *y.shape[1:]), np.nan) for y in like]

        with patch.multiple(sweeps, sketched_rows=seen, **constants):
            output_bounds(net, x, apart, ERRORS, work)
        return len(rows)

    work = 100.0
    while sketched_by(work, DEAR_SKETCH_FACTOR=1) < 3:
        work *= 1.3
    work /= 1.3
    assert sketched_by(work, DEAR_SKETCH_FACTOR=1) == 2
    assert sketched_by(work) == 3
    assert sketched_by(work, DEAR_ROWS=2) == 2


def test_several_passes_give_as_many_changes_as_one():
    net = NETS["conv"]()
    x, _, (exact,) = given(net)
    for groups in (1, 3, 64, 100):
        (found,), _ = sketched(net, x, groups)
        assert (found >= exact).all()
        assert np.median(found / exact) < 12


def test_where_float32_may_decide_otherwise_no_row_has_a_bound():
    net = steps(layer("Masking", "m", mask_value=0.0), layer("Flatten", "f"))
    x = net.prepare(features(time=TIME))
    _, near = sketched(net, x)
    assert not near.any()
    net = steps(
        layer("Dense", "d", units=3, activation="hard_shrink"), layer("Flatten", "f")
    )
    kernel, bias = (w.astype(float) for w in net.spec["d"].weights.values())
    x = features(time=TIME)
    x[1, 2] = np.linalg.lstsq(kernel[:, :1].T, 0.5 - bias[:1], rcond=None)[0]
    _, near = sketched(net, net.prepare(x))
    assert near.tolist() == [k == 1 for k in range(len(x))]


def test_long_loops_are_sketched_on_more_rows_and_only_as_often_as_time_allows():
    plan = costs.sketch_plan
    size = costs.SKETCH_BYTES // 2
    together, groups, passes = plan(size, 30)
    assert (together, groups) == (2, 1)
    assert passes > 600
    assert plan(size, 2000) == (6, 1, 10)
    # a row that does not fit is cut in groups of its copies, which take time each
    assert plan(2 * costs.LONG_SKETCH_BYTES, 2000) == (1, 2, 5)
    assert plan(size, costs.MAX_SKETCH_STEPS + 1)[2] == 0


def test_the_steps_of_all_loops_are_counted():
    gru = layer("GRU", "gru", units=2, return_sequences=True)
    both = layer("Bidirectional", "both", layer=gru)
    inner = layer("LSTM", "inner", units=2)
    td = layer("TimeDistributed", "td", layer=inner)
    reshape = layer("Reshape", "shape", target_shape=[5, 2, 2])
    net = Network(chain([(None, 5, 3)], both, reshape, td))
    trace = net.trace(np.zeros((1, 5, 3)))
    assert time_windows.loop_steps(trace) == 5 + 5 + 2


def test_numbers_used_twice_count_in_full_the_second_time():
    """x + x moves by twice the error of x, which two independent ones would not."""
    errors = pending.Pending(np.ones(3), np.full(3, 16.0))
    assert [a.tolist() for a in errors.take()] == [[1] * 3, [16] * 3]
    worst, variance = errors.take()
    assert (worst.tolist(), variance) == ([5] * 3, None)
    errors = pending.Pending(np.ones(3), np.full(3, 16.0))
    first = [a.tolist() for a in errors.take_part(lambda a: a[:2])]
    again = [a.tolist() for a in errors.take_part(lambda a: a[1:])]
    assert first == [[1, 1], [16, 16]]
    assert again == [[5, 1], [0, 16]]
