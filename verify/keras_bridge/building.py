"""Keras models built from files, or from what was read of a file or a model."""

from __future__ import annotations

import inspect
import re
from contextlib import AbstractContextManager
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from verify.data.file_kinds import HDF5, KERAS, file_kind
from verify.errors import KerasCannotRun, VerifyError, printable
from verify.forward.layers import REGISTRY
from verify.forward.layers.lora import LORA
from verify.forward.own_layers import own_layers
from verify.keras_bridge import private
from verify.keras_bridge.importing import backend, first_line, import_keras, quiet
from verify.keras_bridge.names import renamed_config, unfit_for_tensorflow
from verify.keras_bridge.reading import attribute_of, live_layer
from verify.keras_bridge.subclasses import class_of, options_of
from verify.model.dtypes import POLICIES
from verify.model.graph import MaskOf, TensorRef, flatten, map_structure
from verify.model.spec import GATES, LayerSpec, ModelSpec
from verify.model_files.base_classes import taken_classes
from verify.model_files.classes import holds_operations
from verify.model_files.config import read_architecture
from verify.model_files.functional import casts_to_another_float
from verify.model_files.keras2_config import KERAS2_HARD_SIGMOID, MERGING_CLASSES
from verify.model_files.masks_of_inputs import with_copies
from verify.model_files.vocabularies import holds_vocabulary

SUFFIXES = {KERAS: (".keras",), HDF5: (".h5", ".hdf5")}
"""What Keras wants the files of a kind to be called."""


def load_model(path: str, spec: ModelSpec) -> tuple[Any, str]:
    """Load a file that `verify.model_files.read` has accepted, as a live model.

    Returns
    -------
    model : keras.Model
    how : str
        Empty if Keras loaded the file itself; otherwise why the model was rebuilt from
        what `verify.model_files.read` read.
    """
    keras = import_keras()
    require_own_classes(spec)
    if spec.legacy and any(x.options.get("lora_rank") for _, x in spec.walk()):
        return rebuild(spec), "rebuilt with its LoRA in the kernels"
    if spec.notes:
        if taken := taken_classes(spec):
            return rebuild(spec), f"rebuilt, with {taken}"
        return rebuild(spec), "rebuilt: the file is older than the Keras that is here"
    if path.endswith((".weights.h5", ".weights.json")):
        return rebuild(spec), "rebuilt from the config and the weights"
    unfit = unfit_for_tensorflow(spec) if backend() == "tensorflow" else ""
    if unfit:
        return rebuild(spec), (
            f"rebuilt with other names: with '{printable(unfit)}' predict raises on "
            "TensorFlow"
        )
    _require_name_of_its_kind(path)
    try:
        with quiet(), keras.saving.CustomObjectScope(own_classes()):
            return keras.saving.load_model(path, compile=False, safe_mode=True), ""
    except Exception as error:  # Keras raises all kinds here
        if spec.legacy:
            return rebuild(spec), "rebuilt: Keras cannot load this .h5 file"
        if any(holds_vocabulary(layer) for _, layer in spec.walk()):
            return rebuild(spec), (
                "rebuilt: Keras cannot load the vocabulary that it saved "
                f"({first_line(error)})"
            )
        if spec.policies & {"float16", "bfloat16"}:
            # the initial value of a recurrent kernel is a QR decomposition, which some
            # backends have not in 16 bits
            return rebuild(spec), "rebuilt: Keras makes no initial weights in 16 bits"
        raise KerasCannotRun(
            f"{printable(path)}: Keras cannot load this file ({first_line(error)})"
        ) from None


def _require_name_of_its_kind(path: str) -> None:
    """Raise KerasCannotRun for a file that is called as another kind of file is.

    Keras takes the kind from the name.
    """
    file = Path(path)
    kind = file_kind(file)
    names = SUFFIXES.get(kind, ())
    if names and not path.endswith(names):
        raise KerasCannotRun(
            f"{printable(path)}: expected a name ending in {names[0]}, because Keras "
            f"goes by names, and the file is {kind.name}. "
            f"Received: '{printable(file.suffix, 40)}'; rename it"
        )


def own_classes() -> dict[str, type]:
    """Return the classes that users have given, by every name that configs may have.

    A name that is Keras's own stays Keras's.
    """
    keras = import_keras()
    found: dict[str, type] = {}
    for name, own in own_layers().items():
        kind = own.resolved()
        if kind is not None:
            registered = keras.saving.get_registered_name(kind)
            for alias in (name, name.rpartition(">")[2], kind.__name__, registered):
                if alias not in REGISTRY.built_in:
                    found[alias] = kind
    return found


