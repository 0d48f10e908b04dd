"""Report on a comparison: as text, as JSON and back, and as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from verify.console.tables import text_table
from verify.data.json_values import (
    added_later,
    from_json,
    not_in_json,
    to_json,
    unless,
)
from verify.errors import DataError, printable
from verify.mistakes.explanation import Diagnosis
from verify.report.diagnosis_text import diagnosis_lines
from verify.report.intermediates import Place, ValueResult, output_lines, told
from verify.report.parts import Coverage
from verify.report.schema import document_header
from verify.tolerance.compare import Comparison, Verdict
from verify.tolerance.noise_floor import is_rounding
from verify.tolerance.partial import PartialResult

if TYPE_CHECKING:  # few reports become pages, and importing it takes time
    from verify.report.page import Exploration, Summary

SHOWN_WARNINGS, SHOWN_UNITS = 12, 8
"""Warnings of a report, and units of a mismatch, that its text shows at most."""


@dataclass(frozen=True)
class LayerResult:
    """Hold the comparison of one layer, on Keras's own input to it.

    Attributes
    ----------
    name, class_name : str
    units : int or None
    proof : Comparison
        Both sides in float64.
    numerics : Comparison
        The model's own dtype against NumPy float64.
    steps : Comparison or None
        For a recurrent layer whose proof failed: a comparison of every time step, even
        if the layer returns only the last one.
    decided : bool
        Whether `numerics` can tell a mistake from rounding in this layer.
    derived : float
        Share of its outputs that were compared by an error bound; the rest were
        compared by the noise floor.
    amplified : float
        How far one rounding error in every weight moves its outputs; measured only if
        the proof failed.
    chunks : int
        Number of time chunks in which it was compared, each from Keras's own states; 0
        if the whole sequence was compared.
    began : int
        First step, in processing order, of the chunk that is shown.
    in_single : bool
        Whether Keras computes it in float32 in a model of float64, too. `proof` is
        then by the tolerance of `numerics`.
    """

    name: str
    class_name: str
    units: int | None
    proof: Comparison
    numerics: Comparison
    steps: Comparison | None = None
    decided: bool = True
    derived: float = 0.0
    amplified: float = 0.0
    chunks: int = 0
    began: int = 0
    in_single: bool = field(default=False, metadata=unless(False))

    @property
    def only_rounding(self) -> bool:
        """Return whether it differs in float64, but perhaps by amplified rounding."""
        return not self.proof.matches and is_rounding(self.proof, self.amplified)

    @property
    def telling(self) -> Comparison:
        """Return the comparison that says most about where this layer goes wrong."""
        if self.steps is not None and not self.steps.matches:
            return self.steps
        return self.numerics if self.proof.matches else self.proof

    @property
    def matches(self) -> bool:
        """Return whether both comparisons match, as far as they decide."""
        return self.proof.matches and (self.numerics.matches or not self.decided)


@dataclass(frozen=True)
class GradientResult:
    """Hold the comparison of one weight's gradient, or one input's, in float64.

    Attributes
    ----------
    layer : str
        Path of the layer, or the name of an input.
    weight : str
        Name of the weight; empty for an input.
    comparison : Comparison
    greatest : float
        The greatest absolute value of NumPy's gradient.
    """

    layer: str
    weight: str
    comparison: Comparison
    greatest: float


def first_wrong(differing: Sequence[LayerResult]) -> LayerResult | None:
    """Return the first layer that differs by more than rounding, if one does.

    Otherwise it is the first of all; None if there is none.
    """
    return next(
        (layer for layer in differing if not layer.only_rounding),
        next(iter(differing), None),
    )


@dataclass(frozen=True)
class Report:
    """Hold the outcome of a check: the verdict, what it is based on, what to mend.

    A report is true if its verdict is PASS, and false otherwise: INCONCLUSIVE and
    PARTIAL are no proof.

    Attributes
    ----------
    verdict : Verdict
        ``PASS``, ``FAIL``, ``INCONCLUSIVE``, or ``PARTIAL`` if all that can be read is
        right but not all can; ``verdict.exit_code`` is 0, 1, 3 or 3.
    reason : str
        The verdict in one sentence.
    subject : str
        The side whose outputs were checked: ``keras``, or ``theirs`` for a port.
    reference : str
        The side that they were compared with: ``numpy``.
    proof : Comparison or None
        Float64 check: outputs of the model, both sides in float64. None for a port.
    numerics : Comparison
        Float32 check: outputs as the user has them, against NumPy in float64.
    noise : float
        What rounding changed in the outputs, as measured for the noise floor.
    scale : float
        The greatest absolute output, the other figure in the noise floor.
    allowance : str
        The rule of the tolerance of `numerics`: an error bound, or the noise floor and
        why.
    layers : tuple of LayerResult
        In the order of the model; empty for a port.
    diagnosis : Diagnosis or None
        On failure, the known mistakes that explain it.
    warnings : tuple of str
        Mistakes that these weights and inputs would hide, and what deserves a look.
    facts : mapping
        Rows, inputs, versions, and where the model came from.
    gradients : tuple of GradientResult
        Gradients of a random weighted sum of the outputs; empty if not asked for.
    amplified : (float, float) or None
        For a model that was compared in time chunks: how far the whole runs differ in
        float64, and in predict. `proof` and `numerics` are then those of the chunks.
    complete : bool
        Whether all rows were compared, and the layers too if Keras was compared.
    coverage : Coverage or None
        For a model of which not all can be read: how much was proved, and what not.
    derived : float or None
        Share of the outputs' numbers that have a derived bound; None if not known.
    values : tuple of ValueResult
        Of a port: each array that was compared, if it is not a single output.
    place : Place or None
        Where the values inside a port first differ, in the order of computation.
    suspects : tuple of str
        Layers on which the outputs that differ depend, and none of those that agree.
    advice : tuple of str
        What to do next, where no cause was found.
    partial_result : PartialResult or None
        What --resume needs; None for a report that was read from a file.
    """

    verdict: Verdict
    reason: str
    subject: str
    reference: str
    proof: Comparison | None
    numerics: Comparison
    noise: float
    scale: float
    allowance: str = ""
    layers: tuple[LayerResult, ...] = ()
    diagnosis: Diagnosis | None = None
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    gradients: tuple[GradientResult, ...] = ()
    amplified: tuple[float, float] | None = None
    complete: bool = True
    coverage: Coverage | None = field(default=None, metadata=added_later())
    derived: float | None = field(default=None, metadata=added_later())
    values: tuple[ValueResult, ...] = field(default=(), metadata=added_later())
    place: Place | None = field(default=None, metadata=added_later())
    suspects: tuple[str, ...] = field(default=(), metadata=added_later())
    advice: tuple[str, ...] = field(default=(), metadata=added_later())
    partial_result: PartialResult | None = field(
        default=None, repr=False, compare=False, metadata=not_in_json()
    )

    @property
    def worst(self) -> LayerResult | None:
        """Return the layer that differs most in float64; None without layers."""
        return max(self.layers, key=lambda layer: _size(layer.proof), default=None)

    @property
    def first_mismatch(self) -> LayerResult | None:
        """Return the first layer, in the order of the model, that does not match.

        A layer that may have amplified rounding, and done nothing else, comes last.
        """
        return first_wrong([layer for layer in self.layers if not layer.matches])

    def __bool__(self) -> bool:
        return self.verdict is Verdict.PASS

    def __repr__(self) -> str:
        model = printable(self.facts.get("model", "model"), 80)
        return f"<Report {self.verdict}: {model}: {printable(self.reason, 120)}>"

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self) -> str:
        """Return the report as text for a terminal."""
        rows = self.facts.get("rows", 0)
        model = printable(self.facts.get("model", "model"))
        lines = [f"{self.verdict}  {model}: {self.reason}"]
        lines += self._mismatch_lines()
        lines += [] if self.coverage is None else self.coverage.lines()
        how = "float64" if self.amplified is None else "float64, in chunks"
        if self.proof is not None:
            lines.append(
                f"  proof    : both in {how}, max |diff| {number(self.proof.max_diff)} "
                f"(allowed {number(self.proof.allowed)})"
            )
        lines.append(
            f"  numerics : {self.subject} against {self.reference} in {how}, "
            f"max |diff| {number(self.numerics.max_diff)} "
            f"(allowed {number(self.numerics.allowed)})"
        )
        if self.amplified is not None:
            lines.append(
                "  amplified: over the whole sequence rounding grows to "
                f"{number(self.amplified[0])} in float64 and to "
                f"{number(self.amplified[1])} in predict"
            )
        elif self.allowance:
            lines.append(
                f"  allowed  : {self.allowance}, "
                f"error / allowed {number(self.numerics.error_ratio)}"
            )
        pieces = self.facts.get("pieces", 1)
        cut = f" in {pieces:,} pieces" if pieces > 1 else ""
        lines.append(
            f"  inputs   : {rows:,} row(s){cut}, {self.facts.get('inputs', 'yours')}"
        )
        if "keras model" in self.facts:
            lines.append(f"  keras    : {printable(self.facts['keras model'])}")
        if self.layers:
            lines += ["", text_table([LAYER_HEADINGS, *_layer_rows(self.layers)])]
        if self.values:
            shown = _value_rows(told(self.values))
            lines += ["", text_table([VALUE_HEADINGS, *shown])]
            more = len(self.values) - len(shown)
            lines += [f"and {more} more, which agree"] if more > 0 else []
        if self.gradients:
            rows = _gradient_rows(self.gradients)
            lines += ["", text_table([GRADIENT_HEADINGS, *rows])]
        if self.warnings:
            lines += ["", "Warnings:"]
            lines += [f"  - {w}" for w in self.warnings[:SHOWN_WARNINGS]]
            more = len(self.warnings) - SHOWN_WARNINGS
            lines += [f"  - and {more} more"] if more > 0 else []
        if self.advice:
            lines += ["", "What to do next:", *(f"  - {text}" for text in self.advice)]
        return "\n".join(lines)

    def _mismatch_lines(self) -> list[str]:
        """Return the lines of a failure that say where, how much and why."""
        if self.verdict is not Verdict.FAIL:
            return []
        layer = self.first_mismatch
        diagnosis = self.diagnosis
        if self.values and diagnosis is not None:
            diagnosis = replace(diagnosis, agreeing=())  # said of all values below
        if self.place is not None:
            lines = self.place.lines(
                self.subject, self.reference, explained=bool(diagnosis)
            )
            lines += output_lines(self.values, self.suspects)
            return [*lines, *diagnosis_lines(diagnosis)]
        if layer is not None:
            shown = layer.telling
            units = f", units={layer.units}" if layer.units else ""
            head = (
                f"Layer '{printable(layer.name)}' ({layer.class_name}{units}): the "
                "NumPy forward pass does not match Keras."
            )
            if layer.chunks:
                head += f" In the chunk that begins after {layer.began} steps:"
            before = self.layers[: self.layers.index(layer)]
            agreeing = [x.name for x in before if x.matches]
        else:
            shown = self.numerics
            if self.proof is not None and not self.proof.matches:
                shown = self.proof
            head = f"The outputs of the whole model differ: {self.subject} and numpy."
            agreeing = []
        said = f"; layers before it agree: {', '.join(agreeing)}" if agreeing else ""
        lines = [head, *mismatch(shown, self.subject, self.reference, said)]
        lines += output_lines(self.values, self.suspects)
        lines += diagnosis_lines(diagnosis)
        return lines

    def _unproved_rows(self) -> list[tuple[str, ...]]:
        found = () if self.coverage is None else self.coverage.unproved
        return [
            (printable(x.name), printable(x.class_name), f"{x.parameters:,}", x.reason)
            for x in found
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of ``--json`` and of ``verification.json``."""
        worst = self.worst
        content: dict[str, Any] = to_json(
            {
                **document_header("report"),
                "verdict": self.verdict,
                "reason": self.reason,
                "subject": self.subject,
                "reference": self.reference,
                "float64_max_diff": None if self.proof is None else self.proof.max_diff,
                "predict_max_diff": self.numerics.max_diff,
                "proof": self.proof,
                "numerics": self.numerics,
                "noise": self.noise,
                "scale": self.scale,
                "allowance": self.allowance,
                "derived": self.derived,
                "amplified": self.amplified,
                "layers": self.layers,
                "gradients": self.gradients,
                "worst": None if worst is None else worst.name,
                "diagnosis": self.diagnosis,
                "warnings": self.warnings,
                "facts": self.facts,
                "complete": self.complete,
                "coverage": self.coverage,
                "values": self.values,
                "place": self.place,
                "suspects": self.suspects,
                "advice": self.advice,
                "rows_compared": self.facts.get("rows", 0)
                if self.partial_result is None
                else self.partial_result.rows,
            }
        )
        return content

    def to_json(self) -> str:
        """Return `to_dict` as one JSON document; NaN and infinity become strings."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_html(self, exploration: Exploration | None = None) -> str:
        """Return one self-contained page, which needs no network.

        Parameters
        ----------
        exploration : verify.report.page.Exploration, optional
            Shown in the page; without it there is no script in it.
        """
        from verify.report.page import render

        return render(self.summary(), exploration)

    def cautions(self) -> tuple[str, ...]:
        """Return what to say where NumPy's values are shown; empty after a PASS."""
        if self.verdict is Verdict.PASS:
            return ()
        return (
            f"The values are NumPy's, and the verdict is {self.verdict}: those of "
            f"{self.subject} may be others",
        )

    def summary(
        self, title: str = "", facts: Mapping[str, str] | None = None
    ) -> Summary:
        """Return what `to_html` shows: everything but the explorer.

        Parameters
        ----------
        title : str
            Title of the page; by default where the model came from.
        facts : mapping, optional
            Facts to show before those of the report.
        """
        shown = {
            **(facts or {}),
            **({"proved": f"{self.coverage}"} if self.coverage else {}),
            "compared": f"{self.subject} with {self.reference}",
            **({"float64 |diff|": number(self.proof.max_diff)} if self.proof else {}),
            "outputs |diff|": f"{number(self.numerics.max_diff)} "
            f"(allowed {number(self.numerics.allowed)})",
            **({"allowed": self.allowance} if self.allowance else {}),
            **{
                str(k): f"{v}"
                for k, v in self.facts.items()
                if k != "model" and (k, v) != ("pieces", 1)
            },
        }
        from verify.report.page import Summary, Table

        return Summary(
            verdict=str(self.verdict),
            title=title or printable(self.facts.get("model", "model")),
            reason=self.reason,
            facts=shown,
            detail=self._mismatch_lines(),
            tables=(
                Table("Layers", _named_last(LAYER_HEADINGS), _layer_rows(self.layers)),
                Table("Values", _named_last(VALUE_HEADINGS), _value_rows(self.values)),
                Table("Not proved", UNPROVED_HEADINGS, self._unproved_rows()),
                Table(
                    "Gradients",
                    _named_last(GRADIENT_HEADINGS),
                    _gradient_rows(self.gradients),
                ),
            ),
            warnings=self.warnings,
            advice=self.advice,
        )


