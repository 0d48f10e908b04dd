"""Which columns are which gate, and where the parameter count comes from."""

from __future__ import annotations

from verify.layers import REGISTRY
from verify.network import Network
from verify.spec import Shape, plain


def describe(net: Network) -> str:
    """What each layer holds and computes, as text.

    Parameters
    ----------
    net : Network
        From `verify.load`.

    Returns
    -------
    str
        For each layer: shapes, parameter count as a formula with its numbers filled in,
        every weight with its shape, the columns of each gate, the equations.
    """
    spec = net.spec
    made = "" if spec.keras_version == "unknown" else f", Keras {spec.keras_version}"
    lines = [
        f"{plain(spec.source)}: Sequential '{plain(spec.name)}', "
        f"{len(spec.layers)} layers, {spec.parameters:,} parameters{made}",
        f"input {shape(spec.input_shape)} {spec.input_dtype}",
    ]
    for layer in spec:
        layer_type = REGISTRY[layer.class_name]
        lines += [
            "",
            f"{plain(layer.name)} ({layer.class_name})  "
            f"{shape(layer.input_shape)} -> {shape(layer.output_shape)}",
        ]
        if layer.weights:
            lines.append(
                f"  parameters : {layer_type.formula(layer)} = {layer.parameters:,}"
            )
        for key, value in layer.weights.items():
            lines.append(f"  {key:<17}{shape(value.shape)}")
        lines += [f"  {note}" for note in layer_type.notes(layer)]
    return "\n".join(lines)


def shape(sizes: Shape) -> str:
    """``(batch, 26, 32)``: with words for axes the model leaves open."""
    words = [
        str(size) if size is not None else "batch" if axis == 0 else "any"
        for axis, size in enumerate(sizes)
    ]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"
