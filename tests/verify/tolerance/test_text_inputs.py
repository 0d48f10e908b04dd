"""A model that takes texts has bounds and gradients behind what reads them."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from support.any_layer import chain
from support.nets import layer

import verify
from verify import Network
from verify.backward import graphs, supports
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.error_bound import output_bounds, unbounded

WORDS = chain(
    [(None, 5)],
    layer("StringLookup", "ids", vocabulary=["a", "b", "c"], mask_token=""),
    layer("Embedding", "words", input_dim=5, output_dim=3, mask_zero=True),
    layer("GRU", "gru", units=4),
    dtypes=["string"],
)
TEXTS = np.array([list("abcab"), ["a", "", "c", "x", "b"], list("cccab")])


def test_its_outputs_have_a_derived_bound_that_a_mistake_exceeds():
    net = Network(WORDS)
    outputs = net.predict(TEXTS)
    report = verify.compare_outputs(net, TEXTS, outputs)
    assert report.verdict is verify.Verdict.PASS
    assert report.derived == 1.0
    wrong = outputs + np.float32(1e-4)
    report = verify.compare_outputs(net, TEXTS, wrong, diagnosis_seconds=0)
    assert report.verdict is verify.Verdict.FAIL


def test_its_gradients_are_those_of_the_weights_alone():
    net = Network(WORDS)
    towards = np.ones((3, 4))
    found = verify.backprop(net, TEXTS, [towards])
    assert found.inputs == (None,)
    kernel, step = WORDS["gru"].weights["kernel"], 1e-6
    moved = kernel.astype(np.float64)
    moved[1, 2] += step
    there = Network(WORDS.with_layer(WORDS["gru"].with_weights(kernel=moved)))
    before, after = (n.predict(TEXTS, dtype="float64") for n in (net, there))
    slope = (after - before).sum() / step
    assert np.isclose(found.weights["gru"]["kernel"][1, 2], slope, rtol=1e-4)


def test_weights_of_tf_idf_round_once_for_each_word_at_most():
    net = Network(
        chain(
            [(None, 5)],
            layer(
                "StringLookup", "counts", vocabulary=["a", "b", "c"],
                idf_weights=[0.3, 1.7, 0.9], output_mode="tf_idf",
            ),
            layer("Dense", "d", units=2),
            dtypes=["string"],
        )
    )  # fmt: skip
    assert not unbounded(net)
    assert "tf_idf" in supports(net)
    x = net.prepare(TEXTS)
    right, single = (net.flat(x, dtype=d)[0] for d in ("float64", "float32"))
    (bound,) = output_bounds(net, x, [np.ones(right.shape)], worst_known_errors())
    assert np.isfinite(bound).all()
    assert (np.abs(single - right) <= bound).all()
    silent = {**graphs.BACKWARD_LAYERS, "StringLookup": lambda back, call: {}}
    with patch.object(graphs, "BACKWARD_LAYERS", silent):
        (less,) = output_bounds(net, x, [np.ones(right.shape)], worst_known_errors())
    assert (less < bound).all()
