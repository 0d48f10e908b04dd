"""Cases for `verify.forward.layers.convolution`."""

from __future__ import annotations

from functools import partial

from layer_cases.case import BATCH, Case

FIRST = {"data_format": "channels_first"}


def _over_time(name, options):
    import keras

    inner = getattr(keras.layers, name)(**options)
    return keras.layers.TimeDistributed(inner, name="tested")


def _each(name, options, *variants, **rest):
    return [Case(name, {**options, **variant}, **rest) for variant in variants]


CONV = [
    Case("Conv1D", {"filters": 4, "kernel_size": 3}, masked=True, after=True,
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (2,)}]),
    Case("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2,
                    "activation": "tanh"}, shape=(8, 3), after=True,
         wrong=[{"padding": "valid"}, {"padding": "causal"}, {"strides": (1,)},
                {"activation": "linear"}]),
    Case("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal",
                    "dilation_rate": 2}, shape=(None, 3), after=True,
         wrong=[{"padding": "same"}, {"dilation_rate": (1,)}]),
    Case("Conv1D", {"filters": 6, "kernel_size": 2, "groups": 3}, shape=(None, 9),
         wrong=[{"groups": 1}, {"groups": 9}]),
    Case("Conv1D", {"filters": 4, "kernel_size": 2, "groups": 2,
                    "activation": "tanh", **FIRST}, shape=(4, 6),
         wrong=[{"data_format": "channels_last"}, {"groups": 1}]),
    Case("Conv1D", {"filters": 3, "kernel_size": 2, "activation": "softmax",
                    "use_bias": False, "padding": "causal", **FIRST}, shape=(6, 6),
         compiled=True,
         wrong=[{"data_format": "channels_last"}, {"padding": "same"},
                {"activation": "linear"}]),
    *_each("Conv1D", {"filters": 2, "use_bias": False},
           *({"kernel_size": k, "padding": p, "strides": s, "dilation_rate": d}
             for p in ("valid", "same", "causal")
             for k, s, d in ((1, 1, 1), (2, 1, 3), (4, 1, 2), (2, 3, 1), (5, 4, 1),
                             (1, 3, 1))),
           shape=(10, 3)),
]  # fmt: skip

DEPTHWISE = [
    Case("DepthwiseConv1D", {"kernel_size": 3}, masked=True, after=True,
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (2,)}]),
    Case("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2, "strides": 2,
                             "dilation_rate": 2, "padding": "same",
                             "activation": "tanh"}, shape=(None, 3), after=True,
         wrong=[{"padding": "valid"}, {"strides": (1,)}, {"dilation_rate": (1,)},
                {"activation": "linear"}]),
    Case("DepthwiseConv1D", {"kernel_size": 2, "depth_multiplier": 2,
                             "activation": "softmax", "use_bias": False, **FIRST},
         shape=(6, 6), wrong=[{"data_format": "channels_last"}]),
    *_each("DepthwiseConv1D", {"depth_multiplier": 3, "use_bias": False},
           *({"kernel_size": k, "padding": p, "strides": s, "dilation_rate": d}
             for p in ("valid", "same")
             for k, s, d in ((1, 1, 1), (4, 1, 1), (2, 1, 3), (2, 3, 2), (5, 4, 1))),
           shape=(10, 3)),
]  # fmt: skip

SEPARABLE = [
    Case("SeparableConv1D", {"filters": 4, "kernel_size": 3}, masked=True, after=True,
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (2,)}]),
    Case("SeparableConv1D", {"filters": 4, "kernel_size": 3, "depth_multiplier": 2,
                             "strides": 2, "dilation_rate": 2, "padding": "same",
                             "activation": "tanh"}, shape=(None, 3), after=True,
         wrong=[{"padding": "valid"}, {"strides": (1,)}, {"dilation_rate": (1,)},
                {"activation": "linear"}]),
    Case("SeparableConv1D", {"filters": 5, "kernel_size": 2, "depth_multiplier": 2,
                             "activation": "softmax", "use_bias": False, **FIRST},
         shape=(6, 6), wrong=[{"data_format": "channels_last"}]),
    *_each("SeparableConv1D", {"filters": 2, "use_bias": False},
           *({"kernel_size": k, "padding": p, "strides": s, "dilation_rate": d}
             for p in ("valid", "same")
             for k, s, d in ((1, 1, 1), (4, 1, 1), (2, 1, 3), (2, 3, 2), (5, 4, 1))),
           shape=(10, 3)),
]  # fmt: skip

