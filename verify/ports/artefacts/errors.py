"""Say why an exported file could not be run."""

from __future__ import annotations

from verify.errors import DataError


class RuntimeRefused(DataError):
    """Report inputs that a runtime refuses, in its own words; it can be used again."""
