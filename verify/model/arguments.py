"""Refuse arguments of other types than a function's annotations say, in one line."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np

from verify.errors import DataError, join_and, printable

P = ParamSpec("P")
R = TypeVar("R")

CLASSES = {"Network": "verify.load(model) gives one", "Watch": "", "LayerSpec": ""} | {
    "Limits": "", "Trace": "net.trace(x) gives one",
}  # fmt: skip
"""Classes of this package that are arguments, and how one gets an instance."""

CALLABLES = ("Callable", "Mapper", "OnBatch", "Visitor")
"""What the annotations of functions begin with."""


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that refuses arguments of other types than it says.

    Its annotations are read as text. One of another kind than those known here, such
    as ``Any``, allows everything.

    Raises
    ------
    DataError
        When the function is called: the name of the parameter, what is expected, what
        was received and, where that is clear, what was meant.
    """
    parameters = inspect.signature(function).parameters
    tests = {
        name: _Test(re.split(r"\s*\|\s*(?![^\[]*\])", str(parameter.annotation)))
        for name, parameter in parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    tests = {name: test for name, test in tests.items() if not test.takes_anything}
    names = [*parameters]

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        __tracebackhide__ = True
        # what is too much, too little or unknown Python refuses in the call
        for name, value in (*zip(names, args, strict=False), *options.items()):
            test = tests.get(name)
            if test is not None and not (value is None and test.takes_none):
                test.require(name, value)
        return function(*args, **options)

    return checked


class _Test:
    """Test whether arguments are of one of some kinds.

    Parameters
    ----------
    kinds : list of str
        From an annotation.
    """

    def __init__(self, kinds: list[str]) -> None:
        self.kinds, self.takes_none = kinds, "None" in kinds
        self.known = [_known(kind) for kind in kinds if kind != "None"]
        self.takes_anything = any(fits is _anything for _, fits in self.known)

    def require(self, name: str, value: Any) -> None:
        """Raise DataError unless a value is of one of these kinds."""
        for _, fits in self.known:
            if fits(value):
                return
        said = list(dict.fromkeys(text for text, _ in self.known))
        *others, last = said
        wanted = f"{', '.join(others)} or {last}" if others else last
        meant = _meant(name, value, self.kinds)
        raise DataError(f"{name}: expected {wanted}. Received: {_shown(value)}{meant}")


def _anything(value: Any) -> bool:
    return True


def _known(kind: str) -> tuple[str, Callable[[Any], bool]]:
    """Return what a kind is called in messages, and the test of a value."""
    simple: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "int": ("a whole number", _is_whole),
        "float": ("a number", _is_number),
        "bool": ("True or False", lambda value: isinstance(value, bool | np.bool_)),
        "str": ("a text", lambda value: isinstance(value, str)),
        "os.PathLike[str]": ("a path", _is_path),
        "Sequence[str]": ("a list of texts", _is_list_of_texts),
        "Sequence[Array]": ("a list of arrays", lambda v: isinstance(v, list | tuple)),
        "Mapping[str, str]": ("a dict of texts", _is_dict_of_texts),
        "Mapping[str, Array]": ("a dict of arrays by name", _has_names),
    }
    if kind in simple:
        return simple[kind]
    if kind in CLASSES:
        article = "an" if kind[0] in "AEIO" else "a"
        return f"{article} {kind}", lambda value: _is_a(value, kind)
    if kind.startswith(CALLABLES):
        return "a function", callable
    return "anything", _anything


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (
        isinstance(value, float | np.floating) and not np.isnan(value)
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) and isinstance(os.fspath(value), str)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)


def _has_names(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _is_dict_of_texts(value: Any) -> bool:
    return _has_names(value) and all(isinstance(v, str) for v in value.values())


def _is_a(value: Any, name: str) -> bool:
    return any(base.__name__ == name for base in type(value).__mro__)


def _shown(value: Any) -> str:
    """Return a value as a message shows it: itself if it is short, else its type."""
    if isinstance(value, str | bytes | int | float | np.number) or value is None:
        return printable(repr(value) if isinstance(value, str | bytes) else value, 60)
    return type(value).__name__


def _meant(name: str, value: Any, kinds: list[str]) -> str:
    """Return what was likely meant, as a sentence behind the message, or ""."""
    other: Any = None
    if isinstance(value, str) and {"int", "float"} & set(kinds):
        for number in (int, float):
            try:
                other = number(value)
                break
            except ValueError:
                continue
        if other is not None and "float" not in kinds and not _is_whole(other):
            other = None
    elif _is_number(value) and "str" in kinds and "os.PathLike[str]" not in kinds:
        other = str(value)
    elif isinstance(value, str) and "Sequence[str]" in kinds:
        other = [value]
    elif isinstance(value, bytes) and "str" in kinds:
        other = value.decode(errors="replace")
    elif "bool" in kinds and isinstance(value, int | np.integer) and value in (0, 1):
        other = bool(value)
    elif isinstance(value, float) and "int" in kinds and value.is_integer():
        other = int(value)
    if other is not None:
        return f". Did you mean {name}={printable(repr(other), 60)}?"
    ways = [CLASSES[kind] for kind in kinds if CLASSES.get(kind)]
    return f"; {join_and(ways)}" if ways else ""
