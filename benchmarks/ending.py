"""How a benchmark ends: an exit code, and one line when it cannot go on."""

from __future__ import annotations

import sys
from collections.abc import Callable

from verify.console.exit_codes import BAD_INPUT
from verify.errors import VerifyError

INTERRUPTED_CODE = 130


def ended(name: str, work: Callable[[], int]) -> int:
    """The exit code of some work; 2 and a line on stderr, or 130 after Ctrl-C.

    Parameters
    ----------
    name : str
        With which the line begins.
    work : callable
    """
    try:
        return work()
    except (VerifyError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted, no file was written", file=sys.stderr)
        return INTERRUPTED_CODE
