"""What get_config of every Keras writes, against what the verifier reads."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.configs.collection import RESULT, Collection, short
from benchmarks.configs.plan import lines
from benchmarks.configs.reading import Outcome, outcomes, read
from verify.forward.layers import REGISTRY

COLLECTION = Collection.read(RESULT)
CELLS = ("LSTMCell", "GRUCell", "SimpleRNNCell", "RNN", "StackedRNNCells")


def test_no_option_that_any_keras_writes_is_unknown():
    counts = Counter()
    for one in outcomes(COLLECTION, every=False):
        counts[one.outcome] += 1
        assert one.outcome is not Outcome.UNKNOWN, f"{one.versions}: {one.reason}"
        if one.outcome is not Outcome.READ:
            assert "\n" not in one.reason
            assert len(one.reason) > 20
    assert counts[Outcome.READ] > 1500


def test_every_class_that_is_read_is_read_as_every_keras_writes_it():
    for class_name, found in COLLECTION.classes.items():
        if class_name not in REGISTRY or class_name == "InputLayer":
            continue
        for config, numbers in found["configs"]:
            version = COLLECTION.versions[numbers[-1]]
            outcome, reason = read(class_name, config, version)
            # some versions do not write the options of their cells at all
            lost = class_name in CELLS and reason.endswith("the config has no 'units'")
            assert outcome is Outcome.READ or lost, f"{version}: {reason}"


@pytest.mark.parametrize(
    "line", ["keras 1.2.2", "keras 2.0.4", "keras 2.2.4", "tensorflow 2.5.3"]
)
def test_an_option_that_is_not_known_would_be_seen(line):
    number = COLLECTION.versions.index(line)
    config = next(
        c for c, some in COLLECTION.classes["Dense"]["configs"] if number in some
    )
    assert read("Dense", config, line)[0] is Outcome.READ
    outcome, reason = read("Dense", {**config, "of_tomorrow": 1}, line)
    assert outcome is Outcome.UNKNOWN
    assert "option 'of_tomorrow'" in reason


def test_every_line_of_the_plan_has_been_read():
    assert {line.name for line in lines()} <= set(COLLECTION.versions)
    assert all(COLLECTION.classes["LSTM"].values())


def test_settings_of_training_are_shortened_and_nothing_else():
    ones = {"class_name": "Constant", "config": {"value": 3}}
    config = {
        "units": 3,
        "kernel_initializer": ones,
        "dtype": {"config": {"name": "x"}},
    }
    assert short(config) == {
        **config, "kernel_initializer": {"class_name": "Constant", "config": {}}
    }  # fmt: skip
