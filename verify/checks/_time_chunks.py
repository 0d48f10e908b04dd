"""Compare recurrent layers of a chaotic model in time chunks, from Keras's own states.

Where a recurrence amplifies rounding, two correct programs drift apart after enough
steps, and comparing their outputs proves nothing. But each step can be compared: Keras
runs the layer in chunks of a few steps, each from the states at the end of the chunk
before, and NumPy computes every chunk from the same states. The chunks prove the whole
sequence only if, concatenated, they equal the uninterrupted run bit for bit, on both
sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.backward.graphs import calls_of
from verify.checks._batches import Examiner
from verify.checks._layers import compare_call
from verify.console.progress import doing
from verify.errors import KerasCannotRun, printable
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.evaluate import States
from verify.forward.layers import LOOPS, REGISTRY
from verify.forward.layers.base import Tensor
from verify.forward.layers.recurrent import LOOP_OPTIONS
from verify.forward.layers.wrappers import MERGES
from verify.forward.network import Network
from verify.forward.recurrence import MaskRule
from verify.forward.trace import bare_path
from verify.mistakes.diagnose import diagnose
from verify.mistakes.explanation import Diagnosis
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.dtypes import is_float
from verify.model.graph import (
    Graph,
    MaskOf,
    Node,
    TensorRef,
    flatten,
    map_structure,
)
from verify.model.spec import LayerSpec
from verify.model_files.opening import opened
from verify.report.report import LayerResult
from verify.tolerance.noise_floor import float64_tolerance

if TYPE_CHECKING:
    from verify.keras_bridge import KerasCall, KerasModel

CHUNK_STEPS = (10, 2)
"""Time steps in a chunk: few enough that rounding errors stay small even where each
step amplifies them. Where ten are too many, two are tried."""

MAX_CHUNKS = 200
"""Chunks of two steps that a layer is run in at most: more would take minutes."""

CHUNKED_LAYERS = (*LOOPS, "Bidirectional")
"""Layers that are run in chunks, because they can start from given states; the two of
a Bidirectional one by one. A TimeDistributed of one of `LOOPS` is, too: its layer runs
through each of its steps as through a batch of rows."""


class Undecided(Exception):
    """Say why a comparison in chunks decides nothing."""


@dataclass(frozen=True, eq=False)
class TimeChunks:
    """Hold the outcome of a comparison in chunks.

    Attributes
    ----------
    layers : tuple of LayerResult
    wrong : KerasCall or None
        The first chunk, in float64, that differs by more than rounding.
    """

    layers: tuple[LayerResult, ...]
    wrong: KerasCall | None = None

    def diagnosis(self, own: Network, other: Network | None) -> Diagnosis | None:
        """Say which mistake explains the first wrong chunk, if there is one.

        Parameters
        ----------
        own : Network
            The model as Keras has it.
        other : Network, optional
            The user's network, if that was compared with Keras and not `own`.
        """
        if self.wrong is None:
            return None
        call = self.wrong
        outputs = call.outputs
        if other is not None:
            outputs = every_step(other, call.name).call_layer(
                call.name, call.args, call.kwargs, dtype="float64"
            )
        return diagnose(
            every_step(own, call.name).spec,
            LayerCall(call.name, call.args, call.kwargs),
            outputs,
            allowed=[float64_tolerance(y).atol for y in outputs],
            layer=call.name,
        )


def compare_time_chunks(
    examiner: Examiner,
    keras: KerasModel,
    keras64: KerasModel,
    x: Inputs,
    layers: Sequence[LayerResult],
) -> TimeChunks:
    """Compare every layer on its input in predict, in chunks if it amplifies rounding.

    Parameters
    ----------
    examiner : Examiner
        The network, and what the tolerances of its outputs depend on.
    keras, keras64 : KerasModel
        The model as the user runs it, and in float64.
    x : Inputs
    layers : list of LayerResult
        Results for whole sequences, which decide nothing.

    Raises
    ------
    Undecided
        The model cannot be run in chunks, or the chunks do not prove the whole run.
    """
    from verify.keras_bridge import predicted_calls

    predicted = keras.predict(x)
    net = _opened(examiner.net)
    if net is not examiner.net:
        examiner = replace(examiner, net=net)
        keras, keras64 = _opened_models(keras, keras64)
    own = net.spec.root.sublayers
    layers = [r for r in layers if bare_path(r.name, net.spec) in own]
    batches = _batches(net, x)
    open_keys = {r.name for r in layers if not (r.proof.matches and r.decided)}
    open_keys |= _stateful(net, layers)
    for result in layers:
        layer = net.spec[bare_path(result.name, net.spec)]
        if result.name in open_keys and not _is_chunked(layer):
            raise Undecided(
                f"layer '{printable(result.name)}' ({result.class_name}) is open, too, "
                "and only loops over time are compared in chunks"
            )
    try:
        calls, outputs = predicted_calls(keras, x, _calls(keras, x, batches))
        calls64 = _calls(keras64, x, batches)
        if len(batches) > 1:
            calls64, _ = predicted_calls(keras64, x, calls64)
    except KerasCannotRun as error:
        raise Undecided(f"{error}") from error
    if not all(_same(a, b) for a, b in zip(outputs, predicted, strict=True)):
        raise Undecided("predict's own states cannot be seen without changing them")
    _require_same_graph(net, x, calls, outputs)
    found: list[LayerResult] = []
    wrong = None
    by_key = {call.key: call for call in calls64}
    for call in calls:
        if call.name not in own:
            continue
        call64 = by_key[call.key]
        if call.key not in open_keys:
            found.append(compare_call(examiner, keras64, call64, call, {}))
            continue
        each = _batches_inside(net.spec[call.name], call, batches)
        loops = [
            _compared(examiner, keras, keras64, one64, one, each)
            for one64, one in zip(_loops(net, call64), _loops(net, call), strict=True)
        ]
        results = [result for _, result in loops]
        if all(result.matches for result in results):
            _require_whole_run(net, call, [run for run, _ in loops], batches)
        found += results
        wrong = wrong or next((run.wrong for run, _ in loops if run.wrong), None)
    return TimeChunks(tuple(found), wrong)


def _opened(net: Network) -> Network:
    """Return a network in which the layers of models inside have their place.

    Recurrent layers inside a model can then be compared in chunks like the others.
    """
    root = net.spec.root
    inside = [layer for layer in root.sublayers.values() if layer.graph is not None]
    if not inside or root.graph is None or net.spec.config is None:
        return net
    found = opened(root, net.spec.config, lambda layer: layer.graph is not None)
    graph = Graph(found.inputs, found.outputs, found.nodes)
    flat = replace(root, sublayers=found.layers, graph=graph)
    return Network(replace(net.spec, root=flat), net.floatx)


def _opened_models(
    keras: KerasModel, keras64: KerasModel
) -> tuple[KerasModel, KerasModel]:
    from verify import keras_bridge

    try:
        with doing("models inside the model"):
            return keras_bridge.opened(keras), keras_bridge.opened(keras64)
    except KerasCannotRun as error:
        raise Undecided(f"{error}") from error


def _compared(
    examiner: Examiner,
    keras: KerasModel,
    keras64: KerasModel,
    call64: KerasCall,
    call: KerasCall,
    batches: Sequence[slice],
) -> tuple[_ChunkedLayer, LayerResult]:
    """Compare a recurrent layer in chunks that are short enough, if two steps are."""
    for steps in CHUNK_STEPS:
        with doing(f"'{printable(call.key, 40)}' in chunks of {steps} steps"):
            run = _ChunkedLayer(examiner, keras, keras64, call64, call, steps, batches)
            result = run.compared()
        unclear = result.only_rounding
        too_long = run.time * len(batches) > MAX_CHUNKS * CHUNK_STEPS[-1]
        if (result.decided and not unclear) or too_long:
            break
    return run, result


def _is_chunked(layer: LayerSpec) -> bool:
    if layer.class_name == "TimeDistributed":
        return layer.sublayers["layer"].class_name in LOOPS
    return layer.class_name in CHUNKED_LAYERS


def _batches_inside(
    layer: LayerSpec, call: KerasCall, batches: Sequence[slice]
) -> Sequence[slice]:
    """Return the rows that the loops of a layer take one after the other.

    Those of a TimeDistributed take its steps; see `_loops`.
    """
    if layer.class_name != "TimeDistributed":
        return batches
    given = REGISTRY["TimeDistributed"].by_name(call.args, call.kwargs)
    rows, steps = flatten(given["inputs"])[0].value.shape[:2]
    return [slice(k * rows, (k + 1) * rows) for k in range(steps)]


def _batches(net: Network, x: Inputs) -> list[slice]:
    """Return the rows that predict takes one after the other; all if that is one."""
    size = (net.spec.batch_size or 1) if net.stateful else x.rows
    return [slice(k, k + size) for k in range(0, x.rows, size)]


def _stateful(net: Network, layers: Sequence[LayerResult]) -> set[str]:
    """Return the calls of layers that keep their states from batch to batch."""
    found = set()
    for result in layers:
        own = net.spec[bare_path(result.name, net.spec)]
        inside = [own, *(layer for _, layer in own.walk())]
        if any(layer.options.get("stateful") for layer in inside):
            found.add(result.name)
    return found


def _calls(keras: KerasModel, x: Inputs, batches: Sequence[slice]) -> list[KerasCall]:
    """Return Keras's calls on all rows, where it takes one batch at a time."""
    if len(batches) == 1:
        return keras.calls(x)
    each = [keras.calls(x.take(rows)) for rows in batches]
    return [_joined(parts) for parts in zip(*each, strict=True)]


