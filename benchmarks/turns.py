"""Competitors take turns: each in a process of its own, one at work at a time.

What is compared is measured in one run, in rounds: in each round every competitor has a
turn, in an order that changes, so that whatever else the machine does meets all of
them. Turns are asked for over a pipe and timed where they are computed. A turn ends
when the process has come to rest, so that threads which still spin for work take
nothing from the next.
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
"""Seconds of a call, by the names of those that had a turn in the round."""

TURN_SECONDS = 0.04
"""Seconds that a turn takes at least, by as many calls as that needs."""

SINGLE_TURN_SECONDS = 2.5
"""Seconds of one call from which a single turn must do."""

MIN_TURNS, MAX_TURNS = 3, 21
"""Turns of a competitor."""


class BenchmarkError(VerifyError):
    """A competitor cannot be measured, or computes something else."""


class Worker:
    """A process that computes what it is asked for, and nothing in between.

    Parameters
    ----------
    name : str
        For messages.
    settings : mapping
        Environment variables of the process, there before it imports anything large.
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
        """What a function of a module returns there.

        Raises
        ------
        BenchmarkError
            It raised, or the process has ended.
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
        self._pipe.close()  # it reads the end of the pipe, and returns
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(pipe: Any, settings: dict[str, str]) -> None:
    os.environ.update(settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, function(*args)))
        except Exception as error:  # said in the process that asked
            if not isinstance(error, VerifyError):
                traceback.print_exc()  # a defect
            lines = str(error).strip().splitlines() or [""]
            pipe.send((False, f"{type(error).__name__}: {printable(lines[0], 400)}"))


def seconds_of(call: Callable[[], object], calls: int) -> float:
    """Median seconds of a call, without garbage collection, and then at rest."""
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
    """A competitor's turns in a case.

    Attributes
    ----------
    take : callable
        Given a number of calls, the median seconds of one.
    once : float
        Seconds of one call, as far as is known.
    """

    take: Callable[[int], float]
    once: float
    taken: int = 0
    spent: float = 0.0

    @property
    def calls(self) -> int:
        """How many calls make a turn."""
        return int(np.clip(np.ceil(TURN_SECONDS / max(self.once, 1e-9)), 1, 2000))

    @property
    def least(self) -> int:
        """How many turns it needs."""
        return 1 if self.once > SINGLE_TURN_SECONDS else MIN_TURNS

    def has_enough(self, share: float) -> bool:
        """Whether it has had its turns, or has used up its share of the time."""
        if self.taken < self.least:
            return False
        return self.taken >= MAX_TURNS or self.spent + self.once > share

    def turn(self) -> float:
        """Take a turn."""
        seconds = self.take(self.calls)
        self.taken += 1
        self.spent += seconds * self.calls
        return seconds


def rounds_of(
    competitors: Mapping[str, Turns], always: str, seconds: float, seed: int = 0
) -> list[Round]:
    """Rounds until every competitor has enough turns.

    Parameters
    ----------
    competitors : mapping
    always : str
        The one that all others are compared with, which has a turn in every round.
    seconds : float
        For all of them together, shared out evenly; what is slow gets more, since
        everyone needs some turns.
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
class Spread:
    """Median and quartiles of a number of turns."""

    median: float
    low: float
    high: float
    turns: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of some values."""
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high), len(values))


def spread(rounds: list[Round], name: str) -> Spread:
    """Seconds of a competitor."""
    return Spread.of([found[name] for found in rounds if name in found])


def ratio(rounds: list[Round], name: str, to: str) -> Spread:
    """How many times the time of `to` a competitor takes, round by round."""
    return Spread.of([found[name] / found[to] for found in rounds if name in found])
