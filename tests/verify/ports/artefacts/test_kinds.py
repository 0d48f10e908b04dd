"""An exported file is told by its contents, and what cannot be run is named."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile

import h5py
import numpy as np
import pytest
from support import exported
from support.exported import EXPORTED

import verify
from verify.data.files import NOT_A_FILE
from verify.ports.artefacts import kinds


def refused(path) -> str:
    with pytest.raises(verify.ModelFileError) as caught:
        kinds.recognise(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}: ").removeprefix(f"{kinds.WANTED}. Received: ")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((f"{model}.onnx", "onnx") for model in ("masked", "sequence", "states")),
        *((f"{model}.tflite", "litert") for model in ("masked", "gru", "stateful")),
        *((f"{model}.xml", "openvino") for model in ("masked", "gru", "sequence")),
        ("sequence.pt2", "torch_export"),
    ],
)
def test_the_suffix_does_not_matter(name, kind, tmp_path):
    shutil.copy(EXPORTED / name, tmp_path / "model.keras")
    assert (
        kinds.recognise(tmp_path / "model.keras")
        == kind
        == kinds.recognise(EXPORTED / name)
    )


def test_a_folder_with_a_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert kinds.recognise(tmp_path) == "saved_model"


CONTENTS = {
    b"": "an empty file",
    b"<!DOCTYPE html><html>": "an HTML page; was it saved in place of the file?",
    b"<?xml version='1.0'?>\n<!-- c -->\n<HTML>": "an HTML page",
    b"<?xml version='1.0'?><model/>": "XML with the root element model",
    b"< no": "text that begins like XML",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0": "git lfs pull",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY\x01": "a NumPy array (.npy)",
    b"\x1f\x8b\x08": "a gzip archive",
    pickle.dumps({"a": 1}): "a pickle, which would run code of its own",
    b'{"modelTopology": {}}': "a TensorFlow.js model; its weights can be compared",
    b'{"a": 1}': "JSON",
    b'{"a": ': "text that begins like JSON",
    b"just words, \xc3\xa9": "text",
    b"\xff\x00\xfe\x01": "a file of an unknown kind",
    # protobuf: a GraphDef has nodes first, Core ML a version and a type above 200
    b"\x0a\x02\x0a\x00": "a frozen TensorFlow graph",
    b"\x08\x01\x12\x00": "a SavedModel without its folder",
    b"\x08\x04\x12\x00\xa2\x1f\x00": "a Core ML model, which runs on macOS alone",
}


@pytest.mark.parametrize(("data", "what"), CONTENTS.items())
def test_a_file_of_another_kind_is_named(data, what, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    assert refused(path).startswith(what) or what in refused(path)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (
            ("config.json", "metadata.json", "model.weights.h5"),
            "a Keras model (.keras)",
        ),
        (("a/code/m.py", "a/data.pkl"), "a TorchScript file"),
        (("a/data.pkl", "a/data/0"), "a PyTorch checkpoint, a pickle"),
        (("x.npy", "y.npy"), "NumPy arrays (.npz)"),
        (("m/saved_model.pb",), "a zip archive with a SavedModel; unpack it first"),
        (("m/Data/model.mlmodel",), "a Core ML package"),
        (("other",), "a zip archive that holds other; unpack it first"),
    ],
)
def test_an_archive_of_another_kind_is_named(names, what, tmp_path):
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    assert refused(path).startswith(what)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ((), "an empty folder"),
        (
            ("a", "b", "c", "d", "e"),
            "a folder that holds a, b, c, d and 1 more",
        ),
        (("saved_model.pbtxt",), "a SavedModel folder in text form"),
        (("model.json", "group1-shard1of1.bin"), "a TensorFlow.js folder"),
        (("Manifest.json", "Data"), "a Core ML package"),
    ],
)
def test_a_folder_of_another_kind_is_named(names, what, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    assert refused(tmp_path).startswith(what)


def test_real_files_of_other_kinds(tmp_path):
    assert refused(EXPORTED / "masked.keras").startswith("a Keras model (.keras)")
    assert refused(EXPORTED / "masked.bin") == "the weights of masked.xml; give that"
    with h5py.File(tmp_path / "m.onnx", "w") as file:
        file["x"] = np.arange(3)
    assert refused(tmp_path / "m.onnx") == "an HDF5 file, such as a Keras .h5"
    shutil.copy(EXPORTED / "masked.onnx", tmp_path / "saved_model.pb")
    assert kinds.recognise(tmp_path / "saved_model.pb") == "onnx"


def test_what_is_absent_or_no_file_is_said(tmp_path):
    assert refused(tmp_path / "none.onnx") == "no such file"
    os.mkfifo(tmp_path / "pipe.onnx")
    assert refused(tmp_path / "pipe.onnx") == NOT_A_FILE
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refused(tmp_path / "loop") == "no such file"


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.95])
def test_an_onnx_file_that_ends_early_is_damaged(cut, tmp_path):
    data = (EXPORTED / "masked.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(cut * len(data))])
    assert "is damaged" in refused(path)
    path.write_bytes(data + b"\x07")
    assert "is damaged" in refused(path)


def test_more_than_two_gigabytes_are_refused(tmp_path):
    path = exported.onnx_sum(tmp_path / "big.onnx")
    with path.open("ab") as file:  # a field that is skipped; no such bytes are written
        file.write(b"\x12" + b"\x80\xa8\xd6\xb9\x07")  # 2,000,000,000
        file.truncate(file.tell() + 2 * 10**9)
    assert refused(path).startswith("expected at most 2 GB. Received: 2,000,000,")


def test_a_zip_archive_that_is_damaged(tmp_path):
    path = tmp_path / "m.pt2"
    path.write_bytes((EXPORTED / "sequence.pt2").read_bytes()[:5000])
    assert "is damaged" in refused(path)
