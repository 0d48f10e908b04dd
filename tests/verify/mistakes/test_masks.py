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
    input_layer,
    layer,
    rnn,
    spec,
    word_net,
)
from support.thoroughness import some
from support.versions import loop_ends_mask

import verify
from verify import Network, Verdict, compare_outputs, selftest
from verify.forward.layers.base import Tensor
from verify.mistakes.catalogue import catalogue
from verify.mistakes.catalogue.mask_flow import MaskFlow, with_implicit_masks
from verify.mistakes.catalogue.masks import (
    MODEL_OPERATORS,
    masks_ignored,
    masks_one_by_one,
)
from verify.model.graph import MaskOf
from verify.model.spec import LayerSpec
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
    everything, _ = masks_ignored(model)
    assert (everything.name, everything.layer) == ("mask ignored", "words")
    names = [(m.name, m.layer) for m in masks_one_by_one(model)]
    assert names == [
        ("mask ignored in one layer", "one"),
        ("mask ignored in one layer", "two"),
    ]


def test_padding_that_is_zeros_and_computed_is_named():
    """A port with PyTorch's padding_idx and no lengths, in a model of two layers."""
    model, x = stacked(), padded()
    words = model["words"]
    table = words.weights["embeddings"].copy()
    table[0] = 0
    zeros = words.with_options(mask_zero=False).with_weights(embeddings=table)
    theirs = Network(model.with_layer(zeros)).predict(x)
    report = compare_outputs(Network(model), x, theirs)
    assert report.verdict is Verdict.FAIL
    assert found(report) == [("padding gives zeros, mask ignored", "words")]
    assert "PyTorch's padding_idx" in str(report)
    zero_already = model.with_layer(words.with_weights(embeddings=table))
    assert [m.name for m in masks_ignored(zero_already)] == ["mask ignored"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["one", pytest.param("two", marks=pytest.mark.thorough)]
)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "half", ["forward", pytest.param("backward", marks=pytest.mark.thorough)]
)
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


# -- models with several masks ---------------------------------------------------------


def embedding(name, ids=11, size=INPUTS, mask_zero=True):
    return layer("Embedding", name, input_dim=ids, output_dim=size, mask_zero=mask_zero)


def two_branches(masks=(True, True)):
    """Ids of two kinds, each with an Embedding and a recurrent layer of its own."""
    net = FunctionalNet(seed=3)
    a, b = (net.input(name, None, 6, dtype="int32") for name in "ab")
    (ea, *_), (eb, *_) = (
        net.call(embedding("ea", 11, 3, masks[0]), a),
        net.call(embedding("eb", 12, 2, masks[1]), b),
    )
    (ra, *_) = net.call(rnn("LSTM", "ra"), ea, features=3)
    (rb, *_) = net.call(layer("GRU", "rb", units=5), eb, features=2)
    (both, *_) = net.call(layer("Concatenate", "cat"), [ra, rb])
    return shaped(net, net.call(layer("Dense", "out", units=2), both, features=9)[0])


def encoder_decoder():
    """A decoder that starts from the states of an encoder, both padded."""
    net = FunctionalNet(seed=5)
    source = net.input("source", None, 6, dtype="int32")
    target = net.input("target", None, 6, dtype="int32")
    (es, *_) = net.call(embedding("es"), source)
    (et, *_) = net.call(embedding("et", 13, 5), target)
    inner = rnn("GRU", "inner", return_sequences=True)
    (words, *_) = net.call(
        layer("Bidirectional", "both", layer=inner), es, features=INPUTS
    )
    _, h, c, *_ = net.call(
        layer("LSTM", "encoder", units=4, return_state=True), words, features=8
    )
    decoder = layer("LSTM", "decoder", units=4, return_sequences=True)
    (steps, *_) = net.call(decoder, et, features=5, initial_state=[h, c])
    (seen, *_) = net.call(layer("Attention", "attention"), [steps, steps])
    (last, *_) = net.call(layer("GRU", "last", units=3), seen, features=4)
    return shaped(net, net.call(layer("Dense", "out", units=2), last, features=3)[0])


def shared_encoder():
    """One Embedding and one Bidirectional, each called on two inputs."""
    net = FunctionalNet(seed=7)
    ends = []
    inner = rnn("LSTM", "inner", return_sequences=True)
    for name in "ab":
        ids = net.input(name, None, 6, dtype="int32")
        (e, *_) = net.call(embedding("words"), ids)
        (y, *_) = net.call(
            layer("Bidirectional", "both", layer=inner), e, features=INPUTS
        )
        (z, *_) = net.call(layer("GRU", "top", units=3), y, features=8)
        ends.append(z)
    (both, *_) = net.call(layer("Concatenate", "cat"), ends)
    return shaped(net, net.call(layer("Dense", "out", units=2), both, features=6)[0])


