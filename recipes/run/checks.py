"""Refuse options of a study that cannot be used, each with one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recipes import SENTIMENT_RECIPES
from verify.errors import DataError, did_you_mean, printable

MAX_LENGTH = 1000
"""Time steps that texts can be padded to."""


def require_seeds(first: int, count: int) -> None:
    """Require at least one seed, and all of them below 2**32, as Keras does.

    Raises
    ------
    DataError
    """
    if type(count) is not int or count < 1:
        raise DataError(f"seeds: expected a number from 1. Received: {count}")
    if first + count > 2**32:
        raise DataError(
            f"seed: expected all seeds below 2**32. Received: {count} from {first} on"
        )


def require_sentiment_recipes(recipes: Sequence[str]) -> None:
    """Require names of sentiment recipes.

    Raises
    ------
    DataError
    """
    require_choices("recipes", recipes, SENTIMENT_RECIPES)


def require_choices(name: str, values: Sequence[Any], known: Sequence[Any]) -> None:
    """Require at least one of the known values, and none of them twice.

    Raises
    ------
    DataError
    """
    unknown = [value for value in values if value not in known]
    if unknown or not values or len(set(values)) < len(values):
        hint = did_you_mean(f"{unknown[0]}", map(str, known)) if unknown else ""
        raise DataError(
            f"{name}: expected some of {_listed(known)}, each once. "
            f"{hint}Received: {printable(_listed(values))}"
        )


def require_numbers(name: str, values: Sequence[Any], least: int, most: int) -> None:
    """Require at least one whole number of a range, and none of them twice.

    Raises
    ------
    DataError
    """
    usable = {n for n in values if type(n) is int and least <= n <= most}
    if not usable or len(usable) < len(values):
        raise DataError(
            f"{name}: expected different whole numbers from {least} to {most:,}. "
            f"Received: {printable(_listed(values))}"
        )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values)) or "none"
