"""List where Keras on another backend computes something else than on TensorFlow.

By default this package computes what Keras computes on TensorFlow. Each `Rule` is one
point where another backend differs, and is reproduced; a layer that follows a rule has
it in its ``rules``. Each `Limit` is one point that is refused by name, because Keras
itself cannot run it there.
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

    MASK_HOLDS_STEPS = (
        "a mask of three axes, such as one of the words in each sentence, holds a step "
        "where it is false throughout; on TensorFlow its last axis counts the units, "
        "and each is held or not"
    )
    """Source: keras/src/backend/jax/rnn.py and numpy/rnn.py, ``is_masked``; in
    tensorflow/rnn.py, ``compute_masked_output``, where Keras fails unless there are as
    many units, or 1. Unrolled layers do as on TensorFlow."""

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

    CAST_ENDS_MASK = (
        "a cast to the dtype that numbers have already ends their mask; on TensorFlow "
        "the operation hands it on"
    )
    """Source: keras/src/backend/numpy/core.py, ``cast``, which makes a new array."""

    SWAP_ENDS_MASK = (
        "swapaxes of an axis with itself ends the mask; on TensorFlow the operation "
        "hands it on"
    )
    """Source: torch.swapaxes and np.swapaxes, which return another view."""

    EXACT_CONSTANTS = (
        "constants, such as those of gelu, leaky_relu and Rescaling, are as exact as "
        "the computation; TensorFlow holds them in float32"
    )
    """It shows in float64 only, where gelu differs by up to 4e-9."""

    EXACT_BOUNDARIES = (
        "Discretization compares with boundaries in float64, whatever the dtype; on "
        "TensorFlow they are in float32, so that 0.7 in float32 reaches a boundary 0.7"
    )
    """Source: np.digitize, which promotes numbers of float32."""

    FLOOR_DIVIDES_EXACTLY = (
        "x // y of floats is the exact floor: 1.0 // 0.1 is 9; on TensorFlow the "
        "quotient is rounded first, which makes it 10"
    )
    """Source: floor_divide of JAX, torch and NumPy, which compute a remainder;
    keras/src/backend/tensorflow/numpy.py, which takes the floor of a quotient."""

    FRACTIONS_HAVE_NO_ROW = (
        "one_hot of a number that is not whole is zeros; on TensorFlow the fraction is "
        "cut off"
    )
    """Source: jax.nn.one_hot, which compares with 0, 1, 2 and so on."""

    CUBIC_REPEATS_EDGE = (
        "bicubic interpolation takes a = -0.75 and repeats the edge of an image; on "
        "TensorFlow and JAX a = -0.5, and nothing lies beyond the edge"
    )
    """Source: torch.nn.functional.interpolate. It shows in Resizing and
    UpSampling2D."""

    VARIANCE_OF_SQUARES = (
        "LayerNormalization and GroupNormalization compute the variance as mean(x^2) - "
        "mean(x)^2, which in float32 loses digits where the mean is large beside it"
    )
    """Numbers about 100 with a deviation of 1 come out wrong by 0.007, and those about
    1000 by 0.3. Source: keras/src/backend/numpy/nn.py and torch/nn.py, ``moments``; on
    torch LayerNormalization over neighbouring axes does not use it."""

    NORMALIZES_LAST_AXES = (
        "LayerNormalization and RMSNormalization over neighbouring axes, such as "
        "axis=1, normalise the last axes instead if these have the same sizes"
    )
    """Source: keras/src/ops/nn.py, ``_layer_normalization``, which passes torch the
    sizes of the axes and not which ones they are."""

    UNEVEN_PADDING_COUNTS = (
        "AveragePooling with padding='same' repeats the numbers at the edge and counts "
        "them in the mean, where the padding of an axis is odd; on TensorFlow padding "
        "is left out"
    )
    """Source: keras/src/backend/torch/nn.py, ``_apply_same_padding``."""

    SYMMETRIC_REPEATS_EDGE = (
        "ops.pad with mode='symmetric' repeats the number at the edge; on TensorFlow "
        "it mirrors the numbers beside the edge"
    )
    """Source: keras/src/backend/torch/numpy.py, ``pad``: ``mode = "replicate"``."""

    ZEROS_TIE = (
        "argmax and argmin take -0 and 0 for the same, and the first one wins; on "
        "TensorFlow -0 is less"
    )
    """Source: keras/src/backend/torch/numpy.py, ``argmax``."""

    RESIZED_STAYS_WHOLE = (
        "Resizing rounds images of whole numbers again; on TensorFlow predict resizes "
        "them as floats, though calling the model rounds"
    )
    """Source: keras/src/layers/preprocessing/data_layer.py, which casts what comes in
    to the dtype of the layer inside a graph of TensorFlow."""

    CENTRES_FIRST = (
        "BatchNormalization subtracts the mean before it scales; on TensorFlow mean "
        "and beta are made one summand"
    )
    """It shows for whole numbers, which Keras normalises in float32. Source:
    keras/src/backend/torch/nn.py, ``batch_normalization``."""


class Limit(StrEnum):
    """Enumerate what Keras cannot do on some backend, so that it is refused by name.

    The value of a member says what happens there.
    """

    MASKED_CONVLSTM = (
        "Keras on JAX and on NumPy cannot run a ConvLSTM with a mask, or joins the "
        "mask over space"
    )
    """Source: keras/src/backend/jax/rnn.py and numpy/rnn.py, where the mask of a step
    is (batch, 1), whatever axes the states have."""

    UNROLLED_BACKWARDS_MASK = (
        "Keras on torch cannot run a layer with a mask, unroll=True and "
        "go_backwards=True, as one half of a Bidirectional is (AttributeError: 'tuple' "
        "object has no attribute 'shape')"
    )
    """Source: keras/src/backend/torch/rnn.py, ``torch.flip`` of a tuple."""

    MIXED_STATES = (
        "Keras on torch loses the states of a stateful layer under a mixed policy: "
        "every batch begins with zeros, though none does in float32 or float64"
    )
    """Source: keras/src/backend/torch/core.py, ``_direct_assign``, which copies new
    values into ``self.value``: under a mixed policy that is a copy in 16 bits."""

    OTHER_AXES = (
        "Keras on torch cannot normalise neighbouring axes whose sizes are not those "
        "of the last axes (RuntimeError)"
    )
    """See `Rule.NORMALIZES_LAST_AXES`."""

    NEGATIVE_STEP = (
        "Keras on torch cannot take a slice with a negative step, such as x[:, ::-1] "
        "(ValueError); ops.flip works there"
    )
    ONE_HOT_BEYOND = (
        "Keras on torch and on NumPy has no row for an id of num_classes or more; on "
        "TensorFlow the row is zeros"
    )
    ONE_HOT_OF_FLOATS = (
        "Keras on NumPy has no one_hot of floats (IndexError); cast them to int32"
    )
    SOFTMAX_OVER_AXES = (
        "Keras on NumPy has no Softmax over several axes (TypeError)"
    )  # fmt: skip
    TEXTS = (
        "Keras takes texts in a model on TensorFlow alone; run it there, or give the "
        "ids to the layers behind"
    )
    WHOLE_NUMBERS = (
        "Keras on torch has no such function of whole numbers (NotImplementedError); "
        "cast them to floats first"
    )
    """MaxPooling1D and leaky_relu."""

    LEAKY_RELU = (
        "Keras on NumPy takes the greater of x and negative_slope * x, with the slope "
        "in the dtype of x: another function for slopes above 1 and for whole numbers"
    )
    """Source: keras/src/backend/numpy/nn.py, ``leaky_relu``."""

    LISTS = "Keras on JAX takes no list in ops.where"
    REPEATS = "Keras on JAX and on torch takes no list of repeats in ops.repeat"

    WHOLE_TO_FLOATS = (
        "an operation that makes floats of whole numbers is read for TensorFlow alone; "
        "other backends have other rules of promotion. Cast to floats first"
    )
    """Here it is this package that has not been held against Keras."""

    MEAN_OF_WHOLE = (
        "GlobalAveragePooling of whole numbers without a mask rounds in another way "
        "on JAX, in float32 even in a model of float64; cast to floats first"
    )
    SLOPE_OF_WHOLE = (
        "whole numbers times a negative slope are rounded in another way on JAX, in "
        "float32 even in a model of float64; cast to floats first"
    )
    NORM_OVER_AXES = (
        "Keras on JAX and on NumPy takes no list of axes in ops.norm; take the root of "
        "a sum of squares"
    )
    """One axis, as a number, is refused too: here it is not told from a list of one."""

    EQUAL_NUMBERS = (
        "Keras on NumPy puts equal numbers in any order, so ops.argsort and ops.top_k "
        "return other places than on TensorFlow"
    )
    """Source: keras/src/backend/numpy/numpy.py, ``argsort``, and numpy/math.py,
    ``top_k``, which take NumPy's unstable sorting."""

    SLICE_TO_END = (
        "Keras takes a size of -1 in ops.slice on TensorFlow alone, and the rows need "
        "it; x[:, 1:4] works everywhere"
    )
    GROUPED_HEADS = (
        "Keras on NumPy has no ops.dot_product_attention with fewer heads of keys than "
        "of queries"
    )
    COUNT_TURNED_ROUND = (
        "Keras on torch returns what ops.count_nonzero counts with all axes reversed"
    )
    """Source: keras/src/backend/torch/numpy.py, ``count_nonzero``: ``.T``."""

    ISTFT_ENDS = (
        "Keras on JAX, torch and NumPy divides by other windows in ops.istft than on "
        "TensorFlow, so that the ends differ"
    )
    """Source: ``istft`` in keras/src/backend/{jax,torch,numpy}/math.py."""

    WHOLE_TO_TENS = (
        "ops.round of whole numbers to tens or hundreds is read for TensorFlow alone, "
        "where it is not exact"
    )
    """Here, too, it is this package that has not been held against Keras."""


