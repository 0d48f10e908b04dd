"""trace and predict over many rows: the same arrays, whole files, no leftovers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    ids,
    input_layer,
    layer,
    spec,
    stateful_net,
)

import verify
from verify import DataError, Network
from verify.__main__ import main
from verify.checks import predict as running
from verify.checks.predict import write_outputs, write_trace
from verify.console import progress as progressing
from verify.data import write_arrays
from verify.data.sources import Arrays
from verify.data.write_arrays import write_npy, write_npz

ROWS = 50


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(running, "TRACE_ROWS", 16)
    monkeypatch.setattr(running, "BATCH_ROWS", 16)


def loaded(path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def nothing_beside(path) -> bool:
    return [p.name for p in path.parent.iterdir()] == [path.name]


def furthest(a: np.ndarray, b: np.ndarray) -> float:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    return float(np.abs(a.astype(float) - b.astype(float)).max())


def test_a_trace_that_fits_one_piece_is_the_networks_own_to_the_bit(model, tmp_path):
    net, x, out = verify.load(model), ids(batch=ROWS), tmp_path / "t.npz"
    done: list[int] = []
    shapes = write_trace(net, Arrays(x), out, advance=done.append)
    expected = net.trace(x).arrays()
    found = loaded(out)
    assert list(found) == list(expected) == list(shapes)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes(), name
        assert shapes[name] == array.shape
    assert done == [ROWS]
    assert nothing_beside(out)


def test_a_trace_in_pieces_is_that_of_the_whole(model, tmp_path, small_pieces):
    net, x, out = verify.load(model), ids(batch=ROWS), tmp_path / "t.npz"
    done: list[int] = []
    shapes = write_trace(net, Arrays(x), out, advance=done.append)
    found = loaded(out)
    for name, array in net.trace(x).arrays().items():
        assert furthest(found[name], array) < 1e-6, name
        assert shapes[name] == array.shape
        if array.dtype != bool:
            assert furthest(np.roll(found[name], 16, axis=0), array) > 1e-3, name
    assert done == [16, 16, 16, 2]
    assert nothing_beside(out)


def test_many_numbers_a_row_make_pieces_of_few_rows(model, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "TRACE_NUMBERS", 1000)
    net, out, done = verify.load(model), tmp_path / "t.npz", []
    write_trace(net, Arrays(ids(batch=9)), out, advance=done.append)
    assert done == [4, 4, 1]
    found = loaded(out)["lstm/c"]
    assert furthest(found, net.trace(ids(batch=9))["lstm"].c) < 1e-6


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_outputs_in_pieces_are_those_of_the_whole(
    model, tmp_path, small_pieces, suffix
):
    net, x, out = verify.load(model), ids(batch=ROWS), tmp_path / f"y{suffix}"
    shapes = write_outputs(net, Arrays(x), out, threads=1)
    whole = net.predict(x)
    found = np.load(out) if suffix == ".npy" else loaded(out)["dense"]
    assert furthest(found, whole) < 1e-6
    assert furthest(found[::-1], whole) > 1e-3
    assert shapes == {"dense": whole.shape}
    assert nothing_beside(out)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_states_go_from_piece_to_piece(tmp_path, small_pieces, backend):
    net, out = stateful_net("LSTM", 5).on(backend), tmp_path / "y.npy"
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, TIME, INPUTS)).astype(np.float32)
    write_outputs(net, Arrays(x), out)
    found = np.load(out)
    assert furthest(found, net.predict(x)) < 1e-6
    forgotten = np.concatenate([net.predict(x[k : k + 15]) for k in range(0, 40, 15)])
    assert (furthest(found, forgotten) > 1e-3) == (backend == "tensorflow")
    with pytest.raises(DataError, match=r"a multiple of 5 rows.*Received: 38 rows"):
        write_outputs(net, Arrays(x[:38]), out)
    assert np.array_equal(np.load(out), found)


def test_arrays_without_rows_are_written_once_or_refused(tmp_path, small_pieces):
    """What no layer here computes, but an operation across samples might."""

    class Odd(Network):
        def trace(self, x, **_):
            count = x.rows

            class Traced:
                def arrays(self):
                    return {"a": np.arange(count), "fixed": np.ones((2, 3)), **more}

            return Traced()

    net = Odd(spec(input_layer(None, INPUTS), layer("Dense", "dense", units=UNITS)))
    x = Arrays(np.ones((40, INPUTS), np.float32))
    more: dict[str, np.ndarray] = {}
    shapes = write_trace(net, x, tmp_path / "t.npz")
    assert shapes == {"a": (40,), "fixed": (2, 3)}
    found = loaded(tmp_path / "t.npz")
    assert np.array_equal(found["fixed"], np.ones((2, 3)))
    assert len(found["a"]) == 40

    class Growing(Odd):
        def trace(self, x, **_):
            more["sum"] = np.ones((x.rows // 2 + 1, 3))
            return super().trace(x)

    with pytest.raises(DataError, match="expected 'sum' to have a row for each sample"):
        write_trace(Growing(net.spec), x, tmp_path / "t.npz")

    class Changing(Odd):
        def trace(self, x, **_):
            more["sum"] = np.full(3, x.rows)
            return super().trace(x)

    with pytest.raises(DataError, match="'sum', which has no row for each sample"):
        write_trace(Changing(net.spec), x, tmp_path / "t.npz")
    assert nothing_beside(tmp_path / "t.npz")


@pytest.mark.parametrize("command", ["trace", "predict"])
def test_an_interruption_leaves_what_was_there(
    model, tmp_path, small_pieces, monkeypatch, command
):
    out = tmp_path / "out.npz"
    out.write_bytes(b"before")
    whole = Network.trace if command == "trace" else Network.flat
    calls: list[int] = []

    def interrupted(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(Network, whole.__name__, interrupted)
    write = write_trace if command == "trace" else write_outputs
    with pytest.raises(KeyboardInterrupt):
        write(verify.load(model), Arrays(ids(batch=ROWS)), out)
    assert out.read_bytes() == b"before"
    assert nothing_beside(out)


def test_a_bad_row_in_a_later_piece_is_named_and_nothing_is_written(
    model, tmp_path, small_pieces, capsys
):
    x = ids(batch=ROWS)
    x[40, 2] = 99
    np.save(tmp_path / "x.npy", x)
    for command, out in (("trace", "t.npz"), ("predict", "y.npy")):
        arguments = [command, model, "--data", str(tmp_path / "x.npy"), "--out"]
        assert main([*arguments, str(tmp_path / out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "x.npy: rows 32 to 47: " in line
        assert "expected token ids from 0 to 10" in line
        assert nothing_beside(tmp_path / "x.npy")


def test_without_room_nothing_is_begun(tmp_path, monkeypatch):
    free = write_arrays.shutil.disk_usage(tmp_path)._replace(free=2**25)
    monkeypatch.setattr(write_arrays.shutil, "disk_usage", lambda _: free)
    part = np.zeros((1, 2**20), np.float32)
    message = r"y\.npy: cannot be written: expected 4\.0 GiB free for it. Received: 32"
    with pytest.raises(DataError, match=message):
        write_npy(tmp_path / "y.npy", "y", 1024, iter([part]))
    with pytest.raises(DataError, match=r"expected 8\.0 GiB free"):
        write_npz(tmp_path / "y.npz", 1024, iter([{"y": part}]))
    assert list(tmp_path.iterdir()) == []


def test_parts_unlike_the_first_are_refused(tmp_path):
    parts = [np.zeros((2, 3)), np.zeros((2, 4))]
    with pytest.raises(DataError, match=r"'y' to be alike for all rows.*shape \(4,\)"):
        write_npy(tmp_path / "y.npy", "y", 4, iter(parts))
    assert list(tmp_path.iterdir()) == []


RUN = {
    "vocabulary": list("abcdefghij"), "length": TIME, "padding": "post",
    "keep_stop_words": True, "feature_axis": False, "classes": ["no", "yes"],
}  # fmt: skip


def test_texts_are_predicted_by_the_vocabulary_of_a_run(model, tmp_path, capsys):
    (tmp_path / "vocabulary.json").write_text(json.dumps(RUN))
    texts = ["A b, c!", "", "j zz a", "b b b b b b b"]
    pd.DataFrame({"text": texts, "n": 1}).to_csv(tmp_path / "x.csv", index=False)
    pd.DataFrame({"said": texts}).to_parquet(tmp_path / "x.parquet")
    x = [[1, 2, 3, 0, 0, 0], [0] * 6, [10, 1, 0, 0, 0, 0], [2] * 6]
    expected = verify.load(model).predict(np.array(x))
    out = tmp_path / "y.npy"
    for name, more in (("x.csv", []), ("x.parquet", ["--column", "said"])):
        arguments = ["predict", model, "--data", str(tmp_path / name), "--out"]
        options = ["--vocabulary", str(tmp_path), "--threads", "2", *more]
        assert main([*arguments, str(out), *options]) == 0
        captured = capsys.readouterr()
        assert captured.out == "dense  (4, 2)\n"
        note, wrote = captured.err.splitlines()
        assert "1 of 4 texts are empty" in note
        assert wrote == f"Wrote {out}: 4 rows"
        assert furthest(np.load(out), expected) < 1e-6
    assert furthest(expected[:1], expected[2:3]) > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "--out", "{folder}/y.txt"], "file name ending in .npy or .npz"),
        (["predict", "--out", "{folder}/x.npy"], "is the file given as --data"),
        (["predict"], "Missing option '--out'"),
        (
            ["predict", "--out", "{folder}/y.npy", "--threads", "0"],
            "--threads: expected a whole number of 1 or more",
        ),
        (
            ["predict", "--out", "{folder}/y.npy", "--column", "a"],
            "--column a: expected --vocabulary too",
        ),
        (
            ["trace", "--out", "{folder}/t.npz", "--vocabulary", "{folder}"],
            "vocabulary.json: expected the vocabulary of a run. Received: no such file",
        ),
        (["selftest", "--vocabulary", "v"], "--vocabulary v: expected --data too"),
    ],
)
def test_wrong_usage_is_one_line(model, tmp_path, capsys, arguments, message):
    np.save(tmp_path / "x.npy", ids())
    command, *rest = [a.format(folder=tmp_path) for a in arguments]
    data = [] if command == "selftest" else ["--data", str(tmp_path / "x.npy")]
    assert main([command, model, *data, *rest]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == ""
    assert message in line
    assert nothing_beside(tmp_path / "x.npy")


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_long_work_says_a_line_now_and_then_and_short_work_nothing(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progressing, "time", clock)
    with progressing.progress("rows", 1000) as advance:
        for _ in range(9):
            clock.now += 1
            advance(10)
    assert capsys.readouterr().err == ""
    with progressing.progress("rows", 20_000, done=5000) as advance:
        for _ in range(24):
            clock.now += 1
            advance(100)
    assert capsys.readouterr().err.splitlines() == [
        "6,000 of 20,000 rows, 100 a second, 2 min left",
        "7,000 of 20,000 rows, 100 a second, 2 min left",
    ]
    assert capsys.readouterr().out == ""


def test_on_a_terminal_there_is_a_bar_that_goes_away(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progressing, "time", clock)
    monkeypatch.setattr(progressing, "_terminal", lambda: True)
    with progressing.progress("rows", 100) as advance:
        advance(10)
        meter = advance.__self__
        assert meter.bar is None  # not yet worth it
        clock.now += 5
        advance(40)
        (task,) = meter.bar.tasks
        assert (task.completed, task.total, task.description) == (50, 100, "rows")
        assert task.fields["rate"] == "10 a second"
        print("data", flush=True)
    assert meter.bar.finished or not meter.bar.live.is_started
    assert capsys.readouterr().out == "data\n"
