"""Measure what the checks catch and what a diagnosis names.

    python -m benchmarks.trust.single_layers

It writes benchmarks/results/trust.json and trust.md; docs/diagnosis.md shows the table.

For each recurrent layer a small model is trained on sequences with padding in front,
behind and in the middle. Then every mistake of the catalogue is planted in it, one at a
time. The columns of the table are:

*proof*
    share of the mistakes that a check in float64 catches, against Keras's outputs
*port*
    share that changes the final outputs of 64 rows in float32, as a port returns them,
    by more than the derived bound
*least*
    greatest difference over its bound, for the mistake that changes the outputs least
*named*, *first*
    shares of the mistakes caught in the outputs that the diagnosis names, and that it
    names first
*number*
    share of random changes of single weights, which are in no catalogue, that the
    diagnosis explains: by the place of the weight, or by a change with the same effect
*seconds*
    median time of a diagnosis
*bound / error*, *95 %*
    looseness of the bound for the right model: bound over error of ``predict`` for each
    output, its median and 95th percentile
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import verify
from benchmarks.machine import Machine
from benchmarks.output import RESULTS_FOLDER
from benchmarks.trust.tables import write_table
from benchmarks.turns import BenchmarkError
from verify.console.tables import markdown_row, markdown_table
from verify.forward.evaluable import Inputs
from verify.keras_bridge import KerasModel, current_activation_errors, import_keras
from verify.mistakes.catalogue import Mutant, catalogue
from verify.model.arrays import Array
from verify.tolerance.compare import Verdict, compare
from verify.tolerance.error_bound import output_bounds
from verify.tolerance.noise_floor import float64_tolerance

WORDS, STEPS, SIZE, UNITS, ROWS = 40, 12, 6, 8, 64
TRUSTED_LAYERS = ("SimpleRNN", "LSTM", "GRU", "Bidirectional LSTM")
TABLE_HEADS = (
    "layer", "mistakes", "proof", "port", "least", "named", "first", "number",
    "seconds", "bound / error", "95 %",
)  # fmt: skip


def sequences(rows: int, seed: int) -> tuple[Array, Array]:
    """Return token ids with padding, and whether the first id exceeds the last.

    Returns
    -------
    x : (rows, STEPS) of int32
    y : (rows,) of int32
    """
    rng = np.random.default_rng(seed)
    x = rng.integers(1, WORDS, size=(rows, STEPS)).astype(np.int32)
    y = (x[:, 0] > x[:, -1]).astype(np.int32)
    x[::4, STEPS // 2 :] = 0
    x[1::4, : STEPS // 3] = 0
    x[2::4, [3, 4, 8]] = 0
    return x, y


def untrained(kind: str) -> Any:
    """Build the Keras model of a kind, with the weights that Keras starts from."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    name = kind.split()[-1]
    layer = getattr(keras.layers, name)(UNITS)
    if kind.startswith("Bidirectional"):
        layer = keras.layers.Bidirectional(layer)
    model = keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            keras.layers.Embedding(WORDS, SIZE, mask_zero=True),
            layer,
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    return model


