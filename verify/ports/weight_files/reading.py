"""Read files of weights: ``.safetensors``, ``.npz``, and those of TensorFlow.js.

None of them can hold code. Sizes are checked before anything of that size is read.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from verify.data.file_kinds import file_kind
from verify.errors import ModelFileError, UnsupportedError, install_hint, printable
from verify.model.arrays import Array
from verify.model.dtypes import is_float

MAX_BYTES = 2 * 2**30
"""Bytes of all arrays of a file together, at most."""

MAX_ARRAYS = 20_000
MAX_JSON_BYTES = 64 * 2**20
"""Bytes of the model.json of TensorFlow.js, at most."""

REMEDY = "instead save the weights as .safetensors, or with numpy.savez as .npz"
_NOT_READ = (
    "it is not read. Instead save the weights with "
    "safetensors.torch.save_file(model.state_dict(), ...), or with numpy.savez"
)
_AS_EXPORTED = "leave --as out, and it is run and compared"

REMEDIES: Mapping[str, str] = {
    "torch_pickle": _NOT_READ,
    "pickle": _NOT_READ,
    "hdf5": f"give weights of Keras as the model; of another framework {REMEDY}",
    "keras": f"of another framework {REMEDY}",
    **dict.fromkeys(
        ("onnx", "litert", "openvino", "saved_model", "torch_export"), _AS_EXPORTED
    ),
}
"""What to do with a file of another kind."""


def read_weight_file(path: str | Path) -> dict[str, Array]:
    """Return the arrays of a file of weights by their names, in its order.

    Parameters
    ----------
    path : path
        A ``.safetensors`` or ``.npz`` file; or the ``model.json`` of a TensorFlow.js
        layers model beside its shards, or their folder. What it is, its content says.

    Raises
    ------
    ModelFileError
        The file is absent, damaged, too large or of another kind, a pickle among them.
    UnsupportedError
        The library that reads the file is not installed.
    """
    where = Path(path)
    try:
        kind = file_kind(where)
        size = where.stat().st_size
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}") from None
    if kind.key == "tfjs":
        return _tfjs(where / "model.json" if where.is_dir() else where)
    if kind.key == "safetensors":
        _require_size(path, size, "the file has")
        return _safetensors(where)
    if kind.key == "npz":
        _require_size(path, size, "the file has")
        return _npz(where)
    if kind.key == "damaged":
        raise ModelFileError(f"{path} is damaged ({kind.name}); {kind.remedy}")
    remedy = kind.remedy or REMEDIES.get(kind.key, REMEDY)
    raise ModelFileError(
        f"{path}: expected weights as .safetensors, .npz or a model.json of "
        f"TensorFlow.js. Received: {kind.name}; {remedy}"
    )


def _require_size(path: object, size: int, what: str) -> None:
    if size > MAX_BYTES:
        raise ModelFileError(
            f"{path}: {what} {size / 2**30:,.1f} GiB of weights, and at most "
            f"{MAX_BYTES / 2**30:.0f} GiB are read"
        )


def _require_number(path: object, name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf" and not is_float(np.empty(0, dtype)):
        raise ModelFileError(
            f"{path}: expected arrays of numbers. Received: "
            f"'{printable(name, 80)}' with dtype={dtype}"
        )


def _require_count(path: object, count: int) -> None:
    if count > MAX_ARRAYS:
        raise ModelFileError(
            f"{path} holds {count:,} arrays, and at most {MAX_ARRAYS:,} are read"
        )


def _safetensors(path: Path) -> dict[str, Array]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UnsupportedError(
            f"{path}: the package safetensors reads this file and is not installed. "
            f"{install_hint('safetensors')}"
        ) from None
    try:
        with safe_open(str(path), framework="numpy") as file:
            names = list(file.keys())
            _require_count(path, len(names))
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise ModelFileError(
            f"{path} is damaged, or no safetensors file ({printable(error)})"
        ) from None


def _npz(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _require_npz(path, members)
            _require_size(path, sum(m.file_size for m in members), "it unpacks to")
            return {
                m.filename.removesuffix(".npy"): _member(path, archive, m)
                for m in members
            }
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile) as error:  # fmt: skip
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} is damaged ({printable(error)})") from None


def _require_npz(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [m.filename for m in members]
    _require_count(path, len(names))
    if len(set(names)) < len(names):
        raise ModelFileError(f"{path} is damaged (a name stands in it twice)")


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version} of the format is not known")
        first = version == (1, 0)
        read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ModelFileError(
                f"{path}: '{printable(name, 80)}' holds Python objects, a pickle, "
                f"which can execute code and is not read; {REMEDY}"
            )
        _require_number(path, name, dtype)
        declared = dtype.itemsize * math.prod(shape)
        if min(shape, default=0) < 0 or declared > info.file_size - file.tell():
            raise ValueError(f"'{printable(name, 80)}' declares more than it holds")
        flat = _numbers(file, dtype, math.prod(shape))
        return flat.reshape(shape, order="F" if fortran else "C")


def _numbers(file: IO[bytes], dtype: np.dtype[Any], count: int) -> Array:
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise ValueError("it ends early")
    return np.frombuffer(content, dtype, count)


TFJS_DTYPES: Mapping[str, str] = {
    "float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "|u1",
    "uint16": "<u2", "bool": "|b1",
}  # fmt: skip


def _tfjs(path: Path) -> dict[str, Array]:
    """Read the weights of a layers model of TensorFlow.js.

    Source: tfjs-core/src/io/types.ts, ``WeightsManifestConfig``.
    """
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ModelFileError(
            f"{path}: expected at most {MAX_JSON_BYTES / 2**20:.0f} MiB of JSON. "
            f"Received: {size / 2**20:,.0f} MiB"
        )
    try:
        document = json.loads(path.read_bytes())
        manifest = document["weightsManifest"]
        groups = [(list(g["paths"]), list(g["weights"])) for g in manifest]
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        raise ModelFileError(
            f"{path}: expected a model.json of TensorFlow.js, with weightsManifest"
        ) from None
    found: dict[str, Array] = {}
    total = 0
    for paths, entries in groups:
        shards = [_shard(path, name) for name in paths]
        total += sum(shard.stat().st_size for shard in shards)
        _require_size(path, total, "its shards have")
        content = b"".join(shard.read_bytes() for shard in shards)
        try:
            found |= dict(_tfjs_arrays(path, content, entries))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(
                f"{path}: an entry of weightsManifest cannot be read "
                f"({type(error).__name__}: {printable(error, 80)})"
            ) from None
    return found


def _shard(path: Path, name: Any) -> Path:
    """Return the path of a shard; raise ModelFileError if it is not in the folder."""
    folder = path.parent.resolve()
    shard = (folder / str(name)).resolve()
    if not shard.is_relative_to(folder):
        raise ModelFileError(
            f"{path}: expected shards in its own folder. Received: "
            f"'{printable(name, 80)}'"
        )
    if not shard.is_file():
        raise ModelFileError(f"{path}: its shard '{printable(name, 80)}' is absent")
    return shard


def _tfjs_arrays(
    path: Path, content: bytes, entries: list[Any]
) -> Iterator[tuple[str, Array]]:
    at = 0
    for entry in entries:
        name, shape = str(entry["name"]), [int(n) for n in entry["shape"]]
        quantised = entry.get("quantization") or {}
        stored = quantised.get("dtype", entry["dtype"])
        if stored not in TFJS_DTYPES:
            raise ModelFileError(
                f"{path}: dtype {printable(stored, 40)} of '{printable(name, 80)}' is "
                f"not supported; expected one of {', '.join(TFJS_DTYPES)}"
            )
        dtype = np.dtype(TFJS_DTYPES[stored])
        count = math.prod(shape)
        end = at + count * dtype.itemsize
        if min(shape, default=0) < 0 or end > len(content):
            raise ModelFileError(
                f"{path}: its shards end early: '{printable(name, 80)}' "
                f"{tuple(shape)} goes to byte {end:,} of {len(content):,}"
            )
        value = np.frombuffer(content, dtype, count, at).reshape(shape)
        if "scale" in quantised:
            value = value.astype(np.float32) * np.float32(quantised["scale"])
            value = value + np.float32(quantised["min"])
        elif quantised:
            value = value.astype(np.float32)
        at = end
        yield name, value
    if at != len(content):
        raise ModelFileError(
            f"{path}: its shards hold {len(content):,} bytes, and weightsManifest "
            f"speaks of {at:,}"
        )
