"""The commands list, predict and run."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import read, refused

import recipes
import verify
from recipes import RECIPES
from recipes.__main__ import main
from recipes.run.folder import RunFolder

pytestmark = pytest.mark.keras


def test_a_run_interrupted_before_it_has_a_folder_is_not_told_to_resume(
    tmp_path, monkeypatch, capsys
):
    from recipes import toy_rnn

    def interrupted(*_):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    monkeypatch.setattr(toy_rnn, "run", interrupted)
    assert main(["run", "toy_rnn", "--epochs", "1", "--out", str(out)]) == 130
    again = capsys.readouterr().err.splitlines()[-1].partition("Go on with: ")[2]
    monkeypatch.undo()
    assert main(again.removeprefix("rnn-recipe ").split()) == 0


def test_predict_names_what_it_uses_and_what_it_does_not_know(trained, capsys):
    text = "The flight was DELAYED, zzyzx!"
    assert main(["predict", trained, text]) == 0
    out = capsys.readouterr().out
    assert "used: flight, delayed" in out
    assert "stop words: the, was" in out
    assert "not in the vocabulary: zzyzx" in out
    scores = dict(reversed(line.split("  ")) for line in out.splitlines()[-2:])
    assert set(scores) == {"negative", "positive"}
    assert sum(map(float, scores.values())) == pytest.approx(1, abs=2e-4)
    net = verify.load(RunFolder(trained) / "model.keras")
    x = RunFolder(trained).read_pipeline().encode([text])
    assert float(scores["negative"]) == pytest.approx(net.predict(x)[0, 0], abs=1e-4)


def test_predict_cuts_a_long_text_where_keras_would_and_says_so(trained, capsys):
    assert main(["predict", trained, "flight " * 60]) == 0
    out = capsys.readouterr().out
    length = RunFolder(trained).read_pipeline().length
    assert f"before the last {length}, cut: flight" in out


def test_predict_refuses_what_it_cannot_use(trained, tmp_path, capsys):
    line = refused(capsys, "predict", trained, "zzyzx qqq")
    assert "words of the vocabulary. Received: zzyzx, qqq" in line
    line = refused(capsys, "predict", trained, "the !!")
    assert "Received: none but stop words" in line
    assert "Received: no word" in refused(capsys, "predict", trained, "--", "!?")
    line = refused(capsys, "predict", str(tmp_path), "hello")
    assert "expected the folder of a finished run. Received: no vocabulary.json" in line
    (tmp_path / "vocabulary.json").write_text("{}")
    assert "file is damaged" in refused(capsys, "predict", str(tmp_path), "hello")
    (tmp_path / "vocabulary.json").write_text("nothing")
    assert "file is damaged" in refused(capsys, "predict", str(tmp_path), "hello")


def test_a_recipe_file_runs_as_a_script(tmp_path):
    script = Path(recipes.__file__).with_name("toy_rnn.py")
    out = tmp_path / "run"
    run = subprocess.run(
        [
            sys.executable, str(script), "--epochs", "1", "--seed", "3",
            "--out", str(out),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "PASS" in run.stdout
    assert (out / "model.keras").exists()
    command = read(out, "manifest.json")["command"]
    assert command == f"rnn-recipe run toy_rnn --epochs 1 --seed 3 --out {out}"


def test_every_file_of_recipes_is_a_script_the_sweep_too(capsys):
    folder = Path(recipes.__file__).parent
    files = {path.stem: path for path in folder.glob("*.py") if path.stem[0] != "_"}
    assert files.keys() == {*RECIPES, "sweep"}
    for name, path in files.items():
        assert path.read_text().endswith("    script(__file__)\n"), name
    run = subprocess.run(
        [sys.executable, str(files["sweep"]), "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert main(["sweep", "--help"]) == 0
    assert run.stdout == capsys.readouterr().out
    assert "--processes" in run.stdout


def test_list_names_every_recipe_with_the_first_line_of_its_file(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in RECIPES:
        assert f"\n{name} " in f"\n{out}"
    assert "An LSTM of one unit learns" in out


LEARNT = {"epochs", "batch-size", "units", "seed"}
TWEETS = LEARNT | {"csv"}
PADDED = TWEETS | {"mask-zero", "padding", "length"}
OPTIONS = {
    "toy_rnn": {"epochs", "seed", "units"},
    "one_to_many": {"epochs", "units", "seed"},
    "word_order": LEARNT,
    "long_memory": LEARNT | {"gaps"},
    "sentiment_gru": PADDED,
    "seeds": PADDED | {"seeds"},
    "padding_study": TWEETS | {"seeds", "lengths"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_help_of_a_recipe_has_its_options_and_its_defaults(name, capsys):
    always = {"backend", "out", "resume", "help"}
    assert main(["run", name.replace("_", "-"), "--help"]) == 0
    alone = capsys.readouterr().out
    assert set(re.findall(r"^  (?:-h, )?--([a-z-]+)", alone, re.MULTILINE)) == (
        OPTIONS[name] | always
    )
    epochs = importlib.import_module(f"recipes.{name}").Config().epochs
    assert f"[default: {epochs};" in alone
    assert main(["run", "--help"]) == 0
    every = capsys.readouterr().out
    assert main(["run", name, "chapter", "--help"]) == 0
    assert capsys.readouterr().out == every
    assert "[default: " not in every
    shown = set(re.findall(r"^  (?:-h, )?--([a-z-]+)", every, re.MULTILINE))
    assert shown == set().union(*OPTIONS.values()) | always
