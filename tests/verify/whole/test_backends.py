"""Keras on other backends: their rules, and Keras itself in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.backends import TESTS, on_backend
from support.graphs import both_ways, given, made
from support.graphs import net as net_of
from support.nets import (
    TIME,
    UNITS,
    feature_net,
    features,
    ids,
    input_layer,
    layer,
    lstm_spec,
    random_weights,
    sequential,
    spec,
    stateful_net,
    write_keras_file,
)
from support.thoroughness import many, some

import verify
from verify import LayerSpec, ModelSpec, Network, UnsupportedError
from verify.forward.evaluable import Inputs
from verify.forward.layers.base import Tensor
from verify.mistakes.diagnose import diagnose
from verify.model.backends import BACKENDS, Limit, Rule
from verify.model.versions import VersionRule

BY_RULE = TESTS / "data" / "backends"


def on_jax(code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Python with Keras on JAX; the code may be a module's name after ``-m``."""
    return on_backend("jax", code, *arguments)


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


def recorded() -> tuple[Network, Inputs, dict[str, np.ndarray]]:
    """The model of every rule of torch, its inputs, and what Keras predicted there."""
    net = verify.load(BY_RULE / "rules.keras")
    with np.load(BY_RULE / "torch.npz") as kept:
        x = net.prepare([kept[f"in_{name}"] for name in net.input_names])
        return net, x, {name: kept[f"out_{name}"] for name in net.output_names}


SHOWN = {
    "layer_norm": Rule.NORMALIZES_LAST_AXES,
    "rms_norm": Rule.NORMALIZES_LAST_AXES,
    "pooled": Rule.UNEVEN_PADDING_COUNTS,
    "padded": Rule.SYMMETRIC_REPEATS_EDGE,
    "ties": Rule.ZEROS_TIE,
    "divided": Rule.FLOOR_DIVIDES_EXACTLY,
    "batch_norm": Rule.CENTRES_FIRST,
    "swapped": Rule.SWAP_ENDS_MASK,
}
"""Output of the recorded model -> the rule of torch that changes it."""


def test_each_rule_of_torch_gives_what_keras_computed_there():
    net, x, theirs = recorded()
    there = dict(zip(net.output_names, net.on("torch").flat(x), strict=True))
    for name, y in theirs.items():
        np.testing.assert_allclose(there[name], y, rtol=0, atol=5e-7, err_msg=name)


@pytest.mark.parametrize(("output", "rule"), SHOWN.items())
def test_without_its_rule_an_output_of_torch_is_missed(output, rule):
    net, x, theirs = recorded()
    rest = Network(net.spec.following(BACKENDS["torch"] - {rule}))
    wrong = rest.flat(x)[net.output_names.index(output)]
    apart = np.abs(wrong - theirs[output]).max()
    assert apart > (0 if rule is Rule.CENTRES_FIRST else 0.4)  # that one only rounds
    assert rule in net.on("torch").rule_effects(x)


def test_every_rule_of_torch_is_recorded():
    rules = {rule for rule in BACKENDS["torch"] if isinstance(rule, Rule)}
    elsewhere = {
        Rule.EXACT_CONSTANTS,
        Rule.RESIZED_STAYS_WHOLE,
        Rule.CUBIC_REPEATS_EDGE,
        Rule.VARIANCE_OF_SQUARES,
    }
    assert rules == {*SHOWN.values(), *elsewhere}


def test_on_torch_boundaries_are_not_exact():
    net, x, theirs = recorded()
    assert Rule.EXACT_BOUNDARIES not in BACKENDS["torch"]
    wrong = Network(net.spec.following(BACKENDS["torch"] | {Rule.EXACT_BOUNDARIES}))
    k = net.output_names.index("binned")
    assert not np.array_equal(wrong.flat(x)[k], theirs["binned"])


BINNED = {"tensorflow": [1, 2, 3, 2], "jax": [1, 2, 3, 2], "torch": [1, 2, 3, 2],
          "numpy": [1, 2, 2, 2]}  # fmt: skip
"""What Keras 3.15.1 predicts for Discretization([-0.7, 0.1, 0.7]) of the row
-0.7, 0.1, 0.7, 0.3 in float32."""


