"""Tell by its contents what a file or a folder is, whatever it is called.

Nothing is unpickled or executed, and of packed files only the beginning is unpacked:
looked at are first bytes, the fields of a protobuf message and names in an archive.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from verify.data.files import NOT_A_FILE
from verify.errors import join_and, printable


class FileKind(NamedTuple):
    """Name what a file is.

    Attributes
    ----------
    key : str
        A word for programs: ``"onnx"``, ``"git_lfs"``, ``"text"``.
    name : str
        What it is, for messages: ``"an ONNX model"``.
    remedy : str
        What to do about it wherever it was given; often nothing.
    """

    key: str
    name: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.name}; {self.remedy}" if self.remedy else self.name


KERAS = FileKind("keras", "a Keras model (.keras)")
UNPACKED_KERAS = FileKind("keras", "the folder of an unpacked .keras file")
ONNX = FileKind("onnx", "an ONNX model")
LITERT = FileKind("litert", "a LiteRT (TFLite) model")
OPENVINO = FileKind("openvino", "an OpenVINO model (.xml)")
SAVED_MODEL = FileKind("saved_model", "a SavedModel folder")
TORCH_EXPORT = FileKind("torch_export", "a model of torch.export (.pt2)")
TORCHSCRIPT = FileKind("torchscript", "a TorchScript file")
TORCH_PICKLE = FileKind("torch_pickle", "a PyTorch checkpoint, a pickle")
PICKLE = FileKind("pickle", "a pickle, which would run code of its own")
CORE_ML = FileKind("core_ml", "a Core ML model, which runs on macOS alone")
CORE_ML_PACKAGE = FileKind("core_ml", "a Core ML package, which runs on macOS alone")
GRAPH_DEF = FileKind(
    "graph_def", "a frozen TensorFlow graph or another protobuf message (.pb)"
)
TF_CHECKPOINT = FileKind(
    "tf_checkpoint", "a TensorFlow checkpoint, which holds weights and no model"
)
NPY = FileKind("npy", "a NumPy array (.npy)")
NPZ = FileKind("npz", "NumPy arrays (.npz)")
HDF5 = FileKind("hdf5", "an HDF5 file, such as a Keras .h5")
KERAS_YAML = FileKind(
    "keras_yaml",
    "the config of a Keras model as YAML, of model.to_yaml()",
    "write it as JSON, with PyYAML: json.dumps(yaml.safe_load(re.sub("
    "'!!python/[a-z]+', '', text))), where text that is one quoted string goes "
    "through yaml.safe_load first",
)
SAFETENSORS = FileKind("safetensors", "weights as .safetensors")
EMPTY = FileKind("empty", "an empty file")
UNKNOWN = FileKind("unknown", "a file of an unknown kind")

_AS_CSV = "save it as CSV UTF-8"
PARQUET = FileKind("parquet", "a Parquet table", _AS_CSV)
_SAVED_PAGE = "was it saved in place of the file?"
_UNPACK = "unpack it first"

MAGIC: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (
        b"version https://git-lfs",
        FileKind(
            "git_lfs",
            "a Git LFS pointer, not the file itself",
            "fetch the file with: git lfs pull",
        ),
    ),
    (b"\x93NUMPY", NPY),
    (b"PAR1", PARQUET),
    (b"ARROW1", FileKind("arrow", "an Arrow (Feather) table", _AS_CSV)),
    (b"%PDF", FileKind("pdf", "a PDF")),
    (b"\x7fELF", FileKind("program", "a program or library (ELF)")),
    (b"Rar!", FileKind("packed", "a RAR archive", _UNPACK)),
    (b"7z\xbc\xaf", FileKind("packed", "a 7z archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", FileKind("packed", "a Zstandard archive", _UNPACK)),
    (b"GGUF", FileKind("gguf", "a GGUF file")),
    (b"\x89PNG", FileKind("image", "a PNG image")),
    (b"\xff\xd8\xff", FileKind("image", "a JPEG image")),
    (b"MATLAB ", FileKind("matlab", "a MATLAB file (.mat)")),
    (b"SQLite format 3\0", FileKind("sqlite", "an SQLite database")),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        FileKind("office", "an old Office file, such as Excel's .xls", _AS_CSV),
    ),
)
"""What a file begins with, and what it is then."""

TFLITE_MAGIC = b"TFL3"
"""Identifier of a LiteRT flatbuffer, after the offset of its root."""

OLD_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""Begins what torch.save wrote before PyTorch 1.6. Source: torch/serialization.py."""

