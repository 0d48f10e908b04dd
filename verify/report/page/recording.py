"""Record gates, states and answers of a few rows for the page.

The page computes the same rows in its own engine and compares. Where it cannot compute
them, it shows the recorded values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.errors import DataError, VerifyError, printable
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import LayerTrace
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.model.arrays import Array
from verify.model.dtypes import UNIT_ROUNDOFF
from verify.model.graph import flatten
from verify.report.intermediates import Place
from verify.report.page.export import (
    Refused,
    chain,
    exact_mask,
    exported,
    product_count,
)
from verify.report.page.packing import pack_array
from verify.tolerance.noise_floor import perturbed

DEFAULT_ROWS = 8
"""Number of rows that are recorded, if the caller gives no other."""

MAX_STEPS = 2000
"""Greatest number of time steps; a reader could not look at more."""

MAX_RECORDED_BYTES = 6_000_000
"""Greatest size of the recorded values in a page, in bytes before base64."""

MAX_PREFIXES, MAX_PREFIX_PRODUCTS = 64, 2e8
"""Time steps of a sequence, and multiplications for a row, up to which the answer after
every step is recorded."""

AGREEMENT_TOLERANCE = 1e-6
"""Relative error that the page's own values may have, because the recorded ones are
rounded to float32. It is relative to the value, or to the greatest value of its row, 1
at most, if that is larger. ``apart`` in ``engine.js`` measures it in the same way."""

MIN_ROW_SCALE = 1e-7
"""The greatest value of a row counts as this at least, because much smaller values may
be rounding alone, as in 1e-6 - tanh(1e-6)."""

ROUNDING_FACTOR = 100.0
"""The tolerance grows by this many times the effect of one rounding error in every
weight."""

MAX_PEEKED_IDS = 12
"""Greatest number of ids in the default name of a row."""

RECURRENT_LAYERS = ("SimpleRNN", "LSTM", "GRU", "RNN")
"""Classes of layers whose gates and states are recorded."""


@dataclass(frozen=True)
class Sample:
    """Describe a row to the reader of a page.

    Attributes
    ----------
    label : str
        The name of the row in the list to choose from.
    note : str
        A remark about the row, for example its true class.
    text : str
        The text that the row was made from, if any.
    """

    label: str
    note: str = ""
    text: str = ""


@dataclass(frozen=True)
class TextRules:
    """Describe how the page turns a text into ids; see `verify.data.text.TextPipeline`.

    Attributes
    ----------
    words : sequence of str
        The vocabulary, in the order of the ids, from 1 on; id 0 is padding.
    stop_words : sequence of str
        Words that are left out.
    length : int
        Time steps: only the last `length` words are read.
    padding : "pre" or "post"
        Whether padding comes before or after the words of a short text.
    feature_axis : bool
        Whether the model takes an id as the one feature of a step, without Embedding.
    """

    words: Sequence[str]
    stop_words: Sequence[str]
    length: int
    padding: str
    feature_axis: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as plain values for JSON."""
        return {
            "words": list(self.words),
            "stop_words": list(self.stop_words),
            "length": self.length,
            "padding": self.padding,
            "feature_axis": self.feature_axis,
        }


@dataclass(frozen=True, eq=False)
class PortValues:
    """Hold what a port computed inside, to be shown beside NumPy's values.

    Attributes
    ----------
    values : mapping of str to (rows, time, units)
        Name as in `Trace.arrays` -> the port's, NaN where it gave none.
    differs : mapping of str to (rows, time, units) of bool
        The same names -> where they differ by more than allowed.
    first : Place or None
        Where they first differ.
    row : int
        Which of the rows `first` is in.
    """

    values: Mapping[str, Array]
    differs: Mapping[str, Array]
    first: Place | None = None
    row: int = 0


@dataclass(frozen=True)
class Exploration:
    """Hold the data of the page's explorer, as plain values for JSON."""

    data: Mapping[str, Any]


