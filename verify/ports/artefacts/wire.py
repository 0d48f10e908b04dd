"""Send messages with arrays between two processes, without pickle.

A message is a header in JSON and the bytes of its arrays. A process that reads a file
of somebody else is not trusted either: nothing is executed in reading its answers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from verify.errors import DataError
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of

LENGTH = struct.Struct("<Q")
"""Number of bytes of the header, in front of it."""

MAX_HEADER_BYTES = 2**28
MAX_ARRAY_BYTES = 2**33
"""Greatest size of one array in a message."""

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"),
    *("uint64", "float16", "float32", "float64", "bfloat16", "complex64"),
)
"""Dtypes of arrays in a message."""


class WireError(Exception):
    """Report a message that is not one."""


class StreamEnded(WireError):
    """Report that the stream ends within a message, or in place of one."""


def send(
    stream: BinaryIO, header: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Write a message to a stream and flush it.

    Raises
    ------
    DataError
        An array has a dtype that messages cannot hold; nothing is written.
    """
    listed, parts = [], []
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.name not in DTYPES:
            raise DataError(f"{name}: expected numbers. Received: dtype {array.dtype}")
        # ascontiguousarray would give a scalar an axis
        array = np.ascontiguousarray(array).reshape(array.shape)
        listed.append([name, array.dtype.name, list(array.shape)])
        parts.append(array)
    text = json.dumps({"header": dict(header), "arrays": listed}).encode()
    stream.write(LENGTH.pack(len(text)) + text)
    for array in parts:
        if array.size:  # bfloat16 has no buffer of its own type
            stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a message from a stream.

    Returns
    -------
    header : dict
    arrays : dict of str to array
        They may be written to.

    Raises
    ------
    StreamEnded
        It ends early.
    WireError
        It does not hold a message.
    """
    (size,) = LENGTH.unpack(_exactly(stream, LENGTH.size))
    if size > MAX_HEADER_BYTES:
        raise WireError("expected a message")
    try:
        message = json.loads(bytes(_exactly(stream, size)))
        header, arrays = message["header"], {}
        for name, dtype, shape in message["arrays"]:
            if dtype not in DTYPES or not all(int(axis) >= 0 for axis in shape):
                raise WireError(f"expected an array. Received: {dtype} {shape}")
            count = 1
            for axis in shape:
                count *= int(axis)
            kind = dtype_of(dtype)
            if count * kind.itemsize > MAX_ARRAY_BYTES:
                raise WireError(f"{name!r} has {count * kind.itemsize:,} bytes")
            data = _exactly(stream, count * kind.itemsize)
            arrays[str(name)] = np.frombuffer(data, kind, count).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"expected a message ({error})") from None
    if not isinstance(header, dict):
        raise WireError("expected a message with a header")
    return header, arrays


def _exactly(stream: BinaryIO, count: int) -> bytearray:
    """Read that many bytes."""
    found, at = bytearray(count), 0
    view = memoryview(found)
    while at < count:
        read = stream.readinto(view[at:])  # type: ignore[attr-defined]
        if not read:
            raise StreamEnded("the stream has ended")
        at += read
    return found
