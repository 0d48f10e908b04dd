"""Weights misread: gate orders, transposes, biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import permutations
from types import MappingProxyType

import numpy as np

from verify.mistakes.catalogue.mistake import (
    Mistake,
    MutationOperator,
    Need,
    gate_blocks,
    join_blocks,
    on_weights,
)
from verify.model.arrays import Array
from verify.model.spec import GATES, LayerSpec

OTHER_ORDERS = frozenset({("i", "f", "o", "c"), ("i", "c", "f", "o"), ("r", "z", "h")})
"""Orders of other libraries: ONNX and others put o before c, or c before f; PyTorch has
r before z."""

BIAS = frozenset({Need.BIAS})
WEIGHT_NEEDS: Mapping[str, frozenset[Need]] = MappingProxyType(
    {
        "kernel": frozenset({Need.SEVERAL_UNITS, Need.OPEN_GATES}),
        "recurrent_kernel": frozenset(
            {Need.SEVERAL_STEPS, Need.SEVERAL_UNITS, Need.OPEN_GATES}
        ),
        "bias": BIAS,
    }
)
"""Name of a weight -> what a mistake in that weight alone needs to show."""


def _needs(*needs: Need, weights: tuple[str, ...]) -> frozenset[Need]:
    """Return what a mistake in some weights, or in all if none is named, needs."""
    return frozenset(needs) | (BIAS if weights == ("bias",) else frozenset())


def _reordered(layer: LayerSpec, value: Array, order: tuple[str, ...]) -> Array:
    """Return the columns as they come if the gates are taken to stand in `order`."""
    found = gate_blocks(layer, value)
    return join_blocks([found[order.index(gate)] for gate in layer.gates])


def gate_orders(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield columns read in another order than Keras stores, in all weights or one."""
    stored = layer.gates
    keeps = ",".join(stored)
    for keys in ((), *((key,) for key in layer.weights)):
        where = f" in {keys[0]} alone" if keys else ""
        for order in permutations(stored):
            if order == stored:
                continue
            read = ",".join(order)
            what = keys[0] if keys else "kernel, recurrent_kernel and bias"
            yield Mistake(
                f"gate order {read}{where}",
                f"gates read in the order {read}{where}; Keras stores {keeps}",
                f"split {what} into the blocks {keeps}",
                on_weights(*keys, change=partial(_reordered, order=order)),
                common=not keys and order in OTHER_ORDERS,
                needs=_needs(Need.SEVERAL_STEPS, Need.OPEN_GATES, weights=keys),
            )


