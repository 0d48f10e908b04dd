"""Never lose Ctrl-C, let SIGTERM do what Ctrl-C does, and hear both within two seconds.

Python answers Ctrl-C by raising KeyboardInterrupt wherever the program happens to be.
Where that is a destructor, or Python code that a library in C has called, the exception
is printed as "ignored" and dropped, and the program goes on. Where a library in C is at
work, it is not raised before that returns, which may take minutes. So

* during long work of many steps Ctrl-C is only remembered, and the program looks for it
  after each step; see `Interruption`;
* what is not looked at in time is raised again and again, and if nothing helps the
  process ends; see `terminable`;
* long calls of a library are made in another thread, so that the main thread, the only
  one that hears signals, waits and nothing else; see `interruptible`.

Python answers SIGTERM, which ``kill``, a job scheduler or a container sends, by ending
at once, and half-written files stay behind. In a command that is `terminable` SIGTERM
does what Ctrl-C does.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
Handler = Callable[[int, FrameType | None], Any]

PATIENCE = 0.7
"""Seconds that a remembered signal waits for the end of a step, and that one which was
raised waits for the program to end, before it is raised again."""

AGAIN = 0.3
"""Seconds between two times that a signal is raised again."""

RAISED_AGAIN = 3
"""Times that a signal is raised again before the process ends without more ado."""

_terminated = threading.Event()
"""Whether this process has been told to end by SIGTERM."""

_commands = 0
"""How many blocks of `terminable` are running: 1 in a command, else 0."""


class _Watchdog:
    """Raise a signal again in the main thread until somebody has heard it."""

    def __init__(self) -> None:
        self._heard = threading.Event()
        self._running: threading.Thread | None = None

    def begin(self, number: int) -> None:
        """Begin to watch, if nobody does so yet."""
        if self._running is not None and self._running.is_alive():
            return
        self._heard = heard = threading.Event()
        self._running = threading.Thread(
            target=self._watch, args=(number, heard), daemon=True
        )
        self._running.start()

    def heard(self) -> None:
        """Stop raising: the program is on its way out."""
        self._heard.set()

    @staticmethod
    def _watch(number: int, heard: threading.Event) -> None:
        main = threading.main_thread().ident
        pause = PATIENCE
        for _ in range(RAISED_AGAIN):
            if heard.wait(pause) or main is None:
                return
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(main, number)
            else:  # Windows
                _thread.interrupt_main(signal.Signals(number))
            pause = AGAIN
        if not heard.wait(AGAIN) and _commands:
            _end_now(number)


_watchdog = _Watchdog()


def _end_now(number: int) -> None:
    """End the process, whose main thread is in a library and hears nothing."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        print("interrupted inside a library; no more was written", file=sys.stderr)
    os._exit(128 + number)


def heard() -> None:
    """Say that an interruption has been noticed, and that the work is being ended."""
    _watchdog.heard()


@contextlib.contextmanager
def terminable() -> Iterator[threading.Event]:
    """Let SIGTERM raise KeyboardInterrupt for as long as the block lasts.

    Both SIGTERM and Ctrl-C are raised again if the block has not ended after a while,
    and nobody has `heard` of it; at last the process ends with 128 and the number of
    the signal. A handler that the program has set itself stays in place. Threads other
    than the main one, where Python allows no change of handlers, change nothing.

    Yields
    ------
    Event
        Set when there has been a SIGTERM.
    """
    global _commands
    _terminated.clear()
    before: dict[signal.Signals, Any] = {}
    if _in_main_thread():
        usual = {
            signal.SIGTERM: signal.SIG_DFL,
            signal.SIGINT: signal.default_int_handler,
        }
        for number, handler in usual.items():
            if signal.getsignal(number) is handler:
                before[number] = handler
                signal.signal(number, _stop)
    _commands += 1
    shown, sys.unraisablehook = sys.unraisablehook, _unless_raised_again
    try:
        yield _terminated
    finally:
        _commands -= 1
        heard()
        sys.unraisablehook = shown
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and see to it that it is not lost."""
    if number == signal.SIGTERM:
        _terminated.set()
    _watchdog.begin(number)
    signal.default_int_handler(number, frame)


def _unless_raised_again(dropped: sys.UnraisableHookArgs) -> None:
    """Print an exception that Python drops, unless it is one that is raised again."""
    if dropped.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(dropped)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def interruptible(work: Callable[[], T]) -> T:
    """Return what `work` returns, and hear signals while it is in a library.

    In a command it runs in another thread. After a signal the main thread goes on with
    KeyboardInterrupt, while the work may run until the process ends. Outside commands,
    and in other threads than the main one, it is simply called.

    Raises
    ------
    Exception
        That of `work`.
    """
    if not _commands or not _in_main_thread():
        return work()
    done = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []
    context = copy_context()

    def run() -> None:
        try:
            results.append(context.run(work))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, daemon=True).start()
    while not done.wait(0.2):
        pass  # signals are heard here
    if errors:
        raise errors[0]
    return results[0]


def left_behind() -> bool:
    """Return whether threads are still at work, which would delay the end."""
    own = threading.current_thread()
    return any(thread is not own for thread in threading.enumerate())


class Interruption:
    """Remember Ctrl-C for as long as the block lasts; a second one acts at once.

    Inside `terminable` SIGTERM is remembered too. Signals are handled only where they
    would raise KeyboardInterrupt: a process that ignores them goes on ignoring them, a
    handler that the program has set itself stays in place, and threads other than the
    main one, where Python allows no change of handlers, change nothing.

    Parameters
    ----------
    impatient : bool
        Whether a signal is raised after `PATIENCE` if nobody has looked for it.

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

    def __init__(self, *, impatient: bool = False) -> None:
        self.received = False
        self.impatient = impatient
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Self:
        raising = {
            signal.SIGINT: (signal.default_int_handler, _stop),
            signal.SIGTERM: (_stop,),
        }
        for number, answers in raising.items():
            handler = signal.getsignal(number)
            if _in_main_thread() and handler in answers and callable(handler):
                self._before[number] = handler
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
        if self.impatient:
            _watchdog.begin(number)

    def raise_if_received(self) -> None:
        """Raise KeyboardInterrupt if there was a signal."""
        if self.received:
            raise KeyboardInterrupt
