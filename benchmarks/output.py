"""Numbers, JSON and files: what the benchmarks write."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from verify.data.files import write_atomically


def digits(value: float) -> str:
    """A positive number with three digits, never in powers of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(2 - math.floor(math.log10(max(value, 1e-3))), 0)}f}"


def in_json(document: Any) -> str:
    """A document in JSON, which has no NaN: what is not finite becomes a word."""
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not finite becomes a word."""
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
        The place cannot be written to.
    """
    write_atomically(path, lambda file: file.write(content))
