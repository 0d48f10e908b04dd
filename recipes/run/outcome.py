"""How every recipe ends: the model is verified, and a line of the table is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import verify
from recipes.run.folder import RunFolder
from verify.checks.against_keras import check_read
from verify.forward.layers import REGISTRY
from verify.model.arrays import Array
from verify.report.report import Report, number


@dataclass(frozen=True)
class RunOptions:
    """What a run needs besides its recipe's Config."""

    folder: RunFolder
    resume: bool = False
    csv: str | None = None
    command: str = ""
    verified_rows: int | None = None
    """How many test rows the verification takes; all where it is None."""


@dataclass(frozen=True)
class Verdicts:
    """Several models in one: the worst verdict, the greatest |NumPy - predict|."""

    verdict: verify.Verdict
    max_diff: float


@dataclass(frozen=True)
class Outcome:
    """One line of the closing table; a study has no accuracy of its own."""

    recipe: str
    parameters: int | None
    accuracy: float | None
    macro_f1: float | None
    seconds: float
    report: Report | Verdicts

    @property
    def max_diff(self) -> float:
        """The greatest |NumPy - predict|."""
        if isinstance(self.report, Report):
            return self.report.numerics.max_diff
        return self.report.max_diff


TEST_BATCH = 256
"""Rows that Keras takes at a time where nothing is learnt from them: as rows do not
depend on each other, that is a matter of time alone."""


def verified(folder: RunFolder, net: verify.Network, x: Array) -> tuple[Report, Array]:
    """Verify the model a run has trained on these inputs, and keep the report.

    Parameters
    ----------
    folder : RunFolder
    net : Network
        What was read of the folder's model, which has one output.
    x : (rows, ...)

    Returns
    -------
    report : Report
    outputs : (rows, ...)
        What predict returned on the way.
    """
    outputs: list[Array] = []

    def listening(
        function: Callable[..., Any], items: Iterable[Any], *, shared: Mapping[str, Any]
    ) -> Iterator[Any]:
        for piece in items:
            outputs.append(piece.theirs[0])
            yield function(piece, **shared)

    report = check_read(
        net,
        str(folder / "model.keras"),
        x,
        batch_size=TEST_BATCH,
        mapper=listening,
    )
    folder.write_json("verification.json", report.to_dict())
    return report, np.concatenate(outputs)


def print_table(outcomes: Sequence[Outcome]) -> None:
    """The closing table, on stdout."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for heading in (
        "parameters", "test accuracy", "macro-F1", "seconds", "max |NumPy - predict|",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    table.add_column("verdict", no_wrap=True)
    for outcome in outcomes:
        scores = (outcome.accuracy, outcome.macro_f1)
        table.add_row(
            outcome.recipe,
            "-" if outcome.parameters is None else f"{outcome.parameters:,}",
            *("-" if score is None else f"{score:.4f}" for score in scores),
            f"{outcome.seconds:.1f}",
            number(outcome.max_diff),
            str(outcome.report.verdict),
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print(table)


def print_parameters(net: verify.Network) -> None:
    """Where each layer's parameter count comes from, on stdout."""
    spec = net.spec
    print("\nparameters")
    width = max(len(layer.name) for layer in spec)
    for layer in spec:
        if layer.parameters:
            formula = REGISTRY[layer.class_name].formula(layer)
            print(f"  {layer.name:<{width}}  {formula} = {layer.parameters:,}")
    print(f"  {'total':<{width}}  {spec.parameters:,}")


def print_report(report: Report) -> None:
    """The verdict in two lines; all of it where it is not a pass."""
    if report.verdict is not verify.Verdict.PASS or report.proof is None:
        print(f"\n{report.to_text()}")
        return
    rows = report.facts["rows"]
    print(
        f"\n{report.verdict}: NumPy reproduces predict on {rows:,} row(s): "
        f"max |difference| {number(report.numerics.max_diff)} in float32 (allowed "
        f"{number(report.numerics.allowed)}), {number(report.proof.max_diff)} "
        "in float64"
    )
