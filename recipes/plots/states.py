"""Draw the course of gates, states and gradients along a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.plots.furniture import (
    DIVERGING_MAP,
    FIGURE_WIDTH,
    FONT_SIZE,
    MASKED_STYLE,
    SEQUENTIAL_MAP,
    SMALL_FONT_SIZE,
    arrays,
    cut,
    fill,
    finished,
    heat_map,
    index_ticks,
    legend_below,
    log_ticks,
    new_figure,
    numbers,
    panels,
    require_row,
    require_some,
    shade_steps,
    step_labels,
    style,
    symmetric,
    tidy,
    whole_number_ticks,
    word_height,
    word_ticks,
    write_cells,
)
from verify.errors import DataError, printable
from verify.forward.evaluate import LayerTrace
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VALUE_WORDS = {
    "i": "input gate i",
    "f": "forget gate f",
    "o": "output gate o",
    "z": "update gate z",
    "r": "reset gate r",
    "c_hat": "candidate c_hat",
    "h_hat": "candidate h_hat",
    "c": "cell state c",
    "h": "hidden state h",
}
GATE_VALUES = frozenset("ifozr")
STATES = ("c", "h")
BETWEEN_0_AND_1 = ("sigmoid", "hard_sigmoid")


def value_words(name: str) -> str:
    """Name a value of a trace in words: ``0/c`` -> ``cell 0: cell state c``."""
    cell, _, own = name.rpartition("/")
    words = VALUE_WORDS.get(own, own)
    return f"cell {printable(cell)}: {words}" if cell else words


def gates(
    trace: LayerTrace,
    words: Sequence[str] | None,
    title: str,
    *,
    row: int = 0,
    names: Sequence[str] | None = None,
    units: Sequence[int] | None = None,
) -> Figure:
    """Draw a heat map of each gate and state of a layer: words across, units down.

    Gates have a scale from 0 to 1, candidates and states one with 0 in its middle.

    Parameters
    ----------
    trace : LayerTrace
        Trace of a recurrent layer: ``net.trace(x)["lstm"]``.
    words : of str, or None
        One for each time step; with None the steps are numbered.
    title : str
    row : int
        The row of the batch.
    names : of str, optional
        The values to draw, such as ``("f", "c")``; by default all.
    units : of int, optional
        The units to draw; by default all.
    """
    values = {name: _row(trace, name, row) for name in _chosen(trace, names)}
    steps, width = next(iter(values.values())).shape
    shown = _units(trace, units, width)
    labels, xlabel = step_labels(words, steps)
    masked = masked_steps(trace, row, steps)
    columns = min(len(values), 2)
    inches = (FIGURE_WIDTH / columns) - 1.25
    lines = -(-len(values) // columns)
    tall = float(np.clip(0.085 * len(shown), 0.7, 2.6))
    height = 0.6 + lines * (tall + 0.65) + word_height(labels, inches)
    figure = new_figure(height + (0.3 if masked else 0.0))
    grid = panels(figure, len(values), columns)
    for k, (axes, (name, value)) in enumerate(zip(grid, values.items(), strict=True)):
        picked = value[:, shown].T  # (units, time)
        gate = _is_gate(trace, name)
        limit = symmetric(picked)
        image = heat_map(
            axes,
            picked,
            limits=(0.0, 1.0) if gate else (-limit, limit),
            colours=SEQUENTIAL_MAP if gate else DIVERGING_MAP,
        )
        texts = [[f"{v:.2f}" for v in line] for line in picked]
        write_cells(axes, image, texts, (inches / steps, tall / len(shown)))
        shade_steps(axes, masked)
        axes.set_title(value_words(name), fontsize=FONT_SIZE + 1)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("unit")
        word_ticks(axes, labels, inches)
        axes.tick_params(labelbottom=k + columns >= len(values))
        index_ticks(axes.yaxis, shown, tall)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("open, 0 to 1" if gate else "value", fontsize=SMALL_FONT_SIZE)
        bar.ax.tick_params(labelsize=SMALL_FONT_SIZE, length=2)
    legend_below(figure, _mask_key(masked))
    return finished(figure, title)


def cell_moves(
    trace: LayerTrace, words: Sequence[str] | None, title: str, *, row: int = 0
) -> Figure:
    """Draw how far each word moves the states: the length of ``h_t - h_(t-1)``.

    For an LSTM there are bars for the cell state ``c`` too. The state before the first
    step is taken to be 0.

    Parameters
    ----------
    trace : LayerTrace
        Trace of a recurrent layer.
    words : of str, or None
    title : str
    row : int
        The row of the batch.
    """
    moves = _moves(trace, row)
    steps = len(next(iter(moves.values())))
    labels, xlabel = step_labels(words, steps)
    masked = masked_steps(trace, row, steps)
    inches = FIGURE_WIDTH - 0.8
    figure = new_figure(2.9 + word_height(labels, inches))
    axes = figure.subplots()
    shade_steps(axes, masked)
    thick = 0.8 / len(moves)
    handles: list[Any] = []
    for k, (name, lengths) in enumerate(moves.items()):
        where = np.arange(steps) - 0.4 + thick * (k + 0.5)
        label = f"{value_words(name)}: ||{name}_t - {name}_(t-1)||"
        handles.append(axes.bar(where, lengths, thick * 0.94, label=label, **fill(k)))
    tidy(axes, xlabel, "distance moved (Euclidean)", grid="y")
    word_ticks(axes, labels, inches)
    axes.set_xlim(-0.6, steps - 0.4)
    legend_below(figure, [*handles, *_mask_key(masked)])
    return finished(figure, title)


def gradients(
    norms: Mapping[str, Array], words: Sequence[str] | None, title: str
) -> Figure:
    """Draw how strongly the output depends on each step: ``|dy/dx_t|``, on a log axis.

    Parameters
    ----------
    norms : mapping of str to (time,) or (rows, time)
        Norms by model. For several rows their median is drawn, in a band between the
        quartiles.
    words : of str, or None
    title : str
    """
    found = arrays("norms", norms, 1, 2)
    _require_lengths("norms", found)
    steps = next(iter(found.values())).shape[-1]
    labels, xlabel = step_labels(words, steps)
    inches = FIGURE_WIDTH - 0.8
    figure = new_figure(3.4 + word_height(labels, inches))
    _log_lines(figure, found, np.arange(steps), xlabel, "|dy/dx_t|")
    word_ticks(figure.axes[0], labels, inches)
    return finished(figure, title)


def powers(
    series: Mapping[str, Array],
    title: str,
    *,
    ylabel: str,
    xlabel: str = "steps",
    first: int = 1,
) -> Figure:
    """Draw how products grow or shrink with the steps: lines on a log axis.

    Parameters
    ----------
    series : mapping of str to (steps,)
        Numbers that are 0 or greater, such as ``|u ** k|`` for k = 1, 2, ...
    title, ylabel, xlabel : str
    first : int
        The step of the first number.
    """
    found = arrays("series", series, 1)
    _require_lengths("series", found)
    steps = first + np.arange(len(next(iter(found.values()))))
    figure = new_figure(4.0)
    _log_lines(figure, found, steps, xlabel, ylabel)
    whole_number_ticks(figure.axes[0].xaxis)
    return finished(figure, title)


def masked_steps(trace: LayerTrace, row: int, steps: int) -> list[int]:
    """Return the steps of a row that the layer's mask leaves out."""
    mask = trace.mask
    if isinstance(mask, (list, tuple)):
        mask = mask[0] if mask else None
    if mask is None:
        return []
    return [t for t in range(steps) if not np.asarray(mask, dtype=bool)[row, t]]


