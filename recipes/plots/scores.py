"""Draw learning curves, confusion matrices, and accuracy over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.plots.furniture import (
    BLACK,
    BLUE,
    FIGURE_WIDTH,
    FONT_SIZE,
    SEQUENTIAL_MAP,
    VERMILION,
    arrays,
    baseline_lines,
    cut,
    finished,
    heat_map,
    legend_below,
    mean_column,
    new_figure,
    numbers,
    one_each,
    panels,
    percent,
    require_some,
    style,
    tidy,
    whole_number_ticks,
    word_height,
    word_ticks,
    wrapped,
    write_cells,
)
from verify.errors import DataError, printable
from verify.model.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING_STYLE: dict[str, Any] = {"color": BLUE, "linestyle": "-", "label": "training"}
TEST_STYLE: dict[str, Any] = {"color": VERMILION, "linestyle": "--", "label": "test"}


def curves(history: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Draw loss and accuracy by epoch, on training data and on test data if given.

    Parameters
    ----------
    history : mapping
        ``loss`` and ``accuracy``, with ``val_loss`` and ``val_accuracy`` for test data;
        one number an epoch each.
    title : str
    """
    from matplotlib.ticker import PercentFormatter

    for name in ("loss", "accuracy"):
        if name not in history:
            raise DataError(
                f"history: expected loss and accuracy. Received: no {name} in it"
            )
        require_some(f"epochs in the history of {name}", history[name])
    figure = new_figure(3.6)
    epochs = range(1, len(history["loss"]) + 1)
    marker = "o" if len(epochs) <= 30 else ""
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, look in ((name, TRAINING_STYLE), (f"val_{name}", TEST_STYLE)):
            if key in history:
                one_each(key, history[key], len(epochs), "epoch")
                axes.plot(epochs, history[key], marker=marker, markersize=4, **look)
        ylabel = "accuracy" if name == "accuracy" else "loss (cross-entropy)"
        tidy(axes, "epoch", ylabel, grid="both")
        whole_number_ticks(axes.xaxis)
        if len(epochs) == 1:
            axes.set_xlim(0.5, 1.5)
        axes.legend(frameon=False)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    return finished(figure, title)


