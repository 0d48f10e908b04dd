"""End a run: verify the model, print the results and write ``metrics.json``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import verify
from recipes import plots
from recipes.run import verifier
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions
from recipes.run.training import (
    TEST_BATCH,
    Progress,
    TrainedModel,
    peak_memory_mib,
)
from verify.errors import printable
from verify.forward.layers import REGISTRY
from verify.model.arrays import Array
from verify.report.report import Report, number

Outputs = Callable[[], Array]

BACKEND_NAMES = {"tensorflow": "TensorFlow", "jax": "JAX"}


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
    metrics: Mapping[str, Any] | Callable[[Outputs], Mapping[str, Any]],
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
        are test rows; or a function that prints and returns them, given a function that
        returns the outputs of the trained model's predict for x: (rows, ...).
    """
    folder, (_, progress, net) = options.folder, trained
    verification = verify_run(folder, trained, x)
    write_curves(recipe, folder, progress)
    if callable(metrics):
        metrics = metrics(verification.outputs)
    report = verification.report()
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
            "verified_on": report.facts["backend"],
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


@dataclass(frozen=True)
class Verification:
    """Hold a verification that may still be under way in another process.

    Attributes
    ----------
    outputs : callable
        ``outputs()`` returns the outputs of the trained model's predict: (rows, ...).
    report : callable
        ``report()`` waits for the report, and writes ``verification.json``.
    """

    outputs: Outputs
    report: Callable[[], Report]


def verify_run(folder: RunFolder, trained: TrainedModel, x: Array) -> Verification:
    """Begin to verify the model of a run, read back from its file.

    A model that was trained on another backend than TensorFlow is verified on
    TensorFlow, by another process; if that is not possible, here, where it was trained.

    Parameters
    ----------
    folder : RunFolder
    trained : TrainedModel
        The model in the folder's ``model.keras``; it has one output.
    x : (rows, ...)
    """
    path = str(folder / "model.keras")

    def here() -> tuple[Report, Array]:
        outputs: list[Array] = []
        report = verify.check(
            path,
            x,
            loaded=trained.net,
            batch_size=TEST_BATCH,
            on_batch=lambda predicted: outputs.append(predicted[0]),
        )
        return report, np.concatenate(outputs)

    def written(report: Report) -> Report:
        folder.write_json("verification.json", report.to_dict())
        return report

    if verifier.ask(verifier.Request(path, x, TEST_BATCH)):
        return Verification(
            lambda: trained.model.predict(x, batch_size=TEST_BATCH, verbose=0),
            lambda: written(verifier.answer() or here()[0]),
        )
    report, outputs = here()
    written(report)
    return Verification(lambda: outputs, lambda: report)


def write_curves(recipe: str, folder: RunFolder, progress: Progress) -> None:
    """Draw ``curves.png``."""
    title = f"{recipe}: loss and accuracy by epoch"
    folder.write("curves.png", plots.png(plots.curves(progress.history, title)))


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
    rows, on = report.facts["rows"], report.facts["backend"]
    print(
        f"\n{report.verdict}: NumPy reproduces predict on {rows:,} row(s), with Keras "
        f"on {BACKEND_NAMES.get(on, on)}: "
        f"max |difference| {number(report.numerics.max_diff)} in float32 (allowed "
        f"{number(report.numerics.allowed)}), {number(report.proof.max_diff)} "
        "in float64"
    )
