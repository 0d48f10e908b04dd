"""Cases for `verify.forward.layers.core`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case


def _ids(rng):
    ids = rng.integers(0, 11, size=(BATCH, 6))
    ids[0, 3:] = 0
    ids[1, :2] = 0
    ids[2] = 0
    return [ids]


def _there_and_back(layer, x):
    """Ids, their vectors, and logits of the vectors."""
    return layer(layer(x[0]), reverse=True)


def _backwards(layer, x):
    layer.build()
    return layer(x[0], reverse=True)


REVERSIBLE = {"input_dim": 11, "output_dim": 4}
UNTIED = {**REVERSIBLE, "tie_weights": False}
SOFT = {"logit_soft_cap": 0.8}


CASES = [
    Case(
        "Embedding",
        {"input_dim": 11, "output_dim": 4, "mask_zero": True},
        shape=(6,),
        dtypes=["int32"],
        inputs=_ids,
        after=True,
        wrong=[{"mask_zero": False}],
    ),
    Case(
        "Embedding",
        {"input_dim": 11, "output_dim": 4},
        shape=(6,),
        dtypes=["float64"],
        inputs=lambda rng: [rng.uniform(-0.9, 10.9, size=(BATCH, 6))],
        after=True,
    ),
    Case("Embedding", {"input_dim": 11, "output_dim": 4}, shape=(6,), dtypes=["int32"],
         inputs=_ids, prepare=lambda model: model.quantize("int8"),
         wrong=[{"quantization_mode": None}]),
    Case("ReversibleEmbedding", {**REVERSIBLE, "mask_zero": True}, shape=(6,),
         dtypes=["int32"], inputs=_ids, after=True, wrong=[{"mask_zero": False}]),
    Case("ReversibleEmbedding", {**REVERSIBLE, "mask_zero": True}, shape=(6,),
         dtypes=["int32"], inputs=_ids, after=True, call=_there_and_back),
    Case("ReversibleEmbedding", {**UNTIED, **SOFT}, shape=(6,), dtypes=["int32"],
         inputs=_ids, call=_there_and_back, wrong=[{"logit_soft_cap": None}]),
    Case("ReversibleEmbedding", {**UNTIED, "reverse_dtype": "float64"}, shape=(6, 4),
         masked=True, after=True, call=_backwards, weights=False),
    Case("ReversibleEmbedding", {**REVERSIBLE, **SOFT}, shape=(6,), dtypes=["int32"],
         inputs=_ids, prepare=lambda model: model.quantize("int8"),
         call=_there_and_back, wrong=[{"quantization_mode": None}]),
    Case("ReversibleEmbedding", {**REVERSIBLE, "mask_zero": True}, shape=(6,),
         dtypes=["int32"], inputs=_ids, after=True,
         prepare=lambda model: model.quantize("int8")),
    Case("ReversibleEmbedding", UNTIED, shape=(6,), dtypes=["int32"], inputs=_ids,
         prepare=lambda model: model.quantize("int8"), call=_there_and_back),
    Case("Masking", {"mask_value": 0.5}, after=True, wrong=[{"mask_value": 0.25}],
         inputs=lambda rng: [_half(rng)]),
    Case("Masking", {"mask_value": float("nan")}, after=True,
         wrong=[{"mask_value": 0.5}], inputs=lambda rng: [_half(rng)]),
    Case("Activation", {"activation": "softsign"}, masked=True, after=True,
         wrong=[{"activation": "linear"}]),
    Case("Identity", masked=True, after=True),
]  # fmt: skip


def _half(rng):
    x = rng.normal(size=(BATCH, 6, 3))
    x[1, 3:] = 0.5
    x[2, 1] = 0.5
    x[3, 2, 0] = 0.5  # one feature alone does not mask
    return x
