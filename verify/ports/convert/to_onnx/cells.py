"""Write one step of each recurrent cell, for the body of a Scan.

The product of the inputs with the kernel needs no state, so `projected` computes it for
all steps before the loop; `stepped` has what is left.
"""

from __future__ import annotations

from verify.errors import UnsupportedError
from verify.forward.layers.recurrent_cells import cell_type
from verify.model.arrays import Array
from verify.model.dtypes import HALF_DTYPES, POLICIES
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.activations import activated
from verify.ports.convert.to_onnx.values import Value

States = tuple[Value, ...]


def projected(cell: LayerSpec, x: Value) -> Value:
    """Return ``x @ kernel + bias`` of every step that `x` holds.

    Parameters
    ----------
    x : (batch, ..., features)

    Returns
    -------
    (batch, ..., gates * units)

    Raises
    ------
    UnsupportedError
        It is a registered cell.
    """
    if cell.class_name == "StackedRNNCells":
        return projected(next(iter(cell.sublayers.values())), x)
    if cell.class_name.removesuffix("Cell") not in STEPS:
        raise UnsupportedError(f"{cell}: it has no form in ONNX that is written")
    kernel = x.graph.constant(cell.weights["kernel"], "kernel")
    product = _half(cell, x).cast(kernel.dtype) @ kernel
    bias = cell.weights.get("bias")
    if bias is None:
        return product
    return product + x.graph.constant(bias[0] if bias.ndim == 2 else bias, "bias")


def stepped(cell: LayerSpec, a: Value, states: States) -> tuple[Value, States]:
    """Return the output and the states after one step.

    Parameters
    ----------
    cell : LayerSpec
    a : (batch, gates * units)
        From `projected`.
    states : tuple of (batch, units)
    """
    if cell.class_name == "StackedRNNCells":
        return _stacked(cell, a, states)
    step = STEPS[cell.class_name.removesuffix("Cell")]
    output, after = step(cell, a, states)
    return _half(cell, output), tuple(_half(cell, state) for state in after)


def _half(cell: LayerSpec, value: Value) -> Value:
    """Round to 16 bits, in a cell of 16 bits."""
    compute = POLICIES[cell.policy].compute
    return value.rounded(compute) if compute in HALF_DTYPES else value


def _stacked(cell: LayerSpec, a: Value, states: States) -> tuple[Value, States]:
    after: States = ()
    output: Value | None = None
    for inner in cell.sublayers.values():
        count = len(cell_type(inner).names(inner))
        own, states = states[:count], states[count:]
        inputs = a if output is None else projected(inner, output)
        output, new = stepped(inner, inputs, own)
        after += new
    assert output is not None
    return _half(cell, output), tuple(_half(cell, state) for state in after)


def _recurrent(cell: LayerSpec, h: Value) -> Value:
    return h @ h.graph.constant(cell.weights["recurrent_kernel"], "recurrent_kernel")


def _simple(cell: LayerSpec, a: Value, states: States) -> tuple[Value, States]:
    h = activated(cell, a + _recurrent(cell, states[0]))
    return h, (h,)


def _lstm(cell: LayerSpec, a: Value, states: States) -> tuple[Value, States]:
    h, c = states
    return lstm_gates(cell, a + _recurrent(cell, h), c)


def lstm_gates(
    cell: LayerSpec, z: Value, c: Value, axis: int = -1
) -> tuple[Value, States]:
    """Return the output and states of an LSTM from its pre-activations.

    Parameters
    ----------
    z : (batch, ..., 4 * units), blocks i, f, c, o along `axis`
    c : (batch, ..., units)
    """
    units = c.shape[axis]
    assert units is not None
    z_i, z_f, z_c, z_o = z.graph.split(z, [units] * 4, axis)
    i, f, o = (
        activated(cell, part, "recurrent_activation") for part in (z_i, z_f, z_o)
    )
    c = f * c + i * activated(cell, z_c)
    h = o * activated(cell, c)
    return h, (h, c)


def _gru(cell: LayerSpec, a: Value, states: States) -> tuple[Value, States]:
    (h,) = states
    graph, units = a.graph, cell.options["units"]
    recurrent: Array = cell.weights["recurrent_kernel"]
    bias = cell.weights.get("bias")
    after = cell.options["reset_after"]
    a_z, a_r, a_h = graph.split(a, [units] * 3, -1)
    kernel = recurrent if after else recurrent[:, : 2 * units]
    s = h @ graph.constant(kernel, "recurrent_kernel")
    if after and bias is not None:
        s = s + graph.constant(bias[1], "recurrent_bias")
    s_z, s_r, *s_h = graph.split(s, [units] * (3 if after else 2), -1)
    z = activated(cell, a_z + s_z, "recurrent_activation")
    r = activated(cell, a_r + s_r, "recurrent_activation")
    if after:
        inner = r * s_h[0]
    else:
        inner = (r * h) @ graph.constant(recurrent[:, 2 * units :], "recurrent_kernel")
    h_hat = activated(cell, a_h + inner)
    h = z * h + (1 - z) * h_hat
    return h, (h,)


STEPS = {"SimpleRNN": _simple, "LSTM": _lstm, "GRU": _gru}
"""Class name of a layer, or of its cell without ``Cell`` -> what writes a step."""
