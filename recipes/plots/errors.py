"""Draw the errors that a check has measured beside their tolerances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipes.plots.furniture import (
    BLUE,
    FONT_SIZE,
    ORANGE,
    SMALL_FONT_SIZE,
    VERMILION,
    cut,
    finished,
    legend_below,
    log_ticks,
    new_figure,
    power,
    require_some,
    tidy,
)
from verify.report.report import Report, number
from verify.tolerance.compare import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST_SHOWN = 1e-30
"""Smaller numbers are written at the left edge: a tolerance of 1e-37, for what must be
exact, would stretch the axis too far."""


@dataclass(frozen=True)
class _Line:
    """Describe one line of the figure: a layer, or the outputs."""

    name: str
    error: float
    allowed: float
    share: float
    rule: str


def error_against_bound(report: Report, title: str) -> Figure:
    """Draw the error of ``predict`` beside its tolerance, by layer and for the outputs.

    Every number of an output has its own tolerance; drawn are error and tolerance of
    the number whose error is the greatest share of its tolerance. The tolerance is a
    derived bound or the noise floor; the markers tell which. An error of 0 is written
    at the left edge.

    Parameters
    ----------
    report : verify.Report
    title : str
    """
    lines = [
        _line(layer.name, layer.numerics, layer.derived) for layer in report.layers
    ]
    lines.append(_line("outputs", report.numerics, _derived(report)))
    figure = _figure(lines, "difference of predict from NumPy in float64", "layer")
    if len(lines) > 1:
        figure.axes[0].axhline(len(lines) - 1.5, color="0.6", linewidth=0.8)
    return finished(figure, title)


def errors_of_outputs(reports: Mapping[str, Report], title: str) -> Figure:
    """Draw the error of several outputs beside their tolerances, one line a report.

    Error and tolerance are those that `error_against_bound` draws for the outputs.

    Parameters
    ----------
    reports : mapping of str to verify.Report
        Reports of comparisons, by the name of what was compared.
    title : str

    Raises
    ------
    DataError
        Without a report.
    """
    require_some("reports", reports)
    lines = [
        _line(name, report.numerics, _derived(report))
        for name, report in reports.items()
    ]
    figure = _figure(lines, "difference from NumPy in float64", "outputs")
    return finished(figure, title)


def _figure(lines: list[_Line], xlabel: str, ylabel: str) -> Figure:
    figure = new_figure(1.7 + 0.42 * len(lines))
    axes = figure.subplots()
    low, high = _limits(lines)
    axes.set_xscale("log")
    for y, line in enumerate(lines):
        _draw(axes, y, line, low, high)
    tidy(axes, xlabel, ylabel, grid="x")
    axes.set_xlim(low, high)
    log_ticks(axes.xaxis, low * 1.001, high)
    axes.set_yticks(range(len(lines)), [cut(line.name, 24) for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    legend_below(figure, _keys(lines))
    return figure


def _line(name: str, comparison: Comparison, derived: float) -> _Line:
    rule = "bound" if derived == 1 else "noise" if derived == 0 else "both"
    return _Line(name, *comparison.nearest, comparison.error_ratio, rule)


def _derived(report: Report) -> float:
    """Return the share of outputs that was held to a bound: 1, 0, or 0.5 for some."""
    if report.allowance.startswith("derived bound for"):
        return 0.5
    return 1.0 if report.allowance.startswith("derived bound") else 0.0


def _limits(lines: list[_Line]) -> tuple[float, float]:
    """Return the limits of the axis, with a margin on both sides."""
    found = [
        value
        for line in lines
        for value in (line.error, line.allowed)
        if math.isfinite(value) and value >= SMALLEST_SHOWN
    ]
    low, high = min(found, default=1e-9), max(found, default=1e-6)
    room = max((high / low) ** 0.08, 3.0)
    return low / room, high * room


WHITE_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}

RULE_MARKERS: dict[str, dict[str, Any]] = {
    "bound": {"color": VERMILION, "marker": "|", "markersize": 17, "mew": 2.6},
    "noise": {"color": ORANGE, "marker": "D", "markersize": 7, "mfc": "white"},
    "both": {"color": VERMILION, "marker": "D", "markersize": 7},
}
RULE_LABELS = {
    "bound": "allowed: derived bound",
    "noise": "allowed: noise floor (no bound)",
    "both": "allowed: bound for some, noise floor for the rest",
}


def _draw(axes: Axes, y: int, line: _Line, low: float, high: float) -> None:
    def at(value: float) -> float:
        if math.isnan(value):
            return high
        return min(max(value, low), high)

    error, allowed = at(line.error), at(line.allowed)
    dashes = "-" if line.rule == "bound" else "--"
    axes.plot([error, allowed], [y, y], color="0.6", linestyle=dashes, zorder=1)
    axes.plot(
        allowed, y, linestyle="", clip_on=False, zorder=3, **RULE_MARKERS[line.rule]
    )
    axes.plot(
        error, y, linestyle="", marker="o", markersize=7, color=BLUE, clip_on=False,
        zorder=4,
    )  # fmt: skip
    axes.text(
        1.02, y, _words(line), transform=axes.get_yaxis_transform(), va="center",
        fontsize=FONT_SIZE,
    )  # fmt: skip
    if line.error < low or not math.isfinite(line.error):
        axes.annotate(
            number(line.error), (error, y), (8 if error == low else -8, 0),
            textcoords="offset points", ha="left" if error == low else "right",
            va="center", fontsize=SMALL_FONT_SIZE, bbox=WHITE_BOX, zorder=2,
        )  # fmt: skip


def _words(line: _Line) -> str:
    """Put the share of an error in its tolerance into words."""
    if line.allowed < SMALLEST_SHOWN:
        return "exact" if line.error == 0 else "must be exact"
    if not math.isfinite(line.error):
        return f"{number(line.error)}: fails"
    if line.share > 1:
        return f"{power(float(f'{line.share:.2g}'))} times what is allowed"
    return f"{line.share:.2%} of what is allowed"


def _keys(lines: list[_Line]) -> list[object]:
    from matplotlib.lines import Line2D

    rules = {line.rule for line in lines}
    return [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            color=BLUE,
            label="error that comes nearest",
        ),
        *(
            Line2D([], [], linestyle="", label=RULE_LABELS[rule], **RULE_MARKERS[rule])
            for rule in RULE_LABELS
            if rule in rules
        ),
    ]
