"""Assert in a test-suite that a model, or a port of it, is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verify.checks.against_keras import check
from verify.checks.against_outputs import compare_outputs, opened_outputs
from verify.checks.load import load
from verify.data.sources import open_source
from verify.model.spec import ModelSpec, is_path
from verify.report.report import Report

LOADING = ("config", "semantics", "backend", "keras")
"""The options of `compare_outputs` that say how a model is loaded."""


def assert_matches_predict(model: Any, x: Any = None, **options: Any) -> Report:
    """Run `check` for a test-suite, and raise if the model does not pass.

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
        The verdict is FAIL, INCONCLUSIVE or PARTIAL; the message is the whole report.
    VerifyError
        The model or the inputs cannot be used.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    return _passed(check(model, x, **options))


def assert_outputs_match(model: Any, x: Any, outputs: Any, **options: Any) -> Report:
    """Run `compare_outputs` for a test-suite, and raise if the port does not pass.

    Parameters
    ----------
    model : path to a model file, Network, or keras.Model
    x : (batch, ...), or path
        The inputs that the port was given, as for `compare_outputs`, or a file of them
        in a format of ``rnn-verify compare --data``.
    outputs : (batch, ...), or path
        What the port returned: an array; of several outputs a list, or a mapping by the
        names of the output layers; or a ``.npy`` or ``.npz`` with these. A mapping, an
        ``.npz`` or a folder may hold values inside the port too, as for
        `compare_outputs`.
    **options
        As for `compare_outputs`, ``tolerance`` and ``precision`` among them.

    Returns
    -------
    Report
        Of a comparison that passed.

    Raises
    ------
    AssertionError
        The verdict is FAIL, INCONCLUSIVE or PARTIAL; the message is the whole report.
    VerifyError
        The model, the inputs or the outputs cannot be used.
    """
    __tracebackhide__ = True
    return _passed(outputs_report(model, x, outputs, **options))


def outputs_report(model: Any, x: Any, outputs: Any, **options: Any) -> Report:
    """Return the report that `assert_outputs_match` raises with, whatever it says."""
    how = {name: options.pop(name) for name in LOADING if name in options}
    net = load(model, **how)
    return compare_outputs(
        net,
        opened(net.spec, x, "x", net.input_names),
        opened_outputs(net, outputs) if is_path(outputs) else outputs,
        **options,
    )


def opened(spec: ModelSpec, given: Any, name: str, names: Sequence[str]) -> Any:
    """Return the arrays in a file as a `Source`; what is no path as it is.

    Parameters
    ----------
    spec : ModelSpec
    given : arrays, Source, path or None
    name : str
        The name in a ``.npz`` of several arrays, for a model of one input or output.
    names : sequence of str
        The names of the model's inputs or outputs.
    """
    if not is_path(given):
        return given
    texts = name == "x" and any(x.options["dtype"] == "string" for x in spec.inputs)
    return open_source(given, name, names, texts=texts)


def _passed(report: Report) -> Report:
    __tracebackhide__ = True
    if not report:
        raise AssertionError(report.to_text())
    return report
