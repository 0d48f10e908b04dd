"""Show on stderr how far long work has come, and nothing for short work.

`progress` counts, `doing` names what is being done, and `told` says it every ten
seconds for as long as a command runs, so that no minute passes without a word.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

BAR_DELAY, LINE_INTERVAL = 1.0, 10.0
"""Seconds before a bar appears on a terminal, and between two lines without one."""


@contextmanager
def progress(
    unit: str, total: int, *, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Say how far work has come, how fast it goes and how long it will take.

    ::

        with progress("rows", len(x)) as advance:
            for batch in batches:
                ...
                advance(len(batch))

    A terminal shows a bar, which goes away at the end; elsewhere a line is printed
    every ten seconds.

    Parameters
    ----------
    unit : str
        What is counted, in the plural.
    total : int
    done : int
        The number that an earlier run has done.
    """
    meter = _Meter(unit, total, done)
    try:
        yield meter.advance
    finally:
        meter.close()


class _Doing:
    """Hold what is being done: a stack, because work consists of smaller work.

    Attributes
    ----------
    stages : list of (str, float)
        What is being done, the largest first, and since when.
    steps : tuple of int
        How many steps of the loop over time have been made, and of how many.
    stepped : float
        When `steps` changed last.
    spoken : float
        When something was said last.
    """

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self.steps: tuple[int, int] = 0, 0
        self.stepped = self.spoken = 0.0

    def line(self, now: float) -> str:
        """Return what to say."""
        what = ": ".join(text for text, _ in self.stages)
        done, total = self.steps
        if total >= SHOWN_STEPS and now - self.stepped < FRESH:
            what += f", step {done:,} of {total:,}"
        return f"{what}, {_duration(now - self.stages[-1][1])} so far"


_DOING = _Doing()

FRESH = 10.0
"""Seconds for which the last step that was noted says how far the loop is."""

SHOWN_STEPS = 1000
"""Steps of a loop over time from which they are counted aloud."""

COUNTED = 64
"""Steps between two notes of `at_step`."""


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Name what is being done while the block runs; blocks may be nested."""
    _DOING.stages.append((what, time.monotonic()))
    _DOING.steps = 0, 0
    try:
        yield
    finally:
        _DOING.stages.pop()


def at_step(done: int, total: int) -> None:
    """Note how far a loop over time is; it costs little."""
    _DOING.steps = done, total
    _DOING.stepped = time.monotonic()


@contextmanager
def told() -> Iterator[None]:
    """Print every ten seconds what is being done, if anything is."""
    over = threading.Event()
    _DOING.spoken = time.monotonic()

    def tell() -> None:
        while not over.wait(LINE_INTERVAL / 10):
            now = time.monotonic()
            since = max(_DOING.spoken, _DOING.stages[0][1] if _DOING.stages else now)
            if _DOING.stages and now - since >= LINE_INTERVAL:
                _DOING.spoken = now
                # it may end in between, or nobody listens
                with contextlib.suppress(IndexError, OSError, ValueError):
                    print(_DOING.line(now), file=sys.__stderr__, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Meter:
    def __init__(self, unit: str, total: int, done: int) -> None:
        self.unit, self.total = unit, total
        self.begun_with = self.done = done
        self.began = self.said = time.monotonic()
        self.bar: Progress | None = None

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if self.bar is None and now - self.began >= BAR_DELAY and _terminal():
            self.bar = self._started()
        if self.bar is not None:
            (task,) = self.bar.task_ids
            self.bar.update(task, completed=self.done, rate=self._rate(now))
        elif now - self.said >= LINE_INTERVAL:
            self.said = _DOING.spoken = now
            print(self._line(now), file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()

    def _speed(self, now: float) -> float:
        return (self.done - self.begun_with) / max(now - self.began, 1e-9)

    def _rate(self, now: float) -> str:
        return f"{self._speed(now):,.0f} a second"

    def _line(self, now: float) -> str:
        left = max(self.total - self.done, 0) / max(self._speed(now), 1e-9)
        return (
            f"{self.done:,} of {self.total:,} {self.unit}, {self._rate(now)}, "
            f"{_duration(left)} left"
        )

    def _started(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(file=sys.stderr),
            transient=True,
            redirect_stdout=False,
        )
        bar.add_task(self.unit, total=self.total, completed=self.done, rate="")
        bar.start()
        return bar


def _terminal() -> bool:
    if not sys.stderr.isatty():
        return False
    from rich.console import Console

    return not Console(file=sys.stderr).is_dumb_terminal


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
