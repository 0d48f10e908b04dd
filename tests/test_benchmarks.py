"""Competitors compute the same, and tables say what was measured."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import math
import os
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support import graphs
from support.nets import ids, layer, lstm_spec, rnn, word_net

from benchmarks import (
    few_rows,
    goals,
    limit,
    memory,
    speed,
    streaming,
    training,
    turns,
    verdict,
)
from benchmarks.competitors import (
    COMPETITORS,
    RUNTIME_OF,
    Case,
    Competitor,
    KerasOnNumPy,
    OnnxRuntime,
    Plain,
    Ready,
    Verify,
    batch_sizes,
    prepare,
    take_turn,
)
from benchmarks.drawing import write
from benchmarks.machine import Machine, busy_seconds
from benchmarks.models import build, inputs
from benchmarks.plain import plain_pass
from benchmarks.results import LIMIT_TITLE, TABLE_HEADS, Measured, Results
from benchmarks.streaming import Cost, growth
from benchmarks.turns import BenchmarkError, Turns, Worker, rounds_of
from recipes import SENTIMENT_RECIPES
from verify import Network, load
from verify.forward.fast import one_row
from verify.keras_bridge import backend
from verify.ports.convert.to_onnx import fused
from verify.ports.convert.to_onnx.model import onnx_model
from verify.tolerance.compare import compare

ROWS, LENGTH, UNITS = 70, 5, 3
INSTALLED = importlib.util.find_spec("onnxruntime") is not None
"""It comes with the extra `bench`; what is said of it is tested where it is there."""

OURS = Verify.title


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Every model of the benchmark, small."""
    path = tmp_path_factory.mktemp("models")
    for model in SENTIMENT_RECIPES:
        build(model, UNITS, LENGTH, path / file_of(model))
    return path


def file_of(model: str) -> str:
    return Case(model, UNITS, LENGTH, ROWS).file


@cache
def right(path: Path) -> np.ndarray:
    """The outputs in float64; rounded, since only arrays of one dtype are compared."""
    outputs = load(path).predict(inputs(ROWS, LENGTH), dtype="float64")
    return outputs.astype(np.float32)


def every_way_is_right(kind: type[Competitor], path: Path) -> None:
    ways = kind().ways(path, ROWS)
    assert ways
    for way, forward in ways.items():
        found = np.asarray(forward(inputs(ROWS, LENGTH)))
        assert compare(found, right(path), allowed=1e-6).matches, (kind.title, way)


@pytest.mark.keras
@pytest.mark.parametrize("kind", [Verify, Plain, *([OnnxRuntime] if INSTALLED else [])])
def test_who_computes_without_keras_computes_every_model(kind, folder):
    for model in SENTIMENT_RECIPES:
        every_way_is_right(kind, folder / file_of(model))


@pytest.mark.keras
def test_who_computes_with_tensorflow_computes_the_model(folder):
    kinds = [kind for kind in COMPETITORS if kind.home == "Keras on TensorFlow"]
    assert len(kinds) == 3
    for kind in kinds:
        every_way_is_right(kind, folder / file_of("sentiment_stacked_lstm"))


@pytest.mark.keras
def test_keras_on_another_backend_computes_the_model_in_its_own_process(folder):
    """On NumPy. On JAX it is the same call of predict, and takes long to load."""
    case = Case("sentiment_gru", UNITS, LENGTH, ROWS)
    worker = Worker("Keras on NumPy", RUNTIME_OF["Keras on NumPy"])
    try:
        found = worker.ask(prepare, KerasOnNumPy.title, str(folder), case)
        assert worker.ask(take_turn, KerasOnNumPy.title, 2) > 0
        assert worker.ask(backend) == "numpy"
    finally:
        worker.close()
    assert compare(found.output, right(folder / case.file), allowed=1e-6).matches
    assert set(found.tried) == {"batch_size=32", "batch_size=256"}
    assert found.tried[found.way] == min(found.tried.values())


