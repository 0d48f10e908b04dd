"""Files of weights are read without executing anything, and within limits."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from verify import ModelFileError, UnsupportedError
from verify.ports.weight_files import reading
from verify.ports.weight_files.reading import read_weight_file

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([1.5], np.float64),
    "c": np.arange(4, dtype=np.float16),
}


def same(found, expected=ARRAYS) -> bool:
    return set(found) == set(expected) and all(
        np.array_equal(found[k], v) and found[k].dtype == v.dtype
        for k, v in expected.items()
    )


def test_safetensors_and_npz_give_their_arrays(tmp_path):
    save_file(ARRAYS, tmp_path / "w.safetensors")
    assert same(read_weight_file(tmp_path / "w.safetensors"))
    np.savez(tmp_path / "w.npz", **ARRAYS)
    assert same(read_weight_file(tmp_path / "w.npz"))
    fortran = {"a": np.asfortranarray(ARRAYS["a.weight"])}
    np.savez_compressed(tmp_path / "f.npz", **fortran)
    assert same(read_weight_file(str(tmp_path / "f.npz")), fortran)


def test_the_content_decides_and_not_the_suffix(tmp_path):
    save_file(ARRAYS, tmp_path / "w.npz")
    assert same(read_weight_file(tmp_path / "w.npz"))


def test_bfloat16_is_read(tmp_path):
    held = {"a": np.array([1.5, -2.0], ml_dtypes.bfloat16)}
    save_file(held, tmp_path / "w.safetensors")
    found = read_weight_file(tmp_path / "w.safetensors")["a"]
    assert np.array_equal(found.astype(np.float32), [1.5, -2.0])


def tfjs(folder, arrays, **changes):
    """A layers model of TensorFlow.js with its weights in two shards."""
    content = b"".join(v.tobytes() for v in arrays.values())
    half = len(content) // 2
    (folder / "group1-shard1of2.bin").write_bytes(content[:half])
    (folder / "group1-shard2of2.bin").write_bytes(content[half:])
    entries = [
        {"name": k, "shape": list(v.shape), "dtype": str(v.dtype)}
        for k, v in arrays.items()
    ]
    group = {
        "paths": ["group1-shard1of2.bin", "group1-shard2of2.bin"],
        "weights": entries,
        **changes,
    }
    path = folder / "model.json"
    path.write_text(json.dumps({"format": "layers-model", "weightsManifest": [group]}))
    return path


FLOATS = {k: v.astype(np.float32) for k, v in ARRAYS.items()}


def test_the_shards_of_tensorflow_js_are_joined(tmp_path):
    path = tfjs(tmp_path, FLOATS)
    assert same(read_weight_file(path), FLOATS)
    assert same(read_weight_file(tmp_path), FLOATS)


def test_quantised_weights_of_tensorflow_js_are_turned_back(tmp_path):
    stored = {"k": np.array([0, 100, 255], np.uint8), "h": np.array([2], np.float16)}
    entries = [
        {"name": "k", "shape": [3], "dtype": "float32",
         "quantization": {"dtype": "uint8", "scale": 0.5, "min": -3.0}},
        {"name": "h", "shape": [1], "dtype": "float32",
         "quantization": {"dtype": "float16", "original_dtype": "float32"}},
    ]  # fmt: skip
    found = read_weight_file(tfjs(tmp_path, stored, weights=entries))
    assert np.allclose(found["k"], [-3, 47, 124.5])
    assert found["h"].dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paths": ["../secret.bin"]}, r"own folder. Received: '\.\./secret"),
        ({"paths": ["/etc/hostname"]}, "shards in its own folder"),
        ({"paths": ["gone.bin"]}, "its shard 'gone.bin' is absent"),
        ({"paths": ["group1-shard1of2.bin"]}, "its shards end early"),
        ({"weights": []}, r"hold 44 bytes, and weightsManifest speaks of 0"),
        ({"weights": [{"name": "a", "shape": [1], "dtype": "string"}]}, "dtype string"),
        ({"weights": [{"name": "a", "shape": [-11], "dtype": "float32"}]}, "end early"),
        ({"weights": [{"shape": [11]}]}, "entry of weightsManifest cannot be read"),
        ({"weights": [3]}, "entry of weightsManifest cannot be read"),
        ({"weights": 3}, "with weightsManifest"),
    ],
)  # fmt: skip
def test_a_damaged_model_of_tensorflow_js_is_one_line(tmp_path, changes, words):
    with pytest.raises(ModelFileError, match=words):
        read_weight_file(tfjs(tmp_path, FLOATS, **changes))


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    inside = tmp_path / "model"
    inside.mkdir()
    (tmp_path / "other.bin").write_bytes(b"secret")
    (inside / "shard.bin").symlink_to(tmp_path / "other.bin")
    with pytest.raises(ModelFileError, match="shards in its own folder"):
        read_weight_file(tfjs(inside, FLOATS, paths=["shard.bin"]))


class Opened:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self):
        return (open, ("was-executed", "w"))


def test_a_pickle_is_refused_unread_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.bin").write_bytes(pickle.dumps({"w": Opened()}))
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Opened()}))
    np.savez(tmp_path / "w.npz", w=np.array([Opened()], object), allow_pickle=True)
    for name, remedy in (
        ("old.bin", r"safetensors\.torch\.save_file"),
        ("w.pth", r"safetensors\.torch\.save_file"),
        ("w.npz", "holds Python objects, a pickle"),
    ):
        with pytest.raises(ModelFileError, match=rf"pickle.*{remedy}|{remedy}"):
            read_weight_file(tmp_path / name)
    assert not (tmp_path / "was-executed").exists()


def safetensors_bytes(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@pytest.mark.parametrize(
    "content",
    [
        safetensors_bytes(GOOD, b"1234"),
        safetensors_bytes(GOOD, b"12345678")[:20],
        safetensors_bytes(
            {"a": {**GOOD["a"], "data_offsets": [0, 2**62]}}, b"12345678"
        ),
        safetensors_bytes({"a": {**GOOD["a"], "shape": [2**40]}}, b"12345678"),
        safetensors_bytes(b'{"a": ', b"12345678"),
        safetensors_bytes({"a": {**GOOD["a"], "dtype": "X9"}}, b"12345678"),
    ],
)
def test_damaged_safetensors_are_one_line(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="is damaged, or no safetensors file"):
        read_weight_file(path)


def npz_of(path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def npy_bytes(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_damaged_archives_are_one_line(tmp_path):
    path = tmp_path / "w.npz"
    whole = npy_bytes(np.zeros(100))
    more = whole.replace(b"(100,)", b"(999,)")
    for content, words in (
        (whole[:200], "declares more than it holds"),
        (more, "declares more than it holds"),
        (b"no array", "damaged"),
        (npy_bytes(np.array(["text"])), "expected arrays of numbers"),
    ):
        npz_of(path, "a.npy", content)
        with pytest.raises(ModelFileError, match=words):
            read_weight_file(path)
    npz_of(path, "a.txt", b"text")
    with pytest.raises(ModelFileError, match=r"a zip archive that holds a\.txt"):
        read_weight_file(path)
    np.savez(path, a=np.arange(1000.0))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ModelFileError, match="damaged"):
        read_weight_file(path)


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, a=np.zeros(100_000))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(reading, "MAX_BYTES", 400_000)
    with pytest.raises(
        ModelFileError, match=r"unpacks to 0\.0 GiB of weights, and at most"
    ):
        read_weight_file(path)


def test_too_many_arrays_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_ARRAYS", 2)
    for name in ("w.npz", "w.safetensors"):
        save = np.savez if name.endswith("npz") else lambda p, **a: save_file(a, p)
        save(tmp_path / name, **ARRAYS)
        with pytest.raises(ModelFileError, match="holds 3 arrays, and at most 2"):
            read_weight_file(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file"),
        (npy_bytes(np.zeros(3)), r"a NumPy array \(\.npy\); instead save"),
        (b"hello, this is a text", "text that begins with 'hello, this is a text'"),
        (b"", "an empty file"),
        (struct.pack("<Q", 2**60) + b'{"a": 1}', "a file of an unknown kind"),
        (b"{}", "Received: JSON"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, content, words):
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=words):
        read_weight_file(path)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        read_weight_file(tmp_path / "gone.npz")
    with pytest.raises(ModelFileError, match=r"an empty folder|a folder that holds"):
        read_weight_file(tmp_path)
    (tmp_path / "model.json").write_text("[1, 2")
    with pytest.raises(
        ModelFileError, match=r"a TensorFlow\.js folder|begins like JSON"
    ):
        read_weight_file(tmp_path / "model.json")


def test_a_missing_library_is_named_with_what_installs_it(tmp_path, monkeypatch):
    save_file(ARRAYS, tmp_path / "w.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UnsupportedError, match=r"keras-rnn-verify\[safetensors\]"):
        read_weight_file(tmp_path / "w.safetensors")
