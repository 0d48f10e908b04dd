"""Any amount of data: batches add up to the whole, and an interrupted run goes on."""

from __future__ import annotations

import functools
import json
import os
import pickle
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from support import commands
from support.any_layer import chain
from support.nets import INPUTS, TIME, VOCABULARY, ids, layer, lstm_file, mutated, spec

import verify
from verify import DataError, Network
from verify.__main__ import main
from verify.checks._batches import (
    FEWEST_FIRST,
    Batch,
    BatchPlan,
    Examiner,
    Limits,
    examine,
)
from verify.checks.checkpoint import RESUME_KEY, Watch
from verify.checks.cluster import connected
from verify.checks.mapper import serial_map
from verify.data.json_values import from_json, to_json
from verify.data.sources import Arrays, open_source
from verify.keras_bridge import KerasModel
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.compare import Verdict
from verify.tolerance.error_bound import output_bounds
from verify.tolerance.noise_floor import NEIGHBOURS, Rounding
from verify.tolerance.partial import PartialResult

ROWS, SIZE = 300, 64
NAN, INF = float("nan"), float("inf")
SMALL, WHOLE = Limits(batch_rows=SIZE), Limits(batch_rows=10**6)

refused = functools.partial(commands.refused, main)


@pytest.fixture(scope="module")
def net(model) -> Network:
    return verify.load(model)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return ids(batch=ROWS)


@pytest.fixture(scope="module")
def y(net, x) -> np.ndarray:
    return net.predict(x)


def compare_outputs(*given, limits: Limits = SMALL, **options) -> verify.Report:
    return verify.compare_outputs(*given, limits=limits, **options)


def check(*given, **options) -> verify.Report:
    return verify.check(*given, limits=SMALL, **options)


def wrong_at(y: np.ndarray, row: int, unit: int = 1, by: float = 0.01) -> np.ndarray:
    changed = y.copy()
    changed[row, unit] += by
    return changed


def test_a_partial_result_survives_json(net, x, y):
    plan = BatchPlan(2 * SIZE, SIZE, 10)
    examiner = Examiner(net, worst_known_errors(), plan, native=False)
    bad = wrong_at(y, SIZE + 3)
    bad[1, 0] = NAN
    parts = [
        examine(
            Batch(start, net.prepare(x[start : start + SIZE]), [bad[start:][:SIZE]]),
            examiner=examiner,
        )
        for start in (0, SIZE)
    ]
    tally = parts[0].merge(parts[1])
    text = json.dumps(to_json(tally), allow_nan=False)
    again = from_json(PartialResult, json.loads(text))
    assert to_json(again) == to_json(tally)
    assert again.numerics.first == (1, 0)
    assert again.numerics.mismatched == 2


# Comparisons of many rows


def test_many_rows_are_as_all_at_once(model, x, y):
    batches = compare_outputs(model, x, y)
    at_once = compare_outputs(model, x, y, limits=WHOLE)
    assert batches.verdict is at_once.verdict is Verdict.PASS
    assert batches.numerics.shape == at_once.numerics.shape
    assert batches.numerics.max_diff == pytest.approx(at_once.numerics.max_diff)
    assert "in 5 pieces" in batches.to_text()
    assert "pieces" not in at_once.to_text()
    assert batches.warnings == at_once.warnings


@pytest.mark.parametrize("row", [0, SIZE - 1, SIZE, ROWS - 1])
@pytest.mark.usefixtures("undiagnosed")
def test_one_wrong_number_in_any_batch_is_found_with_its_row(model, x, y, row):
    report = compare_outputs(model, x, wrong_at(y, row))
    assert report.verdict is Verdict.FAIL
    assert report.numerics.first == report.numerics.worst == (row, 1)
    assert report.numerics.mismatched == 1


def test_the_mistake_of_a_port_is_named_from_the_rows_that_differ_most(model, net, x):
    limits = Limits(batch_rows=SIZE, layer_rows=20)
    port = mutated(net.spec, "gate order i,c,f,o")
    report = compare_outputs(model, x, port.predict(x), limits=limits)
    assert report.verdict is Verdict.FAIL
    assert "i,c,f,o" in report.diagnosis.explanations[0].explanation