@pytest.mark.parametrize("backend", BINNED)
def test_a_number_on_a_boundary_falls_as_on_the_backend(backend):
    binned = made("Discretization", "binned", bin_boundaries=[-0.7, 0.1, 0.7])
    net = Network(alone(binned, shape=(4,)))
    x = net.prepare(np.float32([[-0.7, 0.1, 0.7, 0.3]]))
    (y,) = net.on(backend).flat(x)
    assert y.tolist() == [BINNED[backend]]
    met = Rule.EXACT_BOUNDARIES in net.on(backend).rule_effects(x)
    assert met == (backend == "numpy")


CUBICS = {
    "torch": [-0.10546875, 0.12109375, 0.45703125, 1.85546875, 3.56640625, 3.86328125,
              2.55859375, 1.7890625],
    "jax": [-0.0882352963089943, 0.12408759444952011, 0.572519063949585, 1.7265625,
            3.5546875, 3.7633588314056396, 2.4452555179595947, 1.823529601097107],
}  # fmt: skip
"""What Keras 3.15.1 predicts for UpSampling2D((1, 2), interpolation="bicubic") of the
row 0, 1, 4, 2."""


@pytest.mark.parametrize("backend", CUBICS)
def test_bicubic_interpolation_is_that_of_the_backend(backend):
    twice = made("UpSampling2D", "twice", size=(1, 2), interpolation="bicubic")
    net = Network(alone(twice, shape=(1, 4, 1)).on(backend))
    x = net.prepare(np.float32([0, 1, 4, 2]).reshape(1, 1, 4, 1))
    (y,) = net.flat(x)
    np.testing.assert_allclose(y.ravel(), CUBICS[backend], rtol=0, atol=1e-6)


def normalising(name: str) -> Network:
    """A network of one layer that normalises three numbers, without gamma or beta."""
    groups = {"groups": 1} if name == "GroupNormalization" else {}
    tested = made(name, "tested", (3,), center=False, **groups)
    return Network(alone(tested.with_weights(gamma=np.ones(3)), shape=(3,)))


KERAS_ON_NUMPY = [-1.0357666015625, -0.3187255859375, 1.354400634765625]
"""What Keras 3.15.1 predicts with ``KERAS_BACKEND=numpy`` for LayerNormalization and
for GroupNormalization(1), without gamma and beta, of [1001, 1002.5, 1006]. It is
-1.0341, -0.3182, 1.3523."""


@pytest.mark.parametrize("name", ["LayerNormalization", "GroupNormalization"])
def test_a_variance_of_squares_loses_digits_in_float32(name):
    net = normalising(name)
    x = net.prepare(np.float32([[1001, 1002.5, 1006]]))
    (right,), (exact,) = net.flat(x), net.flat(x, dtype="float64")
    assert np.abs(right - exact).max() < 1e-4
    (wrong,) = only(net, Rule.VARIANCE_OF_SQUARES).flat(x)
    np.testing.assert_allclose(wrong[0], KERAS_ON_NUMPY, rtol=0, atol=1e-6)
    assert np.abs(wrong - exact).max() > 1e-3
    assert list(only(net, Rule.VARIANCE_OF_SQUARES).rule_effects(x)) == [
        Rule.VARIANCE_OF_SQUARES
    ]
    near = net.prepare(np.float32([[1, 2.5, 6]]))
    assert not only(net, Rule.VARIANCE_OF_SQUARES).rule_effects(near)


def test_on_torch_layer_normalization_over_neighbours_has_no_variance_of_squares():
    x = np.float32([[1001, 1002.5, 1006]])
    for name in ("LayerNormalization", "GroupNormalization"):
        net = normalising(name)
        same = np.array_equal(net.predict(x), net.on("torch").predict(x))
        assert same == (name == "LayerNormalization")


@pytest.mark.slow
def test_outputs_of_torch_agree_by_its_rules_and_the_report_names_them():
    net, x, theirs = recorded()
    report = verify.compare_outputs(net, x, theirs, backend="torch")
    assert report.numerics.matches
    assert report.verdict == "INCONCLUSIVE"  # argmax and // jump on numbers like these
    wrong = verify.compare_outputs(net, x, theirs, diagnosis_seconds=0)
    assert not wrong.numerics.matches
    for rule in SHOWN.values():
        named = [w for w in report.warnings if w.startswith(f"Keras on torch: {rule}")]
        assert len(named) == 1


