"""Reading .keras files without Keras: whole ones, and every kind of broken one."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections import Counter

import h5py
import numpy as np
import pytest
from support.nets import (
    INPUTS,
    OUTPUTS,
    TIME,
    UNITS,
    VOCABULARY,
    ids,
    input_layer,
    layer,
    lstm_file,
    lstm_spec,
    sequential,
    spec,
    write_keras_file,
)
from support.own_layers import own_config, own_file

import verify
from verify import ModelFileError, UnsupportedError
from verify.model_files.hdf5 import COUNTED_TWICE, snake_case


def lstm_weights() -> list[list[np.ndarray]]:
    return [list(x.weights.values()) for x in lstm_spec()]


def lstm_config(**lstm) -> dict:
    return sequential(
        input_layer(None, TIME, dtype="int32"),
        layer("Embedding", "embedding", input_dim=VOCABULARY, output_dim=INPUTS),
        layer("LSTM", "lstm", **{"units": UNITS, **lstm}),
        layer("Dense", "dense", units=OUTPUTS, activation="softmax"),
    )


def test_a_file_gives_the_weights_that_were_put_into_it(tmp_path):
    spec = verify.load(lstm_file(tmp_path / "m.keras")).spec
    for layer_spec, expected in zip(spec, lstm_spec(), strict=True):
        assert layer_spec.class_name == expected.class_name
        for key, value in expected.weights.items():
            assert np.array_equal(layer_spec.weights[key], value)
            assert not layer_spec.weights[key].flags.writeable
    assert spec.keras_version == "3.15.1"
    assert spec.parameters == sum(x.parameters for x in spec)


@pytest.mark.keras
def test_files_that_keras_writes_are_read_layer_by_layer(tmp_path):
    from keras import Input, layers
    from support.nets import keras_sequential

    model = keras_sequential(
        [
            Input((TIME,), dtype="int32"),
            layers.Embedding(VOCABULARY, INPUTS, mask_zero=True),
            layers.Dropout(0.3),
            layers.SimpleRNN(3, return_sequences=True),
            layers.LSTM(4, return_sequences=True),
            layers.GRU(2, return_sequences=True, reset_after=False),
            layers.Dropout(0.2),
            layers.LSTM(5, use_bias=False),
            layers.Activation("relu"),
            layers.Dense(3, use_bias=False),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "mse")
    path = tmp_path / "m.keras"
    model.save(path)
    from_file, live = verify.load(path), verify.load(model)
    assert [x.name for x in from_file.spec] == [x.name for x in model.layers]
    for a, b in zip(from_file.spec, live.spec, strict=True):
        assert a.options == b.options
        for key in b.weights:
            assert np.array_equal(a.weights[key], b.weights[key])
    assert verify.check(path, ids()).verdict is verify.Verdict.PASS


@pytest.mark.keras
@pytest.mark.parametrize(
    "name",
    [
        "SimpleRNN", "LSTM", "GRU", "Dense", "Embedding", "InputLayer", "ReLU", "PReLU",
        "Conv1D", "RNN", "StackedRNNCells", "ConvLSTM1D", "GlobalMaxPooling1D",
    ],
)  # fmt: skip
def test_weight_groups_are_named_as_keras_names_them(name):
    from keras.src.utils.naming import to_snake_case

    assert snake_case(name) == to_snake_case(name)


def refused(path, kind=ModelFileError, **options) -> str:
    with pytest.raises(kind) as caught:
        verify.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path):
    assert "No such file" in refused(tmp_path / "none.keras")


def test_a_folder_points_to_the_model_inside(tmp_path):
    lstm_file(tmp_path / "model.keras")
    assert refused(tmp_path).endswith(f". Try {tmp_path}/model.keras")


def test_an_empty_file(tmp_path):
    (tmp_path / "m.keras").touch()
    assert "an empty file" in refused(tmp_path / "m.keras")


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "m.keras"
    path.write_text("hello, world")
    assert "text that begins with 'hello, world'" in refused(path)


def test_hdf5_without_a_model_says_what_is_missing(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
    assert "the config of the model has no class_name" in refused(path)
    with h5py.File(path, "w") as file:
        file["a"] = [1]
    assert "weights without a config; give the JSON" in refused(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.99])
def test_a_truncated_file(tmp_path, share):
    whole = lstm_file(tmp_path / "whole.keras").read_bytes()
    path = tmp_path / "m.keras"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "damaged archive" in refused(path)


def test_flipped_bytes_never_end_in_a_traceback(tmp_path):
    whole = lstm_file(tmp_path / "whole.keras").read_bytes()
    path = tmp_path / "m.keras"
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        broken = bytearray(whole)
        for position in rng.integers(0, len(whole), size=rng.integers(1, 6)):
            broken[position] = rng.integers(0, 256)
        path.write_bytes(broken)
        try:
            verify.load(path)
            outcomes.add("read")
        except verify.VerifyError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes


@pytest.mark.parametrize("member", ["metadata.json", "config.json", "model.weights.h5"])
def test_an_archive_without_a_member(tmp_path, member):
    path = write_keras_file(
        tmp_path / "m.keras", lstm_config(), lstm_weights(), omit=member
    )
    assert f"an archive without {member}" in refused(path)


def replace_member(path, name: str, content: bytes):
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for n, value in members.items():
            archive.writestr(n, value)
    return path


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"{", "config.json is not JSON"),
        (b"\xff\xfe", "config.json is not JSON"),
        (b"[" * 100_000, "config.json is not JSON"),
        (b"[]", "no class_name or no config"),
        (b'{"class_name": "Sequential", "config": {}}', "no list of layers"),
        (
            b'{"class_name": "Sequential", "config": {"layers": [3]}}',
            "layer 0 has no class_name",
        ),
        (
            b'{"class_name": "Sequential", "config": {"layers": [{"module": [], '
            b'"class_name": "LSTM", "config": {"name": "l"}}]}}',
            "this custom class is not supported",
        ),
        (
            b'{"class_name": "Sequential", "config": {"layers": [{"class_name": '
            b'"InputLayer", "config": {"name": "i", "batch_shape": [null, 2], "dtype": '
            b'{"config": null}}}, {"class_name": "Dense", "config": {"name": "d"}}]}}',
            "option 'dtype' expects",
        ),
    ],
)
def test_a_config_that_no_model_has(tmp_path, config, message):
    path = lstm_file(tmp_path / "m.keras")
    path = replace_member(path, "config.json", config)
    assert message in refused(path, verify.VerifyError)


def test_weights_that_are_not_hdf5(tmp_path):
    path = lstm_file(tmp_path / "m.keras")
    path = replace_member(path, "model.weights.h5", b"nothing")
    assert "model.weights.h5 is damaged" in refused(path)


def test_config_and_weights_that_disagree_say_both_shapes(tmp_path):
    path = write_keras_file(tmp_path / "m.keras", lstm_config(units=5), lstm_weights())
    message = refused(path)
    assert "Layer 'lstm' (LSTM): config and weights disagree" in message
    assert "kernel (any, 20)" in message
    assert "(3, 16)" in message


def test_a_layer_whose_weights_are_missing(tmp_path):
    weights = lstm_weights()
    weights[1] = []
    path = write_keras_file(tmp_path / "m.keras", lstm_config(), weights)
    assert "Received: no weights" in refused(path)


def test_an_array_that_claims_more_than_the_file_holds(tmp_path):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/embedding/vars/0", (10**6, 10**4), dtype="f4")
    path = lstm_file(tmp_path / "m.keras")
    path = replace_member(path, "model.weights.h5", buffer.getvalue())
    assert path.stat().st_size < 20_000
    assert "claims 40,000,000,000 bytes that the file does not hold" in refused(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "mine"}, "option 'activation' expects the name of"),
        ({"activation": {"class_name": "LeakyReLU"}}, "option 'activation' expects"),
        ({"time_major": False}, "option 'time_major' is not supported"),
        ({"units": 0}, "option 'units' expects a whole number, 1 or more"),
        ({"units": True}, "option 'units' expects a whole number, 1 or more"),
        ({"use_bias": 1}, "option 'use_bias' expects true or false"),
        ({"dtype": "mixed_float8"}, "dtype policy 'mixed_float8' is not supported"),
        ({"dtype": {"class_name": "DTypePolicyMap"}}, "dtype policy 'DTypePolicyMap'"),
        ({"dtype": "int8_from_float32"}, "quantization mode 'int8' is not supported"),
    ],
)
def test_options_are_refused_by_layer_class_and_name(tmp_path, options, message):
    config = lstm_config(**options)
    path = write_keras_file(tmp_path / "m.keras", config, lstm_weights())
    text = refused(path, UnsupportedError)
    assert text.startswith(f"{path}: Layer 'lstm' (LSTM): ")
    assert message in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"class_name": "LSTM2"},
            "(LSTM2): this class is not supported. Did you mean LSTM? ",
        ),
        (
            {"class_name": "simple_rnn"},
            "(simple_rnn): this class is not supported. Did you mean SimpleRNN? ",
        ),
        (
            {"class_name": "Transposed", "module": "keras.src.ops.numpy"},
            "(Transposed): this operation is not supported. Did you mean Transpose? ",
        ),
    ],
)
def test_layers_are_refused_by_name_with_the_nearest_name(tmp_path, change, message):
    config = lstm_config()
    config["config"]["layers"][2] |= change
    path = write_keras_file(tmp_path / "m.keras", config, lstm_weights())
    text = refused(path, UnsupportedError)
    assert message in text
    own = (
        "Or your own? Give it by --layers (docs/own-layers.md), or try "
        "rnn-verify check --partial. "
    )
    assert (f"? {own}" in text) == ("module" not in change)
    assert text.endswith("All that are supported: rnn-verify layers")
    assert len(text) - len(str(path)) < 220


def test_an_option_is_refused_with_the_nearest_name(tmp_path):
    path = write_keras_file(
        tmp_path / "m.keras", lstm_config(return_sequence=True), lstm_weights()
    )
    text = refused(path, UnsupportedError)
    assert "option 'return_sequence' is not supported" in text
    assert "Did you mean return_sequences? Its options: rnn-verify layers" in text
    assert len(text) - len(str(path)) < 200


RECURRENT = {
    "units": 4, "activation": "tanh", "use_bias": True, "return_sequences": False,
    "return_state": False, "go_backwards": False, "stateful": False, "unroll": False,
    "zero_output_for_mask": False, "seed": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "options", "resembled"),
    [
        ({"module": "mine"}, {**RECURRENT, "recurrent_activation": "sigmoid"}, "LSTM"),
        (
            {"registered_name": "mine>Cell", "class_name": "Mine", "module": None},
            {**RECURRENT, "recurrent_activation": "sigmoid", "reset_after": True},
            "GRU",
        ),
        ({"registered_name": "mine>LSTM"}, RECURRENT, "SimpleRNN"),
        ({"module": "mine"}, {"units": 4, "my_option": 3}, ""),
    ],
)
def test_a_custom_class_is_refused_with_the_reason_and_a_way_on(
    tmp_path, change, options, resembled
):
    config = lstm_config()
    config["config"]["layers"][2] |= change
    own = config["config"]["layers"][2]["config"]
    config["config"]["layers"][2]["config"] = {"name": own["name"], **options}
    path = write_keras_file(tmp_path / "m.keras", config, lstm_weights())
    text = refused(path, UnsupportedError)
    assert "this custom class is not supported, its code is never run. Give it " in text
    name = config["config"]["layers"][2]["class_name"]
    taken = f"--as-base-class {name}={resembled}, or check the rest" in text
    assert taken == bool(resembled)
    assert text.endswith("check the rest with rnn-verify check --partial")
    assert len(text) - len(str(path)) < 220


def test_groups_that_windows_named_with_backslashes_are_found(tmp_path):
    r"""Keras 2.15 on Windows wrote one group ``layers\lstm\cell``."""
    path = lstm_file(tmp_path / "m.keras")
    before = verify.load(path).spec
    with zipfile.ZipFile(path) as archive:
        slashes = io.BytesIO(archive.read("model.weights.h5"))
    backslashes = io.BytesIO()
    with h5py.File(slashes) as old, h5py.File(backslashes, "w") as new:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                group, _, variable = name.rpartition("/vars/")
                renamed = group.replace("/", "\\")
                new[f"{renamed}/vars/{variable}"] = item[()]

        old.visititems(copy)
        assert list(new) == ["layers\\dense", "layers\\embedding", "layers\\lstm\\cell"]
    moved = replace_member(path, "model.weights.h5", backslashes.getvalue())
    after = verify.load(moved).spec
    for name, read in before.walk():
        for key, value in read.weights.items():
            assert np.array_equal(after[name].weights[key], value), (name, key)


@pytest.mark.parametrize("twice", [False, True])
def test_layers_that_keras_2_12_to_2_14_numbered_are_found(tmp_path, twice):
    """Keras 2.12 and 2.13 count a layer with weights twice, another once."""
    layers = [
        input_layer(None, TIME, INPUTS),
        layer("LSTM", "first", units=UNITS, return_sequences=True),
        layer("Dropout", "out", rate=0.1),
        layer("LSTM", "second", units=UNITS),
        layer("Dropout", "again", rate=0.1),
        *(layer("Dense", f"dense_{k}", units=INPUTS) for k in (7, 8, 9)),
    ]
    written = list(spec(*layers))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        counts: Counter[str] = Counter()
        for saved in written:
            base = saved.class_name.lower()
            key = f"{base}_{counts[base]}" if counts[base] else base
            counts[base] += 2 if twice and saved.weights else 1
            inside = "cell/vars" if base == "lstm" else "vars"
            group = file.create_group(f"{COUNTED_TWICE}/{key}/{inside}")
            for k, array in enumerate(saved.weights.values()):
                group[str(k)] = array
        assert ("dense_4" in file[COUNTED_TWICE]) == twice
    none: list[list[np.ndarray]] = [[] for _ in written]
    path = write_keras_file(tmp_path / "m.keras", sequential(*layers), none)
    moved = replace_member(path, "model.weights.h5", buffer.getvalue())
    read = verify.load(moved).spec
    for saved in written:
        assert read[saved.name].weights.keys() == saved.weights.keys()
        for key, value in saved.weights.items():
            assert np.array_equal(read[saved.name].weights[key], value), saved.name


def legacy_weights(path, layers):
    """Write a legacy file of weights alone: name of a layer -> its arrays."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        file.attrs["keras_version"] = b"2.4.0"
        for name, arrays in layers.items():
            group = file.create_group(name)
            names = [f"{name}/weight_{k}:0" for k in range(len(arrays))]
            group.attrs["weight_names"] = [x.encode() for x in names]
            for key, array in zip(names, arrays, strict=True):
                group[key] = array
    return path


