"""Run the fused recurrent operators in LiteRT, from a file that is built here."""

import importlib.metadata

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

BOTH = False
TANH = schema.ActivationFunctionType.TANH
LSTM_INPUTS = (
    "input",
    "input_to_input_weights", "input_to_forget_weights",
    "input_to_cell_weights", "input_to_output_weights",
    "recurrent_to_input_weights", "recurrent_to_forget_weights",
    "recurrent_to_cell_weights", "recurrent_to_output_weights",
    "", "", "",  # peepholes
    "input_gate_bias", "forget_gate_bias", "cell_gate_bias", "output_gate_bias",
    "", "",  # projection
    "h", "c",
    "", "", "", "",  # layer normalisation
)  # fmt: skip
RNN_INPUTS = ("input", "weights", "recurrent_weights", "bias", "h")


def version():
    """Return the version of the framework."""
    return importlib.metadata.version("ai-edge-litert")


def run(cell, arrays, x, both):
    """Return the outputs; the final states are not outputs of these operators."""
    interpreter = Interpreter(model_content=_file(cell, arrays, x.shape))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(interpreter.get_output_details()[0]["index"])]


def _file(cell, arrays, shape):
    """Return a file with the operator and nothing else."""
    batch, steps, _ = shape
    lstm = cell == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    names = LSTM_INPUTS if lstm else RNN_INPUTS
    recurrent = "recurrent_to_input_weights" if lstm else "recurrent_weights"
    units = arrays[recurrent].shape[1]
    buffers, tensors, inputs = [schema.BufferT()], [], []
    for name in names:
        if not name:
            inputs.append(-1)
            continue
        tensor = schema.TensorT()
        tensor.name, tensor.type = name, schema.TensorType.FLOAT32
        tensor.shape = np.array(shape, np.int32)
        if name in ("h", "c"):
            tensor.shape, tensor.isVariable = np.array((batch, units), np.int32), True
        elif name != "input":
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(arrays[name].tobytes(), np.uint8)
            tensor.shape = np.array(arrays[name].shape, np.int32)
            tensor.buffer = len(buffers)
            buffers.append(buffer)
        inputs.append(len(tensors))
        tensors.append(tensor)
    output = schema.TensorT()
    output.name, output.type = "output", schema.TensorType.FLOAT32
    output.shape = np.array((batch, steps, units), np.int32)
    tensors.append(output)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = inputs, [len(tensors) - 1]
    if lstm:
        options = schema.UnidirectionalSequenceLSTMOptionsT()
        operator.builtinOptionsType = (
            schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
        )
    else:
        options = schema.SequenceRNNOptionsT()
        operator.builtinOptionsType = schema.BuiltinOptions.SequenceRNNOptions
    options.fusedActivationFunction, options.timeMajor = TANH, False
    operator.builtinOptions = options
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, cell)
    code.deprecatedBuiltinCode = code.builtinCode
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = [0], [len(tensors) - 1]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], buffers
    model.operatorCodes = [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
