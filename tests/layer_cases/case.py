"""Define a case: a layer with its options, in a small Keras model around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from verify.model_files.keras2_config import MODULES

BATCH = 5


def class_of_keras(name: str) -> Any:
    """Return a class of layers that Keras has, in `keras.layers` or in its models."""
    import keras

    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    return getattr(keras.layers, name)


@dataclass(frozen=True)
class Case:
    """One layer, or raw operation, to hold against Keras.

    Attributes
    ----------
    name : str
        The class, as `verify.forward.layers.REGISTRY` has it.
    options : mapping
        For the layer's constructor.
    shape : tuple, or list of tuples
        Of the input or the inputs, without the batch axis.
    wrong : sequence of mappings
        Options as a LayerSpec has them; each must change the model's outputs, which is
        how an ignored option would be noticed.
    masked : bool
        Whether a Masking layer stands before it: some steps, some whole rows, and the
        first row never, are masked.
    after : bool
        Whether a GRU stands behind it, which shows what mask it hands on. Needs an
        output of three axes.
    call : callable, optional
        ``call(layer, inputs) -> output(s)``, for other calls than ``layer(inputs[0])``
        or, with several inputs, ``layer(inputs)``.
    make : callable, optional
        ``make() -> layer`` for a layer that options alone do not make, or None for a
        raw operation that `call` writes.
    inputs : callable, optional
        ``inputs(rng) -> list of arrays``; normal numbers by default.
    dtypes : sequence of str
        Of the inputs.
    prepare : callable, optional
        ``prepare(model)`` before the model gets its weights, for `quantize`.
    batch_size : int, optional
        Fixed in the model, for stateful layers.
    weights : bool
        Whether each weight of the layer must change the outputs when it is moved.
    compiled : bool
        Whether Keras runs the model through XLA. TensorFlow on the CPU has no other
        float64 convolution with channels first, nor a dilated transposed one.
    not_as_onnx : str
        Part of the refusal to convert it; empty if it is converted.
    except_on : mapping of str to str
        Backend -> why it is not held against Keras there.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    shape: Any = (6, 3)
    wrong: Sequence[Mapping[str, Any]] = ()
    masked: bool = False
    after: bool = False
    call: Callable[[Any, list[Any]], Any] | None = None
    make: Callable[[], Any] | None = None
    inputs: Callable[[np.random.Generator], list[Any]] | None = None
    dtypes: Sequence[str] = ()
    prepare: Callable[[Any], Any] | None = None
    batch_size: int | None = None
    weights: bool = True
    compiled: bool = False
    not_as_onnx: str = ""
    except_on: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """For pytest."""
        given = ",".join(f"{k}={v}" for k, v in self.options.items())
        marks = "-prepared" if self.prepare is not None else ""
        marks += ("-masked" if self.masked else "") + ("-after" if self.after else "")
        return f"{self.name}({given})"[:90] + marks

    @property
    def shapes(self) -> list[tuple[int | None, ...]]:
        """One shape for each input."""
        return self.shape if isinstance(self.shape, list) else [self.shape]

    def model(self) -> Any:
        """The Keras model; call it where the float64 policy is set."""
        import keras

        dtypes = list(self.dtypes) or ["float64"] * len(self.shapes)
        inputs = [
            keras.Input(shape, batch_size=self.batch_size, dtype=dtype, name=f"in{k}")
            for k, (shape, dtype) in enumerate(zip(self.shapes, dtypes, strict=True))
        ]
        tensors = [
            keras.layers.Masking(name=f"masking{k}")(x)
            if self.masked and len(self.shapes[k]) > 1
            else x
            for k, x in enumerate(inputs)
        ]
        layer = None
        if self.make is not None:
            layer = self.make()
        elif not self.name.startswith("ops."):
            layer = class_of_keras(self.name)(**self.options, name="tested")
        if self.call is not None:
            y = self.call(layer, tensors)
        else:
            assert layer is not None, "a case of an operation needs `call`"
            y = layer(tensors if len(tensors) > 1 else tensors[0])
        if self.after:
            # With `training` in the call Keras writes no mask into the graph, so it is
            # found when the model runs, on what the tested layer hands on.
            gru = keras.layers.GRU(2, return_sequences=True, name="after")
            y = gru(y, training=False)
        model = keras.Model(inputs if len(inputs) > 1 else inputs[0], y)
        if self.prepare is not None:
            self.prepare(model)
        if self.compiled:
            model.compile(jit_compile=True)
        return model

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        """Inputs, with masked steps of zeros where there is a mask."""
        rng = np.random.default_rng(seed)
        if self.inputs is not None:
            return [np.asarray(x) for x in self.inputs(rng)]
        arrays = []
        for k, shape in enumerate(self.shapes):
            x = rng.normal(size=(self.batch_size or BATCH, *(s or 7 for s in shape)))
            if self.masked and x.ndim > 2:
                time = x.shape[1]
                x[1, time // 2 + k :] = 0  # right; inputs differ in their masks
                x[2, : time // 2 - k] = 0  # left
                x[3, 1 :: 3 - (k > 0)] = 0  # holes
                if self.batch_size is None and len(self.shapes) == 1:
                    x[4] = 0  # altogether
            arrays.append(x)
        return arrays
