"""Draw the figure of `benchmarks.speed`, and write its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.output import put
from benchmarks.results import LIMIT_TITLE, OUR_TITLE, WHOLE_PASSES, Results
from recipes.plots import png
from recipes.plots.furniture import (
    SMALL_FONT_SIZE,
    finished,
    new_figure,
    panels,
    style,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(results: Results) -> Figure:
    """Draw time over rows, one panel a model, at 40 units and 26 steps.

    Parameters
    ----------
    results : Results
    """
    from matplotlib.ticker import FuncFormatter

    shown = [m for m in results.measured if (m.case.units, m.case.length) == (40, 26)]
    models = list(dict.fromkeys(m.case.model for m in shown))
    columns = min(len(models), 2) or 1
    drawn = new_figure(3.9 * -(-len(models) // columns) + 0.9)
    axes_of = panels(drawn, len(models), columns)
    for model, axes in zip(models, axes_of, strict=True):
        of_model = [m for m in shown if m.case.model == model]
        for k, name in enumerate((*WHOLE_PASSES, LIMIT_TITLE)):
            points = [
                (m.case.rows, 1000 * m.seconds(name).median)
                for m in of_model
                if m.timed(name)
            ]
            if points:
                axes.plot(*zip(*points, strict=True), **_line(k, name), label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        rows = sorted({m.case.rows for m in of_model})
        axes.set_xticks(
            rows, [f"{count:,}" for count in rows], fontsize=SMALL_FONT_SIZE
        )
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.minorticks_off()
        axes.set_title(model, fontsize=10)
        tidy(axes, "rows", "milliseconds", grid="both")
    if models:
        handles, labels = axes_of[0].get_legend_handles_labels()
        drawn.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=5,
            fontsize=SMALL_FONT_SIZE,
        )
    machine = results.machine
    return finished(
        drawn, f"Time of a forward pass: {machine.processor}, {machine.cores} cores"
    )


def _line(k: int, name: str) -> dict[str, Any]:
    """Return the style of a line: ours is thick, the limit is grey and dotted."""
    if name == LIMIT_TITLE:
        return {"color": "0.55", "linestyle": ":", "linewidth": 1.6}
    return {**style(k), "linewidth": 2.6 if name == OUR_TITLE else 1.1}


def write(results: Results, folder: Path) -> None:
    """Write speed.json, speed.md and speed.png."""
    contents = {
        "speed.json": results.to_json().encode(),
        "speed.md": results.to_markdown().encode(),
        "speed.png": png(figure(results)),
    }
    for name, content in contents.items():
        put(content, folder / name)
