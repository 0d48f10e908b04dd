"""Where Keras computes something else on another backend than on TensorFlow.

This package computes what Keras computes on TensorFlow. Each `Rule` is one point where
another backend does otherwise; a layer that holds to a rule has it in its ``rules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Rule(StrEnum):
    """Name one difference from TensorFlow; its value says what is done instead."""

    MASKED_STEP_SHOWS_STATE = (
        "a masked step outputs the state it holds; on TensorFlow it repeats the last "
        "output, which before the first unmasked step is zeros"
    )
    """Source: keras/src/backend/jax/rnn.py, ``output_tm1 = states[0]``. The two are the
    same unless the initial state is not zero. Unrolled layers do as TensorFlow does."""

    UNROLL_NEVER_ZEROES = (
        "with unroll=True, zero_output_for_mask is ignored: masked steps repeat the "
        "last output"
    )
    """Source: keras/src/backend/jax/rnn.py, which does not read it when it unrolls.
    Bidirectional layers that return sequences always zero."""

    PREDICT_FORGETS_STATES = (
        "predict begins every batch of a stateful layer with states of zeros"
    )
    """Source: keras/src/backend/jax/trainer.py: predict passes on the variables among
    the weights, and the states of an RNN are not among them."""

    UNCHANGED_KEEPS_MASK = (
        "a layer that only moves numbers and here moves none, such as a Reshape to the "
        "same shape, hands on the mask of its input; on TensorFlow the mask ends there"
    )
    """Source: JAX returns the very array that came in, and Keras keeps masks by it."""

    EXACT_CONSTANTS = (
        "constants, such as those of gelu, leaky_relu and Rescaling, are as exact as "
        "the computation; TensorFlow holds them in float32"
    )
    """Seen in float64 alone, where gelu differs by up to 4e-9."""


TENSORFLOW: frozenset[Rule] = frozenset()

BACKENDS: Mapping[str, frozenset[Rule]] = MappingProxyType(
    {"tensorflow": TENSORFLOW, "jax": frozenset(Rule)}
)
"""Name of a Keras backend -> how it differs. Others are refused by name."""