def require_own_classes(spec: ModelSpec) -> None:
    """Raise KerasCannotRun if a layer is of a registered class that Keras has not."""
    own = own_layers()
    for _, layer in spec.walk():
        given = own.get(layer.class_name)
        if given is not None and given.resolved() is None:
            raise KerasCannotRun(
                f"{layer}: Keras needs this class, too. Give it as keras_class to "
                "verify.register (docs/own-layers.md)"
            )


def rebuild(spec: ModelSpec) -> Any:
    """Return a Keras model built from the config and the weights of a spec.

    This is for files that Keras 3 cannot load. Every layer is Keras's own; only which
    weight belongs to which layer is taken from the spec.
    """
    require_own_classes(spec)
    try:
        with quiet():
            model = build(renamed_config(_renamed(spec.config)))
            load_weights(model, spec)
            refresh_weight_copies(model)
    except VerifyError:
        raise
    except Exception as error:
        raise KerasCannotRun(
            f"{printable(spec.source)}: Keras cannot build this model "
            f"({first_line(error)})"
        ) from None
    return model


def _renamed(config: Any) -> Any:
    """Return the config of a whole model under a name that TensorFlow takes.

    Keras 2 ran a model called ``v2>64>``. Keras 3 makes a scope of the name, adds a
    number to it, and TensorFlow refuses the ``>_1`` in it. Nothing refers to the name
    of a whole model.
    """
    body = config.get("config") if isinstance(config, dict) else None
    if not isinstance(body, dict) or not isinstance(body.get("name"), str):
        return config
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", body["name"])
    return {**config, "config": {**body, "name": name}}


def load_weights(model: Any, spec: ModelSpec) -> None:
    """Set the weights of a live model to those of a spec, layer by layer."""
    for path, layer in spec.walk():
        if layer.weights:
            _load_layer_weights(live_layer(model, spec.root, path), layer)


def _load_layer_weights(live: Any, layer: LayerSpec) -> None:
    """Set the weights of one layer, group by group as Keras saves them."""
    arrays = list(layer.weights.values())
    for group in REGISTRY[layer.class_name].weight_groups:
        owner = attribute_of(live, group) if group else live
        if owner is None:
            continue
        store: dict[str, Any] = {}
        owner.save_own_variables(store)
        own, arrays = arrays[: len(store)], arrays[len(store) :]
        # a SpectralNormalization saves the kernel of its inner layer, too, in front
        own = [*list(store.values())[: len(store) - len(own)], *own]
        owner.load_own_variables({str(k): value for k, value in enumerate(own)})


def refresh_weight_copies(model: Any) -> None:
    """Renew the copies of weights that a Normalization computes with.

    Others that have a ``finalize_state`` would forget what they have: a Discretization
    its boundaries, which it finds in numbers that no config and no weight holds.
    """
    for layer in private.layers_inside(model):
        if hasattr(layer, "adapt_mean"):
            layer.finalize_state()


def layer_with_old_copies(model: Any) -> str:
    """Return the name of a Normalization that computes with numbers of before, or "".

    It computes with copies of its weights, which ``set_weights`` leaves as they were.
    """
    to_numpy = import_keras().ops.convert_to_numpy
    for layer in private.layers_inside(model):
        for name in ("mean", "variance"):
            held, weight = (getattr(layer, x, None) for x in (name, f"adapt_{name}"))
            if held is None or weight is None:
                continue
            held, weight = to_numpy(held).ravel(), to_numpy(weight).ravel()
            if not np.array_equal(weight.astype(held.dtype), held):
                return str(layer.name)
    return ""


TRAINING_SUFFIXES = ("_initializer", "_regularizer", "_constraint")
"""Endings of options that matter to training alone; a rebuilt layer does without."""

DROPPED_KEYS = (
    "batch_input_shape",
    "input_length",
    "build_config",
    "compile_config",
)
"""Other keys that a rebuilt model does without: those of Keras 2, known shapes, and how
it was trained."""


def build(config: Any) -> Any:
    """Return a model built from its config in Keras 3's form, with fresh weights.

    Beyond what Keras reads by itself, this reads what
    `verify.model_files.keras2_config` writes for Keras 2: its hard_sigmoid, how it
    merges masks, calls without shapes, and a mask as an argument.
    """
    keras = import_keras()
    config = _translate(config)
    with known_objects():
        if not _has_shapeless_calls(config):
            return _sequential(config) or keras.saving.deserialize_keras_object(
                config, safe_mode=True
            )
        for _ in range(MOST_TRIES - 1):
            try:
                return _build_by_calls(config)
            except ValueError as error:
                if "names should be unique" not in str(error):
                    raise
        return _build_by_calls(config)


