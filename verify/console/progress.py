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

from verify.console.own_process import TELLING

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
    stages : list of _Stage
        What is being done, the largest first.
    spoken : float
        When something was said last.
    """

    def __init__(self) -> None:
        self.stages: list[_Stage] = []
        self.spoken = 0.0

    def line(self, now: float) -> str:
        """Return what to say."""
        stages = list(self.stages)
        what, last = ": ".join(stage.what for stage in stages), stages[-1]
        return f"{what}{last.loop(now)}, {_duration(now - last.began)} so far"


class _Stage:
    """Hold what one block of `doing` does, and how far its loop over time is.

    Attributes
    ----------
    what : str
    began : float
    loops : int
        Loops over time that have begun in this block.
    name : str
        The layer of the last of them.
    steps : tuple of int
        How many of its steps have been made, and of how many.
    stepped : float
        When `steps` changed last.
    """

    def __init__(self, what: str) -> None:
        self.what, self.began = what, time.monotonic()
        self.loops, self.name = 0, ""
        self.steps: tuple[int, int] = 0, 0
        self.stepped = 0.0

    def loop(self, now: float) -> str:
        """Return how far the loop over time is; nothing of short or past loops."""
        done, total = self.steps
        if total < SHOWN_STEPS or now - self.stepped >= FRESH:
            return ""
        name = f" ('{self.name}')" if self.name else ""
        return f", loop {self.loops:,}{name}, step {done:,} of {total:,}"


_DOING = _Doing()
_NAMES = threading.local()

FRESH = 10.0
"""Seconds for which the last step that was noted says how far the loop is."""

SHOWN_STEPS = 1000
"""Steps of a loop over time from which they are counted aloud."""

COUNTED = 64
"""Steps between two notes of how far a loop is."""


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Name what is being done while the block runs; blocks may be nested."""
    _DOING.stages.append(_Stage(what))
    try:
        yield
    finally:
        _DOING.stages.pop()


def name_loop(name: str) -> None:
    """Say which layer the next loop over time of this thread belongs to."""
    _NAMES.loop = name


def loop_over(total: int) -> Callable[[int], None]:
    """Begin a loop over time; return what to call with the steps that are made.

    A call costs little. The loops of a stage are numbered, and only the one that began
    last is told of: several threads may run one each.
    """
    stage = _DOING.stages[-1] if _DOING.stages else _Stage("")
    stage.loops += 1
    number = stage.loops
    stage.name, _NAMES.loop = getattr(_NAMES, "loop", ""), ""

    def at_step(done: int) -> None:
        if stage.loops == number:
            stage.steps = done, total
            stage.stepped = time.monotonic()

    return at_step


@contextmanager
def told() -> Iterator[None]:
    """Print every ten seconds what is being done, if anything is."""
    over = threading.Event()
    _DOING.spoken = time.monotonic()

    def tell() -> None:
        while not over.wait(LINE_INTERVAL / 10):
            now = time.monotonic()
            since = max(_DOING.spoken, _DOING.stages[0].began if _DOING.stages else now)
            if _DOING.stages and now - since >= LINE_INTERVAL:
                _DOING.spoken = now
                # it may end in between, or nobody listens
                with contextlib.suppress(IndexError, OSError, ValueError):
                    print(_DOING.line(now), file=sys.__stderr__, flush=True)

    thread = threading.Thread(target=tell, name=TELLING, daemon=True)
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
