"""What makes a forward pass fast; what it computes is said in `verify.forward.cells`.

Nothing here is needed to understand a model. `compiled` gives the recurrent layers of
a model steps of the same equations in another order of work, and `in_row_blocks` shares
the rows among threads:

* rows are evaluated in blocks: few enough for memory, enough for a thread to be busy;
* the sums of a step are one product, ``[x, h, 1] @ [kernel; recurrent; bias]``, whose
  blocks are then taken apart: gates lie behind each other, (gates, rows, units);
* a row alone, which is bounded by the interpreter and not by arithmetic, has the
  products of its inputs computed for all steps at once;
* ``sigmoid(x)`` is ``(1 + tanh(x / 2)) / 2``, so that one call does for all gates;
* an Embedding that feeds a recurrent layer is multiplied by its kernel once, the whole
  table, where that costs less than doing so for every word of every row;
* the memory of one call serves the next.

Layers that are not known here, that compute in 16 bits, or whose functions have been
replaced (`LayerSpec.overrides`) stay as they are.
"""

from __future__ import annotations

from verify.forward.fast.loops import FastLoop
from verify.forward.fast.models import compiled
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
    "FastLoop",
    "limit_threads",
    "row_blocks_for",
    "core_count",
    "in_row_blocks",
    "single_threaded_blas",
    "compiled",
    "thread_count",
]
