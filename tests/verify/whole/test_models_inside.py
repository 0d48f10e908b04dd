"""Hold models that call models against Keras: whose masks reach the layers inside."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    VOCABULARY,
    features,
    ids,
    random_weights,
)

import verify
from verify import UnsupportedError, Verdict
from verify.__main__ import main
from verify.mistakes.lost_masks import lost_masks
from verify.model_files import masks_of_inputs

pytestmark = pytest.mark.keras


def encoded(inputs: str, *, dtype: str | None = None) -> Any:
    """Give what an encoder returns to a model inside: Keras finds its masks late.

    An encoder's result has no mask while a Functional model is written down, so that
    the call of the model inside is recorded with ``mask=[None, None]``.

    Parameters
    ----------
    inputs : str
        How the model inside takes its inputs: list, dict, or dict by the names of a
        list.
    dtype : str, optional
        That which the model inside wants of one of them.
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
    a = keras.Input((TIME, UNITS), name="a", dtype=dtype)
    b = keras.Input((TIME, UNITS), name="b")
    rows = layers.Dense(UNITS)
    outputs = [rows(rows(b)), layers.GRU(UNITS)(rows(a))]
    structure: Any = {"b": b, "a": a} if inputs == "dict" else [a, b]
    pair = keras.Model(structure, outputs)
    first, second = (keras.Input((TIME,), dtype="int32") for _ in range(2))
    words = [encoder(first), encoder(second)]
    given: Any = words if inputs == "list" else dict(zip("ba", words, strict=True))
    again: Any = words[::-1] if inputs == "list" else {"a": words[0], "b": words[1]}
    model = keras.Model([first, second], [*pair(given), *pair(again)])
    weights = random_weights([w.shape for w in model.get_weights()], 5)
    model.set_weights([0.7 * w for w in weights])
    return model


EVERY_POLICY = pytest.mark.parametrize(
    "policy", ["float32", "float64", "mixed_float16", "mixed_bfloat16"], indirect=True
)


@pytest.mark.parametrize("inputs", ["list", "dict", "names"])
def test_masks_that_tensors_have_reach_a_model_inside(inputs):
    report = verify.check(encoded(inputs), [ids(1), ids(2)])
    assert report.verdict is Verdict.PASS
    assert report.derived == 1


@pytest.mark.usefixtures("undiagnosed")
def test_a_model_inside_that_loses_them_is_found(monkeypatch):
    monkeypatch.setattr(
        masks_of_inputs, "masks_given_as_none", lambda model, node: [], raising=True
    )
    report = verify.check(encoded("list"), [ids(1), ids(2)])
    assert report.verdict is Verdict.FAIL


@EVERY_POLICY
@pytest.mark.parametrize("dtype", [None, "int32", "float16", "float64"])
def test_what_is_cast_on_its_way_into_a_model_has_no_mask(policy, dtype):
    report = verify.check(encoded("list", dtype=dtype), [ids(1), ids(2)])
    assert report.verdict is Verdict.PASS, report


@pytest.mark.parametrize("inputs", ["dict", "names"])
def test_what_is_cast_is_found_by_the_name_of_the_input(inputs):
    report = verify.check(encoded(inputs, dtype="float16"), [ids(1), ids(2)])
    assert report.verdict is Verdict.PASS, report


@pytest.mark.usefixtures("undiagnosed")
def test_a_mask_that_outlives_a_cast_is_found(monkeypatch):
    found = masks_of_inputs.masks_given_as_none
    monkeypatch.setattr(
        masks_of_inputs,
        "masks_given_as_none",
        lambda model, node: [(k, x, "") for k, x, _ in found(model, node)],
    )
    report = verify.check(encoded("list", dtype="float16"), [ids(1), ids(2)])
    assert report.verdict is Verdict.FAIL


