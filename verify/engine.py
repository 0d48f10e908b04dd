"""What makes a forward pass quick; what it computes is said in `verify.cells`.

Nothing here is needed to understand a model. `quickened` gives the recurrent layers of
a model steps of the same equations in another order of work, and `in_blocks` shares
the rows among threads:

* rows are evaluated in blocks whose numbers stay in a core's cache;
* the sums of a step are one stacked product, ``[x, h, 1] @ [kernel; recurrent; bias]``,
  with the blocks of the gates beside each other, (gates, rows, units);
* ``sigmoid(x)`` is ``(1 + tanh(x / 2)) / 2``, so that one call does for all gates;
* an Embedding that feeds a recurrent layer is multiplied by its kernel once, the whole
  table, where that costs less than doing so for every word of every row.

Layers that are not known here, that compute in 16 bits, or whose functions have been
replaced (`LayerSpec.overrides`) stay as they are.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from verify.dtypes import POLICIES, working
from verify.layers.base import function_of
from verify.recurrence import Step, Stepped
from verify.spec import GATES, Array, DataError, LayerSpec, plain
from verify.structure import Node, TensorRef, flatten

T = TypeVar("T")

CACHED, FEWEST, MOST = 1_150_000, 224, 1024
"""Bytes that the sums of one step should take: few enough for a core's cache, and many
enough that threads seldom wait for the interpreter, which runs one at a time. Rows of a
block are not fewer than FEWEST, which keep a matrix product busy, nor more than MOST.
"""

SPLIT = 260_000
"""Bytes of such sums that are worth a thread; with fewer it is waiting more often."""

HELD = 64 * 2**20
"""Bytes that a sequence of states may take in one block; long ones have fewer rows."""

PROJECTED = 64 * 2**20
"""Bytes of an embedding table times a kernel, at most."""


def quickened(root: LayerSpec, ids: int = 0) -> LayerSpec:
    """The same model with quick recurrent layers, made once for each model.

    Parameters
    ----------
    root : LayerSpec
        A model whose weights are in the dtype that they compute in.
    ids : int
        How many numbers will be looked up; embeddings are projected once it pays.
    """
    with _LOCK:
        known = _PREPARED.get(root)
        if known is None:
            known = _PREPARED[root] = _Prepared(root.mapped(_quick), _pairs(root))
    return known.model(ids)


def thread_count(threads: int | None = None) -> int:
    """How many threads to use: as told, as ``OMP_NUM_THREADS``, or one for each core.

    Raises
    ------
    DataError
    """
    if threads is not None:
        if type(threads) is not int or threads < 1:
            raise DataError(
                f"threads: expected a number from 1. Received: {plain(threads)}"
            )
        return threads
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal() and int(told) > 0:
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Blocks(NamedTuple):
    """How many rows are evaluated at a time.

    Attributes
    ----------
    rows : int
        In one block, at most.
    split : int
        So many are worth a thread.
    unit : int
        Of which a block has a multiple.
    """

    rows: int
    split: int
    unit: int


def blocks_of(root: LayerSpec, steps: int, batch: int | None) -> Blocks:
    """Blocks that suit a model, so many time steps and a batch size that is fixed.

    Whole batches of 32 otherwise, so that mistakes made at their ends come out alike.
    """
    unit = batch or 32
    widest = sums = 1
    for layer in _layers(root):
        units = layer.options.get("units", layer.options.get("output_dim", 1))
        widest = max(widest, units if type(units) is int else 1)
        if "Attention" in layer.class_name:  # every step looks at every other
            widest = max(widest, steps * layer.options.get("num_heads", 1))
        if layer.class_name in QUICK:
            sums = max(sums, len(layer.gates) * layer.options["units"])
    size = 8 if any(layer.policy == "float64" for layer in _layers(root)) else 4
    row = 2 * sums * size  # what is multiplied, and what is looked up
    rows = min(max(CACHED // row, FEWEST), MOST)
    rows = max(min(rows, HELD // (max(steps, 1) * widest * size)), unit)
    return Blocks(rows, max(min(SPLIT // row, rows), 1), unit)


def in_blocks(
    work: Callable[[slice], T], rows: int, blocks: Blocks, threads: int
) -> Iterator[tuple[slice, T]]:
    """Blocks of rows with what `work` makes of them, in order.

    The blocks are the same whatever the threads, and so are results to the last digit.

    Parameters
    ----------
    work : callable
        Given the rows of a block; called from several threads.
    rows : int
        In all.
    blocks : Blocks
    threads : int
    """
    count = max(-(-rows // blocks.rows), min(rows // blocks.split, 2), 1)
    count += count > 1 and count % 2  # two threads end together
    size = -(-rows // (count * blocks.unit)) * blocks.unit
    parts = [slice(k, min(k + size, rows)) for k in range(0, rows, size)]
    if len(parts) == 1:
        yield parts[0], work(parts[0])
        return
    with _numpy_alone():
        if threads == 1:
            yield from ((part, work(part)) for part in parts)
            return
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            yield from _some_ahead(pool, work, parts, 2 * threads)


def _some_ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[slice], T],
    parts: Sequence[slice],
    ahead: int,
) -> Iterator[tuple[slice, T]]:
    """Results in order; no more than so many wait in memory to be taken."""
    waiting: deque[tuple[slice, Future[T]]] = deque()
    try:
        for part in parts:
            if len(waiting) == ahead:
                first, future = waiting.popleft()
                yield first, future.result()
            waiting.append((part, pool.submit(work, part)))
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


@contextmanager
def _numpy_alone() -> Iterator[None]:
    """One thread for each matrix product, while our own threads share the work.

    NumPy's setting is the whole process's: the first of several callers changes it, the
    last restores it.
    """
    global _limiting, _limit
    with _LOCK:
        _limiting += 1
        if _limiting == 1:
            _limit = _limited()
    try:
        yield
    finally:
        with _LOCK:
            _limiting -= 1
            if not _limiting and _limit is not None:
                _limit.restore_original_limits()
                _limit = None


def _limited() -> Any:
    global _controller
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:  # a worker that has NumPy alone
        return None
    if _controller is None:
        _controller = ThreadpoolController()
    return _controller.limit(limits=1, user_api="blas")


_limiting, _limit, _controller = 0, None, None


@dataclass(frozen=True, eq=False)
class Quick:
    """A recurrent layer whose weights are laid out for quick steps.

    Attributes
    ----------
    layer : LayerSpec
        The layer as it is.
    table : (ids, columns), optional
        Embeddings times the kernel, plus the bias that the inputs get. With it the
        layer is given ids, (batch, time).
    """

    layer: LayerSpec
    table: Array | None = None
    stack: Array = field(init=False)

    def __post_init__(self) -> None:
        stack = _stack(self.layer, looks_up=self.table is not None)
        object.__setattr__(self, "stack", stack)

    @property
    def looks_up(self) -> bool:
        """Whether the layer is given ids."""
        return self.table is not None

    def __call__(self, rows: int) -> Step:
        """Steps for a block of so many rows, with buffers of their own."""
        return QUICK[self.layer.class_name](self, rows)


class _Sums:
    """The sums of a step: products with x and h, and the bias; (blocks, rows, units).

    With a table ``x`` is ids, and `looked_up` holds what was found for each block.
    """

    def __init__(self, quick: Quick, rows: int) -> None:
        self.stack, self.table = quick.stack, quick.table
        blocks, width, units = self.stack.shape
        dtype = self.stack.dtype
        self.sums = np.empty((blocks, rows, units), dtype)
        if self.table is None:
            self.inputs = np.ones((rows, width), dtype)  # x, h, 1
            features = width - units - 1
            self._x = self.inputs[:, :features]
            self._h = self.inputs[:, features:-1]
        else:
            self._found = np.empty((rows, self.table.shape[1]), dtype)
            self.looked_up = self._found.reshape(rows, -1, units).transpose(1, 0, 2)

    def __call__(self, x: Array, h: Array) -> None:
        """Fill `sums`, and `looked_up`."""
        if self.table is None:
            self._x[...] = x
            self._h[...] = h
            np.matmul(self.inputs, self.stack, out=self.sums)
        else:
            # ids have been checked: "clip" spares a second check and a copy
            self.table.take(x, axis=0, out=self._found, mode="clip")
            np.matmul(h, self.stack, out=self.sums)


def _simple_rnn(quick: Quick, rows: int) -> Step:
    sums, function = _Sums(quick, rows), _function(quick.layer)
    (z,), looks_up = sums.sums, quick.looks_up

    def step(x: Array, states: tuple[Array, ...]) -> Stepped:
        sums(x, states[0])
        if looks_up:
            np.add(z, sums.looked_up[0], out=z)
        h = function(z)
        return Stepped(h, (h,), {})

    return step


def _lstm(quick: Quick, rows: int) -> Step:
    sums, function = _Sums(quick, rows), _function(quick.layer)
    z, looks_up = sums.sums, quick.looks_up
    i, f, o, c_hat = z
    activate = _in_place(quick.layer, z[:3], z[3:])

    def step(x: Array, states: tuple[Array, ...]) -> Stepped:
        sums(x, states[0])
        if looks_up:
            np.add(z, sums.looked_up, out=z)
        activate()
        c = f * states[1]
        np.multiply(i, c_hat, out=i)
        np.add(c, i, out=c)
        h = function(c)
        np.multiply(h, o, out=h)
        return Stepped(h, (h, c), {})

    return step


def _gru(quick: Quick, rows: int) -> Step:
    sums, function = _Sums(quick, rows), _function(quick.layer)
    units, after = quick.layer.options["units"], quick.layer.options["reset_after"]
    u_h = quick.layer.weights["recurrent_kernel"][:, 2 * units :]
    b_h = _biases(quick.layer)[1][2]
    looks_up, gates = quick.looks_up, sums.sums[:2]
    z, r = gates
    activate = _in_place(quick.layer, gates, sums.sums[:0])
    a_h = sums.looked_up[2] if looks_up else sums.sums[-1]

    def step(x: Array, states: tuple[Array, ...]) -> Stepped:
        (h,) = states
        sums(x, h)
        if looks_up:
            np.add(gates, sums.looked_up[:2], out=gates)
        activate()
        if after:
            s_h = sums.sums[2]
            if looks_up:
                np.add(s_h, b_h, out=s_h)
            inside = np.multiply(r, s_h, out=r)
        else:
            inside = (r * h) @ u_h
        np.add(inside, a_h, out=inside)
        h_hat = function(inside)
        new = h - h_hat
        np.multiply(new, z, out=new)
        np.add(new, h_hat, out=new)
        return Stepped(new, (new,), {})

    return step


QUICK: Mapping[str, Callable[[Quick, int], Step]] = {
    "SimpleRNN": _simple_rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
"""Class name of a layer -> its quick steps."""


def _function(layer: LayerSpec) -> Callable[[Array], Array]:
    """The activation, always into an array of its own: sums are written over."""
    if layer.options["activation"] == "tanh":
        return np.tanh
    function = function_of(layer)
    sample = np.ones((1, 1))
    if np.may_share_memory(function(sample), sample):  # linear hands back what it got
        return lambda x: np.array(function(x))
    return function


def _in_place(layer: LayerSpec, gates: Array, others: Array) -> Callable[[], None]:
    """What turns sums into gates and candidates, where they lie; (blocks, rows, units).

    Parameters
    ----------
    layer : LayerSpec
    gates, others : (blocks, rows, units)
        One behind the other: those with the recurrent activation, and with the other.
    """
    gate, other = function_of(layer, "recurrent_activation"), function_of(layer)
    halved, tanh = _halves(layer), layer.options["activation"] == "tanh"
    whole = gates.base if len(others) and tanh else None
    both = gates if whole is None else whole  # one call for all
    one, half = gates.dtype.type(1), gates.dtype.type(0.5)

    def activate() -> None:
        if halved:
            np.tanh(both, out=both)
            np.add(gates, one, out=gates)
            np.multiply(gates, half, out=gates)
        else:
            for block in gates:  # one by one: softmax has the units for its axis
                block[...] = gate(block)
        if not halved or both is gates:
            for block in others:
                block[...] = other(block)

    return activate


def _halves(layer: LayerSpec) -> bool:
    """Whether the sums of the gates are halved, for tanh in the place of sigmoid."""
    return layer.options.get("recurrent_activation") == "sigmoid"


ORDER: Mapping[str, tuple[str, ...]] = {
    "SimpleRNN": ("h",),
    "LSTM": ("i", "f", "o", "c"),
    "GRU": ("z", "r", "h"),
}
"""The blocks of a step's sums: those with the recurrent activation come first."""


