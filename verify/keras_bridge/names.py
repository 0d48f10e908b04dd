"""Names of layers that Keras 3 does not take, or TensorFlow below it.

Keras 2 ran layers called ``block1/conv``, and a model inside another is opened into
layers called ``encoder/lstm``. Keras 3 takes no name with a slash. It takes one with a
space, or with letters that are not ASCII, but TensorFlow has no scope of that name, so
``predict`` raises. The models that are built here have other characters in their place,
and what is said of them has the name of the file again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from verify.model.spec import ModelSpec

SLASH = ".slash."
"""What stands for a slash: TensorFlow takes it in the name of a scope."""

_NOT_IN_SCOPES = re.compile(r"[^A-Za-z0-9_.\\>-]")
"""A character that the name of a scope of TensorFlow has not."""

_STANDS_FOR = re.compile(r"\.char([0-9a-f]+)\.")


def keras_name(name: str) -> str:
    """Return the name of a layer in a model that is built here."""
    parted = name.replace("/", SLASH)
    return _NOT_IN_SCOPES.sub(lambda found: f".char{ord(found[0]):x}.", parted)


def file_name(name: str) -> str:
    """Return the name of a layer in the file, given that in Keras."""
    plain = _STANDS_FOR.sub(lambda found: chr(int(found[1], 16)), name)
    return plain.replace(SLASH, "/")


def unfit_for_tensorflow(spec: ModelSpec) -> str:
    """Return a name, of the model or a layer, that no scope may have; empty if none."""
    names = [spec.name, *(layer.name for _, layer in spec.walk())]
    return next((name for name in names if keras_name(name) != name), "")


def renamed_config(config: Any, rename: Callable[[str], str] = keras_name) -> Any:
    """Return a config in which all names of layers and models are replaced."""
    if isinstance(config, list):
        return [renamed_config(item, rename) for item in config]
    if not isinstance(config, dict) or _is_policy(config):
        return config
    changed = {key: renamed_config(value, rename) for key, value in config.items()}
    if isinstance(config.get("name"), str) and "class_name" in config:
        changed["name"] = rename(config["name"])
    history = config.get("keras_history")
    if isinstance(history, list) and history and isinstance(history[0], str):
        changed["keras_history"] = [rename(history[0]), *history[1:]]
    inner = changed.get("config")
    if "class_name" in config and isinstance(inner, dict):
        if isinstance(inner.get("name"), str):
            inner["name"] = rename(inner["name"])
        for key in ("input_layers", "output_layers"):
            if key in inner:
                inner[key] = _endpoints(inner[key], rename)
    return changed


def _is_policy(config: Mapping[str, Any]) -> bool:
    """Say whether this is a dtype policy, whose name says what it is."""
    return str(config.get("class_name")).endswith(("DTypePolicy", "DTypePolicyMap"))


def _endpoints(item: Any, rename: Callable[[str], str]) -> Any:
    """Return the inputs or outputs of a model, [name, call, number] each."""
    if isinstance(item, dict):
        return {key: _endpoints(inner, rename) for key, inner in item.items()}
    if isinstance(item, list) and item and isinstance(item[0], str):
        return [rename(item[0]), *item[1:]]
    if isinstance(item, list):
        return [_endpoints(inner, rename) for inner in item]
    return item
