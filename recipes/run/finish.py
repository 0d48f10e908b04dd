"""End a run: verify the model, print the results and write ``metrics.json``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import verify
from recipes.run.folder import RunFolder
from recipes.run.jax_epochs import TEST_BATCH
from recipes.run.options import RunOptions
from recipes.run.training import TrainedModel, peak_memory_mib
from verify.errors import printable
from verify.forward.layers import REGISTRY
from verify.keras_bridge import without_tensorflow
from verify.model.arrays import Array
from verify.report.report import Report, number


@dataclass(frozen=True)
class Verdicts:
    """Sum up the reports of several models.

    Attributes
    ----------
    verdict : Verdict
        The worst of them.
    max_diff : float
        The greatest |NumPy - predict|.
    """

    verdict: verify.Verdict
    max_diff: float


@dataclass(frozen=True)
class RunResult:
    """Hold one line of the closing table; a study has no accuracy."""

    recipe: str
    parameters: int | None
    accuracy: float | None
    macro_f1: float | None
    seconds: float
    report: Report | Verdicts

    @property
    def max_diff(self) -> float:
        """Return the greatest |NumPy - predict|."""
        if isinstance(self.report, Report):
            return self.report.numerics.max_diff
        return self.report.max_diff


def finish(
    recipe: str,
    options: RunOptions,
    trained: TrainedModel,
    x: Array,
    metrics: Mapping[str, Any] | Callable[[Array], Mapping[str, Any]],
) -> RunResult:
    """Verify the model, print the verdict, and write ``metrics.json``.

    Parameters
    ----------
    recipe : str
    options : RunOptions
    trained : TrainedModel
    x : (rows, ...)
        The inputs that the model is verified on.
    metrics : mapping, or callable
        The measurements of this recipe, with ``accuracy`` and ``macro_f1`` where there
        are test rows; or a function that prints and returns them, given the outputs of
        Keras's predict for x: (rows, ...).
    """
    folder, (_, progress, net) = options.folder, trained
    report, outputs = verify_run(folder, net, x)
    if callable(metrics):
        metrics = metrics(outputs)
    print_report(report)
    folder.write_json(
        "metrics.json",
        {
            "recipe": recipe,
            "parameters": net.spec.parameters,
            "epochs": progress.epochs,
            **metrics,
            "seconds": round(progress.seconds, 2),
            "peak_memory_mib": peak_memory_mib(),
            "backend": report.facts["backend"],
            "verdict": str(report.verdict),
        },
    )
    print_folder(folder)
    return RunResult(
        recipe,
        net.spec.parameters,
        metrics.get("accuracy"),
        metrics.get("macro_f1"),
        progress.seconds,
        report,
    )


def verify_run(
    folder: RunFolder, net: verify.Network, x: Array
) -> tuple[Report, Array]:
    """Verify the trained model of a run, and write ``verification.json``.

    Parameters
    ----------
    folder : RunFolder
    net : Network
        The model in the folder's ``model.keras``; it has one output.
    x : (rows, ...)

    Returns
    -------
    report : Report
    outputs : (rows, ...)
        The outputs of Keras's predict for x.
    """
    outputs: list[Array] = []
    with without_tensorflow():
        report = verify.check(
            str(folder / "model.keras"),
            x,
            loaded=net,
            batch_size=TEST_BATCH,
            on_batch=lambda predicted: outputs.append(predicted[0]),
        )
    folder.write_json("verification.json", report.to_dict())
    return report, np.concatenate(outputs)


def print_folder(folder: RunFolder) -> None:
    """Print on stderr where the files of a run are."""
    print(f"\nEverything is in {printable(folder.path)}", file=sys.stderr)


def print_table(results: Sequence[RunResult]) -> None:
    """Print the table of all runs of a command."""
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
    for result in results:
        scores = (result.accuracy, result.macro_f1)
        table.add_row(
            result.recipe,
            "-" if result.parameters is None else f"{result.parameters:,}",
            *("-" if score is None else f"{score:.4f}" for score in scores),
            f"{result.seconds:.1f}",
            number(result.max_diff),
            str(result.report.verdict),
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print(table)


def print_parameters(net: verify.Network) -> None:
    """Print how many parameters each layer has, and the formula for it."""
    spec = net.spec
    print("\nparameters")
    width = max(len(layer.name) for layer in spec)
    for layer in spec:
        if layer.parameters:
            formula = REGISTRY[layer.class_name].formula(layer)
            print(f"  {layer.name:<{width}}  {formula} = {layer.parameters:,}")
    print(f"  {'total':<{width}}  {spec.parameters:,}")


def print_report(report: Report) -> None:
    """Print the verdict in one line, or the whole report unless it is a pass."""
    if report.verdict is not verify.Verdict.PASS or report.proof is None:
        print(f"\n{report.to_text()}")
        return
    rows, backend = report.facts["rows"], report.facts["backend"]
    where = "" if backend == "tensorflow" else f" of Keras on {backend}"
    print(
        f"\n{report.verdict}: NumPy reproduces predict{where} on {rows:,} row(s): "
        f"max |difference| {number(report.numerics.max_diff)} in float32 (allowed "
        f"{number(report.numerics.allowed)}), {number(report.proof.max_diff)} "
        "in float64"
    )
