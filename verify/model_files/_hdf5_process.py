"""Read an HDF5 file in a process of its own, because libhdf5 may hang or crash.

`verify.model_files.hdf5` runs this file as ``python _hdf5_process.py FILE SECONDS``, or
in a copy of its own process, and never imports it. The output is one line of JSON, with
the groups and their attributes and the arrays with their dtypes and shapes, followed by
the bytes of the arrays in the same order. Only NumPy and h5py are imported, nothing of
this project.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from typing import Any, BinaryIO

import h5py
import numpy as np

EXTRA_MEMORY_BYTES = 2**30
"""Bytes of address space that this process may use beyond what it has when it begins,
and three times the size of the file."""

MAX_OBJECTS = 200_000
"""Greatest number of groups and arrays in a file. A small file may list millions of
links; real models have at most thousands."""

SKIPPED_GROUPS = ("optimizer", "optimizer_weights")
"""Groups with the state of the training, which the forward pass does not need."""

SUPPORTED_DTYPES = (
    *("float64", "float32", "float16", "bfloat16"),
    *("int8", "int32", "int64", "uint8"),
)


def address_space() -> int:
    """Return the bytes of address space that this process has; 0 if unknown."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # not a Linux
        return 0


def limit_resources(seconds: float, file_size: int) -> None:
    """Have the system end this process if it takes too much time or memory.

    Where the system has no such limits, the timeout of the parent still holds.

    Parameters
    ----------
    seconds : float
        CPU time.
    file_size : int
        Bytes of the file that is going to be read.
    """
    try:
        import resource
    except ImportError:  # not a Unix
        return
    memory = address_space() + EXTRA_MEMORY_BYTES + 3 * file_size
    whole = max(1, round(seconds))
    limits = (
        (resource.RLIMIT_AS, (memory, memory)),
        # SIGXCPU at the first limit, which the parent recognises, SIGKILL at the second
        (resource.RLIMIT_CPU, (whole, whole + 1)),
        (resource.RLIMIT_CORE, (0, 0)),  # no core dump after a crash
    )
    for kind, limit in limits:  # a system that refuses one may grant the others
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, limit)


def attribute_as_json(value: Any) -> Any:
    """Return a text, or a list for an array; None in place of what is not text."""
    if isinstance(value, np.ndarray):
        return [attribute_as_json(item) for item in value.ravel()]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None


def text_attributes(item: Any) -> dict[str, Any]:
    """Return the attributes of a group that are text or lists of text."""
    return {
        name: found
        for name in item.attrs
        if isinstance(name, str)
        and (found := attribute_as_json(item.attrs[name])) is not None
    }


def describe_dataset(data: Any, filename: str) -> dict[str, Any]:
    """Return the dtype and shape of an array, or the reason for not reading it."""
    # virtual arrays, external storage and external links would read other files
    if data.is_virtual or data.external or data.file.filename != filename:
        return {"refused": "lies outside the file"}
    # Keras writes arrays uncompressed, and zlib expands a byte to about 1,000 at most.
    # An array that claims more would fill the memory from a tiny file.
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
    """List the groups and arrays of a file.

    Returns
    -------
    found : dict
        Path -> the attributes of a group, or what `describe_dataset` says.
    to_read : list of h5py.Dataset
        The arrays that are not refused, in the order of `found`.

    Raises
    ------
    ValueError
        There are too many groups and arrays, or a group contains itself by a link.
    """
    found: dict[str, Any] = {"": {"attrs": text_attributes(file)}}
    to_read = []
    groups: list[tuple[str, tuple[Any, ...]]] = [("", (file["/"],))]
    while groups:
        path, around = groups.pop()
        group = around[-1]
        for key in group:
            name = f"{path}/{key}" if path else str(key)
            if name in SKIPPED_GROUPS:
                continue
            item = group.get(key)
            if isinstance(item, h5py.Group):
                found[name] = {"attrs": text_attributes(item)}
                groups.append((name, (*around, item)))
            elif isinstance(item, h5py.Dataset):
                found[name] = describe_dataset(item, file.filename)
                if "refused" not in found[name]:
                    to_read.append(item)
            if len(found) > MAX_OBJECTS or item in around:
                raise ValueError(
                    f"more than {MAX_OBJECTS:,} groups and arrays, or a circle"
                )
    return found, to_read


def main(path: str, seconds: str, output: BinaryIO) -> None:
    """Read a file and write its contents to `output`."""
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
    gc.freeze()  # or Python looks for garbage when it ends: 15 ms
