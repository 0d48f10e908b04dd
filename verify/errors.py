"""How this package speaks of what cannot be read, supported or used.

It imports nothing, so that a command that is used wrongly can say so at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

MAX_MESSAGE = 2_000
"""Characters of an error message, at most; what goes beyond is cut off."""


class VerifyError(ValueError):
    """Report something that cannot be read, used or answered, in one printable line.

    Commands print the message on stderr and exit with code 2. Control characters of the
    message are replaced here, so that nothing from a file reaches a terminal raw.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, MAX_MESSAGE))


class UnsupportedError(VerifyError):
    """A layer, an option or a kind of model that is refused by name."""


class ModelFileError(VerifyError):
    """A file that cannot be read as a Keras model."""


class DataError(VerifyError):
    """Inputs, outputs or weights that cannot be used with this model."""


class KerasCannotRun(DataError):
    """Keras itself fails on a model or on its inputs."""


@contextlib.contextmanager
def error_prefix(path: object) -> Iterator[None]:
    """Errors raised inside say which file they are about."""
    try:
        yield
    except VerifyError as error:
        if str(error).startswith(printable(path)):
            raise
        raise type(error)(f"{printable(path)}: {error}") from None


def install_hint(extra: str) -> str:
    """Return the sentence that says how to install an optional dependency.

    Parameters
    ----------
    extra : str
        The extra of the distribution keras-rnn-verify that lists the missing package.
    """
    return f"Install it with: pip install 'keras-rnn-verify[{extra}]'"


def printable(text: object, limit: int = 200) -> str:
    """`text` as one printable line: nothing from a file reaches a terminal raw."""
    clean = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in f"{text}"
    )
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def join_and(names: Iterable[str]) -> str:
    """``a, b and c``: for messages."""
    items = list(names)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
