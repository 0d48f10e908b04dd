"""Keras itself: how it is imported, and settings that hold for a while."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import math
import os
import re
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

from verify.console.signals import interruptible
from verify.errors import KerasChanged, UnsupportedError, install_hint, printable
from verify.keras_bridge import private
from verify.model.backends import BACKENDS, REFUSED_BACKENDS
from verify.model.versions import untested

CPU_BUILD = "without a GPU choose torch's CPU build: the default brings gigabytes"


def require_keras() -> None:
    """Require that Keras is installed, without importing it.

    Raises
    ------
    UnsupportedError
        It is missing; the message says what to install.
    """
    if "keras" not in sys.modules and importlib.util.find_spec("keras") is None:
        raise _not_installed("No module named 'keras'")


def _not_installed(reason: object) -> UnsupportedError:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend in REFUSED_BACKENDS:
        return UnsupportedError(
            f"expected Keras on one of {', '.join(BACKENDS)}. "
            f"Received: {backend}{REFUSED_BACKENDS[backend]}"
        )
    # Keras on NumPy convolves and pools by JAX, and does not start without it
    extra = {"tensorflow": "keras", "jax": "jax", "numpy": "jax"}.get(backend)
    hint = f". {install_hint(extra)}" if extra else ""
    if backend == "torch":
        hint = f". Install it with: pip install keras torch ({CPU_BUILD})"
    return UnsupportedError(
        f"expected Keras with its backend {printable(backend)} to be installed. "
        f"Received: {printable(reason)}{hint}"
    )


@contextlib.contextmanager
def held_stderr() -> Iterator[None]:
    """Hold back what is written to standard error, and show it if the block raises.

    TensorFlow's C++ side writes to file descriptor 2 whatever the log level says, so
    the descriptor itself is held back.
    """
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        saved = os.dup(2)
        try:
            os.dup2(held.fileno(), 2)
            yield
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def import_keras() -> Any:
    """Import Keras and return it, without the start-up chatter of its backend."""
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    missing: ImportError | None = None
    with held_stderr():
        try:
            keras = interruptible(lambda: importlib.import_module("keras"))
        except ImportError as error:  # said in one line, without the chatter
            missing = error
    if missing is not None:
        raise _not_installed(missing) from None
    return keras


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Keep Keras on another backend from importing TensorFlow while the block lasts.

    To save a model or to set a random seed, Keras imports it only to look whether it is
    there, which takes seconds. Models with layers that TensorFlow computes on every
    backend (those that look up or hash) must not be made or run inside.
    """
    lazy = None
    if "tensorflow" not in sys.modules:
        with contextlib.suppress(KerasChanged):
            lazy = private.lazy_tensorflow()
    if (
        getattr(lazy, private.AVAILABLE, False) is not None
    ):  # it knows already, or has moved
        yield
        return
    with patch.object(lazy, private.AVAILABLE, False):
        yield


_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
"""What Keras prints around the reason of an error, to show it in bold."""


_INSIDE = "Exception encountered: "
"""What Keras puts before the reason for which a layer inside cannot be made."""


def first_line(error: Exception) -> str:
    """Return the class and the line of an error that says what happened.

    Keras puts the layer that was called above it, and escape codes around it; of
    layers that cannot be made from their configs, it says the reason last. So does
    TensorFlow of a graph, but for the node.
    """
    lines = [_ESCAPES.sub("", line).strip() for line in str(error).splitlines()]
    said = [line for line in lines if line] or [""]
    called = said[0].startswith("Exception encountered when calling")
    reason = said[1] if called and len(said) > 1 else said[0]
    if said[0].startswith("Graph execution error"):
        reason = [line for line in said if not line.startswith("[[")][-1]
    last = [line for line in said if line.startswith(_INSIDE)]
    reason = last[-1].removeprefix(_INSIDE) if last else reason
    return f"{type(error).__name__}: {printable(reason)}"


@contextlib.contextmanager
def floatx(dtype: str | None) -> Iterator[None]:
    """Set Keras's default float type inside a ``with``; predict casts inputs to it.

    None leaves it as it is. With float64, Keras computes in 64 bits on every backend.
    """
    config = import_keras().config
    before = config.floatx()
    config.set_floatx(dtype or before)
    try:
        with _float64() if dtype == "float64" else contextlib.nullcontext():
            yield
    finally:
        config.set_floatx(before)