def test_weights_are_taken_in_the_order_of_the_layers_where_names_differ(tmp_path):
    """Keras counts layers: the config was written after the model was built again."""
    layers = [
        input_layer(None, TIME, INPUTS),
        layer("LSTM", "lstm_2", units=UNITS, return_sequences=True),
        layer("Dropout", "dropout", rate=0.1),
        layer("LSTM", "lstm_3", units=UNITS),
        layer("Dense", "dense_1", units=OUTPUTS),
    ]
    written = list(spec(*layers))
    config = tmp_path / "model.json"
    config.write_text(json.dumps(sequential(*layers)))
    names = ["lstm_3", "dropout_3", "lstm_4", "dense_2"]
    arrays = [list(x.weights.values()) for x in written]
    stored = dict(zip(names, arrays, strict=True))
    path = legacy_weights(tmp_path / "weights.h5", stored)
    read = verify.load(path, config=config).spec
    for saved in written:
        for key, value in saved.weights.items():
            assert np.array_equal(read[saved.name].weights[key], value), saved.name
    assert read.notes[-1] == (
        "the weights are taken in the order of the layers, as Keras takes them, since "
        "their file has other names: it calls 'lstm_2' 'lstm_3', 'lstm_3' 'lstm_4' and "
        "'dense_1' 'dense_2'"
    )
    same = [written[k].name for k in range(4)]
    legacy_weights(path, dict(zip(same, arrays, strict=True)))
    assert not verify.load(path, config=config).spec.notes[len(read.notes) - 1 :]
    legacy_weights(path, {k: v for k, v in stored.items() if k != "lstm_4"})
    with pytest.raises(ModelFileError) as caught:
        verify.load(path, config=config)
    assert str(caught.value) == (
        f"{path}: Layer 'lstm_2' (LSTM): expected 3 arrays. Received: 0; the file has "
        "2 layers with weights: lstm_3, dense_2"
    )


