"""Estimate what bounds cost, and choose rows and elements that the budget allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from verify.backward.cells import Values
from verify.backward.layers import CONV_LOOPS, LoopCall
from verify.backward.recording import Operation
from verify.forward.trace import Trace
from verify.model.arrays import Array, FlatOutputs
from verify.model.graph import flatten
from verify.model.spec import LayerSpec
from verify.tolerance.error_bound.computations import Computation
from verify.tolerance.error_bound.sites import KNOWN_ACTIVATIONS, is_recorded

TERMS_PER_ADJOINT, RECORDED_PER_ADJOINT = 64, 3
"""Terms of a sum of products that take as long as an adjoint of another recorded
operation, and how many of those take as long as one of a layer with equations."""

LOOP_TERMS_PER_ADJOINT = 512
"""The same in a loop that is swept back, in float32."""

FEW_ELEMENTS = 8
"""Elements of a row whose sweeps take no longer than a sketch, or than to prepare the
row if it is a single one."""

ROW_SHARE = 1
"""Sweeps of a single element that take as long as recording a row and judging it."""

MAX_SKETCH_STEPS, LONG_LOOPS, LONG_SKETCH_BYTES = 20_000, 400, 3 * 2**28
"""Steps of loops over time that a sketch takes at most, all passes together: each takes
3 ms at most. From how many on the second number of bytes holds in place of
`SKETCH_BYTES`."""

SKETCH_BYTES = 2**28
"""Memory of the changes that a sketch carries."""


class Cost:
    """Estimate how long a backpropagation takes.

    Attributes
    ----------
    work : float
        The adjoints that it computes, or what takes as long.
    largest : int
        Size of the largest adjoint of a recorded operation.
    recorded : bool
        Whether any operation is recorded.
    """

    known_activations = KNOWN_ACTIVATIONS
    counts_only = True
    sweeps_loops = True

    def __init__(self) -> None:
        self.work, self.largest, self.recorded = 0.0, 0, False

    def __call__(
        self, key: str, step: int | None, d: Values, v: Values | Operation
    ) -> None:
        """Add the adjoints of one step; see `Visitor`."""
        size = sum(adjoint.size for adjoint in d.values())
        if not isinstance(v, Operation):
            self.work += size if d else 1
            return
        self.recorded, self.largest = True, max(self.largest, size)
        terms = v.terms if v.name == "products" else 0
        of_one = (1 + terms / TERMS_PER_ADJOINT) / RECORDED_PER_ADJOINT
        self.work += max(size * of_one, 1)

    def loop(
        self,
        key: str,
        call: LoopCall,
        d_output: Array,
        d_states: Sequence[Array],
        *,
        wants_x: bool,
    ) -> tuple[Array, Sequence[Array]]:
        """Add the adjoints of all steps; see `LoopVisitor`."""
        self.work += loop_adjoints(call.layer, call.x, call.initial[0], wants_x=wants_x)
        front = d_states[0].shape[:1]
        d_x = np.broadcast_to(0.0, (*front, *call.x.shape))
        return d_x, [np.zeros_like(d) for d in d_states]


def loop_adjoints(layer: LayerSpec, x: Array, state: Array, *, wants_x: bool) -> float:
    """Return the adjoints of a loop over time, or what takes as long.

    Parameters
    ----------
    layer : LayerSpec
    x : (rows, time, ...)
    state : (rows, ...)
    wants_x : bool
    """
    own = x.shape[1] * LOOP_ADJOINTS[layer.class_name] * state.size
    if layer.class_name not in CONV_LOOPS:
        return float(x.size * wants_x + own)
    weights = layer.weights
    terms = weights["recurrent_kernel"].size + weights["kernel"].size * wants_x
    products = x.shape[1] * terms * state.size / state.shape[-1]
    return float(own + products / LOOP_TERMS_PER_ADJOINT)


def cost_of_a_row(
    computation: Computation, flat: FlatOutputs, trace: Trace, rows: int
) -> Cost:
    """Return what one sweep of a row costs; no work where nothing rounds.

    Parameters
    ----------
    computation : Computation
    flat : FlatOutputs
    trace : Trace
        Of so many rows; of the first row if a layer is recorded.
    rows : int
    """
    if not records(trace):
        return _cost_of_equations(trace, rows)
    cost = Cost()
    gradients = flat.split(np.zeros((1, 1, flat.elements)))  # one sweep of one row
    computation.sweep(np.array([0]), gradients, cost, trace)
    return cost


LOOP_ADJOINTS: Mapping[str, int] = MappingProxyType(
    {"SimpleRNN": 3, "LSTM": 13, "GRU": 11, **dict.fromkeys(CONV_LOOPS, 13)}
)
"""Class of a recurrent layer -> adjoints of a step beside those of its input, for each
unit."""


def records(trace: Trace) -> bool:
    """Return whether bounds through any of the layers follow from what is recorded."""
    return any(is_recorded(call.layer) for call in trace.values())


def _cost_of_equations(trace: Trace, rows: int) -> Cost:
    """Return what one sweep of a row costs through layers with equations."""
    cost = Cost()
    for call in trace.values():
        name, options = call.layer.class_name, call.layer.options
        given, made = (
            sum(np.size(x) for x in flatten(leaves))
            for leaves in (call.input, call.output)
        )
        if name in LOOP_ADJOINTS:
            steps = int(np.prod(flatten(call.input)[0].shape[:2]))
            cost.work += given + steps * LOOP_ADJOINTS[name] * options["units"]
        elif name == "Dense":
            cost.work += given + 2 * made
        elif name in ("Activation", "Softmax"):
            cost.work += given + made
        elif name == "Bidirectional":
            merges = options["merge_mode"] in ("sum", "mul", "ave")
            cost.work += flatten(call.output)[0].size if merges else 0
        elif name == "Add" or options.get("output_mode") == "tf_idf":
            cost.work += made
    cost.work /= rows
    return cost


def sketch_plan(size: int, steps: int) -> tuple[int, int, int]:
    """Return how the rows of a sketch are cut.

    A step of a loop takes as long for few rows as for one, so long loops are run on
    more rows at a time, and only as often as `MAX_SKETCH_STEPS` allows.

    Parameters
    ----------
    size : int
        Bytes of the changes of one row.
    steps : int
        Of all loops over time of the model.

    Returns
    -------
    int
        Rows that are sketched together.
    int
        In how many groups of copies, so that they fit into memory.
    int
        How many times that may be done; 0 if the loops are too long.
    """
    most = MAX_SKETCH_STEPS // max(steps, 1)
    room = SKETCH_BYTES if steps < LONG_LOOPS else LONG_SKETCH_BYTES
    groups = max(-(-size // room), 1)
    return max(int(room // max(size, 1)), 1), groups, most // groups


def numbers(trace: Trace) -> int:
    """Return how many numbers the layers return: as many have adjoints at least."""
    outputs = [flatten(call.output) for call in trace.values()]
    return sum(np.size(x) for leaves in outputs for x in leaves)


def most_different(
    differences: Array, budget: float, share: int = 0
) -> tuple[Array, Array]:
    """Choose the rows and elements with the greatest differences.

    Parameters
    ----------
    differences : (rows, elements)
    budget : float
        Greatest number of pairs of a row and an element; more for a single row of few.
    share : int
        Pairs that a row counts for beside those of its elements.

    Returns
    -------
    rows, elements : (n,), (m,)
        Ascending.
    """
    rows, elements = differences.shape
    least = min(max(budget // (1 + share), 1), 4) if share else 4
    count = int(min(rows, max(budget // (elements + share), least)))
    order = np.argsort(-differences.max(axis=1), kind="stable")
    some = np.sort(order[:count])
    # what a row is prepared with takes longer than some sweeps
    fewest = FEW_ELEMENTS if len(some) == 1 else 1
    count = int(min(elements, max(budget // len(some) - share, fewest)))
    order = np.argsort(-differences[some].max(axis=0), kind="stable")
    return some, np.sort(order[:count])


def blocks(items: Array, size: int) -> Iterator[Array]:
    """Yield the items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