UNPROVED_HEADINGS = ("layer", "class", "parameters", "reason")
"""Headings of the table of layers that were not proved."""


def _size(comparison: Comparison) -> float:
    """Return the greatest difference; infinite for NaN, which so ranks first."""
    diff = comparison.max_diff
    return math.inf if math.isnan(diff) else diff


def number(value: float) -> str:
    """Format a difference or a tolerance, at two significant digits."""
    return "0" if value == 0 else f"{value:.2g}"


def mismatch(c: Comparison, subject: str, reference: str, note: str = "") -> list[str]:
    """Return lines that say where a comparison first fails, how often and how much."""
    if c.problem:
        return [f"  problem        : {c.problem}"]
    lines = [f"  output         : {printable(c.output)}"] if c.output else []
    if c.first_step is not None:
        lines.append(
            f"  first mismatch : time step {c.first_step} of 0..{c.shape[1] - 1}{note}"
        )
    elif c.first is not None:
        lines.append(f"  first mismatch : {c.axes} = {list(c.first)}{note}")
    if 0 < len(c.units) < c.shape[-1]:
        there = "at that step" if c.first_step is not None else "in any row"
        shown = ", ".join(map(str, c.units[:SHOWN_UNITS]))
        shown += ", ..." if len(c.units) > SHOWN_UNITS else ""
        lines.append(
            f"  units          : {shown} of 0..{c.shape[-1] - 1} differ {there}"
        )
    lines.append(
        f"  mismatched     : {c.mismatched:,} / {c.total:,} elements "
        f"({c.mismatched / c.total:.1%})"
    )
    if c.worst is not None:
        lines.append(
            f"  greatest |diff|: {abs(c.actual - c.expected):.3g} "
            f"at {c.axes} = {list(c.worst)}: "
            f"{reference} {c.actual:.6g}, {subject} {c.expected:.6g} "
            f"(allowed {number(c.allowed)})"
        )
    return lines


