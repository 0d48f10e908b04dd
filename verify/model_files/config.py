"""Turn a Keras config and its weights into a ModelSpec, or refuse it by name.

`verify.model_files.read` calls this module with the config and arrays of a file, and
`verify.keras_bridge` with those of a live model, so the two are read by the same rules.
The architecture is read and checked first, without weights, and then the weights are
added. Last, the model is evaluated on a few zeros, which gives the shapes of all layers
and finds weights that do not fit together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from verify.errors import (
    ModelFileError,
    UnsupportedError,
    VerifyError,
    join_and,
    printable,
)
from verify.forward.layers import ALIASES, REGISTRY
from verify.forward.layers.base import AnyShape
from verify.forward.layers.lookups import Vocabulary
from verify.forward.layers.refused_operations import COMPLEX
from verify.model.arrays import Array
from verify.model.dtypes import COMPLEX_DTYPES, POLICIES, dtype_of, is_float
from verify.model.graph import TensorRef, flatten
from verify.model.spec import UNREAD, LayerSpec, ModelSpec
from verify.model_files.classes import (
    is_custom,
    is_operation,
    model_class,
    own_class,
    registry_key,
    unread_layer,
)
from verify.model_files.cuts import Cut, cut
from verify.model_files.functional import (
    as_called,
    casts_to_another_float,
    read_graph,
    with_readable_calls,
)
from verify.model_files.hdf5 import snake_case
from verify.model_files.keras2_operations import OPERATION_CLASSES, REASON
from verify.model_files.masks_of_inputs import with_masks_of_tensors
from verify.model_files.opening import is_whole
from verify.model_files.shapes import with_shapes
from verify.model_files.vocabularies import with_vocabularies

MODEL_CLASSES = ("Sequential", "Functional")
QUANTIZATION_MODES = ("int8",)
MAX_LAYER_DEPTH = 40
"""Greatest depth of layers within layers. No real model comes near it, and a config of
any depth would exhaust Python's stack."""


class WeightsDisagree(ModelFileError):
    """Report weights that are not those of the config.

    Attributes
    ----------
    expected : tuple of tuples
        The shapes that the config asks for; None stands for a size that depends on the
        input.
    """

    def __init__(
        self, message: object, expected: tuple[tuple[int | None, ...], ...] = ()
    ) -> None:
        super().__init__(message)
        self.expected = expected


class WeightSource(Protocol):
    """Find the arrays of one layer, in a file or in a live model."""

    def vocabulary(self) -> tuple[Sequence[Any] | None, Array | None]:
        """Return the vocabulary of the layer and its weights of tf_idf, if it has them.

        Tokens may be whole numbers written as text.
        """

    def own(self, group: str) -> list[Array]:
        """Return the arrays of the layer or of one of its groups, in saving order."""

    def everything(self) -> dict[str, Array]:
        """Return all arrays of the layer and of those inside it, by name."""

    def inside(
        self, container: str, key: str, class_name: str, number: int
    ) -> WeightSource:
        """Find the arrays of a sublayer.

        Parameters
        ----------
        container : str
            Keras's attribute for a list of layers; empty if the sublayer has an
            attribute of its own.
        key : str
            Name of the sublayer in `verify.model.spec.LayerSpec.sublayers`.
        class_name : str
        number : int
            Number of layers of that class before this one in the container.
        """


def read_model(
    config: Any,
    weights: WeightSource,
    *,
    source: str,
    keras_version: str,
    notes: Sequence[str] = (),
    legacy: bool = False,
    partial: bool = False,
) -> ModelSpec:
    """Read a model from its config, in Keras 3's form, and its weights.

    With `partial`, layers that cannot be read are marked; see `read_architecture`.

    Raises
    ------
    UnsupportedError
        A class, an option, a dtype policy or a module is not supported; the message
        names it.
    ModelFileError
        No Keras model has such a config, or the weights contradict it.
    """
    root = read_architecture(config, partial=partial)
    root = with_weights(root, weights)
    config = with_vocabularies(config, root)
    unread = any(layer.unread for _, layer in root.walk())
    return ModelSpec(
        root=_with_known_shapes(root, config) if unread else with_shapes(root),
        source=source,
        keras_version=keras_version,
        notes=tuple(notes),
        config=config,
        legacy=legacy,
    )


