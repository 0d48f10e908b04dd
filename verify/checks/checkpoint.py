"""A long comparison seen through: progress, a report kept up to date, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from verify.console.progress import progress
from verify.console.signals import Interruption
from verify.data.files import output_path, write_atomically
from verify.errors import DataError, printable
from verify.report.report import Report, jsonable
from verify.tolerance.partial import PartialResult

WRITE_SECONDS = 10.0
"""Seconds between two times that the report is written."""

RESUME_KEY = "so_far"
"""Under this name a report file holds what --resume goes on from."""


class Watch:
    """Sees a comparison of many rows through.

    Parameters
    ----------
    report : path, optional
        A ``.json`` to keep up to date while rows are compared; it is written whole.
    resume : bool
        Whether to go on from the report that is there, if one is.
    show : bool
        Whether to say on stderr how far it has come.
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
        self._written = float("-inf")  # the first piece is written down at once
        self._interruption = Interruption()
        self._advance: Callable[[int], Any] | None = None
        self._identity: Mapping[str, Any] = {}

    def begin(self, identity: Callable[[], Mapping[str, Any]]) -> PartialResult | None:
        """Open the report; returns what it knows already, to go on from.

        Parameters
        ----------
        identity : callable
            Gives what the comparison is of: names, and plain values that must be the
            same for it to go on.

        Raises
        ------
        DataError
            The report there is no report, or one of something else.
        """
        if self.path is None:
            return None
        self._identity = jsonable(dict(identity()))
        if not self.resume or not self.path.exists():
            return None
        return self._known(self.path)

    def _known(self, path: Path) -> PartialResult | None:
        shown = printable(path)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))[RESUME_KEY]
            identity = dict(kept["of"])
            result = (
                None
                if kept["tally"] is None
                else PartialResult.from_dict(kept["tally"])
            )
        except OSError as error:
            raise DataError(
                f"{shown}: cannot be read ({error.strerror or error})"
            ) from None
        except (ValueError, KeyError, TypeError, IndexError):
            raise DataError(
                f"{shown}: expected a report that --report has written, to go on from. "
                "Received: something else"
            ) from None
        for name in dict.fromkeys([*self._identity, *identity]):
            there, now = identity.get(name), self._identity.get(name)
            if there != now:
                raise DataError(
                    f"{shown}: it cannot be gone on from: {_other(name, there, now)}. "
                    "Without --resume the comparison begins anew"
                )
        return result

    def advance(self, rows: int, so_far: Callable[[], Report | None]) -> None:
        """So many rows more have been compared.

        Raises
        ------
        KeyboardInterrupt
        """
        if self._advance is not None:
            self._advance(rows)
        self._interruption.raise_if_received()
        if self.path is not None and time.monotonic() - self._written > self.every:
            self.write(so_far())

    def write(self, report: Report | None) -> None:
        """Bring the report up to date."""
        self._written = time.monotonic()
        if self.path is None or report is None:
            return
        known = report.partial_result
        kept = {
            "of": self._identity,
            "tally": None if known is None else known.to_dict(),
        }
        text = json.dumps(
            {**report.to_dict(), RESUME_KEY: jsonable(kept)}, indent=1, allow_nan=False
        )
        content = f"{text}\n".encode()
        write_atomically(self.path, lambda file: file.write(content))

    def log(self, text: str) -> None:
        """A line on stderr, where progress is shown."""
        if self.show:
            print(text, file=sys.stderr)

    def parting(self) -> str:
        """How an interrupted comparison can go on."""
        if self.path is None:
            return "Interrupted. With --report FILE.json it could go on later"
        return f"Interrupted. {printable(self.path)} goes on with --resume"

    @contextlib.contextmanager
    def over(self, rows: int, done: int) -> Iterator[None]:
        """While rows are compared, of which so many are done: `seen` for every piece.

        Ctrl-C is noted, and acted on behind the next piece: inside a library's callback
        KeyboardInterrupt could be lost. A second Ctrl-C acts at once.
        """
        with contextlib.ExitStack() as stack:
            if self.show:
                self._advance = stack.enter_context(progress("rows", rows, done=done))
            if self.interruptible:
                self._interruption = stack.enter_context(Interruption())
            yield


def _other(name: str, there: Any, now: Any) -> str:
    """What is different: short values are shown, fingerprints are not."""
    if name == "comparison":
        return f"it is of a comparison {printable(there)}, and this is one {now}"
    if isinstance(now, Mapping) and isinstance(there, Mapping):
        keys = [k for k in dict.fromkeys([*now, *there]) if now.get(k) != there.get(k)]
        shown = ", ".join(
            f"{printable(k, 40)} {printable(there.get(k), 40)}, now {printable(now.get(k), 40)}"
            for k in keys
        )
        return f"it is of other {name} ({shown})"
    return f"it is of {'another' if name == 'model' else 'other'} {name}"
