"""The commands on a model of several inputs and outputs, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from support.nets import random_weights

import verify
from verify.__main__ import main
from verify.model.graph import map_structure

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of two inputs and two outputs, its inputs, and what Keras predicts."""
    import keras
    from keras import layers

    ids = keras.Input((6,), dtype="int32", name="ids")
    start = keras.Input((4,), name="start")
    x = layers.Embedding(11, 3, mask_zero=True)(ids)
    y, _, c = layers.LSTM(4, return_state=True, name="lstm")(
        x, initial_state=[start, start]
    )
    first = layers.Dense(2, activation="softmax", name="label")(y)
    model = keras.Model([ids, start], [first, c])
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 5))
    folder = tmp_path_factory.mktemp("several")
    model.save(folder / "m.keras")
    rng = np.random.default_rng(0)
    given = {
        "ids": rng.integers(0, 11, size=(64, 6)),
        "start": rng.normal(size=(64, 4)).astype(np.float32),
    }
    np.savez(folder / "x.npz", **given)
    label, state = model.predict([given["ids"], given["start"]], verbose=0)
    np.savez(folder / "y.npz", **{"label": label, "lstm.2": state})
    return folder


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_check_and_compare_pass_and_trace_names_every_input(files, tmp_path, capsys):
    model, data = files / "m.keras", files / "x.npz"
    code, out, _ = run(capsys, "check", model, "--data", data, "--json")
    assert (code, json.loads(out)["verdict"]) == (0, "PASS")
    assert run(capsys, "check", model)[0] == 0
    out = tmp_path / "t.npz"
    code, listed, _ = run(capsys, "trace", model, "--data", data, "--out", out)
    assert code == 0
    assert "lstm/f  (64, 6, 4)" in listed
    compared = run(
        capsys, "compare", model, "--data", data, "--outputs", files / "y.npz"
    )
    assert compared[0] == 0


def test_compare_names_the_output_that_differs_and_why(files, tmp_path, capsys):
    spec = verify.load(files / "m.keras").spec
    lstm = spec["lstm"]
    blocks = {k: np.split(w, 4, axis=-1) for k, w in lstm.weights.items()}
    swapped = {k: np.concatenate([b[1], b[0], *b[2:]], -1) for k, b in blocks.items()}
    port = verify.Network(spec.with_layer(lstm.with_weights(**swapped)))
    with np.load(files / "x.npz") as x:
        label, state = port.predict(dict(x))
    np.savez(tmp_path / "y.npz", **{"label": label, "lstm.2": state})
    code, out, _ = run(
        capsys,
        *("compare", files / "m.keras", "--data", files / "x.npz"),
        *("--outputs", tmp_path / "y.npz"),
    )
    assert code == 1
    assert "output         : label" in out
    assert "gates read in the order f,i,c,o" in out


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": np.ones((2, 6))}, "ids and start"),
        ({"ids": np.ones((2, 6)), "begin": np.ones((2, 4))}, "ids and start"),
        (
            {"ids": np.ones((2, 6)), "start": np.ones((3, 4))},
            "same number of rows. Received: 2, 3",
        ),
        ({"ids": np.ones((2, 6)), "start": np.ones((2, 5))}, "'start' of shape"),
        ({"ids": np.full((2, 6), 11), "start": np.ones((2, 4))}, "11"),
        ({"ids": np.ones((2, 6)), "start": np.full((2, 4), np.nan)}, "finite"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_one_line(
    files, tmp_path, capsys, arrays, message
):
    np.savez(tmp_path / "x.npz", **arrays)
    code, out, err = run(
        capsys, "check", files / "m.keras", "--data", tmp_path / "x.npz"
    )
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert message in line


def test_one_array_for_two_inputs_is_refused(files, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.ones((2, 6)))
    code, _, err = run(capsys, "check", files / "m.keras", "--data", tmp_path / "x.npy")
    assert code == 2
    assert "ids and start" in err


def test_outputs_by_wrong_names_are_refused(files, tmp_path, capsys):
    np.savez(tmp_path / "y.npz", label=np.ones((64, 2)), state=np.ones((64, 4)))
    code, _, err = run(
        capsys,
        *("compare", files / "m.keras", "--data", files / "x.npz"),
        *("--outputs", tmp_path / "y.npz"),
    )
    assert code == 2
    assert "label and lstm.2" in err


def test_predict_writes_every_output_by_its_name(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("verify.checks.predict.BATCH_ROWS", 25)
    given = dict(np.load(files / "x.npz"))
    pq = tmp_path / "x.parquet"
    pd.DataFrame({key: list(array) for key, array in given.items()}).to_parquet(pq)
    out = tmp_path / "y.npz"
    for data in (files / "x.npz", pq):
        arguments = ["predict", files / "m.keras", "--data", data, "--out"]
        code, listed, _ = run(capsys, *arguments, out)
        assert (code, listed) == (0, "label  (64, 2)\nlstm.2  (64, 4)\n")
        with np.load(out) as ours, np.load(files / "y.npz") as keras:
            assert ours.files == keras.files
            for key in keras.files:
                assert np.abs(ours[key] - keras[key]).max() < 1e-6
            assert np.abs(ours["label"][::-1] - keras["label"]).max() > 1e-3
    code, _, said = run(capsys, *arguments, tmp_path / "y.npy")
    assert code == 2
    assert "expected .npz for the outputs label and lstm.2. Received: '.npy'" in said


def nestings():
    """Return structures of the inputs a, b and c, and as much of anything else."""
    return {
        "a dict in a list": lambda a, b, c: [a, {"z": b, "r": [c]}],
        "a list in a dict": lambda a, b, c: {"q": [b, c], "p": a},
        "lists": lambda a, b, c: [[a, b], c],
        "tuples": lambda a, b, c: (a, (b, c)),
        "a dict that is not in order": lambda a, b, c: {"z": a, "b": b, "a": c},
    }


@pytest.mark.filterwarnings("ignore:When providing:UserWarning")  # keys and names
@pytest.mark.parametrize("how", nestings())
def test_inputs_are_taken_in_the_structure_that_the_model_has(how, tmp_path):
    import keras
    from keras import layers

    nested = nestings()[how]
    a, b, c = (keras.Input((4, 3), name=name) for name in "abc")
    y = layers.LSTM(3)(layers.concatenate([a, b * 2, c * 3]))
    model = keras.Model(nested(a, b, c), y)
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 0))
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 3)).astype("float32")
    given = nested(*x)
    expected = model.predict(given, verbose=0)
    np.testing.assert_allclose(verify.load(model).predict(given), expected, atol=1e-6)
    model.save(tmp_path / "m.keras")
    for one in (model, tmp_path / "m.keras"):
        assert verify.check(one, given).verdict is verify.Verdict.PASS
        assert verify.compare_outputs(one, given, expected).verdict == "PASS"
        assert verify.check(one).verdict is verify.Verdict.PASS
    swapped = nested(x[1], x[0], x[2])
    assert verify.compare_outputs(model, swapped, expected).verdict == "FAIL"
    with pytest.raises(verify.DataError):
        verify.load(model).predict(nested(x[0], x[1], [x[2], x[0]]))


