"""Draw the unrolled network, with the numbers of the model in every box.

Each time step is a column: the input at the bottom, the gates above it, then the hidden
state and, for an LSTM, the cell state. The Dense layer is at the right. The layout is
in inches, since boxes must hold their text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recipes.plots.boxes import (
    BOX_FONT_SIZE,
    BOX_PADDING,
    LINE_HEIGHT,
    Box,
    box_height,
    draw_arrow,
    draw_box,
    draw_frame,
    fitting_size,
    line_width,
    write,
)
from recipes.plots.furniture import (
    BLUE,
    GATE_COLOURS,
    GREEN,
    ORANGE,
    VERMILION,
    cut,
    finished,
    numbers,
    one_each,
    require_row,
    step_labels,
    wrapped,
)
from recipes.plots.states import STATES, VALUE_WORDS, masked_steps, processing_order
from recipes.plots.sums import (
    SHOWN_NUMBERS,
    Formatter,
    Lines,
    gate_sums,
    state_lines,
    value_name,
)
from verify.errors import DataError, join_and, printable
from verify.forward.evaluate import LayerTrace
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.graph import TensorRef, flatten
from verify.model.spec import LayerSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_STEPS, MAX_CLASSES = 4, 8
RECURRENT_LAYERS = ("SimpleRNN", "LSTM", "GRU")

COLUMN_WIDTHS = {1: 2.6, 2: 2.6, 3: 2.1, 4: 1.9}
"""Number of steps -> width of each, in inches."""

LEFT_MARGIN, COLUMN_GAP, DENSE_WIDTH, RIGHT_MARGIN = 0.62, 0.44, 2.35, 0.12
"""Inches: before the first column, between two, for the Dense layer, at the right."""


def unrolled(
    net: Network,
    x: Array,
    words: Sequence[str] | None,
    title: str,
    *,
    classes: Sequence[str] | None = None,
    row: int = 0,
) -> Figure:
    """Draw a small model, unrolled over its steps, with the numbers of one input.

    Parameters
    ----------
    net : verify.Network
        One SimpleRNN, LSTM or GRU, then one Dense layer; an Embedding or the like may
        come before.
    x : (batch, ...)
        As for `net.predict`, of 1 to 4 time steps.
    words : of str, or None
        One for each step.
    title : str
    classes : of str, optional
        Names of the Dense layer's outputs.
    row : int
        The row of the batch.

    Raises
    ------
    DataError
        The model is of another kind, there are too many steps, or the numbers of words
        or classes do not fit.
    """
    loop, dense = _parts(net)
    trace = net.trace(x)
    names = _classes(dense, classes)
    model = _Unrolled.of(trace[loop.name], row, words)
    return _drawn(model, trace[dense.name], names, row, title)


def _parts(net: Network) -> tuple[LayerSpec, LayerSpec]:
    """Return the recurrent layer and the Dense layer of a model that can be drawn."""
    layers = net.spec.layers
    found = join_and([str(layer) for layer in layers])
    loops = [layer for layer in layers if layer.class_name in RECURRENT_LAYERS]
    if (
        len(loops) != 1
        or layers[-1].class_name != "Dense"
        or layers[-2:-1] != (loops[0],)
        or loops[0].options["return_sequences"]
        or loops[0].options["return_state"]
        or _inputs_of(net, loops[0].name) != 1
    ):
        raise DataError(
            "expected a model that ends with one SimpleRNN, LSTM or GRU, called "
            "once on one input and returning its last output, then one Dense layer. "
            f"Received: {found or 'no layers'}"
        )
    return loops[0], layers[-1]


def _inputs_of(net: Network, name: str) -> int:
    """Count the tensors a layer is called with: its input, and states if given."""
    graph = net.spec.root.graph
    calls = [node for node in graph.nodes if node.layer == name] if graph else []
    leaves = [leaf for call in calls for leaf in flatten([call.args, call.kwargs])]
    return sum(isinstance(leaf, TensorRef) for leaf in leaves)


def _classes(dense: LayerSpec, classes: Sequence[str] | None) -> list[str]:
    units = dense.weights["kernel"].shape[1]
    if classes is None:
        return [f"output {k}" for k in range(units)]
    one_each("classes", classes, units, f"unit of {dense}")
    return [cut(name, 15) for name in classes]


@dataclass(frozen=True)
class _Unrolled:
    """Hold the numbers of the recurrent layer at each step."""

    layer: LayerSpec
    x: Array  # (time, features)
    values: dict[str, Array]  # (time, units) each
    order: list[int]
    labels: list[str]
    masked: list[int]
    show: Formatter

    @classmethod
    def of(cls, trace: LayerTrace, row: int, words: Sequence[str] | None) -> _Unrolled:
        """Take one row of a trace, if it is short enough to be drawn."""
        require_row(row, len(trace.input))
        inputs = numbers(f"input of {trace.layer}", trace.input[row], 2)
        steps = len(inputs)
        if not 1 <= steps <= MAX_STEPS:
            raise DataError(
                f"expected 1 to {MAX_STEPS} time steps, to be readable. "
                f"Received: {steps}"
            )
        labels, _ = step_labels(words, steps)
        values = {
            name: numbers(f"{name} of {trace.layer}", value[row], 2)
            for name, value in trace.values.items()
        }
        many = values["h"].shape[1] > 1
        return cls(
            trace.layer,
            inputs,
            values,
            processing_order(trace.layer, steps),
            labels if words is not None else [""] * steps,
            masked_steps(trace, row, steps),
            Formatter(2 if many and steps > 2 else 3 if many or steps > 2 else 4),
        )

    def before(self, name: str, k: int) -> Array:
        """Return a state before the k-th column; 0 before the first."""
        if k == 0:
            return np.zeros_like(self.values[name][0])
        return self.values[name][self.order[k - 1]]


def _drawn(
    model: _Unrolled, dense: LayerTrace, names: list[str], row: int, title: str
) -> Figure:
    from matplotlib.figure import Figure

    steps = len(model.order)
    column = COLUMN_WIDTHS[steps]
    width = LEFT_MARGIN + steps * (column + COLUMN_GAP) + DENSE_WIDTH + RIGHT_MARGIN
    columns = [_Column.of(model, k) for k in range(steps)]
    tall = columns[0].height
    head = wrapped(title, width)
    above = 0.3 + 0.2 * len(head.splitlines()) if title else 0.15
    table = _dense_lines(dense, names, row, model.show)
    notes = _notes(model)
    beside = box_height(len(table) + 2) + len(notes) * LINE_HEIGHT + 0.3
    height = above + max(tall, beside) + 0.15
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    top, before = height - above, None
    size = min(parts.size(column) for parts in columns)
    for k, parts in enumerate(columns):
        left = LEFT_MARGIN + k * (column + COLUMN_GAP)
        before = _draw_column(axes, model, parts, left, top, column, before, size)
    if before is not None:
        _draw_dense(axes, dense, table, before, width, top, notes)
    finished(figure, "")
    if title:
        figure.suptitle(head, y=1 - 0.12 / height, va="top", parse_math=False)
    return figure


@dataclass(frozen=True)
class _Column:
    """Hold the text of one time step, number `t` of the input."""

    t: int
    x: Lines
    gates: dict[str, tuple[str, Lines]]
    c: Lines
    h: Lines
    h_head: str

    @classmethod
    def of(cls, model: _Unrolled, k: int) -> _Column:
        """Write out the k-th step, in the order in which the layer reads them."""
        layer, t = model.layer, model.order[k]
        states: dict[str, Array] = {
            name: model.before(name, k) for name in STATES if name in model.values
        }
        now = {name: value[t] for name, value in model.values.items()}
        return cls(
            t,
            [("x", model.show(model.x[t]))],
            {
                gate: _gate_text(model, gate, now, model.x[t], states["h"])
                for gate in layer.gates
            },
            state_lines(layer, "c", now, states, model.show) if "c" in now else [],
            state_lines(layer, "h", now, states, model.show),
            VALUE_WORDS["h"]
            + ("" if len(layer.gates) > 1 else f" = {_activation(layer)}(sum)"),
        )

    def size(self, width: float) -> float:
        """Return the greatest font size at which all lines fit in a column."""
        gates = [line_width(lines) for _, lines in self.gates.values()]
        return min(
            fitting_size(max(gates), width - 0.12),
            fitting_size(line_width(self.c), width),
            fitting_size(line_width(self.h), width - self.aside),
            fitting_size(line_width(self.x), width),
        )

    @property
    def aside(self) -> float:
        """Return the width in inches at the left of h, where an arrow reaches c."""
        return 0.2 if self.c else 0.0

    @property
    def height(self) -> float:
        """Return the height of the column in inches."""
        gates = sum(box_height(len(lines)) + 0.07 for _, lines in self.gates.values())
        states = sum(box_height(len(x)) + 0.3 for x in (self.c, self.h) if x)
        return states + gates + 0.12 + 0.3 + box_height(len(self.x))


def _activation(layer: LayerSpec, option: str = "activation") -> str:
    return printable(layer.options[option], 20)


def _gate_text(
    model: _Unrolled, gate: str, now: dict[str, Array], x: Array, h: Array
) -> tuple[str, Lines]:
    """Return the heading and the lines of a gate's box."""
    layer, name = model.layer, value_name(model.layer, gate)
    lines, total = gate_sums(layer, gate, x, h, now, model.show)
    lines = [*lines, ("sum", model.show(total))]
    if name == "h":  # a SimpleRNN has no gate: its sum is all there is before h
        return "sum, before the activation", lines
    option = "activation" if name.endswith("_hat") else "recurrent_activation"
    head = f"{VALUE_WORDS[name]} = {_activation(layer, option)}(sum)"
    return head, [*lines, (name, model.show(now[name]))]


