"""Cut long windows of time to as many steps as can be paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from verify.checks.inputs import probe_inputs
from verify.errors import VerifyError
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.graph import Graph, Node, TensorRef, flatten, map_structure
from verify.model.spec import LayerSpec, ModelSpec
from verify.model_files.shapes import with_shapes

LEAST_STEPS = 100
"""Steps that a window keeps at least; one of fewer than twice as many stays whole."""


@dataclass(frozen=True)
class Shortened:
    """Hold a model of shorter windows, and how many of the steps they have.

    Attributes
    ----------
    net : Network
    inputs : Inputs or None
        The inputs that were given, cut; None if there were none.
    steps, of_steps : int
    """

    net: Network
    inputs: Inputs | None
    steps: int
    of_steps: int

    def __str__(self) -> str:
        which = "the" if self.inputs is None else "the first or last"
        return f"{which} {self.steps:,} of {self.of_steps:,} steps"


def shortened(net: Network, x: Inputs | None, numbers: float) -> Shortened | None:
    """Return a model whose windows are so short that a row has so many numbers at most.

    The same layers are evaluated on fewer steps. Of the inputs, every other row keeps
    its first steps and the others the last ones, so that padding on either side is
    seen.

    Parameters
    ----------
    net : Network
    x : Inputs, optional
        By default the windows that the model fixes are meant.
    numbers : float
        Numbers in the forward pass of one row.

    Returns
    -------
    Shortened or None
        None if the windows are short enough, the model leaves them open and there are
        no inputs, or a layer takes this number of steps and no other.
    """
    whole = _steps(net, x)
    if whole < 2 * LEAST_STEPS:
        return None
    try:
        now = _numbers(net, x)
    except VerifyError:
        return None
    steps = max(int(whole * numbers / max(now, 1)), LEAST_STEPS)
    if steps >= whole:
        return None
    try:
        shorter = Network(_with_windows(net.spec, whole, steps), net.floatx)
        cut = None if x is None else _cut(x, whole, steps)
        if _numbers(shorter, cut) > now / 2:
            return None  # most of the work does not depend on these steps
    except VerifyError:
        return None
    return Shortened(shorter, cut, steps, whole)


def shortened_alike(
    nets: Sequence[Network], x: Inputs, numbers: float
) -> tuple[list[Network], Inputs] | None:
    """Return several models of the same inputs with shorter windows; see `shortened`.

    None if `shortened` returns None for the first of them, or one cannot be cut.
    """
    first = shortened(nets[0], x, numbers)
    if first is None or first.inputs is None:
        return None
    try:
        others = [
            Network(_with_windows(net.spec, first.of_steps, first.steps), net.floatx)
            for net in nets[1:]
        ]
    except VerifyError:
        return None
    return [first.net, *others], first.inputs


@dataclass(frozen=True)
class SomeSteps:
    """Hold a model and its inputs, cut to their first or their last steps.

    Attributes
    ----------
    net : Network
    x : Inputs
    steps, of_steps : int
        Those of the inputs, and how many they had.
    last : bool
        Whether they are the last ones.
    """

    net: Network
    x: Inputs
    steps: int
    of_steps: int
    last: bool

    def showing(self, kept: Sequence[slice]) -> SomeSteps:
        """Return the same with some steps of each output; all inputs stay."""
        net = Network(_with_fewer_outputs(self.net, kept), self.net.floatx)
        return replace(self, net=net)

    def lengthened(self, spec: ModelSpec) -> ModelSpec:
        """Return a model made of this one, with the whole windows."""
        return _with_windows(_with_all_outputs(spec), self.steps, self.of_steps)


def some_steps(net: Network, x: Inputs, steps: int, *, last: bool) -> SomeSteps | None:
    """Return a model and the first or the last steps of its inputs.

    Returns
    -------
    SomeSteps or None
        None if less than half of the steps would be left out, or a layer takes this
        number of steps only.
    """
    whole = _steps(net, x)
    if 2 * steps > whole:
        return None
    some = slice(-steps, None) if last else slice(steps)
    try:
        shorter = Network(_with_windows(net.spec, whole, steps), net.floatx)
        cut = Inputs(a[:, some] if a.ndim > 1 and a.shape[1] == whole else a for a in x)
        _numbers(shorter, cut)
    except VerifyError:
        return None
    return SomeSteps(shorter, cut, steps, whole, last)


_CUT = "some steps of "
"""Begins the names of operations that `_with_fewer_outputs` puts behind a model."""


def _with_fewer_outputs(net: Network, kept: Sequence[slice]) -> ModelSpec:
    """Return a model that returns some steps of its outputs, by the same names."""
    root = net.spec.root
    assert root.graph is not None
    layers, nodes, outputs = dict(root.sublayers), list(root.graph.nodes), {}
    refs = flatten(root.graph.outputs)
    for name, ref, steps in zip(net.output_names, refs, kept, strict=True):
        cut = LayerSpec(f"{_CUT}{name}", "ops.GetItem", {}, rules=root.rules)
        layers[cut.name] = cut
        nodes.append(Node(cut.name, 0, (ref,), {"key": (slice(None), steps)}))
        outputs[name] = TensorRef(cut.name, 0, 0)
    graph = Graph(root.graph.inputs, outputs, tuple(nodes))
    shorter = replace(root, sublayers=layers, graph=graph)
    return replace(net.spec, root=with_shapes(shorter))


def _with_all_outputs(spec: ModelSpec) -> ModelSpec:
    """Return a model without what `_with_fewer_outputs` has put behind it."""
    root = spec.root
    assert root.graph is not None
    given = {
        node.layer: node.args[0]
        for node in root.graph.nodes
        if node.layer.startswith(_CUT)
    }
    graph = Graph(
        root.graph.inputs,
        map_structure(lambda ref: given.get(ref.layer, ref), root.graph.outputs),
        tuple(node for node in root.graph.nodes if node.layer not in given),
    )
    layers = {k: layer for k, layer in root.sublayers.items() if k not in given}
    return replace(spec, root=replace(root, sublayers=layers, graph=graph))


def _steps(net: Network, x: Inputs | None) -> int:
    """Return the greatest number of steps of an input; 0 if none has a time axis."""
    shapes = (
        [layer.options["batch_shape"] for layer in net.spec.inputs]
        if x is None
        else [array.shape for array in x]
    )
    return max((shape[1] or 0 for shape in shapes if len(shape) > 1), default=0)


def _numbers(net: Network, x: Inputs | None) -> float:
    """Return how many numbers the forward pass of one row has."""
    count = net.spec.batch_size or 1
    if x is None:
        x = net.prepare(probe_inputs(net.spec, rows=count, empty=False))
    few = x.take(slice(0, count))
    return sum(a.size for a in net.outline(few).arrays().values()) / count


def _with_windows(spec: ModelSpec, whole: int, steps: int) -> ModelSpec:
    """Return a model whose inputs have fewer steps; see `shortened`."""
    for layer in spec.inputs:
        shape = list(layer.options["batch_shape"])
        if len(shape) > 1 and shape[1] == whole:
            shape[1] = steps
            changed = layer.with_options(batch_shape=tuple(shape))
            spec = spec.with_layer(changed, layer.name)
    return replace(spec, root=with_shapes(spec.root))


def _cut(x: Inputs, whole: int, steps: int) -> Inputs:
    """Return the first steps of every other row, and the last of the others."""

    def cut(array: Array) -> Array:
        if array.ndim < 2 or array.shape[1] != whole:
            return array
        found = array[:, :steps].copy()
        found[1::2] = array[1::2, -steps:]
        return found

    return Inputs(cut(array) for array in x)
