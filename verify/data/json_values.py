"""Turn dataclasses into JSON values, and back with strict checks.

JSON has no NaN and no infinity, so these are words: ``"nan"``, ``"inf"``, ``"-inf"``.
Unlike the usual libraries this one converts nothing: a value of another type means that
the file is damaged.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from verify.errors import printable

T = TypeVar("T")

_NAME, _LATER, _ELSE = "name in JSON", "added later", "left out if it is"


def json_name(name: str) -> dict[str, Any]:
    """Give a field another name in JSON: ``field(metadata=json_name("share"))``."""
    return {_NAME: name}


def not_in_json() -> dict[str, Any]:
    """Leave a field, which must have a default, out of JSON; see `json_name`."""
    return {_NAME: None}


def added_later() -> dict[str, Any]:
    """Let a field, which must have a default, be missing in JSON; see `json_name`.

    Reports of earlier versions do not have it.
    """
    return {_LATER: True}


def unless(default: Any) -> dict[str, Any]:
    """Leave a field out of JSON where it has its default, which is given here too.

    So results that do not use the field are written as before there was one.
    """
    return {_LATER: True, _ELSE: default}


def to_json(value: Any) -> Any:
    """Return dicts, lists, strings and numbers in place of a dataclass and the like.

    Parameters
    ----------
    value
        A JSON value, or a dataclass, mapping, list, tuple or array, nested at will;
        the keys of a mapping become strings.
    """
    if isinstance(value, StrEnum):
        return str(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(inside) for inside in value]
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if is_dataclass(value):
        kind: Any = type(value)
        left_out = {
            f.name: f.metadata[_ELSE] for f in fields(kind) if _ELSE in f.metadata
        }
        return {
            name: to_json(getattr(value, at))
            for at, name, _ in _stored(kind)
            if at not in left_out or getattr(value, at) != left_out[at]
        }
    return value


def from_json(kind: type[T], value: Any) -> T:
    """Return what `to_json` was given, after its way through JSON.

    Parameters
    ----------
    kind : type
        A dataclass, or what one may hold: a tuple, a mapping, an array, a string, a
        whole number, a number, a truth value, a StrEnum, a Literal, or one of these or
        None. Mappings come back as dicts, arrays in float64 unless the annotation
        names another dtype.

    Raises
    ------
    KeyError
        A field has no value, even if it has a default, unless it was `added_later`.
        Other entries are ignored.
    ValueError
        A value has another type than its field; the message is one line.
    """
    try:
        found: T = _read(kind, value)
    except _WrongKind:
        raise ValueError(printable(value, 60)) from None
    return found


@cache
def _stored(kind: Any) -> list[tuple[str, str, Any]]:
    """Return the fields of a dataclass: attribute, name in JSON, type."""
    hints = get_type_hints(kind)
    names = {
        field.name: field.metadata.get(_NAME, field.name) for field in fields(kind)
    }
    return [(at, name, hints[at]) for at, name in names.items() if name is not None]


class _WrongKind(Exception):
    """Report a value of another type than its field."""


def _read_fields(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise _WrongKind
    found = {}
    later = {field.name for field in fields(kind) if _LATER in field.metadata}
    for attribute, name, inside in _stored(kind):
        if attribute in later and name not in value:
            continue
        held = value[name]
        try:
            found[attribute] = _read(inside, held)
        except _WrongKind:
            raise ValueError(f"{name}={printable(held, 60)}") from None
    return kind(**found)


def _read(kind: Any, value: Any) -> Any:
    """Return a value as the type that an annotation names."""
    origin, inside = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _read_fields(kind, value)
    if origin in (Union, types.UnionType):
        (other,) = (one for one in inside if one is not types.NoneType)
        return None if value is None else _read(other, value)
    if origin is tuple and isinstance(value, list):
        if inside[-1] is Ellipsis:
            return tuple(_read(inside[0], item) for item in value)
        if len(inside) == len(value):
            return tuple(map(_read, inside, value))
    if origin in (Mapping, dict) and isinstance(value, dict):
        of, to = inside
        return {_constructed(of, key): _read(to, item) for key, item in value.items()}
    if origin is np.ndarray and isinstance(value, list):
        (dtype,) = get_args(inside[1])
        return _constructed(np.array, value, np.float64 if dtype is Any else dtype)
    if origin is Literal and isinstance(value, str) and value in inside:
        return value
    if kind is Any or (kind in (str, bool, int) and type(value) is kind):
        return value
    if kind is float and type(value) in (float, int, str):
        return _constructed(float, value)  # NaN and infinity are words
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _constructed(kind, value)
    raise _WrongKind


def _constructed(of: Callable[..., Any], *given: Any) -> Any:
    try:
        return of(*given)
    except (ValueError, TypeError, OverflowError):
        raise _WrongKind from None