@pytest.mark.usefixtures("undiagnosed")
def test_few_decimals_are_seen_across_batches(model, net, x, y):
    report = compare_outputs(model, x, y.round(4))
    assert report.verdict is Verdict.PASS
    assert any("recorded to 4 decimal(s)" in w for w in report.warnings)
    once = y.round(4)
    once[-1, 0] = y[-1, 0] + 1e-3  # one number of more decimals
    assert compare_outputs(model, x, once).verdict is Verdict.FAIL


def test_keras_keeps_what_layers_return_only_where_all_rows_are_compared_so(
    model, x, monkeypatch
):
    kept, run = [], KerasModel.run

    def seen(self, given):
        kept.append(given.rows)
        return run(self, given)

    monkeypatch.setattr(KerasModel, "run", seen)
    for layer_rows, expected in ((20, [20]), (10, [])):
        limits = Limits(layer_rows=layer_rows)
        report = verify.check(model, x[:20], limits=limits)
        assert report.verdict is Verdict.PASS
        assert {part.numerics.shape[0] for part in report.layers} == {layer_rows}
        assert kept == expected
        kept.clear()


def test_a_mapped_file_is_taken(model, x, y, tmp_path):
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert compare_outputs(model, mapped, y).verdict is Verdict.PASS


def test_ids_outside_the_vocabulary_are_refused_with_their_rows(model, x, y, tmp_path):
    bad = x.copy()
    bad[2 * SIZE + 1, 0] = VOCABULARY
    np.save(tmp_path / "x.npy", bad)
    source = open_source(tmp_path / "x.npy", "x", ["x"])
    with pytest.raises(DataError) as refused:
        compare_outputs(model, source, y)
    text = str(refused.value)
    assert text.startswith(f"{tmp_path / 'x.npy'}: rows 128 to 191: Layer 'embedding'")


def test_no_rows_are_refused(model, x, y):
    expected = r"shape \(batch, 6\), with a row at least\. Received: .*\(0, 6\)"
    with pytest.raises(DataError, match=expected):
        compare_outputs(model, x[:0], y[:0])


def test_inputs_that_do_not_fit_are_refused_with_the_shape_of_all(model, x, y):
    with pytest.raises(DataError, match=r"Received: shape=\(50, 5\)"):
        compare_outputs(model, x[:50, :5], y[:50])
    with pytest.raises(DataError, match=r"rows 0 to 0: .*shape=\(1, 5\)"):
        compare_outputs(model, x[:, :5], y)
    with pytest.raises(DataError, match=r"shape \(300, 2\), .*shape=\(299, 2\)"):
        compare_outputs(model, x, y[1:])
    with pytest.raises(DataError, match=r"shape \(300, 2\), .*shape=\(299, 2\)"):
        compare_outputs(model, x, Arrays(y[1:]))


def test_an_examiner_travels_without_what_it_can_make_anew(net, x, y):
    examiner = Examiner(
        net, worst_known_errors(), BatchPlan(ROWS, SIZE, 10), native=False
    )
    batch = Batch(0, net.prepare(x[:SIZE]), [y[:SIZE]])
    found = examine(batch, examiner=examiner)
    travelled = pickle.dumps(examiner)
    assert len(travelled) < len(pickle.dumps(net)) + 2000
    again = examine(pickle.loads(pickle.dumps(batch)), examiner=pickle.loads(travelled))
    assert to_json(again) == to_json(found)


@pytest.mark.cluster
@pytest.mark.usefixtures("undiagnosed")
def test_a_cluster_finds_what_this_process_finds(model, net, x, y):
    seen: list[str] = []
    with connected("local", processes=1) as cluster:
        for outputs in (y, wrong_at(y, SIZE)):
            report = compare_outputs(net, x, outputs, mapper=cluster.map)
            seen.append(report.to_json())
    for outputs, found in zip((y, wrong_at(y, SIZE)), seen, strict=True):
        assert compare_outputs(model, x, outputs).to_json() == found
    assert '"FAIL"' in seen[1]