@pytest.mark.keras
def test_keras_takes_weights_in_the_order_of_the_layers_too(tmp_path):
    import keras

    def built():
        lstm = keras.layers.LSTM(UNITS, return_sequences=True)
        last = [keras.layers.LSTM(UNITS), keras.layers.Dense(OUTPUTS)]
        return keras.Sequential([keras.Input((TIME, INPUTS)), lstm, *last])

    path, config = tmp_path / "weights.h5", tmp_path / "model.json"
    built().save(path)
    with h5py.File(path, "a") as file:
        del file.attrs["model_config"]
    other = built()
    config.write_text(other.to_json())
    other.load_weights(path)
    read = [
        w for x in verify.load(path, config=config).spec for w in x.weights.values()
    ]
    for array, expected in zip(read, other.get_weights(), strict=True):
        assert np.array_equal(array, expected)


def test_weights_that_the_config_does_not_claim_are_named(tmp_path):
    """Those of a subclass of LSTM are in a group of its own name."""
    path = write_keras_file(tmp_path / "m.keras", lstm_config(), lstm_weights())
    with zipfile.ZipFile(path) as archive:
        buffer = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(buffer, "a") as file:
        file.move("layers/lstm", "layers/my_custom_lstm")
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
        file["optimizer/vars/0"] = np.zeros((3, 16))
    moved = replace_member(path, "model.weights.h5", buffer.getvalue())
    text = refused(moved)
    assert (
        "Received: no weights. The file has layers/my_custom_lstm/cell/vars with"
        in (text)
    )
    assert "exactly these shapes, which no layer of the config claims" in text
    with h5py.File(buffer, "a") as file:
        del file["layers/my_custom_lstm/cell/vars/2"]
    moved = replace_member(path, "model.weights.h5", buffer.getvalue())
    assert refused(moved).endswith(
        "Received: no weights. No layer of the config claims these: "
        "layers/my_custom_lstm/cell/vars (3, 16) (4, 16)"
    )