TRANSPOSED = [
    Case("Conv1DTranspose", {"filters": 4, "kernel_size": 3}, masked=True, after=True,
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (2,)}]),
    Case("Conv1DTranspose", {"filters": 4, "kernel_size": 3, "strides": 3,
                             "output_padding": 1, "padding": "same",
                             "activation": "tanh"}, shape=(None, 3), after=True,
         wrong=[{"padding": "valid"}, {"strides": (2,)}, {"output_padding": None},
                {"output_padding": (0,)}, {"activation": "linear"}]),
    Case("Conv1DTranspose", {"filters": 4, "kernel_size": 3, "dilation_rate": 2},
         compiled=True, wrong=[{"dilation_rate": (1,)}]),
    Case("Conv1DTranspose", {"filters": 4, "kernel_size": 3, "dilation_rate": 2,
                             "padding": "same", "output_padding": 0}, compiled=True,
         wrong=[{"dilation_rate": (1,)}, {"padding": "valid"}]),
    Case("Conv1DTranspose", {"filters": 5, "kernel_size": 2, "strides": 2,
                             "activation": "softmax", "use_bias": False, **FIRST},
         shape=(6, 6), compiled=True, wrong=[{"data_format": "channels_last"}]),
    *_each("Conv1DTranspose", {"filters": 2, "use_bias": False},
           *({"kernel_size": k, "padding": p, "strides": s, "output_padding": extra}
             for p in ("valid", "same")
             for k, s, extra in ((1, 1, None), (1, 3, None), (2, 3, None), (4, 1, None),
                                 (4, 2, None), (5, 2, None), (7, 3, None), (3, 2, 0),
                                 (3, 2, 1), (4, 3, 1), (4, 3, 2), (1, 3, 2))),
           shape=(5, 3)),
]  # fmt: skip

BIASED = [
    Case(name, {**options, **FIRST}, shape=(3, time), compiled=True,
         inputs=lambda rng: [rng.normal(size=(BATCH, 3, 6))])
    for time in (6, None)
    for name, options in (
        ("Conv1D", {"filters": 4, "kernel_size": 2}),
        ("Conv1D", {"filters": 1, "kernel_size": 6}),
        ("SeparableConv1D", {"filters": 4, "kernel_size": 2}),
        ("DepthwiseConv1D", {"depth_multiplier": 2, "kernel_size": 2}),
        ("Conv1DTranspose", {"filters": 6, "kernel_size": 2}),
    )
    if not (time is None and options["kernel_size"] == 6)
]  # fmt: skip

