"""16-bit, mixed and 64-bit dtype policies, against Keras as the user runs it."""

from __future__ import annotations

import numpy as np
import pytest
from support.graphs import given, made, net
from support.nets import TIME, random_weights

import verify
from verify import Verdict

POLICIES = ("float64", "float32", "mixed_float16", "mixed_bfloat16", "float16")
AWAY = {"float64": 1e-13, "float32": 1e-6, "float16": 4e-3, "bfloat16": 3e-2}


def model(policy: str, kind: str = "LSTM", head: str | None = None, scale=1.0):
    """Embedding with a mask, a recurrent layer both ways, Dense."""
    import keras
    from keras import layers

    recurrent = getattr(layers, kind)(4, return_sequences=True, dtype=policy)
    built = keras.Sequential(
        [
            keras.Input((TIME,), dtype="int32"),
            layers.Embedding(11, 3, mask_zero=True, dtype=policy),
            layers.Bidirectional(recurrent, dtype=policy),
            layers.LayerNormalization(dtype=policy),
            layers.GRU(5, dtype=policy, name="gru"),
            layers.Dense(2, activation="softmax", dtype=head or policy, name="head"),
        ]
    )
    weights = random_weights([w.shape for w in built.get_weights()], 7)
    built.set_weights([w * scale for w in weights])
    return built


def inputs() -> np.ndarray:
    x = np.random.default_rng(1).integers(1, 11, size=(20, TIME)).astype(np.int32)
    x[0, 3:] = x[1, :3] = x[2, 2] = 0
    return x


@pytest.mark.keras
@pytest.mark.parametrize(
    "policy",  # float32 is that of all other tests
    [
        pytest.param(p, marks=pytest.mark.thorough) if p == "float32" else p
        for p in POLICIES
    ],
)
@pytest.mark.parametrize(
    "kind",
    [
        "LSTM",
        *(pytest.param(k, marks=pytest.mark.thorough) for k in ("SimpleRNN", "GRU")),
    ],
)
def test_check_passes_in_every_policy_and_fails_on_a_mistake(policy, kind):
    keras_model = model(policy, kind)
    report = verify.check(keras_model, inputs())
    assert report.verdict is Verdict.PASS, str(report)
    assert report.proof.max_diff < 1e-12
    spec = verify.load(keras_model).spec
    gru = spec["gru"]
    other = gru.with_weights(
        **{key: np.roll(value, 5, axis=-1) for key, value in gru.weights.items()}
    )
    wrong = verify.Network(spec.with_layer(other))
    report = verify.check(keras_model, inputs(), network=wrong)
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == "gru"
    assert "gate order" in report.diagnosis.explanations[0].mistake


def recurrent_alone(policy: str, head: str):
    import keras
    from keras import layers

    start = "glorot_uniform"  # an orthogonal matrix in 16 bits TensorFlow cannot make
    built = keras.Sequential(
        [
            keras.Input((TIME,), dtype="int32"),
            layers.Embedding(11, 3, mask_zero=True, dtype=policy),
            layers.LSTM(6, recurrent_initializer=start, dtype=policy, name="lstm"),
            layers.Dense(4, activation="softmax", dtype=head, name="head"),
        ]
    )
    built.set_weights(random_weights([w.shape for w in built.get_weights()], 7))
    return built


@pytest.mark.keras
@pytest.mark.parametrize(
    ("policy", "head"),
    [
        ("mixed_float16", "float32"),
        ("float16", "float16"),
        ("mixed_bfloat16", "mixed_bfloat16"),
    ],
)
def test_layers_with_equations_have_a_derived_bound_in_16_bits(policy, head):
    keras_model = recurrent_alone(policy, head)
    report = verify.check(keras_model, inputs())
    name = policy.removeprefix("mixed_")
    assert report.verdict is Verdict.PASS, str(report)
    assert report.derived == 1
    assert report.allowance == f"derived bound of {name}"
    assert 0 < report.numerics.error_ratio < 0.5
    spec = verify.load(keras_model).spec
    moved = spec["head"].weights["kernel"].copy()
    moved[2, 1] += 1.0
    wrong = spec.with_layer(spec["head"].with_weights(kernel=moved))
    report = verify.check(keras_model, inputs(), network=verify.Network(wrong))
    assert report.verdict is Verdict.FAIL
    assert not report.numerics.matches