@pytest.mark.cluster
def test_refused_ids_are_refused_by_a_cluster_in_the_same_words(model, x, y):
    bad = x.copy()
    bad[2 * SIZE + 1, 0] = VOCABULARY
    with pytest.raises(DataError) as here_:
        compare_outputs(model, bad, y)
    with (
        connected("local", processes=1) as cluster,
        pytest.raises(DataError) as there,
    ):
        compare_outputs(model, bad, y, mapper=cluster.map)
    assert str(there.value) == str(here_.value)


# The first look at a batch


def evaluated(monkeypatch) -> list[tuple[int, bool]]:
    """Note how many rows are evaluated at a time, and whether by the fast path."""
    seen = []
    flat = Network.flat

    def noted(self, x, *, fast=False, **options):
        seen.append((x.rows, fast))
        return flat(self, x, fast=fast, **options)

    monkeypatch.setattr(Network, "flat", noted)
    return seen


def test_right_batches_are_computed_once_and_few_rows_by_the_equations(
    net, x, y, monkeypatch
):
    seen = evaluated(monkeypatch)
    report = compare_outputs(net, x, y)
    assert report.verdict is Verdict.PASS
    assert [rows for rows, fast in seen if fast] == [SIZE] * 4 + [ROWS % SIZE]
    by_equations = [rows for rows, fast in seen if not fast]
    assert max(by_equations) == FEWEST_FIRST
    assert report.numerics.total == y.size


@pytest.mark.usefixtures("undiagnosed")
def test_a_batch_that_differs_is_examined_by_the_equations(net, x, y, monkeypatch):
    traced, trace = [], Network.trace

    def noted(self, x, *, dtype=None, **options):
        traced.append((len(x[0]), dtype))
        return trace(self, x, dtype=dtype, **options)

    monkeypatch.setattr(Network, "trace", noted)
    report = compare_outputs(net, x, wrong_at(y, SIZE))
    assert report.verdict is Verdict.FAIL
    # the second batch alone, in float64 and in float32
    assert sorted(t for t in traced if t[0] == SIZE) == [
        (SIZE, "float32"),
        (SIZE, "float64"),
    ]


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("by", [1e-9, 1e-3, NAN])
def test_a_mistake_of_the_fast_path_changes_no_verdict(net, x, y, by, monkeypatch):
    flat = Network.flat
    right = compare_outputs(net, x, y)

    def mistaken(self, x, *, fast=False, **options):
        outputs = flat(self, x, fast=fast, **options)
        return [output + by for output in outputs] if fast else outputs

    monkeypatch.setattr(Network, "flat", mistaken)
    found = compare_outputs(net, x, y)
    assert found.verdict is Verdict.PASS
    assert found.numerics.max_diff == pytest.approx(right.numerics.max_diff)
    if by == 1e-3:  # a port with the same mistake is wrong
        assert compare_outputs(net, x, y + np.float32(by)).verdict is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("share", [0.5, 1.5, 30.0])
def test_the_first_look_lets_nothing_pass_that_the_whole_would_not(
    net, x, y, share, monkeypatch
):
    """Numbers near what rounding may do, on either side of it."""
    floor = compare_outputs(net, x, y, limits=WHOLE).numerics.allowed
    near = wrong_at(y.astype(np.float64), SIZE + 5, by=share * floor)
    found = compare_outputs(net, x, near)
    monkeypatch.setattr("verify.checks._batches.first_look", lambda *_: None)
    whole = compare_outputs(net, x, near)
    assert found.verdict is whole.verdict
    assert found.numerics.mismatched == whole.numerics.mismatched
    assert found.numerics.max_diff == pytest.approx(whole.numerics.max_diff)


def test_the_noise_floor_of_a_first_look_is_the_smaller_one(net, x, y):
    rounding, given = Rounding(net), net.prepare(x)
    exact = net.flat(given, dtype="float64")
    few = np.array([3, 40, 41])
    (whole,) = rounding.noise_floors(given, exact, native=False)
    (least,) = rounding.least_noise_floors(given, exact, few, native=False)
    assert (least.scale == whole.scale).all()
    assert (least.atol <= whole.atol).all()
    assert (least.noise > 0).all()