def known_objects() -> AbstractContextManager[None]:
    """Return a context in which Keras finds what `build` puts into models.

    Layers of a built model can be made again from their configs inside it alone.
    """
    keras = import_keras()

    def keras2_hard_sigmoid(x: Any) -> Any:
        return keras.ops.clip(0.2 * x + 0.5, 0, 1)

    scope: dict[str, Any] = {"keras2_hard_sigmoid": keras2_hard_sigmoid}
    scope |= own_classes()
    for name in MERGING_CLASSES:
        scope[f"Keras2{name}"] = _keras2_merging(getattr(keras.layers, name))
    found: AbstractContextManager[None] = keras.saving.CustomObjectScope(scope)
    return found


def with_options(layer: Any, **options: Any) -> Any:
    """Return a layer like a live one, but for some options; its weights are not set."""
    with known_objects():
        return class_of(layer).from_config({**options_of(layer), **options})


def _sequential(config: Any) -> Any:
    """Return a Sequential that begins with an InputLayer; None for any other model.

    Keras itself calls all layers again for each one that it adds.
    """
    keras = import_keras()
    if (config.get("module"), config.get("class_name")) != ("keras", "Sequential"):
        return None
    body = config["config"]
    if not body["layers"] or body["layers"][0].get("class_name") != "InputLayer":
        return None
    deserialize = keras.saving.deserialize_keras_object
    layers = [deserialize(layer, safe_mode=True) for layer in body["layers"]]
    return keras.Sequential(layers, name=body["name"])


MOST_TRIES = 8
"""Times that a model is built. Keras joins masks by operations that it numbers, such as
``concatenate_2``, which may be the name of a layer; the next time it counts on."""


def _keras2_merging(kind: Any) -> Any:
    """Return a merging layer that treats masks as Keras 2 does.

    A step is masked if any input that has a mask is masked there, and the numbers do
    not depend on masks.
    """
    ops = import_keras().ops

    class Merging(kind):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return super().call([ops.copy(x) for x in inputs])  # copies have no mask

        def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
            if mask is None or all(m is None for m in mask):
                return None
            if "Concatenate" not in kind.__name__:
                known = [m for m in mask if m is not None]
                return reduce(ops.logical_and, known)
            full = [
                ops.ones_like(x, dtype="bool")
                if m is None
                else ops.logical_and(
                    ops.expand_dims(m, -1), ops.ones_like(x, dtype="bool")
                )
                for x, m in zip(inputs, mask, strict=True)
            ]
            # a name of its own, for the operation would be called as a layer may be
            name, numpy = f"{self.name}_masks", private.operation_modules()[0]
            return ops.all(numpy.Concatenate(self.axis, name=name)(full), axis=-1)

    Merging.__name__ = f"Keras2{kind.__name__}"
    return Merging


def _translate(config: Any) -> Any:
    """Return a config in which every class is where Keras finds it."""
    if isinstance(config, list):
        return [_translate(item) for item in config]
    if not isinstance(config, dict):
        return config
    if config == KERAS2_HARD_SIGMOID:
        return {**config, "registered_name": config["config"]}
    body = config.get("config")
    if isinstance(body, dict) and body.get("keras2_masks"):
        return config  # see _build_layer
    changed = {
        key: _translate(value)
        for key, value in config.items()
        if not key.endswith(TRAINING_SUFFIXES) and key not in DROPPED_KEYS
    }
    if config.get("class_name") in GATES and isinstance(changed.get("config"), dict):
        # instead of the default, a QR decomposition, for what these weights replace
        changed["config"]["recurrent_initializer"] = "zeros"
    if isinstance(changed.get("config"), dict):
        changed["config"] = _known_options(config, changed["config"])
    if config.get("module") == "keras.ops":
        for module in private.operation_modules():
            if hasattr(module, str(config["class_name"])):
                changed["module"] = module.__name__
    return changed


