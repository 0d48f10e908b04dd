"""Draw boxes with text and arrows between them, laid out in inches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from recipes.plots.furniture import MASKED_STYLE
from recipes.plots.sums import Lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_HEIGHT, BOX_PADDING = 0.152, 0.075
"""Inches from one line of text to the next, and around the text of a box."""

BOX_FONT_SIZE = 7.6
MONO_CHARACTER_WIDTH = 0.65
"""Font size in points, and the width of a character of DejaVu Sans Mono as a share of
it: 0.602, and what rounding to whole pixels adds."""


class Box(NamedTuple):
    """Describe a rectangle, in inches from the lower left corner of the figure."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> float:
        """Return y of the upper edge."""
        return self.y + self.height

    @property
    def right(self) -> float:
        """Return x of the right edge."""
        return self.x + self.width

    @property
    def middle(self) -> float:
        """Return y of the middle."""
        return self.y + self.height / 2


def box_height(lines: int) -> float:
    """Return the height of a box with a heading and this number of lines."""
    return (lines + 1) * LINE_HEIGHT + 2 * BOX_PADDING


def draw_box(
    axes: Axes, box: Box, head: str, lines: Lines, colour: str, size: float
) -> None:
    """Draw a rounded box with a heading, and a label before each of its lines.

    The last line, the result of the others, is bold. `size` is the font size of the
    lines, in points.
    """
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (box.x, box.y), box.width, box.height,
            boxstyle="round,pad=0,rounding_size=0.05", facecolor="white",
            edgecolor="black", linewidth=0.8, zorder=2,
        )
    )  # fmt: skip
    axes.add_patch(
        FancyBboxPatch(
            (box.x, box.top - LINE_HEIGHT - BOX_PADDING),
            box.width, LINE_HEIGHT + BOX_PADDING,
            boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour, alpha=0.35,
            linewidth=0, zorder=2,
        )
    )  # fmt: skip
    y = box.top - BOX_PADDING * 0.7 - LINE_HEIGHT / 2
    # the heading is in bold, which is a little wider than the font of the lines
    write(axes, box, y, head, bold=True, size=fitting_size(len(head) + 3, box.width))
    label = label_width(lines)
    for name, text in lines:
        y -= LINE_HEIGHT
        last = (name, text) == lines[-1]
        write(
            axes, box, y - BOX_PADDING * 0.3,
            f"{name:<{label}}  {text}" if label else text,
            size=size, mono=True, bold=last,
        )  # fmt: skip


def draw_frame(axes: Axes, box: Box, *, masked: bool) -> None:
    """Draw a frame around the gates of a step; hatched if the step is masked."""
    from matplotlib.patches import FancyBboxPatch

    look: dict[str, Any] = {"facecolor": "0.94", "edgecolor": "0.5", "linewidth": 0.8}
    axes.add_patch(
        FancyBboxPatch(
            (box.x, box.y), box.width, box.height,
            boxstyle="round,pad=0,rounding_size=0.06", zorder=1,
            **(MASKED_STYLE if masked else look),
        )
    )  # fmt: skip


def label_width(lines: Lines) -> int:
    """Return the number of characters of the longest label."""
    return max((len(name) for name, _ in lines), default=0)


def line_width(lines: Lines) -> int:
    """Return the number of characters that the longest line takes."""
    return label_width(lines) + 2 + max((len(text) for _, text in lines), default=0)


def fitting_size(characters: int, width: float) -> float:
    """Return the font size at which this number of characters fits in a box."""
    return min(
        BOX_FONT_SIZE, (width - 0.14) * 72 / (max(characters, 1) * MONO_CHARACTER_WIDTH)
    )


def write(
    axes: Axes,
    box: Box,
    y: float,
    text: str,
    *,
    size: float = BOX_FONT_SIZE,
    mono: bool = False,
    bold: bool = False,
    color: str = "black",
) -> None:
    """Write one line of text in a box, at the height `y`."""
    axes.text(
        box.x + 0.07, y, text, fontsize=size, va="center", color=color, zorder=3,
        family="DejaVu Sans Mono" if mono else "DejaVu Sans",
        fontweight="bold" if bold else "normal",
    )  # fmt: skip


def draw_arrow(
    axes: Axes,
    *points: tuple[float, float],
    color: str = "black",
    linestyle: str = "-",
    label: str = "",
) -> None:
    """Draw an arrow along straight pieces, its label beside its end."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    axes.add_patch(
        FancyArrowPatch(
            path=Path(points), arrowstyle="-|>", mutation_scale=9, color=color,
            linestyle=linestyle, linewidth=1.3, shrinkA=0, shrinkB=0, zorder=4,
            joinstyle="miter",
        )
    )  # fmt: skip
    if label:
        x, y = points[-1]
        axes.text(
            x - 0.14, y + 0.04, label, fontsize=BOX_FONT_SIZE, ha="center", va="bottom",
            fontweight="bold",
        )  # fmt: skip
