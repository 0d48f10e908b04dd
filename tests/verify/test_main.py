"""rnn-verify as a user runs it: outputs, files, exit codes, one line for bad input."""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from support import commands
from support.nets import OUTPUTS, TIME, UNITS, ids, mutated
from support.thoroughness import some

import verify
from verify.__main__ import main

refused = functools.partial(commands.refused, main)


@pytest.fixture
def data(tmp_path) -> str:
    path = tmp_path / "x.npy"
    np.save(path, ids(batch=64))
    return str(path)


@pytest.mark.parametrize("as_a_command", [True, False])
def test_a_command_does_not_look_for_garbage_when_it_ends(as_a_command):
    program = f"""
import atexit
from verify.__main__ import main

class Garbage:
    def __init__(self):
        self.me = self
    def __del__(self):
        print("garbage")

atexit.register(print, "end")
main(["layers"]) if {as_a_command} else None
kept = [Garbage()]
kept.append(kept)
del kept
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *_, last = run.stdout.splitlines()
    assert last == ("end" if as_a_command else "garbage")


def test_describe_prints_the_gates(model, capsys):
    assert main(["describe", model]) == 0
    assert "columns: i 0:4, f 4:8, c 8:12, o 12:16" in capsys.readouterr().out


def test_trace_writes_every_gate_and_lists_it(model, data, tmp_path, capsys):
    out = tmp_path / "t.npz"
    assert main(["trace", model, "--data", data, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert f"lstm/f  (64, {TIME}, {UNITS})" in captured.out
    assert "Wrote" in captured.err
    with np.load(out) as arrays:
        t = verify.load(model).trace(ids(batch=64))
        assert np.array_equal(arrays["lstm/c"], t["lstm"].c)
        assert np.array_equal(arrays["lstm/mask"], t["lstm"].mask)
        assert len(arrays.files) == len(captured.out.splitlines())
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_compare_passes_what_the_model_computes(model, data, tmp_path, capsys):
    outputs = tmp_path / "y.npy"
    np.save(outputs, verify.load(model).predict(ids(batch=64)))
    assert main(["compare", model, "--data", data, "--outputs", str(outputs)]) == 0
    assert capsys.readouterr().out.startswith("PASS")


def test_compare_names_the_mistake_of_a_port(model, data, tmp_path, capsys):
    port = mutated(verify.load(model).spec, "gate order i,c,f,o")
    outputs = tmp_path / "y.csv"
    np.savetxt(outputs, port.predict(ids(batch=64)), delimiter=",", fmt="%.9g")
    arguments = ["compare", model, "--data", data, "--outputs", str(outputs)]
    assert main(arguments) == 1
    assert "gates read in the order i,c,f,o" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["diagnosis"]["explanations"][0]["layer"] == "lstm"


@pytest.mark.keras
def test_check_passes_and_writes_a_page(model, data, tmp_path, capsys):
    page = tmp_path / "report.html"
    arguments = ["check", model, "--data", data, "--json", "--html", str(page)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "PASS"
    assert "Loading Keras" in captured.err
    text = page.read_text()
    assert "PASS" in text
    assert "default-src 'none'" in text
    assert 'id="explorer"' in text
    assert text.replace("http://www.w3.org/2000/svg", "").count("://") == 0


@pytest.mark.keras
def test_check_without_data_makes_its_own(model, capsys):
    assert main(["check", model]) == 0
    assert "probe inputs made from the model" in capsys.readouterr().out


@pytest.mark.keras
def test_check_of_a_chaotic_model_ends_with_3(tmp_path, capsys):
    from keras import Input, Sequential, layers
    from support.nets import keras_sequential

    # a model for each step is not run in chunks
    inner = Sequential([Input((300, 3)), layers.SimpleRNN(32)])
    frames = [layers.Reshape((1, 300, 3)), layers.TimeDistributed(inner)]
    model = keras_sequential([Input((300, 3)), *frames], seed=3, scale=3.0)
    model.save(tmp_path / "m.keras")
    assert main(["check", str(tmp_path / "m.keras")]) == 3
    assert capsys.readouterr().out.startswith("INCONCLUSIVE")


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.keras
def test_check_of_a_model_that_differs_ends_with_1(model, capsys, monkeypatch):
    wrong = mutated(verify.load(model).spec, "bias missing")
    monkeypatch.setattr("verify.commands.check.load_network", lambda *_, **__: wrong)
    assert main(["check", model]) == 1
    assert capsys.readouterr().out.startswith("FAIL")


def test_names_from_a_model_are_escaped_in_the_page():
    from verify.report.report import LayerResult, Report
    from verify.tolerance.compare import Comparison, Verdict

    same = Comparison(True, 1e-10, 0.0)
    layer = LayerResult("<script>alert(1)</script>", "LSTM", 4, same, same)
    report = Report(
        Verdict.PASS, "fine", "keras", "numpy", same, same, 0.0, 1.0, (layer,),
        warnings=("<b>",), facts={"model": "<i>m</i>.keras", "rows": 1},
    )  # fmt: skip
    page = report.to_html()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<i>m" not in page
    assert "<b>" not in page


def test_numbers_are_read_from_every_format(model, tmp_path, capsys):
    x = ids(batch=4)
    files = {name: tmp_path / name for name in ("a.npy", "b.npz", "c.npz", "d.csv")}
    np.save(files["a.npy"], x)
    np.savez(files["b.npz"], anything=x)
    np.savez(files["c.npz"], x=x, y=x)
    np.savetxt(files["d.csv"], x, delimiter=",", fmt="%d")
    with_headings = tmp_path / "e.csv"
    with_headings.write_text("t1,t2,t3,t4,t5,t6\n" + files["d.csv"].read_text())
    results = []
    for path in (*files.values(), with_headings):
        out = tmp_path / "t.npz"
        arguments = ["trace", model, "--data", str(path), "--out", str(out)]
        assert main(arguments) == 0, path
        with np.load(out) as arrays:
            results.append(arrays["dense/output"])
    assert all(np.array_equal(results[0], other) for other in results)


def write_bad_files(folder) -> None:
    (folder / "text.csv").write_text("a,b\nhello,2\n")
    (folder / "empty.csv").touch()
    (folder / "range.csv").write_text("0,1,2,3,4,5\n5,4,3,2,1,1\n")
    (folder / "ragged.csv").write_text("1,2\n1,2,3\n")
    (folder / "not.npy").write_bytes(b"no numpy file")
    (folder / "not.npz").write_bytes(b"no zip file")
    (folder / "data.txt").write_text("1 2 3")
    np.save(folder / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.save(folder / "words.npy", np.array(["a", "b"]))
    np.savez(folder / "two.npz", a=np.ones(2), b=np.ones(2))
    np.save(folder / "whole.npy", ids(batch=64))
    whole = (folder / "whole.npy").read_bytes()
    (folder / "cut.npy").write_bytes(whole[: len(whole) // 2])
    huge = whole[:128].replace(b"(64, 6)", b"(9999999999, 6)".ljust(15))
    (folder / "huge.npy").write_bytes(huge[:128] + whole[128:])
    np.save(folder / "nan.npy", np.where(ids(batch=4) == 0, np.nan, 1.0))
    np.save(folder / "far.npy", np.full((3, TIME), 99))
    np.save(folder / "shape.npy", np.ones((3, TIME + 2)))


BAD_DATA = [
    ("none.npy", "no such file"),
    ("text.csv", "expected numbers only. Received: 'hello' in column 'a'"),
    ("empty.csv", "expected numbers. The file is empty"),
    ("ragged.csv", "cannot be read as .csv"),
    ("not.npy", "cannot be read as .npy"),
    ("not.npz", "cannot be read as .npz"),
    ("data.txt", "ending in .npy, .npz, .csv, .tsv, .parquet. Received: text"),
    ("objects.npy", "Received: Python objects, which are not unpickled"),
    ("words.npy", "expected numbers. Received: dtype=<U1"),
    ("two.npz", "expected one array, or one called 'x'. Received: a, b"),
    ("cut.npy", "cannot be read as .npy"),
    ("huge.npy", "cannot be read as .npy"),
    ("nan.npy", "expected finite numbers in the inputs"),
    ("far.npy", "expected token ids from 0 to 10, or to -11 counted"),
    ("range.csv", "the first line, 0, 1, 2, ..., may be headings or a sample"),
    ("shape.npy", "shape (batch, 6). Received: shape=(3, 8)"),
    (".", "Received: a folder"),
]


@pytest.mark.parametrize(
    ("command", "bad"),  # of an odd number of files every other: each once or twice
    some(itertools.product(["trace", "compare", "check"], BAD_DATA), 2),
)
def test_bad_data_is_one_line_and_exit_code_2(model, tmp_path, capsys, bad, command):
    file, message = bad
    write_bad_files(tmp_path)
    out = tmp_path / "out.npz"
    more = {
        "trace": ["--out", str(out)],
        "compare": ["--outputs", str(tmp_path / "whole.npy")],
        "check": [],
    }[command]
    arguments = [command, model, "--data", str(tmp_path / file), *more]
    assert message in refused(capsys, *arguments)
    assert not out.exists()


def test_a_trace_does_not_replace_its_own_input(model, tmp_path, capsys):
    path = tmp_path / "x.npz"
    np.savez(path, x=ids())
    before = path.read_bytes()
    line = refused(capsys, "trace", model, "--data", str(path), "--out", str(path))
    assert "is the file given as --data" in line
    assert path.read_bytes() == before


def test_bad_outputs_of_a_port_are_named(model, data, tmp_path, capsys):
    np.save(tmp_path / "y.npy", np.zeros((64, OUTPUTS + 1)))
    arguments = ["compare", model, "--data", data, "--outputs"]
    line = refused(capsys, *arguments, str(tmp_path / "y.npy"))
    assert "outputs of shape (64, 2)" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "Missing argument 'MODEL'"),
        (["check", "{model}", "--nope"], "No such option '--nope'"),
        (["nope"], "No such command 'nope'"),
        (["trace", "{model}"], "Missing option"),
        (["describe", "{folder}/none.keras"], "No such file"),
        (["describe", "{folder}"], "Received: a folder that holds "),
        (["describe", "{model}", "--as-base-class", "GRU="], "Received: GRU="),
        (["describe", "{model}", "--as-base-class", "GRU"], "Received: GRU"),
        (["describe", "--as-base-class", "=GRU", "{model}"], "expected NAME=CLASS"),
        (["describe", "--as-base-class", "{model}"], "the model has no custom class"),
        (
            ["trace", "{model}", "--data", "{data}", "--out", "{folder}/no/t.npz"],
            "--out: {folder}/no/t.npz cannot be written. Received: no folder",
        ),
        (
            ["trace", "{model}", "--data", "{data}", "--out", "{folder}/t.txt"],
            "--out: expected a file name ending in .npz",
        ),
        (
            ["check", "{model}", "--html", "{folder}/report"],
            "--html: expected a file name ending in .html",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    model, data, tmp_path, capsys, arguments, message
):
    names = {"model": model, "data": data, "folder": str(tmp_path)}
    filled = [argument.format(**names) for argument in arguments]
    assert message.format(**names) in refused(capsys, *filled)


def test_both_programs_say_their_version(capsys):
    from recipes.__main__ import main as recipes

    assert (main(["--version"]), recipes(["--version"])) == (0, 0)
    said = capsys.readouterr().out.splitlines()
    version = verify.__version__
    assert said == [f"rnn-verify {version}", f"rnn-recipe {version}"]


def test_called_without_anything_it_shows_its_help(capsys):
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "Exit codes: 0 pass, 1 fail, 2 wrong usage or unreadable, 3 inc" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--nope"], "No such option '--nope'. See rnn-verify check"),
        (["nope"], "No such command 'nope'. See rnn-verify"),
        (["check"], "Missing argument 'MODEL'. See rnn-verify check"),
    ],
)
def test_wrong_usage_is_a_sentence_and_then_where_to_look(arguments, message, capsys):
    line = f"rnn-verify: {message} --help"
    assert refused(capsys, *arguments) == line


def test_the_module_runs_as_a_command(model):
    run = subprocess.run(
        [sys.executable, "-m", "verify", "describe", model],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "4 gates x 4 x (3 + 4 + 1) = 128" in run.stdout
    assert run.stderr == ""


@pytest.mark.keras
def test_no_chatter_of_tensorflow_reaches_the_user(model):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    run = subprocess.run(
        [sys.executable, "-m", "verify", "check", model, "--json"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert run.stderr == "Loading Keras ...\n"
    assert json.loads(run.stdout)["verdict"] == "PASS"


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_flipped_bytes_in_data_never_end_in_a_traceback(tmp_path, suffix):
    from verify.data.sources import open_source

    path = tmp_path / f"x{suffix}"
    with path.open("wb") as file:
        if suffix == ".npy":
            np.save(file, ids(batch=64))
        else:
            np.savez_compressed(file, x=ids(batch=64))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(400):
        broken = bytearray(whole)
        end = 128 if suffix == ".npy" else len(whole)
        broken[rng.integers(0, end)] = rng.integers(0, 256)
        path.write_bytes(broken)
        try:
            open_source(path, "x", ["x"]).read()
        except verify.DataError as error:
            refusals += 1
            assert "\n" not in str(error)
    assert refusals > 100


def test_a_result_is_written_whole_or_not_at_all(tmp_path):
    from verify.data.files import write_atomically

    path = tmp_path / "file"
    path.write_text("before")

    def fails(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fails)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    write_atomically(path, lambda file: file.write(b"after"))
    assert path.read_text() == "after"
