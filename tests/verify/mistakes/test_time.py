"""Order in time: outputs turned round, steps dropped, doubled or taken for rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    FunctionalNet,
    features,
    ids,
    input_layer,
    layer,
    rnn,
    spec,
    word_net,
)
from support.thoroughness import some

from verify import Network, Verdict, compare_outputs
from verify.mistakes.catalogue import catalogue
from verify.mistakes.catalogue.time import MASK_MISTAKES, reading_backwards


def found(report):
    return [(e.mistake, e.layer) for e in report.diagnosis.explanations]


def outputs_of(model, x, name, layer):
    """Return what a port with one mistake of the catalogue computes."""
    mutant = next(m for m in catalogue(model) if (m.name, m.layer) == (name, layer))
    return mutant.evaluate(Network(model).prepare(x))


def backwards(*after):
    """A layer that goes backwards and returns its sequence, and layers after it."""
    return spec(
        input_layer(None, TIME, INPUTS),
        layer("LSTM", "back", units=UNITS, go_backwards=True, return_sequences=True),
        *after,
    )


@pytest.mark.parametrize("after", ["nothing", "dense", "gru", "dropout and gru"])
def test_a_backward_sequence_put_back_is_blamed_on_the_layer_that_goes_backwards(after):
    gru = layer("GRU", "gru", units=3)
    model = backwards(
        *{
            "nothing": (),
            "dense": (layer("Dense", "dense", units=2),),
            "gru": (gru,),
            "dropout and gru": (layer("Dropout", "dropout", rate=0.5), gru),
        }[after]
    )
    x = features(batch=40)
    # by hand: the sequence in the order of the inputs, then the layers after it
    turned = Network(backwards()).predict(x, dtype="float64")[:, ::-1]
    dense, last = model.root.sublayers.get("dense"), model.root.sublayers.get("gru")
    if dense is not None:
        turned = turned @ dense.weights["kernel"] + dense.weights["bias"]
    if last is not None:
        rest = spec(input_layer(None, TIME, UNITS), gru).with_layer(last)
        turned = Network(rest).predict(turned)
    report = compare_outputs(Network(model), x, turned.astype(np.float32))
    assert report.verdict is Verdict.FAIL
    assert found(report) == [("backward sequence put back", "back")]
    assert "outputs put back into the order of the inputs" in str(report)


def test_a_second_layer_that_goes_backwards_by_mistake_is_named_where_it_may_be_it():
    gru = layer("GRU", "gru", units=3)
    both = rnn("LSTM", "front", return_sequences=True)
    model = spec(input_layer(None, TIME, INPUTS), both, gru)
    x = features(batch=40)
    report = compare_outputs(
        Network(model), x, outputs_of(model, x, "time reversed", "gru")[0]
    )
    assert found(report) == [
        ("time reversed", "gru"),
        ("outputs reversed", "front"),
    ]
    assert reading_backwards(model) == set()
    assert reading_backwards(backwards(gru)) == {"gru"}
    assert reading_backwards(backwards(layer("Flatten", "flat"))) == set()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("time reversed", "go_backwards is ignored"),
        ("output of the first step", "a layer that goes backwards has read that step"),
    ],
)
def test_a_layer_that_goes_backwards_has_its_mistakes_said_in_its_own_words(name, said):
    model = spec(input_layer(None, TIME, INPUTS), rnn("GRU", "back", go_backwards=True))
    x = features(batch=40)
    report = compare_outputs(Network(model), x, outputs_of(model, x, name, "back")[0])
    assert (name, "back") == found(report)[0]
    assert said in " ".join(str(report).split())


def halves():
    net = FunctionalNet()
    x = net.input("x", None, TIME, INPUTS)
    inner = rnn("GRU", "inner", return_sequences=True)
    y, *_ = net.call(layer("Bidirectional", "both", layer=inner), x, features=INPUTS)
    return net.spec(net.call(layer("Dense", "dense", units=2), y, features=8)[0])


STEPS_WRONG = [
    *("first step dropped", "last step dropped", "first step doubled"),
    *("last step doubled", "outputs one step late"),
    *("inputs shifted to the step after", "inputs shifted to the step before"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("half", "name"),  # of an odd number of names every other: each in one half
    some(itertools.product(["forward", "backward"], STEPS_WRONG), 2),
)
def test_a_step_too_few_or_too_many_in_one_direction_is_named_with_its_half(name, half):
    model, x = halves(), features(batch=24)
    path = f"both/{half}_layer"
    report = compare_outputs(Network(model), x, outputs_of(model, x, name, path)[0])
    assert found(report) == [(name, path)]


def test_the_last_step_of_a_masked_sequence_is_not_the_last_output():
    model, x = word_net(rnn("LSTM")), ids(batch=40)
    x[::3, 4:] = 0
    # by hand: zeros wherever the last step is masked
    hidden = Network(word_net(rnn("LSTM"))).trace(x, dtype="float64")["rnn"].output
    hidden = np.where(x[:, -1:] == 0, 0, hidden)
    dense = model["dense"]
    logits = hidden @ dense.weights["kernel"] + dense.weights["bias"]
    theirs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    report = compare_outputs(Network(model), x, theirs.astype(np.float32))
    assert found(report) == [("last output zero where masked", "rnn")]


@pytest.mark.parametrize("sequences", [True, False])
def test_rows_taken_for_steps_are_named(sequences):
    model = spec(
        input_layer(None, TIME, INPUTS),
        rnn("SimpleRNN", "rnn", return_sequences=sequences),
    )
    x = features(batch=90)
    # by hand: the same weights over the rows
    over_rows = spec(
        input_layer(None, None, INPUTS), rnn("SimpleRNN", "rnn", return_sequences=True)
    ).with_layer(model["rnn"].with_options(return_sequences=True))
    theirs = Network(over_rows).predict(x.swapaxes(0, 1)).swapaxes(0, 1)
    theirs = theirs if sequences else theirs[:, -1]
    report = compare_outputs(Network(model), x, theirs)
    assert found(report) == [("rows read as steps", "rnn")]


@pytest.mark.parametrize("spatial_mask", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
def test_masks_of_a_convolutional_lstm_may_be_misread_too(spatial_mask, sequences):
    """Masks are (batch, time), or have spatial axes, as Masking makes them."""
    net = FunctionalNet()
    x = net.input("x", None, TIME, 5, INPUTS)
    conv = layer(
        "ConvLSTM1D", "conv", filters=UNITS, kernel_size=[2], padding="same",
        return_sequences=sequences,
    )  # fmt: skip
    if spatial_mask:
        x, *_ = net.call(layer("Masking", "masking", mask_value=0.0), x)
        (y, *_) = net.call(conv, x, features=INPUTS)
    else:
        mask = net.input("mask", None, TIME, dtype="bool")
        (y, *_) = net.call(conv, x, features=INPUTS, mask=mask)
    model = net.spec(y)
    data = np.random.default_rng(0).normal(size=(12, TIME, 5, INPUTS))
    keep = np.random.default_rng(1).random((12, TIME)) < 0.6
    given = [data, keep]
    if spatial_mask:
        apart = np.random.default_rng(2).random((12, TIME, 5, 1)) < 0.8
        given = np.where(keep[..., None, None] & apart, data, 0)
    x = Network(model).prepare(given)
    (right,) = Network(model).flat(x, dtype="float64")
    seen = {right.tobytes()}
    mutants = [m for m in catalogue(model) if m.layer == "conv" and "mask" in m.name]
    assert {m.name for m in MASK_MISTAKES} <= {m.name for m in mutants}
    for mutant in mutants:
        (wrong,) = mutant.evaluate(x)
        assert np.isfinite(wrong).all()
        if (mutant.name, spatial_mask) == ("masked inputs zeroed", True):
            continue  # the same as ignoring the mask: Masking has made zeros of them
        assert wrong.tobytes() not in seen, mutant.name
        seen.add(wrong.tobytes())