def explore(
    net: Network,
    x: Any,
    *,
    samples: Sequence[Sample] = (),
    classes: Sequence[str] = (),
    text: TextRules | None = None,
    rows: int = DEFAULT_ROWS,
    notes: Sequence[str] = (),
    port: PortValues | None = None,
) -> Exploration:
    """Record some rows of inputs for a page.

    Parameters
    ----------
    net : Network
    x : (batch, ...)
        Inputs, in any form that `Network.predict` takes.
    samples : sequence of Sample
        A description of each row; by default rows are numbered.
    classes : sequence of str
        Names of the classes that the outputs stand for.
    text : TextRules, optional
        Rules for texts that readers type; without them they can type none.
    rows : int
        Greatest number of rows to record.
    notes : sequence of str
        Sentences for the reader of the page, without a full stop.
    port : PortValues, optional
        Shown beside NumPy's.

    Returns
    -------
    Exploration

    Raises
    ------
    DataError
        The inputs do not fit the model, or they have too many steps to be shown.
    """
    inputs = net.prepare(x)
    longest = max((a.shape[1] for a in inputs if a.ndim > 1), default=1)
    if longest > MAX_STEPS:
        raise DataError(
            f"expected sequences of {MAX_STEPS:,} steps or fewer, to show them step by "
            f"step. Received: {longest:,}"
        )
    said = [*notes, *_notes(net)]
    inputs = inputs.take(slice(0, rows))
    named = list(samples)[:rows] or [
        Sample(row_label(k, row)) for k, row in enumerate(inputs[0])
    ]
    trace = _trace(net, inputs)
    finite = _finite_rows(trace, inputs.rows)
    if not finite.all():
        said.append(
            f"{int((~finite).sum())} row(s) are left out: NaN or infinite values"
        )
    kept = np.flatnonzero(finite)[: _affordable(trace, inputs.rows)]
    if len(kept) < inputs.rows:
        inputs = inputs.take(kept)
        trace = _trace(net, inputs) if len(kept) else trace
    data: dict[str, Any] = {
        "samples": [_sample(named[k]) for k in kept],
        "classes": [str(name) for name in classes],
        "text": None if text is None else text.to_dict(),
        "notes": said,
        "input": _input(net, inputs),
        **_with_port(_layers(net, trace, len(kept)), port, kept),
        "output": pack_array(_output(trace)[: len(kept)], exact=False),
        **(_answers(net, inputs, trace) if len(kept) else _none("there is no row")),
        **_model(net, inputs, trace, len(kept)),
    }
    return Exploration(data)


def row_label(number: int, row: Array) -> str:
    """Return the default name of a row: its number, and its first ids."""
    if row.dtype.kind not in "iu" or row.ndim != 1:
        return f"row {number}"
    more = " ..." if len(row) > MAX_PEEKED_IDS else ""
    return f"row {number}: {' '.join(map(str, row[:MAX_PEEKED_IDS]))}{more}"


def _trace(net: Network, inputs: Inputs) -> Trace:
    return net.trace(inputs, dtype=_precision(net))


def _precision(net: Network) -> str | None:
    """Return float64, or None if a Masking layer would then mask other steps.

    None means the precision of the model.
    """
    masking = (x for _, x in net.spec.walk() if x.class_name == "Masking")
    return "float64" if all(map(exact_mask, masking)) else None


def _notes(net: Network) -> list[str]:
    notes = []
    if net.stateful:
        notes.append("The model is stateful; every row begins here with zeros")
    coarse = sorted(net.spec.policies - {"float32", "float64"})
    if coarse:
        notes.append(
            f"The values are those of float64; the model itself rounds ({coarse[0]})"
        )
    return notes


def _sample(sample: Sample) -> dict[str, str]:
    return {"label": sample.label, "note": sample.note, "text": sample.text}


def _input(net: Network, inputs: Inputs) -> dict[str, Any]:
    """Return the first input, and how many ids there are if an Embedding reads it."""
    first = inputs[0]
    shape = net.spec.inputs[0].options["batch_shape"]
    ids = None
    for layer in net.spec.layers:
        if layer.class_name == "Embedding" and first.ndim == 2:
            ids = layer.options["input_dim"]
            break
    return {
        "values": pack_array(first),
        "steps": shape[1] if len(shape) > 1 else None,
        "ids": ids if len(inputs) == 1 else None,
        "count": len(inputs),
    }


def _recurrent(trace: Trace) -> list[tuple[str, LayerTrace]]:
    """Return the traces whose gates and states can be shown, (batch, time, units).

    That leaves out layers with several rows for each sample.
    """
    samples = len(_output(trace))
    return [
        (path, traced)
        for path, traced in trace.items()
        if traced.layer.class_name in RECURRENT_LAYERS
        and traced.values
        and all(
            value.ndim == 3 and len(value) == samples
            for value in traced.values.values()
        )
    ]


