"""Every layer and option against live Keras in float64 at 1e-10, with random weights;
and every mistake of the catalogue shown to be caught by the same comparison."""

from __future__ import annotations

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
    ids,
    keras_sequential,
    keras_word_net,
)
from support.thoroughness import many
from support.versions import loop_ends_mask

import verify
from verify.mistakes.catalogue import catalogue
from verify.tolerance.compare import PROOF_TOLERANCE, compare

pytestmark = pytest.mark.keras

RECURRENT = ("SimpleRNN", "LSTM", "GRU")


def keras_outputs(model: Any, x: np.ndarray) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(model(x))


def assert_equal(model: Any, x: np.ndarray) -> None:
    ours = verify.load(model).predict(x, dtype="float64")
    result = compare(ours, keras_outputs(model, x), allowed=PROOF_TOLERANCE)
    assert result.matches, result


options = st.fixed_dictionaries(
    {
        "return_sequences": st.booleans(),
        "go_backwards": st.booleans(),
        "zero_output_for_mask": st.booleans(),
        "unroll": st.booleans(),
        "use_bias": st.booleans(),
        "units": st.integers(1, 5),
        "activation": st.sampled_from(
            ["tanh", "relu", "linear", "softsign", "softmax", "elu", None]
        ),
        "dropout": st.sampled_from([0.0, 0.3]),
        "recurrent_dropout": st.sampled_from([0.0, 0.3]),
    }
)
gates = st.sampled_from(["sigmoid", "hard_sigmoid", "tanh", "relu6"])


@settings(max_examples=many(120, 25))
@given(
    kind=st.sampled_from(RECURRENT),
    options=options,
    gate=gates,
    reset_after=st.booleans(),
    mask_zero=st.booleans(),
    time=st.integers(1, 7),
    seed=st.integers(0, 2**16),
)
def test_every_recurrent_layer_with_any_options(
    kind, options, gate, reset_after, mask_zero, time, seed
):
    options = dict(options)
    if options["activation"] == "softmax":
        options["units"] += 1  # of one unit it is always 1, and Keras warns of it
    if kind != "SimpleRNN":
        options["recurrent_activation"] = gate
    if kind == "GRU":
        options["reset_after"] = reset_after
    model = keras_word_net(
        kind, mask_zero=mask_zero, time=time, **options, dtype="float64"
    )
    assert_equal(model, ids(seed, time=time))


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
@pytest.mark.parametrize("zeroing", [True, False])
@pytest.mark.parametrize("unroll", [True, False])
def test_masked_steps_follow_keras_in_every_combination(
    kind, sequences, backwards, zeroing, unroll
):
    model = keras_word_net(
        kind,
        units=UNITS,
        return_sequences=sequences,
        go_backwards=backwards,
        zero_output_for_mask=zeroing,
        unroll=unroll,
        dtype="float64",
    )
    assert_equal(model, ids())


def test_a_mask_reaches_a_second_recurrent_layer_through_dropout_and_activation():
    from keras import Input, layers

    model = keras_sequential(
        [
            Input((None,), dtype="int32"),
            layers.Embedding(VOCABULARY, INPUTS, mask_zero=True, dtype="float64"),
            layers.Dropout(0.5, dtype="float64"),
            layers.GRU(UNITS, return_sequences=True, dtype="float64"),
            layers.Activation("softsign", dtype="float64"),
            layers.Dense(3, activation="gelu", dtype="float64"),
            layers.LSTM(2, go_backwards=True, dtype="float64"),
        ]
    )
    x = ids()
    assert_equal(model, x)
    masks = {k: t.mask for k, t in verify.load(model).trace(x).items()}
    embedding, dropout, gru, *others = masks.values()
    assert embedding is None
    assert dropout is not None
    assert gru is not None
    for mask in others:  # from Keras 3.16 on the GRU ends it
        assert (mask is None) == loop_ends_mask()


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_works_on_the_last_axis_of_any_rank(use_bias):
    from keras import Input, layers

    model = keras_sequential(
        [
            Input((4, 3)),
            layers.Dense(5, activation="tanh", use_bias=use_bias, dtype="float64"),
            layers.Dense(2, dtype="float64"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(BATCH, 4, 3)).astype(np.float32)
    assert_equal(model, x)


def test_ids_that_arrive_as_floats_are_cut_after_the_mask_is_taken():
    from keras import Input, layers

    model = keras_sequential(
        [
            Input((4,)),
            layers.Embedding(VOCABULARY, INPUTS, mask_zero=True, dtype="float64"),
            layers.LSTM(UNITS, dtype="float64"),
        ]
    )
    x = np.array([[0.4, 3.9, 0, 1], [2.5, 0.0, 7, 0.9]], dtype=np.float32)
    assert_equal(model, x)


def test_negative_ids_count_from_the_end_as_in_keras():
    model = keras_word_net("LSTM", units=UNITS, mask_zero=False, dtype="float64")
    x = ids()
    x[0, 0] = -1
    x[1, 2] = -VOCABULARY
    assert_equal(model, x)


def mutant_cases() -> list[Any]:
    cases = []
    for kind, more in [
        ("SimpleRNN", {}),
        ("LSTM", {}),
        ("GRU", {"reset_after": True}),
        ("GRU", {"reset_after": False}),
    ]:
        label = f"{kind}{''.join(f'-{v}' for v in more.values())}"
        cases.append(pytest.param(kind, more, id=label))
    return cases


@pytest.mark.parametrize(("kind", "more"), mutant_cases())
def test_every_mistake_of_the_catalogue_fails_the_comparison_with_keras(kind, more):
    model = keras_word_net(
        kind, units=INPUTS, **more, dtype="float64"
    )  # square kernels: transposes apply
    spec, x = verify.load(model).spec, ids(batch=48)  # more than one batch
    theirs = keras_outputs(model, x)
    mutants = list(catalogue(spec))
    families = {m.name.split()[0] for m in mutants}
    assert len(mutants) > 10
    assert {"bias", "kernel", "mask", "time", "recurrent"} <= families
    for mutant in mutants:
        outputs = mutant.evaluate(x)[0]
        result = compare(outputs, theirs, allowed=PROOF_TOLERANCE)
        assert not result.matches, mutant.name
        assert result.max_diff > 1e-9, mutant.name


@pytest.mark.parametrize("kind", RECURRENT)
def test_predict_in_float32_is_close_to_keras_in_float32(kind):
    from keras import Input, layers

    model = keras_sequential(
        [
            Input((TIME,), dtype="int32"),
            layers.Embedding(VOCABULARY, INPUTS),
            getattr(layers, kind)(UNITS),
        ]
    )
    x = ids()
    ours = verify.load(model).predict(x)
    theirs = model.predict(x, verbose=0)
    assert ours.dtype == theirs.dtype == np.float32
    assert compare(ours, theirs, allowed=2e-6).matches


def test_the_shape_of_every_output_is_foretold():
    model = keras_word_net("LSTM", units=UNITS, return_sequences=True, dtype="float64")
    net = verify.load(model)
    for name, layer in net.trace(ids()).items():
        assert layer.output.shape[1:] == net.spec[name].output_shape[1:]
    assert net.spec.output_shape == model.output_shape
