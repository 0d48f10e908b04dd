"""Weights are found again in whatever form a file holds them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support import nets
from support.graphs import given, made, net

from verify import ModelSpec
from verify.ports.locate import find_weights
from verify.ports.locate.weights import FoundWeight

LSTM = nets.word_net(nets.rnn("LSTM"))
GRU = nets.word_net(nets.rnn("GRU"))
Arrays = dict[str, np.ndarray]


def blocks(value: np.ndarray, order: str, stored: str) -> np.ndarray:
    """The gate blocks of the last axis in another order."""
    parts = np.split(value, len(stored), axis=-1)
    return np.concatenate([parts[stored.index(g)] for g in order], axis=-1)


def onnx_lstm(spec: ModelSpec) -> Arrays:
    """All weights of LSTM as ONNX's operator has them."""
    found = plain(spec)
    for name, letter in (("kernel", "W"), ("recurrent_kernel", "R")):
        value = blocks(found.pop(f"rnn/{name}"), "iofc", "ifco")
        found[letter] = value.T[None]
    bias = blocks(found.pop("rnn/bias"), "iofc", "ifco")
    found["B"] = np.concatenate([bias, np.zeros_like(bias)])[None]
    return found


def plain(spec: ModelSpec) -> Arrays:
    """All weights as Keras has them."""
    return {
        f"{path}/{name}": np.array(value)
        for path, layer in spec.walk()
        for name, value in layer.weights.items()
    }


def one(constants: Arrays, spec: ModelSpec, path: str) -> FoundWeight:
    """What was found of one weight."""
    found = find_weights(constants, spec)
    return next(weight for weight in found.weights if weight.path == path)


def test_weights_as_keras_has_them() -> None:
    found = find_weights(plain(LSTM), LSTM)
    assert (found.found, found.total, found.missing) == (6, 6, ())
    assert found.sentences[1] == (
        "kernel of 'rnn': found in 'rnn/kernel', gates in the order i,f,c,o"
    )


def test_weights_of_the_operator_of_onnx() -> None:
    found = find_weights(onnx_lstm(LSTM), LSTM)
    assert (found.found, found.total) == (6, 6)
    assert found.sentences[1:4] == (
        "kernel of 'rnn': found in 'W', transposed, gates in the order i,o,f,c",
        "recurrent kernel of 'rnn': found in 'R', transposed, gates in the order "
        "i,o,f,c",
        "bias of 'rnn': found in 'B', gates in the order i,o,f,c",
    )
    assert found.layers_of(["W", "R", "B"]) == {"rnn": 3}


@pytest.mark.parametrize("stacked", [False, True])
def test_every_order_of_the_gates_of_an_lstm(stacked: bool) -> None:
    weights = LSTM["rnn"].weights
    for order in itertools.permutations("ifco"):
        kernel = blocks(weights["kernel"], "".join(order), "ifco")
        recurrent = blocks(weights["recurrent_kernel"], "".join(order), "ifco")
        constants = {"K": kernel, "R": recurrent}
        if stacked:
            constants = {"both": np.concatenate([kernel, recurrent]).T}
        for name in ("kernel", "recurrent_kernel"):
            found = one(constants, LSTM, f"rnn/{name}")
            assert found.found
            assert found.gates == order
            assert ("transposed" in found.sentence) == stacked


def test_every_order_of_the_gates_of_a_gru() -> None:
    for order in itertools.permutations("zrh"):
        kernel = blocks(GRU["rnn"].weights["kernel"], "".join(order), "zrh")
        assert one({"K": kernel.T}, GRU, "rnn/kernel").gates == order


def test_interleaved_gates() -> None:
    parts = np.split(LSTM["rnn"].weights["kernel"], 4, axis=1)
    mixed = np.stack([parts[k] for k in (2, 0, 1, 3)], axis=-1).reshape(nets.INPUTS, -1)
    found = one({"W": mixed.T}, LSTM, "rnn/kernel")
    assert found.gates == ("c", "i", "f", "o")
    assert found.sentence.endswith("transposed, gates c,i,f,o interleaved")


def test_a_constant_for_each_gate() -> None:
    parts = np.split(LSTM["rnn"].weights["kernel"], 4, axis=1)
    found = one({f"W{k}": p.T for k, p in enumerate(parts)}, LSTM, "rnn/kernel")
    assert found.constants == ("W0", "W1", "W2", "W3")
    assert found.sentence.endswith("transposed, each gate by itself")


def test_a_negated_update_gate() -> None:
    parts = np.split(GRU["rnn"].weights["kernel"], 3, axis=1)
    found = one(
        {"w": np.concatenate([-parts[0], *parts[1:]], axis=1)}, GRU, "rnn/kernel"
    )
    assert found.sentence.endswith("negated (gate z)")


def test_a_forget_bias_without_its_one() -> None:
    bias = np.array(LSTM["rnn"].weights["bias"])
    bias[nets.UNITS : 2 * nets.UNITS] -= 1
    found = one({"b": bias}, LSTM, "rnn/bias")
    assert found.found
    assert found.sentence.endswith("1 subtracted from gate f")


