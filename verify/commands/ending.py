"""End a command with a report and its exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

from click.exceptions import Exit

import verify
from verify.console.exit_codes import INTERRUPTED
from verify.data.files import write_atomically


def finish(report: verify.Report, watch: verify.Watch, json: bool) -> NoReturn:
    """Print a report and end with its exit code."""
    print(report.to_json() if json else report.to_text())
    if report.complete:
        raise Exit(report.verdict.exit_code)
    print(watch.parting(), file=sys.stderr)
    raise Exit(INTERRUPTED)


def finish_exported(
    report: verify.ExportReport, watch: verify.Watch, json: bool
) -> NoReturn:
    """Print the report on an exported file, write it, and end with its exit code."""
    text = report.to_json()
    if watch.path is not None:
        write_atomically(watch.path, lambda file: file.write(f"{text}\n".encode()))
    print(text if json else report.to_text())
    raise Exit(report.verdict.exit_code)
