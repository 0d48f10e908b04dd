"""Ctrl-C as tests send it, and the fixtures of tests that do."""

from __future__ import annotations

import signal
import sys

import pytest


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class Destroyed:
    """Ctrl-C comes while this is destroyed, where Python drops what is raised."""

    def __init__(self, times: int = 1) -> None:
        self.times = times

    def __del__(self) -> None:
        for _ in range(self.times):
            ctrl_c()


@pytest.fixture
def dropped(monkeypatch) -> list:
    """Collect the errors that Python says it ignored."""
    found: list = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda caught: found.append(caught.exc_type)
    )
    return found


@pytest.fixture
def hears():
    """A job may have been begun deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
