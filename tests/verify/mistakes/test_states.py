"""States handed over wrongly: from layer to layer, step to step, batch to batch."""

from __future__ import annotations

import numpy as np
import pytest
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
)

from verify import Network
from verify.mistakes.catalogue import catalogue
from verify.mistakes.catalogue.given_states import MODEL_OPERATORS
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
    "encoder alone": (encoder_alone, lambda: [features(0, ROWS)], 3),
    "stacked cells": (stacked_cells, two_sequences, 8),
    "ConvLSTM1D": (images, pictures, 6),
    "stateful LSTM": (lambda: stateful("LSTM"), batches, 7),
    "stateful SimpleRNN": (lambda: stateful("SimpleRNN"), batches, 3),
    "stateful Bidirectional": (lambda: stateful("Bidirectional"), batches, 4),
    "three stateful layers": (
        lambda: stateful("GRU", "LSTM", "GRU"),
        batches,
        12,
    ),
}


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
        fast = Network(mutant.model).predict(x, dtype="float64")
        fast = fast if isinstance(fast, list) else [fast]
        assert apart(fast, wrong) < 1e-12, mutant.name
