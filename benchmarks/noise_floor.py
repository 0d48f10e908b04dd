"""How far Keras's float32 error exceeds NumPy's: the figure behind the allowance.

    python -m benchmarks.noise_floor --models 300

For each random recurrent model, the greatest error of ``predict`` and of the NumPy
float32 pass, both against NumPy float64, and their ratio. The allowance of a check is
ten times NumPy's error and 5e-7 of the scale, so a ratio near ten would be a false
alarm in waiting.
"""

from __future__ import annotations

import argparse

import numpy as np

import verify
from verify.compare import noise_floor
from verify.keras_bridge import KerasModel, import_keras, versions

KINDS = ("SimpleRNN", "LSTM", "GRU")


def measure(rng: np.random.Generator) -> tuple[float, float]:
    """Ratio of the two errors, and error over allowance, for one random model."""
    keras = import_keras()
    keras.backend.clear_session()
    kind = KINDS[rng.integers(len(KINDS))]
    time, features, units = (
        rng.integers(1, 61),
        rng.integers(1, 25),
        rng.integers(1, 65),
    )
    model = keras.Sequential(
        [
            keras.Input((int(time), int(features))),
            getattr(keras.layers, kind)(int(units)),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    gain = rng.uniform(0.5, 2.0)
    weights = [
        w + rng.normal(size=w.shape) * gain / np.sqrt(w.shape[0])
        for w in model.get_weights()
    ]
    model.set_weights(weights)
    x = rng.normal(size=(int(rng.integers(1, 65)), time, features)).astype(np.float32)
    net = verify.load(model)
    exact = net.predict(x, dtype="float64")
    floor = noise_floor(net.predict(x), exact)
    error = float(np.abs(KerasModel(model, 32).predict(x) - exact).max())
    return error / max(floor.noise, 3e-8), error / floor.value


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
        ("predict's error / NumPy's", "predict's error / allowed"),
        results.T,
        strict=True,
    ):
        median, p95 = np.quantile(values, [0.5, 0.95])
        print(f"{name}: median {median:.2f}, 95 % {p95:.2f}, max {values.max():.2f}")


if __name__ == "__main__":
    main()
