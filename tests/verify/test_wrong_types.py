"""Every argument of every public function is refused in one line, if it is no use."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
from support.nets import ids, lstm_file

import verify
from verify.model import arguments
from verify.model.arguments import typed

WRONG = {
    "a fraction": 3.15, "a number as text": "5", "a word": "yes", "nothing": "",
    "minus one": -1, "none": None, "true": True, "bytes": b"5", "no list": [],
    "a list": [1, 2], "texts": ["a", 1], "a dict": {"a": 1}, "by number": {1: "a"},
    "an array": np.array(3), "nan": math.nan, "a class": int, "an object": object(),
    "a function": len, "a set": {1}, "a path": Path("absent"), "dots": ...,
}  # fmt: skip
FUNCTIONS = {
    name: function
    for name in verify.__all__
    if inspect.isfunction(function := getattr(verify, name))
}
METHODS = {"predict": ("x",), "trace": ("x",), "on": ("backend",)}
NOT_CHECKED = {"mapper", "limits", "on_batch", "visit", "log", "watch"}
"""Functions and records that the commands give: of these a wrong one is refused, and
what a function does is its own affair."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("typed")
    lstm_file(folder / "m.keras")
    return folder


@pytest.fixture(scope="module")
def right(folder):
    """Return what each parameter without a default may be, as files and arrays."""
    net = verify.load(folder / "m.keras")
    lstm = next(layer for layer in net.spec if layer.class_name == "LSTM")
    return {
        "net": net, "model": net, "x": ids(batch=2), "backend": "jax",
        "outputs": net.predict(ids(batch=2)), "framework": "torch", "layer": lstm,
        "arrays": verify.to_framework(lstm, "torch"), "name": "mine>Own",
        "class_name": "LSTM", "to": "torch", "out": folder / "w.npz",
        "exported": folder / "m.onnx", "folder": folder / "vectors",
        "output_gradients": [np.ones((2, 2))],
    }  # fmt: skip


def calls(function, right):
    """Each call with one wrong argument: which one, and all of them."""
    parameters = inspect.signature(function).parameters.values()
    needed = {
        p.name: right[p.name]
        for p in parameters
        if p.default is p.empty and p.kind is not p.VAR_KEYWORD and p.name != "self"
    }
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD or parameter.name == "self":
            continue
        for what, value in WRONG.items():
            annotation = str(parameter.annotation)
            if value is None and (annotation == "Any" or "None" in annotation):
                continue  # what is not given
            if value is True and annotation == "bool":
                continue
            if callable(value) and parameter.name in NOT_CHECKED:
                continue
            yield parameter.name, what, {**needed, parameter.name: value}


def outcome(function, given):
    """Return the message of a refusal, or "" if there was none."""
    try:
        function(**given)
    except verify.VerifyError as error:
        return str(error)
    except AssertionError:  # of assert_outputs_match: it has compared
        return ""
    return ""


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"registering"}))
def test_a_wrong_argument_is_refused_or_used_and_never_breaks(name, right, monkeypatch):
    monkeypatch.chdir(right["folder"].parent)
    if name in ("check", "assert_matches_predict"):  # nothing is run to be refused
        monkeypatch.setattr("verify.keras_bridge.KerasModel", None)
    function = FUNCTIONS[name]
    messages = []
    for parameter, what, given in calls(function, right):
        try:
            with verify.registering():
                said = outcome(function, given)
        except Exception as error:
            pytest.fail(f"{name}({parameter}={what}): {error!r}")
        messages.append(said)
    assert all(message.isprintable() for message in messages)
    assert all("\n" not in message for message in messages)


@pytest.mark.parametrize("name", METHODS)
def test_a_network_refuses_a_wrong_argument_too(name, right):
    function = getattr(verify.Network, name)
    refused = 0
    for parameter, what, given in calls(function, right):
        try:
            refused += bool(outcome(function, {"self": right["net"], **given}))
        except Exception as error:
            pytest.fail(f"{name}({parameter}={what}): {error!r}")
    assert refused > 15


def test_every_public_function_with_options_says_what_types_they_have():
    forwarding = {"assert_matches_predict", "assert_outputs_match", "registering"}
    bare = [
        name
        for name, function in FUNCTIONS.items()
        if not hasattr(function, "__wrapped__") and name not in forwarding
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("load", {"keras": 3.15}, "keras: expected a text. Received: 3.15. Did you "
         "mean keras='3.15'?"),
        ("load", {"config": 5}, "config: expected a text or a path. Received: 5"),
        ("load", {"partial": 1}, "partial: expected True or False. Received: 1. Did "
         "you mean partial=True?"),
        ("selftest", {"ignore": "gate*"}, "ignore: expected a list of texts. "
         "Received: 'gate*'. Did you mean ignore=['gate*']?"),
        ("check", {"batch_size": "32"}, "batch_size: expected a whole number. "
         "Received: '32'. Did you mean batch_size=32?"),
        ("check", {"batch_size": 32.0}, "32.0. Did you mean batch_size=32?"),
        ("check", {"threads": True}, "threads: expected a whole number. Received"),
        ("check", {"watch": "r.json"}, "watch: expected a Watch. Received: 'r.json'"),
    ],
)  # fmt: skip
def test_what_was_meant_is_said(function, options, message, right):
    with pytest.raises(verify.DataError) as refusal:
        FUNCTIONS[function](right["net"], **options)
    assert message in str(refusal.value)


def test_seconds_as_a_text_are_answered_with_the_number(right):
    given = {name: right[name] for name in ("model", "x", "outputs")}
    with pytest.raises(verify.DataError, match=r"Did you mean diagnosis_seconds=5\?"):
        verify.compare_outputs(**given, diagnosis_seconds="5")


def test_a_path_in_place_of_a_network_is_answered_with_load(folder):
    with pytest.raises(verify.DataError, match=re.escape("; verify.load(model) gives")):
        verify.describe(folder / "m.keras")


def test_too_many_arguments_stay_an_error_of_python(right):
    with pytest.raises(TypeError, match="unexpected keyword argument 'treads'"):
        verify.load(right["net"], treads=2)


def test_each_kind_allows_what_it_says_and_nothing_else():
    def function(
        a: int = 0, b: float = 0.5, c: bool = False, d: str | None = None,
        e: str | list[int] = "", f: object = 0,
    ) -> tuple:  # fmt: skip
        return a, b, c, d, e, f

    checked = typed(function)
    right = {"a": np.int64(3), "b": 2, "c": np.True_, "d": None, "e": [1], "f": ...}
    assert checked(**right) == tuple(right.values())
    assert checked(1, 2.5) == function(1, 2.5)
    for name, wrong in (("a", 1.5), ("a", True), ("b", "1"), ("b", math.nan),
                        ("c", "yes"), ("d", 1)):  # fmt: skip
        with pytest.raises(verify.DataError, match=f"^{name}: expected"):
            checked(**{name: wrong})


def test_classes_of_this_package_are_known_by_their_names():
    for name in arguments.CLASSES:
        kinds = [
            str(parameter.annotation)
            for function in FUNCTIONS.values()
            for parameter in inspect.signature(function).parameters.values()
        ]
        assert any(name in kind for kind in kinds)
