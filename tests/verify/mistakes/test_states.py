"""States handed over wrongly: from layer to layer, step to step, batch to batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nets import (
    INPUTS,
    OUTPUTS,
    TIME,
    UNITS,
    VOCABULARY,
    FunctionalNet,
    features,
    ids,
    layer,
    rnn,
    word_net,
)
from support.thoroughness import many, some

from verify import Network, Verdict, compare_outputs, selftest
from verify.mistakes.blind_spots import blind_spots
from verify.mistakes.catalogue import catalogue, same_mistakes
from verify.mistakes.catalogue.combined import together
from verify.mistakes.catalogue.given_states import MODEL_OPERATORS
from verify.mistakes.catalogue.mistake import Need
from verify.mistakes.catalogue.states import MUTATION_OPERATORS

ROWS, STEPS = 9, 5
"""Rows of the inputs, and steps of a decoder's; an encoder has TIME."""

SAME = 1e-6
"""Outputs that differ by less are the same in float32."""


def words(name):
    return layer(
        "Embedding", name, input_dim=VOCABULARY, output_dim=INPUTS, mask_zero=True
    )


def dense(name="dense"):
    return layer("Dense", name, units=OUTPUTS, activation="softmax")


def both_ways(kind, name, units=UNITS, **options):
    inner = layer(kind, f"{name}_inner", units=units, **options)
    return layer("Bidirectional", name, layer=inner)


def encoder_decoder(kind="LSTM", encoder=None, decoder=None):
    """Two sequences of ids; the decoder begins with the encoder's states."""
    net = FunctionalNet()
    source = net.input("source", None, TIME, dtype="int32")
    target = net.input("target", None, STEPS, dtype="int32")
    (x, *_), (y, *_) = net.call(words("from"), source), net.call(words("to"), target)
    options = {"return_state": True, **(encoder or {})}
    _, *states = net.call(rnn(kind, "encoder", **options), x, features=INPUTS)
    states = states[: 1 + (kind == "LSTM")]
    options = {"return_sequences": True, **(decoder or {})}
    z, *_ = net.call(
        rnn(kind, "decoder", **options), y, features=INPUTS, initial_state=states
    )
    return net.spec(net.call(dense(), z, features=UNITS)[0])


def sentences(seed=0, rows=ROWS):
    return [ids(seed, rows), ids(seed + 1, rows, STEPS)]


def two_layers_each():
    """Encoder and decoder of two layers; states are positional arguments."""
    net = FunctionalNet(seed=3)
    x, y = net.input("x", None, TIME, INPUTS), net.input("y", None, STEPS, INPUTS)
    lstm = {"return_sequences": True, "return_state": True}
    a, *one = net.call(rnn("LSTM", "enc1", **lstm), x, features=INPUTS)
    _, *two = net.call(rnn("LSTM", "enc2", **lstm), a, features=UNITS)
    b, *_ = net.call(rnn("LSTM", "dec1", **lstm), y, one[:2], features=INPUTS)
    c, *_ = net.call(rnn("LSTM", "dec2", **lstm), b, two[:2], features=UNITS)
    return net.spec(net.call(dense(), c, features=UNITS)[0])


def two_sequences(seed=0):
    return [features(seed, ROWS), features(seed + 1, ROWS, STEPS)]


def bidirectional_encoder(kind="LSTM", **options):
    """The states of both halves side by side begin a decoder of twice the units."""
    net = FunctionalNet(seed=5)
    x, y = net.input("x", None, TIME, INPUTS), net.input("y", None, STEPS, INPUTS)
    inner = both_ways(kind, "both", return_state=True, **options)
    _, *states = net.call(inner, x, features=INPUTS)
    beside = layer("Concatenate", "beside")
    if kind == "LSTM":
        fh, fc, bh, bc, *_ = states
        joined = [net.call(beside, [fh, bh])[0], net.call(beside, [fc, bc])[0]]
    else:
        joined = [net.call(beside, states[:2])[0]]
    decoder = layer(kind, "decoder", units=2 * UNITS)
    z, *_ = net.call(decoder, y, features=INPUTS, initial_state=joined)
    return net.spec(net.call(dense(), z, features=2 * UNITS)[0])


