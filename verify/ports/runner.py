"""Ask an exported file the questions of probes, and hand on its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from verify.checks.inputs import prepared_rows
from verify.data.sources import Source
from verify.data.sources.base import Data, batch_starts, rebatch
from verify.errors import DataError
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.session import Session
from verify.ports.matching import Matching
from verify.ports.probes import Probe

RUN_ROWS = 256
"""Rows that are given to a runtime at a time, where their number is free."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Hold what a file answered to a probe.

    Attributes
    ----------
    outputs : list of (batch, ...)
        The rows of all calls, in the order of the model's outputs; empty if refused.
    refused : str
        What the runtime said to inputs that it did not take; empty otherwise.
    """

    outputs: Sequence[Array] = ()
    refused: str = ""


class Runner:
    """Run an exported file on inputs of the model.

    Parameters
    ----------
    net : Network
    session : Session
    matching : Matching

    Attributes
    ----------
    batch : int or None
        Rows that the file takes in a call, if it does not take any number.
    """

    def __init__(self, net: Network, session: Session, matching: Matching) -> None:
        self.net, self.session, self.matching = net, session, matching
        self.batch = matching.batch
        self._states: dict[str, Array] = {}

    def renew(self) -> None:
        """Begin again with a fresh interpreter, and with states of zeros."""
        self.session.renew()
        self._states.clear()

    def answer(self, probe: Probe, *, whole: bool) -> Answer:
        """Ask a fresh interpreter the question of a probe.

        Parameters
        ----------
        probe : Probe
        whole : bool
            Whether the rows of a call must be given together, because their number is
            the question; otherwise as many at a time as the file takes.

        Raises
        ------
        ModelFileError
            The runtime crashes on it, or takes too long.
        """
        self.renew()
        answers = []
        try:
            for x in probe.given:
                answers.append(self.run(x, x.rows if whole else self.batch or x.rows))
        except RuntimeRefused as error:
            return Answer(refused=self._own_words(error))
        sizes = {tuple(y.shape[1:] for y in outputs) for outputs in answers}
        if len(sizes) > 1:
            return Answer(outputs=answers[0])
        return Answer([np.concatenate(calls) for calls in zip(*answers, strict=True)])

    def _own_words(self, error: Exception) -> str:
        return str(error).removeprefix(f"{self.session.path}: ")

    def run(self, x: Inputs, count: int) -> list[Array]:
        """Return the outputs for rows that are given `count` at a time.

        The last rows are repeated to fill a batch up.

        Raises
        ------
        RuntimeRefused
            The runtime does not take them.
        """
        if x.rows == count:
            return self._call(x)
        found = []
        for first in range(0, x.rows, count):
            rows = np.minimum(np.arange(first, first + count), x.rows - 1)
            kept = min(count, x.rows - first)
            found.append([y[:kept] for y in self._call(x.take(rows))])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def _call(self, x: Inputs) -> list[Array]:
        outputs = self.session.run(self.feeds(x))
        for info, name in self.matching.states:
            self._states[info.name] = outputs[name]
        return self.matching.leaves(outputs)

    def feeds(self, x: Inputs) -> dict[str, Array]:
        """Return what the file is given: the rows, and the states of the last call."""
        states = self._states or self.matching.zero_states(x.rows)
        return {**self.matching.feeds(x), **states}


class RuntimeOutputs(Source):
    """Give out the outputs that an exported file computes for the rows of a source.

    Parameters
    ----------
    runner : Runner
    source : Source
        The inputs.

    Notes
    -----
    The rows are computed anew each time they are asked for. Those of a stateful model
    depend on the rows before them, and are computed from the first on.
    """

    def __init__(self, runner: Runner, source: Source) -> None:
        self.runner, self.source = runner, source
        self.rows = source.rows

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield the outputs of the rows from `start` on; see `Source`.

        Raises
        ------
        DataError
            The runtime does not take these inputs.
        """
        if self.runner.net.stateful:
            yield from rebatch(self._computed(0), size, start)
        else:
            yield from rebatch(self._computed(start), size)

    def _computed(self, start: int) -> Iterator[Data]:
        self.runner.renew()
        count = self.runner.batch or self.runner.net.spec.batch_size or RUN_ROWS
        step = max(1, RUN_ROWS // count) * count
        for first in batch_starts(self.rows, step, start):
            rows = np.arange(first, min(first + step, self.rows))
            x = prepared_rows(self.runner.net, self.source, rows)
            yield self._data(self.runner.run(x, min(count, max(x.rows, 1))))

    def take(self, rows: Array) -> Data:
        """Return the outputs of chosen rows."""
        if self.runner.net.stateful:
            return super().take(rows)
        x = prepared_rows(self.runner.net, self.source, np.asarray(rows))
        self.runner.renew()
        count = self.runner.batch or min(RUN_ROWS, max(x.rows, 1))
        return self._data(self.runner.run(x, count))

    def _data(self, outputs: Sequence[Array]) -> Data:
        names = self.runner.net.output_names
        if len(outputs) == 1:
            return outputs[0]
        return dict(zip(names, outputs, strict=True))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the inputs and of the exported file."""
        digest = hashlib.sha256(self.source.fingerprint().encode())
        path = self.runner.session.path
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(file.read_bytes())
        return digest.hexdigest()


def first_working_batch(answers: dict[int, Answer]) -> int | None:
    """Return the number of rows to give at a time, from the answers to the batches.

    Parameters
    ----------
    answers : dict of int to Answer
        Number of rows -> what the file answered to so many at a time.

    Returns
    -------
    int or None
        None if it takes any of these numbers.

    Raises
    ------
    DataError
        It takes none of them.
    """
    taken = [count for count, answer in answers.items() if not answer.refused]
    if not taken:
        said = next(iter(answers.values())).refused
        raise DataError(f"the runtime takes none of the probe inputs: {said}")
    return None if len(taken) == len(answers) else taken[0]
