"""Show what a port computed beside NumPy's values, in the page of a comparison."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from verify.checks._tapping import ModelValues, given_taps
from verify.checks.against_outputs import inside
from verify.checks.inputs import prepared_rows
from verify.data.sources import Source
from verify.errors import DataError
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.report.page import (
    DEFAULT_ROWS,
    Exploration,
    PortValues,
    Sample,
    explore,
    row_label,
)
from verify.report.report import Report


def explored_port(
    net: Network, source: Source, outputs: Any, report: Report
) -> Exploration | None:
    """Return the explorer of a few rows for a page; print why if there is none.

    The row where the port first differs is among them.

    Parameters
    ----------
    net : Network
    source : Source
        The inputs.
    outputs : as for `verify.compare_outputs`
    report : Report
        Of comparing them.
    """
    place = report.place
    rows = np.arange(min(DEFAULT_ROWS, source.rows))
    if place is not None and place.row not in rows:
        rows = np.append(rows[:-1], place.row)
    notes = list(report.cautions())
    try:
        x = prepared_rows(net, source, rows)
        port = None
        if (arrays := inside(net, outputs)) is not None:
            if net.stateful or net.batch_matters:
                notes.append(
                    "The port's values are not shown: here each row is computed by "
                    "itself, and in the model it depends on others"
                )
            else:
                port = _port(net, source, arrays, report, rows)
                notes = ["The values are NumPy's where none of the port's stand beside"]
        samples = [
            Sample(row_label(int(n), row)) for n, row in zip(rows, x[0], strict=True)
        ]
        return explore(net, x, samples=samples, rows=len(rows), notes=notes, port=port)
    except DataError as error:
        print(f"The page has no explorer: {error}", file=sys.stderr)
        return None


def _port(
    net: Network, source: Source, arrays: Any, report: Report, rows: Array
) -> PortValues:
    """Return the port's gates and states of some rows, on the axes of the model's."""
    model = ModelValues(net, prepared_rows(net, source, rows[:1]))
    given, _ = given_taps(model, arrays, source.rows)
    theirs = arrays.open([one.tap.name for one in given]).take(rows)
    ours = net.trace(prepared_rows(net, source, rows), dtype="float64").arrays()
    result = report.partial_result
    values, differs = dict[str, Array](), dict[str, Array]()
    for k, one in enumerate(given):
        value = model.values.get(one.tap.array)
        if value is None or not value.stepped or len(value.shape) != 2:
            continue
        part = one.shaped(np.asarray(theirs[one.tap.name])).astype(np.float64)
        name, expected = value.name, ours[value.name].astype(np.float64)
        if name not in values:
            values[name] = np.full(expected.shape, np.nan)
            differs[name] = np.zeros(expected.shape, dtype=bool)
        allowed = np.inf if result is None else result.outputs[k].tolerance.atol
        with np.errstate(invalid="ignore"):
            wrong = ~(np.abs(part - one.tap.of(expected)) <= allowed)
        steps = one.tap.steps or range(expected.shape[1])
        if one.tap.single:
            part, wrong = part[:, np.newaxis], wrong[:, np.newaxis]
        for at, step in enumerate(steps):
            values[name][:, step] = part[:, at]
            differs[name][:, step] = wrong[:, at]
    for name in values:
        mask = model.values[name].call.mask
        gate = model.values[name].value.rpartition("/")[2] not in ("h", "c")
        key = f"{model.values[name].key}/mask"
        if gate and mask is not None and key in ours:  # these count for nothing
            differs[name] &= ours[key].astype(bool)[..., np.newaxis]
    place = report.place
    at = 0 if place is None else int(np.searchsorted(rows, place.row))
    return PortValues(values, differs, place, at)
