"""A Keras config and its weights -> ModelSpec, or a refusal that names what is wrong.

Both ways into the verifier end here: `verify.files` brings the config and arrays of a
file, `verify.keras_bridge` those of a live model, so the two cannot read differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.layers import REGISTRY
from verify.spec import (
    Array,
    ModelFileError,
    ModelSpec,
    Shape,
    UnsupportedError,
    listing,
    plain,
)

KERAS_MODULES = frozenset({"keras", "keras.layers", "keras.models"})
POLICIES = ("float32", "float64")
INPUT_DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8")
SUPPORTED = f"Supported: {listing(['InputLayer', *REGISTRY])} in a Sequential model"


@dataclass(frozen=True)
class LayerEntry:
    """One layer of a config that has weights to come, in the order of the model."""

    name: str
    class_name: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class SequentialConfig:
    """The checked outer part of a Sequential config."""

    name: str
    input_shape: Shape
    input_dtype: str
    dtype: str
    entries: tuple[LayerEntry, ...]


def read_config(config: Any) -> SequentialConfig:
    """Check the outer part of a model config: its class, its input, its layers.

    Raises
    ------
    UnsupportedError
        Any class, dtype policy or module that is not supported, by name.
    ModelFileError
        A config that no Keras model has.
    """
    class_name, body = _class_and_config(config, "the model")
    if class_name != "Sequential" or _custom(config):
        raise UnsupportedError(
            f"Model '{plain(body.get('name', '?'))}' ({plain(class_name)}): this kind "
            f"of model is not supported. {SUPPORTED}"
        )
    layers = body.get("layers")
    if not isinstance(layers, list):
        raise ModelFileError("the model config holds no list of layers")
    parsed = []
    for k, entry in enumerate(layers):
        layer_class, layer_config = _class_and_config(entry, f"layer {k}")
        name = layer_config.get("name")
        if not isinstance(name, str) or not _is_text(name):
            raise ModelFileError(f"layer {k} of the config has no name")
        if layer_class not in (*REGISTRY, "InputLayer") or _custom(entry):
            custom = "custom " if _custom(entry) else ""
            raise UnsupportedError(
                f"Layer '{plain(name)}' ({plain(layer_class)}): this {custom}class is "
                f"not supported. {SUPPORTED}"
            )
        parsed.append(LayerEntry(name, layer_class, layer_config))
    shape, dtype = _input(body, parsed)
    entries = tuple(e for e in parsed if e.class_name != "InputLayer")
    if not entries:
        raise UnsupportedError(
            f"Model '{plain(body.get('name', '?'))}' (Sequential): it has no layers"
        )
    policies = {_policy(entry) for entry in entries}
    if len(policies) > 1:
        raise UnsupportedError(
            f"Model '{plain(body.get('name', '?'))}' (Sequential): layers of different "
            f"dtype policies are not supported. Received: {listing(sorted(policies))}"
        )
    return SequentialConfig(
        name=str(body.get("name", "sequential")),
        input_shape=shape,
        input_dtype=dtype or policies.copy().pop(),
        dtype=policies.pop(),
        entries=entries,
    )


def assemble(
    config: SequentialConfig,
    weights: Sequence[Sequence[Array]],
    *,
    source: str,
    keras_version: str,
) -> ModelSpec:
    """Join a checked config with the weights of each layer, in ``get_weights`` order.

    Raises
    ------
    UnsupportedError, ModelFileError
        See `verify.layers.LayerType.read`.
    """
    shape = config.input_shape
    layers = []
    for entry, arrays in zip(config.entries, weights, strict=True):
        typed = [array.astype(config.dtype, copy=False) for array in arrays]
        layer = REGISTRY[entry.class_name].read(entry.name, entry.config, typed, shape)
        shape = layer.output_shape
        layers.append(layer)
    return ModelSpec(
        name=config.name,
        layers=tuple(layers),
        input_shape=config.input_shape,
        input_dtype=config.input_dtype,
        dtype=config.dtype,
        source=source,
        keras_version=keras_version,
    )


def _class_and_config(entry: object, what: str) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, dict):
        class_name, config = entry.get("class_name"), entry.get("config")
        if isinstance(class_name, str) and isinstance(config, dict):
            return class_name, config
    raise ModelFileError(f"the config of {what} has no class_name or no config")


def _is_text(name: str) -> bool:
    """Whether a name can be written down: JSON allows half a surrogate pair."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _custom(entry: Mapping[str, Any]) -> bool:
    """Whether a serialised object belongs to somebody else's code."""
    if entry.get("registered_name") not in (None, entry["class_name"]):
        return True
    module = entry.get("module", "keras.layers")
    return not isinstance(module, str) or module not in KERAS_MODULES


def _policy(entry: LayerEntry) -> str:
    value = entry.config.get("dtype", "float32")
    if isinstance(value, dict):
        inner = value.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        if value.get("class_name") != "DTypePolicy":
            name = value.get("class_name")
    else:
        name = value
    if name not in POLICIES:
        raise UnsupportedError(
            f"Layer '{plain(entry.name)}' ({entry.class_name}): dtype policy "
            f"'{plain(name)}' is not supported. Supported: {listing(POLICIES)}"
        )
    return str(name)


def _input(
    body: Mapping[str, Any], entries: Sequence[LayerEntry]
) -> tuple[Shape, str | None]:
    """Shape and dtype of the input, from the InputLayer or the recorded build."""
    name = plain(body.get("name", "?"))
    inputs = [entry for entry in entries if entry.class_name == "InputLayer"]
    if inputs:
        if inputs != list(entries[:1]):
            raise ModelFileError(
                f"Model '{name}' (Sequential): expected one InputLayer, first. "
                f"Received: {len(inputs)}"
            )
        config = inputs[0].config
        for option in ("sparse", "ragged", "optional"):
            if config.get(option):
                raise UnsupportedError(
                    f"Layer '{plain(inputs[0].name)}' (InputLayer): option '{option}' "
                    f"expects false. Received: {option}={plain(config[option])}"
                )
        shape, dtype = config.get("batch_shape"), config.get("dtype")
        if isinstance(dtype, dict):
            inner = dtype.get("config")
            dtype = inner.get("name") if isinstance(inner, dict) else dtype
    else:
        shape, dtype = body.get("build_input_shape"), None
        if shape is None:
            raise UnsupportedError(
                f"Model '{name}' (Sequential): it has never been built, so it has no "
                "weights. Call it once, or begin it with keras.Input"
            )
    valid = isinstance(shape, (list, tuple)) and shape and all(
        size is None or (type(size) is int and size >= 1) for size in shape
    )  # fmt: skip
    if not valid:
        raise ModelFileError(
            f"Model '{name}' (Sequential): expected an input shape such as [null, 26]. "
            f"Received: {plain(shape, 60)}"
        )
    if dtype is not None and (not isinstance(dtype, str) or dtype not in INPUT_DTYPES):
        raise UnsupportedError(
            f"Model '{name}' (Sequential): inputs of dtype '{plain(dtype)}' are not "
            f"supported. Supported: {listing(INPUT_DTYPES)}"
        )
    return tuple(shape or ()), dtype
