"""Shared fixtures. Anything marked `keras` pays for importing Keras, once."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
settings.register_profile("suite", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("suite")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So it is in the background of a script; the commands under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tweets_csv(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A slice of the real tweets, both classes, as a reader's own CSV."""
    import pandas as pd

    from recipes.data.airline import CLASSES, load_tweets

    tweets = load_tweets()
    rows = np.r_[0:300, 9178:9378]
    path = tmp_path_factory.mktemp("data") / "tweets.csv"
    pd.DataFrame(
        {
            "text": [tweets.texts[k] for k in rows],
            "airline_sentiment": [CLASSES[tweets.labels[k]] for k in rows],
        }
    ).to_csv(path, index=False)
    return str(path)


LONGEST = (
    "test_chunks", "test_layers", "test_backends", "test_diagnose", "test_policies",
    "test_check", "test_cluster", "test_commands", "test_legacy", "test_notebooks",
    "test_training", "test_plan", "test_sentiment", "test_main", "test_documents",
    "test_seeds", "test_sweep", "test_padding_study", "test_fuzzing", "test_browser",
    "test_plots",
)  # fmt: skip
"""Files that take longest: begun first, so that no process has one left at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The verifier first: recipes make TensorFlow deterministic for the whole process,
    and it then no longer compiles by XLA what some layers need in float64.

    With several processes this needs --no-loadscope-reorder.
    """

    def place(item: pytest.Item) -> tuple[bool, int]:
        name = item.path.stem
        long = LONGEST.index(name) if name in LONGEST else len(LONGEST)
        return "verify" not in item.path.parts, long

    items.sort(key=place)


NO_BROWSER = "no Chromium is installed"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test proves nothing and would go unnoticed: none is allowed.

    But for those that need a browser, where there is none and REQUIRE_BROWSER does not
    ask for one.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    if any(NO_BROWSER not in str(report.longrepr) for report in skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
