"""Turn a Keras model into C++ by hls4ml, compile it with g++ and run the simulation."""

import functools
from pathlib import Path

import hls4ml
import keras
import numpy as np


@functools.cache
def _converted(source: Path, out: Path):
    """Return the compiled project, which is made once for all probes."""
    loaded = keras.saving.load_model(source, compile=False)
    # what it writes for a layer with this name does not compile
    text = loaded.to_json().replace('"recurrent"', '"rnn"')
    model = keras.models.model_from_json(text)
    model.set_weights(loaded.get_weights())
    config = hls4ml.utils.config_from_keras_model(
        model, granularity="name", default_precision="fixed<32,16>"
    )
    converted = hls4ml.converters.convert_from_keras_model(
        model, hls_config=config, output_dir=str(out), backend="Vivado"
    )
    converted.compile()
    return converted


def export(source: Path, out: Path) -> None:
    """Write the project, and the model beside it: only hls4ml knows how to run it."""
    _converted(source, out)
    (out / "source.txt").write_text(str(source))


def outputs(out: Path, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Return what the simulation computes."""
    converted = _converted(Path((out / "source.txt").read_text()), out)
    arrays = [np.ascontiguousarray(x, np.float32) for x in inputs]
    found = converted.predict(arrays if len(arrays) > 1 else arrays[0])
    return list(found) if isinstance(found, list) else [found]
