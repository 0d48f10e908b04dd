"""Write layers of Keras 1 as layers and operations of a Functional model.

A Merge is an Add, a Dot and so on; Highway and MaxoutDense are Dense layers and some
raw operations. Each function returns the entries of a config that compute one call, the
last of which has the layer's name.

Source: keras 1.2.2, keras/engine/topology.py (Merge) and keras/layers/core.py.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from verify.errors import ModelFileError, UnsupportedError, printable
from verify.model_files.keras1_names import MERGES


def merge(
    where: str, name: str, config: Mapping[str, Any], inputs: list[Any], call: int
) -> list[dict[str, Any]]:
    """Return the layer that a Merge is, or the operations of its mode cos."""
    mode = config.get("mode", "sum")
    raw = config.get("mode_type", "raw") == "raw" and config.get("output_mask") is None
    if not raw or (mode not in MERGES and mode != "cos"):
        raise UnsupportedError(
            f"{where}: a mode that is a function is not supported: its code is not run"
        )
    axes = config.get("dot_axes", -1)
    if isinstance(axes, list) and any(isinstance(axis, list) for axis in axes):
        axes = [axis[0] if isinstance(axis, list) else axis for axis in axes]
    if mode != "cos":
        options: dict[str, Any] = {"name": name}
        if mode == "concat":
            options["axis"] = config.get("concat_axis", -1)
        if mode == "dot":
            options["axes"] = axes
        return [_layer(MERGES[mode], options, [inputs])]
    first, second = inputs
    made = [
        _layer("Dot", {"name": f"{name}.{key}", "axes": axes}, [[a, b]])
        for key, (a, b) in {
            "dot": (first, second),
            "first": (first, first),
            "second": (second, second),
        }.items()
    ]
    dot, *squares = [tensor(entry["name"], call) for entry in made]
    made.append(_operation("Multiply", f"{name}.squares", squares))
    made.append(_operation("Sqrt", f"{name}.norm", [tensor(made[-1]["name"], call)]))
    norm = tensor(made[-1]["name"], call)
    made.append(_operation("Maximum", f"{name}.least", [norm, 1e-7]))
    made.append(
        _operation("Divide", f"{name}.cos", [dot, tensor(made[-1]["name"], call)])
    )
    cos = tensor(made[-1]["name"], call)
    return [*made, _operation("ExpandDims", name, [cos], axis=1)]


def highway(
    name: str, config: Mapping[str, Any], inputs: list[Any], call: int
) -> list[dict[str, Any]]:
    """Return two Dense layers and the operations of a Highway."""
    (x,) = inputs
    size = config.get("input_dim")
    bias = bool(config.get("bias", True))
    if type(size) is not int:
        raise UnsupportedError(
            f"Layer '{printable(name)}' (Highway, Keras 1): the file lacks input_dim"
        )
    dense = {"units": size, "use_bias": bias}
    activation = config.get("activation", "linear")
    value = {"name": f"{name}.value", **dense, "activation": activation}
    carry = {"name": f"{name}.carry", **dense, "activation": "sigmoid"}
    t, h = tensor(f"{name}.carry", call), tensor(f"{name}.value", call)
    rest = tensor(f"{name}.rest", call)
    kept, new = tensor(f"{name}.kept", call), tensor(f"{name}.new", call)
    return [
        _layer("Dense", value, [x]),
        _layer("Dense", carry, [x]),
        _operation("Multiply", f"{name}.new", [h, t]),
        _operation("Subtract", f"{name}.rest", [1.0, t]),
        _operation("Multiply", f"{name}.kept", [rest, x]),
        _operation("Add", name, [new, kept]),
    ]


def maxout(
    name: str, config: Mapping[str, Any], inputs: list[Any], call: int
) -> list[dict[str, Any]]:
    """Return the Dense layer of a MaxoutDense and the greatest of its parts."""
    count, size = config.get("nb_feature", 4), config.get("output_dim")
    if type(count) is not int or type(size) is not int:
        raise UnsupportedError(
            f"Layer '{printable(name)}' (MaxoutDense, Keras 1): the file lacks a size"
        )
    dense = {
        "name": f"{name}.dense",
        "units": count * size,
        "use_bias": bool(config.get("bias", True)),
        "activation": "linear",
    }
    parts = {"name": f"{name}.parts", "target_shape": [count, size]}
    return [
        _layer("Dense", dense, inputs),
        _layer("Reshape", parts, [tensor(f"{name}.dense", call)]),
        _operation("Max", name, [tensor(f"{name}.parts", call)], axis=1),
    ]


def _layer(
    class_name: str, config: Mapping[str, Any], args: list[Any]
) -> dict[str, Any]:
    return {
        "class_name": class_name,
        "config": {**config, "trainable": True},
        "name": config["name"],
        "inbound_nodes": [{"args": args, "kwargs": {}}],
    }


def _operation(
    class_name: str, name: str, args: list[Any], **options: Any
) -> dict[str, Any]:
    return {
        "module": "keras.ops",
        "registered_name": None,
        "class_name": class_name,
        "config": options,
        "name": name,
        "inbound_nodes": [{"args": args, "kwargs": {}}],
    }


def joined(
    made: list[dict[str, Any]], more: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Add the calls of some layers to those of the same layers."""
    if not made:
        return more
    return [
        {**a, "inbound_nodes": [*a["inbound_nodes"], *b["inbound_nodes"]]}
        for a, b in zip(made, more, strict=True)
    ]


def tensor(name: str, call: int = 0) -> dict[str, Any]:
    """Return the output of a call of a layer, as Keras 3 writes it."""
    place = [name, call, 0]
    return {"class_name": "__keras_tensor__", "config": {"keras_history": place}}


def modern_call(place: Any, models: Container[str]) -> dict[str, Any]:
    """Return the output of a call that Keras 1 wrote, as Keras 3 writes it.

    Keras 1 counts the calls of `models` from 1.
    """
    if not isinstance(place, list) or len(place) < 3 or type(place[1]) is not int:
        raise ModelFileError(f"a call cannot be read: {printable(place, 60)}")
    name, call, number = place[:3]
    history = [name, call - (name in models), number]
    return {"class_name": "__keras_tensor__", "config": {"keras_history": history}}


def input_layer(name: str, shape: Any, dtype: Any) -> dict[str, Any]:
    """Return an InputLayer."""
    config = {"name": name, "batch_input_shape": shape, "dtype": dtype}
    return {"class_name": "InputLayer", "config": config}
