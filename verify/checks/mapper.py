"""Define what a mapper is: it runs the work on batches, here or in other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol


class Mapper(Protocol):
    """Describe a function like ``builtins.map`` that also takes shared arguments.

    Results come in the order of the items, and only few items are taken in advance.
    `serial_map` is a mapper, and so is `verify.checks.cluster.Cluster.map`.
    """

    def __call__(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *,
        shared: Mapping[str, Any],
    ) -> Iterator[Any]:
        """Yield ``function(item, **shared)`` for every item."""


def serial_map(
    function: Callable[..., Any], items: Iterable[Any], *, shared: Mapping[str, Any]
) -> Iterator[Any]:
    """Map in this process, one item after the other; see `Mapper`."""
    return map(partial(function, **shared), items)
