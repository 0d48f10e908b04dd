"""What remains of a difference is described truthfully, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import INPUTS, TIME, UNITS, ids, input_layer, layer, rnn, spec

from verify import Network
from verify.mistakes.diagnose import diagnose
from verify.mistakes.output_formats import find_format
from verify.mistakes.remainder import describe_remainder, rounding_on_top

ALLOWED = 1e-6


def outputs(*shape, seed=0):
    """Random float32 numbers between -1 and 1."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, size=shape).astype(np.float32)


def described(ours, theirs, **options):
    return describe_remainder([ours], [theirs], allowed=[ALLOWED], **options)


def test_nothing_is_said_where_nothing_remains_or_shapes_differ():
    y = outputs(20, 4)
    assert described(y, y + np.float32(1e-7)) == ""
    assert described(y, y[:, :3]) == ""
    assert describe_remainder([y], [y, y], allowed=[ALLOWED]) == ""


def test_nothing_is_said_of_a_difference_without_a_pattern():
    rng = np.random.default_rng(1)
    y = outputs(60, 6, 4)
    other = (y + rng.normal(size=y.shape)).astype(np.float32)
    assert described(y, other) == ""
    assert described(y[:, 0], (2 * y[:, 0]).astype(np.float32)) == ""


def test_one_unit_and_a_run_of_units_are_named():
    y = outputs(50, 8)
    for units, text in (
        (slice(3, 4), "in unit 3 of 8 alone"),
        (slice(4, 8), "in units 4 to 7 of 8 alone"),
    ):
        other = y.copy()
        other[:, units] += outputs(50, 8, seed=2)[:, units]
        assert described(y, other) == text
    other = y.copy()
    other[:, ::3] += 0.1  # units that do not follow each other
    assert "alone" not in described(y, other)


def test_rows_are_counted_and_the_first_is_named_by_its_number():
    y = outputs(40, 5)
    other = y.copy()
    other[[7, 12, 30]] += outputs(3, 5, seed=3)
    assert described(y, other) == "in 3 of 40 rows, the first of them row 7"
    numbers = np.arange(40)[::-1] + 100
    assert "the first of them row 109" in described(y, other, rows=numbers)
    other = y.copy()
    other[9] += outputs(5, seed=3)
    assert described(y, other) == "in row 9 of 40 alone"
    said = described(y, other, rows=np.arange(40) + 1000)
    assert said == "in row 1009 alone, of 40 that were looked at"


def test_rows_with_masked_steps_are_named():
    y = outputs(40, 5)
    mask = np.ones((40, 6), dtype=bool)
    mask[::2, 4:] = False
    other = y.copy()
    other[::2] += outputs(20, 5, seed=4)
    assert described(y, other, masks=[mask]) == "in rows with masked steps alone"
    other[1] += 0.5  # a row without
    assert "masked" not in described(y, other, masks=[mask])


def test_two_rows_do_not_show_that_masks_matter():
    y = outputs(40, 5)
    mask = np.ones((40, 6), dtype=bool)
    mask[::2, 4:] = False
    other = y.copy()
    other[[4, 8]] += outputs(2, 5, seed=4)
    assert described(y, other, masks=[mask]).startswith("in 2 of 40 rows")


def test_masked_steps_of_a_sequence_are_named():
    y = outputs(40, 6, 5)
    mask = np.ones((40, 6), dtype=bool)
    mask[::2, 4:] = False
    other = np.where(mask[..., None], y, y + outputs(40, 6, 5, seed=5))
    assert "in masked steps alone" in described(y, other, masks=[mask])
    assert "masked" not in described(y, other)


def test_steps_that_follow_each_other_are_named():
    y = outputs(40, 8, 5)
    other = y.copy()
    other[:, 6:] += outputs(40, 2, 5, seed=6)
    assert described(y, other).startswith("in steps 6 to 7 of 8 alone")


def test_one_output_of_several_is_named():
    one, two = outputs(30, 4), outputs(30, 5, seed=1)
    other = two + outputs(30, 5, seed=7)
    found = describe_remainder(
        [one, two], [one, other], allowed=[ALLOWED] * 2, names=["a", "b"]
    )
    assert found == "in output b of 2 alone"
    found = describe_remainder([one, two], [one + other[:, :4], other], allowed=[0, 0])
    assert "output" not in found


def test_a_constant_is_named_for_all_units_and_for_each():
    y = outputs(30, 4)
    assert described(y, y - np.float32(0.25)) == (
        "the same in all rows: theirs are 0.25 less"
    )
    by_unit = np.float32([0.1, 0.2, -0.3, 0.4])
    assert described(y, y + by_unit) == (
        "the same in all rows, another number for each unit"
    )
    assert described(y, y * np.float32(1.1)) == ""


@pytest.mark.parametrize("power", [4, 8, 10, 14])
def test_fixed_point_is_measured_in_its_steps(power):
    y = outputs(40, 5)
    noise = outputs(40, 5, seed=8) * 2.0**-power
    other = (np.floor((y + noise) * 2**power) / 2**power).astype(np.float32)
    found = described(y, other)
    assert f"steps of 2^-{power}, which theirs come in" in found
    assert found.startswith("at most 1.")
    far = (np.floor((-y) * 2**power) / 2**power).astype(np.float32)
    if power > 4:  # many steps away: the format does not explain it
        assert "steps" not in described(y, far)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_16_bit_outputs_are_named_and_not_taken_for_fixed_point(name):
    from verify.model.dtypes import rounded

    y = outputs(40, 5)
    noise = outputs(40, 5, seed=8) * 2.0**-8
    other = rounded(y + noise if name == "bfloat16" else y + noise / 8, name)
    found = described(y, other)
    assert found == f"of the size of {name} rounding, and theirs are {name}"


