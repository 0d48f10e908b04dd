"""Find the layer type of a class: of Keras's own, of the user's, or of none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from verify.errors import UnsupportedError
from verify.forward.layers.base import LayerType, Run
from verify.model.spec import UNREAD, LayerSpec


class UnreadLayer(LayerType):
    """Stand for a layer that cannot be read, and say why when it is called."""

    class_name = UNREAD
    autocast = False
    casts_outputs = False

    def formula(self, layer: LayerSpec) -> str:
        return "as the arrays of the file say"

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"NOT READ: {layer.unread}"]

    def call(self, run: Run, layer: LayerSpec, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(f"{layer}: {layer.unread}")


class Registry(Mapping[str, LayerType]):
    """Map the name of a class to its layer type.

    Parameters
    ----------
    built_in : mapping
        Keras class name -> layer type; raw operations have names such as ``ops.Add``.

    Notes
    -----
    Classes that users register are listed after those of Keras. The type of layers that
    cannot be read is found by its name, but not listed: it is no class of a file.
    """

    def __init__(self, built_in: Mapping[str, LayerType]) -> None:
        self._built_in = dict(built_in)
        self._own: dict[str, LayerType] = {}
        self._found = {UNREAD: UnreadLayer(), **self._built_in}

    def __getitem__(self, name: str) -> LayerType:
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self._own

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from self._own

    def __len__(self) -> int:
        return len(self._built_in) + len(self._own)

    @property
    def built_in(self) -> Mapping[str, LayerType]:
        """Return the layer types of Keras's classes alone."""
        return dict(self._built_in)

    @property
    def own(self) -> Mapping[str, LayerType]:
        """Return the layer types that users have registered alone."""
        return dict(self._own)

    def set_own(self, own: Mapping[str, LayerType]) -> None:
        """Replace the layer types that users have registered."""
        self._own = dict(own)
        self._found = {UNREAD: self._found[UNREAD], **self._built_in, **self._own}
