"""Write the layers without a loop: Embedding, Dense, merging, normalization and so on.

Each function writes the ``call`` of the layer type of the same name in
`verify.forward.layers`, which says what is computed and where Keras does so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.layers import REGISTRY, regularization
from verify.forward.layers.base import (
    KERAS_EPSILON,
    Tensor,
    exact_constants,
    from_front,
)
from verify.forward.layers.dense import _terms
from verify.forward.layers.preprocessing import held
from verify.model.backends import Rule
from verify.model.dtypes import POLICIES, dtype_of, is_float, promoted, rounded, working
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.activations import activated, apply, relu, softmax
from verify.ports.convert.to_onnx.run import Emit, Writing
from verify.ports.convert.to_onnx.values import Value


def embedding(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write a look-up; ids that are floats are truncated."""
    graph = run.graph
    ids = inputs if inputs.dtype in (np.int32, np.int64) else inputs.cast(np.int64)
    table = graph.constant(layer.weights["embeddings"], "embeddings")
    if not layer.options["quantization_mode"]:
        found = table.gather(ids)
        if ids.ndim == 2:
            graph.look_ups[found.name] = table, ids
        return found
    scales = graph.constant(layer.weights["embeddings_scale"], "embeddings_scale")
    return table.gather(ids).cast(scales.dtype) / scales.gather(ids).expand(-1)


def embedding_mask(layer: LayerSpec, inputs: Value, mask: Any) -> Any:
    """Write the mask that an Embedding makes of its ids."""
    return ~inputs.equals(0) if layer.options["mask_zero"] else None


