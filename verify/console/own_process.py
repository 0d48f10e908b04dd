"""Know whether this process is that of a command, in which nothing else is at work."""

from __future__ import annotations

import os
import sys
import threading

WITH_THREADS = ("tensorflow", "jax", "torch", "distributed")
"""Packages that have threads in C or C++ at work, which a fork would not copy."""

TELLING = "telling"
"""Name of the thread that says what is being done: it waits, and holds no lock that a
copy of the process would need."""

_own = False


def begin() -> None:
    """Say that the process is a command's, and ends with it."""
    global _own
    _own = True
    # read when NumPy is imported: its threads then sleep as soon as they have nothing
    # to do, and not after a tenth of a second of waiting in a loop
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def may_fork() -> bool:
    """Return whether a copy of this process, by fork, works as a new one would.

    A fork copies one thread alone. Those of OpenBLAS are ended before it, by OpenBLAS.
    The system libraries of macOS do not work in a copy.
    """
    return (
        _own
        and sys.platform == "linux"
        and {x.name for x in threading.enumerate()} <= {"MainThread", TELLING}
        and not any(name in sys.modules for name in WITH_THREADS)
    )