@pytest.mark.keras
def test_a_mistake_in_a_translation_shows(folder):
    """Each of these is an error that translations for other runtimes have had."""
    path = folder / file_of("sentiment_stacked_lstm")
    spec, x = load(path).spec, inputs(ROWS, LENGTH)
    layer = spec["lstm_2"]
    i, f, c, o = np.split(layer.weights["kernel"], 4, axis=1)
    for wrong in (
        layer.with_weights(kernel=np.concatenate([i, o, f, c], axis=1)),
        layer.with_weights(bias=0 * layer.weights["bias"]),
        layer.with_weights(recurrent_kernel=layer.weights["recurrent_kernel"][::-1]),
    ):
        found = plain_pass(spec.with_layer(wrong, "lstm_2"))(x)
        assert not compare(found, right(path), allowed=1e-6).matches


if INSTALLED:

    @pytest.mark.keras
    @pytest.mark.parametrize("model", ["sentiment_lstm", "sentiment_gru"])
    def test_gates_in_keras_order_would_not_do_for_onnx(model, folder, monkeypatch):
        from onnx.reference import ReferenceEvaluator

        monkeypatch.setitem(fused.ORDER, "LSTM", ("i", "f", "c", "o"))
        path = folder / file_of(model)
        made = onnx_model(load(path))
        feeds = {made.inputs[0]: inputs(ROWS, LENGTH)}
        (found,) = ReferenceEvaluator(made.content).run(None, feeds)
        same = compare(found, right(path), allowed=1e-6).matches
        assert same is (model == "sentiment_gru")  # whose order is ONNX's


def test_models_that_are_not_translated_are_refused_by_name():
    spec = word_net(layer("Masking", "mask"), rnn("LSTM"))
    with pytest.raises(BenchmarkError, match="Received: Masking 'mask'"):
        plain_pass(spec)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_the_plain_loop_knows_masks_and_both_directions(kind):
    x, sizes = ids(), {"input_dim": 11, "output_dim": 3}
    layers = [
        graphs.given("x", 6, dtype="int32"),
        graphs.made("Embedding", "e", (11, 3), mask_zero=True, **sizes),
        graphs.both_ways(kind, "b", 3, 4, return_sequences=True),
        graphs.rnn(kind, "last", 8, 3),
        graphs.made("Dense", "d", (3, 2), (2,), units=2, activation="softmax"),
    ]
    calls = {"e": "x", "b": "e", "last": "b", "d": "last"}
    spec = graphs.net(layers, calls, "d")
    found = plain_pass(spec)
    (wanted,) = Network(spec).flat(Network(spec).prepare(x))
    assert compare(found(x), wanted, allowed=1e-6).matches
    holed = x.copy()
    holed[holed == 0] = 1
    assert not compare(found(holed), wanted, allowed=1e-6).matches


def test_inputs_are_filled_up_with_zeros_like_the_tweets():
    x = inputs(2000, 26)
    assert x.dtype == np.int32
    assert 0.3 < (x > 0).mean() < 0.5
    assert np.all((x[:, 1:] == 0) | (x[:, :-1] > 0))  # zeros behind words alone
    assert np.array_equal(x[:10], inputs(2000, 26)[:10])


@pytest.mark.parametrize("rows", [1, 7, 100, 3463])
def test_the_limit_computes_every_row_at_every_step(rows, monkeypatch):
    done: list[int] = []

    def count(_: object, some: int, time: int) -> None:
        done.append(some * time)

    monkeypatch.setattr(limit, "_products_of_block", count)
    monkeypatch.setattr(limit, "_activations_of_block", count)
    x = np.zeros((rows, LENGTH), np.int32)
    for part in (limit.products, limit.activations):
        for way, forward in part(lstm_spec(), rows, 2).items():
            done.clear()
            forward(x)
            assert sum(done) == rows * LENGTH, way


def test_an_lstm_has_five_activations_a_unit_a_gru_three_a_simple_rnn_one():
    counts = [count for _, _, count in limit.recurrent(lstm_spec())]
    assert counts == [5]
    assert limit.GATE_COUNTS == {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}