def test_options_of_keras_1_are_read_in_a_file_of_keras_1_alone(tmp_path):
    options = {"name": "l", "output_dim": 4, "U_regularizer": None}
    layers = [{"class_name": "LSTM", "config": options}]
    path = tmp_path / "k1.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": layers}
        )
        file.attrs["keras_version"] = "1.2.2"
    assert refused(path, ModelFileError) == f"{path}: / has no 'layer_names'"
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = "2.2.4"
    assert "U_regularizer" in refused(path, UnsupportedError)


def masked_by(tmp_path, value):
    """A file of Embedding, Masking, LSTM, Dense."""
    config = lstm_config()
    masking = layer("Masking", "masking", mask_value=value)
    config["config"]["layers"].insert(2, masking)
    weights = lstm_weights()
    arrays = [weights[0], [], *weights[1:]]
    return write_keras_file(tmp_path / "m.keras", config, arrays)


def test_an_infinite_mask_value_is_refused_with_the_reason(tmp_path):
    text = refused(masked_by(tmp_path, float("inf")), UnsupportedError)
    assert "makes nan of an infinite one" in text
    assert "such as -1000. Received: mask_value=inf" in text


def test_a_mask_value_of_nan_masks_nothing(tmp_path):
    net = verify.load(masked_by(tmp_path, float("nan")))
    plain = verify.load(lstm_file(tmp_path / "plain.keras", mask_zero=False))
    masked = verify.load(masked_by(tmp_path, 0.0))
    assert "no step is ever masked" in f"{verify.describe(net)}"
    zeros = net.spec["embedding"].weights["embeddings"].copy()
    zeros[0] = 0
    assert np.abs(net.predict(ids()) - plain.predict(ids())).max() < 1e-6

    def with_zeros(some):
        embedding = some.spec["embedding"].with_weights(embeddings=zeros)
        return verify.Network(some.spec.with_layer(embedding, "embedding"))

    x = np.zeros_like(ids())
    x[:, 0] = 1
    here, there = (with_zeros(some).predict(x) for some in (net, masked))
    assert not np.allclose(here, there)