def read_architecture(config: Any, *, partial: bool = False) -> LayerSpec:
    """Read and check the layers, options and graph of a model, without weights.

    Parameters
    ----------
    config
    partial : bool
        Whether a layer that is not supported is marked as unread (`LayerSpec.unread`)
        instead of refused.
    """
    class_name, body = _class_and_config(config, "the model")
    if class_name not in MODEL_CLASSES or is_custom(config):
        own = is_custom(config)
        # a class that writes no config of its own has no name in the file
        name = f" '{printable(body['name'])}'" if "name" in body else ""
        why = (
            ". How its layers are called is Python code, which a file does not hold: "
            "build the same layers as a Functional model and set its weights"
        )
        base = model_class(body)
        if own and isinstance(body.get("layers"), list):
            why = (
                ". Where its class leaves to Keras how its layers are called, say so: "
                f"--as-base-class {printable(class_name)}={base}"
            )
        raise UnsupportedError(
            f"Model{name} ({printable(class_name)}): this {'custom ' * own}kind of "
            f"model is not supported. Supported: {join_and(MODEL_CLASSES)} models"
            f"{why * own}"
        )
    return _read_layer(config, "the model", 0, partial)


def _with_known_shapes(root: LayerSpec, config: Any) -> LayerSpec:
    """Return a model of which not all can be read, with the shapes that are known."""
    try:
        remains = cut(root, config, certain=True)
        shaped = without_unread(root, remains)
    except VerifyError:
        return root
    model = remains.opened
    inside = {k: shaped.sublayers.get(k, x) for k, x in model.layers.items()}
    outputs = {
        x.ref: x.layer.options["batch_shape"] for x in remains.stand_ins.values()
    }

    def known(ref: TensorRef) -> Any:
        found = outputs.get(ref, inside[ref.layer].output_shape)
        if inside[ref.layer].class_name == "InputLayer":
            return inside[ref.layer].options["batch_shape"]
        return found[ref.tensor] if isinstance(found, list) else found

    for node in model.nodes:
        layer = inside[node.layer]
        given = [x for x in flatten(list(node.args)) if isinstance(x, TensorRef)]
        shapes = [known(ref) for ref in given]
        if not is_whole(layer) and layer.input_shape is None:
            only = shapes[0] if len(shapes) == 1 else shapes
            inside[node.layer] = replace(
                layer,
                input_shape=None if None in shapes else only,
                output_shape=outputs.get(TensorRef(node.layer, node.index, 0)),
            )
    for name, layer in inside.items():
        path = model.paths[name]
        root = root.replaced(path, replace(layer, name=root.at(path).name))
    return root


def remaining(spec: ModelSpec) -> ModelSpec | None:
    """Return what remains of a model without its unread layers, if that is known.

    It has no layer whose shapes would have to be guessed.
    """
    try:
        remains = cut(spec.root, spec.config, certain=True)
        root = without_unread(spec.root, remains)
    except VerifyError:
        return None
    return replace(spec, root=root, config=remains.config)


def without_unread(root: LayerSpec, remains: Cut) -> LayerSpec:
    """Return what remains of a model as a model, with the shapes of its layers."""
    made = read_architecture(remains.config)
    layers = {k: remains.layers.get(k, x) for k, x in made.sublayers.items()}
    return with_shapes(replace(made, sublayers=layers, policy=root.policy))


