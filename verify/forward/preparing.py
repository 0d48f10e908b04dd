"""Check the inputs of a model, and cast them as Keras does before the first layer."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np

from verify.errors import DataError, join_and, printable
from verify.forward.evaluable import Inputs
from verify.model.arrays import Array, shape_text
from verify.model.dtypes import dtype_of, is_float
from verify.model.graph import TensorRef, map_structure, matched
from verify.model.spec import LayerSpec, ModelSpec


def names_of_inputs(spec: ModelSpec) -> list[str]:
    """Return the names of the inputs, in the order of `Inputs`.

    They are the keys of the dict if the model takes one that holds arrays alone, and
    otherwise the names of its InputLayers.
    """
    graph = spec.root.graph
    inputs = None if graph is None else graph.inputs
    if isinstance(inputs, Mapping) and all(
        isinstance(one, TensorRef) for one in inputs.values()
    ):
        return [str(key) for key in inputs]
    return [layer.name for layer in spec.inputs]


def prepared(spec: ModelSpec, x: Any, floatx: str) -> Inputs:
    """Check inputs, and cast them to the dtypes of the model's InputLayers.

    A last axis of size 1 is dropped or added if the number of axes is then right,
    as Keras does it.

    Raises
    ------
    DataError
        The inputs do not fit the model.
    """
    if isinstance(x, Inputs):
        return x
    layers = spec.inputs
    given = separated(spec, x)
    prepared = Inputs(
        _prepared(spec, layer, array, floatx)
        for layer, array in zip(layers, given, strict=True)
    )
    if len({len(array) for array in prepared}) > 1:
        counts = ", ".join(f"{len(array):,}" for array in prepared)
        raise DataError(
            f"expected inputs of the same number of rows. Received: {counts}"
        )
    return prepared


def separated(spec: ModelSpec, x: Any) -> list[Array]:
    """Return one array of numbers for each input, without checking their shapes.

    Raises
    ------
    DataError
        The number or the names of the inputs are not the model's, or an input is
        not made of numbers.
    """
    layers = spec.inputs
    if len(layers) == 1:
        if isinstance(x, (list, tuple)) and len(x) == 1 and hasattr(x[0], "shape"):
            x = x[0]  # a list of one input, as Keras takes it
        if not isinstance(x, Mapping):
            return [_as_array(spec, layers[0], x)]
    names = names_of_inputs(spec)
    graph = spec.root.graph
    pairs = None if graph is None else matched(graph.inputs, x)
    if pairs is not None:  # in the structure that the model has
        x = [given for _, given in pairs]
    if isinstance(x, (list, tuple)) and len(x) != len(layers):
        leaves = _leaves(x)  # as Keras takes them: [a, [b, c]]
        if len(leaves) == len(layers) and all(hasattr(y, "shape") for y in leaves):
            x = leaves
    if isinstance(x, Mapping):
        own = [layer.name for layer in layers]
        names = own if set(x) == set(own) else names
        if set(x) != set(names):
            found = join_and([printable(key, 40) for key in x]) or "none"
            raise _other_inputs(spec, x, f"inputs called {join_and(names)}", found)
        given = [x[name] for name in names]
    elif isinstance(x, (list, tuple)) and len(x) == len(layers):
        given = list(x)
    else:
        found = f"{len(x)}" if isinstance(x, (list, tuple)) else "one array"
        wanted = f"{len(layers)} inputs ({join_and(names)})"
        wanted += ", as a list or a dict by their names"
        raise _other_inputs(spec, x, wanted, found)
    return [
        _as_array(spec, layer, value)
        for layer, value in zip(layers, given, strict=True)
    ]


def _other_inputs(spec: ModelSpec, x: Any, wanted: str, found: str) -> DataError:
    """Return the error for inputs of another number or other names.

    Where lists or dicts stand inside another, it says both structures instead.
    """
    inputs = [] if spec.root.graph is None else spec.root.graph.inputs
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    if not isinstance(inputs, TensorRef) and any(
        not isinstance(one, TensorRef) for one in values
    ):
        structure = _structure_text(inputs)
        wanted = f"{len(spec.inputs)} inputs in the structure {structure}"
        found = _structure_text(x)
    return DataError(f"expected {wanted}. Received: {found}")


def _structure_text(x: Any) -> str:
    """Return nested inputs as text: the names of inputs, "array" for what is given."""
    text = str(map_structure(_Shown, x))
    return printable(text, 200)


class _Shown:
    """Show an input in a structure, without quotes."""

    def __init__(self, leaf: Any) -> None:
        self._text = leaf.layer if isinstance(leaf, TensorRef) else "array"

    def __repr__(self) -> str:
        return self._text


def _leaves(x: Any) -> list[Any]:
    """Return what nested lists and tuples hold; a dict is a leaf."""
    if not isinstance(x, (list, tuple)):
        return [x]
    return [leaf for y in x for leaf in _leaves(y)]


def _as_array(spec: ModelSpec, layer: LayerSpec, x: Any) -> Array:
    """Return an input as an array, which may still have another shape or dtype."""
    takes_texts = layer.options["dtype"] == "string"
    holding = "texts" if takes_texts else "numbers"
    if isinstance(x, os.PathLike) or (isinstance(x, str) and not takes_texts):
        raise DataError(
            f"expected {_expected(spec, layer)} holding {holding}. Received: the name "
            f"of a file, {printable(x, 80)}; give what np.load returns of it"
        )
    wanted = f"{_expected(spec, layer)} holding {holding}"
    if takes_texts:
        return _as_texts(spec, layer, as_array(x, wanted))
    return as_numbers(x, wanted)


def as_numbers(x: Any, wanted: str) -> Array:
    """Return what a user has given as an array of numbers.

    Parameters
    ----------
    x : (batch, ...)
    wanted : str
        What is expected, for the message: ``outputs that are numbers``.

    Raises
    ------
    DataError
        It is none; the message says what it is.
    """
    array = as_array(x, wanted)
    if array.dtype.kind in "biuf" or is_float(array):
        return array
    found = f"dtype={array.dtype}"
    if array.dtype.kind == "O" and array.ndim == 0:
        kind = type(x).__name__.lstrip("_")
        found = "None" if x is None else f"an object of class {printable(kind, 60)}"
        if hasattr(x, "__iter__"):
            found += "; collect its rows in one array"
    elif array.dtype.kind == "O":
        found += "; numpy.array(x.tolist()) makes numbers of rows of one length"
    raise DataError(f"expected {wanted}. Received: {found}")


def as_array(x: Any, wanted: str) -> Array:
    """Return what a user has given as an array; raise DataError for ragged rows."""
    try:
        return np.asarray(x)
    except ValueError:
        parts = isinstance(x, (list, tuple)) and all(hasattr(a, "shape") for a in x)
        found = (
            f"{len(x)} arrays of different shapes; give one, without the labels"
            if parts
            else "ragged rows; pad them to one length"
        )
        raise DataError(f"expected {wanted}. Received: {found}") from None


def _as_texts(spec: ModelSpec, layer: LayerSpec, x: Array) -> Array:
    """Return texts as an array of str; bytes are those of UTF-8."""
    if x.dtype.kind == "S":
        x = x.astype(object)
    try:
        if x.dtype.kind == "O":
            flat = [t.decode() if isinstance(t, bytes) else t for t in x.ravel()]
            if all(isinstance(t, str) for t in flat):
                x = np.asarray(flat, dtype=str).reshape(x.shape)
    except UnicodeDecodeError:
        raise DataError(
            f"expected {_expected(spec, layer)} holding texts in UTF-8. "
            "Received: other bytes"
        ) from None
    if x.dtype.kind not in "UT":
        raise DataError(
            f"expected {_expected(spec, layer)} holding texts. "
            f"Received: dtype={x.dtype}"
        )
    return x.astype(str)


def _prepared(spec: ModelSpec, layer: LayerSpec, array: Array, floatx: str) -> Array:
    shape, received = layer.options["batch_shape"], array.shape
    if array.ndim == len(shape) + 1 and received[-1] == 1:
        array = array[..., 0]
    elif array.ndim == len(shape) - 1 and shape[-1] == 1:
        array = array[..., None]
    if not _fits(array.shape, shape) or 0 in array.shape:
        none = ", with a row at least" if received[:1] == (0,) else ""
        raise DataError(
            f"expected {_expected(spec, layer)}{none}. Received: shape={received}"
            f"{_other_form(array, shape) or _other_length(spec, array, shape)}"
        )
    wanted = dtype_of(layer.options["dtype"])
    if wanted.kind == "U":
        return array
    if array.dtype == wanted and not is_float(array):
        return array
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        wide = array.astype(np.float64) if is_float(array) else array  # float16 ends
        outside = ~((wide >= limits.min) & (wide <= limits.max))  # NaN is outside
        if outside.any():
            raise DataError(
                f"expected {_expected(spec, layer)} from {limits.min} to "
                f"{limits.max}. Received: {array[outside][0]}"
            )
    with np.errstate(over="ignore"):
        if is_float(array):
            array = array.astype(dtype_of(floatx), copy=False)
        return array.astype(wanted, copy=False)


MAX_TURNED = 5
"""Axes of an array whose orders are tried, at most."""


def _other_form(array: Array, shape: tuple[int | None, ...]) -> str:
    """Return how an array of another shape becomes inputs, if one way alone does.

    Parameters
    ----------
    array : Array
    shape : (batch, ...)
        That of the model's inputs; None where any size is taken.

    Returns
    -------
    str
        The end of a message, or "".
    """
    if array.size == 0:
        return ""
    inside = shape[1:]
    if array.shape == inside:
        return "; x[None] makes one row of it"
    ways = []
    if array.ndim == len(shape) <= MAX_TURNED:
        turns = [
            axes
            for axes in permutations(range(array.ndim))
            if _fits(array.transpose(axes).shape, shape)
        ]
        rows_kept = [axes for axes in turns if axes[0] == 0]
        ways += [f"x.transpose{axes}" for axes in rows_kept or turns]
    sizes = [size for size in inside if size is not None]
    count = array[0].size if array.ndim else 0
    all_known = len(sizes) == len(inside) and count == math.prod(sizes)
    if array.ndim == 2 < len(shape) and all_known:
        ways.append(f"x.reshape{(-1, *sizes)}")
    has_axis_more = array.ndim == len(shape) + 1 and _fits(array.shape[:-1], shape)
    if has_axis_more and _is_one_hot(array):
        return "; x.argmax(axis=-1) makes ids of rows that are one-hot"
    units = inside[-1] if inside else None
    if array.ndim == len(shape) - 1 and units and _fits(array.shape, shape[:-1]):
        whole = array.dtype.kind in "iu" or bool((array == np.round(array)).all())
        if whole and units > 1 and array.min() >= 0 and array.max() < units:
            return f"; numpy.eye({units})[x] makes one-hot rows of ids"
    return f"; {ways[0]} has that shape" if len(ways) == 1 else ""


def _other_length(spec: ModelSpec, array: Array, shape: tuple[int | None, ...]) -> str:
    """Say why a model may know one number of steps alone, if the others fit it.

    A Sequential without an Input keeps the whole shape of the first inputs that it is
    given, their rows too.
    """
    first = shape[0] is not None and spec.root.class_name == "Sequential"
    if not first or not _fits(array.shape, (None, None, *shape[2:])):
        return ""
    sizes = (None, *shape[2:])
    return (
        f"; {shape[1]} may be that of its first inputs, where a Sequential has no "
        f"Input: begin it with keras.Input({sizes}) for any"
    )


def _fits(received: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    """Return whether sizes behind the batch axis are those that are taken."""
    return len(received) == len(shape) and all(
        want is None or have == want
        for have, want in zip(received[1:], shape[1:], strict=True)
    )


def _is_one_hot(array: Array) -> bool:
    ones = (array == 1).sum(axis=-1) == 1
    zeros = (array == 0).sum(axis=-1) == array.shape[-1] - 1
    return array.shape[-1] > 1 and bool((ones & zeros).all())


def _expected(spec: ModelSpec, layer: LayerSpec) -> str:
    which = "" if len(spec.inputs) == 1 else f" '{printable(layer.name, 40)}'"
    rows, *sizes = layer.options["batch_shape"]
    shape = (rows if spec.stateful else None, *sizes)
    return f"inputs{which} of shape {shape_text(shape)}"
