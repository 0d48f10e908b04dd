"""Live Keras models read into a ModelSpec."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers import REGISTRY
from verify.keras_bridge import private
from verify.keras_bridge.importing import first_line, import_keras
from verify.keras_bridge.names import keras_name
from verify.keras_bridge.subclasses import (
    adds_nothing,
    class_of,
    config_of,
    is_registered,
    keras_base,
    own_method,
)
from verify.model.arrays import Array
from verify.model.spec import LayerSpec, ModelSpec
from verify.model_files.config import read_model

PLAIN = (bool, int, float, str)
"""Types of attributes that are compared with those of a copy."""

MAY_DIFFER = {"name", "trainable", "built", "lora_enabled", "lora_alpha", "lora_rank"}
"""Attributes that may differ between a layer and its copy, which has no LoRA."""


def read_live(model: Any, *, partial: bool = False) -> ModelSpec:
    """Read a live Keras 3 model.

    Parameters
    ----------
    model : keras.Model
    partial : bool
        Whether layers that are not supported are marked as unread instead of refused.

    Raises
    ------
    UnsupportedError
        Anything that is not a built Sequential or Functional model of supported layers.
    """
    keras = import_keras()
    if not isinstance(model, keras.Model):
        raise UnsupportedError(
            "expected a path to a model file or a Keras 3 model. "
            f"Received: {type(model).__module__}.{type(model).__qualname__}".replace(
                "builtins.", ""
            )
        )
    _refuse_custom(model, partial)
    try:
        config = config_of(model)
    except Exception as error:  # a function without source, a config of one's own
        raise UnsupportedError(
            f"Model '{model.name}': Keras cannot write down its config "
            f"({first_line(error)})"
        ) from None
    spec = read_model(
        config,
        LiveWeights(model),
        source="a live model",
        keras_version=keras.__version__,
        partial=partial,
    )
    for path, layer in spec.walk():
        if layer.unread:
            continue
        live = live_layer(model, spec.root, path)
        _refuse_own_functions(layer, live)
        _refuse_lora_of_8_bits(layer, live)
    return spec


def _refuse_custom(model: Any, partial: bool) -> None:
    """Refuse what cannot be read: custom classes first, which may have no config."""
    kind = type(model)
    where = f"Model '{model.name}' ({kind.__name__})"
    base = keras_base(kind)
    sequential = base is import_keras().Sequential
    if not sequential and base.__name__ != "Functional":
        raise UnsupportedError(
            f"{where}: this custom kind of model is not supported. Supported: "
            "Sequential and Functional"
        )
    if method := own_method(kind, whole=True):
        raise UnsupportedError(
            f"{where}: its class has a {method} of its own, which is Python code that "
            "is not read. Build the same layers as a Functional model, with the same "
            "weights"
        )
    for layer in () if partial else private.layers_inside(model, itself=False):
        _refuse_custom_layer(layer)
    if sequential and len({id(layer) for layer in model.layers}) < len(model.layers):
        raise UnsupportedError(
            f"{where}: the same layer stands in it twice, which Keras does not write "
            "down: saved and loaded it is another model. Build it with keras.Model and "
            "call the layer twice"
        )
    if sequential and not model.built:
        raise UnsupportedError(
            f"{where}: it has never been built, so it has no weights. Call it once, or "
            "begin it with keras.Input"
        )
    has_graph = not sequential or private.graph_of(model) is not model
    if not has_graph and not (partial and _can_be_called(model)):
        raise UnsupportedError(
            f"{where}: Keras calls its layers one by one, because one of them has no "
            "outputs of known shape. Begin it with keras.Input, and give each class of "
            "your own a call and, inside TimeDistributed, a compute_output_shape"
        )


def _can_be_called(model: Any) -> bool:
    """Return whether every layer of a model has a class that says what it computes."""
    none = import_keras().layers.Layer.call
    inside = private.layers_inside(model, itself=False)
    return all(type(layer).call is not none for layer in inside)


def _refuse_custom_layer(layer: Any) -> None:
    """Refuse a layer of a class that computes something of its own."""
    kind = type(layer)
    if adds_nothing(kind) or is_registered(kind):
        return
    method = own_method(kind)
    has = f"its class has a {method} of its own" if method else "a custom class"
    raise UnsupportedError(
        f"Layer '{layer.name}' ({kind.__name__}): {has}, which is Python code that is "
        "not read. Say in NumPy what it computes by verify.register "
        "(docs/own-layers.md), or check the rest with partial=True"
    )


def set_afterwards(model: Any, copy: Any) -> tuple[str, str]:
    """Return which layer has what no config says, and what: two names, or none.

    Some set ``supports_masking`` of a layer that was made, or put a function in place
    of its ``call``. What is saved is the model without that.

    Parameters
    ----------
    model : keras.Model
    copy : keras.Model
        Made of its config.
    """
    pairs = zip(
        private.layers_inside(model, itself=False),
        private.layers_inside(copy, itself=False),
        strict=False,
    )
    for layer, anew in pairs:
        if private.is_model(layer) or class_of(layer) is not type(anew):
            continue
        masking = {"supports_masking": anew.supports_masking}  # a property
        saved = vars(anew) | masking
        for name in (vars(layer).keys() | masking) - MAY_DIFFER:
            value = getattr(layer, name)
            set_here = isinstance(value, PLAIN) and value != saved.get(name, value)
            replaced = callable(value) and name not in saved and hasattr(anew, name)
            if not name.startswith("_") and (set_here or replaced):
                return f"Layer '{layer.name}' ({type(layer).__name__})", name
    return "", ""


def _refuse_own_functions(layer: LayerSpec, live: Any) -> None:
    """Refuse activations of the user's own, whatever their name."""
    activations = import_keras().activations
    live = getattr(live, "cell", live)
    for option in ("activation", "recurrent_activation"):
        function, name = getattr(live, option, None), layer.options.get(option)
        if inspect.isfunction(function) and isinstance(name, str):
            known = activations.get(name) if "(" not in name else function
            if function is not known and not _is_operation(function, name):
                raise UnsupportedError(
                    f"{layer}: {option} is a function of yours called {name}, which is "
                    "not supported"
                )


