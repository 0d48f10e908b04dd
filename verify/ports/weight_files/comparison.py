"""Compare a model with the weights that a framework has for it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.checks.against_outputs import compare_outputs
from verify.checks.inputs import as_source, prepared_rows, usable_inputs
from verify.data.files import named_path
from verify.data.sources import Arrays
from verify.errors import DataError, error_prefix
from verify.forward.network import Network
from verify.model.conventions import find_framework
from verify.model.spec import ModelSpec
from verify.ports.weight_files.findings import (
    OTHER,
    WeightFinding,
    findings,
    sentences,
)
from verify.ports.weight_files.matching import Matching, match
from verify.ports.weight_files.reading import read_weight_file
from verify.report.report import Report

MAX_ROWS = 4096
"""Rows of the inputs that are computed with the weights of the file, at most."""


@dataclass(frozen=True, eq=False)
class WeightFileComparison:
    """Hold the report on the outputs, and what was found of each weight.

    Attributes
    ----------
    report : Report
        Of the model against itself with the weights of the file.
    findings : tuple of WeightFinding
    sentences : tuple of str
        What was found, in words; the report has them among its warnings.
    matching : Matching
        Which arrays were taken for which layer.
    """

    report: Report
    findings: tuple[WeightFinding, ...]
    sentences: tuple[str, ...]
    matching: Matching

    @property
    def spec(self) -> ModelSpec:
        """Return the model with the weights of the file."""
        return self.matching.found


def weight_file_comparison(
    net: Network,
    path: str | os.PathLike[str],
    framework: str,
    x: Any = None,
    *,
    layers: Mapping[str, str] | None = None,
    **options: Any,
) -> WeightFileComparison:
    """Compare a model with the weights of another framework, read from a file.

    The weights are turned into Keras's form as the framework would use them. The
    outputs of the model with these weights are then compared as those of a port are.
    What the framework does with masks, directions and states is not in its weights, so
    here it is what the model does.

    Parameters
    ----------
    net : Network
    path : path
        A ``.safetensors`` or ``.npz`` file, or the ``model.json`` of TensorFlow.js.
    framework : str
        Whose weights they are, as for `verify.conventions`.
    x : optional
        Inputs; probe inputs by default.
    layers : mapping of str to str, optional
        Name of a layer -> the prefix of its arrays in the file, where names and values
        do not decide.
    options
        Further arguments of `verify.compare_outputs`.

    Raises
    ------
    UnsupportedError
        There is no such framework, or it has no form for a layer of the model.
    ModelFileError
        The file cannot be read.
    DataError
        The arrays of a layer are not in the file, or have other shapes; or none of the
        weights is the model's, changed or not.
    """
    known = find_framework(framework)
    net.spec.require_finite()
    arrays = read_weight_file(named_path(path, "expected a file of weights"))
    with error_prefix(path):
        matching = match(net.spec, arrays, known, layers)
        matching.found.require_finite()
    found = findings(matching)
    with error_prefix(path):
        _require_same_network(found)
    said = [
        f"{path} was read as weights of {known.title} {known.version}",
        *sentences(matching, found),
        "what the framework does with masks, directions and states is not in its "
        "weights; the outputs are computed as the model's are",
    ]
    theirs = Network(matching.found, floatx=net.floatx)
    source = as_source(net, usable_inputs(net) if x is None else x)
    if source.rows > MAX_ROWS:
        raise DataError(
            f"expected at most {MAX_ROWS:,} rows to compare weights on. "
            f"Received: {source.rows:,}"
        )
    rows = prepared_rows(net, source, np.arange(source.rows))
    outputs = theirs.flat(rows, fast=True)
    names = net.output_names
    given = outputs[0] if len(names) == 1 else dict(zip(names, outputs, strict=True))
    report = compare_outputs(net, source, Arrays(given), **options)
    facts = {**report.facts, "weights": str(path), "framework": known.name}
    if x is None:
        facts["inputs"] = "probe inputs made from the model"
    report = replace(report, warnings=(*said, *report.warnings), facts=facts)
    return WeightFileComparison(report, tuple(found), tuple(said), matching)


def _require_same_network(found: Sequence[WeightFinding]) -> None:
    """Raise DataError if no weight of the model was found again in any form."""
    if not any(one.state != OTHER for one in found):
        raise DataError(
            f"expected weights of this model. Received: those of another, 0 of "
            f"{len(found)} weights were found again; {found[0].sentence}"
        )
