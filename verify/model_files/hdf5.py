"""Arrays out of HDF5 files, by h5py, without trusting the file.

Keras writes weights in two ways. A ``.weights.h5`` file, which is also what a
``.keras`` archive holds, follows the attributes of the layers:
``layers/lstm_1/cell/vars/0``, where ``lstm_1`` is the second LSTM of the model,
whatever its name. A legacy ``.h5`` file has one group a layer, under the layer's name,
whose attribute ``weight_names`` lists its arrays.

The library behind h5py hangs or crashes on some damaged files, so `verify.model_files._hdf5_process` reads
them in a process of its own, with a limit on its time and memory.

Sources: keras/src/saving/saving_lib.py, keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import ModelFileError, printable
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
LAYER_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""What the group of a model's layers is called; the second by Keras 2.12 to 2.14."""

CPU_LIMIT_STATUS = -24
"""How a process ends that has used up its time: by signal XCPU."""

MIN_READ_SECONDS, READ_BYTES_PER_SECOND = 10.0, 20e6
"""Time that reading may take: so long, and a second more for so many bytes."""


@dataclass(frozen=True)
class Hdf5Contents:
    """What is in an HDF5 file.

    Attributes
    ----------
    attributes : mapping
        Path of a group, empty for the file -> its attributes that are text or lists
        of text.
    arrays : mapping
        Path of an array -> the array, or a str that says why it was not read.
    shown : str
        The file, for messages.
    """

    attributes: Mapping[str, Mapping[str, Any]]
    arrays: Mapping[str, Array | str]
    shown: str

    def array(self, path: str) -> Array:
        """One array.

        Raises
        ------
        ModelFileError
            There is none, or it was not read.
        """
        found = self.arrays.get(path, "expected an array there")
        if isinstance(found, str):
            colon = ":" if found.startswith("expected") else ""
            raise ModelFileError(f"{self.shown}: {printable(path)}{colon} {found}")
        return found

    def names(self, path: str, attribute: str) -> list[str]:
        """A list of names in an attribute, which Keras splits when it is long."""
        attributes = self.attributes.get(path, {})
        if attribute in attributes:
            values = attributes[attribute]
        else:
            values, k = [], 0
            while f"{attribute}{k}" in attributes:
                values += attributes[f"{attribute}{k}"]
                k += 1
            if not k:
                raise ModelFileError(
                    f"{self.shown}: /{printable(path)} has no '{attribute}'"
                )
        return [str(v) for v in values] if isinstance(values, list) else [str(values)]


def read_hdf5(source: Path | bytes, shown: str) -> Hdf5Contents:
    """An HDF5 file, from a path or from the bytes of one.

    Raises
    ------
    ModelFileError
        It is damaged, or cannot be read in bounded time and memory.
    """
    if isinstance(source, Path):
        return _parse_stream(_run_reader(source, shown), shown)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.h5"
        path.write_bytes(source)
        return _parse_stream(_run_reader(path, shown), shown)


def _run_reader(path: Path, shown: str) -> bytes:
    """What `verify.model_files._hdf5_process` writes about a file."""
    seconds = MIN_READ_SECONDS + path.stat().st_size / READ_BYTES_PER_SECOND
    script = Path(__file__).with_name("_hdf5_process.py")
    command = [sys.executable, "-P", str(script), os.fspath(path), f"{seconds}"]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=one_thread,
            timeout=2 * seconds,
        )
        status = run.returncode
    except subprocess.TimeoutExpired:
        status = CPU_LIMIT_STATUS
    if status == CPU_LIMIT_STATUS:
        reason = f"the HDF5 library has not read it after {seconds:.0f} seconds"
    elif status < 0:
        reason = f"the HDF5 library crashes on it, signal {-status}"
    elif status or not run.stdout:
        last = run.stderr.decode(errors="replace").strip().splitlines()[-1:]
        reason = printable(last[0]) if last else "nothing came of reading it"
    else:
        return run.stdout
    raise ModelFileError(f"{shown} is damaged ({reason})")


def _parse_stream(stream: bytes, shown: str) -> Hdf5Contents:
    end = stream.index(b"\n")
    found = json.loads(stream[:end])
    if "damaged" in found:
        raise ModelFileError(f"{shown} is damaged ({printable(found['damaged'])})")
    attributes, arrays, at = {}, {}, end + 1
    for path, item in found.items():
        if "attrs" in item:
            attributes[path] = item["attrs"]
        elif "refused" in item:
            arrays[path] = item["refused"]
        else:
            dtype, shape = dtype_of(item["dtype"]), tuple(item["shape"])
            count = int(np.prod(shape, dtype=np.int64))
            arrays[path] = np.frombuffer(stream, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
    return Hdf5Contents(attributes, arrays, shown)


def snake_case(class_name: str) -> str:
    """``SimpleRNN`` -> ``simple_rnn``: how Keras names a layer's weight group."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


class SavedWeights:
    """The arrays of one layer in a ``.weights.h5``; see `verify.model_files.config.WeightSource`."""

    def __init__(self, contents: Hdf5Contents, place: str = "") -> None:
        self.contents = contents
        self.place = place

    def own(self, group: str) -> list[Array]:
        """Those under ``vars``, by their numbers."""
        found = _join_path(self.place, group, "vars")
        if found not in self.contents.attributes and group:
            # Keras 2 kept the underscore of an attribute
            found = _join_path(self.place, f"_{group}", "vars")
        if found not in self.contents.attributes:
            return []
        count = sum(path.startswith(f"{found}/") for path in self.contents.arrays)
        return [self.contents.array(f"{found}/{k}") for k in range(count)]

    def inside(
        self, container: str, key: str, class_name: str, number: int
    ) -> SavedWeights:
        """By attribute, or by class and number in a list of layers."""
        if container:
            if container == "layers":
                names = (
                    c
                    for c in LAYER_CONTAINERS
                    if _join_path(self.place, c) in self.contents.attributes
                )
                container = next(names, container)
            key = snake_case(class_name) + (f"_{number}" if number else "")
        return SavedWeights(self.contents, _join_path(self.place, container, key))


def _join_path(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def legacy_arrays(contents: Hdf5Contents) -> dict[str, list[Array]]:
    """Layer name -> its arrays, in the order of ``weight_names``."""
    base = "model_weights" if "model_weights" in contents.attributes else ""
    if "model_weights" in contents.arrays:
        raise ModelFileError(f"{contents.shown}: 'model_weights' is not a group")
    found = {}
    for name in contents.names(base, "layer_names"):
        place = _join_path(base, name)
        if place not in contents.attributes:
            raise ModelFileError(
                f"{contents.shown}: there is no group for layer '{printable(name)}'"
            )
        found[name] = [
            contents.array(_join_path(place, weight))
            for weight in contents.names(place, "weight_names")
        ]
    return found
