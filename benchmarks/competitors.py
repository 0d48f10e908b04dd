"""Define the programs that are compared; each takes an array of ids and returns one.

Each is called in its fastest way: batch sizes and other choices are tried first, and
the fastest is timed. Only ``predict, batch_size=32`` is Keras with its defaults. All
may use all cores.
"""

from __future__ import annotations

import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import verify
from benchmarks.limit import Forward, activations, products
from benchmarks.machine import cores
from benchmarks.models import inputs
from benchmarks.plain import plain_pass
from benchmarks.turns import BenchmarkError, come_to_rest, seconds_of
from verify.keras_bridge import import_keras
from verify.model.arrays import Array
from verify.ports.convert.to_onnx.model import onnx_model

BATCH_SIZES = (32, 256, 1024, 4096)
TRIED_ROWS = 4096
"""Greatest number of rows on which ways are tried; more would not change the order."""

WARM_SECONDS, CLEAR_SECONDS = 1.5, 0.4
"""Seconds of a call beyond which the cost of the first call does not matter, and beyond
which another call would tell hardly more."""

HOPELESS_RATIO = 4.0
"""A way whose first call takes more than this multiple of the best is given up."""

CLOSE_RATIO = 1.5
"""A way that takes at most this multiple of the best is tried again."""


@dataclass(frozen=True)
class Case:
    """Describe a case: a model and a number of rows."""

    model: str
    units: int
    length: int
    rows: int

    @property
    def file(self) -> str:
        """Return the name of the model's file, the same for every number of rows."""
        return f"{self.model}-{self.units}-{self.length}.keras"


@dataclass(frozen=True)
class Ready:
    """Hold what the preparation of a competitor for a case has found.

    Attributes
    ----------
    way : str
        The fastest way to call it.
    once : float
        Seconds of a call.
    output : (rows, classes), or None for a part of the computation
    tried : dict of str to float
        Seconds of every way on at most `TRIED_ROWS` rows; empty if there is only one.
    """

    way: str
    once: float
    output: Array | None
    tried: dict[str, float]


def call_in_blocks(call: Forward, size: int, x: Array) -> Array:
    """Return the outputs of all rows, computed in blocks of `size` rows."""
    if len(x) <= size:
        return call(x)
    return np.concatenate(
        [call(x[start : start + size]) for start in range(0, len(x), size)]
    )


def in_blocks(call: Forward, rows: int, sizes: tuple[int, ...]) -> dict[str, Forward]:
    """Return ways to call: with all rows at once, and in blocks of each size."""
    ways = {
        f"{size} rows": partial(call_in_blocks, call, size)
        for size in sizes
        if size < rows
    }
    return {"all rows": call, **ways}


def batch_sizes(rows: int) -> list[int]:
    """Return the batch sizes that make a difference with this number of rows."""
    return [size for size in BATCH_SIZES if size < rows] + [
        size for size in BATCH_SIZES if size >= rows
    ][:1]


class Competitor(ABC):
    """Represent a program that computes the model.

    Attributes
    ----------
    title : str
    home : str
        The process it runs in, a key of `RUNTIME_OF`.
    whole : bool
        Whether it computes the outputs, not only a part of the computation.
    """

    title: ClassVar[str]
    home: ClassVar[str]
    whole: ClassVar[bool] = True

    @abstractmethod
    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return the ways in which it can be called with this number of rows."""


class Verify(Competitor):
    """Call ``verify.load(path).predict(x)``."""

    title, home = "verify", "NumPy"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return the only way."""
        return {"predict": _network(path).predict}


class Plain(Competitor):
    """Compute the equations in a loop over time."""

    title, home = "plain NumPy loop", "NumPy"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return ways by block size."""
        return in_blocks(plain_pass(_network(path).spec), rows, (1024,))


class Products(Competitor):
    """Compute only the matrix products."""

    title, home, whole = "products alone", "NumPy", False

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return ways by block size and threads."""
        return products(_network(path).spec, rows, cores())


class Activations(Competitor):
    """Compute only the activations."""

    title, home, whole = "activations alone", "NumPy", False

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return ways by block size and threads."""
        return activations(_network(path).spec, rows, cores())


class Predict(Competitor):
    """Call ``model.predict(x)``, with its batches of 32."""

    title, home = "predict, batch_size=32", "Keras on TensorFlow"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return the only way."""
        return {"batch_size=32": _predicting(path, 32)}


class PredictBest(Competitor):
    """Call ``model.predict(x, batch_size=...)`` with the best batch size."""

    title, home = "predict, best batch size", "Keras on TensorFlow"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return ways by batch size."""
        return {
            f"batch_size={size}": _predicting(path, size) for size in batch_sizes(rows)
        }


class Function(Competitor):
    """Call the model in a concrete ``tf.function``."""

    title, home = "tf.function", "Keras on TensorFlow"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return ways by block size."""
        sizes = (256, 1024, 4096)
        ways = in_blocks(_function(path), rows, sizes)
        if rows > 4 * TRIED_ROWS:  # the graph keeps every step of every row in memory
            del ways["all rows"]
        return ways


class KerasOnNumPy(Competitor):
    """Call ``predict`` on Keras's NumPy backend, for which large batches are best."""

    title = home = "Keras on NumPy"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return ways by batch size."""
        return {
            f"batch_size={size}": _predicting(path, size)
            for size in batch_sizes(rows)[-2:]
        }


class KerasOnJAX(PredictBest):
    """Call ``predict`` on Keras's JAX backend."""

    title = home = "Keras on JAX"


