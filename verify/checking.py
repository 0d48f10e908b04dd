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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verify.compare import (
    Allowance,
    Comparison,
    Verdict,
    compare,
    compare_all,
    exact,
    most_different,
)
from verify.diagnose import diagnose
from verify.dtypes import is_float
from verify.layerwise import compare_layers, diagnose_layers
from verify.loading import load, usable_inputs
from verify.network import Inputs, Network
from verify.report import LayerResult, Report
from verify.rounding import Rounding
from verify.spec import (
    Array,
    DataError,
    KerasCannotRun,
    ModelSpec,
    is_path,
    listing,
    plain,
)
from verify.structure import flatten
from verify.visibility import warnings

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
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
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
    numerics = compare_all(
        expected, predicted, allowed=[floor.value for floor in floors], names=names
    )
    rows = _layer_rows(
        expected, predicted if proof.matches else proved, spec.batch_size or 1, net
    )
    some = x.take(rows)
    more = [*spec.notes]
    more += [
        f"Keras on {backend}: {rule} (here up to {apart:.2g} apart)"
        for rule, apart in net.differences(x).items()
    ]
    layers: tuple[LayerResult, ...] = ()
    try:
        layers = compare_layers(rounding, keras.twin(), keras64, some)
    except KerasCannotRun as error:
        more.append(f"the layers were not compared one by one: {error}")
    if _undefined(expected, proved):
        verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
    else:
        verdict, reason = _judge(rounding, some, proof, numerics, floors, layers)
    diagnosis = None
    if verdict is Verdict.FAIL:
        if network is None:
            diagnosis = diagnose_layers(spec, some, layers, keras64)
        else:  # which mistake does the given network make, seen from the model's own?
            diagnosis = diagnose_layers(own.spec, some, layers, net)
    return Report(
        verdict=verdict,
        reason=reason,
        subject="keras",
        reference="numpy",
        proof=proof,
        numerics=numerics,
        noise=max(float(floor.noise.max()) for floor in floors),
        scale=max(float(floor.scale.max()) for floor in floors),
        layers=layers,
        diagnosis=diagnosis,
        warnings=(*more, *warnings(net, x, rows)),
        facts={
            "model": spec.source,
            "rows": x.rows,
            "inputs": "given" if given else "probe inputs made from the model",
            **({"keras model": how} if how else {}),
            **keras_bridge.versions(),
        },
    )


def compare_outputs(
    model: Any,
    x: Any,
    outputs: Any,
    *,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    backend: str | None = None,
) -> Report:
    """Are these the outputs of this model? For a port in C, a device, another runtime.

    Needs no Keras when `model` is a path. The allowance is that of a port in float32.

    Parameters
    ----------
    model : path to a model file, Network, or keras.Model
    x : (batch, ...)
        The inputs that the port was given.
    outputs : (batch, ...)
        What the port returned, in the shape of ``model.predict(x)``; a list or a dict
        by the names of the output layers where there are several.
    config, semantics, backend
        As for `load`.

    Returns
    -------
    Report
        With a diagnosis where a known mistake explains the outputs.

    Raises
    ------
    VerifyError
    """
    net = load(model, config=config, semantics=semantics, backend=backend)
    x = usable_inputs(net, x)
    expected = net.flat(x, dtype="float64")
    names = net.output_names
    theirs = _their_outputs(outputs, expected, names)
    floors = Rounding(net).floors(
        lambda n, dtype: n.flat(x, dtype=dtype), expected, native=False
    )
    allowed = [floor.value for floor in floors]
    numerics = compare_all(expected, theirs, allowed=allowed, names=names)
    if _undefined(expected, theirs):
        verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
    elif not all(floor.decides for floor in floors):
        verdict, reason = Verdict.INCONCLUSIVE, _undecided(floors)
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
        noise=max(float(floor.noise.max()) for floor in floors),
        scale=max(float(floor.scale.max()) for floor in floors),
        diagnosis=(
            diagnose(net.spec, x, theirs, allowed=allowed)
            if verdict is Verdict.FAIL
            else None
        ),
        warnings=(
            *net.spec.notes,
            *warnings(net, x, _first_rows(net, x)),
        ),
        facts={"model": net.spec.source, "rows": x.rows, "inputs": "given"},
    )


