"""Open an exported file in a process of its own, and run it there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

import verify
from verify.errors import (
    DataError,
    ModelFileError,
    UnsupportedError,
    VerifyError,
    printable,
)
from verify.model.arrays import Array
from verify.ports.artefacts import kinds, wire
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.signature import Signature, TensorInfo

CHILD = ("-P", "-m", "verify.ports.artefacts.process")
"""Arguments of Python for the process of a file; ``-P`` keeps the current folder off
its import path."""

FRAMEWORKS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnxruntime",),
    "litert": ("litert",),
    "openvino": ("openvino",),
    "saved_model": ("tensorflow",),
    "torch_export": ("torch",),
}
"""Kind of a file -> what can run it, the usual one first."""

THREAD_BYTES = 2**25
"""Address space for the stacks of the threads that a runtime starts for each core,
though it computes on one."""

CPU_LIMIT_SIGNAL = 24
"""SIGXCPU, with which the system ends a process whose CPU time is used up."""

ERRORS: Mapping[str, type[VerifyError]] = {
    error.__name__: error
    for error in (
        *(VerifyError, UnsupportedError, ModelFileError, DataError),
        RuntimeRefused,
    )
}
"""Errors that the process of a file sends, by name."""

ENVIRONMENT = {
    # a single thread adds in one order, and the limit of CPU time is one of time
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    # glibc would reserve 64 MB of address space for each thread
    "MALLOC_ARENA_MAX": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""Settings of the process of a file, in addition to those of this one."""


@dataclass(frozen=True)
class Limits:
    """Hold what the process of a file may use.

    Attributes
    ----------
    open_seconds : float
        CPU time for importing the runtime and loading the file; waiting may take twice
        as long.
    request_seconds : float
        The same for each request, such as a run.
    memory_bytes : int
        Address space beyond five times the size of the file and what threads need;
        runtimes reserve more of it than they use, TensorFlow 2.5 GB.
    """

    open_seconds: float = 120.0
    request_seconds: float = 300.0
    memory_bytes: int = 8 * 2**30


def open_session(
    path: str | os.PathLike[str],
    *,
    framework: str | None = None,
    precision_hint: str | None = "float32",
    limits: Limits | None = None,
) -> Session:
    """Open an exported file in a process of its own.

    Parameters
    ----------
    path : str or path
        An ``.onnx``, a ``.tflite``, an OpenVINO ``.xml``, a SavedModel folder or a
        ``.pt2`` of torch.export; its contents decide which.
    framework : str, optional
        What is to run it, one of `FRAMEWORKS`; by default what its kind is made for.
    precision_hint : str or None, optional
        Precision in which the runtime is asked to compute, where it lets itself be
        asked, which is OpenVINO; None leaves it to the runtime, whose choice may be
        bfloat16.
    limits : Limits, optional

    Returns
    -------
    Session
        To be closed, or used in a ``with``.

    Raises
    ------
    ModelFileError
        There is no such file, it is of another kind, damaged or larger than 2 GB.
    UnsupportedError
        The runtime is missing or too old, or lacks an operator of the file.
    """
    path = Path(path)
    kind = kinds.recognise(path)
    if framework not in (None, *FRAMEWORKS[kind]):
        raise UnsupportedError(
            f"{path}: expected one of {', '.join(FRAMEWORKS[kind])} to run it. "
            f"Received: {framework}"
        )
    return Session(path, kind, precision_hint, limits or Limits())


