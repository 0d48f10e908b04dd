"""Draw functions of one number, in one set of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recipes.plots.furniture import (
    arrays,
    cut,
    finished,
    legend_below,
    new_figure,
    numbers,
    one_each,
    style,
    tidy,
)
from verify.model.arrays import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def functions(
    x: Sequence[float] | Array,
    values: Mapping[str, Array],
    title: str,
    *,
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Draw one line for each function, such as a sigmoid and its replacement.

    Parameters
    ----------
    x : (points,)
        The arguments of the functions, in rising order.
    values : mapping of str to (points,)
        Function values by name.
    title, xlabel, ylabel : str
    """
    where = numbers("x", x, 1)
    found = arrays("values", values, 1)
    one_each("values", next(iter(found.values())), len(where), "x")
    figure = new_figure(3.8)
    axes = figure.subplots()
    handles = []
    for k, (name, line) in enumerate(found.items()):
        look = {**style(k), "marker": ""}
        handles += axes.plot(where, line, **look, label=cut(name, 50))
    tidy(axes, xlabel, ylabel, grid="both")
    axes.margins(x=0)
    legend_below(figure, handles)
    return finished(figure, title)
