"""Follow the layers of a model through an exported file, to the first difference.

Every layer of the model has gates, states and an output for the given rows, and so has
the file. They are compared in the order in which they are computed, so that the first
difference is where the mistake is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from verify.errors import VerifyError, join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.layers import LOOPS
from verify.forward.network import Network
from verify.forward.trace import Trace, bare_path
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.ports.artefacts.session import Session
from verify.ports.locate.attributes import attribute_sentences
from verify.ports.locate.differences import (
    ALLOWED,
    Agreement,
    Difference,
    first_of,
    given_states,
)
from verify.ports.locate.fused import directions
from verify.ports.locate.inside import Inside, look_inside
from verify.ports.locate.layers import LayerComparison
from verify.ports.locate.mapping import Piece, mapped
from verify.ports.locate.search import Search
from verify.ports.locate.sentences import order_sentences, weight_sentences
from verify.ports.locate.weights import FoundWeights, find_weights
from verify.report.gate_words import gate_words, where_words

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
    for share in ALLOWED[_precision(constants)]:
        follower = Follower(net, trace, x, share)
        wrong = follower.first_wrong_output(outputs, output_of)
        if wrong is not None:
            break
    else:
        return None
    weights = find_weights(constants, net.spec)
    backwards = any(layer.options.get("go_backwards") for _, layer in net.spec.walk())
    try:
        inside = look_inside(session, feeds, backwards=backwards)
    except VerifyError as error:
        notes = (f"its tensors could not be looked at, only its outputs ({error})",)
        session.renew()
        return follower.output_location(wrong, weights, notes)
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

    def __init__(self, net: Network, trace: Trace, x: Inputs, share: float) -> None:
        self.net, self.trace = net, trace
        self.agreement = Agreement(share)
        self.layers = LayerComparison(self.agreement)
        self.states = given_states(net, trace, x)

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
            if found is None or not self.agreement.same(found, expected):
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
        extra = (*notes, *weight_sentences(weights))
        if found is None or found.shape != expected.shape:
            received = "no such output" if found is None else f"shape {found.shape}"
            text = f"{called}: expected shape {expected.shape}, found {received}"
            return Location(
                layer, None, None, None, other, np.nan, np.nan, (text, *extra)
            )
        at = first_of(self.agreement.bad(found, expected))
        step = at[1] if len(at) > 2 else None
        unit = at[-1] if len(at) > 1 else None
        where = where_words(step, unit, at[0])
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
        search = Search(self.agreement, inside)
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
            at = first_of(self.agreement.bad(found, expected))
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
        what = gate_words(gate)
        where = where_words(difference.step, difference.unit, difference.row)
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
                order = self.layers.order(traced, piece.direction)
                flipped = order is not None and order.flipped
                sentences += attribute_sentences(
                    piece.direction, traced, self.states.get(key, ()), flipped
                )
                sentences += order_sentences(piece.weights, path)
            else:
                sentences += order_sentences(piece.weights, path, reads="the loop")
        sentences += weight_sentences(weights, path)
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
            return self.layers.in_operator(traced, piece.direction, states)
        tensors = [t for t in inside.tensors if t.loop == piece.loop]
        return self.layers.in_loop(traced, tensors)
