"""The catalogue: its entries, that they differ, two at a time, and the selftest."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from support.nets import (
    TIME,
    UNITS,
    ids,
    input_layer,
    layer,
    lstm_file,
    lstm_spec,
    rnn,
    spec,
    word_net,
)

import verify
from verify import Network, Verdict, compare_outputs, selftest
from verify.__main__ import main
from verify.mistakes.catalogue import catalogue
from verify.mistakes.catalogue.combined import pairs
from verify.mistakes.diagnose import diagnose


def both_ways(kind="LSTM", merge_mode="concat", sequences=False):
    """A model with random weights around a Bidirectional layer, read without Keras."""
    from support.nets import GivenWeights, random_weights, sequential

    from verify.model_files.config import read_model

    inner = rnn(kind, "inner", return_sequences=sequences)
    config = sequential(
        input_layer(None, TIME, 3),
        layer("Masking", "masking", mask_value=0.0),
        layer("Bidirectional", "both", layer=inner, merge_mode=merge_mode),
    )
    shapes = [(3, 16), (4, 16), (16,)]
    halves = [random_weights(shapes, k) for k in (1, 2)]

    class Halves(GivenWeights):
        def inside(self, container, key, class_name, number):
            if key == "both":
                return Halves({"forward_layer": halves[0], "backward_layer": halves[1]})
            return super().inside(container, key, class_name, number)

    return read_model(config, Halves({}), source="a test", keras_version="3.15.1")


def padded_features():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(64, TIME, 3)).astype(np.float32)
    x[::4, 4:] = x[1::4, :2] = x[2::4, 3] = 0
    return x


CASES = {
    "SimpleRNN": (lambda: word_net(rnn("SimpleRNN")), 40),
    "LSTM": (lambda: word_net(rnn("LSTM")), 150),
    "GRU": (lambda: word_net(rnn("GRU")), 80),
    "GRU before": (lambda: word_net(rnn("GRU", reset_after=False)), 70),
    "Bidirectional": (both_ways, 280),
    "Bidirectional sum": (lambda: both_ways(merge_mode="sum", sequences=True), 280),
    "stacked": (
        lambda: word_net(
            rnn("LSTM", "one", return_sequences=True),
            layer("LSTM", "two", units=UNITS),
        ),
        300,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_mistake_changes_the_outputs_and_no_two_are_the_same(name):
    make, least = CASES[name]
    right = make()
    x = ids(batch=64) if "Bidirectional" not in name else padded_features()
    x = Network(right).prepare(x)
    (expected,) = Network(right).flat(x, dtype="float64")
    mutants = list(catalogue(right))
    assert len(mutants) >= least
    assert len({(m.name, m.layer) for m in mutants}) == len(mutants)
    seen: dict[bytes, str] = {}
    alike = []
    for mutant in mutants:
        (wrong,) = mutant.evaluate(x)
        if name == "stacked" and mutant.name.startswith("zero_output"):
            assert np.array_equal(wrong, expected)  # the layer above skips these steps
            continue
        assert np.abs(wrong - expected).max() > 1e-9, (mutant.name, mutant.layer)
        key = np.round(wrong, 12).tobytes()
        if key in seen:
            alike.append({mutant.name, seen[key]})
        seen[key] = mutant.name
    same = [
        {f"weights rounded to {b}" for b in ("float16", "TF32")},
        # both begin anew after the last masked step, if they read backwards
        {"mask zeroes the states", "sequence cut at its first masked step"},
        # Masking has made zeros of the padding already
        {"masked inputs zeroed", "mask ignored in the forward half"},
        {"masked inputs zeroed", "mask ignored in the backward half"},
        # the layer above reads the outputs late
        {"outputs one step late", "inputs shifted to the step after"},
        # the layer above reads no output at a masked step
        {"mask holds the output alone", "mask ignored in one layer"},
    ]
    alike = [pair for pair in alike if not _lose_the_same_bits(*pair)]
    assert all(pair in same for pair in alike), alike


def _lose_the_same_bits(one, two):
    """Say whether two mistakes round to formats that agree on numbers below 1.

    The inputs of a layer after an Embedding are the weights of the Embedding. Numbers
    of a table that are all small are the same in a format with fewer bits before the
    point, and a clip beyond 3 that no number reaches has no effect.
    """
    kinds = [re.sub("^(weights|inputs) ", "", name) for name in (one, two)]
    rounds = all(re.match("rounded to|cut off to", kind) for kind in kinds)
    clips = one.removesuffix(", clipped") == two.removesuffix(", clipped")
    whole = [name.removesuffix(", in the whole model") for name in (one, two)]
    return rounds or clips or whole[0] == whole[1].removesuffix(", clipped")


def test_the_recurrent_layers_have_more_than_250_distinct_mistakes():
    names = {
        f"{kind} {m.name}"
        for kind, (make, _) in CASES.items()
        for m in catalogue(make())
        if m.layer in ("rnn", "both")
    }
    assert len(names) > 250


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                ("LSTM", ("gate order i,f,o,c", "bias missing")),
                ("GRU", ("update gate inverted", "time reversed")),
                ("GRU", ("gate order r,z,h", "bias rows swapped")),
            )
        ),
        ("LSTM", ("mask ignored", "forget bias added again")),
        ("SimpleRNN", ("recurrent_kernel transposed", "bias doubled")),
    ],
)
def test_two_mistakes_together_are_named(kind, names):
    right = word_net(rnn(kind))
    x = ids(batch=64)
    wanted = next(
        m
        for m in pairs(right, list(catalogue(right)))
        if set(m.name.split("; ")) == set(names)
    )
    report = compare_outputs(Network(right), x, wanted.evaluate(x, None)[0])
    assert report.verdict is Verdict.FAIL
    found = report.diagnosis.explanations[0]
    assert set(found.mistake.split("; ")) == set(names)
    assert found.digits >= 5
    assert "; and " in found.explanation
    assert f"{found.digits} digits agree" in str(report)


def test_a_mistake_in_one_gate_is_said_to_be_in_that_gate():
    right = word_net(rnn("LSTM"))
    net = Network(right)
    x = net.prepare(ids(batch=64))
    mutant = next(m for m in catalogue(right) if m.name == "bias of gate o missing")
    theirs = mutant.evaluate(x, None)
    (found,) = diagnose(right, x, theirs, allowed=[1e-6]).explanations
    assert (found.mistake, found.gate) == ("bias of gate o missing", "o")


def test_masks_are_left_out_where_nothing_is_masked():
    names = {m.name for m in catalogue(word_net(rnn("GRU"), mask_zero=False))}
    assert not any("mask" in name for name in names)
    assert "padding row zeroed" in names


# -- selftest --------------------------------------------------------------------------


def test_a_model_with_random_weights_and_padding_shows_nearly_everything():
    result = selftest(Network(word_net(rnn("LSTM"))), ids(batch=64))
    assert result.mutation_score > 0.95
    assert {r.reason for r in result.survivors} <= {
        "they change the outputs by less than rounding may"
    }


def test_survivors_are_told_with_the_reason_and_what_to_change():
    right = word_net(rnn("LSTM"))
    untrained = right["rnn"].with_weights(bias=np.zeros(16, dtype=np.float32))
    net = Network(right.with_layer(untrained))
    result = selftest(net, np.full((40, TIME), 3))
    reasons = {r.mistake: r.reason for r in result.survivors}
    assert "bias of gates i, f, c and o is zero" in reasons["bias missing"]
    assert "is zero" in reasons["gate order i,f,o,c in bias alone"]
    assert "no id is 0" in reasons["mask zeroes the states"]
    assert "no id is 0" in reasons["mask ignored"]
    assert "time reversed" in reasons  # every step is the same
    text = str(result)
    assert "to see them: give rows with padding, ids of 0" in text
    assert "to see them: train the model" in text
    assert result.exit_code == 3


@pytest.mark.parametrize(
    ("units", "time", "rows", "mistake", "reason"),
    [
        (1, TIME, 64, "recurrent_kernel transposed", "one unit"),
        (UNITS, 1, 64, "recurrent term missing", "one time step"),
        (UNITS, TIME, 1, "states carried to the next row", "one row"),
        (UNITS, TIME, 20, "states carried to the next batch", "20 rows are one batch"),
    ],
)
def test_small_models_and_data_hide_mistakes(units, time, rows, mistake, reason):
    right = word_net(layer("LSTM", "rnn", units=units), time=time)
    result = selftest(Network(right), ids(batch=rows, time=time))
    survivor = next(r for r in result.survivors if r.mistake == mistake)
    assert reason in survivor.reason
    assert survivor.remedy


def test_the_command_prints_the_score_and_ends_with_3_where_something_is_hidden(
    tmp_path, capsys
):
    path = str(lstm_file(tmp_path / "m.keras"))
    assert main(["selftest", path]) in (0, 3)
    out = capsys.readouterr().out
    assert "known mistakes (" in out
    np.save(tmp_path / "x.npy", np.full((40, TIME), 3))
    data = ["--data", str(tmp_path / "x.npy")]
    assert main(["selftest", path, *data, "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert 0 < said["share"] < 1
    assert said["rows"] == 40
    keys = {"mistake", "layer", "single_number", "caught", "margin", "reason", "remedy"}
    assert all(set(p) == keys for p in said["planted"])
    hidden = [p for p in said["planted"] if not p["caught"]]
    assert all(p["reason"] and p["remedy"] for p in hidden)


def test_a_model_without_a_layer_that_mistakes_are_known_for_is_refused():
    net = Network(spec(input_layer(None, 1), layer("Identity", "same")))
    with pytest.raises(verify.DataError, match="mistakes are known for"):
        selftest(net)


def test_overrides_never_come_from_a_model(tmp_path):
    net = verify.load(lstm_file(tmp_path / "m.keras"))
    assert all(not x.overrides for _, x in net.spec.walk())
    assert not lstm_spec().root.overrides


def test_blocks_of_a_kernel_are_reshaped_as_in_weights_of_cudnn():
    net = lstm_spec()
    mutants = {(m.name, m.layer): m for m in catalogue(net)}
    mistaken = mutants["blocks of kernel read in column-major order", "lstm"].model
    blocks = np.hsplit(net["lstm"].weights["kernel"], 4)
    reshaped = np.hstack([block.reshape(UNITS, -1).T for block in blocks])
    np.testing.assert_array_equal(mistaken["lstm"].weights["kernel"], reshaped)
    assert not any(name.startswith("blocks of recurrent") for name, _ in mutants)
