"""Fixtures for the tests of the verifier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.nets import lstm_file

from verify.mistakes.explanation import Diagnosis


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a small model: Embedding, LSTM, Dense."""
    return str(lstm_file(tmp_path_factory.mktemp("models") / "m.keras"))


@pytest.fixture
def undiagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the search for the mistake, which takes seconds.

    For tests that look at the verdict, or at the place, and at no explanation.
    """
    for module in ("_outputs_comparison", "_layers", "_time_chunks"):
        monkeypatch.setattr(
            f"verify.checks.{module}.diagnose", lambda *_, **__: Diagnosis((), 0)
        )


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have Keras build layers in a dtype policy, given by an indirect parameter."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)
