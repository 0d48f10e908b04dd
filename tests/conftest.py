"""Shared fixtures. Anything marked `keras` pays for importing Keras, once."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from support.thoroughness import THOROUGH, many

from verify.mistakes.search import Clock

pytest_plugins = ["pytester", "support.rules", "support.interruptions"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# one for all tests of a process; `make test` runs those of the recipes on JAX
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# importing openvino would fork this process; see verify.ports.artefacts.process
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
settings.register_profile(
    "suite", deadline=None, max_examples=many(60, 30), derandomize=True
)
settings.load_profile("suite")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So it is in the background of a script; the commands under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A search gets the time that it has where no other test runs beside it.
Clock.now = staticmethod(time.process_time)

LONGEST_FOLDER = Path(__file__).parent / "verify" / "whole"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that two workers end at about the same time.

    They would be among the last: one worker would wait for the other's. Leave out what
    only `make thorough` runs.
    """
    items.sort(key=lambda item: LONGEST_FOLDER not in item.path.parents)
    if not THOROUGH:
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.fixture(scope="session")
def tweets_csv(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A slice of the real tweets, both classes, as a reader's own CSV.

    The 256 to train on are whole batches of 32 and of 128. A smaller batch at the end
    would be compiled too, in every run.
    """
    import pandas as pd

    from recipes.data.airline import CLASSES, load_tweets

    tweets = load_tweets()
    rows = np.r_[0:220, 9178:9324]
    path = tmp_path_factory.mktemp("data") / "tweets.csv"
    pd.DataFrame(
        {
            "text": [tweets.texts[k] for k in rows],
            "airline_sentiment": [CLASSES[tweets.labels[k]] for k in rows],
        }
    ).to_csv(path, index=False)
    return str(path)


@pytest.fixture(autouse=True)
def _determinism_ends_with_its_test() -> Iterator[None]:
    """Switch off TensorFlow's determinism, which training switches on, after a test.

    It holds for the whole process, and Keras does not compile by XLA under it; without
    XLA TensorFlow has no convolution in float64 with channels first, among others. Its
    public names only switch it on.
    """
    yield
    tensorflow = sys.modules.get("tensorflow.python.framework.config")
    if tensorflow is not None:
        tensorflow.disable_op_determinism()
    if "keras" in sys.modules:
        _leave_imports_uncollected()


@functools.cache
def _leave_imports_uncollected() -> None:
    """Spare the garbage collector what importing Keras's backend has made.

    TensorFlow makes a million objects.

    Keras collects garbage whenever a run begins, and it would take half a second.
    """
    gc.collect()
    gc.freeze()
