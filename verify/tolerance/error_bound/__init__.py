"""Bound, for every output, how far a correct float32 program may be from float64.

This is running error analysis to first order. Each operation of the forward pass makes
a local rounding error, whose size follows from the float64 values (`sites`). One
backpropagation tells how much of each local error reaches an output (`visitor`). With
``d`` the adjoint of a value, that is the derivative of an output with respect to it::

    bound = sum |d| * max_error
            + STANDARD_DEVIATIONS * sqrt(sum (d * standard_deviation)**2)

``max_error`` is the worst case of activations, products and sums. A dot product adds
its terms in an order that only the library knows. Its worst case needs terms that are
all equal; as a bound it would be so wide that it hides mistakes. So most of its
rounding counts by its ``standard_deviation``; only its last rounding, and half of the
rounding of its terms, are in ``max_error`` (`sites`). Sums over the steps of a sequence
are another matter (`sums`). A layer may round the same dot
product in the same way at every step, so the second sum is at least that of
``sum d * standard_deviation`` over the steps.

Where float32 may cross a kink of an activation, the jump of the slope times the way
beyond the kink counts as an error of the activation. A row gets no bound where NumPy's
own float32 exceeds it, deviates too far for an analysis to first order, or comes near a
decision in which a value jumps.

The worst cases of activations are the constants of
`verify.tolerance.activation_errors`. Inputs and weights count as exact, because both
sides are given the same float32 numbers.

Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), chapters 3 and 4,
and section 2.8 for the statistics of rounding.
"""

from verify.tolerance.error_bound.bounds import (
    MAX_OUTPUT_ADJOINTS,
    bounded_call,
    bounded_outputs,
    call_bounds,
    has_states,
    measured_outputs,
    output_bounds,
)
from verify.tolerance.error_bound.computations import (
    Traces,
    traces_of,
    traces_of_call,
)
from verify.tolerance.error_bound.format_bounds import (
    bounded_by_format,
    bounded_by_policy,
    format_bounds,
    policy_format,
    without_bound,
)
from verify.tolerance.error_bound.sites import unbounded

__all__ = [
    "MAX_OUTPUT_ADJOINTS",
    "Traces",
    "bounded_by_format",
    "bounded_by_policy",
    "bounded_call",
    "bounded_outputs",
    "call_bounds",
    "format_bounds",
    "has_states",
    "measured_outputs",
    "output_bounds",
    "policy_format",
    "traces_of",
    "traces_of_call",
    "unbounded",
    "without_bound",
]
