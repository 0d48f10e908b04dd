"""What a later version of Keras will compute otherwise is said before it does."""

from __future__ import annotations

import numpy as np
import pytest
from support.any_layer import chain, inputs_for
from support.graphs import given, made
from support.graphs import net as net_of
from support.nets import layer

import verify
from verify import Network, compare_outputs, describe
from verify.mistakes.keras_versions import changes_on, changes_to_come
from verify.model.versions import TESTED, VERSIONS

WORDS = layer("Embedding", "masking", input_dim=9, output_dim=3, mask_zero=True)
FIRST = layer("LSTM", "first", units=4, return_sequences=True)
STACKED = chain([(None, 6)], WORDS, FIRST, layer("LSTM", "gru", units=4),
                dtypes=["int32"])  # fmt: skip
SINGLE = chain([(None, 6)], WORDS, layer("LSTM", "gru", units=4), dtypes=["int32"])
ENDS = (
    f"Keras 3.16 (as {TESTED[-1]}) will compute this model otherwise: the mask ends at "
    "Layer 'first' (LSTM), so no mask reaches Layer 'gru' (LSTM)"
)


def test_a_mask_that_will_end_is_said_with_what_it_changes_here():
    net, x = Network(STACKED), inputs_for(STACKED, 40)
    assert f"note: {ENDS}" in describe(net)
    now = net.predict(x)
    there = Network(STACKED.by_version(VERSIONS["3.16"])).predict(x)
    apart = np.abs(now - there).max()
    assert apart > 0.01
    report = compare_outputs(net, x, now)
    assert report.verdict is verify.Verdict.PASS
    (said,) = [text for text in report.warnings if "3.16" in text]
    assert said == f"{ENDS} (here up to {apart:.2g} apart)"


@pytest.mark.parametrize("changed", ["no padding", "one layer", "already there"])
def test_nothing_is_said_where_nothing_will_change(changed):
    spec = SINGLE if changed == "one layer" else STACKED
    if changed == "already there":
        spec = spec.by_version(VERSIONS["3.16"])
    net, x = Network(spec), inputs_for(spec, 40)
    if changed == "no padding":
        x = np.maximum(x, 1)
    else:
        assert not changes_to_come(spec)
    assert not changes_on(net, net.prepare(x))


def test_other_rules_are_said_with_their_figure():
    spec = chain([(None, 5)], layer("Dense", "d", units=6, activation="sparsemax"))
    net = Network(spec)
    x = net.prepare(inputs_for(spec, 20))
    (said,) = changes_on(net, x)
    assert "sparsemax is that of the paper" in said
    assert said.endswith("apart)")
    assert not changes_to_come(spec)


def test_a_model_that_a_later_version_will_not_compute_is_said():
    drop = made("Dropout", "drop", rate=0.5)
    calls = {"drop": ("in0", {"training": True})}
    spec = net_of([given("in0", 5), drop], calls, "drop")
    net = Network(spec)
    said = changes_on(net, net.prepare(inputs_for(spec, 20)))
    assert len(said) == 1
    assert said[0].startswith(f"Keras 3.16 (as {TESTED[-1]}) will not compute this")
