"""Cases for `verify.forward.layers.regularization`."""

from __future__ import annotations

from layer_cases.case import Case

SEEN = {"masked": True, "after": True}

CASES = [
    Case("Dropout", {"rate": 0.5, "noise_shape": (None, 1, None)}, **SEEN),
    Case("AlphaDropout", {"rate": 0.5, "noise_shape": (None, 1, None)}, **SEEN),
    Case("GaussianDropout", {"rate": 0.5, "seed": 1}, **SEEN),
    Case("GaussianNoise", {"stddev": 0.5, "seed": 1}, **SEEN),
    Case("SpatialDropout1D", {"rate": 0.5, "seed": 1}, **SEEN),
    Case("SpatialDropout2D", {"rate": 0.5, "data_format": "channels_first"},
         shape=(4, 3, 2), masked=True),
    Case("SpatialDropout3D", {"rate": 0.5, "data_format": "channels_last"},
         shape=(4, 3, 2, 2), masked=True),
    Case("ActivityRegularization", {"l1": 0.1, "l2": 0.2}, **SEEN),
    Case("StochasticDepth", {"drop_path_rate": 0.5}, **SEEN),
]  # fmt: skip
