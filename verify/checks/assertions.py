"""Assert in a test-suite that a model, or a port of it, is right."""

from __future__ import annotations

from typing import Any

from verify.checks.against_keras import check
from verify.checks.against_outputs import compare_outputs
from verify.report.report import Report


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
    x, outputs : (batch, ...), or path
        What the port was given, and what it returned, as for `compare_outputs`.
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
    return _passed(compare_outputs(model, x, outputs, **options))


def _passed(report: Report) -> Report:
    __tracebackhide__ = True
    if not report:
        raise AssertionError(report.to_text())
    return report