class OnnxRuntime(Competitor):
    """Call ONNX Runtime on the CPU, with ONNX's own recurrent operators."""

    title = home = "ONNX Runtime"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """Return ways by block size, by spinning or not, and by whose threads."""
        ways: dict[str, Forward] = {}
        for spinning in (True, False):
            call = partial(_run, _session(path, cores(), spinning))
            suffix = "" if spinning else ", no spinning"
            for way, forward in in_blocks(call, rows, (256, 1024)).items():
                ways[way + suffix] = forward
        alone = partial(_run, _session(path, 1, False))
        for size in (64, 256):
            if size < rows and cores() > 1:
                way = f"{size} rows, {cores()} threads of ours"
                ways[way] = partial(_in_threads, alone, size)
        return ways


COMPETITORS: tuple[type[Competitor], ...] = (
    Verify, OnnxRuntime, Function, PredictBest, Predict, KerasOnJAX, KerasOnNumPy,
    Plain, Products, Activations,
)  # fmt: skip
"""All competitors; the others are compared with the first."""

RUNTIME_OF: dict[str, dict[str, str]] = {
    "NumPy": {},
    "Keras on TensorFlow": {"KERAS_BACKEND": "tensorflow"},
    "Keras on NumPy": {"KERAS_BACKEND": "numpy"},
    "Keras on JAX": {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    "ONNX Runtime": {},
}
"""Process -> its environment variables."""

_prepared: dict[str, Callable[[], object]] = {}
"""Calls to be timed, by title; filled in the process of a competitor."""


def prepare(title: str, folder: str, case: Case) -> Ready:
    """Find the fastest way to call a competitor in a case, in its own process.

    Raises
    ------
    BenchmarkError
        No competitor has this title.
    """
    found = [kind for kind in COMPETITORS if kind.title == title]
    if not found:
        raise BenchmarkError(f"expected a competitor. Received: {title}")
    (kind,) = found
    gc.unfreeze()
    x = inputs(case.rows, case.length)
    ways = kind().ways(Path(folder) / case.file, case.rows)
    tried = seconds_of_ways(ways, x[:TRIED_ROWS]) if len(ways) > 1 else {}
    best = min(ways, key=lambda way: tried.get(way, 0.0))
    forward = ways[best]
    output = None
    for _ in range(2):
        began = time.perf_counter()
        output = forward(x)  # the first call may still compile
        once = time.perf_counter() - began
        if once > WARM_SECONDS:
            break
    _prepared[title] = lambda: forward(x)
    gc.collect()
    gc.freeze()  # what is there now stays: collections may skip it
    come_to_rest()
    return Ready(best, once, output if kind.whole else None, tried)


def seconds_of_ways(ways: Mapping[str, Forward], x: Array) -> dict[str, float]:
    """Return the least seconds of each way; those close to the best are tried again."""
    tried = {way: _once(forward, x) for way, forward in ways.items()}
    best = min(tried.values())
    for way, forward in ways.items():  # the first call compiles and starts threads
        if (
            tried[way] < WARM_SECONDS
            and not CLEAR_SECONDS < tried[way] > HOPELESS_RATIO * best
        ):
            tried[way] = _once(forward, x)
    for _ in range(3):
        best = min(tried.values())
        if best > CLEAR_SECONDS:
            break
        for way, forward in ways.items():
            if tried[way] <= CLOSE_RATIO * best:
                tried[way] = min(tried[way], _once(forward, x))
    return tried


def _once(forward: Forward, x: Array) -> float:
    began = time.perf_counter()
    forward(x)
    return time.perf_counter() - began


def take_turn(title: str, calls: int) -> float:
    """Return the median seconds of a call of a competitor that was prepared here."""
    return seconds_of(_prepared[title], calls)


def forget() -> None:
    """Forget all prepared competitors."""
    _prepared.clear()


@lru_cache(maxsize=1)
def _network(path: Path) -> verify.Network:
    return verify.load(path)


@lru_cache(maxsize=1)
def _model(path: Path) -> Any:
    return import_keras().models.load_model(path, compile=False)


def _predicting(path: Path, size: int) -> Forward:
    return partial(_model(path).predict, batch_size=size, verbose=0)


@lru_cache(maxsize=1)
def _function(path: Path) -> Forward:
    import tensorflow as tf

    model = _model(path)
    shape = tf.TensorSpec((None, model.input_shape[1]), tf.int32)
    traced = tf.function(lambda x: model(x, training=False), jit_compile=False)
    concrete = traced.get_concrete_function(shape)

    def forward(x: Array) -> Array:
        return concrete(tf.constant(x)).numpy()

    return forward


@lru_cache(maxsize=3)
def _session(path: Path, threads: int, spinning: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", str(int(spinning))
    )
    # Threads may spin during a run; after it they would slow other competitors down.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(
        onnx_model(_network(path)).content, options, providers=["CPUExecutionProvider"]
    )


def _run(session: Any, x: Array) -> Array:
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores())


def _in_threads(call: Forward, size: int, x: Array) -> Array:
    blocks = [x[start : start + size] for start in range(0, len(x), size)]
    return np.concatenate(list(_pool().map(call, blocks)))
