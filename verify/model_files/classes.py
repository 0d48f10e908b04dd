"""Say which layer type reads a layer of a config, or why none does."""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from typing import Any

from verify.errors import UnsupportedError, printable
from verify.forward.layers import REGISTRY, supported
from verify.forward.layers.refused import REASONS
from verify.forward.own_layers import own_name
from verify.model.spec import UNREAD, LayerSpec
from verify.model_files.hdf5 import snake_case

OPERATION_MODULES = ("keras.src.ops", "keras.ops", "keras.src.activations")
ELSEWHERE = ("TFOpLambda", "SlicingOpLambda", "Model")
"""Classes of Keras that are read elsewhere, where they are."""

MODEL_MODULES = {"Sequential": "keras", "Functional": "keras.src.models.functional"}
"""Module that Keras 3 writes beside each class of models; ``keras.Functional`` is not
found."""

OWN_CLASS = (
    "Or your own? Give it by --layers (docs/own-layers.md), or try "
    "rnn-verify check --partial. "
)
"""What is said of a class that may be mistyped: old files do not say what is custom."""

TAKEN_FROM = "taken from"
"""Key of a layer's config: the class in the file that is taken as its base class; see
`verify.model_files.base_classes`."""


def holds_operations(module: Any) -> bool:
    """Say whether the module that a config names is one of Keras's operations.

    A layer may have the name of an operation.
    """
    return str(module).startswith(("keras.ops", "keras.src.ops"))


def registry_key(entry: Mapping[str, Any], class_name: str, where: str) -> str:
    """Return the name of a layer's class in the registry, or refuse it.

    Parameters
    ----------
    entry : mapping
        The config of the layer.
    class_name : str
        Its class, by the name that the registry has for a class of Keras.
    where : str
        The layer, as messages name it.

    Raises
    ------
    UnsupportedError
        The class is neither supported nor registered.
    """
    operation, custom = is_operation(entry), is_custom(entry)
    key = f"ops.{class_name}" if operation else class_name
    if key in REGISTRY.built_in and not custom:
        return key
    if not operation and (
        own := own_name(entry.get("registered_name"), entry["class_name"])
    ):
        return own
    if key in REASONS and not custom:
        raise UnsupportedError(f"{where}: {REASONS[key]}")
    unknown = supported(key).startswith("All") and key not in ELSEWHERE
    if (custom or unknown) and not operation:  # old files do not say what is custom
        raise UnsupportedError(
            custom_class_refusal(where, class_name, _resembled(entry["config"]))
        )
    kind_word = "operation" if operation else "class"
    near = supported(key)
    if not (custom or operation or key in ELSEWHERE):  # its own, or mistyped
        question, mark, rest = near.partition("? ")
        near = f"{question}{mark}{OWN_CLASS}{rest}"
    raise UnsupportedError(
        f"{where}: this {'custom ' if custom else ''}{kind_word} is not supported. "
        f"{near}"
    )


def own_class(entry: Mapping[str, Any], key: str) -> str:
    """Return the class that a file names, if the registry has it by another name."""
    if TAKEN_FROM in entry or key in REGISTRY.own:
        told = str(entry.get(TAKEN_FROM) or entry["class_name"]).rpartition(">")[2]
        return "" if told == key else told
    return ""


def unread_layer(
    entry: Mapping[str, Any], error: UnsupportedError, taken: Container[str] = ()
) -> LayerSpec:
    """Return what stands for a layer that cannot be read.

    Parameters
    ----------
    entry : mapping
        Config of the layer. That of a class with a config of its own may have no name;
        the layer is then called as Keras calls one without a name.
    error : UnsupportedError
        Why it cannot be read.
    taken : container of str
        Names of other layers.
    """
    class_name, config = entry["class_name"], entry["config"]
    called = snake_case(class_name.rpartition(">")[2])
    numbered = (f"{called}_{k}" if k else called for k in itertools.count())
    free = next(name for name in numbered if name not in taken)
    name = config.get("name", entry.get("name", free))
    if not isinstance(name, str) or not name:
        raise error
    told = str(error)
    for shown in (config.get("name", class_name), name):
        where = f"Layer '{printable(shown)}' ({printable(class_name)}): "
        told = told.removeprefix(where)
    return LayerSpec(
        name=name,
        class_name=UNREAD,
        options={},
        trainable=bool(config.get("trainable", True)),
        own_class=class_name.rpartition(">")[2] or class_name,
        unread=told,
    )


def custom_class_refusal(where: str, class_name: str, resembled: str) -> str:
    """Return why a layer of a custom class is refused, and what to do.

    Parameters
    ----------
    where : str
        The layer, as messages name it.
    class_name : str
        Its class.
    resembled : str
        The class of Keras that it looks like; empty if it looks like none.
    """
    taken = f"--as-base-class {printable(class_name)}={resembled}, "
    return (
        f"{where}: this custom class is not supported, its code is never run. Give it "
        f"by --layers (docs/own-layers.md), {taken if resembled else ''}or check the "
        "rest with rnn-verify check --partial"
    )


def _resembled(config: Mapping[str, Any]) -> str:
    """Return the recurrent class of Keras whose options a config has, or ``""``."""
    like = [
        kind
        for kind in REGISTRY.values()
        if "return_sequences" in kind.options and kind.options.keys() <= config.keys()
    ]
    best = max(like, key=lambda kind: len(kind.options), default=None)
    return "" if best is None or len(best.options) < 8 else best.class_name


def _module(entry: Mapping[str, Any]) -> str:
    module = entry.get("module", "keras.layers")
    return module if isinstance(module, str) else ""


def is_operation(entry: Mapping[str, Any]) -> bool:
    """Return whether a serialised object is a raw operation of Keras."""
    module = _module(entry)
    return any(
        module == base or module.startswith(f"{base}.") for base in OPERATION_MODULES
    )


def is_custom(entry: Mapping[str, Any]) -> bool:
    """Return whether a serialised object belongs to code outside Keras."""
    if entry.get("registered_name") not in (None, entry["class_name"]):
        return True
    return _module(entry).split(".")[0] != "keras"


def model_class(config: Mapping[str, Any]) -> str:
    """Return the class of Keras whose config a model that holds layers has."""
    return "Functional" if "output_layers" in config else "Sequential"