def test_outputs_depend_on_nothing_looked_up_before(model, x):
    fresh, used = verify.load(model), verify.load(model)
    given = fresh.prepare(x)
    used.flat(given, dtype="float64", fast=True)  # has projected its embedding
    for rows in (ROWS, 1):  # as many ids as pay for that, and too few
        options = {"dtype": "float64", "fast": True, "of_rows": rows}
        found = [net.flat(given, **options)[0] for net in (fresh, used, fresh)]
        assert all(np.array_equal(found[0], other) for other in found[1:])


# How rows are cut


def test_many_rows_make_larger_batches(net, x):
    many = Arrays(np.concatenate([x] * 8))  # 2,400 rows
    for rows, size in ((SIZE, 64), (8 * SIZE, 64), (17 * SIZE, 128), (2400, 256)):
        source = Arrays(many.read()[:rows])
        assert BatchPlan.of(net, source, limits=SMALL).size == size
    numbers = BatchPlan.of(net, many, limits=SMALL).numbers
    limits = Limits(batch_rows=SIZE, batch_numbers=100 * numbers)
    assert BatchPlan.of(net, many, limits=limits).size == 100


def test_batches_are_whole_batches_of_keras(net, x):
    source = Arrays(x)
    assert BatchPlan.of(net, source, limits=SMALL).size == SIZE
    assert BatchPlan.of(net, source, 24, SMALL).size == 48
    assert BatchPlan.of(net, source, 100, SMALL).size == 100


def test_long_rows_make_small_batches(net, x):
    numbers = BatchPlan.of(net, Arrays(x)).numbers
    limits = Limits(batch_numbers=10 * numbers)
    assert BatchPlan.of(net, Arrays(x), limits=limits).size == 10


@pytest.mark.parametrize(("rows", "size"), [(20, 10), (27, 9), (25, 5), (23, 10)])
def test_rows_of_which_few_fit_make_batches_of_one_size_if_one_is_near(
    net, x, rows, size
):
    numbers = BatchPlan.of(net, Arrays(x)).numbers
    limits = Limits(batch_numbers=10 * numbers)
    assert BatchPlan.of(net, Arrays(x[:rows]), 32, limits).size == size
    limits = Limits(batch_numbers=2 * numbers)
    assert BatchPlan.of(net, Arrays(x[:3]), 32, limits).size == 1


def test_a_stateful_model_is_compared_whole():
    rnn = layer("SimpleRNN", "rnn", units=2, stateful=True)
    first = layer("InputLayer", "input", batch_shape=[3, TIME, INPUTS])
    stateful = Network(spec(first, rnn))
    x = np.random.default_rng(0).normal(size=(3 * SIZE, TIME, INPUTS))
    assert BatchPlan.of(stateful, Arrays(x), limits=SMALL).batches == 1
    report = compare_outputs(stateful, x, stateful.predict(x))
    assert report.verdict is Verdict.PASS


def seen_rows(
    monkeypatch,
    model: Network,
    x: np.ndarray,
    limits: Limits,
    theirs: np.ndarray | None = None,
) -> list[int]:
    """Count the rows of a batch on which perturbed models are evaluated."""
    theirs = model.predict(x) if theirs is None else theirs
    rows = []
    flat = Network.flat

    def seen(self, x, **options):
        if self is not model:
            rows.append(x.rows)
        return flat(self, x, **options)

    monkeypatch.setattr(Network, "flat", seen)
    report = compare_outputs(model, x, theirs, limits=limits)
    assert report.verdict is Verdict.PASS
    return rows


LIMITS = Limits(batch_rows=10**6, neighbour_rows=50)


@pytest.fixture
def measured(monkeypatch):
    """Measure every noise floor, even where all that differs is within the least."""
    enough = "verify.tolerance.error_bound.bounds._enough"
    monkeypatch.setattr(enough, lambda *_, **__: False)


@pytest.mark.usefixtures("measured")
def test_neighbours_are_evaluated_on_the_rows_that_differ_most(net, x, monkeypatch):
    assert seen_rows(monkeypatch, net, x, LIMITS) == [50] * NEIGHBOURS