def unpacked(path):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(path.with_suffix(""))
    return path.with_suffix("")


def test_an_unpacked_file_is_read_from_its_folder(tmp_path):
    folder = unpacked(lstm_file(tmp_path / "m.keras"))
    packed = verify.load(tmp_path / "m.keras")
    assert (verify.load(folder).predict(ids()) == packed.predict(ids())).all()
    (folder / "metadata.json").unlink()
    assert "without metadata.json" in refused(folder)
    (folder / "metadata.json").write_text("{")
    assert "metadata.json is not JSON" in refused(folder)
    (folder / "model.weights.h5").write_bytes(b"HDF")
    (folder / "metadata.json").write_text("{}")
    assert "model.weights.h5" in refused(folder)
    (folder / "model.weights.h5").unlink()
    assert "Received: a folder" in refused(folder)


def test_a_model_of_another_kind_is_refused_by_name(tmp_path, capsys):
    config = lstm_config() | {"class_name": "Mine", "registered_name": "mine>Mine"}
    path = write_keras_file(tmp_path / "m.keras", config, lstm_weights())
    text = refused(path, UnsupportedError)
    assert "Model 'model' (Mine): this custom kind of model is not supported" in text
    assert "--as-base-class Mine=Sequential" in text
    taken = verify.load(path, base_classes={"Mine": "Sequential"})
    assert taken.spec.root.class_name == "Sequential"
    from verify.__main__ import main

    assert main(["describe", "--as-base-class", str(path)]) == 0
    assert "(Mine) is taken as Sequential" in capsys.readouterr().out
    del config["config"]["name"]
    path = write_keras_file(tmp_path / "m.keras", config, lstm_weights())
    assert "Model (Mine): this custom kind" in refused(path, UnsupportedError)


