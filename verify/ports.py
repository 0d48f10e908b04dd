"""The outputs of somebody's port: are they those of the model?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verify.bound import bounded_outputs, unbounded
from verify.compare import Verdict, compare_all
from verify.diagnose import diagnose
from verify.dtypes import is_float
from verify.kernels import greatest
from verify.layerwise import first_rows
from verify.loading import load, usable_inputs
from verify.report import Report
from verify.rounding import Rounding
from verify.spec import Array, DataError, listing, plain
from verify.structure import flatten
from verify.verdicts import (
    UNDEFINED,
    allowance_words,
    beyond_noise,
    undecided,
    undefined,
)
from verify.visibility import warnings

TELLING, MOST_DECIMALS = 16, 9
"""So many numbers with so many decimals at most are no accident."""


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
    noise, kernels = floors, greatest()
    floors = bounded_outputs(net, x, noise, expected, theirs, kernels)
    allowed = [floor.value for floor in floors]
    numerics = compare_all(expected, theirs, allowed=allowed, names=names)
    notes: list[str] = []
    sharp = floors
    if numerics.matches:
        notes += beyond_noise(expected, theirs, noise)
    elif places := _decimals(theirs):
        # printed, or kept in a text file: half of the last decimal is theirs
        half = 0.5 * 10.0**-places
        floors = [floor.widened(half) for floor in floors]
        noise = [floor.widened(half) for floor in noise]
        allowed = [floor.value for floor in floors]
        numerics = compare_all(expected, theirs, allowed=allowed, names=names)
        notes.append(
            f"the outputs are recorded to {places} decimal(s), so differences below "
            f"{half:.0e} cannot be seen: record all digits of float32"
        )
    if undefined(expected, theirs):
        verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
    elif not all(floor.decides for floor in sharp):
        verdict, reason = Verdict.INCONCLUSIVE, undecided(sharp)
    elif numerics.matches and not all(floor.decides for floor in floors):
        verdict, reason = Verdict.INCONCLUSIVE, notes[0]
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
        allowance=allowance_words(floors, unbounded(net), kernels.platform),
        diagnosis=(
            diagnose(net.spec, x, theirs, allowed=[floor.value for floor in noise])
            if verdict is Verdict.FAIL
            else None
        ),
        warnings=(
            *net.spec.notes,
            *notes,
            *warnings(net, x, first_rows(net, x)),
        ),
        facts={"model": net.spec.source, "rows": x.rows, "inputs": "given"},
    )


def _decimals(outputs: Sequence[Array]) -> int:
    """To how many decimals outputs have been rounded; 0 if that cannot be said."""
    values = np.concatenate([y.reshape(-1).astype(np.float64) for y in outputs])
    stored = max(np.finfo(y.dtype).eps if y.dtype.kind == "f" else 0 for y in outputs)
    if len(values) < TELLING or not np.isfinite(values).all():
        return 0
    for places in range(MOST_DECIMALS + 1):
        scaled = np.abs(values) * 10.0**places
        slack = 1e-6 + scaled * stored
        if slack.max() > 0.1:
            return 0  # any number would do
        if (np.abs(scaled - np.rint(scaled)) <= slack).all():
            return places  # 0 for whole numbers: those are no rounded outputs
    return 0


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
