"""Every layer and option against live Keras in float64, and mistakes that must show."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from layer_cases.__main__ import every_case, modules
from layer_cases.case import Case
from layer_cases.check import CaseFailed, CaseRefused, check_case
from support.thoroughness import some

from benchmarks.conversions import convert_case
from verify.errors import UnsupportedError
from verify.forward.layers import REGISTRY

CASES = every_case()
CONVERTED = {case.id for case in some(CASES, 3)}
"""Held against Keras as ONNX too."""

BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"
ONLY_IN_OLD_FILES = {"keras2_masks"}
"""Options that no layer of Keras 3 has, so no case can hold them against it. Where they
are ignored, `test_the_masks_of_keras_2_show_in_every_merging_layer` would notice, in
tests/verify/model_files/test_keras2_config.py: there Keras 2 computed the outputs."""


def _refused(case: Case):
    """What is held against the refusal of a case as ONNX."""

    def convert(spec, x):
        with pytest.raises(UnsupportedError, match=case.not_as_onnx):
            convert_case(spec, x)

    return convert


@pytest.mark.keras
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if BACKEND not in case.except_on],
    ids=lambda case: case.id,
)
def test_it_computes_what_keras_computes_and_mistakes_show(case):
    """On another backend than TensorFlow it may be refused by name instead.

    As ONNX the model computes the same in float32.
    """
    if BACKEND == "tensorflow":
        convert = _refused(case) if case.not_as_onnx else convert_case
        check_case(case, also=convert if case.id in CONVERTED else None)
    else:
        with contextlib.suppress(CaseRefused):
            check_case(case)


def test_every_layer_and_every_honoured_option_has_a_case_that_would_notice():
    noticed: dict[str, set[str]] = {}
    for case in CASES:
        noticed.setdefault(case.name, set()).update(*case.wrong, ())
    missing = [
        f"{name}.{option}"
        for name, kind in REGISTRY.items()
        for option in ["", *kind.options]
        if name not in ("Sequential", "Functional", "InputLayer")
        and (not option or not kind.options[option].supported)
        and (not option or option not in kind.shown_by_weights | ONLY_IN_OLD_FILES)
        and (name not in noticed or (option and option not in noticed[name]))
    ]
    assert not missing


@pytest.mark.keras
def test_a_case_fails_where_an_option_is_ignored():
    case = Case("Dense", {"units": 4}, wrong=[{"activation": "linear"}])
    with pytest.raises(CaseFailed, match="makes no difference"):
        check_case(case)


def test_the_modules_of_cases_are_those_of_the_layers():
    here = Path(__file__).parents[3] / "verify" / "forward" / "layers"
    kinds = {p.stem for p in here.glob("*.py")} - {"__init__", "base", "models"}
    kinds -= {"lora", "operation_functions", "ordering_functions", "recurrent_cells"}
    kinds -= {"refused", "refused_operations", "registry"}
    assert kinds <= modules().keys()


def test_a_data_format_of_null_is_channels_last():
    from verify.forward.layers.base import DATA_FORMAT

    assert DATA_FORMAT.parse(None) == "channels_last"
    assert DATA_FORMAT.parse("channels_first") == "channels_first"
