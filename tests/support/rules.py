"""Rules for tests themselves: none takes long unmarked, none is skipped in CI.

A plugin of pytest. ``--budget`` counts processor time, since a busy machine hardly
lengthens it: that of the test, of the fixtures made for it, and of the programs that it
has started and that have ended.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator

import hypothesis
import pytest

NO_BROWSER = "no Chromium is installed"
NO_OPENSSL = "no openssl is installed"
NO_MOUNTS = "no mounts are allowed here"
LACKING = (NO_BROWSER, NO_OPENSSL, NO_MOUNTS)
"""What a machine may lack, as reasons of tests that are skipped for it."""

BEGAN = pytest.StashKey[float]()

LARGE_LIBRARIES = (
    "pandas", "nltk", "sklearn.feature_extraction.text", "sklearn.linear_model",
    "matplotlib.pyplot",
)  # fmt: skip
"""Imported before the first test is timed: otherwise the test that happens to be the
first to use one of them pays for the import, up to a second."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--budget``."""
    parser.addoption(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="fail a test that takes more seconds of processor time",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Do before the first timed test what only the first of a process has to do."""
    if session.config.getoption("budget"):
        for name in LARGE_LIBRARIES:
            importlib.import_module(name)
        # in a new checkout Hypothesis sorts all of Unicode, once
        hypothesis.find(hypothesis.strategies.text(), lambda text: True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note when the test begins, before its fixtures."""
    item.stash[BEGAN] = _processor_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that has passed and has taken more than the budget."""
    report = yield
    budget = item.config.getoption("budget")
    if budget and report.when == "call" and report.passed:
        seconds = _processor_seconds() - item.stash[BEGAN]
        if seconds > budget:
            report.outcome = "failed"
            report.longrepr = (
                f"took {seconds:.2f} s of processor time, {budget:g} s are allowed. "
                "Shorten it, or mark it slow"
            )
    return report


def _processor_seconds() -> float:
    """Return what this process and its ended children have computed so far, in s."""
    return sum(os.times()[:4])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let no test be skipped where CI=true: it proves nothing and would go unnoticed.

    But for those that need what the machine lacks, see `LACKING`. Where REQUIRE_BROWSER
    is set, tests that need a browser fail instead.
    """
    if os.environ.get("CI") != "true":
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    reasons = [str(report.longrepr) for report in skipped]
    if not all(any(one in reason for one in LACKING) for reason in reasons):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
