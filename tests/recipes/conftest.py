"""Runs that several test files look at; each is trained once in a process."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from support.runs import train

import verify
from recipes.run import finish


@pytest.fixture
def unverified(trained, monkeypatch) -> None:
    """Runs of which only the training is looked at end by a report that is given."""
    report = verify.check(f"{trained}/model.keras")

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