def alone(tested: LayerSpec, *more, shape=(4, 3), dtype="float32", masked=False):
    """A model of one layer, called on its input, the last of `more`."""
    x = given("x", *shape, dtype=dtype)
    before = [made("Masking", "masking")] if masked else []
    calls = {"masking": "x"} if masked else {}
    arguments = (*more, "masking" if masked else "x")
    return net_of([x, *before, tested], {**calls, tested.name: arguments}, tested.name)


def sliced() -> ModelSpec:
    """A model of an ops.slice of all rows."""
    tested = made("ops.Slice", "tested", shape=(-1, 2, -1))
    calls = {"tested": ("x", (0, 1, 0))}
    return net_of([given("x", 4, 3), tested], calls, "tested")


def attending_by_groups() -> ModelSpec:
    """A model of ops.dot_product_attention with 4 heads of queries and 2 of keys."""
    part = made("ops.GetItem", "part")
    tested = made("ops.DotProductAttention", "tested", is_causal=False)
    two_heads = (slice(None), slice(None), slice(0, 2))
    calls = {"part": ("x", two_heads), "tested": ("x", "part", "part")}
    return net_of([given("x", 5, 4, 3), part, tested], calls, "tested")


def whole(class_name: str, **config) -> ModelSpec:
    """A model of one layer without weights, on whole numbers."""
    return alone(made(class_name, "tested", **config), dtype="int32")


def from_frequencies():
    """A model of an ops.istft of the frequencies of a sequence."""
    options = {"sequence_length": 4, "sequence_stride": 2, "fft_length": 4}
    return net_of(
        [given("x", 4, 3), made("ops.Negative", "minus"),
         made("ops.ISTFT", "tested", **options)],
        {"minus": "x", "tested": (["x", "minus"],)}, "tested")  # fmt: skip


SOME_KEY = (slice(None), slice(None, None, -1))
CONV_SHAPES = (2, 2, 12), (2, 3, 12), (12,)
UNROLLED = {"return_sequences": True, "unroll": True}
LIMITS = [
    (Limit.MASKED_CONVLSTM, ("jax", "numpy"), lambda: alone(
        made("ConvLSTM1D", "tested", *CONV_SHAPES, filters=3, kernel_size=2,
             padding="same"),
        shape=(4, 5, 2), masked=True)),
    (Limit.UNROLLED_BACKWARDS_MASK, ("torch",), lambda: alone(
        both_ways("LSTM", "tested", 3, 4, **UNROLLED), masked=True)),
    (Limit.OTHER_AXES, ("torch",), lambda: alone(
        made("LayerNormalization", "tested", (4,), (4,), axis=1))),
    (Limit.NEGATIVE_STEP, ("torch",), lambda: net_of(
        [given("x", 4, 3), made("ops.GetItem", "tested")],
        {"tested": ("x", SOME_KEY)}, "tested")),
    (Limit.ONE_HOT_BEYOND, ("torch", "numpy"), lambda: alone(
        made("ops.OneHot", "tested", num_classes=2), dtype="int32")),
    (Limit.ONE_HOT_OF_FLOATS, ("numpy",), lambda: alone(
        made("ops.OneHot", "tested", num_classes=50))),
    (Limit.SOFTMAX_OVER_AXES, ("numpy",), lambda: alone(
        made("Softmax", "tested", axis=[1, 2]))),
    *((Limit.TEXTS, ("jax", "torch", "numpy"), lambda n=n, o=o: alone(
        made(n, "tested", **o), shape=(1,), dtype="string"))
      for n, o in (("StringLookup", {"vocabulary": ["3", "cat"]}),
                   ("TextVectorization", {"vocabulary": ["3", "cat"]}),
                   ("Hashing", {"num_bins": 3}))),
    (Limit.WHOLE_NUMBERS, ("torch",), lambda: whole("MaxPooling1D")),
    (Limit.WHOLE_NUMBERS, ("torch",), lambda: whole("LeakyReLU")),
    (Limit.LEAKY_RELU, ("numpy",), lambda: whole("LeakyReLU")),
    *((Limit.LEAKY_RELU, ("numpy",), lambda n=n: alone(
        made(n, "tested", negative_slope=1.5)))
      for n in ("LeakyReLU", "ReLU", "ops.LeakyRelu", "ops.ReLU")),
    (Limit.LEAKY_RELU, ("numpy",), lambda: alone(
        made("Dense", "tested", (3, 2), (2,), units=2, activation=STEEP))),
    (Limit.LISTS, ("jax",), lambda: alone(
        made("ops.Where", "tested"), [True, False, True], 0.5)),
    (Limit.REPEATS, ("jax", "torch"), lambda: alone(
        made("ops.Repeat", "tested", repeats=[1, 0, 2], axis=-1))),
    (Limit.WHOLE_TO_FLOATS, ("jax", "torch", "numpy"), lambda: whole("ops.Sin")),
    (Limit.MEAN_OF_WHOLE, ("jax",), lambda: whole("GlobalAveragePooling1D")),
    (Limit.SLOPE_OF_WHOLE, ("jax",), lambda: whole("LeakyReLU", negative_slope=0.3)),
    (Limit.NORM_OVER_AXES, ("jax", "numpy"), lambda: alone(
        made("ops.Norm", "tested", ord=2, axis=[1]))),
    (Limit.EQUAL_NUMBERS, ("numpy",), lambda: alone(
        made("ops.Argsort", "tested", axis=1))),
    (Limit.SLICE_TO_END, ("jax", "torch", "numpy"), sliced),
    (Limit.GROUPED_HEADS, ("numpy",), attending_by_groups),
    (Limit.COUNT_TURNED_ROUND, ("torch",), lambda: alone(
        made("ops.CountNonzero", "tested", axis=1))),
    (Limit.ISTFT_ENDS, ("jax", "torch", "numpy"), from_frequencies),
    (Limit.WHOLE_TO_TENS, ("jax", "torch", "numpy"),
     lambda: whole("ops.Round", decimals=-1)),
]  # fmt: skip
STEEP = {
    "module": "keras.layers",
    "class_name": "LeakyReLU",
    "config": {"negative_slope": 1.5},
}


