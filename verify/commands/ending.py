"""End a command with a report: print it, write it for CI, and return its exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from click.exceptions import Exit

import verify
from verify.console.exit_codes import INTERRUPTED
from verify.data.files import output_path, write_atomically
from verify.errors import DataError, VerifyError

if TYPE_CHECKING:  # each command imports what it needs, so --help is fast
    from verify.report.cases import Finding
    from verify.report.page import Exploration


def write_page(path: Path, report: verify.Report, explorer: Exploration | None) -> None:
    """Write the page of a report, and say so."""
    content = report.to_html(explorer).encode()
    write_atomically(path, lambda file: file.write(content))
    print(f"Wrote {path}", file=sys.stderr)


@dataclass(frozen=True)
class Ending:
    """Hold where the outcome of a command goes.

    Parameters
    ----------
    command : str
        ``check``, ``compare`` or ``selftest``.
    model : str
        The file, as it was given.
    watch : Watch or None
        None for a command without ``--report``.
    json : bool
        Whether to print JSON in place of text.
    junit : str or None
        A JUnit file to write.
    github : bool
        Whether to print an annotation of GitHub Actions, and add to the summary of its
        run.

    Raises
    ------
    DataError
        The options contradict each other, or the file cannot be written.
    """

    command: str
    model: str
    watch: verify.Watch | None
    json: bool = False
    junit: str | None = None
    github: bool = False
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.json and self.github:
            also = "; --report FILE.json writes the document" * (self.watch is not None)
            raise DataError(
                "--github: it prints on stdout what the runner reads, and --json a "
                f"document. Received: both{also}"
            )
        if self.junit is not None:
            output_path(self.junit, "--junit", ".xml")

    @contextlib.contextmanager
    def with_errors(self) -> Iterator[None]:
        """Write for CI what cannot be read or used, too, before it ends the command."""
        try:
            yield
        except VerifyError as error:
            if self.junit is not None or self.github:
                from verify.report.cases import Finding

                said = str(error)
                took = time.monotonic() - self._began
                self._write(
                    Finding(self.command, self.model, "ERROR", said, said, seconds=took)
                )
            raise

    def finish(
        self, report: verify.Report | verify.ExportReport, hashes: dict[str, str]
    ) -> NoReturn:
        """Print a report and write it, with the hashes of its files, and end.

        Parameters
        ----------
        report : Report or ExportReport
        hashes : dict of str to str
            What `verify.commands.hashes.sha256_of` returned.
        """
        from verify.commands.hashes import with_hashes

        report = with_hashes(report, hashes)
        watch = self.watch
        if isinstance(report, verify.Report):
            if watch is not None:
                watch.write(report)
        elif watch is not None and watch.path is not None:
            document = f"{report.to_json()}\n".encode()
            write_atomically(watch.path, lambda file: file.write(document))
        self._print(report.to_json() if self.json else report.to_text())
        if self.junit is not None or self.github:
            self._write(self._finding(report))
        if isinstance(report, verify.Report) and not report.complete:
            if watch is not None:
                print(watch.parting(), file=sys.stderr)
            raise Exit(INTERRUPTED)
        raise Exit(report.verdict.exit_code)

    def finish_selftest(
        self, result: verify.SelfTest, hashes: dict[str, str], exit_code: int
    ) -> NoReturn:
        """Print what a self-test has found and write it, and end with an exit code."""
        document = {**result.to_dict(), "sha256": hashes}
        text = str(result)
        self._print(
            json_text(document, indent=2, allow_nan=False) if self.json else text
        )
        if self.junit is not None or self.github:
            from verify.report.cases import Finding

            verdict = verify.Verdict.INCONCLUSIVE if exit_code else verify.Verdict.PASS
            facts = {"rows": f"{result.rows}"} | {
                f"sha256.{name}": digest for name, digest in hashes.items()
            }
            took = time.monotonic() - self._began
            reason = text.partition("\n")[0]
            self._write(
                Finding(
                    self.command, self.model, str(verdict), reason, text,
                    result.cases(), facts, took,
                )
            )  # fmt: skip
        raise Exit(exit_code)

    def _print(self, text: str) -> None:
        if self.github:
            from verify.report.github import without_commands

            text = without_commands(text)
        print(text)

    def _finding(self, report: verify.Report | verify.ExportReport) -> Finding:
        from verify.report.cases import Finding, layer_cases

        facts = {
            f"{name}.{key}" if key else name: f"{inside}"
            for name, value in report.facts.items()
            for key, inside in (
                value.items() if isinstance(value, dict) else [("", value)]
            )
        }
        return Finding(
            self.command,
            self.model,
            str(report.verdict),
            report.reason,
            report.to_text(),
            layer_cases(report)
            if isinstance(report, verify.Report)
            else report.cases(),
            facts,
            time.monotonic() - self._began,
        )

    def _write(self, finding: Finding) -> None:
        if self.junit is not None:
            from verify.report.junit import junit_xml

            document = junit_xml(finding)
            write_atomically(Path(self.junit), lambda file: file.write(document))
            print(f"Wrote {self.junit}", file=sys.stderr)
        if self.github:
            from verify.report.github import annotation, summary

            print(annotation(finding))
            path = os.environ.get("GITHUB_STEP_SUMMARY")
            if path is None:
                print(
                    "--github: GITHUB_STEP_SUMMARY is not set, so there is no summary",
                    file=sys.stderr,
                )
                return
            try:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(summary(finding))
            except OSError as error:  # the verdict counts, and is printed
                print(f"--github: no summary ({error.strerror})", file=sys.stderr)
