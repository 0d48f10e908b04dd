#!/usr/bin/env bash
# openvino 2026.4.1, beside onnxruntime 1.32.0.
#
# Guess: a runtime refuses an input of another dtype than the model declares, as
#        onnxruntime does; at least where numbers do not fit.
# Found: OpenVINO's Python API casts it with NumPy's `astype` and says nothing, in
#        `compiled_model(...)` and in `infer_request.infer(...)`: 1.9 becomes the id 1,
#        -1.9 becomes -1, and an int64 of 2**32 + 5 becomes 5. float64 becomes float32.
#        `set_input_tensor` with a Tensor of that dtype is refused, as expected.
#        So ids that were scaled by mistake look up rows of an Embedding all the same.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
"$folder/venv/bin/python" -W error - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper
from openvino import opset13

TABLE = np.arange(24, dtype=np.float32).reshape(8, 3)


def table_lookup():
    """A model that looks ids up in a table, as an Embedding does: int32 ids in."""
    ids = opset13.parameter([-1], np.int32, name="ids")
    rows = opset13.gather(opset13.constant(TABLE), ids, opset13.constant(np.int32(0)))
    model = openvino.Model([opset13.result(rows)], [ids])
    return openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


compiled = table_lookup()
assert np.array_equal(compiled([np.int32([5, 1])])[0], TABLE[[5, 1]])
for given, taken in (
    (np.float32([1.9, 2.5, 6.99]), [1, 2, 6]),
    (np.int64([2**32 + 5, 2**40 + 1]), [5, 1]),
):
    called = compiled([given])[0]
    inferred = compiled.create_infer_request().infer({0: given})[0]
    assert np.array_equal(called, TABLE[taken]), called
    assert np.array_equal(inferred, called)
    print(f"openvino     {given.dtype} {given.tolist()}: read as ids {taken}")
    request = compiled.create_infer_request()
    try:
        request.set_input_tensor(openvino.Tensor(given))
        request.infer()
    except RuntimeError:
        print(f"openvino     the same as a Tensor: refused")
    else:
        raise AssertionError("a Tensor of another dtype is no longer refused")

node = helper.make_node("Identity", ["ids"], ["y"])
shape = ["n"]
graph = helper.make_graph(
    [node],
    "one_node",
    [helper.make_tensor_value_info("ids", TensorProto.INT32, shape)],
    [helper.make_tensor_value_info("y", TensorProto.INT32, shape)],
)
proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session = onnxruntime.InferenceSession(
    proto.SerializeToString(), providers=["CPUExecutionProvider"]
)
try:
    session.run(None, {"ids": np.float32([1.9])})
except Exception as error:
    assert "Unexpected input data type" in str(error)
    print("onnxruntime  float32 for int32: refused")
else:
    raise AssertionError("onnxruntime no longer refuses")
PYTHON
