"""Put public model files to `rnn-verify describe` and `check`.

    python -m benchmarks.real_files FOLDER [--only TEXT ...]

FOLDER holds copies of the files that ``benchmarks/real_files/files.json`` lists: each
at ``OWNER+NAME/path`` for a repository on GitHub, at ``pypi/PACKAGE==VERSION/path`` for
a package of the Python Package Index. None of them is kept in this project.

Each command runs in a process of its own, one at a time. Noted are exit code, verdict,
seconds of CPU time (with Keras's import), greatest memory, the share of numbers with a
derived bound, and the first reason for a refusal. It writes
benchmarks/results/real_files.json and real_files.md; with ``--only`` the rows of all
other files stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.output import RESULTS_FOLDER, in_json, put
from verify.console.tables import markdown_row, markdown_table

FILES = Path(__file__).with_name("files.json")
NAME = "real_files.json"
"""File of the results."""

LIMIT_SECONDS = 600.0
"""Seconds after which a command counts as one that does not end."""

READ, PASSED, PARTIAL, REFUSED = "read", "PASS", "PARTIAL", "refused"
TRACEBACK, NO_END = "traceback", "no end"


@dataclass(frozen=True)
class Run:
    """Hold how one command ended.

    Attributes
    ----------
    code : int or None
        Its exit code; None if it did not end within `LIMIT_SECONDS`.
    seconds : float
        CPU time, with that of its child processes.
    megabytes : float
        Greatest resident memory of the process, MiB.
    out, err : str
        What it printed.
    """

    code: int | None
    seconds: float
    megabytes: float
    out: str
    err: str

    @property
    def traceback(self) -> bool:
        """Return whether it ended in a traceback."""
        return "Traceback (most recent call last)" in self.err or self.code == 70

    @property
    def said(self) -> str:
        """Return the last line that it wrote on the standard error."""
        return (self.err.strip().splitlines() or [""])[-1].removeprefix("rnn-verify: ")


@dataclass
class Row:
    """Hold what became of one file; the times are in seconds, the memory in MiB."""

    source: str
    path: str
    keras: str
    foreign: str
    described: str = ""
    describe_seconds: float = 0.0
    checked: str = ""
    check_seconds: float = 0.0
    check_megabytes: float = 0.0
    derived: float | None = None
    partial: str = ""
    reason: str = ""
    tracebacks: list[str] = field(default_factory=list)


def run(arguments: Sequence[str]) -> Run:
    """Run ``rnn-verify`` with these arguments."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "verify", *arguments], stdout=out, stderr=err
        )
        status, usage = _waited(process)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    code = None if status is None else os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime if usage else LIMIT_SECONDS
    memory = usage.ru_maxrss / 1024 if usage else 0.0
    return Run(code, round(seconds, 1), round(memory), *texts)


def _waited(process: subprocess.Popen[bytes]) -> tuple[int | None, Any]:
    """Wait for a process, which is killed after `LIMIT_SECONDS`."""
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return status, usage
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = -signal.SIGKILL
    return None, usage


def examined(entry: Mapping[str, str], folder: Path) -> Row:
    """Describe and check one file."""
    row = Row(entry["source"], entry["path"], entry["keras"], entry["foreign"])
    file = folder / entry["source"].replace("/", "+").replace("pypi:", "pypi/")
    arguments = [str(file / entry["path"])]
    if config := entry.get("config"):
        arguments += ["--config", str(file / config)]
    described = run(["describe", *arguments])
    row.describe_seconds = described.seconds
    row.described = _ended(described, {0: READ, 3: PARTIAL, 2: REFUSED})
    _note(row, described)
    if described.code == 2:
        row.reason = _reason(described.said, arguments[0])
        return row
    checked = run(["check", "--json", *arguments])
    row.check_seconds, row.check_megabytes = checked.seconds, checked.megabytes
    row.checked = _ended(checked, {2: REFUSED})
    _note(row, checked)
    report = _parsed(checked.out)
    if report:
        row.checked = report["verdict"]
        row.derived = report.get("derived")
        row.reason = "" if row.checked == PASSED else report["reason"]
    else:
        row.reason = _reason(checked.said, arguments[0])
    if row.checked == REFUSED and row.foreign:
        partly = run(["check", "--partial", "--json", *arguments])
        _note(row, partly)
        found = _parsed(partly.out)
        row.partial = found["reason"] if found else _reason(partly.said, arguments[0])
    return row


