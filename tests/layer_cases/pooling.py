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


def _over_space(name, rank):
    """Windows over rows and columns, or over three axes, that all differ in length."""
    shape = (*(7, 6, 5)[:rank], 3)
    first = (3, *shape[:-1])
    square = (4,) * (rank + 1)
    options = [
        {"pool_size": (2, 3, 1)[:rank]},
        {"pool_size": 3, "strides": (1, 2, 3)[:rank]},
        {"pool_size": (4, 2, 3)[:rank], "strides": 2, "padding": "same"},
        {"pool_size": 2, "strides": (3, 1, 2)[:rank], "padding": "same"},
        {"pool_size": (1, 3, 2)[:rank], "strides": 5, "padding": "same"},
    ]
    return [
        Case(name, {"pool_size": 2}, shape=shape, masked=True,
             wrong=[{"pool_size": (2, 3, 2)[:rank]}, {"strides": (1,) * rank},
                    {"padding": "same"}]),
        Case(name, {"pool_size": (2, 3, 2)[:rank], "strides": (1, 2, 2)[:rank],
                    "padding": "same"}, shape=shape,
             wrong=[{"pool_size": (3, 2, 2)[:rank]}, {"strides": (2, 1, 2)[:rank]},
                    {"padding": "valid"}]),
        Case(name, {"pool_size": 2, "padding": "same"},
             shape=(None,) * rank + (2,)),
        Case(name, {"pool_size": 2, **FIRST}, shape=square,
             wrong=[{"data_format": "channels_last"}]),
        *(Case(name, {**given, **FIRST}, shape=first) for given in options[:3]),
        *(Case(name, given, shape=shape) for given in options),
    ]  # fmt: skip


def _adaptive(name, rank):
    shape = (*(7, 6, 5)[:rank], 3)
    sizes = [(3, 2, 4), (7, 1, 5), (2, 6, 3), (5, 4, 2)]
    return [
        Case(name, {"output_size": sizes[0][:rank]}, shape=shape, masked=rank == 1,
             after=rank == 1, wrong=[{"output_size": (2, 3, 4)[:rank]}]),
        Case(name, {"output_size": 3, **FIRST}, shape=(4,) * (rank + 1),
             wrong=[{"data_format": "channels_last"}]),
        *(Case(name, {"output_size": size[:rank]}, shape=shape) for size in sizes),
    ]  # fmt: skip


def _global_over_space(name, rank):
    shape = (*(5, 4, 2)[:rank], 3)
    return [
        Case(name, shape=shape, masked=True,
             wrong=[{"keepdims": True}, {"data_format": "channels_first"}]),
        Case(name, {"keepdims": True}, shape=(None,) * rank + (3,),
             wrong=[{"keepdims": False}]),
        Case(name, FIRST, shape=(4,) * (rank + 1),
             wrong=[{"data_format": "channels_last"}]),
        Case(name, {**FIRST, "keepdims": True}, shape=shape),
        Case(name, shape=shape, dtypes=["int32"],
             inputs=lambda rng: [rng.integers(-9, 9, size=(BATCH, *shape))]),
    ]  # fmt: skip


CASES = [
    *(case for kind in ("MaxPooling", "AveragePooling") for rank in (2, 3)
      for case in _over_space(f"{kind}{rank}D", rank)),
    *(case for kind in ("AdaptiveMaxPooling", "AdaptiveAveragePooling")
      for rank in (1, 2, 3) for case in _adaptive(f"{kind}{rank}D", rank)),
    *(case for kind in ("GlobalMaxPooling", "GlobalAveragePooling")
      for rank in (2, 3) for case in _global_over_space(f"{kind}{rank}D", rank)),
    Case("MaxPooling2D", {"padding": "same"}, shape=(5, 4, 3), dtypes=["int32"],
         inputs=lambda rng: [rng.integers(-9, 0, size=(BATCH, 5, 4, 3))]),
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
