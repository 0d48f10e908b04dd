"""Read the version of verify/ without importing it."""

import re
from pathlib import Path

_here = Path(__file__).parent
_package = next(
    p for p in (_here / "verify", _here.parents[1] / "verify") if p.is_dir()
)
_text = (_package / "__init__.py").read_text(encoding="utf-8")
__version__ = re.findall(r'^__version__ = "(.+)"$', _text, re.MULTILINE)[0]