def _refuse_lora_of_8_bits(layer: LayerSpec, live: Any) -> None:
    """Refuse matrices of LoRA that Keras adds to the outputs, not to the kernel."""
    if not (layer.options.get("lora_rank") and layer.options.get("quantization_mode")):
        return
    right = (
        w for w in live.weights if w.name.startswith("lora_") and w.name[-1] == "b"
    )
    if any(np.any(np.array(w)) for w in right):
        raise UnsupportedError(
            f"{layer}: LoRA beside 8-bit weights is not supported in a live model. "
            "Save it as .keras, where Keras joins both, and check that file"
        )


@contextlib.contextmanager
def _kept_in_8_bits(layer: Any) -> Iterator[None]:
    """Have Keras write 8-bit weights as they are, where LoRA adds nothing to them.

    It would make floats of them, and quantise these anew.
    """
    lora = bool(getattr(layer, "lora_enabled", False))
    if not (lora and getattr(layer, "quantization_mode", None)):
        yield
        return
    layer.lora_enabled = False
    try:
        yield
    finally:
        layer.lora_enabled = lora


def _is_operation(function: Any, name: str) -> bool:
    """Return whether this is the function of that name in `keras.ops`.

    gelu is excluded: `keras.ops.gelu` differs from `keras.activations.gelu`.
    """
    ours = function is getattr(import_keras().ops, name, None)
    return ours and name != "gelu"


class LiveWeights:
    """Read the arrays of a live layer; see `verify.model_files.config.WeightSource`."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def own(self, group: str) -> list[Array]:
        """Return the arrays of one group, in the order in which Keras saves them."""
        owner = attribute_of(self.layer, group) if group else self.layer
        store: dict[str, Any] = {}
        if owner is not None:
            with _kept_in_8_bits(owner):
                owner.save_own_variables(store)
        to_numpy = import_keras().ops.convert_to_numpy
        keys = [key for key in store if str(key).isdecimal()]
        try:
            return [np.array(to_numpy(store[str(k)])) for k in range(len(keys))]
        except TypeError as error:  # there is no value, nor a way to make one
            name, kind = getattr(self.layer, "name", ""), type(self.layer).__name__
            raise UnsupportedError(
                f"Layer '{name}' ({kind}): Keras has lost its weights. On JAX it does "
                "so when predict, fit or evaluate raises. Make or load the model again"
            ) from error

    def vocabulary(self) -> tuple[list[Any] | None, Array | None]:
        """Return the vocabulary of a live layer and its weights of tf_idf."""
        if not hasattr(self.layer, "get_vocabulary"):
            return None, None
        tokens = [_plain(token) for token in self.layer.get_vocabulary()]
        idf = private.idf_weights_of(self.layer)
        return tokens, None if idf is None else np.array(idf)

    def everything(self) -> dict[str, Array]:
        """Return all weights of the layer and of those inside it, by their paths."""
        to_numpy = import_keras().ops.convert_to_numpy
        found: dict[str, Array] = {}
        for weight in getattr(self.layer, "weights", ()):
            name = str(weight.path)
            name = f"{name}:{len(found)}" if name in found else name
            found[name] = np.array(to_numpy(weight))
        return found

    def inside(
        self, container: str, key: str, class_name: str, number: int
    ) -> LiveWeights:
        """Return the weights of a layer inside, found by its key alone."""
        return LiveWeights(_child(self.layer, container, key))


def _plain(token: Any) -> Any:
    """Return a token as Python has it: TensorFlow's may be NumPy's, or bytes."""
    if isinstance(token, bytes):
        return token.decode()
    return token.item() if isinstance(token, np.generic) else token


def attribute_of(layer: Any, name: str) -> Any:
    """Return an attribute of a layer, whose name may begin with an underscore."""
    return getattr(layer, name, None) or getattr(layer, f"_{name}", None)


def _child(layer: Any, container: str, key: str) -> Any:
    if container == "layers":
        known = {
            operation.name: operation for operation in private.operations_of(layer)
        }
        return known.get(key, known.get(keras_name(key)))
    return layer.cells[int(key)] if container else getattr(layer, key)


def live_layer(model: Any, root: LayerSpec, path: str) -> Any:
    """Return the live layer at a path of its spec."""
    spec = root
    while path:
        keys = [k for k in spec.sublayers if path == k or path.startswith(f"{k}/")]
        key = max(keys, key=len)
        model = _child(model, REGISTRY[spec.class_name].container, key)
        spec, path = spec.sublayers[key], path[len(key) + 1 :]
    return model
