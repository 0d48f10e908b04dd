"""What an exported file takes and returns, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from verify.errors import printable
from verify.model.arrays import shape_text


@dataclass(frozen=True)
class TensorInfo:
    """Describe an input or an output of an exported file, as the file declares it.

    Attributes
    ----------
    name : str
        The name by which the runtime is given it, or returns it.
    shape : tuple of (int or None), or None
        None for an axis that is left open, and for a shape that is not declared.
    dtype : str
        As NumPy calls it: ``"float32"``, ``"int64"``, ``"bool"``; ``"bfloat16"`` too.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    def __str__(self) -> str:
        shape = "of any shape" if self.shape is None else shape_text(self.shape)
        return f"{printable(self.name, 80)} {shape} {self.dtype}"


@dataclass(frozen=True)
class Signature:
    """Describe all inputs and outputs of an exported file.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
        In the order of the file, which need not be that of the model.
    notes : tuple of str
        Sentences that a report should repeat: the precision in which the runtime
        computes, the method of a SavedModel that is called.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    notes: tuple[str, ...] = ()
