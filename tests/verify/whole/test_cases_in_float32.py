"""No right layer is called wrong in float32: Keras's kernels are within tolerances."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from layer_cases.__main__ import every_case
from layer_cases.case import Case
from layer_cases.check import randomise
from support.thoroughness import some

import verify
from verify.keras_bridge import KerasModel

DRAWS = 12
"""Times that the inputs of a case are drawn: rounding is seldom at its worst."""

KNOWN = {
    "AdaptiveMaxPooling": "Keras cannot compile it for sizes that the input has not",
    "AdaptiveAveragePooling": "Keras cannot compile it either",
    "ops.Inv": "no bound, and a noise floor that is a few times too small",
    "ops.Reshape": "to a shape with the rows of one draw",
    "ops.Round": "of whole numbers to tens: float32 truncates to others",
}
"""Beginning of a case's name -> why it is not tried."""


def tried() -> list[Case]:
    """The cases whose inputs `check` takes."""
    return [
        case
        for case in every_case()
        if not case.name.startswith(tuple(KNOWN))
        and all(x.dtype.kind not in "fc" or np.isfinite(x).all() for x in case.arrays())
    ]


CASES = tried()
RAD2DEG = next(case for case in CASES if case.name == "ops.Rad2deg")
WHOLE_PIXELS = [x for x in CASES if x.name == "Resizing" and x.dtypes == ["uint8"]]
OTHERS = [case for case in CASES if case.name in ("ops.STFT", "ops.Exp2")]
CHOSEN = [*some(CASES, 90), RAD2DEG, *WHOLE_PIXELS[:3], *OTHERS]


def in_float32(case: Case) -> Case:
    """The case with inputs of Keras's own dtype."""
    dtypes = list(case.dtypes) or ["float64"] * len(case.shapes)
    return replace(case, dtypes=[d.replace("float64", "float32") for d in dtypes])


def checked(case: Case) -> verify.Report:
    """Return what a check of the case says, with many rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of masks that end somewhere
        model = randomise(in_float32(case).model(), 1)
        draws = [case.arrays(seed=seed) for seed in range(DRAWS)]
        x = [np.concatenate(arrays) for arrays in zip(*draws, strict=True)]
        size = model.inputs[0].shape[0]
        x = [array[: len(array) // size * size] for array in x] if size else x
        given = x if len(x) > 1 else x[0]
        return verify.check(model, given, batch_size=size or 32)


@pytest.mark.keras
@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.id)
def test_a_right_layer_is_not_called_wrong(case):
    report = checked(case)
    assert report.verdict is not verify.Verdict.FAIL, str(report)


@pytest.mark.keras
def test_a_kernel_that_rounds_more_is_called_wrong(monkeypatch):
    right = KerasModel.predict
    monkeypatch.setattr(
        KerasModel, "predict", lambda self, x: [y * (1 + 2e-6) for y in right(self, x)]
    )
    assert checked(RAD2DEG).verdict is verify.Verdict.FAIL
