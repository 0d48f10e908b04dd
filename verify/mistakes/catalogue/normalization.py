"""Normalisation by other statistics, constants or weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from verify.forward.layers.base import Run, from_front
from verify.forward.layers.normalization import as_it_came, at_least_float32
from verify.mistakes.catalogue.graphs import GraphCall, graph_calls, tensors
from verify.mistakes.catalogue.mistake import (
    Call,
    Change,
    Mistake,
    ModelOperator,
    Mutant,
    MutationOperator,
    Need,
    on_call,
    on_weights,
)
from verify.mistakes.catalogue.time import PREDICT_BATCH_ROWS
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES
from verify.model.graph import (
    Graph,
    Node,
    TensorRef,
    map_structure,
    refs_of,
    tensor_refs,
)
from verify.model.spec import LayerSpec, ModelSpec

EPSILONS = {
    1e-3: "Keras's default",
    1e-5: "PyTorch's default",
    1e-6: "a common choice",
    1e-7: "Keras's epsilon()",
}
"""Numbers that people add to a variance -> whose they are."""

NORMALIZATIONS = (
    "BatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "RMSNormalization",
)


def wrong_epsilon(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield another small number added to the variance, or added elsewhere."""
    if layer.class_name not in NORMALIZATIONS:
        return
    own = layer.options["epsilon"]
    right = f"add epsilon={own:g} to the variance, inside the root"
    for epsilon, whose in EPSILONS.items():
        if epsilon != own:
            yield Mistake(
                f"epsilon {epsilon:g} instead of {own:g}",
                f"epsilon is {epsilon:g}, {whose}; the model has {own:g}",
                right,
                partial(_with_epsilon, epsilon=epsilon),
                common=epsilon in (1e-3, 1e-5),
            )
    if own > 1e-9:
        yield Mistake(
            "epsilon missing",
            "no epsilon is added to the variance, or one as small as BERT's 1e-12",
            right,
            partial(_with_epsilon, epsilon=1e-12),
        )


def _with_epsilon(layer: LayerSpec, epsilon: float) -> LayerSpec:
    return layer.with_options(epsilon=epsilon)


