"""Cases for `verify.forward.layers.dense`."""

from __future__ import annotations

from layer_cases.case import Case


def _int8(model):
    model.quantize("int8")


def _einsum(equation, shape, output_shape, **options):
    """Options of a case, and the shape of its input."""
    case = {"shape": shape}
    for key in ("masked", "after", "wrong", "prepare"):
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
