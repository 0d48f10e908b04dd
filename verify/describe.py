"""Which columns are which gate, and where the parameter count comes from."""

from __future__ import annotations

from verify.layers import REGISTRY
from verify.network import Network
from verify.spec import plain, worded


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
        f"input {worded(spec.input_shape)} {spec.input_dtype}",
    ]
    for layer in spec:
        layer_type = REGISTRY[layer.class_name]
        lines += [
            "",
            f"{plain(layer.name)} ({layer.class_name})  "
            f"{worded(layer.input_shape)} -> {worded(layer.output_shape)}",
        ]
        if layer.weights:
            lines.append(
                f"  parameters : {layer_type.formula(layer)} = {layer.parameters:,}"
            )
        for key, value in layer.weights.items():
            lines.append(f"  {key:<17}{worded(value.shape)}")
        lines += [f"  {note}" for note in layer_type.notes(layer)]
    return "\n".join(lines)
