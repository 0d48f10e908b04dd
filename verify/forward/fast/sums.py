"""The sums of a step, before its activations: products and bias, three ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial

import numpy as np

from verify.forward.fast.memory import empty_from_pool
from verify.forward.fast.weights import FastWeights, GateColumns, by_gate_block
from verify.model.arrays import Array


class Sums(ABC):
    """The sums of a step: products with x and h, and the bias.

    Blocks lie beside each other, for one product and for sums of whole rows. Those of a
    GRU, which are needed one by one, lie behind each other.

    Attributes
    ----------
    h : (rows, units)
        Where it lies at all times.
    gate_blocks : (blocks, rows, units)
        The sums.
    common : array
        Those of them that all of x's share, or a GRU's gates alone, is added to.
    """

    def __init__(
        self, weights: FastWeights, left: Array, h: Array, columns: GateColumns
    ) -> None:
        self.h, self.separate_candidate = h, weights.separate_candidate
        rows, units = h.shape
        if self.separate_candidate:
            self.gate_blocks = empty_from_pool(
                (len(columns.stack), rows, units), h.dtype
            )
            self.common = self.gate_blocks[:2]
            self.multiply = partial(np.matmul, left, columns.stack, self.gate_blocks)
        else:
            self.common = empty_from_pool((rows, columns.flat.shape[1]), h.dtype)
            self.gate_blocks = by_gate_block(self.common, units)
            self.multiply = partial(left.dot, columns.flat, self.common)

    def parts(self, share: Array) -> tuple[Array, Array | None]:
        """x's share (rows, columns): what is added to `common`, and what is not."""
        if not self.separate_candidate:
            return share, None
        blocks = by_gate_block(share, self.h.shape[1])
        return blocks[:2], blocks[2]

    @abstractmethod
    def __call__(self, x: Array) -> Array | None:
        """Fill `gate_blocks`.

        Returns x's share of a GRU's candidate, (rows, units), where that is not the
        last of them.
        """


class Products(Sums):
    """Both products in one, of x (rows, features)."""

    def __init__(self, weights: FastWeights, rows: int) -> None:
        columns, units = weights.together, weights.layer.options["units"]
        inputs = np.ones((rows, len(columns.flat)), columns.flat.dtype)  # x, h, 1
        self.x = inputs[:, : -units - 1]
        super().__init__(weights, inputs, inputs[:, -units - 1 : -1], columns)

    def __call__(self, x: Array) -> None:
        """See `Sums`."""
        self.x[...] = x
        self.multiply()


class LookedUp(Sums):
    """The share of x (rows,) is looked up in a table: x is ids."""

    def __init__(self, weights: FastWeights, rows: int) -> None:
        if weights.table is None:
            raise ValueError(f"{weights.layer}: there is no table to look up in")
        self.table = weights.table
        self.found = empty_from_pool((rows, self.table.shape[1]), self.table.dtype)
        h = weights.empty_h(rows)
        super().__init__(weights, h, h, weights.recurrent)
        self.share, self.rest = self.parts(self.found)

    def __call__(self, x: Array) -> Array | None:
        """See `Sums`."""
        # ids have been checked: "clip" spares a second check and a copy
        self.table.take(x, 0, self.found, "clip")
        self.multiply()
        np.add(self.common, self.share, self.common)
        return self.rest


class Ahead(Sums):
    """One row, whose share of x is known for every step; x is (1, columns)."""

    def __init__(self, weights: FastWeights, rows: int) -> None:
        h = weights.empty_h(rows)
        super().__init__(weights, h, h, weights.recurrent)

    def __call__(self, x: Array) -> Array | None:
        """See `Sums`."""
        self.multiply()
        share, rest = self.parts(x) if self.separate_candidate else (x, None)
        np.add(self.common, share, self.common)
        return rest
