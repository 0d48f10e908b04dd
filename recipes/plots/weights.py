"""Draw the weights of layers: the columns of each gate, to scale, and the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recipes.plots.furniture import (
    CHARACTER_WIDTH,
    DIVERGING_MAP,
    FIGURE_WIDTH,
    FONT_SIZE,
    GATE_COLOURS,
    SKY,
    SMALL_FONT_SIZE,
    SMALLEST_FONT_SIZE,
    finished,
    heat_map,
    index_ticks,
    new_figure,
    numbers,
    panels,
    symmetric,
    wrapped,
    write_cells,
)
from verify.errors import DataError, printable
from verify.forward.layers import REGISTRY
from verify.model.arrays import Array
from verify.model.spec import LayerSpec, ModelSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLOCKS_WIDTH = 6.6
"""Greatest width of the blocks of a layer, in inches."""

MAX_NUMBER_SIDE, MAX_LAYER_HEIGHT, LABEL_GAP = 0.6, 2.6, 0.36
"""Inches: greatest side of one number, greatest height of a layer, and the distance
between two labels."""

MAX_ROWS_PER_COLUMN, SHORTENED_ROWS_PER_COLUMN = 60, 4
"""Rows for each column beyond which a matrix is shortened, and those it then has."""


def parameter_blocks(spec: ModelSpec | LayerSpec, title: str) -> Figure:
    """Draw the weights of each layer as blocks, to scale, cut into gates.

    Each layer has a scale of its own; a matrix too long for it, such as an Embedding's,
    is shortened and says so.

    Parameters
    ----------
    spec : verify.ModelSpec or verify.LayerSpec
        ``net.spec``, or one layer of it.
    title : str
    """
    layers = _weighted(spec)
    drawn = [_laid_out(layer, len(layers)) for _, layer in layers]
    heights = [blocks.height + 1.1 for blocks in drawn]
    figure = new_figure(0.5 + sum(heights))
    grid = figure.subplots(len(layers), 1, squeeze=False, height_ratios=heights)
    for axes, (path, layer), blocks in zip(grid[:, 0], layers, drawn, strict=True):
        _draw_blocks(axes, layer, blocks)
        formula = REGISTRY[layer.class_name].formula(layer)
        own = sum(w.size for w in layer.weights.values())
        head = f"{path} ({layer.class_name}): {formula} = {own:,} parameters"
        axes.set_title(
            wrapped(head, 7.2, FONT_SIZE + 1), fontsize=FONT_SIZE + 1, loc="left",
            pad=_title_room(layer, blocks),
        )  # fmt: skip
    if len(layers) > 1:
        grid[-1, 0].set_xlabel(
            "columns (each layer has a scale of its own)", loc="left"
        )
    figure.align_ylabels()
    return finished(figure, title)


def gate_columns(layer: LayerSpec, title: str) -> Figure:
    """Draw the numbers in each weight matrix, with the gates named over their columns.

    Parameters
    ----------
    layer : verify.LayerSpec
        A layer that has gates.
    title : str
    """
    matrices = _matrices(layer)
    if not layer.gates or not matrices:
        raise DataError(
            f"{layer}: expected a layer with gates and weights. Received: one without"
        )
    columns = next(iter(matrices.values())).shape[1]
    tall = {k: _tall(len(m)) for k, m in matrices.items()}
    figure = new_figure(1.3 + sum(tall.values()) + 0.6 * len(tall))
    grid = panels(figure, len(tall), 1, height_ratios=list(tall.values()))
    limit = max(symmetric(matrix) for matrix in matrices.values())
    inches = FIGURE_WIDTH - 2.0
    for axes, (name, matrix) in zip(grid, matrices.items(), strict=True):
        image = heat_map(axes, matrix, limits=(-limit, limit), colours=DIVERGING_MAP)
        texts = [[f"{v:.3f}" for v in line] for line in matrix]
        write_cells(axes, image, texts, (inches / columns, tall[name] / len(matrix)))
        _mark_gates(axes, layer, columns, inches, named=axes is grid[0])
        index_ticks(axes.yaxis, range(len(matrix)), tall[name])
        axes.set_ylabel(f"{name}\n{_rows_are(name, matrix)}", fontsize=SMALL_FONT_SIZE)
    figure.colorbar(image, ax=grid, label="weight", pad=0.02, aspect=30)
    figure.align_ylabels(grid)
    return finished(figure, title)


def _tall(rows: int) -> float:
    """Return the height of a matrix in inches: few rows have room for their numbers."""
    return float(np.clip(0.2 * rows, 0.36, 1.2 + 0.035 * min(rows, 50)))


def gate_spans(layer: LayerSpec, columns: int) -> dict[str, tuple[int, int]]:
    """Return each gate's first column and the one after its last, in storage order."""
    units = columns // len(layer.gates)
    return {gate: (k * units, (k + 1) * units) for k, gate in enumerate(layer.gates)}


