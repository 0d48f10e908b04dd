"""Run ``python -m benchmarks.exporters``: ``make exporters``.

It exports every model of `models` by every route of `plan`, judges what comes of it,
keeps each result in ``benchmarks/results/exporters.json`` as soon as it has it, and
makes the page ``docs/exporters.md``. Run again, it goes on where it was.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.exporters.environments import FOLDER, EnvironmentFailed, Worker
from benchmarks.exporters.judge import NOT_EXPORTED, Found, judged
from benchmarks.exporters.models import MODELS, build
from benchmarks.exporters.page import PAGE, page
from benchmarks.exporters.plan import PACKAGES, ROUTES, Route
from benchmarks.output import RESULTS_FOLDER, in_json, put
from verify.errors import DataError

RESULTS = RESULTS_FOLDER / "exporters.json"
SECONDS = 240.0
"""Seconds that an export, or a run in a runtime of its own, may take."""


def results() -> dict[str, Any]:
    """Return what has been measured so far."""
    if RESULTS.exists():
        found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
        return found
    return {"versions": {}, "routes": {}}


@click.command()
@click.argument("names", nargs=-1, help="Routes; by default all.")
@click.option("--models", help="Models, with commas between; by default all.")
@click.option("--again", is_flag=True, help="Measure anew what is measured.")
@click.option("--judge-again", is_flag=True, help="Judge anew what is exported.")
@click.option("--page", "only_page", is_flag=True, help="Only make the page anew.")
def main(
    names: tuple[str, ...],
    models: str | None,
    again: bool,
    judge_again: bool,
    only_page: bool,
) -> None:
    """Measure what exporters keep, lose and refuse."""
    chosen = names or list(ROUTES)
    subjects = models.split(",") if models else list(MODELS)
    for name, known in [
        *((n, ROUTES) for n in chosen),
        *((m, MODELS) for m in subjects),
    ]:
        if name not in known:
            raise DataError(f"expected one of {', '.join(known)}. Received: {name}")
    if not only_page:
        # a stray backend or device would change what is measured
        os.environ["KERAS_BACKEND"] = "tensorflow"
        _make_models(subjects)
        for name in chosen:
            _measure(name, subjects, again, judge_again)
    put(page(results()).encode(), PAGE)


def model_file(name: str) -> Path:
    """Return where a model is kept."""
    return FOLDER / "models" / f"{name}.keras"


def exported_file(route: str, name: str) -> Path:
    """Return where an exported file is kept."""
    return FOLDER / "exported" / route / f"{name}{ROUTES[route].suffix}"


def _make_models(names: list[str]) -> None:
    (FOLDER / "models").mkdir(parents=True, exist_ok=True)
    for name in names:
        if not model_file(name).exists():
            build(name).save(model_file(name))


def _measure(name: str, subjects: list[str], again: bool, judge_again: bool) -> None:
    """Measure one route."""
    route = ROUTES[name]
    known = {} if again else results()["routes"].get(name, {}).get("models", {})
    missing = [m for m in subjects if judge_again or m not in known]
    if not missing:
        return
    work = FOLDER / "exported" / name
    work.mkdir(parents=True, exist_ok=True)
    try:
        worker = Worker(route, SECONDS, work / "log.txt")
    except EnvironmentFailed as error:
        print(f"{name}: not run: {error}")
        _keep(name, {"not_run": str(error)[:300]})
        return
    try:
        versions = worker.ask(packages=PACKAGES[route.environment]).get("versions", {})
        for subject in missing:
            found = _one(name, route, subject, worker, work, judge_again)
            print(f"{name:20} {subject:24} {found.verdict:13} {found.reason[:90]}")
            _keep(name, {"versions": versions}, subject, found)
    finally:
        worker.close()


def _one(
    name: str, route: Route, subject: str, worker: Worker, work: Path, keep: bool
) -> Found:
    """Export one model and judge what comes of it."""
    source = exported_file(route.source, subject) if route.source else None
    out = exported_file(name, subject)
    if source is not None and not source.exists():
        title = ROUTES[route.source].title
        return Found(NOT_EXPORTED, f"there is no file of the route '{title}'")
    if not (keep and out.exists()):
        if out.is_dir():
            shutil.rmtree(out)
        out.unlink(missing_ok=True)
        answer = worker.ask(source=source or model_file(subject), out=out)
        if "error" in answer:
            return Found(NOT_EXPORTED, answer["error"].replace(str(FOLDER), "..."))
    return judged(model_file(subject), out, route, worker, work)


def _keep(
    name: str, about: dict[str, Any], subject: str = "", found: Found | None = None
) -> None:
    """Put one result into the file of results; other runs may do so, too."""
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        document = results()
        entry = document["routes"].setdefault(name, {})
        entry.update(about)
        if found is not None:
            entry.pop("not_run", None)
            entry["date"] = datetime.now(UTC).date().isoformat()
            entry.setdefault("models", {})[subject] = found.to_dict()
        put(in_json(document).encode(), RESULTS)


if __name__ == "__main__":
    main()
