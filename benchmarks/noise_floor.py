"""How near Keras comes to what a check allows: the figure behind the allowance.

    python -m benchmarks.noise_floor --models 300

For each random recurrent model, on 1 to 64 rows and with heads that squash or do not,
the greatest error of ``predict`` against NumPy float64: over the noise that NumPy finds
by itself, and over what a check allows. The second near one would be a false alarm in
waiting.
"""

from __future__ import annotations

import argparse

import numpy as np

import verify
from verify.keras_bridge import KerasModel, import_keras, versions
from verify.rounding import Rounding

KINDS = ("SimpleRNN", "LSTM", "GRU")
HEADS = ("softmax", "sigmoid", "linear")
ROWS = (1, 2, 8, 64)


def measure(rng: np.random.Generator) -> tuple[float, float]:
    """Ratio of the two errors, and error over allowance, for one random model."""
    keras = import_keras()
    keras.backend.clear_session()
    kind = KINDS[rng.integers(len(KINDS))]
    head = HEADS[rng.integers(len(HEADS))]
    outputs = int(rng.integers(1, 4)) + (head == "softmax")
    time, features, units = (
        rng.integers(1, 61),
        rng.integers(1, 25),
        rng.integers(1, 65),
    )
    model = keras.Sequential(
        [
            keras.Input((int(time), int(features))),
            getattr(keras.layers, kind)(int(units)),
            keras.layers.Dense(outputs, activation=head),
        ]
    )
    gain = rng.uniform(0.5, 2.0)
    weights = [
        w + rng.normal(size=w.shape) * gain / np.sqrt(w.shape[0])
        for w in model.get_weights()
    ]
    model.set_weights(weights)
    x = rng.normal(size=(int(rng.choice(ROWS)), time, features)).astype(np.float32)
    net = verify.load(model)
    inputs = net.prepare(x)
    (exact,) = net.flat(inputs, dtype="float64")
    (floor,) = Rounding(net).floors(lambda n, t: n.flat(inputs, dtype=t), [exact])
    (predicted,) = KerasModel(model, 32).predict(inputs)
    error = np.abs(predicted - exact).max(axis=0)  # (units,)
    noise = np.maximum(floor.noise, 3e-8 * floor.scale)
    return float(np.max(error / noise)), float(np.max(error / floor.value))


def main() -> None:
    """Print the distribution of both figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    results = np.array([measure(rng) for _ in range(arguments.models)])
    print(f"{arguments.models} random models, {versions()}")
    for name, values in zip(
        ("predict's error / noise", "predict's error / allowed"),
        results.T,
        strict=True,
    ):
        median, p95 = np.quantile(values, [0.5, 0.95])
        print(f"{name}: median {median:.2f}, 95 % {p95:.2f}, max {values.max():.2f}")


if __name__ == "__main__":
    main()