def confusion(matrix: Array, classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix.

    Parameters
    ----------
    matrix : (classes, classes) of counts
        A row is a true class, a column a predicted one.
    classes : of str
    title : str
    """
    return confusions({"": matrix}, classes, title)


def confusions(
    matrices: Mapping[str, Array], classes: Sequence[str], title: str
) -> Figure:
    """Draw several confusion matrices side by side, on one scale.

    Parameters
    ----------
    matrices : mapping of str to (classes, classes) of counts
        By model; see `confusion`.
    classes : of str
    title : str
    """
    require_some("matrices", matrices)
    require_some("classes", classes)
    counts = {name: _counts(name, m, len(classes)) for name, m in matrices.items()}
    labels = [cut(name) for name in classes]
    columns = 2 if len(counts) == 4 else min(len(counts), 3)
    width = 6.0 if columns == 1 and len(labels) <= 5 else FIGURE_WIDTH
    side = (width - 1.2) / columns - 0.5 - 0.075 * max(map(len, labels))
    rows = -(-len(counts) // columns)
    below = 0.55 + word_height(labels, side)
    height = 0.6 + rows * (max(side * 0.8, 1.2) + below)
    figure = new_figure(height, width)
    grid = panels(figure, len(counts), columns)
    for axes, (name, matrix) in zip(grid, counts.items(), strict=True):
        image = _confusion(axes, matrix, labels, side)
        if name:
            axes.set_title(
                wrapped(name, side + 0.8, FONT_SIZE + 1), fontsize=FONT_SIZE + 1
            )
    bar = figure.colorbar(image, ax=grid, label="share of the true class", aspect=30)
    bar.ax.yaxis.set_major_formatter(percent)
    return finished(figure, title)


def _counts(name: str, matrix: Any, classes: int) -> Array:
    """Check a confusion matrix."""
    what = f"matrix of {printable(name)}" if name else "matrix"
    counts = numbers(what, matrix, 2)
    if counts.shape != (classes, classes):
        raise DataError(
            f"{what}: expected {classes} rows and columns, one a class. "
            f"Received: shape={counts.shape}"
        )
    if (counts < 0).any() or (counts != counts.round()).any():
        raise DataError(f"{what}: expected counts. Received: other numbers")
    return counts


def _confusion(axes: Axes, counts: Array, labels: list[str], side: float) -> Any:
    totals = counts.sum(axis=1, keepdims=True)  # (classes, 1)
    shares = counts / np.maximum(totals, 1)
    image = heat_map(axes, shares, limits=(0.0, 1.0), colours=SEQUENTIAL_MAP)
    texts = [
        [
            f"{n:,.0f}\n{share:.1%}" if total else "0"
            for n, share in zip(row, part, strict=True)
        ]
        for row, part, (total,) in zip(counts, shares, totals, strict=True)
    ]
    cell = side / len(labels), max(side * 0.8, 1.2) / len(labels)
    write_cells(axes, image, texts, cell)
    word_ticks(axes, labels, side)
    axes.set_yticks(range(len(labels)), labels, fontsize=FONT_SIZE)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return image


def accuracy_by(
    x: Sequence[float] | Array,
    results: Mapping[str, Array],
    xlabel: str,
    title: str,
    *,
    chance: float | None = None,
    chance_label: str = "chance",
) -> Figure:
    """Draw accuracy against a number, such as the length of a gap.

    Parameters
    ----------
    x : (points,)
    results : mapping of str to (seeds, points)
        Accuracies of each model, 0 to 1; (points,) for a single seed.
    xlabel : str
        The name of `x`, with its unit.
    title : str
    chance : float, optional
        The accuracy of a guess.
    chance_label : str
    """
    where = numbers("x", x, 1)
    found = arrays("results", results, 1, 2)
    one_each("results", next(iter(found.values())).T, len(where), "x")
    figure = new_figure(4.2)
    axes = figure.subplots()
    seeds: set[int] = set()
    for k, (name, values) in enumerate(found.items()):
        rows, look = np.atleast_2d(values), style(k)  # (seeds, points)
        seeds.add(len(rows))
        axes.plot(where, rows.mean(axis=0), **look, label=cut(name, 40), zorder=3)
        if len(rows) > 1:
            axes.fill_between(
                where, rows.min(axis=0), rows.max(axis=0),
                facecolor=look["color"], alpha=0.18, linewidth=0,
            )  # fmt: skip
            axes.plot(
                np.tile(where, len(rows)), rows.ravel(), linestyle="",
                marker=look["marker"], markersize=3, fillstyle="none",
                color=look["color"], alpha=0.7,
            )  # fmt: skip
    if chance is not None:
        axes.axhline(chance, color="0.35", linestyle=(0, (1, 2)), label=chance_label)
    tidy(axes, xlabel, "accuracy", grid="both")
    if len(where) <= 12:
        axes.set_xticks(where, [f"{value:g}" for value in where])
    elif np.all(where == np.round(where)):
        whole_number_ticks(axes.xaxis)
    axes.yaxis.set_major_formatter(percent)
    lines, _ = axes.get_legend_handles_labels()
    legend_below(figure, [*lines, *_spread_keys(seeds)])
    return finished(figure, title)


def _spread_keys(seeds: set[int]) -> list[Any]:
    """Return keys of the legend for lines, bands and small markers."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if max(seeds) < 2:
        return []
    count = f"{max(seeds)} seeds" if len(seeds) == 1 else "seeds"
    return [
        Line2D(
            [], [], linestyle="", marker="o", markersize=3, fillstyle="none",
            color="0.3", label="one seed",
        ),
        Patch(
            facecolor="0.5", alpha=0.3,
            label=f"lowest to highest of {count}; line: mean",
        ),
    ]  # fmt: skip


def spread(
    results: Mapping[str, Sequence[float]],
    title: str,
    *,
    baselines: Mapping[str, float] = {},
    xlabel: str = "test accuracy",
) -> Figure:
    """Draw the scores of each model over the seeds: one row a model, one dot a seed.

    Parameters
    ----------
    results : mapping of str to (seeds,)
        A score for each seed, by model; the numbers of seeds may differ.
    title : str
    baselines : mapping of str to float
        Drawn as vertical lines.
    xlabel : str
    """
    from matplotlib.lines import Line2D

    require_some("results", results)
    found = {k: numbers(f"results of {k}", v, 1) for k, v in results.items()}
    figure = new_figure(1.5 + 0.5 * len(found) + 0.1 * len(baselines))
    axes = figure.subplots()
    for y, values in enumerate(found.values()):
        # dots are a little apart in y, so that equal scores do not hide each other
        offset = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else 0
        axes.plot(values, y + offset, **DOT_STYLE)
        mean = values.mean()
        axes.plot([mean, mean], [y - 0.32, y + 0.32], color=BLACK, lw=2.5, zorder=1)
    means = [float(values.mean()) for values in found.values()]
    mean_column(axes, dict(enumerate(means)), -0.72)
    keys = [
        Line2D([], [], **DOT_STYLE, label="one seed"),
        Line2D([], [], color=BLACK, linewidth=2.5, label="mean"),
    ]
    keys += baseline_lines(axes, baselines)
    tidy(axes, xlabel, "model", grid="x")
    axes.set_yticks(range(len(found)), [cut(name, 40) for name in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.margins(x=0.06)
    legend_below(figure, keys)
    return finished(figure, title)


DOT_STYLE: dict[str, Any] = {
    "linestyle": "", "marker": "o", "markersize": 6, "markerfacecolor": BLUE,
    "markeredgecolor": "white", "markeredgewidth": 0.6,
}  # fmt: skip
