"""The folder of a run: what may be written to it."""

from __future__ import annotations

import os

import pytest
from support.runs import refused

from recipes.run.folder import RunFolder
from verify import DataError


def test_a_folder_without_permission(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    line = refused(capsys, "run", "toy_rnn", "--out", str(tmp_path / "run"))
    assert "cannot be written (no permission)" in line


def test_a_manifest_that_is_no_json_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text("mine")
    line = refused(capsys, "run", "toy_rnn", "--out", str(tmp_path))
    assert "manifest.json: expected a JSON object" in line
    assert (tmp_path / "manifest.json").read_text() == "mine"


def test_an_unusable_folder_is_refused_before_anything_is_trained(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"holds notes\.txt"):
        folder.open_for("toy_rnn", {}, "", resume=False)


def test_what_a_killed_process_leaves_half_written_is_no_obstacle(tmp_path):
    folder = RunFolder(tmp_path)
    for name in (".checkpoint.npz.x1.npz", ".manifest.json.y.json"):
        (tmp_path / name).touch()
    (tmp_path / ".partial.model.keras").touch()
    assert folder.examine("toy_rnn", resume=False) is None
    folder.clear()
    assert list(tmp_path.iterdir()) == []