def _weighted(spec: ModelSpec | LayerSpec) -> list[tuple[str, LayerSpec]]:
    """Return the layers that have weights of their own, with their paths."""
    inside = list(spec.walk())
    if isinstance(spec, LayerSpec):
        inside = [(spec.name, spec), *inside]
    found = [(printable(path, 40), layer) for path, layer in inside if layer.weights]
    if not found:
        what = (
            spec if isinstance(spec, LayerSpec) else f"model '{printable(spec.name)}'"
        )
        raise DataError(f"{what}: expected weights. Received: none")
    return found


def _matrices(layer: LayerSpec) -> dict[str, Array]:
    """Return the weights as matrices, (rows, columns); the last axis is the columns.

    Scalars and empty weights are left out.
    """
    return {
        name: numbers(f"{name} of {layer}", weight.reshape(-1, weight.shape[-1]), 2)
        for name, weight in layer.weights.items()
        if weight.ndim and weight.size
    }


@dataclass(frozen=True)
class _Blocks:
    """Describe the places of a layer's weights, in inches from the top.

    `side` is the side of one number.
    """

    side: float
    height: float
    tops: Mapping[str, float]
    heights: Mapping[str, float]
    shapes: Mapping[str, tuple[int, int]]

    def shortened(self, name: str) -> bool:
        """Return whether a block is shorter than its rows."""
        return self.heights[name] < self.shapes[name][0] * self.side * 0.999


def _laid_out(layer: LayerSpec, layers: int) -> _Blocks:
    shapes = {
        name: (int(np.prod(weight.shape[:-1])), weight.shape[-1])
        for name, weight in layer.weights.items()
        if weight.ndim and weight.size
    }
    rows = {
        name: r if r <= MAX_ROWS_PER_COLUMN * c else SHORTENED_ROWS_PER_COLUMN * c
        for name, (r, c) in shapes.items()
    }
    tallest = MAX_LAYER_HEIGHT if layers == 1 else MAX_LAYER_HEIGHT * 0.7
    widest = max(c for _, c in shapes.values())
    side = min(BLOCKS_WIDTH / widest, MAX_NUMBER_SIDE, tallest / sum(rows.values()))
    heights = {name: count * side for name, count in rows.items()}
    tops: dict[str, float] = {}
    bottom = centre = 0.0
    for name, height in heights.items():
        top = bottom
        if tops:  # the labels of two blocks must not run into each other
            top = max(bottom + 0.08, centre + LABEL_GAP - height / 2)
        tops[name], bottom, centre = top, top + height, top + height / 2
    return _Blocks(side, bottom, tops, heights, shapes)


def _draw_blocks(axes: Axes, layer: LayerSpec, blocks: _Blocks) -> None:
    labels = []
    for k, (name, (rows, columns)) in enumerate(blocks.shapes.items()):
        gated = layer.gates and columns % len(layer.gates) == 0
        spans = gate_spans(layer, columns) if gated else {"": (0, columns)}
        for j, (gate, span) in enumerate(spans.items()):
            colour = GATE_COLOURS[j] if gated else SKY
            _draw_block(axes, blocks, name, span, colour)
            if k == 0 and gate:
                _name_gate(axes, blocks, gate, span)
        _say_shortened(axes, blocks, name)
        labels.append(f"{name}\n{_count(layer, rows, columns)}")
    centres = [blocks.tops[n] + blocks.heights[n] / 2 for n in blocks.shapes]
    axes.set_yticks(centres, labels, fontsize=SMALL_FONT_SIZE)
    columns = max(c for _, c in blocks.shapes.values())
    edges = sorted({0, columns}) if not layer.gates else _edges(layer, columns)
    if len(edges) == 2 and columns * blocks.side < 0.25:
        edges = edges[1:]
    axes.set_xticks(
        [e * blocks.side for e in edges],
        [str(e) for e in edges],
        fontsize=SMALL_FONT_SIZE,
    )
    axes.set_xlim(-0.03, BLOCKS_WIDTH + 0.03)
    axes.set_ylim(blocks.height + 0.03, -0.03)
    axes.set_aspect("equal", anchor="W")
    axes.set_xlabel("columns", loc="left")
    axes.set_ylabel("weight")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=2)


def _draw_block(
    axes: Axes, blocks: _Blocks, name: str, span: tuple[int, int], colour: str
) -> None:
    """Draw the columns of one gate in one weight, with their count if it fits."""
    from matplotlib.patches import Rectangle

    top, height = blocks.tops[name], blocks.heights[name]
    left, width = span[0] * blocks.side, (span[1] - span[0]) * blocks.side
    axes.add_patch(Rectangle((left, top), width, height, facecolor="white"))
    axes.add_patch(
        Rectangle((left, top), width, height, facecolor=colour, alpha=0.4, linewidth=0)
    )
    axes.add_patch(
        Rectangle(
            (left, top), width, height, fill=False, edgecolor="black", linewidth=0.6
        )
    )
    rows, units = blocks.shapes[name][0], span[1] - span[0]
    text = f"{rows:,} x {units}"
    size = min(
        FONT_SIZE,
        width * 72 / ((len(text) + 1) * CHARACTER_WIDTH),
        height * 72 / 1.4,
    )
    if size >= SMALLEST_FONT_SIZE and not blocks.shortened(name):
        axes.text(
            left + width / 2, top + height / 2, text, ha="center", va="center",
            fontsize=size,
        )  # fmt: skip


