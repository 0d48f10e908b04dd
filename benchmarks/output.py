"""Write the results of benchmarks: numbers, JSON and files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from verify.data.files import write_atomically

RESULTS_FOLDER = Path(__file__).parent / "results"
"""The folder of the results that are committed."""


def digits(value: float) -> str:
    """Format a positive number with three digits, never with a power of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(2 - math.floor(math.log10(max(value, 1e-3))), 0)}f}"


def in_json(document: Any) -> str:
    """Return a document in JSON; numbers that are not finite become words."""
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def put(content: bytes, path: Path) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    write_atomically(path, lambda file: file.write(content))