TABLE_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
"""Ends the .index of a TensorFlow checkpoint. Source: tensorflow/core/lib/io/format.h
(kTableMagicNumber)."""

ONNX_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
"""Numbers of the fields of ModelProto. Source: onnx/onnx.proto."""

ONNX_GRAPH = 7
MAX_FIELDS = 100_000
"""Fields of a protobuf message that are looked at; real models have a dozen."""

FIRST_BYTES = 2**16
"""How much of a file is looked at, unless its kind shows in its structure alone."""

MAX_JSON_BYTES = 10**8
"""Size of JSON, in bytes, up to which it is parsed to see what it describes."""

KERAS_YAML_START = re.compile(
    r"""["']?(?:backend:[^\n\\]{1,60}(?:\n|\\n))?class_name: \w+(?:\n|\\n)\s*config:"""
)
"""What Keras 2.5 and before begin YAML with. Passed through ``yaml.dump`` once more, it
is one quoted string, in which line breaks are written as ``\\n``."""

MODEL_SUFFIXES = (
    ".keras", ".h5", ".hdf5", ".onnx", ".tflite", ".xml", ".pt2", ".safetensors",
)  # fmt: skip
"""Suffixes of files that are worth naming in an archive or a folder."""


def file_kind(path: Path) -> FileKind:
    """Return what a file or a folder is.

    Raises
    ------
    OSError
        It is absent, or cannot be read.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    if path.exists() and not path.is_file():  # a pipe would never end
        return FileKind("special", NOT_A_FILE)
    with path.open("rb") as file:
        start = file.read(FIRST_BYTES)
        size = path.stat().st_size
        if start.startswith(b"PK\x03\x04"):
            return _kind_of_archive(path)
        if _ends_like_a_checkpoint(file, size):
            return TF_CHECKPOINT
        if start[4:8] != TFLITE_MAGIC and _is_checkpoint_data(path):
            return TF_CHECKPOINT
        if _looks_like_json(start) and size < MAX_JSON_BYTES:
            file.seek(0)
            return _kind_of_json(file.read())
        kind = kind_of_start(start)
        return _kind_of_protobuf(path, file, size) if kind == UNKNOWN else kind


def kind_of_start(start: bytes) -> FileKind:
    """Return what a file is, by its first `FIRST_BYTES` bytes."""
    if not start:
        return EMPTY
    if start[4:8] == TFLITE_MAGIC:
        return LITERT
    for magic, kind in MAGIC:
        if start.startswith(magic):
            return kind
    if start.startswith(b"PK\x03\x04"):
        return FileKind("packed", "a zip archive", _UNPACK)
    if start[257:262] == b"ustar":
        return _kind_of_tar(start)
    if start.startswith(OLD_TORCH_MAGIC):
        return TORCH_PICKLE
    if re.match(rb"\x80[\x02-\x05]|\((?:dp|lp)\d|c[a-z_.]+\n\w+\n(?:p\d+\n|\()", start):
        return PICKLE
    if _is_safetensors(start):
        return SAFETENSORS
    packed = _kind_of_packed(start)
    if packed is not None:
        return packed
    text = _text_of(start)
    return UNKNOWN if text is None else _kind_of_text(text)


def _some(names: Iterable[str], most: int = 4) -> str:
    """List some names, those of models first: ``a.keras, b and 3 more``."""
    found = sorted(names, key=lambda name: not name.lower().endswith(MODEL_SUFFIXES))
    shown = [printable(name, 60) for name in found[:most]]
    if len(found) > most:
        return f"{', '.join(shown)} and {len(found) - most:,} more"
    return join_and(shown)


def _kind_of_folder(path: Path) -> FileKind:
    names = sorted(os.listdir(path))
    if "saved_model.pb" in names:
        return SAVED_MODEL
    if "saved_model.pbtxt" in names:
        return FileKind(
            "saved_model_text", "a SavedModel folder in text form (saved_model.pbtxt)"
        )
    if "config.json" in names and "model.weights.h5" in names:
        return UNPACKED_KERAS
    if "Manifest.json" in names:
        return CORE_ML_PACKAGE
    if "model.json" in names:
        return FileKind("tfjs", "a TensorFlow.js folder")
    if not names:
        return FileKind("folder", "an empty folder")
    if any(name == "checkpoint" or _is_checkpoint_index(path / name) for name in names):
        return TF_CHECKPOINT
    return FileKind("folder", f"a folder that holds {_some(names)}")


def _is_checkpoint_index(path: Path) -> bool:
    if not path.name.endswith(".index") or not path.is_file():
        return False
    with path.open("rb") as file:
        return _ends_like_a_checkpoint(file, path.stat().st_size)


def _is_checkpoint_data(path: Path) -> bool:
    """Return whether a file holds the numbers of a checkpoint; only their index says.

    The file itself begins with the first number.
    """
    named = re.fullmatch(r"(.+)\.data-\d{5}-of-\d{5}", path.name)
    return named is not None and _is_checkpoint_index(path.parent / f"{named[1]}.index")


def _ends_like_a_checkpoint(file: BinaryIO, size: int) -> bool:
    if size < 48:  # the footer of an index has as many bytes
        return False
    file.seek(size - len(TABLE_MAGIC))
    return file.read() == TABLE_MAGIC


def _kind_of_archive(path: Path) -> FileKind:
    """Return what a zip archive is, by the names in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        return FileKind(
            "damaged",
            f"a zip archive: {printable(error, 100)}",
            "copy or download it again",
        )
    inner = {name.partition("/")[2] for name in names}
    keras = {"config.json", "metadata.json", "model.weights.h5"} & set(names)
    if "archive_format" in inner or any(n.startswith("models/") for n in inner):
        return TORCH_EXPORT
    if "serialized_exported_program.json" in {*names, *inner}:
        return TORCH_EXPORT
    if len(keras) > 1:
        return KERAS
    if any(name.startswith("code/") for name in inner):
        return TORCHSCRIPT
    if "data.pkl" in {*names, *inner}:
        return TORCH_PICKLE
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    if any(name.endswith(".mlmodel") for name in names):
        return CORE_ML_PACKAGE
    if "xl/workbook.xml" in names:
        return FileKind("excel", "an Excel workbook (.xlsx)", _AS_CSV)
    if "content.xml" in names and "mimetype" in names:
        return FileKind("opendocument", "an OpenDocument file (.ods)", _AS_CSV)
    if "word/document.xml" in names:
        return FileKind("word", "a Word document (.docx)")
    if any(name.endswith("saved_model.pb") for name in names):
        return FileKind("packed", "a zip archive with a SavedModel", _UNPACK)
    files = [name for name in names if not name.endswith("/")]
    if not files:
        return FileKind("packed", "an empty zip archive")
    return FileKind("packed", f"a zip archive that holds {_some(files)}", _UNPACK)


