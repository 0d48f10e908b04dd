"""Cases for `verify.forward.layers.reshaping`. The masks that come in go no further."""

from __future__ import annotations

from layer_cases.case import Case

FIRST = {"data_format": "channels_first"}
LAST = {"data_format": "channels_last"}

CASES = [
    Case("Flatten", masked=True, wrong=[FIRST]),
    Case("Flatten", FIRST, shape=(4, 3, 2), wrong=[LAST]),
    Case("Flatten", FIRST, shape=(4,)),
    Case("Flatten", shape=()),
    Case("Reshape", {"target_shape": (3, 6)}, masked=True, after=True,
         wrong=[{"target_shape": (6, 3)}]),
    Case("Reshape", {"target_shape": (6, 3)}, masked=True, after=True),
    Case("Reshape", {"target_shape": (-1, 9)}, wrong=[{"target_shape": (9, -1)}]),
    Case("Reshape", {"target_shape": (-1, 2)}, shape=(None, 4),
         wrong=[{"target_shape": (-1, 4)}]),
    Case("Reshape", {"target_shape": (3, 2, -1)}, wrong=[{"target_shape": (3, -1)}]),
    Case("Reshape", {"target_shape": (18,)}),
    Case("Permute", {"dims": (2, 1)}, shape=(4, 4), masked=True, after=True,
         wrong=[{"dims": (1, 2)}]),
    Case("Permute", {"dims": (1, 2)}, masked=True, after=True),
    Case("Permute", {"dims": (3, 1, 2)}, shape=(4, 3, 2), wrong=[{"dims": (2, 3, 1)}]),
    Case("RepeatVector", {"n": 3}, shape=(4,), after=True, wrong=[{"n": 2}]),
    Case("Cropping1D", {"cropping": 2}, masked=True, after=True,
         wrong=[{"cropping": (2, 1)}, {"cropping": (1, 2)}]),
    Case("Cropping1D", {"cropping": (0, 1)}, masked=True, after=True,
         wrong=[{"cropping": (1, 0)}]),
    Case("Cropping1D", {"cropping": (2, 0)}, shape=(None, 3)),
    Case("Cropping1D", {"cropping": 0}, masked=True, after=True),
    Case("Cropping1D", wrong=[{"cropping": (0, 0)}]),
    Case("ZeroPadding1D", {"padding": (2, 0)}, masked=True, after=True,
         wrong=[{"padding": (0, 2)}, FIRST]),
    Case("ZeroPadding1D", {"padding": 2, **FIRST}, shape=(4, 4), wrong=[LAST]),
    Case("ZeroPadding1D", {"padding": 0}, masked=True, after=True),
    Case("ZeroPadding1D", shape=(None, 3), wrong=[{"padding": (2, 2)}]),
    Case("UpSampling1D", {"size": 3}, masked=True, after=True, wrong=[{"size": 2}]),
    Case("UpSampling1D", {"size": 1}, masked=True, after=True),
    Case("UpSampling1D", shape=(None, 3), wrong=[{"size": 1}]),
]  # fmt: skip