LAYER_HEADINGS = (
    *("layer", "class", "float64 |diff|", "predict |diff|"),
    *("allowed", "error / allowed", "by", ""),
)


def _layer_rows(layers: tuple[LayerResult, ...]) -> list[tuple[str, ...]]:
    return [
        (
            printable(x.name, 40) + (f", {x.chunks} chunks" if x.chunks else ""),
            x.class_name,
            number(x.proof.max_diff),
            number(x.numerics.max_diff),
            number(x.numerics.allowed),
            number(x.numerics.error_ratio),
            _rule(x.derived),
            "DIFFERS" if not x.matches else "ok" if x.decided else "undecided",
        )
        for x in layers
    ]


def _rule(derived: float) -> str:
    return "bound" if derived == 1 else "noise" if derived == 0 else "both"


VALUE_HEADINGS = ("value", "|diff|", "allowed", "error / allowed", "by", "")


def _value_rows(values: tuple[ValueResult, ...]) -> list[tuple[str, ...]]:
    return [
        (
            printable(x.name, 60),
            number(x.comparison.max_diff),
            number(x.comparison.allowed),
            number(x.comparison.error_ratio),
            _rule(x.derived),
            "undecided" if not x.decided else "ok" if x.matches else "DIFFERS",
        )
        for x in values
    ]


