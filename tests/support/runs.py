"""Runs of recipes for tests: made quickly, and read back from their folders."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from support import commands

import verify
from recipes import plots
from recipes.__main__ import main
from recipes.run import finish, training


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


@functools.cache
def _drawn() -> bytes:
    history = {"loss": [2.0, 1.0], "accuracy": [0.5, 0.8]}
    return plots.png(plots.curves(history, "of no run"))


@pytest.fixture(scope="module", autouse=True)
def curves_drawn_once() -> Iterator[None]:
    """Give every run the same curves.png: to draw it takes a third of a short run."""
    with pytest.MonkeyPatch.context() as patch:
        once = SimpleNamespace(curves=lambda *_: None, png=lambda _: _drawn())
        patch.setattr(training, "plots", once)
        yield


@pytest.fixture
def unverified(report, monkeypatch) -> None:
    """Runs of which only the training is looked at end by a report that is given."""

    def given(folder, net, x):
        folder.write_json("verification.json", report.to_dict())
        return report, np.zeros((0, 2))  # of no row: what is missing is predicted

    monkeypatch.setattr(finish, "verify_run", given)
