"""The fast path of a whole model: fast loops, and embeddings multiplied by a kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock
from weakref import WeakKeyDictionary

from verify.forward.evaluate import FastPath
from verify.forward.fast.loops import FastLoop, has_fast_loop
from verify.model.dtypes import POLICIES
from verify.model.graph import Node, TensorRef, flatten
from verify.model.spec import LayerSpec

MAX_PROJECTED_BYTES = 64 * 2**20
"""Bytes of an embedding table times a kernel, at most."""

PASS_THROUGH = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout")
"""Layers that hand on what they are given, whatever it is."""


def compiled(root: LayerSpec, ids: int = 0) -> FastPath:
    """Return the fast path of a model, made once for each model.

    Parameters
    ----------
    root : LayerSpec
        A model whose weights are in the dtype that they compute in.
    ids : int
        How many numbers will be looked up; embeddings are projected once it pays.
    """
    with _LOCK:
        known = _COMPILED.get(root)
        if known is None:
            known = _COMPILED[root] = _Compiled(root)
    return known.path(ids)


class _Compiled:
    """Hold a model's fast paths, and count what is looked up in its embeddings."""

    def __init__(self, root: LayerSpec) -> None:
        layers = [layer for _, layer in root.walk() if has_fast_loop(layer)]
        self._loops = {layer: FastLoop(layer) for layer in layers}
        self._fed = _fed_loops(root, self._loops)
        self._path = FastPath(self._loops, frozenset())
        self._ids_until_it_pays = max((_ids(layer) for layer in self._fed), default=0)
        self._lock = Lock()

    def path(self, ids: int) -> FastPath:
        """Return the path to take where `ids` numbers more will be looked up."""
        with self._lock:
            self._ids_until_it_pays -= ids
            if self._fed and self._ids_until_it_pays <= 0:
                self._path, self._fed = self._projected(), {}
            return self._path

    def _projected(self) -> FastPath:
        """Return the path on which embeddings hand on ids, to loops with tables."""
        loops = dict(self._loops)
        for embedding, fed in self._fed.items():
            for layer in fed:
                weights = self._loops[layer].weights
                table = weights.input_part(embedding.weights["embeddings"])
                loops[layer] = FastLoop(layer, table)
        return FastPath(loops, frozenset(self._fed))


def _ids(embedding: LayerSpec) -> int:
    return len(embedding.weights["embeddings"])


def _fed_loops(
    root: LayerSpec, loops: Mapping[LayerSpec, FastLoop]
) -> dict[LayerSpec, Sequence[LayerSpec]]:
    """Return the embeddings to project, each with the layers that get its ids.

    The numbers of such an embedding go to one recurrent layer, or to one Bidirectional
    layer, and nowhere else.
    """
    if root.graph is None:
        return {}
    uses: dict[str, list[Node | None]] = {}
    for node in root.graph.nodes:
        for leaf in flatten([list(node.args), dict(node.kwargs)]):
            if isinstance(leaf, TensorRef):
                uses.setdefault(leaf.layer, []).append(node)
    for leaf in flatten(root.graph.outputs):
        if isinstance(leaf, TensorRef):
            uses.setdefault(leaf.layer, []).append(None)
    calls = Counter(node.layer for node in root.graph.nodes)
    found: dict[LayerSpec, Sequence[LayerSpec]] = {}
    places = Counter(layer for _, layer in root.walk())
    for name, embedding in root.sublayers.items():
        if embedding.class_name != "Embedding" or embedding.overrides:
            continue
        if embedding.options["quantization_mode"]:
            continue
        compute, last = POLICIES[embedding.policy].compute, name
        while calls[last] == 1 and len(uses.get(last, [])) == 1:
            (user,) = uses[last]
            if user is None or user.args[:1] != (TensorRef(last, 0, 0),):
                break
            layer = root.sublayers[user.layer]
            if calls[user.layer] != 1 or POLICIES[layer.policy].compute != compute:
                break
            fed = [layer]
            if layer.class_name == "Bidirectional":
                fed = list(layer.sublayers.values())
            # Loops are known by their specs: a spec in two places may get ids in one.
            once = all(places[spec] == 1 for spec in (embedding, *fed))
            if once and all(spec in loops for spec in fed) and not layer.overrides:
                if _table_fits(embedding, fed):
                    found[embedding] = fed
                break
            if layer.class_name not in PASS_THROUGH or layer.overrides:
                break
            last = user.layer
    return found


def _table_fits(embedding: LayerSpec, fed: Sequence[LayerSpec]) -> bool:
    """Return whether an embedding times these layers' kernels is a small table."""
    table = embedding.weights["embeddings"]  # (ids, size)
    kernels = [layer.weights["kernel"] for layer in fed]  # (size, columns) each
    if any(k.dtype != table.dtype or len(k) != table.shape[1] for k in kernels):
        return False
    columns = sum(kernel.shape[1] for kernel in kernels)
    return len(table) * columns * table.itemsize <= MAX_PROJECTED_BYTES


_LOCK = Lock()
_COMPILED: WeakKeyDictionary[LayerSpec, _Compiled] = WeakKeyDictionary()
