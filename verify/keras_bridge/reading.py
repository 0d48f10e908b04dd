"""Live Keras models read into a ModelSpec."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers import REGISTRY
from verify.forward.own_layers import own_name
from verify.keras_bridge import private
from verify.keras_bridge.importing import first_line, import_keras
from verify.keras_bridge.names import keras_name
from verify.model.arrays import Array
from verify.model.spec import LayerSpec, ModelSpec
from verify.model_files.classes import custom_class_refusal
from verify.model_files.config import read_model

OWN_METHODS = (
    *("__call__", "call", "compute_mask"),
    *("predict", "predict_step", "make_predict_function"),
)
"""Methods of a model on which depends what it predicts."""

SETTINGS = ("jit_compile", "run_eagerly", "steps_per_execution")
"""Of a model that was compiled: how predict runs."""


def as_graph(model: Any) -> Any:
    """Return a model of somebody's own class as the Functional model that it is.

    A subclass of keras.Model that is made of inputs and outputs, or of Sequential, and
    that leaves to Keras what predict computes, often has a ``train_step`` of its own.
    The Functional model shares its layers and weights. Anything else is returned as it
    is.

    Raises
    ------
    UnsupportedError
        The class has a method of its own on which predict depends.
    """
    keras, kind = import_keras(), type(model)
    if not isinstance(model, keras.Model) or _of_keras(kind) or not model.built:
        return model
    graphs = (c for c in kind.__mro__ if c.__name__ in ("Sequential", "Functional"))
    base = next(filter(_of_keras, graphs), None)
    if base is None:
        return model
    for name in OWN_METHODS:
        if getattr(kind, name) is not getattr(base, name):
            raise UnsupportedError(
                f"Model '{model.name}' ({kind.__name__}): its class has a {name} of "
                "its own, which is Python code that is not read. Build the same layers "
                "as a Functional model, with the same weights"
            )
    ends = private.inputs_of(model), private.outputs_of(model)
    plain = keras.Model(*ends, name=model.name)
    for name in SETTINGS if model.compiled else ():
        setattr(plain, name, getattr(model, name))
    return plain


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
        config = json.loads(model.to_json())
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
    sequential = type(model) is import_keras().Sequential
    if not sequential and type(model).__name__ != "Functional":
        raise UnsupportedError(
            f"Model '{model.name}' ({type(model).__name__}): this custom kind of model "
            "is not supported. Supported: Sequential and Functional"
        )
    for layer in () if partial else private.layers_inside(model, itself=False):
        if not _of_keras(type(layer)) and not _is_registered(type(layer)):
            where = f"Layer '{layer.name}' ({type(layer).__name__})"
            bases = (base for base in type(layer).__mro__ if _of_keras(base))
            like = next((b.__name__ for b in bases if b.__name__ in REGISTRY), "")
            raise UnsupportedError(
                custom_class_refusal(where, type(layer).__name__, like)
            )
    if sequential and len({id(layer) for layer in model.layers}) < len(model.layers):
        raise UnsupportedError(
            f"Model '{model.name}' (Sequential): the same layer stands in it twice, "
            "which Keras does not write down: saved and loaded it is another model. "
            "Build it with keras.Model and call the layer twice"
        )
    if sequential and not model.built:
        raise UnsupportedError(
            f"Model '{model.name}' (Sequential): it has never been built, so it has no "
            "weights. Call it once, or begin it with keras.Input"
        )


def _is_registered(kind: type) -> bool:
    """Return whether a layer type is registered for a class of the user's."""
    registered = import_keras().saving.get_registered_name(kind)
    return bool(own_name(registered, kind.__name__))


def _of_keras(kind: type) -> bool:
    return str(getattr(kind, "__module__", "")).split(".")[0] == "keras"


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
        return [np.array(to_numpy(store[str(k)])) for k in range(len(keys))]

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
