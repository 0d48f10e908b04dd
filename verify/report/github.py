"""Say what a command found in the words of GitHub Actions.

Nothing from a file may become a command of the runner, or markup of the page. The
runner takes every line that begins with ``::`` for a command.
"""

from __future__ import annotations

import re
import secrets

from verify.errors import printable
from verify.report.cases import Finding, Outcome

LEVELS = {"PASS": "notice", "FAIL": "error", "ERROR": "error"}
SHOWN_LINES = 10
"""Lines of the report in an annotation."""

MAX_SUMMARY = 500_000
"""Characters of the report in a summary; GitHub refuses a summary above 1 MiB."""

MARKS = {"passed": "ok", "FAILED": "**DIFFERS**", "undecided": "undecided"}


def annotation(finding: Finding) -> str:
    """Return the line that makes the runner show the verdict beside the model file."""
    level = LEVELS.get(finding.verdict, "warning")
    title = f"rnn-verify {finding.command}: {finding.verdict}"
    lines = finding.text.splitlines()[:SHOWN_LINES] or [finding.reason]
    message = _escaped("\n".join(lines))
    place = f"file={_property(finding.model)},title={_property(title)}"
    return f"::{level} {place}::{message}"


def without_commands(text: str) -> str:
    """Return a text that the runner prints as it is, whatever is in it."""
    token = secrets.token_hex(16)
    return f"::stop-commands::{token}\n{text}\n::{token}::"


def summary(finding: Finding) -> str:
    """Return the report in Markdown, for the page of the run."""
    text = finding.text
    if len(text) > MAX_SUMMARY:
        text = f"{text[:MAX_SUMMARY]}\n... (cut off)"
    fence = "`" * (max((len(x) for x in re.findall("`+", text)), default=2) + 1)
    fence = fence if len(fence) >= 3 else "```"
    parts = [
        f"### rnn-verify {finding.command}: {finding.verdict}",
        f"{markdown_text(finding.model)}: {markdown_text(finding.reason)}",
    ]
    if finding.cases:
        rows = [
            f"| {markdown_text(case.name)} | {MARKS.get(case.outcome, case.outcome)} "
            f"| {markdown_text(case.message)} |"
            for case in finding.cases
        ]
        parts.append("\n".join(["| part | | |", "|---|---|---|", *rows]))
    shown = " open" if finding.whole.outcome is not Outcome.PASSED else ""
    parts.append(
        f"<details{shown}><summary>The report</summary>\n\n"
        f"{fence}text\n{text}\n{fence}\n\n</details>"
    )
    return "\n\n".join(parts) + "\n\n"


def markdown_text(text: str) -> str:
    """Return a text in one line that Markdown shows as it is, in a table as well."""
    return re.sub(
        r"[^\w\s.,;=+/%'\"-]",
        lambda found: f"&#{ord(found[0])};",
        printable(text, 1000),
    ).replace("_", "&#95;")


def _escaped(text: str) -> str:
    """Return the message of a command of the runner."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return the value of a property of a command of the runner."""
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
