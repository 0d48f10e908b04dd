"""Test what a toy run says when its model is wrong."""

from __future__ import annotations

import pytest

from recipes.data.toy import ToyConfig
from recipes.run.by_hand import remedy


@pytest.mark.parametrize(
    ("config", "reason", "command"),
    [
        ({}, "the chapter's settings, one unit and 500 epochs, are", "--units 8"),
        ({"seed": 7}, "the chapter's settings, one unit and 500", "--units 8"),
        ({"epochs": 20}, "1 unit(s) and 20 epoch(s) are", "--units 8"),
        ({"epochs": 900}, "1 unit(s) and 900 epoch(s) are", "--units 8 --epochs 900"),
        ({"units": 9, "epochs": 3}, "9 unit(s) and 3 epoch(s) are", "--units 9"),
        ({"units": 8}, "Other initial weights may", "--units 8 --seed 43"),
    ],
)
def test_a_remedy_is_never_less_than_what_was_tried(config, reason, command):
    first, second = remedy("toy_rnn", ToyConfig(**config)).splitlines()
    assert reason in first
    assert second == f"  rnn-recipe run toy_rnn {command}"
