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
from pathlib import Path
from typing import Any

__version__ = "1.0.0"

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_HOME = {
    name: home for home, name in re.findall(r"from (\S+) import \w+ as (\w+)", _STUB)
}
"""Public name -> module that defines it. No module or package directly in this one may
have a public name: importing it would replace the function by the module."""

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        from verify.errors import did_you_mean

        said = f"module {__name__!r} has no attribute {name!r}"
        # tools look for names with underscores, which nobody has misspelt
        hint = "" if name.startswith("_") else did_you_mean(name, _HOME)
        raise AttributeError(f"{said}. {hint}".rstrip() if hint else said)
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found  # the next access does not come here
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
