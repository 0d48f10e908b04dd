"""What is compared: each competitor takes ids as a NumPy array and returns one.

Every one is given its best way: the batch sizes, and what else may be chosen, are tried
on the spot, and the fastest takes the turns. Only ``predict, batch_size=32`` is Keras
as it comes. All may use all cores.
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
from benchmarks.limit import activations, products
from benchmarks.machine import cores
from benchmarks.models import inputs
from benchmarks.onnx_model import onnx_model
from benchmarks.plain import plain_pass
from benchmarks.turns import BenchmarkError, come_to_rest, seconds_of
from verify.keras_bridge import import_keras
from verify.model.arrays import Array

Forward = Callable[[Array], Array]

BATCH_SIZES = (32, 256, 1024, 4096)
TRIED_ROWS = 4096
"""Rows on which ways are tried: of more than these, one piece shows which is best."""

WARM_SECONDS, CLEAR_SECONDS = 1.5, 0.4
"""Seconds of a call from which what its first time costs does not matter, and from
which one more call would hardly say more."""

HOPELESS_RATIO = 4.0
"""A way whose first call took so many times the best is not tried again."""

CLOSE_RATIO = 1.5
"""A way is tried again where it took at most so many times the best."""


@dataclass(frozen=True)
class Case:
    """A model and a number of rows."""

    model: str
    units: int
    length: int
    rows: int

    @property
    def file(self) -> str:
        """Name of the model's file; the same for every number of rows."""
        return f"{self.model}-{self.units}-{self.length}.keras"


@dataclass(frozen=True)
class Ready:
    """A competitor that has been prepared for a case.

    Attributes
    ----------
    way : str
        The best one.
    once : float
        Seconds of a call.
    output : (rows, classes), or None for a part of the computation
    tried : dict of str to float
        Seconds of every way, on at most `TRIED_ROWS` rows, where there are several.
    """

    way: str
    once: float
    output: Array | None
    tried: dict[str, float]


def blocks(call: Forward, size: int, x: Array) -> Array:
    """The outputs of pieces of so many rows, one after the other."""
    if len(x) <= size:
        return call(x)
    return np.concatenate(
        [call(x[start : start + size]) for start in range(0, len(x), size)]
    )


def in_blocks(call: Forward, rows: int, sizes: tuple[int, ...]) -> dict[str, Forward]:
    """Ways to call: with all rows at once, and in pieces of fewer."""
    ways = {
        f"{size} rows": partial(blocks, call, size) for size in sizes if size < rows
    }
    return {"all rows": call, **ways}


def batch_sizes(rows: int) -> list[int]:
    """Those that make a difference with so many rows."""
    return [size for size in BATCH_SIZES if size < rows] + [
        size for size in BATCH_SIZES if size >= rows
    ][:1]


class Competitor(ABC):
    """A program that computes the model.

    Attributes
    ----------
    title : str
    home : str
        The process it runs in.
    whole : bool
        Whether it computes the outputs, not only a part of the way to them.
    """

    title: ClassVar[str]
    home: ClassVar[str]
    whole: ClassVar[bool] = True

    @abstractmethod
    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """How it can be called for so many rows."""


class Verify(Competitor):
    """``verify.load(path).predict(x)``"""

    title, home = "verify", "NumPy"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """As it comes."""
        return {"predict": _network(path).predict}


class Plain(Competitor):
    """The equations in a loop."""

    title, home = "plain NumPy loop", "NumPy"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """All rows at once, or in pieces."""
        return in_blocks(plain_pass(_network(path).spec), rows, (1024,))


class Products(Competitor):
    """Only the matrix products."""

    title, home, whole = "products alone", "NumPy", False

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """By the sizes of pieces and the threads."""
        return products(_network(path).spec, rows, cores())


class Activations(Competitor):
    """Only the activations."""

    title, home, whole = "activations alone", "NumPy", False

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """By the sizes of pieces and the threads."""
        return activations(_network(path).spec, rows, cores())


class Predict(Competitor):
    """``model.predict(x)``, with its batches of 32."""

    title, home = "predict, batch_size=32", "Keras on TensorFlow"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """As it comes."""
        return {"batch_size=32": _predicting(path, 32)}


class PredictBest(Competitor):
    """``model.predict(x, batch_size=...)`` at its best."""

    title, home = "predict, best batch size", "Keras on TensorFlow"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """By batch size."""
        return {
            f"batch_size={size}": _predicting(path, size) for size in batch_sizes(rows)
        }


class Function(Competitor):
    """A concrete ``tf.function`` that calls the model."""

    title, home = "tf.function", "Keras on TensorFlow"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """All rows at once, or in pieces."""
        sizes = (256, 1024, 4096)
        ways = in_blocks(_function(path), rows, sizes)
        if rows > 4 * TRIED_ROWS:  # a graph that keeps every step of every row
            del ways["all rows"]
        return ways


class KerasOnNumPy(Competitor):
    """``predict`` on Keras's NumPy backend, which large batches suit."""

    title = home = "Keras on NumPy"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """By batch size."""
        return {
            f"batch_size={size}": _predicting(path, size)
            for size in batch_sizes(rows)[-2:]
        }


class KerasOnJAX(PredictBest):
    """``predict`` on Keras's JAX backend."""

    title = home = "Keras on JAX"


class OnnxRuntime(Competitor):
    """ONNX Runtime on the CPU, with ONNX's own recurrent operators."""

    title = home = "ONNX Runtime"

    def ways(self, path: Path, rows: int) -> Mapping[str, Forward]:
        """By pieces, by whether its threads spin, by who makes the threads."""
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
"""The first is the one that the others are compared with."""

RUNTIME_OF: dict[str, dict[str, str]] = {
    "NumPy": {},
    "Keras on TensorFlow": {"KERAS_BACKEND": "tensorflow"},
    "Keras on NumPy": {"KERAS_BACKEND": "numpy"},
    "Keras on JAX": {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    "ONNX Runtime": {},
}
"""Environment of each process."""

_prepared: dict[str, Callable[[], object]] = {}


def prepare(title: str, folder: str, case: Case) -> Ready:
    """Find a competitor's best way for a case, in the process it runs in.

    Raises
    ------
    BenchmarkError
        It is none of `COMPETITORS`.
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
        output = forward(x)  # the first time compiles what is still to be compiled
        once = time.perf_counter() - began
        if once > WARM_SECONDS:
            break
    _prepared[title] = lambda: forward(x)
    gc.collect()
    gc.freeze()  # what is there now will stay, and need not be gone through
    come_to_rest()
    return Ready(best, once, output if kind.whole else None, tried)


def seconds_of_ways(ways: Mapping[str, Forward], x: Array) -> dict[str, float]:
    """Try each way, those that come close again and again."""
    tried = {way: _once(forward, x) for way, forward in ways.items()}
    best = min(tried.values())
    for way, forward in ways.items():  # the first time compiles and wakes threads
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
    """Median seconds of a call, in the process of a prepared competitor."""
    return seconds_of(_prepared[title], calls)


def forget() -> None:
    """Let go of what was prepared."""
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
    # Spinning inside a run may make it faster; after a run it would slow down others.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(
        onnx_model(_network(path).spec), options, providers=["CPUExecutionProvider"]
    )


def _run(session: Any, x: Array) -> Array:
    return session.run(None, {"ids": x})[0]


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores())


def _in_threads(call: Forward, size: int, x: Array) -> Array:
    pieces = [x[start : start + size] for start in range(0, len(x), size)]
    return np.concatenate(list(_pool().map(call, pieces)))
