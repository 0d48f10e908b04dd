"""Draw the effect and the frequency of words, and the lengths of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recipes.plots.furniture import (
    DASHES,
    FIGURE_WIDTH,
    FONT_SIZE,
    cut,
    fill,
    finished,
    legend_below,
    new_figure,
    numbers,
    one_each,
    panels,
    percent,
    require_some,
    style,
    tidy,
    whole_number_ticks,
    wrapped,
)
from verify.errors import DataError, printable
from verify.model.arrays import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def importance(
    words: Sequence[str], values: Sequence[float] | Array, title: str, *, xlabel: str
) -> Figure:
    """Draw the effect of each word on an answer: signed bars in reading order.

    Parameters
    ----------
    words : of str
    values : (words,)
        The effects, such as the fall of the probability when the word is left out.
    title : str
    xlabel : str
    """
    from matplotlib.patches import Patch

    require_some("words", words)
    bars = numbers("values", values, 1)
    one_each("values", bars, len(words), "word")
    figure = new_figure(max(1.5 + 0.24 * len(bars), 2.4))
    axes = figure.subplots()
    limit = float(np.abs(bars).max()) or 1.0
    for y, value in enumerate(bars):
        axes.barh(y, value, 0.72, **fill(0 if value >= 0 else 1))
        axes.annotate(
            signed(value, limit), (value, y), (4 if value >= 0 else -4, 0),
            textcoords="offset points", va="center", fontsize=FONT_SIZE,
            ha="left" if value >= 0 else "right",
        )  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.8)
    tidy(axes, xlabel, "word (reading order)", grid="x")
    axes.set_yticks(range(len(bars)), [cut(word) for word in words], fontsize=FONT_SIZE)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(
        -limit * 1.2 if bars.min() < 0 else -limit * 0.05,
        limit * 1.2 if bars.max() > 0 else limit * 0.05,
    )
    signs = [(0, "for the answer", bars >= 0), (1, "against it", bars < 0)]
    legend_below(
        figure, [Patch(**fill(k), label=text) for k, text, some in signs if some.any()]
    )
    return finished(figure, title)


def signed(value: float, greatest: float) -> str:
    """Format a number with its sign, to three digits of the greatest number shown."""
    digits = 2 - math.floor(math.log10(greatest))
    return f"{value:+.{max(digits, 0)}f}" if digits <= 8 else f"{value:+.1e}"


def frequencies(
    counts: Mapping[str, Mapping[str, int]], title: str, *, top: int = 15
) -> Figure:
    """Draw the most frequent words of each class.

    Parameters
    ----------
    counts : mapping of str to mapping of str to int
        The number of occurrences of each word, by class.
    title : str
    top : int
        The number of words of each class.
    """
    require_some("counts", counts)
    if top < 1:
        raise DataError(f"top: expected 1 or more. Received: {top}")
    columns = min(len(counts), 3)
    rows = -(-len(counts) // columns)
    most = min(top, max(map(len, counts.values())))
    figure = new_figure(0.5 + rows * (1.0 + 0.22 * most))
    grid = panels(figure, len(counts), columns)
    for k, (axes, (name, words)) in enumerate(zip(grid, counts.items(), strict=True)):
        require_some(f"words of {printable(name)}", words)
        first = sorted(words.items(), key=lambda item: -item[1])[:top]
        sizes = numbers(f"counts of {printable(name)}", [n for _, n in first], 1)
        axes.barh(range(len(first)), sizes, 0.72, **fill(k))
        for y, size in enumerate(sizes):
            axes.annotate(
                f"{size:,.0f}", (size, y), (3, 0), textcoords="offset points",
                va="center", fontsize=FONT_SIZE - 1,
            )  # fmt: skip
        tidy(axes, "occurrences", "word", grid="x")
        axes.set_yticks(
            range(len(first)), [cut(w) for w, _ in first], fontsize=FONT_SIZE
        )
        axes.set_ylim(most - 0.4, -0.6)
        axes.set_xlim(0, max(float(sizes.max()), 1.0) * 1.22)
        axes.locator_params(axis="x", nbins=4)
        axes.set_title(
            wrapped(name, FIGURE_WIDTH / columns - 1.4), fontsize=FONT_SIZE + 2
        )
    return finished(figure, title)


def lengths(
    lengths: Mapping[str, Array], title: str, *, what: str = "tweets"
) -> Figure:
    """Draw the distribution of text lengths of each class, in words.

    It shows shares of each class, since classes differ in size.

    Parameters
    ----------
    lengths : mapping of str to (texts,) of int
        The number of words of each text, by class.
    title : str
    what : str
        A word for the texts.
    """
    require_some("lengths", lengths)
    found = {k: numbers(f"lengths of {k}", v, 1) for k, v in lengths.items()}
    if any((v < 0).any() or (v != v.round()).any() for v in found.values()):
        raise DataError("lengths: expected numbers of words. Received: other numbers")
    longest = int(max(v.max() for v in found.values()))
    edges = np.arange(longest + 2) - 0.5
    figure = new_figure(3.6)
    axes = figure.subplots()
    handles = []
    for k, (name, values) in enumerate(found.items()):
        share = np.histogram(values, edges)[0] / len(values)
        handles.append(
            axes.stairs(
                share, edges, color=style(k)["color"], linewidth=1.8,
                linestyle=DASHES[k % len(DASHES)],
                label=f"{cut(name, 40)} ({len(values):,}), median "
                f"{np.median(values):g} words",
            )
        )  # fmt: skip
    tidy(axes, "length (words)", f"share of the class's {what}", grid="y")
    axes.yaxis.set_major_formatter(percent)
    whole_number_ticks(axes.xaxis)
    axes.set_xlim(edges[0], edges[-1] + 0.5)
    legend_below(figure, handles)
    return finished(figure, title)
