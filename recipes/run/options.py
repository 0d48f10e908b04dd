"""Hold the options of a run that are not in the Config of its recipe."""

from __future__ import annotations

from dataclasses import dataclass

from recipes.run.folder import RunFolder


@dataclass(frozen=True)
class RunOptions:
    """Say where a run is written, what it learns from, and which command asked for it.

    Attributes
    ----------
    folder : RunFolder
    resume : bool
        Whether to continue after the last finished epoch of an earlier run.
    csv : str, optional
        A file of tweets; None for the tweets of the installed package.
    command : str
        The command that repeats the run, for its manifest.
    verified_rows : int, optional
        The number of test rows to verify on; None for all.
    backend : str, optional
        Keras's backend, as for `recipes.run.backend.use`. A resumed run keeps its own.
    """

    folder: RunFolder
    resume: bool = False
    csv: str | None = None
    command: str = ""
    verified_rows: int | None = None
    backend: str | None = None
