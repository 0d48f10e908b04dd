"""Evaluate what is bounded, a whole model or one layer, forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from verify.backward import backprop, backprop_call
from verify.backward.layers import Visitor
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.model.arrays import Array


class Traces(NamedTuple):
    """Hold the traces of one evaluation, in float32 and in float64."""

    single: Trace
    double: Trace


class Computation(Protocol):
    """Evaluate some rows of what is bounded, forwards and backwards."""

    @property
    def net(self) -> Network:
        """Return the network that it belongs to."""

    @property
    def whole(self) -> Traces | None:
        """Return the traces of all rows, if they are known."""

    def traces(self, rows: Array) -> Traces:
        """Return the traces of some rows."""

    def sweep(
        self,
        rows: Array,
        gradients: Sequence[Array],
        visit: Visitor,
        trace: Trace | None = None,
        single: Trace | None = None,
    ) -> None:
        """Backpropagate gradients of the outputs, (sweeps, rows, ...) each.

        `trace` and `single` are those of these rows in float64 and in float32, where
        they are known already.
        """


@dataclass(frozen=True, eq=False)
class WholeModel:
    """Evaluate a whole model on its inputs."""

    net: Network
    x: Inputs
    whole: Traces | None = None

    def traces(self, rows: Array) -> Traces:
        """Return the traces of some rows."""
        if self.whole is not None and len(rows) == self.x.rows:
            return self.whole
        return traces_of(self.net, self.x.take(rows))

    def sweep(
        self,
        rows: Array,
        gradients: Sequence[Array],
        visit: Visitor,
        trace: Trace | None = None,
        single: Trace | None = None,
    ) -> None:
        """Backpropagate gradients of the outputs; see `Computation`."""
        some = self.x.take(rows)
        backprop(
            self.net, some, gradients,
            visit=visit, weights=False, trace=trace, single=single,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class OneLayer:
    """Evaluate one layer on the arguments of a call."""

    net: Network
    call: LayerCall
    whole: Traces | None = None

    def traces(self, rows: Array) -> Traces:
        """Return the traces of some rows."""
        if self.whole is not None and len(rows) == self.call.rows:
            return self.whole
        return traces_of_call(self.net, self.call.take(rows))

    def sweep(
        self,
        rows: Array,
        gradients: Sequence[Array],
        visit: Visitor,
        trace: Trace | None = None,
        single: Trace | None = None,
    ) -> None:
        """Backpropagate gradients of the outputs; see `Computation`."""
        some = self.call.take(rows)
        backprop_call(
            self.net, some.name, some.args, some.kwargs, gradients,
            visit=visit, trace=trace, single=single,
        )  # fmt: skip


def traces_of(net: Network, x: Inputs) -> Traces:
    """Return the traces of a model that is not stateful."""
    single = net.trace(x, dtype="float32")
    return Traces(single, net.trace(x, dtype="float64"))


def traces_of_call(net: Network, call: LayerCall) -> Traces:
    """Return the traces of one layer that has no states before the call."""
    single, double = (
        net.trace_layer(call.name, call.args, call.kwargs, dtype=dtype)
        for dtype in ("float32", "float64")
    )
    return Traces(single, double)
