#!/usr/bin/env bash
# onnxruntime 1.32.0 on the CPU.
#
# Guess: graph optimisations change speed only; a valid model that runs without them
#        runs with them, which are on by default.
# Found: a Relu that is followed by a Clip, both in float64, for which ONNX Runtime has
#        kernels, cannot be loaded: the rule that fuses the two raises in
#        relu_clip_fusion.cc. In float32, without the Relu, or with optimisations
#        switched off the same model loads and is right. It is what a ReLU(max_value=...)
#        of Keras in float64 becomes, if it is written operator by operator.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime as ort
from onnx import checker, helper, numpy_helper

ort.set_default_logger_severity(4)


def outcome(dtype, kinds, optimised):
    """Load and run the operators one after the other; what went wrong, or nothing."""
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes, flow = [], "x"
    for k, kind in enumerate(kinds):
        given = [flow, "low", "high"] if kind == "Clip" else [flow]
        flow = "y" if k == len(kinds) - 1 else f"t{k}"
        nodes.append(helper.make_node(kind, given, [flow]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", code, [5])],
        [helper.make_tensor_value_info("y", code, [5])],
        [
            numpy_helper.from_array(np.array(value, dtype), name)
            for name, value in (("low", 0.0), ("high", 0.7))
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        return str(error)
    x = np.array([-1, 0.1, 0.5, 0.9, 3], dtype)
    (y,) = session.run(None, {"x": x})
    assert np.array_equal(y, np.clip(x, 0, np.array(0.7, dtype)))
    return ""


for dtype, kinds, optimised, fails in (
    ("float32", ("Relu", "Clip"), True, False),
    ("float64", ("Clip",), True, False),
    ("float64", ("Relu", "Clip"), False, False),
    ("float64", ("Relu", "Clip"), True, True),
):
    said = outcome(dtype, kinds, optimised)
    assert bool(said) == fails, (dtype, kinds, optimised, said)
    assert not fails or "relu_clip_fusion" in said, said
    how = "optimised" if optimised else "as it stands"
    result = "cannot be loaded: relu_clip_fusion" if fails else "right"
    print(f"{' then '.join(kinds)} in {dtype}, {how}: {result}")
PYTHON
