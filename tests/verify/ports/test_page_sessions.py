"""What pages show of commands is what these print."""

from __future__ import annotations

import re
import shutil

import pytest
from support.page_sessions import PAGES, path_of, replayed


def without_fractions(text: str) -> str:
    """Digits after a point, and sizes of files, differ from machine to machine."""
    return re.sub(r"\d+\.\d+(e-?\d+)?|[\d,]+ bytes", "#", text)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_session_on_the_page_is_real(tmp_path, page):
    for tool in ("cc", "node") if page == "vectors" else ():
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}: the page shows a port that is tried with it")
    shown, now = path_of(page).read_text(), replayed(page, tmp_path)
    assert without_fractions(now) == without_fractions(shown)
    ends = re.findall(r"^(PASS|FAIL)(?:: |  )", now, re.MULTILINE)
    assert "FAIL" in ends
    assert page != "vectors" or "PASS" in ends