def bidirectional_both(kind="LSTM"):
    """A Bidirectional begins with the states of another one."""
    net = FunctionalNet(seed=7)
    x, y = net.input("x", None, TIME, INPUTS), net.input("y", None, STEPS, INPUTS)
    inner = both_ways(kind, "one", return_state=True)
    _, *states = net.call(inner, x, features=INPUTS)
    states = states[: 2 * (1 + (kind == "LSTM"))]
    inner = both_ways(kind, "two")
    z, *_ = net.call(inner, y, features=INPUTS, initial_state=states)
    return net.spec(net.call(dense(), z, features=2 * UNITS)[0])


def decoder_alone(kind="LSTM"):
    """States are inputs and outputs of the model."""
    net = FunctionalNet(seed=9)
    x = net.input("x", None, None, INPUTS)
    names = ("h", "c")[: 1 + (kind == "LSTM")]
    states = [net.input(name, None, UNITS) for name in names]
    y, *after = net.call(
        rnn(kind, "decoder", return_state=True),
        x,
        features=INPUTS,
        initial_state=states,
    )
    z, *_ = net.call(dense(), y, features=UNITS)
    return net.spec(z, *after[: len(states)])


def steps_and_states(count, time=2):
    rng = np.random.default_rng(4)
    states = rng.normal(size=(count, ROWS, UNITS)).astype(np.float32)
    return [features(0, ROWS, time), *states]


def encoder_alone():
    """The output and the states of an encoder are the outputs of the model."""
    net = FunctionalNet(seed=11)
    x = net.input("x", None, TIME, INPUTS)
    options = {"return_state": True, "return_sequences": True}
    return net.spec(*net.call(rnn("LSTM", "rnn", **options), x, features=INPUTS)[:3])


def stacked_cells():
    """A stack of two cells begins with the states of another one."""
    net = FunctionalNet(seed=13)
    x, y = net.input("x", None, TIME, INPUTS), net.input("y", None, STEPS, INPUTS)

    def stack(name, **options):
        cells = [
            layer("LSTMCell", f"{name}{k}", units=UNITS, **options) for k in range(2)
        ]
        cell = layer("StackedRNNCells", f"{name}_cells", cells=cells)
        return layer("RNN", name, cell=cell, return_state=name == "one")

    _, *states = net.call(stack("one"), x, features=INPUTS)
    z, *_ = net.call(stack("two"), y, features=INPUTS, initial_state=states[:4])
    return net.spec(net.call(dense(), z, features=UNITS)[0])


def images():
    """A ConvLSTM1D begins with the states of another one."""
    net = FunctionalNet(seed=15)
    x, y = net.input("x", None, TIME, 7, 2), net.input("y", None, STEPS, 7, 2)

    def conv(name, **options):
        return layer("ConvLSTM1D", name, filters=3, kernel_size=2, **options)

    _, *states = net.call(conv("one", return_state=True), x, features=2)
    z, *_ = net.call(conv("two"), y, features=2, initial_state=states[:2])
    return net.spec(z)


def pictures():
    rng = np.random.default_rng(6)
    shapes = (ROWS, TIME, 7, 2), (ROWS, STEPS, 7, 2)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def stateful(*kinds, rows=3, **options):
    """Recurrent layers that keep their states, in batches of some rows."""
    net = FunctionalNet(seed=17)
    x, size = net.input("x", rows, TIME, INPUTS), INPUTS
    for k, kind in enumerate(kinds):
        last = k == len(kinds) - 1
        settings_ = {"stateful": True, "return_sequences": not last, **options}
        if kind == "Bidirectional":
            config = both_ways("GRU", f"rnn{k}", **settings_)
        else:
            config = rnn(kind, f"rnn{k}", **settings_)
        x, *_ = net.call(config, x, features=size)
        size = UNITS * (1 + (kind == "Bidirectional"))
    return net.spec(net.call(dense(), x, features=size)[0])


def batches():
    return [features(2, ROWS)]


def cell_with_states():
    """A cell called by itself, as in a port that takes one step at a time."""
    net = FunctionalNet(seed=19)
    x = net.input("x", None, INPUTS)
    h, c = (net.input(name, None, UNITS) for name in "hc")
    cell = layer("LSTMCell", "cell", units=UNITS)
    y, *after = net.call(cell, x, [h, c], features=INPUTS)
    return net.spec(net.call(dense(), y, features=UNITS)[0], *after[:2])


def one_step():
    x, *states = steps_and_states(2, 1)
    return [x[:, 0], *states]


