"""Compare the attributes of a recurrent operator with the options of its layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from verify.errors import printable
from verify.forward.evaluate import LayerTrace
from verify.model.arrays import Array
from verify.ports.locate.fused import Direction, Function

KERAS_NAMES = {"leaky_relu": "leakyrelu", "hard_sigmoid": "hardsigmoid"}
"""Activations of Keras -> what files call them, where it is another name."""

PARAMETERS = {
    "hard_sigmoid": (1 / 6, 0.5),
    "keras2_hard_sigmoid": (0.2, 0.5),
    "leaky_relu": (0.2, None),
    "elu": (1.0, None),
}
"""Activation of Keras -> alpha and beta that stand for it."""


def attribute_sentences(
    direction: Direction,
    traced: LayerTrace,
    given: Sequence[Array],
    flipped: bool,
) -> list[str]:
    """Return one sentence for each attribute that is not what the layer asks for.

    Parameters
    ----------
    direction : Direction
    traced : LayerTrace
        The call of the layer.
    given : sequence of array
        The initial states that it is given.
    flipped : bool
        Whether the operator is given the steps in reversed order.
    """
    return [
        f"{direction.op} '{printable(direction.node, 60)}': {text}"
        for text in _differences(direction, traced, given, flipped)
    ]


def _differences(
    direction: Direction, traced: LayerTrace, given: Sequence[Array], flipped: bool
) -> Iterator[str]:
    layer = traced.layer
    options = layer.sublayers["cell"].options if "cell" in layer.sublayers else (
        layer.options
    )  # fmt: skip
    kind = layer.class_name
    if kind in ("LSTM", "GRU", "SimpleRNN") and kind != direction.kind:
        yield f"it is a {direction.kind}, the layer is a {kind}"
        return
    backwards = bool(layer.options.get("go_backwards"))
    if (direction.reverse != flipped) != backwards:
        turned = " (which is reversed)" if flipped else ""
        yield (
            f"it runs {'backwards' if direction.reverse else 'forwards'} over its "
            f"input{turned}, the layer {'backwards' if backwards else 'forwards'}"
        )
    if direction.kind == "GRU":
        after = bool(options.get("reset_after", True))
        if direction.reset_after != after:
            yield (
                f"it resets {_when(direction.reset_after)} the product with the "
                f"recurrent kernel, the layer {_when(after)} it (linear_before_reset "
                f"and reset_after)"
            )
    wanted = [options.get("recurrent_activation"), options.get("activation")]
    if direction.kind == "SimpleRNN":
        wanted = wanted[1:]
    elif direction.kind == "LSTM":
        wanted.append(options.get("activation"))
    roles = ("gates", "candidate", "output")
    if direction.kind == "SimpleRNN":
        roles = ("state", "", "")
    for function, name, role in zip(direction.functions, wanted, roles, strict=False):
        if not _agrees(function, str(name)):
            alpha, beta = PARAMETERS.get(str(name), (None, None))
            asked = Function(str(name), alpha, beta)
            yield f"its activation for the {role} is {function}, the layer's is {asked}"
    if direction.clip:
        yield f"it clips the arguments of its activations to {direction.clip:g}"
    if direction.clip_state:
        yield f"it clips the cell state to {direction.clip_state:g}"
    if direction.coupled:
        yield "its forget gate is 1 - i, the layer has one of its own"
    if direction.peepholes is not None and direction.peepholes.any():
        yield "its gates see the cell state (peepholes), those of the layer do not"
    if "bias" in layer.weights and not direction.bias.any():
        yield "it has no bias, the layer has one"
    mask = traced.mask
    mask = mask[0] if isinstance(mask, (list, tuple)) and mask else mask
    if mask is not None and direction.lengths is None:
        yield "it is given no lengths, while the layer has a mask"
    if mask is None and direction.lengths is not None:
        steps = direction.x.shape[1]
        if (direction.lengths < steps).any():
            yield "it is given lengths, while the layer has no mask"
    if any(_not_zero(v) for v in given) and not direction.given_states:
        yield "it is given no initial states, the layer is"
    if not len(given) and direction.given_states and not layer.options.get("stateful"):
        yield "it is given initial states, the layer is not"


def _when(after: bool) -> str:
    return "after" if after else "before"


def _not_zero(value: Array) -> bool:
    return bool(value.any())


def _agrees(function: Function, name: str) -> bool:
    if function.name != KERAS_NAMES.get(name, name).replace("keras2_", "").replace(
        "_", ""
    ):
        return False
    alpha, beta = PARAMETERS.get(name, (None, None))
    near = (
        given is None or asked is None or abs(given - asked) < 1e-6
        for given, asked in ((function.alpha, alpha), (function.beta, beta))
    )
    return all(near)
