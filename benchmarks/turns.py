"""Time competitors in turns: each in its own process, only one of them at work.

Competitors are measured in rounds. In each round every competitor has a turn, in an
order that changes, so that other load on the machine affects all of them alike. Turns
are requested over a pipe and timed in the process that computes. A turn ends when that
process is idle, so that threads that still spin do not slow the next competitor down.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from verify.errors import VerifyError, printable

R = TypeVar("R")

Round = dict[str, float]
"""Seconds of a call, by the names of the competitors that had a turn."""

TURN_SECONDS = 0.04
"""Least seconds of a turn, which has as many calls as that takes."""

SINGLE_TURN_SECONDS = 2.5
"""Seconds of one call from which a competitor needs only one turn."""

MIN_TURNS, MAX_TURNS = 3, 21
"""Least and greatest number of turns of a competitor."""


class BenchmarkError(VerifyError):
    """Report a competitor that cannot be measured, or that computes something else."""


class Worker:
    """Run a process that calls functions on request, and idles in between.

    Parameters
    ----------
    name : str
        The name in messages.
    settings : mapping
        Environment variables, set before the process imports any large library.
    """

    def __init__(self, name: str, settings: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, dict(settings)), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function of a module there, and return its result.

        Raises
        ------
        BenchmarkError
            The function raised an error, or the process has ended.
        """
        try:
            self._pipe.send((function, args))
            fine, answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise BenchmarkError(
                f"{self.name}: the process ended with exit code "
                f"{self._process.exitcode} while it was asked for {function.__name__}"
            ) from None
        if not fine:
            raise BenchmarkError(f"{self.name}: {answer}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._pipe.close()  # the process sees the end of the pipe, and returns
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(pipe: Any, settings: dict[str, str]) -> None:
    os.environ.update(settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, function(*args)))
        except Exception as error:  # raised again in the parent
            if not isinstance(error, VerifyError):
                traceback.print_exc()  # a defect: show where
            lines = str(error).strip().splitlines() or [""]
            pipe.send((False, f"{type(error).__name__}: {printable(lines[0], 400)}"))


def seconds_of(call: Callable[[], object], calls: int) -> float:
    """Return the median seconds of a call, without garbage collection.

    It returns when the process is idle again.
    """
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(calls):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    finally:
        gc.enable()
    come_to_rest()
    return float(np.median(times))


def come_to_rest(limit: float = 1.0, pause: float = 0.004) -> bool:
    """Wait until no thread of this process computes; False if one still does."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = time.process_time()
        time.sleep(pause)
        if time.process_time() - before < pause / 8:
            return True
    return False


@dataclass
class Turns:
    """Count the turns of a competitor in a case.

    Attributes
    ----------
    take : callable
        ``take(calls)`` returns the median seconds of that many calls.
    once : float
        An estimate of the seconds of one call.
    taken : int
        Turns so far.
    spent : float
        Seconds of all turns so far.
    """

    take: Callable[[int], float]
    once: float
    taken: int = 0
    spent: float = 0.0

    @property
    def calls(self) -> int:
        """Return the number of calls of a turn."""
        return int(np.clip(np.ceil(TURN_SECONDS / max(self.once, 1e-9)), 1, 2000))

    @property
    def least(self) -> int:
        """Return the least number of turns."""
        return 1 if self.once > SINGLE_TURN_SECONDS else MIN_TURNS

    def has_enough(self, share: float) -> bool:
        """Return whether it has had enough turns or has used its share of the time."""
        if self.taken < self.least:
            return False
        return self.taken >= MAX_TURNS or self.spent + self.once > share

    def turn(self) -> float:
        """Take a turn, and return the seconds of a call."""
        seconds = self.take(self.calls)
        self.taken += 1
        self.spent += seconds * self.calls
        return seconds


def rounds_of(
    competitors: Mapping[str, Turns], always: str, seconds: float, seed: int = 0
) -> list[Round]:
    """Hold rounds until every competitor has had enough turns.

    Parameters
    ----------
    competitors : mapping
    always : str
        The competitor that all others are compared with; it has a turn in every round.
    seconds : float
        The time for all competitors, in equal shares; a slow one may take more, since
        each needs some turns.
    seed : int
        Decides the order in each round.
    """
    rng = np.random.default_rng(seed)
    share = seconds / len(competitors)
    found: list[Round] = []
    while len(found) < MAX_TURNS:
        waiting = [
            name
            for name, turns in competitors.items()
            if name != always and not turns.has_enough(share)
        ]
        if not waiting and competitors[always].has_enough(share):
            break
        order = rng.permutation([always, *waiting])
        found.append({str(name): competitors[name].turn() for name in order})
    return found


@dataclass(frozen=True)
class Quartiles:
    """Hold median and quartiles over a number of turns."""

    median: float
    low: float
    high: float
    turns: int

    @classmethod
    def of(cls, values: list[float]) -> Quartiles:
        """Return the quartiles of some values."""
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high), len(values))


def quartiles(rounds: list[Round], name: str) -> Quartiles:
    """Return the quartiles of a competitor's seconds."""
    return Quartiles.of([found[name] for found in rounds if name in found])


def ratio(rounds: list[Round], name: str, to: str) -> Quartiles:
    """Return the quartiles of a competitor's time over that of `to`, round by round."""
    return Quartiles.of([found[name] / found[to] for found in rounds if name in found])
