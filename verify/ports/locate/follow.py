"""Follow the layers of a model through an exported file, to the first difference.

Every layer of the model has gates, states and an output for the given rows, and so has
the file. They are compared in the order in which they are computed, so that the first
difference is where the mistake is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.errors import join_and, printable
from verify.forward.evaluate import LayerTrace
from verify.forward.layers import LOOPS
from verify.forward.network import Inputs, Network, Trace, bare_path
from verify.mistakes.catalogue.given_states import initial_state
from verify.model.arrays import Array
from verify.model.graph import TensorRef, flatten
from verify.model.spec import LayerSpec
from verify.ports.artefacts.session import Session
from verify.ports.locate.attributes import attribute_sentences
from verify.ports.locate.fused import Direction, directions
from verify.ports.locate.inside import Inside, Tensor, look_inside
from verify.ports.locate.mapping import Piece, mapped
from verify.ports.locate.pool import Pool
from verify.ports.locate.weights import FoundWeights, find_weights

ALLOWED: Mapping[str, float] = {"": 3e-5, "float16": 5e-3, "bfloat16": 4e-2}
"""How far a value may be off, as a share of the greatest one of its array (or of 1):
in 32 bits, and if the file holds weights of 16 bits."""

FEW = 8
"""Fewer numbers than this are not looked for inside larger tensors, where they may
stand by chance."""

GATE_WORDS: Mapping[str, str] = {
    "c_hat": "gate c (the candidate)",
    "h_hat": "gate h (the candidate)",
    "c": "cell state c",
    "h": "state h",
}
"""Names in a trace -> words; the others are gates of that letter."""

KIND_NAMES: Mapping[str, str] = {
    "saved_model": "a SavedModel",
    "torch_export": "a file of torch.export",
}


@dataclass(frozen=True)
class Location:
    """Hold where the values of a file first leave those of the model.

    Attributes
    ----------
    layer : str or None
        Path of the layer in a trace; None if only outputs could be compared.
    gate : str or None
        Name in a trace: ``i f c_hat o c h`` for an LSTM, ``z r h_hat h`` for a GRU,
        ``h`` for a SimpleRNN; ``input`` and ``initial state`` for what it is given.
    step, unit, row : int or None
        Time step (on the time axis of the input), unit and row of the difference.
    tensor : str or None
        Name of the tensor or operator in the file.
    found, expected : float
        The two values; NaN if the file holds no such value.
    sentences : tuple of str
        What to tell the user: first where, then why.
    """

    layer: str | None
    gate: str | None
    step: int | None
    unit: int | None
    tensor: str | None
    found: float
    expected: float
    sentences: tuple[str, ...]
    row: int | None = None

    def __str__(self) -> str:
        return self.sentences[0]


@dataclass(frozen=True)
class Difference:
    """Hold the first difference inside one layer; attributes as of `Location`."""

    gate: str
    step: int | None
    row: int | None
    unit: int | None
    tensor: str
    found: float
    expected: float
    why: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Order:
    """Hold in which order an operator is given the steps of a layer's input.

    Attributes
    ----------
    positions : (batch, time)
        Where each step of the layer stands in the operator.
    flipped, packed : bool
        Whether the steps are reversed, and whether masked ones stand behind the others.
    """

    positions: Array
    flipped: bool = False
    packed: bool = False

    def restored(self, value: Array) -> Array:
        """Return (batch, time, ...) of the operator on the layer's time axis."""
        rows = np.arange(len(value))[:, None]
        restored: Array = value[rows, self.positions]
        return restored


def _orders(shape: tuple[int, ...], mask: Array | None) -> Iterator[Order]:
    """Yield orders in which files give the steps of a sequence to an operator."""
    batch, time = shape
    straight = np.broadcast_to(np.arange(time), (batch, time))
    yield Order(straight)
    yield Order(straight[:, ::-1], flipped=True)
    if mask is not None:
        behind = np.argsort(~mask, axis=1, kind="stable")  # unmasked steps first
        packed = np.argsort(behind, axis=1, kind="stable")
        yield Order(packed, packed=True)
        lengths = mask.sum(axis=1, keepdims=True)
        turned = np.where(packed < lengths, lengths - 1 - packed, packed)
        yield Order(turned, flipped=True, packed=True)


