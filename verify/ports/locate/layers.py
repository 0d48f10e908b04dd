"""Compare an operator or a loop of a file with the layer that it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verify.errors import printable
from verify.forward.evaluate import LayerTrace
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.ports.locate.differences import (
    Agreement,
    Difference,
    Order,
    first_of,
    goes_backwards,
    mask_of,
    orders,
)
from verify.ports.locate.fused import Direction
from verify.ports.locate.inside import Tensor
from verify.ports.locate.loops import assigned
from verify.report.gate_words import gate_words


@dataclass(frozen=True)
class LayerComparison:
    """Find the first difference between a layer and what computes it in a file.

    Attributes
    ----------
    agreement : Agreement
    """

    agreement: Agreement

    def in_operator(
        self, traced: LayerTrace, direction: Direction, states: Sequence[Array]
    ) -> Difference | None:
        """Compare an operator with its layer: inputs, gates, then what it returns."""
        expected = flatten(traced.input)[0]
        node = direction.names.get("X", "")
        if direction.x.shape != expected.shape:
            why = f"its shape is {direction.x.shape}, by the model {expected.shape}"
            return Difference("input", None, None, None, node, np.nan, np.nan, (why,))
        order = self.order(traced, direction)
        if order is None:
            at = first_of(self.agreement.bad(direction.x, expected, mask_of(traced)))
            return Difference(
                "input", at[1], at[0], at[-1], node, float(direction.x[at]),
                float(expected[at]),
            )  # fmt: skip
        for name, given, wanted in zip("hc", direction.states, states, strict=False):
            if given.shape == wanted.shape and not self.agreement.same(given, wanted):
                at = first_of(self.agreement.bad(given, wanted))
                return Difference(
                    f"initial state {name}", None, at[0], at[-1], direction.node,
                    float(given[at]), float(wanted[at]),
                )  # fmt: skip
        values = direction.values()
        pairs = {
            name: (direction.node, order.restored(values[own]))
            for name in traced.values
            for own in [name.rpartition("/")[2]]
            if own in values
        }
        difference = self.first_gate(traced, pairs, packed=order.packed)
        if difference is not None:
            return difference
        return self.in_results(direction, values)

    def in_loop(
        self, traced: LayerTrace, tensors: Sequence[Tensor]
    ) -> Difference | None:
        """Compare the tensors of the body of a loop with gates and states."""
        pairs = assigned(self.agreement, traced, tensors)
        difference = self.first_gate(traced, pairs)
        absent = [name for name in traced.values if name not in pairs]
        gates = [n for n in absent if n.rpartition("/")[2] not in ("h", "c")]
        if difference is None:
            if len(absent) == len(gates):
                return None
            why = "no tensor of the loop holds this value"
            return Difference(absent[0], None, None, None, "", np.nan, np.nan, (why,))
        if len(gates) == 1 and difference.gate.rpartition("/")[2] in ("h", "c"):
            step = difference.step
            why = (
                f"no tensor of the loop holds this value; all other gates agree, and "
                f"{gate_words(difference.gate)} differs at unit {difference.unit}: "
                f"{difference.found:.6g} in the file, {difference.expected:.6g} by the "
                "model"
            )
            return Difference(gates[0], step, None, None, "", np.nan, np.nan, (why,))
        return difference

    def order(self, traced: LayerTrace, direction: Direction) -> Order | None:
        """Return in which order an operator is given the steps; None if in none."""
        expected, mask = flatten(traced.input)[0], mask_of(traced)
        if direction.x.shape != expected.shape:
            return None
        for order in orders(expected.shape[:2], mask):
            if self.agreement.same(order.restored(direction.x), expected, mask):
                return order
        return None

    def in_results(
        self, direction: Direction, values: Mapping[str, Array]
    ) -> Difference | None:
        """Compare what the runtime returns with what the file says it computes."""
        lengths = direction.lengths
        y = direction.outputs.get("y")
        steps = direction.x.shape[1]
        why = (
            f"the weights and attributes of '{printable(direction.node, 80)}' are "
            "right, and so are its inputs: the runtime computes something else than "
            "the file says",
        )
        if y is not None:
            lives = None
            if lengths is not None:
                lives = np.arange(steps) < np.asarray(lengths)[:, None]
            if not self.agreement.same(y, values["h"], lives):
                at = first_of(self.agreement.bad(y, values["h"], lives))
                return Difference(
                    "h", at[1], at[0], at[-1], direction.node, float(y[at]),
                    float(values["h"][at]), why,
                )  # fmt: skip
        for name in ("h", "c"):
            after = direction.outputs.get(name)
            if after is None or name not in values:
                continue
            wanted = values[name][:, 0 if direction.reverse else -1]
            if not self.agreement.same(after, wanted):
                at = first_of(self.agreement.bad(after, wanted))
                return Difference(
                    name, None, at[0], at[-1], direction.node, float(after[at]),
                    float(wanted[at]),
                    (f"this is {name} after the last step, as it is returned", *why),
                )  # fmt: skip
        return None

    def first_gate(
        self,
        traced: LayerTrace,
        pairs: Mapping[str, tuple[str, Array]],
        *,
        packed: bool = False,
    ) -> Difference | None:
        """Return the first gate or state that differs, in the order of processing.

        Parameters
        ----------
        pairs : mapping of str to (str, (batch, time, units))
            Name in the trace -> name and value in the file, NaN at steps that the file
            does not show.
        packed : bool
            Whether masked steps stand behind the others in the file, so that their
            states tell nothing.
        """
        mask = mask_of(traced)
        states = {"h", "c"}
        steps = next(iter(traced.values.values())).shape[1]
        backwards = goes_backwards(traced.layer)
        for t in reversed(range(steps)) if backwards else range(steps):
            for name, expected in traced.values.items():
                if name not in pairs:
                    continue
                tensor, found = pairs[name]
                if np.isnan(found[:, t]).all():
                    continue
                gate = packed or name.rpartition("/")[2] not in states
                keep = mask[:, t] if mask is not None and gate else None
                if found.shape != expected.shape:
                    return Difference(
                        name, None, None, None, tensor, np.nan, np.nan,
                        (f"shape {found.shape} in the file, {expected.shape} by the "
                         "model",),
                    )  # fmt: skip
                bad = self.agreement.bad(found[:, t], expected[:, t], keep)
                if bad.any():
                    apart = np.where(bad, np.abs(found[:, t] - expected[:, t]), -1)
                    at = np.unravel_index(int(np.argmax(apart)), apart.shape)
                    row, unit = int(at[0]), int(at[-1])
                    return Difference(
                        name, t, row, unit, tensor, float(found[:, t][at]),
                        float(expected[:, t][at]),
                    )  # fmt: skip
        return None
