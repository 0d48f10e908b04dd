"""A Report read back from the JSON that `Report.to_json` wrote."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from verify.compare import Verdict
from verify.report import Report
from verify.spec import DataError


def read_report(content: Mapping[str, Any]) -> Report:
    """The report that ``verification.json`` holds.

    Parameters
    ----------
    content : mapping
        What `Report.to_dict` returned, as it comes back from JSON.

    Raises
    ------
    DataError
        Something is missing, or is not what a report holds.
    """
    try:
        # reports of earlier versions are of all rows, and do not say so
        report: Report = _read(Report, {"complete": True, **content})
        report.summary()  # what does not go together would fail later, in a page
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            "expected the report of a verification. The file is damaged "
            f"({type(error).__name__}: {error})"
        ) from None
    return report


def _read(kind: Any, value: Any) -> Any:
    """A plain value as the type that an annotation names."""
    origin, inside = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        stored = [f.name for f in fields(kind) if f.compare]  # the tally is not
        return kind(**{name: _read(hints[name], value[name]) for name in stored})  # type: ignore[operator]
    if origin in (Union, types.UnionType):
        (other,) = (x for x in inside if x is not type(None))
        return None if value is None else _read(other, value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError("a list expected")
        if inside[-1] is Ellipsis:
            return tuple(_read(inside[0], item) for item in value)
        return tuple(_read(x, item) for x, item in zip(inside, value, strict=True))
    if origin is not None:
        if not isinstance(value, dict):
            raise TypeError("an object expected")
        return value
    if kind is float and not isinstance(value, bool):
        return float(value)  # NaN and infinity are stored as words
    if kind is Verdict:
        return Verdict(value)
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected")
    return value
