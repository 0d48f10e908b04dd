"""Weights that Keras wrote into several files, as they should be and otherwise."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from support.nets import features, input_layer, layer, random_weights, sequential

import verify
from verify import ModelFileError

CONFIG = sequential(
    input_layer(None, 6, 3),
    layer("LSTM", "lstm", units=4),
    layer("Dense", "dense", units=2),
)
SHAPES = [(3, 16), (4, 16), (16,), (4, 2), (2,)]


def sharded(folder, **more):
    """An LSTM whose bias is in another file than its kernels, and a Dense behind it."""
    weights = random_weights(SHAPES, 0)
    lstm, dense = "layers/lstm/cell/vars", "layers/dense/vars"
    parts = [
        {f"{lstm}/0": weights[0], f"{lstm}/1": weights[1]},
        {f"{lstm}/2": weights[2], f"{dense}/0": weights[3], f"{dense}/1": weights[4]},
    ]
    names = [f"m_{k:05}.weights.h5" for k in range(2)]
    for name, arrays in zip(names, parts, strict=True):
        with h5py.File(folder / name, "w") as file:
            for path, value in arrays.items():
                file[path] = value.astype("float32")
    weight_map = {f"/{lstm}": names, f"/{dense}": names[1], **more}
    index = {"metadata": {"total_size": 0.1}, "weight_map": weight_map}
    (folder / "m.weights.json").write_text(json.dumps(index))
    (folder / "m.json").write_text(json.dumps(CONFIG))
    return folder / "m.weights.json", weights


def refused(folder, path="m.weights.json"):
    with pytest.raises(ModelFileError) as caught:
        verify.load(folder / path, config=folder / "m.json")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_in_several_files_are_read_as_one(tmp_path):
    path, weights = sharded(tmp_path)
    net = verify.load(path, config=tmp_path / "m.json")
    found = [w for one in net.spec for w in one.weights.values()]
    for ours, theirs in zip(found, weights, strict=True):
        assert np.array_equal(ours, theirs.astype("float32"))
    assert net.predict(features()).shape == (5, 2)


def test_missing_files_are_named(tmp_path):
    sharded(tmp_path)
    (tmp_path / "m_00001.weights.h5").unlink()
    assert "are in 2 file(s)" in refused(tmp_path)
    assert refused(tmp_path).endswith("Missing: m_00001.weights.h5")


def test_a_file_of_another_saving_is_said(tmp_path):
    sharded(tmp_path, **{"/layers/gru/vars": "m_00000.weights.h5"})
    assert "expected layers/gru/vars, which" in refused(tmp_path)


def test_one_of_the_files_alone_leads_to_the_index(tmp_path):
    sharded(tmp_path)
    text = refused(tmp_path, "m_00000.weights.h5")
    assert "is one of several files" in text
    assert "m.weights.json, which names them all" in text
    (tmp_path / "m.weights.json").unlink()
    assert "config and weights disagree" in refused(tmp_path, "m_00000.weights.h5")


@pytest.mark.parametrize("name", ["../m.h5", "/etc/x", "..", "", "a\\b", 3, None, {}])
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, name):
    sharded(tmp_path, **{"/layers/gru/vars": name})
    assert "expected the name of a file beside it. Received: " in refused(tmp_path)


@pytest.mark.parametrize("content", ['{"weight_map": {}}', '{"weight_map": 3}', "{"])
def test_an_empty_index_or_other_json_is_refused(tmp_path, content):
    path, _ = sharded(tmp_path)
    path.write_text(content)
    text = refused(tmp_path)
    assert "its weight_map is empty" in text or "JSON" in text


def test_without_a_config_the_message_says_what_to_give(tmp_path):
    path, _ = sharded(tmp_path)
    with pytest.raises(ModelFileError, match="weights without a config"):
        verify.load(path)


@pytest.mark.keras
def test_what_keras_writes_into_several_files_passes(tmp_path):
    from keras import Input, layers
    from support.nets import keras_sequential

    model = keras_sequential(
        [
            Input((6, 3)),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
            layers.GRU(3),
            layers.Dense(2),
        ]
    )
    path = tmp_path / "m.weights.json"
    model.save_weights(path, max_shard_size=1e-6)  # about 1,000 bytes
    (tmp_path / "m.json").write_text(model.to_json())
    assert len(list(tmp_path.glob("m_*.weights.h5"))) > 1
    net = verify.load(path, config=tmp_path / "m.json")
    assert np.allclose(net.predict(features()), model.predict(features(), verbose=0))
    report = verify.check(path, loaded=net)
    assert report.verdict is verify.Verdict.PASS
