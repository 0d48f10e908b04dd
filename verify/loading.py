"""From what a user has to what the verifier works on: models and inputs."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from verify.dtypes import is_float
from verify.network import Inputs, Network
from verify.probe import ROWS, probe_inputs
from verify.spec import DataError, is_path


def load(
    model: Any,
    *,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    backend: str | None = None,
) -> Network:
    """Read a model without running it.

    Parameters
    ----------
    model : path or keras.Model
        A ``.keras``, ``.h5`` or ``.weights.h5`` file is read without Keras; a live
        model needs it.
    config : path, optional
        For ``.weights.h5``: the JSON that ``model.to_json()`` gives.
    semantics : "keras2", "keras3" or None
        Whose meaning the settings of an old file have that changed since; by default
        that of the Keras which wrote it. What that concerns stands in ``spec.notes``.
    backend : "tensorflow", "jax" or None
        Whose rules to compute by where they differ (`verify.backends.Rule`); by default
        those of the running Keras for a live model, TensorFlow's for a file.

    Returns
    -------
    Network

    Raises
    ------
    ModelFileError
        The file is missing, damaged or not a Keras file.
    UnsupportedError
        A model, layer, option or backend that is not supported, by name.
    """
    if is_path(model):
        from verify.files import read_file

        net = Network(read_file(model, config=config, semantics=semantics))
        return net.on(backend or "tensorflow")
    if config is not None or semantics is not None:
        raise DataError("config and semantics are for model files. Received: a model")
    if isinstance(model, Network):
        return model if backend is None else model.on(backend)
    from verify import keras_bridge

    spec = keras_bridge.read_live(model)
    net = Network(spec, floatx=keras_bridge.import_keras().config.floatx())
    return net.on(backend or keras_bridge.backend())


def usable_inputs(net: Network, x: Any = None, *, rows: int = ROWS) -> Inputs:
    """Inputs ready for a comparison; so many rows of probe inputs where `x` is None.

    Returns
    -------
    Inputs
        One array, (batch, ...), for each input of the model, in its dtype.

    Raises
    ------
    DataError
        The inputs do not fit the model, or NaN or infinity is in them or the weights.
    """
    net.spec.require_finite()
    if x is None:
        prepared = net.prepare(probe_inputs(net.spec, rows=rows))
        if all(np.isfinite(y.astype(np.float64)).all() for y in net.flat(prepared)):
            return prepared
        return net.prepare(probe_inputs(net.spec, empty=False, rows=rows))
    prepared = checked_inputs(net, x)
    net.flat(prepared)  # refuses ids outside the vocabulary, wherever they are
    return prepared


def checked_inputs(net: Network, x: Any) -> Inputs:
    """Inputs in the model's dtypes, but for ids that may be outside the vocabulary.

    Raises
    ------
    DataError
        The inputs do not fit the model, or NaN or infinity is in them.
    """
    for array in net.separate(x):
        if is_float(array) and not np.isfinite(array).all():
            bad = ~np.isfinite(array)
            first = [int(k) for k in np.argwhere(bad)[0]]
            raise DataError(
                f"expected finite numbers in the inputs. Received: "
                f"{np.count_nonzero(bad):,} NaN or infinite value(s), the first at "
                f"{first}"
            )
    return net.prepare(x)