def test_neighbours_are_evaluated_where_the_least_noise_floor_does_not_suffice(
    net, x, monkeypatch
):
    assert seen_rows(monkeypatch, net, x, LIMITS) == []
    inputs = net.prepare(x)
    exact = net.predict(inputs, dtype="float64")
    (least,) = Rounding(net).least_noise_floors(inputs, [exact], native=False)
    differences = [np.zeros(exact.shape)]
    (bound,) = output_bounds(net, inputs, differences, worst_known_errors())
    at = np.unravel_index(np.argmax(bound / least.atol), bound.shape)
    assert bound[at] > 1.2 * least.atol[at[1]]
    theirs = exact.copy()
    theirs[at] += np.sqrt(bound[at] * least.atol[at[1]])
    rows = seen_rows(monkeypatch, net, x, LIMITS, theirs)
    assert rows == [50] * NEIGHBOURS


@pytest.mark.usefixtures("measured")
def test_neighbours_of_a_stateful_model_are_evaluated_on_all_rows(monkeypatch):
    rnn = layer("SimpleRNN", "rnn", units=2, stateful=True)
    first = layer("InputLayer", "input", batch_shape=[3, TIME, INPUTS])
    x = np.random.default_rng(0).normal(size=(3 * SIZE, TIME, INPUTS))
    rows = seen_rows(monkeypatch, Network(spec(first, rnn)), x, WHOLE)
    assert rows == [3 * SIZE] * NEIGHBOURS


# Interruptions


class Stopping:
    """A mapper that is interrupted after some batches."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, function, items, *, shared):
        for k, found in enumerate(serial_map(function, items, shared=shared)):
            if k == self.after:
                os.kill(os.getpid(), signal.SIGINT)
            yield found


def without_resume(path) -> dict:
    content = json.loads(path.read_text())
    del content[RESUME_KEY]
    return content


@pytest.mark.usefixtures("undiagnosed")
def test_an_interrupted_comparison_goes_on_to_the_same_report(
    model, x, y, tmp_path, monkeypatch
):
    path, other = tmp_path / "r.json", tmp_path / "other.json"
    bad = wrong_at(y, ROWS - 1)
    full = compare_outputs(model, x, bad, watch=Watch(other))
    part = compare_outputs(model, x, bad, mapper=Stopping(1), watch=Watch(path))
    assert not part.complete
    assert part.verdict is Verdict.INCONCLUSIVE
    assert part.reason == (
        "PARTIAL: 128 of 300 rows compared, and so far the outputs are those of the "
        "model"
    )
    partial = without_resume(path)
    assert partial["complete"] is False
    assert partial["rows_compared"] == 128
    assert "PARTIAL: 128 of 300 rows compared" in part.to_text()
    assert "PARTIAL: 128 of 300 rows compared" in part.to_html()

    left = []

    def counting(function, items, *, shared):
        for found in serial_map(function, items, shared=shared):
            left.append(found.rows)
            yield found

    again = compare_outputs(
        model, x, bad, mapper=counting, watch=Watch(path, resume=True)
    )
    assert left == [64, 64, 44]
    assert again.to_json() == full.to_json()
    assert path.read_text() == other.read_text()
    assert again.verdict is Verdict.FAIL
    # a finished one has nothing left to compare
    left.clear()
    compare_outputs(model, x, bad, mapper=counting, watch=Watch(path, resume=True))
    assert left == []


def test_what_has_failed_so_far_stays_failed(model, x, y, tmp_path):
    part = compare_outputs(model, x, wrong_at(y, 3), mapper=Stopping(0), watch=Watch())
    assert part.verdict is Verdict.FAIL
    assert part.reason.startswith("PARTIAL: 64 of 300 rows compared: ")


def test_without_a_watch_an_interrupt_is_one(model, x, y):
    with pytest.raises(KeyboardInterrupt):
        compare_outputs(model, x, y, mapper=Stopping(1))


def test_an_error_on_the_way_keeps_what_is_known(model, x, y, tmp_path):
    bad = x.copy()
    bad[2 * SIZE + 1, 0] = VOCABULARY
    path = tmp_path / "r.json"
    with pytest.raises(DataError):
        compare_outputs(model, bad, y, watch=Watch(path))
    assert without_resume(path)["rows_compared"] == 2 * SIZE


KILLED = """
import os, signal, sys
import numpy as np
import verify
from verify.checks._batches import Limits
from verify.checks.mapper import serial_map
from verify.checks.checkpoint import Watch

