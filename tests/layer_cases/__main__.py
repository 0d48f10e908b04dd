"""Hold every case against Keras on the backend of KERAS_BACKEND, and count outcomes.

``KERAS_BACKEND=torch PYTHONPATH=tests python -m layer_cases`` prints how many cases
agree, which are refused by name, and which differ; it ends with 1 if any differs. Names
of modules after it choose their cases.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections import Counter
from types import ModuleType

import layer_cases
from layer_cases.case import Case
from layer_cases.check import CaseRefused, check_case

from verify.keras_bridge import versions


def modules() -> dict[str, ModuleType]:
    """Return the modules of this package by name."""
    names = [m.name for m in pkgutil.iter_modules(layer_cases.__path__)]
    return {
        name: importlib.import_module(f"layer_cases.{name}")
        for name in names
        if name != "__main__"
    }


def every_case(*names: str) -> list[Case]:
    """Return the cases of some modules, by default of all."""
    chosen = [m for name, m in modules().items() if not names or name in names]
    return [case for m in chosen for case in getattr(m, "CASES", [])]


def main(*names: str) -> int:
    """Check the cases one after the other."""
    found = versions()
    backend = found["backend"]
    print(f"Keras {found['keras']} on {backend} {found[backend]}")
    cases = [case for case in every_case(*names) if backend not in case.except_on]
    refused: Counter[tuple[str, bool]] = Counter()
    worst, differ = 0.0, []
    for case in cases:
        try:
            worst = max(worst, check_case(case))
        except CaseRefused as error:
            refused[str(error), bool(error.keras)] += 1
        except Exception as error:
            differ.append(f"{case.id}: {error}")
    agree = len(cases) - sum(refused.values()) - len(differ)
    print(f"{agree} agree, greatest difference {worst:.2g}")
    print(f"{sum(refused.values())} refused by name")
    for (limit, fails), count in sorted(refused.items()):
        print(f"  {count} {limit}{' [Keras itself fails]' if fails else ''}")
    print(f"{len(differ)} differ", *differ, sep="\n  ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