SPACE = [
    Case("Conv2D", {"filters": 4, "kernel_size": [2, 3]}, shape=(6, 5, 3),
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (1, 2)},
                {"strides": (2, 1)}]),
    Case("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same",
                    "strides": [2, 3], "activation": "tanh"}, shape=(8, 9, 3),
         wrong=[{"padding": "valid"}, {"strides": (3, 2)}, {"strides": (1, 3)},
                {"activation": "linear"}]),
    Case("Conv2D", {"filters": 3, "kernel_size": [3, 2], "padding": "same",
                    "dilation_rate": [1, 2]}, shape=(None, None, 2),
         wrong=[{"padding": "valid"}, {"dilation_rate": (2, 1)}]),
    Case("Conv2D", {"filters": 6, "kernel_size": 2, "groups": 3}, shape=(4, 5, 9),
         wrong=[{"groups": 1}]),
    Case("Conv2D", {"filters": 3, "kernel_size": [3, 2], "activation": "softmax",
                    "padding": "same", "strides": [1, 2], "use_bias": False,
                    **FIRST}, shape=(4, 6, 5),
         compiled=True,
         wrong=[{"data_format": "channels_last"}, {"padding": "valid"},
                {"strides": (2, 1)}, {"activation": "linear"}]),
    *_each("Conv2D", {"filters": 2, "use_bias": False},
           *({"kernel_size": k, "padding": p, "strides": s, "dilation_rate": d}
             for p in ("valid", "same")
             for k, s, d in (([1, 4], [3, 1], 1), ([5, 2], [4, 2], 1), (2, 1, [3, 2]))),
           shape=(10, 7, 3)),
    Case("Conv2D", {"filters": 4, "kernel_size": [2, 3], "activation": "tanh",
                    **FIRST}, shape=(3, None, 7), compiled=True),
    Case("Conv3D", {"filters": 4, "kernel_size": [2, 3, 1]}, shape=(4, 5, 3, 2),
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (2, 1, 1)},
                {"strides": (1, 1, 2)}]),
    Case("Conv3D", {"filters": 4, "kernel_size": 2, "padding": "same",
                    "strides": [1, 2, 3], "activation": "tanh", "use_bias": False},
         shape=(None, 5, 4, 3), wrong=[{"padding": "valid"}, {"strides": (1, 3, 2)}]),
    Case("Conv3D", {"filters": 2, "kernel_size": [1, 2, 2],
                    "dilation_rate": [1, 2, 3]}, shape=(2, 5, 7, 2),
         wrong=[{"dilation_rate": (1, 3, 2)}]),
    Case("Conv3D", {"filters": 4, "kernel_size": 2, "groups": 2, "padding": "same"},
         shape=(3, 4, 3, 4), wrong=[{"groups": 1}, {"padding": "valid"}]),
    Case("Conv3D", {"filters": 3, "kernel_size": [2, 1, 3], **FIRST},
         shape=(2, 3, 4, 6), wrong=[{"data_format": "channels_last"}]),
    Case("DepthwiseConv2D", {"kernel_size": [3, 2]}, shape=(6, 5, 3),
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (2, 2)}]),
    Case("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2, "strides": 2,
                             "padding": "same", "activation": "tanh"},
         shape=(None, 7, 3),
         wrong=[{"padding": "valid"}, {"strides": (1, 2)}, {"activation": "linear"}]),
    Case("DepthwiseConv2D", {"kernel_size": 2, "depth_multiplier": 3, "strides": 2,
                             "dilation_rate": [3, 2], "padding": "same",
                             "use_bias": False}, shape=(9, 8, 2),
         wrong=[{"dilation_rate": (2, 3)}, {"padding": "valid"}]),
    Case("DepthwiseConv2D", {"kernel_size": 2, "dilation_rate": [2, 1]},
         shape=(5, 6, 3), wrong=[{"dilation_rate": (1, 2)}]),
    Case("DepthwiseConv2D", {"kernel_size": [1, 2], "depth_multiplier": 2,
                             "activation": "softmax", "use_bias": False, **FIRST},
         shape=(2, 6, 4),
         wrong=[{"data_format": "channels_last"}]),
    Case("SeparableConv2D", {"filters": 4, "kernel_size": [3, 2]}, shape=(6, 5, 3),
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (2, 2)}]),
    Case("SeparableConv2D", {"filters": 4, "kernel_size": 3, "depth_multiplier": 2,
                             "strides": 2, "dilation_rate": 2, "padding": "same",
                             "activation": "tanh"}, shape=(None, 7, 3),
         wrong=[{"padding": "valid"}, {"strides": (1, 1)}, {"dilation_rate": (1, 1)}]),
    Case("SeparableConv2D", {"filters": 5, "kernel_size": [1, 2],
                             "depth_multiplier": 2, "activation": "softmax",
                             "use_bias": False, **FIRST}, shape=(2, 6, 4),
         wrong=[{"data_format": "channels_last"}]),
    Case("Conv2DTranspose", {"filters": 4, "kernel_size": [2, 3]}, shape=(4, 5, 3),
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (1, 2)}]),
    Case("Conv2DTranspose", {"filters": 4, "kernel_size": 3, "strides": [3, 2],
                             "output_padding": [2, 0], "padding": "same",
                             "activation": "tanh"}, shape=(None, 3, 3),
         wrong=[{"padding": "valid"}, {"strides": (2, 3)}, {"output_padding": None},
                {"output_padding": (0, 0)}, {"activation": "linear"}]),
    Case("Conv2DTranspose", {"filters": 2, "kernel_size": [3, 2],
                             "dilation_rate": [2, 3]}, shape=(3, 4, 2), compiled=True,
         wrong=[{"dilation_rate": (3, 2)}]),
    Case("Conv2DTranspose", {"filters": 5, "kernel_size": 2, "strides": [2, 1],
                             "activation": "softmax", "use_bias": False, **FIRST},
         shape=(3, 6, 4), compiled=True, wrong=[{"data_format": "channels_last"}]),
    *_each("Conv2DTranspose", {"filters": 2, "use_bias": False},
           *({"kernel_size": k, "padding": p, "strides": s, "output_padding": extra}
             for p in ("valid", "same")
             for k, s, extra in (([1, 4], [3, 2], None), ([5, 2], [2, 3], None),
                                 ([7, 3], [3, 2], [1, 1]), ([4, 1], [3, 2], [2, 1]))),
           shape=(5, 3, 3)),
    Case("Conv3DTranspose", {"filters": 4, "kernel_size": [2, 3, 1]},
         shape=(2, 3, 4, 2),
         wrong=[{"padding": "same"}, {"activation": "relu"}, {"strides": (1, 1, 2)}]),
    Case("Conv3DTranspose", {"filters": 2, "kernel_size": [3, 2, 5],
                             "strides": [2, 3, 1], "padding": "same",
                             "use_bias": False, "activation": "tanh"},
         shape=(2, None, 3, 2), wrong=[{"padding": "valid"}, {"strides": (3, 2, 1)}]),
    Case("Conv3DTranspose", {"filters": 2, "kernel_size": [3, 1, 2],
                             "strides": [3, 2, 2], "output_padding": [2, 1, 1],
                             "padding": "same"}, shape=(2, 3, 2, 2),
         wrong=[{"padding": "valid"}, {"output_padding": None}]),
    Case("Conv3DTranspose", {"filters": 2, "kernel_size": [2, 3, 2],
                             "dilation_rate": [1, 2, 3]}, shape=(2, 3, 4, 2),
         compiled=True, wrong=[{"dilation_rate": (1, 3, 2)}, {"padding": "same"}]),
    Case("Conv3DTranspose", {"filters": 2, "kernel_size": [3, 2, 3],
                             "dilation_rate": 2, "padding": "same"},
         shape=(2, 3, 4, 2), compiled=True,
         wrong=[{"dilation_rate": (1, 1, 1)}, {"padding": "valid"}]),
    Case("Conv3DTranspose", {"filters": 3, "kernel_size": [2, 1, 3], **FIRST},
         shape=(2, 3, 4, 2), compiled=True, wrong=[{"data_format": "channels_last"}]),
]  # fmt: skip

FRAMES = [
    Case("TimeDistributed", shape=(3, 6, 5, 2), make=partial(_over_time, name, options))
    for name, options in (
        ("Conv2D", {"filters": 3, "kernel_size": 2, "padding": "same", "strides": 2}),
        ("SeparableConv2D", {"filters": 3, "kernel_size": [3, 2]}),
        ("DepthwiseConv2D", {"kernel_size": [2, 3], "depth_multiplier": 2}),
        ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2}),
    )
]  # fmt: skip

CASES = [*CONV, *DEPTHWISE, *SEPARABLE, *TRANSPOSED, *BIASED, *SPACE, *FRAMES]
