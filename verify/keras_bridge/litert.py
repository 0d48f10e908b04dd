"""Write a model as a .tflite file, by TensorFlow's converter."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from verify.errors import UnsupportedError, install_hint, printable
from verify.keras_bridge.building import rebuild
from verify.keras_bridge.importing import backend, first_line, import_keras, quiet
from verify.model.graph import flatten
from verify.model.spec import ModelSpec


def litert_file(
    spec: ModelSpec, inputs: Sequence[str], outputs: Sequence[str], rows: int
) -> bytes:
    """Return a model as a .tflite file with a signature by the model's own names.

    Parameters
    ----------
    spec : ModelSpec
        With the config that it was read from.
    inputs, outputs : sequence of str
        Names for the signature.
    rows : int
        Number of rows of a call. Without a fixed number the converter makes loops of
        operators that no runtime in Python has.

    Raises
    ------
    UnsupportedError
        Keras is not on TensorFlow, or the converter refuses the model.
    KerasCannotRun
        Keras cannot build the model.
    """
    if spec.config is None:
        raise UnsupportedError(
            "a .tflite file is made by TensorFlow from the Keras model. Received: a "
            "network without a config"
        )
    keras = import_keras()
    if backend() != "tensorflow":
        raise UnsupportedError(
            f"a .tflite file is made by Keras on TensorFlow. Received: Keras on "
            f"{backend()}. {install_hint('keras')}"
        )
    import tensorflow

    model = rebuild(spec)
    declared = [
        tensorflow.TensorSpec(
            (rows, *layer.options["batch_shape"][1:]), layer.options["dtype"], name
        )
        for layer, name in zip(spec.inputs, inputs, strict=True)
    ]

    def serve(*arrays: object) -> dict[str, object]:
        given = list(arrays) if len(arrays) > 1 else arrays[0]
        found = flatten(model(given, training=False))
        return dict(zip(outputs, found, strict=True))

    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            archive = keras.export.ExportArchive()
            archive.track(model)
            archive.add_endpoint("serve", serve, input_signature=declared)
            archive.write_out(folder, verbose=False)
            converter = tensorflow.lite.TFLiteConverter.from_saved_model(folder)
            # as Keras's own export has it: a stateful layer keeps its states
            converter.experimental_enable_resource_variables = True
            return bytes(converter.convert())
        except Exception as error:  # TensorFlow raises all kinds here
            raise UnsupportedError(
                "TensorFlow's converter refuses this model as .tflite: "
                f"{printable(first_line(error), 300)}"
            ) from None
