"""Count the pairs of modules that call each other both ways while a model is checked.

    python -m benchmarks.call_pairs

Imports that all point one way do not tell which way calls go: a module can pass its own
functions, generators and methods to a lower one, which calls them. So the calls
themselves are counted while `verify.check` compares a model of Embedding, LSTM and
Dense on 40 rows, then again with a report that is kept up to date, and while
`verify.compare_outputs` diagnoses a port that forgets a bias.

Module A calls module B when a frame of A calls a function of B:

* a function belongs to the module it is written in. So does a lambda, a closure or a
  comprehension, and a method to the module of the class that defines it: an abstract
  method of A that is overridden in B counts as a call from A to B;
* it is called when its frame starts, and again each time a generator is resumed;
* its caller is the nearest frame below it that belongs to the verifier. Frames of
  libraries are skipped: if A passes a function of B to NumPy or to ``map``, A calls it;
* what runs while a module is imported is not counted, nor is the first function of a
  thread, which no frame called.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np

import verify
from verify.keras_bridge import import_keras
from verify.model.arrays import Array

MODEL_ROWS, MODEL_STEPS, MODEL_WORDS = 40, 8, 50

ORCHESTRATING = ("checks", "report", "mistakes", "tolerance", "__main__")
"""Packages and modules of `verify` that decide what is computed and reported. Besides,
there is `verify.backward`, the entry to backpropagation."""

Pairs = Counter[tuple[str, str]]
"""Number of calls by (calling module, called module)."""


class CallCounter:
    """Count calls from one module of a package to another while it is entered.

    Attributes
    ----------
    pairs : Counter
    """

    def __init__(self, package: str = "verify") -> None:
        self.package = package
        self.pairs: Pairs = Counter()

    def __enter__(self) -> Self:
        sys.setprofile(self._called)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or (callee := self._module(frame)) is None:
            return
        below = frame.f_back
        while below is not None and (caller := self._module(below)) is None:
            below = below.f_back
        if below is None or caller is None or caller == callee:
            return
        if not self._importing(frame):
            self.pairs[caller, callee] += 1

    def _module(self, frame: FrameType) -> str | None:
        name = str(frame.f_globals.get("__name__", ""))
        inside = name == self.package or name.startswith(f"{self.package}.")
        return name if inside else None

    def _importing(self, frame: FrameType | None) -> bool:
        """Return whether the body of a module is running below, or is what starts."""
        while frame is not None:
            if frame.f_code.co_name == "<module>" and self._module(frame) is not None:
                return True
            frame = frame.f_back
        return False


def both_ways(pairs: Pairs, among: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Return the pairs of modules that call each other, each pair once."""
    return sorted(
        (a, b) for a, b in pairs if a < b and (b, a) in pairs and among(a) and among(b)
    )


def orchestrates(module: str) -> bool:
    """Return whether a module is one of those that orchestrate."""
    _, _, inside = module.partition(".")
    return inside == "backward" or inside.split(".")[0] in ORCHESTRATING


def model_and_inputs(path: Path) -> Array:
    """Write a model of Embedding, LSTM and Dense to a .keras file; return inputs.

    Returns
    -------
    (rows, time) of int32
        Ids, with zeros behind them that are masked.
    """
    keras = import_keras()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((MODEL_STEPS,), dtype="int32"),
            keras.layers.Embedding(MODEL_WORDS, 4, mask_zero=True),
            keras.layers.LSTM(6, name="lstm"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.save(path)
    x = rng.integers(1, MODEL_WORDS, size=(MODEL_ROWS, MODEL_STEPS), dtype=np.int32)
    x[
        np.arange(MODEL_STEPS) >= rng.integers(3, MODEL_STEPS + 1, size=(MODEL_ROWS, 1))
    ] = 0
    return x


def measure(folder: Path) -> dict[str, Pairs]:
    """Count the calls of each comparison.

    Parameters
    ----------
    folder : Path
        Where files may be written.

    Returns
    -------
    dict
        What is compared -> calls.
    """
    path = folder / "model.keras"
    x = model_and_inputs(path)
    net = verify.load(path)
    lstm = net.spec["lstm"]
    unbiased = lstm.with_weights(bias=np.zeros_like(lstm.weights["bias"]))
    wrong = verify.Network(net.spec.with_layer(unbiased)).predict(x)
    scenarios: dict[str, Callable[[], Any]] = {
        "check": lambda: verify.check(path, x, threads=1),
        "check with a report": lambda: verify.check(
            path, x, threads=1, watch=verify.Watch(folder / "report.json")
        ),
        "compare_outputs": lambda: verify.compare_outputs(path, x, wrong, threads=1),
    }
    found = {}
    for name, run in scenarios.items():
        with CallCounter() as counter:
            run()
        found[name] = counter.pairs
    return found


def table(pairs: Pairs, which: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each pair, with its calls in either direction."""
    return [f"    {a} -> {b}: {pairs[a, b]:,}; back: {pairs[b, a]:,}" for a, b in which]


def main() -> None:
    """Print the pairs of modules that call each other both ways."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    for name, pairs in found.items():
        modules = {module for pair in pairs for module in pair}
        print(
            f"{name}: {pairs.total():,} calls from module to module, "
            f"{len(modules)} modules, {len(pairs)} directed pairs"
        )
        for heading, among in (
            ("among those that orchestrate", orchestrates),
            ("among all", lambda module: True),
        ):
            both = both_ways(pairs, among)
            print(f"  called both ways {heading}: {len(both)}")
            print("\n".join(table(pairs, both)) if both else "    none")


if __name__ == "__main__":
    main()
