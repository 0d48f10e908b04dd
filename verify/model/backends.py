"""List where Keras on another backend computes something else than on TensorFlow.

By default this package computes what Keras computes on TensorFlow. Each `Rule` is one
point where another backend differs; a layer that follows a rule has it in its
``rules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Rule(StrEnum):
    """Enumerate the differences from TensorFlow.

    The value of a member says, for reports, what is done instead.
    """

    MASKED_STEP_SHOWS_STATE = (
        "a masked step outputs the state it holds; on TensorFlow it repeats the last "
        "output, which before the first unmasked step is zeros"
    )
    """Source: keras/src/backend/jax/rnn.py, ``output_tm1 = states[0]``. It differs only
    where the initial state is not zero. Unrolled layers do as on TensorFlow."""

    UNROLL_NEVER_ZEROES = (
        "with unroll=True, zero_output_for_mask is ignored: masked steps repeat the "
        "last output"
    )
    """Source: keras/src/backend/jax/rnn.py, which does not read the option when it
    unrolls. Bidirectional sets the option on inner layers that return sequences."""

    PREDICT_FORGETS_STATES = (
        "predict begins every batch of a stateful layer with states of zeros"
    )
    """Source: keras/src/backend/jax/trainer.py: predict carries variables from batch to
    batch if they are weights, and the states of an RNN are not."""

    UNCHANGED_KEEPS_MASK = (
        "a layer that only moves numbers and here moves none, such as a Reshape to the "
        "same shape, hands on the mask of its input; on TensorFlow the mask ends there"
    )
    """Source: JAX returns the same array object, and Keras keeps the mask with it."""

    EXACT_CONSTANTS = (
        "constants, such as those of gelu, leaky_relu and Rescaling, are as exact as "
        "the computation; TensorFlow holds them in float32"
    )
    """It shows in float64 only, where gelu differs by up to 4e-9."""


TENSORFLOW: frozenset[Rule] = frozenset()
"""TensorFlow is the reference, so it follows no rule."""

BACKENDS: Mapping[str, frozenset[Rule]] = MappingProxyType(
    {"tensorflow": TENSORFLOW, "jax": frozenset(Rule)}
)
"""Name of a Keras backend -> its rules. Other backends are refused by name."""