def require_entries(entry: Any, what: str = "the model", depth: int = 0) -> None:
    """Raise ModelFileError unless every layer has a class and a config.

    A name must be text, if there is one. This holds for configs of all versions of
    Keras, so it is checked before an old config is upgraded.
    """
    if depth > MAX_LAYER_DEPTH:
        raise ModelFileError(f"layers are nested more than {MAX_LAYER_DEPTH} deep")
    config = entry.get("config") if isinstance(entry, dict) else None
    layers = config.get("layers") if isinstance(config, dict) else config
    named = isinstance(entry, dict) and isinstance(entry.get("class_name"), str)
    if not named or not isinstance(config, (dict, list)):
        raise ModelFileError(f"the config of {what} has no class_name or no config")
    name = entry.get("name", config.get("name") if isinstance(config, dict) else None)
    if not isinstance(name, (str, type(None))):
        raise ModelFileError(f"{what} of the config has no name")
    for k, layer in enumerate(layers if isinstance(layers, list) else ()):
        require_entries(layer, f"layer {k}", depth + 1)


def _read_layer(entry: Any, what: str, depth: int, partial: bool) -> LayerSpec:
    """Read a layer and those inside it.

    Only layers of models are marked as unread, also of one inside TimeDistributed: a
    wrapper around a layer that cannot be read cannot be read either.
    """
    if depth > MAX_LAYER_DEPTH:
        raise ModelFileError(f"layers are nested more than {MAX_LAYER_DEPTH} deep")
    class_name, config = _class_and_config(entry, what)
    if not is_operation(entry) and not is_custom(entry):
        class_name = ALIASES.get(class_name, class_name)
    name = config.get("name", entry.get("name"))
    if name is None and (not depth or class_name not in REGISTRY):
        name = class_name  # a whole model: its name matters to no one
    if not isinstance(name, str) or not name or not _is_encodable(name):
        raise ModelFileError(f"{what} of the config has no name")
    where = f"Layer '{printable(name)}' ({printable(class_name)})"
    if class_name in OPERATION_CLASSES and isinstance(config.get(REASON), str):
        raise UnsupportedError(f"{where}: {printable(config[REASON], 400)}")
    if isinstance(entry.get(UNREAD), str):
        raise UnsupportedError(f"{where}: {entry[UNREAD]}")  # see `upgrade_config`
    key = registry_key(entry, class_name, where)
    kind = REGISTRY[key]
    policy, quantization = _policy(where, config)
    if quantization is not None and quantization not in _quantization_modes(kind):
        raise UnsupportedError(
            f"{where}: quantization mode '{printable(quantization)}' is not supported. "
            f"Supported: {join_and(_quantization_modes(kind)) or 'none for this layer'}"
        )
    trainable = bool(config.get("trainable", True))
    if class_name in MODEL_CLASSES:
        model = _read_graph_model(
            name, class_name, config, policy, trainable, depth, partial
        )
        return replace(model, own_class=own_class(entry, key))
    if quantization is not None:
        config = {**config, "quantization_mode": quantization}
    options = kind.read_options(where, config)
    inside = {
        child: _read_layer(
            inner, f"'{child}' of layer '{printable(name)}'", depth + 1, partial
        )
        for child, inner in kind.children(config).items()
    }
    layer = LayerSpec(
        name=name,
        class_name=key,
        options=options,
        sublayers=inside,
        policy=policy,
        trainable=trainable,
        own_class=own_class(entry, key),
    )
    kind.check(where, layer)
    return layer