def test_control_characters_in_names_do_not_reach_the_terminal(tmp_path):
    config = lstm_config(time_major=True)
    config["config"]["layers"][2]["config"]["name"] = "x\x1b[31m\nred"
    path = write_keras_file(tmp_path / "m.keras", config, lstm_weights())
    message = refused(path, UnsupportedError)
    assert message.isprintable()


def test_float64_weights_of_a_float32_model_are_what_keras_makes_of_them(tmp_path):
    wide = [[w.astype(np.float64) + 1e-12 for w in ws] for ws in lstm_weights()]
    spec = verify.load(write_keras_file(tmp_path / "m.keras", lstm_config(), wide)).spec
    assert all(w.dtype == np.float32 for x in spec for w in x.weights.values())


def test_half_a_surrogate_pair_is_no_name(tmp_path):
    path = lstm_file(tmp_path / "m.keras")
    config = json.dumps(lstm_config()).replace('"lstm"', '"a\\ud800"').encode()
    assert "layer 2 of the config has no name" in refused(
        replace_member(path, "config.json", config)
    )


def test_inputs_too_large_to_make_are_not_made():
    from verify.checks.inputs import probe_inputs

    model = lstm_spec()
    inputs = model["input"].with_options(batch_shape=(10**9, 10))
    huge = model.with_layer(inputs)
    with pytest.raises(verify.DataError, match="give inputs of your own"):
        probe_inputs(huge)


def test_an_input_of_more_numbers_than_can_be_counted(tmp_path):
    config = lstm_config()
    config["config"]["layers"][0]["config"]["batch_shape"] = [10**30, 6]
    path = write_keras_file(tmp_path / "m.keras", config, lstm_weights())
    assert "expected an input of fewer numbers" in refused(path)


