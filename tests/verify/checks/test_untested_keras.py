"""A Keras that was not tested is named, and what it breaks is never a FAIL."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from support.nets import ids, keras_word_net

import verify
from verify.__main__ import main
from verify.checks._verdict import on_untested
from verify.checks._versions import untested_keras
from verify.errors import DataError, KerasChanged, UnsupportedError, UntestedKeras
from verify.tolerance.compare import Verdict

SAID = "Keras 3.99.0 was not tested; tested: 3.15 and 3.16.0.dev2026102704"


@pytest.fixture
def loaded(monkeypatch):
    """A function that makes some version count as the Keras that is loaded."""

    def set_version(version):
        keras = sys.modules.get("keras")
        if keras is None:
            keras = types.ModuleType("keras")
            monkeypatch.setitem(sys.modules, "keras", keras)
        monkeypatch.setattr(keras, "__version__", version, raising=False)

    return set_version


def broken(error):
    with untested_keras():
        raise error


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (AttributeError("no attribute '_x'"), "AttributeError: no attribute '_x'"),
        (KerasChanged("Keras 3.99.0 has no f in g"), "Keras 3.99.0 has no f in g"),
        (TypeError("an argument\nand more"), "TypeError: an argument"),
        (ImportError("no module"), "ImportError: no module"),
    ],
)
def test_what_an_untested_keras_breaks_ends_without_a_verdict(loaded, error, what):
    loaded("3.99.0")
    with pytest.raises(UntestedKeras) as caught:
        broken(error)
    assert str(caught.value) == (
        f"INCONCLUSIVE: {SAID}. A check cannot go on with it ({what})"
    )
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [DataError("x"), UnsupportedError("x"), MemoryError(), KeyboardInterrupt()]
)
def test_what_is_refused_by_name_stays_so(loaded, error):
    loaded("3.99.0")
    with pytest.raises(type(error)) as caught:
        broken(error)
    assert caught.value is error


def test_a_keras_that_was_tested_has_no_such_excuse(loaded):
    loaded("3.15.1")
    for error in (AttributeError("x"), KerasChanged("x")):
        with pytest.raises(type(error)) as caught:
            broken(error)
        assert caught.value is error


def test_without_keras_an_error_is_what_it_is(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with pytest.raises(AttributeError):
        broken(AttributeError("x"))


def test_a_difference_on_an_untested_keras_decides_nothing():
    right = Verdict.PASS, "the NumPy forward pass matches Keras"
    wrong = Verdict.FAIL, "the NumPy forward pass does not match Keras"
    assert on_untested(*right, SAID) == right
    assert on_untested(*wrong, "") == wrong
    assert on_untested(*wrong, SAID) == (
        Verdict.INCONCLUSIVE,
        f"{SAID}. On it {wrong[1]}",
    )


def test_the_command_ends_with_the_code_of_inconclusive(monkeypatch, capsys):
    def breaks(*args, **kwargs):
        raise UntestedKeras(f"INCONCLUSIVE: {SAID}")

    monkeypatch.setattr(verify, "load", breaks)
    assert main(["check", "m.keras"]) == 3
    assert capsys.readouterr().err == f"rnn-verify: INCONCLUSIVE: {SAID}\n"


@pytest.fixture(scope="module")
def live():
    return keras_word_net("LSTM", units=4)


@pytest.mark.keras
def test_every_report_names_a_version_that_was_not_tested(live, loaded):
    loaded("3.99.0")
    report = verify.check(live, ids())
    assert report.verdict is Verdict.PASS
    assert report.warnings[0] == SAID
    assert report.facts["keras"] == "3.99.0"


@pytest.mark.keras
def test_a_wrong_network_there_is_not_said_to_fail(live, loaded):
    net = verify.load(live)
    lstm = net.spec["recurrent"]
    other = lstm.with_weights(bias=lstm.weights["bias"] * 1.5)
    wrong = verify.Network(net.spec.with_layer(other))
    loaded("3.99.0")
    report = verify.check(live, ids(), network=wrong)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason.startswith(f"{SAID}. On it the NumPy forward pass does not")
    assert report.diagnosis is None
    assert report.first_mismatch is not None


@pytest.mark.keras
def test_a_private_name_that_is_gone_leaves_the_outputs_compared(
    live, loaded, monkeypatch
):
    from verify.keras_bridge import private, tracing

    tracing.forget()  # other tests have checked a model of the same config

    def gone(*args, **kwargs):
        raise KerasChanged("Keras 3.99.0 has no _run_through_graph in Functional")

    monkeypatch.setattr(private, "run_graph", gone)
    for version in ("3.99.0", None):
        if version is not None:
            loaded(version)
        report = verify.check(live, ids())
        assert report.verdict is Verdict.PASS
        assert not report.layers
        assert any("has no _run_through_graph" in text for text in report.warnings)


@pytest.mark.keras
def test_the_rules_that_keras_is_seen_to_follow_are_those_of_its_version():
    from verify import keras_bridge
    from verify.keras_bridge.probing import PROBES, probed_rules
    from verify.model.versions import VersionRule, rules_of

    version = keras_bridge.import_keras().__version__
    assert set(PROBES) == set(VersionRule)
    assert probed_rules() == rules_of(version)
    assert np.array_equal(keras_bridge.version_rules(), rules_of(version))
