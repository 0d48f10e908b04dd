"""Write the sentences of a location."""

from __future__ import annotations

from collections.abc import Iterator

from verify.errors import join_and
from verify.ports.locate.weights import FoundWeights


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