def processing_order(layer: LayerSpec, steps: int) -> list[int]:
    """Return the time steps in the order in which the layer reads them."""
    order = list(range(steps))
    return order[::-1] if layer.options.get("go_backwards") else order


def _mask_key(masked: Sequence[int]) -> list[Any]:
    from matplotlib.patches import Patch

    if not masked:
        return []
    return [
        Patch(**MASKED_STYLE, label="masked step: does not count, the states are kept")
    ]


def _chosen(trace: LayerTrace, names: Sequence[str] | None) -> list[str]:
    """Return the names of the values to draw, as asked for or all of the trace."""
    own = [name for name, value in trace.values.items() if value.ndim == 3]
    own = [name for name in own if name.rpartition("/")[2] in VALUE_WORDS]
    if not own:
        inside = ", ".join(printable(key) for key in trace.layer.sublayers)
        raise DataError(
            f"{trace.layer}: expected a layer with gates or states, (batch, time, "
            "units). Received: one that has none"
            + (f"; take a layer inside it: {inside}" if inside else "")
        )
    if names is None:
        return own
    require_some("names", names)
    for name in names:
        if name not in own:
            raise DataError(
                f"{trace.layer}: expected names among {', '.join(own)}. "
                f"Received: {printable(name)}"
            )
    return list(names)


