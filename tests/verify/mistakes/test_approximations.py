"""Tables, clips and rational functions in the place of tanh and sigmoid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.nets import INPUTS, TIME, UNITS, input_layer, layer, rnn, spec

from verify import Network, Verdict, compare_outputs
from verify.mistakes.approximations import APPROXIMATIONS, POLYNOMIALS
from verify.mistakes.catalogue import catalogue, same_mistakes

ROWS = 48


def net(*more):
    """Features, an LSTM and a Dense layer; more in between."""
    return spec(
        input_layer(None, TIME, INPUTS),
        rnn("LSTM", "rnn"),
        *more,
        layer("Dense", "dense", units=3),
    )


def features():
    rng = np.random.default_rng(2)
    return (2 * rng.normal(size=(ROWS, TIME, INPUTS))).astype(np.float32)


def port(model, x, tanh, sigmoid):
    """Compute `net` with functions of one number, in a loop of its own."""
    phi, sigma = np.vectorize(tanh, otypes=[float]), np.vectorize(sigmoid)
    kernel, recurrent, bias = model["rnn"].weights.values()
    h = c = np.zeros((len(x), UNITS))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigma(f) * c + sigma(i) * phi(g)
        h = sigma(o) * phi(c)
    for middle in list(model)[1:-1]:
        h = phi(h @ middle.weights["kernel"] + middle.weights["bias"])
    dense = model["dense"].weights
    return (h @ dense["kernel"] + dense["bias"]).astype(np.float32)


def logistic(x):
    return 1 / (1 + math.exp(-x))


def halved(tanh):
    return lambda x: (tanh(x / 2) + 1) / 2


def hls4ml(function, reach):
    """nnet_activation.h, entry by entry: 1024 entries of ap_fixed<18,8>."""
    entries = [
        math.floor(function(2.0 * reach * (k - 512.0) / 1024.0) * 1024) / 1024
        for k in range(1024)
    ]

    def read(x):
        index = int(x * 1024 / (2 * reach)) + 512  # int() cuts off, as in C
        return entries[min(max(index, 0), 1023)]

    return read


def q7(function):
    """arm_nntables.c: a byte for each input in steps of 1/16."""
    entries = [
        min(127, round(function((k if k < 128 else k - 256) / 16) * 128)) / 128
        for k in range(256)
    ]
    return lambda x: entries[min(max(math.floor(x * 16), -128), 127) % 256]


def pade(x):
    x = min(3.0, max(-3.0, x))
    return x * (27 + x**2) / (27 + 9 * x**2)


def fast(x):
    a = abs(x)
    above = 2.45550750702956 * (1 + a) + (0.893229853513558 + 0.821226666969744 * a) * (
        x * x
    )
    below = 2.44506634652299 + (2.44506634652299 + x * x) * abs(
        x + 0.814642734961073 * x * a
    )
    return x * above / below


def chowdsp(x):
    p = x * (1 + 0.183428244899 * x * x)
    return p / math.sqrt(p * p + 1)


def softsign(x):
    return x / (1 + abs(x))


PORTS = {
    "hls4ml's tables": (hls4ml(math.tanh, 4), hls4ml(logistic, 8)),
    "CMSIS-NN's 8-bit tables": (q7(math.tanh), q7(logistic)),
    "x (27 + x^2) / (27 + 9 x^2), clipped": (pade, halved(pade)),
    "NeuralAmpModeler's fast_tanh": (fast, halved(fast)),
    "math_approx::tanh<3>": (chowdsp, halved(chowdsp)),
    "x / (1 + |x|)": (softsign, halved(softsign)),
    "clipping": (
        lambda x: min(1.0, max(-1.0, x)),
        lambda x: min(1.0, max(0.0, x / 4 + 0.5)),
    ),
}


def names(model, x, theirs):
    report = compare_outputs(Network(model), x, theirs)
    assert report.verdict is Verdict.FAIL
    return [found.mistake for found in report.diagnosis.explanations]


@pytest.mark.parametrize("name", PORTS)
def test_an_approximation_of_both_functions_is_named(name):
    model, x = net(), features()
    tanh, sigmoid = PORTS[name]
    found = names(model, x, port(model, x, tanh, sigmoid))
    assert found[0] == f"tanh and sigmoid by {name}"


@pytest.mark.parametrize("name", ["hls4ml's tables", "clipping", "x / (1 + |x|)"])
def test_an_approximation_of_one_function_is_named(name):
    model, x = net(), features()
    tanh, sigmoid = PORTS[name]
    assert names(model, x, port(model, x, tanh, logistic))[0] == f"tanh by {name}"
    assert names(model, x, port(model, x, math.tanh, sigmoid))[0] == (
        f"sigmoid by {name}"
    )


def test_an_approximation_in_all_layers_is_named_once():
    model = net(layer("Dense", "middle", units=5, activation="tanh"))
    x = features()
    tanh, sigmoid = PORTS["NeuralAmpModeler's fast_tanh"]
    assert names(model, x, port(model, x, tanh, sigmoid)) == [
        "tanh and sigmoid by NeuralAmpModeler's fast_tanh, in the whole model"
    ]


def test_right_outputs_of_the_loop_in_this_file_pass():
    model = net(layer("Dense", "middle", units=5, activation="tanh"))
    x = features()
    theirs = port(model, x, math.tanh, logistic)
    assert compare_outputs(Network(model), x, theirs).verdict is Verdict.PASS


@pytest.mark.parametrize("found", APPROXIMATIONS, ids=lambda a: a.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_approximation_is_near_its_function_and_is_not_it(found, dtype):
    x = np.linspace(-2.9, 2.9, 2001).astype(dtype)
    for name, right in (("tanh", np.tanh), ("sigmoid", lambda v: 1 / (1 + np.exp(-v)))):
        y = getattr(found, name)(x)
        assert y.dtype == dtype, name
        apart = np.abs(y - right(x)).max()
        assert 1e-6 < apart < 0.31, (name, apart)
        far = getattr(found, name)(np.array([-1e3, 1e3], dtype))
        assert np.isfinite(far).all()


def test_the_polynomials_come_nearer_with_their_order():
    x = np.linspace(-5, 5, 2001)
    apart = [
        np.abs(a.tanh(x) - np.tanh(x)).max()
        for a in APPROXIMATIONS
        if a.name.startswith("math_approx")
    ]
    assert len(apart) == len(POLYNOMIALS)
    assert apart == sorted(apart, reverse=True)


def test_every_approximation_changes_the_outputs_of_a_model():
    model = net(layer("Dense", "middle", units=5, activation="tanh"))
    given = Network(model).prepare(features())
    right = Network(model).flat(given, dtype="float64")[0]
    made = [m for m in (*catalogue(model), *same_mistakes(model)) if " by " in m.name]
    assert len(made) > 3 * len(APPROXIMATIONS)
    for mutant in made:
        assert np.abs(mutant.evaluate(given)[0] - right).max() > 1e-7, mutant.name