def test_both_rows_of_a_gru_bias_added() -> None:
    bias = GRU["rnn"].weights["bias"]
    z, r, h = np.split(bias, 3, axis=1)
    four = np.concatenate([z.sum(0), r.sum(0), h[0], h[1]])[None]
    found = one({"B": four}, GRU, "rnn/bias")
    assert found.found
    assert found.sentence.endswith("both rows added for gates z and r")


@pytest.mark.parametrize("dtype", ["float16", "float32 of float16"])
def test_weights_rounded_to_16_bits(dtype: str) -> None:
    constants = {k: v.astype(np.float16) for k, v in onnx_lstm(LSTM).items()}
    if "of" in dtype:
        constants = {k: v.astype(np.float32) for k, v in constants.items()}
    found = find_weights(constants, LSTM)
    assert found.found == 6
    assert "rounded to float16" in found.sentences[1]


def test_weights_in_8_bits() -> None:
    kernel = LSTM["rnn"].weights["kernel"].T  # (4 * units, features)
    for axis in (None, 1):
        scale = np.abs(kernel).max(axis=axis, keepdims=True) / 127
        q = np.round(kernel / scale).astype(np.int8)
        found = one({"q": q}, LSTM, "rnn/kernel")
        assert found.sentence.endswith(
            "transposed, gates in the order i,f,c,o, in steps of int8"
        )
        q[0, 0] = -q[0, 0]
        assert not one({"q": q}, LSTM, "rnn/kernel").found


def test_a_kernel_of_a_convolution() -> None:
    spec = nets.spec(
        nets.input_layer(None, nets.TIME, nets.INPUTS),
        nets.layer("Conv1D", "conv", filters=5, kernel_size=2),
    )
    kernel = spec["conv"].weights["kernel"]
    found = find_weights({"w": kernel.transpose(2, 1, 0)}, spec)
    assert found.sentences[0].endswith("found in 'w', axes in the order 2,1,0")


def changed(name: str, k: int) -> Arrays:
    constants = onnx_lstm(LSTM)
    constants[name].flat[k] += 0.25
    return constants


def test_numbers_that_differ_are_counted() -> None:
    constants = changed("R", 5)
    constants["R"].flat[40] *= -1
    found = find_weights(constants, LSTM)
    assert found.missing == ("rnn/recurrent_kernel",)
    assert found.found == 5
    assert found.sentences[2].startswith(
        "recurrent kernel of 'rnn': nearly found in 'R', transposed with gates i,o,f,c,"
        " but 2 of 64 numbers differ (gate i and f), by up to"
    )


def test_a_model_and_a_file_that_are_not_the_same_network() -> None:
    other = nets.word_net(nets.rnn("LSTM"), seed=7)
    found = find_weights(onnx_lstm(other), LSTM)
    assert (found.found, found.total) == (0, 6)
    assert len(found.missing) == 6


def test_a_dropped_bias() -> None:
    constants = onnx_lstm(LSTM)
    constants["B"][...] = 0
    found = find_weights(constants, LSTM)
    assert found.missing == ("rnn/bias",)
    assert found.sentences[3] == "bias of 'rnn': not found"


def test_a_bias_of_zeros_is_not_looked_for() -> None:
    layer = LSTM["rnn"]
    spec = LSTM.with_layer(layer.with_weights(bias=np.zeros(4 * nets.UNITS)))
    found = find_weights({}, spec)
    assert found.total == 5
    assert found.untold == ("bias of 'rnn' is 0 everywhere, which leaves no trace",)


def test_bidirectional_weights_in_one_constant() -> None:
    model = nets.FunctionalNet()
    x = model.input("x", None, nets.TIME, nets.INPUTS)
    config = nets.layer("Bidirectional", "bi", layer=nets.rnn("LSTM", "lstm"))
    spec = model.spec(model.call(config, x, features=nets.INPUTS)[0])
    layers = [spec[f"bi/{d}_layer"] for d in ("forward", "backward")]
    kernels = [blocks(x.weights["kernel"], "iofc", "ifco").T for x in layers]
    found = find_weights({"W": np.stack(kernels)}, spec)
    assert found.found == 2
    assert found.layers_of(["W"]) == {"bi/forward_layer": 1, "bi/backward_layer": 1}


@pytest.mark.slow
def test_fifty_megabytes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    constants = onnx_lstm(LSTM)
    constants["embedding"] = rng.normal(size=(100_000, 125)).astype(np.float32)
    found = find_weights(constants, LSTM)
    assert found.found == 6


def test_a_batch_normalization_that_is_folded_is_found_in_its_scale_and_offset():
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    shapes = [(3,)] * 4
    layer = made("BatchNormalization", "norm", *shapes, seed=4, epsilon=1e-3)
    spec = net([given("x", 6, 3), layer], {"norm": "x"}, "norm")
    w = {name: layer.weights[name].astype(np.float64) for name in names}
    scale = w["gamma"] / np.sqrt(w["moving_variance"] + 1e-3)
    constants = {
        "mul": scale.astype(np.float32),
        "sub": (w["beta"] - w["moving_mean"] * scale).astype(np.float32),
    }
    found = find_weights(constants, spec)
    assert found.found == found.total == 4
    assert all("folded into the scale" in text for text in found.sentences)
    constants["sub"][1] += 0.01  # a planted mistake
    assert find_weights(constants, spec).found == 0