@dataclass
class Progress:
    """Hold how far the layers have been followed.

    Attributes
    ----------
    agreed : list of str
        Layers whose values agree.
    unseen : list of str
        Layers after the last of those whose values were not found in the file.
    """

    agreed: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def agrees(self, key: str) -> None:
        """Note that a layer agrees; what it depends on then agrees, too."""
        self.agreed += [*self.unseen, key]
        self.unseen = []


def locate(
    session: Session,
    net: Network,
    x: Inputs,
    feeds: Mapping[str, Array],
    output_of: Mapping[str, str],
) -> Location | None:
    """Find where a file first computes something else than the model.

    Parameters
    ----------
    session : Session
        The file; its state is renewed before and after.
    net : Network
    x : Inputs
        Prepared rows for `net`.
    feeds : mapping of str to array
        The same rows by the names of the file's inputs.
    output_of : mapping of str to str
        Name of an output of the model -> that of the file's.

    Returns
    -------
    Location, or None if every output agrees.

    Raises
    ------
    VerifyError
        The runtime refuses the rows, or crashes on them.
    """
    session.renew()
    outputs = session.run(feeds)
    session.renew()
    constants = session.constants()
    trace = net.trace(x, dtype="float64")
    follower = Follower(net, trace, x, _precision(constants))
    wrong = follower.first_wrong_output(outputs, output_of)
    if wrong is None:
        return None
    weights = find_weights(constants, net.spec)
    backwards = any(layer.options.get("go_backwards") for _, layer in net.spec.walk())
    inside = look_inside(session, feeds, backwards=backwards)
    if inside is None:
        kind = KIND_NAMES.get(session.kind, f"a file of kind {session.kind}")
        notes = (f"inside {kind} nothing can be looked at: its outputs are compared",)
        return follower.output_location(wrong, weights, notes)
    return follower.follow(inside, wrong, weights)


def _precision(constants: Mapping[str, Array]) -> str:
    """Return the least precise type of float among the weights of a file."""
    names = {array.dtype.name for array in constants.values() if array.size > 1}
    return next((n for n in ("bfloat16", "float16") if n in names), "")


