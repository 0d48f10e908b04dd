"""Tell by its contents what an exported file is, whatever it is called."""

from __future__ import annotations

import codecs
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from verify.errors import ModelFileError, printable

KINDS = ("onnx", "litert", "openvino", "saved_model", "torch_export")
"""Kinds of files that can be run; each has a module of this name in
`verify.ports.artefacts.runtimes`."""

WANTED = (
    "expected an .onnx, a .tflite, an OpenVINO .xml, a SavedModel folder or a .pt2 of "
    "torch.export"
)

MAX_BYTES = 2 * 10**9
"""Greatest size of an exported file with everything that belongs to it."""

FIRST_BYTES = 4096
"""How much of a file is looked at, unless its kind shows in its structure alone."""

MAGIC = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as a Keras .h5"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer; fetch the file with: git lfs pull",
    ),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF"),
    (b"\x7fELF", "a program or library (ELF)"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"GGUF", "a GGUF file"),
    (b"\x89PNG", "a PNG image"),
)
"""What a file begins with, and what it is then; none of these can be run."""

TFLITE_MAGIC = b"TFL3"
"""Identifier of a LiteRT flatbuffer, after the offset of its root."""

ONNX_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
"""Numbers of the fields of ModelProto. Source: onnx/onnx.proto."""

ONNX_GRAPH = 7
MAX_FIELDS = 100_000
"""Fields of a protobuf message that are looked at; real models have a dozen."""


def recognise(path: Path) -> str:
    """Return the kind of an exported file: one of `KINDS`.

    Raises
    ------
    ModelFileError
        There is no such file, it is of another kind, which is named, or it is too
        large.
    """
    try:
        kind = _kind_of_folder(path) if path.is_dir() else _kind_of_file(path)
        size = size_of(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelFileError(f"{path}: {reason}") from None
    if size > MAX_BYTES:
        raise ModelFileError(
            f"{path}: expected at most {MAX_BYTES // 10**9} GB. "
            f"Received: {size:,} bytes"
        )
    return kind


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
    )


def _other(path: Path, what: str) -> ModelFileError:
    return ModelFileError(f"{path}: {WANTED}. Received: {what}")


def _kind_of_folder(path: Path) -> str:
    names = sorted(os.listdir(path))
    if "saved_model.pb" in names:
        return "saved_model"
    if "saved_model.pbtxt" in names:
        what = "a SavedModel folder in text form (saved_model.pbtxt)"
    elif "Manifest.json" in names:
        what = "a Core ML package, which runs on macOS alone"
    elif "model.json" in names:
        what = "a TensorFlow.js folder; its weights can be compared, not its outputs"
    elif not names:
        what = "an empty folder"
    else:
        shown = ", ".join(printable(name, 40) for name in names[:4])
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        what = f"a folder without saved_model.pb ({shown}{more})"
    raise _other(path, what)


def _kind_of_file(path: Path) -> str:
    if not path.is_file():  # a pipe would never end
        exists = path.exists()
        raise ModelFileError(
            f"{path}: " + ("not a file or a folder" if exists else "no such file")
        )
    with path.open("rb") as file:
        start = file.read(FIRST_BYTES)
        if not start:
            raise _other(path, "an empty file")
        if start[4:8] == TFLITE_MAGIC:
            return "litert"
        for magic, what in MAGIC:
            if start.startswith(magic):
                raise _other(path, what)
        if start.startswith(b"PK\x03\x04"):
            return _kind_of_archive(path)
        text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
        if text.startswith(b"<"):
            return _kind_of_markup(path, text)
        if text.startswith((b"{", b"[")):
            raise _other(path, _what_json(path, file))
        if re.match(rb"\x80[\x02-\x05]", start):
            raise _other(path, "a pickle, which would run code of its own")
        return _kind_of_protobuf(path, file)