NETS = {
    "LSTM": (encoder_decoder, sentences, 8),
    "GRU": (lambda: encoder_decoder("GRU"), sentences, 3),
    "SimpleRNN": (lambda: encoder_decoder("SimpleRNN"), sentences, 3),
    "two layers each": (two_layers_each, two_sequences, 24),
    "Bidirectional encoder": (bidirectional_encoder, two_sequences, 12),
    "Bidirectional GRU encoder": (
        lambda: bidirectional_encoder("GRU", return_sequences=True),
        two_sequences,
        4,
    ),
    "Bidirectional twice": (bidirectional_both, two_sequences, 12),
    "Bidirectional GRU twice": (
        lambda: bidirectional_both("GRU"),
        two_sequences,
        4,
    ),
    "decoder alone": (decoder_alone, lambda: steps_and_states(2), 10),
    "GRU decoder alone": (
        lambda: decoder_alone("GRU"),
        lambda: steps_and_states(1),
        4,
    ),
    "cell": (cell_with_states, one_step, 10),
    "encoder alone": (encoder_alone, lambda: [features(0, ROWS)], 3),
    "stacked cells": (stacked_cells, two_sequences, 8),
    "ConvLSTM1D": (images, pictures, 6),
    "stateful LSTM": (lambda: stateful("LSTM"), batches, 10),
    "stateful SimpleRNN": (lambda: stateful("SimpleRNN"), batches, 3),
    "stateful Bidirectional": (lambda: stateful("Bidirectional"), batches, 4),
    "three stateful layers": (
        lambda: stateful("GRU", "LSTM", "GRU"),
        batches,
        12,
    ),
}


ALSO = (
    *("GRU", "Bidirectional GRU encoder", "Bidirectional GRU twice"),
    *("GRU decoder alone", "two layers each"),
)
"""Models that differ from the one before in their class alone, and that of which the
tests below compare outputs."""

ALIKE = [
    {"initial states h and c exchanged", "returned states h and c exchanged"},
    {"initial state h used for c", "returned state h used for c"},
]
"""Of a decoder, and of an encoder whose states all go to it side by side: the same."""


def mistakes_about_states(spec):
    """The mutants that are tested here, of one layer and of the whole model."""
    names = {
        m.name
        for _, inner in spec.walk()
        for operator in MUTATION_OPERATORS
        for m in operator(inner)
    }
    names |= {m.name for operator in MODEL_OPERATORS for m in operator(spec)}
    return [m for m in catalogue(spec) if m.name in names]


def outputs_of(mutant, x):
    return mutant.evaluate(Network(mutant.model).prepare(x))


def apart(one, two):
    return max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", NETS)
def test_every_mistake_about_states_changes_the_outputs_and_no_two_are_the_same(name):
    make, inputs, least = NETS[name]
    spec, x = make(), inputs()
    right = Network(spec).flat(Network(spec).prepare(x), dtype="float64")
    mutants = mistakes_about_states(spec)
    assert len(mutants) >= least, [m.name for m in mutants]
    assert len({(m.name, m.layer) for m in mutants}) == len(mutants)
    seen = []
    for mutant in mutants:
        wrong = outputs_of(mutant, x)
        assert apart(wrong, right) > 1e-4, (mutant.name, mutant.layer)
        for other, theirs in seen:
            alike = {mutant.name, other} in ALIKE and name == "Bidirectional encoder"
            assert (apart(wrong, theirs) > SAME) is not alike, (mutant.name, other)
        seen.append((mutant.name, wrong))
        if mutant.inputs is None:
            fast = Network(mutant.model).predict(x, dtype="float64")
            fast = fast if isinstance(fast, list) else [fast]
            assert apart(fast, wrong) < 1e-12, mutant.name


def matching(spec, x, theirs):
    """The mistakes that a diagnosis names for outputs, by layer and name."""
    report = compare_outputs(Network(spec), x, theirs)
    assert report.verdict is Verdict.FAIL
    return [(e.layer, e.mistake) for e in report.diagnosis.explanations]


