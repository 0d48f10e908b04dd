"""Export to LiteRT by ``tf.lite.TFLiteConverter.from_keras_model``."""

from pathlib import Path

import tensorflow as tf

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the .tflite file."""
    converter = tf.lite.TFLiteConverter.from_keras_model(load(source))
    out.write_bytes(converter.convert())