GRADIENT_HEADINGS = ("gradient of", "float64 |diff|", "allowed", "greatest", "")


def _gradient_rows(gradients: tuple[GradientResult, ...]) -> list[tuple[str, ...]]:
    return [
        (
            printable(f"{g.layer}/{g.weight}" if g.weight else g.layer, 60),
            number(g.comparison.max_diff),
            number(g.comparison.allowed),
            number(g.greatest),
            "ok" if g.comparison.matches else "DIFFERS",
        )
        for g in gradients
    ]


def _named_last(headings: Sequence[str]) -> tuple[str, ...]:
    """Return headings for a page, where the last column has a name too."""
    return (*headings[:-1], "result")


def read_report(content: Mapping[str, Any]) -> Report:
    """Return the report that ``verification.json`` holds.

    Parameters
    ----------
    content : mapping
        What `Report.to_dict` returned, as it comes back from JSON.

    Raises
    ------
    DataError
        Something is missing, or is not what a report holds.
    """
    try:
        # reports of earlier versions have no "complete"; they are of all rows
        report = from_json(Report, {"complete": True, **content})
        report.summary()  # fields that contradict each other fail here, not in a page
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            "expected the report of a verification. The file is damaged "
            f"({type(error).__name__}: {error})"
        ) from None
    return report