Rules = frozenset[Rule | Limit]
"""What a layer has in ``rules``: all of a backend's, or some of them."""

SEEN_IN_FLOAT32: Rules = frozenset({Rule.VARIANCE_OF_SQUARES, Rule.EXACT_BOUNDARIES})
"""Rules whose effect is rounding, so that float64 does not show it."""

TENSORFLOW: Rules = frozenset()
"""TensorFlow is the reference, so it follows no rule."""

_ELSEWHERE = (
    *(Rule.EXACT_CONSTANTS, Rule.FLOOR_DIVIDES_EXACTLY, Rule.RESIZED_STAYS_WHOLE),
    *(Limit.WHOLE_TO_FLOATS, Limit.WHOLE_TO_TENS, Limit.TEXTS, Limit.SLICE_TO_END),
    Limit.ISTFT_ENDS,
)

BACKENDS: Mapping[str, Rules] = MappingProxyType(
    {
        "tensorflow": TENSORFLOW,
        "jax": frozenset(
            {
                *_ELSEWHERE,
                Rule.MASKED_STEP_SHOWS_STATE,
                Rule.UNROLL_NEVER_ZEROES,
                Rule.MASK_HOLDS_STEPS,
                Rule.PREDICT_FORGETS_STATES,
                Rule.UNCHANGED_KEEPS_MASK,
                Rule.FRACTIONS_HAVE_NO_ROW,
                Limit.MASKED_CONVLSTM,
                Limit.LISTS,
                Limit.MEAN_OF_WHOLE,
                Limit.SLOPE_OF_WHOLE,
                Limit.NORM_OVER_AXES,
                Limit.REPEATS,
            }
        ),
        "torch": frozenset(
            {
                *_ELSEWHERE,
                Rule.SWAP_ENDS_MASK,
                Rule.VARIANCE_OF_SQUARES,
                Rule.NORMALIZES_LAST_AXES,
                Rule.UNEVEN_PADDING_COUNTS,
                Rule.CUBIC_REPEATS_EDGE,
                Rule.SYMMETRIC_REPEATS_EDGE,
                Rule.ZEROS_TIE,
                Rule.CENTRES_FIRST,
                Limit.UNROLLED_BACKWARDS_MASK,
                Limit.MIXED_STATES,
                Limit.OTHER_AXES,
                Limit.NEGATIVE_STEP,
                Limit.ONE_HOT_BEYOND,
                Limit.WHOLE_NUMBERS,
                Limit.REPEATS,
                Limit.COUNT_TURNED_ROUND,
            }
        ),
        "numpy": frozenset(
            {
                *_ELSEWHERE,
                Rule.MASKED_STEP_SHOWS_STATE,
                Rule.UNROLL_NEVER_ZEROES,
                Rule.MASK_HOLDS_STEPS,
                Rule.CAST_ENDS_MASK,
                Rule.EXACT_BOUNDARIES,
                Rule.SWAP_ENDS_MASK,
                Rule.VARIANCE_OF_SQUARES,
                Limit.MASKED_CONVLSTM,
                Limit.LEAKY_RELU,
                Limit.ONE_HOT_BEYOND,
                Limit.ONE_HOT_OF_FLOATS,
                Limit.SOFTMAX_OVER_AXES,
                Limit.NORM_OVER_AXES,
                Limit.EQUAL_NUMBERS,
                Limit.GROUPED_HEADS,
            }
        ),
    }
)
"""Name of a Keras backend -> its rules. Other backends are refused by name."""

REFUSED_BACKENDS: Mapping[str, str] = MappingProxyType(
    {
        "openvino": (
            ": on some processors its predict computes in bfloat16 and calls it "
            "float32, so nothing can be proved. Save its outputs, and run rnn-verify "
            "compare with --precision bfloat16"
        )
    }
)
"""Name of a backend -> why it is refused and what works instead, after its name."""


def backend_with(rules: Rules) -> str:
    """Return the name of the first backend with these rules."""
    return next((name for name, its in BACKENDS.items() if its == rules), "a backend")
