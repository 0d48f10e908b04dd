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
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same as `_MODULES`, for whoever reads types
    from verify.backward import Gradients, backprop
    from verify.checking import assert_matches_predict, check
    from verify.compare import Verdict
    from verify.describing import describe
    from verify.errors import DataError, ModelFileError, UnsupportedError, VerifyError
    from verify.evaluate import LayerTrace
    from verify.loading import load
    from verify.network import Network, Trace
    from verify.ports import compare_outputs
    from verify.report import Report
    from verify.selftesting import SelfTest, selftest
    from verify.spec import LayerSpec, ModelSpec
    from verify.watching import Watch

__version__ = "0.1.0"

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
    "checking": ("assert_matches_predict", "check"),
    "compare": ("Verdict",),
    "describing": ("describe",),
    "errors": ("DataError", "ModelFileError", "UnsupportedError", "VerifyError"),
    "evaluate": ("LayerTrace",),
    "loading": ("load",),
    "network": ("Network", "Trace"),
    "ports": ("compare_outputs",),
    "report": ("Report",),
    "selftesting": ("SelfTest", "selftest"),
    "spec": ("LayerSpec", "ModelSpec"),
    "watching": ("Watch",),
}
"""Where each name is defined. No module has the name of what it defines: once imported
it would stand in its place."""

_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    elif not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        found = importlib.import_module(f"{__name__}.{name}")  # verify.cells
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found  # from now on it is found without this function
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
