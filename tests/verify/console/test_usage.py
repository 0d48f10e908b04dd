"""A wrong option, command or argument is answered with the one that was meant."""

from __future__ import annotations

import click
import pytest

import recipes.__main__
import verify.__main__
from verify.console import usage

PROGRAMS = {"rnn-verify": verify.__main__, "rnn-recipe": recipes.__main__}
OPTIONS = [
    (program, name, option)
    for program, module in PROGRAMS.items()
    for name, command in module.app.commands.items()
    for param in command.params
    if isinstance(param, click.Option)
    for option in param.opts
]


def said(capsys, program, *words):
    assert PROGRAMS[program].main(list(words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def misspelt(option):
    """An option with a letter doubled, two exchanged, the last one left out."""
    word = option.removeprefix("--")
    yield f"--{word[0]}{word}"
    if len(word) > 3:
        yield f"--{word[:-1]}"
        yield f"--{word[:1]}{word[2]}{word[1]}{word[3:]}"
    if "-" in word:
        yield f"--{word.replace('-', '_')}"
        yield f"--{word.replace('-', '')}"


def own_options(program, name):
    return {option for p, n, option in OPTIONS if (p, n) == (program, name)}


def test_every_misspelt_option_of_every_command_is_recognised(capsys):
    assert len(OPTIONS) > 100
    answers = [
        (option, said(capsys, program, name, wrong), wrong)
        for program, name, option in OPTIONS
        for wrong in misspelt(option)
        if wrong not in own_options(program, name)
    ]
    wrong = [
        (option, line)
        for option, line, typed in answers
        if f"No such option '{typed}'. Did you mean {option}?" not in line
    ]
    # two letters leave more than one option
    assert [line for option, line in wrong if len(option) > 4] == []


def test_every_option_with_one_dash_is_recognised(capsys):
    for program, name, option in OPTIONS:
        line = said(capsys, program, name, option[1:], "5")
        assert f"No such option '{option[1:]}'. Did you mean {option}?" in line


@pytest.mark.parametrize("program", PROGRAMS)
def test_h_is_help_everywhere(program, capsys):
    module = PROGRAMS[program]
    for command in ((), *((name,) for name in module.app.commands)):
        assert module.main([*command, "-h"]) == 0
        short = capsys.readouterr().out
        assert module.main([*command, "--help"]) == 0
        assert short == capsys.readouterr().out
        assert "-h, --help" in short


def test_a_dash_that_belongs_to_a_value_is_left_alone(capsys):
    line = said(capsys, "rnn-verify", "predict", "--column", "-x", "-epochs")
    assert "No such option '-epochs'" in line


def test_a_text_that_begins_with_a_dash_is_put_behind_two(capsys):
    line = said(capsys, "rnn-recipe", "predict", "run", "-good")
    assert "If it is a text, put -- before it: -- -good." in line
    assert "If it is a text" not in said(capsys, "rnn-recipe", "run", "-good")


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_said_of_other_words_names_commands_that_there_are(program):
    module = PROGRAMS[program]
    words = [word for also in module.OTHER_WORDS.values() for word in also]
    assert len(words) == len(set(words))
    assert not set(words) & set(module.app.commands)
    for sentence in module.OTHER_WORDS:
        for part in sentence.split("rnn-")[1:]:
            of, name = part.replace(";", " ").split()[:2]
            assert name in PROGRAMS[f"rnn-{of}"].app.commands


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_system_without_poll_has_the_same_commands(program, monkeypatch, capsys):
    """Windows: there nothing is known of a pipe that nobody reads."""
    monkeypatch.delattr("select.poll")
    assert PROGRAMS[program].main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(program)
    assert PROGRAMS[program].main(["nope"]) == 2


def test_a_sweep_says_that_it_needs_another_system(monkeypatch, capsys, tmp_path):
    monkeypatch.delattr("select.poll")
    line = said(capsys, "rnn-recipe", "sweep", "--out", str(tmp_path / "new"))
    assert "sweep: expected Linux or macOS. Received: another system" in line


def test_what_options_are_also_called_is_an_option_of_no_other_meaning():
    known = {option for _, _, option in OPTIONS}
    assert set(usage.ALSO_CALLED) <= known


def test_what_is_said_of_options_of_other_commands_is_of_options_that_there_are():
    for name, option in usage.ELSEWHERE:
        assert option not in own_options("rnn-verify", name)
        assert any(known == option for _, _, known in OPTIONS)


def test_a_word_of_another_program_is_not_taken_for_a_near_one():
    table = {"A sentence": ("train", "test-vectors")}
    assert usage.meant_command("Test_Vectors", table) == "A sentence"
    assert usage.meant_command("trains", table) == ""
