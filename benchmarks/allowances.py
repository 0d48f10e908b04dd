"""How near correct float32 programs come to what a check allows.

    python -m benchmarks.allowances --models 1000

Random recurrent models, with weights of three scales, up to 500 steps, masks, several
layers and heads that squash or do not. For each, the errors of ``predict`` and of NumPy
in float32, against NumPy in float64: as a share of the derived bound, and of the noise
floor. One would be a false alarm. *bound / error* is the greatest bound of a model's
outputs over its greatest error: how loose the bound is.

Where a bound decides nothing because rounding is amplified too much, the model counts
as undecided. Where NumPy in float32 exceeds its bound, that is given up by design, so
its error / bound is below one in any case; that of ``predict`` is not. With
``KERAS_BACKEND=jax`` the programs are those of the other backend.

It writes benchmarks/results/allowances.json, to which docs/matches.md is held.
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
from benchmarks.output import in_json, put
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
"""Standard deviation of the weights, times the root of how many enter a unit."""

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
"""What the fields of `Found` are called where they are printed and written."""

RESULTS = Path(__file__).parent / "results"


class Found(NamedTuple):
    """One program on one model: the nearest it comes to each rule, and the looseness.

    Attributes
    ----------
    bound, floor : float
        Greatest error as a share of what is allowed in its place.
    loose : float
        Greatest bound over greatest error.
    """

    bound: float
    floor: float
    loose: float


def random_model(rng: np.random.Generator) -> tuple[Any, Array, str]:
    """A Keras model with random weights, inputs for it, and what it is."""
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
) -> tuple[list[Found], float] | str:
    """Of ``predict`` and of NumPy in float32; and the share that has a bound.

    A sentence where a bound is not derived, or decides nothing.
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
        found.append(Found(by_bound.error_ratio, by_floor.error_ratio, loose))
    return found, share


def summarise(results: list[list[Found]], outcomes: Counter[str]) -> dict[str, Any]:
    """Count the outcomes, and take the quantiles of every figure of each program."""
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
    """Print the distribution of each figure, and write it to allowances.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to write to")
    arguments = parser.parse_args(argv)
    results: list[list[Found]] = []
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
