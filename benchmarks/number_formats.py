"""Measure what ``--precision`` allows against ports that compute in few bits.

    python -m benchmarks.number_formats --models 300

The models are random: one or two SimpleRNN, LSTM or GRU layers of 4 to 40 units, 3 to
40 steps, weights of three scales, a softmax or linear outputs. The ports are those of
`benchmarks.ports`. For each format:

* *error / allowed*, the greatest of all numbers: above 1 it would be a false alarm;
* *allowed / error*, the median over the models of the median over their numbers: how
  loose the allowance is;
* *allowed / scale*, the median: as a share of the greatest output;
* how many models the format is too coarse for (INCONCLUSIVE);
* of every third mistake of the catalogue in the weights of an LSTM and a GRU, planted
  in the first port, how many end in FAIL, INCONCLUSIVE and PASS, and the greatest
  *effect / allowed* of one that passes, where the effect is measured in float64.

It writes benchmarks/results/number_formats.json, which the table in docs/matches.md is
tested against.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import verify
from benchmarks.machine import Machine
from benchmarks.output import RESULTS_FOLDER, digits, in_json, put
from benchmarks.ports import Port, ports
from verify.console.tables import markdown_row, markdown_table
from verify.keras_bridge import import_keras
from verify.mistakes.catalogue import Mutant, catalogue
from verify.model.arrays import Array
from verify.report.report import Report
from verify.tolerance.compare import Verdict

ROWS = 24
TABLE_HEADS = (
    *("format", "ports", "error / allowed", "allowed / error", "allowed / scale"),
    *("too coarse", "mistakes: FAIL", "INCONCLUSIVE", "PASS", "greatest that passes"),
)


@dataclass
class Measured:
    """Hold what was measured for one format.

    Attributes
    ----------
    ports : int
        Ports of one model.
    errors : list of float
        The greatest error / allowed of each model and port that is decided.
    looseness, shares : list of float
        The median allowed / error, and allowed / scale, likewise.
    undecided : int
        Models and ports that the format is too coarse for.
    verdicts : dict of str to int
        Verdict -> mistakes that ended in it.
    passing : float
        The greatest effect / allowed of a mistake that passed.
    """

    ports: int
    errors: list[float] = field(default_factory=list)
    looseness: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    undecided: int = 0
    verdicts: dict[str, int] = field(
        default_factory=lambda: {str(verdict): 0 for verdict in Verdict}
    )
    passing: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Return the figures of the table."""
        return {
            "ports": self.ports,
            "error / allowed": max(self.errors, default=0.0),
            "allowed / error": _median(self.looseness),
            "allowed / scale": _median(self.shares),
            "too coarse": self.undecided / (self.undecided + len(self.errors)),
            "mistakes": self.verdicts,
            "greatest that passes": self.passing,
        }


def _median(values: list[float]) -> float:
    """Return the median; 0 of none, where no model was decided."""
    return float(np.median(values)) if values else 0.0


def random_model(rng: np.random.Generator) -> tuple[Any, Array]:
    """Return a Keras model with random weights, and inputs for it."""
    layers = import_keras().layers
    kind = getattr(layers, str(rng.choice(["SimpleRNN", "LSTM", "GRU"])))
    units, features = int(rng.choice([4, 16, 40])), int(rng.choice([2, 8, 24]))
    stack = [kind(units, return_sequences=True)] * int(rng.integers(2))
    outputs, steps = int(rng.choice([1, 3])), int(rng.choice([3, 12, 40]))
    activation = str(rng.choice(["softmax", "linear"])) if outputs > 1 else "linear"
    model = import_keras().Sequential(
        [
            layers.Input((None, features)),
            *(kind(units, return_sequences=True) for _ in stack),
            kind(units),
            layers.Dense(outputs, activation=activation),
        ]
    )
    with_weights(model, rng, float(rng.choice([0.5, 1.0, 1.5])))
    x = rng.normal(size=(ROWS, steps, features)) * float(rng.choice([0.3, 1.0]))
    return model, x.astype(np.float32)


def with_weights(model: Any, rng: np.random.Generator, scale: float) -> None:
    """Set random weights: of that deviation, times the root of a unit's inputs."""
    model.set_weights(
        [
            rng.normal(size=w.shape) * scale / np.sqrt(len(w) if len(w) > 2 else 16)
            for w in model.get_weights()
        ]
    )