def _columns(layer: LayerSpec, weight: Array) -> Array:
    """The columns of a weight by blocks, gates halved: (blocks, rows, units)."""
    units = layer.options["units"]
    order = ORDER[layer.class_name]
    stored = GATES[layer.class_name]
    blocks = weight.reshape(-1, len(order), units).transpose(1, 0, 2)
    blocks = np.stack([blocks[stored.index(gate)] for gate in order])
    if _halves(layer):
        blocks[: len(order) - 1] *= 0.5
    return blocks


def _biases(layer: LayerSpec) -> tuple[Array, Array]:
    """Of the inputs and of the recurrent side, (blocks, 1, units) each."""
    kernel = layer.weights["recurrent_kernel"]
    bias = layer.weights.get("bias", np.zeros(kernel.shape[1], kernel.dtype))
    rows = np.atleast_2d(bias)
    own = _columns(layer, rows[:1])
    return own, _columns(layer, rows[1:]) if len(rows) > 1 else np.zeros_like(own)


def _stack(layer: LayerSpec, looks_up: bool) -> Array:
    """What ``[x, h, 1]`` is multiplied by, or ``h`` alone where x is looked up.

    The candidate of a GRU needs both sides apart: with ``reset_after`` the last block
    is that of the inputs, and the one before it that of h; without, h has none.
    """
    recurrent = _columns(layer, layer.weights["recurrent_kernel"])
    gru = layer.class_name == "GRU"
    after = gru and layer.options["reset_after"]
    if looks_up:
        return np.ascontiguousarray(recurrent[:2] if gru and not after else recurrent)
    kernel = _columns(layer, layer.weights["kernel"])
    given, held = _biases(layer)
    if not gru:
        return np.concatenate([kernel, recurrent, given + held], axis=1)
    gates = [x[:2] for x in (kernel, recurrent, given + held)]
    parts = [np.concatenate(gates, axis=1)]
    if after:
        nothing = np.zeros_like(kernel[2:])
        parts.append(np.concatenate([nothing, recurrent[2:], held[2:]], axis=1))
    nothing = np.zeros_like(recurrent[2:])
    parts.append(np.concatenate([kernel[2:], nothing, given[2:]], axis=1))
    return np.concatenate(parts)


