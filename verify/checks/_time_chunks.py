"""Compare recurrent layers of a chaotic model in time chunks, from Keras's own states.

Where a recurrence amplifies rounding, two correct programs drift apart after enough
steps, and comparing their outputs proves nothing. But each step can be compared: Keras
runs the layer in chunks of a few steps, each from the states at the end of the chunk
before, and NumPy computes every chunk from the same states. The chunks prove the whole
sequence only if, concatenated, they equal the uninterrupted run bit for bit, on both
sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.backward import calls_of
from verify.checks._batches import Examiner
from verify.checks._layers import compare_call
from verify.checks._verdict import is_rounding
from verify.errors import KerasCannotRun, printable
from verify.forward.layers import LOOPS, REGISTRY
from verify.forward.layers.base import Tensor
from verify.forward.layers.recurrent import LOOP_OPTIONS
from verify.forward.network import Inputs, LayerCall, Network
from verify.forward.recurrence import MaskRule
from verify.mistakes.diagnose import diagnose
from verify.mistakes.explanation import Diagnosis
from verify.model.arrays import Array
from verify.model.graph import MaskOf, Node, TensorRef, flatten, map_structure
from verify.model.spec import LayerSpec
from verify.report.report import LayerResult
from verify.tolerance.noise_floor import float64_tolerance

if TYPE_CHECKING:
    from verify.keras_bridge import KerasCall, KerasModel

CHUNK_STEPS = (10, 2)
"""Time steps in a chunk: few enough that rounding errors stay small even where each
step amplifies them. Where ten are too many, two are tried."""

MAX_CHUNKS = 200
"""Chunks of two steps that a layer is run in at most: more would take minutes."""

CHUNKED_LAYERS = LOOPS
"""Layers that are run in chunks, because they can start from given states."""


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

    net = examiner.net
    if net.stateful:
        raise Undecided("a stateful model is not run in chunks")
    open_keys = {r.name for r in layers if not (r.proof.matches and r.decided)}
    for result in layers:
        if result.name in open_keys and result.class_name not in CHUNKED_LAYERS:
            raise Undecided(
                f"layer '{printable(result.name)}' ({result.class_name}) is not run in "
                "chunks"
            )
    try:
        calls, outputs = predicted_calls(keras, x, keras.calls(x))
    except KerasCannotRun as error:
        raise Undecided(f"{error}") from error
    if not all(_same(a, b) for a, b in zip(outputs, keras.predict(x), strict=True)):
        raise Undecided("predict's own states cannot be seen without changing them")
    _require_same_graph(net, x, calls, outputs)
    found, wrong = [], None
    calls64 = {call.key: call for call in keras64.calls(x)}
    for call in calls:
        if call.name not in net.spec.root.sublayers:
            continue
        call64 = calls64[call.key]
        if call.key not in open_keys:
            found.append(compare_call(examiner, keras64, call64, call, {}))
            continue
        for steps in CHUNK_STEPS:
            run = _ChunkedLayer(examiner, keras, keras64, call64, call, steps)
            result = run.compared()
            proof = result.proof
            unclear = not proof.matches and is_rounding(proof, result.amplified)
            too_long = run.time > MAX_CHUNKS * CHUNK_STEPS[-1]
            if (result.decided and not unclear) or too_long:
                break
        if result.matches:
            run.require_whole_run()
        found.append(result)
        wrong = wrong or run.wrong
    return TimeChunks(tuple(found), wrong)


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
    ) -> None:
        from verify.keras_bridge import time_chunks

        net = examiner.net
        self.layer = net.spec[call.name]
        self.options = keras.model.get_layer(call.name).get_config()
        self.key, self.steps, self.keras64 = call.key, steps, keras64
        self.examiner = replace(examiner, net=every_step(net, call.name))
        self.given = REGISTRY[self.layer.class_name].by_name(call.args, call.kwargs)
        self.mask = _mask(self.given)
        self.time = flatten(self.given["sequences"])[0].value.shape[1]
        self.wrong: KerasCall | None = None
        try:
            self.single = time_chunks(keras, call, self.mask, steps, compiled=True)
            self.double = time_chunks(keras64, call64, self.mask, steps, compiled=False)
        except KerasCannotRun as error:
            raise Undecided(f"{error}") from error
        self.whole = call.outputs[0]
        (self.ours, *_) = net.call_layer(
            call.name, call.args, call.kwargs, dtype="float64"
        )

    def require_whole_run(self) -> None:
        """Raise Undecided unless the chunks are the uninterrupted run, bit for bit.

        That is asked of Keras's chunks and of NumPy's.
        """
        self._require_equal(self.whole, [c.outputs[0] for c in self.single])
        self._require_equal(self.ours, self._by_numpy(), "NumPy's")

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
            shown = differing[0]
            for k, (double, single) in enumerate(
                zip(self.double, self.single, strict=True)
            ):
                one = compare(double, single)
                if not one.matches:
                    shown, began = one, k * self.steps
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

    def _by_numpy(self) -> list[Array]:
        """Return NumPy's outputs in chunks, each from its own states."""
        from verify.keras_bridge import time_slices

        x = flatten(self.given["sequences"])[0].value
        states = self.given.get("initial_state")
        outputs = []
        backwards = self.layer.options["go_backwards"]
        for some in time_slices(self.time, self.steps, backwards=backwards):
            kwargs: dict[str, Any] = {}
            if states is not None:
                kwargs["initial_state"] = states
            if self.mask is not None:
                kwargs["mask"] = self.mask[:, some]
            y, *states = self.examiner.net.call_layer(
                self.layer.name, [x[:, some]], kwargs, dtype="float64"
            )
            outputs.append(y)
        return outputs

    def _require_equal(
        self, whole: Array, outputs: Sequence[Array], whose: str = "Keras's"
    ) -> None:
        """Raise Undecided unless a whole run equals its chunks, concatenated.

        A chunk does not know the outputs before it, so outputs at masked steps are
        replaced here, by Keras's rule.

        Parameters
        ----------
        whole : (batch, time, units) or (batch, units)
            Outputs of the whole run.
        outputs : list of (batch, steps, units)
            Outputs of the chunks at every step, in processing order.
        whose : str
            Whose run it is, for the message.
        """
        joined = np.concatenate(outputs, axis=1)  # (batch, time, units)
        options, mask = self.options, self.mask
        if mask is not None:
            keep = mask[:, ::-1] if options["go_backwards"] else mask
            joined = self._with_masked_steps(joined, keep)
        expected = joined if options["return_sequences"] else joined[:, -1]
        if not _same(whole, expected):
            raise Undecided(
                f"{whose} chunks of layer '{printable(self.key)}' are not its whole run"
            )

    def _with_masked_steps(self, joined: Array, keep: Array) -> Array:
        """Replace the outputs at masked steps by what the layer's `MaskRule` says.

        That is the previous output, or zeros.

        Parameters
        ----------
        joined : (batch, time, units)
            The outputs of all steps, in processing order.
        keep : (batch, time) of bool
            False at masked steps, in processing order.
        """
        if self.options["zero_output_for_mask"] and self.options["unroll"]:
            raise Undecided("an unrolled layer that zeroes masked steps is not joined")
        loop = {name: self.options[name] for name in LOOP_OPTIONS}  # Keras's own
        rule = MaskRule.of(self.layer.with_options(**loop))
        shown = np.zeros_like(joined[:, 0])
        if rule.shows_state and "initial_state" in self.given:
            shown = flatten(self.given["initial_state"])[0].value.astype(joined.dtype)
        found = []
        for t in range(joined.shape[1]):
            before = np.zeros_like(shown) if rule.zeroes else shown
            counts = keep[:, t].reshape(-1, *(1,) * (joined.ndim - 2))
            shown = np.where(counts, joined[:, t], before)
            found.append(shown)
        return np.stack(found, axis=1)


def _same(a: Array, b: Array) -> bool:
    """Return whether all bits are equal; NaN in the same places counts as equal."""
    return np.array_equal(a, b, equal_nan=True)


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
    for node, key in calls_of(graph):
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
    """Return the arguments of a call in NumPy's graph and in Keras, leaf by leaf."""
    kind = REGISTRY[layer.class_name]
    ours = kind.by_name(node.args, node.kwargs)
    theirs = kind.by_name(call.args, call.kwargs)
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


def _stacked(calls: Sequence[KerasCall]) -> KerasCall:
    """Return calls of the same shapes as one, their rows one after the other."""

    def stacked(leaves: Sequence[Any]) -> Any:
        return Tensor(np.concatenate([leaf.value for leaf in leaves]))

    first = calls[0]
    parts = [flatten([list(call.args), call.kwargs]) for call in calls]
    joined = iter([stacked(leaves) for leaves in zip(*parts, strict=True)])
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