@pytest.mark.parametrize(
    ("limit", "backends", "model"), LIMITS, ids=[str(x[0].name) for x in LIMITS]
)
def test_what_keras_cannot_do_on_a_backend_is_refused_by_name(limit, backends, model):
    net = Network(model())
    shape = net.spec.inputs[0].options["batch_shape"][1:]
    x = np.arange(5 * np.prod(shape)).reshape(5, *shape) % 7
    if limit is Limit.TEXTS:
        x = x.astype(str)
    if limit is Limit.UNROLLED_BACKWARDS_MASK:
        x[1, 2:] = 0
    net.predict(x)
    for backend in BACKENDS:
        if backend in backends:
            with pytest.raises(UnsupportedError) as caught:
                net.on(backend).predict(x)
            assert str(limit) in str(caught.value)
            assert re.match("Layer '(tested|backward_layer)' ", str(caught.value))
        else:
            try:
                net.on(backend).predict(x)
            except UnsupportedError as error:
                assert str(limit) not in str(error)


def test_every_limit_has_a_model_that_meets_it():
    assert {limit for limit, _, _ in LIMITS} == {*Limit} - {Limit.MIXED_STATES}
    for limit, backends, _ in LIMITS:
        assert {b for b, rules in BACKENDS.items() if limit in rules} == {*backends}


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_stateful_layer_of_mixed_precision_is_refused_on_torch(policy):
    mixed = stateful_net("LSTM", 2, dtype=policy)
    with pytest.raises(UnsupportedError, match="loses the states") as caught:
        mixed.on("torch")
    assert str(caught.value).startswith("Layer 'rnn' (LSTM")
    mixed.on("numpy")
    stateful_net("LSTM", 2).on("torch")


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
unroll = keras.backend.backend() != "torch"  # which cannot, see Limit
b = L.Bidirectional(L.LSTM(3, return_sequences=True, unroll=unroll))(e)
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
with contextlib.redirect_stdout(io.StringIO()) as command_on_half:
    passed = sys.argv[2:] and main(["check", sys.argv[2], "--json"]) == 0
