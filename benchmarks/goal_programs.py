"""Run one of the programs that `benchmarks.goals` measures, with either of two builds.

    python -P benchmarks/goal_programs.py live FOLDER NAME ROUNDS

This file is run by its path, with the folder of a build on PYTHONPATH: ``verify`` is
then that build's, and only its public names are used, so that it may be an older one.
Each program prints one line of JSON: where ``verify`` was found, and the costs of what
was measured, ``[processor seconds, seconds that passed]`` each.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Spent = tuple[float, float]
"""Processor seconds, and seconds that passed."""
Costs = dict[str, list[Spent]]

TURN_SECONDS = 0.2
"""Least seconds of a turn of something short, which has as many calls as that takes."""


def spent(work: Callable[[], object], calls: int = 1) -> Spent:
    """Return what one call costs in this process, in the mean of some calls."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / calls, wall / calls


def in_turns(works: dict[str, Callable[[], object]], rounds: int) -> Costs:
    """Return the costs of calls that take turns, after one call of each."""
    calls = {}
    for name, work in works.items():
        work()
        calls[name] = max(1, round(TURN_SECONDS / max(spent(work)[1], 1e-6)))
    costs: Costs = {name: [] for name in works}
    for k in range(rounds):
        for name in list(works) if k % 2 else reversed(list(works)):
            costs[name].append(spent(works[name], calls[name]))
    return costs


def live(folder: str, name: str, rounds: str) -> Costs:
    """Check a live model of 64 rows, beside its predict of them.

    The first check is of a model that has never predicted, beside the first predict of
    another one, which compiles.
    """
    import keras

    import verify

    verify.check(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    path = Path(folder)
    model, other = (
        keras.models.load_model(path / f"{name}.keras", compile=False) for _ in range(2)
    )
    stored = np.load(path / f"{name}.npz")
    x = [stored[key] for key in stored.files]
    batch_size = model.inputs[0].shape[0] or 32

    def predict() -> None:
        model.predict(x if len(x) > 1 else x[0], verbose=0, batch_size=batch_size)

    costs = {
        "first predict": [spent(predict)],
        "first check": [spent(lambda: verify.check(other, x))],
    }
    return costs | in_turns(
        {
            "predict": predict,
            "later check": lambda: verify.assert_matches_predict(model, x),
        },
        int(rounds),
    )


def bound(model: str, x: str, outputs: str, rounds: str) -> Costs:
    """Compare recorded outputs of 64 rows, most of which is the error bound."""
    import verify

    stored = np.load(x)
    rows = stored[stored.files[0]]
    net, theirs = verify.load(model), np.load(outputs)

    def compared() -> None:
        found = verify.compare_outputs(net, rows, theirs)
        assert found.verdict == "PASS", found.verdict

    return in_turns({"compare": compared}, int(rounds))


def engine(model: str, onnx: str, x: str, rounds: str) -> Costs:
    """Predict by the NumPy forward pass and by ONNX Runtime, the same outputs."""
    import onnxruntime

    import verify

    net, rows = verify.load(model), np.load(x)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    given = {name: rows.astype(np.int32)}
    np.testing.assert_allclose(
        session.run(None, given)[0], net.predict(rows), atol=1e-6
    )
    return in_turns(
        {
            "ONNX Runtime": lambda: session.run(None, given),
            "predict": lambda: net.predict(rows),
        },
        int(rounds),
    )


def cluster(model: str, x: str, outputs: str) -> Costs:
    """Compare with one process of one thread, and with a worker on each core."""
    command = [sys.executable, "-m", "verify", "compare", model, "--data", x]
    command += ["--outputs", outputs]

    def run(*more: str) -> list[Spent]:
        def work() -> None:
            subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)

        return [spent(work)]

    return {
        "one process": run("--threads", "1"),
        "workers": run("--dask", "local"),
    }


PROGRAMS: dict[str, Callable[..., Costs]] = {
    program.__name__: program for program in (live, bound, engine, cluster)
}


def main(arguments: list[str]) -> None:
    """Run the program of the first argument with the others, and print its costs."""
    import verify

    name, *given = arguments
    answer: dict[str, Any] = {"costs": PROGRAMS[name](*given)}
    print(json.dumps({"verify": verify.__file__, **answer}))


if __name__ == "__main__":
    main(sys.argv[1:])
