"""Masks, each by itself: where they flow, and that each mistake about them is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    UNITS,
    FunctionalNet,
    ids,
    layer,
    rnn,
    word_net,
)

from verify import Network, Verdict, compare_outputs
from verify.mistakes.catalogue import catalogue
from verify.mistakes.catalogue.mask_flow import MaskFlow
from verify.mistakes.catalogue.masks import masks_ignored, masks_one_by_one
from verify.model_files.shapes import with_shapes


def padded(rows=64):
    """Ids with padding on the right, on the left and in between."""
    x = ids(batch=rows)
    x[x == 0] = 1
    x[::3, 4:] = x[1::3, :2] = x[2::5, 3] = 0
    return x


def stacked():
    return word_net(
        rnn("GRU", "one", return_sequences=True),
        layer("LSTM", "two", units=5),
    )


def found(report):
    return [(e.mistake, e.layer) for e in report.diagnosis.explanations]


def test_the_flow_of_masks_is_found_without_computing_the_model():
    model = word_net(
        rnn("GRU", "one", return_sequences=True),
        layer("Dropout", "dropout", rate=0.5),
        layer("Conv1D", "conv", filters=UNITS, kernel_size=[2], padding="same"),
        layer("LSTM", "two", units=5),
    )
    flow = MaskFlow.of(model.root)
    assert {use.path for use in flow.uses} == {"one"}
    passing = {c.path for c in flow.calls if any(c.outgoing)}
    assert passing == {"words", "one", "dropout"}


def test_each_layer_may_ignore_its_mask_by_itself():
    model = stacked()
    (everything,) = masks_ignored(model)
    assert (everything.name, everything.layer) == ("mask ignored", "words")
    names = [(m.name, m.layer) for m in masks_one_by_one(model)]
    assert names == [
        ("mask ignored in one layer", "one"),
        ("mask ignored in one layer", "two"),
    ]


@pytest.mark.parametrize("place", ["one", "two"])
def test_a_layer_that_ignores_its_mask_is_named_alone(place):
    model, x = stacked(), padded()
    planted = next(m for m in masks_one_by_one(model) if m.layer == place)
    report = compare_outputs(Network(model), x, planted.evaluate(x, None)[0])
    assert report.verdict is Verdict.FAIL
    first, *others = found(report)
    assert first == ("mask ignored in one layer", place)
    assert not any(
        layer in ("words", "two", "one") for _, layer in others if layer != place
    )


def shaped(net, *outputs):
    """The model of a FunctionalNet, with the shapes of its layers."""
    model = net.spec(*outputs)
    return replace(model, root=with_shapes(model.root))


@pytest.mark.parametrize("half", ["forward", "backward"])
def test_a_half_that_runs_over_the_padding_is_said_to_do_so(half):
    net = FunctionalNet()
    masked, *_ = net.call(
        layer("Masking", "masking", mask_value=-1.0), net.input("x", None, 6, INPUTS)
    )
    inner = rnn("LSTM", "inner")
    both = layer("Bidirectional", "both", layer=inner)
    model = shaped(net, net.call(both, masked, features=INPUTS)[0])
    x = np.random.default_rng(0).normal(size=(40, 6, INPUTS)).astype(np.float32)
    x[::2, 3:] = x[1::2, :2] = -1
    name = f"mask ignored in the {half} half"
    planted = next(m for m in catalogue(model) if m.name == name)
    assert planted.layer == f"both/{half}_layer"
    report = compare_outputs(Network(model), x, planted.evaluate(x, None)[0])
    assert found(report)[0] == (name, f"both/{half}_layer")
    assert f"the {half} half runs over the padding" in str(report)
