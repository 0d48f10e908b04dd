"""Models and habits that people have, each of which once went wrong here."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import random_weights
from support.versions import keras_rules

import verify
from verify import DataError, UnsupportedError, Verdict, VerifyError
from verify.model.versions import VersionRule

pytestmark = [
    pytest.mark.keras,
    # Keras has advice for some of these models
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


GATES_IFOC = [*range(10), *range(15, 20), *range(10, 15)]
"""Columns of an LSTM of 5 units in the order of PyTorch's gates but for i and f."""


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def ids(top: int, *shape: int, low: int = 1) -> np.ndarray:
    return np.random.default_rng(shape).integers(low, top, size=shape)


def passes(model, x) -> verify.Report:
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS, str(report)
    return report


def sequence(shape=(6, 4), **options):
    import keras

    return keras.Input(shape, **options)


def test_a_normalization_that_was_adapted():
    import keras
    from keras import layers

    adapted = layers.Normalization()
    adapted.adapt(floats(30, 6, 4))
    passes(keras.Sequential([sequence(), adapted, layers.LSTM(5)]), floats(4, 6, 4))


def test_constants_that_are_tensors_of_the_backend(tmp_path):
    import keras
    from keras import layers, ops

    t, i = sequence((8,), dtype="int32"), sequence()
    table = layers.Embedding(20, 6)
    hidden = layers.LSTM(6, return_sequences=True)(table(t))
    positions = layers.Embedding(8, 6)(ops.arange(8))
    x, ids_ = floats(4, 6, 4), ids(20, 4, 8)
    models = [
        (keras.Model(t, layers.GRU(3)(layers.Embedding(20, 6)(t) + positions)), ids_),
        (keras.Model(t, ops.matmul(hidden, ops.transpose(table.embeddings))), ids_),
        (keras.Model(i, layers.GRU(3)(i * ops.convert_to_tensor(2.0))), x),
        (keras.Model(i, ops.where(i > 0, i, ops.zeros((1, 6, 4)))), x),
    ]
    for model, given in models:
        passes(model, given)


def test_training_true_in_a_call_is_overridden_by_predict_and_said():
    import keras
    from keras import layers

    i = sequence()
    inner = keras.Sequential([sequence(), layers.LSTM(3), layers.BatchNormalization()])
    outer = layers.BatchNormalization()(layers.LSTM(5)(i), training=True)
    for model in (
        keras.Model(i, layers.Dense(2)(outer)),
        keras.Model(i, inner(i, training=True)),
        keras.Model(i, layers.LSTM(5, dropout=0.5)(i, training=True)),
    ):
        if VersionRule.TRAINING_ARGUMENT_HOLDS in keras_rules():
            with pytest.raises(UnsupportedError, match="called with training=True"):
                verify.check(model, floats(4, 6, 4))
            continue  # and of Keras 3.15 all of this is true:
        report = passes(model, floats(4, 6, 4))
        assert any("called with training=True" in w for w in report.warnings)


def test_attention_scores_carry_the_mask_that_made_them():
    import keras
    from keras import layers

    t = sequence((8,), dtype="int32")
    h = layers.Embedding(20, 8, mask_zero=True)(t)
    y, _ = layers.MultiHeadAttention(2, 4)(h, h, return_attention_scores=True)
    x = ids(20, 4, 8, low=0)
    passes(keras.Model(t, layers.GlobalAveragePooling1D()(y)), x)
    q, k = sequence((5, 8)), sequence((5, 5), dtype="bool")
    _, scores = layers.MultiHeadAttention(2, 4)(
        q, q, attention_mask=k, return_attention_scores=True
    )
    model = keras.Model([q, k], layers.Softmax()(scores))
    passes(model, [floats(4, 5, 8), floats(4, 5, 5) < 0.5])


def test_a_layer_shared_by_two_models_inside_a_third():
    import keras
    from keras import layers

    shared = layers.Embedding(10, 4, name="shared")
    p, q = sequence((6,), dtype="int32"), sequence((5,), dtype="int32")
    state = sequence((4,))
    encoder = keras.Model(p, layers.LSTM(4)(shared(p)), name="encoder")
    y = layers.GRU(4, return_sequences=True)(shared(q), initial_state=state)
    decoder = keras.Model([q, state], y, name="decoder")
    a, b = sequence((6,), dtype="int32"), sequence((5,), dtype="int32")
    passes(
        keras.Model([a, b], decoder([b, encoder(a)])), [ids(10, 4, 6), ids(10, 4, 5)]
    )