def mask_and_features(mask_zero=True, lost=True):
    """Masked words beside features that have no mask, as many models have them."""
    net = FunctionalNet(seed=9)
    ids = net.input("ids", None, 6, dtype="int32")
    given = net.input("features", None, 6, 2)
    (e, *_) = net.call(embedding("words", mask_zero=mask_zero), ids)
    (x, *_) = net.call(layer("Concatenate", "cat"), [e, given])
    kwargs = {} if lost else {"mask": MaskOf(e)}
    (y, *_) = net.call(rnn("GRU", "rnn"), x, features=5, **kwargs)
    return shaped(net, net.call(layer("Dense", "out", units=2), y, features=4)[0])


def through_many_layers():
    """A mask that is made by Masking, used by five layers and lost in one."""
    net = FunctionalNet(seed=11)
    x = net.input("x", None, 6, INPUTS)
    (x, *_) = net.call(layer("Masking", "masking", mask_value=-1.0), x)
    one = rnn("LSTM", "one", return_sequences=True)
    (x, *_) = net.call(one, x, features=INPUTS)
    (x, *_) = net.call(layer("Dropout", "dropout", rate=0.5), x)
    two = layer("GRU", "two", units=5, return_sequences=True)
    (x, *_) = net.call(two, x, features=4)
    (y, *_) = net.call(layer("Attention", "attention"), [x, x])
    (y, *_) = net.call(layer("GlobalAveragePooling1D", "mean"), y)
    conv = layer("Conv1D", "conv", filters=2, kernel_size=[3], padding="same")
    (z, *_) = net.call(conv, x, features=5)
    (z, *_) = net.call(layer("LSTM", "after", units=3), z, features=2)
    (both, *_) = net.call(layer("Concatenate", "cat"), [y, z])
    return shaped(net, net.call(layer("Dense", "out", units=2), both, features=8)[0])


