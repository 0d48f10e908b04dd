"""Watch over a long comparison: progress, an up-to-date report, Ctrl-C, resuming."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verify import __version__
from verify.console.progress import progress
from verify.console.signals import Interruption
from verify.data.files import output_path, write_atomically
from verify.data.json_values import from_json, to_json
from verify.errors import DataError, printable
from verify.forward.network import Network
from verify.report.report import Report
from verify.tolerance.partial import PartialResult

WRITE_SECONDS = 10.0
"""Seconds between two times that the report is written."""

RESUME_KEY = "so_far"
"""Key in a report file whose value --resume needs."""


class Watch:
    """Watch over a comparison of many rows: progress, report, Ctrl-C.

    Parameters
    ----------
    report : path, optional
        A ``.json`` to keep up to date while rows are compared; it is written whole.
    resume : bool
        Whether to go on from the report that is there, if one is.
    show : bool
        Whether to show progress on stderr.
    every : float
        Seconds between two times that the report is written.
    interruptible : bool
        Whether Ctrl-C ends the comparison with a partial report.

    Raises
    ------
    DataError
        The report cannot be written.
    """

    def __init__(
        self,
        report: str | os.PathLike[str] | None = None,
        *,
        resume: bool = False,
        show: bool = False,
        every: float = WRITE_SECONDS,
        interruptible: bool = True,
    ) -> None:
        self.path = (
            None
            if report is None
            else output_path(os.fspath(report), "--report", ".json")
        )
        if resume and self.path is None:
            raise DataError("--resume: expected --report FILE.json, to go on from")
        self.resume = resume
        self.show = show
        self.every = every
        self.interruptible = interruptible
        self._written = float("-inf")  # so the first batch is written at once
        self._interruption = Interruption()
        self._show_progress: Callable[[int], Any] | None = None
        self._identity: Mapping[str, Any] = {}

    def begin(self, identity: Mapping[str, Any]) -> PartialResult | None:
        """Begin a comparison; return the result so far if it is to be resumed.

        Parameters
        ----------
        identity : mapping
            What is compared, in plain values by their names; all must be unchanged for
            a comparison to resume.

        Raises
        ------
        DataError
            The file is no report, or the report of another comparison.
        """
        self._identity = to_json(identity)
        if self.path is None or not self.resume or not self.path.exists():
            return None
        return self._known(self.path)

    def _known(self, path: Path) -> PartialResult | None:
        result: PartialResult | None = None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))[RESUME_KEY]
            identity = dict(kept["of"])
            if kept["tally"] is not None:
                result = from_json(PartialResult, kept["tally"])
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror or error})"
            ) from None
        except (ValueError, KeyError, TypeError, IndexError):
            raise DataError(
                f"{path}: expected a report that --report has written, to go on from. "
                "Received: something else"
            ) from None
        for name in dict.fromkeys([*self._identity, *identity]):
            there, now = identity.get(name), self._identity.get(name)
            if there != now:
                why = _difference(name, there, now)
                raise DataError(
                    f"{path}: it cannot be gone on from: {why}. "
                    "Without --resume the comparison begins anew"
                )
        return result

    def advance(self, rows: int) -> bool:
        """Note that `rows` more rows have been compared.

        Returns
        -------
        bool
            Whether it is time to `write` the report.

        Raises
        ------
        KeyboardInterrupt
            There has been a Ctrl-C.
        """
        if self._show_progress is not None:
            self._show_progress(rows)
        self._interruption.raise_if_received()
        waited = time.monotonic() - self._written
        return self.path is not None and waited > self.every

    def write(self, report: Report) -> None:
        """Bring the report file up to date, if there is one."""
        if self.path is None:
            return
        self._written = time.monotonic()
        kept = {"of": self._identity, "tally": to_json(report.partial_result)}
        content = {**report.to_dict(), RESUME_KEY: kept}
        text = json.dumps(content, indent=1, allow_nan=False)
        write_atomically(self.path, lambda file: file.write(f"{text}\n".encode()))

    def log(self, text: str) -> None:
        """Print a line on stderr, where progress is shown."""
        if self.show:
            print(text, file=sys.stderr)

    def parting(self) -> str:
        """Say how an interrupted comparison can go on."""
        if self.path is None:
            return "Interrupted. With --report FILE.json it could go on later"
        return f"Interrupted. {printable(self.path)} goes on with --resume"

    @contextlib.contextmanager
    def over(self, rows: int, done: int) -> Iterator[None]:
        """Show progress and wait for Ctrl-C while the block runs.

        The block calls `advance` for each batch. Ctrl-C is remembered, and ends the
        comparison after the batch, because a KeyboardInterrupt that is raised inside a
        library's callback may be lost. A batch that takes long is not waited for. A
        second Ctrl-C acts at once.

        Parameters
        ----------
        rows, done : int
            Number of all rows, and of those compared by an earlier run.
        """
        with contextlib.ExitStack() as stack:
            if self.show:
                self._show_progress = stack.enter_context(
                    progress("rows", rows, done=done)
                )
            if self.interruptible:
                self._interruption = stack.enter_context(Interruption(impatient=True))
            yield


def package_versions() -> dict[str, str]:
    """Return the versions that every comparison depends on."""
    return {"verify": __version__, "numpy": np.__version__}


def network_fingerprint(net: Network) -> str:
    """Return the SHA-256 of all that determines a network's outputs, in hexadecimal."""
    digest = hashlib.sha256()
    spec = net.spec
    config = json.dumps(spec.config, sort_keys=True, default=repr)
    rules = sorted(spec.root.rules), sorted(spec.root.version_rules)
    digest.update(f"{config} {rules} {net.floatx}".encode())
    for path, layer in spec.walk():
        how = f"{layer.class_name} {layer.policy} {dict(layer.options)} {layer.graph}"
        digest.update(f"{path} {how} {sorted(layer.overrides)}".encode())
        for name, weight in layer.weights.items():
            digest.update(f"{name} {weight.dtype} {weight.shape} ".encode())
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _difference(name: str, there: Any, now: Any) -> str:
    """Say how an entry of the identity differs; fingerprints are not shown."""
    if name == "comparison":
        return f"it is of a comparison {printable(there)}, and this is one {now}"
    if isinstance(now, Mapping) and isinstance(there, Mapping):
        keys = [k for k in dict.fromkeys([*now, *there]) if now.get(k) != there.get(k)]
        shown = ", ".join(
            " ".join(printable(part, 40) for part in (k, there.get(k)))
            + f", now {printable(now.get(k), 40)}"
            for k in keys
        )
        return f"it is of other {name} ({shown})"
    return f"it is of {'another' if name == 'model' else 'other'} {name}"
