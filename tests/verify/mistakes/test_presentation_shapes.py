"""Outputs in another shape: the message says which of the model's numbers they are."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    features,
    input_layer,
    layer,
    rnn,
    spec,
)

from verify import DataError, Network, compare_outputs

ROWS = 40


def said(net, outputs):
    """Return what a refusal says after the shape received."""
    with pytest.raises(DataError) as refusal:
        compare_outputs(net, features(batch=ROWS), outputs)
    head, _, tail = str(refusal.value).partition(f"Received: shape={outputs.shape}")
    assert head.startswith("expected outputs of shape (40, ")
    return tail.removeprefix("; ")


def outputs_of(*layers):
    net = Network(spec(input_layer(None, TIME, INPUTS), *layers))
    return net, net.predict(features(batch=ROWS))


def test_classes_and_columns_and_orders_of_several_columns():
    net, y = outputs_of(
        rnn("LSTM"), layer("Dense", "dense", units=3, activation="softmax")
    )
    same = "these are the model's outputs"
    assert said(net, y.argmax(-1)) == (
        "these are the model's classes, the argmax of its outputs"
    )
    wrong = y.argmax(-1)
    wrong[3] = (wrong[3] + 1) % 3
    assert said(net, wrong) == ""
    turned = f"{same} with their axes in another order: take theirs.transpose(1, 0)"
    assert said(net, np.ascontiguousarray(y.T)) == turned
    assert said(net, y.reshape(-1)) == f"{same} in another shape: reshape them to it"
    assert said(net, y[:, 1]) == f"{same} in column 1 alone"
    assert said(net, y[:, 1:2].astype(np.float16)) == f"{same} in column 1 alone"
    assert said(net, y[:33]) == f"{same} for the first 33 of the 40 rows"
    assert said(net, y[1:]) == f"{same} for the last 39 of the 40 rows"
    assert said(net, y[0]) == f"{same} for the first row alone"
    assert said(net, y.max(-1)) == ""
    assert said(net, y[:, :2]) == ""


def test_both_classes_of_a_single_probability_and_no_last_axis():
    net, p = outputs_of(
        rnn("GRU"), layer("Dense", "dense", units=1, activation="sigmoid")
    )
    assert said(net, p[:, 0]) == (
        "these are the model's outputs in another shape: reshape them to it"
    )
    both = np.concatenate([1 - p, p], axis=-1)
    assert said(net, both).startswith("column 1 of these is the model's output")
    assert said(net, both[:, ::-1]).startswith("column 0 of these is the model's")
    assert said(net, np.concatenate([p, p], axis=-1)) == ""
    # a single number tells nothing but its shape
    assert said(net, p[0]) == "this is the shape of one row, without the batch axis"


def test_steps_of_a_sequence():
    net, y = outputs_of(rnn("LSTM", return_sequences=True))
    same = "these are the model's outputs"
    assert said(net, y[:, -1]) == f"{same} at the last time step alone"
    assert said(net, y[:, 0]) == f"{same} at the first time step alone"
    assert said(net, y.transpose(1, 0, 2)) == (
        f"{same} with their axes in another order: take theirs.transpose(1, 0, 2)"
    )
    flat = y.transpose(0, 2, 1).reshape(ROWS, -1)
    use = f"theirs.reshape(40, {UNITS}, {TIME}).transpose(0, 2, 1)"
    assert said(net, flat).endswith(f"in another order: take {use}")
    assert said(net, np.zeros((ROWS, UNITS))) == ""


def test_many_rows_are_refused_without_being_computed(monkeypatch):
    net, y = outputs_of(rnn("GRU"))
    monkeypatch.setattr("verify.checks.against_outputs.MAX_SHAPE_ROWS", ROWS - 1)
    assert said(net, y.T) == ""