@pytest.mark.parametrize(
    ("size", "text"), [(4e-4, "float16 rounding"), (5e-3, "8-bit rounding"), (0.1, "")]
)
def test_noise_is_named_by_its_size(size, text):
    y = outputs(80, 5)
    other = y + np.float32(size) * outputs(80, 5, seed=9)
    found = described(y, other)
    assert text in found
    assert bool(text) == bool(found)
    # follows the outputs, so it is no rounding
    assert described(y, y * np.float32(1 + size)) == ""


def test_growth_over_time_is_named():
    y = outputs(30, 12, 4)
    growth = np.exp(np.arange(12) / 2)[None, :, None] * 1e-4
    other = (y + growth * outputs(30, 12, 4, seed=10)).astype(np.float32)
    assert described(y, other).startswith("growing over the time steps, from ")
    fading = (y + growth[:, ::-1] * outputs(30, 12, 4, seed=10)).astype(np.float32)
    assert "growing" not in described(y, fading)


def test_values_that_are_no_numbers_are_counted():
    y = outputs(30, 4)
    other = y.copy()
    other[3, 2] = np.nan
    assert described(y, other) == (
        "in row 3 of 30 alone, NaN or infinite in 1 of 120 numbers"
    )


@pytest.mark.parametrize(
    ("rounding", "name"),
    [
        (lambda y: y.astype(np.float16), "rounded to float16"),
        (lambda y: np.rint(y * 1024) / 1024, "rounded to steps of 2^-10"),
        (
            lambda y: np.floor(y * 1024) / 1024,
            "cut off to steps of 2^-10, downwards",
        ),
        (
            lambda y: np.trunc(y * 256) / 256,
            "cut off to steps of 2^-8, towards zero",
        ),
        (lambda y: np.round(y, 3), "rounded to 3 decimals"),
        (
            lambda y: (np.rint(y / 0.0123 + 3) - 3) * 0.0123,
            "rounded to steps of 0.0123",
        ),
    ],
)
def test_a_rounding_on_top_is_named(rounding, name):
    y = outputs(60, 4)
    theirs = rounding(y.astype(np.float64) + 3e-7).astype(np.float32)
    found = rounding_on_top([y], [theirs], allowed=[ALLOWED])
    assert found is not None
    assert found.name == f"outputs {name}"
    assert name in found.explanation
    # by no rounding is one number of them anything else
    theirs[5, 2] += 0.25
    assert rounding_on_top([y], [theirs], allowed=[ALLOWED]) is None


def test_no_rounding_is_named_where_none_is_needed_or_none_was_made():
    y = outputs(60, 4)
    assert rounding_on_top([y], [y], allowed=[ALLOWED]) is None
    other = y + np.float32(1e-3) * outputs(60, 4, seed=3)
    assert rounding_on_top([y], [other], allowed=[ALLOWED]) is None


def test_one_of_two_outputs_may_be_rounded():
    one, two = outputs(60, 4), outputs(60, 3, seed=1)
    found = rounding_on_top(
        [one, two], [one, two.astype(np.float16)], allowed=[ALLOWED] * 2
    )
    assert found is not None
    assert found.name == "outputs rounded to float16"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-3, 1, 300])
def test_no_format_is_found_in_float32_numbers(seed, scale):
    rng = np.random.default_rng(seed)
    for shape in ((4, 1), (3, 5), (200, 7)):
        values = (rng.normal(size=shape) * scale).astype(np.float32)
        assert find_format(values) is None
        positive = np.abs(values) / np.abs(values).sum(axis=1, keepdims=True)
        assert find_format(positive[:, :-1]) is None


def test_whole_numbers_are_a_format():
    found = find_format(np.array([-128, 3, 127, 64, 5, 90, -77], dtype=np.int8))
    assert found is not None
    assert found.name == "whole numbers"


def masked_sequences():
    """An LSTM over words, some of them padded, that returns its sequences."""
    model = spec(
        input_layer(None, TIME, dtype="int32"),
        layer("Embedding", "words", input_dim=11, output_dim=INPUTS, mask_zero=True),
        rnn("LSTM", "rnn", return_sequences=True),
    )
    x = Network(model).prepare(ids(batch=60))
    return model, x, Network(model).flat(x)[0]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("unit", f"the difference is in unit 2 of {UNITS} alone"),
        ("padding", "the difference is in masked steps alone"),
        ("rows", "the difference is in 3 of 60 rows, the first of them row 107"),
    ],
)
def test_a_difference_that_nothing_explains_is_described(where, text):
    model, x, theirs = masked_sequences()
    noise = 0.1 * outputs(*theirs.shape, seed=1)
    if where == "unit":
        theirs[..., 2] += noise[..., 2]
    elif where == "rows":
        theirs[[7, 8, 30]] += noise[[7, 8, 30]]
    else:
        theirs = np.where((x[0] == 0)[..., None], theirs + noise, theirs)
    found = diagnose(
        model,
        x,
        [theirs],
        allowed=[ALLOWED],
        numbers=np.arange(100, 160),
        seconds=0.1,
    )
    assert not found
    assert found.nearest is None
    assert found.hints[0].startswith(text)
