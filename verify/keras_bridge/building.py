"""Keras models made from files, and from what was read of a file or a model."""

from __future__ import annotations

from typing import Any

from verify.errors import DataError, VerifyError, printable
from verify.forward.layers import REGISTRY
from verify.keras_bridge.importing import first_line, import_keras, quiet
from verify.keras_bridge.reading import live_layer, part
from verify.model.dtypes import POLICIES
from verify.model.graph import MaskOf, TensorRef, flatten, map_structure
from verify.model.spec import LayerSpec, ModelSpec
from verify.model_files.config import read_architecture
from verify.model_files.keras2_config import KERAS2_HARD_SIGMOID


def load_model(path: str, spec: ModelSpec) -> tuple[Any, str]:
    """A file that `verify.model_files.read` has already accepted, as a live model.

    Returns
    -------
    model
    how : str
        Empty where Keras loaded the file itself; otherwise why it was rebuilt from
        what `verify.model_files.read` read.
    """
    keras = import_keras()
    if spec.notes:
        return rebuilt(spec), "rebuilt: the file is older than the Keras that is here"
    if path.endswith(".weights.h5"):
        return rebuilt(spec), "rebuilt from the config and the weights"
    try:
        with quiet():
            return keras.saving.load_model(path, compile=False, safe_mode=True), ""
    except Exception as error:  # Keras raises all kinds here
        if spec.legacy:
            return rebuilt(spec), "rebuilt: Keras cannot load this .h5 file"
        raise DataError(
            f"{printable(path)}: Keras cannot load this file ({first_line(error)})"
        ) from None


def rebuilt(spec: ModelSpec) -> Any:
    """A Keras model from the config and the weights of a spec.

    For files that Keras 3 cannot load. The model is Keras's own in every layer; only
    that this weight belongs to that layer is taken from the spec.
    """
    try:
        with quiet():
            model = build(spec.config)
            fill(model, spec)
            refresh(model)
    except VerifyError:
        raise
    except Exception as error:
        raise DataError(
            f"{printable(spec.source)}: Keras cannot build this model ({first_line(error)})"
        ) from None
    return model


def fill(model: Any, spec: ModelSpec) -> None:
    """The weights of a spec into a live model, layer by layer."""
    for path, layer in spec.walk():
        if layer.weights:
            _fill_layer(live_layer(model, spec.root, path), layer)


def _fill_layer(live: Any, layer: LayerSpec) -> None:
    """The weights of one layer, group by group as Keras keeps them."""
    arrays = list(layer.weights.values())
    for group in REGISTRY[layer.class_name].weight_groups:
        owner = part(live, group) if group else live
        if owner is None:
            continue
        store: dict[str, Any] = {}
        owner.save_own_variables(store)
        own, arrays = arrays[: len(store)], arrays[len(store) :]
        owner.load_own_variables({str(k): value for k, value in enumerate(own)})


def refresh(model: Any) -> None:
    """Let layers that compute with copies of their weights renew these copies."""
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


TRAINING_SUFFIXES = ("_initializer", "_regularizer", "_constraint")
DROPPED_KEYS = ("batch_input_shape", "input_length", "build_config")
"""What a rebuilt layer does without: how its weights began, and what Keras 2 wrote."""


def build(config: Any) -> Any:
    """A model from its config in Keras 3's form, with fresh weights.

    Beyond what Keras reads by itself this knows what `verify.model_files.keras2_config` writes for
    Keras 2: its hard_sigmoid, calls without shapes, and a mask as an argument.
    """
    keras = import_keras()
    config = _translated(config)

    def keras2_hard_sigmoid(x: Any) -> Any:
        return keras.ops.clip(0.2 * x + 0.5, 0, 1)

    scope = {"keras2_hard_sigmoid": keras2_hard_sigmoid}
    with keras.saving.CustomObjectScope(scope):
        if _is_ours(config):
            return _called(config)
        return keras.saving.deserialize_keras_object(config, safe_mode=True)


def _translated(config: Any) -> Any:
    """A config in which every class is where Keras finds it."""
    if isinstance(config, list):
        return [_translated(item) for item in config]
    if not isinstance(config, dict):
        return config
    if config == KERAS2_HARD_SIGMOID:
        return {**config, "registered_name": config["config"]}
    changed = {
        key: _translated(value)
        for key, value in config.items()
        if not key.endswith(TRAINING_SUFFIXES) and key not in DROPPED_KEYS
    }
    if config.get("module") == "keras.ops":
        from keras.src import ops

        for module in (ops.numpy, ops.nn, ops.core, ops.math):
            if hasattr(module, str(config["class_name"])):
                changed["module"] = module.__name__
    return changed


def _is_ours(config: Any) -> bool:
    """Whether the calls in a graph were written by `verify.model_files.keras2_config`: without shapes."""
    if isinstance(config, list):
        return any(map(_is_ours, config))
    if not isinstance(config, dict):
        return False
    if config.get("class_name") in ("__keras_tensor__", "__keras_mask__"):
        return "shape" not in config["config"]
    return any(map(_is_ours, config.values()))


def _made(entry: dict[str, Any]) -> Any:
    """A layer of a config, its calls left out."""
    if _is_ours({k: v for k, v in entry.items() if k != "inbound_nodes"}):
        return _called(entry)
    inner = {k: v for k, v in entry.items() if k != "inbound_nodes"}
    return import_keras().saving.deserialize_keras_object(inner)


def _called(config: dict[str, Any]) -> Any:
    """A model, its layers called here one by one."""
    keras = import_keras()
    from keras.src import backend

    body = config["config"]
    if config["class_name"] == "Sequential":  # some model inside it is ours
        return keras.Sequential(list(map(_made, body["layers"])), name=body["name"])
    graph = read_architecture(config).graph
    if graph is None:
        raise ValueError("a Functional model was expected")
    layers = {entry["name"]: _made(entry) for entry in body["layers"]}
    values: dict[TensorRef, Any] = {}

    def resolved(leaf: Any) -> Any:
        if isinstance(leaf, MaskOf):
            return backend.get_keras_mask(values[leaf.tensor])
        return values[leaf] if isinstance(leaf, TensorRef) else leaf

    for ref in flatten(graph.inputs):
        values[ref] = layers[ref.layer].output
    for node in graph.nodes:
        args = map_structure(resolved, list(node.args))
        kwargs = map_structure(resolved, dict(node.kwargs))
        outputs = layers[node.layer](*args, **kwargs)
        for k, output in enumerate(flatten(outputs)):
            values[TensorRef(node.layer, node.index, k)] = output
    inputs = map_structure(resolved, graph.inputs)
    outputs = map_structure(resolved, graph.outputs)
    return keras.Model(inputs, outputs, name=body.get("name"))


def with_dtype(config: Any, dtype: str) -> Any:
    """A model's config with every float dtype, policies included, replaced."""
    if isinstance(config, list):
        return [with_dtype(item, dtype) for item in config]
    if not isinstance(config, dict):
        return config
    changed = {key: with_dtype(value, dtype) for key, value in config.items()}
    found = config.get("dtype")
    if isinstance(found, dict) and isinstance(found.get("config"), dict):
        mode = found["config"].get("mode")
        changed["dtype"] = f"{mode}_from_{dtype}" if mode else dtype
    elif isinstance(found, str) and found in POLICIES:
        changed["dtype"] = dtype
    return changed