def _kind_of_archive(path: Path) -> str:
    """Return the kind of a zip archive by the names in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelFileError(f"{path} is damaged ({printable(error)})") from None
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner or any(n.startswith("models/") for n in inner):
        return "torch_export"
    if "serialized_exported_program.json" in {*names, *inner}:
        return "torch_export"
    if "config.json" in names and "metadata.json" in names:
        what = "a Keras model (.keras), which is the other file of a comparison"
    elif any(name.startswith("code/") for name in inner):
        what = "a TorchScript file; export it with torch.export.save"
    elif "data.pkl" in inner:
        what = "a PyTorch checkpoint, a pickle; export it with torch.export.save"
    elif names and all(name.endswith(".npy") for name in names):
        what = "NumPy arrays (.npz); compare weights with --as FRAMEWORK"
    elif any(name.endswith(".mlmodel") for name in names):
        what = "a Core ML package, which runs on macOS alone"
    elif any(name.endswith("saved_model.pb") for name in names):
        what = "a zip archive with a SavedModel; unpack it first"
    else:
        what = "a zip archive of another kind"
    raise _other(path, what)


def _kind_of_markup(path: Path, text: bytes) -> str:
    """Return the kind of a file that begins like XML or HTML."""
    body = re.sub(rb"<\?.*?\?>|<!--.*?-->", b"", text, flags=re.DOTALL).lstrip()
    if re.match(rb"<!doctype html|<html", body, re.IGNORECASE):
        raise _other(path, "an HTML page; was it saved in place of the file?")
    root = re.match(rb"<([\w:.-]+)", body)
    if root is None:
        raise _other(path, "text that begins like XML")
    if root[1] == b"net":
        return "openvino"
    raise _other(path, f"XML with the root element {root[1].decode()}")


def _what_json(path: Path, file: BinaryIO) -> str:
    if path.stat().st_size < 10**8:
        file.seek(0)
        with_keys = None
        try:
            with_keys = json.load(file)
        except (ValueError, RecursionError):
            return "text that begins like JSON"
        if isinstance(with_keys, dict) and "modelTopology" in with_keys:
            return "a TensorFlow.js model; its weights can be compared, not its outputs"
    return "JSON"


def _kind_of_protobuf(path: Path, file: BinaryIO) -> str:
    """Return the kind of a protobuf message by the numbers of its fields."""
    size = path.stat().st_size
    found: dict[int, int] = {}
    damaged = False
    try:
        for number, wire_type in fields(file, size):
            found.setdefault(number, wire_type)
    except ValueError:
        damaged = True
    numbers = set(found)
    like_onnx = found.get(1) == 0 and numbers <= ONNX_FIELDS and len(numbers) > 2
    if like_onnx and found.get(ONNX_GRAPH) == 2:
        if damaged:
            raise ModelFileError(
                f"{path} is damaged (an ONNX file that ends early, after {size:,} "
                "bytes)"
            )
        return "onnx"
    if not damaged and found == {1: 0, 2: 2}:
        if path.name == "saved_model.pb":
            raise _other(path, "the inside of a SavedModel; give its folder")
        raise _other(path, "a SavedModel without its folder")
    if not damaged and found.get(1) == 0 and any(n >= 200 for n in numbers):
        raise _other(path, "a Core ML model, which runs on macOS alone")
    if not damaged and found.get(1) == 2 and numbers <= {1, 2, 3, 4, 5}:
        raise _other(
            path, "a frozen TensorFlow graph or another protobuf message (.pb)"
        )
    if path.suffix == ".bin" and path.with_suffix(".xml").exists():
        raise _other(path, f"the weights of {path.with_suffix('.xml').name}; give that")
    if path.suffix.lower() == ".onnx":
        raise ModelFileError(f"{path} is damaged, or not an ONNX file")
    if path.suffix.lower() == ".tflite":
        raise ModelFileError(f"{path} is damaged, or not a LiteRT file")
    file.seek(0)
    raise _other(path, _text_or_not(file.read(FIRST_BYTES)))


def _text_or_not(start: bytes) -> str:
    """Return what the first bytes of a file look like."""
    try:  # the last character may be cut off
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "a file of an unknown kind"
    return "a file of an unknown kind" if b"\0" in start else "text"


def fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield number and wire type of each field of a protobuf message in a file.

    The contents of the fields are skipped. Source:
    https://protobuf.dev/programming-guides/encoding.

    Raises
    ------
    ValueError
        The file is no such message, or ends early.
    """
    at = 0
    for _ in range(MAX_FIELDS):
        if at == size:
            return
        file.seek(at)
        tag, at = _varint(file, at)
        number, wire_type = tag >> 3, tag & 7
        if not number or wire_type not in (0, 1, 2, 5):
            raise ValueError("no protobuf message")
        length = {1: 8, 5: 4}.get(wire_type, 0)
        if wire_type != 1 and wire_type != 5:
            value, at = _varint(file, at)
            length = value if wire_type == 2 else 0
        yield number, wire_type
        at += length
        if at > size:
            raise ValueError("it ends early")
    raise ValueError("too many fields")


def _varint(file: BinaryIO, at: int) -> tuple[int, int]:
    """Read a number of variable length; return it and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends early")
        at += 1
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value, at
    raise ValueError("no number")
