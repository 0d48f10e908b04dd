"""Evaluate Bidirectional, TimeDistributed and SpectralNormalization, the wrappers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers import regularization
from verify.forward.layers.base import LayerType, Option, Run, Tensor, one_of
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.dtypes import POLICIES, dtype_of, is_float, rounded, working
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec

LOOPS = ("SimpleRNN", "LSTM", "GRU", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
MERGES: Mapping[str | None, Callable[[Array, Array], tuple[Array, ...]]] = {
    "concat": lambda y, y_rev: (np.concatenate([y, y_rev], axis=-1),),
    "sum": lambda y, y_rev: (y + y_rev,),
    "mul": lambda y, y_rev: (y * y_rev,),
    "ave": lambda y, y_rev: ((y + y_rev) / 2,),
    None: lambda y, y_rev: (y, y_rev),
}


WITH_KERNEL = (
    *("Dense", "Embedding", "Conv1D", "Conv2D", "Conv3D"),
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
)
"""Ends of the names of the classes that have a kernel, or embeddings, themselves."""


_IDLE = frozenset(kind.class_name for kind in regularization.KINDS)
"""Layers that return their input in predict."""


def _turned(outputs: Array) -> Array:
    return np.flip(outputs, axis=1)


class Bidirectional(LayerType):
    """Run two recurrent layers over one sequence, one of them backwards.

    Source: keras/src/layers/rnn/bidirectional.py.
    """

    class_name = "Bidirectional"
    options: ClassVar[Mapping[str, Option]] = {
        "merge_mode": Option(one_of(*MERGES), "concat"),
    }
    child_configs = frozenset({"layer", "backward_layer"})
    arguments = ("sequences", "initial_state", "mask")
    supports_masking = True
    masks_may_end = True

    def children(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        forward, backward = config.get("layer"), config.get("backward_layer")
        if backward is None:
            backward = _changed(forward, go_backwards=True)
            name = str(_config(forward).get("name", "layer"))
            backward = _changed(
                backward, name=f"backward_{name.removeprefix('forward_')}"
            )
        return {
            "forward_layer": _zeroing(forward),
            "backward_layer": _zeroing(backward),
        }

    def check(self, where: str, layer: LayerSpec) -> None:
        inner = layer.sublayers.values()
        for one in inner:
            if one.class_name not in LOOPS:
                raise UnsupportedError(
                    f"{where}: expected recurrent layers inside ({', '.join(LOOPS)}). "
                    f"Received: {one}"
                )
        forward, backward = inner
        if forward.options["go_backwards"] == backward.options["go_backwards"]:
            raise UnsupportedError(
                f"{where}: expected one layer of the two with go_backwards"
            )
        for option in ("stateful", "return_sequences", "return_state"):
            if forward.options[option] != backward.options[option]:
                raise UnsupportedError(
                    f"{where}: expected both layers with the same '{option}'"
                )
        if forward.options["stateful"] and forward.options["return_state"]:
            raise UnsupportedError(
                f"{where}: stateful together with return_state is not supported; Keras "
                "itself cannot call such a layer"
            )

    def formula(self, layer: LayerSpec) -> str:
        return " + ".join(f"{x.parameters:,}" for x in layer.sublayers.values())

    def notes(self, layer: LayerSpec) -> list[str]:
        forward = layer.sublayers["forward_layer"]
        mode = layer.options["merge_mode"]
        merged = {
            "concat": "y = concatenate(forward, backward) on the last axis",
            "sum": "y = forward + backward",
            "mul": "y = forward * backward",
            "ave": "y = (forward + backward) / 2",
            None: "two outputs: forward, backward",
        }[mode]
        lines = [
            "weights: those of the forward layer, then those of the backward layer"
        ]
        if forward.options["return_sequences"]:
            lines.append("the backward layer's outputs are turned round in time, then")
            lines.append(f"{merged}; masked steps are zeros in both")
        else:
            lines.append(f"{merged}, each direction's last output")
        return lines

    def call(
        self,
        run: Run,
        layer: LayerSpec,
        sequences: Array,
        initial_state: Any = None,
        mask: Array | None = None,
    ) -> Any:
        states: tuple[Array, ...] = ()
        if initial_state is not None:
            given = tuple(flatten(initial_state))
            states = layer.overrides.get("initial_state", tuple)(given)
        half = len(states) // 2
        first = layer.sublayers["forward_layer"]
        compute = POLICIES[layer.policy].compute
        results = []
        for key, own in (
            ("forward_layer", states[:half]),
            ("backward_layer", states[half:]),
        ):
            outputs = run(
                layer.sublayers[key],
                sequences,
                initial_state=own or None,
                mask=mask,
                at=key,
            )
            results.append(
                [rounded(tensor.value, compute) for tensor in flatten(outputs)]
            )
        (y, *after), (y_rev, *after_rev) = results
        if first.options["return_sequences"]:
            y_rev = layer.overrides.get("turn", _turned)(y_rev)
        merge = layer.overrides.get("merge", MERGES[layer.options["merge_mode"]])
        after = layer.overrides.get("return_state", tuple)((*after, *after_rev))
        outputs = (*merge(y, y_rev), *after)
        return outputs if len(outputs) > 1 else outputs[0]

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        if not layer.sublayers["forward_layer"].options["return_sequences"]:
            return None
        first = flatten(mask)[0]
        return first if layer.options["merge_mode"] else [first, first]


class TimeDistributed(LayerType):
    """Apply the inner layer to every step separately.

    Keras runs the ``call`` of the inner layer without its ``__call__``. A mask that the
    inner layer makes is therefore lost, and the mask of the input is passed on.

    Source: keras/src/layers/rnn/time_distributed.py.
    """

    class_name = "TimeDistributed"
    child_configs = frozenset({"layer"})
    arguments = ("inputs", "mask")
    supports_masking = True
    masks_may_end = True

    def children(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"layer": config.get("layer")}

    def check(self, where: str, layer: LayerSpec) -> None:
        inner = layer.sublayers["layer"]
        if inner.options.get("return_state") or inner.options.get("stateful"):
            raise UnsupportedError(
                f"{where}: return_state and stateful are not supported inside it"
            )
        # SpatialDropout writes its policy as float32, whatever it is
        idle = inner.class_name in _IDLE
        if inner.graph is None and inner.policy != layer.policy and not idle:
            raise UnsupportedError(
                f"{where}: expected the same dtype policy inside and outside. "
                f"Received: {inner.policy} and {layer.policy}"
            )

    def formula(self, layer: LayerSpec) -> str:
        return f"{layer.parameters:,}"

    def notes(self, layer: LayerSpec) -> list[str]:
        inner = layer.sublayers["layer"]
        lines = [f"y[:, t] = inner(x[:, t]), inner: {inner}"]
        if inner.options.get("quantization_mode"):
            lines.append("Keras computes with the 8-bit weights here as if they were "
                         "the floats they stand for: without their scale")  # fmt: skip
        return lines

    def call(
        self, run: Run, layer: LayerSpec, inputs: Array, mask: Array | None = None
    ) -> Array:
        inner = _without_scales(layer.sublayers["layer"])
        time = inputs.shape[1]
        merged = None if run.merge_steps is None else run.merge_steps(inner, time)
        if merged is not None:
            with merged:
                return _on_all_steps(run, inner, inputs, mask)
        windows = run.windows(inner, time, len(inputs))
        if windows is not None:
            parts = [
                _on_all_steps(
                    run, inner, inputs[:, some], None if mask is None else mask[:, some]
                )
                for some in windows
            ]
            return np.concatenate(parts, axis=1)
        steps = []
        for t in range(min(time, 1) if run.outlining else time):
            step_mask = None if mask is None else mask[:, t]
            steps.append(run.within(inner, inputs[:, t], at="layer", mask=step_mask))
        if run.outlining and steps:
            (first,) = steps
            return np.repeat(first[:, None], time, axis=1)
        return np.stack(steps, axis=1)


def _on_all_steps(run: Run, inner: LayerSpec, inputs: Array, mask: Any) -> Array:
    """Call the layer inside TimeDistributed once, each step of a row as a row."""
    rows, time = inputs.shape[:2]
    together = inputs.reshape(rows * time, *inputs.shape[2:])
    if mask is not None:
        mask = mask.reshape(rows * time, *mask.shape[2:])
    output = run.within(inner, together, at="layer", mask=mask)
    if output.shape[0] != rows * time:
        raise ValueError(f"expected {rows * time} rows. Received: {output.shape[0]}")
    return cast(Array, output.reshape(rows, time, *output.shape[1:]))


class SpectralNormalization(LayerType):
    """Apply the inner layer, with the kernel that the file holds.

    In training Keras divides the kernel of the inner layer by an estimate of its
    greatest singular value, in place, so that the stored one has been divided already.
    Predict does not divide again, and does not use ``vector_u``. The output is cast to
    the dtype of the input: after whole numbers, such as the ids of an Embedding, it is
    whole numbers too.

    Source: keras/src/layers/normalization/spectral_normalization.py.
    """

    class_name = "SpectralNormalization"
    child_configs = frozenset({"layer"})
    inert = frozenset({"power_iterations"})
    raw_tensors = True

    def children(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"layer": config.get("layer")}

    def check(self, where: str, layer: LayerSpec) -> None:
        inner = layer.sublayers["layer"]
        if not inner.class_name.endswith(WITH_KERNEL):
            raise UnsupportedError(
                f"{where}: expected a layer with a kernel or embeddings inside, as "
                f"Keras does. Received: {inner}"
            )

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        return {"vector_u": (1, None)}

    def used_arrays(self, arrays: list[Array]) -> list[Array]:
        return arrays[-1:]  # before it stands the kernel of the inner layer once more

    def non_trainable(self, options: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"vector_u"})

    def formula(self, layer: LayerSpec) -> str:
        inner = layer.sublayers["layer"].parameters
        return f"{inner:,} + {layer.weights['vector_u'].size:,}"

    def notes(self, layer: LayerSpec) -> list[str]:
        return [
            f"y = inner(x), inner: {layer.sublayers['layer']}; its kernel was divided "
            "in training and is stored so, and predict does not use vector_u"
        ]

    def call(self, run: Run, layer: LayerSpec, inputs: Tensor | Array) -> Any:
        # TimeDistributed calls it on an array, which has no mask
        tensor = inputs if isinstance(inputs, Tensor) else Tensor(inputs)
        compute, x = POLICIES[layer.policy].compute, tensor.value
        to = dtype_of(compute) if is_float(x) else x.dtype
        given = Tensor(rounded(x, compute), tensor.mask)
        outputs = run(layer.sublayers["layer"], given, at="layer")

        def cast(leaf: Tensor) -> Tensor:
            stays = leaf.value.dtype == to and Rule.CAST_ENDS_MASK not in layer.rules
            return leaf if stays else Tensor(leaf.value.astype(to))

        return map_structure(cast, outputs)


def _without_scales(layer: LayerSpec) -> LayerSpec:
    """Return a quantised layer as its ``call`` evaluates it: without its scales.

    Only ``Layer.__call__`` chooses ``quantized_call``. ``call`` alone uses the whole
    numbers as if they were the weights.
    """
    if not layer.options.get("quantization_mode"):
        return layer
    to = working(POLICIES[layer.policy].compute)
    weights = {
        key: value.astype(to)
        for key, value in layer.weights.items()
        if not key.endswith("_scale")
    }
    return replace(layer.with_options(quantization_mode=None), weights=weights)


def _config(entry: Any) -> Mapping[str, Any]:
    config = entry.get("config") if isinstance(entry, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def _changed(entry: Any, **options: Any) -> Any:
    """Return a serialised layer with some options changed."""
    if not isinstance(entry, Mapping):
        return entry
    return {**entry, "config": {**_config(entry), **options}}


def _zeroing(entry: Any) -> Any:
    """Set ``zero_output_for_mask`` if a layer returns sequences, as Keras does."""
    if isinstance(entry, Mapping) and entry.get("class_name") in LOOPS:
        sequences = _config(entry).get("return_sequences", False)
        return _changed(entry, zero_output_for_mask=sequences)
    return entry


KINDS: tuple[type[LayerType], ...] = (
    *(Bidirectional, TimeDistributed, SpectralNormalization),
)
"""The layer types of this module, for the registry."""
