"""Configs guessed from weights, where the arrays leave no choice."""

from __future__ import annotations

import itertools
import json

import h5py
import numpy as np
import pytest
from support.nets import features, random_weights
from support.thoroughness import some

import verify
from verify import ModelFileError
from verify.__main__ import main
from verify.model_files.guessing import read_guess

GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
KERNELS = ["kernel", "recurrent_kernel", "bias"]


def legacy(path, layers, version="2.4.0"):
    """A file of save_weights of Keras 2: name -> {name of the array: shape}."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for k, (name, arrays) in enumerate(layers.items()):
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{n}:0".encode() for n in arrays]
            values = random_weights(list(arrays.values()), k)
            for array, value in zip(arrays, values, strict=True):
                group[f"{array}:0"] = value.astype("float32")
    return path


def rnn(gates, inputs, units, within="rnn", bias=None):
    shapes = [(inputs, gates * units), (units, gates * units), bias or (gates * units,)]
    return {f"{within}/{k}": s for k, s in zip(KERNELS, shapes, strict=True)}


def dense(inputs, units):
    return {"d/kernel": (inputs, units), "d/bias": (units,)}


def saved(path, layers):
    """A file of save_weights of Keras 3: path below ``layers`` -> shapes."""
    with h5py.File(path, "w") as file:
        for k, (place, shapes) in enumerate(layers.items()):
            for n, value in enumerate(random_weights(shapes, k)):
                file[f"layers/{place}/vars/{n}"] = value.astype("float32")
    return path


def of_attributes(path, layers, names=None):
    """A file of a model of a class of its own: path of attributes -> shapes.

    Later versions of Keras 3 write the names of the layers beside their arrays.
    """
    with h5py.File(path, "w") as file:
        for k, (place, shapes) in enumerate(layers.items()):
            for n, value in enumerate(random_weights(shapes, k)):
                file[f"{place}/vars/{n}".strip("/")] = value.astype("float32")
        for place, name in (names or {}).items():
            file.require_group(f"{place}/vars").attrs["name"] = name
    return path


def guessed(path, order=()):
    """The layers of a guess, and the network that it makes of the file."""
    guess = read_guess(path, order)
    config = path.with_suffix(".json")
    config.write_text(json.dumps(guess.config))
    net = verify.load(path, config=config)
    return {x.name: x for x in net.spec}, " | ".join(guess.open_questions), net


def refused(path, order=()):
    with pytest.raises(ModelFileError) as caught:
        read_guess(path, order)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("class_name", GATES)
def test_a_recurrent_kernel_says_the_class_whatever_the_name(tmp_path, class_name):
    gates = GATES[class_name]
    layers = {"mine": rnn(gates, 3, 4), "last": dense(4, 2)}
    found, asks, net = guessed(legacy(tmp_path / "w.h5", layers))
    assert found["mine"].class_name == class_name
    assert found["mine"].options["units"] == 4
    assert "mine: whether this last recurrent layer has return_sequences" in asks
    assert "last: its activation" in asks
    assert net.predict(features()).shape == (5, 2)


def test_layers_behind_say_who_returns_sequences(tmp_path):
    layers = {
        "embedding_1": {"e/embeddings": (11, 3)},
        "spatial_dropout1d_1": {},
        "lstm_1": rnn(4, 3, 5),
        "batch_normalization_1": {
            f"b/{k}": (5,) for k in ("gamma", "beta", "moving_mean", "moving_variance")
        },
        "gru_1": rnn(3, 5, 4, bias=(2, 12)),
        "time_distributed_1": dense(4, 2),
    }
    found, asks, net = guessed(legacy(tmp_path / "w.h5", layers))
    assert found["lstm_1"].options["return_sequences"]
    assert found["gru_1"].options["return_sequences"]
    assert found["gru_1"].options["reset_after"]
    assert "return_sequences" not in asks
    assert net.predict(np.ones((2, 6), "int32")).shape == (2, 6, 2)


def test_an_autoencoder_repeats_the_last_step(tmp_path):
    layers = {"a": rnn(4, 3, 5), "repeat_vector_1": {}, "b": rnn(4, 5, 4)}
    found, asks, _ = guessed(legacy(tmp_path / "w.h5", layers))
    assert not found["a"].options["return_sequences"]
    assert "repeat_vector_1: its n (here 1)" in asks


@pytest.mark.parametrize("name", ["the_input", "x", "tokens_in"])
def test_a_first_layer_without_weights_is_the_input_whatever_it_is_called(
    tmp_path, name
):
    layers = {"lstm_1": rnn(4, 3, 4), "dense_1": dense(4, 2)}
    found, asks, net = guessed(legacy(tmp_path / "w.h5", {name: {}, **layers}))
    assert list(found) == ["lstm_1", "dense_1"]
    assert f"{name}: whether it is the input, as here" in asks
    plain = guessed(legacy(tmp_path / "w.h5", {"input_1": {}, **layers}))
    assert "whether it is the input" not in plain[1]
    assert np.array_equal(net.predict(features()), plain[2].predict(features()))
    behind = {"lstm_1": layers["lstm_1"], name: {}, "dense_1": layers["dense_1"]}
    assert f"'{name}' has no weights" in refused(legacy(tmp_path / "w.h5", behind))
    two = legacy(tmp_path / "w.h5", {name: {}, "input_1": {}, **layers})
    assert "has 2 inputs" in refused(two)


def test_a_dense_layer_with_more_inputs_flattens_the_steps(tmp_path):
    layers = {
        "conv1d_1": {"c/kernel": (2, 3, 4), "c/bias": (4,)},
        "lstm_1": rnn(4, 4, 5),
        "dense_1": dense(30, 2),
    }
    found, asks, net = guessed(legacy(tmp_path / "w.h5", layers))
    assert found["lstm_1"].options["return_sequences"]
    assert "30 inputs are read as 6 steps of 5, flattened" in asks
    assert net.spec.inputs[0].options["batch_shape"] == (None, 7, 3)


@pytest.mark.parametrize(("size", "mode"), [(8, "concat"), (4, "sum")])
def test_the_merging_of_two_directions_shows_behind_them(tmp_path, size, mode):
    both = rnn(4, 3, 4, "forward_lstm") | rnn(4, 3, 4, "backward_lstm")
    layers = {"bidirectional_1": both, "dense_1": dense(size, 2)}
    found, asks, net = guessed(legacy(tmp_path / "w.h5", layers))
    assert found["bidirectional_1"].options["merge_mode"] == mode
    assert ("merge_mode, sum, mul or ave" in asks) == (mode == "sum")
    assert net.predict(features()).shape == (5, 2)


def test_cudnn_layers_are_told_by_their_bias(tmp_path):
    layers = {"a": rnn(4, 3, 4, bias=(32,)), "b": rnn(3, 4, 5, bias=(30,))}
    found, _, net = guessed(legacy(tmp_path / "w.h5", layers, "2.1.5"))
    assert [x.class_name for x in found.values()] == ["LSTM", "GRU"]
    assert "CuDNNLSTM" in " ".join(net.spec.notes)


@pytest.mark.parametrize(("version", "old"), [("2.2.4", True), ("2.10.0", False)])
def test_the_gates_have_the_activation_of_the_version(tmp_path, version, old):
    path = legacy(tmp_path / "w.h5", {"lstm_1": rnn(4, 3, 4)}, version)
    found, asks, _ = guessed(path)
    assert ("hard_sigmoid" in found["lstm_1"].options["recurrent_activation"]) == old
    assert ("hard_sigmoid" in asks) == old


def test_a_version_of_two_defaults_is_named_with_both(tmp_path):
    """TensorFlow 1.13 to 2.1 all wrote 2.2.4-tf."""
    path = legacy(tmp_path / "w.h5", {"lstm_1": rnn(4, 3, 4)}, "2.2.4-tf")
    _, asks, _ = guessed(path)
    assert "hard_sigmoid, the default of Keras 2.2.4-tf in TensorFlow 1; in" in asks
    assert "TensorFlow 2 it is sigmoid" in asks


@pytest.mark.parametrize(
    "arrays", [rnn(1, 3, 4), rnn(4, 3, 4, bias=(32,))], ids=["SimpleRNN", "CuDNNLSTM"]
)
def test_layers_without_a_recurrent_activation_raise_no_question_of_it(
    tmp_path, arrays
):
    _, asks, _ = guessed(legacy(tmp_path / "w.h5", {"a": arrays}, "2.2.4"))
    assert "recurrent_activation" not in asks


STACK = {
    "bidirectional/forward_layer/cell": [(3, 16), (4, 16), (16,)],
    "bidirectional/backward_layer/cell": [(3, 16), (4, 16), (16,)],
    "dense": [(5, 2), (2,)],
    "gru/cell": [(8, 15), (5, 15), (2, 15)],
}


def test_the_order_of_a_file_of_keras_3_follows_from_the_sizes(tmp_path):
    found, asks, net = guessed(saved(tmp_path / "w.weights.h5", STACK))
    assert list(found) == ["bidirectional", "gru", "dense"]
    assert "layers without weights" in asks
    assert net.predict(features()).shape == (5, 2)


def test_where_several_orders_fit_they_are_listed_and_one_is_asked_for(tmp_path):
    layers = {"dense": [(4, 3), (3,)], "lstm/cell": [(3, 16), (4, 16), (16,)]}
    path = saved(tmp_path / "w.weights.h5", layers)
    text = refused(path)
    assert "fit together in several orders" in text
    assert "dense, lstm" in text
    assert "lstm, dense" in text
    found, _, net = guessed(path, ["lstm", "dense"])
    assert list(found) == ["lstm", "dense"]
    assert net.predict(features()).shape == (5, 3)
    assert "--order to name dense and lstm. Received: lstm" in refused(path, ["lstm"])


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ({"a": rnn(4, 3, 4), "dense_1": dense(7, 2)}, "takes 7 features, and 'a'"),
        ({"a": rnn(4, 3, 4), "concatenate_1": {}}, "joins branches, so it is no chain"),
        ({"input_1": {}, "input_2": {}, "a": rnn(4, 3, 4)}, "has 2 inputs"),
        ({"dense_1": dense(3, 2)}, "no recurrent layer is recognised"),
        ({"a": rnn(4, 3, 4), "mystery": {}}, "'mystery' has no weights"),
        ({"a": rnn(4, 3, 4), "dense": {"o/alpha": (3,)}}, "has arrays alpha of (3,)"),
        ({"gru_1": rnn(4, 3, 4)}, "is called GRU, and its arrays are those of a LSTM"),
        ({"a": rnn(5, 3, 4)}, "are those of no recurrent layer"),
        ({"a": rnn(4, 3, 4, bias=(5,))}, "the bias of layer 'a' fits no layer"),
        ({"lstm_1": {"lstm_1_W_i": (3, 4)}}, "has arrays lstm_1_W_i of (3, 4)"),
    ],
)
def test_what_leaves_a_choice_or_fits_nothing_is_refused(tmp_path, layers, reason):
    text = refused(legacy(tmp_path / "w.h5", layers))
    assert "no config can be guessed" in text
    assert reason in text


@pytest.mark.parametrize(
    ("name", "shapes", "like"),
    [
        ("einsum_dense", [(4, 2), (2,)], "Dense"),
        ("group_normalization", [(4,), (4,)], "LayerNormalization"),
        ("p_re_lu", [(6, 4)], "Dense"),
        ("depthwise_conv1d", [(3, 4, 1), (1,)], "Conv1D"),
        ("my_attention", [(4, 2), (2,)], "Dense"),
    ],
)
def test_arrays_under_the_name_of_another_class_are_not_taken_for_a_layer(
    tmp_path, name, shapes, like
):
    layers = {"lstm/cell": [(3, 16), (4, 16), (16,)], name: shapes}
    text = refused(saved(tmp_path / "w.weights.h5", layers))
    assert f"layer '{name}' is called" in text
    assert f"those of a {like}" in text


def test_a_layer_of_another_class_is_left_open_in_a_legacy_file(tmp_path):
    """Do not take GroupNormalization for LayerNormalization, which computes more."""
    scale = {"g/gamma": (4,), "g/beta": (4,)}
    layers = {"lstm": rnn(4, 3, 4), "group_normalization": scale, "dense": dense(4, 2)}
    guess = read_guess(legacy(tmp_path / "w.h5", layers))
    classes = [x["class_name"] for x in guess.config["config"]["layers"]]
    assert classes == ["InputLayer", "LSTM", "UnknownLayer", "Dense"]
    layers = {"lstm": layers["lstm"], "my_norm": scale, "dense": layers["dense"]}
    found, _, _ = guessed(legacy(tmp_path / "named.h5", layers))
    assert found["my_norm"].class_name == "LayerNormalization"


def test_sizes_that_fit_in_no_order_are_listed(tmp_path):
    layers = {**STACK, "dense": [(9, 2), (2,)]}
    assert "fit together in no order" in refused(saved(tmp_path / "w.h5", layers))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "w.h5"
    path.write_text("{}")
    assert "expected a file with weights" in refused(path)
    assert "Received: JSON" in refused(path)
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert "Received: a NumPy array (.npy)" in refused(tmp_path / "x.npy")
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
    assert "has a config of its own" in refused(path)


def test_the_command_prints_json_and_says_what_is_not_known(tmp_path, capsys):
    path = legacy(tmp_path / "w.h5", {"lstm_1": rnn(4, 3, 4)})
    assert main(["guess-config", str(path)]) == 0
    printed = capsys.readouterr()
    (tmp_path / "guess.json").write_text(printed.out)
    assert json.loads(printed.out)["guessed"]["not known"]
    assert "lstm_1: its activations, direction and dropout" in printed.err
    config = ["--config", str(tmp_path / "guess.json")]
    assert main(["describe", str(path), *config]) == 0
    assert "lstm_1 (LSTM)" in capsys.readouterr().out
    assert main(["describe", str(path)]) == 2
    assert "begin with rnn-verify guess-config" in capsys.readouterr().err


@pytest.mark.keras
def test_what_keras_saves_is_guessed_back(tmp_path):
    from keras import Input, layers
    from support.nets import keras_sequential

    model = keras_sequential(
        [
            Input((None, 3)),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
            layers.Dropout(0.2),
            layers.GRU(5),
            layers.Dense(2),
        ]
    )
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    _, _, net = guessed(path)
    assert np.allclose(
        net.predict(features()), model.predict(features(), verbose=0), atol=1e-5
    )


def keras1(path, layers, version="", ending=""):
    """A file of save_weights of Keras 1: name -> {name of the array: shape}."""
    with h5py.File(path, "w") as file:
        if version:
            file.attrs["keras_version"] = version
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for k, (name, arrays) in enumerate(layers.items()):
            group = file.create_group(name)
            names = [f"{end}{ending}" for end in arrays]
            group.attrs["weight_names"] = [n.encode() for n in names]
            values = random_weights(list(arrays.values()), k)
            for array, value in zip(names, values, strict=True):
                group[array] = value.astype("float32")
    return path


def gate_by_gate(gates, inputs, units, within):
    shapes = {"W": (inputs, units), "U": (units, units), "b": (units,)}
    return {f"{within}_{w}_{g}": s for g in gates for w, s in shapes.items()}


def gates_in_one(count, inputs, units, within):
    width = count * units
    shapes = {"W": (inputs, width), "U": (units, width), "b": (width,)}
    return {f"{within}_{w}": s for w, s in shapes.items()}


GATES_OF_KERAS_1 = [
    ("LSTM", gate_by_gate("icfo", 3, 4, "rnn_1")),
    ("GRU", gate_by_gate("zrh", 3, 4, "rnn_1")),
    ("LSTM", gates_in_one(4, 3, 4, "rnn_1")),
    ("GRU", gates_in_one(3, 3, 4, "rnn_1")),
    ("SimpleRNN", gates_in_one(1, 3, 4, "rnn_1")),
]


@pytest.mark.parametrize(
    ("ending", "gates"),  # of an odd number of classes every other: each once
    some(itertools.product(["", ":0"], GATES_OF_KERAS_1), 2),
)
def test_the_gates_of_keras_1_say_the_class(tmp_path, gates, ending):
    class_name, arrays = gates
    dense_1 = {"dense_1_W": (4, 2), "dense_1_b": (2,)}
    layers = {"rnn_1": arrays, "dropout_1": {}, "dense_1": dense_1}
    path = keras1(tmp_path / "w.h5", layers, ending=ending)
    found, questions, net = guessed(path)
    assert [x.class_name for x in found.values()] == [class_name, "Dropout", "Dense"]
    rnn_1 = found["rnn_1"]
    assert rnn_1.options["units"] == 4
    assert not rnn_1.options["return_sequences"]
    if class_name != "SimpleRNN":
        assert rnn_1.options["recurrent_activation"] == "keras2_hard_sigmoid"
        assert "hard_sigmoid" in questions
    with h5py.File(path) as file:
        values = [file["rnn_1"][f"{n}{ending}"][()] for n in arrays]
    order = {"LSTM": (0, 2, 1, 3), "GRU": (0, 1, 2)}.get(class_name, (0,))
    if len(values) > 3:  # i, c, f, o in the file; i, f, c, o in Keras 2
        kernel = np.concatenate([values[3 * k] for k in order], axis=-1)
        np.testing.assert_array_equal(rnn_1.weights["kernel"], kernel)
    else:
        np.testing.assert_array_equal(rnn_1.weights["kernel"], values[0])
    assert np.isfinite(net.predict(features())).all()


def test_a_stack_of_keras_1_is_guessed_with_its_other_layers(tmp_path):
    both = gate_by_gate("zrh", 8, 3, "forward_gru_1")
    both |= gate_by_gate("zrh", 8, 3, "backward_gru_1")
    norm = ("gamma", "beta", "running_mean", "running_std")
    layers = {
        "embedding_1": {"embedding_1_W": (11, 5)},
        "convolution1d_1": {
            "convolution1d_1_W": (3, 1, 5, 8),
            "convolution1d_1_b": (8,),
        },
        "maxpooling1d_1": {},
        "bidirectional_1": both,
        "batchnormalization_1": {f"batchnormalization_1_{w}": (6,) for w in norm},
        "timedistributed_1": {"dense_1_W": (6, 2), "dense_1_b": (2,)},
    }
    path = keras1(tmp_path / "w.h5", layers, "1.2.2", ":0")
    found, questions, net = guessed(path)
    assert [x.class_name for x in found.values()] == [
        *("Embedding", "Conv1D", "MaxPooling1D", "Bidirectional"),
        *("BatchNormalization", "TimeDistributed"),
    ]
    assert "maxpooling1d_1: its pool_size" in questions
    assert net.predict(np.ones((2, 12), np.int32)).shape == (2, 5, 2)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ({"lstm_1": gate_by_gate("zrh", 3, 4, "lstm_1")}, "is called LSTM"),
        ({"dense_1": {"dense_1_W": (2, 3, 4), "dense_1_b": (2, 4)}}, "(2, 3, 4)"),
        (
            {"lstm_1": {**gate_by_gate("icfo", 3, 4, "l"), "l_b_o": (5,)}},
            "which no layer has that is guessed",
        ),
    ],
)
def test_what_keras_1_wrote_and_nothing_fits_is_refused(tmp_path, layers, reason):
    assert reason in refused(keras1(tmp_path / "w.h5", layers))


def test_a_layer_that_joins_others_is_found_by_the_size_behind_it(tmp_path, capsys):
    """Leave a layer of its own open, in a file as textgenrnn wrote it."""
    layers = {
        "input": {},
        "embedding": {"e/embeddings": (11, 5)},
        "rnn_1": rnn(4, 5, 4),
        "rnn_2": rnn(4, 4, 3),
        "rnn_concat": {},
        "attention": {"attention/attention_W": (12, 1)},
        "output": dense(12, 2),
    }
    path = legacy(tmp_path / "w.h5", layers, "2.1.5")
    guess = read_guess(path)
    config = path.with_suffix(".json")
    config.write_text(json.dumps(guess.config))
    entries = {x["name"]: x for x in guess.config["config"]["layers"]}
    joined = [call[0] for call in entries["rnn_concat"]["inbound_nodes"][0]]
    assert joined == ["embedding", "rnn_1", "rnn_2"]
    assert entries["rnn_2"]["config"]["return_sequences"]
    questions = " | ".join(guess.open_questions)
    assert "attention: its class, which no array says (here UnknownLayer" in questions
    assert main(["describe", str(path), "--config", str(config)]) == 3
    out = capsys.readouterr().out
    assert "NOT READ: 1 layer with 12 parameters: attention" in out
    assert "rnn_concat (Concatenate)" in out


def test_a_join_of_known_layers_alone_makes_a_whole_model(tmp_path):
    layers = {
        "a": rnn(4, 3, 4),
        "b": rnn(3, 4, 4),
        "both_concat": {},
        "output": dense(8, 2),
    }
    found, _, net = guessed(legacy(tmp_path / "w.h5", layers))
    assert found["both_concat"].class_name == "Concatenate"
    assert net.predict(features()).shape[-1] == 2


LSTM = [(8, 16), (4, 16), (16,)]
OWN = {
    "d": [(4, 2), (2,)],
    "encoder/e": [(30, 8)],
    "encoder/rnn/cell": LSTM,
}


def test_attributes_of_a_class_of_the_users_are_put_in_order_by_their_sizes(tmp_path):
    names = {"encoder/e": "embedding_3", "encoder/rnn": "mine", "d": "dense"}
    path = of_attributes(tmp_path / "w.weights.h5", OWN, names)
    found, questions, net = guessed(path)
    assert [(name, x.class_name) for name, x in found.items()] == [
        *(("encoder/e", "Embedding"), ("encoder/rnn", "LSTM"), ("d", "Dense")),
    ]
    assert "d: its activation (here linear)" in questions
    with h5py.File(path) as file:
        for key, place in (("encoder/e", "0"), ("d", "0"), ("d", "1")):
            weights = list(found[key].weights.values())
            np.testing.assert_array_equal(
                weights[int(place)], file[f"{key}/vars/{place}"]
            )
        for k, weight in enumerate(found["encoder/rnn"].weights.values()):
            np.testing.assert_array_equal(weight, file[f"encoder/rnn/cell/vars/{k}"])
    text = verify.describe(net)
    assert "encoder/rnn (LSTM)  (batch, any, 8)" in text
    assert net.predict(np.ones((2, 5), np.int32)).shape == (2, 2)


def test_without_the_names_of_layers_a_class_by_its_arrays_alone_is_a_question(
    tmp_path,
):
    layers = {**OWN, "embed": [(30, 8)], "norm": [(4,)] * 4}
    del layers["encoder/e"]
    path = of_attributes(tmp_path / "w.weights.h5", layers)
    found, questions, _ = guessed(path)
    assert [x.class_name for x in found.values()] == [
        *("Embedding", "LSTM", "BatchNormalization", "Dense"),
    ]
    assert "d: its class (here Dense, by its arrays), and its activation" in questions


@pytest.mark.parametrize(
    ("more", "names", "reason"),
    [
        ({}, {}, "'encoder/e' has (30, 8) and may be an Embedding, or a Dense without"),
        (
            {"encoder/e": [(30, 8)], "n": [(4,), (4,)]},
            {"encoder/e": "embedding"},
            "'n' has (4,) and (4,) and may be a LayerNormalization, or another",
        ),
        (
            {},
            {"encoder/e": "embedding", "d": "einsum_dense_1"},
            "'d' is called EinsumDense, which is not guessed, and its arrays could be",
        ),
        (
            {"d": [(5, 2), (2,)]},
            {"encoder/e": "embedding"},
            "in no order (d 5 to 2, encoder/e None to 8, encoder/rnn 8 to 4)",
        ),
        (
            {"": [(4, 4)]},
            {"encoder/e": "embedding"},
            "array 0 of (4, 4) belongs to the model itself",
        ),
    ],
)
def test_what_attributes_do_not_say_is_said(tmp_path, more, names, reason):
    path = of_attributes(tmp_path / "w.weights.h5", OWN | more, names)
    assert reason in refused(path)


def test_lists_of_layers_are_in_their_order_and_attributes_in_none(tmp_path):
    square = [(4, 4), (4,)]
    layers = {"embed": [(30, 8)], "rnn/cell": LSTM}
    listed = {"blocks/dense": square, "blocks/dense_1": square}
    path = of_attributes(tmp_path / "list.weights.h5", layers | listed)
    found, _, _ = guessed(path)
    assert list(found) == ["embed", "rnn", "blocks/dense", "blocks/dense_1"]
    path = of_attributes(
        tmp_path / "w.weights.h5", layers | {"fc_1": square, "fc_2": square}
    )
    assert "embed, rnn, fc_1, fc_2; or embed, rnn, fc_2, fc_1" in refused(path)


@pytest.mark.keras
def test_a_model_of_a_class_of_the_users_is_guessed_back(tmp_path):
    import keras
    from keras import layers

    class Encoder(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.words = layers.Embedding(30, 8)
            self.rnn = layers.Bidirectional(layers.LSTM(3, return_sequences=True))

        def call(self, x):
            return self.rnn(self.words(x))

    class Tagger(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.out = Encoder(), layers.GRU(4, return_sequences=True)
            self.head = layers.TimeDistributed(layers.Dense(2))

        def call(self, x):
            return self.head(self.out(self.encoder(x)))

    model, ids = Tagger(), np.random.default_rng(0).integers(0, 30, size=(3, 5))
    model(ids)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.save_weights(path := tmp_path / "w.weights.h5")
    found, _, net = guessed(path)
    assert list(found) == ["encoder/words", "encoder/rnn", "layers/gru", "head"]
    right = model.predict(ids, verbose=0)
    np.testing.assert_allclose(net.predict(ids), right, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "bias", "inputs", "units"),
    [
        ((8, 5, 3, 1), (8,), 5, 8),
        ((3, 1, 5, 1), (1,), 5, 1),
        ((8, 1, 3, 1), (8,), 1, 8),
    ],
)
def test_both_axes_of_a_convolution_of_keras_1_are_read(
    tmp_path, kernel, bias, inputs, units
):
    layers = {
        "convolution1d_1": {"c_W": kernel, "c_b": bias},
        "lstm_1": gates_in_one(4, units, 3, "lstm_1"),
    }
    path = keras1(tmp_path / "w.h5", layers)
    found, _, net = guessed(path)
    assert found["convolution1d_1"].weights["kernel"].shape == (3, inputs, units)
    assert net.predict(np.ones((2, 7, inputs))).shape == (2, 3)
    layers["convolution1d_1"] = {"c_W": (8, 1, 3, 1)}
    if units == 8:
        text = refused(keras1(path, layers))
        assert "(steps, inputs, filters) are (8, 3, 1) or (3, 1, 8)" in text


@pytest.mark.parametrize("before", ["mine/encoder/", ""])
def test_layers_inside_a_layer_of_keras_2_are_a_model_inside(tmp_path, before):
    inside = {f"{before}embedding_3/embeddings": (30, 8)}
    inside |= rnn(4, 8, 4, f"{before}lstm_1/lstm_cell")
    inside |= {f"{before}norm/{w}": (4,) for w in ("gamma", "beta")}
    head = {f"{before}dense_8/{w}": s for w, s in [("kernel", (5, 6)), ("bias", (6,))]}
    head |= {f"{before}dense_9/{w}": s for w, s in [("kernel", (6, 2)), ("bias", (2,))]}
    head = {name.replace("encoder", "head"): s for name, s in head.items()}
    layers = {"encoder": inside, "gru": rnn(3, 4, 5, bias=(2, 15)), "head": head}
    path = legacy(tmp_path / "w.h5", layers)
    found, questions, net = guessed(path)
    assert [x.class_name for x in found.values()] == ["Sequential", "GRU", "Sequential"]
    assert "lstm_1: its activations" in questions
    encoder, heads = found["encoder"].sublayers, found["head"].sublayers
    with h5py.File(path) as file:
        for name, layer, outer in (
            ("lstm_1/lstm_cell/recurrent_kernel", encoder["lstm_1"], "encoder"),
            ("embedding_3/embeddings", encoder["embedding_3"], "encoder"),
            ("norm/beta", encoder["norm"], "encoder"),
            ("dense_9/kernel", heads["dense_9"], "head"),
        ):
            place = before.replace("encoder", outer)
            np.testing.assert_array_equal(
                layer.weights[name.rpartition("/")[2]],
                file[f"{outer}/{place}{name}:0"],
            )
    assert encoder["lstm_1"].options["return_sequences"]
    assert net.predict(np.ones((2, 5), np.int32)).shape == (2, 2)


def test_one_name_in_two_layers_of_a_file_of_keras_2_is_refused(tmp_path):
    one = {**rnn(4, 3, 4, "a/lstm_1"), "a/dense_1/kernel": (4, 3)}
    two = {**rnn(4, 3, 4, "b/lstm_1"), "b/dense_1/kernel": (4, 3)}
    text = refused(legacy(tmp_path / "w.h5", {"a": one, "b": two}))
    assert "layers inside others are joined, or have one name" in text


@pytest.mark.parametrize(
    ("name", "place", "shapes"),
    [
        ("conv_lstm2d", "conv_lstm2d/cell", [(3, 3, 1, 16), (3, 3, 4, 16)]),
        ("rnn", "rnn/cell/cells/gru_cell", [(4, 15), (5, 15), (2, 15)]),
        ("conv2d", "conv2d", [(3, 3, 1, 8), (8,)]),
    ],
)
def test_a_class_that_is_not_guessed_is_named(tmp_path, name, place, shapes):
    layers = {place: shapes, "gru/cell": [(3, 6), (2, 6), (2, 6)]}
    if name == "rnn":
        layers["rnn/cell/cells/lstm_cell"] = [(4, 16), (4, 16), (16,)]
    text = refused(saved(tmp_path / "m.weights.h5", layers))
    said = {"conv_lstm2d": "ConvLSTM2D", "rnn": "RNN", "conv2d": "Conv2D"}[name]
    assert f"layer '{name}' is called {said}, which is not guessed" in text


def test_a_loop_that_is_not_guessed_is_left_open_in_a_legacy_file(tmp_path):
    other = {"k/kernel": (3, 3, 1, 16), "k/recurrent_kernel": (3, 3, 4, 16)}
    layers = {"conv_lstm2d_1": other, "a": rnn(4, 3, 4), "dense_1": dense(4, 2)}
    guess = read_guess(legacy(tmp_path / "w.h5", layers))
    asked = " | ".join(guess.open_questions)
    assert "conv_lstm2d_1: its class, which no array says (here UnknownLayer" in asked
