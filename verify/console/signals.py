"""Ctrl-C that is never lost, and SIGTERM that does what Ctrl-C does.

Python answers Ctrl-C by raising KeyboardInterrupt wherever the program happens to be.
Where that is a destructor, or Python code that a library in C has called, the exception
is printed as "ignored" and dropped, and the program goes on as if nothing was said. So
during long work Ctrl-C is written down instead, and looked at after each step.

Python answers SIGTERM, which ``kill``, a job scheduler or a container sends, by ending
at once: what is half written stays behind. A command that is `terminable` ends by it as
by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

Answer = Callable[[int, FrameType | None], Any]


_terminated = threading.Event()
"""Whether this process has been told to end by SIGTERM."""


@contextlib.contextmanager
def terminable() -> Iterator[threading.Event]:
    """While it is entered, SIGTERM raises KeyboardInterrupt too.

    An answer of the program's own is left in place, and in a thread other than the main
    one, where Python allows no change, nothing changes.

    Yields
    ------
    Event
        Set when there has been a SIGTERM.
    """
    _terminated.clear()
    if _main() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)
        try:
            yield _terminated
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    else:
        yield _terminated


def _end(number: int, frame: FrameType | None) -> None:
    _terminated.set()
    signal.default_int_handler(number, frame)


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()


class Interruption:
    """While it is entered, remembers Ctrl-C; a second one acts at once.

    SIGTERM likewise in what is `terminable`.

    Only where they would raise KeyboardInterrupt: a process that is deaf to them stays
    so, an answer of the program's own is left in place, and in a thread other than the
    main one, where Python allows no change, nothing changes.

    Attributes
    ----------
    received : bool
        Whether there has been one.

    Raises
    ------
    KeyboardInterrupt
        By `raise_if_received`, and on leaving, so that the last moment is not lost either.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Answer] = {}

    def __enter__(self) -> Self:
        raising: dict[signal.Signals, Answer] = {
            signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _end,
        }  # fmt: skip
        for number, answer in raising.items():
            if _main() and signal.getsignal(number) is answer:
                self._before[number] = answer
                signal.signal(number, self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, answer in self._before.items():
            signal.signal(number, answer)
        self._before.clear()
        if kind is None:
            self.raise_if_received()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            _terminated.set()
        if self.received:
            signal.default_int_handler(number, frame)
        self.received = True

    def raise_if_received(self) -> None:
        """Raise KeyboardInterrupt if there has been one."""
        if self.received:
            raise KeyboardInterrupt
