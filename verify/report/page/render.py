"""Render a summary, with or without an exploration, as one HTML document."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from string import Template

from verify.errors import printable
from verify.report.page.packing import script_json
from verify.report.page.recording import Exploration

VIEW_FILES = (
    "run.js", "agreement.js", "choosing.js", "stepping.js", "answer.js", "heat_maps.js",
    "layers.js", "start.js",
)  # fmt: skip
"""Files that are joined, in this order, into one function that keeps names local."""

SCRIPT_FILES = ("engine.js", "tools.js", *(f"view/{name}" for name in VIEW_FILES))
VERDICT_CLASSES = {"PASS": "pass", "FAIL": "fail"}
"""Verdict -> class in ``page.css``; "open" for any other verdict."""


@dataclass(frozen=True)
class Table:
    """Hold a table with its title and the headings of its columns."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Summary:
    """Hold the content of a page other than its explorer.

    Attributes
    ----------
    verdict : str
        ``PASS``, ``FAIL`` or ``INCONCLUSIVE``.
    title : str
        The heading after the verdict.
    reason : str
        One sentence that explains the verdict.
    facts : mapping
        Names and values, listed at the end.
    detail : sequence of str
        Lines that say where and why something differs.
    tables : sequence of Table
        Tables without rows are not shown.
    warnings : sequence of str
    advice : sequence of str
        What to do next.
    """

    verdict: str
    title: str
    reason: str
    facts: Mapping[str, str] = field(default_factory=dict)
    detail: Sequence[str] = ()
    tables: Sequence[Table] = ()
    warnings: Sequence[str] = ()
    advice: Sequence[str] = ()


def render(
    summary: Summary,
    exploration: Exploration | None = None,
    *,
    explorer_first: bool = False,
) -> str:
    """Return the page as text.

    Parameters
    ----------
    summary : Summary
    exploration : Exploration, optional
        The data of the explorer. Without it the page contains no script.
    explorer_first : bool
        Whether the explorer comes before the tables.
    """
    verdict = _escaped(summary.verdict)
    title = _escaped(printable(summary.title))
    explorer = "" if exploration is None else _file("explorer.html")
    script = "" if exploration is None else _script()
    style = _file("page.css")
    return Template(_file("page.html")).substitute(
        policy=_policy(style, script),
        style=style,
        verdict=verdict,
        colour=VERDICT_CLASSES.get(summary.verdict, "open"),
        title=title,
        reason=_escaped(printable(summary.reason, 2000)),
        detail=_detail(summary.detail),
        before=explorer if explorer_first else "",
        body=_body(summary),
        facts=_facts(summary.facts),
        after="" if explorer_first else explorer,
        data="" if exploration is None else _data(exploration),
        script=f"<script>{script}</script>" if script else "",
    )


def _data(exploration: Exploration) -> str:
    content = script_json(exploration.data)
    return f'<script type="application/json" id="data">{content}</script>'


def _policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy, which allows the page's own style and script.

    Both are allowed by their checksums and nothing else is, so that a name or a text
    that got into the page as markup could do no harm.
    """
    allowed = [
        "default-src 'none'",
        f"style-src {_checksum(style)}",
        f"script-src {_checksum(script)}" if script else "script-src 'none'",
        "img-src data:",  # the empty icon, so that no browser asks for one
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(allowed)


def _checksum(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@cache
def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    engine, tools, *view = (_file(name) for name in SCRIPT_FILES)
    parts = "\n".join(view)
    return f"{engine}\n{tools}\n(() => {{\n{parts}}})();\n"


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)


def _detail(lines: Sequence[str]) -> str:
    shown = [printable(line, 2000) for line in lines]
    return f"<pre>{_escaped(chr(10).join(shown))}</pre>" if lines else ""


def _body(summary: Summary) -> str:
    parts = [_table(table) for table in summary.tables if table.rows]
    for title, sentences in (
        ("Warnings", summary.warnings),
        ("What to do next", summary.advice),
    ):
        if sentences:
            items = "".join(
                f"<li>{_escaped(printable(text, 2000))}</li>" for text in sentences
            )
            parts.append(f"<section><h2>{title}</h2><ul>{items}</ul></section>")
    return "\n".join(parts)


def _facts(facts: Mapping[str, str]) -> str:
    if not facts:
        return ""
    items = "".join(
        f"<dt>{_escaped(printable(key))}</dt><dd>{_escaped(printable(value, 400))}</dd>"
        for key, value in facts.items()
    )
    return f"<section><h2>Facts</h2><dl>{items}</dl></section>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_escaped(c)}</th>' for c in table.headings)
    body = "".join(f"<tr>{_cells(table.headings, row)}</tr>" for row in table.rows)
    title = _escaped(printable(table.title))
    return (
        f'<section><h2>{title}</h2><div class="wide" tabindex="0" role="region" '
        f'aria-label="{title}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _cells(headings: Sequence[str], row: Sequence[str]) -> str:
    """Return the cells of a row; on a narrow screen each shows its heading."""
    return "".join(
        f'<td data-name="{_escaped(heading)}">{_escaped(printable(cell))}</td>'
        for heading, cell in zip(headings, row, strict=True)
    )
