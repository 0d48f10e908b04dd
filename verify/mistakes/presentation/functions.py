"""A function of the outputs instead of themselves: logarithm, logits, classes, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from verify.forward.activations import sigmoid, softmax
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.mistakes.presentation.scale import LOGITS
from verify.mistakes.presentation.view import Found, Given, Part, View
from verify.model.arrays import Array
from verify.model.graph import TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec
from verify.tolerance.noise_floor import Rounding

FLOOR_ROWS = 64
"""Rows on which the noise floor of the logits is measured."""

LIKE_LOGITS = 0.99
"""Correlation with the logarithm of the outputs from which they may be logits."""

SUM_ERROR = 1e-2
"""Probabilities add up to 1 with at most this error."""

SCALED_LOGARITHMS = frozenset(
    f"{sign}{name}(numpy)" for sign in ("", "-") for name in ("log10", "log2")
)
"""Terms of the logarithms that are another one times a number."""

MIN_CLASS_BITS = 16.0
"""Classes are told from chance by so many bits at least."""


class LastActivation(NamedTuple):
    """Hold the last activation of an output, if it is a softmax or a sigmoid.

    Attributes
    ----------
    path : str
        Path of the layer that applies it.
    name : str
    """

    path: str
    name: str


def last_activation(spec: ModelSpec, output: int) -> LastActivation | None:
    """Return the softmax or sigmoid that an output of the model ends with, or None."""
    layer, path = spec.root, ""
    while layer.graph is not None:
        refs = [r for r in flatten(layer.graph.outputs) if isinstance(r, TensorRef)]
        if output >= len(refs):
            return None
        ref, output = refs[output], refs[output].tensor
        if sum(node.layer == ref.layer for node in layer.graph.nodes) != 1:
            return None
        path = f"{path}/{ref.layer}" if path else ref.layer
        layer = layer.sublayers[ref.layer]
    if layer.class_name == "TimeDistributed":
        path, layer = f"{path}/layer", layer.sublayers["layer"]
    name = layer.options.get("activation")
    if layer.class_name == "Softmax" and tuple(layer.options["axis"]) == (-1,):
        name = "softmax"
    elif layer.class_name not in ("Dense", "Activation"):
        return None
    return LastActivation(path, name) if name in ("softmax", "sigmoid") else None


def _without(layer: LayerSpec) -> LayerSpec:
    """Return a layer without its activation."""
    if layer.class_name == "Softmax":
        return replace(layer, class_name="Activation", options={"activation": "linear"})
    return layer.with_options(activation="linear")


def logits_view(spec: ModelSpec, x: Inputs, output: int, last: LastActivation) -> View:
    """Return what a model computes before its last activation.

    The model is evaluated without it; the noise floor is measured on some rows.
    """
    net = Network(spec.with_layer(_without(spec[last.path]), last.path))
    values = net.flat(x, dtype="float64")
    fixed = spec.stateful or spec.batch_size is not None
    few = slice(None) if fixed else slice(0, FLOOR_ROWS)
    floors = Rounding(net).noise_floors(
        x.take(few), [y[few] for y in values], native=False
    )
    logits = values[output]
    return View(
        logits,
        np.broadcast_to(floors[output].atol, logits.shape),
        (
            Part(
                "logits",
                f"the logits, as they are before the {last.name} of layer "
                f"'{last.path}'",
                f"apply the {last.name}",
            ),
        ),
        LOGITS,
    )


def may_be_logits(ours: Array, given: Array, name: str) -> bool:
    """Say whether numbers look like logits of these outputs, whatever their scale.

    Parameters
    ----------
    ours, given : (batch, ..., units)
    name : str
        The last activation.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(ours) if name == "softmax" else np.log(ours) - np.log1p(-ours)
    use = (ours > 1e-6) & (ours < 1 - 1e-6 if name == "sigmoid" else True)
    if use.sum() < 4 or not np.isfinite(given).all():
        return False
    log, t = np.where(use, log, 0.0), np.where(use, given, 0.0)
    if name == "softmax":  # a number that a row adds to all its logits plays no part
        count = np.maximum(use.sum(axis=-1, keepdims=True), 1)
        log = np.where(use, log - log.sum(axis=-1, keepdims=True) / count, 0.0)
        t = np.where(use, t - t.sum(axis=-1, keepdims=True) / count, 0.0)
    else:
        log, t = log[use] - log[use].mean(), t[use] - t[use].mean()
    size = float(np.sqrt((log**2).sum() * (t**2).sum()))
    return size > 0 and abs(float((log * t).sum())) > LIKE_LOGITS * size


def logits_found(logits: View, given: Given, name: str) -> Found | None:
    """Return the logits if they fit, with a number added to each row if need be."""
    found = given.decided(logits)
    if found is not None or name != "softmax" or logits.values.shape[-1] < 2:
        return found
    added = given.values - logits.values  # (batch, ..., units)
    row = np.median(added, axis=-1, keepdims=True)
    wide = 2 * np.broadcast_to(
        logits.tolerance.max(axis=-1, keepdims=True), logits.values.shape
    )
    greatest = logits.values.max(axis=-1, keepdims=True)
    same = float(np.median(row))
    for number, text in (
        (np.full_like(row, same), f"with {same:.6g} added to all of them"),
        (-greatest, "less the greatest of each row"),
        (row, "with another number added to each row, which the softmax takes out"),
    ):
        part = Part("a number added to the logits", text, "")
        shown = View(logits.values + number, wide, (*logits.parts, part), logits.term)
        # what varies within a row is what tells
        free = row.size if number is row else 1
        found = given.fit(shown)
        if found is not None:
            within = View(logits.values - greatest, wide)
            if Given(within.values, given.formats).decided(within, free=free):
                return found
    return None


