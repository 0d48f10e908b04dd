"""Load a model, from a file or from Keras, as a `Network`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from verify.data.files import named_path
from verify.errors import DataError
from verify.forward.network import Network
from verify.model.arguments import typed
from verify.model.spec import is_path
from verify.model.versions import known_rules, rules_of


@typed
def load(
    model: Any,
    *,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    backend: str | None = None,
    keras: str | None = None,
    partial: bool = False,
    base_classes: Mapping[str, str] | str | None = None,
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
        How to read settings that meant something else in Keras 2, such as
        hard_sigmoid; by default as the Keras that wrote the file. ``spec.notes`` lists
        the settings concerned.
    backend : "tensorflow", "jax", "torch", "numpy" or None
        Backend whose rules to follow where backends differ
        (`verify.model.backends.Rule`); by default that of the running Keras for a live
        model, TensorFlow for a file.
    keras : "3.15", "3.16" or None
        Version of Keras whose rules to follow where versions differ
        (`verify.model.versions.VersionRule`); by default that of the running Keras for
        a live model, for a file that of the Keras that wrote it.
    partial : bool
        Whether layers that are not supported are marked (`LayerSpec.unread`) instead of
        refused. `describe` shows such a network and `check` proves the other layers;
        it cannot be evaluated.
    base_classes : mapping of str to str, "auto" or None
        For files: custom classes that are taken as classes of Keras, such as
        ``{"ReversedLSTM": "LSTM"}``; ``"auto"`` takes each as the only one that it
        fits. What a custom class adds is then neither computed nor checked.

    Returns
    -------
    Network

    Raises
    ------
    ModelFileError
        The file is missing, damaged or not a Keras file.
    UnsupportedError
        A model, a layer, an option, a backend or a version is not supported.
    """
    if config is not None:
        named_path(config, "config: expected a file with what model.to_json() returns")
    rules = None if keras is None else known_rules(keras)
    if is_path(model):
        from verify.model_files.read import read_file

        net = Network(
            read_file(
                model,
                config=config,
                semantics=semantics,
                partial=partial,
                base_classes=base_classes,
            )
        )
        net = net.by_version(
            rules_of(net.spec.keras_version) if rules is None else rules
        )
        return net.on(backend or "tensorflow")
    if config is not None or semantics is not None or base_classes is not None:
        raise DataError(
            "config, semantics and base_classes are for model files. Received: a model"
        )
    if isinstance(model, Network):
        net = model if rules is None else model.by_version(rules)
        return net if backend is None else net.on(backend)
    from verify import keras_bridge

    spec = keras_bridge.read_live(model, partial=partial)
    net = Network(spec, floatx=keras_bridge.import_keras().config.floatx())
    net = net.by_version(keras_bridge.version_rules() if rules is None else rules)
    return net.on(backend or keras_bridge.backend())
