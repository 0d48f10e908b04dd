"""Values inside a port are compared in the order of computation, by their names."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from support.commands import refused
from support.graphs import both_ways, given, made, net, rnn
from support.nets import (
    BATCH,
    INPUTS,
    TIME,
    FunctionalNet,
    features,
    ids,
    layer,
    lstm_file,
    lstm_spec,
    stateful_net,
)

import verify
from verify import DataError, Network, Verdict
from verify.__main__ import main
from verify.checks._batches import Limits
from verify.checks._recorded import Recording
from verify.checks.inputs import usable_inputs
from verify.checks.predict import write_trace
from verify.data.sources import Arrays
from verify.mistakes.catalogue import catalogue
from verify.model.spec import ModelSpec
from verify.report.cases import Outcome, layer_cases
from verify.report.intermediates import SHOWN_VALUES

Values = dict[str, np.ndarray]

KINDS = {
    "LSTM": ("LSTM", {}, "c_hat"),
    "GRU, reset_after": ("GRU", {"reset_after": True}, "r"),
    "SimpleRNN": ("SimpleRNN", {}, "h"),
}


def one_layer(kind: str, **options: object) -> ModelSpec:
    layers = [given("x", TIME, INPUTS), rnn(kind, "rnn", INPUTS, 4, **options)]
    layers.append(made("Dense", "dense", (4, 2), (2,), seed=7, units=2))
    return net(layers, {"rnn": "x", "dense": "rnn"}, ["dense"])


def reset_before() -> ModelSpec:
    shapes = [(INPUTS, 12), (4, 12), (12,)]
    layers = [given("x", TIME, INPUTS)]
    layers.append(made("GRU", "rnn", *shapes, seed=2, units=4, reset_after=False))
    layers.append(made("Dense", "dense", (4, 2), (2,), seed=7, units=2))
    return net(layers, {"rnn": "x", "dense": "rnn"}, ["dense"])


def forked() -> ModelSpec:
    """A GRU, and behind it two branches, one of them of three layers."""
    layers = [
        given("x", TIME, INPUTS),
        rnn("GRU", "gru", INPUTS, 4, seed=1, return_sequences=True),
        both_ways("LSTM", "bi", 4, 3, seed=3, return_sequences=True),
        rnn("SimpleRNN", "simple", 6, 5, seed=5),
        made("Dense", "a", (5, 2), (2,), seed=7, units=2),
        rnn("LSTM", "lstm", 4, 3, seed=11),
        made("Dense", "b", (3, 3), (3,), seed=9, units=3),
    ]
    calls = {
        "gru": "x", "bi": "gru", "simple": "bi", "a": "simple", "lstm": "gru",
        "b": "lstm",
    }  # fmt: skip
    return net(layers, calls, ["a", "b"])


MODELS: dict[str, Callable[[], ModelSpec]] = {
    **{n: lambda k=k, o=o: one_layer(k, **o) for n, (k, o, _) in KINDS.items()},
    "GRU, reset_before": reset_before,
    "forked": forked,
}


@cache
def case(name: str) -> tuple[Network, np.ndarray, Values]:
    """A model, inputs, and every value of a right port in float32."""
    model, x = Network(MODELS[name]()), features()
    return model, x, model.trace(x, dtype="float32").arrays()


def planted(
    arrays: Values, name: str, index: tuple[int, ...], by: float = 0.01
) -> Values:
    """The same values with one of them wrong."""
    wrong = arrays[name].copy()
    wrong[index] += by
    return {**arrays, name: wrong}


def located(report: verify.Report) -> tuple[object, ...]:
    place = report.place
    assert place is not None
    return place.layer, place.value, place.step, place.row, place.unit


@pytest.mark.parametrize("name", MODELS)
def test_every_value_of_a_right_port_passes(name):
    model, x, arrays = case(name)
    report = verify.assert_outputs_match(model, x, arrays)
    assert [value.name for value in report.values if not value.matches] == []
    assert len(report.values) == len(arrays)
    assert report.advice == ()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("LSTM", "rnn/c_hat"), ("LSTM", "rnn/o"), ("LSTM", "rnn/c"),
        ("GRU, reset_after", "rnn/r"), ("GRU, reset_after", "rnn/h_hat"),
        ("GRU, reset_before", "rnn/z"), ("GRU, reset_before", "rnn/h"),
        ("SimpleRNN", "rnn/h"), ("forked", "bi/forward_layer/f"),
        ("forked", "bi/backward_layer/i"), ("forked", "simple/h"),
        ("forked", "lstm/c_hat"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_one_step_is_located_exactly(name, array):
    model, x, arrays = case(name)
    key, _, value = array.rpartition("/")
    wrong = planted(arrays, array, (3, 2, 1))
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    assert report.verdict is Verdict.FAIL
    assert located(report) == (key, value, 2, 3, 1)
    place = report.place
    assert place.found - place.expected == pytest.approx(0.01, rel=1e-3)
    assert place.expected == pytest.approx(arrays[array][3, 2, 1], abs=1e-6)
    assert array not in place.agreeing
    assert place.unseen == ()
    text = report.to_text()
    assert f"layer '{key}'" in text
    assert "time step 2 of 0..5, row 3, unit 1" in text


def test_of_two_differences_in_a_layer_the_earlier_step_counts():
    model, x, arrays = case("LSTM")
    wrong = planted(planted(arrays, "rnn/i", (0, 4, 0)), "rnn/h", (2, 3, 3))
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    assert located(report) == ("rnn", "h", 3, 2, 3)
    # the last step is the first that a backward layer computes
    model, x, arrays = case("forked")
    wrong = planted(arrays, "bi/backward_layer/h", (4, 1, 0))
    wrong = planted(wrong, "bi/backward_layer/o", (1, 5, 2))
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    assert located(report) == ("bi/backward_layer", "o", 5, 1, 2)


def test_of_two_differences_in_a_step_the_gate_computed_first_counts():
    model, x, arrays = case("LSTM")
    wrong = planted(planted(arrays, "rnn/c", (0, 2, 0)), "rnn/f", (4, 2, 2))
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    assert located(report) == ("rnn", "f", 2, 4, 2)


def test_differences_in_later_batches_are_located_too():
    model, x, arrays = case("forked")
    wrong = planted(arrays, "lstm/f", (4, 1, 2))
    wrong = planted(wrong, "lstm/f", (1, 3, 0))
    report = verify.compare_outputs(
        model, x, wrong, diagnosis_seconds=0, limits=Limits(batch_rows=2)
    )
    assert report.facts["pieces"] == 3
    assert located(report) == ("lstm", "f", 1, 4, 2)
    assert "differ" not in report.to_text()  # the outputs agree


def test_what_the_layer_is_and_what_comes_before_it_is_said():
    model, x, arrays = case("forked")
    some = {k: arrays[k] for k in ("gru/output", "simple/h")}
    report = verify.compare_outputs(
        model, x, planted(some, "simple/h", (0, 0, 0)), diagnosis_seconds=0
    )
    assert report.place.agreeing == ("gru/output",)
    assert report.place.unseen == ("bi",)
    assert "bi/output" in report.advice[0]
    assert (
        "rnn-verify compare a test --data x.npz --outputs port.npz" in report.advice[0]
    )


def test_the_outputs_that_agree_tell_on_which_side_of_a_fork_the_mistake_is():
    model, x, _ = case("forked")
    a, b = model.predict(x)
    report = verify.compare_outputs(model, x, [a, b + 0.01], diagnosis_seconds=0)
    assert report.suspects == ("lstm", "b")
    text = report.to_text()
    assert "outputs        : b differs, a agrees" in text
    assert "behind the fork: lstm and b: what agrees does not depend on them" in text
    assert "lstm/h" in report.advice[0]
    both = verify.compare_outputs(model, x, [a + 0.01, b + 0.01], diagnosis_seconds=0)
    assert both.suspects == ()


NAMES = sorted(case("forked")[2])


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@drawn(
    names=st.sets(st.sampled_from(NAMES), min_size=1),
    wrong=st.sampled_from(NAMES),
    data=st.data(),
)
def test_any_part_of_the_values_is_enough_for_the_first_difference(names, wrong, data):
    model, x, arrays = case("forked")
    given_ = {name: arrays[name] for name in names | {wrong}}
    report = verify.compare_outputs(model, x, given_, diagnosis_seconds=0)
    ends = {"a/output", "b/output"} <= set(given_)
    assert report.verdict is (Verdict.PASS if ends else Verdict.PARTIAL)
    assert (report.coverage is None) is ends
    index = tuple(data.draw(st.integers(0, n - 1)) for n in arrays[wrong].shape)
    report = verify.compare_outputs(
        model, x, planted(given_, wrong, index, by=0.05), diagnosis_seconds=0
    )
    assert report.verdict is Verdict.FAIL
    assert report.place.name == wrong
    assert report.place.index == index
    assert set(report.place.agreeing) <= names - {wrong}


@pytest.mark.parametrize(
    ("steps", "index"),
    [
        ("3", np.s_[:, 3]), ("-1", np.s_[:, 5]), ("0:2", np.s_[:, :2]),
        ("2:", np.s_[:, 2:]), (":-1", np.s_[:, :5]), ("0,2,5", np.s_[:, [0, 2, 5]]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["lstm", "bi/backward_layer"])
def test_some_steps_are_enough(steps, index, key):
    model, x, arrays = case("forked")
    part = arrays[f"{key}/f"][index]
    name = f"{key}/f@{steps}"
    assert verify.compare_outputs(model, x, {name: part}).verdict is Verdict.PARTIAL
    at = (2, 1) if part.ndim == 2 else (2, part.shape[1] - 1, 1)
    report = verify.compare_outputs(
        model, x, planted({name: part}, name, at), diagnosis_seconds=0
    )
    expected = np.arange(TIME)[index[1]]
    assert report.place.step == (expected if part.ndim == 2 else expected[-1])
    assert (report.place.row, report.place.unit) == (2, 1)


def digits(array: np.ndarray, count: int) -> np.ndarray:
    """Numbers as a program prints them with so many significant digits."""
    return np.array([f"{v:.{count}g}" for v in array.flat], float).reshape(array.shape)


@pytest.mark.parametrize(
    "form", ["float16", "text of float16", "3 decimals", "5 digits", "8 digits"]
)
def test_values_in_few_digits_pass_and_a_mistake_in_them_does_not(form):
    model, x, arrays = case("forked")
    forms = {
        "float16": lambda a: a.astype(np.float16),
        "text of float16": lambda a: a.astype(np.float16).astype("U9").astype(float),
        "3 decimals": lambda a: np.round(a.astype(float), 3),
        "5 digits": lambda a: digits(a, 5),
        "8 digits": lambda a: digits(a, 8),
    }  # fmt: skip
    few = {name: forms[form](array) for name, array in arrays.items()}
    report = verify.compare_outputs(model, x, few)
    assert report.verdict is Verdict.PASS, report
    assert ("recorded in" in report.to_text()) is (form != "8 digits")
    wrong = planted(few, "lstm/f", (3, 2, 1), by=0.01)
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    assert located(report) == ("lstm", "f", 2, 3, 1)


def test_numbers_of_float32_are_not_taken_for_few_digits():
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    assert Recording.of(values) is None
    assert Recording.of(values.astype(np.float64)) is None
    assert Recording.of(np.arange(9)) is None
    assert Recording.of(np.zeros((4, 4))) is None
    half = Recording.of(values.astype(np.float16))
    assert str(half) == "float16"
    assert half.slack(values) == 0.0  # later rows are no float16


def test_a_declared_number_format_is_allowed_for():
    model, x, arrays = case("LSTM")
    half = {name: array.astype(np.float16) for name, array in arrays.items()}
    rough = {n: a * np.float16(1 + 2**-9) for n, a in half.items() if n != "rnn/input"}
    assert not verify.compare_outputs(model, x, rough, diagnosis_seconds=0)
    report = verify.compare_outputs(model, x, rough, precision="float16")
    assert report.verdict is Verdict.PASS, report
    assert "float16" in report.allowance
    report = verify.compare_outputs(model, x, rough, tolerance=0.01)
    assert report.verdict is Verdict.PASS
    with pytest.raises(DataError, match="have no classes"):
        verify.compare_outputs(model, x, rough, tolerance="classes:99%")


def test_gates_of_masked_steps_may_be_anything():
    model, x = Network(lstm_spec()), ids()
    arrays = model.trace(x, dtype="float32").arrays()
    skipped = ~arrays["lstm/mask"]
    assert skipped.any()
    for gate in ("i", "f", "c_hat", "o"):
        arrays[f"lstm/{gate}"] = np.where(skipped[..., None], 7, arrays[f"lstm/{gate}"])
    assert verify.compare_outputs(model, x, arrays)
    arrays["lstm/h"] = np.where(skipped[..., None], 7, arrays["lstm/h"])
    assert not verify.compare_outputs(model, x, arrays, diagnosis_seconds=0)


def test_partial_says_what_is_proved_and_what_is_not():
    model, x, arrays = case("forked")
    some = {"bi/output": arrays["bi/output"], "lstm/h@0": arrays["lstm/h"][:, 0]}
    report = verify.compare_outputs(model, x, some)
    assert report.verdict is Verdict.PARTIAL
    assert not report
    assert report.verdict.exit_code == 3
    assert report.coverage.recurrent == ("gru", "bi")
    assert [one.name for one in report.coverage.unproved] == [
        "simple",
        "a",
        "lstm",
        "b",
    ]
    text = report.to_text()
    assert "2 of 6 layers" in text
    assert "a/output and b/output" in text
    assert "(2 array(s)); outputs a and b were not given\n" in text
    with pytest.raises(AssertionError, match=r"^PARTIAL"):
        verify.assert_outputs_match(model, x, some)


def test_outputs_may_be_called_by_either_of_their_names():
    model, x, arrays = case("forked")
    a, b = model.predict(x)
    for names in (("a", "b"), ("a/output", "b"), ("a/output", "b/output")):
        both = {**dict(zip(names, (a, b), strict=True)), "gru/h": arrays["gru/h"]}
        assert verify.compare_outputs(model, x, both).verdict is Verdict.PASS
    twice = {"a": a, "a/output": a, "b": b}
    with pytest.raises(DataError, match="'a/output' and 'a' are the same array"):
        verify.compare_outputs(model, x, twice)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("lstm/hh", None, r"'lstm/hh'. Did you mean lstm/h\? They are a, b, gru/input"),
        ("lsmt/h@2", None, r"'lsmt/h@2'. Did you mean lstm/h\?"),
        ("lstm/h@7", None, r"time steps from 0 to 5, .* Received: 7"),
        ("lstm/h@2,1", None, r"ascending, such as .* Received: 2,1"),
        ("lstm/h@", None, r"Received: $"),
        ("a/logits@1", None, r"'a/logits' has no axis of time steps. Received: @1"),
        ("lstm/h", lambda a: a.swapaxes(0, 1), r"time stands first: np.swapaxes"),
        ("lstm/h", lambda a: a[0], r"the axis of the rows is missing"),
        ("lstm/h", lambda a: np.moveaxis(a, -1, 1), r"np.moveaxis\(array, 1, -1\)"),
        ("lstm/h", lambda a: a[:, -1], r"with its number it is called 'lstm/h@5'"),
        ("lstm/h", lambda a: a[:, :4], r"4 of 6 time steps: .* 'lstm/h@0:4'"),
        ("lstm/h", lambda a: a[:3], r"there are 5 rows of inputs"),
        ("lstm/h", lambda a: a.reshape(5, 18), r"array.reshape\(\(5, 6, 3\)\)"),
        ("lstm/f", lambda a: np.tile(a, 4), r"lstm/i, lstm/f, lstm/c_hat, lstm/o"),
        ("lstm/f", lambda a: a.astype("U5"), r"'lstm/f': expected numbers"),
        ("lstm/f", lambda a: a[..., :1], r"\(5, 6, 3\), as the model computes it"),
    ],
)  # fmt: skip
def test_wrong_names_and_shapes_are_refused_by_name(name, change, said):
    model, x, arrays = case("forked")
    array = arrays.get(name, arrays["lstm/h"])
    with pytest.raises(DataError, match=said) as raised:
        verify.compare_outputs(
            model, x, {name: array if change is None else change(array)}
        )
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_the_mistake_is_named_from_the_values_of_its_layer():
    model, x, _ = case("forked")
    name = "recurrent_kernel of gate c transposed"
    mutant = next(
        m for m in catalogue(model.spec) if (m.name, m.layer) == (name, "lstm")
    )
    arrays = Network(mutant.model).trace(x, dtype="float32").arrays()
    some = {
        k: arrays[k] for k in ("gru/output", "lstm/c_hat", "b", "lstm/h") if k in arrays
    }
    report = verify.compare_outputs(model, x, some, diagnosis_seconds=5)
    assert located(report)[:3] == ("lstm", "c_hat", 1)  # h before the first step is 0
    assert report.diagnosis.explanations[0].layer == "lstm"
    assert report.diagnosis.explanations[0].mistake == name
    assert report.advice == ()


def test_every_mistake_of_a_recurrent_layer_has_gates_and_states():
    model = Network(lstm_spec())
    given = set(model.trace(ids()).arrays())
    mutants = [m for m in catalogue(model.spec) if m.layer == "lstm"]
    assert "rows read as steps" in {m.name for m in mutants}
    for mutant in mutants:
        if mutant.inputs is None and mutant.outputs is None:
            assert given <= set(Network(mutant.model).trace(ids()).arrays()), mutant


@pytest.mark.slow
def test_rows_read_as_steps_are_named_from_gates_and_states():
    model, x = Network(lstm_spec()), ids()
    mutant = next(m for m in catalogue(model.spec) if m.name == "rows read as steps")
    arrays = Network(mutant.model).trace(x, dtype="float32").arrays()
    assert arrays["lstm/f"].shape == model.trace(x).arrays()["lstm/f"].shape
    given = {name: arrays[name] for name in ("lstm/f", "lstm/h")}
    report = verify.compare_outputs(model, x, given, diagnosis_seconds=5)
    assert report.diagnosis.explanations[0].mistake == "rows read as steps"
    assert not report.diagnosis.untried


@pytest.mark.slow
def test_a_mistake_in_a_layer_that_was_not_given_is_found_behind_it():
    model, x, _ = case("forked")
    name = "recurrent_kernel of gate h transposed"
    mutant = next(
        m for m in catalogue(model.spec) if (m.name, m.layer) == (name, "gru")
    )
    arrays = Network(mutant.model).trace(x, dtype="float32").arrays()
    some = {k: arrays[k] for k in ("lstm/input", "lstm/h")}
    report = verify.compare_outputs(model, x, some, diagnosis_seconds=5)
    assert report.place.name == "lstm/input"
    assert report.place.unseen == ("gru",)
    assert report.diagnosis.explanations[0].layer == "gru"


def test_the_text_lists_what_differs_before_what_agrees():
    model, x, arrays = case("forked")
    wrong = planted(arrays, "b/logits", (0, 0))
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    text = report.to_text()
    assert "\n  b/logits " in text
    assert f"and {len(report.values) - SHOWN_VALUES} more, which agree" in text
    again = verify.Report(**{**vars(report), "partial_result": None})
    from verify.report.report import read_report

    assert read_report(json.loads(report.to_json())).place == again.place


def test_nan_and_infinity_in_a_port_differ():
    model, x, arrays = case("LSTM")
    for value in (np.nan, np.inf):
        report = verify.compare_outputs(
            model, x, planted(arrays, "rnn/o", (1, 4, 3), by=value), diagnosis_seconds=0
        )
        assert located(report) == ("rnn", "o", 4, 1, 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model file, inputs, and the values of a right port in files of all kinds."""
    folder = tmp_path_factory.mktemp("port")
    model = lstm_file(folder / "model.keras")
    network, x = verify.load(model), ids()
    arrays = network.trace(x, dtype="float32").arrays()
    np.save(folder / "x.npy", x)
    np.savez(folder / "port.npz", **arrays)
    for name in ("lstm/h", "lstm/f", "dense/output"):
        for form in ("npy", "csv"):
            path = folder / form / f"{name}.{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            flat = arrays[name].reshape(BATCH, -1)
            if form == "npy":
                np.save(path, arrays[name])
            else:
                half = flat.astype(np.float16).astype("U9")
                path.write_text("".join(f"{','.join(row)}\n" for row in half))
    return folder, network, x, arrays


