"""A model with a layer of a class that is not Keras's, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from support.nets import (
    INPUTS,
    OUTPUTS,
    TIME,
    UNITS,
    input_layer,
    layer,
    random_weights,
    sequential,
    write_keras_file,
)

OWN = "mine>ReversedLSTM"


def own_config(name: str = "ReversedLSTM", **config: Any) -> dict[str, Any]:
    """LSTM, a layer of the user's with the options of an LSTM, and Dense."""
    loop = {"units": UNITS, "return_sequences": True}
    own = layer(name, "own", **loop, **config)
    own |= {"module": None, "registered_name": f"mine>{name}"}
    return sequential(
        input_layer(None, TIME, INPUTS),
        layer("LSTM", "lstm", **loop),
        own,
        layer("Dense", "dense", units=OUTPUTS),
    )


def own_weights() -> list[list[np.ndarray]]:
    """The weights of the layers, float32."""
    loop = [(INPUTS, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)]
    shapes = [loop, [(UNITS, 4 * UNITS), *loop[1:]], [(UNITS, OUTPUTS), (OUTPUTS,)]]
    return [
        [w.astype("float32") for w in random_weights(some, k)]
        for k, some in enumerate(shapes)
    ]


def own_file(
    path: Path, name: str = "ReversedLSTM", **config: Any
) -> tuple[Path, list[list[np.ndarray]]]:
    """That model as a file, and its weights."""
    weights = own_weights()
    return write_keras_file(path, own_config(name, **config), weights), weights
