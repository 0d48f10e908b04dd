"""Tell which runtime an exported file is for, whatever it is called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from verify.data.file_kinds import FileKind, file_kind
from verify.data.files import meant_instead
from verify.errors import ModelFileError

KINDS = ("onnx", "litert", "openvino", "saved_model", "torch_export")
"""Kinds of files that can be run; each has a module of this name in
`verify.ports.artefacts.runtimes`."""

WANTED = (
    "expected an .onnx, a .tflite, an OpenVINO .xml, a SavedModel folder or a .pt2 of "
    "torch.export"
)

MAX_BYTES = 2 * 10**9
"""Greatest size of an exported file with everything that belongs to it."""

AS_WEIGHTS = "its weights can be compared with --as"
RUN_ELSEWHERE = (
    "run it there on --data x.npy, and give what it returns as --outputs y.npy"
)

OUTPUTS_BEHIND = "what a port returned goes behind --outputs, its inputs behind --data"

REMEDIES: Mapping[str, str] = {
    "keras": "to compare two, write the outputs of one with rnn-verify predict, and "
    "give them as --outputs",
    "torchscript": "export it with torch.export.save",
    "torch_pickle": "export the model with torch.export.save, or save its weights with "
    "safetensors.torch.save_file and compare them with --as torch",
    "safetensors": f"{AS_WEIGHTS} torch or another framework",
    "npz": f"{AS_WEIGHTS} FRAMEWORK",
    "npy": OUTPUTS_BEHIND,
    "parquet": OUTPUTS_BEHIND,
    "text": OUTPUTS_BEHIND,
    "tfjs": f"{AS_WEIGHTS} tfjs, not its outputs",
    "core_ml": RUN_ELSEWHERE,
    "graph_def": "convert it to ONNX (python -m tf2onnx.convert --graphdef)",
    "saved_model_inside": "give its folder",
    "saved_model_text": "save it again with tf.saved_model.save",
}
"""What to do with a file of a kind that cannot be run."""


def recognise(path: Path) -> str:
    """Return the kind of an exported file: one of `KINDS`.

    Raises
    ------
    ModelFileError
        There is no such file, it is of another kind, which is named, or it is too
        large.
    """
    try:
        if not path.exists():
            raise ModelFileError(f"{path}: no such file{meant_instead(path)}")
        kind = file_kind(path)
        if kind.key not in KINDS:
            raise _refusal(path, kind)
        size = size_of(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelFileError(f"{path}: {reason}") from None
    if size > MAX_BYTES:
        raise ModelFileError(
            f"{path}: expected at most {MAX_BYTES // 10**9} GB. "
            f"Received: {size:,} bytes"
        )
    return kind.key


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(path)
        for name in names
    )


def _refusal(path: Path, kind: FileKind) -> ModelFileError:
    if kind.key == "special":
        return ModelFileError(f"{path}: {kind.name}")
    if kind.key == "damaged":
        return ModelFileError(f"{path} is damaged ({kind.name}); {kind.remedy}")
    beside = path.with_suffix(".xml")
    if path.suffix == ".bin" and beside.exists():
        return ModelFileError(
            f"{path}: {WANTED}. Received: the weights of {beside.name}; give that"
        )
    named = {".onnx": "an ONNX", ".tflite": "a LiteRT"}.get(path.suffix.lower())
    if kind.key == "unknown" and named is not None:
        return ModelFileError(f"{path} is damaged, or not {named} file")
    remedy = kind.remedy or REMEDIES.get(kind.key, "")
    said = f"{kind.name}; {remedy}" if remedy else kind.name
    return ModelFileError(f"{path}: {WANTED}. Received: {said}")
