"""What a report says of a model of which not all can be read."""

from __future__ import annotations

from dataclasses import dataclass

from verify.errors import join_and, printable

SHOWN_UNPROVED = 12
"""Layers that were not proved, and that a report's text lists at most."""


@dataclass(frozen=True)
class Unproved:
    """Hold a layer that a check could not prove.

    Attributes
    ----------
    name, class_name : str
        As in the file.
    parameters : int
        How many numbers its weights hold.
    reason : str
    """

    name: str
    class_name: str
    parameters: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{printable(self.name)} ({printable(self.class_name)}), "
            f"{self.parameters:,} parameters: {printable(self.reason, 400)}"
        )


@dataclass(frozen=True)
class Coverage:
    """Hold how much of a model was proved.

    Attributes
    ----------
    layers, of_layers : int
        Layers that were proved, of how many. A model inside counts as one layer, unless
        a layer inside it cannot be read: then each of its layers counts.
    parameters, of_parameters : int
    recurrent : tuple of str
        The recurrent layers among those that were proved.
    unproved : tuple of Unproved
    """

    layers: int
    of_layers: int
    parameters: int
    of_parameters: int
    recurrent: tuple[str, ...]
    unproved: tuple[Unproved, ...]

    def __str__(self) -> str:
        names = join_and(map(printable, self.recurrent)) or "none"
        return (
            f"{self.layers:,} of {self.of_layers:,} layers, {self.parameters:,} of "
            f"{self.of_parameters:,} parameters; recurrent: {names}"
        )

    def lines(self) -> list[str]:
        """Return lines for the text of a report."""
        shown = [f"  not proved : {one}" for one in self.unproved[:SHOWN_UNPROVED]]
        more = len(self.unproved) - SHOWN_UNPROVED
        return [
            f"  proved   : {self}",
            *shown,
            *([f"  and {more} more"] if more > 0 else []),
        ]
