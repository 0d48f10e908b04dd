"""Ports with fewer bits, written by themselves here, and what is said of them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from support.nets import INPUTS, TIME, UNITS, input_layer, layer, rnn, spec

from verify import Network, Verdict, compare_outputs
from verify.mistakes.catalogue import catalogue, precision, same_mistakes
from verify.mistakes.number_formats import fixed, half, to_int8, to_int8_asymmetric

ROWS = 48


def net(kind="LSTM", *more, seed=0, **options):
    """Features, a recurrent layer, Dense with softmax: random weights, none zero."""
    return spec(
        input_layer(None, TIME, INPUTS),
        rnn(kind, "rnn", **options),
        *more,
        layer("Dense", "dense", units=3, activation="softmax"),
        seed=seed,
    )


def features(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, TIME, INPUTS)).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def same(x):
    return x


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def port(
    model,
    x,
    weights=same,
    dense=None,
    state=same,
    inputs=same,
    sigma=sigmoid,
    phi=np.tanh,
    step=None,
):
    """Compute a model of `net` in float32 with a loop of its own."""
    kernel, recurrent, bias = (weights(w) for w in model["rnn"].weights.values())
    kernel2, bias2 = ((dense or weights)(w) for w in model["dense"].weights.values())
    gates = model["rnn"].gates
    h = c = np.zeros((len(x), UNITS), np.float32)
    for t in range(x.shape[1]):
        now = inputs(x[:, t])
        if step:
            h, c = step(now, h, c, kernel, recurrent, bias)
        elif gates == ("z", "r", "h"):
            a = np.split(now @ kernel + bias[0], 3, axis=1)
            s = np.split(h @ recurrent + bias[1], 3, axis=1)
            z, r = sigma(a[0] + s[0]), sigma(a[1] + s[1])
            h = state(z * h + (1 - z) * phi(a[2] + r * s[2]))
        elif gates == ("h",):
            h = state(phi(now @ kernel + bias + h @ recurrent))
        else:
            i, f, g, o = np.split(now @ kernel + h @ recurrent + bias, 4, axis=1)
            c = sigma(f) * c + sigma(i) * phi(g)
            h, c = state(sigma(o) * phi(c)), state(c)
    return softmax(h @ kernel2 + bias2).astype(np.float32)


def names(model, x, theirs):
    """Return every explanation of a comparison, best first."""
    report = compare_outputs(Network(model), x, theirs)
    assert report.verdict is Verdict.FAIL
    return [found.mistake for found in report.diagnosis.explanations]


def half_of(name):
    if name == "float16":
        return lambda a: a.astype(np.float16).astype(np.float32)

    def bfloat16(a):  # the upper half of the bits, rounded to even
        bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        return bits.view(np.float32)

    return bfloat16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("LSTM", "float16"),
        ("GRU", "bfloat16"),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                ("LSTM", "bfloat16"),
                ("GRU", "float16"),
                ("SimpleRNN", "float16"),
                ("SimpleRNN", "bfloat16"),
            )
        ),
    ],
)
def test_16_bit_weights_and_states_are_told_apart(kind, name):
    model, x, to = net(kind), features(), half_of(name)
    theirs = port(model, x, weights=to)
    assert (
        names(model, x, theirs)[0] == f"weights rounded to {name}, in the whole model"
    )
    theirs = port(model, x, weights=to, dense=same)
    assert names(model, x, theirs)[0] == f"weights rounded to {name}"
    theirs = port(model, x, state=to)
    assert names(model, x, theirs)[0] == f"states rounded to {name}"
    theirs = port(model, x, weights=to, state=to)
    assert f"weights and states rounded to {name}, in the whole model" in names(
        model, x, theirs
    )
    theirs = port(model, x, inputs=to)
    assert f"inputs rounded to {name}" in names(model, x, theirs)


def test_right_outputs_of_the_loop_in_this_file_pass():
    for kind in ("LSTM", "GRU", "SimpleRNN"):
        model, x = net(kind), features()
        report = compare_outputs(Network(model), x, port(model, x))
        assert report.verdict is Verdict.PASS


def symmetric(w):
    scale = np.abs(w).max() / 127
    return (np.round(w / scale) * scale).astype(np.float32)


def asymmetric(w):
    low, high = min(w.min(), 0), max(w.max(), 0)
    scale = (high - low) / 255
    zero = np.round(-128 - low / scale)
    return ((np.clip(np.round(w / scale) + zero, -128, 127) - zero) * scale).astype(
        np.float32
    )


def by_gate(w):
    return np.concatenate([symmetric(b) for b in np.split(w, 4, axis=1)], axis=1)


def by_column(w):
    return np.stack([symmetric(column) for column in w.T], axis=1)


def as_pytorch(w):
    scale = np.abs(w).max() / 127.5
    return (np.clip(np.round(w / scale), -128, 127) * scale).astype(np.float32)


def as_nnom(w):
    bits = 7 - int(np.ceil(np.log2(np.abs(w).max())))
    return (np.clip(np.round(w * 2**bits), -128, 127) / 2**bits).astype(np.float32)


@pytest.mark.parametrize(
    ("quantise", "scheme"),
    [
        (symmetric, "per tensor"),
        (asymmetric, "per tensor, asymmetric"),
        (by_gate, "per gate"),
        (by_column, "per column"),
        (as_pytorch, "per tensor, as PyTorch does"),
        (as_nnom, "per tensor, in steps of a power of two"),
    ],
)
def test_int8_weights_are_named_with_their_scales(quantise, scheme):
    model, x = net("LSTM"), features()
    kernels = lambda w: quantise(w) if w.ndim > 1 else w  # noqa: E731
    theirs = port(model, x, weights=kernels, dense=same)
    assert names(model, x, theirs)[0] == f"weights rounded to int8 {scheme}"


def test_int8_weights_as_tensorflow_lite_has_them_are_named():
    model, x = net("LSTM"), features()
    theirs = port(
        model,
        x,
        weights=lambda w: by_gate(w) if w.ndim > 1 else w,
        dense=lambda w: by_column(w) if w.ndim > 1 else w,
    )
    assert names(model, x, theirs) == [
        "weights rounded to int8 as TensorFlow Lite does, in the whole model"
    ]


def cut(bits):
    return lambda a: (np.floor(a * 2.0**bits) / 2.0**bits).astype(np.float32)


def nearest(bits):
    return lambda a: (np.floor(a * 2.0**bits + 0.5) / 2.0**bits).astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["LSTM", pytest.param("GRU", marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize(
    ("to", "done"),
    [
        (cut(10), "cut off to ap_fixed<16,6>"),
        (cut(5), "cut off to ap_fixed<8,3>"),
        (nearest(10), "rounded to ap_fixed<16,6>"),
        (nearest(5), "rounded to ap_fixed<8,3>"),
    ],
)
def test_fixed_point_weights_and_states_are_named(kind, to, done):
    model, x = net(kind), features()
    theirs = port(model, x, weights=to, dense=same)
    assert names(model, x, theirs)[0] == f"weights {done}"
    theirs = port(model, x, state=to)
    assert names(model, x, theirs)[0] == f"states {done}"


def float16_lstm(x, h, c, kernel, recurrent, bias):
    """A step in which every array is float16, as in NumPy."""
    x, h, c = (a.astype(np.float16) for a in (x, h, c))
    kernel, recurrent, bias = (a.astype(np.float16) for a in (kernel, recurrent, bias))
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    assert h.dtype == np.float16
    return h, c


def float16_gru(x, h, _, kernel, recurrent, bias):
    x, h = x.astype(np.float16), h.astype(np.float16)
    kernel, recurrent, bias = (a.astype(np.float16) for a in (kernel, recurrent, bias))
    a = np.split(x @ kernel + bias[0], 3, axis=1)
    s = np.split(h @ recurrent + bias[1], 3, axis=1)
    z, r = sigmoid(a[0] + s[0]), sigmoid(a[1] + s[1])
    h = z * h + (1 - z) * np.tanh(a[2] + r * s[2])
    assert h.dtype == np.float16
    return h, h


@pytest.mark.parametrize(
    ("kind", "step"), [("LSTM", float16_lstm), ("GRU", float16_gru)]
)
def test_a_layer_computed_in_float16_is_named(kind, step):
    model, x = net(kind), features()
    theirs = port(model, x, step=step)
    assert names(model, x, theirs)[0] == "computed in float16"


def test_sums_in_float16_are_named():
    """A loop in C over inputs and states, in which the sum is a half."""

    def step(x, h, c, kernel, recurrent, bias):
        both = np.concatenate([x, h], axis=1).astype(np.float16)
        weights = np.concatenate([kernel, recurrent]).astype(np.float16)
        z = np.broadcast_to(bias.astype(np.float16), (len(x), len(bias)))
        for k in range(len(weights)):
            z = z + both[:, k : k + 1] * weights[k]
        assert z.dtype == np.float16
        i, f, g, o = np.split(z.astype(np.float32), 4, axis=1)
        to = half_of("float16")
        i, f, o, g = to(sigmoid(i)), to(sigmoid(f)), to(sigmoid(o)), to(np.tanh(g))
        c = to(to(f * c) + to(i * g))
        return to(o * to(np.tanh(c))), c

    model, x = net("LSTM"), features()
    assert names(model, x, port(model, x, step=step))[0] == "summed in float16"


def hls4ml_table(function, reach):
    entries = 2 * reach * (np.arange(1024) - 512) / 1024
    entries = np.floor(function(entries) * 1024) / 1024
    return lambda v: entries[
        np.clip((v * 1024 / (2 * reach)).astype(int) + 512, 0, 1023)
    ]


def hls4ml_lstm(sigma, phi, drop=""):
    """Return a step as hls4ml computes it: every product and every sum is cut off."""
    to = cut(10)

    def step(x, h, c, kernel, recurrent, bias):
        kernel, recurrent, bias = to(kernel), to(recurrent), to(bias)
        z = to(to(x)[:, :, None] * kernel).sum(axis=1)
        z = z + to(h[:, :, None] * recurrent).sum(axis=1)
        if drop != "bias":
            z = z + bias
        i, f, g, o = np.split(z, 4, axis=1)
        i, f, o, g = to(sigma(i)), to(sigma(f)), to(sigma(o)), to(phi(g))
        c = to(f * c) + to(i * g)
        return to(o * to(phi(c))), c

    return step


TABLES = hls4ml_table(sigmoid, 8), hls4ml_table(np.tanh, 4)


@pytest.mark.parametrize(
    ("functions", "name"),
    [
        ((sigmoid, np.tanh), "computed in ap_fixed<16,6>"),
        (TABLES, "computed in ap_fixed<16,6>, with hls4ml's tables"),
    ],
)
def test_a_layer_computed_in_fixed_point_is_named(functions, name):
    model, x = net("LSTM"), features()
    theirs = port(model, x, step=hls4ml_lstm(*functions))
    assert names(model, x, theirs)[0] == name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("functions", "name"),
    [
        ((sigmoid, np.tanh), "computed in ap_fixed<16,6>"),
        pytest.param(
            TABLES,
            "computed in ap_fixed<16,6>, with hls4ml's tables",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_a_bias_left_out_in_fixed_point_is_named_with_the_format(functions, name):
    model, x = net("LSTM"), features()
    theirs = port(model, x, step=hls4ml_lstm(*functions, drop="bias"))
    found = names(model, x, theirs)[0]
    assert set(found.split("; ")) == {"bias missing", name}


def test_a_structural_mistake_is_not_taken_for_lost_precision():
    """A bias left out, or a gate order, has another explanation and this one only."""
    model, x = net("LSTM"), features()
    for name in ("bias missing", "gate order i,f,o,c", "input gate missing"):
        wrong = next(m for m in catalogue(model) if (m.name, m.layer) == (name, "rnn"))
        assert names(model, x, wrong.evaluate(Network(model).prepare(x))[0]) == [name]


@pytest.mark.slow
def test_noise_is_not_taken_for_lost_precision():
    model, x = net("SimpleRNN"), features()
    rng = np.random.default_rng(1)
    right = port(model, x)
    theirs = right + (1e-3 * rng.normal(size=right.shape)).astype(np.float32)
    assert names(model, x, theirs) == []


def models():
    """Models in which every layer type that can lose precision stands."""
    yield net("LSTM")
    yield net("GRU", seed=1)
    yield net("GRU", seed=1, reset_after=False)
    yield net("SimpleRNN", layer("Dense", "middle", units=5, activation="tanh"))
    yield spec(
        input_layer(None, TIME, dtype="int32"),
        layer("Embedding", "words", input_dim=11, output_dim=INPUTS),
        rnn("GRU", "one", return_sequences=True),
        rnn("LSTM", "two"),
        layer("Dense", "dense", units=2, activation="sigmoid"),
    )


@pytest.mark.slow
def test_every_mistake_changes_the_outputs_and_none_fails():
    for model in models():
        x = features()
        if model.input_shape == (None, TIME):
            x = np.random.default_rng(3).integers(0, 11, size=(ROWS, TIME))
        given = Network(model).prepare(x)
        right = Network(model).flat(given, dtype="float64")[0]
        made = [*catalogue(model), *same_mistakes(model)]
        mutants = [
            m for m in made if any(word in m.name for word in ("rounded", "cut", "in "))
        ]
        kinds = {m.name.split(",")[0] for m in mutants}
        assert {"computed in float16", "weights rounded to int8 per tensor"} <= kinds
        for mutant in mutants:
            (wrong,) = mutant.evaluate(given)
            assert np.isfinite(wrong).all(), mutant.name
            assert wrong.shape == right.shape
            assert np.abs(wrong - right).max() > 1e-7, (mutant.name, mutant.layer)


def test_nothing_is_yielded_where_keras_itself_holds_whole_numbers():
    """A Dense layer after `quantize("int8")`."""
    model = net("LSTM")
    dense = model["dense"].with_options(quantization_mode="int8")
    weights = {**dense.weights, "kernel": np.ones((UNITS, 3), np.int8)}
    dense = type(dense)(dense.name, dense.class_name, dense.options, weights)
    for operator in precision.MUTATION_OPERATORS:
        assert not list(operator(dense))


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_fixed_point_of_numbers_in_16_bits_is_that_of_the_same_numbers(dtype):
    """Round 90, which is 92,160 steps of 2^-10: float16 does not hold as many."""
    values = np.array([90.0, -90, 1.5, 0.375, -7.25]).astype(dtype)
    for cut in (True, False):
        to = fixed(18, 8, cut=cut).round
        assert to(values).dtype == values.dtype
        np.testing.assert_array_equal(to(values), to(values.astype(np.float64)))
        np.testing.assert_array_equal(to(values)[:1], [90])


def test_number_formats_round_as_they_say():
    values = np.array([-0.3, 0.1004, 0.49999, 5.0, -5.0], np.float32)
    low = fixed(8, 3, cut=True)
    assert np.array_equal(low.round(values[:3] * 1), np.floor(values[:3] * 32) / 32)
    assert low.round(values[3:]).tolist() == [-3.0, 3.0]  # wraps round
    high = fixed(8, 3, cut=False)
    assert high.round(values[3:]).tolist() == [4 - 1 / 32, -4.0]
    for to in (low.round, high.round, half("bfloat16").round, to_int8):
        for dtype in (np.float32, np.float64):
            assert to(values.astype(dtype)).dtype == dtype
    assert to_int8_asymmetric(np.zeros(3)).tolist() == [0, 0, 0]