def killed(function, items, *, shared):
    for k, found in enumerate(serial_map(function, items, shared=shared)):
        if k == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield found

model, x, y, path = sys.argv[1:]
verify.compare_outputs(
    model,
    np.load(x),
    np.load(y),
    mapper=killed,
    watch=Watch(path, every=0),
    limits=Limits(batch_rows=64),
)
"""


def test_a_killed_comparison_leaves_a_whole_report(model, x, y, tmp_path):
    paths = [str(tmp_path / name) for name in ("x.npy", "y.npy", "r.json")]
    np.save(paths[0], x)
    np.save(paths[1], y)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, model, *paths], timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    path = tmp_path / "r.json"
    assert without_resume(path)["rows_compared"] == 3 * SIZE
    again = compare_outputs(model, x, y, watch=Watch(path, resume=True))
    assert again.to_json() == compare_outputs(model, x, y).to_json()


# The command


@pytest.fixture
def files(x, y, tmp_path) -> list[str]:
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    return ["--data", str(tmp_path / "x.npy"), "--outputs", str(tmp_path / "y.npy")]


@pytest.fixture
def small_batches(monkeypatch):
    """Have the command compare few rows at a time."""
    few = partial(verify.compare_outputs, limits=SMALL)
    monkeypatch.setattr(verify, "compare_outputs", few)


@pytest.mark.usefixtures("small_batches")
def test_the_command_goes_on_where_it_was(model, files, tmp_path, capsys, monkeypatch):
    command = ["compare", model, *files]
    assert main(command) == 0
    full = capsys.readouterr().out
    path = tmp_path / "r.json"
    with monkeypatch.context() as patch:
        patch.setattr("verify.checks.mapper.serial_map", Stopping(2))
        assert main([*command, "--report", str(path)]) == 130
    captured = capsys.readouterr()
    assert captured.out.startswith("INCONCLUSIVE  ")
    assert "PARTIAL: 192 of 300 rows compared" in captured.out
    assert captured.err == f"Interrupted. {path} goes on with --resume\n"
    assert main([*command, "--report", str(path), "--resume"]) == 0
    assert capsys.readouterr().out == full


def test_an_interrupt_before_anything_is_known_prints_no_report(
    model, files, capsys, monkeypatch
):
    def at_once(function, items, *, shared):
        raise KeyboardInterrupt

    monkeypatch.setattr("verify.checks.mapper.serial_map", at_once)
    assert main(["compare", model, *files]) == 130
    assert capsys.readouterr().out == ""


def test_a_report_of_something_else_is_not_gone_on_from(
    model, files, x, y, tmp_path, capsys, monkeypatch
):
    path = tmp_path / "r.json"
    goes_on = ["compare", model, *files, "--report", str(path), "--resume"]
    assert main(goes_on) == 0  # nothing there yet: from the beginning
    capsys.readouterr()

    other = str(lstm_file(tmp_path / "other.keras", mask_zero=False))
    line = refused(capsys, "compare", other, *goes_on[2:])
    assert f"{path}: it cannot be gone on from: it is of another model" in line
    line = refused(capsys, *goes_on, "--backend", "jax")
    assert "another model" in line

    np.save(tmp_path / "y.npy", wrong_at(y, 7))
    assert "of other outputs" in refused(capsys, *goes_on)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "x.npy", np.flip(x, axis=0))
    assert "of other data" in refused(capsys, *goes_on)
    np.save(tmp_path / "x.npy", x)
    assert main(goes_on) == 0
    capsys.readouterr()

    monkeypatch.setattr(np, "__version__", "9.9")
    line = refused(capsys, *goes_on)
    assert "it is of other versions (numpy " in line
    assert ", now numpy 9.9" in line or "now 9.9" in line


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"so_far": {"of": {}, "tally": {"rows": 1}}}', "\xff"]
)
def test_what_is_no_report_is_not_gone_on_from(model, files, tmp_path, capsys, content):
    path = tmp_path / "r.json"
    path.write_text(content, encoding="latin-1")
    line = refused(capsys, "compare", model, *files, "--report", str(path), "--resume")
    assert "expected a report that --report has written" in line


def test_resume_without_a_report_is_refused(model, files, capsys):
    line = refused(capsys, "compare", model, *files, "--resume")
    assert "--resume: expected --report FILE.json" in line


def test_a_report_that_cannot_be_written_is_refused_before_any_work(
    model, files, capsys
):
    line = refused(capsys, "compare", model, *files, "--report", "nowhere/r.json")
    assert "--report" in line
    line = refused(capsys, "compare", model, *files, "--report", "r.txt")
    assert "ending in .json" in line


# Against Keras


@pytest.mark.keras
def test_keras_is_compared_with_in_batches(model, x, tmp_path, monkeypatch):
    path, other = tmp_path / "r.json", tmp_path / "other.json"
    full = check(model, x, watch=Watch(other))
    assert full.verdict is Verdict.PASS
    assert full.proof.shape == (ROWS, 2)
    assert full.facts["pieces"] == 5
    part = check(model, x, mapper=Stopping(1), watch=Watch(path))
    assert part.verdict is Verdict.INCONCLUSIVE
    assert part.reason.startswith("PARTIAL: 128 of 300 rows compared, and so far ")
    again = check(model, x, watch=Watch(path, resume=True))
    assert again.to_json() == full.to_json()
    assert path.read_text() == other.read_text()
    with pytest.raises(DataError, match=r"of other options \(batch size 32, now 16\)"):
        check(model, x, batch_size=16, watch=Watch(path, resume=True))
    with pytest.raises(DataError, match=r"a comparison with Keras, and this is one of"):
        compare_outputs(model, x, x[:, :2], watch=Watch(path, resume=True))


@pytest.mark.keras
def test_a_mistake_of_ours_is_found_in_batches(model, net, x):
    wrong = mutated(net.spec, "bias missing")
    report = check(model, x, network=wrong)
    assert report.verdict is Verdict.FAIL
    assert report.proof.shape == (ROWS, 2)
    assert report.diagnosis
    part = check(model, x, network=wrong, mapper=Stopping(0), watch=Watch())
    assert part.verdict is Verdict.FAIL


@pytest.mark.keras
def test_what_keras_predicts_is_handed_on_batch_by_batch(model, x):
    import keras

    predicted = []
    check(model, x, on_batch=lambda outputs: predicted.append(outputs[0]))
    assert [len(outputs) for outputs in predicted] == [SIZE, SIZE, SIZE, SIZE, 44]
    expected = keras.models.load_model(model).predict(x, verbose=0)
    np.testing.assert_array_equal(np.concatenate(predicted), expected)


def test_what_numpy_refuses_never_waits_for_keras(model, x, monkeypatch, capsys):
    class Loading(Exception):
        pass

    def load():
        raise Loading

    monkeypatch.setattr("verify.keras_bridge.require_keras", load)
    bad = x.copy()
    bad[SIZE - 1, 0] = VOCABULARY
    with pytest.raises(DataError, match="rows 0 to 63: Layer 'embedding'"):
        check(model, bad, watch=Watch(show=True))
    assert capsys.readouterr().err == ""
    bad[SIZE - 1, 0], bad[SIZE, 0] = 0, VOCABULARY  # in the second batch: Keras is next
    with pytest.raises(Loading):
        check(model, bad)


def test_a_port_that_has_nan_where_the_model_has_is_not_called_wrong():
    # the mean over steps that are all masked is 0 / 0
    net = Network(
        chain(
            [(None, 5)],
            layer("Embedding", "e", input_dim=9, output_dim=3, mask_zero=True),
            layer("GlobalAveragePooling1D", "mean"),
            layer("Dense", "d", units=4),
            dtypes=["int32"],
        )
    )
    x = np.random.default_rng(0).integers(1, 9, (6, 5))
    x[2] = 0
    outputs = net.predict(x, dtype="float32")
    assert np.isnan(outputs).any(axis=1).tolist() == [False, False, True, *[False] * 3]
    report = verify.compare_outputs(net, x, outputs)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "NaN" in report.reason
    outputs[4, 1] += np.float32(1e-3)
    report = verify.compare_outputs(net, x, outputs, diagnosis_seconds=0)
    assert report.verdict is Verdict.FAIL
