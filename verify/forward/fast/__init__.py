"""What makes a forward pass quick; what it computes is said in `verify.forward.cells`.

Nothing here is needed to understand a model. `quickened` gives the recurrent layers of
a model steps of the same equations in another order of work, and `in_blocks` shares
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

from verify.forward.fast.blocks import (
    Blocks,
    at_most,
    blocks_of,
    cores,
    in_blocks,
    numpy_alone,
    thread_count,
)
from verify.forward.fast.loops import Quick
from verify.forward.fast.models import quickened

__all__ = [
    "Blocks",
    "Quick",
    "at_most",
    "blocks_of",
    "cores",
    "in_blocks",
    "numpy_alone",
    "quickened",
    "thread_count",
]
