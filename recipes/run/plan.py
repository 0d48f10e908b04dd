"""Turn the names and options of a command line into runs, and check them."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recipes import GROUPS, RECIPES
from recipes.data.tweets import TweetConfig, load_words
from recipes.run.backend import require_same_backend, use
from recipes.run.folder import RunFolder, require_same
from recipes.run.options import RunOptions
from verify.errors import DataError, did_you_mean, join_and, printable


@dataclass(frozen=True)
class PlannedRun:
    """Describe one run: ``module(recipe).run(config, options)``."""

    recipe: str
    config: Any
    options: RunOptions


def module(recipe: str) -> Any:
    """Import a recipe: a module with ``Config``, ``build_model`` and ``run``."""
    return importlib.import_module(f"recipes.{recipe}")


def options_of(recipe: str) -> dict[str, Any]:
    """Return the options of a recipe with their defaults.

    They are the fields of its Config, and ``csv`` where it learns from the tweets.
    """
    defaults = module(recipe).Config()
    options = dataclasses.asdict(defaults)
    return options | ({"csv": None} if isinstance(defaults, TweetConfig) else {})


def plan(
    names: Sequence[str], given: Mapping[str, Any], *, out: str | None, resume: bool
) -> list[PlannedRun]:
    """Plan the runs of a command, and check all that can be checked before training.

    Parameters
    ----------
    names : of recipes and groups
    given : mapping
        Options given on the command line: fields of a Config, ``csv`` and ``backend``.
    out : str or None
        The folder of a single run, or the one that the folders of several lie in.
    resume : bool
        Whether to continue earlier runs, with their options.

    Raises
    ------
    DataError
        A name, an option or a folder that cannot be used, or unusable tweets.
    """
    if out is not None and not out.strip():
        raise DataError("--out: expected a folder. Received: an empty name")
    named = _recipes(names)
    command = command_line(names, given, out)
    wanted = given.get("backend")
    given = {key: value for key, value in given.items() if key != "backend"}
    if not any(named.values()):
        _require_options(f"the recipes of {join_and(names)} have", [*named], given)
    single = len(named) == 1
    jobs, begun_on = [], {}
    for recipe, by_name in named.items():
        if by_name:
            _require_options(f"{recipe} has", [recipe], given)
        folder = RunFolder(out if out and single else f"{out or 'runs'}/{recipe}")
        manifest = folder.examine(recipe, resume=resume and single)
        begun = manifest if resume else None
        own = {k: v for k, v in given.items() if k in options_of(recipe)}
        if not by_name and not issubclass(module(recipe).Config, TweetConfig):
            own.pop("epochs", None)  # the epochs of a group are those of real training
        config, csv = _configured(recipe, own, begun, folder)
        options = RunOptions(folder, begun is not None, csv, command)
        jobs.append(PlannedRun(recipe, config, options))
        if begun is not None:
            begun_on[recipe] = require_same_backend(folder, wanted)
        if csv is not None:
            load_words(csv)
    backend = use(_single_backend(begun_on) or wanted)
    return [replace(job, options=replace(job.options, backend=backend)) for job in jobs]


def _single_backend(begun_on: Mapping[str, str]) -> str | None:
    """Return the backend of all runs that are resumed; None if none is.

    Raises
    ------
    DataError
        There are two: Keras cannot change its backend.
    """
    if len(set(begun_on.values())) > 1:
        named = join_and([f"{name} on {backend}" for name, backend in begun_on.items()])
        raise DataError(
            f"--resume: expected runs on one backend. Received: {named}; resume them "
            "one by one"
        )
    return next(iter(begun_on.values()), None)


def command_line(
    names: Sequence[str], given: Mapping[str, Any], out: str | None
) -> str:
    """Return a command with these names and options, without ``--resume``."""
    words = ["rnn-recipe", "run", *names]
    for key, value in given.items():
        words.append(_flag(key))
        words += [] if value is True else [str(value)]
    return shlex.join([*words, *([] if out is None else ["--out", out])])


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _recipes(names: Sequence[str]) -> dict[str, bool]:
    """Return recipe -> whether it was named itself, not its group; in order."""
    named: dict[str, bool] = {}
    for name in names:
        known = name.replace("-", "_")
        if known in GROUPS:
            named = dict.fromkeys(GROUPS[known], False) | named
        elif known in RECIPES:
            named[known] = True
        else:
            known = Path(known).stem  # recipes/toy_rnn.py
            hint = did_you_mean(known, (*RECIPES, *GROUPS))
            option, equals, value = name.partition("=")
            several = [part.strip() for part in known.split(",")]
            if len(several) > 1 and {*several} <= {*RECIPES, *GROUPS}:
                hint = f"Did you mean {' '.join(several)}? "
            if equals:
                hint = f"Did you mean --{option} {value}? "
            wanted = f". {hint}" if hint else f": {join_and((*RECIPES, *GROUPS))}. "
            raise DataError(f"expected a recipe{wanted}Received: '{printable(name)}'")
    return named


def _require_options(
    who: str, recipes: Sequence[str], given: Mapping[str, Any]
) -> None:
    """Refuse an option that none of these recipes has."""
    offered = {key for recipe in recipes for key in options_of(recipe)}
    for key in given:
        if key not in offered:
            others = join_and([name for name in RECIPES if key in options_of(name)])
            raise DataError(f"{who} no option {_flag(key)}. These have it: {others}")


def _configured(
    recipe: str, own: dict[str, Any], begun: dict[str, Any] | None, folder: RunFolder
) -> tuple[Any, str | None]:
    """Return the Config of a run, and the file of its tweets.

    Parameters
    ----------
    recipe : str
    own : dict
        The options that were given.
    begun : dict, optional
        The manifest of the earlier run that goes on.
    folder : RunFolder
    """
    defaults = module(recipe).Config()
    if begun is not None:
        own = stored_options(begun, defaults) | own
    for key, value in own.items():
        if isinstance(getattr(defaults, key, None), tuple) and isinstance(value, str):
            own[key] = whole_numbers(key, value)
    csv = own.pop("csv", None)
    config = replace(defaults, **own)
    _require_possible(config, folder)
    if begun is not None:
        require_same(folder.path, begun, dataclasses.asdict(config))
    return config, csv


def whole_numbers(key: str, text: str) -> tuple[int, ...]:
    """Read whole numbers with commas between them.

    Raises
    ------
    DataError
        The text is something else.
    """
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise DataError(
            f"--{key}: expected whole numbers with commas, such as 26,75. "
            f"Received: {printable(text, 60)}"
        ) from None


def _require_possible(config: Any, folder: RunFolder) -> None:
    """Refuse values that only a manifest edited by hand can bring."""
    values = dataclasses.asdict(config)
    low = [k for k, v in values.items() if type(v) is int and v < (k != "seed")]
    if low or values.get("padding", "pre") not in ("pre", "post"):
        key = low[0] if low else "padding"
        raise DataError(
            f"{folder / 'manifest.json'}: expected options of a run. "
            f"Received: {key}={printable(values[key])}"
        )


def stored_options(manifest: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
    """Return the options of an earlier run, as far as its manifest holds them."""
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
