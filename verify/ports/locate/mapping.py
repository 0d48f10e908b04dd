"""Say which recurrent operator or loop of a file is which layer of the model.

Their weights decide; where these are changed, names and then places do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verify.forward.layers import LOOPS
from verify.forward.network import Network
from verify.forward.trace import Trace, bare_path
from verify.model.spec import LayerSpec
from verify.ports.locate.fused import Direction
from verify.ports.locate.inside import Loop
from verify.ports.locate.weights import FoundWeights, find_weights


@dataclass(frozen=True, eq=False)
class Piece:
    """Hold a part of the file that computes a recurrent layer.

    Attributes
    ----------
    direction : Direction or None
        One direction of an operator.
    loop : int or None
        Or the number of a loop.
    weights : FoundWeights
        Which weights of the model it holds: for an operator in Keras's layout, as the
        operator reads them.
    """

    direction: Direction | None
    loop: int | None
    weights: FoundWeights


def mapped(
    net: Network,
    trace: Trace,
    found: Sequence[Direction],
    loops: Sequence[Loop],
) -> dict[str, Piece]:
    """Return the key of each recurrent layer in a trace -> what computes it.

    Layers that no operator or loop computes are left out.
    """
    pieces = []
    for direction in found:
        constants = direction.weights
        pieces.append((Piece(direction, None, find_weights(constants, net.spec)), ""))
    for k, loop in enumerate(loops):
        weights = find_weights(loop.constants, net.spec)
        pieces.append((Piece(None, k, weights), loop.node))
    calls: dict[str, list[str]] = {}  # layer -> its calls that are left
    for key in trace:
        if trace[key].layer.class_name in LOOPS:
            calls.setdefault(bare_path(key, net.spec), []).append(key)
    chosen: dict[str, Piece] = {}
    left = []
    for piece, name in pieces:
        layer = _by_weights(piece, calls)
        if layer:
            chosen[calls[layer].pop(0)] = piece
        else:
            left.append((piece, name))
    remaining = []
    for piece, name in left:
        layer = _by_name(piece.direction.node if piece.direction else name, calls)
        if layer:
            chosen[calls[layer].pop(0)] = piece
        else:
            remaining.append(piece)
    for piece in remaining:
        for path, keys in calls.items():
            layer_spec = net.spec[path]
            if keys and piece.direction and _like(piece.direction, layer_spec):
                chosen[keys.pop(0)] = piece
                break
    return chosen


def _by_weights(piece: Piece, calls: Mapping[str, list[str]]) -> str:
    """Return the layer most of whose numbers the piece holds; empty if none."""
    shares: dict[str, float] = {}
    for weight in piece.weights.weights:
        if not weight.constants or (weight.wrong == weight.total):
            continue
        share = 1 - weight.wrong / weight.total
        owner = weight.layer
        if owner not in calls:  # the cell of an RNN layer
            owner = next((c for c in calls if owner.startswith(f"{c}/")), "")
        if owner and calls[owner]:
            shares[owner] = shares.get(owner, 0.0) + share
    return max(shares, key=lambda k: shares[k], default="")


def _by_name(node: str, calls: Mapping[str, list[str]]) -> str:
    words = set(node.replace(":", "/").split("/"))
    for path, keys in calls.items():
        name = path.rpartition("/")[2]
        if keys and (name in words or any(w.startswith(f"{name}_") for w in words)):
            return path
    return ""


def _like(direction: Direction, layer: LayerSpec) -> bool:
    return (
        direction.kind == layer.class_name
        and direction.units == layer.options["units"]
        and direction.kernel.shape == layer.weights["kernel"].shape
    )