def recorded(mutant, x):
    """Return what a port with a mistake returns, in float32."""
    net = Network(mutant.model)
    outputs = mutant.evaluate(net.prepare(x), dtype="float32")
    return outputs if len(outputs) > 1 else outputs[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough) if name in ALSO else name
        for name in NETS
    ],
)
def test_a_port_with_a_mistake_about_states_is_told_its_mistake_and_no_other(name):
    make, inputs, _ = NETS[name]
    spec, x = make(), inputs()
    small = name in ("LSTM", "GRU", "decoder alone", "stateful LSTM")
    # a search in a larger model takes a second
    mutants, start = mistakes_about_states(spec), list(NETS).index(name)
    for mutant in some(mutants, 12 if small else len(mutants), start):
        report = compare_outputs(Network(spec), x, recorded(mutant, x))
        found = report.diagnosis.explanations
        assert (mutant.layer, mutant.name) in [(e.layer, e.mistake) for e in found]
        assert all(e.max_diff < SAME for e in found), (mutant.name, found)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_hand(kind, weights, x, states, mask=None, backwards=False, keep=True):
    """The outputs at each step in the order of processing, and the last states.

    Unless the states are kept, each step begins with those given.
    """
    kernel, recurrent, bias = (np.asarray(w, np.float64) for w in weights)
    units, first, outputs = len(recurrent), states, []
    shown = np.zeros((len(x), units))
    for t in range(x.shape[1])[::-1] if backwards else range(x.shape[1]):
        if not keep:
            states = first
        h = states[0]
        if kind == "LSTM":
            i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=-1)
            c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
            new = [sigmoid(o) * np.tanh(c), c]
        elif kind == "GRU":
            a = np.split(x[:, t] @ kernel + bias[0], 3, axis=-1)
            b = np.split(h @ recurrent + bias[1], 3, axis=-1)
            z, r = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
            new = [z * h + (1 - z) * np.tanh(a[2] + r * b[2])]
        else:
            new = [np.tanh(x[:, t] @ kernel + h @ recurrent + bias)]
        go = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        states = [np.where(go, s, old) for s, old in zip(new, states, strict=True)]
        shown = np.where(go, new[0], shown)
        outputs.append(shown)
    return np.stack(outputs, axis=1), states


PORTS = {
    "initial states forgotten": lambda h, c: (0 * h, 0 * c),
    "initial states h and c exchanged": lambda h, c: (c, h),
    "initial state c left at zero": lambda h, c: (h, 0 * c),
    "initial state h left at zero": lambda h, c: (0 * h, c),
    "initial state h used for c": lambda h, c: (h, h),
    "initial state c used for h": lambda h, c: (c, c),
    "states not passed on to the next step": lambda h, c: (h, c),
    "mask applied in spite of initial_state": lambda h, c: (h, c),
}
"""The states of an encoder -> those with which the decoder of a port begins."""


@pytest.mark.slow
@settings(max_examples=many(60, 25), deadline=None)
@given(
    kind=st.sampled_from(["LSTM", "GRU", "SimpleRNN"]),
    name=st.sampled_from(list(PORTS)),
    sequences=st.booleans(),
    backwards=st.booleans(),
    encoder_backwards=st.booleans(),
    seed=st.integers(0, 5),
)
def test_a_mistake_is_what_a_port_written_by_hand_computes(
    kind, name, sequences, backwards, encoder_backwards, seed
):
    spec = encoder_decoder(
        kind,
        {"go_backwards": encoder_backwards},
        {"return_sequences": sequences, "go_backwards": backwards},
    )
    mutants = {(m.layer, m.name): m for m in mistakes_about_states(spec)}
    mutant = mutants.get(("decoder", name))
    one_state, about_two = kind != "LSTM", name.startswith("initial state ")
    about_two = about_two or "exchanged" in name
    assert (mutant is None) is (one_state and about_two)
    if mutant is None:
        return
    x, y = sentences(seed)

    def weights(path):
        return [np.asarray(w, np.float64) for w in spec[path].weights.values()]

    (source,), (target,) = weights("from"), weights("to")
    zeros = [np.zeros((ROWS, UNITS))] * (1 if one_state else 2)
    given_x, given_y = source[x], target[y]
    _, states = by_hand(
        kind, weights("encoder"), given_x, zeros, x != 0, encoder_backwards
    )
    begun = PORTS[name](states[0], states[-1])[: len(states)]
    z, _ = by_hand(
        kind,
        weights("decoder"),
        given_y,
        begun,
        (y != 0) if name.startswith("mask") else None,
        backwards,
        keep="not passed on" not in name,
    )
    kernel, bias = weights("dense")
    logits = (z if sequences else z[:, -1]) @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    assert apart(outputs_of(mutant, [x, y]), [expected]) < 1e-12


@pytest.mark.slow
def test_states_that_are_not_the_encoders_are_said_to_be_of_the_other_layer():
    spec, x = two_layers_each(), two_sequences()
    named = {
        (m.layer, m.name): m
        for m in mistakes_about_states(spec)
        if "those" in m.name or "exchanged with" in m.name
    }
    assert set(named) == {
        ("dec1", "initial states: those of 'enc2'"),
        ("dec2", "initial states: those of 'enc1'"),
        ("dec2", "initial states: those of 'dec1'"),
        ("dec1", "initial states exchanged with 'dec2'"),
    }
    both = named["dec1", "initial states exchanged with 'dec2'"]
    assert matching(spec, x, recorded(both, x)) == [(both.layer, both.name)]


