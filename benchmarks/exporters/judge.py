"""Judge an exported file by ``rnn-verify``: its probes, verdicts and reasons."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import verify
from benchmarks.exporters.environments import Worker
from benchmarks.exporters.plan import Route
from verify.errors import VerifyError
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.ports.exported import compare_exported
from verify.ports.probes import Probe, probes

RIGHT, WRONG, PARTLY, NOT_EXPORTED, NOT_RUN, UNDECIDED = (
    *("right", "wrong", "partly", "not exported", "not run", "undecided"),
)
"""What can be said of a model and a route. ``partly``: what the file answers is right,
and it refuses some of what the model takes."""

DIAGNOSIS_SECONDS = 2.0


@dataclass(frozen=True)
class Found:
    """Hold what came of one model on one route.

    Attributes
    ----------
    verdict : str
        `RIGHT`, `WRONG` and so on.
    reason : str
        In one sentence; empty if all is right.
    difference : float or None
        Greatest difference of an output that is not wrong, or of the wrong ones.
    probes : dict of str to str
        Name of a probe -> right, WRONG, refused or undecided, and what was said.
    where : tuple of str
        Where inside the file it goes wrong.
    carried : dict of str to int
        Operators of an ONNX file that carry a recurrence -> how many.
    """

    verdict: str
    reason: str = ""
    difference: float | None = None
    probes: dict[str, str] = field(default_factory=dict)
    where: tuple[str, ...] = ()
    carried: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value}


def judged(
    model: Path, exported: Path, route: Route, worker: Worker, folder: Path
) -> Found:
    """Return what is right and wrong with an exported file."""
    if not route.runs:
        return Found(NOT_RUN, "nothing on this machine runs it")
    if route.own_runtime:
        return _by_its_own_runtime(model, exported, route, worker, folder)
    carried = _carried(exported)
    try:
        report = compare_exported(
            model,
            exported,
            tolerance=route.tolerance,
            diagnosis_seconds=DIAGNOSIS_SECONDS,
        )
    except VerifyError as error:
        return Found(NOT_RUN, _without(str(error), model, exported), carried=carried)
    told = {
        probe.name: f"{probe.verdict}: {probe.said}" if probe.said else probe.verdict
        for probe in report.probes
    }
    differences = [
        probe.comparison.max_diff
        for probe in report.wrong or report.probes
        if probe.comparison is not None and not probe.comparison.problem
    ]
    difference = float(max(differences)) if differences else None
    where = report.location.sentences if report.location is not None else ()
    verdict = _verdict([str(probe.verdict) for probe in report.probes])
    reason = "" if verdict == RIGHT else "; ".join(report.findings) or report.reason
    return Found(
        verdict,
        _without(reason, model, exported),
        difference,
        {name: _without(str(text), model, exported) for name, text in told.items()},
        where or ((report.located,) if report.located else ()),
        carried,
    )


def _verdict(verdicts: list[str]) -> str:
    """Return the verdict on a file from those on its probes."""
    if "WRONG" in verdicts:
        return WRONG
    if "right" in verdicts:
        return PARTLY if "refused" in verdicts else RIGHT
    return NOT_RUN if "refused" in verdicts else UNDECIDED


def _without(text: str, *paths: Path) -> str:
    """Return a text without the names of files, which are those of this machine."""
    for path in paths:
        text = text.replace(f"{path}: ", "").replace(str(path), "the file")
    return text


def _carried(exported: Path) -> dict[str, int]:
    """Return how many operators of each recurrent kind an ONNX file has."""
    if exported.suffix != ".onnx":
        return {}
    import onnx

    found: dict[str, int] = {}
    with contextlib.suppress(Exception):
        for node in _nodes(onnx.load(exported).graph):
            if node.op_type in ("LSTM", "GRU", "RNN", "Loop", "Scan", "If"):
                found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _by_its_own_runtime(
    model: Path, exported: Path, route: Route, worker: Worker, folder: Path
) -> Found:
    """Judge outputs that the program of the route has computed, probe by probe.

    Calls of a probe are made one by one in a fresh runtime, so that a state it keeps
    does not show: these runtimes are given a project, not an interpreter.
    """
    net = verify.load(model)
    told: dict[str, str] = {}
    differences: dict[str, float] = {}
    for probe in probes(net):
        if len(probe.calls) > 1:
            continue
        answer = _answer(net, probe, exported, worker, folder)
        if isinstance(answer, str):
            told[probe.name] = f"refused: {answer}"
            continue
        told[probe.name], differences[probe.name] = _compared(
            net, probe, answer, route.tolerance
        )
    verdict = _verdict([text.partition(":")[0] for text in told.values()])
    wrong = [name for name, text in told.items() if text.startswith("WRONG")]
    greatest = [differences[name] for name in wrong or differences]
    reasons = {
        text.partition(": ")[2]: name
        for name, text in reversed(told.items())
        if not text.startswith("right")
    }
    reason = "; ".join(f"{name}: {text}" for text, name in reversed(reasons.items()))
    stateful = any(layer.options.get("stateful") for _, layer in net.spec.walk())
    if verdict == RIGHT and stateful:
        verdict, reason = UNDECIDED, "it was asked for single calls"
    return Found(verdict, reason, max(greatest) if greatest else None, told)


def _answer(
    net: Network, probe: Probe, exported: Path, worker: Worker, folder: Path
) -> list[Array] | str:
    """Return the outputs for a probe, or what the runtime said."""
    given, kept = folder / "inputs.npz", folder / "outputs.npz"
    arrays: dict[str, Any] = {
        f"input_{k}": array.astype(layer.options["dtype"] or array.dtype)
        for k, (array, layer) in enumerate(
            zip(probe.given[0], net.spec.inputs, strict=True)
        )
    }
    np.savez(given, **arrays)
    answer = worker.ask(out=exported, inputs=given, outputs=kept)
    if "error" in answer:
        return str(answer["error"])
    with np.load(kept) as file:
        return [file[f"output_{k}"] for k in range(len(file.files))]


def _compared(
    net: Network, probe: Probe, answer: list[Array], tolerance: float | None
) -> tuple[str, float]:
    """Return the verdict on the outputs for a probe, and their greatest difference."""
    expected = net.flat(probe.calls[0])
    if len(answer) != len(expected):
        return f"WRONG: {len(answer)} outputs, not {len(expected)}", np.inf
    answer = [
        y.reshape(e.shape) if y.size == e.size else y
        for y, e in zip(answer, expected, strict=True)
    ]
    greatest = 0.0
    for y, e in zip(answer, expected, strict=True):
        if y.shape != e.shape:
            return f"WRONG: an output of shape {y.shape}, not {e.shape}", np.inf
        greatest = max(greatest, float(np.abs(y - e).max()))
    if tolerance is not None:
        right = greatest <= tolerance
        return ("right" if right else f"WRONG: off by {greatest:.2g}"), greatest
    outputs = answer if len(answer) > 1 else answer[0]
    x = list(probe.calls[0]) if len(probe.calls[0]) > 1 else probe.calls[0][0]
    report = verify.compare_outputs(
        net, x, outputs, diagnosis_seconds=DIAGNOSIS_SECONDS
    )
    if report:
        return "right", greatest
    verdict = "WRONG" if report.verdict.exit_code == 1 else "undecided"
    return f"{verdict}: off by {greatest:.2g}", greatest
