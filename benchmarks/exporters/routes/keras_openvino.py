"""Export to OpenVINO by Keras: ``model.export(format="openvino")``."""

from pathlib import Path

import keras

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the .xml file and the .bin beside it."""
    if keras.backend.backend() == "openvino":
        # predict compiles the model anew for each shape, and export needs no call
        model = keras.saving.load_model(source, compile=False)
    else:
        model = load(source)
    model.export(str(out), format="openvino", verbose=False)
