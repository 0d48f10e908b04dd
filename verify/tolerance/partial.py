"""Keep what is known of a long comparison, for one batch or for all rows so far.

The `PartialResult` of some rows and that of the rows after them merge into one: the
result of all these rows at once, by the same tolerances. So batches can be compared on
any machine, and a comparison that was interrupted can be resumed.

`verify.data.json_values` writes and reads these classes. A field that has another name
in JSON has it because reports of earlier versions do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from verify.data.json_values import json_name, unless
from verify.model.arrays import Array
from verify.tolerance.compare import (
    Comparison,
    most_telling,
    rank_rows,
    row_differences,
)
from verify.tolerance.noise_floor import Tolerance
from verify.tolerance.user_tolerance import ClassAgreement, least_agreement

MIN_ROUNDED_OUTPUTS, MAX_DECIMALS = 16, 9
"""Outputs count as rounded if there are at least 16 of them and none has more than 9
decimals."""


def half_unit(places: int) -> float:
    """Return half a unit of the last of `places` decimals."""
    return 0.5 * 10.0**-places


@dataclass(frozen=True)
class Decimals:
    """Hold how many decimals outputs have, to see whether they were rounded.

    Attributes
    ----------
    count : int
        Number of values.
    fits : tuple of bool
        Whether no value has more than 0, 1, ... decimals.
    loose : int
        The least number of decimals that every value of the dtype fits, so that fitting
        proves nothing.
    """

    count: int
    fits: tuple[bool, ...]
    loose: int

    @classmethod
    def of(cls, outputs: Sequence[Array]) -> Decimals:
        """Return the decimals of a model's outputs."""
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
        """Return the numbers of decimals that `places` may be after more outputs."""
        return [k for k in range(1, self.loose) if self.fits[k]]

    @property
    def places(self) -> int:
        """Return to how many decimals outputs were rounded; 0 if unknown or whole."""
        fitting = [k for k in range(self.loose) if self.fits[k]]
        return fitting[0] if fitting and self.count >= MIN_ROUNDED_OUTPUTS else 0

    def merge(self, later: Decimals) -> Decimals:
        """Return the decimals of the values of both."""
        return Decimals(
            self.count + later.count,
            tuple(a and b for a, b in zip(self.fits, later.fits, strict=True)),
            min(self.loose, later.loose),
        )


@dataclass(frozen=True, eq=False)
class Ranking:
    """Hold the rows whose outputs differ most.

    Attributes
    ----------
    rows : (n,) of int
        Row numbers, ascending: for every output the rows that differ most. The rows
        that rank first over all outputs, see `verify.tolerance.compare.rank_rows`, are
        always among them, whatever scales later rows bring.
    found : (n, outputs)
        The greatest difference of each of these rows.
    scales : (outputs,)
        The greatest absolute output of all rows compared.
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
        """Return the ranking of the rows of both, those of `later` after these."""
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
        Comparison in float64; None for a port.
    numerics : Comparison
        Comparison by error bounds, and by the noise floor where there is no bound.
    by_noise_floor : Comparison
        Comparison by the noise floor alone.
    recorded : dict of int to Comparison
        Number of decimals -> comparison for outputs that were rounded to so few: the
        tolerance of `numerics` and half a unit of the last decimal.
    tolerance, noise_floor : Tolerance
        Tolerances of `numerics` and of `by_noise_floor`, unit by unit.
    derived : int
        Number of elements that have a derived bound.
    classes : ClassAgreement or None
        How many rows have the model's class; None unless the user asked for it.
    """

    proof: Comparison | None
    numerics: Comparison
    by_noise_floor: Comparison = field(metadata=json_name("noisy"))
    recorded: Mapping[int, Comparison]
    tolerance: Tolerance = field(metadata=json_name("floor"))
    noise_floor: Tolerance = field(metadata=json_name("noise"))
    derived: int
    classes: ClassAgreement | None = field(default=None, metadata=unless(None))

    def merge(self, later: PartialOutput) -> PartialOutput:
        """Return what is known of the rows of both."""
        proof = None
        if self.proof is not None and later.proof is not None:
            proof = self.proof.merge(later.proof)
        classes: ClassAgreement | None = None
        if self.classes is not None and later.classes is not None:
            classes = self.classes.merge(later.classes)
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
            classes,
        )


@dataclass(frozen=True, eq=False)
class PartialResult:
    """Hold what is known of some rows.

    Attributes
    ----------
    rows, batches : int
        Numbers of rows and of batches that were compared.
    count : int
        Number of rows to keep for a closer look: those that differ most.
    outputs : tuple of PartialOutput
    decimals : Decimals or None
        Decimals of a port's outputs; None for Keras.
    unsound : (bool, bool)
        Whether some outputs are not finite on both sides, and whether the sides differ
        in anything else, as `verify.checks._verdict.undefined` returns it.
    finite : bool
        Whether all outputs of Keras or of the port are finite.
    rule_effects : dict of str to float
        Rule of the backend -> how far it moves outputs from TensorFlow's.
    by_predict, by_proof : Ranking or None
        Rows that differ most from the outputs of predict or of the port, and from those
        in float64.
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
        """Return what is known of the rows of both, those of `later` after these."""
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
        """Return the most telling comparison in float64; None for a port."""
        found = [o.proof for o in self.outputs if o.proof is not None]
        return most_telling(found) if found else None

    @property
    def numerics(self) -> Comparison:
        """Return the most telling comparison of an output."""
        return most_telling([output.numerics for output in self.outputs])

    @property
    def by_noise_floor(self) -> Comparison:
        """Return the most telling comparison by the noise floor alone."""
        return most_telling([output.by_noise_floor for output in self.outputs])

    @property
    def classes(self) -> ClassAgreement | None:
        """Return the class agreement of the output where fewest classes agree."""
        found = [o.classes for o in self.outputs if o.classes is not None]
        return least_agreement(found) if found else None

    def recorded(self, places: int) -> Comparison:
        """Return the most telling comparison if outputs were rounded to `places`."""
        return most_telling([output.recorded[places] for output in self.outputs])

    @property
    def tolerances(self) -> list[Tolerance]:
        """Return the tolerance of each output in `numerics`."""
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
        """Return the number of elements with a derived bound, and of all elements."""
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