def compared(net: verify.Network, x: Array, outputs: Array, precision: str) -> Report:
    """Compare a port's outputs without looking for a mistake."""
    return verify.compare_outputs(
        net, x, outputs, precision=precision, diagnosis_seconds=0
    )


def measure(
    found: Measured, net: verify.Network, x: Array, port: Port, precision: str
) -> Verdict:
    """Add what one right port of one model comes to."""
    (ours,) = net.flat(net.prepare(x), dtype="float64")
    theirs = port.model(net.spec, x)
    report = compared(net, x, theirs, precision)
    if report.partial_result is None:
        raise ValueError("expected a report that was just made")
    (tolerance,) = report.partial_result.tolerances
    if not tolerance.decides:
        found.undecided += 1
        return report.verdict
    error, allowed = np.abs(theirs - ours), tolerance.atol
    found.errors.append(report.numerics.error_ratio)
    found.looseness.append(float(np.median(allowed / np.maximum(error, 1e-12))))
    found.shares.append(float(np.median(allowed)) / float(np.abs(ours).max()))
    return report.verdict


def mistakes_of_weights(net: verify.Network) -> list[Mutant]:
    """Return mistakes that are only in the weights, which the ports can compute."""
    same = {path: (x.options, x.overrides) for path, x in net.spec.walk()}
    return [
        mutant
        for mutant in catalogue(net.spec)
        if mutant.inputs is None
        and mutant.outputs is None
        and {p: (x.options, x.overrides) for p, x in mutant.model.walk()} == same
    ]


def plant(
    found: Measured,
    net: verify.Network,
    x: Array,
    port: Port,
    precision: str,
    every: int,
) -> None:
    """Add what becomes of one in `every` mistakes in a port."""
    given = net.prepare(x)
    (ours,) = net.flat(given, dtype="float64")
    for mutant in mistakes_of_weights(net)[::every]:
        (wrong,) = mutant.evaluate(given)
        report = compared(net, x, port.model(mutant.model, x), precision)
        found.verdicts[str(report.verdict)] += 1
        if report.verdict is Verdict.PASS and report.partial_result is not None:
            (tolerance,) = report.partial_result.tolerances
            effect = float(np.max(np.abs(wrong - ours) / tolerance.atol))
            found.passing = max(found.passing, effect)


def table(results: dict[str, Any]) -> str:
    """Return the table in docs/matches.md, in Markdown."""
    lines = []
    for name, row in results.items():
        verdicts, passing = row["mistakes"], row["greatest that passes"]
        cells = [
            *(f"`{name}`", f"{row['ports']}", digits(row["error / allowed"])),
            *(digits(row["allowed / error"]), f"{row['allowed / scale']:.1%}"),
            *(f"{row['too coarse']:.0%}", f"{verdicts['FAIL']}"),
            *(f"{verdicts['INCONCLUSIVE']}", f"{verdicts['PASS']}"),
            digits(passing) if passing else "-",
        ]
        lines.append(markdown_row(*cells))
    return markdown_table(TABLE_HEADS, lines)


def main(argv: list[str] | None = None) -> None:
    """Measure random models and planted mistakes; print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every", type=int, default=3, help="of so many mistakes one is planted"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS_FOLDER, help="folder to write to"
    )
    arguments = parser.parse_args(argv)
    right = ports()
    found = {name: Measured(len(programs)) for name, programs in right.items()}
    for k in range(arguments.models):
        model, x = random_model(np.random.default_rng([arguments.seed, k]))
        net = verify.load(model)
        for name, programs in right.items():
            for number, port in enumerate(programs):
                verdict = measure(found[name], net, x, port, name)
                if verdict is Verdict.FAIL:
                    print(f"FALSE ALARM: model {k}, {name}, port {number}", flush=True)
    layers = import_keras().layers
    for kind in (layers.LSTM, layers.GRU):
        rng = np.random.default_rng(arguments.seed)
        model = import_keras().Sequential(
            [layers.Input((None, 5)), kind(16), layers.Dense(3)]
        )
        with_weights(model, rng, 1.0)
        x = rng.normal(size=(ROWS, 12, 5)).astype(np.float32)
        for name, programs in right.items():
            net, port = verify.load(model), programs[0]
            plant(found[name], net, x, port, name, arguments.every)
    results = {name: measured.summary() for name, measured in found.items()}
    print(table(results))
    document = {
        "machine": asdict(Machine.here()),
        "models": arguments.models,
        "seed": arguments.seed,
        "formats": results,
    }
    put(in_json(document).encode(), arguments.out / "number_formats.json")


if __name__ == "__main__":
    main()
