"""Files of Keras 1, genuine and by hand: read with its layouts and its defaults."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.nets import random_weights

import verify
from verify.errors import ModelFileError, UnsupportedError
from verify.model_files.keras1_config import is_keras1, upgrade_keras1
from verify.model_files.keras1_weights import keras2_arrays
from verify.tolerance.compare import compare

FILES = Path(__file__).parents[2] / "data" / "keras1"
MODELS = ("stacked", "convolutional", "branches", "functional")
FLOAT32 = 4e-6  # outputs are of size 1 to 20 and were computed in float32


def recorded(name):
    """Inputs, and what Keras 1 predicted for them."""
    with np.load(FILES / f"{name}.npz") as arrays:
        x = [arrays[k] for k in arrays.files if k.startswith("x")]
        y = [arrays[k] for k in arrays.files if k.startswith("y")]
    return x if len(x) > 1 else x[0], y


def worst(net, x, theirs):
    ours = net.flat(net.prepare(x))
    assert [a.shape for a in ours] == [b.shape for b in theirs]
    pairs = zip(ours, theirs, strict=True)
    return max(compare(a, b, allowed=FLOAT32).max_diff for a, b in pairs)


@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
@pytest.mark.parametrize("name", MODELS)
def test_what_keras_1_predicted_comes_out_of_its_file(name, backend):
    x, theirs = recorded(f"{name}_{backend}")
    net = verify.load(FILES / f"{name}_{backend}.h5")
    assert worst(net, x, theirs) < FLOAT32
    assert net.spec.keras_version == "1.2.2"
    assert "written by Keras 1.2.2" in net.spec.notes[0]
    for path, layer in net.spec.walk():
        for key in layer.weights if not path.endswith("carry") else ():
            moved = layer.with_weights(**{key: layer.weights[key] * 1.3})
            wrong = verify.Network(net.spec.with_layer(moved, path))
            assert worst(wrong, x, theirs) > FLOAT32, (path, key)


def test_describe_says_who_wrote_the_file(capsys):
    from verify.__main__ import main

    assert main(["describe", str(FILES / "stacked_theano.h5")]) == 0
    printed = capsys.readouterr().out
    assert "written by Keras 1.2.2: read with the layouts and defaults of" in printed
    assert "clip(0.2 * x + 0.5, 0, 1)" in printed


@pytest.mark.keras
def test_check_rebuilds_the_models_in_keras_3_and_proves_them():
    for name in ("convolutional", "branches"):
        report = verify.check(FILES / f"{name}_tensorflow.h5")
        assert report.verdict is verify.Verdict.PASS
        assert report.facts["keras model"].startswith("rebuilt")


# -- by hand, in the published layout --------------------------------------------------


def entry(class_name, name, **config):
    return {"class_name": class_name, "config": {"name": name, **config}}


def old_file(path, layers, arrays, *, suffix=":0", config=True, version="1.1.1"):
    """A file as Keras 1 laid it out; on TensorFlow the names end in ``:0``."""
    model = {"class_name": "Sequential", "config": layers}
    with h5py.File(path, "w") as file:
        if version:
            file.attrs["keras_version"] = version.encode()
        if config:
            file.attrs["model_config"] = json.dumps(model).encode()
        group = file.create_group("model_weights") if config else file
        group.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, weights in arrays.items():
            inner = group.create_group(name)
            names = [f"{name}_{k}{suffix}" for k in range(len(weights))]
            inner.attrs["weight_names"] = np.array(
                [n.encode() for n in names] or [], "S"
            )
            for weight_name, weight in zip(names, weights, strict=True):
                inner[weight_name] = weight
    return path


SHAPES = [(3, 4), (4, 4), (4,)]


def test_an_lstm_has_twelve_arrays_in_the_order_i_c_f_o(tmp_path):
    arrays = random_weights(SHAPES * 4, 0)
    layers = [entry("LSTM", "lstm_1", output_dim=4, batch_input_shape=[None, 6, 3])]
    net = verify.load(old_file(tmp_path / "m.h5", layers, {"lstm_1": arrays}))
    lstm = net.spec["lstm_1"]
    parts = dict(zip("icfo", [arrays[k : k + 3] for k in range(0, 12, 3)], strict=True))
    for k, key in enumerate(("kernel", "recurrent_kernel", "bias")):
        stored = np.concatenate([parts[gate][k] for gate in "ifco"], axis=-1)
        np.testing.assert_array_equal(lstm.weights[key], stored.astype("float32"))
    assert lstm.options["recurrent_activation"] == "keras2_hard_sigmoid"
    assert lstm.options["activation"] == "tanh"
    (note,) = [n for n in net.spec.notes if "defaults of Keras 1 for options" in n]
    assert "activation=tanh, inner_activation=hard_sigmoid" in note


def test_a_gru_has_nine_arrays_and_resets_before(tmp_path):
    arrays = random_weights(SHAPES * 3, 0)
    layers = [entry("GRU", "gru_1", output_dim=4, input_dim=3, input_length=6)]
    net = verify.load(old_file(tmp_path / "m.h5", layers, {"gru_1": arrays}))
    gru = net.spec["gru_1"]
    stored = np.concatenate(arrays[1::3], axis=-1).astype("float32")
    np.testing.assert_array_equal(gru.weights["recurrent_kernel"], stored)
    assert gru.options["reset_after"] is False
    assert net.spec.input_shape == (None, 6, 3)


CONV = {"nb_filter": 5, "filter_length": 4, "subsample_length": 2}


def convolved(x, kernel, start, steps):
    """The sums of a convolution that begin at `start` and go on by 2."""
    padded = np.pad(x, [(0, 0), (8, 8), (0, 0)])
    at = [8 + start + 2 * k for k in range(steps)]
    return np.stack(
        [np.einsum("blf,lfo->bo", padded[:, k : k + 4], kernel) for k in at], axis=1
    )


@pytest.mark.parametrize("old_shape", [False, True])
@pytest.mark.parametrize("theano", [False, True])
def test_convolutions_are_turned_and_padded_as_by_the_backend_that_wrote_them(
    old_shape, theano, tmp_path
):
    (w,) = random_weights([(4, 1, 3, 5)], 0)
    stored = w.transpose(3, 2, 0, 1) if old_shape else w
    shape = {"batch_input_shape": [None, 7, 3], "bias": False}
    layers = [entry("Convolution1D", "c", border_mode="same", **CONV, **shape)]
    suffix = "" if theano else ":0"
    path = old_file(tmp_path / "m.h5", layers, {"c": [stored]}, suffix=suffix)
    x = np.random.default_rng(0).normal(size=(2, 7, 3))
    kernel = w[::-1, 0] if theano else w[:, 0]
    # TensorFlow: 3 zeros, the first of them in front; Theano: 2 in front
    expected = convolved(x, kernel, -2 if theano else -1, 4)
    ours = verify.load(path).predict(x.astype("float32"))
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6)


def test_a_kernel_in_th_order_is_moved():
    (w,) = random_weights([(5, 2, 3, 4)], 0)
    conv = entry("Convolution2D", "c", nb_filter=5, bias=False, dim_ordering="th")
    for theano in (False, True):
        (kernel,) = keras2_arrays([conv], {"c": [w]}, theano=theano)["c"]
        expected = w.transpose(2, 3, 1, 0)
        expected = expected[::-1, ::-1] if theano else expected
        np.testing.assert_array_equal(kernel, expected)


def test_up_to_1_0_5_batch_normalisation_stores_standard_deviations(tmp_path):
    gamma, beta, mean, deviation = random_weights([(3,)] * 4, 0)
    deviation = np.abs(deviation)
    layers = [
        entry(
            "BatchNormalization", "b", batch_input_shape=[None, 3], epsilon=0.1, mode=0
        )
    ]
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    for version, divisor in (
        ("1.0.5", deviation + 0.1),
        ("1.0.6", np.sqrt(deviation + 0.1)),
    ):
        arrays = {"b": [gamma, beta, mean, deviation]}
        path = old_file(tmp_path / f"{version}.h5", layers, arrays, version=version)
        expected = (x - mean) / divisor * gamma + beta
        ours = verify.load(path).predict(x)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_weights_with_the_json_of_keras_1_are_read(tmp_path):
    arrays = {"d": random_weights([(3, 2), (2,)], 0)}
    layers = [entry("Dense", "d", output_dim=2, init="uniform", input_dim=3)]
    path = old_file(tmp_path / "w.h5", layers, arrays, config=False, version=None)
    config = {
        "class_name": "Sequential",
        "config": layers,
        "keras_version": "1.0.8",
    }
    (tmp_path / "m.json").write_text(json.dumps(config))
    net = verify.load(path, config=tmp_path / "m.json")
    x = np.ones((1, 3), "float32")
    expected = x @ arrays["d"][0] + arrays["d"][1]
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-6)


def test_keras_1_is_told_by_its_version_or_by_its_options():
    old = {"class_name": "LSTM", "config": {"output_dim": 3, "inner_init": "uniform"}}
    new = {"class_name": "Embedding", "config": {"output_dim": 3, "input_dim": 4}}
    model = {"class_name": "Sequential"}
    assert is_keras1({**model, "config": [old]}, None)
    assert is_keras1({**model, "config": [new]}, "1.0.8")
    assert not is_keras1({**model, "config": [new]}, None)
    assert not is_keras1({**model, "config": [old]}, "2.0.4")


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (
            entry("BatchNormalization", "x", mode=1),
            "'mode' expects 0. Received: mode=1",
        ),
        (entry("BatchNormalization", "x", mode=2), "uses the batch in predict"),
        (entry("SReLU", "x"), "this class is not supported: Keras 2 has dropped it"),
        (entry("Convolution2D", "x", dim_ordering="xy"), "expects one of tf, th"),
        (entry("Dense", "x", output_dim=2, colour="red"), "option 'colour'"),
        (
            entry("Merge", "x", mode="lambda", mode_type="lambda"),
            "a mode that is a function is not supported",
        ),
    ],
)
def test_what_has_no_equivalent_is_refused_by_name(layer, reason, tmp_path):
    first = entry("Dense", "d", output_dim=2, batch_input_shape=[None, 3])
    arrays = {"d": random_weights([(3, 2), (2,)], 0)}
    with pytest.raises(UnsupportedError, match="Layer 'x'") as caught:
        verify.load(old_file(tmp_path / "m.h5", [first, layer], arrays))
    assert reason in str(caught.value)


def test_other_weights_than_the_config_says_are_refused(tmp_path):
    layers = [entry("LSTM", "lstm_1", output_dim=4, batch_input_shape=[None, 6, 3])]
    for count in (0, 2, 11, 13):
        arrays = random_weights((SHAPES * 5)[:count], 0)
        path = old_file(tmp_path / "m.h5", layers, {"lstm_1": arrays})
        with pytest.raises(ModelFileError, match=r"'lstm_1' \(LSTM, Keras 1\)"):
            verify.load(path)


def test_files_from_before_keras_1_are_refused_by_their_version(tmp_path):
    layers = [entry("Dense", "d", output_dim=2, batch_input_shape=[None, 3])]
    path = old_file(tmp_path / "m.h5", layers, {"d": []}, version="0.3.3")
    with pytest.raises(UnsupportedError, match=r"written by Keras 0\.3\.3"):
        verify.load(path)


def test_a_branch_that_stands_twice_in_the_config_is_shared():
    def branch(name):
        shape = [None, 6]
        words = entry("Embedding", name, input_dim=9, output_dim=4)
        words["config"]["batch_input_shape"] = shape
        return {"class_name": "Sequential", "config": [words]}

    def merged(*branches, mode):
        config = {"mode": mode, "layers": list(branches), "name": f"merge_{mode}"}
        first = {"class_name": "Merge", "config": config}
        return {"class_name": "Sequential", "config": [first]}

    inner = merged(branch("a"), branch("b"), mode="sum")
    outer = merged(inner, branch("b"), mode="mul")
    upgraded = upgrade_keras1(outer, "1.2.2", False, {}).config["config"]
    names = [layer["name"] for layer in upgraded["layers"]]
    assert names == ["a_input", "a", "b_input", "b", "merge_sum", "merge_mul"]
    assert upgraded["input_layers"] == [["a_input", 0, 0], ["b_input", 0, 0]]


def test_models_in_a_sequential_model_have_the_names_of_their_weights(tmp_path):
    first = [entry("Dense", "a", output_dim=4, batch_input_shape=[None, 3])]
    second = [entry("Dense", "b", output_dim=2, batch_input_shape=[None, 4])]
    layers = [{"class_name": "Sequential", "config": x} for x in (first, second)]
    arrays = {
        "sequential_7": random_weights([(3, 4), (4,)], 0),
        "sequential_9": random_weights([(4, 2), (2,)], 1),
    }
    net = verify.load(old_file(tmp_path / "m.h5", layers, arrays))
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    (w, b), (v, c) = arrays.values()
    np.testing.assert_allclose(net.predict(x), (x @ w + b) @ v + c, rtol=1e-5)


def test_a_thresholded_relu_lets_pass_what_is_greater(tmp_path):
    layers = [entry("ThresholdedReLU", "t", theta=0.5, batch_input_shape=[None, 3])]
    net = verify.load(old_file(tmp_path / "m.h5", layers, {"t": []}))
    x = np.float32([[0.4, 0.5, 0.6], [-1, 2, 0.1]])
    np.testing.assert_array_equal(net.predict(x), np.where(x > 0.5, x, 0))
