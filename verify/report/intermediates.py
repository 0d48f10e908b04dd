"""What a report says of values inside a port: which agree, and the first difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verify.errors import join_and, printable
from verify.report.gate_words import gate_words
from verify.tolerance.compare import Comparison

SHOWN_NAMES, SHOWN_VALUES = 8, 24
"""Names that a line lists, and values in the table of a text, at most: of the values
those that agree are left out first."""


@dataclass(frozen=True)
class ValueResult:
    """Hold the comparison of one array of a port, inside it or an output.

    Attributes
    ----------
    name : str
        As the port gave it: ``"lstm/h"``, or the name of an output.
    layer, class_name : str
        The call of the layer that computes it, as in a trace, and its class; empty for
        an output that is an input of the model.
    value : str
        What it is of that call: ``"f"``, ``"h"``, ``"input"``, ``"output"``.
    output : bool
        Whether it is an output of the model.
    comparison : Comparison
        Against NumPy in float64; indices have the numbers of the time steps.
    decided : bool
        Whether rounding is small enough to tell a mistake from it.
    derived : float
        Share of the numbers that were compared by an error bound.
    recorded : str
        In which few digits the port recorded it, such as ``"float16"``; empty if in
        float32 or better.
    """

    name: str
    layer: str
    class_name: str
    value: str
    output: bool
    comparison: Comparison
    decided: bool = True
    derived: float = 0.0
    recorded: str = ""

    @property
    def matches(self) -> bool:
        """Return whether nothing differs by more than allowed."""
        return self.comparison.matches


@dataclass(frozen=True)
class Place:
    """Hold where the values of a port first leave those of the model.

    Attributes
    ----------
    name : str
        The array, as the port gave it.
    layer, class_name, value : str
        As of `ValueResult`.
    step : int or None
        Time step on the time axis of the input; None without a time axis.
    steps : int
        How many time steps there are.
    row, unit : int or None
    index : tuple of int
        Of the element, with the number of the time step.
    found, expected : float
        The port's value there, and NumPy's.
    allowed : float
        How far the port may be from it, for that unit.
    agreeing : tuple of str
        What was given and agrees, of what is computed before.
    unseen : tuple of str
        Layers before it of whose results nothing was given: the mistake may be there.
    """

    name: str
    layer: str
    class_name: str
    value: str
    step: int | None
    steps: int
    row: int
    unit: int | None
    index: tuple[int, ...]
    found: float
    expected: float
    allowed: float
    agreeing: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """Return layer and value in words: ``layer 'lstm' (LSTM), gate f``."""
        if not self.layer:
            return f"output '{printable(self.name, 60)}'"
        bare, dot, number = self.value.partition(".")
        words = gate_words(bare) if bare != "mask" else "its mask"
        if bare in ("logits",):
            words = "its logits"
        more = f" {int(number) + 1}" if dot and number.isdigit() else ""
        return f"layer '{printable(self.layer, 60)}' ({self.class_name}), {words}{more}"

    @property
    def where(self) -> str:
        """Return the element in words: ``time step 2 of 0..5, row 0, unit 1``."""
        words = []
        if self.step is not None:
            of = f" of 0..{self.steps - 1}" if self.steps else ""
            words.append(f"time step {self.step}{of}")
        words.append(f"row {self.row}")
        if self.unit is not None:
            words.append(f"unit {self.unit}")
        return ", ".join(words)

    def lines(self, subject: str, reference: str, *, explained: bool) -> list[str]:
        """Return lines for the text of a report; `explained` if the cause is known."""
        lines = [
            f"  first mismatch : {printable(self.name, 80)}: {self.what}, {self.where}",
            f"  values there   : {reference} {self.expected:.6g}, "
            f"{subject} {self.found:.6g} (allowed {self.allowed:.2g})",
        ]
        if self.agreeing:
            nearest = self.agreeing[::-1]
            lines.append(f"  agree before it: {listed(nearest)}")
        if self.unseen:
            guess = "" if explained else ", so the mistake may be there"
            lines.append(
                f"  not given      : what {listed(self.unseen)} "
                f"{_verb(self.unseen, 'return')}{guess}"
            )
        return lines


def output_lines(values: Sequence[ValueResult], suspects: Sequence[str]) -> list[str]:
    """Return lines that say which of several outputs agree, and which differ.

    Parameters
    ----------
    values : sequence of ValueResult
    suspects : sequence of str
        As of `Report`.
    """
    outputs = [value for value in values if value.output]
    if len(outputs) < 2:
        return []
    right = [value.name for value in outputs if value.matches]
    wrong = [value.name for value in outputs if not value.matches]
    if not (right and wrong):
        return []
    lines = [
        f"  outputs        : {listed(wrong)} {_verb(wrong, 'differ')}, "
        f"{listed(right)} {_verb(right, 'agree')}"
    ]
    if suspects:
        lines.append(
            f"  behind the fork: {listed(suspects)}: what agrees does not depend on "
            f"{'them' if len(suspects) > 1 else 'it'}"
        )
    return lines


def told(values: Sequence[ValueResult]) -> tuple[ValueResult, ...]:
    """Return the values that a text shows: not all that agree, where there are many."""
    always = [v.output or not (v.matches and v.decided) for v in values]
    room = SHOWN_VALUES - sum(always)
    found = []
    for value, told_anyway in zip(values, always, strict=True):
        room -= not told_anyway
        if told_anyway or room >= 0:
            found.append(value)
    return tuple(found)


def _verb(names: Sequence[str], verb: str) -> str:
    """Return a verb for some names: one returns, several return."""
    return verb if len(names) > 1 else f"{verb}s"


def listed(names: Sequence[str]) -> str:
    """Return some names for a sentence, and how many more there are."""
    shown = [printable(name, 60) for name in names[:SHOWN_NAMES]]
    more = len(names) - SHOWN_NAMES
    return join_and([*shown, f"{more} more"] if more > 0 else shown)
