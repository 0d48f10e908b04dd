"""Fixtures for the tests of the verifier."""

from __future__ import annotations

import pytest
from support.nets import lstm_file

from verify.mistakes.explanation import Diagnosis


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a small model: Embedding, LSTM, Dense."""
    return str(lstm_file(tmp_path_factory.mktemp("models") / "m.keras"))


@pytest.fixture
def undiagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the search for the mistake, which takes seconds."""
    monkeypatch.setattr(
        "verify.checks._outputs_comparison.diagnose", lambda *_, **__: Diagnosis((), 0)
    )