print(json.dumps({
    "half": passed and json.loads(command_on_half.getvalue())["facts"]["keras model"],
    "code": code, "command": json.loads(command.getvalue())["facts"]["backend"],
    "right": right.verdict, "proof": right.proof.max_diff, "warnings": right.warnings,
    "backend": right.facts["backend"], "wrong": wrong.verdict,
    "where": wrong.first_mismatch.name,
    "apart": [r.name for r in verify.load(model).rule_effects(
        tensorflow.prepare(probe_inputs(tensorflow.spec)))],
}))
"""


def half_file(path: Path) -> Path:
    """A file of an LSTM in float16, whose recurrent kernel began as orthogonal."""
    cast = [w.astype("float16") for w in random_weights([(3, 16), (4, 16), (16,)], 0)]
    lstm = layer("LSTM", "lstm", units=4, dtype="float16")
    return write_keras_file(path, sequential(input_layer(None, 6, 3), lstm), [cast])


HERE = [name for name in ("jax", "numpy", "torch") if importlib.util.find_spec(name)]
"""Other backends that Keras can run on here: `make setup` installs no torch."""

MET = {
    "jax": {"MASKED_STEP_SHOWS_STATE", "UNROLL_NEVER_ZEROES", "UNCHANGED_KEEPS_MASK"},
    "numpy": {"MASKED_STEP_SHOWS_STATE", "UNROLL_NEVER_ZEROES"},
    "torch": set(),
}
"""Backend -> its rules that the model of CHECKED meets, beside exact constants."""


@pytest.mark.keras
@pytest.mark.parametrize(
    "backend",
    # recipes train on JAX, and their tests check what was trained there
    [pytest.param(b, marks=pytest.mark.thorough if b == "jax" else ()) for b in HERE],
)
def test_check_holds_numpy_against_keras_and_names_what_differs(backend, tmp_path):
    path = tmp_path / "m.keras"
    half = [] if backend == "jax" else [str(half_file(tmp_path / "half.keras"))]
    run = on_backend(backend, CHECKED, str(path), *half)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["right"] == "PASS"
    assert said["proof"] < 1e-12
    assert said["backend"] == backend
    assert (said["wrong"], said["where"]) == ("FAIL", "lstm")
    known = {"EXACT_CONSTANTS"} | MET[backend]
    by_version = {rule.name for rule in VersionRule}  # none in Keras 3.15
    assert set(said["apart"]) - by_version == known
    for name in known:
        assert any(Rule[name].value in warning for warning in said["warnings"])
    assert (said["code"], said["command"]) == (0, backend)
    if half:
        assert said["half"] == "rebuilt: Keras makes no initial weights in 16 bits"


@pytest.mark.keras
@pytest.mark.parametrize("backend", [name for name in HERE if name != "jax"])
def test_layers_compute_what_keras_computes_on_another_backend(backend):
    """Some of them here; `python -m layer_cases` holds all of them against Keras."""
    modules = ("recurrent", "normalization", "attention", "pooling", "reshaping")
    run = on_backend(backend, "", "-m", "layer_cases", *some(modules, 2))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "\n0 differ" in run.stdout
    assert int(run.stdout.splitlines()[1].split()[0]) > many(190, 120)


LOST = """
import numpy as np, keras, verify
from keras import layers, ops

given = keras.Input((None, 3))
model = keras.Model(given, layers.LSTM(4, name="own")(given * ops.ones((1, 5, 1))))
try:
    model.predict(np.zeros((2, 6, 3)), verbose=0)
except Exception:
    pass
try:
    verify.check(model)
except verify.UnsupportedError as error:
    print(error)
"""


@pytest.mark.keras
@pytest.mark.skipif("jax" not in HERE, reason="Keras loses weights on JAX alone")
def test_a_model_that_has_lost_its_weights_is_refused_by_name():
    run = on_jax(LOST)
    assert run.returncode == 0, run.stderr
    assert "Layer 'own' (LSTM): Keras has lost its weights. On JAX" in run.stdout


@pytest.mark.keras
@pytest.mark.thorough
def test_random_models_on_jax_agree_by_its_own_rules(tmp_path):
    run = on_jax(
        "", "-m", "fuzzing", "--count", "20", "--seed", "61", "--folder", str(tmp_path)
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = (tmp_path / "fuzz-61-jax" / "trials-1-of-1.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert len(kinds) == 20
    assert kinds.count("agrees") >= 8
    assert kinds.count("backend differs") > 0
    assert "differs from TensorFlow" in run.stdout


def test_every_backend_but_tensorflow_has_rules():
    assert [name for name, rules in BACKENDS.items() if not rules] == ["tensorflow"]


def test_every_rule_and_every_limit_is_that_of_a_backend():
    assert frozenset().union(*BACKENDS.values()) == {*Rule, *Limit}
