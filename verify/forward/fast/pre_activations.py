"""Compute the pre-activations of a step, products and bias, in one of two ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial

import numpy as np

from verify.forward.fast.memory import empty_from_pool
from verify.forward.fast.weights import FastWeights, GateColumns, by_gate
from verify.model.arrays import Array


class PreActivations(ABC):
    """Compute the pre-activations of a step: products with x and h, and the bias.

    Gate blocks share the columns of one array, so one product fills them. A GRU's are a
    stack (gates, rows, units), because each is used alone.

    Attributes
    ----------
    h : (rows, units)
        The buffer in which the state is held; a step reads and overwrites it.
    gate_blocks : (gates, rows, units)
        The pre-activations, as a view by gates.
    x_target : (rows, columns), or (2, rows, units) for a GRU
        The pre-activations to which x's part is added. For a GRU only z and r: its
        candidate is summed later, after the reset gate.
    separate_candidate : bool
        See `FastWeights.separate_candidate`.
    """

    def __init__(
        self, weights: FastWeights, left: Array, h: Array, right: GateColumns
    ) -> None:
        """Prepare the product ``left @ right``, in which h is a part of `left`."""
        self.h, self.separate_candidate = h, weights.separate_candidate
        rows, units = h.shape
        if self.separate_candidate:
            shape = (len(right.stacked), rows, units)
            self.gate_blocks = empty_from_pool(shape, h.dtype)
            self.x_target = self.gate_blocks[:2]
            self.multiply = partial(np.matmul, left, right.stacked, self.gate_blocks)
        else:
            self.x_target = empty_from_pool((rows, right.flat.shape[1]), h.dtype)
            self.gate_blocks = by_gate(self.x_target, units)
            self.multiply = partial(left.dot, right.flat, self.x_target)

    def split(self, x_part: Array) -> tuple[Array, Array | None]:
        """Split x's part of the pre-activations, (rows, columns).

        Returns
        -------
        added
            The part to be added to `x_target`, in its shape.
        candidate : (rows, units) or None
            The part that belongs to the candidate of a GRU.
        """
        if not self.separate_candidate:
            return x_part, None
        blocks = by_gate(x_part, self.h.shape[1])  # (3, rows, units)
        return blocks[:2], blocks[2]

    @abstractmethod
    def __call__(self, x: Array) -> Array | None:
        """Fill `gate_blocks` for one step.

        Parameters
        ----------
        x
            The input of the step, in the form that the subclass takes.

        Returns
        -------
        (rows, units) or None
            ``a_h = x @ W_h + bias``, x's part of the candidate of a GRU; None if it is
            already the last of `gate_blocks`, or there is no candidate.
        """


class Fused(PreActivations):
    """Compute both products as one, ``[x, h, 1] @ fused``; x is (rows, features)."""

    def __init__(self, weights: FastWeights, rows: int) -> None:
        right, units = weights.fused, weights.layer.options["units"]
        left = np.ones((rows, len(right.flat)), right.flat.dtype)  # columns x, h, 1
        self.x = left[:, : -units - 1]  # (rows, features)
        h = left[:, -units - 1 : -1]  # (rows, units)
        super().__init__(weights, left, h, right)

    def __call__(self, x: Array) -> None:
        """Copy x beside h and multiply both; see `PreActivations`."""
        self.x[...] = x
        self.multiply()


class LookedUp(PreActivations):
    """Look up x's part in a table; x is ids, (rows,)."""

    def __init__(self, weights: FastWeights, rows: int) -> None:
        if weights.table is None:
            raise ValueError(f"{weights.layer}: there is no table to look up in")
        self.table = weights.table
        self.x_part = empty_from_pool((rows, self.table.shape[1]), self.table.dtype)
        h = weights.empty_h(rows)
        super().__init__(weights, h, h, weights.recurrent)
        self.added, self.candidate = self.split(self.x_part)

    def __call__(self, x: Array) -> Array | None:
        """Add the rows of the table to the products of h; see `PreActivations`."""
        # "clip" spares NumPy's check of the ids and a copy. The Embedding has refused
        # ids outside the table, so none is clipped.
        self.table.take(x, 0, self.x_part, "clip")
        self.multiply()
        np.add(self.x_target, self.added, self.x_target)
        return self.candidate
