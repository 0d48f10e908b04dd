"""A ``.keras`` file -> ModelSpec, with zipfile, json and h5py alone.

Keras is not imported and nothing from the file is executed. A ``.keras`` file is a zip
archive of ``metadata.json``, ``config.json`` and ``model.weights.h5``; inside the last,
weights lie under the class of their layer, numbered in the order of the model:
``layers/lstm/cell/vars/0``, ``layers/lstm_1/cell/vars/0``, ``layers/dense/vars/0``.

Source: keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.reader import SequentialConfig, assemble, read_config
from verify.spec import Array, ModelFileError, ModelSpec, UnsupportedError, named, plain

if TYPE_CHECKING:
    import h5py

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_CONFIG_BYTES = 64 * 2**20
MAX_WEIGHT_BYTES = 8 * 2**30
MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


def read_model(path: str | os.PathLike[str]) -> ModelSpec:
    """Read a ``.keras`` file.

    Raises
    ------
    ModelFileError
        The file is missing, truncated, not a Keras file, or contradicts itself.
    UnsupportedError
        It holds a model, a layer or an option that is refused by name.
    """
    path = Path(path)
    shown = plain(path)
    _require_archive(path, shown)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: _member(archive, name, shown) for name in MEMBERS}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise ModelFileError(
            f"{shown}: expected a .keras file. Received: a damaged archive "
            f"({plain(error)})"
        ) from None
    with named(path):
        return _read_members(members, path, shown)


def _read_members(members: dict[str, bytes], path: Path, shown: str) -> ModelSpec:
    metadata = _json(members["metadata.json"], f"{shown}: metadata.json")
    config = read_config(_json(members["config.json"], f"{shown}: config.json"))
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return assemble(
        config,
        _weights(members["model.weights.h5"], config, shown),
        source=str(path),
        keras_version=plain(version or "unknown", 20),
    )


def _require_archive(path: Path, shown: str) -> None:
    """Look at the first bytes, and name what the file is instead of an archive."""
    try:
        with path.open("rb") as file:
            head = file.read(len(HDF5_MAGIC))
    except FileNotFoundError:
        raise ModelFileError(f"{shown}: expected a .keras file. No such file") from None
    except IsADirectoryError:
        inside = path / "model.keras"
        hint = f"; try {plain(inside)}" if inside.exists() else ""
        raise ModelFileError(
            f"{shown}: expected a .keras file. Received: a folder{hint}"
        ) from None
    except OSError as error:
        raise ModelFileError(f"{shown}: cannot be read ({error.strerror})") from None
    if head == HDF5_MAGIC:
        raise UnsupportedError(
            f"{shown}: expected a .keras file. Received: HDF5 (legacy .h5 or weights "
            "only), which is not supported; load it in Keras and "
            "model.save('model.keras')"
        )
    if not head.startswith(b"PK\x03\x04"):
        found = "an empty file" if not head else f"a file that begins with {head!r}"
        raise ModelFileError(f"{shown}: expected a .keras file. Received: {found}")


def _member(archive: zipfile.ZipFile, name: str, shown: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ModelFileError(
            f"{shown}: expected a .keras file. Received: an archive without {name}"
        ) from None
    limit = MAX_WEIGHT_BYTES if name.endswith(".h5") else MAX_CONFIG_BYTES
    if info.file_size > limit:
        raise ModelFileError(
            f"{shown}: {name} claims {info.file_size:,} bytes; {limit:,} are supported"
        )
    try:
        return archive.read(info)
    except Exception as error:  # zlib.error and friends: whatever a damaged member does
        raise ModelFileError(f"{shown}: {name} is damaged ({plain(error)})") from None


def _json(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{where} is not JSON ({plain(error)})") from None


def snake_case(class_name: str) -> str:
    """``SimpleRNN`` -> ``simple_rnn``: how Keras names a layer's weight group."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


def _weights(raw: bytes, config: SequentialConfig, shown: str) -> list[list[Array]]:
    import h5py  # here: importing it takes longer than everything else in verify

    try:
        with h5py.File(io.BytesIO(raw), "r") as file:
            seen: Counter[str] = Counter()
            weights = []
            for entry in config.entries:
                base = snake_case(entry.class_name)
                group = f"layers/{base}" + (f"_{seen[base]}" if seen[base] else "")
                seen[base] += 1
                weights.append(_layer_weights(file, group, shown))
            return weights
    except ModelFileError:
        raise
    except Exception as error:  # h5py reports damage as OSError, KeyError, RuntimeError
        raise ModelFileError(
            f"{shown}: model.weights.h5 is damaged ({plain(error)})"
        ) from None


def _layer_weights(file: h5py.File, group: str, shown: str) -> list[Array]:
    """The arrays of one layer; a recurrent layer keeps its own in its cell."""
    import h5py

    arrays: list[Array] = []
    for place in (f"{group}/vars", f"{group}/cell/vars"):
        variables = file.get(place)
        if not isinstance(variables, h5py.Group):
            continue
        for k in range(len(variables)):
            data = variables.get(str(k))
            if not isinstance(data, h5py.Dataset):
                raise ModelFileError(f"{shown}: expected an array at {place}/{k}")
            if data.is_virtual or data.external:
                raise ModelFileError(f"{shown}: {place}/{k} lies outside the file")
            # Keras writes arrays uncompressed; zlib at its best packs 1,000 to 1.
            if data.nbytes > 1000 * data.id.get_storage_size() + 4096:
                raise ModelFileError(
                    f"{shown}: {place}/{k} claims {data.nbytes:,} bytes that the file "
                    "does not hold"
                )
            if data.dtype not in (np.dtype("float32"), np.dtype("float64")):
                raise ModelFileError(
                    f"{shown}: {place}/{k}: expected float32 or float64. "
                    f"Received: {data.dtype}"
                )
            arrays.append(np.asarray(data[()]))
    return arrays
