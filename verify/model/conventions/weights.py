"""Turn the weights of a recurrent layer into those of a framework, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from verify.errors import DataError, UnsupportedError, join_and, printable
from verify.model.arguments import typed
from verify.model.arrays import Array, weights_text
from verify.model.conventions.data import Convention, find_framework
from verify.model.conventions.expressions import Evaluator
from verify.model.spec import GATES, LayerSpec

DIRECTIONS = {"forward": "forward_layer", "backward": "backward_layer"}
"""Direction -> the layer inside a Bidirectional."""

HOLDS_ONE = 100.0
"""Bias of the update gate with which a unit keeps its state: sigmoid(100) is 1."""


@typed
def to_framework(
    layer: LayerSpec,
    framework: str,
    *,
    index: int = 0,
    cell: str | None = None,
    constant_unit: bool = False,
) -> dict[str, Array]:
    """Return the weights of a recurrent layer as a framework names and lays them out.

    The weights alone do not say everything: which activations, in which direction and
    what at masked steps is for the caller to set.

    Parameters
    ----------
    layer : LayerSpec
        SimpleRNN, LSTM, GRU or one of their cells; a Bidirectional of two; or an RNN
        around a cell or, where the framework numbers its layers, a stack of cells.
    framework : str
        As for `conventions`.
    index : int
        Number of the layer in a stack, for frameworks that number them.
    cell : str, optional
        Which layer of the framework, where it has several; by default the first.
    constant_unit : bool
        Where a bias has no place, add one unit that holds the constant 1 and whose
        recurrent row carries that bias. The initial state of that last unit must be 1,
        and its outputs are not the model's.

    Returns
    -------
    dict of str to ndarray
        In the dtype of the layer's weights. A layer without a bias gets zeros.

    Raises
    ------
    UnsupportedError
        The framework has no form for this layer, its options or these weights. The
        message says what can be done instead.
    """
    if layer.class_name == "Bidirectional":
        return _both_directions(layer, framework, index, cell, constant_unit)
    inner = _inner(layer)
    if isinstance(inner, list):
        found: dict[str, Array] = {}
        for k, one in enumerate(inner, index):
            if "{layer}" not in "".join(find_form(one, framework, cell).arrays or ()):
                raise UnsupportedError(
                    f"{layer}: {framework} does not number its layers. Instead: "
                    "convert each cell of the stack by itself"
                )
            found |= to_framework(one, framework, index=k, cell=cell)
        return found
    form = find_form(inner, framework, cell)
    return _converted(inner, form, index, constant_unit, "forward")


@typed
def from_framework(
    arrays: Mapping[str, Array],
    framework: str,
    layer: LayerSpec,
    *,
    index: int = 0,
    cell: str | None = None,
) -> LayerSpec:
    """Return a layer with the weights that a framework has for it.

    Where a framework adds two rows of the bias, their sum is in the first row of
    Keras's. Arrays of biases that are absent are zeros.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        By the names that `to_framework` gives them; others are not looked at.
    framework, index, cell
        As for `to_framework`.
    layer : LayerSpec
        What the weights are for, with weights of the right shapes.

    Raises
    ------
    UnsupportedError
        As `to_framework`.
    DataError
        An array is missing, or has another shape; or there is a bias and the layer has
        none.
    """
    if layer.class_name == "Bidirectional":
        for direction, key in DIRECTIONS.items():
            one = layer.sublayers[key]
            own = _restored(arrays, one, framework, index, cell, direction, True)
            layer = layer.replaced(key, own)
        return layer
    inner = _inner(layer)
    if isinstance(inner, list):
        stack = layer.sublayers["cell"]
        for k, (key, one) in enumerate(stack.sublayers.items(), index):
            new = from_framework(arrays, framework, one, index=k, cell=cell)
            stack = stack.replaced(key, new)
        return layer.replaced("cell", stack)
    new = _restored(arrays, inner, framework, index, cell, "forward", False)
    return new if inner is layer else layer.replaced("cell", new)


def find_form(layer: LayerSpec, framework: str, cell: str | None = None) -> Convention:
    """Return the convention of a framework for one recurrent layer or cell.

    Raises
    ------
    UnsupportedError
        As `to_framework`.
    """
    found = find_framework(framework)
    kind = layer.class_name.removesuffix("Cell")
    if kind not in ("LSTM", "GRU", "SimpleRNN"):
        raise UnsupportedError(
            f"{layer}: expected a SimpleRNN, LSTM or GRU, or Bidirectional or RNN "
            "around them"
        )
    reset_after = layer.options["reset_after"] if kind == "GRU" else None
    where = f"{layer}: {found.title} {found.version}"
    forms = [c for c in found.conventions if c.fits(kind, reset_after)]
    if cell is not None:
        forms = [c for c in forms if cell in (c.cell, *c.cell.split(", "))]
    if not forms:
        option = "" if reset_after is None else f"(reset_after={reset_after})"
        if cell is not None and any(
            c.fits(kind, reset_after) for c in found.conventions
        ):
            raise UnsupportedError(
                f"{where} has no {printable(cell, 60)} for {kind}{option}; it has "
                f"{join_and(c.cell for c in found.conventions)}"
            )
        reason = found.refusal(kind, reset_after)
        raise UnsupportedError(f"{where} has no form for {kind}{option}: {reason}")
    form = forms[0]
    if form.arrays is None:
        raise UnsupportedError(
            f"{where}: the names of the arrays of {form.cell} are not known. Instead: "
            "let its own converter read the Keras model, and compare the outputs"
        )
    _require_activations(layer, form, where)
    return form


def _require_activations(layer: LayerSpec, form: Convention, where: str) -> None:
    for option, names in (form.activations or {}).items():
        value = str(layer.options[option])
        if value.partition("(")[0] not in names:
            raise UnsupportedError(
                f"{where}: {form.cell} has {option} {' or '.join(names)} only. "
                f"Received: {printable(value, 60)}. Instead: compute the step from "
                "single operations"
            )


def _inner(layer: LayerSpec) -> LayerSpec | list[LayerSpec]:
    """Return the layer that has the weights, or the cells of a stack."""
    if layer.class_name != "RNN":
        return layer
    cell = layer.sublayers["cell"]
    if cell.class_name == "StackedRNNCells":
        return list(cell.sublayers.values())
    return cell


def _both_directions(
    layer: LayerSpec, framework: str, index: int, cell: str | None, constant_unit: bool
) -> dict[str, Array]:
    found = []
    for direction, key in DIRECTIONS.items():
        inner = layer.sublayers[key]
        form = find_form(inner, framework, cell)
        own = _converted(inner, form, index, constant_unit, direction)
        found.append({f"{form.prefixes.get(direction, '')}{k}": own[k] for k in own})
    forward, backward = found
    if form.direction_axis is None:
        return forward | backward
    axis = form.direction_axis
    return {k: np.concatenate([forward[k], backward[k]], axis) for k in forward}


def _converted(
    layer: LayerSpec,
    form: Convention,
    index: int,
    constant_unit: bool,
    direction: str,
) -> dict[str, Array]:
    """Return the arrays of one direction, without a prefix."""
    weights = keras_arrays(layer)
    evaluate = _evaluator(form, weights)
    if form.needs is not None:
        missing = np.abs(evaluate(form.needs["zero"])).max(initial=0)
        if constant_unit:
            evaluate = _evaluator(form, _with_constant_unit(weights))
        elif missing > 0:
            raise UnsupportedError(
                f"{layer}: {form.title} {form.version} has no form for these weights: "
                f"{form.needs['reason']}. Received: up to {missing:.3g}. Instead: "
                f"{form.needs['instead']}"
            )
    return {
        name: evaluate(expression)
        for name, expression in _named(form, form.arrays or {}, index, direction)
    }


def _named(
    form: Convention, expressions: Mapping[str, str], index: int, direction: str
) -> Iterator[tuple[str, str]]:
    mark = form.marks.get(direction, "")
    for name, expression in expressions.items():
        yield (
            name.replace("{layer}", str(index)).replace("{direction}", mark),
            expression,
        )


def _restored(
    arrays: Mapping[str, Array],
    layer: LayerSpec,
    framework: str,
    index: int,
    cell: str | None,
    direction: str,
    both: bool,
) -> LayerSpec:
    """Return one direction of a layer with the framework's weights."""
    form = find_form(layer, framework, cell)
    weights = keras_arrays(layer)
    zeros = {key: np.zeros_like(value) for key, value in weights.items()}
    expected = _evaluator(form, zeros)
    prefix = form.prefixes.get(direction, "") if both else ""
    held: dict[str, Array] = {}
    absent = []
    shapes: dict[str, Array] = {}
    for template, (name, expression) in zip(
        form.arrays or {},
        _named(form, form.arrays or {}, index, direction),
        strict=True,
    ):
        name = f"{prefix}{name}"
        like = shapes[name] = expected(expression)
        value = arrays.get(name)
        if value is None:
            absent.append((name, "b" in _weights_in(expression)))
            held[template] = like
            continue
        value = np.asarray(value)
        if both and form.direction_axis is not None and value.shape[0] == 2:
            value = value[list(DIRECTIONS).index(direction)][None]
        if value.shape != like.shape:
            raise DataError(
                f"{layer}: expected {name} {like.shape} for {form.cell}. "
                f"Received: {value.shape}"
            )
        held[template] = value
    biases = [name for name, is_bias in absent if is_bias]
    if len(biases) < len(absent) or (biases and not _all_absent(form, biases)):
        raise DataError(
            f"{layer}: expected the arrays {weights_text(shapes)} of {form.cell}. "
            f"Received: no {join_and(name for name, _ in absent)}"
        )
    back = replace(expected, arrays=held)
    found = {key: back(expression) for key, expression in (form.keras or {}).items()}
    names = {"kernel": "K", "recurrent_kernel": "R", "bias": "b"}
    if "bias" not in layer.weights and np.any(found["b"]):
        raise DataError(
            f"{layer}: expected no bias, as use_bias=False says. Received: one of up "
            f"to {np.abs(found['b']).max():.3g}"
        )
    return replace(
        layer,
        weights={
            **layer.weights,
            **{key: found[names[key]] for key in layer.weights if key in names},
        },
    )


