"""Runs of recipes for tests: made quickly, and read back from their folders."""

from __future__ import annotations

import json

import numpy as np

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
    return [w for layer in spec for w in layer.weights.values()]


def assert_same_run(a, b) -> None:
    assert (a / "history.csv").read_bytes() == (b / "history.csv").read_bytes()
    for x, y in zip(weights(a), weights(b), strict=True):
        assert np.array_equal(x, y)


def refused(capsys, *arguments: str) -> str:
    """The last line on stderr of a command that ends with exit code 2."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("rnn-recipe: ")
    return line
