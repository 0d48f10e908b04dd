"""Plant mistakes in the arrays that a port is given as inputs."""

from __future__ import annotations

import numpy as np
import pytest
from support.graphs import computed, given, made, named, net, rnn

from verify.mistakes.catalogue import catalogue
from verify.mistakes.catalogue.inputs import given_inputs, hints

BATCH, TIME = 10, 6
IDS = np.random.default_rng(3).integers(1, 9, (BATCH, TIME))
IDS[::2, 4:] = IDS[1::4, 0] = 0


def words(mask_zero=False, time=TIME, layer=None):
    """Ids, an Embedding and an LSTM."""
    layers = [
        given("ids", time, dtype="int32"),
        made("Embedding", "words", (9, 3), seed=1, input_dim=9, output_dim=3,
             mask_zero=mask_zero),
        layer or rnn("LSTM", "rnn", 3, 4, seed=2),
    ]  # fmt: skip
    return net(layers, {"words": "ids", layers[2].name: "words"}, layers[2].name)


def one_by_one(spec, rows):
    """The model on rows of different lengths, each by itself."""
    return np.concatenate([computed(spec, row[None]) for row in rows])


def test_padding_that_a_port_cuts_off_is_named():
    spec = words(time=None)
    cut = one_by_one(spec, [row[row != 0] for row in IDS])
    assert named(spec, IDS, cut) == {"padding skipped"}


@pytest.mark.parametrize("time", [None, TIME])
def test_one_step_of_padding_more_is_named(time):
    spec, free = words(time=time), words(time=None)
    for end, widths in (("behind", (0, 1)), ("in front", (1, 0))):
        longer = computed(free, np.pad(IDS, [(0, 0), widths]))
        assert named(spec, IDS, longer) == {f"one step of padding more {end}"}


def test_a_step_of_padding_more_is_left_out_where_the_length_matters():
    flat = words(layer=made("Flatten", "flat"))
    assert not any("padding more" in m.name for m in catalogue(flat))
    assert any("padding more" in m.name for m in catalogue(words()))
    assert not any("padding more" in m.name for m in catalogue(words(mask_zero=True)))


def test_padding_at_the_other_end_is_named_where_it_is_computed():
    spec = words()
    ends = np.stack([np.concatenate([r[r == 0], r[r != 0]]) for r in IDS])
    assert named(spec, IDS, computed(spec, ends)) == {
        "padding in front instead of behind"
    }
    masked = {m.name for m in catalogue(words(mask_zero=True))}
    assert not any(name.startswith("padding") for name in masked)  # it has no side


def test_words_shifted_by_one_id_with_the_padding_kept():
    spec = words()
    shifted = np.where(IDS == 0, 0, np.minimum(IDS + 1, 8))
    assert named(spec, IDS, computed(spec, shifted)) == {"ids + 1, padding kept"}
    masked = words(mask_zero=True)
    shifted = np.minimum(IDS + 1, 8)  # so nothing is padding any more
    assert named(masked, IDS, computed(masked, shifted)) == {"ids + 1"}
    shifted = np.maximum(IDS - 1, 0)
    assert named(masked, IDS, computed(masked, shifted)) == {"ids - 1"}


def test_two_inputs_in_each_others_place():
    layers = [given(name, 3) for name in ("a", "b")]
    layers += [
        made("Dense", "one", (3, 2), (2,), seed=1, units=2),
        made("Dense", "two", (3, 2), (2,), seed=2, units=2),
        made("Add", "sum"),
    ]
    spec = net(layers, {"one": "a", "two": "b", "sum": (["one", "two"],)}, "sum")
    a, b = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)
    found = named(spec, [a, b], computed(spec, [b, a]), 1e-6)
    assert "inputs 'a' and 'b' exchanged" in found
    assert found <= {"inputs 'a' and 'b' exchanged", "weights exchanged with 'two'"}


def test_the_users_of_an_input_are_found_in_models_inside():
    inner = words(mask_zero=True).root
    outer = net([given("text", TIME, dtype="int32"), inner], {"model": "text"}, "model",
                name="outer")  # fmt: skip
    (text,) = given_inputs(outer)
    assert text.embedding is not None
    assert text.masked
    assert text.padding == 0
    names = {m.name for m in catalogue(outer)}
    assert "ids + 1" in names


def test_hints_are_given_for_what_the_model_takes():
    assert len(hints(words())) == 1
    assert "word index" in hints(words())[0]
    spec = net([given("x", 3), made("Activation", "act", activation="tanh")],
               {"act": "x"}, "act")  # fmt: skip
    assert ["scale" in hint for hint in hints(spec)] == [True]
