"""Every figure. Colours are safe for the colour-blind and differ in print (dashes)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINING = {"color": "#0072B2", "linestyle": "-", "label": "training"}
TEST = {"color": "#D55E00", "linestyle": "--", "label": "test"}


def curves(history: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Loss and accuracy by epoch, on training and, where there is one, test data.

    Parameters
    ----------
    history : mapping
        ``loss`` and ``accuracy``, with ``val_loss`` and ``val_accuracy`` for test data;
        one number an epoch each.
    title : str
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    marker = "o" if len(epochs) <= 30 else ""
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, history[name], marker=marker, markersize=4, **TRAINING)
        if f"val_{name}" in history:
            axes.plot(
                epochs, history[f"val_{name}"], marker=marker, markersize=4, **TEST
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy" if name == "accuracy" else "loss (cross-entropy)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    figure.suptitle(title)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144)
    return buffer.getvalue()
