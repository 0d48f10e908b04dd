"""Files as old versions of Keras wrote them, made without Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
from support.nets import layer


def old_file(
    path: Path, config: Any, arrays: dict[str, Any], version: str = "2.1.6"
) -> Path:
    """A legacy .h5 as Keras 2.0 to 2.2 laid it out."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, weights in arrays.items():
            inner = group.create_group(name)
            names = [f"{name}/weight_{k}:0" for k in range(len(weights))]
            inner.attrs["weight_names"] = [n.encode() for n in names]
            for weight_name, weight in zip(names, weights, strict=True):
                inner[weight_name] = weight
    return path


def old_layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    """A layer as it stands in the config of such a file."""
    found = layer(class_name, name, **config)
    return {"class_name": class_name, "config": found["config"]}
