"""The sums of a step, before its activations: products and bias, three ways."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from verify.engine.layout import Layout
from verify.spec import Array


class Sums(ABC):
    """The sums of a step: products with x and h, and the bias.

    Attributes
    ----------
    sums : (blocks, rows, units)
    space : (blocks + more, rows, units)
        The sums, and behind them room for what is multiplied with them.
    h : (rows, units)
        Where it lies at all times.
    """

    h: Array

    @abstractmethod
    def __init__(self, layout: Layout, rows: int, more: int = 0) -> None: ...

    def make_room(self, blocks: int, more: int, like: Array) -> None:
        """Make `space`, of blocks like one of h."""
        self.space = np.empty((blocks + more, *like.shape), like.dtype)
        self.sums = self.space[:blocks]

    @abstractmethod
    def __call__(self, x: Array) -> Array | None:
        """Fill `sums`; returns what remains to be added."""


class Products(Sums):
    """Both products in one, of x (rows, features)."""

    def __init__(self, layout: Layout, rows: int, more: int = 0) -> None:
        self.stack = layout.stack
        blocks, width, units = self.stack.shape
        self.inputs = np.ones((rows, width), self.stack.dtype)  # x, h, 1
        features = width - units - 1
        self.x = self.inputs[:, :features]
        self.h = self.inputs[:, features:-1]
        self.make_room(blocks, more, self.h)

    def __call__(self, x: Array) -> None:
        """Fill `sums`, wholly."""
        self.x[...] = x
        np.matmul(self.inputs, self.stack, self.sums)


class LookedUp(Sums):
    """The share of x (rows,) is looked up in a table: x is ids."""

    def __init__(self, layout: Layout, rows: int, more: int = 0) -> None:
        if layout.table is None:
            raise ValueError(f"{layout.layer}: there is no table to look up in")
        self.stack, self.table = layout.stack, layout.table
        blocks, units, _ = self.stack.shape
        self.h = np.empty((rows, units), self.stack.dtype)
        self.make_room(blocks, more, self.h)
        self.row = np.empty((rows, self.table.shape[1]), self.stack.dtype)
        self.found = self.row.reshape(rows, -1, units).transpose(1, 0, 2)

    def __call__(self, x: Array) -> Array:
        """Fill `sums` with h's share; returns x's."""
        # ids have been checked: "clip" spares a second check and a copy
        self.table.take(x, 0, self.row, "clip")
        np.matmul(self.h, self.stack, self.sums)
        return self.found


class Ahead(Sums):
    """One row, whose share of x is known for every step; x is (blocks, 1, units).

    The blocks of one row lie behind each other: one product of a vector does.
    """

    def __init__(self, layout: Layout, rows: int, more: int = 0) -> None:
        self.kernel = layout.recurrent
        units, columns = self.kernel.shape
        self.h = np.empty((rows, units), self.kernel.dtype)
        self.make_room(columns // units, more, self.h)
        self.flat = self.sums.reshape(rows, columns)

    def __call__(self, x: Array) -> Array:
        """Fill `sums` with h's share; returns x's."""
        self.h.dot(self.kernel, self.flat)  # np.dot takes half as long again
        return x
