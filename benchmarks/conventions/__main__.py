"""Run ``python -m benchmarks.conventions``.

It runs every framework that can be imported here, or those named, writes what it
measured to ``verify/model/conventions/measured.json`` and makes the page
``docs/conventions.md`` anew. Frameworks that are not run keep their figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import click
from click.exceptions import Exit

from benchmarks.conventions.measure import COMMAND, LIMIT, MODULES, is_here, measured
from benchmarks.output import in_json, put
from verify.errors import DataError

MEASURED = Path(str(resources.files("verify.model.conventions"))) / "measured.json"
PAGE = Path(__file__).parents[2] / "docs" / "conventions.md"


@click.command()
@click.argument("names", nargs=-1, help="Frameworks; by default all that are here.")
@click.option("--python", help="The interpreter that has them, if not this one.")
@click.option("--seed", default=0, help="Of the random weights and inputs.")
def main(names: tuple[str, ...], python: str | None, seed: int) -> None:
    """Measure the conventions of frameworks; exit code 1 if one of them is wrong."""
    chosen = names or [name for name in MODULES if is_here(name)]
    unknown = [name for name in chosen if name not in MODULES]
    if unknown:
        raise DataError(
            f"expected some of {', '.join(MODULES)}. Received: {unknown[0]}"
        )
    document = json.loads(MEASURED.read_text(encoding="utf-8"))
    wrong = 0
    for name in chosen:
        # each in a process of its own: not every two of them get on in one
        version, found = measured(name, seed, python or sys.executable)
        cells: dict[str, float] = {}
        for case, difference in found:
            cell = case.convention.cell
            cells[cell] = max(cells.get(cell, 0.0), difference)
            both = ", both directions" if case.both else ""
            mark = "" if difference < LIMIT else "  WRONG"
            wrong += bool(mark)
            print(f"{name} {version}  {cell}{both}: {difference:.1e}{mark}")
        document["measurements"].setdefault(name, {}).update(
            {
                cell: {
                    "difference": float(f"{difference:.1e}"),
                    "version": version,
                    "command": f"{COMMAND} {name}",
                }
                for cell, difference in cells.items()
            }
        )
    if wrong:
        print(f"{wrong} wrong; nothing was written")
        raise Exit(1)
    document["measurements"] = dict(sorted(document["measurements"].items()))
    put(in_json(document).encode(), MEASURED)
    _renew_page()


def _renew_page() -> None:
    """Put the tables of all conventions into the page of the documentation."""
    # in a process of its own: the data of this one were read before they changed
    command = [sys.executable, "-m", "verify", "conventions"]
    tables = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    page = PAGE.read_text(encoding="utf-8")
    start, end = "<!-- rnn-verify conventions -->\n", "<!-- end -->"
    before, after = page.partition(start)[0], page.partition(end)[2]
    put(f"{before}{start}{tables}{end}{after}".encode(), PAGE)


if __name__ == "__main__":
    main()