def _all_absent(form: Convention, biases: list[str]) -> bool:
    """Return whether the biases that are absent are all that the form has."""
    expressions = (form.arrays or {}).values()
    return len(biases) == sum("b" in _weights_in(x) for x in expressions)


def _weights_in(expression: str) -> set[str]:
    """Return which of Keras's weights an expression is made from."""
    return {name for name in ("K", "R", "b") if name in _words(expression)}


def _words(expression: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in expression).split()


def keras_arrays(layer: LayerSpec) -> dict[str, Array]:
    """Return K, R and b of a layer or cell; zeros for a bias that it does not have."""
    kernel, recurrent = layer.weights["kernel"], layer.weights["recurrent_kernel"]
    bias = layer.weights.get("bias")
    if bias is None:
        shape: tuple[int, ...] = (kernel.shape[-1],)
        if layer.options.get("reset_after"):
            shape = (2, *shape)
        bias = np.zeros(shape, kernel.dtype)
    return {"K": kernel, "R": recurrent, "b": bias}


def _evaluator(form: Convention, weights: Mapping[str, Array]) -> Evaluator:
    kernel, recurrent = weights["K"], weights["R"]
    return Evaluator(
        GATES[form.keras_layer],
        form.gate_order,
        form.layout == "interleaved",
        recurrent.shape[0],
        kernel.shape[0],
        weights,
    )


def _with_constant_unit(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return a GRU that resets after with one unit more, which holds 1.

    Its recurrent row carries the candidate's recurrent bias, which then is zeros.
    """
    kernel, recurrent, bias = weights["K"], weights["R"], weights["b"].copy()
    units = recurrent.shape[0]
    carried = np.zeros((1, 3 * units), recurrent.dtype)
    carried[0, 2 * units :] = bias[1, 2 * units :]
    bias[1, 2 * units :] = 0

    def widened(array: Array) -> Array:
        blocks = np.split(array, 3, axis=-1)
        pad = [(0, 0)] * (array.ndim - 1) + [(0, 1)]
        return np.concatenate([np.pad(block, pad) for block in blocks], axis=-1)

    bias = widened(bias)
    bias[0, units] = HOLDS_ONE
    return {
        "K": widened(kernel),
        "R": widened(np.concatenate([recurrent, carried])),
        "b": bias,
    }
