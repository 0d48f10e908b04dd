"""The outputs of somebody's port: is it the model, and if not, which mistake is it?"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from support.nets import (
    ids,
    input_layer,
    layer,
    lstm_spec,
    rnn,
    spec,
    word_net,
)
from support.thoroughness import many, some

import verify
from verify import DataError, Network, Verdict, compare_outputs
from verify.mistakes.catalogue import Mutant, catalogue
from verify.mistakes.search import Case
from verify.model.arrays import Array


def test_outputs_of_the_model_in_float32_pass():
    net = Network(lstm_spec())
    x = ids(batch=64)
    report = compare_outputs(net, x, net.predict(x))
    assert report.verdict is Verdict.PASS
    assert report.diagnosis is None
    assert report.layers == ()


def share_outputs(monkeypatch, net: Network, x: np.ndarray) -> None:
    """Have diagnoses of one model on rows of `x` evaluate each mutant once.

    A mutant that changes layers alone computes every row by itself, so the outputs on
    all rows hold those on any; the others are evaluated each time.
    """
    evaluate, known = Case.outputs, dict[tuple[str, str], list[Array]]()
    whole, numbers = net.prepare(x), {row.tobytes(): k for k, row in enumerate(x)}

    def outputs(case: Case, mutant: Mutant) -> list[Array]:
        if not mutant.changes or mutant.ties_rows or not mutant.alone:
            return evaluate(case, mutant)
        key = mutant.name, mutant.layer
        if key not in known:
            known[key] = evaluate(replace(case, x=whole), mutant)
        rows = [numbers[row.astype(x.dtype).tobytes()] for row in case.x[0]]
        return [y[rows] for y in known[key]]

    monkeypatch.setattr(Case, "outputs", outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SimpleRNN", {}),
        ("LSTM", {}),
        ("GRU", {}),
        ("GRU", {"reset_after": False}),
        ("LSTM", {"use_bias": False}),
    ],
)
def test_every_mistake_is_named_from_the_final_outputs_alone(
    kind, options, monkeypatch
):
    right = word_net(rnn(kind, **options))
    x = ids(batch=64)
    share_outputs(monkeypatch, Network(right), x)
    first, mutants = 0, some(catalogue(right), 42, len(kind))
    for mutant in mutants:
        outputs = mutant.evaluate(x, None)[0]  # float32, as a port computes
        report = compare_outputs(Network(right), x, outputs)
        assert report.verdict is Verdict.FAIL, mutant.name
        found = [(e.mistake, e.layer) for e in report.diagnosis.explanations]
        assert (mutant.name, mutant.layer) in found, mutant.name
        first += found[0] == (mutant.name, mutant.layer)
    assert first >= 0.8 * len(mutants)  # float16 and TF32 often round alike


@pytest.mark.slow
def test_a_difference_that_no_known_mistake_explains_is_said_to_be_so():
    net = Network(lstm_spec())
    x = ids(batch=16)
    outputs = net.predict(x) + np.linspace(0, 1e-2, 32).reshape(16, 2)
    report = compare_outputs(net, x, outputs)
    assert report.verdict is Verdict.FAIL
    assert not report.diagnosis
    assert report.diagnosis.tried > 400  # two at a time too
    assert "none of the" in report.to_text()


def test_more_rows_than_a_diagnosis_looks_at():
    right = lstm_spec()
    x = ids(batch=2000)
    mutant = next(m for m in catalogue(right) if m.name == "mask ignored")
    report = compare_outputs(Network(right), x, mutant.evaluate(x, None)[0])
    assert report.diagnosis.explanations[0].mistake == "mask ignored"


@pytest.mark.slow
def test_a_diagnosis_takes_seconds_on_a_model_of_the_chapters_size():
    right = spec(
        input_layer(None, 26, dtype="int32"),
        layer("Embedding", "words", input_dim=500, output_dim=32),
        layer("LSTM", "lstm_1", units=40, return_sequences=True),
        layer("LSTM", "lstm_2", units=40),
        layer("Dense", "dense", units=2, activation="softmax"),
    )
    # weights as small as a trained model's, so that the network is not chaotic
    for part in right:
        small = {k: v * 0.2 for k, v in part.weights.items()}
        right = right.with_layer(part.with_weights(**small))
    x = np.random.default_rng(0).integers(1, 500, size=(300, 26))
    mutant = next(
        m
        for m in catalogue(right)
        if m.layer == "lstm_2" and m.name == "gate order i,c,f,o"
    )
    outputs = mutant.evaluate(x, None)[0]
    began = time.process_time()
    report = compare_outputs(Network(right), x, outputs)
    assert time.process_time() - began < 60  # a bound against minutes, no benchmark
    assert report.diagnosis.explanations[0].mistake == "gate order i,c,f,o"
    assert report.diagnosis.explanations[0].layer == "lstm_2"


def test_outputs_of_another_shape_or_kind_are_refused():
    net = Network(lstm_spec())
    with pytest.raises(DataError, match=r"shape \(5, 2\), as predict returns"):
        compare_outputs(net, ids(), np.zeros((5, 3)))
    with pytest.raises(DataError, match="expected outputs that are numbers"):
        compare_outputs(net, ids(), np.full((5, 2), "a"))


def test_nan_in_the_outputs_of_a_port_fails():
    net = Network(lstm_spec())
    outputs = net.predict(ids())
    outputs[1, 0] = np.nan
    report = compare_outputs(net, ids(), outputs)
    assert report.verdict is Verdict.FAIL
    assert report.numerics.first == (1, 0)


def test_the_catalogue_leaves_out_what_changes_nothing():
    lstm = lstm_spec()
    zero = lstm["lstm"].with_weights(bias=np.zeros(16, dtype=np.float32))
    names = {m.name for m in catalogue(lstm.with_layer(zero)) if m.layer == "lstm"}
    assert "bias missing" not in names
    assert "forget bias added again" in names


def test_every_entry_of_the_catalogue_says_what_and_how_to_mend_it():
    seen = set()
    for right in [word_net(rnn(kind)) for kind in ("SimpleRNN", "LSTM", "GRU")]:
        for mutant in catalogue(right):
            assert mutant.explanation
            assert mutant.remedy
            assert (mutant.name, mutant.layer, id(right)) not in seen
            seen.add((mutant.name, mutant.layer, id(right)))
    lstm = verify.load(Network(word_net(rnn("LSTM")))).spec["rnn"]
    assert lstm.gates == ("i", "f", "c", "o")


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("places", [3, 4, 5])
def test_outputs_that_were_printed_are_compared_to_their_last_decimal(places, dtype):
    net, x = Network(lstm_spec()), ids(batch=64)
    printed = np.round(net.predict(x).astype(np.float64), places).astype(dtype)
    report = compare_outputs(net, x, printed)
    assert report.verdict is Verdict.PASS
    assert any(f"recorded to {places} decimal(s)" in w for w in report.warnings)
    off = printed.copy()
    off[5, 0] += 2 * 10.0**-places
    assert compare_outputs(net, x, off).verdict is Verdict.FAIL


@pytest.mark.slow
def test_a_mistake_is_named_from_printed_outputs():
    right, x = lstm_spec(), ids(batch=64)
    ours, clear = Network(right).predict(x), 0
    for mutant in some(catalogue(right), 50):
        printed = np.round(mutant.evaluate(x, None)[0].astype(np.float64), 5)
        # what moves the outputs by a unit of the last decimal or two could be anything
        if np.abs(printed - ours).max() <= 5e-5:
            continue
        clear += 1
        report = compare_outputs(Network(right), x, printed)
        assert report.verdict is Verdict.FAIL
        assert mutant.name in [e.mistake for e in report.diagnosis.explanations]
    assert clear > many(100, 3)


@pytest.mark.usefixtures("undiagnosed")
def test_outputs_of_two_decimals_decide_nothing_unless_they_are_wrong():
    net, x = Network(lstm_spec()), ids(batch=64)
    printed = np.round(net.predict(x).astype(np.float64), 2)
    report = compare_outputs(net, x, printed)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "recorded to 2 decimal(s)" in report.reason
    assert compare_outputs(net, x, 1 - printed).verdict is Verdict.FAIL
    classes = (net.predict(x) > 0.5).astype(int)  # no outputs of the model at all
    assert compare_outputs(net, x, classes).verdict is Verdict.FAIL


def test_a_gru_that_resets_before_the_product_as_onnx_does_is_one_mistake():
    """ONNX adds the recurrent bias outside the reset gate then, in every layer."""
    right = word_net(rnn("GRU", "one", return_sequences=True), rnn("GRU", "two"))
    wrong = right
    for name in ("one", "two"):
        gru = right[name].with_options(reset_after=False)
        bias = gru.weights["bias"]
        gru = gru.with_weights(bias=np.stack([bias.sum(axis=0), 0 * bias[0]]))
        wrong = wrong.with_layer(gru)
    x = ids(batch=64)
    report = compare_outputs(Network(right), x, Network(wrong).predict(x))
    (found,) = report.diagnosis.explanations
    assert found.mistake == "reset_after False, in all 2 GRU layers"
    assert "linear_before_reset=0" in report.to_text()


@pytest.mark.parametrize("differ", [2, 6])
def test_an_id_that_tells_the_rows_that_differ_is_said(differ):
    """One row of the port's table holds other numbers, which no catalogue can have."""
    right, x = lstm_spec(), ids(batch=64)
    x[x == 7] = 8
    x[10 : 10 + differ, 2] = 7
    table = right["embedding"].weights["embeddings"].copy()
    table[7] = np.random.default_rng(0).normal(size=table.shape[1])
    wrong = right.with_layer(right["embedding"].with_weights(embeddings=table))
    theirs = Network(wrong).predict(x)
    report = compare_outputs(Network(right), x, theirs, diagnosis_seconds=1)
    said = "every row that differs holds id 7, and no other row does: compare row 7"
    assert (said in report.to_text()) == (differ >= 3)
    assert "of the table of layer 'embedding'" in report.to_text() or differ < 3