def frames(policy: str):
    """Frames -> convolution, ReLU and pooling of each -> an LSTM both ways."""
    import keras
    from keras import layers

    each = [
        layers.Conv2D(3, 3, activation="relu", dtype=policy, name="conv"),
        layers.BatchNormalization(dtype=policy, name="norm"),
        layers.MaxPooling2D(2, dtype=policy),
        layers.Flatten(dtype=policy),
        layers.Dense(6, activation="relu", dtype=policy, name="each"),
    ]
    return [
        keras.Input((4, 6, 6, 2)),
        *(layers.TimeDistributed(one, dtype=policy) for one in each),
        layers.Bidirectional(layers.LSTM(4, dtype=policy), dtype=policy),
    ]


def signals(policy: str):
    """Steps -> causal convolution -> a loop around a cell -> a mean over time."""
    import keras
    from keras import layers

    cell = layers.LSTMCell(4, dtype=policy)
    return [
        keras.Input((9, 3)),
        layers.Conv1D(4, 3, padding="causal", activation="swish", dtype=policy),
        layers.LayerNormalization(dtype=policy),
        layers.RNN(cell, return_sequences=True, dtype=policy),
        layers.GlobalAveragePooling1D(dtype=policy),
    ]


def maps(policy: str):
    """Maps -> ConvLSTM -> numbers."""
    import keras
    from keras import layers

    loop = layers.ConvLSTM1D(3, 3, padding="same", return_sequences=True, dtype=policy)
    return [
        keras.Input((5, 6, 2)),
        loop,
        layers.ConvLSTM1D(2, 2, dtype=policy),
        layers.Flatten(dtype=policy),
    ]


@pytest.mark.keras
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("made_of", [frames, signals, maps])
def test_recorded_layers_have_a_derived_bound_in_16_bits(made_of, policy):
    import keras

    rows = made_of(policy)
    head = keras.layers.Dense(3, dtype=policy, name="head")
    keras_model = keras.Sequential([*rows, head])
    weights = random_weights([w.shape for w in keras_model.get_weights()], 7)
    names = [w.name for w in keras_model.weights]
    pairs = zip(names, weights, strict=True)
    keras_model.set_weights([abs(w) if "variance" in n else w for n, w in pairs])
    x = np.random.default_rng(2).normal(size=(6, *keras_model.input_shape[1:]))
    report = verify.check(keras_model, x)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.derived == 1
    assert report.allowance == f"derived bound of {policy.removeprefix('mixed_')}"
    assert 0.01 < report.numerics.error_ratio < 0.5
    spec = verify.load(keras_model).spec
    moved = spec["head"].weights["bias"] + 0.5
    wrong = spec.with_layer(spec["head"].with_weights(bias=moved))
    report = verify.check(keras_model, x, network=verify.Network(wrong))
    assert report.verdict is Verdict.FAIL
    assert not report.numerics.matches


@pytest.mark.keras
@pytest.mark.parametrize("seed", range(3))
def test_small_results_of_elu_in_16_bits_are_off_by_its_exponential(seed):
    import keras

    policy = "mixed_bfloat16"
    x = keras.Input((TIME, 2))
    y = keras.layers.Activation("elu", name="act", dtype=policy)(x)
    y = keras.layers.GRU(3, dtype=policy)(y)
    keras_model = keras.Model(x, y)
    weights = random_weights([w.shape for w in keras_model.get_weights()], 7)
    keras_model.set_weights(weights)
    rows = np.random.default_rng(seed).uniform(-0.05, 0.05, size=(40, TIME, 2))
    report = verify.check(keras_model, rows)
    assert report.verdict is Verdict.PASS, str(report)
    apart = next(one.numerics for one in report.layers if one.name == "act")
    assert apart.max_diff > 1e-3  # of numbers up to 0.05
    spec = verify.load(keras_model).spec
    other = spec.with_layer(spec["act"].with_options(activation="selu"))
    wrong = verify.check(keras_model, rows, network=verify.Network(other))
    assert wrong.verdict is Verdict.FAIL
    assert wrong.first_mismatch.name == "act"