def _loops(net: Network, call: KerasCall) -> list[KerasCall]:
    """Return the call of a recurrent layer, or those that a wrapper makes."""
    layer = net.spec[call.name]
    if layer.class_name == "TimeDistributed":
        return [_all_steps(call)]
    if layer.class_name != "Bidirectional":
        return [call]
    given = REGISTRY["Bidirectional"].by_name(call.args, call.kwargs)
    mask = _mask(given)
    states = flatten(given.get("initial_state", []))
    half = len(states) // 2
    sequences = Tensor(flatten(given["sequences"])[0].value)
    found = []
    for key, own in zip(layer.sublayers, (states[:half], states[half:]), strict=True):
        kwargs: dict[str, Any] = {"initial_state": own} if half else {}
        if mask is not None:
            kwargs["mask"] = Tensor(mask)
        path = f"{call.name}/{key}"
        of_call = f"{call.key}/{key}"
        found.append(
            replace(call, name=path, key=of_call, args=(sequences,), kwargs=kwargs,
                    outputs=[], masks=[])
        )  # fmt: skip
    return found


def _all_steps(call: KerasCall) -> KerasCall:
    """Return the calls of the layer inside a TimeDistributed as one.

    Its rows are those of the first step, then those of the second, and so on.
    """
    given = REGISTRY["TimeDistributed"].by_name(call.args, call.kwargs)
    if _mask({"sequences": given["inputs"], **given}) is not None:
        raise Undecided(
            f"layer '{printable(call.key)}' (TimeDistributed) with a mask is not run "
            "in chunks"
        )
    x = flatten(given["inputs"])[0].value.swapaxes(0, 1)  # (steps, rows, time, ...)
    together = Tensor(x.reshape(-1, *x.shape[2:]))
    return replace(call, name=f"{call.name}/layer", key=f"{call.key}/layer",
                   args=(together,), kwargs={}, outputs=[], masks=[])  # fmt: skip


