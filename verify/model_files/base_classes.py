"""Take a class of somebody's own as the class of Keras that it subclasses.

A file does not say what a custom class computes, and often it is a layer of Keras with
an addition. If the user says so, such a layer is read as its base class. The file is
then one of the base class: Keras builds that class, too, and what the custom class adds
is not checked. Notes say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from verify.errors import UnsupportedError, did_you_mean, join_and, printable
from verify.forward.layers import ALIASES, REGISTRY
from verify.forward.layers.base import INERT_EVERYWHERE, REQUIRED, LayerType
from verify.forward.layers.refused import REASONS
from verify.forward.own_layers import own_name
from verify.model.spec import ModelSpec
from verify.model_files.classes import (
    ELSEWHERE,
    MODEL_MODULES,
    TAKEN_FROM,
    is_custom,
    is_operation,
    model_class,
)

AUTO = "auto"
"""In place of classes by name: take every custom class as the only one that it fits."""

MIN_OPTIONS = 3
"""Options that a config must share with a class of Keras to be recognised by them."""


def take_base_classes(
    content: Any, base_classes: Mapping[str, str] | str
) -> tuple[Any, tuple[str, ...]]:
    """Return a config in which custom classes are replaced by their base classes.

    Parameters
    ----------
    content
        The config of a model, as it stands in a file.
    base_classes : mapping of str to str, or "auto"
        Custom class, with or without its package -> class of Keras.

    Returns
    -------
    content
        The config. `TAKEN_FROM` in the config of a layer names its class in the file.
    notes : tuple of str
        What was taken as what.

    Raises
    ------
    UnsupportedError
        There is no such class, in the file or in Keras, or ``"auto"`` leaves a choice.
    """
    custom = {str(e["class_name"]): e for e in _entries(content) if _is_own(e)}
    if base_classes == AUTO:
        base_classes = {
            name: _recognised(entry)
            for name, entry in custom.items()
            if not own_name(entry.get("registered_name"), name)
        }
        if not base_classes:
            raise UnsupportedError("--as-base-class: the model has no custom class")
    if isinstance(base_classes, str):
        raise UnsupportedError(
            "--as-base-class: expected NAME=CLASS, such as ReversedLSTM=LSTM. "
            f"Received: {printable(base_classes, 60)}"
        )
    taken: dict[str, str] = {}
    for name, base in base_classes.items():
        _require_class(name, base)
        found = [
            c
            for c, entry in custom.items()
            if name in (c, c.rpartition(">")[2], entry.get("registered_name"))
        ]
        if not found:
            there = join_and(map(printable, custom)) or "none"
            raise UnsupportedError(
                f"--as-base-class {printable(name, 60)}: expected a custom class of "
                f"the model. Received: one that it has not; its own are: {there}"
            )
        for c in found:
            _require_kind(c, base, custom[c]["config"])
        taken |= dict.fromkeys(found, base)
    notes: list[str] = []
    return _replaced(content, taken, notes), tuple(dict.fromkeys(notes))


def taken_classes(spec: ModelSpec) -> str:
    """Say which custom classes were taken as classes of Keras; empty if none was."""
    taken = {
        f"{printable(layer.own_class)} taken as {layer.class_name}"
        for layer in (spec.root, *(inside for _, inside in spec.walk()))
        if layer.own_class and layer.class_name in REGISTRY.built_in
    }
    return join_and(sorted(taken))


def without_additions(config: Any) -> tuple[Any, tuple[str, ...]]:
    """Drop the options that custom classes add to the base classes they are taken as.

    Parameters
    ----------
    config
        What `take_base_classes` returned, upgraded to Keras 3's form.

    Returns
    -------
    config
    notes : tuple of str
        What was dropped.
    """
    notes: list[str] = []

    def dropped(entry: Any) -> Any:
        if isinstance(entry, list):
            return list(map(dropped, entry))
        if not isinstance(entry, Mapping):
            return entry
        entry = {key: dropped(value) for key, value in entry.items()}
        kind = REGISTRY.built_in.get(entry.get("class_name", ""))
        if (
            TAKEN_FROM not in entry
            or kind is None
            or entry["class_name"] in MODEL_MODULES
        ):
            return entry
        own = {k: v for k, v in entry["config"].items() if k not in _known(kind)}
        if own:
            shown = ", ".join(f"{printable(k)}={printable(own[k], 40)}" for k in own)
            name = printable(entry["config"].get("name"))
            notes.append(f"layer '{name}': options of its own are dropped: {shown}")
        rest = {k: v for k, v in entry["config"].items() if k not in own}
        return {**entry, "config": rest}

    return dropped(config), tuple(dict.fromkeys(notes))


def _entries(content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every serialised layer or model of a config, the outer ones first."""
    if isinstance(content, list):
        for item in content:
            yield from _entries(item)
    elif isinstance(content, Mapping):
        class_name, config = content.get("class_name"), content.get("config")
        if isinstance(class_name, str) and isinstance(config, Mapping):
            yield content
        for value in content.values():
            yield from _entries(value)