@pytest.mark.keras
def test_several_rows_of_a_sample_have_a_bound_in_16_bits():
    import keras

    policy, ops = "mixed_bfloat16", keras.ops
    x = keras.Input((6, 2))
    y = keras.layers.GRU(3, dtype=policy)(ops.reshape(x, (-1, 3, 2)))
    keras_model = keras.Model(x, ops.reshape(y, (-1, 2, 3)))
    weights = random_weights([w.shape for w in keras_model.get_weights()], 7)
    keras_model.set_weights(weights)
    rows = np.random.default_rng(2).normal(size=(9, 6, 2))
    report = verify.check(keras_model, rows)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.derived == 1
    assert 0.01 < report.numerics.error_ratio < 0.5


@pytest.mark.keras
def test_near_a_kink_of_a_loop_16_bits_are_held_to_the_noise_floor():
    import keras

    loop = keras.layers.GRU(4, activation="relu", dtype="mixed_float16")
    keras_model = keras.Sequential([keras.Input((TIME, 3)), loop])
    weights = random_weights([w.shape for w in keras_model.get_weights()], 7)
    keras_model.set_weights(weights)
    x = np.random.default_rng(2).normal(size=(20, TIME, 3))
    report = verify.check(keras_model, x)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.derived < 1
    assert "noise floor" in report.allowance


@pytest.mark.keras
@pytest.mark.parametrize("policy", POLICIES)
def test_predict_computes_in_the_policy_of_each_layer(policy):
    keras_model = model(policy, scale=0.7)
    net = verify.load(keras_model)
    theirs = keras_model.predict(inputs(), verbose=0)
    ours = net.predict(inputs())
    assert ours.dtype == theirs.dtype
    compute = policy.removeprefix("mixed_")
    apart = np.abs(ours.astype(float) - theirs.astype(float)).max()
    assert apart < AWAY[compute]
    exact = net.predict(inputs(), dtype="float64")
    rounding = np.abs(exact - theirs.astype(float)).max()
    if compute in ("float16", "bfloat16"):
        assert rounding > 1e-5  # it is in 16 bits that Keras has computed


@pytest.mark.keras
def test_a_float32_head_on_a_mixed_model(tmp_path):
    keras_model = model("mixed_float16", head="float32")
    assert verify.check(keras_model, inputs()).verdict is Verdict.PASS
    assert verify.load(keras_model).predict(inputs()).dtype == np.float32
    path = tmp_path / "m.keras"
    keras_model.save(path)
    assert verify.load(path).spec.policies == {"mixed_float16", "float32"}
    assert "mixed_float16" in verify.describe(verify.load(path))


@pytest.mark.keras
def test_weights_stored_in_16_bits_are_what_keras_computes_with(tmp_path):
    keras_model = model("float16")
    path = tmp_path / "m.keras"
    keras_model.save(path)
    for read in (verify.load(path), verify.load(keras_model)):
        assert read.spec["gru"].weights["kernel"].dtype == np.float16
    ours, live = verify.load(path), verify.load(keras_model)
    assert np.array_equal(ours.predict(inputs()), live.predict(inputs()))


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.keras
def test_a_cast_of_a_masked_sequence_ends_the_mask_in_float64_too(tmp_path):
    import keras
    from keras import layers

    x = keras.Input((TIME,), dtype="int32")
    y = layers.Embedding(11, 3, mask_zero=True, dtype="mixed_float16")(x)
    y = layers.LSTM(4, return_sequences=True, dtype="mixed_float16")(y)
    y = layers.GRU(5, name="gru")(keras.ops.cast(y, "float32"))
    keras_model = keras.Model(x, y)
    weights = random_weights([w.shape for w in keras_model.weights], 8)
    keras_model.set_weights(weights)
    keras_model.save(tmp_path / "m.keras")
    for one in (keras_model, tmp_path / "m.keras"):
        report = verify.check(one, inputs())
        assert report.verdict is Verdict.PASS, str(report)
    spec = verify.load(keras_model).spec
    (cast,) = (x for _, x in spec.walk() if x.class_name == "ops.Cast")
    keeps = verify.Network(spec.with_layer(cast.with_options(ends_mask=False)))
    far = keeps.predict(inputs(), dtype="float64") - verify.load(keras_model).predict(
        inputs(), dtype="float64"
    )
    assert abs(far).max() > 1e-3  # the GRU then skips the padding
    report = verify.check(keras_model, inputs(), network=keeps)
    assert report.verdict is Verdict.FAIL


