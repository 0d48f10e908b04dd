"""Write the sentences of a location."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from verify.errors import join_and
from verify.ports.locate.weights import FoundWeights

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


def order_sentences(
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


def weight_sentences(weights: FoundWeights, path: str | None = None) -> list[str]:
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
