"""Draw every figure of the recipes; each function returns a matplotlib Figure.

::

    from recipes import plots

    figure = plots.gates(net.trace(x)["lstm"], words, "What the gates do")
    plots.png(figure)  # the bytes of a PNG file

Inputs are checked first: one that cannot be drawn raises `verify.errors.DataError`
with one line that says what was expected.
"""

from recipes.plots.diagram import unrolled
from recipes.plots.errors import error_against_bound, errors_of_outputs
from recipes.plots.furniture import png
from recipes.plots.lines import functions
from recipes.plots.ranges import ranges
from recipes.plots.scores import (
    accuracy_by,
    confusion,
    confusions,
    curves,
    spread,
)
from recipes.plots.states import cell_moves, gates, gradients, powers
from recipes.plots.tweets import frequencies, importance, lengths
from recipes.plots.weights import gate_columns, parameter_blocks

__all__ = [
    "accuracy_by",
    "cell_moves",
    "confusion",
    "confusions",
    "curves",
    "error_against_bound",
    "errors_of_outputs",
    "frequencies",
    "functions",
    "gate_columns",
    "gates",
    "gradients",
    "importance",
    "lengths",
    "parameter_blocks",
    "png",
    "powers",
    "ranges",
    "spread",
    "unrolled",
]
