#!/usr/bin/env bash
# ai-edge-litert 2.3.0 and tflite-micro 0.dev20261023182759, the operator
# UNIDIRECTIONAL_SEQUENCE_LSTM, beside NumPy.
#
# Guess: both read the option fused_activation_function as the function of the cell's
#        new value and of the output, NONE being no function, or refuse the file, as
#        tflite-micro does with peepholes and with an input gate that is left out.
# Found: with TANH both are right; cell_clip, time_major and states between calls too.
#        - tflite-micro computes one and the same for every other name, without a word:
#          no function for the cell's new value, and tanh for the output. A file with
#          RELU that is right in LiteRT on the desk is 0.6 off on the device here.
#        - LiteRT is right with RELU, RELU6 and RELU_N1_TO_1. With NONE, a Keras LSTM
#          with activation "linear", its output is the output gate times the cell's new
#          value of that step, not times the cell state: 2.8 off here.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tflite-micro==0.dev20261023182759 ai-edge-litert==2.3.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tflite_micro import runtime

ROWS, STEPS, FEATURES, UNITS = 3, 5, 2, 4
ACTIVATIONS = {
    "TANH": np.tanh,
    "RELU": lambda z: np.maximum(z, 0),
    "RELU6": lambda z: np.clip(z, 0, 6),
    "RELU_N1_TO_1": lambda z: np.clip(z, -1, 1),
    "NONE": lambda z: z,
}
rng = np.random.default_rng(0)
KERNELS, RECURRENTS, BIASES = (
    [rng.normal(scale=0.6, size=shape).astype(np.float32) for _ in range(4)]
    for shape in ((UNITS, FEATURES), (UNITS, UNITS), (UNITS,))
)  # i, f, c, o
CALLS = rng.normal(size=(2, ROWS, STEPS, FEATURES)).astype(np.float32)


def by_hand(activation, last, cell_clip, of_state=True):
    """The outputs of both calls; the second goes on from the states of the first."""
    h = c = np.zeros((ROWS, UNITS))
    calls = []
    for x in CALLS:
        found = []
        for t in range(STEPS):
            z = [
                x[:, t] @ k.T + h @ r.T + b
                for k, r, b in zip(KERNELS, RECURRENTS, BIASES, strict=True)
            ]
            i, f, o = (1 / (1 + np.exp(-z[k])) for k in (0, 1, 3))
            new = activation(z[2])
            c = f * c + i * new
            c = np.clip(c, -cell_clip, cell_clip) if cell_clip else c
            h = o * last(c if of_state else new)
            found.append(h)
        calls.append(np.stack(found, axis=1))
    return np.stack(calls)


def model(activation, cell_clip, time_major):
    """A file with the operator and nothing else."""
    buffers, tensors = [schema.BufferT()], []

    def tensor(shape, value=None, variable=False):
        made, buffer = schema.TensorT(), schema.BufferT()
        made.name, made.type = f"t{len(tensors)}", schema.TensorType.FLOAT32
        made.shape, made.isVariable = np.array(shape, np.int32), variable
        if value is not None:
            buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        made.buffer = len(buffers)
        buffers.append(buffer)
        tensors.append(made)
        return len(tensors) - 1

    axes = (STEPS, ROWS) if time_major else (ROWS, STEPS)
    given = tensor((*axes, FEATURES))
    groups = (KERNELS, RECURRENTS, BIASES)
    held = [[tensor(a.shape, a) for a in group] for group in groups]
    states = [tensor((ROWS, UNITS), variable=True) for _ in range(2)]
    operator, code = schema.OperatorT(), schema.OperatorCodeT()
    operator.inputs = [
        given, *held[0], *held[1], -1, -1, -1, *held[2], -1, -1, *states, -1, -1, -1, -1
    ]
    operator.outputs = [tensor((*axes, UNITS))]
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = getattr(
        schema.ActivationFunctionType, activation
    )
    options.cellClip, options.timeMajor = cell_clip, time_major
    operator.builtinOptions = options
    operator.builtinOptionsType = (
        schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    )
    code.builtinCode = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    code.deprecatedBuiltinCode = code.builtinCode
    graph, made = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = [given], operator.outputs
    made.version, made.subgraphs, made.buffers = 3, [graph], buffers
    made.operatorCodes = [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def in_litert(content, calls):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    (asked,) = interpreter.get_output_details()
    for x in calls:
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        yield interpreter.get_tensor(asked["index"]).copy()


def in_micro(content, calls):
    interpreter = runtime.Interpreter.from_bytes(content)
    for x in calls:
        interpreter.set_input(x, 0)
        interpreter.invoke()
        yield interpreter.get_output(0).copy()


for activation, cell_clip, time_major in (
    ("TANH", 0.0, False), ("TANH", 0.3, False), ("TANH", 0.0, True),
    ("RELU", 0.0, False), ("RELU6", 0.0, False), ("RELU_N1_TO_1", 0.0, False),
    ("NONE", 0.0, False),
):
    content = model(activation, cell_clip, time_major)
    calls = [x.swapaxes(0, 1).copy() if time_major else x for x in CALLS]
    desk, device = (
        np.stack([y.swapaxes(0, 1) if time_major else y for y in run(content, calls)])
        for run in (in_litert, in_micro)
    )
    function = ACTIVATIONS[activation]
    wanted = by_hand(function, function, cell_clip)
    first = np.tanh if activation == "TANH" else ACTIVATIONS["NONE"]
    same = np.abs(device - by_hand(first, np.tanh, cell_clip)).max()
    right, off = np.abs(desk - wanted).max(), np.abs(device - wanted).max()
    print(
        f"{activation:12} cell_clip {cell_clip}, time_major {time_major}: LiteRT "
        f"{right:.1e} off, tflite-micro {off:.1e}, and {same:.1e} from tanh at the end"
    )
    if activation == "NONE":
        other = by_hand(function, function, cell_clip, of_state=False)
        new = np.abs(desk - other).max()
        print(f"{'':12} LiteRT is {new:.1e} from the gate times the new value")
        assert right > 0.1 and new < 1e-5, "LiteRT computes something else now"
    else:
        assert right < 1e-5, "LiteRT"
    assert same < 1e-5, "tflite-micro computes something else now"
    assert activation == "TANH" or off > 0.05, "the activation is obeyed now"
PYTHON
