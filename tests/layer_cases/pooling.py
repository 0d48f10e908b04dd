"""Cases for `verify.forward.layers.pooling`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case

FIRST = {"data_format": "channels_first"}
WINDOWS = [
    {"pool_size": k, "padding": p, "strides": s}
    for p in ("valid", "same")
    for k, s in ((1, None), (2, None), (3, 1), (3, 2), (4, 3), (2, 5))
]


def _windowed(name):
    return [
        Case(name, {"pool_size": 2}, masked=True, after=True,
             wrong=[{"pool_size": (3,)}, {"strides": (1,)}]),
        Case(name, {"pool_size": 3, "strides": 2, "padding": "same"}, shape=(None, 3),
             after=True,
             wrong=[{"pool_size": (2,)}, {"strides": None}, {"padding": "valid"}]),
        Case(name, {"pool_size": 2, **FIRST}, shape=(6, 6),
             wrong=[{"data_format": "channels_last"}]),
        *(Case(name, options, shape=(8, 3)) for options in WINDOWS),
    ]  # fmt: skip


def _global(name):
    return [
        Case(name, masked=True, inputs=_padded,
             wrong=[{"keepdims": True}, {"data_format": "channels_first"}]),
        Case(name, {"keepdims": True}, shape=(None, 3), masked=True, after=True,
             inputs=_padded, wrong=[{"keepdims": False}]),
        Case(name, FIRST, shape=(4, 4), wrong=[{"data_format": "channels_last"}]),
        Case(name, {**FIRST, "keepdims": True}, shape=(3, 6)),
        Case(name, dtypes=["int32"], inputs=_whole),
        Case(name, dtypes=["int32"], inputs=_whole, masked=True),
    ]  # fmt: skip


def _padded(rng):
    """No row is masked altogether: the mean over nothing is NaN, here and in Keras."""
    x = rng.normal(size=(BATCH, 6, 3))
    x[1, 3:] = 0
    x[2, :4] = 0
    x[3, 1::2] = 0
    return [x]


def _whole(rng):
    x = rng.integers(1, 9, size=(BATCH, 6, 3))
    x[1, 4:] = 0
    return [x]


CASES = [
    *_windowed("MaxPooling1D"),
    Case("MaxPooling1D", {"padding": "same"}, shape=(7, 3), dtypes=["int32"],
         inputs=lambda rng: [rng.integers(-9, 0, size=(BATCH, 7, 3))]),
    *_windowed("AveragePooling1D"),
    *_global("GlobalMaxPooling1D"),
    *_global("GlobalAveragePooling1D"),
    Case("GlobalAveragePooling1D", FIRST, shape=[(3, 6), (6,)],
         dtypes=["float64", "bool"], call=lambda layer, x: layer(x[0], mask=x[1]),
         inputs=lambda rng: [rng.normal(size=(BATCH, 3, 6)),
                             rng.random(size=(BATCH, 6)) < 0.6]),
]  # fmt: skip
