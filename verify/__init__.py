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

Importing this package imports neither Keras nor TensorFlow.
"""

from verify.backward import Gradients, backprop
from verify.checking import assert_matches_predict, check
from verify.compare import Verdict
from verify.describe import describe
from verify.evaluate import LayerTrace
from verify.loading import load
from verify.network import Network, Trace
from verify.ports import compare_outputs
from verify.report import Report
from verify.selftest import SelfTest, selftest
from verify.spec import (
    DataError,
    LayerSpec,
    ModelFileError,
    ModelSpec,
    UnsupportedError,
    VerifyError,
)
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