def _gate_label(blocks: _Blocks, gate: str, span: tuple[int, int]) -> str:
    """Return a gate and its columns, on two lines where one is too long."""
    width = (span[1] - span[0]) * blocks.side * 72
    line = f"{gate}  {span[0]}:{span[1]}"
    return (
        line
        if len(line) * SMALL_FONT_SIZE * CHARACTER_WIDTH <= width
        else line.replace("  ", "\n")
    )


def _title_room(layer: LayerSpec, blocks: _Blocks) -> float:
    """Return the distance from blocks to title in points; gate names go there."""
    if not layer.gates:
        return 6.0
    columns = max(columns for _, columns in blocks.shapes.values())
    spans = gate_spans(layer, columns).items()
    tall = any("\n" in _gate_label(blocks, *span) for span in spans)
    return 34.0 if tall else 22.0


def _name_gate(axes: Axes, blocks: _Blocks, gate: str, span: tuple[int, int]) -> None:
    """Write a gate's name and its columns over its first block."""
    text, width = _gate_label(blocks, gate, span), (span[1] - span[0]) * blocks.side
    size = min(
        FONT_SIZE,
        width * 72 / ((max(map(len, text.split("\n"))) + 0.5) * CHARACTER_WIDTH),
    )
    axes.text(
        (span[0] + span[1]) / 2 * blocks.side, -0.06, text, ha="center", va="bottom",
        fontsize=max(size, SMALLEST_FONT_SIZE), fontweight="bold",
    )  # fmt: skip


def _say_shortened(axes: Axes, blocks: _Blocks, name: str) -> None:
    """Draw two strokes across a block that is shorter than its rows."""
    if not blocks.shortened(name):
        return
    top, height = blocks.tops[name], blocks.heights[name]
    right = blocks.shapes[name][1] * blocks.side
    for y in (top + height * 0.62, top + height * 0.62 + 0.08):
        axes.plot(
            [-0.05, right + 0.05], [y + 0.04, y - 0.04], color="black", linewidth=1,
            clip_on=False,
        )  # fmt: skip
    axes.text(
        right + 0.12, top + height * 0.62 + 0.04,
        f"shortened: {blocks.shapes[name][0]:,} rows, drawn as tall as "
        f"{height / blocks.side:,.0f}",
        va="center", fontsize=SMALL_FONT_SIZE,
    )  # fmt: skip


def _count(layer: LayerSpec, rows: int, columns: int) -> str:
    """Say how many numbers a weight holds, and why: ``32 x 4 x 40 = 5,120``."""
    gates = len(layer.gates)
    if gates > 1 and columns % gates == 0:
        return f"{rows:,} x {gates} x {columns // gates} = {rows * columns:,}"
    return f"{rows:,} x {columns:,} = {rows * columns:,}"


def _edges(layer: LayerSpec, columns: int) -> list[int]:
    spans = gate_spans(layer, columns).values()
    return [start for start, _ in spans] + [columns]


def _rows_are(name: str, matrix: Array) -> str:
    """Say what the rows of a recurrent layer's weight are."""
    if name == "bias":
        return "row" if len(matrix) > 1 else ""
    return "unit before" if name == "recurrent_kernel" else "input"


def _mark_gates(
    axes: Axes, layer: LayerSpec, columns: int, inches: float, *, named: bool
) -> None:
    """Draw lines between the gates, and their names over the first matrix."""
    spans = gate_spans(layer, columns)
    for start, _ in list(spans.values())[1:]:
        axes.axvline(start - 0.5, color="white", linewidth=3)
        axes.axvline(start - 0.5, color="black", linewidth=1.2)
    for gate, (start, end) in spans.items() if named else ():
        text = f"{gate}  {start}:{end}"
        width = inches / len(spans)
        axes.text(
            (start + end - 1) / 2, 1.04, text, ha="center", va="bottom",
            transform=axes.get_xaxis_transform(), fontweight="bold",
            fontsize=min(FONT_SIZE + 1, width * 72 / (len(text) * CHARACTER_WIDTH)),
        )  # fmt: skip
    starts = [start for start, _ in spans.values()]
    axes.set_xticks(starts, [str(start) for start in starts], fontsize=SMALL_FONT_SIZE)
    axes.set_xlabel("column", fontsize=SMALL_FONT_SIZE)
