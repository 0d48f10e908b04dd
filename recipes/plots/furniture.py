"""Provide what the figures share: colours, axes, labels, heat maps and input checks.

Categories have the colours of Okabe and Ito, which the colour-blind can tell apart.
They also differ by dashes, markers or hatches, for print in black and white. Text is
never read as mathematics, since a word may contain ``$`` or ``_``.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.errors import DataError, printable
from verify.model.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

FIGURE_WIDTH = 9.0
"""Inches; a notebook shows this width without shrinking it."""

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
GATE_COLOURS = (SKY, PURPLE, "#F0E442", "#BBBBBB")
"""Colours of gates, in the order of their columns; states and inputs have others."""
DASHES: tuple[Any, ...] = (
    "-", "--", "-.", ":", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)),
)  # fmt: skip
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "++", "oo")

SEQUENTIAL_MAP, DIVERGING_MAP = "cividis", "PuOr"

FONT_SIZE, SMALL_FONT_SIZE, SMALLEST_FONT_SIZE = 9.0, 8.0, 5.5
"""Points: for most text, for small text, and the least size at which text is drawn."""

CHARACTER_WIDTH = 0.64
"""Average width of a character as a share of the font size, estimated generously."""

MAX_ABSOLUTE_VALUE = 1e100
"""Greater numbers are refused: an axis would overflow, or show nothing but digits."""

MAX_LABEL_CHARACTERS = 18
"""Characters of a word on an axis; longer words are cut."""


def new_figure(height: float, width: float = FIGURE_WIDTH) -> Figure:
    """Make an empty figure of a size in inches, with a layout that avoids overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panels(figure: Figure, count: int, columns: int, **kwargs: Any) -> list[Axes]:
    """Return `count` axes in reading order."""
    rows = -(-count // columns)
    grid = figure.subplots(rows, columns, squeeze=False, **kwargs).ravel().tolist()
    for spare in grid[count:]:
        spare.remove()
    return grid[:count]


def tidy(axes: Axes, xlabel: str, ylabel: str, *, grid: str = "") -> None:
    """Set the axis titles, remove the top and right frame, and draw a light grid."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid == "both":
        axes.grid(alpha=0.3)
    elif grid:
        axes.grid(alpha=0.3, axis="x" if grid == "x" else "y")


def finished(figure: Figure, title: str) -> Figure:
    """Add the title, turn formulas off in all text, and return the figure."""
    from matplotlib.text import Text

    if title:
        figure.suptitle(wrapped(title, figure.get_figwidth()))
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
    return figure


def wrapped(text: str, inches: float, size: float = 12.0) -> str:
    """Break a title into as many lines as it needs."""
    width = max(int(inches * 72 / (size * CHARACTER_WIDTH)), 12)
    lines = [printable(line) for line in text.splitlines()]
    return "\n".join(textwrap.fill(line, width) for line in lines)


def style(k: int) -> dict[str, Any]:
    """Return colour, dashes and marker of the k-th line."""
    n = len(COLOURS)
    return {
        "color": COLOURS[k % n],
        "linestyle": DASHES[(k + k // n) % n],
        "marker": MARKERS[(k + 2 * (k // n)) % n],
        "markersize": 4,
    }


def fill(k: int) -> dict[str, Any]:
    """Return colour and hatch of the k-th kind of bar."""
    n = len(COLOURS)
    return {
        "facecolor": COLOURS[k % n],
        "hatch": HATCHES[(k + k // n) % n],
        "edgecolor": "white",
        "linewidth": 0,
    }


def cut(word: object, limit: int = MAX_LABEL_CHARACTERS) -> str:
    """Shorten a word to fit on an axis."""
    return printable(word, limit)


def step_labels(words: Sequence[str] | None, steps: int) -> tuple[list[str], str]:
    """Return one label a time step, and the title of their axis.

    Raises
    ------
    DataError
        The numbers of words and steps differ.
    """
    if words is None:
        return [str(k) for k in range(steps)], "time step (from 0)"
    if isinstance(words, str):
        raise DataError("words: expected a list of words. Received: one text")
    one_each("words", words, steps, "time step")
    return [cut(word) for word in words], "word"


def word_ticks(axes: Axes, labels: Sequence[str], inches: float) -> None:
    """Label x at 0, 1, ...: side by side if the words fit, else upright.

    Parameters
    ----------
    axes : Axes
    labels : of str
    inches : float
        The approximate width of the axes.
    """
    if _side_by_side(labels, inches):
        size, rotation, stride = FONT_SIZE, 0, 1
    else:
        slot = inches * 72 / len(labels)
        size, rotation = min(FONT_SIZE, max(slot / 1.25, SMALLEST_FONT_SIZE)), 90
        stride = max(int(np.ceil(size * 1.25 / slot - 0.01)), 1)
    where = list(range(0, len(labels), stride))
    axes.set_xticks(where, [labels[k] for k in where], fontsize=size, rotation=rotation)


def word_height(labels: Sequence[str], inches: float) -> float:
    """Return the height in inches that `word_ticks` needs below axes of this width."""
    if _side_by_side(labels, inches):
        return 0.2
    return 0.1 + max(map(len, labels)) * FONT_SIZE * CHARACTER_WIDTH / 72


def _side_by_side(labels: Sequence[str], inches: float) -> bool:
    """Return whether labels fit side by side below axes of this width."""
    longest = max(map(len, labels), default=1)
    slot = inches * 72 / max(len(labels), 1)  # points for each label
    return slot > (longest + 1) * FONT_SIZE * CHARACTER_WIDTH


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Mark powers of ten from `low` to `high`, or finer steps on a short axis."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    stride = max(-(-(last - first) // 8), 1)
    values = [10.0**k for k in range(first, last + 1) if k % stride == 0]
    if np.log10(high / low) < 2:
        values = [m * 10.0**k for k in range(first, last + 1) for m in (1, 2, 5)]
    values = [v for v in values if low <= v <= high * 1.0000001]
    axis.set_ticks(values, [power(v) for v in values])
    axis.set_ticks([], minor=True)


def power(value: float) -> str:
    """Format 1, 0.1 and 100 as they are, other numbers with a power of ten."""
    if 0.0099 < value < 9999:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    digits = f"{exponent}".translate(
        str.maketrans(
            "-0123456789",
            "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079",
        )
    )
    factor = round(value / 10.0**exponent)
    return f"10{digits}" if factor == 1 else f"{factor} * 10{digits}"


def symmetric(values: Array) -> float:
    """Return the limit of a diverging scale around 0 that holds all the values."""
    return float(np.max(np.abs(values), initial=0.0)) or 1.0


def heat_map(
    axes: Axes, values: Array, *, limits: tuple[float, float], colours: str
) -> AxesImage:
    """Draw an image with one cell a value.

    Parameters
    ----------
    axes : Axes
    values : (rows, columns)
    limits : (float, float)
        Ends of the colour scale.
    colours : str
        Name of a colour map.
    """
    image = axes.imshow(
        values,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        aspect="auto",
        interpolation="nearest",
    )
    axes.tick_params(length=2)
    return image


def whole_number_ticks(axis: Axis) -> None:
    """Put the ticks of an axis at whole numbers: there is no epoch 2.5."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(
        MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
    )


