"""Cases for `verify.forward.layers.normalization`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case

NO_SCALE = {"scale": False, "center": False}

CASES = [
    Case("BatchNormalization", masked=True, after=True,
         wrong=[{"epsilon": 0.1}]),
    Case("BatchNormalization", {"axis": 1, "epsilon": 0.05}, shape=(4, 4),
         wrong=[{"axis": 2}, {"axis": -1}, {"epsilon": 1e-3}]),
    Case("BatchNormalization", {"axis": -2, "scale": False}, shape=(4, 3, 2)),
    Case("BatchNormalization", {"center": False}, shape=(3,)),
    Case("BatchNormalization", {"renorm": True}, weights=False),
    Case("BatchNormalization", {"momentum": 0.5, **NO_SCALE}, shape=(None, 3)),
    Case("BatchNormalization", dtypes=["int32"], shape=(3,),
         inputs=lambda rng: [rng.integers(-9, 9, size=(BATCH, 3)).astype("int32")],
         weights=False),  # Keras computes in float32 from whole numbers
    Case("LayerNormalization", masked=True, after=True, wrong=[{"epsilon": 0.1}]),
    Case("LayerNormalization", {"axis": 1, "epsilon": 0.05}, shape=(4, 4),
         wrong=[{"axis": (2,)}, {"epsilon": 1e-3}, {"rms_scaling": True}]),
    Case("LayerNormalization", {"axis": [2, 1]}, shape=(4, 3, 2),
         wrong=[{"axis": (1, 3)}, {"axis": (3, 2)}]),
    Case("LayerNormalization", {"axis": [-1, 1]}, shape=(4, 3)),
    Case("LayerNormalization", {"axis": [-1, -2], "scale": False}, shape=(4, 3)),
    Case("LayerNormalization", {"center": False}, shape=(6, 3)),
    Case("LayerNormalization", NO_SCALE, wrong=[{"axis": (1,)}]),
    Case("LayerNormalization", {"rms_scaling": True, "scale": False}, masked=True,
         after=True, wrong=[{"rms_scaling": False}, {"epsilon": 0.1}]),
    Case("LayerNormalization", dtypes=["int32"], shape=(3,), weights=False,
         inputs=lambda rng: [rng.integers(-9, 9, size=(BATCH, 3)).astype("int32")]),
    Case("RMSNormalization", masked=True, after=True, wrong=[{"epsilon": 0.1}]),
    Case("RMSNormalization", {"axis": 1, "epsilon": 0.05}, shape=(4, 4),
         wrong=[{"axis": (2,)}, {"epsilon": 1e-6}]),
    Case("RMSNormalization", {"axis": [1, 2]}, shape=(4, 3), wrong=[{"axis": (2,)}]),
    Case("GroupNormalization", {"groups": 2}, shape=(6, 4), masked=True, after=True,
         wrong=[{"groups": 4}, {"groups": -1}, {"epsilon": 0.1}]),
    Case("GroupNormalization", {"groups": -1, "epsilon": 0.05}, shape=(5, 3),
         wrong=[{"groups": 1}, {"epsilon": 1e-3}]),
    Case("GroupNormalization", {"groups": 2, "axis": 1}, shape=(4, 4),
         wrong=[{"axis": 2}, {"axis": -1}]),
    Case("GroupNormalization", {"groups": 2, "axis": -2, "scale": False},
         shape=(3, 4, 2), wrong=[{"axis": -1}]),
    Case("GroupNormalization", {"groups": 3, "axis": 1, "center": False},
         shape=(6, 5, 2)),
    Case("GroupNormalization", {"groups": 1, **NO_SCALE}, shape=(4,)),
    Case("UnitNormalization", masked=True, after=True, wrong=[{"axis": (1,)}]),
    Case("UnitNormalization", {"axis": [1, 2]}, shape=(3, 4, 2),
         wrong=[{"axis": (1, 3)}]),
    Case("LayerScale", {"init_values": 0.1, "projection_dim": 3}, masked=True,
         after=True),
    Case("LayerScale", {"init_values": 0.1, "projection_dim": 2}, shape=(4, 3, 2)),
    Case("LayerScale", {"init_values": 0.1, "projection_dim": 3}, shape=(3,),
         dtypes=["int32"],
         inputs=lambda rng: [rng.integers(-9, 9, size=(BATCH, 3)).astype("int32")]),
]  # fmt: skip