@EVERY_POLICY
@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_masks_that_keras_computes_again_in_a_copy_are_not_those_of_the_model(policy):
    """Keras has an operation NotEqual for a mask; in float64 its copy has another."""
    import keras
    from keras import layers

    steps = keras.Input((TIME, INPUTS))
    masked = layers.Masking()(steps)
    inner = keras.Sequential(
        [
            keras.Input((TIME, INPUTS)),
            layers.Masking(),
            layers.GRU(UNITS, return_sequences=True),
        ]
    )
    outputs = [
        layers.GlobalAveragePooling1D()(masked),
        layers.Multiply()([inner(steps), inner(masked)]),
    ]
    model = keras.Model(steps, outputs)
    weights = random_weights([w.shape for w in model.get_weights()], 8)
    model.set_weights([0.7 * w for w in weights])
    x = features(3)
    x[:, -2:] = 0
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS, report
    found = {layer.class_name for layer in report.layers}
    assert {"Masking", "Multiply", "GRU", "GlobalAveragePooling1D"} <= found


LOST = "it is computed like any other step: no mask reaches it, because "


def test_a_mask_lost_on_the_way_into_a_model_is_warned_of():
    model = encoded("list", dtype="float16")
    found = [w for w in verify.check(model, [ids(1), ids(2)]).warnings if LOST in w]
    assert len(found) == 1
    assert "(GRU): there is padding (" in found[0]
    how = "(Functional) casts the tensor to another dtype for its input 'a'"
    assert f"{how}; with the mask the outputs would be up to" in found[0]
    net, kept = (verify.load(encoded("list", dtype=d)) for d in ("float16", None))
    x = net.prepare([ids(1), ids(2)])
    (lost,) = lost_masks(net.spec.root, net.trace(x))
    moved = [abs(a - b).max() for a, b in zip(net.flat(x), kept.flat(x), strict=True)]
    assert lost.effect(net, x) == pytest.approx(max(moved), rel=0.02)
    assert max(moved) > 0.05
    text = verify.describe(verify.load(model))
    assert re.search(
        r"the mask is lost for 'gru\w*': casts the tensor to another dtype", text
    )
    kept = verify.check(encoded("list"), [ids(1), ids(2)])
    assert not any("padding" in warning for warning in kept.warnings)


@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("outer", [True, False])
def test_a_mask_lost_before_a_model_or_inside_is_warned_of(outer):
    import keras
    from keras import layers

    steps, gru = layers.Conv1D(INPUTS, 3, padding="same"), layers.GRU(UNITS)
    inner = keras.Sequential([keras.Input((TIME, INPUTS)), *[steps][outer:], gru])
    words = keras.Input((TIME,), dtype="int32")
    vectors = layers.Embedding(VOCABULARY, INPUTS, mask_zero=True)(words)
    model = keras.Model(words, inner(steps(vectors) if outer else vectors))
    weights = random_weights([w.shape for w in model.get_weights()], 7)
    model.set_weights([0.7 * w for w in weights])
    (found,) = [w for w in verify.check(model, ids(1)).warnings if LOST in w]
    assert f"'{gru.name}' (GRU)" in found
    assert f"Layer '{steps.name}' (Conv1D) hands none on" in found


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


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_models_of_a_class_of_ones_own_are_read_as_functional(suffix, tmp_path, capsys):
    """A file has the weights of a model inside under the name of its own class."""
    import keras
    from keras import layers

    class Mine(keras.Model):
        def train_step(self, *data):
            return super().train_step(*data)

    def mine(*sizes):
        x = keras.Input(sizes)
        return Mine(x, layers.GRU(UNITS, return_sequences=True)(x))

    steps = keras.Input((TIME, INPUTS))
    model = Mine(steps, layers.LSTM(2)(mine(TIME, UNITS)(mine(TIME, INPUTS)(steps))))
    weights = random_weights([w.shape for w in model.get_weights()], 9)
    model.set_weights([0.7 * w for w in weights])
    path = tmp_path / f"m.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the old form of files
        model.save(path)
    net = verify.load(path, base_classes={"Mine": "Functional"})
    x = features(4)
    np.testing.assert_allclose(net.predict(x), model.predict(x, verbose=0), atol=1e-6)
    assert verify.describe(net).count("(Mine, taken as Functional)") == 2
    assert main(["check", str(path), "--as-base-class", "Mine=Functional"]) == 0
    text = capsys.readouterr().out
    assert "matches Keras, with Mine taken as Functional" in text
    assert "rebuilt, with Mine taken as Functional" in text
    for other in ("GRU", "Sequential"):
        wrong = f"expected Functional.*Mine is a model of layers. Received: {other}"
        with pytest.raises(UnsupportedError, match=wrong):
            verify.load(path, base_classes={"Mine": other})