def _require_whole_run(
    net: Network,
    call: KerasCall,
    runs: Sequence[_ChunkedLayer],
    batches: Sequence[slice],
) -> None:
    """Raise Undecided unless the chunks are the uninterrupted run, bit for bit.

    That is asked of Keras's chunks and of NumPy's.
    """
    alone = LayerCall(call.name, call.args, call.kwargs)
    ours: list[list[Array]] = []
    states: States = {}
    for rows in batches:
        some = alone if len(batches) == 1 else alone.take(rows)
        if _forgets(net.spec[call.name]):
            states.clear()
        outputs = net.call_layer(
            call.name, some.args, some.kwargs, dtype="float64", states=states
        )
        ours.append(outputs)
    whole = [np.concatenate(parts) for parts in zip(*ours, strict=True)]
    for whose, outputs, parts in (
        ("Keras's", call.outputs, [run.joined(run.single_outputs) for run in runs]),
        ("NumPy's", whole, [run.joined(run.by_numpy()) for run in runs]),
    ):
        merged = _merged(net.spec[call.name], parts, len(outputs[0]))
        if not all(_same(a, b) for a, b in zip(outputs, merged, strict=False)):
            raise Undecided(
                f"{whose} chunks of layer '{printable(call.key)}' are not its whole run"
            )


