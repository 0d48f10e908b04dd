"""From what a user has to what the verifier works on: models and inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from verify.network import Network
from verify.probe import probe_inputs
from verify.spec import Array, DataError, is_path


def load(model: Any) -> Network:
    """Read a model without running it.

    Parameters
    ----------
    model : path or keras.Model
        A ``.keras`` file is read without Keras; a live model needs it.

    Returns
    -------
    Network

    Raises
    ------
    ModelFileError
        The file is missing, damaged or not a Keras file.
    UnsupportedError
        A model, layer or option that is not supported, by name.
    """
    if isinstance(model, Network):
        return model
    if is_path(model):
        from verify.files import read_model

        return Network(read_model(model))
    from verify.keras_bridge import import_keras, read_live

    return Network(read_live(model), floatx=import_keras().config.floatx())


def usable_inputs(net: Network, x: Any = None) -> Array:
    """Inputs ready for a comparison; probe inputs where `x` is None.

    Returns
    -------
    (batch, ...) in the dtype of the model's input.

    Raises
    ------
    DataError
        The inputs do not fit the model, or NaN or infinity is in them or the weights.
    """
    net.spec.require_finite()
    array = net.as_array(probe_inputs(net.spec) if x is None else x)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        first = [int(k) for k in np.argwhere(bad)[0]]
        raise DataError(
            f"expected finite numbers in the inputs. Received: "
            f"{np.count_nonzero(bad):,} NaN or infinite value(s), the first at {first}"
        )
    array = net.prepare(array)
    net.predict(array)  # refuses ids outside the vocabulary, wherever they are
    return array
