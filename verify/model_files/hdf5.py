"""Read the attributes and arrays of an HDF5 file, without trusting the file.

Keras writes weights in two layouts. The paths in a ``.weights.h5`` file, which a
``.keras`` archive contains too, follow the attributes of the layers:
``layers/lstm_1/cell/vars/0``, where ``lstm_1`` is the second LSTM of the model,
whatever its name. A legacy ``.h5`` file has one group for each layer, under the name of
the layer, and its attribute ``weight_names`` lists the arrays.

Sources: keras/src/saving/saving_lib.py, keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from verify.console.own_process import may_fork
from verify.errors import ModelFileError, WriteError, printable
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
COUNTED_TWICE = "_layer_checkpoint_dependencies"
LAYER_CONTAINERS = ("layers", COUNTED_TWICE)
"""Names of the group with the layers of a model; Keras 2.12 to 2.14 used the second. In
it Keras 2.12 and 2.13 count a layer with weights twice, so that two Dense layers are
``dense`` and ``dense_2``."""

RESERVED_GROUPS = (*LAYER_CONTAINERS, "vars", "optimizer")
"""Groups of every model, which are those of no layer even if one has such a name."""

READER_SCRIPT = Path(__file__).with_name("_hdf5_process.py")

MIN_READ_SECONDS, READ_BYTES_PER_SECOND = 10.0, 20e6
"""CPU time that reading a file may take: this many seconds, and one more for this many
bytes. That is generous, because only an endless loop must be stopped."""

WAIT_FACTOR = 12
"""How many times as long is waited for that CPU time, where other work has the CPUs."""

PIPE_BYTES = 2**20
"""Most bytes that are read from a pipe at once."""

CPU_LIMIT_STATUS = -24
"""Exit status of a process that the system ended with SIGXCPU, signal 24, because its
CPU time was used up."""


@dataclass(frozen=True)
class Hdf5Contents:
    """Hold the contents of an HDF5 file.

    Attributes
    ----------
    attributes : mapping
        Path of a group, empty for the file itself -> its attributes, as far as they are
        texts or lists of texts.
    arrays : mapping
        Path of an array -> the array, or a str with the reason for not reading it.
    shown : str
        Name of the file in messages.
    """

    attributes: Mapping[str, Mapping[str, Any]]
    arrays: Mapping[str, Array | str]
    shown: str

    def array(self, path: str) -> Array:
        """Return the array at a path.

        Raises
        ------
        ModelFileError
            There is no array at that path, or it was refused.
        """
        found = self.arrays.get(path, "expected an array there")
        if isinstance(found, str):
            colon = ":" if found.startswith("expected") else ""
            raise ModelFileError(f"{self.shown}: {printable(path)}{colon} {found}")
        return found

    def names(self, path: str, attribute: str) -> list[str]:
        """Return the list of names in an attribute.

        Keras splits a list that is too long for one attribute into several, whose names
        end in 0, 1, 2 and so on.
        """
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
    """Read an HDF5 file, given its path or its bytes.

    Raises
    ------
    ModelFileError
        The file is damaged, or reading it takes too much time or memory.
    WriteError
        There is no room for a temporary copy.
    """
    if isinstance(source, Path):
        return _parse_stream(_run_reader(source, shown), shown)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.h5"
        try:
            path.write_bytes(source)
        except OSError as error:
            raise WriteError(
                f"{shown}: no copy of it can be written to {printable(folder)} "
                f"({error.strerror}). Make room, or name another folder in TMPDIR"
            ) from None
        return _parse_stream(_run_reader(path, shown), shown)


def _run_reader(path: Path, shown: str) -> bytes:
    """Return the output of the reader, which runs in a process of its own.

    The HDF5 library is written in C and trusts the sizes and addresses in a file. On a
    damaged file it may loop for ever, ask for any amount of memory, or crash. Python
    can neither catch a crash of its own process nor stop a loop in C or limit its
    memory, so the file is read by another process, with limits.

    Raises
    ------
    ModelFileError
        The reader ended without a result.
    """
    seconds = MIN_READ_SECONDS + path.stat().st_size / READ_BYTES_PER_SECOND
    arguments = [str(READER_SCRIPT), os.fspath(path), f"{seconds}"]
    reader = _copied_process if may_fork() else _new_process
    status, output, messages = reader(arguments, WAIT_FACTOR * seconds)
    if status is None:
        raise ModelFileError(
            f"{shown} is not read after {WAIT_FACTOR * seconds:.0f} seconds: either it "
            "is damaged, or other programs leave no time to read it; try once more"
        )
    if status == CPU_LIMIT_STATUS:
        reason = f"the HDF5 library has not read it after {seconds:.0f} seconds"
    elif status < 0:
        reason = f"the HDF5 library crashes on it, signal {-status}"
    elif status or not output:
        last = messages.decode(errors="replace").strip().splitlines()[-1:]
        reason = last[0] if last else "nothing came of reading it"
    else:
        return output
    raise ModelFileError(f"{shown} is damaged ({reason})")


_Ended = tuple[int | None, bytes, bytes]
"""How a process ended: its exit status, negative for a signal and None where it was
given up, with what it wrote to stdout and to stderr."""


def _new_process(arguments: Sequence[str], timeout: float) -> _Ended:
    """Run a script of Python in a new process."""
    # -P keeps the folder of the script off the import path
    command = [sys.executable, "-P", *arguments]
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=one_thread,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return None, b"", b""
    return run.returncode, run.stdout, run.stderr


def _copied_process(arguments: Sequence[str], timeout: float) -> _Ended:
    """Run a script of Python in a copy of this process, which has NumPy already."""
    with tempfile.TemporaryFile() as messages:
        receives, sends = os.pipe()
        with warnings.catch_warnings():  # of threads, from Python 3.12 on
            warnings.simplefilter("ignore", DeprecationWarning)
            copy = os.fork()
        if not copy:
            _run_script(arguments, sends, messages.fileno())
        os.close(sends)
        output, ended = [], False
        try:
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0 and not ended:
                if select.select([receives], [], [], left)[0]:
                    output.append(os.read(receives, PIPE_BYTES))
                    ended = not output[-1]
        finally:
            os.close(receives)
            if not ended:
                os.kill(copy, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
        messages.seek(0)
        return status if ended else None, b"".join(output), messages.read()


def _run_script(arguments: Sequence[str], stdout: int, stderr: int) -> NoReturn:
    """Run a script as Python would run it, and end this process."""
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _parse_stream(stream: bytes, shown: str) -> Hdf5Contents:
    """Parse the output of `verify.model_files._hdf5_process`."""
    end = stream.index(b"\n")
    found = json.loads(stream[:end])
    if "damaged" in found:
        raise ModelFileError(f"{shown} is damaged ({found['damaged']})")
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
    """Return the name of a weight group: ``SimpleRNN`` -> ``simple_rnn``."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