@pytest.mark.slow
def test_all_layers_of_a_decoder_with_the_same_mistake_are_counted():
    spec, x = two_layers_each(), two_sequences()
    wanted = "initial states h and c exchanged, in 2 layers (dec1, dec2)"
    (mutant,) = (m for m in mistakes_about_states(spec) if m.name == wanted)
    report = compare_outputs(Network(spec), x, recorded(mutant, x))
    (found,) = report.diagnosis.explanations
    assert found.mistake == wanted
    assert found.explanation.startswith("in 2 layers (dec1, dec2): h and c are")


@pytest.mark.thorough
@pytest.mark.slow
def test_exchanged_states_are_named_together_with_another_mistake():
    spec, x = encoder_decoder(), sentences()
    one, two = (
        next(m for m in mutants if m.name == name)
        for mutants, name in (
            (catalogue(spec), "initial states h and c exchanged"),
            (same_mistakes(spec), "gate order i,f,o,c, in all 2 LSTM layers"),
        )
    )
    both = together(one, two)
    ((_, names),) = matching(spec, x, recorded(both, x))
    assert set(names.split("; ")) == {one.name, two.name}


def stateful_by_hand(spec, x, carried, rows=3):
    """The outputs of a port of a stateful LSTM.

    Parameters
    ----------
    carried : callable
        h and c after a batch, (rows, units) -> those with which the next one begins.
    """
    weights = list(spec["rnn0"].weights.values())
    kernel, bias = spec["dense"].weights.values()
    states, found = [np.zeros((rows, UNITS))] * 2, []
    for k in range(0, len(x), rows):
        _, after = by_hand("LSTM", weights, x[k : k + rows], states)
        logits = after[0] @ kernel + bias
        found.append(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))
        states = list(carried(*after))
    return np.concatenate(found).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "carried", "rows"),
    [
        (
            "states not carried to the next batch",
            lambda h, c: (0 * h, 0 * c),
            3,
        ),
        ("state c not carried to the next batch", lambda h, c: (h, 0 * c), 3),
        ("state h not carried to the next batch", lambda h, c: (0 * h, c), 3),
        ("states h and c exchanged from batch to batch", lambda h, c: (c, h), 3),
        (
            "states carried to the next row of the next batch",
            lambda h, c: (np.roll(h, 1, 0), np.roll(c, 1, 0)),
            3,
        ),
        ("states carried from row to row", lambda h, c: (h, c), 1),
    ],
)
def test_a_port_that_does_not_carry_the_states_of_a_batch_is_told_so(
    name, carried, rows
):
    spec, (x,) = stateful("LSTM"), batches()
    right = stateful_by_hand(spec, x, lambda h, c: (h, c))
    assert compare_outputs(Network(spec), x, right).verdict is Verdict.PASS
    theirs = stateful_by_hand(spec, x, carried, rows)
    assert [name for _, name in matching(spec, x, theirs)] == [name]


@pytest.mark.parametrize("carried", [lambda h, c: (0 * h, 0 * c), lambda h, c: (h, 0)])
def test_a_stateful_layer_of_one_row_and_one_step_is_diagnosed(carried):
    net = FunctionalNet(seed=21)
    x = net.input("x", 1, 1, INPUTS)
    y, *_ = net.call(rnn("LSTM", "rnn0", stateful=True), x, features=INPUTS)
    spec = net.spec(net.call(dense(), y, features=UNITS)[0])
    x = features(5, 12, 1)
    theirs = stateful_by_hand(spec, x, carried, rows=1)
    ((place, name),) = matching(spec, x, theirs)
    assert place == "rnn0"
    assert name.endswith("not carried to the next batch")


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("states left over from the first batch", lambda x: x[:3]),
        ("states left over from a batch of zeros", lambda x: 0 * x[:3]),
        ("states left over from the same rows", lambda x: x),
    ],
)
def test_a_port_that_was_not_reset_before_its_outputs_were_recorded_is_told_so(
    name, before
):
    spec, (x,) = stateful("LSTM"), batches()
    run = np.concatenate([before(x), x])
    theirs = stateful_by_hand(spec, run, lambda h, c: (h, c))[-len(x) :]
    assert matching(spec, x, theirs) == [("", name)]


