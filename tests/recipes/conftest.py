"""Runs that several test files look at; each is trained once in a process."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.runs import train

import verify
from recipes import plots
from recipes.run import finish, training


@pytest.fixture(scope="session", autouse=True)
def _curves_drawn_once() -> Iterator[None]:
    """Give every run the same curves.png: to draw it takes a third of a short run."""

    @functools.cache
    def drawn() -> bytes:
        history = {"loss": [2.0, 1.0], "accuracy": [0.5, 0.8]}
        return plots.png(plots.curves(history, "of no run"))

    with pytest.MonkeyPatch.context() as patch:
        once = SimpleNamespace(curves=lambda *_: None, png=lambda _: drawn())
        patch.setattr(training, "plots", once)
        yield


@pytest.fixture(scope="session")
def report(trained) -> verify.Report:
    """Return the report of a run that passed."""
    return verify.check(f"{trained}/model.keras")


@pytest.fixture
def unverified(report, monkeypatch) -> None:
    """Runs of which only the training is looked at end by a report that is given."""

    def given(folder, net, x):
        folder.write_json("verification.json", report.to_dict())
        return report, np.zeros((0, 2))  # of no row: what is missing is predicted

    monkeypatch.setattr(finish, "verify_run", given)


@pytest.fixture(scope="session")
def whole(tweets_csv, tmp_path_factory):
    """``whole(epochs)``: the folder of a run that was not interrupted."""

    @functools.cache
    def made(epochs: int) -> Path:
        out = tmp_path_factory.mktemp("whole") / "run"
        assert train(out, tweets_csv, "--epochs", str(epochs)) == 0
        return out

    return made


@pytest.fixture(scope="session")
def trained(tweets_csv, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(out, tweets_csv, "--epochs", "1") == 0
    return str(out)