class Session:
    """Run an exported file, which stays loaded from call to call.

    A state that the runtime keeps between calls shows therefore.

    Attributes
    ----------
    path : Path
    kind : str
        One of `verify.ports.artefacts.kinds.KINDS`.
    runtime : str
        Name and version of what runs it, such as ``"onnxruntime 1.32.0"``.
    signature : Signature
    """

    path: Path
    kind: str
    runtime: str
    signature: Signature

    def __init__(
        self, path: Path, kind: str, precision_hint: str | None, limits: Limits
    ) -> None:
        self.path = path
        self.kind = kind
        self._precision_hint = precision_hint
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._timed_out = False
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def close(self) -> None:
        """End the process of the file."""
        process, self._process = getattr(self, "_process", None), None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.kill()
        process.wait()
        self._chatter.close()
        self._scratch.cleanup()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the file once.

        Parameters
        ----------
        feeds : mapping of str to array
            Every input by its name in the file, with the dtype that the file declares.

        Returns
        -------
        dict of str to array
            The outputs by their names in the file.

        Raises
        ------
        RuntimeRefused
            The runtime refuses these inputs.
        ModelFileError
            The runtime crashes, or takes too much time or memory.
        """
        feeds = {name: np.asarray(array) for name, array in feeds.items()}
        wanted = [info.name for info in self.signature.inputs]
        if sorted(feeds) != sorted(wanted):
            raise DataError(
                f"{self.path}: expected the inputs {', '.join(wanted) or 'none'}. "
                f"Received: {', '.join(feeds) or 'none'}"
            )
        return self._request("run", {}, feeds)[1]

    def renew(self) -> None:
        """Begin again with the state that the file has, in a fresh interpreter."""
        if self._process is None:  # it has crashed
            self._start()
        else:
            self._request("renew", {}, {})

    def constants(self) -> dict[str, Array]:
        """Return every constant array of the file by its name, sub-graphs included."""
        return self._request("constants", {}, {})[1]

    def ask(
        self,
        request: str,
        arguments: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> tuple[Any, dict[str, Array]]:
        """Call a function or method in the process of the file.

        Parameters
        ----------
        request : str
            ``"name"`` is a method of the class in
            ``verify.ports.artefacts.runtimes.<kind>``, called with `arguments` and
            `arrays`; ``"module.name"`` is a function of another module there, which
            gets the object of that class first.
        arguments : mapping, optional
            What JSON can hold.
        arrays : mapping of str to array, optional

        Returns
        -------
        value : object
            What JSON can hold.
        arrays : dict of str to array
        """
        return self._request(request, arguments or {}, arrays or {})

    def _start(self) -> None:
        environment = {**os.environ, **ENVIRONMENT}
        # the process must find this package, which need not be installed
        home = os.path.dirname(os.path.dirname(os.path.abspath(verify.__file__)))
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([known, home] if known else [home])
        # runtimes leave files there: ONNX Runtime a number for its telemetry
        self._scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        environment["TMPDIR"] = self._scratch.name
        self._chatter = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, *CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._chatter,
            env=environment,
        )
        opening = {
            "kind": self.kind,
            "path": os.path.abspath(self.path),
            "shown": printable(self.path),
            "precision_hint": self._precision_hint,
        }
        size = kinds.size_of(self.path)
        threads = THREAD_BYTES * (os.cpu_count() or 1)
        self._memory_bytes = self._limits.memory_bytes + 5 * size + threads
        seconds = self._limits.open_seconds
        header = {
            "opening": opening,
            "memory_bytes": self._memory_bytes,
            "seconds": seconds,
        }
        try:
            described, _ = self._exchange(header, {}, seconds, "loading")
        except BaseException:
            self.close()
            raise
        found = described["signature"]
        self.runtime = str(described["runtime"])
        self.signature = Signature(
            tuple(map(_tensor_info, found["inputs"])),
            tuple(map(_tensor_info, found["outputs"])),
            tuple(map(str, found["notes"])),
        )

    def _request(
        self, request: str, arguments: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> tuple[Any, dict[str, Array]]:
        seconds = self._limits.request_seconds
        header = {
            "request": request,
            "arguments": dict(arguments),
            "seconds": seconds,
        }
        found, outputs = self._exchange(header, arrays, seconds, "running")
        return found.get("value"), outputs

    def _exchange(
        self,
        header: Mapping[str, Any],
        arrays: Mapping[str, Array],
        seconds: float,
        doing: str,
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Send a message and wait for its answer."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ModelFileError(f"{self.path}: its process has ended")
        self._timed_out = False
        timer = threading.Timer(2 * seconds, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            wire.send(process.stdin, header, arrays)  # type: ignore[arg-type]
            answer, found = wire.receive(process.stdout)  # type: ignore[arg-type]
        except DataError:  # nothing has been sent
            raise
        except (wire.StreamEnded, OSError):
            raise self._ended(seconds, doing) from None
        except wire.WireError as error:
            self.close()
            raise ModelFileError(
                f"{self.path}: the process that runs it sent nonsense ({error})"
            ) from None
        except BaseException:  # Ctrl-C: the answer would be taken for the next one
            self.close()
            raise
        finally:
            timer.cancel()
        if "error" in answer:
            raise self._error(answer)
        return answer, found

    def _give_up(self) -> None:
        self._timed_out = True
        if self._process is not None:
            self._process.kill()

    def _error(self, answer: Mapping[str, Any]) -> Exception:
        """Return the error that the process of the file has reported."""
        name, message = str(answer["error"]), str(answer["message"])
        if name == "MemoryError":
            return ModelFileError(
                f"{self.path}: needs more memory than the "
                f"{self._memory_bytes / 2**30:.0f} GiB allowed ({message})"
            )
        if name not in ERRORS:
            return RuntimeError(f"in the process that runs {self.path}:\n{message}")
        if not message.startswith(printable(self.path)):
            message = f"{self.path}: {message}"
        return ERRORS[name](message)

    def _ended(self, seconds: float, doing: str) -> ModelFileError:
        """Return the error for a process that has ended without an answer."""
        process = self._process
        if process is None:
            return ModelFileError(f"{self.path}: its process has ended")
        try:  # it has closed its end of the stream, so it is on its way out
            status = process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        self._chatter.seek(0, os.SEEK_END)
        self._chatter.seek(max(0, self._chatter.tell() - 4096))
        lines = self._chatter.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        said = f": {printable(last)}" if last else ""
        self.close()
        if self._timed_out or status == -CPU_LIMIT_SIGNAL:
            reason = f"is not done with it after {seconds:g} seconds"
        elif status < 0:
            reason = f"crashes on it, signal {-status}{said}"
        else:
            reason = f"ends on it, status {status}{said}"
        who = getattr(self, "runtime", f"the runtime for {self.kind}")
        return ModelFileError(f"{self.path}: {doing} it, {who} {reason}")


def _tensor_info(info: Mapping[str, Any]) -> TensorInfo:
    """Return an input or output as the process of the file describes it."""
    shape = info["shape"]
    return TensorInfo(
        str(info["name"]), None if shape is None else tuple(shape), str(info["dtype"])
    )
