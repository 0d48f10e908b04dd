"""Notebooks made from their percent scripts: read, executed, with answers put in.

    python -m notebook_runs           every notebook anew (make notebooks)
    python -m notebook_runs 03 05     those whose names begin so

A script in notebooks/ is the source; the .ipynb beside it is made from it and executed.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
TIMEOUT = 600
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def read(script: Path) -> Any:
    """The notebook of a percent script, not executed."""
    notebook = jupytext.read(script, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same every time
        cell.metadata.pop("lines_to_next_cell", None)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return notebook


def execute(notebook: Any, folder: Path):
    """Run every cell in a folder, in a process of its own; the failing cell is in the
    traceback."""
    _client(notebook, folder).execute()
    return _tidied(notebook)


class Kernel:
    """One process for several notebooks, which begins each with empty names.

    What Python has imported stays, since importing Keras takes longer than most
    notebooks; the garbage collector is spared it.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._client: NotebookClient | None = None
        self._environment = environment

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.nb = nbformat.v4.new_notebook()
            self._client.execute(cleanup_kc=True)

    def execute(self, notebook: Any, folder: Path) -> Any:
        """Run every cell in a folder; the failing cell is in the traceback."""
        begin = (
            f"%reset -f\n%cd -q {folder}\nimport gc; gc.collect(); gc.freeze(); del gc"
        )
        setup = nbformat.v4.new_code_cell(begin, id="afresh")
        cells, notebook.cells = notebook.cells, [setup, *notebook.cells]
        if self._client is None:
            self._client = _client(notebook, folder)
        self._client.nb = notebook
        self._client.execute(cleanup_kc=False, env=self._environment)
        notebook.cells = cells
        return _tidied(notebook)


def _client(notebook: Any, folder: Path) -> NotebookClient:
    return NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # it warns of TCP on this machine
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )


def _tidied(notebook: Any) -> Any:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = tidy(output.text)
    return notebook


def tidy(text: str) -> str:
    """Return what a terminal would show: a line that is written over is not kept."""
    return re.sub(r"[^\n]*\r(?!\n)", "", text)


def tagged(notebook: Any, kind: str) -> dict[int, Any]:
    """Exercise number -> the cell tagged ``kind-number``."""
    found = {}
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", ()):
            name, _, number = tag.rpartition("-")
            if name == kind:
                found[int(number)] = cell
    return found


def with_answers(notebook: Any, solutions: Any) -> Any:
    """A notebook in which every exercise is answered: first wrong, then right.

    The exercise's cell and the one behind it, which checks the answer, are there twice:
    once with the solutions' ``mistake-N``, once with their ``solution-N``.
    """
    mistakes, right = tagged(solutions, "mistake"), tagged(solutions, "solution")
    numbers = {id(cell): n for n, cell in tagged(notebook, "exercise").items()}
    cells, waiting = [], None
    for cell in notebook.cells:
        number = numbers.get(id(cell))
        if number is not None:
            waiting = number
        elif waiting is not None and cell.cell_type == "code":
            for answer in (mistakes[waiting], right[waiting]):
                cells += [_copy(answer), _copy(cell)]
            waiting = None
        else:
            cells.append(cell)
    answered = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    for number, cell in enumerate(answered.cells):
        cell.id = f"cell-{number}"
    return answered


def quickly(notebook: Any, rows: int | None = None) -> Any:
    """A notebook that begins with `quickly.begin`; tests/ must be on its path."""
    setup = nbformat.v4.new_code_cell(f"import quickly; quickly.begin({rows})")
    setup.id = "quickly"
    notebook.cells.insert(0, setup)
    return notebook


def _copy(cell: Any) -> Any:
    return nbformat.v4.new_code_cell(cell.source)


def printed(notebook: Any) -> str:
    """All that the cells have printed."""
    return "".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )


def main() -> None:
    """Make the notebooks anew."""
    parser = argparse.ArgumentParser(description="Executes the notebooks anew.")
    parser.add_argument("names", nargs="*", help="only those that begin so")
    names = tuple(parser.parse_args().names)
    for script in SCRIPTS:
        if names and not script.name.startswith(names):
            continue
        began = time.perf_counter()
        notebook = execute(read(script), FOLDER)
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        print(f"{script.stem}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
