"""Export to ONNX by ``torch.onnx.export``, Keras being on torch."""

from pathlib import Path

import torch

from benchmarks.exporters.routes.common import load, zeros


def export(source: Path, out: Path) -> None:
    """Write the .onnx file, for the two rows of the example."""
    model = load(source)
    example = zeros(model)
    example = example if isinstance(example, list) else [example]
    names = [tensor.name for tensor in model.inputs]
    tensors = [torch.from_numpy(array) for array in example]
    arguments = (tensors,) if len(tensors) > 1 else tuple(tensors)
    torch.onnx.export(
        model, arguments, str(out), dynamo=True, input_names=names, verbose=False
    )
