"""Translate a model of the recipes to ONNX, with ONNX's own recurrent operators.

::

    Transpose, Gather          ids (batch, time) -> (time, batch, size)
    RNN, LSTM or GRU           one for each layer; all but the last return every step
    MatMul, Add, Softmax       the Dense layer

Time is the first axis of these operators. ONNX stores an LSTM's gates in the order
i, o, f, c, and weights as (gates * units, features). A GRU's gates are z, r, h in both;
``linear_before_reset`` is Keras's ``reset_after``. The bias of the input comes first,
then that of the recurrent side, which Keras's SimpleRNN and LSTM do not have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.turns import BenchmarkError
from verify.model.arrays import Array
from verify.model.spec import LayerSpec, ModelSpec

OPERATORS = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}
OPSET, IR_VERSION = 17, 10


def onnx_model(spec: ModelSpec) -> bytes:
    """Return a model as the bytes of an ONNX file.

    Parameters
    ----------
    spec : ModelSpec
        A Sequential model: Embedding, recurrent layers, Dense with a softmax.

    Raises
    ------
    BenchmarkError
        A layer or an option is not translated.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes: list[Any] = [helper.make_node("Transpose", ["ids"], ["steps"], perm=[1, 0])]
    weights: dict[str, Array] = {}

    def add(kind: str, inputs: list[str], outputs: list[str], **options: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, outputs, **options))
        return outputs[-1]

    flow = "steps"
    for layer in spec:
        name = layer.name
        if layer.class_name == "InputLayer":
            continue
        if layer.class_name == "Embedding" and not layer.options["mask_zero"]:
            weights[name] = layer.weights["embeddings"]
            flow = add("Gather", [name, flow], [f"{name}/out"])
        elif layer.class_name in OPERATORS and _plain(layer):
            kernel, recurrent, bias = _recurrent(layer)
            weights |= {f"{name}/W": kernel, f"{name}/R": recurrent, f"{name}/B": bias}
            options: dict[str, Any] = {"hidden_size": layer.options["units"]}
            if layer.class_name == "GRU":
                options["linear_before_reset"] = int(layer.options["reset_after"])
            every = layer.options["return_sequences"]
            # Y is (time, directions, batch, units), Y_h lacks the time
            outputs = [f"{name}/Y"] if every else ["", f"{name}/Y_h"]
            given = [flow, f"{name}/W", f"{name}/R", f"{name}/B"]
            flow = add(OPERATORS[layer.class_name], given, outputs, **options)
            weights[f"{name}/axes"] = np.array([1 if every else 0], np.int64)
            flow = add("Squeeze", [flow, f"{name}/axes"], [f"{name}/out"])
        elif layer.class_name == "Dense" and layer.options["activation"] == "softmax":
            weights[f"{name}/kernel"] = layer.weights["kernel"]
            weights[f"{name}/bias"] = layer.weights["bias"]
            flow = add("MatMul", [flow, f"{name}/kernel"], [f"{name}/product"])
            flow = add("Add", [flow, f"{name}/bias"], [f"{name}/sum"])
            flow = add("Softmax", [flow], [f"{name}/out"], axis=-1)
        else:
            raise BenchmarkError(
                "expected Embedding, SimpleRNN, LSTM, GRU and Dense as the recipes "
                f"have them. Received: {layer.class_name} '{name}'"
            )
    length = spec.inputs[0].options["batch_shape"][1]
    graph = helper.make_graph(
        nodes,
        spec.name,
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", length])],
        [helper.make_tensor_value_info(flow, TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION  # every current ONNX Runtime reads it
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _plain(layer: LayerSpec) -> bool:
    """Return whether ONNX's operator without options computes the same."""
    options = layer.options
    gates = options.get("recurrent_activation", "sigmoid")
    asked = ("go_backwards", "return_state", "stateful")
    return (options["activation"], gates) == ("tanh", "sigmoid") and not any(
        options[name] for name in asked
    )


def _recurrent(layer: LayerSpec) -> tuple[Array, Array, Array]:
    """Return kernels (1, gates * units, features) and bias (1, 2 * gates * units)."""
    weights = layer.weights
    kernel, recurrent, bias = (
        weights[key] for key in ("kernel", "recurrent_kernel", "bias")
    )
    # both biases: (2, gates * units)
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    if layer.class_name == "LSTM":
        kernel, recurrent, both = (_reordered(w) for w in (kernel, recurrent, both))
    return (
        np.ascontiguousarray(kernel.T)[None],
        np.ascontiguousarray(recurrent.T)[None],
        both.reshape(1, -1),
    )


def _reordered(weight: Array) -> Array:
    """Return the columns i, f, c, o in the order i, o, f, c."""
    i, f, c, o = np.split(weight, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)
