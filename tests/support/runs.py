"""Runs of recipes for tests: made quickly, and read back from their folders."""

from __future__ import annotations

import functools
import json

import numpy as np
from support import commands

import verify
from recipes.__main__ import main


def train(out, csv, *more: str) -> int:
    return main(
        ["run", "sentiment_rnn", "--csv", csv, "--units", "5", "--out", str(out), *more]
    )


def read(folder, name: str) -> dict:
    return json.loads((folder / name).read_text())


def weights(out) -> list[np.ndarray]:
    spec = verify.load(out / "model.keras").spec
    return [w for _, layer in spec.walk() for w in layer.weights.values()]


def assert_same_run(a, b) -> None:
    assert (a / "history.csv").read_bytes() == (b / "history.csv").read_bytes()
    for x, y in zip(weights(a), weights(b), strict=True):
        assert np.array_equal(x, y)


refused = functools.partial(commands.refused, main)
