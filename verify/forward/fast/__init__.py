"""Evaluate models faster, with the results of `verify.forward.cells` to rounding.

Nothing here is needed to understand a model. `compiled` gives the recurrent layers of a
model fast loops, which do the work of the same equations in another order, and
`in_row_blocks` shares the rows among threads:

* rows are evaluated in blocks, small enough for memory and large enough to keep a
  thread busy;
* the pre-activations of a step are one product,
  ``[x, h, 1] @ [kernel; recurrent_kernel; bias]``, whose gate blocks are views;
* a single row, whose time goes into the interpreter rather than into arithmetic, has a
  loop of its own, with fewer calls of NumPy a step;
* the layers of a model that is a chain are called one after the other, without finding
  out anew what each is given;
* ``sigmoid(z)`` is computed as ``(1 + tanh(z / 2)) / 2``, so that one call of tanh
  serves all gates;
* the whole table of an Embedding in front of a recurrent layer is multiplied by the
  kernel once, if that costs less than to multiply the vector of every id of every row;
* memory is kept from one call to the next.

Layers of other classes, layers that compute in 16 bits and layers with a planted
mistake (`LayerSpec.overrides`) are evaluated by their equations.
"""

from __future__ import annotations

from verify.forward.blas import single_threaded_blas
from verify.forward.fast.compile import compiled
from verify.forward.fast.row_blocks import (
    RowBlocks,
    core_count,
    in_row_blocks,
    limit_threads,
    row_blocks_for,
    thread_count,
)

__all__ = [
    "RowBlocks",
    "compiled",
    "core_count",
    "in_row_blocks",
    "limit_threads",
    "row_blocks_for",
    "single_threaded_blas",
    "thread_count",
]
