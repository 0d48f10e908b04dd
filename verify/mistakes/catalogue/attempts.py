"""Go on where a mistake cannot be tried on a model, and keep which it was and why.

An operator should yield only what a layer allows. Where it fails all the same, or a
mutant cannot be evaluated, the search and the selftest go on with the next one, and
say at the end what they left out: a defect in the catalogue must not end a check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from verify.errors import VerifyError, join_and, printable
from verify.forward.evaluate import NUMPY_ERRORS

FAILURES = (VerifyError, *NUMPY_ERRORS)
"""What a mistake that does not fit a model may raise. Anything else is a defect that
has nothing to do with the mistake."""

SHOWN_MISTAKES = 5
"""Mistakes that are named in one sentence, at most."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Untried:
    """Name a mistake that could not be tried, and say why.

    Attributes
    ----------
    mistake : str
        Its name, or that of the operator that should have yielded it.
    layer : str
        Path of the layer it is made in; empty for the whole model.
    error : str
        Class and message of what was raised.
    """

    mistake: str
    layer: str
    error: str


class Attempts:
    """Try mistakes one after the other, and keep those that could not be tried.

    Attributes
    ----------
    untried : dict of (str, str) to Untried
        By mistake and layer, in the order in which they failed.
    """

    def __init__(self) -> None:
        self.untried: dict[tuple[str, str], Untried] = {}

    def each(
        self,
        operator: Callable[..., Iterable[_T]],
        *arguments: Any,
        layer: str = "",
    ) -> Iterator[_T]:
        """Yield what an operator yields, up to where it fails.

        Parameters
        ----------
        operator : MutationOperator or ModelOperator
        *arguments
            What it is called with: a layer, or a model.
        layer : str
            Path of that layer; empty for a model.
        """
        name = getattr(operator, "__name__", type(operator).__name__)
        try:
            yield from operator(*arguments)
        except FAILURES as error:
            self.failed(name.replace("_", " "), layer, error)

    def result(self, mistake: str, layer: str, make: Callable[[], _T]) -> _T | None:
        """Return what a function returns, or None if it fails.

        Parameters
        ----------
        mistake, layer : str
            As in `Untried`.
        make : callable
            Plants the mistake, or evaluates the model that has it.
        """
        try:
            return make()
        except FAILURES as error:
            self.failed(mistake, layer, error)
            return None

    def failed(self, mistake: str, layer: str, error: BaseException) -> None:
        """Keep a mistake that could not be tried."""
        said = printable(f"{type(error).__name__}: {error}")
        self.untried.setdefault((mistake, layer), Untried(mistake, layer, said))

    @property
    def sentence(self) -> str:
        """Return one sentence that names what could not be tried; empty if all was."""
        return untried_sentence(self.untried.values())


def untried_sentence(untried: Iterable[Untried]) -> str:
    """Return one sentence that counts and names mistakes; empty if there are none."""
    found = list(untried)
    if not found:
        return ""
    names = list(dict.fromkeys(printable(x.mistake, 60) for x in found))
    shown = names[:SHOWN_MISTAKES]
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    mistakes = "mistake" if len(found) == 1 else "mistakes"
    return (
        f"{len(found)} {mistakes} could not be tried on this model: {join_and(shown)}"
    )