def index_ticks(axis: Axis, labels: Sequence[object], inches: float) -> None:
    """Label the axis with numbers; if not all fit, only every second, fifth etc."""
    stride = max(int(np.ceil(len(labels) * SMALL_FONT_SIZE * 1.3 / (inches * 72))), 1)
    for round_number in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000):
        if stride <= round_number:
            stride = round_number
            break
    where = list(range(0, len(labels), stride))
    axis.set_ticks(where, [str(labels[k]) for k in where], fontsize=SMALL_FONT_SIZE)


def write_cells(
    axes: Axes,
    image: AxesImage,
    texts: Sequence[Sequence[str]],
    cell: tuple[float, ...],
) -> None:
    """Write text in the cells of a heat map if it fits.

    Parameters
    ----------
    axes : Axes
    image : AxesImage
    texts : (rows, columns) of str
    cell : (float, float)
        Width and height of a cell, in inches.
    """
    lines = [text.splitlines() for row in texts for text in row]
    longest = max(max(map(len, parts), default=1) for parts in lines)
    tallest = max(max(map(len, lines), default=1), 1)
    room = (
        cell[0] * 72 / ((longest + 0.6) * CHARACTER_WIDTH),
        cell[1] * 72 / (tallest * 1.3),
    )
    size = min(*room, FONT_SIZE + 1)
    if size < SMALLEST_FONT_SIZE:
        return
    values = np.asarray(image.get_array())
    for (r, c), value in np.ndenumerate(values):
        axes.text(
            c, r, texts[r][c], ha="center", va="center", fontsize=size,
            color=ink_on(image, value),
        )  # fmt: skip


def ink_on(image: AxesImage, value: float) -> str:
    """Choose black or white, whichever can be read on the colour of a value."""
    red, green, blue, _ = image.cmap(image.norm(np.asarray(value)))
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def shade_steps(axes: Axes, steps: Sequence[int]) -> None:
    """Shade and hatch the columns of masked steps."""
    for t in steps:
        axes.axvspan(t - 0.5, t + 0.5, **MASKED_STYLE)


