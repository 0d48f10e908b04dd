"""Say of a JSON document what it is, and by which version of the schema to read it."""

from __future__ import annotations

from pathlib import Path

from verify import __version__

SCHEMA_VERSION = "1.0"
"""Version of ``schema.json``. The first number changes where something is taken away or
means something else, the second where something is added."""


def document_header(document: str) -> dict[str, str]:
    """Return the first entries of a JSON document.

    Parameters
    ----------
    document : str
        ``"report"``, ``"exported"`` or ``"selftest"``: a name in the schema.
    """
    return {
        "document": document,
        "schema_version": SCHEMA_VERSION,
        "product_version": __version__,
    }


def schema_text() -> str:
    """Return the JSON Schema of every document that ``--json`` prints of a verdict."""
    return Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
