"""Hold every layer's input, mask, gates, states and output of one evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from verify.errors import printable
from verify.forward.evaluate import LayerTrace
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.model.spec import ModelSpec


class Trace(Mapping[str, LayerTrace]):
    """Map the path of a layer to its LayerTrace, in the order of evaluation.

    The second call of a layer has the key ``"lstm:2"``, a layer inside another
    ``"bidirectional/forward_layer"``. ``trace.arrays()`` returns one flat dict,
    ``{"lstm/f": ...}``, ready for ``np.savez``.

    Attributes
    ----------
    output
        The outputs of the model, in the structure in which it returns them.
    """

    def __init__(self, layers: Mapping[str, LayerTrace], output: Any) -> None:
        self._layers = dict(layers)
        self.output = output

    def __getitem__(self, name: str) -> LayerTrace:
        try:
            return self._layers[name]
        except KeyError:
            names = ", ".join(self._layers)
            raise KeyError(
                f"no layer '{printable(name)}'; the layers are {names}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def arrays(self) -> dict[str, Array]:
        """Return every array by ``layer/value``, and the masks by ``layer/mask``.

        If a layer has several inputs or outputs, the second is called ``input.1`` or
        ``output.1``, and so on.
        """
        flat: dict[str, Array] = {}
        for name, layer in self.items():
            flat |= named_arrays(f"{name}/input", layer.input)
            flat |= named_arrays(f"{name}/mask", layer.mask)
            flat |= {f"{name}/{key}": value for key, value in layer.values.items()}
            flat |= named_arrays(f"{name}/output", layer.output)
        return flat


def named_arrays(name: str, values: Any) -> dict[str, Array]:
    """Return the arrays of a structure by name: ``input``, ``input.1`` and so on."""
    leaves = [leaf for leaf in flatten(values) if isinstance(leaf, np.ndarray)]
    return {f"{name}.{k}" if k else name: leaf for k, leaf in enumerate(leaves)}


def bare_path(path: str, spec: ModelSpec) -> str:
    """Return the path of a layer from its key in a trace: without a number such as :2.

    The name of a layer may itself end in ``:2``, so the key is looked up first.
    """
    try:
        spec.root.at(path)
    except KeyError:
        return path.rpartition(":")[0]
    return path
