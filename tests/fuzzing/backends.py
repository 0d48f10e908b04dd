"""The backend that Keras runs on during the trials, another one as a second opinion.

Set it by the environment, before Python starts: ``KERAS_BACKEND=jax``.
"""

from __future__ import annotations

import os
from typing import Any

BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"


def prepare() -> None:
    """Prepare XLA; call it before Keras is imported, when XLA reads its settings."""
    if BACKEND == "jax":  # these models are compiled once and run once
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


def call(model: Any, given: Any) -> Any:
    """One forward pass; on JAX as one program, which is compiled faster than many."""
    if BACKEND != "jax":
        return model(given, training=False)
    import jax

    return jax.jit(lambda x: model(x, training=False))(given)