def _read_graph_model(
    name: str,
    class_name: str,
    config: Mapping[str, Any],
    policy: str,
    trainable: bool,
    depth: int,
    partial: bool,
) -> LayerSpec:
    entries = config.get("layers")
    where = f"Model '{printable(name)}' ({class_name})"
    if not isinstance(entries, list):
        raise ModelFileError(f"{where}: the config holds no list of layers")
    layers: dict[str, LayerSpec] = {}
    entries = with_masks_of_tensors(entries)
    if partial:
        entries = [with_readable_calls(where, entry) for entry in entries]
    config = {**config, "layers": entries}
    for k, entry in enumerate(entries):
        try:
            layer = _read_layer(entry, f"layer {k}", depth + 1, partial)
        except UnsupportedError as error:
            if not partial:
                raise
            layer = unread_layer(entry, error, layers)
        if casts_to_another_float(entry):
            layer = layer.with_options(ends_mask=True)
        if isinstance(entry.get("name"), str):  # a graph refers to layers by this one
            layer = replace(layer, name=entry["name"])
        if layer.name in layers:
            raise ModelFileError(
                f"{where}: expected layer names to be unique. "
                f"Received twice: {layer.name}"
            )
        layers[layer.name] = as_called(layer)
    if class_name == "Sequential":
        layers = _with_input(where, config, layers)
    graph = read_graph(where, class_name, config, layers)
    model = LayerSpec(
        name=name,
        class_name=class_name,
        options={},
        sublayers=layers,
        policy=policy,
        trainable=trainable,
        graph=graph,
    )
    REGISTRY[class_name].check(where, model)
    return model


def _with_input(
    where: str, config: Mapping[str, Any], layers: dict[str, LayerSpec]
) -> dict[str, LayerSpec]:
    """Add an InputLayer to a Sequential model without one.

    Its shape is that with which the model was built, its dtype that of the first layer.
    """
    names = list(layers)
    inputs = [name for name in names if layers[name].class_name == "InputLayer"]
    if inputs:
        if inputs != names[:1]:
            raise ModelFileError(
                f"{where}: expected one InputLayer, first. Received: {len(inputs)}"
            )
        return layers
    shape = config.get("build_input_shape")
    if shape is None:
        raise UnsupportedError(
            f"{where}: it has never been built, so it has no weights. Call it once, or "
            "begin it with keras.Input"
        )
    if not names:
        raise UnsupportedError(f"{where}: it has no layers")
    name = "input_layer"
    while name in layers:
        name += "_"
    options = REGISTRY["InputLayer"].read_options(
        where,
        {
            "batch_shape": shape,
            "dtype": POLICIES[layers[names[0]].policy].compute,
        },
    )
    return {name: LayerSpec(name, "InputLayer", options)} | layers


def with_weights(layer: LayerSpec, weights: WeightSource) -> LayerSpec:
    """Return a layer with its weights and those of every layer inside it.

    Raises
    ------
    ModelFileError
        The number, shapes or dtypes of the weights contradict the config.
    """
    if layer.unread:
        return replace(layer, weights=weights.everything())
    kind = REGISTRY[layer.class_name]
    expected = kind.weight_shapes(layer.options)
    arrays: list[Array] = []
    if expected or not layer.class_name.startswith("ops."):
        arrays = [array for group in kind.weight_groups for array in weights.own(group)]
    arrays = kind.used_arrays(arrays)
    if isinstance(kind, Vocabulary):
        layer = kind.with_vocabulary(layer, *weights.vocabulary())
    small = sorted({a.dtype.name for a in arrays if a.dtype.name in ("int8", "uint8")})
    if small and not layer.options.get("quantization_mode"):
        raise UnsupportedError(
            f"{layer}: it is quantised (weights of {join_and(small)}) and its config "
            "does not say so, which Keras cannot load either. Supported: int8 in "
            "Dense, EinsumDense and Embedding"
        )
    if not shapes_fit(arrays, tuple(expected.values())):
        wanted = ", ".join(f"{k} {_shape_pattern(s)}" for k, s in expected.items())
        found = ", ".join(str(array.shape) for array in arrays)
        raise WeightsDisagree(
            f"{layer}: config and weights disagree. Expected {wanted or 'no weights'}. "
            f"Received: {found or 'no weights'}",
            tuple(expected.values()),
        )
    variable = dtype_of(POLICIES[layer.policy].variable)
    own = {
        key: array.astype(variable, copy=False) if is_float(array) else array
        for key, array in zip(expected, arrays, strict=True)
    }
    inside = {
        key: with_weights(layer.sublayers[key], place)
        for key, place in _places(layer, weights)
    }
    return replace(layer, weights=own, sublayers=inside)


