"""The search: several layers at once, rows, time, and what it leaves open."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    TIME,
    GivenWeights,
    features,
    ids,
    input_layer,
    layer,
    lstm_spec,
    random_weights,
    rnn,
    sequential,
    spec,
    word_net,
    write_keras_file,
)

from verify import DataError, Network, Verdict, compare_outputs
from verify.__main__ import main
from verify.mistakes.catalogue import catalogue, same_mistakes
from verify.mistakes.catalogue.combined import together
from verify.mistakes.diagnose import diagnose
from verify.mistakes.search import Case
from verify.model.spec import ModelSpec
from verify.model_files.config import read_model

pytestmark = pytest.mark.slow


def stack(kind: str, count: int, **options) -> ModelSpec:
    """Features, `count` recurrent layers of 4, 5, ... units, and a Dense."""
    return spec(
        input_layer(None, TIME, INPUTS),
        *(
            layer(
                kind,
                f"rnn_{k}",
                units=4 + k,
                return_sequences=k < count - 1,
                **options,
            )
            for k in range(count)
        ),
        layer("Dense", "dense", units=2),
    )


def named(right: ModelSpec, mutant, x, **more):
    """The diagnosis of the outputs of a mutant, in float32 as a port returns them."""
    theirs = [y.astype(np.float32) for y in mutant.evaluate(Network(right).prepare(x))]
    allowed = [2e-5] * len(theirs)
    return diagnose(right, Network(right).prepare(x), theirs, allowed=allowed, **more)


@pytest.mark.parametrize(("kind", "order"), [("LSTM", "i,f,o,c"), ("GRU", "r,z,h")])
@pytest.mark.parametrize(
    "count", [2, *(pytest.param(n, marks=pytest.mark.thorough) for n in (3, 4))]
)
def test_a_mistake_in_all_layers_of_a_class_is_one_mistake(kind, order, count):
    right, x = stack(kind, count), features(batch=12)
    wanted = f"gate order {order}, in all {count} {kind} layers"
    mutant = next(m for m in same_mistakes(right) if m.name == wanted)
    found = named(right, mutant, x)
    assert [e.mistake for e in found.explanations] == [wanted]
    assert f"in all {count} {kind} layers: gates read in" in (
        found.explanations[0].explanation
    )
    assert found.explanations[0].digits >= 6
    # planted in one layer alone it is not what is said
    alone = next(m for m in catalogue(right) if m.name == f"gate order {order}")
    assert [(e.mistake, e.layer) for e in named(right, alone, x).explanations] == [
        (f"gate order {order}", "rnn_0")
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bias missing", "in the backward half of all 2 Bidirectional layers"),
        pytest.param(
            "gate order i,f,o,c", "in all 4 LSTM layers", marks=pytest.mark.thorough
        ),
    ],
)
def test_what_is_wrong_in_the_halves_of_every_bidirectional_is_said_so(name, words):
    right = two_bidirectional()
    (wanted,) = [m for m in same_mistakes(right) if m.name == f"{name}, {words}"]
    found = named(right, wanted, features(batch=16))
    assert [e.mistake for e in found.explanations] == [wanted.name]


def two_bidirectional() -> ModelSpec:
    """Features, and two Bidirectional LSTM of 3 units."""
    inner = layer("LSTM", "inner", units=3, return_sequences=True)
    config = sequential(
        input_layer(None, TIME, INPUTS),
        *(
            layer("Bidirectional", f"both_{k}", layer=inner, merge_mode="concat")
            for k in range(2)
        ),
    )

    class Halves(GivenWeights):
        def inside(self, container, key, class_name, number):
            if not key.startswith("both_"):
                return super().inside(container, key, class_name, number)
            shapes = [(6 if key == "both_1" else INPUTS, 12), (3, 12), (12,)]
            halves = [
                [w.astype(np.float32) for w in random_weights(shapes, seed + number)]
                for seed in (5, 9)
            ]
            return Halves({"forward_layer": halves[0], "backward_layer": halves[1]})

    return read_model(config, Halves({}), source="a test", keras_version="3.15.1")


def test_two_mistakes_in_every_layer_are_named_together():
    right, x = stack("LSTM", 2), features(batch=12)
    several = {m.name: m for m in same_mistakes(right)}
    one = several["gate order i,c,f,o, in all 2 LSTM layers"]
    two = several["forget bias added again, in all 2 LSTM layers"]
    both = together(one, two)
    assert both is not None
    (found,) = named(right, both, x).explanations
    assert set(found.mistake.split("; ")) == {one.name, two.name}


@pytest.mark.parametrize("make", [lambda: stack("GRU", 2), lstm_spec])
def test_layers_that_a_mistake_does_not_reach_are_recalled_rightly(make):
    right = make()
    net = Network(right)
    words = right.inputs[0].options["dtype"] == "int32"
    x = net.prepare(ids(batch=9) if words else features(batch=9))
    case = Case(x, net.flat(x), [1e-6]).with_ours(right)
    tried = 0
    for mutant in [*catalogue(right), *same_mistakes(right)]:
        for recalled, plain in zip(
            case.outputs(mutant), mutant.evaluate(x), strict=True
        ):
            np.testing.assert_allclose(recalled, plain, rtol=1e-9, atol=1e-9)
        tried += 1
    assert tried > 100


def test_a_search_does_not_depend_on_what_was_computed_before():
    right = lstm_spec()
    net, x = Network(right), ids(batch=32)
    for _ in range(3):  # then the fast path has multiplied the embedding by the kernel
        net.predict(x, dtype="float64")
    mutant = next(m for m in catalogue(right) if m.name == "gate order i,f,o,c")
    found = named(right, mutant, x)
    assert [e.mistake for e in found.explanations] == [mutant.name]
    assert not found.untried


@pytest.mark.parametrize(
    "rows", [*(pytest.param(n, marks=pytest.mark.thorough) for n in (64, 96)), 200]
)
def test_what_ties_rows_together_is_sought_on_the_first_rows(rows):
    right, x = lstm_spec(), ids(batch=rows)
    for name in ("states carried to the next row", "states carried to the next batch"):
        mutant = next(m for m in catalogue(right) if m.name == name)
        report = compare_outputs(
            Network(right), x, mutant.evaluate(Network(right).prepare(x), "float32")
        )
        assert name in [e.mistake for e in report.diagnosis.explanations]


def test_what_explains_most_rows_is_kept_with_the_first_row_that_it_does_not():
    right, x = lstm_spec(), ids(batch=60)
    mutant = next(m for m in catalogue(right) if m.name == "bias missing")
    theirs = mutant.evaluate(Network(right).prepare(x), "float32")
    theirs[0][[17, 40]] += np.float32(0.125)
    diagnosis = compare_outputs(
        Network(right), x, theirs[0], diagnosis_seconds=4
    ).diagnosis
    assert not diagnosis
    nearest = diagnosis.nearest
    assert nearest.explanation.mistake == "bias missing"
    assert (nearest.rows, nearest.explained, nearest.first) == (60, 58, 17)
    assert "row" in nearest.remains


def test_noise_is_not_blamed_on_anything():
    right, x = lstm_spec(), ids(batch=40)
    rng = np.random.default_rng(1)
    theirs = rng.uniform(size=(40, 2)).astype(np.float32)
    diagnosis = compare_outputs(
        Network(right), x, theirs, diagnosis_seconds=2
    ).diagnosis
    assert not diagnosis
    assert diagnosis.nearest is None


def test_a_mistake_and_rounded_outputs_are_named_together():
    right, x = stack("GRU", 1), features(batch=40)
    mutant = next(m for m in catalogue(right) if m.name == "bias row 1 missing")
    theirs = np.floor(mutant.evaluate(Network(right).prepare(x))[0] * 1024) / 1024
    (found,) = compare_outputs(Network(right), x, theirs).diagnosis.explanations
    assert found.mistake.startswith("bias row 1 missing; outputs ")
    assert "2^-10" in found.explanation


def test_a_search_ends_in_time_and_says_what_it_left_out():
    right, x = stack("LSTM", 4), features(batch=40)
    theirs = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    report = compare_outputs(Network(right), x, theirs, diagnosis_seconds=0.05)
    assert report.verdict is Verdict.FAIL
    assert report.diagnosis.seconds < 2
    said = " ".join(report.diagnosis.unsearched)
    assert "known mistakes" in said
    assert "single wrong number" in said
    assert "--diagnosis-seconds" in report.to_text()
    report = compare_outputs(Network(right), x, theirs, diagnosis_seconds=0)
    assert report.verdict is Verdict.FAIL
    assert report.diagnosis is None


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_time_that_is_none_is_refused(seconds):
    net, x = Network(lstm_spec()), ids()
    with pytest.raises(DataError, match="diagnosis_seconds: expected a number"):
        compare_outputs(net, x, net.predict(x), diagnosis_seconds=seconds)


def test_no_share_is_said_where_a_difference_is_infinite():
    right, x = lstm_spec(), ids(batch=40)
    mutant = next(m for m in catalogue(right) if m.name == "bias missing")
    (theirs,) = mutant.evaluate(x, "float32")
    theirs[17] = np.inf
    text = compare_outputs(Network(right), x, theirs, diagnosis_seconds=5).to_text()
    assert "explains       : 39 of 40 rows, the first it does not: row 17\n" in text
    assert "% of the difference" not in text


def test_the_rules_of_a_backend_are_proposed_only_if_nothing_else_fits():
    right, x = word_net(rnn("LSTM")), ids(batch=20)
    mutant = next(m for m in catalogue(right) if m.name == "mask ignored")
    theirs = mutant.evaluate(Network(right).prepare(x), "float32")[0]
    diagnosis = compare_outputs(Network(right), x, theirs).diagnosis
    assert not any("Keras on" in e.mistake for e in diagnosis.explanations)


def test_an_explanation_that_fits_worse_is_not_shown():
    right, x = lstm_spec(), ids(batch=30)
    mutants = [m for m in catalogue(right) if m.name == "bias missing"]
    theirs = mutants[0].evaluate(Network(right).prepare(x), "float32")
    # so much is allowed that every mistake of the catalogue would do
    diagnosis = diagnose(right, Network(right).prepare(x), theirs, allowed=[10.0])
    assert [e.mistake for e in diagnosis.explanations] == ["bias missing"]


def test_the_verdict_is_said_and_written_before_the_search(
    tmp_path, capsys, monkeypatch
):
    right = lstm_spec()
    config = right.config
    model = write_keras_file(
        tmp_path / "m.keras", config, [list(x.weights.values()) for x in right]
    )
    x = ids(batch=20)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", 1 - Network(right).predict(x))
    seen = {}

    def search(*args, **more):
        seen["report"] = json.loads((tmp_path / "r.json").read_text())
        seen["said"] = capsys.readouterr().err
        return diagnose(*args, **more)

    monkeypatch.setattr("verify.checks._outputs_comparison.diagnose", search)
    code = main(
        ["compare", str(model), "--data", str(tmp_path / "x.npy"), "--outputs",
         str(tmp_path / "y.npy"), "--report", str(tmp_path / "r.json"),
         "--diagnosis-seconds", "2"]
    )  # fmt: skip
    assert code == 1
    assert seen["report"]["verdict"] == "FAIL"
    assert seen["report"]["diagnosis"] is None
    assert "FAIL: the outputs are not those of the model. Looking for" in seen["said"]
    assert "for 2 s at most" in seen["said"]
    assert json.loads((tmp_path / "r.json").read_text())["diagnosis"]["tried"] > 0
