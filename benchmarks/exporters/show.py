"""Run ``python -m benchmarks.exporters.show``: `rnn-verify compare` on real exports.

Some of them are silently wrong. Prints verdict, probe and place of each, and keeps that
in ``benchmarks/results/exported_files.md``. The files must have been exported before,
by ``make exporters``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.exporters.__main__ import exported_file, model_file
from benchmarks.exporters.environments import ROOT
from benchmarks.exporters.models import MODELS
from benchmarks.exporters.plan import ROUTES
from benchmarks.output import RESULTS_FOLDER, put

SHOWN = (
    ("onnx", "lstm"),
    ("onnx", "gru_masked"),
    ("onnx", "both_concat"),
    ("onnx", "encoder_decoder"),
    ("onnx", "lstm_stateful"),
    ("onnx", "gru_stateful"),
    ("onnx-torch", "lstm"),
    ("onnx-torch", "lstm_time_none"),
    ("onnx-torch", "gru_time_none"),
    ("onnx-torch", "both_time_none"),
    ("litert-one-row", "lstm"),
    ("litert-one-row", "encoder_decoder"),
    ("litert-one-row", "gru_stateful"),
    ("openvino", "gru"),
    ("openvino", "lstm_masked_time_none"),
    ("openvino-onnx", "lstm"),
    ("openvino-onnx", "lstm_stateful"),
    ("saved-model", "stacked_masked"),
)
"""Route and model of each file."""

RESULT = RESULTS_FOLDER / "exported_files.md"


def main() -> None:
    """Compare each file with its model and print what is found."""
    lines: list[str] = []
    verdicts: list[str] = []
    for route, model in SHOWN:
        report = compared(route, model)
        verdicts.append(report["verdict"])
        found = list(told(route, model, report))
        print("\n".join(found))
        lines += found
    counts = {v: verdicts.count(v) for v in sorted(set(verdicts))}
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    lines += ["", f"{len(SHOWN)} exported files: {words}."]
    print(lines[-1])
    head = "# Exported files, compared\n\n`python -m benchmarks.exporters.show`\n\n"
    put((head + "\n".join(lines) + "\n").encode(), RESULT)


def compared(route: str, model: str) -> dict[str, Any]:
    """Return the report of `rnn-verify compare` as JSON values."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "verify", "compare", "--json"),
            *(model_file(model), exported_file(route, model)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if not done.stdout:
        said = done.stderr.strip().splitlines()
        return {"verdict": "refused", "reason": said[-1] if said else ""}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(route: str, model: str, report: dict[str, Any]) -> Iterator[str]:
    """Yield what a report says, in a few lines of Markdown."""
    yield f"- **{report['verdict']}** {ROUTES[route].title}: {MODELS[model].title}"
    probes = report.get("probes", [])
    wrong = [p["name"] for p in probes if p["verdict"] == "WRONG"]
    right = [p["name"] for p in probes if p["verdict"] == "right"]
    refused = [p["name"] for p in probes if p["verdict"] == "refused"]
    for word, names in (("right", right), ("WRONG", wrong), ("refused", refused)):
        if names:
            yield f"  - {word}: {', '.join(names)}"
    for finding in report.get("findings", []):
        yield f"  - {finding}"
    location = report.get("location")
    if location:
        yield from (f"  - where: {text}" for text in location["sentences"])
    elif report.get("located"):
        yield f"  - where: {report['located']}"
    if not probes:
        yield f"  - {report['reason']}"


if __name__ == "__main__":
    main()