def padded_anywhere(seed, rows=48):
    """Ids of six steps with padding on the right, on the left and in between."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 11, size=(rows, 6))
    for row in range(rows):
        k = rng.integers(2, 6)
        x[row, [slice(k, None), slice(0, k - 1), slice(k - 1, k)][row % 3]] = 0
    return x


def padded_features(rows=48):
    x = np.random.default_rng(0).normal(size=(rows, 6, INPUTS)).astype(np.float32)
    x[padded_anywhere(1, rows) == 0] = -1
    return x


NETS = {
    "two branches": (two_branches, lambda: [padded_anywhere(1), padded_anywhere(2)]),
    "encoder-decoder": (
        encoder_decoder,
        lambda: [padded_anywhere(3), padded_anywhere(4)],
    ),
    "shared encoder": (
        shared_encoder,
        lambda: [padded_anywhere(5), padded_anywhere(6)],
    ),
    "mask and features": (
        mask_and_features,
        lambda: [padded_anywhere(7), padded_features()[..., :2]],
    ),
    "many layers": (through_many_layers, padded_features),
}

MUTANTS = {
    "two branches": {
        "padding gives zeros, mask ignored": [""],
        "mask ignored": [""],
        "mask not made": ["ea", "eb"],
        "mask of layer 'ea'": ["eb"],
        "mask of layer 'eb'": ["ea"],
        "mask exchanged with layer 'eb'": ["ea"],
    },
    "encoder-decoder": {
        "padding gives zeros, mask ignored": [""],
        "mask ignored": [""],
        "mask not made": ["es", "et"],
        "mask ignored in one layer": ["attention", "both", "encoder", "last"],
        "mask ignored in the forward half": ["both/forward_layer"],
        "mask ignored in the backward half": ["both/backward_layer"],
        "mask of layer 'et'": ["encoder", "es"],
        "mask of layer 'es'": ["decoder", "et", "last"],
        "mask exchanged with layer 'et'": ["es"],
    },
    "shared encoder": {
        "padding gives zeros, mask ignored": ["words"],
        "mask ignored": ["words"],
        "mask ignored in one layer": ["both", "top"],
        "mask ignored in the forward half": ["both/forward_layer"],
        "mask ignored in the backward half": ["both/backward_layer"],
        "mask ignored in call 1": ["both", "top"],
        "mask ignored in call 2": ["both", "top"],
        "mask of call 1 of layer 'words'": ["top", "words"],
        "mask of call 2 of layer 'words'": ["top", "words"],
        "mask exchanged with call 2 of layer 'words'": ["words"],
    },
    "mask and features": {"mask kept": ["cat"]},
    "many layers": {
        "mask ignored": ["masking"],
        "mask ignored in one layer": ["attention", "mean", "one", "two"],
        "mask kept": ["conv"],
        "mask lost": ["one", "two"],
    },
}


def of_masks(model):
    return [m for operator in MODEL_OPERATORS for m in operator(model)]


@pytest.mark.parametrize("name", NETS)
def test_every_mask_has_its_mistakes_and_no_two_are_the_same(name):
    make, inputs = NETS[name]
    model = make()
    x = Network(model).prepare(inputs())
    (right,) = Network(model).flat(x, dtype="float64")
    named: dict[str, list[str]] = {}
    results = [right]
    for mutant in of_masks(model):
        named.setdefault(mutant.name, []).append(mutant.layer)
        (wrong,) = mutant.evaluate(x)
        for other in results:
            assert np.abs(wrong - other).max() > 1e-9, (mutant.name, mutant.layer)
        results.append(wrong)
    assert {k: sorted(v) for k, v in named.items()} == MUTANTS[name]


def softly(model, hidden):
    """Return what the Dense layer of a model makes of its inputs, by hand."""
    weights = model["out"].weights
    return (hidden @ weights["kernel"] + weights["bias"]).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ((False, True), ("mask not made", "ea")),
        pytest.param(
            (True, False), ("mask not made", "eb"), marks=pytest.mark.thorough
        ),
        ((False, False), ("mask ignored", "")),
    ],
)
def test_a_port_that_ignores_the_mask_of_a_branch_is_told_which(masks, said):
    model, x = two_branches(), NETS["two branches"][1]()
    # the same weights in a model that makes fewer masks
    port = two_branches(masks)
    report = compare_outputs(Network(model), x, Network(port).predict(x))
    assert found(report) == [said]
    assert ("all masks of the model" in str(report)) == (said[1] == "")


@pytest.mark.slow
def test_a_branch_with_the_mask_of_the_other_is_named():
    model, (a, b) = two_branches(), NETS["two branches"][1]()
    bare = Network(two_branches((False, False)))
    # by hand: each branch step by step, held where the ids of branch a are 0
    words = [bare.trace([a, b])[name].output for name in ("ea", "eb")]
    hidden = []
    for name, x in zip(("ra", "rb"), words, strict=True):
        alone = [Tensor(x, a != 0)]
        hidden += Network(model).call_layer(name, alone, {}, dtype="float64")
    theirs = softly(model, np.concatenate(hidden, axis=-1))
    report = compare_outputs(Network(model), [a, b], theirs)
    assert found(report) == [("mask of layer 'ea'", "eb")]


def test_a_mask_that_keras_loses_beside_features_and_a_port_keeps_is_named():
    model, x = mask_and_features(), NETS["mask and features"][1]()
    unmasked = Network(mask_and_features(mask_zero=False)).predict(x)
    report = compare_outputs(Network(model), x, unmasked)
    assert report.verdict is Verdict.PASS  # nothing is masked in Keras either
    port = Network(mask_and_features(lost=False)).predict(x)
    report = compare_outputs(Network(model), x, port)
    assert found(report) == [("mask kept", "cat")]
    assert "Keras joins it with an input that has no mask" in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_every_mistake_about_a_mask_is_named_and_no_other(name):
    make, inputs = NETS[name]
    model, x = make(), inputs()
    net = Network(model)
    mutants = of_masks(model)
    # a search in a large model takes seconds
    for planted in some(mutants, len(mutants), list(NETS).index(name)):
        theirs = Network(planted.model).predict(x)
        report = compare_outputs(net, x, theirs)
        assert report.verdict is Verdict.FAIL
        named = report.diagnosis.explanations
        assert (planted.name, planted.layer) in found(report)
        for explanation in named:
            (same,) = explanation.mutant.evaluate(net.prepare(x))
            assert np.abs(same - theirs).max() < 1e-5, explanation


def test_a_masking_layer_without_padding_hides_mistakes_about_its_mask():
    model = spec(
        input_layer(None, 6, INPUTS),
        layer("Masking", "masking", mask_value=-1.0),
        rnn("SimpleRNN", "rnn"),
    )
    result = selftest(Network(model), np.abs(padded_features()))
    reasons = {r.mistake: r.reason for r in result.survivors}
    assert "Layer 'masking' (Masking): no step is masked" in reasons["mask ignored"]


def test_a_mask_kept_through_several_layers_that_lose_it_is_named_at_the_first():
    net = FunctionalNet(seed=13)
    ids, more = net.input("ids", None, 6, dtype="int32"), net.input("more", None, 6, 3)
    (x, *_) = net.call(embedding("words"), ids)
    (x, *_) = net.call(layer("Reshape", "reshape", target_shape=[6, 3]), x)
    (x, *_) = net.call(layer("Add", "add"), [x, more])
    model = shaped(net, net.call(rnn("LSTM", "rnn"), x, features=3)[0])
    assert [(m.name, m.layer) for m in of_masks(model)] == [("mask kept", "reshape")]
    data = [padded_anywhere(1), padded_features()]
    # by hand: the same, and the LSTM is given the mask
    summed = Network(model).trace(data)["add"].output
    (theirs,) = Network(model).call_layer(
        "rnn", [Tensor(summed, data[0] != 0)], {}, dtype=None
    )
    report = compare_outputs(Network(model), data, theirs)
    assert found(report) == [("mask kept", "reshape")]


def test_masks_in_models_inside_models_are_followed():
    inner = FunctionalNet(seed=1)
    ids = inner.input("ids", None, 6, dtype="int32")
    (e, *_) = inner.call(embedding("words"), ids)
    (h, *_) = inner.call(rnn("GRU", "rnn"), e, features=INPUTS)
    sentence = shaped(inner, h).root
    net = FunctionalNet(seed=2)
    x = net.input("x", None, 3, 6, dtype="int32")
    net.layers["sentences"] = LayerSpec(
        "sentences", "TimeDistributed", {}, {}, {"layer": sentence}
    )
    (y, *_) = net.call(layer("TimeDistributed", "sentences"), x)
    model = shaped(net, net.call(rnn("LSTM", "top"), y, features=UNITS)[0])
    flow = MaskFlow.of(model.root)
    assert {use.path for use in flow.uses} == {"sentences/layer/rnn"}
    (mutant,) = of_masks(model)
    assert mutant.layer == "sentences/layer/words"
    data = Network(model).prepare(padded_anywhere(1).reshape(16, 3, 6))
    (right,) = Network(model).flat(data, dtype="float64")
    assert np.abs(mutant.evaluate(data)[0] - right).max() > 1e-3


@pytest.mark.keras
def test_the_masks_that_keras_writes_into_a_graph_are_those_that_layers_find():
    import keras

    ids = keras.Input((6,), dtype="int32", name="ids")
    given = keras.Input((6, 2), name="given")
    words = keras.layers.Embedding(11, 3, mask_zero=True, name="words")(ids)
    both = keras.layers.Concatenate(name="cat")([words, given])
    lost = keras.layers.GRU(4, name="lost")(both)
    inner = keras.layers.LSTM(4, return_sequences=True)
    y = keras.layers.Bidirectional(inner, name="both")(words)
    z = keras.layers.SimpleRNN(3, name="twice")(words * 2.0 + 1.0)
    y = keras.layers.Attention(name="attention")([y, y])
    y = keras.layers.GlobalAveragePooling1D(name="mean")(y)
    live = keras.Model([ids, given], keras.layers.Concatenate(name="end")([lost, y, z]))
    net = verify.load(live)
    root = with_implicit_masks(net.spec.root)
    # from Keras 3.16 on it writes none
    assert bool(MaskFlow.of(net.spec.root).superfluous) != loop_ends_mask()
    assert not MaskFlow.of(root).superfluous
    assert all(node.kwargs.get("mask") is None for node in root.graph.nodes)
    users = {use.path for use in MaskFlow.of(root).uses}
    halves = {"both/forward_layer", "both/backward_layer"}
    behind = set() if loop_ends_mask() else {"attention", "mean"}
    assert users == {*halves, *behind}
    x = [padded_anywhere(1), padded_features()[..., :2]]
    theirs = Network(replace(net.spec, root=root)).predict(x, dtype="float64")
    assert np.array_equal(theirs, net.predict(x, dtype="float64"))
    names = {(m.name, m.layer) for m in of_masks(net.spec)}
    # Keras numbers its operations over all models of a process
    (product,) = [p for p, x in net.spec.walk() if x.class_name == "ops.Multiply"]
    assert {
        ("mask kept", "cat"),
        ("mask kept", product),  # and passed on by the sum
        ("mask ignored in the backward half", "both/backward_layer"),
    } <= names
