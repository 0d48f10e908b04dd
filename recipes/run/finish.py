"""The last lines of every recipe that trains one model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from recipes.run import training
from recipes.run.outcome import Outcome, RunOptions, print_report, verified
from verify.errors import printable
from verify.model.arrays import Array


def conclude(
    recipe: str,
    options: RunOptions,
    trained: training.TrainedModel,
    x: Array,
    metrics: Mapping[str, Any] | Callable[[Array], Mapping[str, Any]],
) -> Outcome:
    """Verify the model, say so, and leave ``metrics.json``.

    Parameters
    ----------
    recipe : str
    options : RunOptions
    trained : training.TrainedModel
    x : (rows, ...)
        What the model is verified on.
    metrics : mapping, or callable
        What this recipe has measured, ``accuracy`` and ``macro_f1`` among it where
        there is a test; or a function that measures it, and says so, given what
        predict returned for x: (rows, ...).
    """
    folder, (_, progress, net) = options.folder, trained
    report, outputs = verified(folder, net, x)
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
            "peak_memory_mib": training.peak_memory_mib(),
            "verdict": str(report.verdict),
        },
    )
    print(f"\nEverything is in {printable(folder.path)}", file=sys.stderr)
    return Outcome(
        recipe,
        net.spec.parameters,
        metrics.get("accuracy"),
        metrics.get("macro_f1"),
        progress.seconds,
        report,
    )
