"""The calls in the graphs of a model, and models with one of them changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from verify.forward.layers import REGISTRY
from verify.model.graph import Graph, Node, TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec

Arguments = Mapping[str, Any]
"""Arguments of a call by name, with a `TensorRef` in place of each tensor."""


@dataclass(frozen=True)
class GraphCall:
    """Hold one call of a layer in the graph of a model, or of a model inside it.

    Attributes
    ----------
    spec : ModelSpec
        The whole model.
    inside : str
        Path of the model that has the graph; empty for the whole model.
    number : int
        Number of the call among the nodes of that graph.
    """

    spec: ModelSpec
    inside: str
    number: int

    @property
    def model(self) -> LayerSpec:
        """Return the model that has the graph."""
        return self.spec.root.at(self.inside)

    @property
    def graph(self) -> Graph:
        """Return the graph."""
        graph = self.model.graph
        assert graph is not None
        return graph

    @property
    def node(self) -> Node:
        """Return the call itself."""
        return self.graph.nodes[self.number]

    @property
    def layer(self) -> LayerSpec:
        """Return the layer that is called."""
        return self.model.sublayers[self.node.layer]

    @property
    def path(self) -> str:
        """Return the path of the layer."""
        name = self.node.layer
        return f"{self.inside}/{name}" if self.inside else name

    @property
    def arguments(self) -> Arguments:
        """Return the arguments by name."""
        kind = REGISTRY[self.layer.class_name]
        return kind.by_name(self.node.args, self.node.kwargs)

    def shape(self, ref: Any) -> tuple[int | None, ...] | None:
        """Return the shape of a tensor of this graph, batch axis first, if known.

        It is known for the outputs of first calls.
        """
        if not isinstance(ref, TensorRef) or ref.node:
            return None
        found = self.model.sublayers[ref.layer].output_shape
        if found is None or isinstance(found, Mapping):
            return None
        shapes = found if isinstance(found, list) else [found]
        return tuple(shapes[ref.tensor]) if ref.tensor < len(shapes) else None

    def alike(self, *refs: Any) -> bool:
        """Say whether tensors are known to have one shape.

        Axes that the model leaves open count as equal if it has one input with open
        axes at most.
        """
        shapes = {self.shape(ref) for ref in refs}
        if len(shapes) != 1 or None in shapes:
            return False
        (shape,) = shapes
        open_inputs = [
            layer
            for layer in self.spec.inputs
            if None in layer.options["batch_shape"][1:]
        ]
        return shape is not None and (None not in shape[1:] or len(open_inputs) < 2)

    def with_arguments(self, change: Callable[[Arguments], Arguments]) -> ModelSpec:
        """Return the whole model with other arguments of this call."""
        node = replace(self.node, args=(), kwargs=change(self.arguments))
        nodes = list(self.graph.nodes)
        nodes[self.number] = node
        return self.with_graph(replace(self.graph, nodes=tuple(nodes)))

    def with_graph(self, graph: Graph) -> ModelSpec:
        """Return the whole model with another graph in the place of this one."""
        model = replace(self.model, graph=graph)
        if not self.inside:
            return replace(self.spec, root=model)
        return self.spec.with_layer(model, self.inside)


def graph_calls(spec: ModelSpec, *class_names: str) -> Iterator[GraphCall]:
    """Yield the calls of all layers of some classes, also in models inside."""
    models = [("", spec.root), *spec.walk()]
    for path, model in models:
        for k, node in enumerate(model.graph.nodes if model.graph else ()):
            if model.sublayers[node.layer].class_name in class_names:
                yield GraphCall(spec, path, k)


def tensors(arguments: Arguments) -> list[TensorRef]:
    """Return the tensors among some arguments, in order."""
    leaves = flatten(dict(arguments))
    return [leaf for leaf in leaves if isinstance(leaf, TensorRef)]