def test_a_list_of_one_input_is_that_input():
    import keras
    from keras import layers

    i = sequence()
    passes(keras.Model([i], layers.LSTM(3)(i)), [floats(4, 6, 4)])
    model = keras.Sequential(
        [sequence((None,), dtype="int32"), layers.Embedding(10, 4), layers.GRU(3)]
    )
    x = ids(10, 5, 1)
    ours, theirs = verify.load(model).predict([x]), model.predict([x], verbose=0)
    assert ours.shape == theirs.shape == (5, 3)
    assert np.abs(ours - theirs).max() < 1e-6


def test_outputs_as_predict_returns_them_are_compared_whatever_their_structure():
    import keras
    from keras import layers

    i, x = sequence(), floats(4, 6, 4)
    y, h, c = layers.LSTM(3, return_state=True)(i)
    z = layers.GRU(2)(i)
    for outputs in (
        {"y": y, "z": z},
        {"y": y, "state": [h, c]},
        [y, [h, c]],
        layers.Dense(1, activation="sigmoid")(y) > 0.5,
    ):
        model = keras.Model(i, outputs)
        theirs = model.predict(x, verbose=0)
        report = verify.compare_outputs(model, x, theirs)
        assert report.verdict is Verdict.PASS, str(report)
    model = keras.Model(i, y)
    theirs = model.predict(x, verbose=0)
    assert verify.compare_outputs(model, x, [theirs]).verdict is Verdict.PASS
    assert verify.compare_outputs(model, x, [theirs + 1]).verdict is Verdict.FAIL


def test_inputs_by_the_names_that_the_model_has_for_them():
    import keras
    from keras import layers

    a, b = sequence((6, 4), name="a"), sequence((3,), name="b")
    joined = layers.Concatenate()([layers.GRU(3)(a), b])
    model = keras.Model({"seq": a, "num": b}, layers.Dense(2)(joined))
    assert verify.load(model).input_names == ["seq", "num"]
    x = {"seq": floats(4, 6, 4), "num": floats(4, 3)}
    passes(model, x)
    passes(model, {"a": x["seq"], "b": x["num"]})


def test_inputs_in_the_structure_that_the_model_has_for_them():
    import keras
    from keras import layers

    a, b, c = sequence((6, 4)), sequence((3,)), sequence((3,))
    y = layers.GRU(3)(a, initial_state=c)
    model = keras.Model([a, [b, c]], layers.Dense(2)(layers.Concatenate()([y, b])))
    passes(model, [floats(4, 6, 4), [floats(4, 3), 2 * floats(4, 3)]])
    with pytest.raises(DataError, match="expected 3 inputs"):
        verify.check(model, [floats(4, 6, 4), floats(4, 3)])


def test_open_axes_that_something_else_in_the_model_limits():
    import keras
    from keras import layers, ops

    t = sequence((None,), dtype="int32")
    words = layers.Embedding(20, 8)(t)
    position = ops.cumsum(ops.ones_like(t), axis=1) - 1
    passes(
        keras.Model(t, layers.GRU(3)(words + layers.Embedding(10, 8)(position))),
        ids(20, 4, 8),
    )
    fixed = np.ones((1, 8, 8), np.float32)
    passes(keras.Model(t, layers.GRU(3)(words + fixed)), ids(20, 4, 8))


@pytest.mark.usefixtures("undiagnosed")
def test_a_sequential_that_took_the_batch_of_its_first_call_takes_any_rows(tmp_path):
    import keras
    from keras import layers

    model = keras.Sequential([layers.LSTM(5, return_sequences=True), layers.GRU(3)])
    model(floats(8, 6, 4))
    assert model.input_shape == (8, 6, 4)
    x = floats(11, 6, 4)
    assert passes(model, x).numerics.shape == (11, 3)
    model.save(tmp_path / "model.keras")
    passes(tmp_path / "model.keras", x[:3])
    right = model.get_weights()
    model.set_weights([w[..., GATES_IFOC] for w in right[:3]] + right[3:])
    found = verify.check(tmp_path / "model.keras", x, network=verify.load(model))
    assert found.verdict is Verdict.FAIL
    with pytest.raises(DataError, match=r"\(batch, 6, 4\).*keras.Input\(\(None, 4\)\)"):
        verify.check(model, floats(3, 9, 4))
    kept = keras.Sequential([keras.Input((6, 4), batch_size=4)])
    kept.add(layers.GRU(3, stateful=True))
    with pytest.raises(DataError, match="a multiple of 4 rows"):
        verify.check(kept, x)


