"""Evaluates a ModelSpec in NumPy: outputs, or every gate and state on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.layers import REGISTRY, Called
from verify.spec import Array, DataError, LayerSpec, ModelSpec, plain, worded

BLOCK_ROWS = 1024
"""Rows evaluated at a time, so that memory does not grow with their number."""


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """What one layer did: ``input``, ``mask``, ``output`` and its own values.

    The values are attributes and keys alike: ``t["lstm"].f`` is ``t["lstm"]["f"]``.

    ============  ====================================================
    layer         values, each (batch, time, units) unless noted
    ============  ====================================================
    SimpleRNN     ``h``
    LSTM          ``i f c_hat o c h``
    GRU           ``z r h_hat h``
    Dense         ``logits`` (before the activation, shaped as output)
    ============  ====================================================

    States (``h``, ``c``) are as held after the step; time is that of the input, also
    when the layer goes backwards.
    """

    layer: LayerSpec
    input: Array
    mask: Array | None
    output: Array
    values: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        if name in ("input", "output"):
            return getattr(self, name)
        try:
            return self.values[name]
        except KeyError:
            names = ", ".join(("input", *self.values, "output"))
            raise KeyError(
                f"{self.layer} has no '{plain(name)}'; it has {names}"
            ) from None

    def __getattr__(self, name: str) -> Array:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None


class Trace(Mapping[str, LayerTrace]):
    """Layer name -> LayerTrace, in the order of the model.

    ``trace.arrays()`` gives one flat dict, ``{"lstm/f": ...}``, ready for ``np.savez``.
    """

    def __init__(self, layers: Mapping[str, LayerTrace]) -> None:
        self._layers = dict(layers)

    def __getitem__(self, name: str) -> LayerTrace:
        try:
            return self._layers[name]
        except KeyError:
            raise KeyError(
                f"no layer '{plain(name)}'; the layers are {', '.join(self._layers)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def output(self) -> Array:
        """What the model returns."""
        return list(self._layers.values())[-1].output

    def arrays(self) -> dict[str, Array]:
        """Every array by ``layer/value``; ``layer/mask`` where there is a mask."""
        flat = {}
        for name, layer in self.items():
            flat[f"{name}/input"] = layer.input
            if layer.mask is not None:
                flat[f"{name}/mask"] = layer.mask
            flat |= {f"{name}/{key}": value for key, value in layer.values.items()}
            flat[f"{name}/output"] = layer.output
        return flat


class Network:
    """The NumPy forward pass of a model.

    Parameters
    ----------
    spec : ModelSpec
        From `verify.load`, or made by hand.
    floatx : str
        Keras's default float type: ``predict`` casts float inputs to it before the
        model's Input does so to its own dtype.
    """

    def __init__(self, spec: ModelSpec, floatx: str = "float32") -> None:
        self.spec = spec
        self.floatx = floatx
        self._in: dict[str, ModelSpec] = {}

    def __repr__(self) -> str:
        names = ", ".join(layer.class_name for layer in self.spec)
        return f"<verify.Network {self.spec.name}: {names}>"

    def predict(self, x: Any, *, dtype: str = "float32") -> Array:
        """What ``model.predict(x)`` computes.

        Parameters
        ----------
        x : (batch, ...)
            As for Keras: token ids or features, with the model's input shape.
        dtype : "float32" or "float64"
            The precision to compute in; float64 is the reference.

        Returns
        -------
        (batch, ...) in `dtype`.

        Raises
        ------
        DataError
            Inputs whose shape, dtype or ids do not fit the model.
        """
        x = self.prepare(x)
        spec = self._cast(dtype)
        blocks = []
        for start in range(0, len(x), BLOCK_ROWS):
            y, mask = _enter(spec, x[start : start + BLOCK_ROWS]), None
            for layer in spec:
                y, mask, _ = _call(layer, y, mask)
            blocks.append(y)
        return np.concatenate(blocks)

    def trace(self, x: Any, *, dtype: str = "float32") -> Trace:
        """Evaluate the model and keep every layer's input, mask, gates and states.

        Parameters and errors as `predict`.
        """
        spec = self._cast(dtype)
        y, mask = _enter(spec, self.prepare(x)), None
        layers = {}
        for layer in spec:
            called = _call(layer, y, mask, record=True)
            layers[layer.name] = LayerTrace(
                layer, y, mask, called.output, called.values
            )
            y, mask = called.output, called.mask
        return Trace(layers)

    def layer_output(
        self, name: str, x: Array, mask: Array | None, *, dtype: str
    ) -> Array:
        """One layer alone, on an input of your choice, already in the right shape."""
        return _call(self._cast(dtype)[name], x, mask).output

    def step_outputs(self, name: str, x: Array, mask: Array | None) -> Array:
        """What a recurrent layer shows at every step, in float64, on a given input."""
        layer = self._cast("float64")[name].with_options(return_sequences=True)
        return _call(layer, x, mask).output

    def prepare(self, x: Any) -> Array:
        """Inputs as Keras receives them: checked, and cast to the Input's dtype.

        A trailing axis of size 1 is dropped or added where that makes the number of
        axes right, as Keras does.

        Raises
        ------
        DataError
        """
        shape, expected = self.spec.input_shape, self._expected
        array = self.as_array(x)
        received = array.shape
        if array.ndim == len(shape) + 1 and received[-1] == 1:
            array = array[..., 0]
        elif array.ndim == len(shape) - 1 and shape[-1] == 1:
            array = array[..., None]
        fits = array.ndim == len(shape) and all(
            want is None or have == want
            for have, want in zip(array.shape[1:], shape[1:], strict=True)
        )
        if not fits or 0 in array.shape:
            raise DataError(f"expected {expected}. Received: shape={received}")
        wanted_dtype = np.dtype(self.spec.input_dtype)
        if wanted_dtype.kind != "f":
            limits = np.iinfo(wanted_dtype)
            outside = ~((array >= limits.min) & (array <= limits.max))  # NaN is outside
            if outside.any():
                raise DataError(
                    f"expected {expected} from {limits.min} to {limits.max}. "
                    f"Received: {array[outside][0]}"
                )
        with np.errstate(over="ignore"):
            if array.dtype.kind == "f":
                array = array.astype(self.floatx, copy=False)
            return array.astype(wanted_dtype)

    def as_array(self, x: Any) -> Array:
        """`x` as an array of numbers, whatever its shape.

        Raises
        ------
        DataError
        """
        try:
            array = np.asarray(x)
        except ValueError:
            raise DataError(
                f"expected {self._expected}. Received: ragged rows"
            ) from None
        if array.dtype.kind not in "biuf":
            raise DataError(
                f"expected {self._expected} holding numbers. "
                f"Received: dtype={array.dtype}"
            )
        return array

    @property
    def _expected(self) -> str:
        return f"inputs of shape {worded(self.spec.input_shape)}"

    def _cast(self, dtype: str) -> ModelSpec:
        if dtype not in ("float32", "float64"):
            raise DataError(f"expected dtype float32 or float64. Received: {dtype}")
        if dtype not in self._in:
            self._in[dtype] = self.spec.astype(dtype)
        return self._in[dtype]


def _call(
    layer: LayerSpec, x: Array, mask: Array | None, *, record: bool = False
) -> Called:
    """Evaluate one layer; where it overflows it does so silently, as Keras does."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return REGISTRY[layer.class_name].call(layer, x, mask, record=record)


def _enter(spec: ModelSpec, x: Array) -> Array:
    """Whole numbers stay so on the way into an Embedding; the rest become floats."""
    if x.dtype.kind != "f" and spec.layers[0].class_name == "Embedding":
        return x
    return x.astype(spec.dtype, copy=False)
