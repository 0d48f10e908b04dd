"""Say how the outputs of a model choose classes, to compare the classes of a port."""

from __future__ import annotations

from collections.abc import Sequence

from verify.errors import DataError, printable
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.graph import Graph, TensorRef, flatten
from verify.model.spec import LayerSpec

SIGMOIDS = ("sigmoid", "hard_sigmoid", "keras2_hard_sigmoid")
"""Activations whose outputs are probabilities of a class each."""

PASSED_ON = (
    *("Dropout", "SpatialDropout1D", "ActivityRegularization", "GaussianNoise"),
    *("Identity", "Reshape", "Flatten"),
)
"""Layers that leave the scores before them as they are."""


def binary_outputs(net: Network, outputs: Sequence[Array]) -> tuple[bool, ...]:
    """Return for each output whether each of its numbers chooses a class of its own.

    That is so after a sigmoid, where a class is chosen above 0.5. Of other outputs with
    several columns the greatest one chooses.

    Parameters
    ----------
    net : Network
    outputs : list of (batch, ...)
        Some outputs of the network, for their shapes.

    Raises
    ------
    DataError
        An output is a single number without a sigmoid.
    """
    graph = net.spec.root.graph
    refs = [] if graph is None else flatten(graph.outputs)
    found = []
    for name, ref, output in zip(net.output_names, refs, outputs, strict=True):
        binary = _activation(net.spec.root, ref) in SIGMOIDS
        if not binary and (output.ndim < 2 or output.shape[-1] < 2):
            raise DataError(
                "tolerance: expected outputs that choose classes, several columns or a "
                f"sigmoid, for a share of classes. Received: output '{printable(name)}'"
                ", one column without a sigmoid"
            )
        found.append(binary)
    return tuple(found)


def _activation(model: LayerSpec, ref: TensorRef) -> str:
    """Return the activation that a tensor of a model comes from; linear if unknown."""
    layer = model.sublayers[ref.layer]
    if layer.graph is not None:
        inside = flatten(layer.graph.outputs)
        return _activation(layer, inside[ref.tensor])
    if layer.class_name in PASSED_ON and model.graph is not None:
        before = _input_of(model.graph, ref)
        return "linear" if before is None else _activation(model, before)
    if layer.class_name == "TimeDistributed":
        layer = layer.sublayers["layer"]
    return str(layer.options.get("activation", "linear"))


def _input_of(graph: Graph, ref: TensorRef) -> TensorRef | None:
    """Return the first tensor that a call is given."""
    for node in graph.nodes:
        if (node.layer, node.index) == (ref.layer, ref.node):
            given = flatten([list(node.args), dict(node.kwargs)])
            return next((x for x in given if isinstance(x, TensorRef)), None)
    return None
