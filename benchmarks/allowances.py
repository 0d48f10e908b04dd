"""Measure how near correct float32 programs come to the tolerances of a check.

    python -m benchmarks.allowances --models 1000

The models are random: recurrent layers with weights of three scales, one or two of
them, up to 500 steps, masks, and several activations and heads. For each model the
errors of ``predict`` and of NumPy in float32, both against NumPy in float64, are
divided by the derived bound and by the noise floor. A ratio above 1 would be a false
alarm. *bound / error*, the greatest bound of a model's outputs over its greatest error,
says how loose the bound is.

A model counts as undecided if it amplifies rounding so much that the bound decides
nothing. The bound is not used where NumPy in float32 exceeds it, so NumPy's own error /
bound is below 1 by design; that of ``predict`` is not. ``KERAS_BACKEND=jax`` measures
the other backend.

It writes benchmarks/results/allowances.json, which the figures in docs/matches.md are
tested against.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import verify
from benchmarks.machine import Machine
from benchmarks.output import RESULTS_FOLDER, in_json, put
from verify.keras_bridge import (
    KerasModel,
    current_activation_errors,
    import_keras,
    versions,
)
from verify.model.arrays import Array
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.compare import compare
from verify.tolerance.error_bound import bounded_outputs, unbounded
from verify.tolerance.noise_floor import Rounding

WEIGHT_SCALES = (0.5, 1.0, 2.0)
"""Standard deviations of the weights, times the root of the inputs of a unit."""

RECURRENT_KINDS = (
    "SimpleRNN",
    "LSTM",
    "GRU",
    "Bidirectional LSTM",
    "Bidirectional GRU",
)
OUTPUT_KINDS = ("softmax", "sigmoid", "linear", "none")
ROW_COUNTS = (1, 2, 8, 32)
VOCABULARY_SIZE = 50

FIELD_TITLES = ("error / bound", "error / noise floor", "bound / error")
"""Titles of the fields of `ErrorRatios` in the output."""


class ErrorRatios(NamedTuple):
    """Hold how near one program comes to each tolerance on one model.

    Attributes
    ----------
    bound, floor : float
        The greatest error over its tolerance, by each rule.
    loose : float
        The greatest bound over the greatest error.
    """

    bound: float
    floor: float
    loose: float


def random_model(rng: np.random.Generator) -> tuple[Any, Array, str]:
    """Return a Keras model with random weights, inputs for it, and its description."""
    keras = import_keras()
    keras.backend.clear_session()
    kind = RECURRENT_KINDS[rng.integers(len(RECURRENT_KINDS))]
    head = OUTPUT_KINDS[rng.integers(len(OUTPUT_KINDS))]
    time = int(rng.integers(1, 61) if rng.random() < 0.8 else rng.integers(61, 501))
    size, units = int(rng.integers(1, 25)), int(rng.integers(1, 65))
    rows = int(rng.choice(ROW_COUNTS))
    embedded = rng.random() < 0.5
    x: Array
    if embedded:
        front = [
            keras.Input((time,), dtype="int32"),
            keras.layers.Embedding(
                VOCABULARY_SIZE, size, mask_zero=bool(rng.random() < 0.5)
            ),
        ]
        x = rng.integers(0, VOCABULARY_SIZE, size=(rows, time)).astype(np.int32)
    else:
        front = [keras.Input((time, size))]
        x = rng.normal(size=(rows, time, size)).astype(np.float32)
        if rng.random() < 0.3:
            front.append(keras.layers.Masking())
            x[rng.random(x.shape[:2]) < 0.3] = 0

    def recurrent(sequences: bool) -> Any:
        options: dict[str, Any] = {"return_sequences": sequences}
        if kind.endswith("GRU"):
            options["reset_after"] = bool(rng.random() < 0.5)
        if rng.random() < 0.2:
            options["activation"] = str(rng.choice(["relu", "softsign", "elu"]))
        if not kind.startswith("Simple") and rng.random() < 0.2:
            options["recurrent_activation"] = "hard_sigmoid"
        layer = getattr(keras.layers, kind.split()[-1])(units, **options)
        return keras.layers.Bidirectional(layer) if " " in kind else layer

    layers = int(rng.choice([1, 1, 2]))
    body = [recurrent(sequences=k < layers - 1) for k in range(layers)]
    tail = []
    if head != "none":
        outputs = int(rng.integers(1, 4)) + (head == "softmax")
        tail = [keras.layers.Dense(outputs, activation=head)]
    model = keras.Sequential([*front, *body, *tail])
    scale = float(rng.choice(WEIGHT_SCALES))
    model.set_weights(
        [
            rng.normal(size=w.shape) * scale / np.sqrt(w.shape[0] if w.ndim > 1 else 4)
            for w in model.get_weights()
        ]
    )
    return model, x, f"{kind} {scale:g} T={time}"


def measure(
    model: Any, x: Array, constants: ActivationErrors
) -> tuple[list[ErrorRatios], float] | str:
    """Measure ``predict`` and NumPy in float32 on one model.

    Returns
    -------
    (list of ErrorRatios, float), or str
        The ratios of both, and the share of the outputs that has a bound; or a sentence
        if no bound is derived, or if it decides nothing.
    """
    net = verify.load(model)
    if reason := unbounded(net):
        return reason
    inputs = net.prepare(x)
    exact = net.flat(inputs, dtype="float64")
    floors = Rounding(net).noise_floors(inputs, exact)
    found, share = [], 0.0
    for outputs in (
        KerasModel(model, 32).predict(inputs),
        net.flat(inputs, dtype="float32"),
    ):
        (allowed,) = bounded_outputs(net, inputs, floors, exact, outputs, constants)
        share = allowed.derived
        if not share:
            return "undecided"
        by_bound = compare(exact[0], outputs[0], allowed=allowed.atol)
        by_floor = compare(exact[0], outputs[0], allowed=floors[0].atol)
        loose = float(np.max(allowed.atol)) / max(by_bound.max_diff, 1e-12)
        found.append(ErrorRatios(by_bound.error_ratio, by_floor.error_ratio, loose))
    return found, share


def summarise(
    results: list[list[ErrorRatios]], outcomes: Counter[str]
) -> dict[str, Any]:
    """Return the counts of outcomes, and quantiles of the ratios of each program."""
    summary: dict[str, Any] = {"outcomes": dict(sorted(outcomes.items()))}
    for name, which in (("predict", 0), ("numpy_float32", 1)):
        table = np.array([found[which] for found in results])
        summary[name] = {
            title: {
                "median": float(np.quantile(values, 0.5)),
                "p95": float(np.quantile(values, 0.95)),
                "max": float(values.max()),
            }
            for title, values in zip(FIELD_TITLES, table.T, strict=True)
        }
    return summary


def main(argv: list[str] | None = None) -> None:
    """Measure random models; print and write the distribution of each ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=RESULTS_FOLDER, help="folder to write to"
    )
    arguments = parser.parse_args(argv)
    results: list[list[ErrorRatios]] = []
    outcomes: Counter[str] = Counter()
    violated = 0
    for k in range(arguments.models):
        rng = np.random.default_rng([arguments.seed, k])
        model, x, what = random_model(rng)
        found = measure(model, x, current_activation_errors())
        if isinstance(found, str):
            outcomes[found] += 1
            continue
        outcomes["bound"] += found[1] == 1
        outcomes["bound for some outputs"] += found[1] < 1
        results.append(found[0])
        if max(f.bound for f in found[0]) > 1:
            violated += 1
            print(f"VIOLATED by model {k}, {what}: {found[0]}", flush=True)
    summary = summarise(results, outcomes)
    print(f"{arguments.models} random models, {versions()}: {summary['outcomes']}")
    for name in ("predict", "numpy_float32"):
        for title, values in summary[name].items():
            print(
                f"{name:<13} {title:<20} median {values['median']:.2g}, "
                f"95 % {values['p95']:.2g}, max {values['max']:.2g}"
            )
    document = {
        "machine": asdict(Machine.here()),
        "models": arguments.models,
        "seed": arguments.seed,
        "violated": violated,
        **summary,
    }
    put(in_json(document).encode(), arguments.out / "allowances.json")


if __name__ == "__main__":
    main()