def test_states_that_are_the_same_are_not_exchanged():
    net = FunctionalNet()
    x, h = net.input("x", None, TIME, INPUTS), net.input("h", None, UNITS)
    y, *_ = net.call(rnn("LSTM"), x, initial_state=[h, h], features=INPUTS)
    names = {m.name for m in mistakes_about_states(net.spec(y))}
    assert names == {
        "states not passed on to the next step",
        "initial states forgotten",
        "initial state c left at zero",
        "initial state h left at zero",
    }


def test_a_selftest_gives_a_stateful_model_several_batches():
    found = selftest(Network(stateful("LSTM")))
    assert found.rows == 12
    survivors = {result.mistake for result in found.survivors}
    assert not any("batch" in name for name in survivors), survivors


def test_more_rows_than_the_model_has_in_a_batch_are_several_batches():
    net = Network(stateful("LSTM"))
    for rows, hidden in ((3, True), (6, False)):
        spots = blind_spots(net, net.prepare(features(0, rows)), rows)
        assert any(Need.SEVERAL_BATCHES in s.lacks for s in spots) is hidden


def test_keras_on_jax_carries_no_states_so_that_none_can_be_forgotten():
    spec = stateful("LSTM")
    assert mistakes_about_states(spec)
    names = {m.name for m in mistakes_about_states(spec.on("jax"))}
    assert names <= {"states not passed on to the next step"}


@pytest.mark.slow
def test_a_decoder_that_keeps_its_states_from_row_to_row_is_told_so():
    spec, (x, y) = encoder_decoder(), sentences()
    name = "states carried to the next row"
    (mutant,) = (m for m in catalogue(spec) if (m.layer, m.name) == ("decoder", name))
    named = matching(spec, [x, y], recorded(mutant, [x, y]))
    # once the decoder keeps its own states, the encoder does not matter
    assert named == [("", f"{name}, in all 2 LSTM layers"), ("decoder", name)]


def test_models_without_states_between_layers_have_no_mistake_between_layers():
    spec = word_net(rnn("LSTM"))
    for operator in MODEL_OPERATORS:
        assert not list(operator(spec))
    names = [m.name for operator in MODEL_OPERATORS for m in operator(stateful("GRU"))]
    alone = stateful("GRU", rows=1)
    of_one_row = [m.name for operator in MODEL_OPERATORS for m in operator(alone)]
    assert of_one_row == [n for n in names if n.startswith("states left over")]
    assert len(of_one_row) == 3 < len(names)


def test_a_layer_that_is_called_twice_has_the_mistake_in_both_calls():
    net = FunctionalNet()
    x, y = net.input("x", None, TIME, INPUTS), net.input("y", None, STEPS, INPUTS)
    _, *states = net.call(rnn("GRU", "one", return_state=True), x, features=INPUTS)
    a, *_ = net.call(rnn("GRU", "two"), y, initial_state=states[:1], features=INPUTS)
    b, *_ = net.call(rnn("GRU", "two"), x, initial_state=[a])
    spec, inputs = net.spec(a, b), two_sequences()
    forgotten = next(
        m for m in mistakes_about_states(spec) if m.name == "initial states forgotten"
    )
    zeros = [np.zeros((ROWS, UNITS))]
    weights = list(spec["two"].weights.values())
    expected = [by_hand("GRU", weights, i, zeros)[1][0] for i in inputs[::-1]]
    assert apart(outputs_of(forgotten, inputs), expected) < 1e-12


def test_states_in_a_model_within_a_model_are_found():
    inner = decoder_alone()
    root = replace(inner.root, name="inner")
    net = FunctionalNet(seed=1)
    x = net.input("x", None, TIME, INPUTS)
    _, *states = net.call(rnn("LSTM", "one", return_state=True), x, features=INPUTS)
    net.layers["inner"] = root
    config = {"config": {"name": "inner"}}
    y, *_ = net.call(config, [x, *states[:2]])
    spec = net.spec(y)
    found = {(m.layer, m.name) for m in mistakes_about_states(spec)}
    assert ("inner/decoder", "initial states h and c exchanged") in found
    x = features(0, ROWS)
    right = Network(spec).flat(Network(spec).prepare(x), dtype="float64")
    for mutant in mistakes_about_states(spec):
        if mutant.layer == "inner/decoder" and mutant.name.startswith("initial"):
            assert apart(outputs_of(mutant, [x]), right) > 1e-4