@pytest.mark.parametrize("form", ["port.npz", "npy", "csv"])
def test_the_command_reads_archives_folders_and_text(files, form, capsys):
    folder, net, x, _ = files
    data = ["--data", f"{folder / 'x.npy'}"]
    outputs = ["--outputs", f"{folder / form}"]
    if form == "npy":
        assert verify.assert_outputs_match(net, x, folder / form)
        return
    assert main(["compare", f"{folder / 'model.keras'}", *data, *outputs]) == 0
    text = capsys.readouterr().out
    assert text.startswith("PASS")
    assert ("float16" in text) is (form == "csv")


def test_files_in_an_unusual_form_are_said(files, tmp_path):
    _, net, x, arrays = files
    for name in ("lstm/h", "lstm/f", "dense/output"):
        path = tmp_path / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        rows = arrays[name].reshape(BATCH, -1)
        separator = "," if name == "dense/output" else ";"
        path.write_text("".join(f"{separator.join(map(str, row))}\n" for row in rows))
    report = verify.compare_outputs(net, x, tmp_path)
    assert report.verdict is Verdict.PASS
    said = [note for note in report.warnings if "semicolon" in note]
    assert len(said) == 1
    assert "'lstm/f' and 1 more are read" in said[0]


@pytest.mark.slow
def test_a_trace_of_the_command_passes_and_a_changed_one_does_not(
    files, tmp_path, capsys
):
    folder, _, _, arrays = files
    model, data = f"{folder / 'model.keras'}", f"{folder / 'x.npy'}"
    out, port = f"{tmp_path / 'trace.npz'}", f"{tmp_path / 'port.npz'}"
    assert main(["trace", model, "--data", data, "--out", out]) == 0
    compare = ["compare", model, "--data", data, "--outputs"]
    assert main([*compare, out]) == 0
    np.savez(port, **planted(arrays, "lstm/o", (4, 3, 2)))
    capsys.readouterr()
    assert main([*compare, port, "--diagnosis-seconds", "0", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    place = found["place"]
    assert (place["name"], place["step"], place["row"], place["unit"]) == (
        "lstm/o", 3, 4, 2,
    )  # fmt: skip
    assert f"rnn-verify trace {model} --data {data}" in found["advice"][-1]


def test_the_command_refuses_unknown_names_in_one_line(files, tmp_path, capsys):
    folder, _, _, arrays = files
    model, data = f"{folder / 'model.keras'}", f"{folder / 'x.npy'}"
    compare = ["compare", model, "--data", data, "--outputs"]
    np.savez(tmp_path / "a.npz", **{"lstm/g": arrays["lstm/f"]})
    line = refused(main, capsys, *compare, f"{tmp_path / 'a.npz'}")
    assert "a.npz: expected names of arrays that the model computes" in line
    np.savez(tmp_path / "b.npz", lstm_h=arrays["lstm/h"], lstm_f=arrays["lstm/f"])
    line = refused(main, capsys, *compare, f"{tmp_path / 'b.npz'}")
    assert "Did you mean lstm/h?" in line


def test_folders_that_hold_no_arrays_or_one_twice_are_refused(files, tmp_path):
    _, net, x, arrays = files
    with pytest.raises(DataError, match=r"files ending in .npy, .csv, .parquet"):
        verify.assert_outputs_match(net, x, tmp_path)
    (tmp_path / "lstm").mkdir()
    np.save(tmp_path / "lstm" / "h.npy", arrays["lstm/h"])
    (tmp_path / "lstm" / "h.csv").write_text("1,2\n")
    with pytest.raises(DataError, match=r"one file for 'lstm/h'"):
        verify.assert_outputs_match(net, x, tmp_path)


@pytest.mark.slow
def test_columns_of_parquet_may_be_called_as_values(files, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    _, network, x, arrays = files
    table = {
        name: pa.array(arrays[name].reshape(BATCH, -1).tolist())
        for name in ("lstm/h", "dense/output")
    }
    parquet.write_table(pa.table(table), tmp_path / "port.parquet")
    report = verify.assert_outputs_match(network, x, tmp_path / "port.parquet")
    assert [value.name for value in report.values] == ["lstm/h", "dense/output"]


def test_a_stateful_model_goes_on_from_batch_to_batch(tmp_path):
    model, x = stateful_net("LSTM", 2, return_sequences=True), features(batch=4)
    y = model.predict(x)
    assert verify.compare_outputs(model, x, {"rnn/h": y, "rnn": y})
    write_trace(model, Arrays(x), tmp_path / "trace.npz")
    assert verify.assert_outputs_match(model, x, tmp_path / "trace.npz")
    wrong = planted({"rnn/h": y}, "rnn/h", (3, 2, 1))
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    assert located(report) == ("rnn", "h", 2, 3, 1)


FILES = Path(__file__).parents[2] / "data"


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "keras1/convolutional_tensorflow.h5", "keras2/merged.keras",
        "keras2/seq2seq.keras", "keras2/video.keras", "keras2/cells.keras",
        "exported/states.keras",
    ],
)  # fmt: skip
def test_a_trace_of_any_model_passes(file):
    """Shared layers, states, cells, convolutions, and layers inside others."""
    model = verify.load(FILES / file)
    x = usable_inputs(model)
    arrays = model.trace(x, dtype="float32").arrays()
    report = verify.assert_outputs_match(model, x, arrays)
    assert len(report.values) == len(arrays)


def shared() -> Network:
    """An LSTM that is called on two inputs, the second of them first."""
    functional = FunctionalNet(seed=3)
    first, second = (functional.input(name, None, TIME, INPUTS) for name in "xy")
    layer_ = layer("LSTM", "lstm", units=4)
    other = functional.call(layer_, second, features=INPUTS)
    return Network(functional.spec(functional.call(layer_, first)[0], other[0]))


def test_calls_of_a_shared_layer_are_told_apart():
    model = shared()
    x = {"x": features(seed=1), "y": features(seed=2)}
    assert model.output_names == ["lstm:2", "lstm"]
    y = model.predict(x)
    assert verify.compare_outputs(model, x, y)
    report = verify.compare_outputs(model, x, [y[0], y[1] + 1], diagnosis_seconds=0)
    assert [value.name for value in report.values if not value.matches] == ["lstm"]
    arrays = model.trace(x, dtype="float32").arrays()
    assert verify.compare_outputs(model, x, arrays)
    wrong = planted(arrays, "lstm:2/f", (1, 2, 3))
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    assert located(report) == ("lstm:2", "f", 2, 1, 3)


def test_a_comparison_can_be_sent_to_workers_and_resumed(tmp_path):
    model, x, arrays = case("LSTM")
    wrong = planted(arrays, "rnn/f", (4, 2, 1))
    limits = Limits(batch_rows=2)

    def by_pickle(function, batches, *, shared):
        for batch in batches:
            sent = pickle.loads(pickle.dumps((function, batch, shared)))
            yield sent[0](sent[1], **sent[2])

    options = {"diagnosis_seconds": 0, "limits": limits}
    whole = verify.compare_outputs(model, x, wrong, mapper=by_pickle, **options)
    assert located(whole) == ("rnn", "f", 2, 4, 1)

    class Interrupted(Exception):
        pass

    def stopping(function, batches, *, shared):
        yield function(next(iter(batches)), **shared)
        raise Interrupted

    path = tmp_path / "report.json"
    watch = verify.Watch(path)
    with pytest.raises(Interrupted):
        verify.compare_outputs(model, x, wrong, mapper=stopping, watch=watch, **options)
    kept = json.loads(path.read_text())
    assert kept["rows_compared"] == 2
    assert kept["verdict"] == "INCONCLUSIVE"
    watch = verify.Watch(path, resume=True)
    again = verify.compare_outputs(model, x, wrong, watch=watch, **options)
    assert again.to_dict() == whole.to_dict()


def test_ci_systems_get_a_case_for_each_array():
    model, x, arrays = case("LSTM")
    some = {
        name: arrays[name] for name in ("rnn/i", "rnn/h", "dense") if name in arrays
    }
    report = verify.compare_outputs(
        model, x, planted(some, "rnn/h", (0, 1, 2)), diagnosis_seconds=0
    )
    found = {one.name: one for one in layer_cases(report)}
    assert found["rnn/i"].outcome is Outcome.PASSED
    assert found["rnn/h"].outcome is Outcome.FAILED
    assert "time step 1 of 0..5" in found["rnn/h"].text


def test_what_layers_return_has_a_derived_bound_and_gates_have_not():
    model, x, arrays = case("forked")
    values = {v.name: v for v in verify.compare_outputs(model, x, arrays).values}
    assert values["bi/output"].derived == 1
    assert values["lstm/output"].derived == 1
    assert values["lstm/f"].derived == values["bi/backward_layer/output"].derived == 0
    bound = values["bi/output"].comparison.allowed
    assert values["bi/output"].comparison.max_diff < bound
    wrong = planted(arrays, "bi/output", (1, 2, 3), by=2 * bound)
    report = verify.compare_outputs(model, x, wrong, diagnosis_seconds=0)
    assert located(report) == ("bi", "output", 2, 1, 3)
