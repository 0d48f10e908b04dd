"""Make the environment of a Keras with uv, and run the probe in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.configs.plan import Line

PROBE = Path(__file__).with_name("probe.py")
SECONDS = 900
"""Longest that an installation or a probe may take."""

ANSWER = "CONFIGS "
"""What the line with the answer of the probe begins with."""


class Failed(Exception):
    """A line of Keras could not be installed or read; the message says why."""


def interpreter(version: str) -> str:
    """Return a Python of this version that is on this machine.

    Raises
    ------
    Failed
        There is none.
    """
    found = shutil.which(f"python{version}")
    places = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    ours = sorted(places.glob(f"{version}.*/bin/python"))
    for path in [*map(str, ours), *([found] if found else [])]:
        run = subprocess.run([path, "--version"], capture_output=True, check=False)
        if not run.returncode:
            return path
    raise Failed(f"there is no Python {version} here")


@contextmanager
def environment(line: Line) -> Iterator[Path]:
    """Make the environment of a line, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="configs-") as folder:
        place = Path(folder) / "environment"
        _run(["uv", "venv", "-q", "--python", interpreter(line.python), str(place)])
        python = place / "bin" / "python"
        _install("--python", str(python), *line.packages)
        yield python


def probed(line: Line, python: Path) -> dict[str, Any]:
    """Return what the probe says of one Keras, in an environment that is there."""
    with tempfile.TemporaryDirectory(prefix="configs-") as folder:
        for one in line.alone:
            _install("--python", str(python), "--no-deps", "--target", folder, one)
        more = {
            "PYTHONPATH": folder,
            "KERAS_BACKEND": "tensorflow",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
            "HOME": folder,
        }
        output = _run([str(python), str(PROBE), line.package], {**os.environ, **more})
    for text in output.splitlines():
        if text.startswith(ANSWER):
            answer: dict[str, Any] = json.loads(text.removeprefix(ANSWER))
            return answer
    raise Failed("the probe gave no answer")


def _install(*arguments: str) -> None:
    _run(["uv", "pip", "install", "-q", *arguments])


def _run(command: list[str], variables: dict[str, str] | None = None) -> str:
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=variables,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} took over {SECONDS} seconds") from None
    if run.returncode:
        last = run.stderr.strip().splitlines()[-1:] or ["no message"]
        raise Failed(last[0][:200])
    return run.stdout
