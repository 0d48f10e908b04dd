"""Never lose Ctrl-C, and let SIGTERM do what Ctrl-C does.

Python answers Ctrl-C by raising KeyboardInterrupt wherever the program happens to be.
Where that is a destructor, or Python code that a library in C has called, the exception
is printed as "ignored" and dropped, and the program goes on. So during long work Ctrl-C
is only remembered, and the program checks for it after each step.

Python answers SIGTERM, which ``kill``, a job scheduler or a container sends, by ending
at once, and half-written files stay behind. In a command that is `terminable` SIGTERM
does what Ctrl-C does.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

Handler = Callable[[int, FrameType | None], Any]

_terminated = threading.Event()
"""Whether this process has been told to end by SIGTERM."""


@contextlib.contextmanager
def terminable() -> Iterator[threading.Event]:
    """Let SIGTERM raise KeyboardInterrupt for as long as the block lasts.

    A handler that the program has set itself stays in place. Threads other than the
    main one, where Python allows no change of handlers, change nothing.

    Yields
    ------
    Event
        Set when there has been a SIGTERM.
    """
    _terminated.clear()
    if _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        try:
            yield _terminated
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    else:
        yield _terminated


def _terminate(number: int, frame: FrameType | None) -> None:
    _terminated.set()
    signal.default_int_handler(number, frame)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class Interruption:
    """Remember Ctrl-C for as long as the block lasts; a second one acts at once.

    Inside `terminable` SIGTERM is remembered too. Signals are handled only where they
    would raise KeyboardInterrupt: a process that ignores them goes on ignoring them, a
    handler that the program has set itself stays in place, and threads other than the
    main one, where Python allows no change of handlers, change nothing.

    Attributes
    ----------
    received : bool
        Whether there was a signal.

    Raises
    ------
    KeyboardInterrupt
        By `raise_if_received`, and at the end of the block, so that a Ctrl-C in the
        last moment is not lost either.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Self:
        raising: dict[signal.Signals, Handler] = {
            signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate,
        }  # fmt: skip
        for number, answer in raising.items():
            if _in_main_thread() and signal.getsignal(number) is answer:
                self._before[number] = answer
                signal.signal(number, self._handle)
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            _terminated.set()
        if self.received:
            signal.default_int_handler(number, frame)
        self.received = True

    def raise_if_received(self) -> None:
        """Raise KeyboardInterrupt if there was a signal."""
        if self.received:
            raise KeyboardInterrupt
