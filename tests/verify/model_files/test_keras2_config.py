"""Files of Keras 2, genuine and by hand: read as Keras 2 meant them."""

from __future__ import annotations

import json
import random
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from fuzzing.hostile import unusual_hdf5
from support.nets import features, random_weights
from support.old_files import old_file, old_layer

import verify
from verify.errors import UnsupportedError
from verify.forward.layers import REGISTRY
from verify.model.spec import LayerSpec
from verify.model_files import hdf5
from verify.model_files.keras2_config import MERGING_CLASSES
from verify.model_files.keras2_weights import from_cudnn
from verify.tolerance.compare import compare

FILES = Path(__file__).parents[2] / "data" / "keras2"
MODELS = (
    "stacked", "without_input", "bidirectional", "seq2seq", "around", "cells",
    "convolutional", "video", "merged",
)  # fmt: skip
CHANGED = ("stacked", "without_input", "seq2seq", "convolutional", "merged")
FLOAT32 = 2e-6  # outputs are of size 1 and were computed in float32


def recorded(name):
    """Inputs, and what Keras 2 predicted for them."""
    with np.load(FILES / f"{name}.npz") as arrays:
        x = [arrays[k] for k in arrays.files if k.startswith("x")]
        return x if len(x) > 1 else x[0], [
            arrays[k] for k in arrays.files if k.startswith("y")
        ]