class SavedWeights:
    """Find the arrays of one layer in a ``.weights.h5`` file.

    This is a `verify.model_files.config.WeightSource`.

    Parameters
    ----------
    contents : Hdf5Contents
    place : str
        Path of the layer's group; empty for the model.
    assets : mapping, optional
        The lines of vocabularies, by the paths of the layers.
    """

    def __init__(
        self,
        contents: Hdf5Contents,
        place: str = "",
        assets: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.contents = contents
        self.place = place
        self.assets = assets

    def own(self, group: str) -> list[Array]:
        """Return the arrays under ``vars``, in the order of their numbers."""
        known = (g for g in self.groups(group) if g in self.contents.attributes)
        found = next(known, None)
        if found is None:
            return []
        front = f"{found}/"
        known = (x for x in self.contents.arrays if x.startswith(front))
        names = (x.removeprefix(front) for x in known)
        count = sum(name.isdecimal() for name in names)
        return [self.contents.array(f"{found}/{k}") for k in range(count)]

    def vocabulary(self) -> tuple[Sequence[str] | None, Array | None]:
        """Return what the assets hold for a layer, and its ``idf_weights``."""
        path = _join_path(self.place, "vars", "idf_weights")
        idf = self.contents.array(path) if path in self.contents.arrays else None
        return self.assets.get(self.place), idf

    def everything(self) -> dict[str, Array]:
        """Return all arrays under the group of the layer, by their paths there."""
        begin = f"{self.place}/" if self.place else ""
        return {
            path.removeprefix(begin): array
            for path, array in self.contents.arrays.items()
            if path.startswith(begin) and not isinstance(array, str)
        }

    def groups(self, group: str) -> list[str]:
        """Return where the arrays under ``vars`` may be, the usual place first."""
        found = [_join_path(self.place, group, "vars")]
        if group:  # Keras 2 keeps the underscore of a private attribute
            found.append(_join_path(self.place, f"_{group}", "vars"))
        return found

    def inside(
        self, container: str, key: str, class_name: str, number: int
    ) -> SavedWeights:
        """Find a layer by its attribute, or by class and number in a list of layers."""
        if container:
            if container == "layers":
                names = (
                    c
                    for c in LAYER_CONTAINERS
                    if _join_path(self.place, c) in self.contents.attributes
                )
                container = next(names, container)
            own = _join_path(self.place, key)
            if own in self.contents.attributes and key not in RESERVED_GROUPS:
                container = ""  # a model of a class of its own: groups are attributes
            else:
                key = self._numbered(container, snake_case(class_name), number)
        place = _join_path(self.place, container, key)
        return SavedWeights(self.contents, place, self.assets)

    def _numbered(self, container: str, base: str, number: int) -> str:
        """Return the name of a group: that of layer `number` of its class, from 0."""
        most = 2 * number if container == COUNTED_TWICE else number
        names = [f"{base}_{k}" if k else base for k in range(most + 1)]
        if container == COUNTED_TWICE:
            known = [
                name
                for name in names
                if _join_path(self.place, container, name) in self.contents.attributes
            ]
            if len(known) > number:
                return known[number]
        return names[number]


def with_slashes(contents: Hdf5Contents) -> Hdf5Contents:
    r"""Return the contents of a ``.weights.h5`` file with ``/`` between groups.

    Keras 2.12 to 2.15 on Windows joined the names of groups as it did those of folders,
    so that a file has one group ``layers\lstm\cell``, which Keras itself finds on
    Windows alone.
    """
    if not any(
        path.startswith(f"{container}\\")
        for path in contents.attributes
        for container in LAYER_CONTAINERS
    ):
        return contents
    attributes: dict[str, Mapping[str, Any]] = {}
    for path, values in contents.attributes.items():
        parts = path.replace("\\", "/").split("/")
        for k in range(1, len(parts)):
            attributes.setdefault("/".join(parts[:k]), {})
        attributes["/".join(parts)] = values
    arrays = {path.replace("\\", "/"): value for path, value in contents.arrays.items()}
    return Hdf5Contents(attributes, arrays, contents.shown)


def unclaimed_weights(
    contents: Hdf5Contents, claimed: Collection[str]
) -> dict[str, list[Array]]:
    """Return the arrays of layers in a file that no layer of a config reads, by group.

    The states of optimizers, metrics and random generators are left out.

    Parameters
    ----------
    contents : Hdf5Contents
    claimed : collection of str
        The groups that are read; see `SavedWeights.groups`.
    """
    found: dict[str, list[Array]] = {}
    for path, array in contents.arrays.items():
        group = path.rpartition("/")[0]
        of_a_layer = group.startswith(LAYER_CONTAINERS) and "/seed_gen" not in group
        if of_a_layer and group not in claimed and not isinstance(array, str):
            found.setdefault(group, []).append(array)
    return found


def _join_path(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def legacy_arrays(contents: Hdf5Contents) -> dict[str, list[Array]]:
    """Return the arrays of each layer in a legacy file, in the order of the file.

    Raises
    ------
    ModelFileError
        A group, a list of names or an array is missing.
    """
    return {
        name: [contents.array(_join_path(place, weight)) for weight in weights]
        for name, place, weights in _legacy_groups(contents)
    }


def legacy_names(contents: Hdf5Contents) -> dict[str, list[str]]:
    """Return the names of the arrays of each layer, likewise."""
    return {name: list(weights) for name, _, weights in _legacy_groups(contents)}


def _legacy_groups(
    contents: Hdf5Contents,
) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield the name of each layer, its group, and the names of its arrays."""
    base = "model_weights" if "model_weights" in contents.attributes else ""
    if "model_weights" in contents.arrays:
        raise ModelFileError(f"{contents.shown}: 'model_weights' is not a group")
    for name in contents.names(base, "layer_names"):
        place = _join_path(base, name)
        if place not in contents.attributes:
            raise ModelFileError(
                f"{contents.shown}: there is no group for layer '{name}'"
            )
        yield name, place, contents.names(place, "weight_names")
