"""Draw the ranges of many scores over seeds, in groups of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.plots.furniture import (
    FONT_SIZE,
    SMALL_FONT_SIZE,
    baseline_lines,
    cut,
    finished,
    legend_below,
    mean_column,
    new_figure,
    numbers,
    percent,
    require_some,
    style,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SPACIOUS_ROWS = 10
"""Up to this number of rows there is more space between them."""


def ranges(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    title: str,
    *,
    baselines: Mapping[str, float] = {},
    xlabel: str = "test accuracy",
) -> Figure:
    """Draw mean and range of a score over the seeds, one row each, in groups.

    Parameters
    ----------
    groups : mapping of str to mapping of str to (seeds,)
        Scores, 0 to 1, by group and row; the numbers of seeds may differ. A group may
        have an empty name.
    title : str
    baselines : mapping of str to float
        Drawn as vertical lines.
    xlabel : str
    """
    from matplotlib.lines import Line2D

    require_some("groups", groups)
    found: list[tuple[int, str, Any]] = []
    headings: list[tuple[float, str]] = []
    places: list[float] = []
    y = 0.0
    for k, (group, rows) in enumerate(groups.items()):
        require_some(f"rows of {group}", rows)
        headings.append((y, group))
        for row, values in rows.items():
            y += 1
            places.append(y)
            found.append((k, row, numbers(f"scores of {group}, {row}", values, 1)))
        y += 1.3
    each = 0.34 if len(found) <= MAX_SPACIOUS_ROWS else 0.21
    figure = new_figure(1.6 + each * (y + 0.5) + 0.1 * len(baselines))
    axes = figure.subplots()
    for place, (k, _, values) in zip(places, found, strict=True):
        colour, marker = style(k)["color"], style(k)["marker"]
        axes.plot(
            [values.min(), values.max()], [place, place], color=colour, lw=2, alpha=0.6,
            solid_capstyle="butt", zorder=2,
        )  # fmt: skip
        axes.plot(
            values, np.full(len(values), place), linestyle="", marker="|",
            markersize=7, color=colour, zorder=2,
        )  # fmt: skip
        axes.plot(
            values.mean(), place, marker=marker, markersize=6, color=colour,
            markeredgecolor="white", markeredgewidth=0.6, zorder=3,
        )  # fmt: skip
    means = [float(values.mean()) for _, _, values in found]
    mean_column(axes, dict(zip(places, means, strict=True)), 0.0)
    keys = [
        Line2D(
            [], [], color="0.3", linestyle="", marker="|", markersize=7,
            label="one seed",
        ),
        Line2D([], [], color="0.3", linewidth=2, alpha=0.6, label="lowest to highest"),
        Line2D([], [], color="0.3", linestyle="", marker="o", label="mean"),
    ]  # fmt: skip
    keys += baseline_lines(axes, baselines)
    tidy(axes, xlabel, "model", grid="x")
    labels = [cut(group, 48) for _, group in headings]
    labels += [cut(row, 48) for _, row, _ in found]
    axes.set_yticks([*(place for place, _ in headings), *places], labels)
    for k, tick in enumerate(axes.get_yticklabels()):
        heading = k < len(headings)
        tick.set_fontsize(FONT_SIZE if heading else SMALL_FONT_SIZE)
        tick.set_fontweight("bold" if heading else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 0.6, -0.7)
    axes.margins(x=0.06)
    axes.xaxis.set_major_formatter(percent)
    legend_below(figure, keys)
    return finished(figure, title)
