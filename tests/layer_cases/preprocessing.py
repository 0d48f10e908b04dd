"""Cases for `verify.forward.layers.preprocessing`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case

GIVEN = {"mean": [0.1, -0.7, 1.3], "variance": [0.3, 2.1, 0.0]}
"""Without a variance Keras divides by 1e-7."""


def _integers(rng):
    return [rng.integers(0, 256, size=(BATCH, 6, 3)).astype("int32")]


CASES = [
    # The third weight, `count`, plays no part: so no weight is moved in these two ...
    Case("Normalization", masked=True, after=True, weights=False,
         wrong=[{"invert": True}]),
    Case("Normalization", {"axis": [2, 1], "invert": True}, shape=(4, 3, 2),
         weights=False, wrong=[{"invert": False}, {"axis": (1, 3)}]),
    # ... and here the mean is another along another axis, and one alone without any.
    Case("Normalization", {"axis": 1}, shape=(3, 3), weights=False,
         wrong=[{"axis": (2,)}, {"axis": (-1,)}]),
    Case("Normalization", {"axis": None}, weights=False, wrong=[{"invert": True}]),
    Case("Normalization", {"mean": 0.1, "variance": 0.3}, masked=True, after=True),
    Case("Normalization", GIVEN, shape=(3, 3),
         wrong=[{"axis": (1,)}, {"mean": [0.1, -0.7, 1.4]},
                {"variance": [0.3, 2.0, 0.0]}]),
    Case("Normalization", {**GIVEN, "axis": (1, 2)}, shape=(2, 3),
         wrong=[{"axis": (1,)}]),
    Case("Normalization", {"axis": (1, 2), "mean": [[0.1], [0.7]],
                           "variance": [[0.3], [1.1]]}, shape=(2, 3)),
    Case("Normalization", {"axis": None, "mean": 0.7, "variance": 1.1},
         wrong=[{"mean": 0.6}, {"variance": 1.2}]),
    Case("Normalization", {"mean": 100.0, "variance": 50.0, "invert": True},
         dtypes=["int32"], inputs=_integers, wrong=[{"invert": False}]),
    Case("Rescaling", {"scale": 0.1, "offset": 0.7}, masked=True, after=True,
         wrong=[{"scale": 0.2}, {"offset": 0.0}]),
    Case("Rescaling", {"scale": 1 / 255}, dtypes=["int32"], inputs=_integers,
         wrong=[{"scale": 1 / 128}]),
    Case("Rescaling", {"scale": [0.1, 0.2, 0.3], "offset": [0.4, 0.5, 0.7]},
         wrong=[{"scale": [0.3, 0.2, 0.1]}, {"offset": [0.7, 0.5, 0.4]}]),
    Case("Rescaling", make=lambda: _with_arrays(), wrong=[{"scale": [0.1, 0.2, 0.4]}]),
]  # fmt: skip


def _with_arrays():
    import keras
    import numpy as np

    return keras.layers.Rescaling(
        np.array([0.1, 0.2, 0.3]), offset=np.array(0.7, dtype="float32")
    )
