"""Sweeps: the same weights however they are trained; grown, interrupted, refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from multiprocessing import Pipe

import numpy as np
import pytest
from support.faults import Watched
from support.runs import weights

import verify
from recipes import plots, sweep
from recipes.__main__ import main
from recipes.data.tweets import load_split
from recipes.run import study, workers
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions
from recipes.run.study import JobResult, Part
from verify.checks.cluster import ClusterLost
from verify.errors import DataError

TWO = sweep.Config(recipes=("sentiment_gru",), seeds=(5, 6), units=(4,), epochs=(1,))
NAMES = [f"sentiment_gru-post-unmasked-units4-epochs1-{seed}" for seed in (5, 6)]
ARGUMENTS = [
    "sweep", "--recipes", "sentiment-gru", "--seeds", "5,6", "--units", "4",
    "--epochs", "1",
]  # fmt: skip


def run(folder, tweets_csv, where, config=TWO, resume=False):
    options = RunOptions(RunFolder(folder), resume, tweets_csv)
    return sweep.run(config, options, where)


@pytest.fixture(scope="module")
def finished(tweets_csv, tmp_path_factory):
    """Two seeds, in two processes at a time."""
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    return folder, run(folder, tweets_csv, sweep.Where(processes=2))


def rows(folder, name="sweep.csv") -> list[dict[str, str]]:
    with (folder / name).open() as file:
        return [
            {k: v for k, v in row.items() if k != "seconds"}
            for row in csv.DictReader(file)
        ]


def require_same_run(name, mine, theirs) -> None:
    """But for the time and the memory it took."""
    ours, others = weights(mine / name), weights(theirs / name)
    assert len(ours) == len(others) > 3
    assert all(np.array_equal(a, b) for a, b in zip(ours, others, strict=True))
    mine, theirs = mine / name, theirs / name
    assert {p.name for p in mine.iterdir()} == {p.name for p in theirs.iterdir()}
    for file in ("history.csv", "vocabulary.json"):
        assert (mine / file).read_bytes() == (theirs / file).read_bytes(), file
    for file in ("manifest.json", "verification.json", "metrics.json"):
        texts = [
            (x / file).read_text().replace(str(x.parent), "") for x in (mine, theirs)
        ]
        one, same = map(json.loads, texts)
        assert one.keys() == same.keys()
        different = {key for key in one if one[key] != same[key]}
        assert different <= {"seconds", "peak_memory_mib"}, file


@pytest.mark.keras
def test_the_summary_is_that_of_the_runs(finished, tweets_csv):
    folder, results = finished
    split = load_split(tweets_csv, "post")
    own = []
    for name in NAMES:
        net = verify.load(folder / name / "model.keras")
        own.append(np.mean(net.predict(split.x_test).argmax(axis=1) == split.y_test))
    assert [float(row["accuracy"]) for row in rows(folder)] == pytest.approx(own)
    (summary,) = rows(folder, "summary.csv")
    assert summary["recipe"] == "sentiment_gru"
    assert summary["seeds"] == "2"
    assert float(summary["accuracy_mean"]) == pytest.approx(np.mean(own))
    assert float(summary["accuracy_deviation"]) == pytest.approx(np.std(own, ddof=1))
    assert float(summary["accuracy_low"]) == pytest.approx(min(own))
    assert f"{np.mean(own):.4f}" in sweep.table(results)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["verdict"] == "PASS"
    assert metrics["summary"][0]["runs"] == NAMES
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert sweep.exit_code(results) == 0


@pytest.mark.keras
def test_processes_train_what_this_one_trains_and_the_seed_decides(
    finished, tweets_csv, tmp_path
):
    part = next(iter(sweep.parts(TWO)))
    options = RunOptions(RunFolder(tmp_path), csv=tweets_csv)
    job = study.Study(sweep.NAME, TWO, [part], options, ()).job(part)
    assert list(study.train_here([job])) == [JobResult(NAMES[0])]
    require_same_run(NAMES[0], finished[0], tmp_path)
    first, second = (weights(finished[0] / name) for name in NAMES)
    assert not np.array_equal(first[0], second[0])


@pytest.mark.cluster
@pytest.mark.keras
def test_a_worker_of_dask_trains_the_same_and_sends_all_files(
    finished, tweets_csv, tmp_path, capsys
):
    folder = tmp_path / "dask"
    shutil.copytree(finished[0], folder)
    shutil.rmtree(folder / NAMES[1])
    before = (folder / NAMES[0] / "model.keras").stat().st_mtime_ns
    where = sweep.Where(dask="local")
    run(folder, tweets_csv, where, resume=True)
    assert "2 models, 1 finished before" in capsys.readouterr().err
    require_same_run(NAMES[1], finished[0], folder)
    assert (folder / NAMES[0] / "model.keras").stat().st_mtime_ns == before
    assert rows(folder) == rows(finished[0])


@pytest.fixture
def pretended(finished, monkeypatch):
    """Training is copying what has been trained, but for what fails."""
    failing: dict[str, str] = {}
    trained: list[str] = []

    def train(jobs, number):
        for job in jobs:
            name = job.part.name
            if name in failing:
                if failing[name] == "Ctrl-C":
                    raise KeyboardInterrupt
                if failing[name] == "lost":
                    raise ClusterLost("tcp://a:1: the connection is lost")
                yield JobResult(name, failure=failing[name])
                continue
            trained.append(name)
            shutil.copytree(finished[0] / name, job.options.folder.path)
            yield JobResult(name)

    monkeypatch.setattr(sweep, "in_processes", train)
    return failing, trained


@pytest.mark.keras
def test_a_run_that_fails_is_named_and_the_others_go_on(
    pretended, tweets_csv, tmp_path, capsys
):
    failing, trained = pretended
    folder = tmp_path / "sweep"
    arguments = [*ARGUMENTS, "--csv", tweets_csv, "--out", str(folder)]
    failing[NAMES[0]] = "its process was ended by SIGKILL (out of memory?)"
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert f"1/2  {NAMES[0]}  FAILED: its process was ended by SIGK" in captured.err
    assert f"2/2  {NAMES[1]}  test accuracy" in captured.err
    assert (
        "rnn-recipe: 1 of 2 runs failed. Try these again with: rnn-recipe "
        f"{' '.join(arguments)} --resume"
    ) in captured.err
    assert trained == [NAMES[1]]
    assert [row["run"] for row in rows(folder)] == [NAMES[1]]
    failing.clear()
    assert main(["sweep", "--out", str(folder), "--resume"]) == 0
    assert trained == NAMES[::-1]
    assert [row["run"] for row in rows(folder)] == NAMES


@pytest.mark.keras
def test_a_scheduler_that_goes_away_is_one_line_and_how_to_go_on(
    pretended, tweets_csv, tmp_path, capsys
):
    failing, trained = pretended
    folder = tmp_path / "sweep"
    arguments = [*ARGUMENTS, "--csv", tweets_csv, "--out", str(folder)]
    failing[NAMES[1]] = "lost"
    assert main(arguments) == 2
    again = f"rnn-recipe {' '.join(arguments)} --resume"
    line = f"rnn-recipe: tcp://a:1: the connection is lost. Go on with: {again}"
    assert capsys.readouterr().err.splitlines()[-1] == line
    failing.clear()
    assert main(again.split()[1:]) == 0
    assert trained == NAMES


WHERE = {"processes": ("--processes", "2"), "dask": ("--dask", "local")}


@pytest.mark.keras
@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", WHERE)
def test_a_signal_ends_all_processes_of_a_sweep_and_leaves_nothing(
    where, number, tweets_csv, finished, tmp_path
):
    arguments = [*ARGUMENTS, "--csv", tweets_csv, "--out", "sweep", *WHERE[where]]
    with Watched("-m", "recipes", *arguments, folder=tmp_path) as process:
        while not list(process.temporary.rglob("manifest.json")) and not list(
            tmp_path.glob("sweep/*/manifest.json")
        ):
            assert process.process.poll() is None
            time.sleep(0.1)
        assert len(process.processes()) >= 3
        process.end(number)
    hidden = [path for path in (tmp_path / "sweep").rglob("*") if path.name[0] == "."]
    assert hidden == []
    again = process.log.read_text().splitlines()[-1].partition(" Go on with: ")[2]
    assert again == f"rnn-recipe {' '.join(arguments)} --resume"
    folder = tmp_path / "sweep"
    assert main(["sweep", "--out", str(folder), "--processes", "2", "--resume"]) == 0
    for name in NAMES:
        same = zip(weights(folder / name), weights(finished[0] / name), strict=True)
        assert all(np.array_equal(a, b) for a, b in same)


@pytest.mark.keras
@pytest.mark.thorough
def test_a_training_process_that_is_killed_is_one_failed_run(tweets_csv, tmp_path):
    arguments = [*ARGUMENTS, "--csv", tweets_csv, "--out", "sweep", "--processes", "2"]
    with Watched("-m", "recipes", *arguments, folder=tmp_path) as process:
        while not (begun := list(tmp_path.glob("sweep/*/manifest.json"))):
            assert process.process.poll() is None
            time.sleep(0.1)
        assert begun
        os.kill(max(set(process.processes()) - {process.process.pid}), signal.SIGKILL)
        assert process.process.wait(120) == 2
        process.require_nothing_left()
    said = process.log.read_text()
    assert said.count("FAILED: its process was ended by SIGKILL (out of memory?)") == 1
    assert "test accuracy" in said
    assert "rnn-recipe: 1 of 2 runs failed. Try these again with: " in said


@pytest.mark.keras
def test_a_sweep_in_which_every_run_fails_says_so(
    pretended, tweets_csv, tmp_path, capsys
):
    failing, _ = pretended
    failing |= dict.fromkeys(NAMES, "DataError: no")
    folder = tmp_path / "sweep"
    assert main([*ARGUMENTS, "--csv", tweets_csv, "--out", str(folder)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 of 2 runs failed" in captured.err
    assert not (folder / "sweep.csv").exists()


@pytest.mark.keras
def test_an_interrupted_sweep_says_how_to_go_on_and_may_grow(
    pretended, tweets_csv, tmp_path, capsys
):
    failing, trained = pretended
    failing[NAMES[1]] = "Ctrl-C"
    folder = tmp_path / "sweep"
    arguments = [*ARGUMENTS, "--csv", tweets_csv, "--out", str(folder)]
    assert main(arguments) == 130
    assert (
        "rnn-recipe: sweep interrupted after 1 of 2 models. Go on with: rnn-recipe "
        f"{' '.join(arguments)} --resume"
    ) in capsys.readouterr().err
    failing.clear()
    assert main(["sweep", "--seeds", "5", "--out", str(folder), "--resume"]) == 0
    assert trained == NAMES[:1]
    wider = ["sweep", "--seeds", "6,5", "--out", str(folder), "--resume"]
    assert main(wider) == 0
    assert trained == NAMES
    assert [row["run"] for row in rows(folder)] == NAMES[::-1]
    other = ["--batch-size", "7", "--out", str(folder), "--resume"]
    capsys.readouterr()
    assert main(["sweep", *other]) == 2
    assert "to resume with batch_size=32. Received: batch_size=7" in (
        capsys.readouterr().err
    )


def test_every_combination_is_a_run_with_its_own_folder():
    config = sweep.Config(
        recipes=("sentiment_rnn", "sentiment_lstm"), seeds=(1, 2), lengths=(10, 20),
        padding=("pre", "post"), mask_zero=(False, True), units=(3, 5), epochs=(1, 2),
    )  # fmt: skip
    made = sweep.parts(config)
    assert len(made) == config.runs == 2**7
    assert len({part.name for part in made}) == 2**7
    assert len({dataclasses.astuple(part.config) for part in made}) == 2**6
    for part, combination in made.items():
        assert part.recipe == combination.recipe
        assert part.name == combination.folder(part.config.seed)
        for key in ("padding", "mask_zero", "units", "length", "epochs"):
            assert getattr(part.config, key) == getattr(combination, key)


def result(verdict: str, combination: sweep.Combination, accuracy: float):
    config = dataclasses.replace(
        study.module(combination.recipe).Config(), units=combination.units
    )
    part = Part(combination.folder(1), combination.recipe, config)
    scores = {
        "accuracy": accuracy, "macro_f1": 0.5,
        "best_accuracy": accuracy, "best_macro_f1": 0.5,
    }  # fmt: skip
    return study.TrainedPart(part, 1, scores, 1, 1.0, verify.Verdict(verdict), 1e-8)


def results(*verdicts: str, failures: dict[str, str] | None = None):
    trained = {}
    for k, verdict in enumerate(verdicts):
        one = sweep.Combination("sentiment_rnn", "pre", bool(k % 2), 3 + k, None, 1)
        trained[one] = [result(verdict, one, 0.5 + 0.1 * k)]
    baselines = {"majority_class": (0.5, 0.3), "tfidf_logistic_regression": (0.9, 0.8)}
    return sweep.Results(trained, baselines, failures or {}, 100)


def test_the_exit_code_is_that_of_the_worst():
    assert sweep.exit_code(results("PASS", "PASS")) == 0
    assert sweep.exit_code(results("PASS", "INCONCLUSIVE")) == 3
    assert sweep.exit_code(results("PASS", "FAIL", "INCONCLUSIVE")) == 1
    assert sweep.exit_code(results("PASS", "INCONCLUSIVE", failures={"a": "b"})) == 2
    assert sweep.exit_code(results("FAIL", failures={"a": "b"})) == 1


def test_the_table_names_what_differs_and_nothing_else():
    lines = sweep.table(results("PASS", "PASS")).splitlines()
    assert lines[1].split("  ")[1] == "sentiment_rnn, no mask, 3 units"
    assert lines[2].split("  ")[1] == "sentiment_rnn, masked, 4 units"
    assert "0.6000" in lines[2]
    assert sweep.table(results("PASS")).splitlines()[1].split() == [
        "sentiment_rnn", "1", "0.5000", "0.5000..0.5000", "-", "0.5000", "0.5000",
    ]  # fmt: skip


def test_the_figure_has_a_row_for_each_combination():
    figure = sweep.figure(results("PASS", "PASS", "PASS"))
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == [
        "sentiment_rnn", "no mask, 3 units", "masked, 4 units", "no mask, 5 units",
    ]  # fmt: skip
    plots.png(figure)


def test_of_very_many_combinations_the_figure_has_the_best(monkeypatch):
    monkeypatch.setattr(sweep, "MAX_FIGURE_ROWS", 2)
    some = results("PASS", "PASS", "PASS", "PASS")
    second = [*some.trained][1]
    some.trained[second] = [result("PASS", second, 0.95)]  # the best
    figure = sweep.figure(some)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["sentiment_rnn", "masked, 4 units", "masked, 6 units"]
    assert "the 2 best of 4 combinations" in figure.get_suptitle()
    assert "best" not in sweep.figure(results("PASS", "PASS")).get_suptitle()


def test_a_process_that_is_killed_is_a_failure_of_its_job_alone(tmp_path):
    process = workers.TrainingProcess(1)
    job = study.Job(next(iter(sweep.parts(TWO))), RunOptions(RunFolder(tmp_path)))
    process.end()
    ended = process.train(job)
    assert ended.name == NAMES[0]
    assert ended.failure == "its process was ended by SIGKILL (out of memory?)"
    assert not process.alive
    process.close()


def test_what_a_run_raises_is_its_failure_in_one_line(tmp_path):
    job = study.Job(next(iter(sweep.parts(TWO))), RunOptions(RunFolder(tmp_path)))

    def attempt(error):
        def train(_):
            raise error

        return workers.attempt(job, train)

    assert attempt(DataError("a line")) == JobResult(NAMES[0], failure="a line")
    found = attempt(MemoryError("of 3 GB\nand more"))
    assert found == JobResult(NAMES[0], failure="MemoryError: of 3 GB")


def test_a_process_answers_every_job_and_ends_with_its_parent(tmp_path, monkeypatch):
    jobs = [
        study.Job(part, RunOptions(RunFolder(tmp_path))) for part in sweep.parts(TWO)
    ]
    monkeypatch.setattr(workers, "attempt", lambda job: JobResult(job.part.name))
    ours, theirs = Pipe()
    serving = threading.Thread(target=workers.serve, args=(theirs,))
    serving.start()
    for job in jobs:
        ours.send(job)
    assert [ours.recv().name for _ in jobs] == NAMES
    ours.close()
    serving.join(timeout=10)
    assert not serving.is_alive()


def test_a_process_without_a_job_ends_after_a_while(monkeypatch):
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.01)
    ours, theirs = Pipe()
    workers.serve(theirs)  # returns, although nothing was sent
    assert not ours.poll()


def test_as_many_processes_as_cores_memory_and_runs_allow(monkeypatch):
    monkeypatch.setattr(workers, "core_count", lambda: 8)
    memory = {"SC_PHYS_PAGES": 2**20, "SC_PAGE_SIZE": 2**14}  # 16 GiB
    monkeypatch.setattr(workers.os, "sysconf", memory.get)
    assert workers.process_count(100) == 8
    assert workers.process_count(3) == 3
    memory["SC_PHYS_PAGES"] = 2**18  # 4 GiB
    assert workers.process_count(100) == 2
    memory["SC_PHYS_PAGES"] = 2**10
    assert workers.process_count(100) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1,x"], "--seeds: expected whole numbers with commas"),
        (["--seeds", "1,1"], "seeds: expected different whole numbers from 0"),
        (["--units", "0"], "units: expected different whole numbers from 1 to 4,096"),
        (["--epochs", ""], "--epochs: expected whole numbers"),
        (["--lengths", "1001"], "lengths: expected different whole numbers from 1 to"),
        (["--padding", "pre,left"], "padding: expected some of pre, post, each once"),
        (["--padding", "pre,pre"], "padding: expected some of pre, post, each once"),
        (["--recipes", "toy_rnn"], "recipes: expected some of sentiment_rnn, "),
        (
            ["--mask-zero", "maybe"],
            "--mask-zero: expected on, off or both. Received: maybe",
        ),
        (["--csv", "none.csv"], "none.csv: expected a CSV file"),
        (["--out", " "], "--out: expected a folder"),
        (["--resume"], "nothing to resume"),
        (["--dask", "host"], "expected the address of a Dask scheduler"),
        (["--dask", "tcp://a:1", "--processes", "2"], "expected --processes or --dask"),
        (
            ["--tls-key", "k"],
            "--tls-key: expected --dask tls://host:8786. ",
        ),
        (
            ["--dask", "tls://a:1", "--tls-ca-file", "no.pem", "--tls-cert", "no.pem"],
            "--tls-ca-file: expected certificates of authorities in PEM form. ",
        ),
        (
            ["--seeds", ",".join(map(str, range(2000))), "--units", "1,2,3,4,5,6"],
            "at most 10,000 runs. Received: options with 12,000 combinations",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    arguments, message, tmp_path, capsys
):
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "sweep")]
    assert main(["sweep", *arguments, *out]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_a_folder_of_another_recipe_is_left_alone(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text('{"recipe": "seeds"}')
    assert main(["sweep", "--out", str(tmp_path)]) == 2
    assert "a run of sweep. Received: a run of seeds" in capsys.readouterr().err