class Clock:
    """Turns of a competitor that takes so many seconds; nobody waits for them."""

    def __init__(self, seconds: float, log: list[str], name: str) -> None:
        self.seconds, self.log, self.name = seconds, log, name

    def __call__(self, calls: int) -> float:
        self.log.append(self.name)
        return self.seconds


def turns_of(**seconds: float) -> tuple[dict[str, Turns], list[str]]:
    log: list[str] = []
    return {n: Turns(Clock(s, log, n), s) for n, s in seconds.items()}, log


def test_turns_are_interleaved_and_ours_is_in_every_round():
    competitors, log = turns_of(ours=0.1, fast=0.001, slow=2.0, slowest=60.0)
    found = rounds_of(competitors, "ours", 8.0)
    assert all("ours" in rounds for rounds in found)
    assert [sum(n in r for r in found) for n in ("fast", "slow", "slowest")] == [
        len(found), turns.MIN_TURNS, 1,
    ]  # fmt: skip
    assert turns.MIN_TURNS < len(found) <= turns.MAX_TURNS
    begun = [next(iter(rounds)) for rounds in found]
    assert len(set(begun)) > 1  # nobody is always the first
    assert len(log) == sum(map(len, found))
    assert not any(log[k] == log[k + 1] == log[k + 2] for k in range(len(log) - 2))


def test_a_turn_of_something_short_is_many_calls():
    competitors, _ = turns_of(short=1e-4, long=1.0)
    assert competitors["short"].calls == pytest.approx(turns.TURN_SECONDS / 1e-4, abs=1)
    assert competitors["long"].calls == 1


def test_a_ratio_is_of_turns_in_the_same_round():
    """The machine slows down by half: the ratio stays what it is."""
    rounds = [{"ours": 1.0, "it": 3.0}, {"ours": 2.0, "it": 6.0}, {"ours": 9.0}]
    assert turns.ratio(rounds, "it", "ours") == turns.Quartiles(3.0, 3.0, 3.0, 2)
    assert turns.quartiles(rounds, "ours").median == 2.0


def test_a_process_that_fails_or_ends_is_named():
    worker = Worker("the one", {"HERE": "yes"})
    try:
        assert worker.ask(os.getenv, "HERE") == "yes"
        assert os.getenv("HERE") is None
        with pytest.raises(BenchmarkError, match=r"the one: .*Received: nobody"):
            worker.ask(prepare, "nobody", ".", Case("sentiment_gru", 1, 1, 1))
        with pytest.raises(BenchmarkError, match=r"the one: .*exit code 7"):
            worker.ask(os._exit, 7)
    finally:
        worker.close()


def ready(**changed: np.ndarray) -> dict[str, Ready]:
    """Everyone's outputs: the same but for those that are given."""
    right = np.random.default_rng(0).random((6, 2)).astype(np.float32)
    return {
        kind.title: Ready(
            "a way", 0.01, changed.get(kind.__name__, right) if kind.whole else None, {}
        )
        for kind in COMPETITORS
    }


class FakeWorker:
    """Answers with outputs and seconds that are given."""

    def __init__(self, answers: dict[str, Ready], timed: list[str]) -> None:
        self.answers, self.timed = answers, timed

    def ask(self, function: object, *args: object) -> object:
        if function is prepare:
            return self.answers[str(args[0])]
        if function is take_turn:
            self.timed.append(str(args[0]))
            return 0.01
        return None


