"""The plugin of pytest, run by pytest itself on folders of model files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from support.nets import ids, lstm_file

import verify

pytestmark = pytest.mark.slow  # each runs pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "verify.pytest_plugin"


@pytest.fixture(scope="module", autouse=True)
def loaded(model) -> None:
    """Import what the runs need: what one of them imported would be gone after it."""
    y = verify.load(model).predict(ids())
    verify.assert_outputs_match(model, ids(), y)
    verify.compare_outputs(model, ids(), y, tolerance=1, diagnosis_seconds=0)
    verify.compare_outputs(model, ids(), y, precision="float16", diagnosis_seconds=0)
    assert verify.compare_exported
    assert find_spec("verify.checks._time_chunks")


@pytest.fixture(scope="module")
def keras_loaded(model) -> None:
    """Import Keras and TensorFlow, as `loaded`: TensorFlow aborts if imported again."""
    verify.check(model, ids())


@pytest.fixture
def run(pytester, monkeypatch, undiagnosed):
    """Run pytest in a folder with no plugin but this one, and those that are named."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("CI", "BUILD_NUMBER"):  # with one of them pytest's summary is longer
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", PLUGIN, *arguments)

    return run


@pytest.fixture
def models(pytester) -> Path:
    """A folder with a model, its inputs, and outputs of a port that is right."""
    folder = pytester.mkdir("models")
    lstm_file(folder / "good.keras")
    write_outputs(folder, "good")
    return folder


def write_outputs(folder: Path, name: str, change: float = 0.0) -> None:
    np.save(folder / f"{name}.x.npy", ids())
    y = verify.load(folder / f"{name}.keras").predict(ids())
    np.save(folder / f"{name}.y.npy", y + change)


RECORDED = (
    "--rnn-verify", "--rnn-verify-data=models/{name}.x.npy",
    "--rnn-verify-outputs=models/{name}.y.npy",
)  # fmt: skip


def test_the_distribution_declares_the_plugin():
    text = (ROOT / "packages/keras-rnn-verify/pyproject.toml").read_text()
    declared = tomllib.loads(text)["project"]["entry-points"]["pytest11"]
    ((name, value),) = declared.items()
    assert EntryPoint(name, value, "pytest11").load().__name__ == PLUGIN


def test_loading_the_plugin_loads_neither_numpy_nor_keras():
    probe = f"import pytest, sys, {PLUGIN}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert PLUGIN in loaded
    assert not loaded & {"numpy", "keras", "tensorflow", "h5py", "verify.checks"}


def test_model_files_are_tests_only_where_that_is_asked_for(run, models, pytester):
    assert run("--collect-only", "models").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    found = run("--collect-only", "-q", "--rnn-verify", "models")
    found.stdout.fnmatch_lines(["models/good.keras::check"])
    pytester.makeini("[pytest]\nrnn_verify = true\nrnn_verify_outputs = y.npy\n"
                     "rnn_verify_data = x.npy")  # fmt: skip
    run("--collect-only", "-q", "models").stdout.fnmatch_lines(
        ["models/good.keras::compare"]
    )


def test_outputs_of_ports_pass_and_fail_with_the_report(run, models):
    shutil.copy(models / "good.keras", models / "bad.keras")
    write_outputs(models, "bad", change=1e-3)
    done = run(*RECORDED, "--junit-xml=found.xml", "models")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(
        [
            "*_ compare bad.keras _*",
            "FAIL  *bad.keras: the outputs are not those of the model",
            "  greatest |diff|: 0.001 at *",
        ]
    )
    assert "Traceback" not in done.stdout.str()
    cases = ElementTree.parse("found.xml").iter("testcase")
    found = {case.get("classname"): case for case in cases}
    failure = found["models.bad.keras"].find("failure")
    assert "greatest |diff|: 0.001" in failure.text
    verdicts = {
        name: case.find("properties/property[@name='verdict']").get("value")
        for name, case in found.items()
    }
    assert verdicts == {"models.good.keras": "PASS", "models.bad.keras": "FAIL"}
    done = run(*RECORDED, "--rnn-verify-precision=float16", "models/bad.keras")
    done.assert_outcomes(passed=1)


def test_options_may_stand_in_the_ini_file(run, models, pytester):
    write_outputs(models, "good", change=1e-3)
    ini = (
        "[pytest]\nrnn_verify = true\nrnn_verify_data = models/{name}.x.npy\n"
        "rnn_verify_outputs = models/{name}.y.npy\nrnn_verify_tolerance = 0.01"
    )
    pytester.makeini(ini)
    run("models").assert_outcomes(passed=1)
    run("--rnn-verify-tolerance=1e-4", "models").assert_outcomes(failed=1)
    pytester.makeini(f"{ini}\nrnn_verify_allow = fail")
    refused = run("models")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(
        ["*rnn_verify_allow: expected inconclusive or partial. Received: fail"]
    )


