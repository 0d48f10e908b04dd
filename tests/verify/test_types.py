"""The types that users see: a file of theirs is checked by mypy against the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import verify

ROOT = Path(__file__).parents[2]

USER = """
import numpy as np
import verify

net: verify.Network = verify.load("model.keras")
report: verify.Report = verify.check("model.keras", np.ones((2, 3)), partial=True)
code: int = report.verdict.exit_code
exported = verify.compare_exported(net, "model.onnx", tolerance="1%")
names: tuple[str, ...] = exported.findings
verify.assert_outputs_match(net, "x.npy", {"out": np.ones(2)}, tolerance=1e-3)
"""

MISTAKES = """
verify.check("model.keras", partially=True)
wrong: int = report.reason
report.verdct
"""


def test_the_package_says_that_it_is_typed():
    assert (Path(verify.__file__).parent / "py.typed").read_bytes() == b""


@pytest.mark.slow
def test_mypy_checks_a_users_file_against_the_package(tmp_path):
    (tmp_path / "user.py").write_text(USER + MISTAKES)
    # the cache of `make lint`, and its options: without them all of verify/ is read
    done = subprocess.run(
        [sys.executable, "-m", "mypy", tmp_path / "user.py", "--show-error-codes"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    lines = len(USER.splitlines())
    assert [line.split(":")[1] for line in found] == [f"{lines + k}" for k in (2, 3, 4)]
    for line, code in zip(
        found, ("call-arg", "assignment", "attr-defined"), strict=True
    ):
        assert line.endswith(f"[{code}]")