@pytest.mark.parametrize(
    "wrong",
    [
        ready()[OURS].output + np.float32(2e-6),
        np.full((6, 2), np.nan, np.float32),
        ready()[OURS].output[:, :1],
        ready()[OURS].output.T.copy(),
    ],
    ids=["2e-6 off", "NaN", "a column", "transposed"],
)
def test_who_computes_something_else_is_named_and_not_timed(wrong):
    timed: list[str] = []
    worker = FakeWorker(ready(OnnxRuntime=wrong), timed)
    case = Case("sentiment_lstm", 40, 26, 6)
    found = speed.measure(case, dict.fromkeys(RUNTIME_OF, worker), Path(), 1.0)
    assert found.different == [OnnxRuntime.title]
    assert set(timed) == {kind.title for kind in COMPETITORS} - {OnnxRuntime.title}
    shown = results(found)
    assert "CAUTION: ONNX Runtime: sentiment_lstm, 40 units" in shown.summary()
    assert "| differs |" in shown.to_markdown()
    assert json.loads(shown.to_json())["cautions"]


def test_if_ours_is_wrong_the_goal_is_missed():
    worker = FakeWorker(ready(Verify=ready()[OURS].output * np.nan), [])
    case = Case("sentiment_lstm", 40, 26, 6)
    found = results(speed.measure(case, dict.fromkeys(RUNTIME_OF, worker), Path(), 1.0))
    assert not found.goals()[0].met
    assert found.different()
    assert "MISSED: outputs as Keras's" in found.summary()


def results(*measured: Measured, load: float = 0.1, others: float = 0.0) -> Results:
    machine = Machine("A processor", 2, "Linux", "a BLAS", {"numpy": "2"}, "2026-01-01")
    memory = [
        {"rows": 1000, "inputs": 2**20, "outputs": 0, "growth": 2**21, "seconds": 0.5}
    ]
    return Results(machine, "quick", load, others, 60.0, list(measured), memory)


def measured(rows: int, ours: float, **others: float) -> Measured:
    """A case of the LSTM in which the second round takes twice as long."""
    seconds = {kind.title: 10 * ours for kind in COMPETITORS}
    seconds |= {
        kind.title: others.get(kind.__name__, 10 * ours) for kind in COMPETITORS
    }
    seconds[OURS] = ours
    rounds = [{name: k * s for name, s in seconds.items()} for k in (1, 2, 1)]
    differences = {kind.title: 1e-8 for kind in COMPETITORS if kind.whole}
    case = Case("sentiment_lstm", 40, 26, rows)
    return Measured(case, dict.fromkeys(seconds, "a way"), {}, differences, rounds)


def test_the_tables_are_made_of_what_was_measured():
    found = results(measured(3463, 0.02, OnnxRuntime=0.019, Products=0.01))
    lines = found.to_markdown().splitlines()
    times, ratios = (line for line in lines if line.startswith("| sentiment_lstm"))
    cells = dict(zip(TABLE_HEADS, times.strip("| ").split(" | "), strict=True))
    assert cells["rows"] == "3,463"
    assert cells[OURS] == "20.0 (20.0 to 30.0)"
    assert cells[OnnxRuntime.title] == "19.0 (19.0 to 28.5)"
    assert cells[LIMIT_TITLE] == "210 (210 to 315)"  # the products and the activations
    assert "| 0.950 (0.950 to 0.950) | 10.0 (10.0 to 10.0) |" in ratios
    assert "| 1,000 | 1.0 | 0.0 | 2.0 | 0.50 |" in lines
    document = json.loads(found.to_json())
    (case,) = document["cases"]
    assert case["competitors"][OURS]["seconds"]["median"] == 0.02
    assert case["competitors"][OnnxRuntime.title]["times_ours"]["median"] == (
        pytest.approx(0.95)
    )


def test_goals_are_met_or_missed_by_the_ratios():
    for factor, met in ((1.01, True), (0.99, False)):
        found = results(
            measured(
                3463, 1.0, OnnxRuntime=factor / 1.1, PredictBest=3 * factor, Predict=9.0
            ),
            measured(32, 1.0, Predict=40 * factor),
            measured(1, 1.0, Predict=100 * factor),
        )
        exact, *others = found.goals()
        assert exact.met
        assert [goal.met for goal in others] == [met] * 4
        assert others[0].figure == pytest.approx(1.1 / factor)
        assert found.summary().count("MISSED") == (0 if met else 4)


