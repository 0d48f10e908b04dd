"""Masks of three axes that reach a recurrent layer, as of words in sentences."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.backends import on_backend
from support.masks_of_words import WORDS, hierarchical, words
from support.nets import random_weights

import verify
from verify import UnsupportedError, Verdict
from verify.model.backends import Rule
from verify.ports.convert.to_onnx.model import onnx_model

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_on_tensorflow_a_mask_of_words_holds_units(kind, both):
    model = hierarchical(WORDS, kind=kind, both=both)
    report = verify.check(model, words())
    assert report.verdict is Verdict.PASS
    assert report.proof.max_diff < 1e-13
    assert "noise" not in str(report)  # every layer has a derived bound
    said = [w for w in report.warnings if "takes the last axis for the units" in w]
    assert len(said) == 1 + both
    assert all("the mask that reaches it is (batch, 5, 6)" in w for w in said)
    net = verify.load(model)
    by_steps = net.on("jax").predict(words())
    assert np.abs(by_steps - net.predict(words())).max() > 1e-2
    path = next(p for p, x in net.spec.walk() if x.class_name == kind)
    bias = net.spec[path].weights["bias"]
    changed = net.spec[path].with_weights(bias=bias * 0)
    wrong = verify.check(
        model, words(), network=verify.Network(net.spec.with_layer(changed, path))
    )
    assert wrong.verdict is Verdict.FAIL
    assert f"layer '{path}': the bias is left out" in str(wrong)


def test_elsewhere_it_holds_steps_as_a_mask_of_sentences_does():
    net = verify.load(hierarchical(WORDS))
    expected = hierarchical(WORDS, whole_steps=True).predict(words(), verbose=0)
    for backend in ("jax", "numpy"):
        found = net.on(backend).predict(words())
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(net.on("torch").predict(words()) - expected).max() > 1e-2
    there = net.on("jax")
    effects = there.rule_effects(there.prepare(words()))
    assert effects[Rule.MASK_HOLDS_STEPS] > 1e-2


@pytest.mark.parametrize("both", [False, True])
def test_other_numbers_of_units_are_read_and_refused_where_keras_cannot_run_them(
    both, tmp_path
):
    model = hierarchical(4, both=both)
    weights = model.get_weights()
    model.save(tmp_path / "m.keras")
    net = verify.load(tmp_path / "m.keras")
    assert "(batch, 5, 3) -> (batch, " in verify.describe(net)
    with pytest.raises(
        UnsupportedError, match=r"\(batch, 5, 6\), and a state is \(batch, 4\)"
    ):
        net.predict(words())
    same = hierarchical(4, both=both, whole_steps=True)
    same.set_weights(weights)
    there = net.on("jax")
    np.testing.assert_allclose(
        there.predict(words()), same.predict(words(), verbose=0), atol=1e-5
    )
    assert Rule.MASK_HOLDS_STEPS not in there.rule_effects(there.prepare(words()))


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_mask_whose_last_axis_is_1_is_one_of_steps(kind):
    from keras import Input, Model, layers

    x, mask = Input((6, 3)), Input((6, 1), dtype="bool")
    model = Model([x, mask], getattr(layers, kind)(4)(x, mask=mask))
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 1))
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(5, 6, 3)).astype("float32"), rng.random((5, 6, 1)) > 0.4]
    report = verify.check(model, given)
    assert report.verdict is Verdict.PASS
    assert not any("last axis" in warning for warning in report.warnings)
    net = verify.load(model)
    session = pytest.importorskip("onnxruntime").InferenceSession(
        onnx_model(net).content
    )
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, given, strict=True)))
    np.testing.assert_allclose(found, net.predict(given), atol=1e-5)
    unmasked = [given[0], np.ones_like(given[1])]
    assert np.abs(net.predict(unmasked) - found).max() > 1e-2


def test_a_mask_of_units_is_not_written_as_onnx():
    net = verify.load(hierarchical(WORDS))
    with pytest.raises(UnsupportedError, match="a value for each unit, which is not"):
        onnx_model(net)


ON_JAX = """
import json, sys
import numpy as np, keras, verify
from support.masks_of_words import hierarchical, words

found = {}
for units in (4, 6):
    model = hierarchical(units, both=units == 4)
    report = verify.check(model, words())
    model.save(sys.argv[1])
    file = verify.check(sys.argv[1])
    said = any("false throughout; on TensorFlow" in w for w in report.warnings)
    found[units] = [report.verdict, file.verdict, report.proof.max_diff < 1e-13, said]
print(json.dumps(found))
"""


def test_keras_on_jax_agrees(tmp_path):
    run = on_backend("jax", ON_JAX, str(tmp_path / "m.keras"))
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found == {"4": ["PASS", "PASS", True, True]} | {
        "6": ["PASS", "PASS", True, True]
    }