class _Shown(NamedTuple):
    """Hold the boxes of a column between which arrows are drawn."""

    h: Box
    c: Box | None
    gates: Box


def _draw_column(
    axes: Axes,
    model: _Unrolled,
    parts: _Column,
    left: float,
    top: float,
    width: float,
    before: _Shown | None,
    size: float,
) -> _Shown:
    """Draw one time step; return the boxes where the next one begins."""
    masked, y, c = parts.t in model.masked, top, None
    if parts.c:
        y -= box_height(len(parts.c))
        c = Box(left, y, width, box_height(len(parts.c)))
        draw_box(axes, c, VALUE_WORDS["c"], parts.c, ORANGE, size)
        y -= 0.3
    y -= box_height(len(parts.h))
    aside = parts.aside
    h = Box(left + aside, y, width - aside, box_height(len(parts.h)))
    draw_box(axes, h, parts.h_head, parts.h, GREEN, size)
    frame_top = y - 0.3
    y = frame_top - 0.06
    for k, (head, lines) in enumerate(parts.gates.values()):
        y -= box_height(len(lines))
        box = Box(left + 0.06, y, width - 0.12, box_height(len(lines)))
        draw_box(axes, box, head, lines, GATE_COLOURS[k % 4], size)
        y -= 0.07
    frame = Box(left, y + 0.01, width, frame_top - y - 0.01)
    draw_frame(axes, frame, masked=masked)
    y = frame.y - 0.3 - box_height(1)
    word = model.labels[parts.t]
    head = f"step {parts.t + 1}" + (f": {word}" if word else "")
    if masked:
        head += " (masked: states kept)"
    x = Box(left, y, width, box_height(1))
    draw_box(axes, x, head, parts.x, BLUE, size)
    draw_arrow(axes, (x.x + width / 2, x.top), (x.x + width / 2, frame.y))
    draw_arrow(axes, (h.x + h.width / 2, frame.top), (h.x + h.width / 2, h.y))
    if c is not None:
        draw_arrow(axes, (left + aside / 2, frame.top), (left + aside / 2, c.y))
        draw_arrow(axes, (h.x + h.width / 2, c.y), (h.x + h.width / 2, h.top))
    shown = _Shown(h, c, frame)
    _recur(axes, before, shown)
    return shown