@pytest.mark.usefixtures("undiagnosed")
def test_a_predict_that_keeps_what_was_compiled_before_is_told_from_a_wrong_formula():
    import keras
    from keras import layers

    i = sequence((None, 4))
    steps = layers.TimeDistributed(layers.Dense(3))(i)
    model = keras.Model(i, layers.GRU(2)(steps))
    model.predict(floats(9, 7, 4), verbose=0)
    report = verify.check(model, floats(4, 6, 4))
    assert report.verdict is Verdict.FAIL
    assert "a new copy of the model agrees" in report.reason
    assert "as many steps as there are rows" in report.reason
    with pytest.raises(VerifyError, match=r"out of bounds.*as many steps as there are"):
        verify.check(model, floats(8, 5, 4))
    report = verify.check(model)  # of 7 steps, which predict cannot take any more
    assert report.verdict is Verdict.PASS
    assert any("run in a new copy of the model" in text for text in report.warnings)
    changed = keras.Sequential([sequence(), layers.GRU(3), layers.Dense(2)])
    changed.predict(floats(4, 6, 4), verbose=0)
    changed.layers[-1].activation = keras.activations.tanh
    report = verify.check(changed, floats(4, 6, 4))
    assert report.verdict is Verdict.FAIL
    assert "before the model was changed" in report.reason
    other = verify.load(keras.models.clone_model(changed))  # of other weights
    report = verify.check(changed, floats(4, 6, 4), network=other)
    assert "copy" not in report.reason


def test_a_normalization_that_keeps_its_numbers_after_set_weights_is_named():
    import keras
    from keras import layers

    def made():
        return keras.Sequential([sequence(), layers.Normalization(), layers.GRU(3)])

    x, adapted, model = floats(9, 6, 4), made(), made()
    adapted.layers[0].adapt(3 * x + 1)
    weights = [floats(*w.shape) for w in model.layers[1].get_weights()]
    model.set_weights([*adapted.layers[0].get_weights(), *weights])
    report = verify.check(model, x)
    assert report.verdict is Verdict.FAIL
    name = model.layers[0].name
    assert f"Layer '{name}' (Normalization) computes with the mean" in report.reason
    model.layers[0].finalize_state()
    report = verify.check(model, x)  # what predict has compiled holds the old numbers
    assert report.verdict is Verdict.FAIL
    assert "make_predict_function(force=True)" in report.reason
    assert "Normalization" not in report.reason
    model.make_predict_function(force=True)
    passes(model, x)


def test_a_function_of_keras_ops_as_an_activation():
    import keras
    from keras import layers, ops

    i = sequence()
    passes(keras.Model(i, layers.Dense(5, activation=ops.relu)(i)), floats(4, 6, 4))
    model = keras.Model(i, layers.Dense(5, activation=ops.gelu)(i))  # approximates
    with pytest.raises(UnsupportedError, match="a function of yours called gelu"):
        verify.load(model)


def test_nan_that_a_model_leaves_out_is_no_difference():
    import keras
    from keras import layers, ops

    i, x = sequence(), floats(4, 6, 4)
    roots = layers.GRU(3)(ops.where(i > 0, ops.sqrt(i), 0.0))
    model = keras.Model(i, roots)
    report = passes(model, x)
    assert {layer.proof.max_diff <= 1e-10 for layer in report.layers} == {True}
    other = keras.Model(i, layers.GRU(3)(ops.where(i > 0, ops.sqrt(-i), 0.0)))
    other.set_weights(model.get_weights())
    theirs = other.predict(x, verbose=0)  # NaN where the model has numbers
    found = verify.compare_outputs(model, x, theirs, diagnosis_seconds=0)
    assert found.verdict is Verdict.FAIL


