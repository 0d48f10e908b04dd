"""Tell the shape of a tensor by the layers that it is given to.

Their weights say how many features they take, and what they make of a shape says what
they were given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from verify.forward.layers import LOOPS, REGISTRY
from verify.forward.layers.base import Elementwise
from verify.model.dtypes import is_float
from verify.model.graph import Node, TensorRef, flatten, refs_of
from verify.model.spec import LayerSpec
from verify.model_files.opening import Opened, Shape, is_whole

DEPTH = 9
"""Calls that are followed from a tensor to one whose shape is told, at most."""

SAME = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
POOLS_AWAY = ("GlobalAveragePooling", "GlobalMaxPooling")
OF_STEPS = (
    *("MaxPooling", "AveragePooling", "ZeroPadding", "Cropping"),
    *("UpSampling", "SpatialDropout"),
)

Known = Callable[[TensorRef], Shape | None]


def told_shape(
    model: Opened, ref: TensorRef, known: Known, certain: bool = False, depth: int = 0
) -> Shape | None:
    """Return the shape of a tensor as the layers that it is given to tell it.

    Parameters
    ----------
    model : Opened
    ref : TensorRef
    known : callable
        A tensor -> its shape, as far as it is known, or None.
    certain : bool
        Whether layers that take any number of axes tell nothing.
    depth : int
        How many calls have been followed.
    """
    for node in model.takers(ref) if depth < DEPTH else ():
        layer = model.layers[node.layer]
        if not is_whole(layer):
            continue
        shape = expected_input(layer, certain, _argument(layer, node, ref))
        if shape is None:
            after = TensorRef(node.layer, node.index, 0)
            behind = told_shape(model, after, known, certain, depth + 1)
            shape = _before(layer, node, ref, behind, known, certain)
        if shape is not None:
            return shape
    return None


def _argument(layer: LayerSpec, node: Node, ref: TensorRef) -> str | int:
    """Return which argument of a call a tensor is: its name, or for models a number."""
    if layer.graph is not None:
        return refs_of(node).index(ref)
    named = REGISTRY[layer.class_name].by_name(node.args, node.kwargs)
    return next((key for key, value in named.items() if ref in flatten(value)), "")


def expected_input(
    layer: LayerSpec, certain: bool = False, argument: str | int = ""
) -> Shape | None:
    """Return the shape of a layer's input as far as its weights tell it, or None.

    Parameters
    ----------
    layer : LayerSpec
    certain : bool
        Whether layers that take any number of axes tell nothing.
    argument : str or int
        Which argument is meant: its name, or for a model the number of its input.
    """
    name, weights = layer.class_name, layer.weights
    if isinstance(argument, int):
        return _of_model(layer, argument)
    if name in LOOPS or name == "RNN":
        return _of_loop(layer, argument)
    if name == "Bidirectional":
        return expected_input(layer.sublayers["forward_layer"], certain, argument)
    if name == "TimeDistributed":
        inside = layer.sublayers["layer"]
        of = 0 if inside.graph is not None else ""
        inner = expected_input(inside, certain, of)
        return None if inner is None else (inner[0], None, *inner[1:])
    if name in ("MultiHeadAttention", "GroupQueryAttention") and argument:
        kernel = weights.get(f"{argument}_kernel")
        return None if kernel is None else (None, None, kernel.shape[0])
    rank = next((k for k in (1, 2, 3) if f"{k}D" in name), 0)
    if "Conv" in name and rank:
        return _of_convolution(layer, rank)
    if certain:
        return None
    if name in ("Dense", "EinsumDense") and "kernel" in weights:
        return (None, weights["kernel"].shape[0])
    if name == "Embedding":
        return (None, None)
    if name in ("BatchNormalization", "LayerNormalization"):
        sizes = {w.shape for w in weights.values() if is_float(w)}
        if layer.options.get("axis") in (-1, [-1], (-1,)) and len(sizes) == 1:
            return (None, *sizes.pop())
    return None


def _of_model(layer: LayerSpec, number: int) -> Shape | None:
    inputs = flatten(layer.graph.inputs) if layer.graph is not None else []
    if number >= len(inputs):
        return None
    return tuple(layer.sublayers[inputs[number].layer].options["batch_shape"])


def _of_loop(layer: LayerSpec, argument: str | int) -> Shape | None:
    """Return the shape that a recurrent layer takes: (batch, time, ...)."""
    if argument == "initial_state":
        units = layer.options.get("units")
        return (None, units) if units else None
    inner = layer
    while "kernel" not in inner.weights and inner.sublayers:
        inner = next(iter(inner.sublayers.values()))  # the first cell
    kernel = inner.weights.get("kernel")
    if kernel is None:
        return None
    if layer.class_name.startswith("ConvLSTM"):
        rank = kernel.ndim - 2
        space = (None,) * rank
        last = layer.options.get("data_format") != "channels_first"
        features = kernel.shape[-2]
        axes = (*space, features) if last else (features, *space)
        return (None, None, *axes)
    return (None, None, kernel.shape[0])


def _of_convolution(layer: LayerSpec, rank: int) -> Shape | None:
    options, weights = layer.options, layer.weights
    kernel = weights.get("depthwise_kernel", weights.get("kernel"))
    if kernel is None:
        return None
    features = kernel.shape[-2] * options.get("groups", 1)
    if layer.class_name.endswith("Transpose"):
        features = kernel.shape[-1]
    space = (None,) * rank
    last = options.get("data_format") != "channels_first"
    return (None, *space, features) if last else (None, features, *space)


def _before(
    layer: LayerSpec,
    node: Node,
    ref: TensorRef,
    behind: Shape | None,
    known: Known,
    certain: bool,
) -> Shape | None:
    """Return what a layer was given, from the shape of what it returns."""
    name, options = layer.class_name, layer.options
    if name in ("Concatenate", "ops.Concatenate"):
        return _piece(node, ref, options.get("axis", -1), behind, known)
    if name == "Reshape" and not certain and -1 not in options["target_shape"]:
        return (None, math.prod(options["target_shape"]))
    if behind is None:
        return None
    if isinstance(REGISTRY[name], Elementwise):
        return behind
    if name.startswith(OF_STEPS) and options.get("data_format") != "channels_first":
        return (behind[0], *(None,) * (len(behind) - 2), behind[-1])
    if name == "RepeatVector" and len(behind) == 3:
        return (behind[0], behind[2])
    if name == "Permute":
        dims = options["dims"]
        moved = {axis: behind[k + 1] for k, axis in enumerate(dims)}
        return (behind[0], *(moved[axis] for axis in sorted(moved)))
    if certain:
        return None
    if name.removeprefix("ops.") in SAME:
        return behind
    if name.startswith(POOLS_AWAY) and not options.get("keepdims"):
        rank = int(name[-2]) if name[-1] == "D" else 1
        return (behind[0], *(None,) * rank, behind[-1])
    return behind if name == "Flatten" else None


def _piece(
    node: Node, ref: TensorRef, axis: int, whole: Shape | None, known: Known
) -> Shape | None:
    """Return the shape of one of the pieces that a Concatenate joins.

    It has the sizes of the others, and what they leave of the axis that is joined.
    """
    pieces = refs_of(node)
    others = [known(other) for other in pieces if other != ref]
    like = next((shape for shape in others if shape is not None), None)
    if whole is None or pieces.count(ref) != 1 or any(x is None for x in others):
        return None
    shape = list(like if like is not None else whole)
    if len(shape) != len(whole):
        return None
    sizes = [whole[axis], *(other[axis] for other in others if other is not None)]
    if None in sizes:
        return None
    total, *taken = [size for size in sizes if size is not None]
    if total <= sum(taken):
        return None
    shape[axis] = total - sum(taken)
    return tuple(shape)


def without_time(shape: Shape) -> Shape | None:
    """Return a shape without its axis of time, or None if it has none."""
    return (shape[0], *shape[2:]) if len(shape) > 2 else None


def merged(a: Any, b: Any) -> Shape:
    """Return the shape that two sizes of open axes leave: None where they differ."""
    return tuple(x if x == y else None for x, y in zip(a, b, strict=True))