def test_a_busy_machine_is_said():
    assert "CAUTION: the machine was busy" in results(load=1.2).summary()
    assert "CAUTION: other programs kept 0.7 of 2" in results(others=0.7).summary()
    assert "CAUTION" not in results(load=0.1, others=np.nan).summary()


def test_the_seconds_of_all_cores_grow_with_ours():
    before, ours = busy_seconds(), time.process_time()
    while time.process_time() - ours < 0.1:
        pass
    grown = busy_seconds() - before  # in hundredths; NaN where the system does not say
    assert math.isnan(grown) or grown >= 0.05


def test_the_files_are_written(tmp_path):
    write(results(measured(1, 0.001), measured(32, 0.002)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "speed.json", "speed.md", "speed.png",
    ]  # fmt: skip
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_waiting_is_no_processor_time():
    def work() -> None:
        np.ones((300, 300)) @ np.ones((300, 300))

    (one, *_), names = (
        few_rows.turns({"a": lambda: time.sleep(0.01), "b": work}, 2),
        "ab",
    )
    assert set(one) == set(names)
    assert one["a"] < 0.005
    assert one["b"] > 0


def test_the_calls_of_a_step_are_those_of_the_loop_over_one_row():
    source = inspect.getsource(one_row.LSTMRow.advance)
    loop = source.partition("for part, after in steps:\n")[2].partition("self.h")[0]
    assert len(few_rows.lstm_calls(4)) == len(loop.strip().splitlines())


def test_the_plan_covers_every_axis():
    cases = speed.plan("usual", speed.MODELS)
    assert len(set(cases)) == len(cases)
    for axis, values in (
        ("rows", speed.ROWS), ("length", speed.LENGTHS), ("units", speed.UNITS),
        ("model", speed.MODELS),
    ):  # fmt: skip
        assert {getattr(case, axis) for case in cases} == set(values)
    assert set(cases) < set(speed.plan("full", speed.MODELS))
    assert set(speed.plan("quick", speed.MODELS)) < set(cases)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (speed, ["--seconds", "0"], "--seconds: expected more than 0. Received: 0"),
        (streaming, ["--rows", "1"], "--rows: expected 2 or more. Received: 1"),
        (verdict, ["--rows", "1"], "--rows: expected 2 or more. Received: 1"),
        (verdict, ["--rounds", "0"], "--rounds: expected 1 or more. Received: 0"),
        (goals, ["--beside", ".", "--rows", "1"], "expected 2 or more. Received: 1"),
        (goals, ["--beside", "none"], "a folder with verify/ in it. Received: none"),
    ],
)
def test_bad_options_take_one_line(command, arguments, message, capsys):
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.strip().endswith(message)
    assert (len(captured.err.splitlines()), captured.out) == (1, "")