def _their_outputs(
    outputs: Any, expected: Sequence[Array], names: Sequence[str]
) -> list[Array]:
    """A port's outputs as a list of arrays of numbers, in the shapes of the model's.

    A structure as `predict` returns it, or a dict by `names`.
    """
    if isinstance(outputs, Mapping) and set(outputs) != set(names):
        inside = [flatten(outputs[key]) for key in names if key in outputs]
        if sum(map(len, inside)) == len(names):
            outputs = [leaf for leaves in inside for leaf in leaves]
    if isinstance(outputs, Mapping):
        if set(outputs) != set(names):
            raise DataError(
                f"expected outputs called {listing(list(names))}. "
                f"Received: {listing([plain(key, 40) for key in outputs])}"
            )
        given = [outputs[name] for name in names]
    elif len(expected) == 1:
        one = isinstance(outputs, (list, tuple)) and len(outputs) == 1
        given = list(outputs) if one and hasattr(outputs[0], "shape") else [outputs]
    else:
        given = flatten(list(outputs))
        if len(given) != len(expected):
            raise DataError(
                f"expected {len(expected)} outputs ({listing(list(names))}). "
                f"Received: {len(given)}"
            )
    theirs = [np.asarray(value) for value in given]
    for array, ours in zip(theirs, expected, strict=True):
        if array.dtype.kind not in "biuf" and not is_float(array):
            raise DataError(
                f"expected outputs that are numbers. Received: {array.dtype}"
            )
        if array.shape != ours.shape:
            raise DataError(
                f"expected outputs of shape {ours.shape}, as predict returns them for "
                f"these inputs. Received: shape={array.shape}"
            )
    return theirs


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


def _undefined(ours: Sequence[Array], theirs: Sequence[Array]) -> bool:
    """NaN or infinity on both sides, and nothing wrong beside it."""
    found = False
    for a, b in zip(ours, theirs, strict=False):
        if a.shape != b.shape:
            return False
        neither = ~np.isfinite(a) & ~np.isfinite(b.astype(np.float64))
        rest = np.where(neither, 0.0, a), np.where(neither, 0.0, b.astype(np.float64))
        allowed = exact(np.where(np.isfinite(rest[0]), rest[0], 0.0)).value
        if not compare(*rest, allowed=allowed).matches:
            return False
        found = found or bool(neither.any())
    return found


def _first_rows(net: Network, x: Inputs) -> Array:
    """Rows for a look at the gates: whole batches where the model fixes their size."""
    batch = net.spec.batch_size or 1
    if net.stateful:
        return np.arange(batch)
    return np.arange(min(x.rows, max(LAYER_ROWS // batch, 1) * batch))


def _layer_rows(
    ours: Sequence[Array], theirs: Sequence[Array], batch: int, net: Network
) -> Array:
    """Every row up to `LAYER_ROWS`; of more, those whose outputs differ most.

    Whole batches where the model has a fixed batch size; the first batch alone where
    states go from one batch to the next.
    """
    rows = len(ours[0])
    count = batch if net.stateful else min(rows, max(LAYER_ROWS // batch, 1) * batch)
    same = [a.shape for a in ours] == [b.shape for b in theirs]
    if count == rows or not same or net.stateful:
        return np.arange(count)
    return np.sort(most_different(ours, theirs)[:count])


def _judge(
    rounding: Rounding,
    x: Inputs,
    proof: Comparison,
    numerics: Comparison,
    floors: Sequence[Allowance],
    layers: tuple[LayerResult, ...],
) -> tuple[Verdict, str]:
    """Verdict, and the sentence for it."""
    failed = [layer for layer in layers if not layer.proof.matches]
    if failed or not proof.matches:
        wrong = [x for x in failed if not _is_rounding(x.proof, x.amplified)]
        whole = rounding.amplified(lambda net, dtype: net.flat(x, dtype=dtype))
        if not wrong and (failed or _is_rounding(proof, whole)):
            return (
                Verdict.INCONCLUSIVE,
                "this model amplifies rounding until even float64 answers differ; "
                "shorter sequences can be checked",
            )
        return Verdict.FAIL, "the NumPy forward pass does not match Keras"
    if not all(floor.decides for floor in floors):
        return Verdict.INCONCLUSIVE, _undecided(floors)
    if not numerics.matches or not all(layer.matches for layer in layers):
        return (
            Verdict.FAIL,
            "the formulas agree in float64, but predict differs by more than rounding: "
            "look at the device, the backend's precision (TF32?) or a compiled kernel",
        )
    return Verdict.PASS, "the NumPy forward pass matches Keras"


def _is_rounding(comparison: Comparison, amplified: float) -> bool:
    if comparison.problem:
        return False
    return comparison.max_diff <= PERTURBATION_FACTOR * amplified


def _undecided(floors: Sequence[Allowance]) -> str:
    if not all(np.isfinite(floor.value).all() for floor in floors):
        return UNDEFINED
    floor = next(floor for floor in floors if not floor.decides)
    return (
        f"this model amplifies rounding to {floor.noise.max():.1g} on outputs "
        f"of {floor.scale.max():.1g}, so no such answer can be told from another"
    )


def _require_same_layers(own: ModelSpec, other: ModelSpec) -> None:
    """A network held against a model must have the model's layers."""
    if [(x.name, x.class_name) for x in own] != [(x.name, x.class_name) for x in other]:
        raise DataError(
            "expected a network with the layers of the model "
            f"({', '.join(x.name for x in own)}). "
            f"Received: {', '.join(x.name for x in other)}"
        )
