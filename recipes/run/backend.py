"""Choose the backend that Keras trains on, and prepare it.

Keras on JAX trains networks of this size faster than Keras on TensorFlow, and is loaded
in less time. So JAX is the default. The seed of a run decides its weights on either;
they differ between the two.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from recipes.run.compilations import keep_compilations
from recipes.run.folder import RunFolder
from verify.errors import DataError, printable
from verify.keras_bridge import backend as current
from verify.keras_bridge import import_keras, without_tensorflow

BACKENDS = ("jax", "tensorflow")
"""The values of ``--backend``, the default first."""

VARIABLE = "KERAS_BACKEND"
"""The environment variable that names Keras's backend."""

STEPS_PER_EXECUTION = 32
"""Training steps that TensorFlow does between two returns to Python. It changes the
time, not the weights."""


def use(name: str | None = None) -> str:
    """Make Keras run on a backend, and return its name.

    Parameters
    ----------
    name : str, optional
        By default the backend that Keras runs on, if it has been imported; else that of
        the environment variable ``KERAS_BACKEND``; else JAX.

    Raises
    ------
    DataError
        Keras has been imported on another backend, which cannot be changed any more.
    """
    if "keras" in sys.modules:
        loaded = current()
        if name not in (None, loaded):
            raise DataError(
                f"expected Keras on {name}. Received: Keras, imported on {loaded} "
                f"before; set {VARIABLE}={name} before Keras is imported"
            )
        return loaded
    chosen = name or os.environ.get(VARIABLE) or BACKENDS[0]
    os.environ[VARIABLE] = chosen
    return chosen


def of_run(manifest: Mapping[str, Any]) -> str:
    """Return the backend that a run was trained on; runs of old have TensorFlow's."""
    versions = manifest.get("versions")
    named = versions.get("backend") if isinstance(versions, dict) else None
    return str(manifest.get("backend") or named or "tensorflow")


def require_same_backend(folder: RunFolder, wanted: str | None) -> str:
    """Return the backend of the run in a folder, which has to be the one wanted.

    Raises
    ------
    DataError
        The run was begun on another one.
    """
    begun = of_run(folder.read_json("manifest.json"))
    if wanted not in (None, begun):
        raise DataError(
            f"{printable(folder.path)}: expected to resume on {printable(begun, 40)}, "
            f"on which the run was begun. Received: {wanted}"
        )
    return begun


def start(seed: int, name: str | None = None) -> Any:
    """Import Keras, fix all random seeds and make operations deterministic.

    Parameters
    ----------
    seed : int
    name : str, optional
        The backend, as for `use`.

    Returns
    -------
    module
        keras
    """
    chosen = use(name)
    if "keras" not in sys.modules:
        print("Loading Keras ...", file=sys.stderr, flush=True)
    keras = import_keras()
    keras.backend.clear_session()
    if chosen == "jax":
        keep_compilations()
    with without_tensorflow():
        keras.utils.set_random_seed(seed)
    if chosen == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        # several models in one program make TensorFlow advise against retracing
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return keras


def take_steps_at_once(model: Any) -> None:
    """Let a compiled model return to Python less often, where that saves time."""
    if current() == "tensorflow":
        model.steps_per_execution = STEPS_PER_EXECUTION