def _kind_of_tar(start: bytes) -> FileKind:
    """Return what a tar archive holds, as far as its beginning says."""
    import tarfile  # few files need it

    names = []
    try:
        with tarfile.open(fileobj=io.BytesIO(start), mode="r:") as archive:
            for member in archive:
                if member.isfile():
                    names.append(member.name)
    except tarfile.TarError:
        pass  # it goes on behind what was read
    holds = f" that holds {_some(names)}" if names else ""
    return FileKind("tar", f"a tar archive{holds}", _UNPACK)


def _kind_of_packed(start: bytes) -> FileKind | None:
    """Return what a file packed with gzip, bzip2, xz or zlib holds; None for others."""
    if start.startswith(b"\x1f\x8b"):
        name, command = "gzip", "gunzip"
    elif start.startswith(b"BZh"):
        name, command = "bzip2", "bunzip2"
    elif start.startswith(b"\xfd7zXZ\0"):
        name, command = "xz", "unxz"
    elif start[0] == 0x78 and start[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
        name, command = "zlib", ""
    else:
        return None
    beginning = _unpacked(start, name)
    if name == "zlib" and not beginning:
        return None  # text may begin with x
    inside = UNKNOWN if not beginning else kind_of_start(beginning)
    if inside.key == "tar":
        return FileKind("packed", inside.name, f"{_UNPACK}, with tar -xf")
    holds = "" if inside in (UNKNOWN, EMPTY) else f" that holds {inside.name}"
    if name == "zlib":
        if inside == PICKLE:
            return FileKind("pickle", "a packed pickle, as joblib writes it")
        return FileKind("packed", f"data packed with zlib{holds}")
    article = "an" if name == "xz" else "a"
    return FileKind(
        "packed", f"{article} {name} archive{holds}", f"{_UNPACK}, with {command}"
    )


def _unpacked(start: bytes, name: str) -> bytes | None:
    """Return the beginning of what is packed, or None if that fails."""
    import bz2  # few files need them
    import lzma
    import zlib

    try:
        if name == "bzip2":
            return bz2.BZ2Decompressor().decompress(start, FIRST_BYTES)
        if name == "xz":
            return lzma.LZMADecompressor().decompress(start, FIRST_BYTES)
        window = 31 if name == "gzip" else 15
        return zlib.decompressobj(window).decompress(start, FIRST_BYTES)
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError):
        return None