# ---- functions of the outputs


def functions_of(view: View, given: Array) -> Iterator[View]:
    """Yield functions of the outputs that a port may have applied, or not undone.

    Parameters
    ----------
    view : View
        The outputs.
    given : (batch, ..., units)
        What the port returned, to leave out what cannot be.
    """
    ours, wide = view.values, view.tolerance
    if ours.min() >= 0:
        yield from _logarithms(view, given)
    if ours.shape[-1] > 1 and ours.ndim > 1:
        values = softmax(ours)
        most = wide.max(axis=-1, keepdims=True)
        twice = "applied twice" if _is_softmax(ours, -1) else "applied to the outputs"
        yield view.then(
            Part(
                "softmax applied",
                f"a softmax is {twice}: theirs = softmax({view.term})",
                "return the outputs of the model as they are",
            ),
            values,
            values * (wide + most),
            f"softmax({view.term})",
        )
    again = " again" if ours.min() >= 0 and ours.max() <= 1 else " to the outputs"
    for name, function, says in (
        ("sigmoid", sigmoid, f"a sigmoid is applied{again}"),
        ("exp", np.exp, "the exponential of the outputs"),
        ("expm1", np.expm1, "the outputs are taken for log(1 + y), and that is undone"),
    ):
        with np.errstate(over="ignore"):
            yield _of_function(view, name, function, says)


def _of_function(
    view: View, name: str, function: Callable[[Array], Array], says: str
) -> View:
    """Return an increasing function of the outputs, number by number."""
    values = function(view.values)
    wide = function(view.values + view.tolerance) - function(
        view.values - view.tolerance
    )
    term = f"{name}({view.term})"
    return view.then(
        Part(
            f"{name} applied",
            f"{says}: theirs = {term}",
            "return the outputs of the model as they are",
        ),
        values,
        wide,
        term,
    )


def _logarithms(view: View, given: Array) -> Iterator[View]:
    """Yield logarithms; a number too small for its tolerance decides nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(view.values)
        wide = view.tolerance / view.values
        wide = np.where(wide < 0.1, wide, np.inf)
    sign = -1.0 if np.median(given) > 0 and np.median(log) < 0 else 1.0
    for base, name in ((1.0, "log"), (np.log(10.0), "log10"), (np.log(2.0), "log2")):
        term = f"{'-' if sign < 0 else ''}{name}({view.term})"
        inside = "-theirs" if sign < 0 else "theirs"
        back = f"exp({inside})" if name == "log" else f"{name[3:]} ** ({inside})"
        yield view.then(
            Part(
                "logarithm",
                f"the logarithm of the outputs: theirs = {term}",
                f"take {back}",
            ),
            sign * log / base,
            wide / base,
            term,
        )
    yield view.then(
        Part(
            "logarithm",
            f"the logarithm of 1 + the outputs: theirs = log1p({view.term})",
            "take expm1(theirs)",
        ),
        np.log1p(view.values),
        view.tolerance / (1 + view.values),
        f"log1p({view.term})",
    )


def _is_softmax(values: Array, axis: int) -> bool:
    """Say whether numbers are probabilities that add up to 1 over an axis."""
    return bool(
        np.isfinite(values).all()
        and values.min() >= -1e-6
        and np.max(np.abs(values.sum(axis=axis) - 1)) < SUM_ERROR
    )


def softmax_axes(given: Array) -> list[int]:
    """Return the axes, but for the last, over which numbers add up to 1."""
    return [k for k in range(given.ndim - 1) if _is_softmax(given, k)]


def softmax_over(logits: View, axis: int) -> View:
    """Return the softmax of the logits over another axis than the last."""
    names = ("batch", "time") if logits.values.ndim > 2 else ("batch",)
    name = f"{names[axis]} axis" if axis < len(names) else f"axis {axis}"
    values = softmax(logits.values, axis)
    most = logits.tolerance.max(axis=axis, keepdims=True)
    return View(
        values,
        values * (logits.tolerance + most),
        (
            Part(
                "softmax over another axis",
                f"the softmax is taken over the {name} instead of the last",
                "take the softmax over the last axis, axis=-1",
            ),
        ),
        "softmax",
    )


# ---- classes


def classes(view: View, given: Given) -> Found | None:
    """Return classes, 0 and 1, in place of probabilities, if they are the model's."""
    t, ours = given.values, view.values
    if not np.isin(t, (0.0, 1.0)).all() or ours.min() < 0 or ours.max() > 1:
        return None
    if ours.ndim > 1 and ours.shape[-1] > 1:
        if np.any(t.sum(axis=-1) != 1):
            return None
        chosen = (t * ours).sum(axis=-1)
        slack = 2 * view.tolerance.max(axis=-1)
        right = bool(np.all(chosen >= ours.max(axis=-1) - slack))
        picked = t.argmax(axis=-1).reshape(-1)
        says = "the classes, one-hot, in place of their probabilities"
    else:
        right = bool(np.all(np.where(t == 1, ours > 0.5, ours <= 0.5)))
        picked = t.reshape(-1)
        says = "the classes 0 and 1, from 0.5 on, in place of the probabilities"
    shares = np.unique(picked, return_counts=True)[1] / len(picked)
    surprise = float(-len(picked) * (shares @ np.log2(shares)))
    if not right or surprise < MIN_CLASS_BITS:
        return None
    part = Part(
        "classes",
        f"{says} (nothing finer can be told from classes)",
        "return the probabilities",
    )
    return Found(view.then(part, t, view.tolerance), given.formats[0])