MASKED_STYLE: dict[str, Any] = {
    "facecolor": (0.5, 0.5, 0.5, 0.45),
    "edgecolor": (0.15, 0.15, 0.15, 0.9),
    "hatch": "////",
    "linewidth": 0,
}


def percent(value: float, _: float = 0.0) -> str:
    """Format a share in percent, for a tick."""
    return f"{100 * value:.4g}%"


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """Draw one legend beneath the whole figure, in as many columns as fit."""
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = (
            int(
                figure.get_figwidth()
                * 72
                / (longest * FONT_SIZE * CHARACTER_WIDTH + 42)
            )
            or 1
        )
        figure.legend(
            handles=list(handles), loc="outside lower center", frameon=False,
            ncols=min(columns, len(handles)), fontsize=FONT_SIZE,
        )  # fmt: skip


def baseline_lines(axes: Axes, baselines: Mapping[str, float]) -> list[Any]:
    """Draw a vertical black line at each known score; return them for the legend.

    Raises
    ------
    DataError
        A score is not a number.
    """
    lines = []
    for k, (name, value) in enumerate(baselines.items()):
        numbers(f"baseline {name}", value, 0)
        dashes = DASHES[1 + k % (len(DASHES) - 1)]
        label = f"{cut(name, 50)} ({value:.3f})"
        lines.append(
            axes.axvline(value, color=BLACK, linestyle=dashes, lw=1, label=label)
        )
    return lines


def mean_column(axes: Axes, means: Mapping[float, float], top: float) -> None:
    """Write the mean of each row at its right, and a heading above."""
    side = axes.get_yaxis_transform()
    look: dict[str, Any] = {
        "transform": side,
        "va": "center",
        "fontsize": SMALL_FONT_SIZE,
    }
    axes.text(1.01, top, "mean", color="0.3", **look)
    for place, mean in means.items():
        axes.text(1.01, place, f"{mean:.3f}", **look)


def require_some(what: str, values: Sized) -> None:
    """Refuse an empty input.

    Raises
    ------
    DataError
    """
    if len(values) == 0:
        raise DataError(f"{what}: expected at least one. Received: none")


def require_row(row: int, rows: int) -> None:
    """Refuse a row that the batch has not.

    Raises
    ------
    DataError
    """
    if not 0 <= row < rows:
        raise DataError(
            f"row: expected a row of the batch, 0 to {rows - 1}. Received: {row}"
        )


def one_each(what: str, values: Sized, count: int, each: str) -> None:
    """Refuse an input that has not `count` values.

    Raises
    ------
    DataError
    """
    if len(values) != count:
        raise DataError(
            f"{what}: expected one for each {each}, {count} in all. "
            f"Received: {len(values)}"
        )


def numbers(what: str, values: Any, *dimensions: int) -> Array:
    """Return an array of finite numbers in float64; refuse other or no numbers.

    Parameters
    ----------
    what : str
        The name of the input, for the message.
    values : array-like
    *dimensions : int
        The numbers of axes that it may have.

    Raises
    ------
    DataError
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{what}: expected an array of numbers. "
            f"Received: {type(values).__name__}, which is none"
        ) from None
    if array.ndim not in dimensions:
        axes = " or ".join(map(str, dimensions))
        raise DataError(
            f"{what}: expected an array with {axes} axes. Received: shape={array.shape}"
        )
    if array.size == 0:
        raise DataError(f"{what}: expected numbers. Received: none")
    if not np.isfinite(array).all():
        raise DataError(f"{what}: expected finite numbers. Received: NaN or infinity")
    if np.abs(array).max() > MAX_ABSOLUTE_VALUE:
        raise DataError(
            f"{what}: expected numbers up to {MAX_ABSOLUTE_VALUE:g}. "
            f"Received: {np.abs(array).max():g}"
        )
    return array


def arrays(what: str, given: Mapping[str, Any], *dimensions: int) -> dict[str, Array]:
    """Return several arrays as `numbers` does; their last axes have the same length.

    Raises
    ------
    DataError
    """
    require_some(what, given)
    found = {
        name: numbers(f"{what} of {name}", values, *dimensions)
        for name, values in given.items()
    }
    lengths = sorted({array.shape[-1] for array in found.values()})
    if len(lengths) > 1:
        raise DataError(
            f"{what}: expected arrays of one length. "
            f"Received: {', '.join(map(str, lengths))}"
        )
    return found


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # a character the font lacks is drawn as a box
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=144)
    return buffer.getvalue()
