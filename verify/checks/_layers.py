"""Compare layer by layer: each call of a layer on the inputs that Keras gave it.

So an error does not spread: the first layer that differs is the one that is wrong, and
known mistakes are tried in that layer alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from verify.checks._batches import Examiner
from verify.checks.partial import has_a_loop
from verify.console.progress import doing
from verify.errors import printable
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.evaluate import States
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor
from verify.forward.network import Network
from verify.mistakes.catalogue import Mutant
from verify.mistakes.changed import changed_layer
from verify.mistakes.diagnose import diagnose
from verify.mistakes.explanation import Diagnosis, explanation_of
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import flatten
from verify.model.spec import LayerSpec, ModelSpec
from verify.report.report import LayerResult, first_wrong
from verify.tolerance.compare import all_finite, compare, compare_all
from verify.tolerance.error_bound import bounded_call, has_states, traces_of_call
from verify.tolerance.noise_floor import float64_tolerance

if TYPE_CHECKING:
    from verify.keras_bridge import KerasCall, KerasModel


def compare_layers(
    examiner: Examiner,
    keras: KerasModel,
    keras64: KerasModel,
    x: Inputs,
    calls: list[KerasCall] | None = None,
) -> tuple[LayerResult, ...]:
    """Compare each call of a layer on Keras's inputs to it; see `compare_call`.

    Recurrent layers are compared first; the results are in the order of the calls.
    Those inside a model that is a layer come before that model.

    Parameters
    ----------
    examiner : Examiner
    keras, keras64 : KerasModel
        The model in its own dtype and in float64.
    x : Inputs
    calls : list of KerasCall, optional
        Those of `keras64` on `x`, if they are known.
    """
    states: dict[str, States] = {}  # by layer: a model inside holds those of its own
    results: dict[int, LayerResult] = {}
    with doing("Keras's layers"):
        own = {call.key: call for call in keras.calls(x)}
    with doing("Keras's layers in float64"):
        calls = keras64.calls(x) if calls is None else calls
    layers = dict(examiner.net.spec.walk())
    known = [k for k, call in enumerate(calls) if call.name in layers]
    known.sort(key=lambda k: not has_a_loop(layers[calls[k].name]))
    for count, k in enumerate(known):
        call = calls[k]
        with doing(f"{count + 1} of {len(known)}, '{printable(call.key, 40)}'"):
            held = states.setdefault(call.name, {})
            results[k] = compare_call(examiner, keras64, call, own.pop(call.key), held)
    return tuple(results[k] for k in sorted(results))


def compare_call(
    examiner: Examiner,
    keras64: KerasModel,
    call64: KerasCall,
    call: KerasCall,
    states: States,
) -> LayerResult:
    """Compare one call of a layer, as Keras made it in float64 and in its own dtype.

    Parameters
    ----------
    examiner : Examiner
        The network, and what the tolerances of its outputs depend on.
    keras64 : KerasModel
        The model in float64.
    call64, call : KerasCall
        The call in float64, and in the model's own dtype.
    states : dict
        Path of a stateful layer -> its states before the call, which the call changes.
    """
    net, rounding, name = examiner.net, examiner.rounding, call.name
    layer = net.spec[name]
    alone = LayerCall(name, call.args, call.kwargs, dict(states))
    alone64 = LayerCall(name, call64.args, call64.kwargs, dict(states))
    masks: list[Array | None] = []
    ours64 = net.call_layer(
        name, call64.args, call64.kwargs, dtype="float64", states=states, masks=masks
    )
    traces = None
    if examiner.keeps_traces(alone.rows) and not has_states(alone):
        traces = traces_of_call(net, alone)
        reference = flatten(traces.double.output)
    else:
        reference = alone.evaluate(net, "float64")
    with doing("what rounding may do"):
        tolerances = bounded_call(
            rounding, alone, reference, call.outputs, examiner.activation_errors,
            traces=traces, rows=examiner.neighbour_rows(alone, reference, call.outputs),
        )  # fmt: skip
    allowed = [tolerance.atol for tolerance in tolerances]
    numerics = compare_all(*all_finite(reference, call.outputs), allowed=allowed)
    in_single = _in_single(layer, call64)
    ours64, theirs64 = all_finite(ours64, call64.outputs)
    proof = compare_all(
        ours64,
        theirs64,
        allowed=[
            atol if single else float64_tolerance(y).atol
            for y, single, atol in zip(ours64, in_single, allowed, strict=False)
        ],
    )
    if proof.matches and (problem := _mask_difference(masks, call64.masks)):
        proof = replace(proof, matches=False, problem=problem)
    steps, amplified = None, 0.0
    if not proof.matches:
        amplified = rounding.amplified(alone64)
        if net.loops(name):
            ours = net.call_layer(
                name, call64.args, call64.kwargs, dtype="float64", every_step=True
            )[0]
            theirs = keras64.step_outputs(call64)
            steps = compare(ours, theirs, allowed=float64_tolerance(ours).atol)
    return LayerResult(
        name=call.key,
        class_name=layer.class_name,
        units=layer.options.get("units"),
        proof=proof,
        numerics=numerics,
        steps=steps,
        decided=all(tolerance.decides for tolerance in tolerances),
        derived=min(tolerance.derived for tolerance in tolerances),
        in_single=any(in_single),
        amplified=amplified,
    )


def _in_single(layer: LayerSpec, call64: KerasCall) -> list[bool]:
    """Say of each output whether Keras computes it in float32 in float64, too.

    A layer that casts no inputs computes in their dtype, whatever it returns:
    GroupNormalization behind a LeakyReLU of whole numbers, for example.
    """
    given = flatten([call64.args, *call64.kwargs.values()])
    values = [x.value for x in given if isinstance(x, Tensor)]
    floats = {value.dtype for value in values if is_float(value)}
    inside = not REGISTRY[layer.class_name].autocast and floats == {np.dtype("float32")}
    return [inside or y.dtype == np.float32 for y in call64.outputs]


def _mask_difference(
    ours: Sequence[Array | None], theirs: Sequence[Array | None]
) -> str:
    """Say how the masks that a layer passes on differ; empty if they do not."""
    for a, b in zip(ours, theirs, strict=True):
        if (a is None) != (b is None):
            with_mask = "Keras" if a is None else "NumPy"
            return f"a mask goes on from here in {with_mask} alone"
        if a is not None and b is not None and not np.array_equal(a, b):
            return "the mask that goes on from here differs"
    return ""


def diagnose_layers(
    spec: ModelSpec,
    x: Inputs,
    layers: tuple[LayerResult, ...],
    observed: Network | KerasModel,
) -> Diagnosis | None:
    """Search for the mistake in the first layer that differs in float64, if one does.

    Parameters
    ----------
    spec : ModelSpec
        The model in which known mistakes are made.
    x : Inputs
    layers : tuple of LayerResult
    observed : Network or KerasModel
        What the mistaken models are compared with.
    """
    wrong = first_wrong([layer for layer in layers if not layer.proof.matches])
    if wrong is None:
        # a network whose layers agree one by one is wired otherwise
        given = isinstance(observed, Network)
        return _diagnose_whole(spec, x, observed) if given else None
    changed = None
    if isinstance(observed, Network):
        changed = changed_layer(spec, observed.spec, wrong.name.partition(":")[0])
    if wrong.proof.problem:  # a wrong mask shows in later layers only
        return _diagnose_whole(spec, x, observed, changed)
    outputs = _observed(x, observed, wrong.name)
    allowed = [float64_tolerance(y).atol for y in outputs]
    found = diagnose(
        spec, x, outputs, allowed=allowed, layer=wrong.name, changed=changed
    )
    if changed and [one.mistake for one in found.explanations] == [changed.name]:
        # it is no known mistake of one layer, but may be one that is made in several
        whole = _diagnose_whole(spec, x, observed)
        if whole is not None and any(not one.layer for one in whole.explanations):
            return whole
    return found


def _diagnose_whole(
    spec: ModelSpec,
    x: Inputs,
    observed: Network | KerasModel,
    changed: Mutant | None = None,
) -> Diagnosis | None:
    """Search by the outputs of the model; None if these do not differ either."""
    outputs = _observed(x, observed, None)
    allowed = [float64_tolerance(y).atol for y in outputs]
    ours = Network(spec).flat(x, dtype="float64")
    same = compare_all(*all_finite(ours, outputs), allowed=allowed)
    if same.matches:  # any mistake that changes nothing would explain it
        found = [explanation_of(changed, same, outputs)] if changed else []
        return Diagnosis(tuple(found), 0) if found else None
    return diagnose(spec, x, outputs, allowed=allowed, changed=changed)


def _observed(
    x: Inputs, observed: Network | KerasModel, name: str | None
) -> list[Array]:
    """Return the float64 outputs of a layer, or without a name those of the model."""
    if isinstance(observed, Network):
        if name is None:
            return observed.flat(x, dtype="float64")
        return flatten(observed.trace(x, dtype="float64")[name].output)
    if name is None:
        return observed.predict(x)
    return next(call.outputs for call in observed.calls(x) if call.key == name)