def _is_own(entry: Mapping[str, Any]) -> bool:
    """Return whether a layer is of a custom class."""
    name = entry["class_name"]
    if is_operation(entry):
        return False
    if "module" in entry or "registered_name" in entry:
        foreign = entry.get("module") is not None or entry.get("registered_name")
        return bool(foreign) and is_custom(entry) and "name" in entry["config"]
    # old files name no modules
    return "name" in entry["config"] and name not in (
        *REGISTRY.built_in,
        *ALIASES,
        *REASONS,
        *ELSEWHERE,
        *("CuDNNLSTM", "CuDNNGRU"),
    )


def _require_class(name: str, base: str) -> None:
    known = [*(n for n in REGISTRY.built_in if not n.startswith("ops."))]
    if base not in known:
        raise UnsupportedError(
            f"--as-base-class {printable(name, 60)}={printable(base, 60)}: expected a "
            f"class of Keras. {did_you_mean(base, known)}All: rnn-verify layers"
        )


def _require_kind(name: str, base: str, config: Mapping[str, Any]) -> None:
    """Refuse to take a model as a layer, or a layer as a model."""
    holds_layers = isinstance(config.get("layers"), list)
    if base == model_class(config) if holds_layers else base not in MODEL_MODULES:
        return
    kind, wanted = "a layer", "a layer of Keras"
    if holds_layers:
        kind, wanted = "a model of layers", model_class(config)
    raise UnsupportedError(
        f"--as-base-class {printable(name, 60)}={printable(base, 60)}: expected "
        f"{wanted}, because {printable(name, 60)} is {kind}. Received: {base}"
    )


def _known(kind: LayerType) -> set[str]:
    return {*kind.options, *kind.inert, *kind.child_configs, *INERT_EVERYWHERE}


def _recognised(entry: Mapping[str, Any]) -> str:
    """Return the only class of Keras whose options a custom layer or model has.

    Raises
    ------
    UnsupportedError
        It has those of none, or of several.
    """
    if isinstance(entry["config"].get("layers"), list):
        return model_class(entry["config"])
    name, keys = entry["class_name"], set(entry["config"]) - INERT_EVERYWHERE
    scores: dict[str, int] = {}
    for base, kind in REGISTRY.built_in.items():
        required = {k for k, o in kind.options.items() if o.default is REQUIRED}
        if not base.startswith("ops.") and required | kind.child_configs <= keys:
            scores[base] = len(keys & _known(kind))
    best = max(scores.values(), default=0)
    like = [base for base, score in scores.items() if score == best]
    named = [base for base in like if str(name).endswith(base)]
    like = named if len(like) > 1 and named else like
    if best < MIN_OPTIONS or len(like) != 1:
        found = join_and(like) if best >= MIN_OPTIONS else "none"
        raise UnsupportedError(
            f"--as-base-class: expected options of one class of Keras in "
            f"{printable(name, 60)}. Received: those of {found}; say it as "
            f"{printable(name, 60)}=CLASS"
        )
    return like[0]


def _replaced(content: Any, taken: Mapping[str, str], notes: list[str]) -> Any:
    if isinstance(content, list):
        return [_replaced(item, taken, notes) for item in content]
    if not isinstance(content, Mapping):
        return content
    changed = {
        key: _replaced(value, taken, notes)
        for key, value in content.items()
        if key != TAKEN_FROM  # from no file
    }
    name, config = content.get("class_name"), content.get("config")
    base = taken.get(name) if isinstance(name, str) else None
    if base is None or not isinstance(config, Mapping) or not _is_own(content):
        return changed
    shown = printable(str(name).rpartition(">")[2])
    notes.append(
        f"layer '{printable(config.get('name'))}' ({shown}) is taken as {base}; what "
        "the class adds is not checked"
    )
    if "module" in content:
        changed["module"] = MODEL_MODULES.get(base, "keras.layers")
    if "registered_name" in content:
        changed["registered_name"] = None
    return {**changed, "class_name": base, TAKEN_FROM: name}
