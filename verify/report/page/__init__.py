"""Make one self-contained page: verdict, tables, an explorer of gates and states.

Everything that is HTML, CSS or JavaScript lives here. A page asks nothing of any
network, and its Content-Security-Policy would not let it: only its own style and its
own script run, by their checksums.
"""

from verify.report.page.recording import (
    DEFAULT_ROWS,
    Exploration,
    Sample,
    TextRules,
    explore,
)
from verify.report.page.render import Summary, Table, render

__all__ = [
    "DEFAULT_ROWS",
    "Exploration",
    "Sample",
    "Summary",
    "Table",
    "TextRules",
    "explore",
    "render",
]
