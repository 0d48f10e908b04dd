"""Make the exported files of this folder from small Keras models with random weights.

    KERAS_BACKEND=tensorflow python tests/data/exported/make.py
    KERAS_BACKEND=openvino python tests/data/exported/make.py
    KERAS_BACKEND=torch python tests/data/exported/make.py

The first needs the extras dev and exported, the last torch 2.13.0 as well. The second
and the third read the .keras files that the first has written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

HERE = Path(__file__).parent
TIME, INPUTS, UNITS, OUTPUTS, VOCABULARY = 6, 3, 4, 2, 11
layers = keras.layers


def masked() -> keras.Model:
    """Embedding with a mask, LSTM, Dense."""
    return keras.Sequential(
        [
            keras.Input((TIME,), dtype="int32", name="ids"),
            layers.Embedding(VOCABULARY, INPUTS, mask_zero=True, name="words"),
            layers.LSTM(UNITS, name="lstm"),
            layers.Dense(OUTPUTS, activation="softmax", name="dense"),
        ],
        name="masked",
    )


def sequence() -> keras.Model:
    """An LSTM that returns every step."""
    return keras.Sequential(
        [
            keras.Input((TIME, INPUTS), name="x"),
            layers.LSTM(UNITS, return_sequences=True, name="lstm"),
        ],
        name="sequence",
    )


def gru() -> keras.Model:
    """GRU with reset_after, over any number of steps, and Dense."""
    return keras.Sequential(
        [
            keras.Input((None, INPUTS), name="x"),
            layers.GRU(UNITS, name="gru"),
            layers.Dense(OUTPUTS, name="dense"),
        ],
        name="gru",
    )


def stateful() -> keras.Model:
    """An LSTM that keeps its state between calls, for batches of one row."""
    return keras.Sequential(
        [
            keras.Input(batch_shape=(1, TIME, INPUTS), name="x"),
            layers.LSTM(UNITS, stateful=True, name="lstm"),
        ],
        name="stateful",
    )


def states() -> keras.Model:
    """An encoder whose states begin a decoder, which returns its own."""
    a = keras.Input((TIME, INPUTS), name="a")
    b = keras.Input((TIME, INPUTS), name="b")
    _, *encoded = layers.LSTM(UNITS, return_state=True, name="encoder")(a)
    y, h, c = layers.LSTM(
        UNITS, return_sequences=True, return_state=True, name="decoder"
    )(b, initial_state=encoded)
    return keras.Model([a, b], [y, h, c], name="states")


def quantised() -> keras.Model:
    """A GRU of three steps, each written out, and Dense."""
    return keras.Sequential(
        [
            keras.Input((3, INPUTS), name="x"),
            layers.GRU(UNITS, unroll=True, name="gru"),
            layers.Dense(OUTPUTS, name="dense"),
        ],
        name="quantised",
    )


MODELS: tuple[Callable[[], keras.Model], ...] = (
    masked, sequence, gru, stateful, states
)  # fmt: skip


FROM_OPENVINO = (masked, sequence, gru)


def with_random_weights(model: keras.Model, seed: int) -> keras.Model:
    """Give every weight, biases too, a value that is not zero."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            (rng.uniform(0.2, 0.9, w.shape) * rng.choice([-1.0, 1.0], w.shape)).astype(
                "float32"
            )
            for w in model.get_weights()
        ]
    )
    return model


def signature(model: keras.Model, batch: int | None) -> list[keras.InputSpec]:
    """The inputs of a model for a batch of that size, as its call takes them."""
    inputs = [
        keras.InputSpec(shape=(batch, *x.shape[1:]), dtype=x.dtype, name=x.name)
        for x in model.inputs
    ]
    return inputs if len(inputs) == 1 else [inputs]


def export_from_tensorflow() -> None:
    """Write .keras, .onnx and .tflite, and one of OpenVINO from the ONNX."""
    import openvino

    for seed, make in enumerate(MODELS):
        model = with_random_weights(make(), seed)
        path = HERE / f"{make.__name__}.keras"
        model.save(path)
        model = keras.models.load_model(path)  # without a state from any call
        batch = model.inputs[0].shape[0]
        onnx = path.with_suffix(".onnx")
        model.export(
            str(onnx),
            format="onnx",
            input_signature=signature(model, batch),
            verbose=False,
        )
        model.export(
            str(path.with_suffix(".tflite")),
            format="litert",
            input_signature=signature(model, 1),
            verbose=False,
        )
        if make is states:
            openvino.save_model(
                openvino.convert_model(onnx),
                path.with_suffix(".xml"),
                compress_to_fp16=False,
            )
    export_in_8_bits()


def export_in_8_bits() -> None:
    """Write a .tflite whose weights, inputs and outputs are int8, and its .keras."""
    import tensorflow as tf

    model = with_random_weights(quantised(), len(MODELS))
    model.save(HERE / "quantised.keras")
    rng = np.random.default_rng(9)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [rng.normal(size=(1, 3, INPUTS)).astype("float32")] for _ in range(500)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (HERE / "quantised.tflite").write_bytes(converter.convert())


def export_from_openvino() -> None:
    """Write OpenVINO's .xml with .bin, with Keras on OpenVINO.

    That refuses a model with several inputs, and states between calls. OpenVINO itself
    does not read the loops in ONNX that Keras on TensorFlow writes.
    """
    for make in FROM_OPENVINO:
        path = HERE / f"{make.__name__}.keras"
        model = keras.models.load_model(path)
        model.export(str(path.with_suffix(".xml")), format="openvino", verbose=False)


def export_from_torch() -> None:
    """Write a .pt2 with torch.export; it is large, so there is only one."""
    import torch

    for make in (sequence,):
        path = HERE / f"{make.__name__}.keras"
        model = keras.models.load_model(path)
        model.eval()
        program = torch.export.export(model, (torch.ones((5, TIME, INPUTS)),))
        for node in program.graph.nodes:  # tracebacks, nine tenths of the file
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):
                node.meta.pop(key, None)
        torch.export.save(program, path.with_suffix(".pt2"))


if __name__ == "__main__":
    {
        "tensorflow": export_from_tensorflow,
        "openvino": export_from_openvino,
        "torch": export_from_torch,
    }[keras.backend.backend()]()
