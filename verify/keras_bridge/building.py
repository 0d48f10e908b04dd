"""Keras models made from files, and from what was read of a file or a model."""

from __future__ import annotations

from typing import Any

from verify.dtypes import POLICIES
from verify.keras_bridge.importing import first_line, import_keras, quiet
from verify.keras_bridge.reading import live_layer, part
from verify.layers import REGISTRY
from verify.legacy import KERAS2_HARD_SIGMOID
from verify.reader import read_structure
from verify.spec import DataError, LayerSpec, ModelSpec, VerifyError, plain
from verify.structure import MaskOf, TensorRef, flatten, map_structure


def load_model(path: str, spec: ModelSpec) -> tuple[Any, str]:
    """A file that `verify.files` has already accepted, as a live model.

    Returns
    -------
    model
    how : str
        Empty where Keras loaded the file itself; otherwise why it was rebuilt from
        what `verify.files` read.
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
            f"{plain(path)}: Keras cannot load this file ({first_line(error)})"
        ) from None


def rebuilt(spec: ModelSpec) -> Any:
    """A Keras model from the config and the weights of a spec.

    For files that Keras 3 cannot load. The model is Keras's own in every layer; only
    that this weight belongs to that layer is taken from the spec.
    """
    try:
        with quiet():
            model = build(spec.config)
            for path, layer in spec.walk():
                if layer.weights:
                    _fill(live_layer(model, spec.root, path), layer)
            refresh(model)
    except VerifyError:
        raise
    except Exception as error:
        raise DataError(
            f"{plain(spec.source)}: Keras cannot build this model ({first_line(error)})"
        ) from None
    return model


def _fill(live: Any, layer: LayerSpec) -> None:
    """The weights of a spec into a live layer, group by group as Keras keeps them."""
    arrays = list(layer.weights.values())
    for group in REGISTRY[layer.class_name].groups:
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


def build(config: Any) -> Any:
    """A model from its config in Keras 3's form, with fresh weights.

    Beyond what Keras reads by itself this knows the two things that
    `verify.legacy` writes for Keras 2: its hard_sigmoid, and a mask as an argument.
    """
    keras = import_keras()
    config = _translated(config)

    def keras2_hard_sigmoid(x: Any) -> Any:
        return keras.ops.clip(0.2 * x + 0.5, 0, 1)

    scope = {"keras2_hard_sigmoid": keras2_hard_sigmoid}
    with keras.saving.CustomObjectScope(scope):
        if _names_masks(config):
            return _called(config)
        return keras.saving.deserialize_keras_object(config, safe_mode=True)


def _translated(config: Any) -> Any:
    """A config in which every class is where Keras finds it."""
    if isinstance(config, list):
        return [_translated(item) for item in config]
    if not isinstance(config, dict):
        return config
    if config == KERAS2_HARD_SIGMOID:
        name = "keras2_hard_sigmoid"
        return {**config, "config": name, "registered_name": name, "module": "builtins"}
    changed = {key: _translated(value) for key, value in config.items()}
    if config.get("module") == "keras.ops":
        from keras.src import ops

        for module in (ops.numpy, ops.nn, ops.core, ops.math):
            if hasattr(module, str(config["class_name"])):
                changed["module"] = module.__name__
    return changed


def _names_masks(config: Any) -> bool:
    if isinstance(config, dict):
        return config.get("class_name") == "__keras_mask__" or any(
            _names_masks(value) for value in config.values()
        )
    return isinstance(config, list) and any(_names_masks(item) for item in config)


def _called(config: dict[str, Any]) -> Any:
    """A Functional model, its layers called here one by one."""
    keras = import_keras()
    body = config["config"]
    graph = read_structure(config).graph
    if graph is None:
        raise ValueError("a Functional model was expected")
    layers = {}
    for entry in body["layers"]:
        inner = {k: v for k, v in entry.items() if k != "inbound_nodes"}
        layers[entry["name"]] = keras.saving.deserialize_keras_object(inner)
    values: dict[TensorRef, Any] = {}

    def resolved(leaf: Any) -> Any:
        if isinstance(leaf, MaskOf):
            return getattr(values[leaf.tensor], "_keras_mask", None)
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
