"""The check itself: NumPy against Keras, layer by layer, with a verdict.

Three comparisons, in this order:

1. *proof*: Keras rebuilt with every dtype policy float64, NumPy in float64. Only a
   wrong formula can exceed 1e-10 here.
2. *layers*: each layer on Keras's own input to it, so that an error does not spread.
3. *numerics*: ``model.predict`` as the user runs it, against NumPy float64, with an
   allowance from the model's own rounding noise.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.compare import (
    Allowance,
    Comparison,
    Verdict,
    compare,
    exact,
    most_different,
)
from verify.diagnose import Diagnosis, diagnose
from verify.loading import load, usable_inputs
from verify.network import Network
from verify.report import LayerResult, Report
from verify.rounding import Rounding
from verify.spec import Array, DataError, ModelSpec, is_path
from verify.visibility import warnings

if TYPE_CHECKING:
    from verify.keras_bridge import KerasModel

LAYER_ROWS = 512
"""Rows that the layer-by-layer comparison looks at; outputs are compared on all."""

UNDEFINED = "the outputs hold NaN or infinite values, so nothing can be compared"

PERTURBATION_FACTOR = 1000.0
"""A float64 difference within this many times the effect of one rounding error in every
weight is not held against the formulas."""


def check(
    model: Any,
    x: Any = None,
    *,
    batch_size: int = 32,
    network: Network | None = None,
) -> Report:
    """Does NumPy, from the config and the weights alone, compute what Keras computes?

    Parameters
    ----------
    model : path to a ``.keras`` file, or keras.Sequential
    x : (batch, ...), optional
        Inputs; by default probe inputs are made from the model's input shape.
    batch_size : int
        For ``model.predict``; a batch size fixed in the model wins.
    network : Network, optional
        Hold this one against Keras instead of the one read from `model`: your own
        variant, or a mistake planted on purpose.

    Returns
    -------
    Report

    Raises
    ------
    VerifyError
        The model or the inputs cannot be used; the message is one line.
    """
    if isinstance(model, Network):
        raise DataError(
            "expected a path to a .keras file or a keras.Sequential, to compare with. "
            "Received: a verify.Network; give it as network=, beside its model"
        )
    own = load(model)
    net = own if network is None else load(network)
    spec = net.spec
    _require_same_layers(own.spec, spec)
    given = x is not None
    x = usable_inputs(net, x)

    from verify import keras_bridge

    keras_bridge.require_tensorflow()
    live = keras_bridge.load_model(os.fspath(model)) if is_path(model) else model
    keras = keras_bridge.KerasModel(live, _batch_size(spec, x, batch_size))
    keras64 = keras.twin("float64")
    predicted, proved = keras.predict(x), keras64.predict(x)

    rounding = Rounding(net)
    expected = net.predict(x, dtype="float64")
    proof = compare(expected, proved, allowed=exact(expected).value)
    floor = rounding.floor(x, expected)
    numerics = compare(expected, predicted, allowed=floor.value)
    rows = _layer_rows(
        expected, predicted if proof.matches else proved, spec.input_shape[0] or 1
    )
    layers = _compare_layers(rounding, keras.twin(), keras64, x[rows])
    if _undefined(expected, proved):
        verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
    else:
        verdict, reason = _judge(rounding, x[rows], proof, numerics, floor, layers)
    diagnosis = None
    if verdict is Verdict.FAIL:
        if network is None:
            diagnosis = _diagnose(spec, x[rows], layers, keras64)
        else:  # which mistake does the given network make, seen from the model's own?
            diagnosis = _diagnose(own.spec, x[rows], layers, net)
    return Report(
        verdict=verdict,
        reason=reason,
        subject="keras",
        reference="numpy",
        proof=proof,
        numerics=numerics,
        noise=float(floor.noise.max()),
        scale=float(floor.scale.max()),
        layers=layers,
        diagnosis=diagnosis,
        warnings=tuple(warnings(net, x, rows)),
        facts={
            "model": spec.source,
            "rows": len(x),
            "inputs": "given" if given else "probe inputs made from the model",
            **keras_bridge.versions(),
        },
    )


def compare_outputs(model: Any, x: Any, outputs: Any) -> Report:
    """Are these the outputs of this model? For a port in C, a device, another runtime.

    Needs no Keras when `model` is a path. The allowance is that of a port in float32.

    Parameters
    ----------
    model : path to a ``.keras`` file, Network, or keras.Sequential
    x : (batch, ...)
        The inputs that the port was given.
    outputs : (batch, ...)
        What the port returned, in the shape of ``model.predict(x)``.

    Returns
    -------
    Report
        With a diagnosis where a known mistake explains the outputs.

    Raises
    ------
    VerifyError
    """
    net = load(model)
    x = usable_inputs(net, x)
    theirs = np.asarray(outputs)
    if theirs.dtype.kind not in "iuf":
        raise DataError(f"expected outputs that are numbers. Received: {theirs.dtype}")
    expected = net.predict(x, dtype="float64")
    if theirs.shape != expected.shape:
        raise DataError(
            f"expected outputs of shape {expected.shape}, as predict returns them for "
            f"these inputs. Received: shape={theirs.shape}"
        )
    floor = Rounding(net).floor(x, expected, native=False)
    numerics = compare(expected, theirs, allowed=floor.value)
    if _undefined(expected, theirs):
        verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
    elif not floor.decides:
        verdict, reason = Verdict.INCONCLUSIVE, _undecided(floor)
    elif numerics.matches:
        verdict, reason = Verdict.PASS, "the outputs are those of the model"
    else:
        verdict, reason = Verdict.FAIL, "the outputs are not those of the model"
    return Report(
        verdict=verdict,
        reason=reason,
        subject="theirs",
        reference="numpy",
        proof=None,
        numerics=numerics,
        noise=float(floor.noise.max()),
        scale=float(floor.scale.max()),
        diagnosis=(
            diagnose(net.spec, x, theirs, allowed=floor.value)
            if verdict is Verdict.FAIL
            else None
        ),
        warnings=tuple(warnings(net, x, np.arange(min(len(x), LAYER_ROWS)))),
        facts={"model": net.spec.source, "rows": len(x), "inputs": "given"},
    )


def assert_matches_predict(model: Any, x: Any = None, **options: Any) -> Report:
    """`check` for a test-suite.

    Parameters
    ----------
    model, x, **options
        As for `check`.

    Returns
    -------
    Report
        Of a check that passed.

    Raises
    ------
    AssertionError
        The verdict is FAIL or INCONCLUSIVE; the message is the whole report.
    VerifyError
        The model or the inputs cannot be used.
    """
    report = check(model, x, **options)
    if report.verdict is not Verdict.PASS:
        raise AssertionError(report.to_text())
    return report


def _batch_size(spec: ModelSpec, x: Array, wanted: int) -> int:
    fixed = spec.input_shape[0]
    if wanted < 1:
        raise DataError(f"expected a batch size of 1 or more. Received: {wanted}")
    if fixed is None:
        return wanted
    if len(x) % fixed:
        raise DataError(
            f"expected a multiple of {fixed} rows, the model's fixed batch size. "
            f"Received: {len(x)} rows"
        )
    return fixed


def _undefined(ours: Array, theirs: Array) -> bool:
    """NaN or infinity on both sides, and nothing wrong beside it."""
    if ours.shape != theirs.shape:
        return False
    neither = ~np.isfinite(ours) & ~np.isfinite(theirs)
    rest = np.where(neither, 0.0, ours), np.where(neither, 0.0, theirs)
    allowed = exact(np.where(np.isfinite(rest[0]), rest[0], 0.0)).value
    return bool(neither.any()) and compare(*rest, allowed=allowed).matches


def _layer_rows(ours: Array, theirs: Array, batch: int) -> Array:
    """Every row up to `LAYER_ROWS`; of more, those whose outputs differ most.

    Whole batches where the model has a fixed batch size.
    """
    count = min(len(ours), max(LAYER_ROWS // batch, 1) * batch)
    if count == len(ours) or ours.shape != theirs.shape:
        return np.arange(count)
    return np.sort(most_different(ours, theirs)[:count])


def _compare_layers(
    rounding: Rounding, keras: KerasModel, keras64: KerasModel, x: Array
) -> tuple[LayerResult, ...]:
    """Each layer on the input that Keras gave it, in float64 and in its own dtype."""
    net = rounding.net
    theirs, theirs64 = keras.layer_outputs(x), keras64.layer_outputs(x)
    trace = net.trace(x, dtype="float64")
    results = []
    before = before64 = trace[net.spec.layers[0].name].input
    for layer in net.spec:
        name, mask = layer.name, trace[layer.name].mask
        ours64 = net.layer_output(name, before64, mask, dtype="float64")
        proof = compare(ours64, theirs64[name], allowed=exact(ours64).value)
        wide = before.astype(np.float64)
        reference = net.layer_output(name, wide, mask, dtype="float64")
        floor = rounding.layer_floor(name, before, mask, reference)
        steps, amplified = None, 0.0
        if not proof.matches:
            amplified = rounding.layer_amplified(name, before64, mask)
            if layer.gates:
                ours = net.step_outputs(name, before64, mask)
                keras_steps = keras64.step_outputs(name, x)
                steps = compare(ours, keras_steps, allowed=exact(ours).value)
        results.append(
            LayerResult(
                name=name,
                class_name=layer.class_name,
                units=layer.options.get("units"),
                proof=proof,
                numerics=compare(reference, theirs[name], allowed=floor.value),
                steps=steps,
                decided=floor.decides,
                amplified=amplified,
            )
        )
        before, before64 = theirs[name], theirs64[name]
    return tuple(results)


def _judge(
    rounding: Rounding,
    x: Array,
    proof: Comparison,
    numerics: Comparison,
    floor: Allowance,
    layers: tuple[LayerResult, ...],
) -> tuple[Verdict, str]:
    """Verdict, and the sentence for it."""
    failed = [layer for layer in layers if not layer.proof.matches]
    if failed or not proof.matches:
        wrong = [x for x in failed if not _is_rounding(x.proof, x.amplified)]
        if not wrong and (failed or _is_rounding(proof, rounding.amplified(x))):
            return (
                Verdict.INCONCLUSIVE,
                "this model amplifies rounding until even float64 answers differ; "
                "shorter sequences can be checked",
            )
        return Verdict.FAIL, "the NumPy forward pass does not match Keras"
    if not floor.decides:
        return Verdict.INCONCLUSIVE, _undecided(floor)
    if not numerics.matches or not all(layer.matches for layer in layers):
        return (
            Verdict.FAIL,
            "the formulas agree in float64, but predict differs by more than rounding: "
            "look at the device, the backend's precision (TF32?) or a compiled kernel",
        )
    return Verdict.PASS, "the NumPy forward pass matches Keras"


def _is_rounding(comparison: Comparison, amplified: float) -> bool:
    return comparison.max_diff <= PERTURBATION_FACTOR * amplified


def _undecided(floor: Allowance) -> str:
    if not np.isfinite(floor.value).all():
        return UNDEFINED
    return (
        f"this model amplifies float32 rounding to {floor.noise.max():.1g} on outputs "
        f"of {floor.scale.max():.1g}, so no float32 answer can be told from another"
    )


def _diagnose(
    spec: ModelSpec,
    x: Array,
    layers: tuple[LayerResult, ...],
    observed: Network | KerasModel,
) -> Diagnosis | None:
    """Look for the mistake in the first layer whose formula differs, if one does."""
    wrong = next((layer for layer in layers if not layer.proof.matches), None)
    if wrong is None:
        return None
    name = wrong.name
    if isinstance(observed, Network):
        outputs = observed.trace(x, dtype="float64")[name].output
    else:
        outputs = observed.layer_outputs(x)[name]
    return diagnose(spec, x, outputs, allowed=wrong.proof.allowed, layer=name)


def _require_same_layers(own: ModelSpec, other: ModelSpec) -> None:
    """A network held against a model must have the model's layers."""
    if [(x.name, x.class_name) for x in own] != [(x.name, x.class_name) for x in other]:
        raise DataError(
            "expected a network with the layers of the model "
            f"({', '.join(x.name for x in own)}). "
            f"Received: {', '.join(x.name for x in other)}"
        )
