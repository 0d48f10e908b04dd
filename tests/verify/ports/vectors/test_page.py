"""What docs/vectors.md shows is what its commands print."""

from __future__ import annotations

import re
import shutil

import pytest
from support.vectors_session import PAGE, replayed


def without_fractions(text: str) -> str:
    """Digits after a point, and sizes of files, differ from machine to machine."""
    return re.sub(r"\d+\.\d+(e-?\d+)?|[\d,]+ bytes", "#", text)


@pytest.mark.slow
def test_the_session_on_the_page_is_real(tmp_path):
    for tool in ("cc", "node"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}: the page shows a port that is tried with it")
    page = PAGE.read_text()
    now = replayed(page, tmp_path)
    assert without_fractions(now) == without_fractions(page)
    assert re.findall(r"^(PASS|FAIL): ", now, re.MULTILINE) == [
        *("FAIL", "PASS", "FAIL", "PASS")
    ]