def test_numbers_that_are_missing_where_the_model_expects_it():
    import keras
    from keras import layers, ops

    i, x = sequence(), floats(4, 6, 4)
    x[0, 4:], x[2, 1, 3] = np.nan, np.nan
    known = ops.cast(ops.isfinite(i), "float32")
    there = ops.all(ops.isfinite(i), axis=-1)
    for hidden in (
        layers.LSTM(5)(ops.concatenate([ops.nan_to_num(i), known], axis=-1)),
        layers.LSTM(5)(i, mask=there),
    ):
        model = keras.Model(i, layers.Dense(2)(hidden))
        passes(model, x)
        right = model.get_weights()
        model.set_weights([w[..., GATES_IFOC] for w in right[:3]] + right[3:])
        swapped = model.predict(x, verbose=0)
        model.set_weights(right)
        found = verify.compare_outputs(model, x, swapped)
        assert found.verdict is Verdict.FAIL
        assert "i,f,o,c" in found.diagnosis.explanations[0].explanation
    ids_ = sequence((6,), dtype="int32")
    words = keras.Model(ids_, layers.LSTM(5)(layers.Embedding(9, 4)(ids_)))
    for model, given in (
        (keras.Model(i, layers.LSTM(5)(i)), x),
        (words, np.where(np.isnan(x[..., 0]), np.nan, 1.0)),
    ):
        with pytest.raises(DataError, match=r"NaN or infinite value\(s\)"):
            verify.check(model, given)


def test_gradients_that_are_nan_in_keras_alone_are_no_mistake_of_numpy():
    import keras
    from keras import layers, ops

    t = sequence((6,), dtype="int32")
    count = ops.sum(ops.cast(t > 0, "float32"), axis=1, keepdims=True)
    total = ops.sum(layers.GRU(3, return_sequences=True)(layers.Embedding(9, 4)(t)), 1)
    y = ops.where(count > 0, total / count, ops.zeros_like(total))
    model = keras.Model(t, layers.Dense(2)(y))
    x = ids(9, 5, 6, low=0)
    x[2] = 0
    assert verify.check(model, x).verdict is Verdict.PASS
    report = verify.check(model, x, gradients=True)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "Keras's gradients of" in report.reason
    assert "hold NaN" in report.reason
    assert verify.check(model, x[:2], gradients=True).verdict is Verdict.PASS


def test_a_row_of_padding_alone_hides_no_mistake_of_the_others():
    import keras
    from keras import layers

    t, x = sequence((6,), dtype="int32"), ids(20, 8, 6, low=0)
    x[3] = 0
    h = layers.LSTM(5, return_sequences=True)(
        layers.Embedding(20, 4, mask_zero=True)(t)
    )
    model = keras.Model(t, layers.Dense(2)(layers.GlobalAveragePooling1D()(h)))
    random = np.random.default_rng(0)
    right = [random.normal(size=w.shape) for w in model.get_weights()]
    model.set_weights(right)
    theirs = model.predict(x, verbose=0)
    assert np.isnan(theirs[3]).all()  # the mean over no step
    for report in (verify.check(model, x), verify.compare_outputs(model, x, theirs)):
        assert report.verdict is Verdict.INCONCLUSIVE
        assert "leave out the rows" in report.reason
        assert report.numerics.matches
        assert all(layer.matches for layer in report.layers)
    written = np.round(theirs.astype(np.float64), 3)  # as in a text file
    report = verify.compare_outputs(model, x, written, diagnosis_seconds=1)
    assert (report.verdict, report.numerics.mismatched) == (Verdict.INCONCLUSIVE, 0)
    assert any("recorded to 3 decimal(s)" in text for text in report.warnings)
    by_tolerance = verify.compare_outputs(model, x, theirs, tolerance="1%")
    assert by_tolerance.verdict is Verdict.INCONCLUSIVE
    wrong = [*right[:1], *(w[..., GATES_IFOC] for w in right[1:4]), *right[4:]]
    port = keras.models.clone_model(model)
    port.set_weights(wrong)
    swapped, zero = port.predict(x, verbose=0), theirs.copy()
    zeroed = np.where(np.isnan(swapped), 0, swapped)
    for report in (
        verify.compare_outputs(model, x, swapped),
        verify.compare_outputs(model, x, zeroed),
        verify.check(model, x, network=verify.load(port)),
    ):
        assert report.verdict is Verdict.FAIL
        assert "i,f,o,c" in report.diagnosis.explanations[0].explanation
    zero[3] = 0
    report = verify.compare_outputs(model, x, zero, diagnosis_seconds=2)
    assert report.verdict is Verdict.FAIL
    assert "the model itself is NaN or infinite in 2 of 16" in str(report)


