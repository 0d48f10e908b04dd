"""Choose the fast path of a model: its fast loops and its projected embeddings.

An embedding is *projected* if its table has been multiplied by the kernel of the layer
that follows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock
from weakref import WeakKeyDictionary

from verify.forward.evaluate import FastPath
from verify.forward.fast.chain import PASS_THROUGH, Chain, calls_in_chain
from verify.forward.fast.loops import FastLoop, has_fast_loop
from verify.model.dtypes import POLICIES
from verify.model.graph import Node, TensorRef, flatten
from verify.model.spec import LayerSpec

MAX_PROJECTED_BYTES = 64 * 2**20
"""Greatest size, in bytes, of an embedding table multiplied by a kernel. For an LSTM it
has 4 * units columns, so it may be many times as large as the embedding."""


def compiled(root: LayerSpec, ids: int | None = 0, *, in_all: bool = False) -> FastPath:
    """Return the fast path of a model, which is made once for each model.

    Parameters
    ----------
    root : LayerSpec
        A model from `cast_to`, with weights in the dtype that it computes in.
    ids : int or None
        How many ids the coming evaluation looks up. The embeddings are projected when
        as many ids have been looked up as the largest table has rows, for then the
        projection has cost no more than the products that it saves. With None none is
        projected, whatever was looked up before.
    in_all : bool
        Whether `ids` is how many ids all evaluations look up that belong together. What
        was looked up before then makes no difference, not even of a last digit.
    """
    with _LOCK:
        known = _COMPILED.get(root)
        if known is None:
            known = _COMPILED[root] = _Compiled(root)
    return known.path(ids, in_all)


class _Compiled:
    """Hold the fast path of a model, and count the ids that it looks up."""

    def __init__(self, root: LayerSpec) -> None:
        layers = [layer for _, layer in root.walk() if has_fast_loop(layer)]
        self._loops = {layer: FastLoop(layer) for layer in layers}
        self._fed = _fed_loops(root, self._loops)
        self._calls = calls_in_chain(root, self._loops.keys())
        self._path = self._plain = self._made(self._loops, frozenset())
        self._largest = max((_ids(layer) for layer in self._fed), default=0)
        self._ids_until_it_pays = self._largest
        self._lock = Lock()

    def path(self, ids: int | None, in_all: bool) -> FastPath:
        """Return the path for an evaluation that looks up `ids` more ids."""
        if ids is None or (in_all and ids < self._largest):
            return self._plain
        with self._lock:
            self._ids_until_it_pays -= ids
            if self._fed and self._ids_until_it_pays <= 0:
                self._path, self._fed = self._projected(), {}
            return self._path

    def _projected(self) -> FastPath:
        """Return the path on which embeddings return ids, for loops with tables."""
        loops = dict(self._loops)
        for embedding, fed in self._fed.items():
            for layer in fed:
                weights = self._loops[layer].weights
                table = weights.input_part(embedding.weights["embeddings"])
                loops[layer] = FastLoop(layer, table)
        return self._made(loops, frozenset(self._fed))

    def _made(
        self, loops: Mapping[LayerSpec, FastLoop], id_embeddings: frozenset[LayerSpec]
    ) -> FastPath:
        """Return a path, with the whole model as a chain if it is one."""
        path = FastPath(loops, id_embeddings)
        if self._calls is None:
            return path
        return path._replace(chain=Chain(self._calls, path))


def _ids(embedding: LayerSpec) -> int:
    return len(embedding.weights["embeddings"])


def _fed_loops(
    root: LayerSpec, loops: Mapping[LayerSpec, FastLoop]
) -> dict[LayerSpec, Sequence[LayerSpec]]:
    """Return the embeddings that can be projected, each with the layers it feeds.

    The output of such an embedding goes to one recurrent or Bidirectional layer, maybe
    through layers of `PASS_THROUGH`, and nowhere else: every other layer would get ids
    in place of vectors.
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
            # a fast loop is found by its spec, so a spec that is used in two places
            # would be given ids in one of them and vectors in the other
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
    """Return whether an embedding times the kernels of these layers is small enough."""
    table = embedding.weights["embeddings"]  # (ids, size)
    kernels = [layer.weights["kernel"] for layer in fed]  # (size, columns) each
    if any(k.dtype != table.dtype or len(k) != table.shape[1] for k in kernels):
        return False
    columns = sum(kernel.shape[1] for kernel in kernels)
    return len(table) * columns * table.itemsize <= MAX_PROJECTED_BYTES


_LOCK = Lock()
_COMPILED: WeakKeyDictionary[LayerSpec, _Compiled] = WeakKeyDictionary()