def _affordable(trace: Trace, rows: int) -> int:
    """Return how many rows fit in a page, at least one."""
    size = sum(
        value.nbytes / value.itemsize * 4
        for _, traced in _recurrent(trace)
        for value in traced.values.values()
    )
    return max(1, int(MAX_RECORDED_BYTES * rows / max(size, 1)))


def _layers(net: Network, trace: Trace, rows: int) -> dict[str, Any]:
    """Return all recurrent layers with their values, in as many units as fit."""
    found = _recurrent(trace)
    numbers = sum(
        value.shape[1] * value.shape[2]
        for _, traced in found
        for value in traced.values.values()
    )
    share = min(1.0, MAX_RECORDED_BYTES / max(4 * numbers * max(rows, 1), 1))
    later = _after_the_words(net)
    layers = []
    for path, traced in found:
        values = {name: value[:rows] for name, value in traced.values.items()}
        units = next(iter(values.values())).shape[2]
        kept = max(1, int(units * share))
        mask = traced.mask if isinstance(traced.mask, np.ndarray) else None
        layers.append(
            {
                "path": path,
                "kind": traced.layer.class_name,
                "cell": _cell(traced),
                "units": units,
                "kept": kept,
                "backwards": bool(traced.layer.options["go_backwards"]),
                "words": path.partition("/")[0] not in later,
                "reset_after": _option(traced, "reset_after", False),
                "activation": _option(traced, "activation", ""),
                "recurrent_activation": _option(traced, "recurrent_activation", ""),
                "mask": None if mask is None else pack_array(mask[:rows].astype(bool)),
                "values": {
                    name: pack_array(value[:, :, :kept], exact=False)
                    for name, value in values.items()
                },
            }
        )
    return {"layers": layers, "not_shown": _not_shown(net, [x["path"] for x in layers])}


def _with_port(
    found: dict[str, Any], port: PortValues | None, rows: Array
) -> dict[str, Any]:
    """Return the layers with the port's values of these rows, in the same units."""
    if port is None:
        return {**found, "port": None}
    layers = []
    for layer in found["layers"]:
        names = {name: f"{layer['path']}/{name}" for name in layer["values"]}
        given = {name: at for name, at in names.items() if at in port.values}
        kept = layer["kept"]
        layers.append(
            {
                **layer,
                "theirs": {
                    name: pack_array(port.values[at][rows, :, :kept], exact=False)
                    for name, at in given.items()
                },
                "differs": {
                    name: pack_array(port.differs[at][rows, :, :kept])
                    for name, at in given.items()
                },
            }
        )
    first, place = None, port.first
    if place is not None and port.row in rows:
        paths = [layer["path"] for layer in layers]
        known = place.layer in paths and place.step is not None
        first = {
            "text": f"{place.what}, {place.where}",
            "ours": f"{place.expected:.6g}",
            "theirs": f"{place.found:.6g}",
            "sample": int(np.flatnonzero(rows == port.row)[0]),
            "layer": paths.index(place.layer) if known else None,
            "value": place.value,
            "step": place.step,
            "unit": place.unit,
        }
    return {**found, "layers": layers, "port": {"first": first}}


def _cell(traced: LayerTrace) -> str:
    cell = traced.layer.sublayers.get("cell", traced.layer)
    return cell.class_name.removesuffix("Cell")


def _option(traced: LayerTrace, name: str, default: Any) -> Any:
    cell = traced.layer.sublayers.get("cell", traced.layer)
    return cell.options.get(name, default)


def _not_shown(net: Network, paths: Sequence[str]) -> list[str]:
    """Return the recurrent layers that cannot be shown, such as ConvLSTM.

    Their values have other axes than time and units, or several rows for each sample.
    """
    return [
        f"{layer}"
        for path, layer in net.spec.walk()
        if (
            layer.class_name in RECURRENT_LAYERS
            or layer.class_name.startswith("ConvLSTM")
        )
        and path not in {p.rpartition(":")[0] or p for p in paths} | set(paths)
    ]


def _after_the_words(net: Network) -> set[str]:
    """Return the layers of a chain whose steps are not those of the input.

    They come after a layer that changes the time axis.
    """
    try:
        names = chain(net)
    except Refused:
        return set()
    turned, later = False, set()
    for name in names:
        if turned:
            later.add(name)
        turned = turned or net.spec[name].class_name in ("RepeatVector", "Reshape")
    return later


def _output(trace: Trace) -> Array:
    return np.asarray(flatten(trace.output)[0], dtype=np.float64)


