"""Hold rows that a network can be evaluated on: of a whole model, or of one layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from verify.forward.evaluate import States
from verify.forward.layers.base import Tensor
from verify.model.arrays import Array
from verify.model.graph import flatten, map_structure

if TYPE_CHECKING:
    from verify.forward.network import Network
    from verify.forward.trace import Trace


class Evaluable(Protocol):
    """Describe rows that a network can be evaluated on.

    There are two kinds: `Inputs` for a whole model, and a `LayerCall` for one layer.
    """

    @property
    def rows(self) -> int:
        """Return the number of samples."""

    def take(self, rows: Any) -> Self:
        """Return some of the samples, by a slice or by their numbers."""

    def evaluate(
        self,
        net: Network,
        dtype: str | None,
        *,
        threads: int | None = None,
        fast: bool = False,
    ) -> list[Array]:
        """Return the outputs, (batch, ...) each; `dtype` as for `Network.predict`.

        `threads` applies to a whole model; one layer is evaluated by one thread. With
        `fast` the loops over time are those of `verify.forward.fast`.
        """

    def outline(self, net: Network) -> Trace:
        """Return shapes and dtypes of an evaluation in float64; see `Network.outline`.

        A layer that is called alone has the dtypes of its own policy.
        """


class Inputs(tuple[Array, ...]):
    """Hold inputs that `Network.prepare` has checked, an array for each input."""

    @property
    def rows(self) -> int:
        """Return how many samples there are."""
        return len(self[0])

    def take(self, rows: Any) -> Inputs:
        """Return some of the samples, by a slice or by their numbers."""
        return Inputs(array[rows] for array in self)

    def like(self, arrays: Iterable[Array]) -> Inputs:
        """Return other inputs of the same rows."""
        return Inputs(arrays)

    def evaluate(
        self,
        net: Network,
        dtype: str | None,
        *,
        threads: int | None = None,
        fast: bool = False,
    ) -> list[Array]:
        """Return every output of the model; see `Evaluable`."""
        return net.flat(self, dtype=dtype, threads=threads, fast=fast, of_rows=0)

    def outline(self, net: Network) -> Trace:
        """Return the outlines of all layers; see `Evaluable`."""
        return net.outline(self, dtype="float64")


@dataclass(frozen=True, eq=False)
class LayerCall:
    """Hold the arguments of `Network.call_layer`: one layer, called alone.

    Attributes
    ----------
    name : str
        Path of the layer.
    args : sequence
        Positional arguments of its call.
    kwargs : mapping
        Keyword arguments of its call.
    states : dict
        Path of a stateful layer -> its states before the call.
    """

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    states: States = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Return how many samples there are."""
        leaves = flatten([list(self.args), dict(self.kwargs)])
        tensors = [leaf.value for leaf in leaves if isinstance(leaf, Tensor)]
        # beside tensors numbers and arrays are constants, which may come first
        return len((tensors or [leaf for leaf in leaves if np.ndim(leaf)])[0])

    def take(self, rows: Any) -> LayerCall:
        """Return some of the samples, by a slice or by their numbers."""
        leaves = flatten([list(self.args), dict(self.kwargs)])
        tensors = any(isinstance(leaf, Tensor) for leaf in leaves)

        def some(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                mask = None if leaf.mask is None else leaf.mask[rows]
                return Tensor(leaf.value[rows], mask)
            # beside tensors an array is a constant: the mask of attention, an operand
            cut = isinstance(leaf, np.ndarray) and not tensors
            return leaf[rows] if cut else leaf

        return LayerCall(
            self.name,
            map_structure(some, list(self.args)),
            map_structure(some, dict(self.kwargs)),
            {at: tuple(s[rows] for s in held) for at, held in self.states.items()},
        )

    def evaluate(
        self,
        net: Network,
        dtype: str | None,
        *,
        threads: int | None = None,
        fast: bool = False,
    ) -> list[Array]:
        """Return every output of the layer; see `Evaluable`."""
        states = dict(self.states)  # the call replaces the entries
        return net.call_layer(
            self.name, self.args, self.kwargs, dtype=dtype, states=states, fast=fast
        )

    def outline(self, net: Network) -> Trace:
        """Return the outlines of the layer and of those inside; see `Evaluable`."""
        return net.outline_layer(self)
