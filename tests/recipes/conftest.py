"""Runs that several test files look at; each is trained once in a process."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from support.runs import curves_drawn_once, train, unverified

import verify

__all__ = ["curves_drawn_once", "unverified"]


@pytest.fixture(scope="session")
def report(trained) -> verify.Report:
    """Return the report of a run that passed."""
    return verify.check(f"{trained}/model.keras")


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
