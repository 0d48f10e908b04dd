"""Say in words what a diagnosis found."""

from __future__ import annotations

from collections.abc import Iterator

from verify.errors import join_and, printable
from verify.mistakes.catalogue import untried_sentence
from verify.mistakes.explanation import Diagnosis, Explanation, Nearest


def diagnosis_lines(diagnosis: Diagnosis | None) -> list[str]:
    """Return the lines of a report that say why a check failed."""
    if diagnosis is None:
        return []
    return [f"  {label:<15}: {text}" for label, text in _entries(diagnosis)]


def _entries(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Yield the label and the text of each line."""
    if diagnosis.agreeing:
        yield "agree", join_and([printable(name, 40) for name in diagnosis.agreeing])
    if diagnosis:
        best, *others = diagnosis.explanations
        yield "likely cause", explained(best)
        yield "remedy", best.remedy
        for other in others:
            yield "or", explained(other)
    else:
        yield "likely cause", f"none of the {diagnosis.tried:,} known mistakes fits"
    if diagnosis.nearest is not None:
        yield from _nearest(diagnosis.nearest)
    if diagnosis.unsearched:
        yield (
            "not searched",
            f"{join_and(list(diagnosis.unsearched))}, for want of time "
            f"({diagnosis.seconds:.0f} s; --diagnosis-seconds)",
        )
    if said := untried_sentence(diagnosis.untried):
        yield "not tried", said
    for hint in diagnosis.hints:
        yield "hint", hint


def _nearest(nearest: Nearest) -> Iterator[tuple[str, str]]:
    """Yield what is said of the mistake that explains most."""
    explanation = nearest.explanation
    where = _where(explanation)
    yield "nearest", f"{where}{explanation.explanation}"
    explains = []
    if nearest.share:  # none where some difference is infinite
        explains.append(f"{100 * nearest.share:.3g} % of the difference")
    if nearest.explained:
        rows = f"{nearest.explained:,} of {nearest.rows:,} rows"
        if nearest.first is not None:
            rows += f", the first it does not: row {nearest.first:,}"
        explains.insert(0, rows)
    yield "explains", "; ".join(explains)
    if nearest.remains:
        yield "what remains", nearest.remains


def explained(found: Explanation) -> str:
    """Return where and what a mistake is, and how well it explains the outputs."""
    left = f"max |diff| = {found.max_diff:.2g}, {found.digits} digits agree"
    right = "the model is right, its presentation differs: "
    where = right if found.presentation else _where(found)
    return f"{where}{found.explanation} (then {left})"


def _where(found: Explanation) -> str:
    return f"layer '{printable(found.layer)}': " if found.layer else ""
