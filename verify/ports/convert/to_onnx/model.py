"""Write a whole model as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verify.errors import DataError, UnsupportedError, printable
from verify.forward.layers.base import Tensor
from verify.forward.network import Network
from verify.model.dtypes import dtype_of
from verify.model.graph import flatten
from verify.ports.convert.to_onnx import (
    attention,
    categories,
    convolution,
    images,
    layers,
    operations,
    pooling,
    recurrent,
)
from verify.ports.convert.to_onnx.run import (
    ONNX_RUNTIME,
    Dialect,
    Emit,
    HowWritten,
    Writing,
)
from verify.ports.convert.to_onnx.values import (
    IR_VERSION,
    OPSET,
    Graph,
    Value,
    onnx,
)

EMITTERS: Mapping[str, Emit] = {
    **layers.EMITTERS,
    **recurrent.EMITTERS,
    **convolution.EMITTERS,
    **pooling.EMITTERS,
    **images.EMITTERS,
    **attention.EMITTERS,
    **categories.EMITTERS,
    **operations.EMITTERS,
}
"""Class of a layer -> the function that writes it. Cells stand inside other layers."""

NEXT = "_next"
"""End of the name of the output that holds a state for the next call."""

LARGEST = 2**31 - 2**20
"""Bytes of the weights, at most: a file holds 2 GB, nodes and names among them."""


@dataclass(frozen=True)
class OnnxModel:
    """Hold an ONNX file and what is to be said about it.

    Attributes
    ----------
    content : bytes
        The file.
    inputs, outputs : tuple of str
        Names of the model's own inputs and outputs, in the file as in the model.
    states : mapping of str to str
        Name of the input that a state is given by -> that of the output which holds it
        for the next call. Empty unless the model is stateful.
    how : tuple of HowWritten
        How each recurrent layer is written.
    operators : mapping of str to int
        How often each operator of ONNX occurs.
    opset : int
    """

    content: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: Mapping[str, str]
    how: tuple[HowWritten, ...]
    operators: Mapping[str, int]
    opset: int = OPSET


def onnx_model(net: Network, dialect: Dialect = ONNX_RUNTIME) -> OnnxModel:
    """Write a model as ONNX, with names of its own for inputs and outputs.

    Parameters
    ----------
    net : Network
    dialect : Dialect
        For which runtime; any runs a file for OpenVINO.

    Raises
    ------
    UnsupportedError
        A layer or an option has no form in ONNX, by its name; or onnx is missing.
    DataError
        The file would have more than 2 GB.
    """
    package = onnx()
    spec, root = net.spec, net.cast_to(None)
    input_names = [printable(name) for name in net.input_names]
    output_names = list(net.output_names)
    # an output that is an input as well needs another name than it
    known = set(input_names)
    for k, name in enumerate(output_names):
        while name in known:
            name = f"{name}_out"
        output_names[k] = name
        known.add(name)
    graph = Graph([*input_names, *output_names])
    inputs = []
    for name, layer in zip(input_names, spec.inputs, strict=True):
        dtype = dtype_of(layer.options["dtype"])
        inputs.append(Value(graph, name, dtype, tuple(layer.options["batch_shape"])))
    writing = Writing(graph, EMITTERS, layers.MASKS, net.floatx, dialect)
    found = flatten(writing(root, [Tensor(value) for value in inputs], at=""))  # type: ignore[arg-type]
    outputs = [
        _named(graph, tensor.value, name)
        for tensor, name in zip(found, output_names, strict=True)
    ]
    states, given, after = _states(graph, writing)
    graph.prune([value.name for value in (*outputs, *after)])
    size = sum(len(one.raw_data) for one in graph.initializers)
    if size > LARGEST:  # protobuf cannot even add it up
        raise DataError(
            f"expected a model of at most 2 GB as ONNX. Received: weights of {size:,} "
            "bytes"
        )
    model = _model(
        graph,
        printable(spec.name) or "model",
        [*inputs, *given],
        [*outputs, *after],
        {
            layer.name: name
            for layer, name in zip(spec.inputs, input_names, strict=True)
        },
    )
    try:
        package.checker.check_model(model, full_check=True)
    except package.onnx_cpp2py_export.shape_inference.InferenceError as error:
        raise UnsupportedError(
            f"the layers of this model do not fit together in ONNX ({printable(error)})"
        ) from None
    return OnnxModel(
        model.SerializeToString(),
        tuple(input_names),
        tuple(output_names),
        states,
        tuple(writing.how),
        graph.operators,
    )


def _named(graph: Graph, value: Value, name: str) -> Value:
    """Return a value under the name of an output."""
    graph.nodes.append(
        onnx().helper.make_node("Identity", [value.name], [name], name=f"{name}_node")
    )
    return Value(graph, name, value.dtype, value.shape)


def _states(
    graph: Graph, writing: Writing
) -> tuple[dict[str, str], list[Value], list[Value]]:
    """Return the pairs of names of all states, and their inputs and outputs."""
    names: dict[str, str] = {}
    given: list[Value] = []
    after: list[Value] = []
    for path, states in writing.given_states.items():
        for begun, ended in zip(states, writing.final_states[path], strict=True):
            output = _named(graph, ended, graph.unique(f"{begun.name}{NEXT}"))
            names[begun.name] = output.name
            given.append(begun)
            after.append(Value(graph, output.name, output.dtype, begun.shape))
    return names, given, after


def _model(
    graph: Graph,
    name: str,
    inputs: list[Value],
    outputs: list[Value],
    layer_names: Mapping[str, str],
) -> Any:
    import verify

    helper = onnx().helper
    axes = {0: "batch"}
    made = helper.make_graph(
        graph.nodes,
        name,
        [graph.info(value, axes) for value in inputs],
        [graph.info(value, axes) for value in outputs],
        graph.initializers,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="keras-rnn-verify",
        producer_version=verify.__version__,
    )
    model.ir_version = IR_VERSION
    return model
