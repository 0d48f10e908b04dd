"""Say with which constants the layers of a model are called."""

from __future__ import annotations

from typing import Any

import numpy as np

from verify.errors import printable
from verify.forward.layers import REGISTRY
from verify.model.arrays import shape_text
from verify.model.graph import MaskOf, TensorRef, flatten
from verify.model.spec import LayerSpec

FEW_NUMBERS = 6
"""Arrays of more numbers are said by their shape alone."""


def constants_said(model: LayerSpec, name: str) -> list[str]:
    """Say with which constants a layer is called, such as the key of ``x[:, -1]``."""
    nodes = model.graph.nodes if model.graph is not None else ()
    names = REGISTRY[model.sublayers[name].class_name].arguments
    said = []
    for node in nodes:
        if node.layer == name:
            places = [*names, *("" for _ in node.args)]
            given = [*zip(places, node.args, strict=False), *node.kwargs.items()]
            texts = [_constant(key, value) for key, value in given]
            said.append(", ".join(text for text in texts if text))
    return [f"called with {text}" for text in dict.fromkeys(said) if text]


def _constant(name: str, value: Any) -> str:
    """Return one argument of a call as text; empty if no constant is in it."""
    leaves = flatten(value)
    if value is None or (name == "training" and not value):  # as predict has it
        return ""
    if any(isinstance(leaf, (TensorRef, MaskOf)) for leaf in leaves):
        return ""
    shown = f"[{_key(value)}]" if name == "key" else _value(value)
    return f"{printable(name)} {shown}".strip()


def _key(key: Any) -> str:
    """Return the key of ``x[key]`` as Python writes it between the brackets."""
    return ", ".join(map(_item, key if isinstance(key, (list, tuple)) else [key]))


def _item(item: Any) -> str:
    if isinstance(item, slice):
        ends = ["" if end is None else str(end) for end in (item.start, item.stop)]
        return ":".join([*ends, *([] if item.step is None else [str(item.step)])])
    return "..." if item is Ellipsis else _value(item)


def _value(value: Any) -> str:
    """Return a constant as text: an array of several numbers by its shape."""
    array = np.asarray(value) if isinstance(value, (list, tuple)) else value
    if isinstance(array, np.ndarray) and array.size > FEW_NUMBERS:
        return f"an array of shape {shape_text(array.shape)}"
    return printable(array.tolist() if isinstance(array, np.ndarray) else array, 60)