def _merged(layer: LayerSpec, parts: Sequence[Array], rows: int) -> tuple[Array, ...]:
    """Return what a layer makes of the outputs of its loops.

    Parameters
    ----------
    layer : LayerSpec
    parts : list of array
    rows : int
        Of the call of the layer.
    """
    if layer.class_name == "TimeDistributed":
        (y,) = parts  # (steps * rows, ...)
        return (y.reshape(-1, rows, *y.shape[1:]).swapaxes(0, 1),)
    if layer.class_name != "Bidirectional":
        return tuple(parts)
    y, y_rev = parts
    if layer.sublayers["forward_layer"].options["return_sequences"]:
        y_rev = np.flip(y_rev, axis=1)
    return MERGES[layer.options["merge_mode"]](y, y_rev)


def _forgets(layer: LayerSpec) -> bool:
    return Rule.PREDICT_FORGETS_STATES in layer.rules


def every_step(net: Network, name: str) -> Network:
    """Return a network in which a recurrent layer returns every step and its states."""
    from verify.keras_bridge import EVERY_STEP

    layer = net.spec[name].with_options(**EVERY_STEP)
    return Network(net.spec.with_layer(layer, name), net.floatx)


class _ChunkedLayer:
    """Run a recurrent layer in chunks, on both sides."""

    def __init__(
        self,
        examiner: Examiner,
        keras: KerasModel,
        keras64: KerasModel,
        call64: KerasCall,
        call: KerasCall,
        steps: int,
        batches: Sequence[slice],
    ) -> None:
        from verify.keras_bridge import inner_layer, options_of, time_chunks

        net = examiner.net
        self.layer, self.path = net.spec[call.name], call.name
        self.options = options_of(inner_layer(keras.model, call.name))
        self.key, self.steps, self.keras64 = call.key, steps, keras64
        self.batches = batches
        self.carries = self.options["stateful"] and not _forgets(self.layer)
        self.examiner = replace(examiner, net=every_step(net, call.name))
        self.given = REGISTRY[self.layer.class_name].by_name(call.args, call.kwargs)
        self.mask = _mask(self.given)
        self.time = flatten(self.given["sequences"])[0].value.shape[1]
        self.wrong: KerasCall | None = None
        in_batches: dict[str, Any] = {"batches": batches, "carries": self.carries}
        try:
            self.single = time_chunks(
                keras, call, self.mask, steps, compiled=True, **in_batches
            )
            self.double = time_chunks(
                keras64, call64, self.mask, steps, compiled=False, **in_batches
            )
        except KerasCannotRun as error:
            raise Undecided(f"{error}") from error

    @property
    def single_outputs(self) -> list[Array]:
        """Return the outputs of Keras's chunks, (batch, steps, units) each."""
        return [call.outputs[0] for call in self.single]

    def compared(self) -> LayerResult:
        """Compare all chunks; return the first that differs, or the largest errors.

        Chunks of the same shapes are compared in one call, and one by one only to find
        the first that differs.
        """

        def compare(double: KerasCall, single: KerasCall) -> LayerResult:
            return compare_call(self.examiner, self.keras64, double, single, {})

        groups: dict[tuple[int, bool], list[int]] = {}
        for k, call in enumerate(self.single):
            kind = call.args[0].value.shape[1], "initial_state" in call.kwargs
            groups.setdefault(kind, []).append(k)
        results = []
        for places in groups.values():
            double = _stacked([self.double[k] for k in places])
            result = compare(double, _stacked([self.single[k] for k in places]))
            results.append(result)
        shown, began = results[0], 0
        differing = [result for result in results if not result.matches]
        if differing:
            shown, count = differing[0], len(self.single) // len(self.batches)
            for k, (double, single) in enumerate(
                zip(self.double, self.single, strict=True)
            ):
                one = compare(double, single)
                if not one.matches:
                    shown, began = one, k % count * self.steps
                    self.wrong = None if one.proof.matches else double
                    break
        else:
            shown = replace(
                shown,
                proof=max((r.proof for r in results), key=lambda c: c.max_diff),
                numerics=max(
                    (r.numerics for r in results), key=lambda c: c.error_ratio
                ),
            )
        return replace(
            shown,
            name=self.key,
            decided=all(r.decided for r in results),
            derived=min(r.derived for r in results),
            chunks=len(self.single),
            began=began,
        )

    def by_numpy(self) -> list[Array]:
        """Return NumPy's outputs in chunks, each from its own states."""
        from verify.keras_bridge import time_slices

        x = flatten(self.given["sequences"])[0].value
        begun = [leaf.value for leaf in flatten(self.given.get("initial_state", []))]
        states: list[Array] = []
        outputs = []
        slices = list(
            time_slices(
                self.time, self.steps, backwards=self.layer.options["go_backwards"]
            )
        )
        for rows in self.batches:
            if begun or not self.carries:
                states = [state[rows] for state in begun]
            for some in slices:
                kwargs: dict[str, Any] = {"initial_state": states} if states else {}
                if self.mask is not None:
                    kwargs["mask"] = self.mask[rows, some]
                y, *states = self.examiner.net.call_layer(
                    self.path, [x[rows, some]], kwargs, dtype="float64"
                )
                outputs.append(y)
        return outputs

    def joined(self, outputs: Sequence[Array]) -> Array:
        """Return what the layer returns, from its outputs in chunks.

        A chunk does not know the outputs before it, so outputs at masked steps are
        replaced here, by Keras's rule.

        Parameters
        ----------
        outputs : list of (batch, steps, units)
            Outputs of the chunks at every step, in processing order.

        Returns
        -------
        (batch, time, units) or (batch, units)
        """
        count = len(outputs) // len(self.batches)
        found = []
        for k, rows in enumerate(self.batches):
            own = outputs[k * count : (k + 1) * count]
            joined = np.concatenate(own, axis=1)  # (batch, time, units)
            if self.mask is not None:
                keep = self.mask[rows]
                keep = keep[:, ::-1] if self.options["go_backwards"] else keep
                joined = self._with_masked_steps(joined, keep, rows)
            found.append(joined if self.options["return_sequences"] else joined[:, -1])
        return np.concatenate(found)

    def _with_masked_steps(self, joined: Array, keep: Array, rows: slice) -> Array:
        """Replace the outputs at masked steps by what the layer's `MaskRule` says.

        That is the previous output, or zeros.

        Parameters
        ----------
        joined : (batch, time, units)
            The outputs of all steps, in processing order.
        keep : (batch, time) of bool
            False at masked steps, in processing order.
        rows : slice
            Where these rows are.
        """
        if self.options["zero_output_for_mask"] and self.options["unroll"]:
            raise Undecided("an unrolled layer that zeroes masked steps is not joined")
        loop = {name: self.options[name] for name in LOOP_OPTIONS}  # Keras's own
        rule = MaskRule.of(self.layer.with_options(**loop))
        shown = np.zeros_like(joined[:, 0])
        if rule.shows_state and "initial_state" in self.given:
            states = flatten(self.given["initial_state"])
            shown = states[0].value[rows].astype(joined.dtype)
        found = []
        for t in range(joined.shape[1]):
            before = np.zeros_like(shown) if rule.zeroes else shown
            counts = keep[:, t].reshape(-1, *(1,) * (joined.ndim - 2))
            shown = np.where(counts, joined[:, t], before)
            found.append(shown)
        return np.stack(found, axis=1)


