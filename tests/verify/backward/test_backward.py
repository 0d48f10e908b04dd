"""Gradients in NumPy against Keras's automatic differentiation and against differences
of the forward pass; and mistakes in them that both comparisons catch."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nets import (
    BATCH,
    INPUTS,
    TIME,
    UNITS,
    VOCABULARY,
    features,
    ids,
    input_layer,
    keras_word_net,
    layer,
    lstm_spec,
    mutated,
    random_weights,
    spec,
)
from support.thoroughness import many

import verify
from verify import (
    DataError,
    LayerSpec,
    Network,
    UnsupportedError,
)
from verify.backward import (
    DIFFERENTIATED,
    Gradients,
    backprop,
    backprop_call,
    derivatives,
    supports,
)
from verify.backward import cells as backward_cells
from verify.backward.derivatives import DERIVATIVES, pullback
from verify.backward.layers import BackwardCall
from verify.forward.activations import erf, resolve
from verify.forward.evaluable import Inputs
from verify.forward.layers.base import Tensor
from verify.mistakes.catalogue import catalogue
from verify.tolerance.compare import PROOF_TOLERANCE, compare

DIFFERENCES = 1e-7
"""What central differences in float64 may be off by, of the greatest gradient."""

CELLS = [
    ("SimpleRNN", {}),
    ("LSTM", {}),
    ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False}),
]
cells = pytest.mark.parametrize(("kind", "more"), CELLS)
sigmoid = resolve("sigmoid")


def gradients_for(net: Network, x: Any, *front: int, seed: int = 7) -> list[np.ndarray]:
    """A random gradient for each output, with axes in front of the batch."""
    rng = np.random.default_rng(seed)
    outputs = net.flat(net.prepare(x), dtype="float64")
    return [rng.normal(size=(*front, *y.shape)) for y in outputs]


def flat(gradients: Gradients) -> dict[tuple[str, str], np.ndarray]:
    """Every gradient by name; inputs of whole numbers have none."""
    found = {("input", str(k)): d for k, d in enumerate(gradients.inputs)}
    for path, weights in gradients.weights.items():
        found |= {(path, name): d for name, d in weights.items()}
    return {key: d for key, d in found.items() if d is not None}


def differing(
    ours: dict[Any, np.ndarray], theirs: dict[Any, np.ndarray], allowed: float
) -> dict[Any, Any]:
    """The comparisons that fail, relative to the greatest gradient of all."""
    assert ours.keys() == theirs.keys()
    scale = max(float(np.abs(d).max()) for d in theirs.values())
    assert scale > 0
    results = {
        key: compare(ours[key] / scale, theirs[key] / scale, allowed=allowed)
        for key in ours
    }
    return {key: result for key, result in results.items() if not result.matches}


def by_differences(net: Network, x: Any, output_gradients: Any) -> dict[Any, float]:
    """Return, for each input and weight, the change of L along a random direction."""
    root, rng, eps = net.spec, np.random.default_rng(3), 1e-6
    given = net.prepare(x)

    def loss(net: Network, given: Any) -> float:
        outputs = net.flat(given, dtype="float64")
        return sum(
            float((d * y).sum()) for d, y in zip(output_gradients, outputs, strict=True)
        )

    def slope(moved: Callable[[float], tuple[Network, Any]]) -> float:
        return (loss(*moved(eps)) - loss(*moved(-eps))) / (2 * eps)

    found = {}
    for k, array in enumerate(given):
        if array.dtype.kind == "f":
            masked = array == 0.5  # a step that is not quite masked is not masked
            direction = np.where(masked, 0, rng.normal(size=array.shape))

            def shifted(by: float, k: int = k, d: Any = direction) -> Any:
                arrays = list(given)
                arrays[k] = arrays[k] + by * d
                return net, Inputs(arrays)

            found["input", str(k)] = (direction, slope(shifted))
    for path, part in root.walk():
        for name, value in part.weights.items():
            direction = rng.normal(size=value.shape)

            def weighted(
                by: float, path: str = path, name: str = name, d: Any = direction
            ) -> Any:
                part = root[path]
                new = part.with_weights(**{name: part.weights[name] + by * d})
                return Network(root.with_layer(new, path), net.floatx), given

            found[path, name] = (direction, slope(weighted))
    return found


def off_differences(net: Network, x: Any) -> tuple[Gradients, dict[Any, Any]]:
    """The gradients, and in which of them the forward pass differs."""
    output_gradients = gradients_for(net, x)
    ours = backprop(net, x, output_gradients)
    found = by_differences(net, x, output_gradients)
    along = {key: np.sum(d * found[key][0]) for key, d in flat(ours).items()}
    theirs = {key: np.asarray(slope) for key, (_, slope) in found.items()}
    return ours, differing(along, theirs, DIFFERENCES)


def recurrent(kind: str, **options: Any) -> Network:
    """Features -> recurrent -> Dense, in float64 from the inputs on."""
    return Network(
        spec(
            input_layer(None, None, INPUTS, dtype="float64"),
            layer("Masking", "masking", mask_value=0.5),
            layer(kind, "rnn", units=UNITS, **options),
            layer("Dense", "dense", units=2, activation="softmax"),
            dtype=np.float64,
        ),
        floatx="float64",
    )


def masked_features() -> np.ndarray:
    """Features masked right, left, in the middle, altogether and nowhere."""
    x = features().astype(np.float64)
    x[ids() == 0] = 0.5
    return x


# Without Keras


@cells
@pytest.mark.parametrize("sequences", [True, False])
def test_gradients_follow_differences_of_the_forward_pass(kind, more, sequences):
    net = recurrent(kind, return_sequences=sequences, go_backwards=sequences, **more)
    ours, problems = off_differences(net, masked_features())
    assert not problems, problems
    assert not ours.inputs[0][ids() == 0].any()  # a masked step has no influence
    assert ours.inputs[0][ids() != 0].all()


BY_NAME = [name for name in DERIVATIVES if name != "erf"]
"""Activations that have a derivative; erf is an operation and no activation."""


def test_the_derivative_of_erf():
    x, eps = np.linspace(-3, 3, 31), 1e-6
    slope = (erf(x + eps) - erf(x - eps)) / (2 * eps)
    np.testing.assert_allclose(DERIVATIVES["erf"](x, erf(x)), slope, atol=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        *BY_NAME,
        "softmax",
        "log_softmax",
        "softmax(axis=1)",
        "relu(negative_slope=0.1)",
        "relu(max_value=1.5; negative_slope=0.1; threshold=0.4)",
        "leaky_relu(negative_slope=0.3)",
        "elu(alpha=0.7)",
        "celu(alpha=0.7)",
        "gelu(approximate=true)",
        "squareplus(b=2)",
        "hard_shrink(threshold=0.2)",
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_the_derivative_of_every_activation(name, exact):
    rng = np.random.default_rng(1)
    x, dy = 3 * rng.normal(size=(5, 7, 3)), rng.normal(size=(2, 5, 7, 3))
    function, eps = resolve(name, exact=exact), 1e-6
    theirs = np.zeros_like(dy)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = eps
        slope = (function(x + step) - function(x - step)) / (2 * eps)
        theirs[(slice(None), *place)] = (dy * slope).sum(axis=(1, 2, 3))
    ours = pullback(name, exact=exact)(x, function(x), dy)
    assert not differing({name: ours}, {name: theirs}, DIFFERENCES)


def test_at_a_kink_the_derivative_is_tensorflows():
    zero = np.zeros(1)
    for name, slope in [("relu", 0), ("relu6", 0), ("leaky_relu", np.float32(0.2))]:
        assert pullback(name)(zero, zero, np.ones(1)) == slope
    assert pullback("hard_tanh")(np.ones(1), np.ones(1), np.ones(1)) == 1


@cells
def test_axes_in_front_of_the_batch_are_sweeps_of_their_own(kind, more):
    net, x = recurrent(kind, return_sequences=True, **more), masked_features()
    (d,) = gradients_for(net, x, 2, 3)
    together = backprop(net, x, [d])
    for place in np.ndindex(2, 3):
        alone = flat(backprop(net, x, [d[place]]))
        part = {key: array[place] for key, array in flat(together).items()}
        assert not differing(part, alone, 1e-14)


def test_embedded_vectors_have_gradients_where_ids_have_none():
    net = Network(lstm_spec(return_sequences=True))
    x = np.arange(BATCH * TIME).reshape(BATCH, TIME) % VOCABULARY
    gradients = backprop(net, x, gradients_for(net, x, 3))
    assert gradients.inputs == (None,)
    embedded = gradients.embedded["embedding"]
    assert embedded.shape == (3, BATCH, TIME, INPUTS)
    table = np.zeros((3, VOCABULARY, INPUTS))
    for place in np.ndindex(x.shape):
        table[:, x[place]] += embedded[(slice(None), *place)]
    theirs = {"e": gradients.weights["embedding"]["embeddings"]}
    assert not differing({"e": table}, theirs, 1e-14)
    assert not table[:, 0].any()  # masked


def test_without_weights_the_rest_is_the_same():
    net = Network(lstm_spec())
    d = gradients_for(net, ids())
    ours = backprop(net, ids(), d, weights=False)
    assert ours.weights == {}
    full = backprop(net, ids(), d).embedded["embedding"]
    assert np.array_equal(ours.embedded["embedding"], full)


def test_nan_at_a_masked_step_does_not_leak():
    net, x = recurrent("LSTM"), masked_features()
    net = Network(net.spec.with_layer(
        net.spec["masking"].with_options(mask_value=float("inf"))
    ), "float64")  # fmt: skip
    x[ids() == 0] = np.inf
    found = backprop(net, x, gradients_for(net, x))
    assert all(np.isfinite(d).all() for d in flat(found).values())


def lstm_from_equations(x, start, weights, change):
    """Every h of an LSTM; `change` may move any value of any step."""
    h, c = start
    shown = []
    for t in range(x.shape[1]):
        z = change(t, "z", x[:, t] @ weights[0] + h @ weights[1] + weights[2])
        z_i, z_f, z_c, z_o = np.split(z, 4, axis=1)
        i, f = change(t, "i", sigmoid(z_i)), change(t, "f", sigmoid(z_f))
        c_hat, o = change(t, "c_hat", np.tanh(z_c)), change(t, "o", sigmoid(z_o))
        c = change(t, "c", f * c + i * c_hat)
        h = change(t, "h", o * change(t, "activation(c)", np.tanh(c)))
        shown.append(h)
    return np.stack(shown, axis=1)


def rnn_from_equations(x, start, weights, change):
    """Every h of a SimpleRNN."""
    (h,) = start
    shown = []
    for t in range(x.shape[1]):
        z = change(t, "z", x[:, t] @ weights[0] + h @ weights[1] + weights[2])
        h = change(t, "h", np.tanh(z))
        shown.append(h)
    return np.stack(shown, axis=1)


def gru_from_equations(x, start, weights, change, reset_after):
    """Every h of a GRU."""
    kernel, recurrent_kernel, bias = weights
    b, b_h = bias if reset_after else (bias, 0 * bias)
    (h,) = start
    shown = []
    for t in range(x.shape[1]):
        a_z, a_r, a_h = np.split(change(t, "a", x[:, t] @ kernel + b), 3, axis=1)
        moved = change(t, "s", np.zeros((len(h), 3 * UNITS)))
        s_z, s_r, s_h = np.split(h @ recurrent_kernel + b_h + moved, 3, axis=1)
        z = change(t, "z", sigmoid(a_z + s_z))
        r = change(t, "r", sigmoid(a_r + s_r))
        if reset_after:
            inside = r * s_h
        else:
            u_h = recurrent_kernel[:, 2 * UNITS :]
            inside = (r * h) @ u_h + moved[:, 2 * UNITS :]
        h_hat = change(t, "h_hat", np.tanh(a_h + inside))
        h = change(t, "h", z * h + (1 - z) * h_hat)
        shown.append(h)
    return np.stack(shown, axis=1)


@cells
def test_a_visitor_gets_the_adjoint_of_every_value_of_every_step(kind, more):
    net, x = recurrent(kind, return_sequences=True, **more), features()
    net = Network(net.spec, "float64")
    visited: dict[tuple[str, int | None], Any] = {}
    backprop(
        net,
        x,
        gradients_for(net, x),
        visit=lambda path, step, d, v: visited.update({(path, step): (d, v)}),
    )
    (d_rnn,) = [visited["dense", None][0]["x"]]
    assert list(visited) == [("dense", None), *(("rnn", t) for t in range(TIME)[::-1])]
    weights = list(net.spec["rnn"].weights.values())
    start = (np.zeros((BATCH, UNITS)),) * (2 if kind == "LSTM" else 1)
    equations = {
        "LSTM": lstm_from_equations,
        "SimpleRNN": rnn_from_equations,
        "GRU": lambda *a: gru_from_equations(*a, more["reset_after"]),
    }[kind]

    def loss(change):
        return float((d_rnn * equations(x, start, weights, change)).sum())

    rng, eps = np.random.default_rng(5), 1e-6
    ours, theirs = {}, {}
    for t in range(TIME):
        adjoints, values = visited["rnn", t]
        skipped = {"x", "h_before", "c_before"}
        assert adjoints.keys() == values.keys()
        for name in adjoints.keys() - skipped:
            direction = rng.normal(size=adjoints[name].shape)

            def moved(by, t=t, name=name, direction=direction):
                return lambda step, key, value: (
                    value + by * direction if (step, key) == (t, name) else value
                )

            theirs[t, name] = (loss(moved(eps)) - loss(moved(-eps))) / (2 * eps)
            ours[t, name] = np.sum(direction * adjoints[name])
    assert len(ours) == TIME * {"SimpleRNN": 2, "LSTM": 8, "GRU": 6}[kind]
    theirs = {key: np.asarray(value) for key, value in theirs.items()}
    assert not differing(ours, theirs, DIFFERENCES)


def test_what_a_masked_step_discards_has_no_adjoint():
    net = recurrent("LSTM", return_sequences=True)
    steps = {}
    backprop(
        net,
        masked_features(),
        gradients_for(net, masked_features()),
        visit=lambda path, step, d, v: steps.update({step: (d, v)}),
    )
    for t in range(TIME):
        adjoints, values = steps[t]
        masked = ids()[:, t] == 0
        for name in adjoints:
            assert not adjoints[name][masked].any(), name
        for name in ("x", "i", "f", "c_hat", "o", "c", "h"):
            assert not values[name][masked].any(), name
        assert adjoints["h"][~masked].all()


def refused(*layers: dict[str, Any]) -> str:
    net = Network(spec(input_layer(None, 6, 3), *layers))
    reason = supports(net)
    with pytest.raises(UnsupportedError) as error:
        backprop(net, features(), [])
    assert str(error.value) == reason
    return reason


def test_an_operation_without_a_way_back_is_refused_by_name():
    steps = LayerSpec("x", "ops.Det", {})
    given = Tensor(np.ones((4, 3, 3), np.float32))
    net = Network(lstm_spec().with_layer(steps, "lstm"))
    with pytest.raises(
        UnsupportedError, match=r"'x'.*the function det has no derivative"
    ):
        backprop_call(net, "lstm", [given], {}, [np.ones(4)], visit=lambda *found: None)


def test_an_activation_without_a_derivative_is_refused_by_name():
    text = refused(layer("GRU", "gru", units=2, recurrent_activation="sparsemax"))
    assert text.startswith(
        "Layer 'gru' (GRU): gradients through recurrent_activation=sparsemax are not "
        "supported. Supported: linear, relu, "
    )


def test_layers_of_8_bits_are_refused_by_name_even_inside_others():
    inner = LayerSpec("dense", "Dense", {"quantization_mode": "int8"})
    outer = LayerSpec("steps", "TimeDistributed", {}, sublayers={"layer": inner})
    text = supports(Network(lstm_spec().with_layer(outer, "lstm")))
    assert text.startswith("Layer 'dense' (Dense): gradients through 8-bit weights")


def test_a_model_of_supported_layers_is_not_refused():
    assert supports(Network(lstm_spec())) == ""
    assert {"LSTM", "Dropout", "Add"} <= set(DIFFERENTIATED)


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ([], r"expected a gradient for each of 1 output\(s\). Received: 0"),
        ([np.ones((5, 3))], r"expected a gradient of shape \(..., 5, 2\). Received: "),
        ([np.ones(2)], r"expected a gradient of shape \(..., 5, 2\). Received: "),
    ],
)
def test_gradients_that_do_not_fit_are_refused(gradients, message):
    with pytest.raises(DataError, match=message):
        backprop(Network(lstm_spec()), ids(), gradients)


# Against Keras


def random_weights_of(model: Any, seed: int = 0, scale: float = 0.7) -> Any:
    """The model with weights that are random and not zero."""
    weights = random_weights([w.shape for w in model.get_weights()], seed)
    model.set_weights([scale * w for w in weights])
    return model


def both(model: Any, x: Any, net: Network | None = None) -> tuple[Any, Any]:
    """Every gradient in NumPy, and from Keras in float64."""
    from verify.keras_bridge import KerasModel
    from verify.keras_bridge.gradients import keras_gradients

    net = verify.load(model) if net is None else net
    given = net.prepare(x)
    gradients = gradients_for(net, given)
    twin = KerasModel(model, 32).twin("float64")
    inputs, weights = keras_gradients(twin, given, gradients)
    theirs = Gradients(tuple(inputs), {}, weights)
    return flat(backprop(net, given, gradients)), flat(theirs)


def assert_equal(model: Any, x: Any) -> None:
    problems = differing(*both(model, x), PROOF_TOLERANCE)
    assert not problems, problems


options = st.fixed_dictionaries(
    {
        "return_sequences": st.booleans(),
        "go_backwards": st.booleans(),
        "zero_output_for_mask": st.booleans(),
        "unroll": st.booleans(),
        "use_bias": st.booleans(),
        "units": st.integers(2, 5),
        "activation": st.sampled_from(
            ["tanh", "relu", "linear", "softsign", "softmax", "elu", "silu", "selu"]
        ),
    }
)
gates = st.sampled_from(
    ["sigmoid", "hard_sigmoid", "tanh", "relu6", "softmax", "softplus"]
)


@pytest.mark.keras
@settings(max_examples=many(60, 20))
@given(
    cell=st.sampled_from(CELLS),
    options=options,
    gate=gates,
    mask_zero=st.booleans(),
    time=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_every_recurrent_layer_with_any_options(
    cell, options, gate, mask_zero, time, seed
):
    kind, more = cell
    options = {**options, **more}
    if kind != "SimpleRNN":
        options["recurrent_activation"] = gate
    model = keras_word_net(kind, mask_zero=mask_zero, time=time, **options, scale=0.7)
    assert_equal(model, ids(seed, time=time))


LOOPS = [
    (sequences, backwards, zeroing, unroll)
    for sequences in (True, False)
    for backwards in (True, False)
    for zeroing in (True, False)
    for unroll in (True, False)
]


@pytest.mark.keras
@pytest.mark.parametrize("number", range(len(LOOPS)))
def test_masked_steps_follow_keras_in_every_combination(number):
    sequences, backwards, zeroing, unroll = LOOPS[number]
    kind, more = CELLS[number % 4 - number // 4]
    model = keras_word_net(
        kind,
        units=UNITS,
        return_sequences=sequences,
        go_backwards=backwards,
        zero_output_for_mask=zeroing,
        unroll=unroll,
        **more,
        scale=0.7,
    )
    assert_equal(model, ids())


@pytest.mark.keras
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_bidirectional_in_every_mode(merge_mode, sequences):
    import keras
    from keras import layers

    kind = {"concat": "LSTM", "sum": "GRU", "mul": "SimpleRNN"}.get(merge_mode, "GRU")
    words = keras.Input((TIME,), dtype="int32")
    x = layers.Embedding(VOCABULARY, INPUTS, mask_zero=True)(words)
    inner = getattr(layers, kind)(UNITS, return_sequences=sequences)
    y = layers.Bidirectional(inner, merge_mode=merge_mode, name="both")(x)
    assert_equal(random_weights_of(keras.Model(words, y)), ids())


@pytest.mark.keras
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("masked", [True, False])
def test_states_that_come_in_and_go_out(kind, masked):
    import keras
    from keras import layers

    count = 2 if kind == "LSTM" else 1
    words = keras.Input((TIME,), dtype="int32", name="words")
    starts = [keras.Input((UNITS,), name=f"start_{k}") for k in range(count)]
    x = layers.Embedding(VOCABULARY, INPUTS, mask_zero=True)(words)
    first = getattr(layers, kind)(UNITS, return_sequences=True, return_state=True)
    mask = {"mask": x._keras_mask} if masked else {}
    y, *states = first(x, initial_state=starts, **mask)
    second = getattr(layers, kind)(UNITS, return_state=True)
    model = keras.Model([words, *starts], second(y, initial_state=states))
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(BATCH, UNITS)).astype(np.float32) for _ in starts]
    assert_equal(random_weights_of(model), [ids(), *given])


@pytest.mark.keras
def test_states_of_both_directions():
    import keras
    from keras import layers

    x, start = keras.Input((TIME, INPUTS)), keras.Input((UNITS,))
    first = layers.Bidirectional(layers.LSTM(UNITS, return_state=True))
    _, *states = first(x)
    inner = layers.LSTM(UNITS, return_sequences=True, return_state=True)
    second = layers.Bidirectional(inner, merge_mode="ave")
    states[1] = layers.Add()([states[1], start])
    model = keras.Model([x, start], second(x, initial_state=states))
    start = np.random.default_rng(0).normal(size=(BATCH, UNITS)).astype(np.float32)
    assert_equal(random_weights_of(model), [features(), start])


@pytest.mark.keras
def test_a_graph_with_shared_layers_and_every_simple_layer():
    import keras
    from keras import layers

    words = keras.Input((TIME,), dtype="int32")
    given = keras.Input((TIME, INPUTS))
    table = layers.Embedding(VOCABULARY, INPUTS, mask_zero=True)
    shared = layers.Bidirectional(layers.GRU(UNITS, return_sequences=True))
    rows = layers.Dense(INPUTS, activation="silu")
    a = shared(layers.SpatialDropout1D(0.5)(table(words)))
    b = shared(layers.Masking(0.5)(given))
    both_ways = layers.Concatenate(axis=1)([a, layers.Identity()(b)])
    mixed = layers.Activation("softsign")(rows(layers.Dense(INPUTS)(both_ways)))
    scores = layers.Softmax(axis=1)(rows(given))
    last = layers.LSTM(INPUTS)(mixed)
    added = layers.Add()([last, table(words), scores])  # last stretched over time
    y = layers.Dense(2)(layers.GaussianNoise(0.1)(added))
    unused = layers.Dense(3)(given)
    model = keras.Model([words, given], [y, last, given, y])
    assert unused is not None
    x = masked_features().astype(np.float32)
    assert_equal(random_weights_of(model), [ids(1), x])


def nested_model() -> Any:
    """Models inside each other, each called twice, one of them with a dict."""
    import keras
    from keras import layers

    encoder = keras.Sequential(
        [
            keras.Input((TIME,), dtype="int32"),
            layers.Embedding(VOCABULARY, INPUTS, mask_zero=True),
            layers.LSTM(UNITS, return_sequences=True),
        ]
    )
    a, b = keras.Input((TIME, UNITS), name="a"), keras.Input((TIME, UNITS), name="b")
    rows = layers.Dense(UNITS, activation="tanh")
    last = layers.GRU(INPUTS)(rows(a))
    pair = keras.Model({"b": b, "a": a}, [layers.Dense(2)(rows(rows(b))), last])
    first, second = (keras.Input((TIME,), dtype="int32") for _ in range(2))
    outer = keras.Model(
        [first, second], pair({"a": encoder(first), "b": encoder(second)})
    )
    x, y = (keras.Input((TIME,), dtype="int32") for _ in range(2))
    return keras.Model([x, y], [*outer([x, y]), *outer([y, x])])


@pytest.mark.keras
def test_models_inside_a_model_that_are_called_twice():
    model = random_weights_of(nested_model())
    assert_equal(model, [ids(1), ids(2)])


@pytest.mark.keras
def test_a_call_of_a_model_inside_that_is_counted_wrongly_is_caught(monkeypatch):
    model = random_weights_of(nested_model())
    monkeypatch.setattr(BackwardCall, "number", 1)
    problems = differing(*both(model, [ids(1), ids(2)]), PROOF_TOLERANCE)
    assert problems


@pytest.mark.keras
def test_a_softmax_with_a_mask_and_over_several_axes():
    import keras
    from keras import layers

    given, mask = keras.Input((TIME,)), keras.Input((TIME,), dtype="bool")
    model = keras.Model([given, mask], layers.Softmax()(given, mask=mask))
    assert_equal(model, [features()[..., 0], ids() != 0])
    given = keras.Input((TIME, INPUTS))
    model = keras.Model(given, layers.Softmax(axis=(1, 2))(given))
    assert_equal(model, features())


@pytest.mark.keras
def test_every_activation_of_a_dense_layer():
    import keras
    from keras import layers

    x = keras.Input((TIME, INPUTS))
    names = [n for n in (*BY_NAME, "softmax", "log_softmax") if "keras2" not in n]
    ys = [layers.Dense(UNITS, activation=name, name=name)(x) for name in names]
    wide = layers.Dense(UNITS, activation=layers.LeakyReLU(0.1))(x)
    model = random_weights_of(keras.Model(x, [*ys, wide]), scale=2.0)
    assert_equal(model, features())


@pytest.mark.keras
def test_the_gradient_of_an_embedding_is_that_of_the_vectors_where_ids_differ():
    model = keras_word_net("LSTM", units=UNITS, time=2, scale=0.7)
    net, x = verify.load(model), np.array([[1, 2], [3, 0], [9, 5], [7, 8], [4, 10]])
    embedded_vectors = backprop(net, x, gradients_for(net, x)).embedded["words"]
    theirs = both(model, x)[1]["words", "embeddings"][x]
    assert not differing({"x": embedded_vectors}, {"x": theirs}, PROOF_TOLERANCE)


@pytest.mark.keras
def test_a_model_of_texts_has_the_gradients_of_its_weights():
    import keras
    from keras import layers

    words = keras.Input((3,), dtype="string")
    found = layers.StringLookup(vocabulary=["a", "b", "c"])(words)
    y = layers.LSTM(UNITS)(layers.Embedding(5, INPUTS)(found))
    model = random_weights_of(keras.Model(words, y))
    assert_equal(model, np.array([["a", "b", "x"], ["c", "c", ""]]))


@pytest.mark.keras
def test_a_stateful_layer_starts_at_zero_and_is_called_once():
    import keras
    from keras import layers

    x = keras.Input(batch_shape=(BATCH, TIME, INPUTS))
    lstm = layers.LSTM(UNITS, stateful=True, return_sequences=True, name="lstm")
    assert_equal(random_weights_of(keras.Model(x, lstm(x))), features())
    again = keras.Model(x, [lstm(x), lstm(x)])
    assert supports(verify.load(again)).startswith(
        "Layer 'lstm' (LSTM): gradients through a stateful layer that is called more"
    )


@pytest.mark.keras
def test_by_the_rules_of_jax_too_gradients_follow_differences():
    import keras
    from keras import layers

    x, start = keras.Input((TIME, INPUTS)), keras.Input((UNITS,))
    masked = layers.Masking(0.5)(x)
    first = layers.GRU(UNITS, return_sequences=True)
    second = layers.GRU(
        INPUTS, return_sequences=True, unroll=True, zero_output_for_mask=True
    )
    y = first(masked, initial_state=start, mask=masked._keras_mask)
    z = second(layers.Dense(INPUTS, activation="leaky_relu")(masked))
    model = random_weights_of(keras.Model([x, start], [y, z]))
    net = Network(verify.load(model).spec, floatx="float64")
    begun = np.random.default_rng(0).normal(size=(BATCH, UNITS))
    given = [masked_features(), begun.astype(np.float32).astype(np.float64)]
    jax = net.on("jax")
    ours, problems = off_differences(jax, given)
    assert not problems, problems
    there = backprop(net, given, gradients_for(net, given))
    assert differing(flat(ours), flat(there), DIFFERENCES)  # so the rules do count here


@pytest.mark.keras
def test_keras_gradients_are_refused_where_they_do_not_fit(monkeypatch):
    from verify.keras_bridge import KerasModel, gradients

    live = keras_word_net("LSTM", units=UNITS, scale=0.7)
    model = KerasModel(live, 32).twin("float64")
    given = verify.load(model.model).prepare(ids())
    with pytest.raises(DataError, match=r"of the shapes \[\(5, 2\)\]. Received: \[\]"):
        gradients.keras_gradients(model, given, [])
    monkeypatch.setattr(gradients, "backend", lambda: "jax")
    with pytest.raises(UnsupportedError, match=r"on tensorflow.* Received: jax"):
        gradients.keras_gradients(model, given, [])


# Mistakes that must show


def without(name: str) -> Callable[[Any], Any]:
    """The adjoints of a cell with one of them lost."""
    return lambda d: {**d, name: 0 * d[name]}


def gates_swapped(d: Any) -> Any:
    """Blocks i and f of z the other way round."""
    i, f, c, o = np.split(d["z"], 4, axis=-1)
    return {**d, "z": np.concatenate([f, i, c, o], axis=-1)}


@pytest.mark.keras
@pytest.mark.parametrize(
    "mistake", [without("c_before"), without("h_before"), gates_swapped]
)
def test_a_mistake_on_the_way_back_is_caught(monkeypatch, mistake):
    model, x = keras_word_net("LSTM", units=UNITS, scale=0.7), ids()
    right = backward_cells.LSTMBack.adjoints
    ours, theirs = both(model, x)
    assert not differing(ours, theirs, PROOF_TOLERANCE)
    monkeypatch.setattr(
        backward_cells.LSTMBack,
        "adjoints",
        lambda self, v, d_states: mistake(right(self, v, d_states)),
    )
    net = verify.load(model)
    ours = flat(backprop(net, x, gradients_for(net, x)))
    problems = differing(ours, theirs, PROOF_TOLERANCE)
    assert ("recurrent", "kernel") in problems
    assert ("dense", "kernel") not in problems


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_wrong_derivative_is_caught_by_differences(monkeypatch, kind):
    wrong = {**DERIVATIVES, "sigmoid": lambda x, y: 1 - y * y}
    monkeypatch.setattr(derivatives, "DERIVATIVES", MappingProxyType(wrong))
    _, problems = off_differences(recurrent(kind), masked_features())
    assert ("rnn", "kernel") in problems
    assert ("dense", "kernel") not in problems


@pytest.mark.keras
def test_a_gate_read_in_the_wrong_place_is_caught():
    model = keras_word_net("LSTM", units=UNITS, scale=0.7)
    net = verify.load(model)
    name = next(m.name for m in catalogue(net.spec) if "i,f,o,c" in m.name)
    problems = differing(*both(model, ids(), mutated(net.spec, name)), PROOF_TOLERANCE)
    assert ("recurrent", "kernel") in problems
