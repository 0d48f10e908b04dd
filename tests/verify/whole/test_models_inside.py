"""Hold models that call models against Keras: whose masks reach the layers inside."""

from __future__ import annotations

from typing import Any

import pytest
from support.nets import INPUTS, TIME, UNITS, VOCABULARY, ids, random_weights

import verify
from verify import Verdict
from verify.forward.layers.models import Functional

pytestmark = pytest.mark.keras


def encoded(inputs: str, *, cast: bool = False) -> Any:
    """Give what an encoder returns to a model inside: Keras finds its masks late.

    An encoder's result has no mask while a Functional model is written down, so that
    the call of the model inside is recorded with ``mask=[None, None]``.
    """
    import keras
    from keras import layers

    encoder = keras.Sequential(
        [
            keras.Input((TIME,), dtype="int32"),
            layers.Embedding(VOCABULARY, INPUTS, mask_zero=True),
            layers.LSTM(UNITS, return_sequences=True),
        ]
    )
    dtype = "int32" if cast else None
    a = keras.Input((TIME, UNITS), name="a", dtype=dtype)
    b = keras.Input((TIME, UNITS), name="b")
    rows = layers.Dense(UNITS)
    outputs = [rows(rows(b)), layers.GRU(UNITS)(rows(a))]
    structure: Any = {"b": b, "a": a} if inputs == "dict" else [a, b]
    pair = keras.Model(structure, outputs)
    first, second = (keras.Input((TIME,), dtype="int32") for _ in range(2))
    words = [encoder(first), encoder(second)]
    given: Any = words if inputs == "list" else dict(zip("ab", words, strict=True))
    again: Any = words[::-1] if inputs == "list" else {"a": words[1], "b": words[0]}
    model = keras.Model([first, second], [*pair(given), *pair(again)])
    weights = random_weights([w.shape for w in model.get_weights()], 5)
    model.set_weights([0.7 * w for w in weights])
    return model


@pytest.mark.parametrize("inputs", ["list", "dict"])
def test_masks_that_tensors_have_reach_a_model_inside(inputs):
    report = verify.check(encoded(inputs), [ids(1), ids(2)])
    assert report.verdict is Verdict.PASS
    assert report.derived == 1


@pytest.mark.usefixtures("undiagnosed")
def test_a_model_inside_that_loses_them_is_found(monkeypatch):
    monkeypatch.setattr(
        Functional, "own_masks", lambda self, layer, given: given["mask"]
    )
    report = verify.check(encoded("list"), [ids(1), ids(2)])
    assert report.verdict is Verdict.FAIL


def test_what_is_cast_on_its_way_into_a_model_has_no_mask():
    report = verify.check(encoded("list", cast=True), [ids(1), ids(2)])
    assert report.verdict is Verdict.PASS


@pytest.mark.parametrize("saved", [False, True])
def test_outputs_of_a_model_inside_are_counted_by_the_sorted_keys_of_a_dict(
    saved, tmp_path
):
    import keras
    from keras import layers

    words = keras.Input((TIME,), dtype="int32")
    vectors = layers.Embedding(VOCABULARY, INPUTS, mask_zero=True)(words)
    every = layers.LSTM(UNITS, return_sequences=True)(vectors)
    last = layers.GRU(UNITS)(vectors)
    inner = keras.Model(words, {"steps": every, "last": last})
    given = keras.Input((TIME,), dtype="int32")
    both = inner(given)
    outputs = {"z": layers.GRU(2)(both["steps"]), "a": both["last"]}
    model = keras.Model(given, outputs)
    weights = random_weights([w.shape for w in model.get_weights()], 6)
    model.set_weights([0.7 * w for w in weights])
    subject: Any = model
    if saved:
        subject = tmp_path / "m.keras"
        model.save(subject)
    report = verify.check(subject, ids(1))
    assert report.verdict is Verdict.PASS
    assert report.derived == 1
    computed = verify.load(model).predict(ids(1))
    expected = model.predict(ids(1), verbose=0)
    assert {k: y.shape for k, y in computed.items()} == {
        k: y.shape for k, y in expected.items()
    }
