"""The list of public model files, and what their table says of them."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from benchmarks.real_files.__main__ import FILES, Row, Run, _reason, table, totals

ENTRIES = json.loads(FILES.read_text())


def test_each_file_is_listed_once_and_lies_inside_its_source():
    places = [(entry["source"], entry["path"]) for entry in ENTRIES]
    assert len(set(places)) == len(places)
    for entry in ENTRIES:
        assert entry.keys() <= {"source", "path", "keras", "foreign", "config"}
        for path in (entry["path"], entry.get("config", "x")):
            assert not PurePosixPath(path).is_absolute()
            assert ".." not in PurePosixPath(path).parts
        package = entry["source"].startswith("pypi:") and "==" in entry["source"]
        assert package or entry["source"].count("/") == 1


def row(checked, foreign="", described="read", **more):
    return Row(
        "a/b", "m.h5", "2.1.0", foreign, described, 0.2, checked, 4.0, 900, **more
    )


def test_the_totals_count_what_holds_no_foreign_code():
    rows = [
        row("PASS", derived=1.0),
        row("PASS", derived=0.5),
        row("", described="refused", reason="Layer 'x' (Y): not supported"),
        row("refused", "Lambda", partial="2 of 3 layers proved"),
        row("no end"),
        row("traceback"),
    ]
    said = dict(totals(rows))
    assert said["files"] == "6"
    assert said["others"] == "5"
    assert said["others described and PASS"] == "40.0%"
    assert said["ended in: traceback"] == "1"
    assert said["ended in: no end"] == "1"
    assert said["a derived bound for every number"] == "1 of 2"
    text = table(rows, "a machine")
    assert "Lambda; 2 of 3 layers proved" in text
    assert "Layer 'x' (Y): not supported" in text


@pytest.mark.parametrize(
    ("code", "err", "is_one"),
    [
        (1, "Traceback (most recent call last):\n  ...\nValueError: max()", True),
        (70, "rnn-verify: a defect", True),
        (2, "rnn-verify: m.h5: no such file", False),
        (0, "", False),
    ],
)
def test_a_traceback_is_told_from_a_refusal(code, err, is_one):
    done = Run(code, 1.0, 100.0, "", err)
    assert done.traceback == is_one


def test_a_reason_does_not_hold_the_path_of_the_copy():
    said = Run(2, 1, 1, "", "Loading\nrnn-verify: /copies/m.h5: is damaged").said
    assert _reason(said, "/copies/m.h5") == "is damaged"
