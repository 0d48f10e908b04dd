"""Measure the errors of each activation in float32 on this machine.

    python -m benchmarks.activation_errors [--runtime onnxruntime|openvino|litert]

It prints the greatest error of every activation of the installed Keras over about a
million arguments, run eagerly and compiled, in the form of
`verify.tolerance.activation_errors.KNOWN_PLATFORMS`. ``KERAS_BACKEND=jax`` chooses
another backend. With ``--runtime`` it is a program that runs exported models, of which
`KNOWN_RUNTIMES` are kept: its own operations, or what a converter makes of Keras's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from verify.keras_bridge import current_platform, measured_activation_errors
from verify.keras_bridge.activation_errors import errors_of
from verify.keras_bridge.importing import import_keras
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE
from verify.tolerance.activation_errors import (
    KNOWN_PLATFORMS,
    KNOWN_RUNTIMES,
    MEASURED_ACTIVATIONS,
    ActivationErrors,
    platform_name,
)

ONNX_OPERATIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}), "exponential": ("Exp", {}),
    "softplus": ("Softplus", {}), "softsign": ("Softsign", {}), "elu": ("Elu", {}),
    "selu": ("Selu", {}), "gelu": ("Gelu", {}), "mish": ("Mish", {}),
    "celu": ("Celu", {}), "hard_silu": ("HardSwish", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "keras2_hard_sigmoid": ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
}  # fmt: skip
"""Activation -> operation of ONNX and its attributes."""

Run = Callable[[Array], Array]


def onnx_model(activation: str) -> Any:
    """Return an ONNX model of one operation."""
    import onnx
    from onnx import TensorProto, helper

    operation, attributes = ONNX_OPERATIONS[activation]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy"
    )
    node = helper.make_node(operation, ["x"], ["y"], **attributes)
    graph = helper.make_graph([node], "one", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


def onnxruntime_functions() -> dict[str, list[Run]]:
    """Return each activation as ONNX Runtime computes it."""
    import onnxruntime

    def function(activation: str) -> Run:
        session = onnxruntime.InferenceSession(
            onnx_model(activation).SerializeToString(),
            providers=["CPUExecutionProvider"],
        )
        return lambda x: np.asarray(session.run(None, {"x": x})[0])

    return {name: [function(name)] for name in ONNX_OPERATIONS}


def openvino_functions() -> dict[str, list[Run]]:
    """Return each activation as OpenVINO computes it."""
    import io

    import openvino

    core = openvino.Core()

    def function(activation: str) -> Run:
        model = core.read_model(io.BytesIO(onnx_model(activation).SerializeToString()))
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda x: np.array(next(iter(compiled(x).values())))

    return {name: [function(name)] for name in ONNX_OPERATIONS}


def litert_functions() -> dict[str, list[Run]]:
    """Return each activation of Keras as LiteRT computes what TensorFlow converts."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    keras = import_keras()

    def function(activation: str) -> Run:
        apply = keras.activations.get(activation)

        def run(x: Array) -> Array:
            # a size of its own each time: the tail of an array has other code
            spec = tf.TensorSpec(x.shape, tf.float32)
            concrete = tf.function(apply).get_concrete_function(spec)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
            interpreter = Interpreter(model_content=converter.convert())
            interpreter.allocate_tensors()
            (given,) = interpreter.get_input_details()
            (made,) = interpreter.get_output_details()
            interpreter.set_tensor(given["index"], x)
            interpreter.invoke()
            return np.array(interpreter.get_tensor(made["index"]))

        return run

    names = (name for name in MEASURED_ACTIVATIONS if name != "keras2_hard_sigmoid")
    return {name: [function(name)] for name in names}


RUNTIMES: Mapping[str, tuple[str, Callable[[], dict[str, list[Run]]]]] = {
    "onnxruntime": ("onnxruntime", onnxruntime_functions),
    "openvino": ("openvino", openvino_functions),
    "litert": ("ai-edge-litert", litert_functions),
}
"""Name of a runtime -> its package, and what measures it."""


def show(found: ActivationErrors, kept: ActivationErrors | None) -> None:
    """Print the constants, in the form in which they are kept."""
    print(f"# 1 is {SINGLE:.2g}, the unit roundoff of float32")
    print(f"{found.platform!r}: {{")
    for activation, constant in found.constants.items():
        print(f"    {activation!r}: {constant},")
    print("}")
    if found.relative_to_one:
        print(f"# relative to one: {', '.join(sorted(found.relative_to_one))}")
    if found.absolute:
        print(f"# absolute: {dict(found.absolute)}")
    if kept is None:
        print("# this platform is not known: a check measures it on the spot")
        return
    worse = [
        name
        for measured, known in (
            (found.constants, kept.constants),
            (found.absolute, kept.absolute),
        )
        for name, constant in measured.items()
        if constant > known.get(name, 0.0)
    ]
    print(f"# greater than what is kept: {', '.join(worse) or 'none'}")


def main() -> None:
    """Measure the installed Keras, or a runtime."""
    parser = argparse.ArgumentParser(description="Errors of activations in float32.")
    parser.add_argument("--runtime", choices=RUNTIMES)
    runtime = parser.parse_args().runtime
    if runtime is None:
        show(measured_activation_errors(), KNOWN_PLATFORMS.get(current_platform()))
        return
    package, functions = RUNTIMES[runtime]
    name = platform_name(package, version(package))
    found = errors_of(name, functions(), relative_to_one=False)
    show(found, KNOWN_RUNTIMES.get(name))


if __name__ == "__main__":
    main()
