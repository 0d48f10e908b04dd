"""Run one route in its environment: ``python -m benchmarks.exporters.worker ROUTE``.

Each line on standard input is a request in JSON, each line on standard output its
answer. What the exporter prints goes to standard error. It imports nothing of
``verify``, and the route only when the first request comes.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

REASON_LENGTH = 300
"""Characters of an exporter's message that are kept."""

EMPTY_TALK = (
    "Exception encountered when calling",
    "Check '",
    "Exception from src",
    "FrontEnd API failed",
    "Model wasn't fully converted",
    "Summary:",
    "[ONNX Frontend] Conversion failed",
    "[TensorFlow Frontend]",
    "While validating",
)
"""What messages begin with before they say what is wrong."""


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # exporters print
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return what came of a request, or the error in its place."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            found = _done(request)
        found["warnings"] = sorted({_first_line(str(w.message)) for w in caught})
        return found
    except BaseException as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {_first_line(str(error))}"
        return {"error": text[:REASON_LENGTH]}


def _done(request: dict[str, Any]) -> dict[str, Any]:
    if "packages" in request:
        names = request["packages"]
        return {"versions": {name: importlib.metadata.version(name) for name in names}}
    route = importlib.import_module(f"benchmarks.exporters.routes.{request['route']}")
    if "inputs" in request:
        import numpy as np

        with np.load(request["inputs"]) as file:
            inputs = [file[f"input_{k}"] for k in range(len(file.files))]
        found = route.outputs(Path(request["out"]), inputs)
        np.savez(request["outputs"], **{f"output_{k}": y for k, y in enumerate(found)})
        return {}
    route.export(Path(request["source"]), Path(request["out"]))
    return {}


def _first_line(text: str) -> str:
    """Return the first line that says something."""
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line.strip(" -=*")]
    telling = (
        line.removeprefix("-- ")
        for line in lines
        if not line.startswith(EMPTY_TALK) and not line.endswith("with a message:")
    )
    return next(telling, lines[0] if lines else "")


if __name__ == "__main__":
    main()
