"""Prepare the inputs of a check: check those given, or make some from the model."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from verify.checks.category_probes import category_values
from verify.data.sources import Arrays, Source, open_source
from verify.data.sources.base import FileSource
from verify.errors import DataError, UnsupportedError, printable
from verify.forward.evaluable import Inputs
from verify.forward.layers.core import padding_number
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.mistakes.blind_spots import warnings
from verify.model.arrays import Array, Shape
from verify.model.dtypes import dtype_of, is_float
from verify.model.graph import Node, TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec, is_path

MIN_PROBE_ROWS, FEWEST_PROBE_ROWS, PROBE_NUMBERS = 6, 3, 2**26
"""Rows of probe inputs at least, one for each kind of padding, or where nothing is
padded; and the numbers that the forward pass of more rows may have."""

PROBE_ROWS, PROBE_STEPS = 16, 7
"""Rows and time steps of probe inputs, where the model leaves their number open."""

NOTED_ROWS = 256
"""Rows in which ids are looked at before a model is computed."""

SMALLER_PROBES = (np.float32(0.1), np.float32(0.01), np.float32(0.001))
"""Factors of the probe inputs of a model whose outputs are not finite for larger ones,
tried in this order."""

MAX_PROBE_NUMBERS = 10**8
"""Numbers of a probe input, at most: 800 MB in float64."""


def usable_inputs(net: Network, x: Any = None, *, rows: int = PROBE_ROWS) -> Inputs:
    """Return inputs ready for a comparison: `x`, or `rows` of probe inputs.

    Returns
    -------
    Inputs
        One array, (batch, ...), for each input of the model, in its dtype.

    Raises
    ------
    DataError
        The inputs do not fit the model, NaN or infinity in them reaches its outputs, or
        there is some in the weights.
    """
    net.spec.require_finite()
    if x is None:
        rows = _affordable(net, rows)
        prepared = net.prepare(probe_inputs(net.spec, rows=rows))
        # A row of padding alone may give NaN: the average over no step, for example.
        if _finite(net, prepared):
            return prepared
        made = probe_inputs(net.spec, empty=False, rows=rows)
        full = made if isinstance(made, list) else [made]
        # Gates without a limit, such as those of elu or relu, may overflow.
        for size in (np.float32(1), *SMALLER_PROBES):
            prepared = net.prepare([a * size if is_float(a) else a for a in full])
            if _finite(net, prepared):
                break
        return prepared
    prepared = checked_inputs(net, x)
    net.flat(prepared)  # refuses ids outside the vocabulary, wherever they are
    return prepared


def _affordable(net: Network, rows: int) -> int:
    """Return how many of so many probe rows a model can be evaluated on in good time.

    It is all of them but for long windows of wide layers.
    """
    if net.spec.batch_size is not None or rows <= FEWEST_PROBE_ROWS:
        return rows
    few = net.prepare(probe_inputs(net.spec, rows=MIN_PROBE_ROWS))
    arrays = net.outline(few).arrays().values()
    numbers = sum(array.size for array in arrays) / few.rows
    least = MIN_PROBE_ROWS if _has_padding(net.spec) else FEWEST_PROBE_ROWS
    return min(rows, max(int(PROBE_NUMBERS / max(numbers, 1)), least))


def _has_padding(spec: ModelSpec) -> bool:
    """Return whether probe inputs of a model may be padded."""
    return any(
        _is(reader, "Embedding") or _is(reader, "Masking")
        for layer in spec.inputs
        for reader in readers_of(spec.root, layer.name)
    )


def several_batches(net: Network, first: Inputs, count: int = 4) -> Inputs:
    """Return `first`, a batch of a stateful model, and probe inputs after it.

    States that are not carried from batch to batch show from the second batch on.
    """
    more = [
        net.prepare(probe_inputs(net.spec, seed=seed, empty=False))
        for seed in range(1, count)
    ]
    return Inputs(np.concatenate(arrays) for arrays in zip(first, *more, strict=True))


def checked_inputs(net: Network, x: Any) -> Inputs:
    """Return inputs in the model's dtypes; ids may still be outside the vocabulary.

    Raises
    ------
    DataError
        The inputs do not fit the model, or NaN or infinity is in them and reaches its
        outputs: a model may replace or mask what is missing.
    """
    if is_path(x):
        x = as_source(net, x).read()
    given = net.separate(x)
    bad = [~np.isfinite(a) if is_float(a) else np.zeros(a.shape, bool) for a in given]
    count = sum(int(np.count_nonzero(b)) for b in bad)
    cast = any(
        b.any() and not is_float(np.zeros(0, dtype_of(layer.options["dtype"])))
        for layer, b in zip(net.spec.inputs, bad, strict=True)
    )
    prepared = None if cast else net.prepare(x)
    if prepared is None or (count and not _finite(net, prepared)):
        first = next([int(k) for k in np.argwhere(b)[0]] for b in bad if b.any())
        raise DataError(
            f"expected finite numbers in the inputs, or a model that leaves out the "
            f"others. Received: {count:,} NaN or infinite value(s), the first at "
            f"{first}{_masked_by_nan(net)}"
        )
    return prepared


def _masked_by_nan(net: Network) -> str:
    """Say which layer is there to mask steps of NaN, which it cannot."""
    for _, layer in net.spec.walk():
        if layer.class_name == "Masking" and np.isnan(layer.options["mask_value"]):
            return f". {layer} masks no step, since NaN equals nothing"
    return ""


def _finite(net: Network, x: Inputs) -> bool:
    """Tell whether the outputs for these inputs are finite, as far as is known.

    A file is read by the rules of TensorFlow, until it is known where Keras runs.
    """
    try:
        outputs = net.flat(x)
    except UnsupportedError:
        return True
    return all(np.isfinite(y.astype(np.float64)).all() for y in outputs)


def as_source(net: Network, x: Any) -> Source:
    """Return inputs, in any form that `verify.check` takes, as a `Source`.

    Raises
    ------
    DataError
        Their number or their names are not those of the model's inputs, or a file of
        them cannot be read.
    """
    if is_path(x):
        texts = any(layer.options["dtype"] == "string" for layer in net.spec.inputs)
        return open_source(x, "x", net.input_names, texts=texts)
    if isinstance(x, Source):
        return x
    if isinstance(x, Inputs):
        x = list(x)
    arrays = net.separate(x)
    return Arrays(
        arrays[0]
        if len(arrays) == 1
        else dict(zip(net.input_names, arrays, strict=True))
    )


def prepared_rows(net: Network, source: Source, rows: Array) -> Inputs:
    """Return the rows of these numbers, in ascending order, ready for the model.

    Raises
    ------
    DataError
        They do not fit the model, or NaN or infinity in them reaches its outputs.
    """
    data = source.take(rows)
    start = int(rows[0]) if len(rows) else 0
    with error_rows(start, len(rows), source.rows, file_name(source)):
        return checked_inputs(net, data)


def fraction_notes(net: Network, source: Source, rows: int) -> list[str]:
    """Return a sentence for each input of whole numbers that is given fractions.

    Keras cuts the fractions off without a word; a port may round, or refuse them.

    Parameters
    ----------
    net : Network
    source : Source
        The inputs as they were given.
    rows : int
        How many rows to look at, from the first on.
    """
    given = net.separate(source.take(np.arange(min(rows, source.rows))))
    found = []
    for layer, x in zip(net.spec.inputs, given, strict=True):
        kept = layer.options["dtype"]
        if not is_float(x) or is_float(np.zeros(0, dtype_of(kept))) or kept == "bool":
            continue
        cut = x != np.trunc(x)
        if cut.any():
            first = [int(k) for k in np.argwhere(cut)[0]]
            value = x[tuple(first)]
            found.append(
                f"{layer}: {np.count_nonzero(cut):,} number(s) have fractions, the "
                f"first at {first}, {value:g}; Keras cuts them off, and a port may not"
            )
    return found


def embedding_notes(net: Network, x: Inputs) -> list[str]:
    """Return a sentence for each Embedding given ids below 0, or with fractions.

    Keras counts from the end of the table on every backend, without a word; where -1
    was meant as padding, the last word is read instead. Fractions, which an input of
    floats lets through, it cuts off.

    Parameters
    ----------
    net : Network
    x : Inputs
        The rows to look at.
    """
    root = net.spec.root
    names = [layer.name for layer in net.spec.inputs]
    by_name = dict(zip(names, x, strict=True))
    found = []
    for node in root.graph.nodes if root.graph is not None else ():
        layer = root.sublayers[node.layer]
        first = next(iter(flatten(list(node.args))), None)
        ids = by_name.get(first.layer) if isinstance(first, TensorRef) else None
        if layer.class_name != "Embedding" or ids is None:
            continue
        below = ids < 0
        cut = ids != np.trunc(ids) if is_float(ids) else np.zeros_like(below)
        for odd, what, meaning in (
            (
                below,
                "are below 0",
                "counts them from the end of the table, where -1 is the last row",
            ),
            (cut, "have fractions", "cuts them off, and a port may not"),
        ):
            if odd.any():
                at = [int(k) for k in np.argwhere(odd)[0]]
                found.append(
                    f"{layer}: {np.count_nonzero(odd):,} id(s) {what}, the first at "
                    f"{at}, {ids[tuple(at)]:g}; Keras {meaning}"
                )
    return found


def input_notes(
    net: Network, source: Source, first: Inputs, rows: int, trace: Trace | None = None
) -> list[str]:
    """Return what a report says of the inputs that were compared.

    Parameters
    ----------
    net : Network
    source : Source
        The inputs as they were given.
    first : Inputs
        Their first rows, prepared.
    rows : int
        How many rows were compared.
    trace : Trace, optional
        Of `first` in float64, if it is known.
    """
    return [
        *fraction_notes(net, source, first.rows),
        *embedding_notes(net, first),
        *warnings(net, first, rows, trace),
        *source.notes,
    ]


def id_notes(net: Network, source: Source) -> list[str]:
    """Return what a user should know about ids, from the first `NOTED_ROWS` rows.

    Raises
    ------
    DataError
        They do not fit the model.
    """
    count = min(NOTED_ROWS, source.rows)
    first = prepared_rows(net, source, np.arange(count))
    return fraction_notes(net, source, count) + embedding_notes(net, first)


def whole_batches(rows: int, batch: int | None) -> int:
    """Return the most rows, up to `rows`, that make whole batches; one batch at least.

    Parameters
    ----------
    rows : int
    batch : int or None
        Batch size that the model or its caller fixes, if one does.
    """
    batch = batch or 1
    return max(rows // batch, 1) * batch


@contextlib.contextmanager
def error_rows(start: int, count: int, rows: int, name: str = "") -> Iterator[None]:
    """Put the rows that errors raised inside are about in front of their messages.

    Parameters
    ----------
    start, count, rows : int
        Number of the first row, how many rows follow from there, and how many there are
        in all. Nothing is added if these are all rows.
    name : str
        The file of the rows, which is added too; empty if they are from none.
    """
    try:
        yield
    except DataError as error:
        text = f"{error}"
        if start > 0 or count < rows:
            last = min(start + count, rows) - 1
            text = f"rows {start:,} to {last:,}: {text}"
        if name and not f"{error}".startswith(name):
            text = f"{name}: {text}"
        raise type(error)(text) from None


def file_name(source: Source) -> str:
    """Return what errors call the file that a source reads; empty if it reads none."""
    if not isinstance(source, FileSource):
        return ""
    how = f" (read {source.read_how})" if source.read_how else ""
    return f"{printable(source.path)}{how}"


def probe_inputs(
    spec: ModelSpec,
    *,
    seed: int = 0,
    empty: bool = True,
    rows: int = PROBE_ROWS,
    padded: bool = True,
    shapes: Sequence[Shape] | None = None,
) -> list[Array] | Array:
    """Return inputs on which mistakes show.

    There are several rows and time steps, and the values saturate no activation. An
    input that feeds an Embedding has token ids, with rows padded on the right, on the
    left, on both sides, with holes, and one row of padding alone. An input that feeds a
    Masking layer has the same padding, made of its mask value.

    Parameters
    ----------
    spec : ModelSpec
    seed : int
    empty : bool
        Whether there is a row of padding alone, on which a model may return NaN.
    rows : int
        Number of rows, where the model leaves it open.
    padded : bool
        Whether there is padding at all.
    shapes : sequence of shapes, optional
        Shape of each input, where something else than the model fixes axes that the
        model leaves open; None for an axis that is still open.

    Returns
    -------
    (batch, ...) in the dtype of the model's input; a list where there are several.
    """
    rng = np.random.default_rng(seed)
    shapes = shapes or [layer.options["batch_shape"] for layer in spec.inputs]
    arrays = []
    for layer, shape in zip(spec.inputs, shapes, strict=True):
        x, padding = _probe(spec, layer, rng, rows, shape)
        if padded and padding is not None:
            x = _padded(x, padding, empty)
        arrays.append(x)
    return arrays[0] if len(arrays) == 1 else arrays


def _probe(
    spec: ModelSpec,
    layer: LayerSpec,
    rng: np.random.Generator,
    rows: int,
    sizes: Shape,
) -> tuple[Array, float | None]:
    """Return a probe input without padding, and the value that pads it, if one does."""
    rows = spec.batch_size or rows
    shape = tuple(
        size if size is not None else rows if axis == 0 else PROBE_STEPS
        for axis, size in enumerate(sizes)
    )
    if math.prod(shape) > MAX_PROBE_NUMBERS:
        raise DataError(
            "expected a model whose inputs can be made, "
            f"{MAX_PROBE_NUMBERS:,} numbers at most. "
            f"Received: shape={shape}; give inputs of your own"
        )
    dtype = dtype_of(layer.options["dtype"])
    readers = list(readers_of(spec.root, layer.name))
    tables = [int(x.options["input_dim"]) for x in readers if _is(x, "Embedding")]
    pads = [padding_number(x) for x in readers if _is(x, "Masking")]
    if dtype.kind == "b":
        return rng.random(size=shape) < 0.7, None
    if tables:
        return _token_ids(rng, shape, min(tables), dtype), 0
    chosen = category_values(rng, readers, shape, dtype)
    if chosen is not None:
        return chosen, None
    if dtype.kind in "iu":
        return rng.integers(0, 5, size=shape).astype(dtype), None
    x = rng.normal(size=shape).astype(dtype)
    return x, pads[0] if pads and len(shape) > 2 else None


def _is(layer: LayerSpec, class_name: str) -> bool:
    return layer.class_name == class_name


def _token_ids(
    rng: np.random.Generator, shape: tuple[int, ...], top: int, dtype: np.dtype[Any]
) -> Array:
    if dtype.kind in "iu":
        top = min(top, int(np.iinfo(dtype).max) + 1)
    return rng.integers(min(1, top - 1), top, size=shape).astype(dtype)


def _padded(x: Array, value: float, empty: bool) -> Array:
    """Put padding into some rows, never into the last one."""
    if x.ndim < 2:
        return x
    for row, pattern in enumerate(padding_patterns(x.shape[1])):
        if not pattern.any() and not empty:
            continue
        if row < len(x) - 1 or row == 0:
            x[row, ~pattern] = value
    return x


PASS_THROUGH_LAYERS = frozenset(
    {"Identity", "Dropout", "SpatialDropout1D", "Reshape", "Flatten", "Permute"}
    | {"RepeatVector", "Cropping1D", "Concatenate", "ops.GetItem", "ops.Cast"}
    | {"ops.Reshape", "ops.ExpandDims", "ops.Squeeze", "ops.Flip", "ops.Concatenate"}
)
"""Layers that leave values as they are, so an input of theirs reaches the layers after
them."""


def readers_of(model: LayerSpec, name: str) -> Iterator[LayerSpec]:
    """Yield the layers that read an input's values, those inside others included."""
    if model.graph is None:
        return
    seen = {TensorRef(name, 0, 0)}
    for node in model.graph.nodes:
        layer = model.sublayers[node.layer]
        given = flatten([node.args, dict(node.kwargs)])
        if not any(isinstance(leaf, TensorRef) and leaf in seen for leaf in given):
            continue
        yield from _inner(layer, seen, node)
        if layer.class_name in PASS_THROUGH_LAYERS:
            seen.add(TensorRef(node.layer, node.index, 0))


def _inner(layer: LayerSpec, seen: set[TensorRef], node: Node) -> Iterator[LayerSpec]:
    if layer.graph is not None:
        refs = flatten(layer.graph.inputs)
        given = flatten(node.args)
        for ref, leaf in zip(refs, given, strict=False):
            if isinstance(leaf, TensorRef) and leaf in seen:
                yield from readers_of(layer, ref.layer)
    elif layer.class_name == "TimeDistributed":
        inner = layer.sublayers["layer"]
        if inner.graph is not None:
            yield from readers_of(inner, flatten(inner.graph.inputs)[0].layer)
        yield inner
    else:
        yield layer


def padding_patterns(steps: int) -> list[Array]:
    """Return masks of the steps kept: padded right, left, both, with holes, throughout.

    Returns
    -------
    list of (steps,) of bool
    """
    t = np.arange(steps)
    half = max(1, steps // 2)
    return [
        t < half,
        t >= steps - half,
        (t >= steps // 4) & (t < steps - steps // 4),
        t % 3 != 1,
        np.zeros(steps, dtype=bool),
    ]