def test_tanh_shrink_of_16_bits_rounds_tanh_before_it_is_subtracted():
    layers = [given("x", 5), made("ops.Cast", "half", dtype="float16"),
              made("ops.TanhShrink", "shrink")]  # fmt: skip
    network = verify.Network(net(layers, {"half": "x", "shrink": "half"}, "shrink"))
    x = np.random.default_rng(0).normal(scale=0.3, size=(40, 5)).astype("float16")
    ours = network.predict(x.astype("float32"))
    tanh = np.tanh(x.astype("float32")).astype("float16")
    np.testing.assert_array_equal(ours, x - tanh)
    exact = network.predict(x.astype("float32"), dtype="float64")
    apart = np.abs(ours.astype(float) - exact)
    assert apart.max() > 1e-5  # far more than the result itself is rounded


@pytest.mark.keras
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_matrices_of_16_bits_are_inverted(dtype):
    import keras

    x = keras.Input((4, 3), dtype=dtype)
    products = keras.ops.einsum("bti,btj->bij", x, x)
    model = keras.Model(x, keras.ops.inv(products))
    net = verify.load(model)
    rng = np.random.default_rng(0)
    given = np.linalg.qr(rng.normal(size=(5, 4, 3)))[0] * 0.75
    right = net.predict(given, dtype="float64")
    found = net.predict(given)
    assert np.abs(right).max() > 1
    assert 0 < np.abs(found.astype(np.float64) - right).max() < 0.1


@pytest.mark.keras
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("ends", [{}, {"nan": 0.3, "posinf": 7.0, "neginf": -9.0}])
def test_what_is_not_finite_in_16_bits_is_replaced(dtype, ends):
    import keras

    x = keras.Input((4, 3), dtype=dtype)
    model = keras.Model(x, keras.ops.nan_to_num(x, **ends))
    given = np.random.default_rng(0).normal(size=(5, 4, 3))
    given[0, 0], given[1, :, 1], given[2, 2] = np.nan, np.inf, -np.inf
    theirs = np.asarray(model.predict(given, verbose=0)).astype(np.float64)
    ours = verify.load(model).predict(given).astype(np.float64)
    np.testing.assert_array_equal(ours, theirs)
    assert np.isfinite(ours).all()
    assert (ours[1, :, 1] == (7.0 if ends else ours.max())).all()


@pytest.mark.keras
@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_the_logarithm_of_silence_in_16_bits_is_that_of_a_rounded_constant(policy):
    """Round 1e-7 to 1.2e-7 in float16, so that silence is -7.97, not -8.06."""
    import keras

    layer = keras.layers.STFTSpectrogram(frame_length=4, frame_step=2, dtype=policy)
    keras_model = keras.Sequential([keras.Input((12, 2)), layer])
    x = np.random.default_rng(2).normal(size=(6, 12, 2)).astype(np.float32)
    x[1:4] = 0
    report = verify.check(keras_model, x)
    assert report.verdict is Verdict.PASS, str(report)
    silent = verify.load(keras_model).predict(x)[1:4].astype(np.float64)
    assert np.abs(silent - keras_model.predict(x, verbose=0)[1:4]).max() < 0.01
    assert np.abs(silent - np.log(1e-7) / 2).min() > 0.08


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_a_row_of_zeros_that_16_bits_cannot_normalise_is_not_called_a_mistake():
    """Divide 0 by a constant of 1e-12, which is 0 in float16, in NumPy as in Keras."""
    import keras

    keras.utils.set_random_seed(5)
    x = keras.Input((6, 4), dtype="float16")
    normalised = keras.layers.UnitNormalization(dtype="float16")(x)
    loop = keras.layers.LSTM(3, dtype="float16")(normalised)
    model = keras.Model(x, [normalised, loop])
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    rows = rng.normal(size=(5, 6, 4)).astype(np.float16)
    assert verify.check(model, rows).verdict is Verdict.PASS
    rows[1, 2] = 0
    assert np.isnan(model.predict(rows, verbose=0)[0][1, 2]).all()
    report = verify.check(model, rows)
    assert report.verdict is Verdict.INCONCLUSIVE, str(report)
    assert "NaN or infinite on both sides" in report.reason
    # NaN where the model's own dtype has numbers is a mistake all the same
    right = model.predict(rows[2:], verbose=0)
    right[0][0, 0] = np.nan
    found = verify.compare_outputs(verify.load(model), rows[2:], right)
    assert found.verdict is Verdict.FAIL, str(found)
