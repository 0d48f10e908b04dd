"""The check itself: NumPy against Keras, layer by layer, with a verdict.

Three comparisons, in this order:

1. *proof*: Keras rebuilt with every dtype policy float64, NumPy in float64. Only a
   wrong formula can exceed 1e-10 here.
2. *layers*: each layer on Keras's own input to it, so that an error does not spread.
3. *numerics*: ``model.predict`` as the user runs it, against NumPy float64, held to a
   bound that is derived for every output, or to the model's own rounding noise.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.backward import backprop, supports
from verify.bound import bounded_outputs, unbounded
from verify.chunks import Chunked, Undecided, compare_in_chunks
from verify.compare import (
    PROOF_TOLERANCE,
    Verdict,
    compare,
    compare_all,
    exact,
)
from verify.layerwise import compare_layers, diagnose_layers, layer_rows
from verify.loading import load, usable_inputs
from verify.network import Inputs, Network
from verify.report import GradientResult, LayerResult, Report
from verify.rounding import Rounding
from verify.spec import (
    DataError,
    KerasCannotRun,
    ModelSpec,
    UnsupportedError,
    is_path,
)
from verify.verdicts import (
    UNDEFINED,
    allowance_words,
    beyond_noise,
    judge,
    judge_chunks,
    undefined,
)
from verify.visibility import warnings

if TYPE_CHECKING:
    from verify.keras_bridge import KerasModel

GRADIENT_ROWS = 64
"""Rows whose gradients are compared."""


def check(
    model: Any,
    x: Any = None,
    *,
    batch_size: int = 32,
    network: Network | None = None,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    gradients: bool = False,
) -> Report:
    """Does NumPy, from the config and the weights alone, compute what Keras computes?

    Parameters
    ----------
    model : path to a model file, or keras.Model
    x : (batch, ...), optional
        Inputs, in a list or a dict by their names where there are several; by default
        probe inputs are made from the model's input shapes.
    batch_size : int
        For ``model.predict``; a batch size fixed in the model wins.
    network : Network, optional
        Hold this one against Keras instead of the one read from `model`: your own
        variant, or a mistake planted on purpose.
    config, semantics
        As for `load`.
    gradients : bool
        Whether to compare the gradients of every weight and input too: NumPy's own
        backpropagation with Keras's automatic differentiation, in float64.

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
            "expected a path to a model file or a Keras model, to compare with. "
            "Received: a verify.Network; give it as network=, beside its model"
        )
    own = load(model, config=config, semantics=semantics)
    net = own if network is None else load(network)
    _require_same_layers(own.spec, net.spec)
    if gradients and (reason := supports(net)):
        raise UnsupportedError(reason)
    given = x is not None
    x = usable_inputs(net, x)

    from verify import keras_bridge

    backend = keras_bridge.backend()
    own, net = own.on(backend), net.on(backend)
    spec = net.spec
    live, how = model, ""
    if is_path(model):
        live, how = keras_bridge.load_model(os.fspath(model), own.spec)
    keras = keras_bridge.KerasModel(live, _batch_size(spec, x, batch_size))
    keras64 = keras.twin("float64")
    predicted, proved = keras.predict(x), keras64.predict(x)

    rounding = Rounding(net)
    names = net.output_names
    expected = net.flat(x, dtype="float64")
    proof = compare_all(
        expected, proved, allowed=[exact(y).value for y in expected], names=names
    )
    floors = rounding.floors(lambda n, dtype: n.flat(x, dtype=dtype), expected)
    noise, kernels = floors, keras_bridge.kernels()
    floors = bounded_outputs(net, x, noise, expected, predicted, kernels)
    numerics = compare_all(
        expected, predicted, allowed=[floor.value for floor in floors], names=names
    )
    rows = layer_rows(
        expected, predicted if proof.matches else proved, spec.batch_size or 1, net
    )
    some = x.take(rows)
    more = [*spec.notes]
    more += [
        f"Keras on {backend}: {rule} (here up to {apart:.2g} apart)"
        for rule, apart in net.differences(x).items()
    ]
    if proof.matches and numerics.matches:
        more += beyond_noise(expected, predicted, noise)
    layers: tuple[LayerResult, ...] = ()
    pieces: Chunked | None = None
    amplified: tuple[float, float] | None = None
    try:
        layers = compare_layers(rounding, keras.twin(), keras64, some, kernels)
    except KerasCannotRun as error:
        more.append(f"the layers were not compared one by one: {error}")
    if undefined(expected, proved):
        verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
    else:
        verdict, reason = judge(rounding, some, proof, numerics, floors, layers)
        finite = all(np.isfinite(y).all() for y in predicted)
        if verdict is Verdict.INCONCLUSIVE and layers and finite:
            try:
                pieces = compare_in_chunks(
                    rounding,
                    keras,
                    keras64,
                    some,
                    layers,
                    keras.predict(some),
                    kernels,
                )
                layers = pieces.layers
                verdict, reason = judge_chunks(layers)
                amplified = proof.max_diff, numerics.max_diff
                parts = [layer for layer in layers if layer.chunks]
                proof = max((x.proof for x in parts), key=lambda c: c.share)
                numerics = max((x.numerics for x in parts), key=lambda c: c.share)
            except Undecided as why:
                more.append(f"no comparison in chunks: {why}")
    diagnosis = None
    if verdict is Verdict.FAIL:
        if pieces is not None:
            diagnosis = pieces.diagnosis(own, None if network is None else net)
        elif network is None:
            diagnosis = diagnose_layers(spec, some, layers, keras64)
        else:  # which mistake does the given network make, seen from the model's own?
            diagnosis = diagnose_layers(own.spec, some, layers, net)
    slopes = _compared_gradients(net, keras64, some) if gradients else ()
    if verdict is Verdict.PASS and not all(g.comparison.matches for g in slopes):
        verdict, reason = Verdict.FAIL, "the gradients do not match Keras's"
    return Report(
        verdict=verdict,
        reason=reason,
        subject="keras",
        reference="numpy",
        proof=proof,
        numerics=numerics,
        noise=max(float(floor.noise.max()) for floor in floors),
        scale=max(float(floor.scale.max()) for floor in floors),
        allowance=allowance_words(
            floors, unbounded(net), keras_bridge.current_platform()
        ),
        layers=layers,
        amplified=amplified,
        diagnosis=diagnosis,
        warnings=(*more, *warnings(net, x, rows)),
        facts={
            "model": spec.source,
            "rows": x.rows,
            "inputs": "given" if given else "probe inputs made from the model",
            **({"keras model": how} if how else {}),
            **keras_bridge.versions(),
        },
        gradients=slopes,
    )