def _is_safetensors(start: bytes) -> bool:
    """Return whether a file begins with the length of a JSON header, and the header."""
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and length <= MAX_JSON_BYTES


def _text_of(start: bytes) -> str | None:
    """Return first bytes as text, or None if they are none.

    Of XML it is enough that it begins as text: an attribute further on may be damaged.
    """
    encoding = "utf-8"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:  # the last character may be cut off
        text = codecs.getincrementaldecoder(encoding)().decode(start)
    except UnicodeDecodeError:
        if not start.startswith((b"<?xml", b"<net")):
            return None
        text = start.decode(errors="replace")
    return None if re.search(r"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]", text) else text


def _looks_like_json(start: bytes) -> bool:
    return start.removeprefix(codecs.BOM_UTF8).lstrip().startswith((b"{", b"["))


def _kind_of_text(text: str) -> FileKind:
    body = text.removeprefix("\ufeff").strip()
    if body.startswith("<"):
        return _kind_of_markup(body)
    if body.startswith(("{", "[")):
        return FileKind("json", "text that begins like JSON")
    if body.startswith("model_checkpoint_path:"):
        return TF_CHECKPOINT
    if KERAS_YAML_START.match(body):
        return KERAS_YAML
    first, _, more = body.partition("\n")
    said = printable(first.strip(), 60)
    if not more and re.fullmatch(
        r"[45]\d\d:? [A-Za-z ]{4,40}|(entry |file |repository )?not found|"
        r"access denied.*|invalid (username|credentials).*|unauthorized.*",
        first.strip(),
        re.IGNORECASE,
    ):
        return FileKind(
            "failed_download",
            f"the text '{said}', with which a server refuses",
            "download the file again",
        )
    return FileKind("text", f"text that begins with '{said}'" if said else "blanks")


def _kind_of_markup(text: str) -> FileKind:
    """Return what text is that begins like XML or HTML."""
    body = re.sub(r"<\?.*?\?>|<!--.*?-->", "", text, flags=re.DOTALL).lstrip()
    if re.match(r"<!doctype html|<html", body, re.IGNORECASE):
        return FileKind("html", "an HTML page", _SAVED_PAGE)
    root = re.match(r"<([\w:.-]+)", body)
    if root is None:
        return FileKind("text", "text that begins like XML")
    if root[1] == "net":
        return OPENVINO
    if root[1] == "Error":
        return FileKind("html", "the error message of a file server", _SAVED_PAGE)
    return FileKind("xml", f"XML with the root element {printable(root[1], 40)}")


def _kind_of_json(content: bytes) -> FileKind:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return FileKind("json", "text that begins like JSON")
    keys = set(document) if isinstance(document, dict) else set()
    if keys & {"modelTopology", "weightsManifest"}:
        return FileKind("tfjs", "a TensorFlow.js model")
    if {"class_name", "config"} <= keys:
        return FileKind("keras_config", "the config of a Keras model as JSON")
    if {"cells", "nbformat"} <= keys:
        return FileKind("notebook", "a Jupyter notebook")
    return FileKind("json", "JSON")


def _kind_of_protobuf(path: Path, file: BinaryIO, size: int) -> FileKind:
    """Return what a protobuf message is, by the numbers of its fields."""
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
            return FileKind(
                "damaged",
                f"an ONNX file that ends early, after {size:,} bytes",
                "copy or download it again",
            )
        return ONNX
    if damaged:
        return UNKNOWN
    if found == {1: 0, 2: 2}:
        if path.name == "saved_model.pb":
            return FileKind("saved_model_inside", "the inside of a SavedModel")
        return FileKind("saved_model_inside", "a SavedModel without its folder")
    if found.get(1) == 0 and any(number >= 200 for number in numbers):
        return CORE_ML
    if found.get(1) == 2 and numbers <= {1, 2, 3, 4, 5}:
        return GRAPH_DEF
    return UNKNOWN


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
