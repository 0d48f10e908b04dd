"""Cases for `verify.forward.layers.dense`."""

from __future__ import annotations

from layer_cases.case import BATCH, Case


def _counts(*shape):
    """Whole numbers, some rows of zeros and some with a maximum of 1 or 100."""

    def inputs(rng):
        top = rng.choice([1, 2, 7, 101], size=(BATCH, *[1] * len(shape)))
        return [rng.integers(0, top, size=(BATCH, *shape)).astype("int32")]

    return inputs


def _int8(model):
    model.quantize("int8")


def _lora(model):
    model.get_layer("tested").enable_lora(2, lora_alpha=3)


def _einsum(equation, shape, output_shape, **options):
    """Options of a case, and the shape of its input."""
    case = {"shape": shape}
    for key in ("masked", "after", "wrong", "prepare", "dtypes", "inputs"):
        if key in options:
            case[key] = options.pop(key)
    given = {"equation": equation, "output_shape": output_shape, **options}
    return Case("EinsumDense", given, **case)


FLOAT = {"quantization_mode": None}

CASES = [
    Case("Dense", {"units": 4, "activation": "tanh"}, masked=True, after=True,
         wrong=[{"activation": "linear"}]),
    Case("Dense", {"units": 4, "use_bias": False}, shape=(3,)),
    Case("Dense", {"units": 4, "activation": "tanh"}, masked=True, after=True,
         prepare=_int8, wrong=[{"activation": "linear"}, FLOAT]),
    Case("Dense", {"units": 4, "use_bias": False}, shape=(30,), prepare=_int8),
    Case("Dense", {"units": 4, "activation": "tanh"}, masked=True, after=True,
         prepare=_lora, wrong=[{"activation": "linear"}]),
    _einsum("abc,cde->abde", (6, 3), (None, 4, 2), bias_axes="de", prepare=_lora),
    # of whole numbers Keras cuts off the fraction of the scale
    Case("Dense", {"units": 4}, shape=(6, 3), prepare=_int8, dtypes=["int32"],
         inputs=_counts(6, 3), wrong=[FLOAT]),
    _einsum("abc,cd->abd", (6, 3), (None, 4), bias_axes="d", prepare=_int8,
            dtypes=["int32"], inputs=_counts(6, 3), wrong=[FLOAT]),
    _einsum("abc,cd->abd", (6, 3), (None, 4), bias_axes="d", activation="tanh",
            masked=True, after=True, wrong=[{"activation": "linear"}]),
    _einsum("abc,cde->abde", (6, 3), (None, 4, 2), bias_axes="de"),
    _einsum("abc,cde->abde", (6, 3), (6, 4, 2), bias_axes="be"),
    _einsum("abcd,cde->abe", (6, 3, 2), (6, 4), bias_axes="b"),
    _einsum("abc,bd->adc", (6, 3), (4, None),
            wrong=[{"equation": "abc,cd->abd"}]),
    _einsum("ab,bc->ac", (6,), 4, bias_axes="c"),
    _einsum("...x,xy->...y", (2, 6, 3), 4, bias_axes="y"),
    _einsum("...ab,bcd->...acd", (2, 6, 3), (6, 4, 2), bias_axes="ac"),
    _einsum("ab...,bc->ac...", (6, 3, 2), 4, bias_axes="c"),
    _einsum("abc,cd->abd", (6, 3), (None, 4), bias_axes="d", activation="tanh",
            prepare=_int8, wrong=[{"activation": "linear"}, FLOAT]),
    _einsum("abc,cde->abde", (6, 3), (None, 4, 2), bias_axes="de", prepare=_int8),
    _einsum("abcd,cde->abe", (6, 3, 2), (None, 4), bias_axes="e", prepare=_int8),
    _einsum("abc,bd->adc", (6, 3), (4, None), prepare=_int8),
    _einsum("abc,dc->adb", (6, 3), (4, None), bias_axes="d", prepare=_int8),
]  # fmt: skip
