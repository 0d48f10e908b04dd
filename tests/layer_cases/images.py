"""Cases for `verify.forward.layers.images`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case

from verify.forward.layers.images import CAST, UNCAST

FIRST = {"data_format": "channels_first"}
LAST = {"data_format": "channels_last"}
RANGE = {"value_range": (0, 1)}
GIVEN = {
    "AugMix": {},
    "RandomColorJitter": {**RANGE, "hue_factor": 0.5},
    "MaxNumBoundingBoxes": {"max_number": 3},
    "RandomCrop": {"height": 4, "width": 5},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.1},
    "RandomZoom": {"height_factor": 0.2},
    "RandomShear": {"x_factor": 0.2},
    "RandomFlip": {"mode": "horizontal", **FIRST},
    "RandomRotation": {"factor": 0.2, "interpolation": "nearest"},
    "RandomPosterization": {"factor": 3},
    "Solarization": {"addition_factor": 0.3},
    "RandomHue": {"factor": 0.2, **RANGE},
}
"""Options of layers that change nothing in predict."""
SIZES = [(7, 4), (3, 9), (4, 5), (1, 1)]


def _pixels(*shape):
    return lambda rng: [rng.integers(0, 256, size=(BATCH, *shape)).astype("uint8")]


def _resizing():
    to = [dict(zip(("height", "width"), size, strict=True)) for size in SIZES]
    for how in ("nearest", "bilinear", "bicubic"):
        for size in to:
            yield Case("Resizing", {**size, "interpolation": how}, shape=(4, 5, 2))
            yield Case("Resizing", {**size, "interpolation": how, "antialias": True},
                       shape=(6, 5, 2))  # fmt: skip
    for aspect in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        for size in to:
            yield Case("Resizing", {**size, aspect: True, "fill_value": 0.5},
                       shape=(5, 8, 2))  # fmt: skip
        yield Case("Resizing", {**to[0], aspect: True, **FIRST}, shape=(4, 5, 5),
                   wrong=[{aspect: False}, LAST])  # fmt: skip
    yield Case("Resizing", {**to[0], "interpolation": "bicubic", "antialias": True},
               shape=(8, 9, 2), masked=True,
               wrong=[{"interpolation": "bilinear"}, {"antialias": False},
                      {"height": 6}, {"width": 5}])  # fmt: skip
    yield Case("Resizing", {**to[1], "pad_to_aspect_ratio": True, "fill_value": 0.5},
               shape=(None, None, 2), wrong=[{"fill_value": 0.0}],
               not_as_onnx=r"images of a fixed size. Received: \(None, None, 2\)"
               )  # fmt: skip
    for how in ("nearest", "bilinear", "bicubic"):
        # by predict: on TensorFlow it does not round as a call does
        yield Case("Resizing", {**to[0], "interpolation": how}, shape=(5, 5, 3),
                   dtypes=["uint8"], inputs=_pixels(5, 5, 3),
                   batch_size=BATCH)  # fmt: skip
    yield Case("Resizing", {**to[1], "pad_to_aspect_ratio": True, "fill_value": 0.5},
               shape=(5, 8, 2), dtypes=["uint8"], inputs=_pixels(5, 8, 2),
               batch_size=BATCH)  # fmt: skip


CASES = [
    *_resizing(),
    Case("CenterCrop", {"height": 3, "width": 2}, shape=(6, 5, 2), masked=True,
         wrong=[{"height": 4}, {"width": 3}]),
    Case("CenterCrop", {"height": 3, "width": 2, **FIRST}, shape=(5, 6, 5),
         wrong=[LAST]),
    Case("CenterCrop", {"height": 6, "width": 3}, shape=(4, 5, 2)),
    Case("CenterCrop", {"height": 3, "width": 2}, shape=(4, 5, 2), dtypes=["uint8"],
         inputs=_pixels(4, 5, 2)),
    Case("AutoContrast", RANGE, shape=(4, 5, 2), wrong=[{"value_range": (0.0, 2.0)}]),
    Case("AutoContrast", {"value_range": (3, -1)}, shape=(4, 5, 2)),
    Case("AutoContrast", shape=(4, 5, 2), masked=True,
         inputs=lambda rng: [rng.integers(0, 3, size=(BATCH, 4, 5, 2)) * 1.0]),
    *(Case(name, GIVEN.get(name, {"factor": 0.5} if "factor" in given else {}),
           shape=(5, 5, 3), masked=name != "RandomCrop")
      for name, given in (CAST | UNCAST).items()),
    *(Case(name, GIVEN.get(name, {"factor": 0.5} if "factor" in given else {}),
           shape=(5, 5, 3), dtypes=["uint8"], inputs=_pixels(5, 5, 3))
      for name, given in (CAST | UNCAST).items()),
]  # fmt: skip
