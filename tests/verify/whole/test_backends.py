"""Keras on JAX: its rules one by one, and Keras itself in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.nets import (
    TIME,
    UNITS,
    feature_net,
    features,
    ids,
    input_layer,
    layer,
    lstm_spec,
    spec,
    stateful_net,
)

import verify
from verify import Network, UnsupportedError
from verify.forward.layers.base import Tensor
from verify.mistakes.diagnose import diagnose
from verify.model.backends import BACKENDS, Limit, Rule
from verify.model.versions import VersionRule

TESTS = Path(__file__).parents[2]


def on_jax(code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Python with Keras on JAX; the code may be a module's name after ``-m``."""
    command = [sys.executable, *(["-c", code] if code else []), *arguments]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": str(TESTS),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def called(net: Network, **kwargs) -> np.ndarray:
    mask = np.ones((5, TIME), dtype=bool)
    mask[0, :2] = mask[1, 3] = mask[2, -2:] = mask[3] = False
    x = Tensor(features().astype(np.float64), mask)
    return net.call_layer("rnn", [x], {"mask": mask, **kwargs}, dtype="float64")[0]


def only(net: Network, rule: Rule) -> Network:
    return Network(net.spec.following(frozenset({rule})))


def test_a_masked_step_shows_the_state_it_holds():
    net = feature_net("LSTM", return_sequences=True)
    states = [np.full((5, UNITS), 0.3), np.full((5, UNITS), -0.2)]
    there = called(only(net, Rule.MASKED_STEP_SHOWS_STATE), initial_state=states)
    here = called(net, initial_state=states)
    begun = np.zeros((5, TIME), dtype=bool)
    begun[0, :2] = begun[3] = True
    assert not here[begun].any()
    assert np.array_equal(there[begun], np.full((2 + TIME, UNITS), 0.3))
    assert np.array_equal(here[~begun], there[~begun])


def test_without_initial_states_that_makes_no_difference():
    net = feature_net("LSTM", return_sequences=True)
    assert np.array_equal(called(net), called(only(net, Rule.MASKED_STEP_SHOWS_STATE)))


def test_unroll_takes_zeroing_away():
    zeroing = feature_net(
        "LSTM", return_sequences=True, unroll=True, zero_output_for_mask=True
    )
    there = called(only(zeroing, Rule.UNROLL_NEVER_ZEROES))
    assert np.array_equal(there, called(feature_net("LSTM", return_sequences=True)))
    assert not np.array_equal(there, called(zeroing))


def test_predict_forgets_states_between_batches():
    model = spec(
        layer("InputLayer", "input", batch_shape=[2, TIME, 3]),
        layer("LSTM", "rnn", units=UNITS, stateful=True),
    )
    x = features(batch=6)
    here, there = Network(model), Network(model).on("jax")
    whole = there.predict(x)
    alone = np.concatenate([there.predict(x[k : k + 2]) for k in (0, 2, 4)])
    assert np.array_equal(whole, alone)
    assert not np.array_equal(here.predict(x)[2:], whole[2:])
    start = {"rnn": (np.ones((2, UNITS)), np.ones((2, UNITS)))}
    begun, states = there.predict(x, initial_state=start, return_state=True)
    assert not np.array_equal(begun, whole)
    assert states["rnn"][0].shape == (2, UNITS)
    assert np.array_equal(start["rnn"][0], np.ones((2, UNITS)))  # left as it was


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("Reshape", {"target_shape": [TIME, 3]}),
        ("Permute", {"dims": [1, 2]}),
        ("Cropping1D", {"cropping": [0, 0]}),
    ],
)
def test_a_layer_that_moves_nothing_hands_on_the_mask(class_name, config):
    net = Network(
        spec(input_layer(None, TIME, 3), layer(class_name, "moving", **config))
    )
    mask = np.ones((5, TIME), dtype=bool)
    for backend, expected in (("tensorflow", False), ("jax", True)):
        masks: list = []
        x = Tensor(features(), mask)
        net.on(backend).call_layer("moving", [x], {}, dtype=None, masks=masks)
        assert (masks[0] is mask) == expected


def test_constants_are_exact_elsewhere():
    net = Network(
        spec(input_layer(None, 3), layer("Activation", "a", activation="gelu"))
    )
    x = features()[:, 0].astype(np.float64)
    here = net.predict(x, dtype="float64")
    there = net.on("jax").predict(x, dtype="float64")
    assert 0 < np.abs(here - there).max() < 1e-7


def test_a_backend_whose_rules_are_not_known_is_refused_by_name():
    expected = r"^expected Keras on one of tensorflow, jax, torch, numpy\. Received: "
    with pytest.raises(UnsupportedError, match=expected + "mxnet$"):
        Network(lstm_spec()).on("mxnet")
    with pytest.raises(UnsupportedError, match=expected + r"openvino: .* bfloat16$"):
        Network(lstm_spec()).on("openvino")