def _compared_gradients(
    net: Network, keras64: KerasModel, x: Inputs
) -> tuple[GradientResult, ...]:
    """Of the sum of all outputs, each times a number, with respect to everything."""
    from verify.keras_bridge import keras_gradients

    batch = net.spec.batch_size or 1
    x = x.take(slice(0, max(GRADIENT_ROWS // batch, 1) * batch))
    rng = np.random.default_rng(0)
    towards = [rng.normal(size=y.shape) for y in net.flat(x, dtype="float64")]
    ours = backprop(net, x, towards)
    inputs, weights = keras_gradients(keras64, x, towards)
    pairs = [
        (name, "", a, b)
        for name, a, b in zip(net.input_names, ours.inputs, inputs, strict=True)
        if a is not None and b is not None
    ]
    pairs += [
        (path, name, value, weights[path][name])
        for path, values in ours.weights.items()
        for name, value in values.items()
    ]
    return tuple(
        GradientResult(
            path,
            name,
            compare(a, b, allowed=PROOF_TOLERANCE * max(1.0, float(np.abs(a).max()))),
            float(np.abs(a).max()),
        )
        for path, name, a, b in pairs
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


def _batch_size(spec: ModelSpec, x: Inputs, wanted: int) -> int:
    fixed = spec.batch_size
    if wanted < 1:
        raise DataError(f"expected a batch size of 1 or more. Received: {wanted}")
    if fixed is None:
        return wanted
    if x.rows % fixed:
        raise DataError(
            f"expected a multiple of {fixed} rows, the model's fixed batch size. "
            f"Received: {x.rows} rows"
        )
    return fixed


def _require_same_layers(own: ModelSpec, other: ModelSpec) -> None:
    """A network held against a model must have the model's layers."""
    if [(x.name, x.class_name) for x in own] != [(x.name, x.class_name) for x in other]:
        raise DataError(
            "expected a network with the layers of the model "
            f"({', '.join(x.name for x in own)}). "
            f"Received: {', '.join(x.name for x in other)}"
        )
