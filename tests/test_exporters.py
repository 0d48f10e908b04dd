"""The page of exporters and the warnings say what was measured."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.exporters.environments import REQUIREMENTS, ROOT, Worker
from benchmarks.exporters.judge import PARTLY, RIGHT, WRONG, _verdict
from benchmarks.exporters.models import MODELS
from benchmarks.exporters.page import GROUPS, PAGE, page
from benchmarks.exporters.plan import PACKAGES, PROJECT, ROUTES, Route
from benchmarks.exporters.worker import answer
from verify.model.conventions import exporter_losses

RESULTS = json.loads((ROOT / "benchmarks/results/exporters.json").read_text())


def unmeasured(losses, results):
    """Losses that the results do not show."""
    found = []
    for loss in losses:
        if not loss.measured:
            continue
        route, model = loss.measured
        verdict = results["routes"][route]["models"][model]["verdict"]
        if (verdict == WRONG) != loss.silent or verdict in (RIGHT, PARTLY):
            found.append(loss)
    return found


def test_the_page_is_current():
    assert PAGE.read_text() == page(RESULTS), "run: make exporters OPTIONS=--page"


def test_every_loss_was_measured():
    losses = exporter_losses()
    assert unmeasured(losses, RESULTS) == []
    for loss in losses:
        assert loss.measured or loss.finding, loss.exporter
        if loss.finding:
            assert (ROOT / "findings" / loss.finding).is_file(), loss.finding


def test_every_finding_that_the_page_names_is_there():
    for name in re.findall(r"findings/([\w-]+\.sh)", PAGE.read_text()):
        assert (ROOT / "findings" / name).is_file(), name


def test_a_loss_that_is_gone_is_noticed():
    (loss,) = [x for x in exporter_losses() if x.what == "reset_after=False"]
    route, model = loss.measured
    mended = json.loads(json.dumps(RESULTS))
    mended["routes"][route]["models"][model] = {"verdict": "right"}
    assert unmeasured([loss], mended) == [loss]


def test_routes_and_environments_fit():
    assert sorted(sum(GROUPS.values(), ())) == sorted(ROUTES)
    for route in ROUTES.values():
        assert not route.source or route.source in ROUTES
        assert (ROOT / f"benchmarks/exporters/routes/{route.module}.py").is_file()
        if route.environment != PROJECT:
            lines = (REQUIREMENTS / f"{route.environment}.txt").read_text()
            for package in PACKAGES[route.environment][:1]:
                assert f"{package}==" in lines, package


def test_results_are_of_known_models_and_name_no_folder_of_a_machine():
    for route, entry in RESULTS["routes"].items():
        assert set(entry["models"]) <= set(MODELS), route
        assert entry["versions"], route
    text = json.dumps(RESULTS)
    for part in ("/home/", "/tmp/", "/root/", "/work/", "site-packages"):
        assert part not in text, part


@pytest.mark.parametrize(
    ("probes", "verdict"),
    [
        (["right", "right"], "right"),
        (["right", "refused"], "partly"),
        (["right", "WRONG", "refused"], "wrong"),
        (["refused"], "not run"),
        (["undecided"], "undecided"),
    ],
)
def test_the_verdict_on_a_file_comes_from_those_on_its_probes(probes, verdict):
    assert _verdict(probes) == verdict


def test_a_worker_says_the_first_line_that_tells_something(capfd):
    assert answer({"route": "no_such_route", "source": "a", "out": "b"}) == {
        "error": "ModuleNotFoundError: No module named "
        "'benchmarks.exporters.routes.no_such_route'"
    }


def test_an_export_that_hangs_or_crashes_is_a_result(tmp_path, monkeypatch):
    stuck = tmp_path / "stuck"
    stuck.write_text("#!/bin/sh\nread line; exec sleep 60\n")
    ended = tmp_path / "ended"
    ended.write_text("#!/bin/sh\nread line; exit 7\n")
    route = Route("", "", "", PROJECT)
    for program, said in ((stuck, "not done after 0 seconds"), (ended, "status 7")):
        program.chmod(0o755)
        worker = Worker(route, 0.3, tmp_path / "log")
        worker.python = program
        assert said in worker.ask(source="a", out="b")["error"]
        worker.close()
