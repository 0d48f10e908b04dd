"""Measure what every command costs by the number of time steps.

    python -m benchmarks.long_windows [--steps 200 2000 8801] [--file model.h5]
        [--models "two LSTMs" wide] [--commands "Keras alone" check]

The models are Embedding(30, 128), then Bidirectional(GRU(16)), two LSTM(64), or, as
*wide*, LSTM(256) and GRU(256), and a TimeDistributed Dense(65), with fixed windows, as
people save them. Biases are random numbers. Each command runs in a process of its own,
whose processor time and greatest resident memory are printed. *Keras alone* loads the
file with Keras and predicts the same rows in both precisions, which is what a check
cannot do without; it writes the inputs of the other commands. ``--file`` measures a
file of yours instead.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from verify.console.tables import markdown_table

STEPS = (200, 2000, 8801)
MODELS = ["Bidirectional GRU", "two LSTMs", "wide"]
COMMANDS = [
    *("describe", "Keras alone", "check", "selftest", "trace", "predict", "compare")
]
KERAS_ALONE = """
import sys
import numpy as np
import verify
from verify.checks.inputs import usable_inputs
from verify.keras_bridge import KerasModel, load_model

net = verify.load(sys.argv[1])
keras = KerasModel(load_model(sys.argv[1], net.spec)[0], 32)
x = usable_inputs(net)
np.savez(sys.argv[2], **dict(zip(net.input_names, x)))
keras.predict(x)
keras.twin("float64").predict(x)
"""
MAKE = """
import sys
import keras
import numpy as np

keras.utils.set_random_seed(0)
layers, steps = keras.layers, int(sys.argv[3])
loops = {
    "Bidirectional GRU": [layers.Bidirectional(layers.GRU(16, return_sequences=True))],
    "two LSTMs": [layers.LSTM(64, return_sequences=True) for _ in range(2)],
    "wide": [
        layers.LSTM(256, return_sequences=True), layers.GRU(256, return_sequences=True)
    ],
}[sys.argv[2]]
model = keras.Sequential([
    keras.Input((None,), dtype="int32"), layers.Embedding(30, 128), *loops,
    layers.TimeDistributed(layers.Dense(65, "softmax")),
])
random = np.random.default_rng(0)
for weight in model.weights:
    if weight.name.endswith("bias"):
        weight.assign(random.normal(0, 0.1, weight.shape))
weights = model.get_weights()
config = model.get_config()
config["layers"][0]["config"]["batch_shape"] = (None, steps)
fixed = keras.Sequential.from_config(config)
fixed.set_weights(weights)
fixed.save(sys.argv[1])
"""


def measured(arguments: Sequence[str]) -> tuple[int, float, float]:
    """Run Python in a process; return its exit code, cpu seconds and memory in GB."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return process.returncode, usage.ru_utime + usage.ru_stime, memory / 1e9


def rows(
    path: Path, label: str, folder: Path, wanted: Sequence[str]
) -> list[tuple[str, ...]]:
    """Measure some commands on one file; they write into a folder."""
    found: list[tuple[str, ...]] = []
    x, y, traced = (folder / name for name in ("x.npz", "y.npz", "trace.npz"))
    data = ["--data", str(x)]
    commands = {
        "describe": ["-m", "verify", "describe", str(path)],
        "Keras alone": ["-c", KERAS_ALONE, str(path), str(x)],
        "check": ["-m", "verify", "check", str(path), *data],
        "selftest": ["-m", "verify", "selftest", str(path)],
        "trace": ["-m", "verify", "trace", str(path), *data, "--out", str(traced)],
        "predict": ["-m", "verify", "predict", str(path), *data, "--out", str(y)],
        "compare": ["-m", "verify", "compare", str(path), *data, "--outputs", str(y)],
    }
    for name, arguments in commands.items():
        if name not in (*wanted, "Keras alone"):
            continue  # which writes the inputs of the others
        code, seconds, memory = measured(arguments)
        row = (label, name, f"{code}", f"{seconds:.1f}", f"{memory:.2f}")
        print(*row, flush=True)
        found.append(row)
    return found


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--commands", nargs="+", default=COMMANDS, choices=COMMANDS)
    options = parser.parse_args()
    table: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.file is not None:
            table = rows(options.file, options.file.name, folder, options.commands)
        for kind in () if options.file else options.models:
            for steps in options.steps:
                path = folder / "long.keras"
                made = [sys.executable, "-c", MAKE, str(path), kind, str(steps)]
                subprocess.run(made, check=True, capture_output=True)
                label = f"{kind}, {steps:,} steps"
                table += rows(path, label, folder, options.commands)
    print()
    head = ("model", "command", "exit code", "cpu seconds", "memory, GB")
    lines = ["| " + " | ".join(row) + " |" for row in table]
    print(markdown_table(head, lines))


if __name__ == "__main__":
    main()
