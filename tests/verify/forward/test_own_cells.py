"""Cells of users inside RNN: read, computed step by step, checked against Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from layer_cases.check import randomise
from support.nets import INPUTS, TIME, features

import verify
from verify import DataError, UnsupportedError, Verdict
from verify.forward.layers.base import positive

pytestmark = pytest.mark.keras

UNITS_ALONE = {"units": verify.Option(positive)}


@pytest.fixture(autouse=True)
def forget():
    with verify.registering():
        yield


def keras_cells():
    """Return a cell of one state, and one of two of different sizes."""
    import keras
    from keras import layers, ops

    @keras.saving.register_keras_serializable("cells")
    class Minimal(layers.Layer):
        """One gate that forgets and updates."""

        def __init__(self, units, **options):
            super().__init__(**options)
            self.units = self.state_size = units

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 2 * self.units))
            self.recurrent = self.add_weight(shape=(self.units, 2 * self.units))

        def call(self, inputs, states):
            (h,) = states
            a, b = ops.split(inputs @ self.kernel, 2, axis=-1)
            u, v = ops.split(self.recurrent, 2, axis=-1)
            f = ops.sigmoid(a + h @ u)
            new = (1 - f) * h + f * ops.tanh(b + (f * h) @ v)
            return new, [new]

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    @keras.saving.register_keras_serializable("cells")
    class Projected(layers.Layer):
        """A cell with a layer inside it and a state that is wider than its output."""

        def __init__(self, units, **options):
            super().__init__(**options)
            self.units = self.output_size = units
            self.state_size = [units, 2 * units]
            self.inner = layers.Dense(2 * units, dtype=self.dtype_policy)
            self.last = layers.Dense(units, "tanh", dtype=self.dtype_policy)

        def build(self, shape):
            self.inner.build((None, shape[-1] + self.units))
            self.last.build((None, 2 * self.units))

        def call(self, inputs, states):
            h, c = states
            c = 0.5 * c + self.inner(ops.concatenate([inputs, h], axis=-1))
            h = self.last(c)
            return h, [h, c]

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return Minimal, Projected


def registered(wrong=0.0):
    """Register both in NumPy; `wrong` is added to the input of each step."""
    minimal, projected = keras_cells()

    @verify.register("cells>Minimal", keras_class=minimal)
    class Minimal(verify.LayerType):
        options: ClassVar[Mapping[str, Any]] = UNITS_ALONE

        def weight_shapes(self, options):
            units = options["units"]
            return {"kernel": (None, 2 * units), "recurrent": (units, 2 * units)}

        def call(self, run, layer, inputs, states):
            (h,), (kernel, recurrent) = states, layer.weights.values()
            a, b = np.split((inputs + wrong) @ kernel, 2, axis=-1)
            u, v = np.split(recurrent, 2, axis=-1)
            f = 1 / (1 + np.exp(-(a + h @ u)))
            new = (1 - f) * h + f * np.tanh(b + (f * h) @ v)
            return new, [new]

    @verify.register("cells>Projected", keras_class=projected)
    class Projected(verify.LayerType):
        options: ClassVar[Mapping[str, Any]] = UNITS_ALONE
        state_names = ("h", "c")

        def children(self, config):
            units = config["units"]
            return {"inner": dense(2 * units), "last": dense(units, "tanh")}

        def initial(self, layer, batch):
            units = layer.options["units"]
            return [np.zeros((batch, units)), np.zeros((batch, 2 * units))]

        def call(self, run, layer, inputs, states):
            h, c = states
            joined = np.concatenate([inputs + wrong, h], axis=-1)
            inside = layer.sublayers
            c = 0.5 * c + run.within(inside["inner"], joined, at="inner")
            h = run.within(inside["last"], c, at="last")
            return h, h, c

    return minimal, projected


def dense(units, activation="linear"):
    config = {"name": f"dense_{units}", "units": units, "activation": activation}
    return {"module": "keras.layers", "class_name": "Dense", "config": config}


def around(cell, how):
    """Return a model with the cell in a loop of some kind."""
    import keras
    from keras import layers

    rnn, options = layers.RNN, {}
    if how == "stacked":
        cell = [layers.LSTMCell(4), cell, layers.GRUCell(2)]
    elif how == "stateful":
        options = {"stateful": True, "return_sequences": True}
    elif how == "both ways":
        options = {"return_sequences": True}
        rnn = lambda cell, **options: layers.Bidirectional(layers.RNN(cell, **options))  # noqa: E731
    elif how == "backwards":
        options = {"go_backwards": True}
    batch = {"batch_size": 16} if how == "stateful" else {}
    x = keras.Input((TIME, INPUTS), **batch)
    y = layers.Masking()(x) if how != "unmasked" else x
    y = rnn(cell, name="loop", **options)(y)
    model = keras.Model(x, layers.Dense(2, name="dense")(y))
    randomise(model)
    return model


HOW = ["unmasked", "masked", "stacked", "stateful", "both ways", "backwards"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("which", [0, 1])
def test_a_registered_cell_is_computed_step_by_step(which, how, tmp_path):
    cell = registered()[which](3, name="own")
    model = around(cell, how)
    model.save(tmp_path / "m.keras")
    x = np.concatenate([features()] * 8)[:16]
    x[1, 3:] = x[2, :2] = 0
    for what in (model, tmp_path / "m.keras"):
        report = verify.check(what, x)
        assert report.verdict is Verdict.PASS, report.to_text()
        ours = verify.load(what).predict(x)
    if how != "stateful":
        np.testing.assert_allclose(ours, model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("which", [0, 1])
def test_a_cell_that_computes_something_else_fails(which, tmp_path):
    model = around(registered(wrong=0.01)[which](3), "masked")
    report = verify.check(model, features())
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == "loop"


@pytest.mark.parametrize("which", [0, 1])
def test_other_commands_take_a_model_with_a_cell_of_ones_own(which, tmp_path):
    model = around(registered()[which](3, name="own"), "masked")
    net = verify.load(model)
    assert "a loop around Layer 'own'" in verify.describe(net)
    trace = net.trace(features(), dtype="float64")
    assert trace["loop"].values["h"].shape == (len(features()), TIME, 3)
    found = verify.selftest(net, features())
    assert len(found.survivors) < len(found.results) / 4
    verify.write_vectors(net, tmp_path / "vectors")
    document = (tmp_path / "vectors" / "vectors.json").read_text()
    assert "state of a registered cell" in document
    with pytest.raises(UnsupportedError, match="'own'"):
        verify.convert(net, "onnx", tmp_path / "m.onnx")


def test_a_cell_that_breaks_its_promises_is_refused():
    minimal, _ = keras_cells()
    model = around(minimal(3, name="own"), "unmasked")
    states = {"call": lambda self, run, layer, inputs, states: (inputs[:, :3], [])}
    options = {"options": {"units": verify.Option(positive)}}
    shapes = {"weight_shapes": lambda self, o: {"a": (None, 6), "b": (3, 6)}}

    def load(**members):
        with verify.registering():
            kind = type("Minimal", (verify.LayerType,), members)
            verify.register("cells>Minimal")(kind)
            return verify.load(model)

    with pytest.raises(verify.VerifyError, match=r"0 states after .* expected 1: h"):
        load(**states, **options, **shapes)
    inert = {"inert": frozenset({"units"})}
    with pytest.raises(UnsupportedError, match="expected an option 'units', or a me"):
        load(**states, **inert, **shapes)
    no_states = {"call": lambda self, run, layer, inputs: inputs}
    with pytest.raises(UnsupportedError, match="registered class whose call takes st"):
        load(**no_states, **options, **shapes)


def test_a_subclass_of_a_cell_of_keras_needs_no_more_than_its_call():
    import keras
    from keras import layers, ops

    @keras.saving.register_keras_serializable("cells")
    class Doubled(layers.GRUCell):
        def call(self, inputs, states, training=False):
            return super().call(ops.multiply(inputs, 2), states, training)

    @verify.register("cells>Doubled", keras_class=Doubled)
    class Ours(verify.layer_type("GRUCell")):
        def call(self, run, layer, inputs, states):
            return super().call(run, layer, 2 * inputs, states)

    model = around(Doubled(3, name="own"), "masked")
    assert verify.check(model, features()).verdict is Verdict.PASS
    assert "h = z * h" not in verify.describe(verify.load(model))


def test_the_arguments_of_a_layer_are_those_of_its_call():
    taken = {}
    for name, call in {
        "a": lambda self, run, layer, x, mask=None: x,
        "b": lambda self, run, layer, *inputs: inputs,
        "c": lambda self, run, layer, query, value, training=None: query,
    }.items():
        verify.register(name)(type(name, (verify.LayerType,), {"call": call}))
        taken[name] = verify.forward.layers.REGISTRY[name].arguments
    assert taken == {"a": ("x", "mask"), "b": ("inputs",), "c": ("query", "value")}
    kind = type("d", (verify.LayerType,), {"call": lambda self, run, layer: 0})
    with pytest.raises(DataError, match="expected a method call"):
        verify.register("d")(kind)
