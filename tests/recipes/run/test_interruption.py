"""Ctrl-C: remembered wherever the program is when it comes, and acted on soon."""

from __future__ import annotations

import signal
import threading

import pytest
from support.interruptions import Destroyed, ctrl_c

from verify.console.signals import Interruption

pytestmark = pytest.mark.usefixtures("hears")


def test_without_it_ctrl_c_in_a_destructor_is_lost(dropped):
    Destroyed()
    assert dropped == [KeyboardInterrupt]


def interrupted(work) -> None:
    """Work that Ctrl-C has to end by itself, before the last look on leaving."""

    def whole() -> None:
        with Interruption() as interruption:
            work(interruption)
            raise AssertionError("it went on")

    with pytest.raises(KeyboardInterrupt):
        whole()


def test_ctrl_c_is_remembered_until_it_is_looked_at(dropped):
    def work(interruption):
        interruption.raise_if_received()
        Destroyed()
        assert interruption.received
        interruption.raise_if_received()

    interrupted(work)
    assert dropped == []


def test_a_second_ctrl_c_acts_at_once():
    def work(interruption):
        ctrl_c()
        ctrl_c()

    interrupted(work)


def test_a_second_ctrl_c_that_is_dropped_leaves_the_first(dropped):
    def work(interruption):
        Destroyed(times=2)
        interruption.raise_if_received()

    interrupted(work)
    assert dropped == [KeyboardInterrupt]


def test_ctrl_c_after_the_last_look_is_not_lost():
    with pytest.raises(KeyboardInterrupt), Interruption():
        ctrl_c()


def test_an_error_is_not_hidden_by_ctrl_c():
    def work() -> None:
        with Interruption():
            ctrl_c()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


@pytest.mark.parametrize("answer", [signal.SIG_IGN, lambda number, frame: None])
def test_another_answer_to_ctrl_c_is_left_in_place(answer):
    signal.signal(signal.SIGINT, answer)
    with Interruption() as interruption:
        assert signal.getsignal(signal.SIGINT) is answer
        ctrl_c()
    assert not interruption.received
    assert signal.getsignal(signal.SIGINT) is answer
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_in_another_thread_nothing_changes():
    found = []

    def work() -> None:
        with Interruption():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
