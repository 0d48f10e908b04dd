"""What a run needs besides the Config of its recipe."""

from __future__ import annotations

from dataclasses import dataclass

from recipes.run.folder import RunFolder


@dataclass(frozen=True)
class RunOptions:
    """Say where a run is written to, what it learns from and how it was asked for.

    Attributes
    ----------
    folder : RunFolder
    resume : bool
        Whether it goes on after the last finished epoch of an earlier run.
    csv : str, optional
        A file of tweets; None for those of the installed package.
    command : str
        The command that repeats the run, for its manifest.
    verified_rows : int, optional
        How many test rows the verification takes; all where it is None.
    """

    folder: RunFolder
    resume: bool = False
    csv: str | None = None
    command: str = ""
    verified_rows: int | None = None