def _known_options(entry: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a layer without those that this Keras does not know.

    Left out are options that do not change the outputs, such as ``implementation``,
    which Keras 2 wrote for SimpleRNN. An option that does change them stays, so that
    Keras itself refuses what it cannot compute.
    """
    if holds_operations(entry.get("module")):
        return config  # an operation, which a layer may share its name with
    kind = REGISTRY.get(str(entry.get("class_name")))
    live = getattr(import_keras().layers, str(entry.get("class_name")), None)
    if kind is None or live is None:
        return config
    known = _arguments(live) | kind.options.keys()
    return {key: value for key, value in config.items() if key in known}


def _arguments(live: type) -> set[str]:
    """Return the names of the arguments that make an object of a class of Keras.

    The constructor of a layer hands what it does not name on to the class above.
    """
    found: set[str] = set()
    for base in live.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        arguments = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        found |= {a.name for a in arguments if a.kind is not a.VAR_KEYWORD}
        if not any(a.kind is a.VAR_KEYWORD for a in arguments):
            break
    return found


def _has_shapeless_calls(config: Any) -> bool:
    """Say whether calls were written by `verify.model_files.keras2_config`."""
    if isinstance(config, list):
        return any(map(_has_shapeless_calls, config))
    if not isinstance(config, dict):
        return False
    if config.get("class_name") in ("__keras_tensor__", "__keras_mask__"):
        return "shape" not in config["config"]
    return any(map(_has_shapeless_calls, config.values()))


def _build_layer(entry: dict[str, Any]) -> Any:
    """Return a layer of a config, without its calls."""
    inner = {k: v for k, v in entry.items() if k != "inbound_nodes"}
    if _has_shapeless_calls(inner):
        wrapped = inner["config"].get("layer")
        return _build_around(inner) if wrapped else _build_by_calls(entry)
    if inner["config"].get("keras2_masks"):
        name = f"Keras2{inner['class_name']}"
        kept = {k: v for k, v in inner["config"].items() if k != "keras2_masks"}
        inner |= {"class_name": name, "registered_name": name, "config": kept}
    keras = import_keras()
    made = keras.saving.deserialize_keras_object(inner)
    if not isinstance(made, keras.Layer):  # an operation, which names itself
        made.name = entry["name"]
    return made


def _build_around(entry: dict[str, Any]) -> Any:
    """Return a wrapper around a model whose layers are called here one by one."""
    keras = import_keras()
    options = {k: v for k, v in entry["config"].items() if k != "layer"}
    kind = getattr(keras.layers, entry["class_name"])
    return kind(_build_layer(entry["config"]["layer"]), **options)


def _build_by_calls(config: dict[str, Any]) -> Any:
    """Return a model whose layers are called here one by one."""
    keras = import_keras()
    body = config["config"]
    if config["class_name"] == "Sequential":  # some model inside it is ours
        return keras.Sequential(
            list(map(_build_layer, body["layers"])), name=body["name"]
        )
    graph = read_architecture(config).graph
    if graph is None:
        raise ValueError("a Functional model was expected")
    layers = {entry["name"]: _build_layer(entry) for entry in body["layers"]}
    values: dict[TensorRef, Any] = {}

    def resolved(leaf: Any) -> Any:
        if isinstance(leaf, MaskOf):
            return private.mask_of(values[leaf.tensor])
        return values[leaf] if isinstance(leaf, TensorRef) else leaf

    for ref in flatten(graph.inputs):
        values[ref] = layers[ref.layer].output
    for node in graph.nodes:
        args = map_structure(resolved, list(node.args))
        kwargs = map_structure(resolved, dict(node.kwargs))
        outputs = layers[node.layer](*args, **kwargs)
        for k, output in enumerate(keras.tree.flatten(outputs)):
            values[TensorRef(node.layer, node.index, k)] = output
    inputs = map_structure(resolved, graph.inputs)
    outputs = map_structure(resolved, graph.outputs)
    return keras.Model(inputs, outputs, name=body.get("name"))


def without_lora(config: Any) -> Any:
    """Return a model's config in which no layer has the matrices of LoRA."""
    if isinstance(config, list):
        return [without_lora(item) for item in config]
    if not isinstance(config, dict):
        return config
    return {k: without_lora(v) for k, v in config.items() if k not in LORA}


def with_dtype(config: Any, dtype: str) -> Any:
    """Return a model's config with every float dtype, policies included, replaced.

    A cast between float dtypes becomes a copy, which ends masks as the cast does; so
    does that of a model inside, which casts its inputs.
    """
    if isinstance(config, list):
        return [with_dtype(item, dtype) for item in config]
    if not isinstance(config, dict):
        return config
    if isinstance(config.get("layers"), list):
        layers = with_copies(config["layers"], POLICIES, _copy_operation)
        config = {**config, "layers": layers}
    changed = {key: with_dtype(value, dtype) for key, value in config.items()}
    found = config.get("dtype")
    if isinstance(found, dict) and isinstance(found.get("config"), dict):
        mode, name = (found["config"].get(key) for key in ("mode", "name"))
        if mode or name in POLICIES:  # a layer that makes ids has int64
            changed["dtype"] = f"{mode}_from_{dtype}" if mode else dtype
    elif isinstance(found, str) and found in POLICIES:
        changed["dtype"] = dtype
    if config.get("reverse_dtype") is not None:  # of a ReversibleEmbedding
        changed["reverse_dtype"] = dtype
    if casts_to_another_float(config):
        copy = _copy_operation(config["config"].get("name"))
        changed |= {key: value for key, value in copy.items() if key != "name"}
    return changed


def _copy_operation(name: str) -> dict[str, Any]:
    """Return the config of an operation of Keras that copies, without its calls."""
    module = next(m for m in private.operation_modules() if hasattr(m, "Copy"))
    return {
        "module": module.__name__,
        "class_name": "Copy",
        "registered_name": "Copy",
        "name": name,
        "config": {"name": name},
    }
