"""Long work says what it is at, every ten seconds, on stderr."""

from __future__ import annotations

import time

import numpy as np
import pytest
from support.nets import feature_net

from verify.console import progress
from verify.console.progress import doing, loop_over, name_loop, told


@pytest.fixture
def soon(monkeypatch):
    """Have a line after a fraction of a second."""
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0.1)


def said(capfd) -> str:
    time.sleep(0.35)
    return capfd.readouterr().err


def test_it_names_what_is_being_done_within_what(soon, capfd):
    with told(), doing("layer by layer"), doing("2 of 5, 'lstm'"):
        lines = said(capfd).splitlines()
    assert lines
    assert lines[0] == "layer by layer: 2 of 5, 'lstm', 0 s so far"


def test_it_counts_the_steps_of_long_windows(soon, capfd):
    with told(), doing("NumPy in float64"):
        name_loop("gru")
        loop_over(8801)(3400)
        assert "NumPy in float64, loop 1 ('gru'), step 3,400 of 8,801, " in said(capfd)


def test_loops_are_numbered_and_one_that_began_before_does_not_set_steps_back(
    soon, capfd
):
    with told(), doing("layer by layer"):
        first = loop_over(8801)
        first(8000)
        second = loop_over(8801)
        second(192)
        first(8064)  # of another thread
        assert "layer by layer, loop 2, step 192 of 8,801, " in said(capfd)
        with doing("inside"):
            assert "layer by layer: inside, 0 s" in said(capfd)
        assert "layer by layer, loop 2, step 192 of 8,801, " in said(capfd)


def test_a_loop_notes_its_steps():
    net = feature_net("LSTM")
    time_axis = progress.COUNTED * 3
    with doing("a test"):
        net.flat(net.prepare(np.zeros((1, time_axis, 3))))
        (stage,) = progress._DOING.stages
    assert stage.steps == (progress.COUNTED * 2, time_axis)
    assert (stage.loops, stage.name) == (1, "rnn")


def test_nothing_is_said_of_short_work_nor_when_nothing_is_done(soon, capfd):
    with told():
        with doing("short"):
            pass
        assert said(capfd) == ""


def test_a_stage_ends_with_its_block_even_by_an_error(soon, capfd):
    with told():
        with pytest.raises(ValueError, match="wrong"), doing("failing"):
            raise ValueError("wrong")
        assert said(capfd) == ""