def test_ctrl_c_ends_in_a_line(capsys, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(streaming, "measure", interrupted)
    assert streaming.main(["--only", "predict"]) == 130
    assert capsys.readouterr().err.split() == (
        ["benchmarks.streaming:", "interrupted,", "no", "file", "was", "written"]
    )


def test_a_verdict_is_compared_pair_by_pair_in_processor_time(tmp_path):
    """The machine slows down by half and others keep it busy: the ratio stays."""
    pairs = [((0.3, 0.5), (0.1, 0.1)), ((0.6, 9.0), (0.2, 1.0))]
    found = verdict.Ratio.of("live", "a model", "later check / predict", pairs, 6.0)
    assert (found.cpu.median, found.seconds) == pytest.approx((3.0, 0.15))
    assert found.wall.median == pytest.approx(7.0)
    assert found.met
    slow = verdict.Ratio.of("live", "a model", "first check", pairs, 2.9)
    assert not slow.met
    verdict.write([found, slow], {"keras": 700.0}, Machine.here(), tmp_path)
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert [one["met"] for one in written["ratios"]] == [True, False]
    shown = (tmp_path / "verdict.md").read_text()
    assert "1 of 2 goals are met" in shown
    assert "| 3.00 | 7.00 | 2.9 | MISSED |" in shown


def test_a_program_that_fails_is_said_with_what_it_said():
    with pytest.raises(
        BenchmarkError, match=r"expected exit code 0\. Received: 3, and "
    ):
        verdict.process(
            ["-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"]
        )
    (cpu, wall), peak = verdict.process(["-c", "sum(range(3_000_000))"])
    assert 0 < cpu < 60
    assert 0 < wall < 600
    assert 2**20 < peak < 2**34


# Goals, of two builds -----------------------------------------------------------------


def goal(share_of: str, most: float, *, own_base: bool = False) -> goals.Goal:
    """Return a goal of three rounds, of which the second took twice as long."""
    return goals.Goal(
        "live", "a check", most, share_of, [2.0, 4.0, 2.2], [8.0, 16.0, 9.0],
        [1.0, 2.0, 1.0], [4.0, 8.0, 3.0] if own_base else [],
    )  # fmt: skip


def test_a_goal_is_a_share_round_by_round_of_what_it_says():
    assert goal(goals.BASE, 2.0).reached == pytest.approx(2.0)
    assert goal(goals.BASE, 2.0).met
    assert not goal(goals.BASE, 1.9).met
    assert goal(goals.OTHER, 0.5).reached == pytest.approx(0.25)
    assert not goal(goals.OTHER, 0.24).met
    assert goal("", 2.3).reached == pytest.approx(2.2)
    assert goal("", 2.3).met


def test_a_build_is_held_to_its_own_base():
    """Take what was measured beside it in the process of each build."""
    cells = dict(zip(goals.HEADS, goal(goals.BASE, 2.0).cells(), strict=True))
    assert (cells["other / base"], cells["this / base"]) == ("8.00", "2.00")
    assert (cells["other / this"], cells[""]) == ("4.00", "met")
    cells = dict(
        zip(goals.HEADS, goal(goals.BASE, 1.9, own_base=True).cells(), strict=True)
    )
    assert (cells["other / base"], cells["this / base"]) == ("2.00", "2.00")
    assert cells[""] == "MISSED"
    page = goals.page([goal(goals.BASE, 2), goal("", 2)], "a machine", "abc")
    assert "1 of 2 goals are met" in page


def test_a_part_takes_the_place_of_what_was_measured_of_it_before(tmp_path):
    first, again = goal(goals.BASE, 2.0), goal(goals.BASE, 1.9)
    start = dataclasses.replace(goal("", 2.0), part="start")
    goals.write([first, start], "abc", tmp_path)
    goals.write([again], "abc", tmp_path)
    document = json.loads((tmp_path / "goals.json").read_text())
    assert goals.read(document) == [again, start]
    assert "| a check | 8.00 | 2.00 | 1.90 |" in goals.page_table(document)
    assert "| a check | 9.00 s | 2.20 s | 2.00 s |" in goals.page_table(document)
    goals.write([start], "another", tmp_path)
    assert goals.read(json.loads((tmp_path / "goals.json").read_text())) == [start]


def test_the_build_that_is_measured_is_the_one_in_the_folder(tmp_path, folder):
    """Refuse a program that finds verify elsewhere."""
    here = goals.Builds(goals.HERE, tmp_path, 1)
    rows, path = inputs(4, LENGTH), folder / file_of("sentiment_gru")
    np.savez(tmp_path / "x.npz", rows)
    np.save(tmp_path / "y.npy", load(path).predict(rows))
    given = ("bound", str(path), str(tmp_path / "x.npz"), str(tmp_path / "y.npy"), "2")
    costs = here.program(goals.HERE, *given)
    assert list(costs) == ["compare"]
    assert all(0 < cpu < 60 for cpu, _ in costs["compare"])
    with pytest.raises(BenchmarkError, match="expected verify of that build"):
        here.program(tmp_path, *given)
    np.save(tmp_path / "y.npy", load(path).predict(rows) + np.float32(1e-3))
    with pytest.raises(BenchmarkError, match=r"bound with .*: it failed and .*FAIL"):
        here.program(goals.HERE, *given)


def test_growth_tells_linear_from_quadratic():
    def costs(power: float, memory: float = 0.0) -> list[Cost]:
        return [
            Cost("predict", r, 2 + 1e-3 * r**power, int((100 + memory * r) * 2**20))
            for r in (1, 1000, 10_000, 100_000)
        ]

    found = growth(costs(1, memory=1e-3))
    assert found.linear == "linear"
    assert found.exponent == pytest.approx(1, abs=0.01)
    assert found.rate == pytest.approx(1000, rel=0.01)
    assert found.memory == pytest.approx(1000, rel=0.01)
    assert growth(costs(1.5)).linear == "NOT linear"
    assert growth(costs(0)).linear == "cannot be said"
    assert "| linear | 1,000 |" in streaming.growths({"predict": costs(1, 1e-3)})


def test_a_command_that_fails_is_said_with_what_it_said(tmp_path):
    with pytest.raises(BenchmarkError, match=r"predict over 5 rows: .*2, and said"):
        streaming.cost("predict", 5, tmp_path)


def test_the_peak_of_a_command_is_written(tmp_path, capsys):
    facts = tmp_path / "peak.json"
    assert memory.main(["command", str(facts), "layers"]) == 0
    assert "LSTM" in capsys.readouterr().out
    written = json.loads(facts.read_text())
    assert written["code"] == 0
    assert 10 * memory.MIB < written["peak"] < 100_000 * memory.MIB
    assert 0 <= written["libraries"] < written["peak"]


@pytest.mark.keras
def test_memory_is_what_predict_needs_over_its_inputs(folder, capsys):
    path = folder / file_of("sentiment_rnn")
    assert memory.main(["predict", str(path), "3000"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["inputs"]) == (3000, 3000 * LENGTH * 4)
    assert found["outputs"] == 3000 * 2 * 4
    assert 0 <= found["growth"] < 200 * memory.MIB


def test_batch_sizes_are_those_that_make_a_difference():
    assert batch_sizes(1) == [32]
    assert batch_sizes(33) == [32, 256]
    assert batch_sizes(4096) == [32, 256, 1024, 4096]
    assert batch_sizes(100_000) == [32, 256, 1024, 4096]


# Training beside the bare script ------------------------------------------------------


def pair(bare: float, run: float) -> dict:
    costs = {training.BARE: [], training.RUN: []}
    for k in (1, 2, 3):  # the median of ratios is not the ratio of medians
        costs[training.BARE].append(training.Cost(bare * k, bare))
        costs[training.RUN].append(training.Cost(run * k * k, run))
    return costs


def test_a_ratio_is_the_median_over_pairs():
    row = training.Row("sentiment_rnn", 10, pair(30.0, 10.0))
    assert row.ratio("seconds") == 1.5  # of 3, 1.5 and 1
    assert row.ratio("cpu") == 3.0
    assert row.cells() == [
        "`sentiment_rnn`", "10", "60.0", "40.0", "1.5", "30.0", "10.0", "3.0", "", "",
    ]  # fmt: skip


def test_a_row_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "training.json"
    for bare in (20.0, 30.0):
        for recipe, epochs in (("sentiment_gru", 50), ("sentiment_rnn", 10)):
            row = training.Row(recipe, epochs, pair(bare, 10.0))
            training.write(row, path)
    rows = training.read(path)
    assert [(row.recipe, row.epochs) for row in rows] == [
        ("sentiment_rnn", 10),
        ("sentiment_gru", 50),
    ]
    assert all(row.ratio("cpu") == 3.0 for row in rows)
    table = path.with_suffix(".md").read_text()
    assert training.markdown_row(*rows[0].cells()) in table


def test_a_side_that_fails_is_said(monkeypatch):
    monkeypatch.setattr(training.sys, "executable", "false")
    with pytest.raises(RuntimeError, match=r"recipes run sentiment_rnn.*failed"):
        training.cost(training.RUN, "sentiment_rnn", 1)
