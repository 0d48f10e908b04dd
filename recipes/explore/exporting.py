"""Export a model as Keras does, without what its converters print."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from verify.keras_bridge.importing import held_stderr

FORMATS = {".onnx": "onnx", ".tflite": "litert", ".xml": "openvino"}
"""Suffix of a file -> what ``model.export`` calls its format; a folder is a
SavedModel."""


def export(
    model: Any, path: str | os.PathLike[str], *, batch: int | None = None
) -> Path:
    """Call ``model.export`` and hold back what it prints.

    TensorFlow and its converters write to file descriptor 2 and to their own loggers.
    If the export fails, that is shown.

    Parameters
    ----------
    model : keras.Model
    path : path
        Its suffix decides the format.
    batch : int, optional
        Rows of a batch, where the format or the model fixes them; LiteRT needs it. By
        default that of the model.

    Returns
    -------
    Path
    """
    from keras import InputSpec

    path = Path(path)
    given: list[Any] = [
        InputSpec(
            shape=(x.shape[0] if batch is None else batch, *x.shape[1:]),
            dtype=x.dtype,
            name=x.name,
        )
        for x in model.inputs
    ]
    level = logging.root.manager.disable
    with held_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            model.export(
                str(path),
                format=FORMATS.get(path.suffix, "tf_saved_model"),
                input_signature=given if len(given) == 1 else [given],
                verbose=False,
            )
        finally:
            logging.disable(level)
    return path
