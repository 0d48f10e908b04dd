"""Plant known mistakes in whole models, and see which a diagnosis names.

    python -m benchmarks.trust.whole_models

It writes benchmarks/results/trust_models.json and trust_models.md. Three kinds of
mistakes are planted in each model of `six_models`, one at a time: those in one layer,
the same mistake in several layers at once, and those between layers (states, masks,
weights exchanged, what the model is given). Of each kind, `--sample` are drawn at
random, always the same ones; those that leave the outputs as they are, or give them
another shape, are not drawn. A port in float32 returns the outputs of ROWS rows. The
columns of the table are:

*mistakes*, *planted*
    how many there are for the model, of all three kinds, and how many were planted
*hidden*
    how many were drawn, but not planted, because they change the outputs by less than
    the noise floor of float32: a single weight that is 0.1 % too large, for example
*caught*
    share of those planted for which the verdict is FAIL
*named*
    share of those caught of which the diagnosis names the mistake, or one that gives
    the same outputs
*itself*
    share of those caught of which it names the very mistake that was planted
*false*
    causes that are named, though with them the model gives other outputs than the port
*seconds*, *95 %*
    time of a verdict with its diagnosis: median and 95th percentile

Whether two mistakes give the same outputs is decided on FRESH_ROWS rows that the
diagnosis has not seen: they do if they differ by no more than the noise floor of
float32. The right model must pass, with the outputs of Keras's `predict`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import verify
from benchmarks.machine import Machine
from benchmarks.output import RESULTS_FOLDER
from benchmarks.trust.six_models import SIX_MODELS, WholeModel
from benchmarks.trust.tables import write_table
from benchmarks.turns import BenchmarkError
from verify.console.tables import markdown_row, markdown_table
from verify.forward.evaluable import Inputs
from verify.keras_bridge import KerasModel
from verify.mistakes.catalogue import Mutant, catalogue, same_mistakes
from verify.mistakes.catalogue.attempts import FAILURES
from verify.mistakes.explanation import Explanation
from verify.model.arrays import Array
from verify.tolerance.compare import Verdict, compare_all
from verify.tolerance.noise_floor import float64_tolerance, noise_floor

ROWS, FRESH_ROWS = 96, 256
"""More rows than a diagnosis looks at, and more than a batch of `predict`."""

SAMPLE = 12
"""Mistakes of each kind that are planted in a model."""

KINDS = ("in one layer", "in several layers", "between layers")
TABLE_HEADS = (
    "model", "mistakes", "planted", "hidden", "caught", "named", "itself", "false",
    "seconds", "95 %",
)  # fmt: skip


@dataclass(frozen=True)
class ModelTrust:
    """Hold one line of the table; the docstring of this module explains the columns.

    Shares are between 0 and 1. `false` is a number of causes.
    """

    model: str
    mistakes: int
    planted: int
    hidden: int
    caught: float
    named: float
    itself: float
    false: int
    seconds: float
    seconds_p95: float

    def line(self) -> str:
        """Return the line in Markdown."""
        return markdown_row(
            self.model,
            f"{self.mistakes:,}",
            str(self.planted),
            str(self.hidden),
            f"{self.caught:.1%}",
            f"{self.named:.1%}",
            f"{self.itself:.1%}",
            str(self.false),
            f"{self.seconds:.1f}",
            f"{self.seconds_p95:.1f}",
        )


@dataclass(frozen=True)
class Finding:
    """Hold what was said of one mistake that was planted.

    Attributes
    ----------
    kind : str
        One of KINDS.
    mistake, layer : str
        What was planted.
    caught : bool
        Whether the verdict is FAIL.
    causes : list of (str, str)
        Mistake and layer of each cause that is named.
    true : list of bool
        Which of them give the outputs of the planted mistake.
    seconds : float
    """

    kind: str
    mistake: str
    layer: str
    caught: bool
    causes: list[tuple[str, str]]
    true: list[bool]
    seconds: float

    @property
    def itself(self) -> bool:
        """Return whether the mistake that was planted is among the causes."""
        return (self.mistake, self.layer) in self.causes

    @property
    def complaint(self) -> str:
        """Return what is wrong with what was said; empty if nothing is."""
        if not self.caught:
            return "not caught"
        if not all(self.true):
            return f"false cause among {self.causes}"
        return "" if self.causes else "not named"


def mistakes_of(net: verify.Network) -> dict[str, list[Mutant]]:
    """Return the mistakes of each kind that can be planted in a network."""
    one, between = list[Mutant](), list[Mutant]()
    for mutant in catalogue(net.spec):
        (one if len(mutant.changes) == 1 else between).append(mutant)
    several = list(same_mistakes(net.spec))
    return dict(zip(KINDS, (one, several, between), strict=True))


class Planting:
    """Plant mistakes in one model.

    Parameters
    ----------
    whole : WholeModel

    Raises
    ------
    BenchmarkError
        The right model does not pass with the outputs of Keras.
    """

    def __init__(self, whole: WholeModel) -> None:
        model = whole.build()
        self.net = verify.load(model)
        self.x = self.net.prepare(_argument(whole.rows(ROWS, 1)))
        self.fresh = self.net.prepare(_argument(whole.rows(FRESH_ROWS, 2)))
        self.right = self.net.flat(self.x, dtype="float64")
        self.exact = [float64_tolerance(y).atol for y in self.right]
        self.rounding = floors(self.right, self.net.flat(self.x))
        self.hidden = 0
        self.mistakes = mistakes_of(self.net)
        batch = self.net.spec.batch_size or 32
        report = self._report(KerasModel(model, batch).predict(self.x))
        if report.verdict is not Verdict.PASS:
            raise BenchmarkError(f"{whole.name}: the outputs of Keras do not pass")

    def _report(self, outputs: Sequence[Array]) -> verify.Report:
        return verify.compare_outputs(self.net, _argument(self.x), list(outputs))

    def drawn(self, sample: int, seed: int = 3) -> Iterator[tuple[str, Mutant]]:
        """Yield the kind of some mistakes that show in the outputs, and the mistakes.

        Those that rounding hides are counted.
        """
        for kind, mutants in self.mistakes.items():
            rng = np.random.default_rng(seed)
            left = sample
            for k in rng.permutation(len(mutants)):
                if not left:
                    break
                outputs = self._outputs(mutants[k])
                if outputs is None or self._same(outputs, self.exact):
                    continue
                left -= 1
                if self._same(outputs, self.rounding):
                    self.hidden += 1
                else:
                    yield kind, mutants[k]

    def _outputs(self, mutant: Mutant) -> list[Array] | None:
        """Return what a mistake makes, None if that has no shape of the outputs."""
        try:
            outputs = mutant.evaluate(self.x)
        except FAILURES:
            return None
        shapes = [y.shape for y in self.right]
        return outputs if [y.shape for y in outputs] == shapes else None

    def _same(self, outputs: Sequence[Array], allowed: Sequence[Array]) -> bool:
        return compare_all(outputs, self.right, allowed=allowed).matches

    def find(self, kind: str, planted: Mutant) -> Finding:
        """Return what a diagnosis says of a port with a mistake."""
        outputs = [y.astype(np.float32) for y in planted.evaluate(self.x, None)]
        began = time.perf_counter()
        report = self._report(outputs)
        seconds = time.perf_counter() - began
        explanations = report.diagnosis.explanations if report.diagnosis else ()
        return Finding(
            kind,
            planted.name,
            planted.layer,
            report.verdict is Verdict.FAIL,
            [(found.mistake, found.layer) for found in explanations],
            [self.agree(planted, found) for found in explanations],
            seconds,
        )

    def agree(self, planted: Mutant, found: Explanation) -> bool:
        """Say whether a cause gives the outputs of a mistake, on fresh rows.

        One that is no mistake in the model, but in how its outputs are presented, does
        not: none of those is planted.
        """
        mutant = found.mutant
        return mutant is not None and same_outputs(planted, mutant, self.fresh)


def same_outputs(one: Mutant, other: Mutant, x: Inputs) -> bool:
    """Say whether two mistakes give the same outputs but for rounding in float32."""
    mine, theirs = one.evaluate(x), other.evaluate(x)
    if [y.shape for y in mine] != [y.shape for y in theirs]:
        return False
    allowed = floors(mine, one.evaluate(x, None))
    return compare_all(theirs, mine, allowed=allowed).matches


def floors(float64: Sequence[Array], single: Sequence[Array]) -> list[Array]:
    """Return the noise floor of each output, from outputs in float64 and float32."""
    pairs = zip(float64, single, strict=True)
    return [noise_floor(reference, other).atol for reference, other in pairs]


def _argument(arrays: Sequence[Array]) -> list[Array] | Array:
    """Return inputs as `predict` takes them: the array itself if there is one."""
    return arrays[0] if len(arrays) == 1 else list(arrays)


def measure(whole: WholeModel, sample: int = SAMPLE) -> ModelTrust:
    """Plant mistakes in one model, and print those that are not named rightly."""
    planting = Planting(whole)
    findings = []
    for kind, mutant in planting.drawn(sample):
        findings.append(found := planting.find(kind, mutant))
        if found.complaint:
            print(
                f"  {whole.name}, {kind}, '{found.layer}' {found.mistake}: "
                f"{found.complaint} ({found.seconds:.0f} s)",
                flush=True,
            )
    mistakes = sum(map(len, planting.mistakes.values()))
    return summed(whole.name, mistakes, planting.hidden, findings)


def summed(
    model: str, mistakes: int, hidden: int, findings: Sequence[Finding]
) -> ModelTrust:
    """Return the line of the table for what was found."""
    caught = [found for found in findings if found.caught]
    seconds = [found.seconds for found in caught]
    return ModelTrust(
        model=model,
        mistakes=mistakes,
        planted=len(findings),
        hidden=hidden,
        caught=len(caught) / len(findings),
        named=float(np.mean([any(found.true) for found in caught])),
        itself=float(np.mean([found.itself for found in caught])),
        false=sum(found.true.count(False) for found in findings),
        seconds=float(np.median(seconds)),
        seconds_p95=float(np.quantile(seconds, 0.95)),
    )


def main(argv: list[str] | None = None) -> None:
    """Print the table, and write it if all models were measured with full samples."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--sample", type=int, default=SAMPLE, help="mistakes of each kind in a model"
    )
    parser.add_argument("--only", help="a part of the names of the models to measure")
    arguments = parser.parse_args(argv)
    print(markdown_table(TABLE_HEADS, []))
    rows = []
    for whole in SIX_MODELS:
        if arguments.only is None or arguments.only in whole.name:
            rows.append(measure(whole, arguments.sample))
            print(rows[-1].line(), flush=True)
    if len(rows) == len(SIX_MODELS) and arguments.sample == SAMPLE:
        write(rows, Machine.here(), RESULTS_FOLDER)


def write(rows: list[ModelTrust], machine: Machine, folder: Path) -> None:
    """Write trust_models.json and trust_models.md into a folder."""
    write_table(
        "trust_models",
        "What a diagnosis names in whole models",
        "python -m benchmarks.trust.whole_models",
        TABLE_HEADS,
        rows,
        machine,
        folder,
        sample=SAMPLE,
    )


if __name__ == "__main__":
    main()
