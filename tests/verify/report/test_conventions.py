"""What is printed about the conventions of other frameworks."""

from __future__ import annotations

import json

import pytest

from verify import UnsupportedError
from verify.__main__ import main
from verify.model.conventions import conventions, frameworks
from verify.report.conventions import (
    NOT_RUN,
    convention_tables,
    convention_text,
    conventions_json,
)


def test_the_tables_name_every_convention_with_figure_and_command():
    tables = convention_tables()
    for form in conventions():
        assert f"`{form.cell}`" in tables
        if form.measured is not None:
            assert f"`{form.measured.command}`" in tables
    weights = tables.partition("### GRU")[0]
    assert weights.count(NOT_RUN) == sum(c.measured is None for c in conventions())
    assert all(f"| {one.title} " in tables for one in frameworks().values())


def test_the_text_of_a_framework_says_what_differs_from_keras():
    text = convention_text("haiku")
    assert "gate order  i c f o (Keras: i f c o)" in text
    assert "z is the      share of the new state" in text
    assert "one row, less 1 in the forget gate" in text
    assert "no form for GRU(reset_after=True)" in text
    assert "by python -m benchmarks.conventions haiku" in text


def test_the_document_holds_every_field():
    found = json.loads(conventions_json())["frameworks"]
    assert list(found) == list(frameworks())
    first = json.loads(conventions_json("PyTorch"))["frameworks"]["torch"]
    assert first["conventions"][1]["gate_order"] == ["r", "z", "h"]
    assert first["conventions"][1]["measured"]["version"] == first["version"]
    assert first["refusals"][0]["reset_after"] is False


def test_the_command_prints_one_framework_all_of_them_or_a_document(capsys):
    assert main(["conventions", "tflite"]) == 0
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in capsys.readouterr().out
    assert main(["conventions"]) == 0
    assert capsys.readouterr().out == convention_tables() + "\n"
    assert main(["conventions", "mlx", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["frameworks"]) == ["mlx"]


def test_a_wrong_framework_is_one_line(capsys):
    assert main(["conventions", "tensorflwo.js"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rnn-verify: expected a framework. Did you mean tfjs?")
    assert err.count("\n") == 1
    with pytest.raises(UnsupportedError, match="Did you mean"):
        convention_text("openvin")
