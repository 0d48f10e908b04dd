"""Cases for `verify.forward.layers.numeric_operations`."""

from __future__ import annotations

import numpy as np
from layer_cases.case import BATCH
from layer_cases.operations import PAIR, _case, _odd, _small


def _with_nan(rng):
    x = rng.normal(size=(BATCH, 6, 3))
    x[1, 1, 0] = x[2, 2, 1] = x[2, 3, 1] = np.nan
    return [x]


def _two_with_nan(rng):
    return [_with_nan(rng)[0], np.roll(_with_nan(rng)[0], 1, axis=0)]


def _matrices(rng):
    return [rng.normal(size=(BATCH, 2, 3, 3)) + 2 * np.eye(3)]


def _unwritten(name, call, **kwargs):
    return _case(name, call, not_as_onnx="no form in ONNX that is written", **kwargs)


UNARY = {"Cbrt": "cbrt", "Deg2rad": "deg2rad", "Rad2deg": "rad2deg", "Exp2": "exp2",
         "Erfc": "erfc", "Sinc": "sinc"}  # fmt: skip
DECIDED = {"Signbit": "signbit", "Isneginf": "isneginf", "Isposinf": "isposinf"}
BINARY = {"Hypot": "hypot", "Heaviside": "heaviside", "Fmod": "fmod"}
KNOWN = {"Fmax": "fmax", "Fmin": "fmin"}
REDUCED = (
    "nansum",
    "nanprod",
    "nanmean",
    "nanvar",
    "nanstd",
    "nanmax",
    "nanmin",
    "ptp",
)
OTHERS = [{"axis": (1,)}, {"keepdims": True}]

CASES = [
    *(_case(name, lambda ops, x, f=f: getattr(ops, f)(x)) for name, f in UNARY.items()),
    *(_case(name, lambda ops, x, f=f: getattr(ops, f)(x), inputs=_odd)
      for name, f in DECIDED.items()),
    *(_case(name, lambda ops, a, b, f=f: getattr(ops, f)(a, b), shape=PAIR)
      for name, f in BINARY.items()),
    *(_case(name, lambda ops, a, b, f=f: getattr(ops, f)(a, b), shape=PAIR,
            inputs=_two_with_nan) for name, f in KNOWN.items()),
    *(_case(name, lambda ops, x, f=f: getattr(ops, f)(x, 7), dtypes=["int32"],
            inputs=_small) for name, f in KNOWN.items()),
    *(_case(f.capitalize(), lambda ops, x, f=f: getattr(ops, f)(x, axis=-1),
            inputs=None if f == "ptp" else _with_nan, wrong=OTHERS) for f in REDUCED),
    *(_unwritten(name, lambda ops, x, f=f: getattr(ops, f)(x, 1, 1, 2), shape=(4, 3, 2),
            wrong=[{"offset": 0}, {"axis1": 3}, {"axis2": 3}])
      for name, f in (("Diagonal", "diagonal"), ("Trace", "trace"))),
    _case("Fliplr", lambda ops, x: ops.fliplr(x)),
    _case("ArraySplit", lambda ops, x: ops.array_split(x, 4, axis=1),
          wrong=[{"indices_or_sections": 3}, {"axis": 2}]),
    _unwritten("Det", lambda ops, x: ops.det(x), shape=(2, 3, 3), inputs=_matrices),
    _unwritten("Inv", lambda ops, x: ops.inv(x), shape=(2, 3, 3), inputs=_matrices),
]  # fmt: skip
