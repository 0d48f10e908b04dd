"""Ctrl-C that is never lost.

Python answers Ctrl-C by raising KeyboardInterrupt wherever the program happens to be.
Where that is a destructor, or Python code that a library in C has called, the exception
is printed as "ignored" and dropped, and the program goes on as if nothing was said. So
during long work Ctrl-C is written down instead, and looked at after each step.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """While it is entered, remembers Ctrl-C; a second one acts at once.

    Only where Ctrl-C would raise KeyboardInterrupt: a process that is deaf to it stays
    so, an answer of the program's own is left in place, and in a thread other than the
    main one, where Python allows no change, nothing changes.

    Attributes
    ----------
    came : bool
        Whether there has been a Ctrl-C.

    Raises
    ------
    KeyboardInterrupt
        By `look`, and on leaving, so that the last moment is not lost either.
    """

    def __init__(self) -> None:
        self.came = False
        self._listening = False

    def __enter__(self) -> Self:
        self._listening = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._listening:
            signal.signal(signal.SIGINT, self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._listening:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if kind is None:
            self.look()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            signal.default_int_handler(number, frame)
        self.came = True

    def look(self) -> None:
        """Raise KeyboardInterrupt if there has been a Ctrl-C."""
        if self.came:
            raise KeyboardInterrupt
