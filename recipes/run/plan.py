"""From names and options on the command line to the runs that were asked for."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipes import CHAPTER, RECIPES, STUDIES
from recipes.data.tweets import TweetConfig, load_words
from recipes.run.folder import RunFolder, require_same
from recipes.run.options import RunOptions
from verify.errors import DataError, join_and, printable

GROUPS = {
    "all": tuple(name for name in RECIPES if name not in STUDIES),
    "chapter": CHAPTER,
}


@dataclass(frozen=True)
class Job:
    """One run: ``module(recipe).run(config, options)``."""

    recipe: str
    config: Any
    options: RunOptions


def module(recipe: str) -> Any:
    """The module of a recipe, with ``Config``, ``build_model``, ``run``, ``main``."""
    return importlib.import_module(f"recipes.{recipe}")


def plan(
    names: Sequence[str], given: Mapping[str, Any], *, out: str | None, resume: bool
) -> list[Job]:
    """Check everything that can be checked before anything is trained.

    Parameters
    ----------
    names : of recipes and groups
    given : mapping
        Options given on the command line: fields of a Config, and ``csv``.
    out : str or None
        The folder of a single run, or the one that the folders of several lie in.
    resume : bool
        Whether runs that have been begun go on, with the options they were begun with.

    Raises
    ------
    DataError
        A name, an option or a folder that cannot be used, or unusable tweets.
    """
    if out is not None and not out.strip():
        raise DataError("--out: expected a folder. Received: an empty name")
    wanted = _recipes(names)
    offered = set().union(*(_options(module(recipe).Config) for recipe in wanted))
    for key in given:
        if key not in offered and not any(wanted.values()):
            raise _no_option(f"the recipes of {join_and(names)} have", key)
    jobs = []
    for recipe, named in wanted.items():
        config_type = module(recipe).Config
        takes_tweets = issubclass(config_type, TweetConfig)
        defaults = config_type()
        options = _options(config_type)
        unused = [key for key in given if key not in options]
        if named and unused:
            raise _no_option(f"{recipe} has", unused[0])
        own = {key: value for key, value in given.items() if key in options}
        if not named and not takes_tweets:
            own.pop("epochs", None)  # a group's epochs are meant for real training
        several = f"{out or 'runs'}/{recipe}"
        folder = RunFolder(out if out and len(wanted) == 1 else several)
        begun = folder.examine(recipe, resume=resume and len(wanted) == 1)
        if resume and begun is not None:
            own = as_begun(begun, defaults) | own
        for key in ("lengths", "gaps"):
            if isinstance(own.get(key), str):
                own[key] = whole_numbers(key, own[key])
        csv = own.pop("csv", None)
        config = dataclasses.replace(defaults, **own)
        _require_possible(config, folder)
        if resume and begun is not None:
            require_same(printable(folder.path), begun, dataclasses.asdict(config))
        command = command_line(names, given, out)
        jobs.append(
            Job(
                recipe,
                config,
                RunOptions(folder, resume and begun is not None, csv, command),
            )
        )
        if takes_tweets and csv is not None:
            load_words(csv)
    return jobs


def command_line(
    names: Sequence[str], given: Mapping[str, Any], out: str | None
) -> str:
    """The command that was given, without ``--resume``."""
    words = ["rnn-recipe", "run", *names]
    for key, value in given.items():
        words.append(f"--{key.replace('_', '-')}")
        words += [] if value is True else [str(value)]
    return shlex.join([*words, *([] if out is None else ["--out", out])])


def _recipes(names: Sequence[str]) -> dict[str, bool]:
    """Recipe -> whether it was named itself, not by its group; in the order given."""
    wanted: dict[str, bool] = {}
    for name in names:
        known = name.replace("-", "_")
        if known in GROUPS:
            wanted = dict.fromkeys(GROUPS[known], False) | wanted
        elif known in RECIPES:
            wanted[known] = True
        else:
            raise DataError(
                f"expected a recipe: {join_and((*RECIPES, *GROUPS))}. "
                f"Received: '{printable(name)}'"
            )
    return wanted


def _options(config_type: Any) -> set[str]:
    """The options of a recipe: the fields of its Config, and ``csv`` of tweets."""
    options = {field.name for field in dataclasses.fields(config_type)}
    return options | ({"csv"} if issubclass(config_type, TweetConfig) else set())


def _no_option(who: str, key: str) -> DataError:
    others = [name for name in RECIPES if key in _options(module(name).Config)]
    option = f"--{key.replace('_', '-')}"
    return DataError(f"{who} no option {option}. These have it: {join_and(others)}")


def whole_numbers(key: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise DataError(
            f"--{key}: expected whole numbers with commas, such as 26,75. "
            f"Received: {printable(text, 60)}"
        ) from None


def _require_possible(config: Any, folder: RunFolder) -> None:
    """A manifest that was edited by hand may hold anything."""
    values = dataclasses.asdict(config)
    low = [k for k, v in values.items() if type(v) is int and v < (k != "seed")]
    if low or values.get("padding", "pre") not in ("pre", "post"):
        key = low[0] if low else "padding"
        raise DataError(
            f"{printable(folder / 'manifest.json')}: expected options of a run. "
            f"Received: {key}={printable(values[key])}"
        )


def as_begun(manifest: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
    """The options of an earlier run, as far as its manifest holds them."""
    config = manifest.get("config")
    stored = config if isinstance(config, dict) else {}
    options = {}
    for key, default in dataclasses.asdict(defaults).items():
        value = stored.get(key)
        if isinstance(default, tuple) and isinstance(value, list):
            value = tuple(value)
        if type(value) is type(default) or (default is None and type(value) is int):
            options[key] = value
    csv = manifest.get("csv")
    return options | ({"csv": csv} if isinstance(csv, str) else {})