def _recur(axes: Axes, before: _Shown | None, now: _Shown) -> None:
    """Draw arrows for the states, from the step before or from 0."""
    enter = now.gates.top - min(0.5, now.gates.height / 2)
    if before is None:
        _zero(axes, now.gates.x, enter, "h = 0", VERMILION)
        if now.c is not None:
            _zero(axes, now.c.x, now.c.middle, "c = 0", "black")
        return
    between = before.gates.right + COLUMN_GAP * 0.45
    draw_arrow(
        axes, (before.h.right, before.h.middle), (between, before.h.middle),
        (between, enter), (now.gates.x, enter), color=VERMILION, linestyle="--",
        label="h",
    )  # fmt: skip
    if now.c is not None and before.c is not None:
        y = now.c.middle
        draw_arrow(axes, (before.c.right, y), (now.c.x, y), label="c")


def _zero(axes: Axes, x: float, y: float, text: str, color: str) -> None:
    """Draw the arrow of a state that is 0 before the first step."""
    draw_arrow(
        axes, (0.1, y), (x, y), color=color,
        linestyle="--" if color == VERMILION else "-",
    )  # fmt: skip
    axes.text(0.08, y + 0.04, text, fontsize=BOX_FONT_SIZE, va="bottom")


def _dense_lines(
    dense: LayerTrace, names: list[str], row: int, show: Formatter
) -> list[tuple[str, float, str]]:
    """Return text, output and name of each class; of many, only the likeliest ones."""
    logits, outputs = dense["logits"][row], np.asarray(dense.output)[row]
    chosen = list(range(len(names)))
    if len(names) > MAX_CLASSES:
        chosen = sorted(chosen, key=lambda k: -outputs[k])[: MAX_CLASSES - 1]
    longest = max(map(len, names))
    return [
        (
            f"{names[k]:<{longest}} {show.number(logits[k]):>7}  "
            f"{show.number(outputs[k]):>6}",
            float(outputs[k]),
            names[k],
        )
        for k in chosen
    ]


