"""Make one self-contained page: verdict, tables, an explorer of gates and states.

All HTML, CSS and JavaScript of the project is in this package. A page loads nothing
from a network, and its Content-Security-Policy forbids it to: only the style and the
script inside it are allowed, by their checksums.
"""

from verify.report.page.recording import (
    DEFAULT_ROWS,
    Exploration,
    PortValues,
    Sample,
    TextRules,
    explore,
    row_label,
)
from verify.report.page.render import Summary, Table, render

__all__ = [
    "DEFAULT_ROWS",
    "Exploration",
    "PortValues",
    "Sample",
    "Summary",
    "Table",
    "TextRules",
    "explore",
    "render",
    "row_label",
]
