"""The sums of a step, before its activations: products and bias, three ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial

import numpy as np

from verify.forward.fast.layout import Layout, Weights, by_block
from verify.forward.fast.memory import room
from verify.model.arrays import Array


class Sums(ABC):
    """The sums of a step: products with x and h, and the bias.

    Blocks lie beside each other, for one product and for sums of whole rows. Those of a
    GRU, which are needed one by one, lie behind each other.

    Attributes
    ----------
    h : (rows, units)
        Where it lies at all times.
    blocks : (blocks, rows, units)
        The sums.
    common : array
        Those of them that all of x's share, or a GRU's gates alone, is added to.
    """

    def __init__(self, layout: Layout, left: Array, h: Array, weights: Weights) -> None:
        self.h, self.apart = h, layout.apart
        rows, units = h.shape
        if self.apart:
            self.blocks = room((len(weights.stack), rows, units), h.dtype)
            self.common = self.blocks[:2]
            self.multiply = partial(np.matmul, left, weights.stack, self.blocks)
        else:
            self.common = room((rows, weights.flat.shape[1]), h.dtype)
            self.blocks = by_block(self.common, units)
            self.multiply = partial(left.dot, weights.flat, self.common)

    def parts(self, share: Array) -> tuple[Array, Array | None]:
        """x's share (rows, columns): what is added to `common`, and what is not."""
        if not self.apart:
            return share, None
        blocks = by_block(share, self.h.shape[1])
        return blocks[:2], blocks[2]

    @abstractmethod
    def __call__(self, x: Array) -> Array | None:
        """Fill `blocks`.

        Returns x's share of a GRU's candidate, (rows, units), where that is not the
        last of them.
        """


class Products(Sums):
    """Both products in one, of x (rows, features)."""

    def __init__(self, layout: Layout, rows: int) -> None:
        weights, units = layout.together, layout.layer.options["units"]
        inputs = np.ones((rows, len(weights.flat)), weights.flat.dtype)  # x, h, 1
        self.x = inputs[:, : -units - 1]
        super().__init__(layout, inputs, inputs[:, -units - 1 : -1], weights)

    def __call__(self, x: Array) -> None:
        """See `Sums`."""
        self.x[...] = x
        self.multiply()


class LookedUp(Sums):
    """The share of x (rows,) is looked up in a table: x is ids."""

    def __init__(self, layout: Layout, rows: int) -> None:
        if layout.table is None:
            raise ValueError(f"{layout.layer}: there is no table to look up in")
        self.table = layout.table
        self.found = room((rows, self.table.shape[1]), self.table.dtype)
        h = layout.room_for_h(rows)
        super().__init__(layout, h, h, layout.recurrent)
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

    def __init__(self, layout: Layout, rows: int) -> None:
        h = layout.room_for_h(rows)
        super().__init__(layout, h, h, layout.recurrent)

    def __call__(self, x: Array) -> Array | None:
        """See `Sums`."""
        self.multiply()
        share, rest = self.parts(x) if self.apart else (x, None)
        np.add(self.common, share, self.common)
        return rest
