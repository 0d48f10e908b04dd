#!/usr/bin/env bash
# ai-edge-litert 2.3.0, operator BIDIRECTIONAL_SEQUENCE_LSTM.
#
# Guess: merge_outputs only puts the outputs of both directions beside each other.
# Found: with the batch as the first axis (time_major=False) and more than one row, the
#        merged output is wrong in rows other than the first, by 0.3 here. The same weights
#        with two outputs, with time_major=True or with a single row are right to 1e-6.
#        Nothing warns. So a port has to be tried with more than one row.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  ai-edge-litert==2.3.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

UNITS, FEATURES, STEPS = 4, 3, 6
rng = np.random.default_rng(0)


def weights():
    """Kernel, recurrent kernel and bias of each gate: i, f, c, o."""
    return [
        [rng.normal(scale=0.6, size=s).astype(np.float32) for _ in range(4)]
        for s in ((UNITS, FEATURES), (UNITS, UNITS), (UNITS,))
    ]


HALVES = [weights(), weights()]


def lstm(half, x):
    """Output at every step, (rows, steps, units), in float64."""
    kernels, recurrents, biases = half
    h = c = np.zeros((len(x), UNITS))
    found = []
    for t in range(STEPS):
        z = [
            x[:, t] @ k.T + h @ r.T + b
            for k, r, b in zip(kernels, recurrents, biases, strict=True)
        ]
        i, f, o = (1 / (1 + np.exp(-z[k])) for k in (0, 1, 3))
        c = f * c + i * np.tanh(z[2])
        h = o * np.tanh(c)
        found.append(h)
    return np.stack(found, axis=1)


def model(shape, merged, time_major):
    """A file with the operator and nothing else."""
    buffers, tensors = [schema.BufferT()], []

    def tensor(shape, value=None, variable=False):
        made = schema.TensorT()
        made.name, made.type = f"t{len(tensors)}", schema.TensorType.FLOAT32
        made.shape, made.isVariable = np.array(shape, np.int32), variable
        if value is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(value.tobytes(), np.uint8)
            made.buffer = len(buffers)
            buffers.append(buffer)
        tensors.append(made)
        return len(tensors) - 1

    inputs = [tensor(shape)]
    for half in HALVES:
        for arrays, absent in zip(half, (0, 3, 2), strict=True):
            inputs += [tensor(a.shape, a) for a in arrays] + [-1] * absent
    rows = shape[1] if time_major else shape[0]
    inputs += [tensor((rows, UNITS), variable=True) for _ in range(4)] + [-1] * 9
    widths = [2 * UNITS] if merged else [UNITS, UNITS]
    outputs = [tensor((*shape[:2], width)) for width in widths]
    options = schema.BidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    options.mergeOutputs, options.timeMajor = merged, time_major
    operator, code = schema.OperatorT(), schema.OperatorCodeT()
    operator.inputs, operator.outputs = inputs, outputs
    operator.builtinOptions = options
    operator.builtinOptionsType = (
        schema.BuiltinOptions.BidirectionalSequenceLSTMOptions
    )
    code.builtinCode = schema.BuiltinOperator.BIDIRECTIONAL_SEQUENCE_LSTM
    code.deprecatedBuiltinCode = code.builtinCode
    graph, made = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = [0], outputs
    made.version, made.subgraphs, made.buffers = 3, [graph], buffers
    made.operatorCodes = [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def apart(rows, merged, time_major):
    """The greatest difference to NumPy, of the first row and of all others."""
    x = np.random.default_rng(1).normal(size=(rows, STEPS, FEATURES))
    x = x.astype(np.float32)
    given = np.ascontiguousarray(x.swapaxes(0, 1)) if time_major else x
    interpreter = Interpreter(model_content=model(given.shape, merged, time_major))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    found = np.concatenate(
        [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()],
        axis=-1,
    )
    found = found.swapaxes(0, 1) if time_major else found
    wanted = np.concatenate(
        [lstm(HALVES[0], x), lstm(HALVES[1], x[:, ::-1])[:, ::-1]], axis=-1
    )
    off = np.abs(found - wanted).max(axis=(1, 2))
    return off[0], off[1:].max(initial=0.0)


changed = False
for rows, merged, time_major in (
    (3, True, False), (1, True, False), (3, False, False), (3, True, True),
):
    first, others = apart(rows, merged, time_major)
    wrong = (rows, merged, time_major) == (3, True, False)
    changed |= first > 1e-6 or (others > 0.01) != wrong
    changed |= not wrong and others > 1e-6
    print(
        f"rows {rows}, merge_outputs {merged}, time_major {time_major}: "
        f"first row off by {first:.1e}, others by {others:.1e}"
    )
sys.exit(int(changed))
PYTHON