def test_the_only_input_may_be_given_by_its_name():
    import keras
    from keras import layers

    for inputs in (keras.Input((4, 3), name="x"), [keras.Input((4, 3), name="x")]):
        alone = inputs[0] if isinstance(inputs, list) else inputs
        model = keras.Model(inputs, layers.LSTM(3)(alone))
        model.set_weights(random_weights([w.shape for w in model.get_weights()], 0))
        x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32")
        expected = model.predict(x, verbose=0)
        for given in (x, [x], {"x": x}):
            found = verify.load(model).predict(given)
            np.testing.assert_allclose(found, expected, atol=1e-6)
            assert verify.check(model, given).verdict is verify.Verdict.PASS


def turned(structure):
    """Return the same structure with the keys of every dict the other way round."""
    if isinstance(structure, dict):
        return {key: turned(structure[key]) for key in reversed(structure)}
    if isinstance(structure, (list, tuple)):
        return type(structure)([turned(one) for one in structure])
    return structure


@pytest.mark.filterwarnings("ignore:When providing:UserWarning")  # keys and names
@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")
@pytest.mark.parametrize("how", nestings())
@pytest.mark.parametrize("order", [lambda given: given, turned])
def test_a_model_inside_is_given_its_inputs_in_their_structure(how, order, tmp_path):
    import keras
    from keras import layers

    nested = nestings()[how]
    a, b, c = (keras.Input((4, 3), name=name) for name in "abc")
    each = [layers.LSTM(2)(a), layers.GRU(3)(b), layers.SimpleRNN(2)(c)]
    inside = keras.Model(nested(a, b, c), layers.concatenate(each), name="inside")
    x = [keras.Input((4, 3), name=name) for name in "pqr"]
    given = order(nested(layers.Masking()(x[0]), x[1], x[2] * 2))
    model = keras.Model(x, layers.Dense(2)(inside(given)))
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 0))
    arrays = np.random.default_rng(0).normal(size=(3, 5, 4, 3)).astype("float32")
    arrays[0, 1, 2:] = 0
    expected = model.predict(list(arrays), verbose=0)
    model.save(tmp_path / "m.keras")
    for one in (model, tmp_path / "m.keras"):
        ours = verify.load(one).predict(list(arrays))
        np.testing.assert_allclose(ours, expected, atol=1e-6)
        assert verify.check(one, list(arrays)).verdict is verify.Verdict.PASS
    swapped = verify.load(model).predict([arrays[0], arrays[2] * 2, arrays[1] / 2])
    assert np.abs(swapped - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([0, {"z": 1, "q": [2]}], "[array, {'z': array, 'q': [array]}]"),
        ({"a": 0, "z": [1]}, "{'a': array, 'z': [array]}"),
        ([0, 1], "[array, array]"),
        (0, "array"),
    ],
)
def test_inputs_in_another_structure_are_refused_with_both(given, found):
    import keras
    from keras import layers

    a, b, c = (keras.Input((4, 3), name=name) for name in "abc")
    each = [layers.LSTM(2)(one) for one in (a, b, c)]
    net = verify.load(keras.Model([a, {"z": b, "r": [c]}], layers.concatenate(each)))
    x = np.zeros((3, 2, 4, 3), "float32")
    with pytest.raises(verify.DataError) as error:
        net.predict(map_structure(lambda k: x[k], given))
    wanted = "expected 3 inputs in the structure [a, {'z': b, 'r': [c]}]"
    assert str(error.value) == f"{wanted}. Received: {found}"
