"""A tolerance of the user's is read strictly, and never below rounding."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from support import commands
from support.nets import (
    INPUTS,
    OUTPUTS,
    features,
    input_layer,
    layer,
    lstm_file,
    mutated,
    rnn,
    spec,
    word_net,
)

import verify
from verify import DataError, Network, Verdict
from verify.__main__ import main
from verify.checks._batches import Examiner, Limits
from verify.checks.checkpoint import Watch
from verify.data.json_values import from_json, to_json
from verify.report.report import read_report
from verify.tolerance.user_tolerance import ClassAgreement, UserTolerance

refused = functools.partial(commands.refused, main)
ROWS = 40


@pytest.fixture(scope="module")
def net() -> Network:
    """Features, an LSTM, Dense."""
    return Network(
        spec(
            input_layer(None, None, INPUTS),
            rnn("LSTM"),
            layer("Dense", "dense", units=OUTPUTS),
        )
    )


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return features(batch=ROWS)


@pytest.fixture(scope="module")
def y(net, x) -> np.ndarray:
    return net.predict(x)


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [
        ("1e-3", "absolute", 1e-3), ("0.5", "absolute", 0.5), (2, "absolute", 2.0),
        (1e-5, "absolute", 1e-5), (".5", "absolute", 0.5), ("1%", "relative", 0.01),
        ("0.1%", "relative", 0.001), ("classes:99%", "classes", 0.99),
        ("classes:100%", "classes", 1.0),
    ],
)  # fmt: skip
def test_a_tolerance_is_a_number_a_percentage_or_a_share_of_classes(given, kind, value):
    found = UserTolerance.read(given)
    assert found.kind == kind
    assert found.value == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "given",
    [
        "", "0", "-1e-3", "nan", "inf", "1e999", "1e-3 ", "1 %", "0%", "100%", "150%",
        "classes:0.99", "classes:0%", "classes:101%", "classes", "class:99%", "rel:0.1",
        "1,5", "1e-3absolute", "\u0661%", "1_000", 0, -1.0, float("nan"), True,
        "\x1b[31m",
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(given):
    with pytest.raises(DataError, match=r"^tolerance: expected a number above 0") as at:
        UserTolerance.read(given)
    assert "\n" not in str(at.value)
    assert "\x1b" not in str(at.value)


def off_by(y: np.ndarray, diff: float) -> np.ndarray:
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=y.shape)
    return (y + diff * signs).astype(np.float32)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("tolerance", ["1e-3", "1%"])
def test_what_is_within_the_tolerance_passes_by_it_and_says_so(net, x, y, tolerance):
    near = off_by(y, 5e-4)
    assert verify.compare_outputs(net, x, near).verdict is Verdict.FAIL
    report = verify.compare_outputs(net, x, near, tolerance=tolerance)
    assert report.verdict is Verdict.PASS
    said = {
        "1e-3": "0.001 absolute",
        "1%": "1% of the greatest output of a unit",
    }[tolerance]
    assert report.reason == (
        f"the outputs are those of the model within the tolerance given ({said})"
    )
    assert report.to_dict()["facts"]["tolerance"] == said
    assert f"allowed  : the tolerance given, {said}" in report.to_text()
    assert read_report(json.loads(report.to_json())).to_dict() == report.to_dict()


@pytest.mark.usefixtures("undiagnosed")
def test_a_relative_tolerance_is_of_the_greatest_output_of_each_unit(net, x, y):
    greatest = np.abs(y).max(axis=0)  # (OUTPUTS,)
    for share, verdict in ((0.009, Verdict.PASS), (0.011, Verdict.FAIL)):
        for unit in range(OUTPUTS):
            wrong = y.copy()
            wrong[7, unit] += share * greatest[unit]
            report = verify.compare_outputs(net, x, wrong, tolerance="1%")
            assert report.verdict is verdict, (share, unit)


def test_what_is_beyond_the_tolerance_fails_and_the_diagnosis_allows_it_too(net, x, y):
    port = mutated(net.spec, "gate order f,i,c,o")
    wrong = off_by(port.predict(x), 5e-4)  # the mistake, and rounding of the port's own
    report = verify.compare_outputs(net, x, wrong, tolerance="1e-3")
    assert report.verdict is Verdict.FAIL
    assert report.reason.startswith(
        "the outputs are not those of the model, not even within the tolerance given "
        "(0.001 absolute)"
    )
    assert report.diagnosis
    assert report.diagnosis.explanations[0].layer == "rnn"
    assert 4e-4 < report.diagnosis.explanations[0].max_diff < 1e-3


def test_outputs_within_rounding_pass_without_the_tolerance(net, x, y):
    for tolerance in ("1e-3", "1e-12", "1%"):
        report = verify.compare_outputs(net, x, y, tolerance=tolerance)
        assert report.verdict is Verdict.PASS
        assert report.reason == "the outputs are those of the model"


def test_a_model_that_amplifies_rounding_passes_by_the_tolerance_or_is_open():
    wild = layer("SimpleRNN", "rnn", units=40)
    net = Network(spec(input_layer(None, None, INPUTS), wild))
    x = features(batch=3, time=200) / 50
    (y,) = net.flat(net.prepare(x), dtype="float64")
    y[:, 0] += 0.01
    free = verify.compare_outputs(net, x, y)
    assert free.verdict is Verdict.INCONCLUSIVE
    found = {
        tolerance: verify.compare_outputs(net, x, y, tolerance=tolerance)
        for tolerance in ("0.02", "0.001")
    }
    assert found["0.02"].verdict is Verdict.PASS
    assert "within the tolerance given" in found["0.02"].reason
    assert found["0.001"].verdict is Verdict.INCONCLUSIVE
    assert found["0.001"].reason == free.reason


@pytest.mark.usefixtures("undiagnosed")
def test_a_share_of_classes_counts_rows_and_names_those_of_another_class():
    net = Network(word_net(rnn("GRU")))
    x = np.random.default_rng(0).integers(1, 11, size=(ROWS, 6)).astype(np.int32)
    y = net.predict(x)
    other = y.copy()
    other[[3, 17]] = other[[3, 17], ::-1]  # two of 40 rows: 95%
    fine = verify.compare_outputs(net, x, other, tolerance="classes:95%")
    assert fine.verdict is Verdict.PASS
    assert fine.reason == (
        "the classes are those of the model within the tolerance given (95% of the "
        "classes must agree): 95.00% of 40 classes agree; the first rows that do not: "
        "3, 17"
    )
    short = verify.compare_outputs(net, x, other, tolerance="classes:96%")
    assert short.verdict is Verdict.FAIL
    assert "95.00% of 40 classes agree" in short.reason
    small = verify.compare_outputs(
        net, x, other, tolerance="classes:95%", limits=Limits(batch_rows=7)
    )
    assert small.reason == fine.reason


@pytest.mark.parametrize("tolerance", ["1%", "5e-3", "0.1%", "classes:100%"])
def test_a_tolerance_decides_batches_at_first_look_as_it_does_later(
    tolerance, monkeypatch
):
    net = Network(word_net(rnn("GRU")))
    x = np.random.default_rng(0).integers(1, 11, size=(ROWS, 6)).astype(np.int32)
    port = (net.predict(x) * 1.004).astype(np.float32)
    options = {"tolerance": tolerance, "limits": Limits(batch_rows=16)}
    options["diagnosis_seconds"] = 0
    found = verify.compare_outputs(net, x, port, **options)
    monkeypatch.setattr("verify.checks._batches.first_look", lambda *_: None)
    later = verify.compare_outputs(net, x, port, **options)
    assert (found.verdict, found.reason) == (later.verdict, later.reason)
    assert found.verdict is (Verdict.FAIL if tolerance == "0.1%" else Verdict.PASS)


@pytest.mark.parametrize("tolerance", [None, "1%"])
def test_only_a_tolerance_spares_a_batch_beyond_rounding_the_whole(
    tolerance, monkeypatch
):
    net = Network(word_net(rnn("GRU")))
    x = np.random.default_rng(0).integers(1, 11, size=(ROWS, 6)).astype(np.int32)
    port = (net.predict(x) * 1.004).astype(np.float32)
    whole = []
    tolerances = Examiner.tolerances

    def noted(self, *given):
        whole.append(1)
        return tolerances(self, *given)

    monkeypatch.setattr(Examiner, "tolerances", noted)
    verify.compare_outputs(
        net, x, port, tolerance=tolerance, limits=Limits(batch_rows=20),
        diagnosis_seconds=0,
    )  # fmt: skip
    assert len(whole) == (0 if tolerance else 2)


def test_a_sigmoid_chooses_its_class_above_a_half():
    net = Network(
        spec(
            input_layer(None, None, INPUTS),
            rnn("LSTM"),
            layer("Dense", "dense", units=1, activation="sigmoid"),
            layer("Dropout", "dropout", rate=0.1),
        )
    )
    x = features(batch=ROWS)
    y = net.predict(x)
    port = np.where(y > 0.5, 0.9, 0.1).astype(np.float32)
    port[5] = 1 - port[5]
    report = verify.compare_outputs(net, x, port, tolerance="classes:97%")
    assert report.verdict is Verdict.PASS
    assert "97.50% of 40 classes agree; the first rows that do not: 5" in report.reason


def test_classes_are_refused_for_a_single_number_without_a_sigmoid():
    net = Network(spec(input_layer(None, INPUTS), layer("Dense", "dense", units=1)))
    x = features()[:, 0]
    with pytest.raises(DataError, match=r"Received: output 'dense', one column"):
        verify.compare_outputs(net, x, net.predict(x), tolerance="classes:99%")


def test_nan_agrees_with_no_class():
    ours, theirs = np.array([[0.2, 0.8], [0.7, 0.3]]), np.full((2, 2), np.nan)
    theirs[1] = [0.6, 0.4]
    found = ClassAgreement.of(ours, theirs, binary=False, start=10)
    assert found == ClassAgreement(2, 1, (10,))
    assert ClassAgreement.of(ours, theirs[:1], binary=False) == ClassAgreement(
        2, 0, (0, 1)
    )


def test_the_agreement_of_batches_adds_up_and_survives_json():
    a, b = ClassAgreement(5, 4, (2,)), ClassAgreement(9, 3, (5, 6, 7, 8, 9))
    both = a.merge(b)
    assert both == ClassAgreement(14, 7, (2, 5, 6, 7, 8))
    assert from_json(ClassAgreement, json.loads(json.dumps(to_json(both)))) == both


def test_a_report_without_the_option_does_not_mention_it(net, x, y, tmp_path):
    path = tmp_path / "report.json"
    verify.compare_outputs(net, x, y, watch=Watch(path))
    text = path.read_text(encoding="utf-8")
    assert "classes" not in text
    assert '"tolerance"' not in text


def test_a_comparison_resumes_only_by_the_same_tolerance(net, x, y, tmp_path):
    path = tmp_path / "report.json"
    verify.compare_outputs(net, x, y, watch=Watch(path), tolerance="1e-3")
    again = Watch(path, resume=True)
    verify.compare_outputs(net, x, y, watch=again, tolerance=0.001)
    for other in ("1%", None):
        with pytest.raises(DataError, match="tolerance"):
            verify.compare_outputs(
                net, x, y, watch=Watch(path, resume=True), tolerance=other
            )


@pytest.mark.usefixtures("undiagnosed")
def test_the_command_takes_a_tolerance(tmp_path, capsys):
    path = lstm_file(tmp_path / "m.keras")
    x = np.random.default_rng(0).integers(1, 11, size=(ROWS, 6)).astype(np.int32)
    y = verify.load(path).predict(x)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", off_by(y, 1e-3))
    files = [
        *("compare", str(path), "--data", str(tmp_path / "x.npy")),
        *("--outputs", str(tmp_path / "y.npy")),
    ]
    assert main(files) == 1
    capsys.readouterr()
    assert main([*files, "--tolerance", "1%"]) == 0
    assert "within the tolerance given (1% of" in capsys.readouterr().out
    said = refused(capsys, *files, "--tolerance", "x")
    assert "tolerance: expected a number" in said
