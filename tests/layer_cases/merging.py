"""Cases for `verify.forward.layers.merging`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case

TWO = [(6, 3), (6, 3)]
THREE = [(6, 3)] * 3
MIXED_RANKS = [(6, 3), (3,)]


def _some_masked(*which):
    """Only these inputs go through a Masking layer."""

    def call(layer, x):
        import keras

        return layer(
            [
                keras.layers.Masking(name=f"mask{k}")(t) if k in which else t
                for k, t in enumerate(x)
            ]
        )

    return call


def _holes(shapes):
    """Inputs with steps of zeros, in other places for each of them."""

    def inputs(rng):
        arrays = [rng.normal(size=(BATCH, *shape)) for shape in shapes]
        for k, x in enumerate(arrays):
            if x.ndim > 2:
                x[1, 3 + k :] = 0
                x[2, : 2 - k % 2] = 0
                x[3, 1 :: 2 + k] = 0
                x[4] = 0
        return arrays

    return inputs


def _whole_and_real(rng):
    return [
        rng.integers(-5, 6, size=(BATCH, 6, 3)).astype("int32"),
        rng.normal(size=(BATCH, 6, 3)),
    ]


def _merges(name, count=3, **given):
    """Return the cases that every merging layer is put through."""
    shapes = [(6, 3)] * count
    wide = [(6, 4, 3), (4, 3), (6, 1, 3)][:count]
    return [
        Case(name, shape=shapes, masked=True, after=True, **given),
        Case(name, shape=shapes, inputs=_holes(shapes), call=_some_masked(0),
             after=True, **given),
        Case(name, shape=shapes, inputs=_holes(shapes), call=_some_masked(1),
             after=True, **given),
        Case(name, shape=shapes, inputs=_holes(shapes),
             call=_some_masked(*range(count)), after=True, **given),
        Case(name, shape=wide, **given),
        Case(name, shape=wide, inputs=_holes(wide), call=_some_masked(0), **given),
        Case(name, shape=MIXED_RANKS, masked=True, after=True, **given),
        Case(name, shape=TWO, dtypes=["int32", "float64"], inputs=_whole_and_real,
             **given),
        Case(name, shape=[(6, 3), (1, 3)], after=True, **given),
        Case(name, shape=[(6, 3), (1, 3)], masked=True, after=True, **given,
             inputs=_holes([(6, 3), (1, 3)])),
    ]  # fmt: skip


CASES = [
    *_merges("Add"),
    *_merges("Subtract", 2),
    *_merges("Multiply"),
    *_merges("Average"),
    *_merges("Maximum"),
    *_merges("Minimum"),
    Case("Maximum", shape=THREE, inputs=_holes(THREE), call=_some_masked(0, 1),
         after=True),
    Case("Maximum", shape=THREE, inputs=_holes(THREE), call=_some_masked(0, 2),
         after=True),
    Case("Multiply", shape=THREE, inputs=_holes(THREE), call=_some_masked(1, 2),
         after=True),
    Case("CustomScaleLayer", {"scale": 0.17}, shape=TWO, masked=True, after=True,
         wrong=[{"scale": 0.1}, {"scale": -0.17}]),
    Case("CustomScaleLayer", {"scale": 1}, shape=[(6, 4, 3), (1, 1, 3)],
         wrong=[{"scale": 0.9}]),
    Case("Concatenate", shape=THREE, masked=True, after=True,
         wrong=[{"axis": 1}, {"axis": -2}]),
    Case("Concatenate", {"axis": 1}, shape=[(6, 3), (4, 3)], masked=True, after=True,
         wrong=[{"axis": -1}]),
    Case("Concatenate", {"axis": 1}, shape=[(6, 3), (6, 3)], inputs=_holes(TWO),
         call=_some_masked(0), after=True, wrong=[{"axis": -1}]),
    Case("Concatenate", {"axis": -2}, shape=TWO, inputs=_holes(TWO),
         call=_some_masked(1), after=True, wrong=[{"axis": 2}]),
    Case("Concatenate", shape=[(6, 3), (6, 2)], inputs=_holes([(6, 3), (6, 2)]),
         call=_some_masked(0), after=True),
    Case("Concatenate", shape=[(6, 3), (6, 2)], inputs=_holes([(6, 3), (6, 2)]),
         call=_some_masked(1), after=True),
    Case("Concatenate", {"axis": 2}, shape=[(None, 3), (None, 2)], wrong=[{"axis": 1}]),
    Case("Concatenate", {"axis": 3}, shape=[(4, 3, 2), (4, 3, 1)], masked=True),
    Case("Concatenate", shape=[(3,), (4,)]),
    Case("Concatenate", shape=TWO, dtypes=["int32", "float64"],
         inputs=_whole_and_real, wrong=[{"axis": 1}]),
    Case("Dot", {"axes": 1}, shape=[(4,), (4,)], wrong=[{"normalize": True}]),
    Case("Dot", {"axes": -1}, shape=[(6, 3), (5, 3)],
         wrong=[{"axes": (1, -1)}, {"normalize": True}]),
    Case("Dot", {"axes": (2, 1)}, shape=[(3, 3), (3, 3)], masked=True, after=True,
         wrong=[{"axes": (1, 2)}, {"axes": (2, 2)}]),
    Case("Dot", {"axes": (1, 2), "normalize": True}, shape=[(4, 4), (4, 4)],
         inputs=_holes([(4, 4), (4, 4)]),
         wrong=[{"normalize": False}, {"axes": (2, 1)}, {"axes": (1, 1)}]),
    Case("Dot", {"axes": (1, 2)}, shape=[(4,), (3, 4)]),
    Case("Dot", {"axes": (2, 1)}, shape=[(3, 4), (4,)]),
    Case("Dot", {"axes": (2, 1)}, shape=[(3, 4, 2), (4, 5)]),
    Case("Dot", {"axes": (1, -2), "normalize": True}, shape=[(4, 3, 2), (5, 4, 2)]),
]  # fmt: skip