class Follower:
    """Compare the values of a file with those of a model, layer by layer."""

    def __init__(self, net: Network, trace: Trace, x: Inputs, precision: str) -> None:
        self.net, self.trace, self.share = net, trace, ALLOWED[precision]
        self.states = given_states(net, trace, x)

    def allowed(self, expected: Array) -> float:
        """Return how far the values of an array may be off."""
        finite = expected[np.isfinite(expected)]
        return self.share * max(1.0, float(np.abs(finite).max(initial=0.0)))

    def same(self, found: Array, expected: Array, keep: Array | None = None) -> bool:
        """Return whether two arrays agree, where `keep` is true."""
        return (
            found.shape == expected.shape and not self.bad(found, expected, keep).any()
        )

    def bad(self, found: Array, expected: Array, keep: Array | None = None) -> Array:
        """Return where two arrays of the same shape differ."""
        with np.errstate(invalid="ignore"):
            apart = np.abs(found.astype(np.float64) - expected)
        wrong: Array = ~((apart <= self.allowed(expected)) | (found == expected))
        wrong &= ~(np.isnan(found.astype(np.float64)) & np.isnan(expected))
        if keep is not None:
            wrong &= keep.reshape(keep.shape + (1,) * (wrong.ndim - keep.ndim))
        return wrong

    def first_wrong_output(
        self, outputs: Mapping[str, Array], output_of: Mapping[str, str]
    ) -> tuple[str, str, Array | None, Array] | None:
        """Return name, name in the file and both values of the first wrong output."""
        names = self.net.output_names
        for name, expected in zip(names, flatten(self.trace.output), strict=True):
            other = output_of.get(name)
            if other is None:
                continue
            found = outputs.get(other)
            if found is None or not self.same(found, expected):
                return name, other, found, expected
        return None

    def output_location(
        self,
        wrong: tuple[str, str, Array | None, Array],
        weights: FoundWeights,
        notes: Sequence[str],
        layer: str | None = None,
    ) -> Location:
        """Return the location of an output, if nothing inside says more."""
        name, other, found, expected = wrong
        called = (
            f"output '{printable(name, 80)}' ('{printable(other, 80)}' in the file)"
        )
        extra = (*notes, *_weight_sentences(weights))
        if found is None or found.shape != expected.shape:
            received = "no such output" if found is None else f"shape {found.shape}"
            text = f"{called}: expected shape {expected.shape}, found {received}"
            return Location(
                layer, None, None, None, other, np.nan, np.nan, (text, *extra)
            )
        at = _first(self.bad(found, expected))
        step = at[1] if len(at) > 2 else None
        unit = at[-1] if len(at) > 1 else None
        where = _where(step, unit, at[0])
        text = (
            f"first difference: {called}{where}: {found[at]:.6g} in the file, "
            f"{expected[at]:.6g} by the model"
        )
        return Location(
            layer, None, step, unit, other, float(found[at]), float(expected[at]),
            (text, *extra), at[0],
        )  # fmt: skip

    def follow(
        self,
        inside: Inside,
        wrong: tuple[str, str, Array | None, Array],
        weights: FoundWeights,
    ) -> Location:
        """Compare layer by layer until one differs."""
        found = [d for operator in inside.operators for d in directions(operator)]
        pieces = mapped(self.net, self.trace, found, inside.loops)
        search = Search(self, inside)
        progress = Progress()
        for key, traced in self.trace.items():
            recurrent = traced.layer.class_name in LOOPS
            outputs = flatten(traced.output)
            # the file's own output is known to differ from the one of the model
            last = any(value is wrong[3] for value in outputs)
            if not last and all(search.holds(value) for value in outputs):
                progress.agrees(key)
                continue
            difference: Difference | None = None
            if recurrent and key in pieces:
                difference = self._in_piece(key, pieces[key], inside)
                if difference is None:
                    progress.agrees(key)
                    continue
            elif recurrent:
                difference = search.unrolled(traced)
            if difference is None:
                progress.unseen.append(key)
                continue
            if progress.unseen and not search.holds(flatten(traced.input)[0]):
                break  # what is between the layers that agree and this one is wrong
            return self._location(key, difference, progress, pieces, weights, inside)
        return self._between(progress, wrong, weights, inside, search)

    def _between(
        self,
        progress: Progress,
        wrong: tuple[str, str, Array | None, Array],
        weights: FoundWeights,
        inside: Inside,
        search: Search,
    ) -> Location:
        """Return the location of a layer whose output the file does not hold."""
        if not progress.unseen:
            notes = [
                "every layer agrees inside the file: what it returns as this output is "
                "another tensor, or is changed afterwards"
            ]
            return self.output_location(wrong, weights, (*notes, *inside.notes))
        key = progress.unseen[0]
        traced = self.trace[key]
        expected = flatten(traced.output)[0]
        last = len(progress.unseen) == 1 and wrong[3] is expected
        found = wrong[2] if last else None
        tensor = wrong[1] if last else ""
        if not last:
            near = search.nearest(expected, traced.layer.name)
            if near is not None:
                tensor, found = near
        if found is not None and found.shape == expected.shape:
            at = _first(self.bad(found, expected))
            difference = Difference(
                "output", at[1] if len(at) > 2 else None, at[0],
                at[-1] if len(at) > 1 else None, tensor, float(found[at]),
                float(expected[at]),
            )  # fmt: skip
        else:
            difference = Difference(
                "output", None, None, None, "", np.nan, np.nan,
                ("no tensor of the file holds the output of this layer",),
            )  # fmt: skip
        return self._location(key, difference, progress, {}, weights, inside)

    def _location(
        self,
        key: str,
        difference: Difference,
        progress: Progress,
        pieces: Mapping[str, Piece],
        weights: FoundWeights,
        inside: Inside,
    ) -> Location:
        piece = pieces.get(key)
        path = bare_path(key, self.net.spec)
        node = difference.tensor
        if piece is not None and piece.direction is not None:
            node = f"{piece.direction.node}"
        elif piece is not None and piece.loop is not None and not node:
            node = inside.loops[piece.loop].node
        named = f" (node '{printable(node, 80)}')" if node else ""
        gate = difference.gate
        what = _gate_words(gate)
        where = _where(difference.step, difference.unit, difference.row)
        values = (
            f": {difference.found:.6g} in the file, {difference.expected:.6g} by the "
            "model"
            if np.isfinite(difference.expected) and not np.isnan(difference.found)
            else ""
        )
        before = [k for k in progress.agreed if k != key]
        agree = ""
        if before:
            shown = join_and(f"'{printable(k, 40)}'" for k in before[-4:])
            agree = f"; the layers before it agree ({shown})"
        who = f"layer '{printable(key, 80)}'{named}"
        first = f"first difference: {who}, {what}{where}{values}{agree}"
        sentences = [first, *difference.why]
        if piece is not None:
            if piece.direction is not None:
                traced = self.trace[key]
                order = self.order(traced, piece.direction)
                flipped = order is not None and order.flipped
                sentences += attribute_sentences(
                    piece.direction, traced, self.states.get(key, ()), flipped
                )
                sentences += _order_sentences(piece.weights, path)
            else:
                sentences += _order_sentences(piece.weights, path, reads="the loop")
        sentences += _weight_sentences(weights, path)
        sentences += inside.notes
        return Location(
            key, gate, difference.step, difference.unit, node or None,
            difference.found, difference.expected, tuple(dict.fromkeys(sentences)),
            difference.row,
        )  # fmt: skip

    def _in_piece(self, key: str, piece: Piece, inside: Inside) -> Difference | None:
        traced = self.trace[key]
        if piece.direction is not None:
            zeros = [np.zeros_like(state) for state in piece.direction.states]
            states = self.states.get(key, zeros)
            return self._in_operator(traced, piece.direction, states)
        tensors = [t for t in inside.tensors if t.loop == piece.loop]
        return self._in_loop(traced, tensors)

    def _in_operator(
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
            at = _first(self.bad(direction.x, expected, _mask(traced)))
            return Difference(
                "input", at[1], at[0], at[-1], node, float(direction.x[at]),
                float(expected[at]),
            )  # fmt: skip
        for name, given, wanted in zip("hc", direction.states, states, strict=False):
            if given.shape == wanted.shape and not self.same(given, wanted):
                at = _first(self.bad(given, wanted))
                return Difference(
                    f"initial state {name}", None, at[0], at[-1], direction.node,
                    float(given[at]), float(wanted[at]),
                )  # fmt: skip
        values = direction.values()
        pairs = {
            name: (direction.node, order.restored(values[own]))
            for name, own in _value_names(traced).items()
            if own in values
        }
        difference = self._first_gate(traced, pairs, packed=order.packed)
        if difference is not None:
            return difference
        return self._in_results(direction, values)

    def order(self, traced: LayerTrace, direction: Direction) -> Order | None:
        """Return in which order an operator is given the steps; None if in none."""
        expected, mask = flatten(traced.input)[0], _mask(traced)
        if direction.x.shape != expected.shape:
            return None
        for order in _orders(expected.shape[:2], mask):
            if self.same(order.restored(direction.x), expected, mask):
                return order
        return None

    def _in_results(
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
            if not self.same(y, values["h"], lives):
                at = _first(self.bad(y, values["h"], lives))
                return Difference(
                    "h", at[1], at[0], at[-1], direction.node, float(y[at]),
                    float(values["h"][at]), why,
                )  # fmt: skip
        for name in ("h", "c"):
            after = direction.outputs.get(name)
            if after is None or name not in values:
                continue
            wanted = values[name][:, 0 if direction.reverse else -1]
            if not self.same(after, wanted):
                at = _first(self.bad(after, wanted))
                return Difference(
                    name, None, at[0], at[-1], direction.node, float(after[at]),
                    float(wanted[at]),
                    (f"this is {name} after the last step, as it is returned", *why),
                )  # fmt: skip
        return None

    def _first_gate(
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
        mask = _mask(traced)
        states = {"h", "c"}
        steps = next(iter(traced.values.values())).shape[1]
        backwards = _backwards(traced.layer)
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
                bad = self.bad(found[:, t], expected[:, t], keep)
                if bad.any():
                    apart = np.where(bad, np.abs(found[:, t] - expected[:, t]), -1)
                    at = np.unravel_index(int(np.argmax(apart)), apart.shape)
                    row, unit = int(at[0]), int(at[-1])
                    return Difference(
                        name, t, row, unit, tensor, float(found[:, t][at]),
                        float(expected[:, t][at]),
                    )  # fmt: skip
        return None

    def _in_loop(
        self, traced: LayerTrace, tensors: Sequence[Tensor]
    ) -> Difference | None:
        """Compare the tensors of the body of a loop with gates and states."""
        pairs = assigned(self, traced, tensors)
        difference = self._first_gate(traced, pairs)
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
                f"{_gate_words(difference.gate)} differs at unit {difference.unit}: "
                f"{difference.found:.6g} in the file, {difference.expected:.6g} by the "
                "model"
            )
            return Difference(gates[0], step, None, None, "", np.nan, np.nan, (why,))
        return difference


class Search:
    """Look for values of a model among all tensors of a file."""

    def __init__(self, follower: Follower, inside: Inside) -> None:
        self.follower = follower
        self.tensors = {t.name: t.value for t in inside.tensors}
        self.pool = Pool(self.tensors)

    def holds(self, value: Array) -> bool:
        """Return whether a tensor holds a value, its axes perhaps in another order."""
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            return True
        if value.size >= FEW:
            return self._found(value) is not None
        wanted = np.sort(value, axis=None)
        return any(
            tensor.size == value.size
            and self.follower.same(np.sort(tensor, axis=None), wanted)
            for tensor in self.tensors.values()
        )

    def _found(self, value: Array) -> str | None:
        forms = [value]
        if value.ndim == 3:
            forms += [np.swapaxes(value, 0, 1), value[:, ::-1]]
        for form in forms:
            flat = form.reshape(-1, form.shape[-1]) if form.ndim else form.reshape(1, 1)
            places = self.pool.places(
                flat, relative=0.0, absolute=self.follower.allowed(value), strides=(1,)
            )
            if places and not places[0].wrong:
                return places[0].array
        return None

    def nearest(self, expected: Array, name: str) -> tuple[str, Array] | None:
        """Return the last tensor of this shape whose name says it is the layer's."""
        found = None
        for tensor, value in self.tensors.items():
            words = tensor.replace(":", "/").split("/")
            own = any(w == name or w.startswith(f"{name}_") for w in words)
            if own and value.shape == expected.shape:
                found = tensor, value
        return found

    def unrolled(self, traced: LayerTrace) -> Difference | None:
        """Return the first gate of a layer that no tensor holds, step by step.

        A gate that no step shows is not a tensor of its own in this file.
        """
        values = traced.values
        steps = next(iter(values.values())).shape[1]
        mask = _mask(traced)
        backwards = _backwards(traced.layer)
        order = list(reversed(range(steps)) if backwards else range(steps))
        shown: set[str] = set()
        for t in order:
            keep = None if mask is None else mask[:, t]
            kept = slice(None) if keep is None else keep
            there = {
                name: self._found(value[kept, t]) is not None
                for name, value in values.items()
                if value[kept, t].size
            }
            states = [n for n in there if n.rpartition("/")[2] in ("h", "c")]
            missing = [name for name, found in there.items() if not found]
            near = {
                name: self._near(values[name][:, t])
                for name in missing
                if keep is None or keep.all()
            }
            first = next((name for name in missing if near.get(name)), "")
            if not first and all(there[n] for n in states):
                shown |= {name for name, found in there.items() if found}
                continue
            first = first or next(
                n for n in missing if n in shown or t == order[0] or n in states
            )
            seen = order[: order.index(t)]
            why = []
            if seen:
                why.append(
                    f"step{'s' if len(seen) > 1 else ''} {_range(seen)} "
                    f"{'agree' if len(seen) > 1 else 'agrees'}"
                )
            expected = values[first][:, t]
            nearest = near.get(first) or self._near(expected)
            if nearest is None:
                why.append(f"no tensor of the file holds this value for time step {t}")
                return Difference(first, t, None, None, "", np.nan, np.nan, tuple(why))
            tensor, found = nearest
            at = _first(self.follower.bad(found, expected))
            return Difference(
                first, t, at[0], at[-1], tensor, float(found[at]), float(expected[at]),
                tuple(why),
            )  # fmt: skip
        return None

    def _near(self, value: Array) -> tuple[str, Array] | None:
        """Return the tensor that holds most numbers of a value, and what it has."""
        flat = value.reshape(-1, value.shape[-1])
        places = self.pool.places(
            flat, relative=0.0, absolute=self.follower.allowed(value), strides=(1,)
        )
        if not places:
            return None
        place = places[0]
        return place.array, self.pool.at(place, flat.shape).reshape(value.shape)


def _range(steps: Sequence[int]) -> str:
    return f"{min(steps)}" if len(steps) == 1 else f"{min(steps)} to {max(steps)}"


def assigned(
    follower: Follower, traced: LayerTrace, tensors: Sequence[Tensor]
) -> dict[str, tuple[str, Array]]:
    """Say which tensor of a loop's body is which gate or state of a layer.

    A tensor that agrees at every step is that gate. What is left goes by the names that
    TensorFlow gives the operations of a cell, and then by how many numbers agree.

    Returns
    -------
    dict of str to (str, (batch, time, units))
        Name in the trace -> name and value; NaN at steps that are not known.
    """
    backwards = _backwards(traced.layer)
    mask = _mask(traced)
    lined: dict[str, tuple[Tensor, Array]] = {}
    batch, time = next(iter(traced.values.values())).shape[:2]
    for tensor in tensors:
        value = _on_time_axis(tensor, batch, time, backwards)
        if value is not None:
            lined[tensor.name] = tensor, value
    found: dict[str, tuple[str, Array]] = {}
    wrong: list[str] = []
    shares: dict[str, dict[str, float]] = {}
    for name, expected in traced.values.items():
        gate = name.rpartition("/")[2] not in ("h", "c")
        keep = mask if gate else None
        shares[name] = {}
        for key, (_, value) in lined.items():
            if value.shape != expected.shape:
                continue
            others = (0, *range(2, value.ndim))
            known = ~np.isnan(value).all(axis=others)  # (time,)
            bad = follower.bad(value, expected, keep)[:, known]
            shares[name][key] = 1.0 - float(bad.mean()) if bad.size else 0.0
        best = max(shares[name], key=lambda k: shares[name][k], default=None)
        if best is not None and shares[name][best] == 1.0:
            found[name] = best, lined[best][1]
        else:
            wrong.append(name)
    by_name = _tensorflow_names(traced.layer, lined)
    for name in wrong:
        key = by_name.get(name, "")
        if not key:
            key = max(shares[name], key=lambda k: shares[name][k], default="")
            if not key or shares[name][key] < 0.1:
                continue
        if lined[key][1].shape == traced.values[name].shape:
            found[name] = key, lined[key][1]
    # A gate that agrees under a name that says otherwise was exchanged with another.
    for name, key in by_name.items():
        if name in found and found[name][0] != key and wrong and "h" in wrong:
            op = lined[key][0].op
            if lined[found[name][0]][0].op == op:
                found[name] = key, lined[key][1]
    return found


def _on_time_axis(
    tensor: Tensor, batch: int, time: int, backwards: bool
) -> Array | None:
    """Return a tensor of a loop as (batch, time, ...), or None if it is none.

    Iterations that the file does not show are NaN.
    """
    value = tensor.value.astype(np.float64)
    if value.ndim < 3 or value.shape[1] != batch:
        return None
    steps = range(len(value)) if tensor.steps is None else tensor.steps
    if not all(-time <= step < time for step in steps):
        return None
    filled = np.full((time, *value.shape[1:]), np.nan)
    filled[list(steps)] = value
    return np.swapaxes(filled[::-1] if backwards else filled, 0, 1)


def _tensorflow_names(
    layer: LayerSpec, lined: Mapping[str, tuple[Tensor, Array]]
) -> dict[str, str]:
    """Return gate -> tensor by the names that TensorFlow gives operations in turn.

    Keras computes i, f, c, o in this order, and z before r, so that the first Sigmoid
    is i or z. Source: keras/src/layers/rnn/{lstm,gru}.py, ``call`` of the cells.
    """
    kind = layer.class_name.removesuffix("Cell")
    wanted = {
        "LSTM": {"i": ("gate", 0), "f": ("gate", 1), "o": ("gate", 2),
                 "c_hat": ("new", 0)},
        "GRU": {"z": ("gate", 0), "r": ("gate", 1), "h_hat": ("new", 0)},
    }.get(kind, {})  # fmt: skip
    functions = {
        "gate": layer.options.get("recurrent_activation"),
        "new": layer.options.get("activation"),
    }
    if functions["gate"] == functions["new"]:
        return {}
    found = {}
    for gate, (role, number) in wanted.items():
        word = str(functions[role]).title().replace("_", "")
        ending = word if not number else f"{word}_{number}"
        for name in lined:
            last = name.rpartition("/")[2].partition(":")[0].partition(";")[0]
            if last == ending:
                found[gate] = name
    return found


def _gate_words(gate: str) -> str:
    """Return what a gate, a state, the input or the output is called in a sentence."""
    if gate in ("input", "output"):
        return f"its {gate}"
    if gate.startswith("initial"):
        return gate
    cell, _, name = gate.rpartition("/")
    return GATE_WORDS.get(name, f"gate {name}") + (f" of cell {cell}" if cell else "")


def _mask(traced: LayerTrace) -> Array | None:
    mask = traced.mask
    if isinstance(mask, (list, tuple)):
        mask = mask[0] if mask else None
    return None if mask is None else np.asarray(mask, dtype=bool)


def _backwards(layer: LayerSpec) -> bool:
    return bool(layer.options.get("go_backwards"))


def _value_names(traced: LayerTrace) -> dict[str, str]:
    """Return the names of a trace -> those of the equations."""
    return {name: name.rpartition("/")[2] for name in traced.values}


def given_states(net: Network, trace: Trace, x: Inputs) -> dict[str, list[Array]]:
    """Return the initial states that calls of layers are given, by keys of a trace.

    Layers inside a model that is itself a layer are left out.
    """
    graph = net.spec.root.graph
    found: dict[str, list[Array]] = {}
    if graph is None:
        return found
    places = {layer.name: k for k, layer in enumerate(net.spec.inputs)}

    def key_of(layer: str, index: int) -> str:
        return f"{layer}:{index + 1}" if index else layer

    def value(ref: TensorRef) -> Any:
        if ref.layer in places:
            return x[places[ref.layer]]
        key = key_of(ref.layer, ref.node)
        return flatten(trace[key].output)[ref.tensor] if key in trace else None

    for node in graph.nodes:
        layer = net.spec.root.sublayers[node.layer]
        values = [value(ref) for ref in initial_state(layer, node)]
        if not values or not all(isinstance(v, np.ndarray) for v in values):
            continue
        key = key_of(node.layer, node.index)
        if layer.class_name == "Bidirectional":
            half = len(values) // 2
            found[f"{key}/forward_layer"] = values[:half]
            found[f"{key}/backward_layer"] = values[half:]
        else:
            found[key] = values
    return found


def _first(bad: Array) -> tuple[int, ...]:
    """Return the first index that is true: earliest time step, then row, then unit."""
    if bad.ndim < 3:
        return tuple(int(k) for k in np.argwhere(bad)[0])
    step = int(np.argwhere(bad.any(axis=(0, *range(2, bad.ndim))))[0][0])
    row, *rest = (int(k) for k in np.argwhere(bad[:, step])[0])
    return (row, step, *rest)


def _where(step: int | None, unit: int | None, row: int | None) -> str:
    words = []
    if step is not None:
        words.append(f"time step {step}")
    if unit is not None:
        words.append(f"unit {unit}")
    if row is not None:
        words.append(f"row {row}")
    return f", {', '.join(words)}" if words else ""


def _order_sentences(
    weights: FoundWeights, path: str, reads: str = "the operator"
) -> Iterator[str]:
    """Say which gate block of a layer stands where another is read."""
    for weight in weights.weights:
        if weight.layer != path and not weight.layer.startswith(f"{path}/"):
            continue
        wanted = {3: ("z", "r", "h"), 4: ("i", "f", "c", "o")}.get(len(weight.gates))
        if wanted and weight.gates != wanted:
            moved = [
                f"gate {here} in place of {there}"
                for here, there in zip(weight.gates, wanted, strict=True)
                if here != there
            ]
            yield (f"{weight.name.replace('_', ' ')}: {reads} reads {join_and(moved)}")


def _weight_sentences(weights: FoundWeights, path: str | None = None) -> list[str]:
    """Return what is said of the weights that a file does not hold as they are."""
    missing = [w for w in weights.weights if not w.found]
    if not missing:
        return [f"all {weights.total} weights of the model are in the file"]
    own = [
        w for w in missing if path is None or w.layer == path
        or w.layer.startswith(f"{path}/")
    ]  # fmt: skip
    said = [weight.sentence for weight in own[:6]]
    said.append(
        f"{weights.found} of {weights.total} weights of the model are in the file"
    )
    return said


__all__ = ["Location", "locate"]
