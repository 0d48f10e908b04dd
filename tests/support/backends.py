"""Python with Keras on another backend, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def on_backend(backend: str, code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Python with Keras on a backend; the code may be a module's name after ``-m``."""
    command = [sys.executable, *(["-c", code] if code else []), *arguments]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(TESTS),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    return subprocess.run(command, capture_output=True, text=True, env=environment)