@contextlib.contextmanager
def _float64() -> Iterator[None]:
    """Make Keras compute in float64, which it reserves for TensorFlow.

    By Keras's rule of promotion a layer in float64 would compute some operations in
    float32 on any other backend: its tanh on JAX, its matrix products on torch.
    """
    name = backend()
    if name == "tensorflow":
        with _pooling_3d():
            yield
        return
    with contextlib.ExitStack() as changed:
        table = private.promotions_off_tensorflow()
        changed.enter_context(patch.dict(table, {"float64": "float64"}))
        if name in ("jax", "numpy"):  # Keras on NumPy convolves and pools by JAX
            import jax

            changed.enter_context(jax.enable_x64(True))
        if name == "jax":
            changed.enter_context(_jax_attention())
        if name == "numpy":
            # the softmax of an attention, as on JAX
            nn = private.backend_operations("numpy", "nn")
            changed.enter_context(patch.object(nn, "np", _wide(np)))
        if name == "torch":
            changed.enter_context(_torch_float64())
        yield


@contextlib.contextmanager
def _pooling_3d() -> Iterator[None]:
    """Make TensorFlow pool float64 over three axes, for which it has no kernel.

    It pools over two axes and then over the third, by its own kernels. A mean without
    padding is a mean of such means, because padding is a whole slice of a window.
    """
    tf = sys.modules["tensorflow"]  # Keras has imported it
    pools = {"MAX": tf.nn.max_pool, "AVG": tf.nn.avg_pool}
    any_pool = tf.nn.pool

    def in_turn(kind: str, x: Any, size: Any, strides: Any, padding: str) -> Any:
        """Pool (batch, depth, rows, columns, channels) one axis after the others."""
        flat = (-1, *_sizes(tf, x)[2:])
        y = pools[kind](tf.reshape(x, flat), size[1:], strides[1:], padding)
        depth, (_, rows, columns, channels) = _sizes(tf, x)[1], _sizes(tf, y)
        y = tf.reshape(y, (-1, depth, rows * columns, channels))
        y = pools[kind](y, (size[0], 1), (strides[0], 1), padding)
        return tf.reshape(y, (-1, _sizes(tf, y)[1], rows, columns, channels))

    def wide(x: Any) -> bool:
        return x.dtype == tf.float64 and len(x.shape) == 5

    def pooled(
        kind: str, input: Any, ksize: Any, strides: Any, padding: str, *more: Any
    ) -> Any:
        """Stand for ``tf.nn.max_pool`` and ``tf.nn.avg_pool``."""
        if wide(input):
            return in_turn(kind, input, ksize, strides, padding)
        return pools[kind](input, ksize, strides, padding, *more)

    def pool(input: Any, window_shape: Any, pooling_type: str, **given: Any) -> Any:
        """Stand for ``tf.nn.pool``."""
        if wide(input):
            how = given["strides"], given["padding"]
            return in_turn(pooling_type, input, window_shape, *how)
        return any_pool(input, window_shape, pooling_type, **given)

    with (
        patch.object(tf.nn, "max_pool", partial(pooled, "MAX")),
        patch.object(tf.nn, "avg_pool", partial(pooled, "AVG")),
        patch.object(tf.nn, "pool", pool),
    ):
        yield


def _sizes(tf: Any, x: Any) -> list[Any]:
    """Return the sizes of the axes of a tensor, those that are open as tensors."""
    return [tf.shape(x)[k] if n is None else n for k, n in enumerate(x.shape)]


def _wide(module: Any) -> types.SimpleNamespace:
    """Return a module of arrays whose ``float32`` is float64."""
    return types.SimpleNamespace(**{**vars(module), "float32": module.float64})


@contextlib.contextmanager
def _torch_float64() -> Iterator[None]:
    """Make torch divide whole numbers in float64; they take its default dtype."""
    torch = sys.modules["torch"]  # Keras has imported it
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _jax_attention() -> Iterator[None]:
    """Make an attention on JAX compute its softmax in float64, not in float32.

    It is computed by Keras's own formula; nothing else changes.
    """
    import jax

    nn = private.backend_operations("jax", "nn")

    def attention(
        query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None,
        scale: Any = None, is_causal: bool = False, **_: Any,
    ) -> Any:  # fmt: skip
        """Return attention by Keras's formula for other devices, instead of JAX's."""
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        core = private.jax_attention()
        return core(query, key, value, bias, mask, is_causal, scale)

    with (
        patch.object(nn, "jnp", _wide(nn.jnp)),
        patch.object(jax.nn, "dot_product_attention", attention),
    ):
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence advice: TensorFlow's about retracing, Keras's about lost masks."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def backend() -> str:
    """Return the backend that Keras runs on: ``tensorflow``, ``jax`` and so on."""
    return str(import_keras().backend.backend())


def untested_version() -> str:
    """Say that the Keras that is loaded was not tested; empty if it was, or is none."""
    version = getattr(sys.modules.get("keras"), "__version__", None)
    return untested(str(version)) if version else ""


def versions() -> dict[str, str]:
    """Return the versions and the backend that a result depends on."""
    keras, name = import_keras(), backend()
    found = {"keras": keras.__version__, "numpy": np.__version__, "backend": name}
    if name != "numpy":
        found[name] = str(getattr(sys.modules.get(name), "__version__", "unknown"))
    return found
