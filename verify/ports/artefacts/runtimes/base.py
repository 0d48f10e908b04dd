"""Define what the module of a runtime gives the process of an exported file."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verify.errors import UnsupportedError, install_hint, printable
from verify.model.arrays import Array
from verify.ports.artefacts.signature import Signature

Answer = tuple[Any, Mapping[str, Array]]
"""What a request is answered with: a value that JSON can hold, and arrays by name."""


MOST_BYTES = 2**27
"""Tensors of a run that are kept beyond this size altogether are left out."""


class Kept:
    """Keep tensors of a run for an answer, as far as they are numbers and not too many.

    Attributes
    ----------
    arrays : dict of str to array
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._left = MOST_BYTES

    def keep(self, key: str, array: Array, always: bool = False) -> bool:
        """Keep an array under a key, and return whether that was done.

        Parameters
        ----------
        key : str
        array : array
        always : bool
            Whether it is kept however large it is.
        """
        large = array.nbytes > self._left and not always
        if array.dtype.kind not in "fiub" or large:
            return False
        self._left -= array.nbytes
        self.arrays[key] = array
        return True


@dataclass(frozen=True)
class Opening:
    """Say which file to open, and how.

    Attributes
    ----------
    kind : str
        Kind of the file, which is also the name of the module that opens it.
    path : str
        Absolute path of the file or folder.
    shown : str
        Name of the file in messages.
    precision_hint : str or None
        Precision in which the runtime is asked to compute; None leaves it to the
        runtime.
    """

    kind: str
    path: str
    shown: str
    precision_hint: str | None


class Runtime(abc.ABC):
    """Hold an exported file that a runtime has loaded.

    Public methods that take a mapping of arguments and a mapping of arrays, and return
    an `Answer`, can be called by name: `verify.ports.artefacts.session.Session.ask`.

    Attributes
    ----------
    runtime : str
        Name and version of the runtime.
    signature : Signature
    """

    runtime: str
    signature: Signature

    @abc.abstractmethod
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name, given the inputs by name."""

    @abc.abstractmethod
    def renew(self) -> None:
        """Begin again with the state that the file has."""

    @abc.abstractmethod
    def constants(self) -> dict[str, Array]:
        """Return every constant of the file by name, sub-graphs included."""

    def described(self) -> dict[str, Any]:
        """Return the runtime and the signature as JSON can hold them."""
        return {
            "runtime": self.runtime,
            "signature": dataclasses.asdict(self.signature),
        }


def one_line(error: object) -> str:
    """Return what an error says as one printable line, cut off where it gets long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(" ".join(lines) or type(error).__name__, 1000)


def at_least(
    package: str, found: str, wanted: tuple[int, int], extra: str, suffix: str
) -> None:
    """Require a version of a runtime.

    Raises
    ------
    UnsupportedError
        It is older.
    """
    numbers = []
    for part in found.split(".")[:2]:
        digits = "".join(c for c in part if c.isdigit())
        numbers.append(int(digits or 0))
    if tuple(numbers) < wanted:
        raise UnsupportedError(
            f"running {suffix} needs {package} {wanted[0]}.{wanted[1]} or newer. "
            f"Received: {printable(found)}. {install_hint(extra)}"
        )


def missing(package: str, extra: str, suffix: str, reason: object) -> UnsupportedError:
    """Return the error for a runtime that is not installed."""
    return UnsupportedError(
        f"running {suffix} needs {package}, which cannot be imported here "
        f"({printable(reason)}). {install_hint(extra)}"
    )
