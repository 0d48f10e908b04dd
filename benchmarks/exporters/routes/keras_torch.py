"""Export to .pt2 by Keras on torch: ``model.export(format="torch")``."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the .pt2 file."""
    load(source).export(out, format="torch", verbose=False)


def outputs(out: Path, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Return what torch computes."""
    tensors = [torch.from_numpy(x) for x in inputs]
    program = torch.export.load(out).module()
    found = program(tensors) if len(tensors) > 1 else program(*tensors)
    found = found if isinstance(found, list | tuple) else [found]
    return [y.detach().numpy() for y in found]