def test_two_layers_of_one_name(tmp_path):
    config = lstm_config()
    config["config"]["layers"][3]["config"]["name"] = "lstm"
    path = write_keras_file(tmp_path / "m.keras", config, lstm_weights())
    assert "Received twice: lstm" in refused(path)


def test_metadata_may_be_anything_but_its_version_is_shown(tmp_path):
    path = lstm_file(tmp_path / "m.keras")
    path = replace_member(path, "metadata.json", json.dumps([1]).encode())
    assert verify.load(path).spec.keras_version == "unknown"


@pytest.mark.keras
def test_a_quantised_layer_whose_config_does_not_say_so_is_refused_by_name(tmp_path):
    import keras
    from keras import layers

    x = keras.Input((6, 3))
    model = keras.Model(x, layers.MultiHeadAttention(2, 3, name="heads")(x, x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers that have nothing to quantise
        model.quantize("int8")
    model.save(tmp_path / "m.keras")
    for source in (model, tmp_path / "m.keras"):
        message = refused(source, UnsupportedError)
        assert "Layer 'heads' (MultiHeadAttention): it is quantised" in message
        assert "weights of int8" in message


def test_arguments_nested_too_deeply_are_refused_in_one_line(tmp_path):
    nested: list = []
    for _ in range(900):
        nested = [nested]
    config = sequential(input_layer(None, TIME, 3), layer("LSTM", "lstm", units=UNITS))
    calls = [{"args": [nested], "kwargs": {}}]
    config["config"]["layers"][1] |= {"inbound_nodes": calls, "name": "lstm"}
    config["class_name"] = "Functional"
    config["config"] |= {"input_layers": [["input", 0, 0]]}
    config["config"] |= {"output_layers": [["lstm", 0, 0]]}
    path = write_keras_file(tmp_path / "m.keras", config, [[np.ones((3, 16))]])
    assert "its config is nested too deeply" in refused(path)


@pytest.mark.parametrize("read", ["old", "new"])
def test_an_input_layer_that_is_no_input_of_the_model_is_named(tmp_path, read):
    tensor = {
        "class_name": "__keras_tensor__",
        "config": {"keras_history": [read, 0, 0]},
    }
    calls = {"old": [], "new": [], "lstm": [{"args": [tensor], "kwargs": {}}]}
    entries = [input_layer(None, TIME, 3) for _ in range(2)]
    entries.append(layer("LSTM", "lstm", units=UNITS))
    for entry, (name, nodes) in zip(entries, calls.items(), strict=True):
        entry["config"]["name"] = name
        entry |= {"name": name, "inbound_nodes": nodes}
    config = sequential(*entries) | {"class_name": "Functional"}
    outputs = [["lstm", 0, 0], ["old", 0, 0]]
    config["config"] |= {"output_layers": outputs if read == "new" else outputs[:1]}
    weights = [[np.ones(s) for s in ((3, 16), (4, 16), (16,))]]
    for inputs in (["new", 0, 0], [["new", 0, 0]]):
        config["config"] |= {"input_layers": inputs}
        message = refused(write_keras_file(tmp_path / "m.keras", config, weights))
        assert ("layer 'lstm' reads" if read == "old" else "an output reads") in message
        assert (
            "InputLayer 'old', which is none of the model's inputs ('new')" in message
        )
    config["config"] |= {"input_layers": [["old", 0, 0], ["new", 0, 0]]}
    path = write_keras_file(tmp_path / "m.keras", config, weights)
    assert [x.name for x in verify.load(path).spec.inputs] == ["old", "new"]


def test_weights_inside_a_layer_that_is_not_read_are_not_offered_to_another(tmp_path):
    """They have the shapes that the layer before misses, but are not left over."""
    path, _ = own_file(tmp_path / "m.keras")
    config = own_config()
    config["config"]["layers"][1]["config"]["units"] = UNITS + 1
    text = refused(
        replace_member(path, "config.json", json.dumps(config).encode()), partial=True
    )
    assert "config and weights disagree" in text
    assert "claims" not in text
