"""Number formats are read strictly, and round as they say."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import ports
from verify import DataError
from verify.tolerance.formats import NumberFormat

FORMATS = ("float16", "bfloat16", "fixed<16,6>", "fixed<8,3>", "fixed<12,12>")
finite = st.floats(-8.0, 7.9, allow_subnormal=False)


@pytest.mark.parametrize(
    ("name", "step", "greatest"),
    [
        ("fixed<16,6>", 2.0**-10, 32.0), ("fixed<8,8>", 1.0, 128.0),
        ("fixed<18,1>", 2.0**-17, 1.0), ("fixed<64,32>", 2.0**-32, 2.0**31),
    ],
)  # fmt: skip
def test_a_fixed_point_format_has_bits_and_whole_bits(name, step, greatest):
    found = NumberFormat.read(name)
    assert (found.step, found.greatest, found.unit) == (step, greatest, 0.0)
    assert found.truncates
    assert str(found) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "float32", "Float16", "fp16", "half", "int16", "int8 ", "fixed",
        "fixed<16>", "fixed<6,16>", "fixed<16,0>", "fixed<65,6>", "fixed<16,-6>",
        "fixed<16, 6>",
        "ap_fixed<16,6>", "fixed<16,6>\n", "fixed<\u0661,1>", None, 16, "\x1b[31m",
    ],
)  # fmt: skip
def test_any_other_name_is_refused_in_one_line(name):
    with pytest.raises(DataError, match=r"^precision: expected float16") as refused:
        NumberFormat.read(name)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["fixed(16,6)", "fixed<16, 6>", "ap_fixed<16,6>", "fixed 16 6", "fixed16,6"]
)
def test_other_spellings_of_fixed_are_understood_and_corrected(name):
    with pytest.raises(DataError, match=r"Did you mean fixed<16,6>\? Received: "):
        NumberFormat.read(name)


@pytest.mark.parametrize("name", ["fixed<6,16>", "fixed<16,-6>", "fixed<65,6>"])
def test_no_format_is_proposed_that_there_is_not(name):
    with pytest.raises(DataError) as refused:
        NumberFormat.read(name)
    assert "Did you mean fixed" not in str(refused.value)


@pytest.mark.parametrize("name", FORMATS)
@given(st.lists(finite, min_size=1, max_size=20))
def test_no_number_is_rounded_by_more_than_the_error_and_none_twice(name, values):
    kind, x = NumberFormat.read(name), np.array(values)
    rounded = kind.rounded(x)
    assert (np.abs(rounded - x) <= kind.error(x)).all()
    np.testing.assert_array_equal(kind.rounded(rounded), rounded)
    assert not kind.weight_error("kernel", rounded).any()


def test_numbers_are_rounded_as_the_devices_do():
    x = np.random.default_rng(0).normal(size=1000)
    x = np.concatenate([x, x * 1e-6, 30 * np.tanh(x)])
    for name, right in (
        ("float16", ports.float16),
        ("bfloat16", ports.bfloat16),
        ("fixed<16,6>", ports.fixed(16, 6)),
    ):
        np.testing.assert_array_equal(NumberFormat.read(name).rounded(x), right(x))


@pytest.mark.parametrize(
    ("name", "dtype"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)]
)
def test_the_error_of_a_float_is_reached(name, dtype):
    """Halfway between two numbers, the normal and the subnormal ones."""
    kind, info = NumberFormat.read(name), ml_dtypes.finfo(dtype)
    halfway = np.array([1.0 + float(info.eps) / 2, float(info.smallest_subnormal) / 2])
    found = np.abs(kind.rounded(halfway) - halfway) / kind.error(halfway)
    assert (found > 0.99).all()
    assert kind.greatest == float(info.max)


def test_int8_has_a_step_for_each_weight_and_none_for_a_bias():
    kind = NumberFormat.read("int8")
    w = np.array([[0.5, -2.54], [1.0, 0.0]])
    step = kind.weight_step("kernel", w)
    assert step == pytest.approx(0.01, rel=1e-12)  # half of 2.54 / 127
    np.testing.assert_allclose(kind.rounded(w, step), ports.int8(w), rtol=1e-12)
    assert kind.weight_error("kernel", w) == pytest.approx(step)
    for name, exact in (("bias", w), ("bias", w[0]), ("gamma", w[0])):
        assert not kind.weight_error(name, exact).any()
    whole = np.ones((2, 2), dtype=np.int8)
    assert not kind.weight_error("kernel", whole).any()


def test_the_ends_of_a_range_are_in_it():
    kind = NumberFormat.read("fixed<8,3>")
    inside = np.array([-4.0, 4.0 - 2.0**-5, 0.0])
    assert kind.beyond_range(inside) == 0
    assert kind.beyond_range(np.array([4.0])) == 4.0
    assert kind.beyond_range(np.array([-4.01, 1.0])) == pytest.approx(4.01)
    assert kind.beyond_range(np.zeros((0, 3))) == 0
    assert kind.beyond_range(np.array([100])) == 0  # an id
    assert NumberFormat.read("float16").beyond_range(np.array([65504.0])) == 0
    assert NumberFormat.read("float16").beyond_range(np.array([1e5])) == 1e5
    assert NumberFormat.read("int8").beyond_range(np.array([1e30])) == 0
