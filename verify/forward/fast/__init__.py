"""The fast forward pass; what it computes is said in `verify.forward.cells`.

Nothing here is needed to understand a model. `compiled` gives the recurrent layers of a
model fast loops, which take the steps of the same equations in another order of work,
and `in_row_blocks` shares the rows among threads:

* rows are evaluated in blocks: few enough for memory, enough for a thread to be busy;
* the pre-activations of a step are one product,
  ``[x, h, 1] @ [kernel; recurrent_kernel; bias]``, whose gate blocks are views;
* a single row, which is bounded by the interpreter and not by arithmetic, has the
  products of its inputs computed for all steps at once;
* ``sigmoid(z)`` is ``(1 + tanh(z / 2)) / 2``, so that one call does for all gates;
* an Embedding that feeds a recurrent layer is multiplied by its kernel once, the whole
  table, where that costs less than doing so for every word of every row;
* the memory of one call serves the next.

Layers that are not known here, that compute in 16 bits, or that have a planted mistake
(`LayerSpec.overrides`) are evaluated by their equations.
"""

from __future__ import annotations

from verify.forward.fast.compile import compiled
from verify.forward.fast.row_blocks import (
    RowBlocks,
    core_count,
    in_row_blocks,
    limit_threads,
    row_blocks_for,
    single_threaded_blas,
    thread_count,
)

__all__ = [
    "RowBlocks",
    "limit_threads",
    "row_blocks_for",
    "core_count",
    "in_row_blocks",
    "single_threaded_blas",
    "compiled",
    "thread_count",
]