def _row(trace: LayerTrace, name: str, row: int) -> Array:
    """Return a value of the trace for one row of the batch: (time, units)."""
    value = trace[name]
    require_row(row, len(value))
    return numbers(f"{name} of {trace.layer}", value[row], 2)


def _units(trace: LayerTrace, units: Sequence[int] | None, width: int) -> list[int]:
    if units is None:
        return list(range(width))
    if isinstance(units, int):
        raise DataError(f"units: expected a list of units. Received: {units}")
    require_some("units", units)
    for unit in units:
        if not 0 <= unit < width:
            raise DataError(
                f"{trace.layer}: expected units from 0 to {width - 1}. Received: {unit}"
            )
    return list(units)


def _is_gate(trace: LayerTrace, name: str) -> bool:
    """Return whether a value is a gate that its activation keeps between 0 and 1."""
    cell, _, own = name.rpartition("/")
    layer = trace.layer
    if "cell" in layer.sublayers:  # RNN around a cell, or around several stacked
        layer = layer.sublayers["cell"]
        layer = layer.sublayers.get(cell, layer)
    activation = layer.options.get("recurrent_activation")
    return own in GATE_VALUES and activation in BETWEEN_0_AND_1


def _moves(trace: LayerTrace, row: int) -> dict[str, Array]:
    """Compute how far each step moves each state: (time,) by state."""
    found = {}
    for name in _chosen(trace, None):
        if name.rpartition("/")[2] not in STATES:
            continue
        value = _row(trace, name, row)  # (time, units)
        order = processing_order(trace.layer, len(value))
        before = np.zeros_like(value)
        before[order[1:]] = value[order[:-1]]
        found[name] = np.linalg.norm(value - before, axis=1)
    return found


def _require_lengths(what: str, found: Mapping[str, Array]) -> None:
    for name, values in found.items():
        if (values < 0).any():
            raise DataError(
                f"{what} of {printable(name)}: expected numbers from 0. "
                "Received: a negative one"
            )


def _log_lines(
    figure: Figure, found: Mapping[str, Array], x: Array, xlabel: str, ylabel: str
) -> None:
    """Draw lines on a log axis; mark numbers that are exactly 0 on its lower edge."""
    from matplotlib.lines import Line2D

    axes = figure.subplots()
    axes.set_yscale("log")
    lines = {  # quartiles over the rows, (3, steps) each
        name: np.quantile(np.atleast_2d(values), (0.25, 0.5, 0.75), axis=0)
        for name, values in found.items()
    }
    low, high = _log_limits(np.concatenate([v.ravel() for v in lines.values()]))
    handles: list[Any] = []
    zeros = banded = False
    for k, (name, (lower, middle, upper)) in enumerate(lines.items()):
        look = style(k)
        if len(x) > 40:
            look["marker"] = ""
        drawn = np.where(middle > 0, middle, np.nan)
        handles += axes.plot(x, drawn, **look, label=cut(name, 40), zorder=3)
        if found[name].ndim == 2 and len(found[name]) > 1:
            banded = True
            axes.fill_between(
                x, np.maximum(lower, low), np.maximum(upper, low),
                facecolor=look["color"], alpha=0.2, linewidth=0,
            )  # fmt: skip
        at_zero = x[middle == 0]
        if len(at_zero):
            zeros = True
            axes.plot(
                at_zero, np.full(len(at_zero), low), linestyle="", marker="v",
                markersize=6, color=look["color"], clip_on=False, zorder=4,
            )  # fmt: skip
    if banded:
        handles.append(_band_key())
    if zeros:
        handles.append(
            Line2D(
                [], [], linestyle="", marker="v", color="0.3",
                label="exactly 0 (below the axis)",
            )
        )  # fmt: skip
    axes.set_ylim(low, high)
    tidy(axes, xlabel, ylabel, grid="both")
    log_ticks(axes.yaxis, low, high)
    legend_below(figure, handles)


def _band_key() -> Any:
    from matplotlib.patches import Patch

    return Patch(
        facecolor="0.5", alpha=0.3, label="middle half of the rows; line: median"
    )


def _log_limits(values: Array) -> tuple[float, float]:
    """Return the limits of a log axis for the numbers above 0."""
    positive = values[values > 0]
    if not len(positive):
        return 0.1, 1.0
    low, high = float(positive.min()), float(positive.max())
    room = max((high / low) ** 0.06, 1.5)
    return max(low / room, 1e-300), min(high * room, 1e300)
