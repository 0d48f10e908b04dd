"""Evaluate what is bounded, a whole model or one layer, forwards and backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from verify.backward import backprop, backprop_call
from verify.backward.layers import Visitor
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.model.arrays import Array


class Computation(Protocol):
    """Evaluate some rows of what is bounded, forwards and backwards."""

    @property
    def net(self) -> Network:
        """Return the network that it belongs to."""

    def traces(self, rows: Array) -> tuple[Trace, Trace]:
        """Return the traces of some rows, in float32 and in float64."""

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

    def traces(self, rows: Array) -> tuple[Trace, Trace]:
        """Return the traces of some rows, in float32 and in float64."""
        some = self.x.take(rows)
        single = self.net.trace(some, dtype="float32")
        return single, self.net.trace(some, dtype="float64")

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

    def traces(self, rows: Array) -> tuple[Trace, Trace]:
        """Return the traces of some rows, in float32 and in float64."""
        name, args, kwargs = self._arguments(rows)
        single = self.net.trace_layer(name, args, kwargs, dtype="float32")
        return single, self.net.trace_layer(name, args, kwargs, dtype="float64")

    def sweep(
        self,
        rows: Array,
        gradients: Sequence[Array],
        visit: Visitor,
        trace: Trace | None = None,
        single: Trace | None = None,
    ) -> None:
        """Backpropagate gradients of the outputs; see `Computation`."""
        name, args, kwargs = self._arguments(rows)
        backprop_call(
            self.net, name, args, kwargs, gradients,
            visit=visit, trace=trace, single=single,
        )  # fmt: skip

    def _arguments(self, rows: Array) -> tuple[str, Sequence[Any], Mapping[str, Any]]:
        some = self.call.take(rows)
        return some.name, some.args, some.kwargs
