"""Cases for `verify.forward.layers.activation_layers`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case

SEEN = {"masked": True, "after": True}


def _integers(rng):
    return [rng.integers(-5, 6, size=(BATCH, 6, 3)).astype("int32")]


def _scores_and_mask(rng):
    """Scores (batch, 6, 3) and a mask of their shape, a row of it masked altogether."""
    mask = rng.normal(size=(BATCH, 6, 3)) > 0
    mask[0, 0] = False
    mask[0, 1] = True
    return [rng.normal(size=(BATCH, 6, 3)), mask]


def _scores_and_weights(rng):
    return [rng.normal(size=(BATCH, 6, 3)), rng.uniform(size=(BATCH, 1, 3))]


def _with_mask(layer, x):
    return layer(x[0], mask=x[1])


CASES = [
    Case("ReLU", **SEEN, wrong=[{"max_value": 0.4}, {"negative_slope": 0.1},
                                {"threshold": 0.2}]),
    Case("ReLU", {"max_value": 0.7}, wrong=[{"max_value": None}]),
    Case("ReLU", {"max_value": 6.0, "negative_slope": 0.1},
         inputs=lambda rng: [rng.normal(size=(BATCH, 6, 3)) * 9],
         wrong=[{"max_value": None}, {"negative_slope": 0.0}]),
    Case("ReLU", {"negative_slope": 0.1}, wrong=[{"negative_slope": 0.2}]),
    Case("ReLU", {"threshold": 0.3, "negative_slope": 0.1, "max_value": 0.7},
         wrong=[{"threshold": 0.2}, {"negative_slope": 0.0}, {"max_value": None}]),
    Case("ReLU", {"threshold": 1.5, "max_value": 3.7}, dtypes=["int32"],
         inputs=_integers, wrong=[{"threshold": 0.0}, {"max_value": None}]),
    Case("LeakyReLU", **SEEN, wrong=[{"negative_slope": 0.2}]),
    Case("LeakyReLU", {"negative_slope": 0.1}, wrong=[{"negative_slope": 0.3}]),
    Case("LeakyReLU", {"negative_slope": 0.25}, dtypes=["int32"], inputs=_integers),
    # Keras makes float32 of whole numbers, in a layer of 16 bits as well
    Case("LeakyReLU", {"negative_slope": 0.3, "dtype": "mixed_float16"},
         dtypes=["int32"], inputs=_integers, wrong=[{"negative_slope": 0.2}]),
    Case("ReLU", {"negative_slope": 0.3}, dtypes=["int32"], inputs=_integers,
         wrong=[{"negative_slope": 0.2}]),
    Case("ELU", **SEEN, wrong=[{"alpha": 0.7}]),
    Case("ELU", {"alpha": 0.7}, wrong=[{"alpha": 1.0}]),
    Case("PReLU", **SEEN),
    Case("PReLU", {"shared_axes": [1]}, shape=(None, 3), wrong=[{"shared_axes": ()}]),
    Case("PReLU", {"shared_axes": [1, 3]}, shape=(4, 3, 2),
         wrong=[{"shared_axes": (1,)}, {"shared_axes": (2,)}]),
    Case("PReLU", {"shared_axes": 2}, shape=(4, 3), wrong=[{"shared_axes": (1,)}]),
    Case("PReLU", shape=(4,)),
    Case("Softmax", wrong=[{"axis": (1,)}]),
    Case("Softmax", {"axis": 1}, wrong=[{"axis": (-1,)}]),
    Case("Softmax", {"axis": [1, 2]}, wrong=[{"axis": (1,)}, {"axis": (2,)}]),
    Case("Softmax", {"axis": [-2]}, shape=(4, 3, 2), wrong=[{"axis": (-1,)}]),
    Case("Softmax", shape=[(6, 3), (6, 3)], dtypes=["float64", "bool"],
         inputs=_scores_and_mask, call=_with_mask,
         wrong=[{"axis": (1,)}]),
    Case("Softmax", {"axis": (1, 2)}, shape=[(6, 3), (6, 3)],
         dtypes=["float64", "bool"], inputs=_scores_and_mask, call=_with_mask),
    Case("Softmax", shape=[(6, 3), (1, 3)], inputs=_scores_and_weights,
         call=_with_mask),
]  # fmt: skip
