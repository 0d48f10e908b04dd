"""Reads an HDF5 file in a process of its own, which a damaged file may hang or crash.

Run as ``python unpack.py FILE SECONDS`` by `verify.model_files.hdf5`, never imported. It writes one
line of JSON, the groups with their attributes and the arrays with their dtypes and
shapes, and then the numbers of the arrays, one after the other. It imports NumPy and
h5py and nothing of this project.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, BinaryIO

import h5py
import numpy as np

EXTRA_MEMORY_BYTES = 2**30
"""Bytes that the reading may take beyond three times those of the file."""

MAX_OBJECTS = 200_000
"""Groups and arrays in a file."""

SKIPPED_GROUPS = ("optimizer", "optimizer_weights")
"""What training left, beside the model."""

SUPPORTED_DTYPES = (
    *("float64", "float32", "float16", "bfloat16"),
    *("int8", "int32", "int64", "uint8"),
)


def limit_resources(seconds: float, size: int) -> None:
    """Let the system end this process when it takes too much, where it can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        memory = EXTRA_MEMORY_BYTES + 3 * size
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        whole = max(1, round(seconds))
        resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def attribute_as_json(value: Any) -> Any:
    """An attribute as JSON can hold it; None for what no model file has."""
    if isinstance(value, np.ndarray):
        return [attribute_as_json(item) for item in value.ravel()]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None


def text_attributes(item: Any) -> dict[str, Any]:
    """Those that are text, or lists of text."""
    return {
        name: found
        for name in item.attrs
        if isinstance(name, str)
        and (found := attribute_as_json(item.attrs[name])) is not None
    }


def describe_dataset(data: Any, own: str) -> dict[str, Any]:
    """Dtype and shape of an array, or why it is not to be read."""
    if data.is_virtual or data.external or data.file.filename != own:
        return {"refused": "lies outside the file"}
    # Keras writes arrays uncompressed; zlib at its best packs 1,000 to 1.
    if data.nbytes > 1000 * data.id.get_storage_size() + 4096:
        return {"refused": f"claims {data.nbytes:,} bytes that the file does not hold"}
    dtype = data.dtype.name
    if dtype == "void16" and attribute_as_json(data.attrs.get("dtype")) == "bfloat16":
        dtype = "bfloat16"
    if dtype not in SUPPORTED_DTYPES:
        wanted = ", ".join(SUPPORTED_DTYPES)
        return {"refused": f"expected numbers ({wanted}). Received: {data.dtype}"}
    return {"dtype": dtype, "shape": list(data.shape)}


def list_contents(file: Any) -> tuple[dict[str, Any], list[Any]]:
    """Everything in a file: the groups and arrays by their paths, and what to read."""
    found: dict[str, Any] = {"": {"attrs": text_attributes(file)}}
    to_read = []
    places = [("", file)]
    while places:
        path, group = places.pop()
        for key in group:
            name = f"{path}/{key}" if path else str(key)
            if name in SKIPPED_GROUPS:
                continue
            item = group.get(key)
            if isinstance(item, h5py.Group):
                found[name] = {"attrs": text_attributes(item)}
                places.append((name, item))
            elif isinstance(item, h5py.Dataset):
                found[name] = describe_dataset(item, file.filename)
                if "refused" not in found[name]:
                    to_read.append(item)
            if len(found) > MAX_OBJECTS or len(name) > 10_000:
                raise ValueError(
                    f"more than {MAX_OBJECTS:,} groups and arrays, or a circle"
                )
    return found, to_read


def main(path: str, seconds: str, output: BinaryIO) -> None:
    """Read a file and write what is in it."""
    import os

    limit_resources(float(seconds), os.path.getsize(path))
    try:
        with h5py.File(path, "r") as file:
            found, to_read = list_contents(file)
            arrays = [np.ascontiguousarray(data[()]) for data in to_read]
    except Exception as error:  # h5py reports damage as OSError, KeyError, RuntimeError
        found, arrays = {"damaged": str(error) or type(error).__name__}, []
    output.write(json.dumps(found).encode() + b"\n")
    for array in arrays:
        output.write(array.data if array.size else b"")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.stdout.buffer)
