"""Run ``.pt2`` files of torch.export with torch, on the CPU."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import ModelFileError, UnsupportedError
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.runtimes.base import (
    Opening,
    Runtime,
    at_least,
    missing,
    one_line,
)
from verify.ports.artefacts.runtimes.pt2_archive import sifted
from verify.ports.artefacts.signature import Signature, TensorInfo
from verify.ports.artefacts.wire import DTYPES

EXTRA, SUFFIX = "torch", "a .pt2"


def open_file(opening: Opening) -> TorchExportFile:
    """Load a ``.pt2``, after a look at everything in it that torch would execute.

    Raises
    ------
    UnsupportedError
        torch is missing or too old, or something in the file would be executed.
    ModelFileError
        The file is damaged.
    """
    archive = sifted(Path(opening.path), opening.shown)
    try:
        import torch
    except ImportError as error:
        what = "torch (its build for CPUs is enough)"
        raise missing(what, EXTRA, SUFFIX, error) from None
    at_least("torch", torch.__version__, (2, 8), EXTRA, SUFFIX)
    return TorchExportFile(opening, archive)


class TorchExportFile(Runtime):
    """Hold an exported program in torch.

    Attributes
    ----------
    opening : Opening
    program : torch.export.ExportedProgram
    """

    def __init__(self, opening: Opening, archive: bytes) -> None:
        import torch

        self.opening = opening
        self.archive = archive
        self.runtime = f"torch {torch.__version__.partition('+')[0]}"
        torch.set_num_threads(1)
        self.renew()
        values = {node.name: node.meta.get("val") for node in self.program.graph.nodes}
        signature = self.program.graph_signature
        self.inputs = [str(name) for name in signature.user_inputs]
        self.outputs = [str(name) for name in signature.user_outputs]
        self.signature = Signature(
            tuple(_tensor_info(name, values.get(name)) for name in self.inputs),
            tuple(_tensor_info(name, values.get(name)) for name in self.outputs),
        )

    def renew(self) -> None:
        """Begin again with the state that the file has.

        Raises
        ------
        ModelFileError
            torch refuses the file.
        """
        import torch

        def refused(*arguments: Any, **options: Any) -> Any:
            raise UnsupportedError(
                f"{self.opening.shown}: refused, because it holds a pickle"
            )

        logging.disable(logging.WARNING)
        kept, torch.load = torch.load, refused  # nothing is left that needs it
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.program = torch.export.load(io.BytesIO(self.archive))
                self.module = self.program.module()
        except UnsupportedError:
            raise
        except Exception as error:
            raise ModelFileError(
                f"{self.opening.shown}: {self.runtime} cannot load it: "
                f"{one_line(error)}"
            ) from None
        finally:
            torch.load = kept
            logging.disable(logging.NOTSET)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name, given the inputs by name.

        Raises
        ------
        RuntimeRefused
            torch refuses these inputs.
        """
        import torch
        from torch.utils import _pytree as pytree

        tensors = [_tensor(feeds[name]) for name in self.inputs]
        try:
            positional, named = pytree.tree_unflatten(
                tensors, self.program.call_spec.in_spec
            )
            with torch.no_grad():
                found = self.module(*positional, **named)
            flat = pytree.tree_leaves(found)
        except Exception as error:
            raise RuntimeRefused(one_line(error)) from None
        return {
            name: _array(value) for name, value in zip(self.outputs, flat, strict=True)
        }

    def constants(self) -> dict[str, Array]:
        """Return every parameter, buffer and constant of the file by name."""
        import torch

        found = {**self.program.state_dict, **self.program.constants}
        return {
            name: _array(value)
            for name, value in found.items()
            if isinstance(value, torch.Tensor)
            and str(value.dtype).removeprefix("torch.") in DTYPES
        }


def _tensor(array: Array) -> Any:
    """Return a tensor of an array's numbers; torch does not take NumPy's bfloat16."""
    import torch

    array = np.array(array)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _array(value: Any) -> Array:
    """Return an array of a tensor's numbers."""
    import torch

    if not isinstance(value, torch.Tensor):  # a size that is returned
        return np.asarray(value)
    value = value.detach().cpu().contiguous()
    if value.dtype == torch.bfloat16:
        return np.array(value.view(torch.int16).numpy().view(dtype_of("bfloat16")))
    return np.array(value.numpy())


def _tensor_info(name: str, value: Any) -> TensorInfo:
    """Return an input or output as the program describes it."""
    if value is None or not hasattr(value, "shape"):
        return TensorInfo(name, None, "float32")
    shape = tuple(int(n) if isinstance(n, int) else None for n in value.shape)
    return TensorInfo(name, shape, str(value.dtype).removeprefix("torch."))
