"""Say in one line what cannot be read, supported or used.

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
    """Refuse a layer, an option or a kind of model by its name."""


class ModelFileError(VerifyError):
    """Report a file that cannot be read as a Keras model."""


class DataError(VerifyError):
    """Report inputs, outputs or weights that cannot be used with this model."""


class WriteError(DataError):
    """Report a file that cannot be written: the disk is full, or the folder is gone."""


class KerasCannotRun(DataError):
    """Report that Keras itself fails on a model or on its inputs."""


class KerasChanged(KerasCannotRun):
    """Report that this Keras does not have what this package needs of it."""


class UntestedKeras(KerasCannotRun):
    """Report that there is no verdict, because a version that was not tested breaks.

    Commands end with the exit code of INCONCLUSIVE.
    """


@contextlib.contextmanager
def error_prefix(path: object) -> Iterator[None]:
    """Put the file that errors raised inside are about in front of their messages."""
    try:
        yield
    except WriteError:  # it is about another file, which it names
        raise
    except VerifyError as error:
        if str(error).startswith(printable(path, MAX_MESSAGE)):
            raise
        raise type(error)(f"{path}: {error}") from None


def install_hint(extra: str) -> str:
    """Return the sentence that says how to install an optional dependency.

    Parameters
    ----------
    extra : str
        The extra of the distribution keras-rnn-verify that lists the missing package.
    """
    return f"Install it with: pip install 'keras-rnn-verify[{extra}]'"


def printable(text: object, limit: int = 200) -> str:
    """Return a text as one printable line of at most `limit` characters.

    Nothing from a file reaches a terminal raw.
    """
    clean = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in f"{text}"
    )
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def join_and(names: Iterable[str]) -> str:
    """Return ``a, b and c``, for messages."""
    items = list(names)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


ALSO_CALLED = {
    "tf": "tensorflow", "pytorch": "torch", "np": "numpy", "fp16": "float16",
    "half": "float16", "f16": "float16", "bf16": "bfloat16", "brain": "bfloat16",
    "i8": "int8", "quantized": "int8", "left": "pre", "right": "post",
    "front": "pre", "back": "post", "before": "pre", "after": "post",
}  # fmt: skip
"""What is meant by other names of the same, which are not spelt alike."""


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Return which known names were likely meant: the nearest, or three at most.

    Upper and lower case are not told apart, and neither are words apart by ``_``. Where
    none is near, those are taken that have the name in them.
    """
    import difflib  # takes time, and few messages need it

    plain = {_plain(one): one for one in known}
    given = _plain(name)
    if (meant := ALSO_CALLED.get(given)) in plain and meant is not None:
        return [plain[meant]]
    near = difflib.get_close_matches(given, plain, n=1, cutoff=0.75)
    if not near and len(given) > 2:
        near = [one for one in plain if given in one]
    return [plain[one] for one in near] if len(near) <= 3 else []


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean LSTM? `` for a name that is nearly a known one, or ``""``.

    What is near, `near_names` says.
    """
    near = near_names(name, known)
    if not near:
        return ""
    *others, last = map(printable, near)
    return f"Did you mean {', '.join(others)}{' or ' if others else ''}{last}? "


def _plain(name: str) -> str:
    return name.lower().replace("_", "")
