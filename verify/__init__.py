"""Re-compute a Keras recurrent model in NumPy and prove that it matches.

::

    net = verify.load("model.keras")
    net.predict(x)                            # NumPy forward pass
    net.trace(x)["lstm"].f                    # every gate and state
    print(verify.describe(net))               # which columns are which gate
    verify.check("model.keras", x)            # against Keras: a Report
    verify.compare_outputs("model.keras", x, theirs)   # somebody's port
    verify.selftest("model.keras", x)         # which mistakes would not have shown
    verify.assert_matches_predict(model, x)   # for a test-suite, as is
    verify.assert_outputs_match("model.keras", x, theirs)

Importing this package imports neither Keras nor TensorFlow. Its public names are listed
in ``__init__.pyi``. Each is imported when it is first used, so that a command loads
only what it needs; see https://scientific-python.org/specs/spec-0001.
"""

from __future__ import annotations

import importlib
import re
import sys
from opcode import opmap
from pathlib import Path
from types import FrameType
from typing import Any

__version__ = "1.0.0"

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_HOME = {
    name: home for home, name in re.findall(r"from (\S+) import \w+ as (\w+)", _STUB)
}
"""Public name -> module that defines it. No module or package directly in this one may
have a public name: importing it would replace the function by the module."""

__all__ = list(_HOME)


_MEANT = {
    "compare_outputs(model, x, outputs) compares what a port returned, "
    "compare_exported(model, file) runs an exported file": ("compare", "diff", "match"),
    "check(model, x) compares a model with Keras": (
        "verify", "validate", "test", "evaluate", "assert_equal", "run", "prove",
    ),
    "load(model).predict(x) computes the outputs": ("predict", "infer", "outputs"),
    "load(model).trace(x) has every gate and state": (
        "trace", "gates", "states", "activations",
    ),
    "load(model) reads a model": ("load_model", "read", "open", "from_file", "Model"),
    "describe(load(model)) describes a model": ("summary", "show", "info", "inspect"),
    "convert(model, to, out) writes a model for another framework": (
        "export", "save", "to_onnx", "to_torch", "to_tflite",
    ),
    "write_vectors(model, folder) writes test vectors": ("vectors", "test_vectors"),
}  # fmt: skip
"""What is said of names that other packages have, or that commands are called by."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        said = f"module {__name__!r} has no attribute {name!r}"
        # tools look for names with underscores, which nobody has misspelt
        hint = "" if name.startswith("_") else _meant(name)
        if hint and _is_imported(sys._getframe(1)):
            raise ImportError(
                f"cannot import name {name!r} from {__name__!r}. {hint}", name=name
            )
        raise AttributeError(f"{said}. {hint}" if hint else said)
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found  # the next access does not come here
    return found


def _meant(name: str) -> str:
    """Return what was likely meant by a name that is none of this package, or ""."""
    from verify.errors import did_you_mean

    for said, words in _MEANT.items():
        if name in words:
            return f"verify.{said}"
    return did_you_mean(name, _HOME).rstrip()


def _is_imported(frame: FrameType) -> bool:
    """Return whether ``from verify import name`` asks there.

    It would drop the message of an AttributeError, and so what was meant.
    """
    return frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
