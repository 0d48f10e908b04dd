"""Classes of somebody's own that leave to a class of Keras all that predict computes.

A subclass of LSTM often only sets options in its ``__init__``, and one of keras.Model
has a ``train_step`` of its own. What such an object computes is what its base class
computes, with the options that the object has.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from verify.forward.own_layers import own_name
from verify.keras_bridge import private
from verify.keras_bridge.importing import import_keras

WITHOUT_EFFECT = frozenset(
    {
        *("get_config", "from_config", "get_build_config", "build_from_config"),
        *("get_compile_config", "compile_from_config", "save", "save_weights"),
        *("load_weights", "export", "to_json", "summary", "count_params"),
        *("compile", "fit", "train_step", "make_train_function", "train_on_batch"),
        *("evaluate", "test_step", "make_test_function", "test_on_batch"),
        *("compute_loss", "compute_metrics", "compiled_loss", "compiled_metrics"),
        *("get_metrics_result", "metrics", "metrics_names", "reset_metrics", "losses"),
        *("add_loss", "add_metric", "loss", "path", "name", "input_spec"),
    }
)
"""What a class may define anew without changing the outputs of a layer or model."""

OF_PREDICT = frozenset(
    {"predict", "predict_step", "make_predict_function", "predict_on_batch"}
)
"""Methods that run a whole model, and have no effect where it is inside another."""

SPECIAL = frozenset(
    {"__call__", "__getattr__", "__getattribute__", "__setattr__", "__new__"}
)
"""Of the methods whose names have two underscores, those that may change outputs."""


def of_keras(kind: type) -> bool:
    """Return whether a class is one of Keras's own."""
    return str(getattr(kind, "__module__", "")).split(".")[0] == "keras"


def keras_base(kind: type) -> type:
    """Return the class itself if it is Keras's own, else the nearest one above it."""
    return next(filter(of_keras, kind.__mro__), object)


def own_method(kind: type, *, whole: bool = False) -> str:
    """Return what a class defines anew of its base class and outputs depend on, or "".

    Parameters
    ----------
    kind : type
        A subclass of one of Keras's classes.
    whole : bool
        Whether it is the class of the model whose ``predict`` is run.
    """
    base = keras_base(kind)
    harmless = WITHOUT_EFFECT if whole else WITHOUT_EFFECT | OF_PREDICT
    own = [name for c in kind.__mro__[: kind.__mro__.index(base)] for name in vars(c)]
    found = [
        name
        for name in own
        if hasattr(base, name) and name not in harmless
        if not name.startswith("__") or name in SPECIAL
    ]
    return "call" if "call" in found else next(iter(found), "")  # it says most


def adds_nothing(kind: type) -> bool:
    """Return whether objects of a class compute what those of its base class do.

    A class that `verify.register` was given is computed as it says there.
    """
    base, keras = keras_base(kind), import_keras()
    if kind is base:
        return True
    if base in (object, keras.Layer, keras.Model) or is_registered(kind):
        return False
    return not own_method(kind)


def is_registered(kind: type) -> bool:
    """Return whether a `LayerType` is registered for a class of the user's."""
    registered = import_keras().saving.get_registered_name(kind)
    return bool(own_name(registered, kind.__name__))


def class_of(layer: Any) -> Any:
    """Return the class that computes what a layer computes, Keras's where it can be."""
    kind = type(layer)
    return keras_base(kind) if adds_nothing(kind) else kind


@contextlib.contextmanager
def as_base_classes(objects: Sequence[Any]) -> Iterator[None]:
    """Give layers and models that `adds_nothing` speaks of the class of Keras.

    Keras writes down the class of each, and asks it for its config. A class with an
    ``__init__`` of its own seldom gives one from which Keras could build it again.
    """
    changed = [(x, type(x)) for x in objects if class_of(x) is not type(x)]
    try:
        for x, _ in changed:
            object.__setattr__(x, "__class__", class_of(x))
        yield
    finally:
        for x, kind in changed:
            object.__setattr__(x, "__class__", kind)


def options_of(layer: Any) -> dict[str, Any]:
    """Return the config of a live layer, as its class of Keras has it."""
    with as_base_classes([layer]):
        config: dict[str, Any] = layer.get_config()
    return config


def config_of(model: Any) -> dict[str, Any]:
    """Return what ``to_json`` says of a model, with classes of Keras where it can.

    Each layer of a Sequential has its name, also one whose class has a config of its
    own without one.
    """
    with as_base_classes(private.layers_inside(model)):
        config: dict[str, Any] = json.loads(model.to_json())
    if config["class_name"] == "Sequential":
        entries = config["config"]["layers"]
        for entry, layer in zip(entries[::-1], model.layers[::-1], strict=False):
            entry["config"].setdefault("name", layer.name)
    return config


def has_graph(operation: Any) -> bool:
    """Return whether a layer is a model that Keras runs by its graph of calls."""
    return private.holds_calls(operation) and adds_nothing(type(operation))
