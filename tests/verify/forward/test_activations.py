"""Every activation against Keras in float64, and the bad ones refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.versions import keras_rules

from verify.forward.activations import ACTIVATIONS, ALIASES, HISTORICAL, resolve
from verify.model.versions import VersionRule
from verify.tolerance.compare import compare

X = np.linspace(-9, 9, 1200).reshape(-1, 3) + 0.003
SPARSEMAX = VersionRule.SPARSEMAX_OF_THE_PAPER
WHOLE_AXIS = {"softmax", "log_softmax", "sparsemax", "glu"}
KINKS = np.array([[-6.0, -3, -2.5], [-1, -0.5, 0], [0.5, 1, 2.5], [3, 6, 7]])


@pytest.mark.keras
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("x", [X, KINKS, X * 60], ids=["usual", "kinks", "large"])
def test_it_is_what_keras_computes_under_that_name(name, x):
    import keras

    if name == "glu":  # it halves the last axis
        x = x[:, :2]
    with np.errstate(over="ignore"):
        ours = resolve(name, paper=SPARSEMAX in keras_rules())(x)
    theirs = keras.activations.get(name)(keras.ops.convert_to_tensor(x))
    theirs = keras.ops.convert_to_numpy(theirs)
    scale = max(1.0, np.abs(theirs[np.isfinite(theirs)]).max())
    result = compare(ours, theirs, allowed=1e-10 * scale)
    assert result.matches, result


@pytest.mark.keras
@pytest.mark.parametrize("name", sorted(ACTIVATIONS.keys() - WHOLE_AXIS))
def test_what_is_no_number_becomes_what_keras_makes_of_it(name):
    """Make 0 of a shrink of NaN, for instance, on neither side of its threshold."""
    import keras

    x = np.array([[np.nan, np.inf, -np.inf, 0.3]])
    with np.errstate(all="ignore"):
        ours = resolve(name)(x)
    theirs = keras.activations.get(name)(keras.ops.convert_to_tensor(x))
    np.testing.assert_allclose(ours, keras.ops.convert_to_numpy(theirs), atol=1e-12)


@pytest.mark.keras
def test_every_activation_of_keras_is_here_or_known_to_be_refused():
    import keras

    theirs = {
        name
        for name in dir(keras.activations)
        if not name.startswith("_") and callable(getattr(keras.activations, name))
    }
    theirs -= {"get", "serialize", "deserialize"}
    refused = {"threshold"}  # it needs arguments
    assert theirs - refused - set(ALIASES) == set(ACTIVATIONS)


def test_every_two_activations_can_be_told_apart_on_the_test_points():
    same = set()
    everything = {**ACTIVATIONS, **HISTORICAL}
    del everything["glu"]  # its output has another shape
    with np.errstate(over="ignore"):
        values = {name: resolve(name)(X) for name in everything}
    for a in values:
        for b in values:
            if a < b and compare(values[a], values[b], allowed=1e-10).matches:
                same.add((a, b))
    assert same == {("celu", "elu")}  # one function at alpha = 1


@given(
    st.sampled_from(sorted(ACTIVATIONS.keys() - {"glu"})),
    arrays(np.float32, (2, 5), elements=st.floats(-20, 20, width=32)),
)
def test_the_dtype_is_kept_and_float32_is_close_to_float64(name, x):
    y = resolve(name)(x)
    assert y.dtype == np.float32
    assert y.shape == x.shape
    if name not in ("sparsemax", "hard_shrink", "soft_shrink"):  # jumps, or huge sums
        reference = resolve(name)(x.astype(np.float64))
        scale = max(1.0, float(np.abs(reference).max()))
        assert compare(y, reference, allowed=5e-6 * scale).matches