def worst(net, x, theirs) -> float:
    ours = net.flat(net.prepare(x))
    assert len(ours) == len(theirs)
    return max(
        compare(a, b, allowed=FLOAT32).max_diff
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", MODELS)
def test_what_keras_2_predicted_comes_out_of_its_file(name, suffix):
    x, theirs = recorded(name)
    net = verify.load(FILES / f"{name}{suffix}")
    assert worst(net, x, theirs) < FLOAT32
    path, first = next((p, w) for p, w in net.spec.walk() if w.weights)
    key = next(iter(first.weights))
    moved = first.with_weights(**{key: first.weights[key] * 1.1})
    wrong = verify.Network(net.spec.with_layer(moved, path))
    assert worst(wrong, x, theirs) > 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_the_meaning_of_keras_3_differs_where_a_note_says_so(name):
    x, theirs = recorded(name)
    net = verify.load(FILES / f"{name}.h5", semantics="keras3")
    differs = worst(net, x, theirs) > 1e-4
    assert differs == (name in CHANGED)
    notes = verify.load(FILES / f"{name}.h5").spec.notes
    assert any("--keras3-semantics" in note for note in notes) == differs


def test_every_merging_layer_joins_masks_as_keras_2_did():
    x, theirs = recorded("merged")
    old = verify.load(FILES / "merged.h5")
    new = verify.load(FILES / "merged.h5", semantics="keras3")
    outputs = zip(old.flat(old.prepare(x)), new.flat(new.prepare(x)), strict=True)
    for k, (ours, other) in enumerate(outputs):
        assert compare(ours, theirs[k], allowed=FLOAT32).max_diff < FLOAT32, k
        along_time = k == 12  # where Keras 3 joins them alike
        differs = compare(other, theirs[k], allowed=FLOAT32).max_diff > 1e-3
        assert differs != along_time, k


WITH_MASKS = [n for n, kind in REGISTRY.items() if "keras2_masks" in kind.options]


def test_the_merging_layers_have_masks_of_keras_2():
    assert set(WITH_MASKS) == {*MERGING_CLASSES} - {"Dot"}


@pytest.mark.parametrize("name", WITH_MASKS)
def test_the_masks_of_keras_2_show_in_every_merging_layer(name):
    x, theirs = recorded("merged")
    spec = verify.load(FILES / "merged.h5").spec
    apart = []
    for path, found in spec.walk():
        if found.class_name == name:
            assert found.options["keras2_masks"] is True
            wrong = spec.with_layer(found.with_options(keras2_masks=False), path)
            apart.append(worst(verify.Network(wrong), x, theirs))
    assert max(apart) > 1e-3


def test_describe_says_what_changed_its_meaning(capsys):
    from verify.__main__ import main

    assert main(["describe", str(FILES / "stacked.h5")]) == 0
    printed = capsys.readouterr().out
    assert "hard_sigmoid is clip(0.2 * x + 0.5, 0, 1), that of Keras 2" in printed
    assert main(["describe", str(FILES / "stacked.h5"), "--keras3-semantics"]) == 0
    assert "is clip(x / 6 + 0.5, 0, 1), that of Keras 3" in capsys.readouterr().out


@pytest.mark.keras
@pytest.mark.parametrize(
    "name",
    [
        *("seq2seq.keras", "cells.h5", "merged.h5"),
        pytest.param("stacked.h5", marks=pytest.mark.thorough),
        pytest.param("around.h5", marks=pytest.mark.thorough),
        pytest.param("video.h5", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.parametrize(
    "semantics", ["keras2", pytest.param("keras3", marks=pytest.mark.thorough)]
)
def test_check_rebuilds_the_model_in_keras_3_and_proves_it(name, semantics):
    report = verify.check(FILES / name, semantics=semantics)
    assert report.verdict is verify.Verdict.PASS
    assert report.facts["keras model"].startswith("rebuilt")


@pytest.mark.keras
def test_training_and_name_of_a_model_of_keras_2_do_not_matter(tmp_path):
    """Keras 3 refuses arguments of its optimizer, and TensorFlow a node ``>_1``."""
    path = tmp_path / "trained.keras"
    with zipfile.ZipFile(FILES / "stacked.keras") as old:
        members = {name: old.read(name) for name in old.namelist()}
    config = json.loads(members["config.json"])
    options = {"jit_compile": False, "is_legacy_optimizer": False}
    optimizer = {
        "module": "keras.optimizers", "class_name": "Adam", "config": options,
        "registered_name": None,
    }  # fmt: skip
    config["compile_config"] = {"optimizer": optimizer, "loss": "mse"}
    config["config"]["name"] = "v0.2>64>"
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    assert verify.check(path).verdict is verify.Verdict.PASS


# -- files older than any Keras that still runs ----------------------------------------


def old_gru(tmp_path, **options):
    config = [
        old_layer("GRU", "gru", units=4, batch_input_shape=[None, 6, 3], **options),
        old_layer("Dense", "dense", units=2),
    ]
    arrays = random_weights([(3, 12), (4, 12), (12,), (4, 2), (2,)], 0)
    weights = {"gru": arrays[:3], "dense": arrays[3:]}
    return old_file(
        tmp_path / "old.h5", {"class_name": "Sequential", "config": config}, weights
    )


def test_a_gru_that_does_not_say_reset_after_applies_it_before(tmp_path):
    net = verify.load(old_gru(tmp_path, recurrent_activation="hard_sigmoid"))
    assert net.spec["gru"].options["reset_after"] is False
    assert net.spec["gru"].options["recurrent_activation"] == "keras2_hard_sigmoid"
    assert net.spec.inputs[0].options["batch_shape"] == (None, 6, 3)
    notes = " ".join(net.spec.notes)
    assert "does not say reset_after: read as False" in notes
    assert "the input is read from batch_input_shape" in notes
    assert net.predict(features()).shape == (5, 2)


def test_by_the_meaning_of_keras_3_its_weights_do_not_fit(tmp_path):
    with pytest.raises(
        verify.ModelFileError, match=r"Expected kernel .*bias \(2, 12\)"
    ):
        verify.load(old_gru(tmp_path), semantics="keras3")


def to_cudnn(weights, gates):
    """An ordinary layer's weights as cuDNN keeps them: each gate by itself.

    The kernel of a gate lies there with its axes exchanged, and its numbers, row after
    row, fill a block of the shape that Keras has. The recurrent kernel is transposed.
    """
    kernel, recurrent_kernel, bias = weights
    stored = [block.T.reshape(block.shape) for block in np.hsplit(kernel, gates)]
    recurrent = [block.T for block in np.hsplit(recurrent_kernel, gates)]
    rows = bias if bias.ndim == 2 else np.stack([bias * 0.25, bias * 0.75])
    return [np.hstack(stored), np.hstack(recurrent), rows.ravel()]


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_cudnn_layers_become_ordinary_ones(tmp_path, kind, gates):
    bias = (4 * gates,) if kind == "LSTM" else (2, 4 * gates)
    ordinary = random_weights([(3, 4 * gates), (4, 4 * gates), bias], 1)
    first = old_layer(f"CuDNN{kind}", "rnn", units=4, batch_input_shape=[None, 6, 3])
    path = old_file(
        tmp_path / "cudnn.h5",
        {"class_name": "Sequential", "config": [first]},
        {"rnn": to_cudnn(ordinary, gates)},
    )
    spec = verify.load(path).spec
    assert spec["rnn"].class_name == kind
    for ours, right in zip(spec["rnn"].weights.values(), ordinary, strict=True):
        assert compare(ours, right, allowed=1e-6).matches
    assert f"is read as {kind}" in spec.notes[0]


def test_weights_in_keras_order_are_left_alone():
    ordinary = random_weights([(3, 16), (4, 16), (16,)], 1)
    spec = LayerSpec("rnn", "LSTM", {"units": 4})
    assert from_cudnn(spec, ordinary) is ordinary


def test_a_number_of_arrays_that_does_not_fit_is_said(tmp_path):
    first = old_layer("LSTM", "rnn", units=4, batch_input_shape=[None, 6, 3])
    path = old_file(
        tmp_path / "m.h5", {"class_name": "Sequential", "config": [first]}, {"rnn": []}
    )
    with pytest.raises(verify.ModelFileError, match=r"expected 3 arrays\. Received: 0"):
        verify.load(path)


def test_time_major_layers_are_refused_by_name(tmp_path):
    options = {"units": 4, "batch_input_shape": [None, 6, 3], "time_major": True}
    path = old_file(
        tmp_path / "m.h5",
        {"class_name": "Sequential", "config": [old_layer("LSTM", "rnn", **options)]},
        {"rnn": random_weights([(3, 16), (4, 16), (16,)], 1)},
    )
    with pytest.raises(UnsupportedError, match="option 'time_major' expects false"):
        verify.load(path)


@pytest.mark.parametrize("version", ["2.11.0", "3.8.0"])
def test_a_class_of_the_user_with_the_name_of_an_operation_is_no_operation(
    tmp_path, version
):
    """The file names no module; only a layer has `trainable`."""
    options = {"batch_input_shape": [None, 64, 1], "n_fft": 8, "hop_length": 4}
    own = old_layer("STFT", "stft", trainable=True, dtype="float32", **options)
    path = old_file(
        tmp_path / "m.h5", {"class_name": "Sequential", "config": [own]}, {}, version
    )
    with pytest.raises(UnsupportedError, match=r"\(STFT\): this class.*Or your own\?"):
        verify.load(path)


def test_weights_of_their_own_need_a_config(tmp_path):
    with pytest.raises(verify.ModelFileError, match="No such file"):
        verify.load(tmp_path / "m.weights.h5", config=tmp_path / "m.json")
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/lstm/cell/vars/0"] = [1.0]
    with pytest.raises(verify.ModelFileError, match="no such file"):
        verify.load(path, config=tmp_path / "m.json")
    with pytest.raises(verify.VerifyError, match="semantics"):
        verify.load(FILES / "stacked.h5", semantics="keras4")


@pytest.mark.keras
def test_an_h5_of_keras_3_keeps_the_options_that_keras_3_knows(tmp_path):
    from keras import Input, layers
    from support.nets import keras_sequential

    model = keras_sequential(
        [Input((6, 3)), layers.GroupNormalization(groups=1), layers.LSTM(4)]
    )
    model.save(tmp_path / "m.h5")
    assert verify.check(tmp_path / "m.h5").verdict is verify.Verdict.PASS


# -- unusual files ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("block", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_h5_files_with_unusual_contents_load_or_are_refused_in_one_line(
    block, tmp_path
):
    rng = random.Random(block)
    path = tmp_path / "m.h5"
    outcomes = Counter()
    for k in range(30):
        name = MODELS[k % len(MODELS)]
        path.write_bytes(unusual_hdf5((FILES / f"{name}.h5").read_bytes(), rng))
        try:
            verify.describe(verify.load(path))
            outcomes["read"] += 1
        except verify.VerifyError as error:
            outcomes["refused"] += 1
            assert "\n" not in str(error)
            assert str(error).isprintable()
    assert outcomes["refused"] > 5
    assert outcomes["read"] > 5


def test_optimizer_states_beside_the_model_are_not_read(tmp_path):
    path = tmp_path / "m.h5"
    path.write_bytes((FILES / "stacked.h5").read_bytes())
    with h5py.File(path, "a") as file:
        file["optimizer_weights/too_much"] = np.zeros(4)
    contents = hdf5.read_hdf5(path, "it")
    assert not any("optimizer" in name for name in contents.arrays)
    verify.load(path)


@pytest.mark.keras
@pytest.mark.parametrize(
    "frozen", [pytest.param(False, marks=pytest.mark.thorough), True]
)
def test_int8_models_are_read_from_h5_files_too(frozen, tmp_path):
    import keras
    from keras import layers
    from layer_cases.check import randomise

    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(11, 8),
            layers.GRU(4, return_sequences=True),
            layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"),
            layers.LSTM(3),
            layers.Dense(7, activation="tanh"),
            layers.Dense(2),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers that have nothing to quantise
        model.quantize("int8")
    randomise(model)
    model.trainable = not frozen
    x = np.random.default_rng(0).integers(0, 11, size=(20, 6))
    for name in ("m.h5", "m.keras"):
        model.save(tmp_path / name)
        net = verify.load(tmp_path / name)
        ours, theirs = net.predict(x), model.predict(x, verbose=0)
        scale = np.abs(theirs).max()
        assert compare(ours, theirs, allowed=1e-4 * scale).matches


@pytest.mark.keras
def test_what_this_keras_does_not_know_is_left_out_of_a_rebuilt_model(tmp_path):
    known = {"batch_input_shape": [None, 6, 3], "return_sequences": True}
    config = [
        old_layer("SimpleRNN", "rnn", units=4, implementation=0, **known),
        old_layer("SpatialDropout1D", "dropout", rate=0.5, noise_shape=None),
        old_layer("GRU", "gru", units=2, implementation=2, reset_after=False),
        old_layer("Dense", "dense", units=2, input_dtype="float32", weights=None),
    ]
    shapes = [(3, 4), (4, 4), (4,), (4, 6), (2, 6), (6,), (2, 2), (2,)]
    arrays = random_weights(shapes, 0)
    weights = {"rnn": arrays[:3], "dropout": [], "gru": arrays[3:6]}
    path = old_file(
        tmp_path / "old.h5",
        {"class_name": "Sequential", "config": config},
        {**weights, "dense": arrays[6:]},
    )
    report = verify.check(path)
    assert report.verdict is verify.Verdict.PASS
    assert report.facts["keras model"].startswith("rebuilt")


def cells_given_states(path, around=False):
    """A Functional file of Keras 2.3 whose stacked cells are given states in a row."""
    cells = [
        old_layer("LSTMCell", "one", units=4, recurrent_activation="sigmoid"),
        old_layer("GRUCell", "two", units=3, reset_after=False),
    ]
    stack = old_layer("StackedRNNCells", "cells", cells=cells)
    loop = old_layer("RNN", "loop", cell=stack, return_sequences=True)
    if around:
        loop = old_layer("Bidirectional", "loop", layer=loop, merge_mode="concat")
    shapes = {"x": [None, 6, 2]}
    for half in ("f", "b")[: 1 + around]:
        shapes |= {f"{half}{k}": [None, units] for k, units in enumerate((4, 4, 3))}
    inputs = [
        old_layer("InputLayer", name, batch_input_shape=shape, dtype="float32")
        | {"name": name, "inbound_nodes": []}
        for name, shape in shapes.items()
    ]
    called = [[name, 0, 0, {}] for name in shapes]
    last = old_layer("Dense", "last", units=2)
    layers = [
        *inputs,
        loop | {"name": "loop", "inbound_nodes": [called]},
        last | {"name": "last", "inbound_nodes": [[["loop", 0, 0, {}]]]},
    ]
    config = {
        "name": "model",
        "layers": layers,
        "input_layers": [[name, 0, 0] for name in shapes],
        "output_layers": [["last", 0, 0]],
    }
    of_cells = [(2, 16), (4, 16), (16,), (4, 9), (3, 9), (9,)] * (1 + around)
    arrays = random_weights([*of_cells, (3 + 3 * around, 2), (2,)], 0)
    return old_file(
        path,
        {"class_name": "Model", "config": config},
        {"loop": arrays[: len(of_cells)], "last": arrays[len(of_cells) :]},
        "2.3.1",
    )


@pytest.mark.keras
@pytest.mark.parametrize("around", [False, True], ids=["RNN", "Bidirectional"])
def test_states_given_to_stacked_cells_reach_each_cell(tmp_path, around):
    """Keras 3 takes a list for each cell, Keras 2 all states in one list."""
    path = cells_given_states(tmp_path / "old.h5", around)
    report = verify.check(path)
    assert report.verdict is verify.Verdict.PASS, str(report)
    net = verify.load(path)
    rng = np.random.default_rng(0)
    x = {
        layer.name: rng.normal(size=(3, *layer.options["batch_shape"][1:]))
        for layer in net.spec.root.sublayers.values()
        if layer.class_name == "InputLayer"
    }
    right = net.predict(x)
    for a, b in [("f0", "f1")] + [("b0", "b1")] * around:
        swapped = x | {a: x[b], b: x[a]}
        assert np.abs(net.predict(swapped) - right).max() > 1e-3


def test_masks_are_not_spoken_of_where_no_layer_makes_one(tmp_path):
    notes = verify.load(cells_given_states(tmp_path / "old.h5")).spec.notes
    assert not any("mask" in note for note in notes)
    assert any("mask" in note for note in verify.load(FILES / "seq2seq.h5").spec.notes)


@pytest.mark.keras
def test_the_dtype_of_ids_is_not_that_of_an_embedding(tmp_path):
    """Keras 2.0.2 wrote int32, the dtype of the ids, as that of the layer."""
    ids = {"dtype": "int32", "batch_input_shape": [None, 6], "input_length": 6}
    config = [
        old_layer(
            "Embedding", "embedding", input_dim=9, output_dim=3, mask_zero=False, **ids
        ),
        old_layer("LSTM", "lstm", units=4),
    ]
    arrays = random_weights([(9, 3), (3, 16), (4, 16), (16,)], 0)
    path = old_file(
        tmp_path / "old.h5",
        {"class_name": "Sequential", "config": config},
        {"embedding": arrays[:1], "lstm": arrays[1:]},
        "2.0.2",
    )
    layers = verify.load(path).spec.root.sublayers
    assert layers["embedding_input"].options["dtype"] == "int32"
    assert verify.check(path).verdict is verify.Verdict.PASS


def test_the_dtype_of_bins_is_not_that_in_which_numbers_are_compared(tmp_path):
    """Keras 2 writes int64 for what a Discretization returns; Keras 3 casts to it."""
    loop = {"name": "gru", "units": 3, "reset_after": True}
    bins = {"name": "bins", "bin_boundaries": [-1.0, 0.25, 1.0], "dtype": "int64"}
    bins |= {"output_mode": "int", "trainable": True}
    words = {"name": "words", "input_dim": 4, "output_dim": 3}
    entry = {"batch_input_shape": [None, 6], "dtype": "float32", "name": "x"}
    layers = [
        {"class_name": "InputLayer", "config": entry},
        {"class_name": "Discretization", "config": bins},
        {"class_name": "Embedding", "config": words},
        {"class_name": "GRU", "config": loop},
    ]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    shapes = [(4, 3)], [(3, 9), (3, 9), (2, 9)]
    arrays = {
        name: random_weights(some, k)
        for k, (name, some) in enumerate(zip(("words", "gru"), shapes, strict=True))
    }
    path = old_file(tmp_path / "m.h5", config, {"bins": [], **arrays}, "2.15.0")
    x = np.float32([[-1.5, -0.5, 0.1, 0.3, 0.9, 1.5], [-1.0, 0.25, 1.0, 0, 2, -2]])
    trace = verify.load(path).trace(x)
    assert trace["bins"].output.tolist() == [[0, 1, 1, 2, 2, 3], [1, 2, 3, 1, 3, 0]]
    report = verify.check(path, x)
    assert report.verdict is verify.Verdict.PASS, report.to_text()
