"""Dataclasses as JSON values, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from verify.data.json_values import (
    added_later,
    from_json,
    json_name,
    not_in_json,
    to_json,
)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    size: int
    ratio: float = field(metadata=json_name("share"))


@dataclass(frozen=True)
class Outer:
    name: str
    colour: Colour
    side: Literal["left", "right"]
    exact: bool
    place: tuple[int, ...]
    pair: tuple[bool, float]
    inner: Inner | None
    by_number: Mapping[int, Inner]
    facts: Mapping[str, Any]
    whatever: int = field(default=7, metadata=not_in_json())


EXAMPLE = Outer(
    "a",
    Colour.RED,
    "left",
    True,
    (3, 1),
    (False, float("-inf")),
    Inner(2, float("nan")),
    {4: Inner(1, 0.5)},
    {"any": [1, None]},
    9,
)


def stored() -> dict[str, Any]:
    return json.loads(json.dumps(to_json(EXAMPLE), allow_nan=False))


def test_nan_and_infinity_are_words_and_fields_have_their_names_in_order():
    content = stored()
    assert list(content) == [
        *("name", "colour", "side", "exact", "place", "pair"),
        *("inner", "by_number", "facts"),
    ]
    assert content["inner"] == {"size": 2, "share": "nan"}
    assert content["pair"] == [False, "-inf"]
    assert content["by_number"] == {"4": {"size": 1, "share": 0.5}}
    assert content["colour"] == "red"
    assert type(to_json(EXAMPLE)["colour"]) is str


def test_what_went_through_json_comes_back_but_for_what_was_left_out():
    again = from_json(Outer, stored())
    assert np.isnan(again.inner.ratio)
    assert again.whatever == 7
    assert to_json(again) == to_json(EXAMPLE)
    assert (again.place, again.pair) == (EXAMPLE.place, EXAMPLE.pair)
    assert again.by_number == EXAMPLE.by_number
    assert again.colour is Colour.RED
    assert from_json(Outer, stored() | {"inner": None}).inner is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"name": 3}, "name=3"),
        ({"colour": "blue"}, "colour=blue"),
        ({"side": "up"}, "side=up"),
        ({"exact": 1}, "exact=1"),
        ({"place": "31"}, "place=31"),
        ({"place": [1.5]}, r"place=\[1.5\]"),
        ({"place": [True]}, r"place=\[True\]"),
        ({"pair": [True]}, r"pair=\[True\]"),
        ({"pair": [True, "loud"]}, r"pair=\[True, 'loud'\]"),
        ({"pair": [True, False]}, r"pair=\[True, False\]"),
        ({"pair": [True, 10**400]}, "pair="),
        ({"inner": 3}, "inner=3"),
        ({"inner": {"size": "1", "share": 0}}, "size=1"),
        ({"by_number": {"one": {"size": 1, "share": 0}}}, "by_number="),
        ({"facts": []}, r"facts=\[\]"),
    ],
)
def test_a_value_of_another_kind_is_named(damage, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        from_json(Outer, stored() | damage)


@pytest.mark.parametrize("name", list(to_json(EXAMPLE)))
def test_a_missing_value_is_named_even_one_with_a_default(name):
    content = stored()
    del content[name]
    with pytest.raises(KeyError, match=rf"^'{name}'$"):
        from_json(Outer, content)
    with pytest.raises(KeyError, match=r"^'share'$"):
        from_json(Outer, stored() | {"inner": {"size": 1}})


def test_what_no_field_asks_for_is_left_alone():
    assert to_json(from_json(Outer, stored() | {"new": 1})) == to_json(EXAMPLE)


@dataclass(frozen=True)
class Grown:
    old: int
    new: int = field(default=5, metadata=added_later())


def test_a_field_added_later_may_be_missing_and_is_read_where_it_is_not():
    assert from_json(Grown, {"old": 1}) == Grown(1, 5)
    assert from_json(Grown, to_json(Grown(1, 2))) == Grown(1, 2)
    with pytest.raises(ValueError, match=r"^new=two"):
        from_json(Grown, {"old": 1, "new": "two"})


@dataclass(frozen=True, eq=False)
class Arrays:
    rows: npt.NDArray[np.int64]
    values: npt.NDArray[Any]


def test_arrays_come_back_in_their_dtypes():
    first = Arrays(np.arange(3), np.array([[0.1, np.nan], [np.inf, 2.0]]))
    again = from_json(Arrays, json.loads(json.dumps(to_json(first))))
    assert (again.rows.dtype, again.values.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(again.rows, first.rows)
    np.testing.assert_array_equal(again.values, first.values)
    for damage in ({"rows": 3}, {"rows": ["x"]}, {"values": [[1], [2, 3]]}):
        with pytest.raises(ValueError, match=f"^{next(iter(damage))}="):
            from_json(Arrays, to_json(first) | damage)


def test_values_beside_dataclasses_are_read_too():
    assert from_json(float, "inf") == float("inf")
    assert from_json(tuple[str, ...], ["a", "b"]) == ("a", "b")
    with pytest.raises(ValueError, match=r"^\['a', 3\]$"):
        from_json(tuple[str, ...], ["a", 3])