def _table(layer: LayerSpec, embeddings: Array) -> Array:
    """Every id's share of the sums: (ids, blocks * units)."""
    given, held = _biases(layer)
    if layer.class_name != "GRU":
        given = given + held
    else:
        given[:2] += held[:2]
    kernel = np.concatenate(list(_columns(layer, layer.weights["kernel"])), axis=1)
    table: Array = embeddings @ kernel
    table += given.reshape(-1)
    return table


def _quick(layer: LayerSpec) -> LayerSpec:
    """A recurrent layer with its quick steps; any other layer as it is."""
    if layer.class_name not in QUICK or layer.overrides:
        return layer
    compute = POLICIES[layer.policy].compute
    if compute not in ("float32", "float64") or any(
        weight.dtype != working(compute) for weight in layer.weights.values()
    ):
        return layer
    return layer.with_overrides(quick=Quick(layer))


@dataclass
class _Prepared:
    """A model made quick, and what has been looked up in its embeddings so far."""

    quick: LayerSpec
    pairs: Sequence[tuple[str, str]]
    seen: int = 0
    projected: LayerSpec | None = None
    lock: Lock = field(default_factory=Lock)

    def model(self, ids: int) -> LayerSpec:
        with self.lock:
            self.seen += ids
            if self.projected is None and self.pairs:
                count = max(
                    len(self.quick.sublayers[embedding].weights["embeddings"])
                    for embedding, _ in self.pairs
                )
                if self.seen >= count:
                    self.projected = _projected(self.quick, self.pairs)
            return self.projected or self.quick