def _same(a: Array, b: Array) -> bool:
    """Return whether all values, which may be texts, are equal, and NaN is with NaN."""
    return np.array_equal(a, b, equal_nan=is_float(a))


def _require_same_graph(
    net: Network, x: Inputs, calls: Sequence[KerasCall], outputs: Sequence[Array]
) -> None:
    """Raise Undecided unless NumPy's graph hands every layer what Keras hands it.

    Layers were compared on Keras's own inputs and masks, so mistakes in the wiring
    would not be seen; this checks the wiring.
    """
    graph = net.spec.root.graph
    if graph is None:
        raise Undecided("a model without a graph is not compared in chunks")
    known: dict[TensorRef, tuple[Array, Array | None]] = {
        ref: (value, None) for ref, value in zip(flatten(graph.inputs), x, strict=True)
    }
    seen = {call.key: call for call in calls}
    for node, _, key in calls_of(graph):
        if key not in seen:
            raise Undecided(f"Keras does not call '{printable(key)}'")
        call = seen[key]
        for ours, theirs in _pairs(net.spec[node.layer], node, call):
            given = known.get(ours) if isinstance(ours, TensorRef) else None
            if isinstance(ours, MaskOf) and known[ours.tensor][1] is not None:
                given = (known[ours.tensor][1], None)  # type: ignore[assignment]
            if given is None or not isinstance(theirs, Tensor):
                agree = given is None and not isinstance(theirs, Tensor)
            else:
                value, mask = given
                agree = _same(value.astype(theirs.value.dtype), theirs.value) and (
                    (mask is None and theirs.mask is None)
                    or (
                        mask is not None
                        and theirs.mask is not None
                        and _same(mask, theirs.mask)
                    )
                )
            if not agree:
                raise Undecided(f"Keras gives layer '{printable(key)}' something else")
        for k, (value, mask) in enumerate(zip(call.outputs, call.masks, strict=True)):
            known[TensorRef(node.layer, node.index, k)] = value, mask
    for ref, value in zip(flatten(graph.outputs), outputs, strict=True):
        if ref not in known or not _same(known[ref][0], value):
            raise Undecided("the outputs of the model are not those of the same layers")


