"""What is compiled for a config is kept for that config alone, and holds no weights."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import BATCH, TIME, keras_sequential, mutated

import verify
from verify import Verdict
from verify.errors import KerasCannotRun
from verify.forward.network import Inputs
from verify.keras_bridge import KerasModel, private, running, tracing
from verify.keras_bridge.running import _Twin
from verify.model.graph import flatten

pytestmark = pytest.mark.keras


@pytest.fixture(autouse=True)
def nothing_kept():
    """Begin and end with no function kept."""
    tracing.forget()
    yield
    tracing.forget()


def gru(activation: str = "tanh", name: str | None = None, **options):
    """A masked GRU and a Dense, with random weights."""
    from keras import Input, layers

    return keras_sequential(
        [
            Input((TIME, 3)),
            layers.Masking(name="masking"),
            layers.GRU(2, activation=activation, name=name, **options),
            layers.Dense(2, name="dense"),
        ]
    )


def key(model, dtype: str | None = "float64") -> str | None:
    twin = KerasModel(model, 32).twin(dtype)
    assert isinstance(twin, _Twin)
    return tracing.key_of(twin._config, model, rows())


def rows() -> Inputs:
    x = np.random.default_rng(0).normal(size=(BATCH, TIME, 3)).astype("float32")
    x[1, 2:] = 0
    return Inputs([x])


def branches():
    """A layer called twice, states that are handed on, constants, two outputs."""
    import keras

    layers, ops = keras.layers, keras.ops
    x = keras.Input((TIME, 3), name="x")
    ids = keras.Input((TIME,), dtype="int32", name="ids")
    words = layers.Embedding(9, 3, mask_zero=True, name="words")(ids)
    shared = layers.LSTM(2, return_sequences=True, return_state=True, name="shared")
    first, h, c = shared(layers.Masking()(x))
    second, _, _ = shared(words, initial_state=[h, c])
    both = layers.Concatenate()([first, second])
    moved = ops.add(both, np.full((TIME, 4), 0.5, "float32"))
    return keras.Model(
        {"x": x, "ids": ids},
        {"steps": layers.Dense(2, name="dense")(moved), "last": h},
    )


def called_one_by_one(keras: KerasModel, x: Inputs, monkeypatch) -> list:
    with monkeypatch.context() as patched:
        patched.setattr(KerasModel, "_run_traced", lambda *_: None)
        return keras.calls(x)


@pytest.mark.parametrize("dtype", [None, "float64"])
def test_the_compiled_function_makes_the_calls_that_keras_makes(dtype, monkeypatch):
    model = branches()
    ids = np.random.default_rng(1).integers(0, 9, (BATCH, TIME)).astype("int32")
    x = Inputs([rows()[0], ids])
    keras = KerasModel(model, 32).twin(dtype)
    outputs, calls = keras.run(x)
    expected = called_one_by_one(keras, x, monkeypatch)
    assert [call.key for call in calls] == [call.key for call in expected]
    assert [call.key for call in calls].count("shared:2") == 1
    close = 1e-12 if dtype else 1e-6
    for call, other in zip(calls, expected, strict=True):
        ours = flatten([call.args, call.kwargs])
        theirs = flatten([other.args, other.kwargs])
        for a, b in zip(ours, theirs, strict=True):
            assert type(a) is type(b)
            np.testing.assert_allclose(
                getattr(a, "value", a), getattr(b, "value", b), atol=close
            )
            mask = getattr(a, "mask", None)
            assert (mask is None) is (getattr(b, "mask", None) is None)
            assert mask is None or np.array_equal(mask, b.mask)
        for a, b in zip(call.outputs, other.outputs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, atol=close)
        for a, b in zip(call.masks, other.masks, strict=True):
            assert (a is None and b is None) or np.array_equal(a, b)
    for a, b in zip(outputs, keras.predict(x), strict=True):
        np.testing.assert_allclose(a, b, atol=close)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(
    ("policy", "entered"),
    [("mixed_float16", "float32"), ("float32", "float64")],
)
def test_calls_have_the_names_of_their_layers_where_keras_casts_between(
    policy, entered
):
    from keras import Input, layers

    parts = [
        layers.Masking(name="masking", dtype=policy),
        layers.GRU(2, return_sequences=True, name="gru", dtype=policy),
    ]
    dense = layers.Dense(2, name="dense", dtype=policy)
    model = keras_sequential([Input((TIME, 3), dtype=entered), *parts, dense])
    inner = keras_sequential([Input((TIME, 3), dtype=entered), *parts])
    inner.name = "inner"
    nested = keras_sequential([Input((TIME, 3), dtype=entered), inner, dense])
    x = rows()[0]
    for one, inside in ((model, ""), (nested, "inner/")):
        report = verify.check(one, x)
        assert report.verdict is Verdict.PASS, str(report)
        names = [layer.name for layer in report.layers]
        assert {f"{inside}masking", f"{inside}gru", "dense"} <= set(names)
    wrong = verify.load(model).spec
    kernel = wrong["gru"].weights["kernel"] * 1.5
    wrong = wrong.with_layer(wrong["gru"].with_weights(kernel=kernel))
    report = verify.check(model, x, network=verify.Network(wrong))
    assert report.verdict is Verdict.FAIL
    assert [layer.name for layer in report.layers if not layer.matches] == ["gru"]


@pytest.mark.usefixtures("undiagnosed")
def test_a_model_that_keras_cannot_build_anew_is_compared_as_it_is(monkeypatch):
    from keras import Input, layers

    # its config has pairs of numbers where Keras takes numbers from 0 to 1
    sheared = layers.RandomShear(0.2)
    images = [Input((4, 4, 1)), sheared, layers.Reshape((4, 4)), layers.GRU(2)]
    model, x = keras_sequential(images), np.random.default_rng(0).random((9, 4, 4, 1))
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.proof is None
    (said,) = [x for x in report.warnings if "anew" in x]
    assert "`factor` argument should be a number" in said
    assert len(said.splitlines()) == 1
    right = KerasModel.predict
    monkeypatch.setattr(KerasModel, "predict", lambda *x: [right(*x)[0] * 1.001])
    assert verify.check(model, x).verdict is Verdict.FAIL


def test_a_stateful_model_runs_batch_by_batch_and_keeps_its_own_states():
    from keras import Input, layers

    model = keras_sequential(
        [Input(batch_shape=(2, TIME, 3)), layers.GRU(2, stateful=True)]
    )
    x = rows()[0][:2]
    model.predict(x, verbose=0)
    before = [np.array(state) for state in model.layers[0].states]
    assert np.abs(before[0]).max() > 0
    keras = KerasModel(model, 2)
    three = Inputs([np.concatenate([x, x + 1, x])])
    outputs, calls = keras.run(three)
    assert calls is None  # three batches
    np.testing.assert_allclose(outputs[0], keras.predict(three)[0], atol=1e-6)
    assert np.abs(outputs[0][4:] - outputs[0][:2]).max() > 1e-3  # states carry over
    np.testing.assert_array_equal(np.array(model.layers[0].states[0]), before[0])


def test_the_next_model_of_a_config_is_not_built_and_has_its_own_weights(monkeypatch):
    KerasModel(gru(), 32).twin("float64").calls(rows())
    monkeypatch.setattr(running, "build", None)
    other = gru()  # whose layers have other numbers in their names
    other.set_weights([2 * weight for weight in other.get_weights()])
    (found,), calls = KerasModel(other, 32).twin("float64").run(rows())
    expected = verify.load(other).predict(rows()[0], dtype="float64")
    np.testing.assert_allclose(found, expected, atol=1e-12)
    names = {call.name for call in calls}
    assert names > {"masking", other.layers[1].name, "dense"}


def test_a_mistake_planted_after_a_check_is_found():
    model = gru(name="gru")
    net = verify.load(model)
    assert verify.check(model, rows()).verdict is Verdict.PASS
    wrong = mutated(net.spec, "gate order r,z,h")
    report = verify.check(model, rows(), network=wrong)
    assert report.verdict is Verdict.FAIL
    assert not next(x for x in report.layers if x.name == "gru").proof.matches
    assert "gates read in the order r,z,h" in report.to_text()
    # the model changes, the network stays as it was
    model.layers[1].set_weights([w + 0.01 for w in model.layers[1].get_weights()])
    assert verify.check(model, rows()).verdict is Verdict.PASS
    report = verify.check(model, rows(), network=net)
    assert report.verdict is Verdict.FAIL
    assert not next(x for x in report.layers if x.name == "gru").proof.matches


def changed_in_place(model, change: str) -> None:
    import keras

    masking, layer, dense = model.layers
    if change == "activation":
        layer.cell.activation = keras.activations.relu
    elif change == "reset_after":
        layer.cell.reset_after = False
    elif change == "go_backwards":
        layer.go_backwards = True
    elif change == "mask_value":
        masking.mask_value = 1.0
    else:
        dense.dtype_policy = "mixed_float16"


CHANGES = ("activation", "reset_after", "go_backwards", "mask_value", "dtype_policy")


@pytest.mark.parametrize("change", CHANGES)
def test_a_layer_that_is_changed_in_place_is_another_config(change):
    model = gru(name="gru")
    before = key(model, None)
    changed_in_place(model, change)
    assert key(model, None) not in (None, before)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(
    "change",
    [
        *("activation", "dtype_policy"),
        *(pytest.param(change, marks=pytest.mark.thorough) for change in CHANGES[1:4]),
    ],
)
def test_a_layer_that_is_changed_in_place_gets_a_function_of_its_own(change):
    """The kept function is not that of the model as it is, whatever predict does."""
    model = gru(name="gru")
    verify.check(model, rows())
    changed_in_place(model, change)

    def outcome() -> tuple[str, ...]:
        try:
            report = verify.check(model, rows())
        except verify.VerifyError as error:
            return (str(error),)
        differs = [layer.name for layer in report.layers if not layer.matches]
        return (str(report.verdict), report.reason, *differs)

    found = outcome()
    tracing.forget()
    assert found == outcome()


@pytest.mark.usefixtures("undiagnosed")
def test_the_same_names_with_another_activation_are_another_config():
    tanh, relu = gru(name="gru"), gru("relu", name="gru")
    assert key(tanh) != key(relu)
    for model in (tanh, relu):
        report = verify.check(model, rows())
        assert report.verdict is Verdict.PASS
        assert len(report.layers) == 3
    report = verify.check(relu, rows(), network=verify.load(tanh))
    assert report.verdict is Verdict.FAIL
    # a layer may be called as its activation is
    assert key(gru("relu", name="relu")) != key(gru("tanh", name="tanh"))
    assert key(gru(name="one")) == key(gru(name="other"))


def test_options_policies_and_settings_have_keys_of_their_own(monkeypatch):
    import keras

    one = gru()
    others = [
        key(one),
        key(one, None),
        key(one, "float16"),
        key(gru(unroll=True)),
        key(gru(dropout=0.5, seed=1)),
        key(gru(dropout=0.5, seed=2)),
        key(gru(trainable=False)),
    ]
    monkeypatch.setattr(keras.config, "epsilon", lambda: 1e-3)
    others.append(key(one))
    assert None not in others
    assert len(set(others)) == len(others)


POLICIES = ("float16", "mixed_float16", "mixed_bfloat16", "float64", "float32")


def test_a_model_of_another_policy_gets_a_function_of_its_own():
    models = [gru(dtype=policy) for policy in POLICIES]
    keys = [key(model, None) for model in models]
    assert len({*keys, None}) == len(models) + 1
    for model in models:  # each after the others, in which more is rounded
        report = verify.check(model, rows())
        assert report.verdict is Verdict.PASS, str(report)
        assert len(report.layers) == 3


def test_nothing_is_kept_for_code_of_the_users_or_copies_of_weights():
    import keras
    from keras import Input, layers

    @keras.saving.register_keras_serializable("own")
    class Own(layers.Dense):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs, training)

    @keras.saving.register_keras_serializable("own")
    def my_tanh(x):
        return keras.ops.tanh(x)

    normal = layers.Normalization()
    normal.adapt(np.random.default_rng(0).normal(size=(9, 3)))
    for inner in (Own(2), layers.Dense(2, activation=my_tanh), normal):
        model = keras.Sequential([Input((TIME, 3)), inner])
        assert key(model) is None
        KerasModel(model, 32).twin("float64").run(rows())
    assert not tracing._kept
    # the statistics of a Normalization are read anew each time
    assert verify.check(model, rows()).verdict is Verdict.PASS
    normal.adapt(5 + np.random.default_rng(1).normal(size=(9, 3)))
    model.compile()  # or Keras's own predict has the old ones
    assert verify.check(model, rows()).verdict is Verdict.PASS


def test_few_functions_are_kept_those_used_last(monkeypatch):
    monkeypatch.setattr(tracing, "MAX_KEPT", 2)
    made = [object() for _ in range(3)]
    tracing.keep("a", made[0])
    tracing.keep("b", made[1])
    assert tracing.kept("a") is made[0]
    tracing.keep("c", made[2])
    assert (tracing.kept("b"), tracing.kept("a")) == (None, made[0])


def test_what_cannot_be_compiled_is_called_layer_by_layer(monkeypatch):
    keras = KerasModel(gru(), 32).twin()
    expected = keras.run(rows())

    def fails(*_, **__):
        raise ValueError("no function")

    monkeypatch.setattr(running, "TracedModel", fails)
    keras = KerasModel(keras.model, 32)
    outputs, calls = keras.run(rows())
    assert calls is None
    np.testing.assert_allclose(outputs[0], expected[0][0], atol=1e-6)
    found = keras.calls(rows())[-1].outputs[0]
    np.testing.assert_allclose(found, expected[1][-1].outputs[0], atol=1e-6)


def test_outputs_of_many_rows_are_those_of_predict_and_no_call_is_kept(monkeypatch):
    model, many = gru(), Inputs([np.concatenate([rows()[0]] * 3)])
    many[0][BATCH:] *= 0.5
    keras = KerasModel(model, 4).twin("float64")
    (expected,) = keras.predict(many)
    with monkeypatch.context() as patched:
        patched.setattr(KerasModel, "predict", None)
        patched.setattr(tracing.TracedModel, "recorded", None)
        (found,) = keras.outputs(many)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(found[:BATCH] - found[BATCH : 2 * BATCH]).max() > 1e-3
    monkeypatch.setattr(running, "TracedModel", None)  # what cannot be compiled
    tracing.forget()
    (found,) = keras.outputs(many)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_tensorflow_optimises_functions_of_the_user_as_before():
    import tensorflow as tf

    KerasModel(gru(), 32).twin("float64").run(rows())
    options = tf.config.optimizer.get_experimental_options()
    assert not options.get("disable_meta_optimizer", False)


def looked_up(text: bool):
    """Texts, or ids that are looked up, before an Embedding and a GRU."""
    import keras
    from keras import layers

    words = ["the", "cat", "sat"] if text else [3, 5, 9]
    kind = layers.StringLookup if text else layers.IntegerLookup
    x = keras.Input((TIME,), dtype="string" if text else "int64")
    y = layers.Embedding(4, 3)(kind(vocabulary=words)(x))
    rows = np.random.default_rng(0).choice(np.array(words), size=(BATCH, TIME))
    return keras.Model(x, layers.GRU(2)(y)), Inputs([rows])


@pytest.mark.parametrize(
    ("made", "tried"), [("texts", False), ("ids", False), ("numbers", True)]
)
def test_only_what_keras_compiles_is_given_to_xla(made, tried, monkeypatch):
    """XLA has float64 kernels of its own, and texts end the process there."""
    if made == "numbers":
        model, x = gru(), Inputs([np.ones((BATCH, TIME, 3))])
    else:
        model, x = looked_up(made == "texts")
    keras = KerasModel(model, 32)
    keras.floatx = "float64"
    asked = []

    def failing(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(keras, "_predicted", failing)
    monkeypatch.setattr(model, "compile", lambda **options: asked.append(options))
    with pytest.raises(KerasCannotRun, match="no such kernel"):
        keras.predict(x)
    assert asked == [{"jit_compile": True}] * tried
    monkeypatch.setattr(running, "TracedModel", lambda *_, **o: failing())
    assert keras._run_traced(x, 32) is None
    assert keras._by_xla == tried
    keras.floatx = "float32"
    assert not keras._wants_xla(x)


@pytest.mark.filterwarnings("ignore:Layer 'inside' .of type Sequential. was passed")
def test_operations_that_keras_puts_into_a_copy_alone_move_no_names():
    """The copy makes a mask for the model inside, whose input it does not cast."""
    import keras
    from keras import layers

    policy = "mixed_bfloat16"
    ids = keras.Input((TIME,))
    y = layers.Embedding(9, 2, mask_zero=True, name="table", dtype=policy)(ids)
    y = layers.Activation("tanh", name="act", dtype=policy)(y)
    rnn = layers.GRU(3, name="gru", dtype=policy)
    inside = [keras.Input((TIME, 2)), layers.Masking(dtype=policy), rnn]
    y = keras.Sequential(inside, name="inside")(y)
    model = keras.Model(ids, keras.ops.copy(layers.Dense(2, name="head")(y)))
    x = Inputs([np.random.default_rng(0).integers(0, 9, (BATCH, TIME))])
    own = KerasModel(model, 32)
    copy = own.twin("float64")
    count = len(private.operations_of(own.model))
    assert len(private.operations_of(copy.model)) > count
    for one in (own, copy):
        found = one._run_traced(x, 32)
        assert found is not None
        names = [call.name for call in found[1]]
        kept = [name for name in names if "not_equal" not in name]
        assert [kept[0], kept[1], *kept[-4:-1]] == [
            *("table", "act"),
            *("inside/gru", "inside", "head"),
        ]