def masking(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Masking, which sets masked steps to zeros."""
    keep = masking_mask(layer, inputs, None)
    return run.graph.where(keep.expand(-1), inputs, 0)


def masking_mask(layer: LayerSpec, inputs: Value, mask: Any) -> Value:
    """Write the mask that Masking makes."""
    return (~inputs.equals(layer.options["mask_value"])).any([-1])


def activation(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Activation."""
    x = inputs if is_float(inputs) else inputs.cast(working(run.floatx))  # type: ignore[arg-type]
    return activated(layer, x)


def same(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write nothing: predict returns the input."""
    return inputs


def dense(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Dense: a product, a bias and an activation."""
    kernel = layer.weights["kernel"]
    if layer.options["quantization_mode"]:
        scales = run.graph.constant(layer.weights["kernel_scale"], "kernel_scale")
        compute = POLICIES[layer.policy].compute
        whole = _floatx_of(run, inputs)
        q, scale = _quantized(inputs.cast(scales.dtype), (-1,), compute, whole)
        product = q.cast(np.float64) @ run.graph.constant(kernel.astype(np.float64))
        y = product.cast(q.dtype).rounded(compute) / (scales * scale).rounded(compute)
    else:
        y = inputs.cast(kernel.dtype) @ run.graph.constant(kernel, "kernel")
    if "bias" in layer.weights:
        y = y + run.graph.constant(layer.weights["bias"], "bias")
    return activated(layer, y)


def _floatx_of(run: Writing, x: Value) -> str:
    return "" if is_float(x) else run.floatx  # type: ignore[arg-type]


def _quantized(
    x: Value, axes: tuple[int, ...], compute: str, whole: str = ""
) -> tuple[Value, Value]:
    """Write `verify.forward.layers.dense.quantized`."""
    greatest = x.unary("Abs").reduce("ReduceMax", axes, keepdims=True)
    if whole:
        fractions = 127 / (greatest.cast(working(whole)) + KERAS_EPSILON)
        scale = fractions.cast(np.int64).cast(x.dtype)
        return (x * scale).clip(-127, 127), scale
    scale = (127 / (greatest + KERAS_EPSILON).rounded(compute)).rounded(compute)
    return (x * scale).rounded(compute).unary("Round").clip(-127, 127), scale


def einsum_dense(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write EinsumDense."""
    kernel, equation = layer.weights["kernel"], layer.options["equation"]
    if layer.options["quantization_mode"]:
        y = _einsum_of_int8(run, layer, inputs)
    else:
        x = inputs.cast(kernel.dtype)
        operand = run.graph.constant(kernel, "kernel")
        y = run.graph.einsum(equation, [x, operand], einsum_shape(equation, x, operand))
    if "bias" in layer.weights:
        y = y + run.graph.constant(layer.weights["bias"], "bias")
    return activated(layer, y)


def _einsum_of_int8(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write `EinsumDense._from_int8`."""
    graph, equation = inputs.graph, layer.options["equation"]
    compute = POLICIES[layer.policy].compute
    scales = graph.constant(layer.weights["kernel_scale"], "kernel_scale")
    given, _, output = _terms(equation)
    summed = tuple(i for i, letter in enumerate(given) if letter not in output)
    whole = _floatx_of(run, inputs)
    q, scale = _quantized(inputs.cast(scales.dtype), summed, compute, whole)
    kernel = graph.constant(layer.weights["kernel"].astype(np.float64), "kernel")
    q = q.cast(np.float64)
    product = graph.einsum(equation, [q, kernel], einsum_shape(equation, q, kernel))
    # the axes of the scale are arranged as in the result; new ones have size 1
    kept = [letter for letter in output if letter in given]
    left = [letter for letter in given if letter in output]
    scale = scale.squeeze(*summed).transpose([left.index(k) for k in kept])
    new = [i for i, letter in enumerate(output) if letter not in given]
    scale = scale.expand(*new) if new else scale
    divisor = (scales * scale).rounded(compute)
    return product.cast(scales.dtype).rounded(compute) / divisor


def einsum_shape(equation: str, *operands: Value) -> tuple[int | None, ...]:
    """Return the shape of an Einstein sum."""
    terms, _, output = equation.replace(" ", "").partition("->")
    sizes: dict[str, int | None] = {}
    dots: tuple[int | None, ...] = ()
    for term, operand in zip(terms.split(","), operands, strict=True):
        front, _, back = term.partition("...")
        count = len(front)
        sizes |= dict(zip(front, operand.shape, strict=False))
        if back:
            sizes |= dict(zip(back, operand.shape[-len(back) :], strict=True))
        if "..." in term:
            dots = operand.shape[count : operand.ndim - len(back)]
    front, dotted, back = output.partition("...")
    return (
        *(sizes[letter] for letter in front),
        *(dots if dotted else ()),
        *(sizes[letter] for letter in back),
    )


def _require_floats(layer: LayerSpec, x: Value) -> None:
    if not is_float(x):  # type: ignore[arg-type]
        raise DataError(f"{layer}: expected floats. Received: {x.dtype}")


def relu_layer(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write ReLU."""
    if layer.options["negative_slope"] and not is_float(inputs):  # type: ignore[arg-type]
        inputs = inputs.cast(np.float32)
    return relu(inputs, **layer.options, exact=exact_constants(layer))


def by_options(name: str) -> Emit:
    """Return a function that writes an activation with the options of a layer."""

    def emit(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
        x = inputs if is_float(inputs) else inputs.cast(np.float32)  # type: ignore[arg-type]
        return apply(layer, name, x, layer.options)

    return emit


def prelu(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write PReLU."""
    _require_floats(layer, inputs)
    alpha = run.graph.constant(layer.weights["alpha"], "alpha")
    return relu(inputs) - alpha * relu(-inputs)


def softmax_layer(
    run: Writing, layer: LayerSpec, inputs: Value, mask: Value | None = None
) -> Value:
    """Write Softmax, with a mask of as many axes as the input."""
    over = from_front(layer.options["axis"], inputs.ndim)
    if mask is None:
        return softmax(inputs, over)
    if mask.ndim != inputs.ndim:
        raise DataError(
            f"{layer}: expected a mask with as many axes as the input, {inputs.ndim}. "
            f"Received: {mask.ndim}"
        )
    keep = mask if mask.dtype == bool else mask > 0.5
    half = POLICIES[layer.policy].compute == "float16"
    y = softmax(run.graph.where(keep, inputs, -3e4 if half else -1e9), over)
    return run.graph.where(keep, y, 0)


# Reshaping


def flatten_layer(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Flatten."""
    first = layer.options["data_format"] == "channels_first"
    x = inputs.moved(1, -1) if first and inputs.ndim > 1 else inputs
    return x.reshape([0, -1])


def reshape(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Reshape."""
    return inputs.reshape([0, *layer.options["target_shape"]])


def permute(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Permute."""
    return inputs.transpose([0, *layer.options["dims"]])


def repeat_vector(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write RepeatVector."""
    n = layer.options["n"]
    return repeated(inputs.expand(1), [1, n, 1])


def repeated(x: Value, times: list[int]) -> Value:
    """Write a tensor several times along each axis."""
    shape = tuple(
        None if size is None else size * n
        for size, n in zip(x.shape, times, strict=True)
    )
    return x.graph.op("Tile", [x, x.graph.integers(times)], x.dtype, shape)


# Merging


def listed(run: Writing, layer: LayerSpec, inputs: Any) -> list[Value]:
    """Return the inputs of a merging layer in one dtype; as `Merge.listed`."""
    values: list[Value] = list(inputs)
    if any(is_float(x) for x in values):  # type: ignore[arg-type]
        dtype = promoted(*values, floatx=run.floatx)  # type: ignore[arg-type]
        values = [x.cast(dtype) for x in values]
    return values


def of_one_rank(xs: list[Value]) -> list[Value]:
    """Return values with the same number of axes, new ones after that of the rows."""
    ndim = max(x.ndim for x in xs)
    return [x.expand(*range(1, 1 + ndim - x.ndim)) if x.ndim < ndim else x for x in xs]


def _arithmetic(merge: Callable[[list[Value]], Value]) -> Emit:
    def emit(run: Writing, layer: LayerSpec, inputs: Any) -> Value:
        return merge(of_one_rank(listed(run, layer, inputs)))

    return emit


def _average(xs: list[Value]) -> Value:
    total: Value = reduce(lambda a, b: a + b, xs)
    return total / len(xs)


def custom_scale(run: Writing, layer: LayerSpec, inputs: Any) -> Value:
    """Write CustomScaleLayer."""
    a, b = inputs
    scale = np.asarray(layer.options["scale"], dtype=b.dtype)
    return a + b * rounded(scale, POLICIES[layer.policy].compute)


Masks = list[Value | None]


def _masked(
    merge: Callable[[list[Value], Masks], tuple[Value, Value | None]],
) -> Emit:
    """Return a function that writes a layer which looks at the masks of its inputs."""

    def emit(run: Writing, layer: LayerSpec, inputs: Any, mask: Any = None) -> Tensor:
        arrays = listed(run, layer, inputs)
        if layer.options["keras2_masks"]:
            y, _ = merge(of_one_rank(arrays), [None] * len(arrays))
            return Tensor(y, merged_mask(layer, inputs, mask or []))  # type: ignore[arg-type]
        ndim = max(x.ndim for x in arrays)
        masks: Masks = [
            None if m is None or x.ndim < ndim else m.expand(-1)
            for x, m in zip(arrays, mask or [None] * len(arrays), strict=True)
        ]
        y, found = merge(of_one_rank(arrays), masks)
        return Tensor(y, None if found is None else found.squeeze(-1))  # type: ignore[arg-type]

    return emit


def _multiply(xs: list[Value], masks: Masks) -> tuple[Value, Value | None]:
    graph = xs[0].graph
    factors = [
        x if m is None else graph.where(m, x, 1) for x, m in zip(xs, masks, strict=True)
    ]
    y: Value = reduce(lambda a, b: a * b, factors)
    known = [m for m in masks if m is not None]
    if len(known) < len(masks):
        return y, None
    found: Value = reduce(lambda a, b: a | b, known)
    return graph.where(found, y, 0), found


def _extreme(
    extreme: Callable[[Value, Value], Value],
) -> Callable[[list[Value], Masks], tuple[Value, Value | None]]:
    def merge(xs: list[Value], masks: Masks) -> tuple[Value, Value | None]:
        (y, *others), (found, *other_masks) = xs, masks
        graph = y.graph
        for x, mask in zip(others, other_masks, strict=True):
            if mask is not None:
                x = graph.where(mask, x, y)
            if found is not None:
                y = graph.where(found, y, x)
            found = None if mask is None or found is None else found | mask
            y = extreme(y, x)
        return y, found

    return merge


def merged_mask(layer: LayerSpec, inputs: Any, mask: Any) -> Any:
    """Write the mask of a merging layer: masked where all of its inputs are.

    By the rule of Keras 2 it is masked where any input with a mask is.
    """
    if layer.options["keras2_masks"]:
        known = [m for m in mask if m is not None]
        return reduce(lambda a, b: a & b, known) if known else None
    if any(m is None for m in mask):
        return None
    return reduce(lambda a, b: a | b, mask)


def concatenate(run: Writing, layer: LayerSpec, inputs: Any) -> Value:
    """Write Concatenate."""
    values = listed(run, layer, inputs)
    (along,) = from_front((layer.options["axis"],), values[0].ndim)
    return run.graph.concat(values, along)


def concatenated_mask(layer: LayerSpec, inputs: Any, mask: Any) -> Any:
    """Write the mask of Concatenate."""
    if all(m is None for m in mask):
        return None
    full = []
    for x, m in zip(inputs, mask, strict=True):
        graph = x.graph
        if m is None:
            full.append(graph.full(x.sizes(), x.shape, True, bool))
        elif m.ndim < x.ndim:
            full.append(graph.expanded(m.expand(-1), x.sizes(), x.shape))
        else:
            full.append(m)
    numbers = full[0].graph.concat(full, layer.options["axis"])
    keras2 = layer.options["keras2_masks"]
    return ~(~numbers).any([-1]) if keras2 else numbers.any([-1])


def dot(run: Writing, layer: LayerSpec, inputs: Any) -> Value:
    """Write Dot: scalar products along one axis of each input."""
    pair = []
    for x, along in zip(listed(run, layer, inputs), layer.options["axes"], strict=True):
        (k,) = from_front((along,), x.ndim)
        if layer.options["normalize"]:
            x = unit_length(x, (k,), 1e-7, POLICIES[layer.policy].compute)
        pair.append(x.moved(k, -1))
    a, b = pair
    # letters of an einsum: r rows, k the axis that is summed, others of each input
    left, right = "abcd"[: a.ndim - 2], "efgh"[: b.ndim - 2]
    equation = f"r{left}k,r{right}k->r{left}{right}"
    y = run.graph.einsum(equation, [a, b], einsum_shape(equation, a, b))
    return y if left or right else y.expand(1)


# Normalization


def at_least_float32(x: Value) -> Value:
    """Return 16-bit and whole numbers as float32, and other floats unchanged."""
    wide = is_float(x) and x.dtype.itemsize >= 4  # type: ignore[arg-type]
    return x if wide else x.cast(np.float32)


def _as_it_came(y: Value, inputs: Value, compute: str) -> Value:
    y = y.cast(inputs.dtype)
    return y if is_float(y) else y.cast(working(compute))  # type: ignore[arg-type]


def scaled(
    layer: LayerSpec, x: Value, mean: Any, variance: Value, shape: tuple[int, ...]
) -> Value:
    """Write ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``."""
    graph = x.graph
    factor = 1 / (variance + layer.options["epsilon"]).unary("Sqrt")
    weights = {
        key: graph.constant(layer.weights[key].astype(x.dtype).reshape(shape), key)
        for key in ("gamma", "beta")
        if key in layer.weights
    }
    if "gamma" in weights:
        factor = factor * weights["gamma"]
    y = x * factor if mean is None else (x - mean) * factor
    return y + weights["beta"] if "beta" in weights else y


def batch_normalization(
    run: Writing, layer: LayerSpec, inputs: Value, mask: Any = None
) -> Value:
    """Write BatchNormalization: one factor and one summand, from what was stored."""
    x = at_least_float32(inputs)
    (position,) = from_front((layer.options["axis"],), x.ndim)
    shape = tuple(-1 if k == position else 1 for k in range(x.ndim))
    # in the dtype and the order in which the layer computes them
    weights = {k: w.astype(x.dtype) for k, w in layer.weights.items()}
    factor = 1 / np.sqrt(weights["moving_variance"] + layer.options["epsilon"])
    factor = factor * weights["gamma"] if "gamma" in weights else factor
    mean, beta = weights["moving_mean"], weights.get("beta")
    if Rule.CENTRES_FIRST in layer.rules:
        y = (x - mean.reshape(shape)) * factor.reshape(shape)
        return y if beta is None else y + beta.reshape(shape)
    summand = -mean * factor if beta is None else -mean * factor + beta
    y = x * run.graph.constant(factor.reshape(shape), "factor")
    return y + run.graph.constant(summand.reshape(shape), "summand")


def layer_normalization(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write LayerNormalization."""
    x = at_least_float32(inputs)
    over = from_front(sorted(layer.options["axis"]), x.ndim)
    mean = x.reduce("ReduceMean", over, keepdims=True)
    centred = x - mean
    variance = (centred * centred).reduce("ReduceMean", over, keepdims=True)
    sizes = dict(zip(over, layer_sizes(layer), strict=True))
    shape = tuple(sizes.get(k, 1) for k in range(x.ndim))
    given = None if layer.options["rms_scaling"] else mean
    y = scaled(layer, x, given, variance, shape)
    return _as_it_came(y, inputs, POLICIES[layer.policy].compute)


def layer_sizes(layer: LayerSpec) -> tuple[int, ...]:
    """Return the shape of gamma or beta; ones if the layer has neither."""
    for key in ("gamma", "beta"):
        if key in layer.weights:
            return layer.weights[key].shape
    return (1,) * len(layer.options["axis"])


def group_normalization(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write GroupNormalization."""
    x = at_least_float32(inputs)
    (cut,) = from_front((layer.options["axis"],), x.ndim)
    size = x.shape[cut]
    if size is None:
        raise UnsupportedError(f"{layer}: expected an axis of a fixed size to cut")
    many = size if layer.options["groups"] == -1 else layer.options["groups"]
    parts = (many, size // many)
    # the axes behind the cut one move before it, so that their sizes may be open
    order = [k for k in range(x.ndim) if k != cut]
    turned = x.transpose([*order, cut])
    split = turned.reshape([0] * (x.ndim - 1) + list(parts))
    over = [k for k in range(1, split.ndim) if k != x.ndim - 1]
    mean = split.reduce("ReduceMean", over, keepdims=True)
    centred = split - mean
    variance = (centred * centred).reduce("ReduceMean", over, keepdims=True)
    y = scaled(layer, split, mean, variance, parts)
    back = [order.index(k) if k != cut else x.ndim - 1 for k in range(x.ndim)]
    y = y.reshape([0] * (x.ndim - 1) + [size]).transpose(back)
    return _as_it_came(y, inputs, POLICIES[layer.policy].compute)


def rms_normalization(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write RMSNormalization."""
    x = at_least_float32(inputs)
    over = from_front(layer.options["axis"], x.ndim)
    square = (x * x).reduce("ReduceMean", over, keepdims=True)
    y = x * (1 / (square + layer.options["epsilon"]).unary("Sqrt"))
    scale = layer.weights["scale"].astype(x.dtype)
    return (y * run.graph.constant(scale, "scale")).cast(inputs.dtype)


def unit_length(
    x: Value, over: tuple[int, ...], smallest: float, compute: str
) -> Value:
    """Write `verify.forward.layers.normalization.unit_length`."""
    square = (x * x).rounded(compute)
    total = square.reduce("ReduceSum", over, keepdims=True).rounded(compute)
    with np.errstate(over="ignore"):
        greatest = rounded(np.asarray(1 / smallest, dtype=x.dtype), compute)
    return x * (1 / total.unary("Sqrt")).rounded(compute).minimum(greatest)


def unit_normalization(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write UnitNormalization."""
    over = from_front(layer.options["axis"], inputs.ndim)
    return unit_length(inputs, over, 1e-12, POLICIES[layer.policy].compute)


def layer_scale(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write LayerScale."""
    gamma = layer.weights["gamma"]
    return inputs.cast(gamma.dtype) * run.graph.constant(gamma, "gamma")


def normalization(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Normalization; its numbers are those that the NumPy layer computes."""
    compute = POLICIES[layer.policy].compute
    x = inputs.cast(working(compute))
    kind: Any = REGISTRY["Normalization"]
    # sizes that are open are not among the axes of mean and variance
    like = np.zeros([size or 1 for size in x.shape], dtype=x.dtype)
    mean, variance = (kind._fitted(layer, key, like) for key in ("mean", "variance"))
    deviation = np.maximum(np.sqrt(variance), KERAS_EPSILON).astype(x.dtype)
    if layer.options["invert"]:
        return x * deviation + mean
    return (x - mean) / deviation


def rescaling(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Rescaling."""
    compute = POLICIES[layer.policy].compute
    scale, offset = (rounded(held(layer, key), compute) for key in ("scale", "offset"))
    return inputs.cast(working(compute)) * scale + offset


# Wrappers and models


def time_distributed(
    run: Writing, layer: LayerSpec, inputs: Value, mask: Value | None = None
) -> Value:
    """Write TimeDistributed: rows and steps become one axis for the inner layer."""
    from verify.forward.layers.wrappers import _without_scales

    inner = _without_scales(layer.sublayers["layer"])
    graph = run.graph
    # Shape and Concat make the sizes, since several of them may be open
    minus_one = graph.integers([-1])

    def joined(x: Value) -> Value:
        rest = x.shape[2:]
        sizes = graph.concat([minus_one, x.sizes(2)], 0) if rest else minus_one
        return x.reshape_to(sizes, (None, *rest))

    y = run.within(
        inner, joined(inputs), at="layer", mask=None if mask is None else joined(mask)
    )
    sizes = graph.concat([inputs.sizes(0, 2), y.sizes(1)], 0)
    return y.reshape_to(sizes, (*inputs.shape[:2], *y.shape[1:]))


def input_layer(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write the cast of an input; the axes are those that the layer declares."""
    dtype = dtype_of(layer.options["dtype"])
    x = inputs.cast(dtype) if inputs.dtype != dtype else inputs
    shape = layer.options["batch_shape"]
    if x.ndim == len(shape) + 1 and x.shape[-1] == 1:
        return x.squeeze(-1)
    if x.ndim == len(shape) - 1 and shape[-1] == 1:
        return x.expand(-1)
    return x


def model(run: Writing, layer: LayerSpec, inputs: Any, mask: Any = None) -> Any:
    """Write the layers of a model, which is a layer too."""
    kind = REGISTRY[layer.class_name]
    return kind.call(run, layer, inputs, mask)  # type: ignore[arg-type]


EMITTERS: Mapping[str, Emit] = {
    "Embedding": embedding,
    "Masking": masking,
    "Activation": activation,
    "Identity": same,
    "Dense": dense,
    "EinsumDense": einsum_dense,
    **{kind.class_name: same for kind in regularization.KINDS},
    "ReLU": relu_layer,
    "LeakyReLU": by_options("leaky_relu"),
    "ELU": by_options("elu"),
    "PReLU": prelu,
    "Softmax": softmax_layer,
    "Flatten": flatten_layer,
    "Reshape": reshape,
    "Permute": permute,
    "RepeatVector": repeat_vector,
    "Add": _arithmetic(lambda xs: reduce(lambda a, b: a + b, xs)),
    "Subtract": _arithmetic(lambda xs: xs[0] - xs[1]),
    "Average": _arithmetic(_average),
    "Multiply": _masked(_multiply),
    "Maximum": _masked(_extreme(lambda a, b: a.maximum(b))),
    "Minimum": _masked(_extreme(lambda a, b: a.minimum(b))),
    "CustomScaleLayer": custom_scale,
    "Concatenate": concatenate,
    "Dot": dot,
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "GroupNormalization": group_normalization,
    "RMSNormalization": rms_normalization,
    "UnitNormalization": unit_normalization,
    "LayerScale": layer_scale,
    "Normalization": normalization,
    "Rescaling": rescaling,
    "TimeDistributed": time_distributed,
    "InputLayer": input_layer,
    "Sequential": model,
    "Functional": model,
}

MASKS: Mapping[str, Emit] = {
    "Embedding": embedding_mask,
    "Masking": masking_mask,
    **dict.fromkeys(
        ("Add", "Subtract", "Average", "Multiply", "Maximum", "Minimum"), merged_mask
    ),
    "Concatenate": concatenated_mask,
}