def _pairs(layer: LayerSpec, node: Node, call: KerasCall) -> list[tuple[Any, Any]]:
    """Return the arguments of a call in NumPy's graph and in Keras, leaf by leaf.

    Keras may say by name which mask a layer is given: a Bidirectional, for example, in
    the graph that it makes of a Sequential. Without that name a layer is given the mask
    of its only tensor.
    """
    kind = REGISTRY[layer.class_name]
    ours = kind.by_name(node.args, node.kwargs)
    theirs = kind.by_name(call.args, call.kwargs)
    tensors = [leaf for leaf in flatten(ours) if isinstance(leaf, TensorRef)]
    if theirs.get("mask") is not None and "mask" not in ours and len(tensors) == 1:
        ours = {**ours, "mask": MaskOf(tensors[0])}
    pairs: list[tuple[Any, Any]] = []
    for name in (ours.keys() | theirs.keys()) - {"training"}:
        a, b = flatten(ours.get(name)), flatten(theirs.get(name))
        if len(a) != len(b):
            raise Undecided(f"Keras gives layer '{printable(call.key)}' something else")
        pairs += zip(a, b, strict=True)
    return pairs


def _mask(given: Mapping[str, Any]) -> Array | None:
    """Return the mask that a recurrent layer uses.

    With an initial state it uses only a mask that it is given by name.
    """
    if "mask" in given:
        (mask,) = flatten(given["mask"])
        return np.asarray(getattr(mask, "value", mask), dtype=bool)
    if "initial_state" in given:
        return None
    mask = flatten(given["sequences"])[0].mask
    return None if mask is None else np.asarray(mask, dtype=bool)


def _joined(calls: Sequence[KerasCall]) -> KerasCall:
    """Return calls on batches as one on all rows; what is no tensor is the first's."""

    def joined(leaves: Sequence[Any]) -> Any:
        if not isinstance(leaves[0], Tensor):
            return leaves[0]
        masks = [leaf.mask for leaf in leaves]
        return Tensor(
            np.concatenate([leaf.value for leaf in leaves]),
            None if masks[0] is None else np.concatenate(masks),
        )

    return _as_one(calls, joined)


def _stacked(calls: Sequence[KerasCall]) -> KerasCall:
    """Return calls of the same shapes as one, their rows one after the other."""

    def stacked(leaves: Sequence[Any]) -> Any:
        return Tensor(np.concatenate([leaf.value for leaf in leaves]))

    return _as_one(calls, stacked)


def _as_one(
    calls: Sequence[KerasCall], together: Callable[[Sequence[Any]], Any]
) -> KerasCall:
    first = calls[0]
    parts = [flatten([list(call.args), call.kwargs]) for call in calls]
    joined = iter([together(leaves) for leaves in zip(*parts, strict=True)])
    args, kwargs = map_structure(
        lambda _: next(joined), [list(first.args), first.kwargs]
    )
    masks = [
        None if one[0] is None else np.concatenate(one)
        for one in zip(*(call.masks for call in calls), strict=True)
    ]
    outputs = [
        np.concatenate(one) for one in zip(*(c.outputs for c in calls), strict=True)
    ]
    return replace(first, args=tuple(args), kwargs=kwargs, outputs=outputs, masks=masks)
