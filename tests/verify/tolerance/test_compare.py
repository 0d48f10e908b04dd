"""The one comparison routine: what it must never let pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from verify.tolerance.compare import Verdict, all_finite, compare
from verify.tolerance.noise_floor import Tolerance, float64_tolerance, noise_floor

NAN, INF = float("nan"), float("inf")


def test_nan_equals_nothing_not_even_nan():
    result = compare(np.array([1.0, NAN]), np.array([1.0, NAN]), allowed=1.0)
    assert not result.matches
    assert np.isnan(result.max_diff)
    assert result.first == (1,)


@pytest.mark.parametrize(("a", "b"), [(NAN, 1.0), (1.0, NAN), (INF, 1.0), (INF, -INF)])
def test_what_is_not_finite_on_one_side_is_a_mismatch(a, b):
    assert not compare(np.array([a]), np.array([b]), allowed=1e300).matches


def test_infinity_equals_itself():
    assert compare(np.array([INF, -INF]), np.array([INF, -INF]), allowed=0).matches


def test_what_is_nan_or_the_same_infinity_on_both_sides_is_taken_out():
    ours = [np.array([1.0, NAN, INF, -INF, NAN, INF, NAN])]
    theirs = [np.array([2.0, NAN, INF, INF, 3.0, NAN, NAN], dtype=np.float32)]
    (a,), (b,) = all_finite(ours, theirs)
    assert np.array_equal(a, [1, 0, 0, -INF, NAN, 0, 0], equal_nan=True)
    assert np.array_equal(b, [2, 0, 0, INF, 3, 0, 0], equal_nan=True)
    (a,), (b,) = all_finite(ours, [np.array([NAN])])
    assert a is ours[0]
    assert np.isnan(b).all()


@pytest.mark.parametrize("shape", [(), (1,), (2, 1), (1, 3), (3, 2)])
def test_nothing_broadcasts(shape):
    result = compare(np.zeros((2, 3)), np.zeros(shape), allowed=1)
    assert not result.matches
    assert "shapes differ" in result.problem


def test_the_first_mismatch_is_the_earliest_step_and_the_worst_is_the_greatest():
    expected = np.zeros((3, 5, 4))
    actual = expected.copy()
    actual[2, 1, 3] = 0.1
    actual[0, 4, 0] = 7.0
    result = compare(actual, expected, allowed=1e-3)
    assert result.first == (2, 1, 3)
    assert result.first_step == 1
    assert result.worst == (0, 4, 0)
    assert (result.mismatched, result.total) == (2, 60)
    assert (result.actual, result.expected) == (7.0, 0.0)


def test_the_units_that_differ_are_those_of_the_first_step_that_does():
    expected = np.zeros((3, 5, 4))
    actual = expected.copy()
    actual[:, 2, 1] = actual[0, 2, 3] = 0.1
    actual[:, 3:] = 0.1  # it has spread
    assert compare(actual, expected, allowed=1e-3).units == (1, 3)
    assert compare(actual[:, 2], expected[:, 2], allowed=1e-3).units == (1, 3)
    assert compare(actual, actual, allowed=1e-3).units == ()


def test_the_share_is_of_what_is_allowed_in_that_place():
    expected, limit = np.zeros((2, 3)), np.array([1.0, 10.0, 100.0])
    actual = np.array([[0.5, 0.0, 20.0], [0.0, 6.0, 0.0]])
    result = compare(actual, expected, allowed=limit)
    assert result.matches
    assert (result.error_ratio, result.max_diff) == (0.6, 20.0)
    each = np.array([[1.0, 1.0, 10.0], [1.0, 12.0, 1.0]])
    result = compare(actual, expected, allowed=each)
    assert not result.matches
    assert result.error_ratio == 2.0
    assert result.allowed == 10.0


@given(
    arrays(np.float64, (4, 3), elements=st.floats(-1e3, 1e3)),
    arrays(np.float64, (4, 3), elements=st.floats(-1e3, 1e3)),
    st.floats(0, 10),
)
def test_it_matches_exactly_when_every_difference_is_allowed(a, b, allowed):
    assert compare(a, b, allowed=allowed).matches == bool(
        (np.abs(a - b) <= allowed).all()
    )


def test_the_allowance_is_ten_times_the_noise_and_a_little_of_the_scale():
    float64 = np.array([1.0, -4.0])
    float32 = np.array([1.0 + 3e-7, -4.0])
    floor = noise_floor(float64, float32, float64)
    assert floor.noise == pytest.approx(3e-7)
    assert floor.atol == pytest.approx(10 * 3e-7 + 5e-7 * 4)
    assert floor.decides


def test_a_unit_of_large_values_does_not_pay_for_one_of_small_values():
    float64 = np.array([[5e5, 0.5], [-3e5, 0.4]])
    float32 = float64 + np.array([[0.01, 1e-8], [0.02, -1e-8]])
    floor = noise_floor(float64, float32)
    assert floor.atol[1] < 1e-6
    wrong = float64 + np.array([[0.0, 0.0], [0.0, 1e-3]])
    result = compare(wrong, float64, allowed=floor.atol)
    assert (result.matches, result.first, result.worst) == (False, (1, 1), (1, 1))
    assert result.allowed == floor.atol[1]
    right = float64 + np.array([[0.05, 0.0], [0.0, 1e-8]])
    assert compare(right, float64, allowed=floor.atol).matches


def test_an_allowance_that_is_large_against_the_outputs_decides_nothing():
    def made(value, scale):
        return Tolerance(np.array(value), np.zeros(len(scale)), np.array(scale))

    assert not made([0.02], [1.0]).decides
    assert made([0.009], [1.0]).decides
    assert not made([0.0, 0.02], [5.0, 1.0]).decides
    assert made([1e-9, 1e-6], [1e-9, 1.0]).decides  # a class that softmax rules out
    assert not noise_floor(np.array([1.0]), np.array([NAN])).decides
    assert made([0.0], [0.0]).decides


@pytest.mark.parametrize("coarse", [{"unit": 2.0**-11}, {"quantised": True}])
def test_coarse_numbers_beside_a_proof_are_held_against_the_largest_unit(coarse):
    float64 = np.array([[1.0, 0.01]])
    near = float64 + 0.002  # noise; ten times that is allowed
    assert noise_floor(float64, near, proven=True, **coarse).decides
    assert not noise_floor(float64, near, **coarse).decides
    assert not noise_floor(float64, near, proven=True).decides
    far = float64 + 0.04
    assert not noise_floor(float64, far, proven=True, **coarse).decides


def test_float64_is_allowed_1e_10_and_more_only_for_large_outputs():
    assert float64_tolerance(np.array([[0.5, 1e4]])).atol == pytest.approx(
        [1e-10, 1e-6]
    )


def test_exit_codes_are_the_documented_ones():
    assert {v.value: v.exit_code for v in Verdict} == {
        "PASS": 0,
        "FAIL": 1,
        "INCONCLUSIVE": 3,
        "PARTIAL": 3,
    }


def test_the_share_is_that_of_the_element_nearest_to_its_limit():
    ours, theirs = np.zeros((1, 3)), np.array([[1e-3, -3e-6, 0.0]])
    found = compare(ours, theirs, allowed=np.array([[1e-1, 4e-6, 1e-9]]))
    assert found.matches
    assert (found.max_diff, found.allowed) == (1e-3, 1e-1)
    assert found.error_ratio == pytest.approx(0.75)
    assert found.nearest == (3e-6, 4e-6)
    wrong = compare(ours, theirs, allowed=np.array([[1e-1, 1e-6, 1e-9]]))
    assert wrong.nearest == (3e-6, 1e-6)
    assert wrong.error_ratio == pytest.approx(3)
    with_nan = compare(ours, np.array([[1e-3, np.nan, 0.0]]), allowed=1e-6)
    assert np.isnan(with_nan.nearest[0])
