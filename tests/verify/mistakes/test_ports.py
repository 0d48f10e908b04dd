"""A port of a model of production shape, computed by hand, is told what is wrong.

Each mistake is planted in `support.production.port`, which shares no equation with this
package, and only the entry that says so (or one that is the same on these numbers) has
its outputs.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.production import (
    TIME,
    explained,
    inputs,
    model,
    mutants,
    normalize,
    port,
    softmax,
)

from verify import Network, Verdict, compare_outputs
from verify.forward.evaluable import Inputs
from verify.mistakes.catalogue.inputs import hints, unknown_ids

IDS, FEATURES, STATIC = inputs()
KEEP = IDS != 0
SPEC = model()


def weights(*names):
    """Weights of layers by name: each gets those of the layer it is paired with."""
    return {a: list(SPEC[b].weights.values()) for a, b in names}


def given(ids=IDS, features=FEATURES, static=STATIC):
    return port(Inputs([ids, features, static]))


def behind(ids, other=None):
    """Each row, or that of another array, with the padding of the ids behind it."""
    lead = np.argmax(ids != 0, axis=1)
    moved = ids if other is None else other
    return np.stack([np.roll(m, -k, axis=0) for m, k in zip(moved, lead, strict=True)])


def in_front(ids, other=None):
    flipped = behind(ids[:, ::-1], None if other is None else other[:, ::-1])
    return flipped[:, ::-1]


def by_batch_statistics(y, gamma, beta, mean, variance):
    return normalize(y, gamma, beta, y.mean(axis=0), y.var(axis=0))


def permuted_rows(y, gamma, beta, mean, variance):
    return (y - mean) / (variance + 1e-3) * gamma + beta


def later(x, fill=0):
    return np.concatenate([np.full_like(x[:, :1], fill), x[:, :-1]], axis=1)


def reverse_words(x, ids):
    """Turn the words of each row round, and leave the padding at its ends."""
    turned = x.copy()
    for row, own in zip(turned, ids, strict=True):
        words = np.flatnonzero(own)
        row[words[0] : words[-1] + 1] = row[words[0] : words[-1] + 1][::-1].copy()
    return turned


def zeroed_scores(scores, keep):
    return softmax(scores * keep[:, None, :])


BN = "normalized"
HERE = {
    "mask kept by the Concatenate": (
        lambda: port(gru_keep=KEEP),
        {("mask kept", "with_features")},
    ),
    "mask after the softmax": (
        lambda: port(attend=lambda s, keep: softmax(s) * keep[:, None, :]),
        {("mask after the softmax", "attention")},
    ),
    "masked scores 0": (
        lambda: port(attend=zeroed_scores),
        {("masked scores set to 0", "attention")},
    ),
    "attention mask missing": (
        lambda: port(keys=np.ones_like(KEEP)),
        {("mask ignored in one layer", "attention")},
    ),
    "attention mask inverted": (
        lambda: port(keys=~KEEP),
        {("attention mask inverted", "attention")},
    ),
    "softmax over the queries": (
        lambda: port(
            attend=lambda s, keep: softmax(s - 1e9 * ~keep[:, None, :], axis=1)
        ),
        {("attention softmax over the queries", "attention")},
    ),
    "scores scaled": (
        lambda: port(scale=8**-0.5),
        {("scores divided by the root of the width", "attention")},
    ),
    "query and value exchanged": (
        lambda: port(exchanged=True),
        {("query and value exchanged", "attention")},
    ),
    "masked sum over all steps": (
        lambda: port(mean=lambda x, keep: (x * keep[..., None]).sum(axis=1) / TIME),
        set(),  # in both poolings: together
    ),
    "batch statistics": (
        lambda: port(normalize=by_batch_statistics),
        {("statistics of all rows instead of the moving ones", BN)},
    ),
    "epsilon of PyTorch": (
        lambda: port(normalize=lambda *a: normalize(*a, epsilon=1e-5)),
        {("epsilon 1e-05 instead of 0.001", BN)},
    ),
    "variance without a root": (
        lambda: port(normalize=permuted_rows),
        {("moving_variance taken for the standard deviation", BN)},
    ),
    "gamma and beta exchanged": (
        lambda: port(normalize=lambda y, g, b, *m: normalize(y, b, g, *m)),
        {("gamma and beta exchanged", BN)},
    ),
    "no BatchNormalization": (
        lambda: port(normalize=lambda y, *_: y),
        {("layer left out", BN)},
    ),
    "BatchNormalization twice": (
        lambda: port(normalize=lambda y, *a: normalize(normalize(y, *a), *a)),
        {("layer applied twice", BN)},
    ),
    "two branches exchanged": (
        lambda: port(order=(1, 0, 2, 3)),
        {("inputs concatenated in the order 1, 0, 2, 3", "merged")},
    ),
    "branches in reverse": (
        lambda: port(order=(3, 2, 1, 0)),
        {("inputs concatenated in the order 3, 2, 1, 0", "merged")},
    ),
    "halves of two layers exchanged": (
        lambda: port(
            weights=weights(
                ("first/forward_layer", "first/backward_layer"),
                ("first/backward_layer", "first/forward_layer"),
            )
        ),
        {("directions exchanged", "first")},
    ),
    "ids + 1": (
        lambda: given(np.clip(IDS + 1, 0, 19)),
        {("ids + 1", "ids")},
    ),
    "rows of the table shifted": (
        lambda: port(
            weights={"words": [np.roll(SPEC["words"].weights["embeddings"], 1, 0)]}
        ),
        {("ids taken for those before them", "words")},
    ),
    "padded behind": (
        lambda: given(behind(IDS)),
        {("padding behind instead of in front", "")},
    ),
    "padded in front": (
        lambda: given(in_front(IDS)),
        {("padding in front instead of behind", "")},
    ),
    "padded in front, features too": (
        lambda: given(in_front(IDS), in_front(IDS, FEATURES)),
        {("padding in front instead of behind in all inputs", "")},
    ),
    "everything in reverse": (
        lambda: given(IDS[:, ::-1], FEATURES[:, ::-1]),
        {("sequences given in reverse", "")},
    ),
    "words in reverse": (
        lambda: given(reverse_words(IDS, IDS), reverse_words(FEATURES, IDS)),
        {("sequences reversed up to their padding", "")},
    ),
    "one step later": (
        lambda: given(later(IDS), later(FEATURES)),
        {("sequences one step later", "")},
    ),
    "rolled": (
        lambda: given(np.roll(IDS, -1, 1), np.roll(FEATURES, -1, 1)),
        {("sequences rolled one step earlier", "")},
    ),
    "features in reverse": (
        lambda: given(features=FEATURES[..., ::-1]),
        {("features in reverse order", "features")},
    ),
    "two features exchanged": (
        lambda: given(features=FEATURES[..., [1, 0, 2]]),
        {("features 0 and 1 exchanged", "features")},
    ),
    "static numbers in reverse": (
        lambda: given(static=STATIC[:, ::-1]),
        {("features in reverse order", "static")},
    ),
    "features laid out first": (
        lambda: given(features=FEATURES.swapaxes(1, 2).reshape(FEATURES.shape)),
        {("inputs laid out features first", "features")},
    ),
    "table": (
        lambda: port(
            weights={
                "words": [
                    SPEC["words"].weights["embeddings"][
                        [*range(1, 20), 19]  # id k takes row k + 1, the last its own
                    ]
                ]
            }
        ),
        {("ids taken for those after them, last row kept", "words")},
    ),
}


@pytest.mark.slow
def test_the_port_by_hand_is_right():
    net = Network(SPEC)
    right = net.flat(inputs(), dtype="float64")
    for a, b in zip(port(), right, strict=True):
        assert np.abs(a - b).max() < 1e-12
    assert explained(right, 1e-9) <= {
        # later layers leave masked steps out; units of the Dense that are 0 or below 6
        (name, layer)
        for name, layer, _ in mutants()
        if name.startswith("zero_output") or "off by" in name or "relu6" in name
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_a_mistake_of_a_port_has_the_outputs_of_its_entry_alone(name):
    make, wanted = HERE[name]
    assert explained(make()) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("scores scaled", marks=pytest.mark.thorough),
        pytest.param("two branches exchanged", marks=pytest.mark.thorough),
        pytest.param("padded in front", marks=pytest.mark.thorough),
    ],
)
def test_the_report_names_it(name):
    make, wanted = HERE[name]
    outputs = [y.astype(np.float32) for y in make()]
    report = compare_outputs(Network(SPEC), list(inputs()), outputs)
    assert report.verdict is Verdict.FAIL
    found = {(e.mistake, e.layer) for e in report.diagnosis.explanations}
    assert found == wanted
    assert report.diagnosis.hints == ()


@pytest.mark.slow
def test_pooling_that_is_wrong_in_both_layers_is_named():
    outputs = [y.astype(np.float32) for y in HERE["masked sum over all steps"][0]()]
    report = compare_outputs(Network(SPEC), list(inputs()), outputs)
    (found,) = report.diagnosis.explanations
    assert found.explanation.startswith("in all 2 GlobalAveragePooling1D layers: ")
    assert "divided by the number of all steps" in found.explanation


# -- ids taken as unknown, and hints ---------------------------------------------------


@pytest.mark.parametrize(
    ("replaced", "by", "name"),
    [
        (lambda ids: ids >= 17, 1, "every id from 17 on given as 1"),
        (lambda ids: ids == 9, 1, "id 9 given as 1"),
        (lambda ids: ids == 9, 0, "id 9 given as 0"),
    ],
)
def test_ids_taken_as_unknown_are_found_from_the_rows_that_differ(replaced, by, name):
    outputs = given(np.where(replaced(IDS), by, IDS))
    right = Network(SPEC).flat(inputs(), dtype="float64")
    agrees = ~replaced(IDS).any(axis=1)
    fitting = [
        m.name
        for m in unknown_ids(SPEC, inputs(), agrees)
        if np.abs(m.evaluate(inputs())[0] - outputs[0]).max() < 1e-9
    ]
    assert fitting == [name]
    assert not list(unknown_ids(SPEC, inputs(), np.ones(len(IDS), dtype=bool)))
    assert np.abs(right[0] - outputs[0]).max() > 1e-6


@pytest.mark.slow
def test_a_port_with_a_smaller_vocabulary_is_told_so():
    outputs = [y.astype(np.float32) for y in given(np.where(IDS >= 17, 1, IDS))]
    report = compare_outputs(
        Network(SPEC), list(inputs()), outputs, diagnosis_seconds=600
    )
    (found,) = report.diagnosis.explanations
    assert found.mistake == "every id from 17 on given as 1"
    assert found.layer == "ids"


def test_what_cannot_be_decided_is_a_hint():
    words, scales = hints(SPEC)
    assert "another word index" in words
    assert "scale its features" in scales
