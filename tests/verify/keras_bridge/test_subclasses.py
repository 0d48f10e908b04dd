"""Live models whose layers, or models inside, are of classes of somebody's own."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from support.nets import random_weights

import verify
from verify import UnsupportedError, Verdict

pytestmark = pytest.mark.keras

STEPS, FEATURES = 5, 3


def features():
    return np.random.default_rng(0).normal(size=(6, STEPS, FEATURES)).astype("float32")


def checked(model, **options):
    weights = [w.shape for w in model.get_weights()]
    model.set_weights(random_weights(weights, 1))
    return verify.check(model, features(), **options)


def classes():
    """Return a layer and two models, each of a class with an __init__ of its own."""
    import keras
    from keras import Input, layers

    class Relu(layers.LSTM):
        def __init__(self, units):
            super().__init__(units, activation="relu", recurrent_activation="tanh")
            self.note = "of a class that no config can build"

        def get_config(self):
            raise NotImplementedError

    class Encoder(keras.Model):
        def __init__(self, units):
            x = Input((STEPS, FEATURES))
            super().__init__(x, layers.GRU(units)(layers.Dense(4)(x)))

        def train_step(self, data):
            return super().train_step(data)

    class Stack(keras.Sequential):
        def __init__(self, units):
            super().__init__([layers.Dense(4), layers.SimpleRNN(units)])

        def predict(self, x, **options):
            return 0 * super().predict(x, **options)

    return {"layer": Relu, "model": Encoder, "stack": Stack}


@pytest.mark.parametrize("kind", ["layer", "model", "stack"])
@pytest.mark.parametrize("functional", [False, True])
def test_what_only_sets_options_is_what_its_base_class_is(kind, functional):
    import keras
    from keras import Input, layers

    own = classes()[kind](4)
    parts = [Input((STEPS, FEATURES)), own, layers.Dense(2)]
    model = keras.Sequential(parts)
    if functional:
        model = keras.Model(parts[0], parts[2](own(parts[0])))
    report = checked(model)
    assert report.verdict is Verdict.PASS
    assert 0 < report.numerics.max_diff < 1e-5
    assert type(own) is not keras.Model
    assert type(own).__module__ == __name__
    np.testing.assert_allclose(
        verify.load(model).predict(features()),
        model.predict(features(), verbose=0),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("kind", "inside", "array"),
    [
        ("layer", "LSTM", "recurrent_kernel"),
        ("model", "GRU", "bias"),
        ("stack", "SimpleRNN", "kernel"),
    ],
)
def test_a_mistake_inside_such_a_class_is_named(kind, inside, array):
    import keras
    from keras import Input, layers

    own = classes()[kind](4)
    model = keras.Sequential([Input((STEPS, FEATURES)), own, layers.Dense(2)])
    checked(model)
    spec = verify.load(model).spec
    path, layer = next(x for x in spec.walk() if x[1].class_name == inside)
    changed = layer.with_weights(**{array: layer.weights[array] * 1.01})
    wrong = verify.Network(spec.with_layer(changed, path))
    report = verify.check(model, features(), network=wrong)
    assert report.verdict is Verdict.FAIL
    assert f"layer '{path}'" in str(report)
    assert array in str(report)


def test_a_class_is_itself_again_where_keras_cannot_write_the_config():
    import keras
    from keras import Input, layers

    own = classes()["layer"](4)
    model = keras.Sequential(
        [Input((STEPS, FEATURES)), own, layers.Dense(2, activation=lambda x: x)]
    )
    with pytest.raises(UnsupportedError):
        verify.load(model)
    assert type(own).__name__ == "Relu"


@pytest.mark.parametrize(
    "name", ["call", "build", "compute_mask", "get_initial_state", "__call__"]
)
def test_what_a_class_defines_anew_is_named(name):
    import keras
    from keras import Input, layers

    whole = getattr(layers.GRU, name)

    @functools.wraps(whole)  # Keras looks at its signature
    def method(self, *args, **kwargs):
        return whole(self, *args, **kwargs)

    own = type("Own", (layers.GRU,), {name: method})
    parts = [Input((STEPS, FEATURES)), own(3, name="own"), layers.Dense(2)]
    model = keras.Sequential(parts)
    has = rf"Layer 'own' \(Own\): its class has a {name} of its own"
    with pytest.raises(UnsupportedError, match=has):
        verify.load(model)


def test_layers_without_a_class_of_keras_above_them_are_refused():
    import keras
    from keras import Input, layers

    class Own(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    class Empty(keras.layers.Layer):
        pass

    class Inside(keras.Model):
        def __init__(self):
            super().__init__()
            self.gru = layers.GRU(2)

        def call(self, x):
            return self.gru(x)

    own = "a call of its own"
    for made, message in [(Own(), own), (Inside(), own), (Empty(), "a custom class")]:
        model = keras.Sequential([Input((STEPS, FEATURES)), made, layers.Dense(2)])
        with pytest.raises(UnsupportedError, match=f"{message}, which is Python code"):
            verify.load(model)
        if type(made) is not Empty:
            assert verify.load(model, partial=True).spec[made.name].unread
    with pytest.raises(UnsupportedError, match="Keras calls its layers one by one"):
        verify.load(model, partial=True)


@pytest.mark.parametrize("attribute", ["supports_masking", "call", ""])
def test_what_no_config_says_is_named(attribute):
    """Leave unnamed what the config has, though it was set after the first predict."""
    import keras
    from keras import Input, layers

    pool = layers.MaxPooling1D(2, 1, padding="same", name="pool")
    slope = layers.LeakyReLU(0.1)
    if attribute == "supports_masking":
        pool.supports_masking = True
    elif attribute == "call":
        whole = pool.call
        pool.call = lambda x: 2 * whole(x)
    model = keras.Sequential(
        [
            Input((STEPS,), dtype="int32"),
            layers.Embedding(9, FEATURES, mask_zero=attribute == "supports_masking"),
            *(pool, layers.GRU(3), slope),
        ]
    )
    weights = [w.shape for w in model.get_weights()]
    model.set_weights(random_weights(weights, 1))
    x = np.random.default_rng(0).integers(1, 9, (6, STEPS)).astype("int32")
    x[:, 3:] = 0
    model.predict(x, verbose=0)
    if not attribute:
        slope.negative_slope = 0.9
    report = verify.check(model, x)
    assert report.verdict is Verdict.FAIL
    assert "predict of a new copy of the model agrees" in report.reason
    if attribute:
        assert f"Layer 'pool' (MaxPooling1D) has a {attribute}" in report.reason
    else:
        assert "compiles it anew" in report.reason


def test_a_sequential_without_a_graph_is_read_but_for_its_own_class():
    """Keras knows no shape behind TimeDistributed of a class that tells none."""
    import keras
    from keras import Input, layers

    class Own(layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], 1))

        def call(self, x):
            return keras.ops.sum(x * keras.ops.tanh(x @ self.w), axis=1)

    model = keras.Sequential(
        [
            Input((STEPS, 4, FEATURES)),
            layers.TimeDistributed(Own(name="own"), name="each"),
            layers.LSTM(3, name="lstm"),
        ]
    )
    with pytest.raises(UnsupportedError, match="has a call of its own"):
        verify.load(model)
    model.predict(np.ones((2, STEPS, 4, FEATURES)), verbose=0)  # it is built so
    assert verify.load(model, partial=True).spec["each"].unread
    report = verify.check(model, partial=True)
    assert report.verdict is verify.Verdict.PARTIAL
    assert report.coverage.recurrent == ("lstm",)
