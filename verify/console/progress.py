"""Show on stderr how far long work has come, and nothing for short work."""

from __future__ import annotations

import sys
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
            self.said = now
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