def test_the_same_layer_twice_in_a_sequential_is_refused():
    import keras
    from keras import layers

    d = layers.Dense(4)
    model = keras.Sequential([sequence(), layers.LSTM(4), d, layers.ReLU(), d])
    with pytest.raises(UnsupportedError, match="the same layer stands in it twice"):
        verify.check(model, floats(4, 6, 4))


def scaled_frames(rng):
    """Return blocks of keras.applications on every frame, and an LSTM behind them."""
    import keras
    from keras import layers
    from keras.src.applications.convnext import LayerScale, StochasticDepth
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    frame = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 3, padding="same", groups=3)(frame)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Dense(3)(layers.Dense(12, activation="gelu")(x))
    x = frame + StochasticDepth(0.3)(LayerScale(1e-6, 3, name="scale")(x))
    x = CustomScaleLayer(0.17)([x, layers.Conv2D(3, 1)(x)])
    block = keras.Model(frame, layers.GlobalAveragePooling2D()(x), name="block")
    model = keras.Sequential(
        [keras.Input((4, 6, 6, 3)), layers.TimeDistributed(block), layers.LSTM(5)]
    )
    model.set_weights([rng.normal(0, 0.7, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_layers_of_applications_are_read_from_every_file(tmp_path, ending):
    model, x = scaled_frames(np.random.default_rng(1)), floats(6, 4, 6, 6, 3)
    path = tmp_path / f"frames{ending}"
    model.save(path)
    passes(path, x)
    theirs = model.predict(x, verbose=0)
    scale = model.layers[0].layer.get_layer("scale")
    scale.set_weights([scale.get_weights()[0] * [1, 1, -1]])
    model.save(path)
    report = verify.compare_outputs(path, x, theirs, diagnosis_seconds=0)
    assert report.verdict is Verdict.FAIL


def test_parts_without_numbers_pass_inside_a_model_and_are_refused_as_outputs():
    import keras
    from keras import layers, ops

    x = keras.Input((5, 3))
    y = layers.LSTM(4, return_sequences=True)(x)
    first, none = ops.array_split(y[:, :1], 2, axis=1)  # of one step
    both = layers.Dense(2)(ops.concatenate([none, first], axis=1))
    whole = keras.Model(x, both)
    passes(whole, floats(6, 5, 3))
    theirs = whole.predict(floats(6, 5, 3), verbose=0)
    wrong = verify.compare_outputs(
        whole, floats(6, 5, 3), theirs + 0.01, diagnosis_seconds=0
    )
    assert wrong.verdict is Verdict.FAIL
    for outputs in (y[:, :0], [y, none], y[..., :0]):
        with pytest.raises(DataError, match=r"it has no numbers for these inputs"):
            verify.check(keras.Model(x, outputs), floats(6, 5, 3))


def test_a_scale_of_the_users_own_is_not_taken_for_that_of_convnext(tmp_path):
    import keras

    class LayerScale(keras.Layer):
        def __init__(self, init_values, projection_dim, **options):
            super().__init__(**options)
            self.init_values, self.projection_dim = init_values, projection_dim

        def build(self, shape):
            self.gamma = self.add_weight(shape=(self.projection_dim,), name="gamma")

        def call(self, x):
            return x + self.gamma

        def get_config(self):
            own = {"init_values": self.init_values}
            own["projection_dim"] = self.projection_dim
            return {**super().get_config(), **own}

    model = keras.Sequential([sequence(), keras.layers.LSTM(5), LayerScale(0.1, 5)])
    model.save(path := tmp_path / "own.keras")
    with pytest.raises(UnsupportedError, match=r"\(LayerScale\): its class has a call"):
        verify.check(model)
    with pytest.raises(UnsupportedError, match="this custom class is not supported"):
        verify.check(path)


def test_masking_of_nan_is_said_where_nan_comes_through(tmp_path):
    import keras
    from keras import layers

    x = floats(4, 6, 4)
    x[1, 3:] = np.nan
    for value, said in ((np.nan, True), (0.0, False)):
        masking = layers.Masking(value, name="gaps")
        model = keras.Sequential([sequence(), masking, layers.LSTM(5)])
        with pytest.raises(DataError, match="12 NaN or infinite") as caught:
            verify.check(model, x)
        end = "Layer 'gaps' (Masking) masks no step, since NaN equals nothing"
        assert str(caught.value).endswith(end) is said


def test_no_rows_are_refused_by_what_is_missing():
    import keras
    from keras import layers

    model = keras.Sequential([sequence(), layers.LSTM(5)])
    with pytest.raises(DataError, match=r"\(batch, 6, 4\), with a row at least\. Rec"):
        verify.check(model, np.zeros((0, 6, 4)))


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_functions_of_the_users_as_activations_are_refused_in_short(tmp_path, ending):
    import keras
    from keras import layers

    def swish(x):
        return 3 * x

    for function in (lambda x: 2 * x, swish):
        layer = layers.Dense(2, activation=function, name="own")
        model = keras.Sequential([sequence(), layers.LSTM(5), layer])
        model.save(path := tmp_path / f"model{ending}")
        for given in (model, path):
            with pytest.raises(UnsupportedError, match="is code, which is never") as e:
                verify.check(given)
            assert "Layer 'own' (Dense): option 'activation' expects" in str(e.value)
            assert "hard_sigmoid" not in str(e.value)  # nor any other name


def test_boundaries_that_a_layer_found_in_numbers_are_those_of_its_copies(tmp_path):
    """They are in no weight; a copy that forgets them makes 0 of every number."""
    import keras
    from keras import Input, layers

    bins = layers.Discretization(num_bins=4)
    bins.adapt(np.arange(20.0).reshape(-1, 1))
    given = Input((5,))
    codes = layers.Embedding(4, 2)(bins(given))
    model = keras.Model(given, layers.GRU(3)(codes))
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 0))
    x = np.random.default_rng(0).uniform(-2, 22, (6, 5)).astype("float32")
    model.save(tmp_path / "m.keras")
    for one in (model, tmp_path / "m.keras"):
        assert verify.check(one, x).verdict is Verdict.PASS
    net = verify.load(model)
    assert net.spec[bins.name].options["bin_boundaries"] == (4, 9, 14)
    moved = net.spec[bins.name].with_options(bin_boundaries=(4, 9, 15))
    wrong = verify.check(
        model, x, network=verify.Network(net.spec.with_layer(moved, bins.name))
    )
    assert wrong.verdict is Verdict.FAIL
    assert bins.name in str(wrong)


@pytest.mark.filterwarnings("ignore")  # of TensorFlow's datasets
@pytest.mark.parametrize("mode", ["concat", "dict"])
def test_the_features_of_a_feature_space(mode):
    import keras
    import tensorflow as tf
    from keras import Input, layers

    space = keras.utils.FeatureSpace(
        features={
            "sex": "integer_categorical",
            "chol": "float_normalized",
            "age": "float_discretized",
        },
        output_mode=mode,
    )
    columns = {
        "sex": np.array([0, 1, 1, 0]),
        "chol": np.array([233, 286, 250, 204], "float32"),
        "age": np.array([21, 40, 33, 64], "float32"),
    }
    space.adapt(tf.data.Dataset.from_tensor_slices(columns))
    found = space.get_encoded_features()
    if mode == "dict":
        found = layers.concatenate([layers.Rescaling(1.0)(x) for x in found.values()])
    series = Input((5, 2), name="series")
    joined = layers.concatenate([found, layers.LSTM(3)(series)])
    model = keras.Model(
        {**space.get_inputs(), "series": series}, layers.Dense(1)(joined)
    )
    for layer in model.layers:
        if isinstance(layer, (layers.LSTM, layers.Dense)):
            shapes = [w.shape for w in layer.get_weights()]
            layer.set_weights(random_weights(shapes, 0))
    x = {name: column[:, None] for name, column in columns.items()}
    x["series"] = np.random.default_rng(0).normal(size=(4, 5, 2)).astype("float32")
    if mode == "concat":
        with pytest.raises(UnsupportedError, match="FeatureSpace joins features by it"):
            verify.load(model)
        return
    assert verify.check(model, x).verdict is Verdict.PASS