def _notes(model: _Unrolled) -> list[str]:
    """Return the notes beneath the Dense layer, which explain the figure."""
    one = model.values["h"].shape[1] == 1 == model.x.shape[1]
    lines = [
        "w, u, b: the same at every step",
        *([] if one else ["@: a product of matrices"]),
    ]
    units = model.values["h"].shape[1]
    if units > SHOWN_NUMBERS:
        lines.append(f"...: the first {SHOWN_NUMBERS} of {units} units")
    if model.layer.options.get("go_backwards"):
        lines.append("reads the last step first")
    return lines


def _draw_dense(
    axes: Axes,
    dense: LayerTrace,
    table: list[tuple[str, float, str]],
    before: _Shown,
    width: float,
    top: float,
    notes: Sequence[str],
) -> None:
    """Draw logits and outputs of each class, a bar under each, and notes beneath."""
    from matplotlib.patches import Rectangle

    activation = printable(dense.layer.options["activation"])
    units = dense.layer.weights["kernel"].shape[1]
    more = units - len(table)
    height = box_height(len(table) + 1 + (1 if more else 0))
    # level with the hidden state that it reads, but inside the figure
    y = min(before.h.middle - height / 2, top - height)
    y = max(y, len(notes) * LINE_HEIGHT + 0.3)
    box = Box(width - RIGHT_MARGIN - DENSE_WIDTH, y, DENSE_WIDTH, height)
    draw_frame(axes, box, masked=False)
    names = max(len(name) for _, _, name in table)
    head = f"{'class':<{names}} {'logit':>7}  {activation[:7]:>6}"
    size = fitting_size(max(len(head), *(len(t) for t, _, _ in table)), DENSE_WIDTH)
    best = max(range(len(table)), key=lambda k: table[k][1])
    line = box.top - BOX_PADDING - LINE_HEIGHT / 2
    write(axes, box, line, "Dense: logits = h @ kernel + bias", bold=True)
    line -= LINE_HEIGHT
    write(axes, box, line, head, size=size, mono=True, color="0.3")
    for k, (text, value, _) in enumerate(table):
        line -= LINE_HEIGHT
        share = min(max(value, 0.0), 1.0)
        axes.add_patch(
            Rectangle(
                (box.x + 0.07, line - LINE_HEIGHT * 0.5),
                (DENSE_WIDTH - 0.14) * share, 0.025,
                facecolor=BLUE, linewidth=0, zorder=2,
            )
        )  # fmt: skip
        write(axes, box, line, text, size=size, mono=True, bold=k == best)
    if more:
        write(axes, box, line - LINE_HEIGHT, f"... and {more} more", color="0.3")
    for k, note in enumerate(notes):
        write(axes, box, box.y - 0.2 - k * LINE_HEIGHT, note, color="0.25")
    y = min(max(before.h.middle, box.y + 0.1), box.top - 0.1)
    between = before.gates.right + COLUMN_GAP * 0.45
    draw_arrow(
        axes, (before.h.right, before.h.middle), (between, before.h.middle),
        (between, y), (box.x, y), color=VERMILION, linestyle="--", label="h",
    )  # fmt: skip