def test_weights_are_read_with_the_config_beside_them(run, models):
    folder = models / "unpacked"
    shutil.unpack_archive(models / "good.keras", folder, "zip")
    weights, config = folder / "model.weights.h5", folder / "config.json"
    os.rename(weights, models / "good.weights.h5")
    os.rename(config, models / "good.json")
    shutil.rmtree(folder)
    run(*RECORDED, "models").assert_outcomes(passed=2)
    (models / "good.json").unlink()
    done = run(*RECORDED, "models")
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(
        ["*good.weights.h5: expected a model. Received: weights*"]
    )


def test_what_cannot_be_read_is_an_error_by_name(run, models):
    (models / "damaged.keras").write_bytes(b"no archive")
    shutil.copy(models / "good.keras", models / "alone.keras")
    done = run(*RECORDED, "models")
    done.assert_outcomes(passed=1, errors=2)
    done.stdout.fnmatch_lines(["*/damaged.keras: *", "ERROR models/damaged.keras::*"])
    done.stdout.fnmatch_lines(["*alone.x.npy: expected a file of numbers*"])
    assert "verify/model_files" not in done.stdout.str()  # no traceback
    assert "During handling" not in done.stdout.str()  # nor the same line twice


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rnn-verify-tolerance=1"], "--rnn-verify-tolerance: expected *outputs too"),
        (["--rnn-verify-precision=int8"], "--rnn-verify-precision: expected *"),
        (["--rnn-verify-outputs=y.npy"], "--rnn-verify-outputs: expected *data too*"),
        (["--rnn-verify-allow=partial"], "--rnn-verify-allow partial: expected *"),
        ([*RECORDED, "--rnn-verify-partial"], "--rnn-verify-partial: is for models*"),
        (["--rnn-verify-backend=theano"], "*expected one of tensorflow, *: theano"),
    ],
)
def test_options_without_a_use_are_refused(run, models, options, said):
    done = run("--rnn-verify", *options, "models")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"*{said}*"])


def test_files_without_models_to_collect_are_refused(run, models):
    done = run("--rnn-verify-data=models/{name}.x.npy", "models")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--rnn-verify-data: expected --rnn-verify too*"])


PORT = """
import verify

def test_right(rnn_verify):
    files = "models/good.keras", "models/good.x.npy"
    assert rnn_verify.compare_outputs(*files, "models/good.y.npy")

def test_wrong(rnn_verify):
    files = "models/good.keras", "models/good.x.npy"
    rnn_verify.compare_outputs(*files, "models/wrong.npy")

def test_asserted():
    import numpy as np
    x, y = np.load("models/good.x.npy"), np.load("models/wrong.npy")
    unrelated = verify.compare_outputs("models/good.keras", x, y + 1)
    assert verify.compare_outputs("models/good.keras", x, y)

def test_about_something_else():
    report = verify.compare_exported
    assert report is None
"""


def test_the_fixture_and_a_plain_assert_show_the_whole_report(run, models, pytester):
    np.save(models / "wrong.npy", np.load(models / "good.y.npy") + 1e-3)
    pytester.makepyfile(PORT)
    done = run()
    done.assert_outcomes(passed=1, failed=3)
    text = done.stdout.str()
    assert text.count("greatest |diff|: 0.001 at") == 2  # once for each
    assert "greatest |diff|: 1 at" not in text  # the other report of that test
    done.stdout.fnmatch_lines(
        [
            "*_ test_wrong _*",
            ">*rnn_verify.compare_outputs(*",
            "E*FAIL  models/good.keras: the outputs are not those of the model",
            "*_ test_asserted _*",
            "E*assert <Report FAIL: models/good.keras: the outputs are not *>",
            "*- rnn-verify -*",
            "FAIL  models/good.keras: the outputs are not those of the model",
        ]
    )
    assert "pytest_plugin.py:" not in text  # frames of the plugin are hidden
    run("--rnn-verify-tolerance=0.01").assert_outcomes(passed=2, failed=2)


def test_workers_of_xdist_run_model_files_too(run, models):
    (models / "damaged.keras").write_bytes(b"no archive")
    done = run("-p", "xdist", "-n", "1", *RECORDED, "models")
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["ERROR models/damaged.keras::compare*"])


@pytest.mark.keras
def test_models_are_checked_against_keras(keras_loaded, run, models, monkeypatch):
    from keras import layers
    from support.nets import keras_sequential

    model = keras_sequential([layers.Input((None, 3)), layers.LSTM(2, name="lstm")])
    model.save(models / "live.keras")
    done = run("--rnn-verify", "--rnn-verify-backend=tensorflow", "models")
    done.assert_outcomes(passed=2)
    other = run("--rnn-verify", "--rnn-verify-backend=jax", "models")
    assert other.ret == pytest.ExitCode.USAGE_ERROR
    other.stderr.fnmatch_lines(["*Keras was imported before, on tensorflow"])
    # a check that notices: Keras is given other weights than NumPy
    monkeypatch.setattr(
        "verify.keras_bridge.load_model",
        lambda *_, **__: (with_other_weights(model), ""),
    )
    done = run("--rnn-verify", "models/live.keras")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["FAIL *live.keras: *", "Layer 'lstm' (LSTM*"])


def with_other_weights(model):
    model.set_weights([w * 1.1 for w in model.get_weights()])
    return model