def interleaved_gates(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield column k*gates+g taken for unit k of gate g."""
    gates = len(layer.gates)
    if gates < 2:
        return

    def apart(layer: LayerSpec, value: Array) -> Array:
        return join_blocks([value[..., g::gates] for g in range(gates)])

    for keys in ((), *((key,) for key in layer.weights)):
        where = f" in {keys[0]} alone" if keys else ""
        yield Mistake(
            f"gates interleaved{where}",
            f"gates read interleaved, unit by unit{where}; Keras stores them in blocks",
            f"take columns g * units to (g + 1) * units for gate g of {layer.gates}",
            on_weights(*keys, change=apart),
            needs=_needs(Need.SEVERAL_STEPS, Need.SEVERAL_UNITS, weights=keys),
        )


def wrong_bias(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield a bias, a row or a gate of it, left out, doubled or misplaced."""
    bias = layer.weights.get("bias")
    if bias is None:
        return
    once = "add bias to the pre-activation, once"
    yield Mistake(
        "bias missing",
        "the bias is left out",
        once,
        on_weights("bias", change=lambda _, b: np.zeros_like(b)),
        common=True,
        needs=BIAS,
    )
    twice = "the bias is added twice"
    if "recurrent_kernel" in layer.weights:
        twice += ", on the input side and on the recurrent side"
    yield Mistake(
        "bias doubled",
        twice,
        once,
        on_weights("bias", change=lambda _, b: 2 * b),
        common=True,
        needs=BIAS,
    )
    for k, gate in enumerate(layer.gates if len(layer.gates) > 1 else ()):
        yield Mistake(
            f"bias of gate {gate} missing",
            f"the bias of gate {gate} is left out",
            f"add block {k} of the bias to gate {gate}",
            on_weights("bias", change=partial(_without_gate, gate=k)),
            gate=gate,
            needs=BIAS | {Need.OPEN_OWN_GATE},
        )
    if bias.ndim > 1 and "recurrent_kernel" in layer.weights:
        yield from _two_rows()


def _without_gate(layer: LayerSpec, bias: Array, gate: int) -> Array:
    found = [part.copy() for part in gate_blocks(layer, bias)]
    found[gate][...] = 0
    return join_blocks(found)


def _without_row(_: LayerSpec, bias: Array, row: int) -> Array:
    bias = bias.copy()
    bias[row] = 0
    return bias


def _two_rows() -> Iterator[Mistake]:
    """Yield what can be wrong with the two rows of a GRU's bias."""
    both = "add bias[0] to x @ kernel and bias[1] to h @ recurrent_kernel"
    needs = BIAS | {Need.SEVERAL_STEPS}
    for row, side in enumerate(("input", "recurrent")):
        yield Mistake(
            f"bias row {row} missing",
            f"row {row} of the bias ({side} side) is left out",
            both,
            on_weights("bias", change=partial(_without_row, row=row)),
            common=True,
            needs=needs,
        )
    yield Mistake(
        "bias rows swapped",
        "the two rows of the bias are exchanged; Keras stores the input row first",
        both,
        on_weights("bias", change=lambda _, b: b[::-1].copy()),
        common=True,
        needs=needs,
    )
    yield Mistake(
        "bias rows summed",
        "both rows of the bias are added on the input side, so the recurrent row "
        "escapes the reset gate",
        "add bias[1] to h @ recurrent_kernel, inside the product with r",
        on_weights(
            "bias", change=lambda _, b: np.stack([b.sum(axis=0), np.zeros_like(b[0])])
        ),
        common=True,
        needs=needs,
    )


def transposed_kernels(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield a kernel multiplied from the other side, or read in column-major order."""
    for key, value in layer.weights.items():
        if value.ndim != 2 or not key.endswith("kernel"):
            continue
        gates = layer.gates or ("",)
        rows, width = value.shape
        square = rows == width // len(gates)
        right = f"multiply row vectors from the left: x @ {key}"
        needs = WEIGHT_NEEDS.get(key, frozenset())
        if square:
            yield Mistake(
                f"{key} transposed",
                f"{key} is transposed",
                right,
                on_weights(key, change=partial(_transposed, gates=gates)),
                common=True,
                needs=needs,
            )
        if square and len(gates) > 1:
            for gate in gates:
                yield Mistake(
                    f"{key} of gate {gate} transposed",
                    f"the block of gate {gate} in {key} is transposed",
                    right,
                    on_weights(key, change=partial(_transposed, gates=(gate,))),
                    gate=gate,
                    needs=needs,
                )
        if square and len(gates) == 1:
            continue  # column-major order is then the same as transposed
        yield Mistake(
            f"{key} read in column-major order",
            f"{key} is read in column-major (Fortran) order; Keras stores rows first",
            f"read {key} as C-contiguous with shape {value.shape}",
            on_weights(key, change=lambda _, w: w.ravel().reshape(w.shape, order="F")),
            common=True,
            needs=needs,
        )
        if not square and len(gates) > 1:
            yield Mistake(
                f"blocks of {key} read in column-major order",
                f"the block of each gate in {key} is reshaped where it should be "
                "transposed, so its numbers stand in other places",
                f"transpose the blocks of {key} to exchange their axes",
                on_weights(key, change=_blocks_in_column_order),
                common=True,
                needs=needs,
            )


def _blocks_in_column_order(layer: LayerSpec, value: Array) -> Array:
    blocks = gate_blocks(layer, value)
    return join_blocks([b.ravel().reshape(b.shape, order="F") for b in blocks])


def _transposed(layer: LayerSpec, value: Array, gates: tuple[str, ...]) -> Array:
    names = layer.gates or ("",)
    parts = np.split(value, len(names), axis=-1)  # (units, units) each
    return join_blocks(
        [p.T if g in gates else p for g, p in zip(names, parts, strict=True)]
    )


def kernels_exchanged(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield kernel and recurrent kernel in each other's place, or one left out."""
    kernel = layer.weights.get("kernel")
    recurrent = layer.weights.get("recurrent_kernel")
    if kernel is None or recurrent is None:
        return

    def stacked(layer: LayerSpec) -> LayerSpec:
        kernel, recurrent = layer.weights["kernel"], layer.weights["recurrent_kernel"]
        # (..., inputs + units, gates * units); ConvLSTM has spatial axes in front
        both = np.concatenate([kernel, recurrent], axis=-2)
        units = recurrent.shape[-2]
        return layer.with_weights(
            recurrent_kernel=both[..., :units, :], kernel=both[..., units:, :]
        )

    yield Mistake(
        "kernel and recurrent kernel exchanged",
        "kernel and recurrent_kernel are stacked as [x, h] and read as [h, x]",
        "multiply x by kernel and h by recurrent_kernel",
        stacked,
        needs=WEIGHT_NEEDS["kernel"] | WEIGHT_NEEDS["recurrent_kernel"],
    )
    yield Mistake(
        "recurrent term missing",
        "h @ recurrent_kernel is left out",
        "add h @ recurrent_kernel to the pre-activation of every step",
        on_weights("recurrent_kernel", change=lambda _, w: np.zeros_like(w)),
        common=True,
        needs=frozenset({Need.SEVERAL_STEPS, Need.OPEN_GATES}),
    )


def forget_bias_again(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield unit_forget_bias applied to weights that already contain it."""
    if layer.gates != GATES["LSTM"] or "bias" not in layer.weights:
        return

    def more(layer: LayerSpec, bias: Array) -> Array:
        found = gate_blocks(layer, bias)
        gates = zip(layer.gates, found, strict=True)
        return join_blocks([block + (gate == "f") for gate, block in gates])

    yield Mistake(
        "forget bias added again",
        "1 is added to the forget gate's bias; unit_forget_bias is an initialiser and "
        "the stored bias already contains it",
        "use the bias as it is stored",
        on_weights("bias", change=more),
        common=True,
        gate="f",
        needs=frozenset({Need.SEVERAL_STEPS}),
    )


def _enlarged(_: LayerSpec, value: Array, place: tuple[int, ...]) -> Array:
    value = np.array(value)
    value[place] *= 1.001
    return value


def one_number_enlarged(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield one number of each weight a little too large."""
    if any(w.dtype.kind in "iu" for w in layer.weights.values()):
        return
    for key, value in layer.weights.items():
        if key == "embeddings" or not value.ndim:
            continue  # of a table few rows are read; a scalar has no greatest number
        greatest = np.unravel_index(int(np.argmax(np.abs(value))), value.shape)
        place = tuple(int(k) for k in greatest)
        shown = f"{key}[{', '.join(map(str, place))}]" if place else key
        its = ", its greatest number," if place else ""
        yield Mistake(
            f"{shown} off by 0.1 %",
            f"{shown}{its} is 0.1 % too large",
            "copy the weights again, and compare their checksums",
            on_weights(key, change=partial(_enlarged, place=place)),
            gate=gate_of(layer, place[-1]) if place else "",
            needs=WEIGHT_NEEDS.get(key, frozenset()),
            one_number=True,
        )


def gate_of(layer: LayerSpec, column: int) -> str:
    """Return the gate that a column of a layer's weights belongs to, or ``""``."""
    if len(layer.gates) < 2:
        return ""
    width = next(iter(layer.weights.values())).shape[-1] // len(layer.gates)
    return layer.gates[column // width]


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    gate_orders,
    interleaved_gates,
    wrong_bias,
    transposed_kernels,
    kernels_exchanged,
    forget_bias_again,
)
LEAST_LIKELY: tuple[MutationOperator, ...] = (one_number_enlarged,)
"""Operators that are tried when all others have been."""
