"""Every notebook, found by glob: made from its script, run, answered, and true."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import notebook_runs
import numpy as np
import pytest

from recipes.explore import exercises

ROOT = Path(__file__).parents[1]
NAMES = [script.stem for script in notebook_runs.SCRIPTS]
ANSWERED = ("not yet", "right")
ENOUGH = {"03_sentiment": 512, "04_gates_and_memory": 4096}
"""Rows to train on where nothing is concluded from what has been learnt."""

LONG = (
    *("03_sentiment", "05_padding_and_masks", "10_order_and_distance"),
    *("11_tags_and_phrases", "12_overfitting", "14_could_it_have_failed"),
)
"""Run by `make thorough` alone: they train the networks of `seeds`, `padding_study`,
`word_order`, `long_memory`, `many_to_many` and `one_to_many`, as the tests of these
recipes do, or search in them as the others and the tests of `selftest` do."""


def made(name: str):
    """The notebook that is kept, with its outputs."""
    return nbformat.read(notebook_runs.FOLDER / f"{name}.ipynb", as_version=4)


def source(name: str):
    return notebook_runs.read(notebook_runs.FOLDER / f"{name}.py")


def solutions(name: str):
    return notebook_runs.read(notebook_runs.FOLDER / "solutions" / f"{name}.py")


def exercise_numbers(name: str) -> list[int]:
    return list(notebook_runs.tagged(source(name), "exercise"))


def first_cell() -> str:
    """The cell that installs the package, without what only IPython understands."""
    return source(NAMES[0]).cells[1].source.replace("%matplotlib inline", "")


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_notebook_a_script_and_solutions_of_every_name():
    assert len(NAMES) == 14
    for folder, suffix in ((".", ".ipynb"), ("solutions", ".py")):
        found = (notebook_runs.FOLDER / folder).glob(f"*{suffix}")
        assert sorted(path.stem for path in found) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_made_from_its_script(name):
    kept, now = made(name), source(name)
    assert [(c.cell_type, c.source) for c in kept.cells] == [
        (c.cell_type, c.source) for c in now.cells
    ], "make notebooks makes it anew"


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_as_it_ran(name):
    cells = code(made(name))
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    printed = notebook_runs.printed(made(name))
    said = re.findall(r"^Exercise (\d): not answered yet", printed, re.M)
    assert said == [str(number) for number in exercise_numbers(name)]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_holds_nothing_of_the_machine_it_ran_on(name):
    text = (notebook_runs.FOLDER / f"{name}.ipynb").read_text()
    assert str(ROOT) not in text
    for trace in ("/home/", "/root/", "/tmp/", "site-packages", "Warning: "):
        assert trace not in text, trace


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_its_parts(name):
    cells = source(name).cells
    first, second = cells[0].source, cells[1].source
    assert re.match(rf"# {int(name[:2])}\. ", first)
    assert "**Goal.**" in first
    assert "**You need**" in first
    assert second == source(NAMES[0]).cells[1].source  # one way to install
    titles = re.findall(r"^## (.*)", "\n".join(c.source for c in cells), re.M)
    assert titles[0] == "Five lines first"
    assert titles[-2:] == ["Exercises", "What you have shown"]
    last = code(source(name))[-1]
    assert re.search(r"^assert ", last.source, re.M)
    assert f"solutions/{name}.py" in "\n".join(c.source for c in cells)


@pytest.mark.parametrize("folder", ["project/notebooks", ".", "project"])
def test_the_first_cell_installs_the_project_that_it_finds(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "project" / "recipes").mkdir(parents=True)
    (tmp_path / "project" / "recipes" / "toy_rnn.py").touch()
    (tmp_path / "project" / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    commands = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, check: commands.append(command)
    )
    exec(first_cell(), {})
    light = Path("packages") / "keras-rnn-verify"
    both = [str(tmp_path / "project" / light), str(tmp_path / "project")]
    assert commands == [[sys.executable, "-m", "pip", "install", "-q", *both]]
    assert (ROOT / light / "pyproject.toml").exists()  # what pip looks for


def test_the_first_cell_says_where_the_project_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AssertionError, match=r"notebooks/README\.md"):
        exec(first_cell(), {})


@pytest.mark.parametrize("name", NAMES)
def test_definitions_live_in_the_packages(name):
    """A notebook defines little: by-hand equations, ports that are wrong, exercises."""
    defined = re.findall(r"^class ", "\n".join(c.source for c in code(source(name))))
    assert not defined


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_a_solution_and_a_mistake(name):
    numbers = exercise_numbers(name)
    assert numbers == list(range(1, max(3, len(numbers)) + 1))
    for kind in ("solution", "mistake"):
        assert list(notebook_runs.tagged(solutions(name), kind)) == numbers


@pytest.fixture(scope="module")
def kernel():
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "QUICK": "1", "PYTHONPATH": paths}
    with notebook_runs.Kernel(environment) as started:
        yield started


@pytest.mark.keras
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough if name in LONG else ())
        for name in NAMES
    ],
)
def test_a_notebook_runs_and_its_exercises_tell_right_from_wrong(
    name, kernel, tmp_path
):
    answered = notebook_runs.with_answers(source(name), solutions(name))
    notebook = notebook_runs.quickly(answered, ENOUGH.get(name))
    kernel.execute(notebook, tmp_path)
    printed = notebook_runs.printed(notebook)
    said = re.findall(r"^Exercise (\d): (right|not yet)", printed, re.M)
    assert said == [(str(n), word) for n in exercise_numbers(name) for word in ANSWERED]


@pytest.mark.keras
def test_a_notebook_that_is_wrong_does_not_run(kernel, tmp_path):
    script = (notebook_runs.FOLDER / f"{NAMES[0]}.py").read_text()
    short = script.replace("toy_rnn.Config(), ", "toy_rnn.Config(epochs=2), ")
    wrong = short.replace("h2 = tanh(1 * w + h1 * u", "h2 = tanh(1 * w - h1 * u")
    assert len({script, short, wrong}) == 3
    notebook = jupytext.reads(wrong, fmt="py:percent")
    with pytest.raises(Exception, match="Not equal to tolerance"):
        kernel.execute(notebook, tmp_path)


@pytest.mark.keras
def test_a_notebook_begins_without_the_names_of_the_one_before(kernel, tmp_path):
    for folder, code in (("a", "here = 1"), ("b", "print('here' in globals())")):
        (tmp_path / folder).mkdir()
        cell = nbformat.v4.new_code_cell(f"import os; print(os.getcwd())\n{code}")
        notebook = nbformat.v4.new_notebook(cells=[cell])
        kernel.execute(notebook, tmp_path / folder)
        assert str(tmp_path / folder) in notebook_runs.printed(notebook)
    assert notebook_runs.printed(notebook).endswith("False\n")


def test_the_published_numbers_in_the_notebooks_are_those_that_are_kept():
    for name, file in zip(NAMES, ("simple_rnn", "lstm"), strict=False):
        kept = json.loads((ROOT / "data" / "published" / f"{file}.json").read_text())
        text = (notebook_runs.FOLDER / f"{name}.py").read_text()
        keys = ("kernel", "recurrent_kernel", "bias", "dense_kernel", "dense_bias")
        for key in (*keys, "prediction"):
            shown = ", ".join(map(str, kept[key]))
            assert shown in text, f"{name}: {key} {shown}"


def test_the_index_links_every_notebook_in_order():
    index = (notebook_runs.FOLDER / "README.md").read_text()
    assert re.findall(r"\]\((\d\d_\w+)\.ipynb\)", index) == NAMES


def test_a_line_that_is_written_over_is_not_kept():
    assert notebook_runs.tidy("1/2\r2/2\nthe end\n") == "2/2\nthe end\n"
    assert notebook_runs.tidy("a line\r\n") == "a line\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (..., "not answered yet."),
        ((..., ...), "not answered yet."),
        (lambda: ..., "not answered yet."),
        (lambda: [..., ...], "not answered yet."),
        ([1.0, 2.0], "right."),
        (np.array([1, 2]), "right."),
        (lambda: [1, 2], "right."),
        ([1.0, 2.1], "not yet. Your answer differs by 0.1. Hint: count."),
        ([1, np.nan], "not yet. Your answer differs by nan. Hint: count."),
        ([1, 2, 3], "not yet. Your answer has shape (3,), the right one (2,). Hint: "),
        (1, "not yet. Your answer has shape (), the right one (2,). Hint: count."),
        ("ab", "not yet. Give numbers, not a text. Hint: count."),
        (["a", "b"], "not yet. Your answer is no number: ['a', 'b']. Hint: count."),
        ([[1], [2, 3]], "not yet. Your answer is no array: its rows are not of one"),
        (lambda: None, "not yet. Your function returns nothing. Hint: count."),
        (lambda: 1 / 0, "not yet. Your function raised ZeroDivisionError: division"),
        (lambda x: x, "not yet. Your function raised TypeError: "),
    ],
)
def test_an_exercise_says_what_is_wrong(answer, said, capsys):
    exercises.check(7, answer, [1, 2], "count.")
    printed = capsys.readouterr().out
    assert printed.startswith(f"Exercise 7: {said}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (0.0051, "right."),
        (0.005098, "right."),
        (0.0050980385, "right."),
        (0.0052, "not yet. Your answer differs by 0.0001"),
        (0.00509, "not yet. "),  # cut off, not rounded
        (0.005, "not yet. "),  # one digit could be a guess
        (0.01, "not yet. "),
        (5, "not yet. "),
    ],
)
def test_a_number_may_be_rounded(answer, said, capsys):
    exercises.check(1, answer, 0.00509803, "take the root.")
    assert capsys.readouterr().out.startswith(f"Exercise 1: {said}")


def test_every_number_of_several_must_be_right_to_its_digits(capsys):
    for answer in ([0.33, 0.67], (0.333, 0.6667), [0.33, 0.66], [0.33, np.inf]):
        exercises.check(1, answer, [1 / 3, 2 / 3], "thirds.")
    said = [line[:14] for line in capsys.readouterr().out.splitlines()]
    assert said == ["Exercise 1: ri"] * 2 + ["Exercise 1: no"] * 2


def test_whole_numbers_are_not_rounded(capsys):
    exercises.check(1, 2900.0, 2920, "count the bias.")
    assert "differs by 20." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([2920], "right."),
        (2920.0, "right."),
        (2880, "not yet. Your answer differs by 40. Hint: "),
        (0, "not yet. Your answer differs by 2,920. Hint: "),
        ([2920, 1], "not yet. Give one number. Your answer has shape (2,). Hint: "),
        ("2920", "not yet. Your answer is no number: '2920'. Hint: "),
    ],
)
def test_a_number_may_stand_in_brackets(answer, said, capsys):
    exercises.check(1, answer, 2920, "count the bias.")
    assert capsys.readouterr().out.startswith(f"Exercise 1: {said}")


def test_an_exercise_compares_words_and_calls_functions(capsys):
    exercises.check(1, "gru", "lstm", "it has two states.")
    exercises.check(1, "lstm", "lstm", "it has two states.")
    exercises.check(1, 3, "lstm", "it has two states.")
    exercises.check(2, lambda a, b: a + b, 5, "add.", of=(2, 3))
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert first.startswith("Exercise 1: not yet. That is another answer.")
    assert second == "Exercise 1: right."
    assert third.startswith("Exercise 1: not yet.")
    assert fourth == "Exercise 2: right."
