"""End a benchmark: with an exit code, and one line on stderr if it cannot go on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from verify.console.exit_codes import BAD_INPUT, INTERRUPTED
from verify.errors import DataError, VerifyError


def check_least(arguments: argparse.Namespace, **least: int) -> None:
    """Check options that are whole numbers.

    Parameters
    ----------
    arguments : argparse.Namespace
    **least : int
        Name of an option -> its least value.

    Raises
    ------
    DataError
        An option is less.
    """
    for option, smallest in least.items():
        if (given := getattr(arguments, option)) < smallest:
            raise DataError(
                f"--{option}: expected {smallest} or more. Received: {given}"
            )


def ended(name: str, work: Callable[[], int]) -> int:
    """Do some work and return its exit code: 2 after an error, 130 after Ctrl-C.

    Parameters
    ----------
    name : str
        The name of the benchmark, for the line on stderr.
    work : callable
        Returns the exit code if nothing goes wrong.
    """
    try:
        return work()
    except (VerifyError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted, no file was written", file=sys.stderr)
        return INTERRUPTED
