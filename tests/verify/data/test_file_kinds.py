"""What a file is, is told by its contents; tests/test_first_mistakes.py has many."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import foreign

from verify.data import file_kinds
from verify.data.file_kinds import (
    FIRST_BYTES,
    HDF5,
    LITERT,
    MAGIC,
    ONNX,
    TF_CHECKPOINT,
    FileKind,
    file_kind,
    kind_of_start,
)

BEGINNINGS = [magic for magic, _ in MAGIC] + [
    b"PK\x03\x04", b"\x80\x02", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x78\x9c",
    b"\x08\x01\x12", b"\x0a\x02", b"{", b"<", b"\0" * 7 + b"\0{",
]  # fmt: skip


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=300))
def test_any_bytes_are_of_some_kind_in_one_printable_line(beginning, more):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(beginning + more)
        kind = file_kind(path)
    assert isinstance(kind, FileKind)
    assert str(kind).isprintable()
    assert len(str(kind)) < 400
    assert isinstance(kind_of_start(beginning + more), FileKind)


@pytest.mark.parametrize("name", ["model.keras", "x.csv", "m.onnx", "none"])
def test_the_name_of_a_file_does_not_matter(name, tmp_path):
    for content, kind in (
        (foreign.ONNX, ONNX),
        (foreign.LITERT, LITERT),
        (foreign.HDF5, HDF5),
        (foreign.TABLE_END, TF_CHECKPOINT),
    ):
        (tmp_path / name).write_bytes(content)
        assert file_kind(tmp_path / name) == kind


def test_numbers_of_a_checkpoint_are_told_by_the_index_beside_them(tmp_path):
    data = tmp_path / "ckpt.data-00000-of-00001"
    data.write_bytes(bytes([250, 1]) * 30)
    assert file_kind(data).key == "unknown"
    (tmp_path / "ckpt.index").write_bytes(b"other" * 20)
    assert file_kind(data).key == "unknown"
    (tmp_path / "ckpt.index").write_bytes(foreign.TABLE_END)
    assert file_kind(data) == TF_CHECKPOINT


def test_only_the_beginning_of_a_packed_file_is_unpacked(monkeypatch):
    asked = []
    unpack = file_kinds.kind_of_start

    def noted(start):
        asked.append(len(start))
        return unpack(start)

    monkeypatch.setattr(file_kinds, "kind_of_start", noted)
    packed = gzip.compress(foreign.HDF5 + bytes(50 * FIRST_BYTES))
    assert len(packed) < FIRST_BYTES
    assert unpack(packed).name == f"a gzip archive that holds {HDF5.name}"
    assert asked == [FIRST_BYTES]


def test_a_tar_archive_that_goes_on_is_named_by_its_first_files():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("m/model.h5")
        member.size = 10 * FIRST_BYTES
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    kind = kind_of_start(file.getvalue()[:FIRST_BYTES])
    assert kind.name == "a tar archive that holds m/model.h5"
    assert kind_of_start(gzip.compress(file.getvalue())).name == kind.name


def test_text_that_begins_like_packed_data_is_text():
    assert kind_of_start(b"x\x01") == file_kinds.UNKNOWN
    assert kind_of_start(b"x^2 + y^2").key == "text"
    assert kind_of_start(zlib.compress(b"words")).name.startswith("data packed with")


@pytest.mark.parametrize(
    "text", ["404", "404,1,2", "500 good flights, and bad ones", "Not found: Tom\nhere"]
)
def test_text_that_only_resembles_a_refusal_is_text(text):
    assert kind_of_start(text.encode()).key == "text"


def test_a_long_list_of_names_is_cut_and_begins_with_models(tmp_path):
    for name in ("a", "b", "c", "d", "e", "z.keras"):
        (tmp_path / name).touch()
    assert file_kind(tmp_path).name == "a folder that holds z.keras, a, b, c and 2 more"


@pytest.mark.parametrize(
    "text",
    [
        "backend: tensorflow\nclass_name: Sequential\nconfig:\n- class_name: LSTM\n",
        "class_name: Model\nconfig:\n  layers:\n",
        # the same through yaml.dump, which makes one string of it
        "\"backend: !!python/unicode 'x'\\nclass_name: Sequential\\nconfig:\\n- cl\\\n"
        '  \\ units: 3\\n"\n',
    ],
)
def test_a_config_of_keras_in_yaml_is_named_with_the_way_to_json(text):
    kind = kind_of_start(text.encode())
    assert kind.key == "keras_yaml"
    assert "yaml.safe_load" in str(kind)


def test_other_yaml_is_text():
    assert kind_of_start(b"class_name: Cat\nage: 3\n").key == "text"
