"""Call gates and states, and places in arrays, by words."""

from __future__ import annotations

from collections.abc import Mapping

GATE_WORDS: Mapping[str, str] = {
    "c_hat": "gate c (the candidate)",
    "h_hat": "gate h (the candidate)",
    "c": "cell state c",
    "h": "state h",
}
"""Names in a trace -> words; the others are gates of that letter."""


def gate_words(gate: str) -> str:
    """Return what a gate, a state, the input or the output is called in a sentence."""
    if gate in ("input", "output"):
        return f"its {gate}"
    if gate.startswith("initial"):
        return gate
    cell, _, name = gate.rpartition("/")
    return GATE_WORDS.get(name, f"gate {name}") + (f" of cell {cell}" if cell else "")


def where_words(step: int | None, unit: int | None, row: int | None) -> str:
    """Return where a difference is: ``, time step 0, unit 2, row 1``."""
    words = []
    if step is not None:
        words.append(f"time step {step}")
    if unit is not None:
        words.append(f"unit {unit}")
    if row is not None:
        words.append(f"row {row}")
    return f", {', '.join(words)}" if words else ""
