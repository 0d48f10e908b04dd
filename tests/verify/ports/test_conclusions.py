"""Ports with one loss each: the probes that must show it do, and it is named."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.graphs import both_ways, given, net, rnn
from support.nets import INPUTS, feature_net, stateful_net, word_net
from support.nets import rnn as layer
from support.ports import report_on, two_of_each, with_states

from verify import Network, Verdict
from verify.forward.evaluable import Inputs
from verify.ports.conclusions import _stopped, with_layers, without_masks
from verify.ports.export_report import ProbeVerdict
from verify.ports.probes import PADDING


def wrong(report):
    return {probe.name for probe in report.wrong}


def right(x, net):
    return net.flat(x, dtype="float32")


def both_directions() -> Network:
    """A Bidirectional GRU over any number of steps."""
    return Network(
        net(
            [given("a", None, INPUTS), both_ways("GRU", "both", INPUTS, 4, seed=2)],
            {"both": "a"},
            "both",
        )
    )


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_a_right_port_passes_every_probe(kind):
    model = feature_net(kind)
    report = report_on(model, lambda x, kept: right(x, model))
    assert report.verdict is Verdict.PASS, report
    assert {p.verdict for p in report.probes} == {ProbeVerdict.RIGHT}
    assert report
    assert report.findings == ()
    assert report.location is None


@pytest.mark.parametrize("sequences", [False, True])
def test_a_port_that_reads_the_first_step_only_is_told_so(sequences):
    model = feature_net("LSTM", return_sequences=sequences)
    report = report_on(model, lambda x, kept: right(Inputs([x[0][:, :1]]), model))
    assert report.verdict is Verdict.FAIL
    assert not report
    # a sequence of one step is all that it gets right
    assert {p.name for p in report.probes} - wrong(report) == {"1 step(s)"}
    (said,) = report.findings
    assert said.startswith("reads only the first step (batch 1, batch 2,")


def test_a_port_that_was_traced_at_one_length_is_told_how_much_it_reads():
    model = feature_net("GRU")
    report = report_on(model, lambda x, kept: right(Inputs([x[0][:, :7]]), model))
    assert wrong(report) == {"11 step(s)"}
    assert report.findings == ("reads only the first 7 steps (11 step(s))",)


def test_a_port_that_is_right_for_one_row_only_is_told_so():
    model = feature_net("LSTM")

    def port(x, kept):
        outputs = right(x, model)
        return [y if len(y) == 1 else y[::-1] * 1.5 for y in outputs]

    report = report_on(model, port, seconds=0)
    assert "right for batch 1 only" in report.findings
    assert {"batch 2", "batch 5"} <= wrong(report)


def test_a_port_that_answers_one_row_for_all_is_told_so():
    model = feature_net("LSTM")

    def port(x, kept):
        return [np.repeat(y[:1], len(y), 0) for y in right(x, model)]

    report = report_on(model, port)
    assert any("answers row 0 for every row" in said for said in report.findings)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_a_state_that_enters_the_next_call_is_named(kind):
    model = feature_net(kind)
    kept_layer = model.spec["rnn"].with_options(stateful=True)
    stateful = Network(model.spec.with_layer(kept_layer))

    def port(x, kept):
        return stateful.flat(x, states=kept) if x.rows == 1 else right(x, model)

    report = report_on(model, port)
    assert wrong(report) == {"second call"}
    (said,) = report.findings
    assert said == "the state of the last call enters the next, in rnn (second call)"


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_a_stateful_model_that_forgets_is_told_from_one_that_goes_on(kind):
    model = stateful_net(kind, 3)
    keeps = report_on(model, lambda x, kept: model.flat(x, states=kept))
    assert keeps.verdict is Verdict.PASS, keeps
    forgets = report_on(model, lambda x, kept: model.flat(x))
    assert wrong(forgets) == {"second call"}
    said = "forgets its states: every call begins with zeros, in rnn (second call)"
    assert forgets.findings == (said,)


@pytest.mark.parametrize("again", [True, False])
def test_states_of_the_moment_of_export_are_found_in_the_file(again):
    model = stateful_net("LSTM", 3)
    rng = np.random.default_rng(8)
    states = [rng.normal(size=(3, 4)).astype(np.float32) for _ in range(2)]
    held = {"other": rng.normal(size=(3, 4)).astype(np.float32)}
    held |= {f"state {k}": state[None] for k, state in enumerate(states)}

    def port(x, kept):
        begun = {"rnn": tuple(states)}
        if again:
            return model.flat(x, states=begun)
        kept.setdefault("rnn", tuple(states))
        return model.flat(x, states=kept)

    report = report_on(model, port, constants=held)
    assert wrong(report) == {probe.name for probe in report.probes}
    assert all("had when it was exported" in said for said in report.findings)
    assert any("in every call" in said for said in report.findings) is again


def test_exchanged_outputs_and_inputs_are_told_apart():
    model = two_of_each()
    outputs = report_on(model, lambda x, kept: right(x, model)[::-1])
    (said,) = outputs.findings
    assert said.startswith("outputs are exchanged: 'two' stands where 'one'")
    inputs = report_on(model, lambda x, kept: right(Inputs(x[::-1]), model))
    (said,) = inputs.findings
    assert said.startswith("inputs are exchanged: reads 'b' as 'a'")


def test_a_lost_mask_is_named_and_only_padding_shows_it():
    model = Network(word_net(layer("LSTM")))
    unmasked = without_masks(model)
    report = report_on(model, lambda x, kept: right(x, unmasked))
    assert wrong(report) == set(PADDING)
    (said,) = report.findings
    assert said.startswith("ignores the mask: padding is computed like any other step")


@pytest.mark.slow
def test_what_no_conclusion_says_is_diagnosed():
    model = Network(word_net(layer("GRU")))
    gru = model.spec["rnn"].with_options(reset_after=False)
    bias = gru.weights["bias"].sum(axis=0)
    changed = replace(gru, weights={**gru.weights, "bias": bias})
    other = Network(model.spec.with_layer(changed))
    report = report_on(model, lambda x, kept: right(x, other))
    assert report.verdict is Verdict.FAIL
    assert report.findings == ()
    assert report.diagnosis is not None
    assert "reset" in report.diagnosis.explanations[0].explanation


def test_a_port_without_masks_on_one_side_is_wrong_with_that_padding_alone():
    model = Network(word_net(layer("LSTM", return_sequences=False)))

    def port(x, kept):
        """Cut the trailing padding off, compute the rest unmasked, row by row."""
        net, found = without_masks(model), []
        for row in x[0]:
            end = int(np.max(np.nonzero(row)[0], initial=0)) + 1
            found.append(right(Inputs([row[None, :end]]), net)[0])
        return [np.concatenate(found)]

    report = report_on(model, port)
    assert "padding behind" not in wrong(report)
    assert {"padding in front", "padding in holes"} <= wrong(report)


def test_initial_states_that_are_ignored_are_named():
    model = with_states()

    def port(x, kept):
        return right(Inputs([*x[:2], *(np.zeros_like(s) for s in x[2:])]), model)

    report = report_on(model, port)
    assert "initial states of zeros" not in wrong(report)
    assert any("ignores the initial states" in said for said in report.findings)


def test_initial_states_that_a_row_of_length_zero_loses_are_named():
    model = with_states()

    def port(x, kept):
        empty = ~x[1].any(axis=1)
        states = [np.where(empty[:, None], 0, s).astype(s.dtype) for s in x[2:]]
        return right(Inputs([*x[:2], *states]), model)

    report = report_on(model, port)
    assert wrong(report) == {"all padding"}
    (said,) = report.findings
    assert said.startswith("loses the initial states of a row of length zero")


def test_nan_that_leaks_through_a_mask_is_seen():
    model = with_states()

    def port(x, kept):
        leak = np.isnan(x[0]).any(axis=(1, 2))[:, None]
        clean = Inputs([np.nan_to_num(x[0]), *x[1:]])
        return [np.where(leak, np.nan, y) for y in right(clean, model)]

    report = report_on(model, port)
    assert wrong(report) == {"NaN under the mask"}
    assert report.located.startswith("at masked steps")
    assert report.diagnosis is None


def test_rows_are_given_as_many_at_a_time_as_the_file_takes():
    model = Network(word_net(layer("LSTM")))
    report = report_on(model, lambda x, kept: right(x, model), batch=1)
    assert report.verdict is Verdict.PASS
    refused = {p.name for p in report.probes if p.verdict is ProbeVerdict.REFUSED}
    assert refused == {"batch 2", "batch 5"}
    assert "refuses batch 2 and batch 5" in report.reason
    assert any("takes 1 row(s)" in text for text in report.warnings)


@pytest.mark.slow
def test_given_inputs_are_compared_whole_and_a_rare_fault_is_found():
    model = feature_net("LSTM")
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 5, INPUTS)).astype(np.float32)
    x[317, 2, 1] = 40.0

    def port(given, kept):
        clipped = np.clip(given[0], -30, 30)
        return right(Inputs([clipped]), model)

    report = report_on(model, port, x)
    assert report.data.facts["rows"] == 400
    assert report.verdict is Verdict.FAIL
    assert report.data.numerics.first[0] == 317
    assert wrong(report) == set()
    fine = report_on(model, lambda given, kept: right(given, model), x)
    assert fine.verdict is Verdict.PASS


@pytest.mark.parametrize("count", [1, 3])
def test_a_port_of_both_directions_that_runs_few_steps_is_told_so(count):
    model = both_directions()

    def port(x, kept):
        """Run each half over the steps that come first in its own direction."""
        stopped = with_layers(model, partial(_stopped, count=count))
        return right(x, stopped)

    report = report_on(model, port)
    assert {"batch 2", "11 step(s)"} <= wrong(report)
    steps = "the first step" if count == 1 else f"the first {count} steps"
    said = f"every recurrent layer runs {steps} only, in its own direction ("
    assert any(text.startswith(said) for text in report.findings)


def test_the_layer_whose_state_stays_or_is_lost_is_named():
    two = Network(
        net(
            [
                given("a", 6, INPUTS),
                rnn("GRU", "one", INPUTS, 4, seed=1, return_sequences=True),
                rnn("GRU", "two", 4, 3, seed=7),
            ],
            {"one": "a", "two": "one"},
            "two",
        )
    )
    kept_layer = two.spec["two"].with_options(stateful=True)
    stateful = Network(two.spec.with_layer(kept_layer))

    def port(x, kept):
        return stateful.flat(x, states=kept) if x.rows == 1 else right(x, two)

    (said,) = report_on(two, port).findings
    assert said == "the state of the last call enters the next, in two (second call)"


def test_a_port_that_returns_as_many_steps_as_rows_is_told_so():
    model = feature_net("LSTM", return_sequences=True)

    def port(x, kept):
        return [y[:, : len(y)] for y in right(x, model)]

    report = report_on(model, port)
    (said,) = report.findings
    assert said.startswith("returns as many steps as the call has rows (batch 1, ")
    assert "(5, 5, 4) in the file, (5, 7, 4) by the model" in {
        probe.shapes for probe in report.wrong
    }
    assert "  shape          : (1, 1, 4) in the file" in report.to_text()


def test_a_wide_tolerance_makes_no_conclusion_true():
    model = feature_net("LSTM")
    rng = np.random.default_rng(3)

    def port(x, kept):
        return [y + rng.uniform(-0.2, 0.2, y.shape) for y in right(x, model)]

    report = report_on(model, port, seconds=0, tolerance=0.15)
    assert report.wrong
    assert report.findings == ()


@pytest.mark.parametrize("lost", ["length", "call"])
def test_rows_that_are_right_are_given_no_cause(lost):
    model = feature_net("GRU")

    def port(x, kept):
        kept["calls"] = kept.get("calls", 0) + 1
        wrong = x[0].shape[1] == 3 if lost == "length" else kept["calls"] > 1
        return [y * 1.03 if wrong else y for y in right(x, model)]

    report = report_on(model, port, seconds=0.2)
    named = {"length": "3 step(s)", "call": "second call"}
    assert wrong(report) == {named[lost]}
    assert "weights again" not in report.to_text()
    if lost == "length":
        assert report.findings == ("right at other lengths; wrong at 3 step(s)",)
    else:
        assert report.diagnosis is None
        assert report.located.startswith("between the calls")