def _ended(done: Run, words: Mapping[int, str]) -> str:
    if done.traceback:
        return TRACEBACK
    if done.code is None:
        return NO_END
    return words.get(done.code, f"exit code {done.code}")


def _note(row: Row, done: Run) -> None:
    if done.traceback:
        row.tracebacks.append(done.err[-2000:])


def _parsed(text: str) -> dict[str, Any]:
    """Return the report in what a command printed; {} without one."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reason(said: str, path: str) -> str:
    """Return a refusal without the path of the copy."""
    return said.replace(f"{path}: ", "").replace(path, "the file")


def totals(rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """Yield what the table adds up to: a name, and a figure."""
    rows = list(rows)
    own = [row for row in rows if not row.foreign]
    passed = sum(row.checked == PASSED for row in own)
    yield "files", f"{len(rows)}"
    yield "with code of their own, or without a config", f"{len(rows) - len(own)}"
    yield "others", f"{len(own)}"
    yield "others read", f"{sum(row.described == READ for row in own)}"
    for verdict, count in Counter(row.checked or REFUSED for row in own).most_common():
        yield f"others checked: {verdict}", f"{count}"
    yield "others described and PASS", f"{passed / max(len(own), 1):.1%}"
    for name in (TRACEBACK, NO_END):
        found = sum(name in (row.described, row.checked) for row in rows)
        yield f"ended in: {name}", f"{found}"
    shares = [row.derived for row in rows if row.derived is not None]
    if shares:
        whole = sum(share == 1.0 for share in shares)
        yield "a derived bound for every number", f"{whole} of {len(shares)}"
        mean = sum(shares) / len(shares)
        yield "numbers with a derived bound, mean over files", f"{mean:.1%}"
    yield "longest describe, s of CPU", f"{max(r.describe_seconds for r in rows):.1f}"
    yield "longest check, s of CPU", f"{max(r.check_seconds for r in rows):.1f}"
    yield "most memory of a check, MiB", f"{max(r.check_megabytes for r in rows):,.0f}"


HEADINGS = (
    *("source", "file", "Keras", "describe", "s", "check", "s", "MiB", "bound", "why"),
)


def table(rows: Sequence[Row], machine: str) -> str:
    """Return the results in Markdown."""
    sums = [markdown_row(name, value) for name, value in totals(rows)]
    cells = [
        markdown_row(
            row.source,
            f"`{row.path}`",
            row.keras,
            row.described,
            f"{row.describe_seconds:.1f}",
            row.checked or "-",
            f"{row.check_seconds:.1f}" if row.checked else "",
            f"{row.check_megabytes:.0f}" if row.checked else "",
            "" if row.derived is None else f"{row.derived:.0%}",
            "; ".join(t for t in (row.foreign, row.partial or row.reason) if t)[:200],
        )
        for row in rows
    ]
    return f"""# Real model files

`python -m benchmarks.real_files FOLDER`, with copies of the files in FOLDER.
Machine: {machine}

{markdown_table(("", ""), sums)}

Times are seconds of CPU time, that of `check` with Keras's import. `bound` is the share
of the outputs' numbers that have a derived bound.

{markdown_table(HEADINGS, cells)}
"""


def main() -> None:
    """Examine the files, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_files")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT",
                        help="files whose name holds one of these texts")  # fmt: skip
    given = parser.parse_args()
    whole = given.only == [""]
    entries = json.loads(FILES.read_text())
    chosen = [
        entry
        for entry in entries
        if any(text in f"{entry['source']} {entry['path']}" for text in given.only)
    ]
    kept = [] if whole else json.loads((RESULTS_FOLDER / NAME).read_text())["files"]
    rows = {(row["source"], row["path"]): Row(**row) for row in kept}
    for count, entry in enumerate(chosen, 1):
        row = rows[entry["source"], entry["path"]] = examined(entry, given.folder)
        print(
            f"{count}/{len(chosen)} {row.source} {row.path}: {row.described}, "
            f"{row.checked} {row.reason[:100]} {row.partial[:100]}",
            flush=True,
        )
        write(list(rows.values()))  # as long as it runs, those so far
    for name, value in totals(list(rows.values())):
        print(f"{name}: {value}")


def write(rows: Sequence[Row]) -> None:
    """Write what is measured so far to the folder of the results."""
    machine = Machine.here()
    document = {"machine": asdict(machine), "files": [asdict(row) for row in rows]}
    put(in_json(document).encode(), RESULTS_FOLDER / NAME)
    put(table(rows, machine.words()).encode(), RESULTS_FOLDER / "real_files.md")


if __name__ == "__main__":
    main()
