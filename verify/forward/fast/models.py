"""Models made fast: their recurrent layers, and embeddings multiplied by a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from verify.forward.fast.loops import FastLoop, fast_layer
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES
from verify.model.graph import Node, TensorRef, flatten
from verify.model.spec import LayerSpec

MAX_PROJECTED_BYTES = 64 * 2**20
"""Bytes of an embedding table times a kernel, at most."""


def compiled(root: LayerSpec, ids: int = 0) -> LayerSpec:
    """The same model with fast recurrent layers, made once for each model.

    Parameters
    ----------
    root : LayerSpec
        A model whose weights are in the dtype that they compute in.
    ids : int
        How many numbers will be looked up; embeddings are projected once it pays.
    """
    with _LOCK:
        known = _PREPARED.get(root)
        if known is None:
            known = _PREPARED[root] = _Prepared(root.mapped(fast_layer), _pairs(root))
    return known.model(ids)


@dataclass
class _Prepared:
    """A model made fast, and what has been looked up in its embeddings so far."""

    fast: LayerSpec
    pairs: Sequence[tuple[str, str]]
    seen: int = 0
    projected: LayerSpec | None = None
    lock: Lock = field(default_factory=Lock)

    def model(self, ids: int) -> LayerSpec:
        with self.lock:
            self.seen += ids
            if self.projected is None and self.pairs:
                count = max(
                    len(self.fast.sublayers[embedding].weights["embeddings"])
                    for embedding, _ in self.pairs
                )
                if self.seen >= count:
                    self.projected = _projected(self.fast, self.pairs)
            return self.projected or self.fast


def _projected(model: LayerSpec, pairs: Sequence[tuple[str, str]]) -> LayerSpec:
    """The model with embeddings that hand on ids, to layers that hold the tables."""
    layers = dict(model.sublayers)
    for embedding, loop in pairs:
        table = layers[embedding].weights["embeddings"]

        def looking_up(layer: LayerSpec, table: Array = table) -> LayerSpec:
            fast = layer.overrides.get("fast")
            if not isinstance(fast, FastLoop):
                return layer
            own = FastLoop(fast.layer, fast.input_sums(table))
            return layer.with_overrides(fast=own)

        layers[loop] = layers[loop].mapped(looking_up)
        layers[embedding] = layers[embedding].with_overrides(lookup=_as_ids)
    return replace(model, sublayers=layers)


def _as_ids(table: Array, ids: Array) -> Array:
    """In the place of ``table[ids]``: the ids, those of a step together."""
    return np.asfortranarray(ids)


def _pairs(model: LayerSpec) -> list[tuple[str, str]]:
    """Embeddings whose numbers go to one fast recurrent layer and nowhere else."""
    graph = model.graph
    if graph is None:
        return []
    uses: dict[str, list[Node | None]] = {}
    for node in graph.nodes:
        for leaf in flatten([list(node.args), dict(node.kwargs)]):
            if isinstance(leaf, TensorRef):
                uses.setdefault(leaf.layer, []).append(node)
    for leaf in flatten(graph.outputs):
        if isinstance(leaf, TensorRef):
            uses.setdefault(leaf.layer, []).append(None)
    calls = [node.layer for node in graph.nodes]
    found = []
    for name, layer in model.sublayers.items():
        if layer.class_name != "Embedding" or not _plain_embedding(layer):
            continue
        last = name
        while True:
            users = uses.get(last, [])
            user = users[0] if len(users) == 1 else None
            if user is None or calls.count(last) != 1 or calls.count(user.layer) != 1:
                break
            first = user.args[:1]
            if first != (TensorRef(last, 0, 0),):
                break
            following = model.sublayers[user.layer]
            if POLICIES[following.policy].compute != POLICIES[layer.policy].compute:
                break
            if _looks_up(following, layer):
                found.append((name, user.layer))
            if following.class_name not in PASS_THROUGH or following.overrides:
                break
            last = user.layer
    return found


PASS_THROUGH = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout")
"""Layers that hand on what they are given, whatever it is."""


def _plain_embedding(layer: LayerSpec) -> bool:
    return not layer.overrides and not layer.options["quantization_mode"]


def _looks_up(layer: LayerSpec, embedding: LayerSpec) -> bool:
    """Whether a layer can be given ids in the place of this embedding's numbers."""
    inside = [layer]
    if layer.class_name == "Bidirectional":
        inside = list(layer.sublayers.values())
    table = embedding.weights["embeddings"]
    size = 0
    for loop in inside:
        fast = fast_layer(loop).overrides.get("fast")
        if not isinstance(fast, FastLoop) or layer.overrides:
            return False
        kernel = loop.weights["kernel"]
        if kernel.dtype != table.dtype or len(kernel) != table.shape[1]:
            return False
        size += len(table) * kernel.shape[1] * kernel.itemsize
    return size <= MAX_PROJECTED_BYTES


_LOCK = Lock()
_PREPARED: WeakKeyDictionary[LayerSpec, _Prepared] = WeakKeyDictionary()
