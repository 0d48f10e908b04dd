"""Convert a Keras model to Core ML, which runs on macOS alone."""

from pathlib import Path

import coremltools
import tensorflow as tf

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the package, by a concrete function of two rows."""
    model = load(source)
    specs = [
        tf.TensorSpec((t.shape[0] or 2, *(n or 6 for n in t.shape[1:])), t.dtype)
        for t in model.inputs
    ]

    @tf.function
    def call(*inputs):
        return model(list(inputs) if len(inputs) > 1 else inputs[0])

    concrete = call.get_concrete_function(*specs)
    coremltools.convert([concrete], source="tensorflow", convert_to="mlprogram").save(
        str(out)
    )