def _finite_rows(trace: Trace, rows: int) -> Array:
    found = np.ones(rows, dtype=bool)
    arrays = [_output(trace)]
    arrays += [v for _, traced in _recurrent(trace) for v in traced.values.values()]
    for array in arrays:
        found &= np.isfinite(array).reshape(rows, -1).all(axis=1)
    return found


def _answers(net: Network, inputs: Inputs, trace: Trace) -> dict[str, Any]:
    """Return the answers of the model after every step: (rows, time, outputs).

    A model with an output at every step gives them at once. Any other is evaluated on
    the first step, on the first two, and so on.

    Returns
    -------
    dict
        ``answers`` is "each" for a model of the first kind, "end" for one of the
        second, "" if there are no such answers; ``running`` has them, or is None if
        they are not recorded; ``no_answers`` says why.
    """
    output, first = _output(trace), inputs[0]
    if len(inputs) != 1 or len(flatten(trace.output)) != 1 or first.ndim < 2:
        return _none("the model has several inputs or outputs")
    time, last = first.shape[1], net.spec.layers[-1].name
    each = output.ndim == 3 and output.shape[1] == time
    if each and last not in _after_the_words(net):
        return {"answers": "each", "running": pack_array(output, exact=False)}
    if output.ndim != 2 or not _recurrent(trace):
        return _none("the output has steps of its own")
    if not _affords_prefixes(net, inputs, trace):
        return {**_none("the sequence is too long"), "answers": "end"}
    answers = []
    for end in range(1, time + 1):
        try:
            (answer,) = net.flat(Inputs([first[:, :end]]), dtype=_precision(net))
        except VerifyError:
            return _none("the model needs all its steps")
        if answer.shape != output.shape:
            return _none("the model needs all its steps")
        answers.append(answer)
    stacked = np.stack(answers, axis=1).astype(np.float64)  # (rows, time, outputs)
    if not np.isfinite(stacked).all():
        return _none("it is not a number everywhere")
    return {"answers": "end", "running": pack_array(stacked, exact=False)}


def _affords_prefixes(net: Network, inputs: Inputs, trace: Trace) -> bool:
    """Return whether there is time to evaluate the model on all beginnings of a row."""
    time = inputs[0].shape[1]
    products = product_count(net, trace) * time / 2  # a beginning is half as long
    return time <= MAX_PREFIXES and products <= MAX_PREFIX_PRODUCTS


def _none(reason: str) -> dict[str, Any]:
    return {"answers": "", "running": None, "no_answers": reason}


def _model(net: Network, inputs: Inputs, trace: Trace, rows: int) -> dict[str, Any]:
    """Return the model for the page's engine, or the reason why there is none."""
    try:
        if not rows:
            raise Refused("NumPy has recorded no row to compare with")
        model = exported(net, trace)
        allowed = _allowed(net, inputs, trace)
        if not allowed <= 1e-2:  # also if it is NaN: only one of the two overflowed
            raise Refused(
                "it amplifies rounding until no two programs agree, so the page could "
                "not be held against NumPy"
            )
    except Refused as reason:
        return {
            "model": None,
            "refused": printable(reason, 300),
            "allowed": AGREEMENT_TOLERANCE,
        }
    return {
        "model": model,
        "refused": "",
        "allowed": allowed,
        "prefixes": _affords_prefixes(net, inputs, trace),
    }


def _allowed(net: Network, inputs: Inputs, trace: Trace) -> float:
    """Return the relative tolerance of the page's values, larger if rounding grows."""
    there = perturbed(net.spec, UNIT_ROUNDOFF["float64"], 0).trace(
        inputs, dtype="float64"
    )
    pairs = [(_output(trace), _output(there))]
    for (_, a), (_, b) in zip(_recurrent(trace), _recurrent(there), strict=True):
        pairs += [(a.values[name], b.values[name]) for name in a.values]
    return AGREEMENT_TOLERANCE + ROUNDING_FACTOR * max(_apart(a, b) for a, b in pairs)


def _apart(a: Array, b: Array) -> float:
    """Return the greatest relative difference of two arrays, (rows, ...) each.

    It is measured as the page does; see `AGREEMENT_TOLERANCE`.
    """
    size = np.abs(a)
    axes = tuple(range(1, size.ndim))
    floor = np.clip(size.max(axis=axes, keepdims=True, initial=0.0), MIN_ROW_SCALE, 1.0)
    return float(np.max(np.abs(a - b) / np.maximum(floor, size), initial=0.0))