def wrong_parameters(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield gamma and beta exchanged or left out."""
    if layer.class_name not in NORMALIZATIONS:
        return
    if "gamma" in layer.weights and "beta" in layer.weights:
        yield Mistake(
            "gamma and beta exchanged",
            "gamma is added and beta is multiplied by",
            "multiply by gamma, then add beta; get_weights() has gamma first",
            lambda layer: layer.with_weights(
                gamma=layer.weights["beta"], beta=layer.weights["gamma"]
            ),
            common=True,
        )
    for key, blank, does in (
        ("gamma", np.ones_like, "multiply by gamma"),
        ("beta", np.zeros_like, "add beta"),
        ("scale", np.ones_like, "multiply by scale"),
    ):
        if key in layer.weights:
            yield Mistake(
                f"{key} missing",
                f"{key} is left out",
                f"{does} after the division by the root",
                on_weights(key, change=partial(_blank, blank=blank)),
                common=True,
            )


def _blank(_: LayerSpec, value: Array, blank: Callable[[Array], Array]) -> Array:
    return blank(value)


Statistics = Callable[[Array, Array | None, tuple[int, ...]], tuple[Array, Array]]
"""Input, its mask with as many axes or None, and axes -> mean and variance."""


def _moments(
    x: Array, keep: Array | None, over: tuple[int, ...]
) -> tuple[Array, Array]:
    mean = np.mean(x, axis=over, keepdims=True)
    return mean, np.mean(np.square(x - mean), axis=over, keepdims=True)


def _kept_moments(
    x: Array, keep: Array | None, over: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return mean and variance of the steps that are not masked."""
    if keep is None:
        return _moments(x, None, over)
    where = np.broadcast_to(keep, x.shape)
    mean = np.mean(x, axis=over, keepdims=True, where=where)
    square = np.square(x - mean)
    return mean, np.mean(square, axis=over, keepdims=True, where=where)


def _with_parameters(layer: LayerSpec, y: Array) -> Array:
    """Apply gamma and beta along the axis of a BatchNormalization."""
    (position,) = from_front((layer.options["axis"],), y.ndim)
    shape = tuple(-1 if k == position else 1 for k in range(y.ndim))
    if "gamma" in layer.weights:
        y = y * layer.weights["gamma"].astype(y.dtype).reshape(shape)
    if "beta" in layer.weights:
        y = y + layer.weights["beta"].astype(y.dtype).reshape(shape)
    return y


def _by_own_statistics(moments: Statistics, rows: int | None) -> Change:
    """Return a BatchNormalization that uses the statistics of its input.

    Parameters
    ----------
    moments : callable
    rows : int, optional
        How many rows make a batch; by default all that there are.
    """

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Array:
        x = at_least_float32(arguments["inputs"])
        (position,) = from_front((layer.options["axis"],), x.ndim)
        over = tuple(k for k in range(x.ndim) if k != position)
        y = np.empty_like(x)
        for k in range(0, len(x), rows or len(x)):
            part = slice(k, k + (rows or len(x)))
            keep = None if mask is None else mask[part].astype(bool)[..., None]
            mean, variance = moments(x[part], keep, over)
            root = np.sqrt(variance + layer.options["epsilon"])
            y[part] = _with_parameters(layer, (x[part] - mean) / root)
        return as_it_came(y, arguments["inputs"], POLICIES[layer.policy].compute)

    return on_call(changed)


def _divided_by(divisor: Callable[[Array, float], Array]) -> Change:
    """Return a BatchNormalization that divides by another function of the variance.

    Parameters
    ----------
    divisor : callable
        Moving variance and epsilon -> what x - moving_mean is divided by.
    """

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Array:
        x = at_least_float32(arguments["inputs"])
        (position,) = from_front((layer.options["axis"],), x.ndim)
        shape = tuple(-1 if k == position else 1 for k in range(x.ndim))
        mean, variance = (
            layer.weights[key].astype(x.dtype).reshape(shape)
            for key in ("moving_mean", "moving_variance")
        )
        by = divisor(variance, layer.options["epsilon"])
        y = _with_parameters(layer, (x - mean) / by)
        return as_it_came(y, arguments["inputs"], POLICIES[layer.policy].compute)

    return on_call(changed)


def _moments_exchanged(layer: LayerSpec) -> LayerSpec:
    return layer.with_weights(
        moving_mean=layer.weights["moving_variance"],
        moving_variance=layer.weights["moving_mean"],
    )


def wrong_statistics(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield a BatchNormalization that is computed as in training, or by other roots."""
    if layer.class_name != "BatchNormalization":
        return
    shape = layer.input_shape
    sequences = isinstance(shape, tuple) and len(shape) > 2
    right = "use moving_mean and moving_variance, as in predict"
    batches: dict[str, int | None] = {
        "all rows": None,
        f"each batch of {PREDICT_BATCH_ROWS} rows": PREDICT_BATCH_ROWS,
    }
    if sequences:
        batches["each row"] = 1
    for words, rows in batches.items():
        need = Need.SEVERAL_STEPS if rows == 1 else Need.SEVERAL_ROWS
        yield Mistake(
            f"statistics of {words} instead of the moving ones",
            f"mean and variance are those of {words}, as in training",
            right,
            _by_own_statistics(_moments, rows),
            common=rows is None,
            needs=frozenset({need}),
            ties_rows=rows != 1,
            ties_all_rows=rows is None,
        )
        if sequences:
            yield Mistake(
                f"statistics of the unmasked steps of {words}",
                f"mean and variance are those of the steps of {words} that are not "
                "masked, as in training",
                right,
                _by_own_statistics(_kept_moments, rows),
                needs=frozenset({need, Need.MASKED_STEPS}),
                ties_rows=rows != 1,
                ties_all_rows=rows is None,
            )
    yield Mistake(
        "moving_variance taken for the standard deviation",
        "x - moving_mean is divided by moving_variance instead of by its root",
        "divide by sqrt(moving_variance + epsilon)",
        _divided_by(lambda variance, epsilon: variance + epsilon),
        common=True,
    )
    yield Mistake(
        "epsilon outside the root",
        "epsilon is added to the root of moving_variance",
        "divide by sqrt(moving_variance + epsilon)",
        _divided_by(lambda variance, epsilon: np.sqrt(variance) + epsilon),
    )
    if np.all(layer.weights["moving_mean"] + layer.options["epsilon"] > 0):
        # else some outputs are no numbers, which nobody overlooks
        yield Mistake(
            "moving_mean and moving_variance exchanged",
            "moving_variance is subtracted, and moving_mean is taken for the variance",
            "subtract moving_mean; get_weights() has gamma, beta, moving_mean and "
            "moving_variance, PyTorch's running_mean and running_var",
            _moments_exchanged,
            common=True,
        )


def _normalised_over(axes: Callable[[int], tuple[int, ...]]) -> Change:
    """Return a LayerNormalization over other axes, found from the number of axes."""

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Array:
        x = at_least_float32(arguments["inputs"])
        mean, variance = _moments(x, None, axes(x.ndim))
        y = _with_own_weights(layer, x - mean, variance)
        return as_it_came(y, arguments["inputs"], POLICIES[layer.policy].compute)

    return on_call(changed)


def _with_own_weights(layer: LayerSpec, centred: Array, variance: Array) -> Array:
    """Divide by the root of the variance, and apply gamma and beta along last axes."""
    y = centred / np.sqrt(variance + layer.options["epsilon"])
    if "gamma" in layer.weights:
        y = y * layer.weights["gamma"].astype(y.dtype)
    if "beta" in layer.weights:
        y = y + layer.weights["beta"].astype(y.dtype)
    return y


def _with_deviation(*, unbiased: bool, outside: bool = False) -> Change:
    """Return a LayerNormalization that divides by another standard deviation.

    Parameters
    ----------
    unbiased : bool
        Whether the sum of squares is divided by one less than the features.
    outside : bool
        Whether epsilon is added to the root.
    """

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Array:
        x = at_least_float32(arguments["inputs"])
        mean, variance = _moments(x, None, (x.ndim - 1,))
        if unbiased:
            variance = variance * x.dtype.type(x.shape[-1] / (x.shape[-1] - 1))
        if outside:
            epsilon = x.dtype.type(layer.options["epsilon"])
            variance = np.square(np.sqrt(variance) + epsilon) - epsilon
        y = _with_own_weights(layer, x - mean, variance)
        return as_it_came(y, arguments["inputs"], POLICIES[layer.policy].compute)

    return on_call(changed)


def _by_root_mean_square(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Array:
    x = at_least_float32(arguments["inputs"])
    square = np.mean(np.square(x), axis=-1, keepdims=True)
    y = _with_own_weights(layer, x, square)
    return as_it_came(y, arguments["inputs"], POLICIES[layer.policy].compute)


def wrong_layer_statistics(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield a LayerNormalization over other axes, or by another variance."""
    if layer.class_name != "LayerNormalization" or layer.options["rms_scaling"]:
        return
    shape = layer.input_shape
    if not isinstance(shape, tuple):
        return
    last = from_front(layer.options["axis"], len(shape)) == (len(shape) - 1,)
    if not last or not shape[-1] or shape[-1] < 2:
        return
    right = "take mean and variance over the last axis, of each step by itself"
    if len(shape) == 3:
        yield Mistake(
            "normalised over steps and features",
            "mean and variance are taken over all steps and features of a row",
            right,
            _normalised_over(lambda ndim: tuple(range(1, ndim))),
            common=True,
            needs=frozenset({Need.SEVERAL_STEPS}),
        )
        yield Mistake(
            "normalised over the steps",
            "mean and variance of each feature are taken over the steps",
            right,
            _normalised_over(lambda ndim: (1,)),
            needs=frozenset({Need.SEVERAL_STEPS}),
        )
    yield Mistake(
        "variance divided by n - 1",
        f"the variance is the sum of squares divided by {shape[-1] - 1}; Keras divides "
        f"by {shape[-1]}",
        "divide by the number of features, not by one less (ddof=0)",
        _with_deviation(unbiased=True),
        common=True,
    )
    for unbiased, words in ((False, ""), (True, " divided by n - 1")):
        yield Mistake(
            f"epsilon outside the root{words}",
            "epsilon is added to the standard deviation"
            + (
                f", whose sum of squares is divided by {shape[-1] - 1} (ddof=1), as in "
                "the Annotated Transformer"
                if unbiased
                else ""
            ),
            "divide by sqrt(variance + epsilon), with the sum of squares divided by "
            f"{shape[-1]}",
            _with_deviation(unbiased=unbiased, outside=True),
        )
    yield Mistake(
        "mean not subtracted",
        "x is divided by the root of its mean square, as RMSNormalization does; the "
        "mean is not subtracted",
        "subtract the mean, and divide by the root of the variance",
        on_call(_by_root_mean_square),
    )


def wrong_residuals(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield one summand normalised instead of a sum, or a sum instead of one summand.

    A block of a Transformer adds its input and normalises the sum, or normalises before
    it adds.
    """
    for call in graph_calls(spec, *NORMALIZATIONS):
        (given,) = tensors(call.arguments)[:1]
        makes = (node for node in call.graph.nodes if _result(node) == given)
        add = next((node for node in makes if _adds(call, node)), None)
        if add is not None and _only_taker(call.graph, given) == call.node:
            one, other = refs_of(add)
            if call.alike(one, other):
                for kept, normalised, which in (
                    (one, other, "second"),
                    (other, one, "first"),
                ):
                    yield Mutant(
                        f"{which} summand normalised instead of the sum",
                        call.path,
                        f"the {which} summand is normalised and the other added to it; "
                        "the model normalises their sum",
                        "add first, and normalise the sum",
                        _in_turn(call, add, call.node, normalised, kept),
                        common=True,
                    )
        place = _result(call.node)
        add = _only_taker(call.graph, place)
        if add is not None and _adds(call, add):
            kept = next(ref for ref in refs_of(add) if ref != place)
            if call.alike(kept, given):
                yield Mutant(
                    "sum normalised instead of one summand",
                    call.path,
                    "both are added before they are normalised; the model normalises "
                    "one of them",
                    "normalise first, and add the other to it",
                    _in_turn(call, call.node, add, given, kept),
                    common=True,
                )


def _result(node: Node) -> TensorRef:
    return TensorRef(node.layer, node.index, 0)


def _adds(call: GraphCall, node: Node) -> bool:
    """Return whether a call adds two tensors."""
    kind = call.model.sublayers[node.layer].class_name
    return kind in ("Add", "ops.Add") and len(set(refs_of(node))) == 2


def _only_taker(graph: Graph, ref: TensorRef) -> Node | None:
    """Return the only call that takes a tensor, None if others or nobody do."""
    takers = [node for node in graph.nodes if ref in refs_of(node)]
    if len(takers) != 1 or ref in tensor_refs(graph.outputs):
        return None
    return takers[0]


def _in_turn(
    call: GraphCall, first: Node, second: Node, given: TensorRef, kept: TensorRef
) -> ModelSpec:
    """Return the model with two calls of which one takes the other in another order.

    `second` is computed on `given`, and `first` on what it returns. `kept` is what is
    added.
    """

    def on(node: Node, ref: TensorRef) -> Node:
        if node is call.node:
            arguments = {**call.arguments, "inputs": ref}
            return replace(node, args=(), kwargs=arguments)
        kind = call.model.sublayers[node.layer].class_name
        args = ([kept, ref],) if kind == "Add" else (kept, ref)
        return replace(node, args=args, kwargs={})

    def moved(leaf: Any) -> Any:
        return _result(first) if leaf == _result(second) else leaf

    nodes = []
    for node in call.graph.nodes:
        if node is second:
            nodes += [on(second, given), on(first, _result(second))]
        elif node is not first:
            args = map_structure(moved, node.args)
            kwargs = map_structure(moved, dict(node.kwargs))
            nodes.append(replace(node, args=args, kwargs=kwargs))
    outputs = map_structure(moved, call.graph.outputs)
    return call.with_graph(replace(call.graph, nodes=tuple(nodes), outputs=outputs))


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    wrong_epsilon,
    wrong_parameters,
    wrong_statistics,
    wrong_layer_statistics,
)
MODEL_OPERATORS: tuple[ModelOperator, ...] = (wrong_residuals,)
