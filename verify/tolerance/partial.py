"""What is known of a long comparison: of one piece of its rows, or of all so far.

A `PartialResult` of some rows and one of the rows behind them join to one of both: the same
that all rows at once would give, by the same allowances. So pieces can be compared on
any machine, and a comparison that was interrupted goes on from what it knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from verify.model.arrays import Array
from verify.tolerance.compare import (
    Comparison,
    most_telling,
    rank_rows,
    row_differences,
)
from verify.tolerance.noise_floor import Tolerance

MIN_ROUNDED_OUTPUTS, MAX_DECIMALS = 16, 9
"""So many numbers with so many decimals at most are no accident."""


def half_unit(places: int) -> float:
    """Return half of the last of `places` decimals."""
    return 0.5 * 10.0**-places


@dataclass(frozen=True)
class Decimals:
    """To how many decimals outputs have been rounded, if they have.

    Attributes
    ----------
    count : int
        How many numbers there are.
    fits : tuple of bool
        Whether none of them has more than 0, 1, ... decimals.
    loose : int
        From so many decimals on any number of their dtype would fit.
    """

    count: int
    fits: tuple[bool, ...]
    loose: int

    @classmethod
    def of(cls, outputs: Sequence[Array]) -> Decimals:
        """Of the outputs of a model."""
        values = np.concatenate([y.reshape(-1).astype(np.float64) for y in outputs])
        stored = max(
            np.finfo(y.dtype).eps if y.dtype.kind == "f" else 0 for y in outputs
        )
        fits = [False] * (MAX_DECIMALS + 1)
        if not np.isfinite(values).all():
            return cls(len(values), tuple(fits), 0)
        for places in range(MAX_DECIMALS + 1):
            scaled = np.abs(values) * 10.0**places
            slack = 1e-6 + scaled * stored
            if slack.max() > 0.1:
                return cls(len(values), tuple(fits), places)
            fits[places] = bool((np.abs(scaled - np.rint(scaled)) <= slack).all())
        return cls(len(values), tuple(fits), MAX_DECIMALS + 1)

    @property
    def candidates(self) -> list[int]:
        """What `places` may be, of these numbers and others."""
        return [k for k in range(1, self.loose) if self.fits[k]]

    @property
    def places(self) -> int:
        """So many; 0 if that cannot be said, and for whole numbers, which are not."""
        fitting = [k for k in range(self.loose) if self.fits[k]]
        return fitting[0] if fitting and self.count >= MIN_ROUNDED_OUTPUTS else 0

    def merge(self, later: Decimals) -> Decimals:
        """Of the numbers of both."""
        return Decimals(
            self.count + later.count,
            tuple(a and b for a, b in zip(self.fits, later.fits, strict=True)),
            min(self.loose, later.loose),
        )


@dataclass(frozen=True, eq=False)
class Ranking:
    """Rows whose outputs are furthest apart, of all that were seen.

    Attributes
    ----------
    rows : (n,) of int
        Ascending. Of every output those that differ most, so that those are among them
        which differ most in the measure of `verify.tolerance.compare.most_different`, whatever
        the scales of rows to come.
    found : (n, outputs)
        How far each is apart.
    scales : (outputs,)
        The greatest output, of all rows.
    """

    rows: Array
    found: Array
    scales: Array

    @classmethod
    def of(
        cls, start: int, ours: Sequence[Array], theirs: Sequence[Array], count: int
    ) -> Ranking | None:
        """Of outputs whose first row is number `start`; none where shapes differ."""
        if [a.shape for a in ours] != [b.shape for b in theirs]:
            return None
        with np.errstate(invalid="ignore"):
            found, scales = row_differences(ours, theirs)
        return cls(np.arange(start, start + len(found)), found, scales)._cut(count)

    def _cut(self, count: int) -> Ranking:
        ranks = np.nan_to_num(self.found, nan=np.inf)
        first = np.argsort(-ranks, axis=0, kind="stable")[:count]
        keep = np.unique(first)
        return replace(self, rows=self.rows[keep], found=self.found[keep])

    def merge(self, later: Ranking, count: int) -> Ranking:
        """Of the rows of both, of which those of `later` come behind."""
        both = Ranking(
            np.concatenate([self.rows, later.rows]),
            np.concatenate([self.found, later.found]),
            np.maximum(self.scales, later.scales),
        )
        return both._cut(count)

    def most(self, count: int) -> Array:
        """The rows that differ most, ascending."""
        return np.sort(self.rows[rank_rows(self.found, self.scales)[:count]])


@dataclass(frozen=True, eq=False)
class PartialOutput:
    """One output of the model.

    Attributes
    ----------
    proof : Comparison or None
        In float64; None where a port's outputs are compared.
    numerics : Comparison
        By derived bounds, where there are any.
    by_noise_floor : Comparison
        By the noise floor alone.
    recorded : dict of int to Comparison
        As `numerics`, if so many decimals are all that was kept.
    tolerance, noise_floor : Tolerance
        Of `numerics` and of `by_noise_floor`, unit by unit.
    derived : int
        How many numbers have a derived bound.
    """

    proof: Comparison | None
    numerics: Comparison
    by_noise_floor: Comparison
    recorded: Mapping[int, Comparison]
    tolerance: Tolerance
    noise_floor: Tolerance
    derived: int

    def merge(self, later: PartialOutput) -> PartialOutput:
        """Of the rows of both."""
        proof = None
        if self.proof is not None and later.proof is not None:
            proof = self.proof.merge(later.proof)
        return PartialOutput(
            proof,
            self.numerics.merge(later.numerics),
            self.by_noise_floor.merge(later.by_noise_floor),
            {
                places: comparison.merge(later.recorded[places])
                for places, comparison in self.recorded.items()
                if places in later.recorded
            },
            self.tolerance.merge(later.tolerance),
            self.noise_floor.merge(later.noise_floor),
            self.derived + later.derived,
        )


@dataclass(frozen=True, eq=False)
class PartialResult:
    """What is known of some rows.

    Attributes
    ----------
    rows, batches : int
        How many were compared.
    count : int
        How many of the rows that differ most are kept.
    outputs : tuple of OutputTally
    decimals : Decimals or None
        Of a port's outputs.
    unsound : (bool, bool)
        Whether outputs are not finite on both sides, and whether something else is
        wrong; `verify.checks._verdict.undefined`.
    finite : bool
        Whether all outputs that were given are.
    rule_effects : dict of str to float
        By which rule of the backend outputs differ from TensorFlow's, and how far.
    by_predict, by_proof : Ranking or None
        Rows that differ most from the outputs given, and in float64.
    """

    rows: int
    batches: int
    count: int
    outputs: tuple[PartialOutput, ...]
    decimals: Decimals | None = None
    unsound: tuple[bool, bool] = (False, False)
    finite: bool = True
    rule_effects: Mapping[str, float] = field(default_factory=dict)
    by_predict: Ranking | None = None
    by_proof: Ranking | None = None

    def merge(self, later: PartialResult) -> PartialResult:
        """Of the rows of both, of which those of `later` come behind."""
        decimals = None
        if self.decimals is not None and later.decimals is not None:
            decimals = self.decimals.merge(later.decimals)
        rules = [
            *self.rule_effects,
            *(rule for rule in later.rule_effects if rule not in self.rule_effects),
        ]

        def ranked(a: Ranking | None, b: Ranking | None) -> Ranking | None:
            return None if a is None or b is None else a.merge(b, self.count)

        return PartialResult(
            self.rows + later.rows,
            self.batches + later.batches,
            self.count,
            tuple(a.merge(b) for a, b in zip(self.outputs, later.outputs, strict=True)),
            decimals,
            (
                self.unsound[0] or later.unsound[0],
                self.unsound[1] or later.unsound[1],
            ),
            self.finite and later.finite,
            {
                r: max(self.rule_effects.get(r, 0.0), later.rule_effects.get(r, 0.0))
                for r in rules
            },
            ranked(self.by_predict, later.by_predict),
            ranked(self.by_proof, later.by_proof),
        )

    @property
    def proof(self) -> Comparison | None:
        """Of the output that says most, in float64."""
        found = [o.proof for o in self.outputs if o.proof is not None]
        return most_telling(found) if found else None

    @property
    def numerics(self) -> Comparison:
        """Of the output that says most."""
        return most_telling([output.numerics for output in self.outputs])

    @property
    def by_noise_floor(self) -> Comparison:
        """Of the output that says most, by the noise floor alone."""
        return most_telling([output.by_noise_floor for output in self.outputs])

    def recorded(self, places: int) -> Comparison:
        """Of the output that says most, if so many decimals are all that was kept."""
        return most_telling([output.recorded[places] for output in self.outputs])

    @property
    def tolerances(self) -> list[Tolerance]:
        """By which `numerics` was judged, one for each output."""
        return [output.tolerance for output in self.outputs]

    @property
    def noise_floors(self) -> list[Tolerance]:
        """The noise floors, one for each output."""
        return [output.noise_floor for output in self.outputs]

    @property
    def undefined(self) -> bool:
        """NaN or infinity on both sides, and nothing wrong beside it."""
        return self.unsound == (True, False)

    @property
    def derived(self) -> tuple[int, int]:
        """How many numbers have a derived bound, of how many."""
        return (
            sum(output.derived for output in self.outputs),
            sum(output.numerics.total for output in self.outputs),
        )

    def most_different(self) -> Array:
        """Rows for a closer look, ascending: those that differ most."""
        proof = self.proof
        ranking = self.by_predict
        if proof is not None and not proof.matches:
            ranking = self.by_proof
        if ranking is None or self.rows <= self.count:
            return np.arange(min(self.rows, self.count))
        return ranking.most(self.count)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; NaN and infinity are floats still."""
        return {
            "rows": self.rows,
            "pieces": self.batches,
            "count": self.count,
            "outputs": [
                {
                    "proof": None if o.proof is None else _comparison(o.proof),
                    "numerics": _comparison(o.numerics),
                    "noisy": _comparison(o.by_noise_floor),
                    "recorded": {k: _comparison(c) for k, c in o.recorded.items()},
                    "floor": _tolerance(o.tolerance),
                    "noise": _tolerance(o.noise_floor),
                    "derived": o.derived,
                }
                for o in self.outputs
            ],
            "decimals": None if self.decimals is None else asdict(self.decimals),
            "unsound": list(self.unsound),
            "finite": self.finite,
            "apart": dict(self.rule_effects),
            "by_predict": _ranking(self.by_predict),
            "by_proof": _ranking(self.by_proof),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> PartialResult:
        """What `to_dict` gave, by way of JSON, where NaN and infinity are strings.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is something else.
        """
        decimals = content["decimals"]
        return cls(
            int(content["rows"]),
            int(content["pieces"]),
            int(content["count"]),
            tuple(map(_read_output, content["outputs"])),
            None
            if decimals is None
            else Decimals(
                int(decimals["count"]),
                tuple(map(bool, decimals["fits"])),
                int(decimals["loose"]),
            ),
            (bool(content["unsound"][0]), bool(content["unsound"][1])),
            bool(content["finite"]),
            {str(k): float(v) for k, v in content["apart"].items()},
            _read_ranking(content["by_predict"]),
            _read_ranking(content["by_proof"]),
        )


def _comparison(c: Comparison) -> dict[str, Any]:
    fields = asdict(c)
    fields["share"] = fields.pop("error_ratio")
    return fields


def _tolerance(a: Tolerance) -> dict[str, Any]:
    return {
        **{key: value for key, value in vars(a).items() if key != "atol"},
        "value": a.atol.tolist(),
        "noise": a.noise.tolist(),
        "scale": a.scale.tolist(),
    }


def _ranking(ranking: Ranking | None) -> dict[str, Any] | None:
    if ranking is None:
        return None
    return {key: value.tolist() for key, value in vars(ranking).items()}


def _read_output(content: Mapping[str, Any]) -> PartialOutput:
    proof = content["proof"]
    return PartialOutput(
        None if proof is None else _read_comparison(proof),
        _read_comparison(content["numerics"]),
        _read_comparison(content["noisy"]),
        {int(k): _read_comparison(c) for k, c in content["recorded"].items()},
        _read_tolerance(content["floor"]),
        _read_tolerance(content["noise"]),
        int(content["derived"]),
    )


def _read_comparison(content: Mapping[str, Any]) -> Comparison:
    nearest = content["nearest"]
    return Comparison(
        matches=bool(content["matches"]),
        allowed=float(content["allowed"]),
        max_diff=float(content["max_diff"]),
        shape=_place(content["shape"]),
        mismatched=int(content["mismatched"]),
        total=int(content["total"]),
        first=_place(content["first"]),
        worst=_place(content["worst"]),
        units=_place(content["units"]),
        actual=float(content["actual"]),
        expected=float(content["expected"]),
        problem=str(content["problem"]),
        output=str(content["output"]),
        error_ratio=float(content["share"]),
        nearest=(float(nearest[0]), float(nearest[1])),
    )


def _place(values: Any) -> Any:
    return None if values is None else tuple(map(int, values))


def _read_tolerance(content: Mapping[str, Any]) -> Tolerance:
    return Tolerance(
        _floats(content["value"]),
        _floats(content["noise"]),
        _floats(content["scale"]),
        float(content["limit"]),
        bool(content["proven"]),
        str(content["rule"]),
        float(content["derived"]),
    )


def _read_ranking(content: Mapping[str, Any] | None) -> Ranking | None:
    if content is None:
        return None
    rows = np.array(content["rows"], dtype=np.int64)
    return Ranking(rows, _floats(content["found"]), _floats(content["scales"]))


def _floats(values: Any) -> Array:
    return np.array(values, dtype=np.float64)
