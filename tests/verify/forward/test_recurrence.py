"""The output of a masked step follows one rule, whatever loops over time."""

from __future__ import annotations

from itertools import product

import pytest
from support.nets import input_layer, layer, spec

from verify.forward.recurrence import MaskRule
from verify.model.backends import BACKENDS
from verify.model.spec import LayerSpec

OPTIONS = ("return_sequences", "go_backwards", "zero_output_for_mask", "unroll")


def lstm(backend: str = "tensorflow", **options: bool) -> LayerSpec:
    config = dict.fromkeys(OPTIONS, False) | options
    layers = input_layer(None, 6, 3), layer("LSTM", "lstm", units=4, **config)
    return spec(*layers).on(backend)["lstm"]


@pytest.mark.parametrize(
    ("backend", "options", "rule"),
    [
        ("tensorflow", "", "repeats"),
        ("tensorflow", "unroll go_backwards return_sequences", "repeats"),
        ("tensorflow", "zero_output_for_mask", "zeroes"),
        ("tensorflow", "zero_output_for_mask unroll return_sequences", "zeroes"),
        ("tensorflow", "zero_output_for_mask unroll go_backwards", "zeroes"),
        ("tensorflow", "zero_output_for_mask go_backwards return_sequences", "zeroes"),
        ("tensorflow", " ".join(OPTIONS), "misaligned"),
        ("jax", "", "shows_state"),
        ("jax", "return_sequences go_backwards", "shows_state"),
        ("jax", "unroll", "repeats"),
        ("jax", "zero_output_for_mask", "zeroes"),
        ("jax", "zero_output_for_mask unroll", "repeats"),
        ("jax", " ".join(OPTIONS), "repeats"),
    ],
)
def test_a_masked_step_follows_one_rule(backend, options, rule):
    found = MaskRule.of(lstm(backend, **dict.fromkeys(options.split(), True)))
    assert found._asdict() == {name: name == rule for name in MaskRule._fields}


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_exclude_each_other(backend):
    for flags in product((False, True), repeat=len(OPTIONS)):
        options = dict(zip(OPTIONS, flags, strict=True))
        assert sum(MaskRule.of(lstm(backend, **options))) <= 1
