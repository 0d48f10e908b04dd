"""Keras itself: imported quietly, and its settings for a while."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from verify.spec import UnsupportedError, plain


def import_keras() -> Any:
    """Import Keras and return it, without the start-up chatter of its backend.

    TensorFlow's C++ side writes to file descriptor 2 whatever the log level says, so
    the descriptor itself is held back during the import, and shown if that fails.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        saved = os.dup(2)
        try:
            os.dup2(held.fileno(), 2)
            import keras
        except ImportError as error:
            backend = os.environ.get("KERAS_BACKEND", "tensorflow")
            raise UnsupportedError(
                f"expected Keras with its backend {plain(backend)} to be installed. "
                f"Received: {plain(error)}"
            ) from None
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    return keras


def first_line(error: Exception) -> str:
    """TensorFlow's errors run over many lines; the first says what happened."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {plain(lines[0] if lines else '')}"


@contextlib.contextmanager
def floatx(dtype: str | None) -> Iterator[None]:
    """Keras's default float type inside a ``with``: predict casts inputs to it."""
    config = import_keras().config
    before = config.floatx()
    config.set_floatx(dtype or before)
    try:
        yield
    finally:
        config.set_floatx(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No advice on the way: TensorFlow's about retracing, Keras's about lost masks."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def require_tensorflow() -> None:
    """Masks and their odd cases are reproduced as Keras on TensorFlow has them.

    Raises
    ------
    UnsupportedError
    """
    backend = import_keras().backend.backend()
    if backend != "tensorflow":
        raise UnsupportedError(
            "expected Keras on TensorFlow to compare with. "
            f"Received: KERAS_BACKEND={plain(backend)}"
        )


def versions() -> dict[str, str]:
    """Versions and backend that a result depends on."""
    keras = import_keras()
    backend = keras.backend.backend()
    found = {"keras": keras.__version__, "numpy": np.__version__, "backend": backend}
    module = sys.modules.get(backend)
    if module is not None and backend != "numpy":
        found[backend] = str(getattr(module, "__version__", "unknown"))
    return found
