"""Re-computes a Keras recurrent model in NumPy and proves that it matches.

::

    net = verify.load("model.keras")
    net.predict(x)                            # NumPy forward pass
    net.trace(x)["lstm"].f                    # every gate and state
    print(verify.describe(net))               # which columns are which gate
    verify.check("model.keras", x)            # against Keras: a Report
    verify.compare_outputs("model.keras", x, theirs)   # somebody's port
    verify.selftest("model.keras", x)         # which mistakes would not have shown
    verify.assert_matches_predict(model, x)   # for a test-suite

Importing this package imports neither Keras nor TensorFlow. What it offers is imported
when it is first asked for, so that a command loads only what it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same as `_MODULES`, for whoever reads types
    from verify.backward import Gradients, backprop
    from verify.checks.against_keras import assert_matches_predict, check
    from verify.checks.against_outputs import compare_outputs
    from verify.checks.checkpoint import Watch
    from verify.checks.load import load
    from verify.checks.selftest import SelfTest, selftest
    from verify.errors import DataError, ModelFileError, UnsupportedError, VerifyError
    from verify.forward.evaluate import LayerTrace
    from verify.forward.network import Network, Trace
    from verify.model.spec import LayerSpec, ModelSpec
    from verify.report.describe import describe
    from verify.report.report import Report
    from verify.tolerance.compare import Verdict

__version__ = "1.0.0"

__all__ = [
    "DataError",
    "Gradients",
    "LayerSpec",
    "LayerTrace",
    "ModelFileError",
    "ModelSpec",
    "Network",
    "Report",
    "SelfTest",
    "Trace",
    "UnsupportedError",
    "Verdict",
    "VerifyError",
    "Watch",
    "assert_matches_predict",
    "backprop",
    "check",
    "compare_outputs",
    "describe",
    "load",
    "selftest",
]

_MODULES = {
    "backward": ("Gradients", "backprop"),
    "checks.against_keras": ("assert_matches_predict", "check"),
    "tolerance.compare": ("Verdict",),
    "report.describe": ("describe",),
    "errors": ("DataError", "ModelFileError", "UnsupportedError", "VerifyError"),
    "forward.evaluate": ("LayerTrace",),
    "checks.load": ("load",),
    "forward.network": ("Network", "Trace"),
    "checks.against_outputs": ("compare_outputs",),
    "report.report": ("Report",),
    "checks.selftest": ("SelfTest", "selftest"),
    "model.spec": ("LayerSpec", "ModelSpec"),
    "checks.checkpoint": ("Watch",),
}
"""Where each name is defined. No module has the name of what it defines: once imported
it would stand in its place."""

_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found  # from now on it is found without this function
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