def _places(
    layer: LayerSpec, weights: WeightSource
) -> Iterator[tuple[str, WeightSource]]:
    """Yield the name of every sublayer, and where its weights are."""
    kind = REGISTRY[layer.class_name]
    seen: Counter[str] = Counter()
    for key, child in layer.sublayers.items():
        place = weights
        if not child.class_name.startswith("ops."):
            name = REGISTRY[child.class_name].python_name or child.saved_class
            group = snake_case(name)  # classes of two packages may share one
            place = weights.inside(kind.container, key, name, seen[group])
            seen[group] += 1
        yield key, place


def all_places(
    layer: LayerSpec, weights: WeightSource
) -> Iterator[tuple[LayerSpec, WeightSource]]:
    """Yield a layer and where its weights are, and likewise every layer inside it."""
    yield layer, weights
    for key, place in _places(layer, weights):
        yield from all_places(layer.sublayers[key], place)


def shapes_fit(
    arrays: Sequence[Array], expected: Sequence[tuple[int | None, ...]]
) -> bool:
    """Say whether arrays have the shapes of some weights; None stands for any size."""
    return len(arrays) == len(expected) and all(
        _shape_fits(array.shape, shape)
        for array, shape in zip(arrays, expected, strict=True)
    )


def _shape_fits(found: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    if isinstance(expected, AnyShape):
        return True
    return len(found) == len(expected) and all(
        want is None or have == want for have, want in zip(found, expected, strict=True)
    )


def _shape_pattern(shape: tuple[int | None, ...]) -> str:
    if isinstance(shape, AnyShape):
        return "(...)"
    words = ["any" if size is None else str(size) for size in shape]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def _class_and_config(entry: object, what: str) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, dict):
        class_name, config = entry.get("class_name"), entry.get("config")
        if isinstance(class_name, str) and isinstance(config, dict):
            return class_name, config
    raise ModelFileError(f"the config of {what} has no class_name or no config")


def _is_encodable(name: str) -> bool:
    """Return whether a name can be written as UTF-8.

    JSON allows half a surrogate pair, which cannot.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _policy(where: str, config: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the name of a dtype policy, and the quantisation mode or None."""
    value = config.get("dtype", "float32")
    mode = None
    name: Any = value
    if isinstance(value, dict):
        inner = value.get("config")
        inner = inner if isinstance(inner, dict) else {}
        if value.get("class_name") == "QuantizedDTypePolicy":
            mode, name = str(inner.get("mode")), inner.get("source_name")
        elif value.get("class_name") in ("DTypePolicy", "Policy", "FloatDTypePolicy"):
            name = inner.get("name")
        else:
            name = value.get("class_name")
    elif isinstance(value, str) and "_from_" in value:
        mode, name = value.split("_from_", 1)
    if name is None:
        name = "float32"
    if not isinstance(name, str) or name not in POLICIES:
        if name in non_policy_dtypes() and mode is None:
            return "float32", None  # an InputLayer or a Cast of whole numbers
        if name in COMPLEX_DTYPES:
            raise UnsupportedError(f"{where}: {COMPLEX}")
        raise UnsupportedError(
            f"{where}: dtype policy '{printable(name)}' is not supported. "
            f"Supported: {join_and([*POLICIES, 'that of quantize to int8'])}"
        )
    return str(name), mode


def non_policy_dtypes() -> Iterator[str]:
    """Yield the dtypes of inputs and casts that are not policies."""
    yield from ("bool", "int8", "int16", "int32", "int64")
    yield from ("uint8", "uint16", "uint32", "uint64", "string")


def _quantization_modes(kind: Any) -> tuple[str, ...]:
    return QUANTIZATION_MODES if "quantization_mode" in kind.options else ()
