"""Export to LiteRT by TFLiteConverter, one row, with its default optimisation."""

from pathlib import Path

import keras
import tensorflow as tf

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the .tflite file, whose larger weights have 8 bits."""
    model = load(source)
    inputs = [
        keras.Input(
            batch_shape=(tensor.shape[0] or 1, *tensor.shape[1:]),
            dtype=tensor.dtype,
            name=tensor.name,
        )
        for tensor in model.inputs
    ]
    fixed = keras.Model(inputs, model(inputs if len(inputs) > 1 else inputs[0]))
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    out.write_bytes(converter.convert())
