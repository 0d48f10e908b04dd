"""Names of layers that Keras 3 does not take.

Keras 2 ran layers called ``block1/conv``, and a model inside another is opened into
layers called ``encoder/lstm``. Keras 3 takes no name with a slash. So the models that
are built here have another character in its place, and what is said of them has the
name of the file again.
"""

from __future__ import annotations

from typing import Any

SLASH = ".slash."
"""What stands for a slash: TensorFlow takes it in the name of a scope."""


def keras_name(name: str) -> str:
    """Return the name of a layer in a model that is built here."""
    return name.replace("/", SLASH)


def file_name(name: str) -> str:
    """Return the name of a layer in the file, given that in Keras."""
    return name.replace(SLASH, "/")


def without_slashes(config: Any) -> Any:
    """Return a config in which no layer has a slash in its name."""
    if isinstance(config, list):
        return [without_slashes(item) for item in config]
    if not isinstance(config, dict):
        return config
    changed = {key: without_slashes(value) for key, value in config.items()}
    if isinstance(config.get("name"), str) and "class_name" in config:
        changed["name"] = keras_name(config["name"])
    history = config.get("keras_history")
    if isinstance(history, list) and history and isinstance(history[0], str):
        changed["keras_history"] = [keras_name(history[0]), *history[1:]]
    inner = changed.get("config")
    if "class_name" in config and isinstance(inner, dict):
        if isinstance(inner.get("name"), str):
            inner["name"] = keras_name(inner["name"])
        for key in ("input_layers", "output_layers"):
            if key in inner:
                inner[key] = _endpoints(inner[key])
    return changed


def _endpoints(item: Any) -> Any:
    """Return the inputs or outputs of a model, [name, call, number] each."""
    if isinstance(item, dict):
        return {key: _endpoints(inner) for key, inner in item.items()}
    if isinstance(item, list) and item and isinstance(item[0], str):
        return [keras_name(item[0]), *item[1:]]
    return [_endpoints(inner) for inner in item] if isinstance(item, list) else item
