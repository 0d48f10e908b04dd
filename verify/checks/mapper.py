"""Where the work on batches of rows is done: in this process, or on others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol


class Mapper(Protocol):
    """Describe ``builtins.map`` with arguments that are the same for all items.

    Results come in the order of the items, of which few are taken in advance.
    `verify.checks.cluster.Cluster.map` is one, `serial_map` another.
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
