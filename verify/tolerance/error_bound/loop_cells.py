"""Say how the states of an LSTM, a GRU or a SimpleRNN depend on what a step computes.

`loops` carries changes forwards through these equations, and `loop_sweeps` adjoints
backwards. Within a step the errors of a gate reach the states of its own unit alone, so
that one number for each unit stands for all errors that reach a state in a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from verify.backward.cells import (
    BACKWARD_CELLS,
    BackwardCell,
    Values,
    input_gradient,
)
from verify.forward.cells import gate_blocks
from verify.model.arrays import Array
from verify.model.spec import LayerSpec
from verify.tolerance.error_bound.sites import RoundingSite
from verify.tolerance.noise_floor import FLUSH_ERROR


class SteppedBack(NamedTuple):
    """Hold what a step passes back; all arrays are (rows, sweeps, ...).

    Attributes
    ----------
    nodes : list of (rows, sweeps, units)
        The adjoints of all that errors reach, of the states first.
    sums : dict of (rows, sweeps, n * units)
        Name of a sum of products, as of its site -> its adjoint. The first is that of
        the inputs.
    before : list of (rows, sweeps, units)
        The adjoints of the states before the step.
    """

    nodes: Sequence[Array]
    sums: Mapping[str, Array]
    before: list[Array]


Forwards = Callable[[int, Sequence[Array], Sequence[Array]], list[Array]]
"""Step, changes of the states before it, and changes that it adds to the nodes -> the
changes of the states after it, (copies, rows, units) each."""

Backwards = Callable[[int, Sequence[Array]], SteppedBack]
"""Step, and the adjoints of the states after it -> what it passes back."""

ByStep = Callable[[Array], Array]
"""Returns values of all steps, (steps * rows, n), step by step."""


def step_by_step(time: int, rows: int) -> ByStep:
    """Return what turns (time * rows, ...) into (time, rows, 1, ...), in float32."""

    def by_step(values: Array) -> Array:
        single = values.astype(np.float32)
        return single.reshape(time, rows, 1, *values.shape[1:])

    return by_step


def adding_up(
    sites: Sequence[RoundingSite], reaching: Values, units: int
) -> tuple[Array, Array]:
    """Return what the errors of a step add up to in one of the nodes.

    Parameters
    ----------
    sites : list of RoundingSite
    reaching : mapping of str to (rows, n * units)
        Name of a site -> the derivative of the node with respect to it.
    units : int

    Returns
    -------
    worst, variance : (rows, units)
    """
    worst: Any = 0.0
    variance: Any = 0.0
    for site in sites:
        if site.name not in reaching:
            continue
        slope = np.abs(reaching[site.name])
        moved = site.max_error + FLUSH_ERROR
        moved *= slope
        worst = worst + _folded(moved, units)
        if site.standard_deviation is not None:
            deviation = slope * site.standard_deviation
            deviation *= deviation
            variance = variance + _folded(deviation, units)
    return worst, np.broadcast_to(variance, worst.shape)


def same_at_every_step(
    sites: Sequence[RoundingSite], reaching: Values
) -> dict[str, Array]:
    """Return what the errors that may be the same at every step move one of the nodes.

    Parameters
    ----------
    sites, reaching : as for `adding_up`

    Returns
    -------
    dict of str to (rows, n * units)
        Name of a site -> the standard deviation of what it moves.
    """
    return {
        site.name: reaching[site.name] * site.standard_deviation
        for site in sites
        if site.name in reaching and site.standard_deviation is not None
    }


def _folded(values: Array, units: int) -> Array:
    """Return the sum of the gate blocks: (..., n * units) -> (..., units)."""
    if values.shape[-1] == units:
        return values
    return values.reshape(*values.shape[:-1], -1, units).sum(axis=-2)


def add_blocks(total: Array, values: Array) -> None:
    """Add each gate block of some values, (..., n * units), to (..., units)."""
    units = total.shape[-1]
    for start in range(0, values.shape[-1], units):
        total += values[..., start : start + units]


class LoopCell(ABC):
    """Say how the states of a cell depend on what a step computes.

    Errors count by the *nodes* that they reach: the states, and what lies between two
    products of a step.

    Parameters
    ----------
    layer : LayerSpec
        With weights in float64.
    """

    parts: Mapping[str, Mapping[str, Sequence[int]]] = MappingProxyType({})
    """Name of a site that reaches several nodes -> node -> which gate blocks reach it.
    """

    def __init__(self, layer: LayerSpec) -> None:
        self.back: Any = self.backward_cell(layer)
        self.kernel = self.back.kernel.astype(np.float32)
        self.recurrent = self.back.recurrent_kernel.astype(np.float32)
        self.width: int = self.kernel.shape[-1]  # n * units
        self.units: int = self.recurrent.shape[-2]
        self._slopes: tuple[Any, Any] = (None, None)

    def backward_cell(self, layer: LayerSpec) -> BackwardCell:
        """Return the equations of the cell for a single step."""
        return BACKWARD_CELLS[layer.class_name](layer)

    def slopes(self, v: Values) -> Any:
        """Return `derived_slopes`, which are computed once for the same values."""
        if self._slopes[0] is not v:
            self._slopes = v, self.derived_slopes(v)
        return self._slopes[1]

    @abstractmethod
    def derived_slopes(self, v: Values) -> Any:
        """Return how nodes depend on the sums of products before them."""

    def apart(self, sites: Sequence[RoundingSite]) -> list[RoundingSite]:
        """Return the sites, none of which reaches more than one node."""
        found = []
        for site in sites:
            if site.name not in self.parts:
                found.append(site)
                continue
            for node, blocks in self.parts[site.name].items():
                worst, deviation = site.max_error, site.standard_deviation
                assert deviation is not None
                found.append(
                    RoundingSite(
                        f"{site.name} to {node}",
                        self.blocks(worst, blocks),
                        self.blocks(deviation, blocks),
                    )
                )
        return found

    def blocks(self, values: Array, which: Sequence[int]) -> Array:
        """Return some gate blocks of values: (..., n * units)."""
        if list(which) == list(range(which[0], which[-1] + 1)):
            return values[..., which[0] * self.units : (which[-1] + 1) * self.units]
        cut = values.reshape(*values.shape[:-1], -1, self.units)[..., which, :]
        return cut.reshape(*values.shape[:-1], -1)

    @abstractmethod
    def reaching(self, v: Values) -> list[dict[str, Array]]:
        """Return, for each node, its derivative with respect to every site.

        What reaches a node through another one is left out.
        """

    @abstractmethod
    def add_inputs(
        self, base: Sequence[Array], given: Array, v: Values, by_step: ByStep
    ) -> None:
        """Add what changes of the inputs do, (steps, copies, rows, n * units)."""

    @abstractmethod
    def forwards(self, v: Values, by_step: ByStep) -> Forwards:
        """Return a function that carries changes through a step."""

    @abstractmethod
    def backwards(self, v: Values, by_step: ByStep) -> Backwards:
        """Return a function that carries adjoints back through a step."""

    def towards_x(self, d: Array, row: Sequence[int]) -> Array:
        """Return the adjoint of the inputs, from that of their sums of products.

        Parameters
        ----------
        d : (rows, sweeps, ..., n * units)
        row : sequence of int
            Shape of what a row is given in a step.
        """
        return input_gradient(d, self.kernel)

    def towards_h(self, d: Array) -> Array:
        """Return the adjoint of the state before, from that of sums of products."""
        return input_gradient(d, self.recurrent)

    def of_inputs(self, changes: Array) -> Array:
        """Return changes of inputs, (n, ..., features), times the kernel."""
        return _times(changes, self.kernel)

    def through(self, changes: Array) -> Array:
        """Return changes of the state times the recurrent kernel."""
        return _times(changes, self.recurrent)


def _times(changes: Array, kernel: Array) -> Array:
    """Return ``changes @ kernel`` as one product for all copies and rows."""
    flat = changes.reshape(-1, len(kernel)) @ kernel
    return flat.reshape(*changes.shape[:-1], -1)


class _SimpleRNN(LoopCell):
    def reaching(self, v: Values) -> list[dict[str, Array]]:
        return [{"z": self.slopes(v), "h": np.ones(())}]

    def derived_slopes(self, v: Values) -> Array:
        return np.asarray(self.back.back(v["z"], v["h"], np.ones(())))

    def add_inputs(
        self, base: Sequence[Array], given: Array, v: Values, by_step: ByStep
    ) -> None:
        base[0][...] += given * by_step(self.slopes(v))

    def forwards(self, v: Values, by_step: ByStep) -> Forwards:
        slope = by_step(self.slopes(v))

        def run(t: int, before: Sequence[Array], own: Sequence[Array]) -> list[Array]:
            h = self.through(before[0])
            h *= slope[t]
            h += own[0]
            return [h]

        return run

    def backwards(self, v: Values, by_step: ByStep) -> Backwards:
        slope = by_step(self.slopes(v))

        def run(t: int, after: Sequence[Array]) -> SteppedBack:
            z = after[0] * slope[t]
            return SteppedBack(after, {"z": z}, [self.towards_h(z)])

        return run


class LSTMLoopCell(LoopCell):
    """Have the states ``h`` and ``c``, both of which are nodes."""

    parts = MappingProxyType({"z": {"c": (0, 1, 2), "h": (3,)}})

    def derived_slopes(self, v: Values) -> tuple[Array, Array]:
        """Return how c and h depend on z: blocks i, f, c, and block o."""
        back, gate = self.back.back, self.back.recurrent_back
        z_i, z_f, z_c, z_o = gate_blocks(v["z"], 4)
        to_c = [
            gate(z_i, v["i"], v["c_hat"]),
            gate(z_f, v["f"], v["c_before"]),
            back(z_c, v["c_hat"], v["i"]),
        ]
        to_h = gate(z_o, v["o"], v["activation(c)"])
        return np.concatenate(to_c, axis=-1), to_h

    def onto_h(self, v: Values) -> Array:
        """Return how h depends on c of the same step."""
        return np.asarray(self.back.back(v["c"], v["activation(c)"], v["o"]))

    def reaching(self, v: Values) -> list[dict[str, Array]]:
        """Return what reaches h, and what reaches c; see `LoopCell`."""
        to_c, to_h = self.slopes(v)
        one = np.ones(())
        h = {
            "z to h": to_h, "o": v["activation(c)"], "activation(c)": v["o"], "h": one,
        }  # fmt: skip
        c = {
            "z to c": to_c, "i": v["c_hat"], "f": v["c_before"], "c_hat": v["i"],
            "c": one,
        }  # fmt: skip
        return [h, c]

    def add_inputs(
        self, base: Sequence[Array], given: Array, v: Values, by_step: ByStep
    ) -> None:
        """Add what changes of the inputs do; see `LoopCell`."""
        to_c, to_h = self.slopes(v)
        most = 3 * self.units
        add_blocks(base[1], given[..., :most] * by_step(to_c))
        base[0][...] += given[..., most:] * by_step(to_h)

    def forwards(self, v: Values, by_step: ByStep) -> Forwards:
        """Return a function that carries changes through a step."""
        slopes = by_step(np.concatenate(self.slopes(v), axis=-1))
        kept, onto_h = by_step(v["f"]), by_step(self.onto_h(v))

        def run(t: int, before: Sequence[Array], own: Sequence[Array]) -> list[Array]:
            z = self.through(before[0])
            z *= slopes[t]
            i, f, c_hat, o = gate_blocks(z, 4)
            c = before[1] * kept[t]
            c += i
            c += f
            c += c_hat
            c += own[1]
            h = c * onto_h[t]
            h += o
            h += own[0]
            return [h, c]

        return run

    def backwards(self, v: Values, by_step: ByStep) -> Backwards:
        """Return a function that carries adjoints back through a step."""
        slopes = by_step(np.concatenate(self.slopes(v), axis=-1))
        kept, onto_h = by_step(v["f"]), by_step(self.onto_h(v))

        def run(t: int, after: Sequence[Array]) -> SteppedBack:
            h, c = after
            c = c + h * onto_h[t]
            z = np.empty((*h.shape[:-1], 4 * self.units), h.dtype)
            by_block = _in_blocks(slopes[t], 4)
            np.multiply(
                c[..., None, :], by_block[..., :3, :], _in_blocks(z, 4)[..., :3, :]
            )
            np.multiply(h, by_block[..., 3, :], out=_in_blocks(z, 4)[..., 3, :])
            before = [self.towards_h(z), c * kept[t]]
            return SteppedBack([h, c], {"z": z}, before)

        return run


def _in_blocks(values: Array, count: int) -> Array:
    """Return a view of (..., count * units): (..., count, units)."""
    return values.reshape(*values.shape[:-1], count, -1)


class _GRU(LoopCell):
    """Without ``reset_after`` there is a node between the products: ``r * h``."""

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.reset_after: bool = self.back.reset_after
        self.most = 2 * self.units
        if not self.reset_after:
            self.parts = {name: {"h": (0, 2), "r * h": (1,)} for name in "as"}

    def derived_slopes(self, v: Values) -> tuple[Array, Array]:
        """Return how nodes depend on both sides of the gates: blocks z, r, h.

        Block r reaches ``r * h`` without ``reset_after``, and all others reach h.
        """
        gate = self.back.recurrent_back
        a_z, a_r, a_h = gate_blocks(v["a"], 3)
        s_z, s_r, s_h = gate_blocks(v["s"], 3)
        inside = a_h + (v["r"] * s_h if self.reset_after else s_h)
        to_hat = self.back.back(inside, v["h_hat"], 1 - v["z"])
        to_z = gate(a_z + s_z, v["z"], v["h_before"] - v["h_hat"])
        onto_r = to_hat * s_h if self.reset_after else v["h_before"]
        to_r = gate(a_r + s_r, v["r"], onto_r)
        from_s = to_hat * v["r"] if self.reset_after else to_hat
        return (
            np.concatenate([to_z, to_r, to_hat], axis=-1),
            np.concatenate([to_z, to_r, from_s], axis=-1),
        )

    def reaching(self, v: Values) -> list[dict[str, Array]]:
        a, s = self.slopes(v)
        h = {"z": v["h_before"] - v["h_hat"], "h_hat": 1 - v["z"], "h": np.ones(())}
        if self.reset_after:
            r = a[:, self.most :] * v["s"][:, self.most :]
            return [{"a": a, "s": s, "r": r, **h}]
        of_h = {f"{name} to h": self.blocks(a, (0, 2)) for name in "as"}
        of_r = {f"{name} to r * h": self.blocks(a, (1,)) for name in "as"}
        return [{**of_h, **h}, {**of_r, "r": v["h_before"]}]

    def add_inputs(
        self, base: Sequence[Array], given: Array, v: Values, by_step: ByStep
    ) -> None:
        moved = given * by_step(self.slopes(v)[0])
        if self.reset_after:
            add_blocks(base[0], moved)
            return
        z, r, h_hat = gate_blocks(moved, 3)
        base[0][...] += z + h_hat
        base[1][...] += r

    def forwards(self, v: Values, by_step: ByStep) -> Forwards:
        slopes, kept = by_step(self.slopes(v)[1]), by_step(v["z"])
        reset = None if self.reset_after else by_step(v["r"])

        def run(t: int, before: Sequence[Array], own: Sequence[Array]) -> list[Array]:
            h = before[0] * kept[t]
            if reset is None:
                s = self.through(before[0])
            else:
                s = np.empty((*h.shape[:-1], 3 * self.units), np.float32)
                gates, candidate = s[..., : self.most], s[..., self.most :]
                gates[...] = _times(before[0], self.recurrent[:, : self.most])
                r = gates[..., self.units :] * slopes[t][..., self.units : self.most]
                r += before[0] * reset[t]
                r += own[1]
                candidate[...] = _times(r, self.recurrent[:, self.most :])
            s *= slopes[t]
            z, r, h_hat = gate_blocks(s, 3)
            h += z
            if reset is None:
                h += r
            h += h_hat
            h += own[0]
            return [h]

        return run

    def backwards(self, v: Values, by_step: ByStep) -> Backwards:
        of_a, of_s = map(by_step, self.slopes(v))
        kept, reset = by_step(v["z"]), by_step(v["r"])
        kernel, units = self.recurrent, self.units

        def whole(t: int, after: Sequence[Array]) -> SteppedBack:
            (h,) = after
            a = np.empty((*h.shape[:-1], 3 * units), h.dtype)
            np.multiply(h[..., None, :], _in_blocks(of_a[t], 3), _in_blocks(a, 3))
            s = a.copy()
            s[..., self.most :] *= reset[t]
            before = self.towards_h(s)
            before += h * kept[t]
            return SteppedBack(after, {"a": a, "s": s}, [before])

        def by_parts(t: int, after: Sequence[Array]) -> SteppedBack:
            (h,) = after
            a = np.empty((*h.shape[:-1], 3 * units), h.dtype)
            z, r, h_hat = gate_blocks(a, 3)
            slope_z, slope_r, slope_hat = gate_blocks(of_s[t], 3)
            np.multiply(h, slope_z, out=z)
            np.multiply(h, slope_hat, out=h_hat)
            of_product = input_gradient(h_hat, kernel[:, self.most :])
            np.multiply(of_product, slope_r, out=r)
            before = input_gradient(a[..., : self.most], kernel[:, : self.most])
            before += h * kept[t]
            before += of_product * reset[t]
            return SteppedBack([h, of_product], {"a": a, "s": a}, [before])

        return whole if self.reset_after else by_parts


CELLS: Mapping[str, type[LoopCell]] = MappingProxyType(
    {"SimpleRNN": _SimpleRNN, "LSTM": LSTMLoopCell, "GRU": _GRU}
)
"""Class name of a recurrent layer -> how its states change."""
