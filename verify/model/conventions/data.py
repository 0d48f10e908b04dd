"""Read how frameworks store and compute the recurrent layers of Keras."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from verify.errors import UnsupportedError, join_and, printable
from verify.model.arguments import typed
from verify.model.spec import GATES


@dataclass(frozen=True)
class Measurement:
    """Hold what running a convention on random weights gave.

    Attributes
    ----------
    difference : float
        Greatest absolute difference of all outputs and final states from NumPy's in
        float64; the framework computed in float32.
    version : str
        The version that ran.
    command : str
        What measured it.
    """

    difference: float
    version: str
    command: str


@dataclass(frozen=True, eq=False)
class Refusal:
    """Say which layer a framework has no form for, why, and what can be done instead.

    Attributes
    ----------
    keras_layer : str
    reset_after : bool or None
        For GRU.
    reason, instead : str
    """

    keras_layer: str
    reset_after: bool | None
    reason: str
    instead: str

    @property
    def keras_text(self) -> str:
        """Return the layer of Keras as it is written: ``GRU(reset_after=True)``."""
        return _keras_text(self.keras_layer, self.reset_after)


@dataclass(frozen=True, eq=False)
class Convention:
    """Describe how one layer of a framework stores and computes a layer of Keras.

    Attributes
    ----------
    framework, title, version : str
        Its name here, its own name, and the version that this is true of.
    cell : str
        The framework's layer, cell or operator.
    keras_layer : str
        ``"LSTM"``, ``"GRU"`` or ``"SimpleRNN"``.
    reset_after : bool or None
        Of a GRU: which of Keras's two it is.
    gate_order : tuple of str
        In Keras's letters: LSTM i, f, c, o; GRU z, r, h.
    layout : str
        ``"blocks"``: the units of a gate beside each other; ``"interleaved"``: the
        gates of a unit; ``"separate"``: an array for each gate; ``"stacked"``: a matrix
        for each gate, beneath each other.
    orientation : str
        ``"transposed"``: (gates * units, inputs); ``"as in Keras"``: (inputs,
        gates * units).
    arrays : mapping of str to str, or None
        Name of each array -> the expression that makes it from Keras's, see
        `verify.model.conventions.expressions`. ``{layer}`` in a name is the number of
        the layer in a stack, ``{direction}`` the mark of the direction. None where the
        framework reads the Keras model itself, or where the names are not known.
    keras : mapping of str to str, or None
        K, R and b of Keras -> the expression that makes them from the framework's.
    bias_rule : str
    update_gate : str or None
        What the update gate z of a GRU is the share of.
    reset_rule : str or None
        Where the reset gate of a GRU is applied.
    state_order : str
    lengths, length_zero : str
        What happens past the length of a row, and to a row of length zero.
    bidirectional : str
    forget_bias : str
        What the bias of the forget gate is at the start.
    activations : mapping of str to tuple of str, or None
        The activations that it has; None where it has any.
    needs : mapping or None
        ``zero``: the part of Keras's weights that has no place and must be zeros, with
        ``reason`` and ``instead``.
    limits : tuple of str
    marks : mapping of str to str
        ``forward`` and ``backward`` -> what stands for ``{direction}``.
    prefixes : mapping of str to str
        ``forward`` and ``backward`` -> what stands before the names of the arrays in a
        Bidirectional.
    direction_axis : int or None
        The axis of every array on which both directions of a Bidirectional stand.
    measured : Measurement or None
        None where it was read in the source only.
    """

    framework: str
    title: str
    version: str
    cell: str
    keras_layer: str
    reset_after: bool | None
    gate_order: tuple[str, ...]
    layout: str
    orientation: str
    arrays: Mapping[str, str] | None
    keras: Mapping[str, str] | None
    bias_rule: str
    update_gate: str | None
    reset_rule: str | None
    state_order: str
    lengths: str
    length_zero: str
    bidirectional: str
    forget_bias: str
    activations: Mapping[str, tuple[str, ...]] | None
    needs: Mapping[str, str] | None
    limits: tuple[str, ...]
    marks: Mapping[str, str]
    prefixes: Mapping[str, str]
    direction_axis: int | None
    measured: Measurement | None

    @property
    def gates(self) -> tuple[str, ...]:
        """Return Keras's gates in Keras's order."""
        return GATES[self.keras_layer]

    @property
    def keras_text(self) -> str:
        """Return the layer of Keras as it is written: ``GRU(reset_after=True)``."""
        return _keras_text(self.keras_layer, self.reset_after)

    def fits(self, keras_layer: str, reset_after: bool | None) -> bool:
        """Return whether this is a form of such a layer."""
        return (self.keras_layer, self.reset_after) == (keras_layer, reset_after)


@dataclass(frozen=True, eq=False)
class OtherLayer:
    """Say which arrays hold the weights of a layer that is not recurrent.

    Attributes
    ----------
    cell : str
        The framework's layer.
    keras : mapping of str to str
        Keras's name of a weight -> the expression that makes it from the framework's.
    """

    cell: str
    keras: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Framework:
    """Hold the conventions of one framework, and what it has no form for.

    Attributes
    ----------
    others : mapping of str to OtherLayer
        Class of Keras, such as ``"Dense"`` -> the layer of the framework.
    """

    name: str
    title: str
    version: str
    aliases: tuple[str, ...]
    conventions: tuple[Convention, ...]
    refusals: tuple[Refusal, ...]
    others: Mapping[str, OtherLayer]

    def refusal(self, keras_layer: str, reset_after: bool | None) -> str:
        """Return why there is no form of such a layer, and what can be done."""
        for refusal in self.refusals:
            if (refusal.keras_layer, refusal.reset_after) == (keras_layer, reset_after):
                return f"{refusal.reason}. Instead: {refusal.instead}"
        held = join_and(c.keras_text for c in self.conventions)
        return f"it has a form of {held} only"


@cache
def frameworks() -> Mapping[str, Framework]:
    """Return every framework by its name here, in the order of the data."""
    package = resources.files("verify.model.conventions")
    data = json.loads((package / "conventions.json").read_text(encoding="utf-8"))
    measured = json.loads((package / "measured.json").read_text(encoding="utf-8"))
    return {
        name: _framework(name, entry, measured["measurements"].get(name, {}))
        for name, entry in data["frameworks"].items()
    }


@typed
def conventions(framework: str | None = None) -> tuple[Convention, ...]:
    """Return how a framework, or every framework, stores Keras's recurrent layers.

    Parameters
    ----------
    framework : str, optional
        Its name, such as ``"torch"`` or ``"flax.nnx"``, or one of its other names, in
        capitals or not.

    Returns
    -------
    tuple of Convention

    Raises
    ------
    UnsupportedError
        No framework has this name; the message says which comes near.
    """
    if framework is None:
        return tuple(c for one in frameworks().values() for c in one.conventions)
    return find_framework(framework).conventions


def find_framework(name: str) -> Framework:
    """Return a framework by one of its names.

    Raises
    ------
    UnsupportedError
        As `conventions`.
    """
    known = {alias.lower(): one for one in frameworks().values() for alias in
             (one.name, one.title, *one.aliases)}  # fmt: skip
    wanted = str(name).strip().lower()
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.7)
    hint = f"Did you mean {known[near[0]].name}? " if near else ""
    raise UnsupportedError(
        f"expected a framework. {hint}Received: {printable(name, 60) or 'nothing'}; "
        f"known are {join_and(frameworks())}"
    )


def _keras_text(keras_layer: str, reset_after: bool | None) -> str:
    option = "" if reset_after is None else f"(reset_after={reset_after})"
    return f"{keras_layer}{option}"


def _framework(
    name: str, entry: Mapping[str, Any], measured: Mapping[str, Any]
) -> Framework:
    found = tuple(
        _convention(name, entry, one, measured.get(one["cell"]))
        for one in entry["conventions"]
    )
    refusals = tuple(
        Refusal(x["keras_layer"], x.get("reset_after"), x["reason"], x["instead"])
        for x in entry.get("refused", ())
    )
    aliases = tuple(entry["aliases"])
    others = {key: OtherLayer(**one) for key, one in entry.get("others", {}).items()}
    return Framework(
        name, entry["title"], entry["version"], aliases, found, refusals, others
    )


def _convention(
    name: str,
    whole: Mapping[str, Any],
    one: Mapping[str, Any],
    measured: Mapping[str, Any] | None,
) -> Convention:
    """Return a convention; what its own entry does not say, its framework's says."""
    both = {**whole, **one}
    activations = one["activations"]
    return Convention(
        framework=name,
        title=whole["title"],
        version=whole["version"],
        cell=one["cell"],
        keras_layer=one["keras_layer"],
        reset_after=one.get("reset_after"),
        gate_order=tuple(one["gate_order"]),
        layout=one["layout"],
        orientation=one["orientation"],
        arrays=one["arrays"],
        keras=one["keras"],
        bias_rule=one["bias_rule"],
        update_gate=one.get("update_gate"),
        reset_rule=one.get("reset_rule"),
        state_order=both["state_order"],
        lengths=both["lengths"],
        length_zero=both["length_zero"],
        bidirectional=both["bidirectional"],
        forget_bias=both["forget_bias"],
        activations=None
        if activations == "any"
        else {key: tuple(names) for key, names in activations.items()},
        needs=one.get("needs"),
        limits=tuple(both["limits"]),
        marks=whole.get("names", {}),
        prefixes=whole.get("join", {}),
        direction_axis=whole.get("direction_axis"),
        measured=None if measured is None else Measurement(**measured),
    )
