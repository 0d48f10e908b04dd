"""What is known of a long comparison: of one batch of its rows, or of all so far.

The `PartialResult` of some rows and that of the rows behind them merge into one: what
all these rows at once would give, by the same tolerances. So batches can be compared on
any machine, and a comparison that was interrupted goes on from what it knows.

`verify.data.json_values` writes and reads these classes. Fields with another name in
JSON keep the one that reports of earlier versions have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from verify.data.json_values import json_name
from verify.model.arrays import Array
from verify.tolerance.compare import (
    Comparison,
    most_telling,
    rank_rows,
    row_differences,
)
from verify.tolerance.noise_floor import Tolerance

MIN_ROUNDED_OUTPUTS, MAX_DECIMALS = 16, 9
"""Outputs count as rounded if there are at least 16 of them and none has more than 9
decimals."""


def half_unit(places: int) -> float:
    """Return half of the last of `places` decimals."""
    return 0.5 * 10.0**-places


@dataclass(frozen=True)
class Decimals:
    """Hold to how many decimals outputs have been rounded, if they have.

    Attributes
    ----------
    count : int
        How many numbers there are.
    fits : tuple of bool
        Whether none of them has more than 0, 1, ... decimals.
    loose : int
        The number of decimals from which on any number of their dtype would fit.
    """

    count: int
    fits: tuple[bool, ...]
    loose: int

    @classmethod
    def of(cls, outputs: Sequence[Array]) -> Decimals:
        """Look at the outputs of a model."""
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
        """Return what `places` may be once there are more outputs."""
        return [k for k in range(1, self.loose) if self.fits[k]]

    @property
    def places(self) -> int:
        """Return how many decimals; 0 if not known, or if the numbers are whole."""
        fitting = [k for k in range(self.loose) if self.fits[k]]
        return fitting[0] if fitting and self.count >= MIN_ROUNDED_OUTPUTS else 0

    def merge(self, later: Decimals) -> Decimals:
        """Return the decimals of the numbers of both."""
        return Decimals(
            self.count + later.count,
            tuple(a and b for a, b in zip(self.fits, later.fits, strict=True)),
            min(self.loose, later.loose),
        )


@dataclass(frozen=True, eq=False)
class Ranking:
    """Hold the rows whose outputs differ most, of all that were compared.

    Attributes
    ----------
    rows : (n,) of int
        Row numbers, ascending: for every output the rows that differ most. The rows
        that rank first over all outputs, see `verify.tolerance.compare.most_different`,
        are always among them, whatever scales later rows bring.
    found : (n, outputs)
        The greatest difference of each row.
    scales : (outputs,)
        The greatest output, of all rows.
    """

    rows: npt.NDArray[np.int64]
    found: Array
    scales: Array

    @classmethod
    def of(
        cls, start: int, ours: Sequence[Array], theirs: Sequence[Array], count: int
    ) -> Ranking | None:
        """Rank outputs whose first row is number `start`; None where shapes differ."""
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
        """Return what is known of the rows of both, those of `later` behind these."""
        both = Ranking(
            np.concatenate([self.rows, later.rows]),
            np.concatenate([self.found, later.found]),
            np.maximum(self.scales, later.scales),
        )
        return both._cut(count)

    def most(self, count: int) -> Array:
        """Return the numbers of the rows that differ most, ascending; (count,)."""
        return np.sort(self.rows[rank_rows(self.found, self.scales)[:count]])


@dataclass(frozen=True, eq=False)
class PartialOutput:
    """Hold what is known of one output of the model.

    Attributes
    ----------
    proof : Comparison or None
        In float64; None where a port's outputs are compared.
    numerics : Comparison
        By derived bounds, where there are any.
    by_noise_floor : Comparison
        By the noise floor alone.
    recorded : dict of int to Comparison
        As `numerics`, by the number of decimals, if these are all that was kept.
    tolerance, noise_floor : Tolerance
        Of `numerics` and of `by_noise_floor`, unit by unit.
    derived : int
        How many numbers have a derived bound.
    """

    proof: Comparison | None
    numerics: Comparison
    by_noise_floor: Comparison = field(metadata=json_name("noisy"))
    recorded: Mapping[int, Comparison]
    tolerance: Tolerance = field(metadata=json_name("floor"))
    noise_floor: Tolerance = field(metadata=json_name("noise"))
    derived: int

    def merge(self, later: PartialOutput) -> PartialOutput:
        """Return what is known of the rows of both."""
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
    """Hold what is known of some rows.

    Attributes
    ----------
    rows, batches : int
        How many were compared.
    count : int
        How many of the rows that differ most are kept.
    outputs : tuple of PartialOutput
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
    batches: int = field(metadata=json_name("pieces"))
    count: int
    outputs: tuple[PartialOutput, ...]
    decimals: Decimals | None = None
    unsound: tuple[bool, bool] = (False, False)
    finite: bool = True
    rule_effects: Mapping[str, float] = field(
        default_factory=dict, metadata=json_name("apart")
    )
    by_predict: Ranking | None = None
    by_proof: Ranking | None = None

    def merge(self, later: PartialResult) -> PartialResult:
        """Return what is known of the rows of both, those of `later` behind these."""
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
        """Return the comparison in float64 of the output that says most."""
        found = [o.proof for o in self.outputs if o.proof is not None]
        return most_telling(found) if found else None

    @property
    def numerics(self) -> Comparison:
        """Return the comparison of the output that says most."""
        return most_telling([output.numerics for output in self.outputs])

    @property
    def by_noise_floor(self) -> Comparison:
        """Return the same, by the noise floor alone."""
        return most_telling([output.by_noise_floor for output in self.outputs])

    def recorded(self, places: int) -> Comparison:
        """Return the same, if `places` decimals are all that was kept."""
        return most_telling([output.recorded[places] for output in self.outputs])

    @property
    def tolerances(self) -> list[Tolerance]:
        """Return what `numerics` was held to, for each output."""
        return [output.tolerance for output in self.outputs]

    @property
    def noise_floors(self) -> list[Tolerance]:
        """Return the noise floor of each output."""
        return [output.noise_floor for output in self.outputs]

    @property
    def undefined(self) -> bool:
        """Return whether NaN or infinity is on both sides, and nothing else differs."""
        return self.unsound == (True, False)

    @property
    def derived(self) -> tuple[int, int]:
        """Return how many numbers have a derived bound, of how many."""
        return (
            sum(output.derived for output in self.outputs),
            sum(output.numerics.total for output in self.outputs),
        )

    def most_different(self) -> Array:
        """Return the rows for a closer look, ascending: those that differ most."""
        proof = self.proof
        ranking = self.by_predict
        if proof is not None and not proof.matches:
            ranking = self.by_proof
        if ranking is None or self.rows <= self.count:
            return np.arange(min(self.rows, self.count))
        return ranking.most(self.count)
