"""Say what a file is that was given as a model and is none, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from verify.data.file_kinds import FileKind, file_kind
from verify.errors import join_and, printable
from verify.model_files.folders import MEMBERS

_COMPARE = "rnn-verify compare MODEL.keras {path}"
_AS_PORT = (
    f"To run it and compare it with the Keras model that it was made from: {_COMPARE}"
)
_AS_WEIGHTS = f"To compare it with the Keras model: {_COMPARE} --as"
_TORCH = (
    "It is not opened, because it could run code. In PyTorch: "
    "safetensors.torch.save_file(model.state_dict(), 'w.safetensors'); then: "
    "rnn-verify compare MODEL.keras w.safetensors --as torch"
)
_OUTPUTS = "rnn-verify compare MODEL.keras --data x.npy --outputs y.npy"

WAYS_ON: Mapping[str, str] = {
    "onnx": _AS_PORT,
    "litert": _AS_PORT,
    "openvino": _AS_PORT,
    "torch_export": _AS_PORT,
    "saved_model": _AS_PORT,
    "saved_model_inside": "Give its folder: rnn-verify compare MODEL.keras {folder}",
    "saved_model_text": "In TensorFlow, save it again with tf.saved_model.save",
    "torchscript": "In PyTorch, write it with torch.export.save as m.pt2; then: "
    "rnn-verify compare MODEL.keras m.pt2",
    "torch_pickle": _TORCH,
    "pickle": "It is not opened. Load it where it was made, and there: "
    "model.save('model.keras')",
    "safetensors": f"{_AS_WEIGHTS} torch, or another framework",
    "npz": "Inputs go behind --data: rnn-verify check MODEL.keras --data {path}; the "
    f"weights of a port: {_COMPARE} --as FRAMEWORK",
    "npy": "Inputs go behind --data: rnn-verify check MODEL.keras --data {path}",
    "parquet": "Inputs go behind --data: rnn-verify check MODEL.keras --data {path}",
    "core_ml": f"Run it there on x.npy, write what it returns into y.npy, then: "
    f"{_OUTPUTS}",
    "graph_def": "It has no layers of Keras. Convert it to ONNX (python -m "
    "tf2onnx.convert --graphdef), then: rnn-verify compare MODEL.keras m.onnx",
    "tf_checkpoint": "Build the model as before (in Keras 2: the package tf_keras); "
    "model.load_weights('{prefix}'), or of a tf.train.Checkpoint "
    "tf.train.Checkpoint(model=model).restore('{prefix}').expect_partial(); then "
    "model.save('model.h5')",
    "tfjs": f"{_AS_WEIGHTS} tfjs",
    "keras_config": "Give the weights file as the model, and this as --config",
    "empty": "Copy or download it again",
    "notebook": "Run it, and save its model there: model.save('model.keras')",
}
"""What to do with a file of this kind that was given as a model. ``{path}`` stands for
the path, ``{folder}`` for that of its folder, both quoted for a shell, and ``{prefix}``
for that of a checkpoint."""

OTHERWISE = "Keras writes one with model.save('model.keras')"
"""What is said where nothing better is known."""

KERAS2_SAVED_MODEL = (
    "It was saved by Keras 2. With the package tf_keras: "
    "tf_keras.models.load_model('{path}').save('model.h5')"
)


def said_of(path: Path) -> str:
    """Return what a file is and the way on, as the end of a sentence: ``Received: ``.

    Raises
    ------
    OSError
        It cannot be read.
    """
    kind = file_kind(path)
    way = _way_on(path, kind)
    if way or not kind.remedy:
        return f"{kind.name}. {way or OTHERWISE}"
    return str(kind)


def _way_on(path: Path, kind: FileKind) -> str:
    shown = printable(path)
    if kind.key == "saved_model" and (path / "keras_metadata.pb").is_file():
        return KERAS2_SAVED_MODEL.format(path=shown)
    if kind.key == "folder":
        return _way_on_in_folder(path)
    if kind.key in ("json", "text", "npz") and path.with_name("model.keras").is_file():
        return _try(path.with_name("model.keras"))
    table = kind.key == "text" and path.suffix.lower() in (".csv", ".tsv")
    way = WAYS_ON.get("npy" if table else kind.key, "")
    return way.format(
        path=shlex.quote(shown),
        folder=shlex.quote(printable(path.parent)),
        prefix=_prefix(path),
    )


def _try(*models: Path) -> str:
    shown = [shlex.quote(printable(model)) for model in models]
    if len(shown) == 1:
        return f"Try {shown[0]}"
    more = f" or {len(shown) - 3:,} more" if len(shown) > 3 else ""
    return f"Give one of its models: {', '.join(shown[:3])}{more}"


def _models_in(folder: Path) -> list[Path]:
    """Return the model of a run's folder, or all in a folder, or those of its runs."""
    if (folder / "model.keras").is_file():
        return [folder / "model.keras"]
    inside = [one for one in folder.iterdir() if one.suffix in (".keras", ".h5")]
    return sorted(inside or folder.glob("*/model.keras"))


def _way_on_in_folder(path: Path) -> str:
    if models := _models_in(path):
        return _try(*models)
    missing = [name for name in MEMBERS if not (path / name).is_file()]
    if len(missing) == len(MEMBERS):
        return ""
    return f"It lacks {join_and(missing)}, which the folder of an unpacked .keras has"


def _prefix(path: Path) -> str:
    """Return what names a checkpoint in TensorFlow: its path without a suffix."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name == "checkpoint":
        index = next(iter(sorted(folder.glob("*.index"))), None)
        return printable(folder / "ckpt" if index is None else index.with_suffix(""))
    return printable(folder / path.name.partition(".data-")[0].removesuffix(".index"))
