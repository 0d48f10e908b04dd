"""Mistakes and single numbers are counted apart; some are ignored; a share suffices."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
from support import commands
from support.nets import TIME, ids, lstm_spec

import verify
from verify import DataError, Network
from verify.__main__ import main
from verify.checks.selftest import NO_TIME, MutantResult, SelfTest
from verify.mistakes.catalogue import Untried

refused = functools.partial(commands.refused, main)


@pytest.fixture(scope="module")
def found() -> SelfTest:
    return verify.selftest(Network(lstm_spec()), ids())


def of(mistakes: str, numbers: str = "") -> SelfTest:
    """Results: ``+`` is caught, ``-`` is not."""
    made = [
        MutantResult(f"m{k}", "lstm", sign == "+", 2.0, one_number=one)
        for one, signs in ((False, mistakes), (True, numbers))
        for k, sign in enumerate(signs)
    ]
    return SelfTest("m.keras", 4, tuple(made))


def test_single_numbers_are_told_from_mistakes(found):
    names = [result.mistake for result in found.single_numbers]
    # the kernels and biases of LSTM and Dense; of a table few rows are read
    assert len(names) == 5
    assert all(name.endswith("off by 0.1 %") for name in names)
    assert not any("off by 0.1 %" in result.mistake for result in found.mistakes)
    assert len(found.mistakes) + 5 == len(found.results)
    assert "\n  single numbers of the weights, off by 0.1 %: 5 of 5 would show" in str(
        found
    )
    content = json.loads(found.to_json())
    assert content["single_numbers"] == {"planted": 5, "caught": 5, "share": 1}
    assert content["mistakes"]["planted"] == len(found.mistakes)
    assert sum(p["single_number"] for p in content["planted"]) == 5


def test_a_share_is_one_of_mistakes_without_single_numbers():
    assert of("+++-").at_least(0.75)
    assert not of("+++-").at_least(0.76)
    assert of("++", "---").at_least(1)
    assert not of("+-", "++++").at_least(0.6)
    assert of("", "-").at_least(1)
    late = Untried("m", "lstm", NO_TIME)
    assert not replace(of("++"), untried=(late,)).at_least(0)


@pytest.mark.slow
def test_mistakes_are_ignored_by_name(found):
    ignore = ["mask ignored", "gate order *", "kernel[1, 7] off by*"]
    left = verify.selftest(Network(lstm_spec()), ids(), ignore=ignore)
    out = {r.mistake for r in found.results} - {r.mistake for r in left.results}
    assert out == set(left.ignored)
    assert {"mask ignored", "kernel[1, 7] off by 0.1 %"} < out
    assert all(
        name in ignore or name.startswith(("gate order ", "kernel[1, 7] "))
        for name in out
    )
    assert "\n  ignored: mask ignored, gate order" in str(left)
    assert f" and {len(out) - 5} more\n" in str(left)
    with pytest.raises(DataError, match=r"called 'mask ignord'\. Did you mean mask ig"):
        verify.selftest(Network(lstm_spec()), ids(), ignore=["mask ignord"])


@pytest.mark.slow
def test_the_command_takes_a_share_and_names(model, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.full((40, TIME), 3))
    command = ["selftest", model, "--data", str(tmp_path / "x.npy")]
    assert main([*command, "--json"]) == 3
    share = json.loads(capsys.readouterr().out)["mistakes"]["share"]
    assert 0.1 < share < 0.99
    assert main([*command, f"--at-least={100 * share - 1:.3f}%"]) == 0
    assert main([*command, f"--at-least={100 * share + 1:.3f}%"]) == 3
    for given in ("99", "0.99", "101%", "-1%", "x%"):
        line = refused(capsys, *command, f"--at-least={given}")
        assert "--at-least: expected a share from 0% to 100%, such as 99%. " in line
    assert "is called 'no such'" in refused(capsys, *command, "--ignore", "no such")
