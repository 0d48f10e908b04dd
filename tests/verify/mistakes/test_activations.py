"""Activations by another formula or constant, each planted by NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.graphs import given, made, named, net

X = np.random.default_rng(0).integers(-60, 60, (30, 4)) / 16


def alone(class_name, **options):
    return net([given("x", 4), made(class_name, "act", **options)], {"act": "x"}, "act")


def leaky(slope):
    return np.where(X > 0, X, slope * X)


def hard2(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def hard3(x):
    return np.clip(x / 6 + 0.5, 0, 1)


BY_TANH = 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))
BY_ERF = 0.5 * X * (1 + np.vectorize(math.erf)(X / math.sqrt(2)))
SELU = 1.0507 * np.where(X > 0, X, 1.6733 * np.expm1(X))
K2 = "keras2_hard_sigmoid instead of hard_sigmoid"
CASES = [
    ("LeakyReLU", {"negative_slope": 0.3}, leaky(0.01), "slope 0.01 instead of 0.3"),
    ("LeakyReLU", {"negative_slope": 0.01}, leaky(0.3), "slope 0.3 instead of 0.01"),
    ("LeakyReLU", {}, leaky(0.2), "slope 0.2 instead of 0.3"),
    ("LeakyReLU", {}, leaky(0), "slope 0"),
    ("ELU", {"alpha": 0.5}, np.where(X > 0, X, np.expm1(X)), "alpha 1 in elu"),
    ("ReLU", {"max_value": 1.5}, leaky(0), "max_value None"),
    ("ops.Gelu", {"approximate": False}, BY_TANH, "gelu by tanh instead of erf"),
    ("ops.Gelu", {"approximate": True}, BY_ERF, "gelu by erf instead of tanh"),
    ("ops.HardSigmoid", {}, hard2(X), "hard_sigmoid of Keras 2"),
    ("ops.HardSilu", {}, X * hard2(X), "hard_sigmoid of Keras 2"),
    ("Activation", {"activation": "hard_sigmoid"}, hard2(X), f"activation {K2}"),
    ("Activation", {"activation": "hard_silu"}, X * hard2(X),
     "activation keras2_hard_silu instead of hard_silu"),
    ("Activation", {"activation": "silu"}, X * hard3(X),
     "activation hard_silu instead of silu"),
    ("Activation", {"activation": "gelu"}, BY_TANH,
     "activation gelu(approximate=true) instead of gelu"),
    ("Activation", {"activation": "selu"}, SELU,
     "activation rounded_selu instead of selu"),
    ("Activation", {"activation": "relu"}, leaky(0.01),
     "activation leaky_relu(negative_slope=0.01) instead of relu"),
    ("Activation", {"activation": "softsign"}, np.tanh(X),
     "activation tanh instead of softsign"),
    ("Activation", {"activation": "mish"}, X / (1 + np.exp(-X)),
     "activation silu instead of mish"),
]  # fmt: skip


@pytest.mark.parametrize(("class_name", "options", "outputs", "name"), CASES)
def test_another_formula_has_the_outputs_of_its_entry_alone(
    class_name, options, outputs, name
):
    assert named(alone(class_name, **options), X, outputs, 1e-6) == {name}


def test_every_function_that_an_activation_may_be_taken_for_can_be_computed():
    from verify.forward.activations import resolve
    from verify.mistakes.catalogue.around import OTHER_ACTIVATIONS

    for own, others in OTHER_ACTIVATIONS.items():
        values = [resolve(name)(X) for name in (own, *others) if name != own]
        assert all(v.shape == X.shape and np.isfinite(v).all() for v in values)
