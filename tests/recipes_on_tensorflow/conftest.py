"""End runs whose training alone is looked at by a report that is given."""

from __future__ import annotations

import pytest
from support.nets import lstm_file
from support.runs import curves_drawn_once, unverified

import verify

__all__ = ["curves_drawn_once", "unverified"]


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> verify.Report:
    """Return the report of a small model that passed."""
    return verify.check(lstm_file(tmp_path_factory.mktemp("models") / "m.keras"))