def trained(kind: str) -> Any:
    """Train the model of a kind until its biases and gates have moved."""
    model = untrained(kind)
    optimizer = import_keras().optimizers.Adam(0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    x, y = sequences(2000, 0)
    model.fit(x, y, epochs=8, verbose=0)
    return model


@dataclass(frozen=True)
class Trust:
    """Hold one line of the table; the docstring of this module explains the columns.

    Shares are between 0 and 1, `seconds` is the median of a diagnosis.
    """

    layer: str
    mistakes: int
    proof: float
    port: float
    least: float
    named: float
    first: float
    number: float
    seconds: float
    bound_median: float
    bound_p95: float

    def line(self) -> str:
        """Return the line in Markdown."""
        return markdown_row(
            self.layer,
            str(self.mistakes),
            f"{self.proof:.1%}",
            f"{self.port:.1%}",
            f"{self.least:.2g}",
            f"{self.named:.1%}",
            f"{self.first:.1%}",
            f"{self.number:.1%}",
            f"{self.seconds:.1f}",
            f"{self.bound_median:.0f}",
            f"{self.bound_p95:.0f}",
        )


def measure(kind: str, every: int) -> Trust:
    """Measure one kind of layer; of the mistakes, diagnose each `every`-th."""
    model = trained(kind)
    net = verify.load(model)
    x, _ = sequences(ROWS, 1)
    inputs = net.prepare(x)
    (keras,) = KerasModel(model, 32).twin("float64").predict(inputs)
    right = net.predict(x, dtype="float64")
    allowed = float64_tolerance(right).atol
    mutants = list(catalogue(net.spec))
    proved = sum(_differs(mutant, inputs, keras, allowed) for mutant in mutants)
    shown = named = first = 0
    seconds, ratios = [], []
    some = mutants[::every]
    for mutant in some:
        (outputs,) = mutant.evaluate(inputs, None)  # in float32, as a port
        began = time.perf_counter()
        report = verify.compare_outputs(net, x, outputs)
        if not report.allowance.startswith("derived bound ("):
            raise BenchmarkError(
                f"{mutant.name}: expected a derived bound. Received: {report.allowance}"
            )
        ratios.append(report.numerics.error_ratio)
        if report.verdict is not Verdict.FAIL or report.diagnosis is None:
            continue
        seconds.append(time.perf_counter() - began)
        shown += 1
        found = [(e.mistake, e.layer) for e in report.diagnosis.explanations]
        named += (mutant.name, mutant.layer) in found
        first += found[:1] == [(mutant.name, mutant.layer)]
    median, high = _looseness(model, net, inputs)
    numbers = _numbers_found(net, x, 60 // every)
    return Trust(
        layer=kind,
        mistakes=len(mutants),
        proof=proved / len(mutants),
        port=shown / len(some),
        least=float(min(ratios)),
        named=named / shown,
        first=first / shown,
        number=numbers,
        seconds=float(np.median(seconds)),
        bound_median=median,
        bound_p95=high,
    )


def _numbers_found(net: verify.Network, x: Array, count: int) -> float:
    """Return the share of random changes of single weights that a diagnosis explains.

    Only changes that the outputs show are counted.
    """
    rng = np.random.default_rng(0)
    layers = [(path, layer) for path, layer in net.spec.walk() if layer.weights]
    changes = (lambda w: w + 0.3, lambda w: -w, lambda w: 0 * w, lambda w: 1.01 * w)
    shown = found = 0
    while shown < count:
        path, layer = layers[rng.integers(len(layers))]
        name = list(layer.weights)[rng.integers(len(layer.weights))]
        weight = layer.weights[name].copy()
        place = tuple(int(rng.integers(size)) for size in weight.shape)
        weight[place] = changes[rng.integers(len(changes))](weight[place])
        wrong = net.spec.with_layer(layer.with_weights(**{name: weight}), path)
        report = verify.compare_outputs(net, x, verify.Network(wrong).predict(x))
        if report.diagnosis is None:
            continue  # the outputs do not show the change
        shown += 1
        found += bool(report.diagnosis)
    return found / shown


def _looseness(model: Any, net: verify.Network, x: Inputs) -> tuple[float, float]:
    """Return median and 95th percentile of bound over error of ``predict``."""
    (right,), (predicted,) = (
        net.flat(x, dtype="float64"),
        KerasModel(model, 32).predict(x),
    )
    error = np.abs(predicted - right)
    (bound,) = output_bounds(net, x, [error], current_activation_errors())
    ratios = (bound / error)[error > 0]
    return float(np.median(ratios)), float(np.quantile(ratios, 0.95))


def _differs(mutant: Mutant, x: Inputs, keras: Array, allowed: Array) -> bool:
    (wrong,) = mutant.evaluate(x)
    return not compare(wrong, keras, allowed=allowed).matches


def main(argv: list[str] | None = None) -> None:
    """Print the table, and write it if every mistake was diagnosed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--every", type=int, default=1, help="diagnose only each k-th mistake"
    )
    arguments = parser.parse_args(argv)
    print(markdown_table(TABLE_HEADS, []))
    rows = []
    for kind in TRUSTED_LAYERS:
        rows.append(measure(kind, arguments.every))
        print(rows[-1].line(), flush=True)
    if arguments.every == 1:
        write(rows, Machine.here(), RESULTS_FOLDER)


def write(rows: list[Trust], machine: Machine, folder: Path) -> None:
    """Write trust.json and trust.md into a folder."""
    title = "What the checks catch, and what a diagnosis names"
    command = "python -m benchmarks.trust"
    write_table("trust", title, command, TABLE_HEADS, rows, machine, folder)


if __name__ == "__main__":
    main()