@pytest.mark.slow
def test_the_outputs_of_another_backend_are_recognised_with_the_rules_that_are_met():
    zeroing = {"return_sequences": True, "zero_output_for_mask": True, "unroll": True}
    net = Network(
        spec(
            layer("InputLayer", "input", batch_shape=[None, TIME], dtype="int32"),
            layer("Embedding", "e", input_dim=11, output_dim=3, mask_zero=True),
            layer("Reshape", "same", target_shape=[TIME, 3]),
            layer("LSTM", "rnn", units=UNITS, **zeroing),
        )
    )
    x = net.prepare(ids(batch=12))
    theirs = net.on("jax").flat(x)
    found = diagnose(net.spec, x, theirs, allowed=[1e-6]).explanations
    assert [e.mistake for e in found] == ["Keras on jax"]
    assert "zero_output_for_mask is ignored" in found[0].explanation
    assert "hands on the mask of its input" in found[0].explanation
    assert "begins every batch" not in found[0].explanation
    assert "--backend jax" in found[0].remedy
    report = verify.compare_outputs(net, x, theirs[0])
    assert "likely cause   : these are outputs of Keras on jax" in str(report)
    assert verify.compare_outputs(net, x, theirs[0], backend="jax").verdict == "PASS"


def test_a_port_that_forgets_states_is_not_taken_for_another_backend():
    net = stateful_net("LSTM", 2)
    x = net.prepare(features(batch=6))
    theirs = net.on("jax").flat(x)  # where predict forgets the states
    found = diagnose(net.spec, x, theirs, allowed=[1e-6]).explanations
    assert [e.mistake for e in found] == ["states not carried to the next batch"]


CHECKED = """
import contextlib, io, json, sys
import numpy as np
import keras
import verify
from layer_cases.check import randomise
from verify.__main__ import main
from verify.checks.inputs import probe_inputs
from verify.model.backends import Rule

L = keras.layers
ids = keras.Input((6,), dtype="int32", name="ids")
state = keras.Input((4,), name="state")
e = L.Embedding(20, 3, mask_zero=True)(ids)
y = L.GRU(4, return_sequences=True)(e, initial_state=state, mask=ids > 0)
b = L.Bidirectional(L.LSTM(3, return_sequences=True, unroll=True))(e)
z = L.LSTM(3, name="lstm")(L.Reshape((6, 3))(e))
m = L.MultiHeadAttention(2, 3)(b, y)
model = randomise(keras.Model([ids, state], [y, L.Dense(3, activation="gelu")(m), z]))
model.save(sys.argv[1])
right = verify.check(model)
spec = right and verify.load(model).spec
lstm = spec["lstm"]
kernel = lstm.weights["kernel"]
turned = lstm.with_weights(kernel=np.roll(kernel, 3, axis=1))
wrong = verify.check(model, network=verify.Network(spec.with_layer(turned)))
tensorflow = verify.load(model, backend="tensorflow")
with contextlib.redirect_stdout(io.StringIO()) as command:
    code = main(["check", sys.argv[1], "--json"])
print(json.dumps({
    "code": code, "command": json.loads(command.getvalue())["facts"]["backend"],
    "right": right.verdict, "proof": right.proof.max_diff, "warnings": right.warnings,
    "backend": right.facts["backend"], "wrong": wrong.verdict,
    "where": wrong.first_mismatch.name,
    "apart": [r.name for r in verify.load(model).rule_effects(
        tensorflow.prepare(probe_inputs(tensorflow.spec)))],
}))
"""


@pytest.mark.keras
def test_check_holds_numpy_against_keras_on_jax_and_names_what_differs(tmp_path):
    path = tmp_path / "m.keras"
    run = on_jax(CHECKED, str(path))
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["right"] == "PASS"
    assert said["proof"] < 1e-12
    assert said["backend"] == "jax"
    assert (said["wrong"], said["where"]) == ("FAIL", "lstm")
    known = {"MASKED_STEP_SHOWS_STATE", "UNROLL_NEVER_ZEROES"}
    known |= {"UNCHANGED_KEEPS_MASK", "EXACT_CONSTANTS"}
    by_version = {rule.name for rule in VersionRule}  # none in Keras 3.15
    assert set(said["apart"]) - by_version == known
    for name in known:
        assert any(Rule[name].value in warning for warning in said["warnings"])
    assert (said["code"], said["command"]) == (0, "jax")


@pytest.mark.keras
def test_random_models_on_jax_agree_by_its_own_rules(tmp_path):
    run = on_jax(
        "", "-m", "fuzzing", "--count", "10", "--seed", "2", "--folder", str(tmp_path)
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = (tmp_path / "fuzz-2-jax" / "trials-1-of-1.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert len(kinds) == 10
    assert kinds.count("agrees") > 5
    assert kinds.count("backend differs") > 0
    assert "differs from TensorFlow" in run.stdout


def test_every_backend_but_tensorflow_has_rules():
    assert [name for name, rules in BACKENDS.items() if not rules] == ["tensorflow"]


def test_every_rule_and_every_limit_is_that_of_a_backend():
    assert frozenset().union(*BACKENDS.values()) == {*Rule, *Limit}
