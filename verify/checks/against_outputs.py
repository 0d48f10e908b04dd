"""Check whether the outputs of somebody's port are those of the model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.checks._batches import DEFAULT_LIMITS, BatchPlan, Examiner, Limits
from verify.checks._classes import binary_outputs
from verify.checks._intermediates import IntermediatesComparison, TapExaminer
from verify.checks._outputs_comparison import OutputsComparison, output_leaves
from verify.checks._recorded import Recording, recordings_of
from verify.checks._tapping import (
    Given,
    ModelValues,
    given_taps,
    holds_intermediates,
)
from verify.checks.checkpoint import Watch
from verify.checks.inputs import as_source, error_rows, file_name, prepared_rows
from verify.checks.load import load
from verify.checks.mapper import Mapper, serial_map
from verify.data.files import named_path
from verify.data.sources import (
    Arrays,
    ArraysByName,
    Source,
    open_by_name,
    open_source,
)
from verify.errors import DataError, error_prefix, printable
from verify.forward.network import Network
from verify.mistakes.diagnose import DIAGNOSIS_SECONDS
from verify.mistakes.presentation.shapes import other_shape
from verify.model.arguments import typed
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.spec import is_path
from verify.report.intermediates import listed
from verify.report.report import Report
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.formats import NumberFormat
from verify.tolerance.user_tolerance import UserTolerance

MAX_TRACED = 2**24
"""Numbers in the forward pass of the rows that are compared at a time, at most, where
values inside a port are."""

MAX_SHAPE_ROWS = 1024
"""Rows up to which outputs of another shape are looked at, to say what they are."""


@typed
def compare_outputs(
    model: Any,
    x: Any,
    outputs: Any,
    *,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    backend: str | None = None,
    keras: str | None = None,
    threads: int | None = None,
    mapper: Mapper = serial_map,
    watch: Watch | None = None,
    limits: Limits = DEFAULT_LIMITS,
    diagnosis_seconds: float = DIAGNOSIS_SECONDS,
    tolerance: str | float | None = None,
    precision: str | None = None,
) -> Report:
    """Check whether the outputs of a port, such as one in C, are those of the model.

    A port is any other program that computes the model: on a device, in a runtime. No
    Keras is needed if `model` is a path. The port is
    assumed to compute in float32; one in float64 gets the same tolerance.

    Parameters
    ----------
    model : path to a model file, Network, or keras.Model
    x : (batch, ...)
        The inputs that the port was given; any number of rows, also a
        `verify.data.sources.Source`, or a file of ``rnn-verify compare --data``.
    outputs : (batch, ...), or a dict of arrays
        What the port returned, in the shape of ``model.predict(x)``; a list or a dict
        by the names of the output layers where there are several; a Source; or a file
        of ``rnn-verify compare --outputs``. A dict, an ``.npz`` or a folder may also
        hold values inside the port, named as in `Network.trace`'s `arrays`:
        ``{"lstm/h": h, "lstm/f@0:4": f}``, with all time steps or those after the @.
        The report then says which layer, step, gate and unit is the first to differ.
    config, semantics, backend, keras
        As for `load`.
    threads, mapper, watch, limits
        As for `check`.
    diagnosis_seconds : float
        How long to look for the mistake, if the outputs differ; 0: not at all.
    tolerance : str or float, optional
        How far the outputs may be from the model's by your own word, where that is more
        than rounding may do: ``1e-3``, in units of the outputs; ``"1%"``, of the
        greatest absolute output of each unit; or ``"classes:99%"``, the share of rows
        whose class must agree. The report says that the verdict rests on it.
    precision : str, optional
        The number format in which the port computes, if not in float32: ``"float16"``,
        ``"bfloat16"``, ``"int8"`` or ``"fixed<W,I>"``, see `verify.tolerance.formats`.
        What its rounding may do is then derived, or measured, and allowed. Not to be
        given with a `tolerance`.

    Returns
    -------
    Report
        With a diagnosis where a known mistake explains the outputs. PARTIAL if values
        inside the port are the model's, but not all outputs were given.

    Raises
    ------
    VerifyError
        The model, the inputs or the outputs cannot be used; the message is one line.
    """
    allowed, number_format = what_is_allowed(tolerance, precision)
    if not diagnosis_seconds >= 0:  # NaN is not
        raise DataError(
            "diagnosis_seconds: expected a number of 0 or more. "
            f"Received: {diagnosis_seconds}"
        )
    net = load(model, config=config, semantics=semantics, backend=backend, keras=keras)
    net.spec.require_finite()
    source = as_source(net, x)
    if is_path(outputs):
        outputs = opened_outputs(net, outputs)
    if (arrays := inside(net, outputs)) is not None:
        return _intermediates(
            net, source, arrays, allowed, number_format, threads, limits,
            diagnosis_seconds,
        ).run(mapper, watch)  # fmt: skip
    plan = BatchPlan.of(net, source, limits=limits)
    theirs = _as_outputs(net, source, outputs)
    examiner = Examiner(
        net,
        worst_known_errors(),
        plan,
        native=False,
        name=file_name(source),
        threads=threads,
        limits=limits,
        tolerance=allowed,
        binary=_binary(net, source, allowed),
        precision=number_format,
    )
    return OutputsComparison(
        net=net,
        source=source,
        outputs=theirs,
        plan=plan,
        examiner=examiner,
        diagnosis_seconds=diagnosis_seconds,
    ).run(mapper, watch)


def inside(net: Network, outputs: Any) -> ArraysByName | None:
    """Return the arrays of a port if they are more than its outputs, by their names."""
    if isinstance(outputs, ArraysByName):
        return outputs
    if not isinstance(outputs, Mapping) or not outputs:
        return None
    names = [str(name) for name in outputs]
    if not any("/" in name and name not in net.output_names for name in names):
        return None
    return ArraysByName.of({str(name): array for name, array in outputs.items()})


def opened_outputs(net: Network, path: str | os.PathLike[str]) -> Source | ArraysByName:
    """Open the file, or folder, that a port has written; see `compare_outputs`.

    Raises
    ------
    DataError
        It cannot be read.
    """
    path = named_path(path, "--outputs: expected a file of numbers")
    arrays = open_by_name(path)
    if arrays is not None:
        names = list(arrays.shapes)
        if path.is_dir() or holds_intermediates(names, net.output_names):
            return arrays
    return open_source(path, "outputs", net.output_names)


def _intermediates(
    net: Network,
    source: Source,
    arrays: ArraysByName,
    allowed: UserTolerance | None,
    number_format: NumberFormat | None,
    threads: int | None,
    limits: Limits,
    diagnosis_seconds: float,
) -> IntermediatesComparison:
    """Return the comparison of values inside a port.

    Raises
    ------
    DataError
        Names, shapes or numbers do not fit the model.
    """
    if allowed is not None and allowed.kind == "classes":
        raise DataError(
            "tolerance: expected a number or a percentage, because values inside a "
            f"port have no classes. Received: {allowed}"
        )
    path = "" if arrays.path is None else printable(arrays.path)
    limits = replace(limits, batch_numbers=min(limits.batch_numbers, MAX_TRACED))
    plan = BatchPlan.of(net, source, limits=limits, whole=True)
    some = prepared_rows(
        net, source, np.arange(min(net.spec.batch_size or 1, source.rows))
    )
    model = ModelValues(net, some)
    with error_prefix(path) if path else contextlib.nullcontext():
        given, left_out = given_taps(model, arrays, source.rows)
        theirs = arrays.open([one.tap.name for one in given])
        recordings = _recordings(theirs, given)
    without = f"not compared, having no row for each sample: {listed(left_out)}"
    examiner = TapExaminer(
        net,
        worst_known_errors(),
        plan,
        native=False,
        name=file_name(source),
        threads=threads,
        limits=limits,
        tolerance=allowed,
        precision=number_format,
        recordings=recordings,
    )
    return IntermediatesComparison(
        net=net,
        source=source,
        outputs=theirs,
        plan=plan,
        examiner=examiner,
        model=model,
        given=given,
        notes=[without] if left_out else [],
        outputs_path=path,
        diagnosis_seconds=diagnosis_seconds,
    )


def _recordings(theirs: Source, given: Sequence[Given]) -> tuple[Recording | None, ...]:
    """Return in how few digits arrays were recorded, by their first rows.

    Raises
    ------
    DataError
        One is not made of numbers.
    """
    some = theirs.take(np.arange(min(theirs.rows, MAX_SHAPE_ROWS)))
    assert isinstance(some, dict)
    found = list[Array]()
    for one in given:
        array = np.asarray(some[one.tap.name])
        if array.dtype.kind not in "biuf" and not is_float(array):
            raise DataError(
                f"'{printable(one.tap.name, 80)}': expected numbers. "
                f"Received: {array.dtype}"
            )
        found.append(array)
    return recordings_of(found)


def what_is_allowed(
    tolerance: str | float | None, precision: str | None
) -> tuple[UserTolerance | None, NumberFormat | None]:
    """Read what the user allows, in the words of `compare_outputs`.

    Raises
    ------
    DataError
        One cannot be read, or both are given.
    """
    if tolerance is not None and precision is not None:
        raise DataError(
            "tolerance and precision: expected one of the two. Received: both"
        )
    return (
        None if tolerance is None else UserTolerance.read(tolerance),
        None if precision is None else NumberFormat.read(precision),
    )


def _binary(
    net: Network, source: Source, tolerance: UserTolerance | None
) -> tuple[bool, ...]:
    """Return `binary_outputs` if a share of classes is asked for."""
    if tolerance is None or tolerance.kind != "classes":
        return ()
    return binary_outputs(net, _first_outputs(net, source))


def _first_outputs(net: Network, source: Source) -> list[Array]:
    """Return the model's own outputs for a row, or for a batch if its size is fixed."""
    few = min(net.spec.batch_size or 1, source.rows)
    with error_rows(0, few, source.rows, file_name(source)):
        return net.flat(prepared_rows(net, source, np.arange(few)), dtype="float64")


