"""The check: its verdicts, where it points, what it names, what it warns of."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    OUTPUTS,
    TIME,
    UNITS,
    VOCABULARY,
    features,
    ids,
    keras_sequential,
    lstm_spec,
    mutated,
    random_weights,
)
from support.versions import loop_ends_mask

import verify
from verify import DataError, UnsupportedError, Verdict

pytestmark = pytest.mark.keras


def two_lstms(**options):
    from keras import Input, layers

    return keras_sequential(
        [
            Input((TIME,), dtype="int32"),
            layers.Embedding(VOCABULARY, INPUTS, mask_zero=True, name="words"),
            layers.LSTM(UNITS, return_sequences=True, name="first", **options),
            layers.LSTM(UNITS, name="second"),
            layers.Dense(OUTPUTS, activation="softmax", name="dense"),
        ]
    )


@pytest.fixture(scope="module")
def model():
    return two_lstms()


def test_inputs_may_be_a_file(model, tmp_path):
    np.save(tmp_path / "x.npy", ids(batch=3))
    report = verify.check(model, tmp_path / "x.npy")
    assert report.verdict is Verdict.PASS
    assert report.facts["rows"] == 3


def test_a_right_model_passes_with_the_proof_at_rounding_error(model):
    report = verify.check(model, ids(batch=40))
    assert report.verdict is Verdict.PASS
    assert report.proof.max_diff < 1e-14
    assert 0 < report.numerics.max_diff < report.numerics.allowed < 1e-4
    assert [layer.name for layer in report.layers] == [
        "words", "first", "second", "dense",
    ]  # fmt: skip
    # a mask that ends in Keras 3.16 is warned of before
    assert any("ends at Layer 'first' (LSTM)" in text for text in report.warnings)
    assert loop_ends_mask() or len(report.warnings) == 1
    assert report.diagnosis is None


def test_the_file_passes_as_the_live_model_does(model, tmp_path):
    path = tmp_path / "m.keras"
    model.save(path)
    report = verify.check(path)
    assert report.verdict is Verdict.PASS
    assert report.facts["model"] == str(path)
    from_file = verify.load(path).predict(ids())
    assert np.array_equal(from_file, verify.load(model).predict(ids()))


@pytest.mark.parametrize(
    ("mistake", "layer"),
    [
        ("gate order i,o,f,c", "first"),
        ("bias missing", "first"),
        ("recurrent_kernel transposed", "first"),
        ("mask ignored", "words"),
        ("recurrent_activation keras2_hard_sigmoid instead of sigmoid", "first"),
        *(
            pytest.param(mistake, "first", marks=pytest.mark.thorough)
            for mistake in (
                "recurrent term missing",
                "forget bias added again",
                "gates interleaved",
            )
        ),
    ],
)
def test_a_planted_mistake_is_located_and_named(model, mistake, layer):
    network = mutated(verify.load(model).spec, mistake)
    report = verify.check(model, ids(batch=16), network=network)
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == layer
    assert (report.first_mismatch.steps is not None) == (layer == "first")
    assert report.diagnosis.explanations[0].mistake == mistake


def test_a_mistake_in_the_second_layer_is_found_there_and_at_its_time_step(model):
    spec = verify.load(model).spec
    weights = spec["second"].weights
    recurrent = np.array(weights["recurrent_kernel"])
    recurrent[0, 3] += 0.5  # shows from the second step on
    layer = spec["second"].with_weights(recurrent_kernel=recurrent)
    x = ids(batch=16)
    x[x == 0] = 1  # no padding, so step 1 is the first with a state
    report = verify.check(model, x, network=verify.Network(spec.with_layer(layer)))
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == "second"
    assert report.first_mismatch.telling.first_step == 1
    assert report.first_mismatch.telling.first[2] == 3  # only gate i of unit 3 differs
    said = report.diagnosis.explanations[0].explanation
    assert "in recurrent_kernel[0, 3] (gate i of unit 3)" in said


def test_a_mask_that_a_network_lacks_and_no_output_shows_has_no_other_cause(model):
    spec = verify.load(model).spec
    words = spec["words"].with_options(mask_zero=False)
    x = np.maximum(ids(batch=4), 1)  # no padding
    report = verify.check(model, x, network=verify.Network(spec.with_layer(words)))
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == "words"
    (only,) = report.diagnosis.explanations
    assert "mask_zero=False in place of True" in only.explanation


def test_the_failure_message_says_what_where_how_much_why_and_what_to_do(model):
    network = mutated(verify.load(model).spec, "gate order i,o,f,c")
    text = verify.check(model, ids(), network=network).to_text()
    for part in (
        "FAIL  a live model: the NumPy forward pass does not match Keras",
        "Layer 'first' (LSTM, units=4): the NumPy forward pass does not match Keras.",
        "first mismatch : time step 0 of 0..5; layers before it agree: words",
        "elements (",
        "greatest |diff|: ",
        "at [batch, time, unit] = [",
        "numpy ",
        "keras ",
        "(allowed 1e-10)",
        "likely cause   : layer 'first': gates read in the order i,o,f,c; "
        "Keras stores i,f,c,o (then max |diff| = ",
        "remedy         : split kernel, recurrent_kernel and bias into the blocks",
    ):
        assert part in text


def test_assert_matches_predict_raises_with_the_report(model):
    assert verify.assert_matches_predict(model, ids()).verdict is Verdict.PASS
    network = mutated(verify.load(model).spec, "bias missing")
    with pytest.raises(AssertionError, match="the bias is left out"):
        verify.assert_matches_predict(model, ids(), network=network)


def of_one_frame(layer, steps: int):
    """Return layers of which the last is not run in chunks: a model for each step."""
    from keras import Input, Sequential, layers

    inner = Sequential([Input((steps, INPUTS)), layer])
    return layers.Reshape((1, steps, INPUTS)), layers.TimeDistributed(inner)


def test_a_chaotic_model_is_inconclusive_and_says_why():
    from keras import Input, layers

    model = keras_sequential(
        [Input((300, INPUTS)), *of_one_frame(layers.SimpleRNN(32), 300)],
        seed=3,
        scale=3.0,
    )
    report = verify.check(model, features(time=300))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "even float64 answers differ" in report.reason
    with pytest.raises(AssertionError, match="INCONCLUSIVE"):
        verify.assert_matches_predict(model, features(time=300))


def test_a_model_that_amplifies_float32_only_is_proved_but_inconclusive():
    from keras import Input, layers

    model = keras_sequential(
        [Input((35, INPUTS)), *of_one_frame(layers.SimpleRNN(32), 35)],
        seed=3,
        scale=0.9,
    )
    report = verify.check(model, features(time=35))
    assert report.proof.matches
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "amplifies rounding to" in report.reason


def test_a_difference_in_predict_alone_fails_without_blaming_the_formulas(
    model, monkeypatch
):
    from verify.keras_bridge import KerasModel

    predict = KerasModel.predict

    def imprecise(self, x):
        return [y + (0.0 if self.floatx else 1e-4) for y in predict(self, x)]

    monkeypatch.setattr(KerasModel, "predict", imprecise)
    report = verify.check(model, ids())
    assert report.verdict is Verdict.FAIL
    assert "predict differs by more than rounding" in report.reason
    assert report.diagnosis is None
    assert report.first_mismatch is None
    assert "The outputs of the whole model differ" in report.to_text()


@pytest.mark.usefixtures("undiagnosed")
def test_a_mistake_that_shows_in_a_late_row_only_is_located(model):
    spec = verify.load(model).spec
    embeddings = np.array(spec["words"].weights["embeddings"])
    embeddings[7] += 0.5
    words = spec["words"].with_weights(embeddings=embeddings)
    x = ids(batch=700)
    x[x == 7] = 8
    x[650, 0] = 7
    report = verify.check(model, x, network=verify.Network(spec.with_layer(words)))
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == "words"


@pytest.mark.usefixtures("undiagnosed")
def test_a_network_whose_outputs_have_another_shape_fails(model):
    spec = verify.load(model).spec
    second = spec["second"].with_options(return_sequences=True)
    report = verify.check(model, ids(), network=verify.Network(spec.with_layer(second)))
    assert report.verdict is Verdict.FAIL
    assert "shapes differ" in report.to_text()


def test_a_model_made_of_layers_of_another_one():
    import keras

    whole = two_lstms()
    part = keras.Sequential([keras.Input((TIME,), dtype="int32"), *whole.layers[:2]])
    assert verify.check(part, ids()).verdict is Verdict.PASS
    assert verify.check(whole, ids()).verdict is Verdict.PASS


def test_a_backend_whose_rules_are_not_known_is_refused_by_name(model, monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(UnsupportedError, match=r"Received: openvino: on some"):
        verify.check(model, ids())


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_probe_inputs_have_every_kind_of_padding(dtype):
    from keras import Input, layers

    model = keras_sequential(
        [
            Input((None,), dtype=dtype),
            layers.Embedding(VOCABULARY, INPUTS, mask_zero=True),
            layers.GRU(UNITS),
        ]
    )
    report = verify.check(model)
    assert report.verdict is Verdict.PASS
    assert report.warnings == ()
    from verify.checks.inputs import probe_inputs

    x = probe_inputs(verify.load(model).spec)
    kept = [row != 0 for row in x]
    assert x.shape[1] >= 3
    assert any(k[0] and not k[-1] for k in kept)  # padded on the right
    assert any(k[-1] and not k[0] for k in kept)  # on the left
    assert any(np.abs(np.diff(k.astype(int))).sum() > 2 for k in kept)  # holes
    assert any(not k.any() for k in kept)  # altogether
    assert any(k.all() for k in kept)  # not at all


def test_a_fixed_batch_size_is_asked_for_where_states_need_it():
    from keras import Input, layers

    inputs = Input(batch_shape=(4, TIME, INPUTS))
    model = keras_sequential([inputs, layers.LSTM(UNITS)])
    assert verify.check(model).verdict is Verdict.PASS
    for rows in (6, 8):
        assert verify.check(model, features(batch=rows)).verdict is Verdict.PASS
    model = keras_sequential([inputs, layers.LSTM(UNITS, stateful=True)])
    with pytest.raises(DataError, match=r"multiple of 4 rows.*Received: 6 rows"):
        verify.check(model, features(batch=6))


def test_a_fixed_batch_size_and_more_rows_than_layers_are_compared_on():
    from keras import Input, layers

    model = keras_sequential(
        [Input(batch_shape=(100, TIME, INPUTS)), layers.LSTM(UNITS)]
    )
    assert verify.check(model, features(batch=700)).verdict is Verdict.PASS


def test_outputs_that_overflow_on_both_sides_are_inconclusive():
    from keras import Input, layers

    model = keras_sequential(
        [Input((TIME, INPUTS)), layers.LSTM(UNITS, activation="exponential")], scale=30
    )
    report = verify.check(model)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "NaN or infinite" in report.reason


@pytest.mark.parametrize(
    "build",
    [
        lambda m: m(ids()),
        lambda m: m.build((None, TIME)),
        lambda m: m.build((None, None)),
        lambda m: (m.compile("adam", "mse"), m.fit(ids(), ids()[:, :2], verbose=0)),
    ],
    ids=["called", "built", "built-any-length", "fitted"],
)
def test_a_model_without_an_input_layer_is_read_once_it_is_built(build):
    import keras
    from keras import layers

    model = keras.Sequential(
        [layers.Embedding(VOCABULARY, INPUTS, mask_zero=True), layers.GRU(2)]
    )
    build(model)
    assert verify.check(model, ids()).verdict is Verdict.PASS


def test_a_single_id_without_a_time_axis():
    from keras import Input, layers

    model = keras_sequential(
        [Input((), dtype="int32"), layers.Embedding(9, 3), layers.Dense(2)]
    )
    assert verify.check(model).verdict is Verdict.PASS


def test_a_float64_model_is_held_to_float64():
    from keras import Input, layers

    model = keras_sequential(
        [
            Input((TIME, INPUTS), dtype="float64"),
            layers.LSTM(UNITS, dtype="float64"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(5, TIME, INPUTS))
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS
    assert report.numerics.allowed == 1e-10
    assert report.numerics.max_diff < 1e-14
    theirs = model.predict(x, verbose=0)
    assert verify.compare_outputs(model, x, theirs).verdict is Verdict.PASS
    port = theirs.astype(np.float32)
    assert verify.compare_outputs(model, x, port).verdict is Verdict.PASS


def test_a_model_of_one_step_one_unit_and_zero_bias_is_warned_about():
    from keras import Input, Sequential, layers

    model = Sequential([Input((1, 2)), layers.LSTM(1, name="lstm")])
    report = verify.check(model, np.ones((1, 1, 2)))
    text = "\n".join(report.warnings)
    assert "one row only" in text
    assert "one time step, so the recurrent kernel and the forget gate play no" in text
    assert "one unit, so transposed or interleaved" in text
    assert "the bias of gates i, c and o is zero" in text


def test_padding_that_nothing_masks_is_warned_about():
    from keras import Input, layers

    model = keras_sequential(
        [
            Input((8,), dtype="int32"),
            layers.Embedding(VOCABULARY, INPUTS),
            layers.LSTM(UNITS),
        ]
    )
    x = np.zeros((4, 8), dtype=int)
    x[:, :2] = 3
    (warning,) = verify.check(model, x).warnings
    assert "75% of the ids are 0 and nothing masks them" in warning


def zeros(where):
    """Return ids of which 75 % are 0: behind the others, or anywhere among them."""
    x = np.random.default_rng(0).integers(1, VOCABULARY, (8, 8))
    if where == "behind":
        x[:, 2:] = 0
    else:
        x[:, 1:7] = 0
    return x


@pytest.mark.parametrize(
    ("how", "where", "said"),
    [
        ("nothing", "behind", True),
        ("nothing", "among", False),
        ("mask", "behind", False),
        ("product", "behind", False),
        ("one id", "behind", False),
    ],
)
def test_only_padding_that_nothing_masks_is_warned_about(how, where, said):
    import keras
    from keras import Input, layers

    given = Input((8,) if how != "one id" else (), dtype="int32")
    x = layers.Embedding(VOCABULARY, INPUTS)(given)
    present = keras.ops.not_equal(given, 0)
    if how == "one id":
        x = layers.Reshape((1, INPUTS))(x)
    elif how == "product":
        x = x * keras.ops.expand_dims(keras.ops.cast(present, "float32"), -1)
    loop = layers.GRU(2)
    model = keras.Model(given, loop(x, mask=present) if how == "mask" else loop(x))
    ids = zeros(where) if how != "one id" else np.array([0, 0, 0, 2])
    warnings = verify.check(model, ids).warnings
    assert any("nothing masks them" in warning for warning in warnings) == said


def test_a_mask_that_is_never_false_and_saturated_gates_are_warned_about(model):
    x = ids()
    x[x == 0] = 1
    assert any("never false" in w for w in verify.check(model, x).warnings)
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    lstm = copy.get_layer("first")
    kernel, recurrent, bias = lstm.get_weights()
    lstm.set_weights([kernel, recurrent, bias + 40])
    found = verify.check(copy, ids()).warnings
    assert any("gate i is saturated at 0 or 1" in w for w in found)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((3, TIME + 1)), r"shape \(batch, 6\). Received: shape=\(3, 7\)"),
        (
            np.full((3, TIME), VOCABULARY),
            r"token ids from 0 to 10, or to -11.*Received: 11",
        ),
        (np.full((3, TIME), -12), r"token ids from 0 to 10, or to -11.*Received: -12"),
        (np.full((3, TIME), np.nan), r"finite numbers in the inputs.*18 NaN"),
        (np.full((3, TIME), "a"), r"holding numbers. Received: dtype=<U1"),
        ([[1, 2], [3]], r"ragged"),
        (np.ones((0, TIME)), r"Received: shape=\(0, 6\)"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_one_line(model, x, message):
    with pytest.raises(DataError, match=message) as caught:
        verify.check(model, x)
    assert "\n" not in str(caught.value)


def test_nan_in_the_weights_is_refused_by_name(model):
    import keras

    broken = keras.models.clone_model(model)
    weights = model.get_weights()
    weights[1] = weights[1].copy()
    weights[1][0, :3] = np.nan
    broken.set_weights(weights)
    with pytest.raises(DataError, match=r"Layer 'first' \(LSTM\).*3 NaN.*'kernel'"):
        verify.check(broken, ids())


def test_models_of_another_kind_are_refused_by_name():
    import keras
    from keras import Input, layers

    class Mine(keras.Sequential):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training=training, mask=mask)

    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    for model, message in [
        (Subclassed(name="s"), r"'s' \(Subclassed\): this custom kind of model"),
        (
            Mine([Input((3, 2)), layers.LSTM(2)], name="m"),
            r"'m' \(Mine\): its class has a call of its own",
        ),
        (keras.Sequential([layers.LSTM(2)]), "never been built"),
        (object(), r"Received: object"),
        (3, r"Received: int"),
    ]:
        with pytest.raises(UnsupportedError, match=message):
            verify.load(model)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(
    ("how", "jit_compile"),
    [
        ("functional", False),
        ("functional", True),
        ("sequential", True),
        ("own arguments", True),
        pytest.param("sequential", False, marks=pytest.mark.thorough),
        pytest.param("own arguments", False, marks=pytest.mark.thorough),
    ],
)
def test_a_class_that_changes_how_a_model_trains_alone_is_checked(how, jit_compile):
    import keras
    from keras import Input, layers

    class Trained(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    class Stack(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    class Sized(Trained):
        def __init__(self, units):
            x = Input((5, 3), name="x")
            super().__init__({"x": x}, {"b": layers.GRU(units)(x), "a": x})

    if how == "sequential":
        model = Stack([Input((5, 3)), layers.LSTM(4), layers.Dense(2)])
    elif how == "own arguments":
        model = Sized(3)
    else:
        x = Input((5, 3))
        model = Trained(x, layers.Dense(2)(layers.LSTM(4)(x)))
    model.compile(jit_compile=jit_compile)
    weights = random_weights([w.shape for w in model.get_weights()], 1)
    model.set_weights(weights)
    x = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    given = {"x": x} if how == "own arguments" else x
    assert verify.check(model, given).verdict is Verdict.PASS
    ours, theirs = verify.load(model).predict(given), model.predict(given, verbose=0)
    if how == "own arguments":
        assert sorted(ours) == sorted(theirs)
        ours, theirs = ours["b"], theirs["b"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    before = verify.load(model)
    model.set_weights([1.1 * w for w in weights])
    assert verify.check(model, given, network=before).verdict is Verdict.FAIL


def test_layers_and_options_are_refused_by_name():
    import keras
    from keras import Input, layers

    @keras.saving.register_keras_serializable(package="mine")
    class LSTM(layers.LSTM):
        def get_initial_state(self, batch_size):
            return super().get_initial_state(batch_size)

    def mine(x):
        return x

    for layer, message in [
        (
            layers.Lambda(mine, name="m"),
            r"'m' \(Lambda\): it holds Python code, which is never run",
        ),
        (
            layers.LSTM(2, activation=mine, name="l"),
            r"option 'activation' expects the name of a Keras activation",
        ),
        (LSTM(2, name="mine"), r"'mine' \(LSTM\): its class has a get_initial_state"),
    ]:
        model = keras.Sequential([Input(batch_shape=(2, 3, 2)), layer])
        with pytest.raises(UnsupportedError, match=message) as caught:
            verify.load(model)
        assert "\n" not in str(caught.value)


def test_small_integers_are_computed_with_as_floats():
    from keras import Input, layers

    model = keras_sequential(
        [Input((4,), dtype="int8"), layers.Activation("tanh"), layers.Dense(3)]
    )
    assert verify.check(model).verdict is Verdict.PASS


def test_numbers_that_tensorflow_takes_for_zero_are_no_mistake():
    from keras import Input, layers

    model = keras_sequential([Input((4,)), layers.Dense(1, activation="sigmoid")])
    kernel, bias = model.get_weights()
    model.set_weights([kernel, bias * 0 - 90])
    assert verify.check(model).verdict is Verdict.PASS


def test_a_function_that_borrows_the_name_of_an_activation_is_refused():
    from keras import Input, layers

    def relu(x):
        return x * 3

    model = keras_sequential([Input((4, 3)), layers.LSTM(2, activation=relu, name="l")])
    by_3_16 = "option 'activation' expects the name of a Keras activation"
    with pytest.raises(
        UnsupportedError,
        match=rf"'l' \(LSTM\): (activation is a function|{by_3_16})",
    ):
        verify.load(model)


def test_ids_too_large_for_the_input_do_not_wrap_around(model):
    with pytest.raises(
        DataError, match=r"from -2147483648 to 2147483647\. Received: 4"
    ):
        verify.check(model, ids().astype(np.int64) + 2**32)


def test_a_batch_size_below_one_is_refused(model):
    with pytest.raises(DataError, match=r"1 or more\. Received: 0"):
        verify.check(model, ids(), batch_size=0)


def test_a_network_may_be_given_as_a_file(model, tmp_path):
    path = tmp_path / "m.keras"
    model.save(path)
    assert verify.check(model, ids(), network=path).verdict is Verdict.PASS


def test_a_network_alone_has_nothing_to_be_compared_with():
    with pytest.raises(DataError, match=r"Received: a verify\.Network; give it as"):
        verify.check(verify.Network(lstm_spec()))


def test_a_network_with_other_layers_cannot_be_held_against_a_model(model):
    with pytest.raises(DataError, match="expected a network with the layers"):
        verify.check(model, ids(), network=verify.Network(lstm_spec()))


def test_the_json_document_is_whole_and_holds_what_the_text_says(model):
    network = mutated(verify.load(model).spec, "bias missing")
    document = json.loads(verify.check(model, ids(), network=network).to_json())
    assert document["verdict"] == "FAIL"
    assert document["worst"] == "first"
    assert document["diagnosis"]["explanations"][0]["mistake"] == "bias missing"
    assert document["float64_max_diff"] > 1e-3
    assert document["layers"][1]["steps"]["first"] is not None
    assert document["facts"]["backend"] == "tensorflow"


def test_a_live_model_is_left_as_it_was(model):
    import keras

    before = [w.copy() for w in model.get_weights()]
    floatx = keras.config.floatx()
    verify.check(model, ids())
    assert keras.config.floatx() == floatx
    assert all(
        np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)
    )
