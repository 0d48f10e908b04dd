"""Layer by layer: each call of a layer on what Keras itself gave it.

An error then does not spread: the first layer that differs is the one that is wrong,
and the catalogue of mistakes is searched there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from verify.forward.evaluate import States
from verify.forward.network import Inputs, Network
from verify.mistakes.diagnose import Diagnosis, diagnose
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.model.spec import ModelSpec
from verify.report.report import LayerResult
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.compare import compare, compare_all, float64_tolerance
from verify.tolerance.error_bound import bounded, call_bounds, unbounded
from verify.tolerance.noise_floor import Rounding

if TYPE_CHECKING:
    from verify.keras_bridge import KerasCall, KerasModel


LAYER_ROWS = 256
"""Rows that the layer-by-layer comparison looks at; outputs are compared on all."""


def compare_layers(
    rounding: Rounding,
    keras: KerasModel,
    keras64: KerasModel,
    x: Inputs,
    activation_errors: ActivationErrors,
) -> tuple[LayerResult, ...]:
    """Each call of a layer on what Keras gave it, in float64 and in its own dtype."""
    states: States = {}
    results = []
    own = {call.key: call for call in keras.calls(x)}
    for call in keras64.calls(x):
        if call.name in rounding.net.spec.root.sublayers:
            results.append(
                compare_call(
                    rounding, keras64, call, own[call.key], states, activation_errors
                )
            )
    return tuple(results)


def compare_call(
    rounding: Rounding,
    keras64: KerasModel,
    call64: KerasCall,
    call: KerasCall,
    states: States,
    activation_errors: ActivationErrors,
) -> LayerResult:
    """One call of a layer, as Keras in float64 and in its own dtype made it."""
    net, name = rounding.net, call.name
    layer = net.spec[name]

    def alone(given: KerasCall) -> Callable[[Network, str | None], list[Array]]:
        def evaluate(n: Network, dtype: str | None) -> list[Array]:
            return n.call_layer(
                name, given.args, given.kwargs, dtype=dtype, states=dict(before)
            )

        return evaluate

    masks: list[Array | None] = []
    before = dict(states)
    ours64 = net.call_layer(
        name, call64.args, call64.kwargs, dtype="float64", states=states, masks=masks
    )
    allowed = [float64_tolerance(y).atol for y in ours64]
    proof = compare_all(ours64, call64.outputs, allowed=allowed)
    if proof.matches and (problem := _masks_differ(masks, call64.masks)):
        proof = replace(proof, matches=False, problem=problem)
    reference = alone(call)(net, "float64")
    floors = rounding.noise_floors(alone(call), reference)
    # The sweep starts a stateful layer at zero, so it must not have states yet.
    if not unbounded(net, name) and name not in before:
        floors = bounded(
            floors,
            reference,
            call.outputs,
            lambda apart: call_bounds(
                net, name, call.args, call.kwargs, apart, activation_errors
            ),
        )
    numerics = compare_all(
        reference, call.outputs, allowed=[floor.atol for floor in floors]
    )
    steps, amplified = None, 0.0
    if not proof.matches:
        amplified = rounding.amplified(alone(call64))
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
        decided=all(floor.decides for floor in floors),
        derived=min(floor.derived for floor in floors),
        amplified=amplified,
    )


def _masks_differ(ours: Sequence[Array | None], theirs: Sequence[Array | None]) -> str:
    """What is different about the masks that a layer hands on; empty if nothing is."""
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
    """Look for the mistake in the first layer whose formula differs, if one does."""
    wrong = next((layer for layer in layers if not layer.proof.matches), None)
    if wrong is None:
        return None
    # A wrong mask shows in the layers behind it, so the model's outputs have to tell.
    name = None if wrong.proof.problem else wrong.name
    outputs = _observed(x, observed, name)
    allowed = [float64_tolerance(y).atol for y in outputs]
    return diagnose(spec, x, outputs, allowed=allowed, layer=name)


def _observed(
    x: Inputs, observed: Network | KerasModel, name: str | None
) -> list[Array]:
    """What came out of a layer, or of the whole model."""
    if isinstance(observed, Network):
        if name is None:
            return observed.flat(x, dtype="float64")
        return flatten(observed.trace(x, dtype="float64")[name].output)
    if name is None:
        return observed.predict(x)
    return next(call.outputs for call in observed.calls(x) if call.key == name)