def _projected(model: LayerSpec, pairs: Sequence[tuple[str, str]]) -> LayerSpec:
    """The model with embeddings that hand on ids, to layers that hold the tables."""
    layers = dict(model.sublayers)
    for embedding, loop in pairs:
        table = layers[embedding].weights["embeddings"]

        def looking_up(layer: LayerSpec, table: Array = table) -> LayerSpec:
            quick = layer.overrides.get("quick")
            if not isinstance(quick, Quick):
                return layer
            own = Quick(quick.layer, _table(quick.layer, table))
            return layer.with_overrides(quick=own)

        layers[loop] = layers[loop].mapped(looking_up)
        layers[embedding] = layers[embedding].with_overrides(lookup=_as_ids)
    return replace(model, sublayers=layers)


def _as_ids(table: Array, ids: Array) -> Array:
    """In the place of ``table[ids]``: ids from 0 on, the steps of a batch together."""
    return np.asfortranarray(np.where(ids < 0, ids + len(table), ids))


def _pairs(model: LayerSpec) -> list[tuple[str, str]]:
    """Embeddings whose numbers go to one quick recurrent layer and nowhere else."""
    graph = model.graph
    if graph is None:
        return []
    uses: dict[str, list[Node | None]] = {}
    for node in graph.nodes:
        for leaf in flatten([list(node.args), dict(node.kwargs)]):
            if isinstance(leaf, TensorRef):
                uses.setdefault(leaf.layer, []).append(node)
    for leaf in flatten(graph.outputs):
        if isinstance(leaf, TensorRef):
            uses.setdefault(leaf.layer, []).append(None)
    calls = [node.layer for node in graph.nodes]
    found = []
    for name, layer in model.sublayers.items():
        if layer.class_name != "Embedding" or not _plain_embedding(layer):
            continue
        last = name
        while True:
            users = uses.get(last, [])
            user = users[0] if len(users) == 1 else None
            if user is None or calls.count(last) != 1 or calls.count(user.layer) != 1:
                break
            first = user.args[:1]
            if first != (TensorRef(last, 0, 0),):
                break
            following = model.sublayers[user.layer]
            if POLICIES[following.policy].compute != POLICIES[layer.policy].compute:
                break
            if _looks_up(following, layer):
                found.append((name, user.layer))
            if following.class_name not in PASSING or following.overrides:
                break
            last = user.layer
    return found


PASSING = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout")
"""Layers that hand on what they are given, whatever it is."""


def _plain_embedding(layer: LayerSpec) -> bool:
    return not layer.overrides and not layer.options["quantization_mode"]


def _looks_up(layer: LayerSpec, embedding: LayerSpec) -> bool:
    """Whether a layer can be given ids in the place of this embedding's numbers."""
    inside = [layer]
    if layer.class_name == "Bidirectional":
        inside = list(layer.sublayers.values())
    table = embedding.weights["embeddings"]
    size = 0
    for loop in inside:
        quick = _quick(loop).overrides.get("quick")
        if not isinstance(quick, Quick) or layer.overrides:
            return False
        kernel = loop.weights["kernel"]
        if kernel.dtype != table.dtype or len(kernel) != table.shape[1]:
            return False
        size += len(table) * kernel.shape[1] * kernel.itemsize
    return size <= PROJECTED


def _layers(root: LayerSpec) -> Iterator[LayerSpec]:
    yield root
    for layer in root.sublayers.values():
        yield from _layers(layer)


_LOCK = Lock()
_PREPARED: WeakKeyDictionary[LayerSpec, _Prepared] = WeakKeyDictionary()
