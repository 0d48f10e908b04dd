"""Which backend a run trains on, and what is refused."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
from support.runs import refused

from recipes.run import backend, plan
from recipes.run.folder import RunFolder
from verify.errors import DataError


@pytest.fixture
def not_imported(monkeypatch) -> None:
    """Keras as if nobody had imported it, and nothing in the environment."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND")


@pytest.mark.usefixtures("not_imported")
def test_jax_is_the_default_and_the_environment_and_the_option_go_before_it(
    monkeypatch,
):
    import os

    assert backend.use() == "jax" == os.environ["KERAS_BACKEND"]
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backend.use() == "torch" == os.environ["KERAS_BACKEND"]
    assert backend.use("tensorflow") == "tensorflow" == os.environ["KERAS_BACKEND"]


def test_keras_that_has_been_imported_keeps_its_backend(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace())
    monkeypatch.setattr(backend, "current", lambda: "tensorflow")
    assert backend.use() == backend.use("tensorflow") == "tensorflow"
    with pytest.raises(DataError, match="Received: Keras, imported on"):
        backend.use("jax")


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"backend": "jax"}, "jax"),
        ({"versions": {"backend": "torch"}}, "torch"),  # before backend was written
        ({"versions": {"keras": "3.13"}}, "tensorflow"),
        ({}, "tensorflow"),
        ({"versions": None, "backend": ""}, "tensorflow"),
    ],
)
def test_the_backend_of_an_earlier_run(manifest, expected):
    assert backend.of_run(manifest) == expected


def begun(folder, recipe: str, on: str) -> None:
    config = plan.options_of(recipe)
    manifest = {"recipe": recipe, "config": config, "backend": on}
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_run_is_not_resumed_on_another_backend(tmp_path, capsys):
    begun(tmp_path / "run", "toy_rnn", "tensorflow")
    assert backend.require_same_backend(RunFolder(tmp_path / "run"), None)
    command = ["run", "toy_rnn", "--out", str(tmp_path / "run"), "--resume"]
    line = refused(capsys, *command, "--backend", "jax")
    assert line.endswith(
        "expected to resume on tensorflow, on which the run was begun. Received: jax"
    )


def test_runs_on_two_backends_are_not_resumed_together(tmp_path, capsys):
    begun(tmp_path / "toy_rnn", "toy_rnn", "tensorflow")
    begun(tmp_path / "toy_lstm", "toy_lstm", "jax")
    line = refused(
        capsys, "run", "toy_rnn", "toy_lstm", "--out", str(tmp_path), "--resume"
    )
    assert line.endswith(
        "--resume: expected runs on one backend. Received: toy_rnn on tensorflow and "
        "toy_lstm on jax; resume them one by one"
    )


def test_an_unknown_backend_is_refused(capsys):
    line = refused(capsys, "run", "toy_rnn", "--backend", "theano")
    assert "Received: theano" in line
    assert "jax" in line


@pytest.mark.usefixtures("not_imported")
def test_the_command_of_a_run_names_the_backend_that_was_asked_for(tmp_path):
    given = {"backend": "tensorflow", "seed": 3}
    (job,) = plan.plan(["toy_rnn"], given, out=str(tmp_path / "run"), resume=False)
    assert job.options.backend == "tensorflow"
    assert "--backend tensorflow" in job.options.command
    (job,) = plan.plan(["toy_rnn"], {}, out=str(tmp_path / "run"), resume=False)
    assert "--backend" not in job.options.command