def _as_outputs(net: Network, source: Source, outputs: Any) -> Source:
    """Return a port's outputs as a `Source`.

    Raises
    ------
    DataError
        They do not have the shapes of the model's outputs.
    """
    names, ours = net.output_names, _first_outputs(net, source)
    shapes = [(source.rows, *y.shape[1:]) for y in ours]
    if isinstance(outputs, Source):
        some = outputs.take(np.arange(min(1, outputs.rows)))
        with error_rows(0, 1, 1, file_name(outputs)):
            leaves = output_leaves(some, names)
            _require_fitting(net, source, leaves, shapes, outputs)
        return outputs
    theirs = output_leaves(outputs, names)
    _require_fitting(net, source, theirs, shapes)
    return Arrays(
        theirs[0] if len(theirs) == 1 else dict(zip(names, theirs, strict=True))
    )


def _require_fitting(
    net: Network,
    source: Source,
    theirs: Sequence[Array],
    shapes: Sequence[tuple[int, ...]],
    outputs: Source | None = None,
) -> None:
    """Raise DataError for outputs that are not numbers, or have other shapes.

    Parameters
    ----------
    net : Network
    source : Source
        The inputs.
    theirs : list of (batch, ...)
    shapes : list of tuple
        Shapes of the model's outputs for all rows.
    outputs : Source, optional
        All outputs of the port, if `theirs` are some of them.
    """
    for k, (array, shape) in enumerate(zip(theirs, shapes, strict=True)):
        received = array.shape if outputs is None else (outputs.rows, *array.shape[1:])
        if received != shape:
            whole = array
            if outputs is not None and outputs.rows <= MAX_SHAPE_ROWS:
                every = outputs.take(np.arange(outputs.rows))
                whole = output_leaves(every, net.output_names)[k]
            said = ""
            if source.rows <= MAX_SHAPE_ROWS and whole.shape == received:
                x = prepared_rows(net, source, np.arange(source.rows))
                said = other_shape(net.flat(x, dtype="float64")[k], whole)
            raise DataError(
                f"expected outputs of shape {shape}, as predict returns them for these "
                f"inputs. Received: shape={received}{f'; {said}' if said else ''}"
            )
