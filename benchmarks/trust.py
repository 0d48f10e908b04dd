"""What the checks catch, and what a diagnosis names: the table of the README.

    python -m benchmarks.trust

For each recurrent layer a small model is trained on sequences with padding on either
side and in the middle. Then every mistake of the catalogue is planted in it. *proof*:
the share that a check in float64 catches, against Keras's own outputs. *port*: the
share that shows in the final outputs of 64 rows in float32, as a port returns them, by
more than the derived bound. *least*: the greatest difference over its bound, for the
mistake that shows least. *named*: of those that show, the share whose diagnosis has the
mistake's name; *first*: has it in the first place. Beside it the seconds of a
diagnosis, and how loose the bound is for the right model: *bound / error* of predict,
element by element, median and 95th percentile. *number*: of numbers among the weights
that are changed at random, which no catalogue holds, the share that is explained, by
the place of the number or by what changes the outputs just as it does.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import verify
from verify.forward.network import Inputs
from verify.keras_bridge import KerasModel, current_activation_errors, import_keras
from verify.mistakes.catalogue import Mutant, catalogue
from verify.model.arrays import Array
from verify.tolerance.compare import Verdict, compare
from verify.tolerance.error_bound import output_bounds
from verify.tolerance.noise_floor import float64_tolerance

WORDS, STEPS, SIZE, UNITS, ROWS = 40, 12, 6, 8, 64
KINDS = ("SimpleRNN", "LSTM", "GRU", "Bidirectional LSTM")


def sequences(rows: int, seed: int) -> tuple[Array, Array]:
    """Token ids with padding, and whether the first word is greater than the last."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, WORDS, size=(rows, STEPS)).astype(np.int32)
    y = (x[:, 0] > x[:, -1]).astype(np.int32)
    x[::4, STEPS // 2 :] = 0
    x[1::4, : STEPS // 3] = 0
    x[2::4, [3, 4, 8]] = 0
    return x, y


def trained(kind: str) -> Any:
    """A Keras model, trained until its biases and gates have moved."""
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
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    x, y = sequences(2000, 0)
    model.fit(x, y, epochs=8, verbose=0)
    return model


def measure(kind: str, every: int) -> str:
    """One line of the table; `every` k-th mistake has its diagnosis looked at."""
    model = trained(kind)
    net = verify.load(model)
    x, _ = sequences(ROWS, 1)
    inputs = net.prepare(x)
    (keras,) = KerasModel(model, 32).twin("float64").predict(inputs)
    right = net.predict(x, dtype="float64")
    allowed = float64_tolerance(right).atol
    mutants = list(catalogue(net.spec))
    proved = sum(_differs(mutant, x, keras, allowed) for mutant in mutants)
    shown = named = first = 0
    seconds, shares = [], []
    some = mutants[::every]
    for mutant in some:
        outputs = verify.Network(mutant.model).predict(x)  # float32, as a port has it
        began = time.perf_counter()
        report = verify.compare_outputs(net, x, outputs)
        assert report.allowance.startswith("derived bound ("), report.allowance
        shares.append(report.numerics.error_ratio)
        if report.verdict is not Verdict.FAIL or report.diagnosis is None:
            continue
        seconds.append(time.perf_counter() - began)
        shown += 1
        found = [(e.mistake, e.layer) for e in report.diagnosis.explanations]
        named += (mutant.name, mutant.layer) in found
        first += found[:1] == [(mutant.name, mutant.layer)]
    median, high = _looseness(model, net, inputs)
    numbers = _numbers_found(net, x, 60 // every)
    return (
        f"| {kind} | {len(mutants)} | {proved / len(mutants):.1%} "
        f"| {shown / len(some):.1%} | {min(shares):.2g} "
        f"| {named / shown:.1%} | {first / shown:.1%} | {numbers:.1%} "
        f"| {np.median(seconds):.1f} | {median:.0f} | {high:.0f} |"
    )


def _numbers_found(net: verify.Network, x: Array, count: int) -> float:
    """Of changed numbers that show, the share that a diagnosis explains."""
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
            continue  # it does not show
        shown += 1
        found += bool(report.diagnosis)
    return found / shown


def _looseness(model: Any, net: verify.Network, x: Inputs) -> tuple[float, float]:
    """Bound over error of ``predict``: median and 95th percentile of all elements."""
    (right,), (predicted,) = (
        net.flat(x, dtype="float64"),
        KerasModel(model, 32).predict(x),
    )
    error = np.abs(predicted - right)
    (bound,) = output_bounds(net, x, [error], current_activation_errors())
    ratios = (bound / error)[error > 0]
    return float(np.median(ratios)), float(np.quantile(ratios, 0.95))


def _differs(mutant: Mutant, x: Array, keras: Array, allowed: Array) -> bool:
    wrong = verify.Network(mutant.model).predict(x, dtype="float64")
    return not compare(wrong, keras, allowed=allowed).matches


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="look at each k-th alone")
    arguments = parser.parse_args()
    print(
        "| layer | mistakes | proof | port | least | named | first | number | seconds "
        "| bound / error | 95 % |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for kind in KINDS:
        print(measure(kind, arguments.every), flush=True)


if __name__ == "__main__":
    main()
