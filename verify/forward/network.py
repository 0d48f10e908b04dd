"""Evaluate a ModelSpec in NumPy: its outputs, or every gate and state as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np

from verify.errors import DataError, join_and, printable
from verify.forward.evaluate import (
    EQUATIONS_ALONE,
    Evaluation,
    LayerTrace,
    States,
    cast_to,
)
from verify.forward.fast import (
    RowBlocks,
    compiled,
    in_row_blocks,
    row_blocks_for,
    thread_count,
)
from verify.forward.layers import LOOPS
from verify.forward.layers.base import Tensor
from verify.forward.layers.lookups import pads_to_batch
from verify.forward.outlines import outline
from verify.model.arrays import Array, shape_text
from verify.model.backends import SEEN_IN_FLOAT32, Rule
from verify.model.dtypes import dtype_of, is_float
from verify.model.graph import TensorRef, flatten, map_structure
from verify.model.spec import LayerSpec, ModelSpec
from verify.model.versions import REFERENCE, VersionRule

KERAS_BATCH = 32
"""Rows of a batch of ``model.predict``. They matter where texts are filled up to the
longest of their batch."""

RULE_NOISE: Mapping[str, float] = {"float64": 1e-12, "float32": 1e-4}
"""Dtype -> the share of the greatest output up to which a rule's effect is rounding."""


class Evaluable(Protocol):
    """Describe rows that a network can be evaluated on.

    There are two kinds: `Inputs` for a whole model, and a `LayerCall` for one layer.
    """

    @property
    def rows(self) -> int:
        """Return the number of samples."""

    def take(self, rows: Any) -> Self:
        """Return some of the samples, by a slice or by their numbers."""

    def evaluate(
        self, net: Network, dtype: str | None, *, threads: int | None = None
    ) -> list[Array]:
        """Return the outputs, (batch, ...) each; `dtype` as for `Network.predict`.

        `threads` applies to a whole model; one layer is evaluated by one thread.
        """


class Inputs(tuple[Array, ...]):
    """Hold inputs that `Network.prepare` has checked, an array for each input."""

    @property
    def rows(self) -> int:
        """Return how many samples there are."""
        return len(self[0])

    def take(self, rows: Any) -> Inputs:
        """Return some of the samples, by a slice or by their numbers."""
        return Inputs(array[rows] for array in self)

    def evaluate(
        self, net: Network, dtype: str | None, *, threads: int | None = None
    ) -> list[Array]:
        """Return every output of the model; see `Evaluable`."""
        return net.flat(self, dtype=dtype, threads=threads)


@dataclass(frozen=True, eq=False)
class LayerCall:
    """Hold the arguments of `Network.call_layer`: one layer, called alone.

    Attributes
    ----------
    name : str
        Path of the layer.
    args : sequence
        Positional arguments of its call.
    kwargs : mapping
        Keyword arguments of its call.
    states : dict
        Path of a stateful layer -> its states before the call.
    """

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    states: States = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Return how many samples there are."""
        first = flatten(list(self.args))[0]
        return len(first.value if isinstance(first, Tensor) else first)

    def take(self, rows: Any) -> LayerCall:
        """Return some of the samples, by a slice or by their numbers."""
        leaves = flatten([list(self.args), dict(self.kwargs)])
        tensors = any(isinstance(leaf, Tensor) for leaf in leaves)

        def some(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                mask = None if leaf.mask is None else leaf.mask[rows]
                return Tensor(leaf.value[rows], mask)
            # beside tensors an array is a constant: the mask of attention, an operand
            cut = isinstance(leaf, np.ndarray) and not tensors
            return leaf[rows] if cut else leaf

        return LayerCall(
            self.name,
            map_structure(some, list(self.args)),
            map_structure(some, dict(self.kwargs)),
            {at: tuple(s[rows] for s in held) for at, held in self.states.items()},
        )

    def evaluate(
        self, net: Network, dtype: str | None, *, threads: int | None = None
    ) -> list[Array]:
        """Return every output of the layer; see `Evaluable`."""
        states = dict(self.states)  # the call replaces the entries
        return net.call_layer(
            self.name, self.args, self.kwargs, dtype=dtype, states=states
        )


class Trace(Mapping[str, LayerTrace]):
    """Map the path of a layer to its LayerTrace, in the order of evaluation.

    The second call of a layer has the key ``"lstm:2"``, a layer inside another
    ``"bidirectional/forward_layer"``. ``trace.arrays()`` returns one flat dict,
    ``{"lstm/f": ...}``, ready for ``np.savez``.

    Attributes
    ----------
    output
        The outputs of the model, in the structure in which it returns them.
    """

    def __init__(self, layers: Mapping[str, LayerTrace], output: Any) -> None:
        self._layers = dict(layers)
        self.output = output

    def __getitem__(self, name: str) -> LayerTrace:
        try:
            return self._layers[name]
        except KeyError:
            names = ", ".join(self._layers)
            raise KeyError(
                f"no layer '{printable(name)}'; the layers are {names}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def arrays(self) -> dict[str, Array]:
        """Return every array by ``layer/value``, and the masks by ``layer/mask``.

        If a layer has several inputs or outputs, the second is called ``input.1`` or
        ``output.1``, and so on.
        """
        flat: dict[str, Array] = {}
        for name, layer in self.items():
            flat |= named_arrays(f"{name}/input", layer.input)
            flat |= named_arrays(f"{name}/mask", layer.mask)
            flat |= {f"{name}/{key}": value for key, value in layer.values.items()}
            flat |= named_arrays(f"{name}/output", layer.output)
        return flat


def named_arrays(name: str, values: Any) -> dict[str, Array]:
    """Return the arrays of a structure by name: ``input``, ``input.1`` and so on."""
    leaves = [leaf for leaf in flatten(values) if isinstance(leaf, np.ndarray)]
    return {f"{name}.{k}" if k else name: leaf for k, leaf in enumerate(leaves)}


class Network:
    """Compute the forward pass of a model in NumPy.

    Parameters
    ----------
    spec : ModelSpec
        From `verify.load`, or made by hand.
    floatx : str
        Keras's default float type: ``predict`` casts float inputs first to it, and then
        to the dtype of the model's Input.
    """

    def __init__(self, spec: ModelSpec, floatx: str = "float32") -> None:
        self.spec = spec
        self.floatx = floatx

    def __repr__(self) -> str:
        names = ", ".join(layer.class_name for layer in self.spec)
        return f"<verify.Network {self.spec.name}: {names}>"

    def on(self, backend: str) -> Network:
        """Return the same network by the rules of another backend; see `load`."""
        return Network(self.spec.on(backend), self.floatx)

    def by_version(self, rules: frozenset[VersionRule]) -> Network:
        """Return the same network by the rules of another version of Keras."""
        return Network(self.spec.by_version(rules), self.floatx)

    def rule_effects(self, x: Inputs) -> dict[Rule | VersionRule, float]:
        """Return how much each rule of backend and version changes the outputs.

        Parameters
        ----------
        x : Inputs

        Returns
        -------
        dict
            Rule -> the greatest absolute difference, in float64, from the outputs
            without that rule; in float32 for `SEEN_IN_FLOAT32`. Rules that change
            nothing for `x`, or no more than rounding does, are left out.
        """
        spec = self.spec
        rules, later = spec.root.rules, spec.root.version_rules
        if not rules and not later:
            return {}
        here = {"float64": self.flat(x, dtype="float64")}
        size = max((_size(y) for y in here["float64"]), default=1.0)

        def effect(other: ModelSpec, dtype: str = "float64") -> float:
            """Return how far the outputs move; 0 if rounding moves them as far."""
            if dtype not in here:
                here[dtype] = self.flat(x, dtype=dtype)
            there = Network(other, self.floatx).flat(x, dtype=dtype)
            with np.errstate(invalid="ignore"):
                apart = max(
                    float(
                        np.nanmax(np.abs(np.subtract(a, b, dtype=float)), initial=0.0)
                    )
                    for a, b in zip(here[dtype], there, strict=True)
                )
            return apart if apart > RULE_NOISE[dtype] * size else 0.0

        found: dict[Rule | VersionRule, float] = {}
        # few models meet a rule, so all of a kind are tried at once first
        for dtype, kind in (
            ("float64", rules - SEEN_IN_FLOAT32),
            ("float32", rules & SEEN_IN_FLOAT32 if self._meets_float32_rules() else ()),
        ):
            if kind and effect(spec.following(rules - set(kind)), dtype):
                for rule in (rule for rule in Rule if rule in kind):
                    found[rule] = effect(spec.following(rules - {rule}), dtype)
        if later and effect(spec.by_version(REFERENCE)):
            for one in (one for one in VersionRule if one in later):
                found[one] = effect(spec.by_version(later - {one}))
        return {rule: apart for rule, apart in found.items() if apart}

    def _meets_float32_rules(self) -> bool:
        """Return whether a layer may follow a rule that shows in float32 alone."""
        kinds = {"LayerNormalization", "GroupNormalization", "Discretization"}
        return any(layer.class_name in kinds for _, layer in self.spec.walk())

    @property
    def stateful(self) -> bool:
        """Return whether any layer keeps its states from batch to batch."""
        return self.spec.stateful

    @property
    def batch_matters(self) -> bool:
        """Return whether what comes of a row depends on the rows of its batch."""
        return any(pads_to_batch(layer) for _, layer in self.spec.walk())

    @property
    def output_names(self) -> list[str]:
        """Return the names of the outputs, in the order of `flat`.

        They are the keys of the dict if the model returns one, and otherwise the names
        of the layers that the outputs come from.
        """
        graph = self.spec.root.graph
        outputs = graph.outputs if graph is not None else []
        if isinstance(outputs, Mapping):
            return [
                f"{key}.{k}" if k else str(key)
                for key, inside in outputs.items()
                for k, _ in enumerate(flatten(inside))
            ]
        return [
            f"{ref.layer}.{ref.tensor}" if ref.tensor else str(ref.layer)
            for ref in flatten(outputs)
            if isinstance(ref, TensorRef)
        ]

    @property
    def input_names(self) -> list[str]:
        """Return the names of the inputs, in the order of `Inputs`.

        They are the keys of the dict if the model takes one, and otherwise the names of
        its InputLayers.
        """
        graph = self.spec.root.graph
        if graph is not None and isinstance(graph.inputs, Mapping):
            return [str(key) for key in graph.inputs]
        return [layer.name for layer in self.spec.inputs]

    def predict(
        self,
        x: Any,
        *,
        dtype: str | None = None,
        initial_state: States | None = None,
        return_state: bool = False,
        threads: int | None = None,
    ) -> Any:
        """Compute what ``model.predict(x)`` returns, by `verify.forward.fast`.

        Parameters
        ----------
        x : (batch, ...)
            Token ids or features in the model's input shape, as for Keras. A model with
            several inputs takes a list of arrays, or a dict by their names.
        dtype : "float32", "float64" or None
            The precision in which every layer computes; float64 is the reference. By
            default each layer follows its own policy, in most models float32.
        initial_state : dict, optional
            For a stateful model: path of a layer -> its states, as returned by an
            earlier call. A layer without an entry starts with zeros.
        return_state : bool
            Whether to return the states after the last batch too.
        threads : int, optional
            By default the number in ``OMP_NUM_THREADS``, or else one for each core.

        Returns
        -------
        (batch, ...), or a list or dict of such arrays if the model has several outputs;
        with `return_state` a pair of that and the states.

        Notes
        -----
        Several threads may call this at once.

        Raises
        ------
        DataError
            Inputs whose shape, dtype or ids do not fit the model.
        """
        if (return_state or initial_state is not None) and not self.stateful:
            raise DataError(
                "expected a model with a stateful layer, to pass states in and out. "
                "Received: none of its layers is stateful"
            )
        states = dict(initial_state or {})
        flat = self.flat(
            self.prepare(x), dtype=dtype, states=states, threads=threads, fast=True
        )
        graph = self.spec.root.graph
        remaining = iter(flat)
        outputs = map_structure(
            lambda _: next(remaining), graph.outputs if graph is not None else None
        )
        return (outputs, states) if return_state else outputs

    def flat(
        self,
        x: Inputs,
        *,
        dtype: str | None = None,
        states: States | None = None,
        threads: int | None = None,
        fast: bool = False,
    ) -> list[Array]:
        """Return every output of the model in a list.

        Parameters
        ----------
        x : Inputs
        dtype, threads
            As for `predict`, with the same errors.
        states : dict, optional
            Path of a stateful layer -> its states, (batch, ...) each; afterwards it
            holds the states after the last batch.
        fast : bool
            Whether to use `verify.forward.fast`; otherwise every layer is evaluated by
            its equations.

        Returns
        -------
        list of (batch, ...)
        """
        root, blocks = self.cast_to(dtype), self.row_blocks(x, dtype)
        ids = sum(array.size for array in x)  # at most this many ids are looked up
        path = compiled(root, ids) if fast else EQUATIONS_ALONE
        states = {} if states is None else states
        begun = dict(states)
        floatx = dtype or self.floatx

        def evaluate(rows: slice) -> list[Array]:
            if Rule.PREDICT_FORGETS_STATES in root.rules:
                states.clear()
                states.update(begun)
            run = Evaluation(
                states if self.stateful else None, floatx=floatx, fast=path
            )
            outputs = run(root, list(x.take(rows)), at="")
            return [tensor.value for tensor in flatten(outputs)]  # (block, ...) each

        count = thread_count(threads)
        if self.batch_matters:
            blocks, count = RowBlocks(*(KERAS_BATCH,) * 3), 1
        if self.stateful:  # one batch after the other, as Keras does
            unit, count = self.spec.batch_size or 1, 1
            blocks = RowBlocks(unit, unit, unit)
            if x.rows % unit:
                raise DataError(
                    f"expected a multiple of {unit} rows, the model's fixed batch "
                    f"size. Received: {x.rows} rows"
                )
        whole: list[Array] = []
        for rows, block in in_row_blocks(evaluate, x.rows, blocks, count):
            if not whole:
                whole = [np.empty((x.rows, *y.shape[1:]), y.dtype) for y in block]
            for output, y in zip(whole, block, strict=True):
                if output.shape[1:] != y.shape[1:]:
                    raise DataError(
                        "expected texts whose longest is of one length in every batch "
                        f"of {KERAS_BATCH} rows, because the output has a step for "
                        f"each token. Received: outputs {output.shape[1:]} and "
                        f"{y.shape[1:]} a row, which Keras cannot join either"
                    )
                output[rows] = y  # (block, ...) of (batch, ...)
        return whole

    def row_blocks(self, x: Inputs, dtype: str | None = None) -> RowBlocks:
        """Return how many rows to evaluate at a time; `dtype` as for `predict`."""
        steps = max(array.shape[1] if array.ndim > 1 else 1 for array in x)
        return row_blocks_for(self.cast_to(dtype), steps, self.spec.batch_size)

    def trace(
        self, x: Any, *, dtype: str | None = None, states: States | None = None
    ) -> Trace:
        """Evaluate the model and keep every layer's input, mask, gates and states.

        `x` and `dtype` are those of `predict`, and so are the errors. All rows are one
        batch. A stateful model starts with states of zeros, or with those in `states`,
        which afterwards holds the states after the batch, as for `flat`.
        """
        run = Evaluation(states, recording=True, floatx=dtype or self.floatx)
        # copies, because a trace keeps its inputs and the caller may change them
        given = [array.copy() for array in self.prepare(x)]
        return self._traced(run, given, dtype)

    def outline(self, x: Any, *, dtype: str | None = None) -> Trace:
        """Return what `trace` would, but with arrays that store nothing.

        It takes the same short time for any number of steps. Shapes, dtypes and masks
        are those of `trace`; the numbers mean nothing. Of each input the first
        number is taken for all.

        Parameters
        ----------
        x, dtype : as for `predict`
        """
        run = Evaluation(recording=True, floatx=dtype or self.floatx, outlining=True)
        given = [
            a if a.dtype.kind == "U" else outline(a.shape, a[(0,) * a.ndim])
            for a in self.prepare(x)
        ]
        return self._traced(run, given, dtype)

    def _traced(
        self, run: Evaluation, given: Sequence[Array], dtype: str | None
    ) -> Trace:
        """Evaluate the model, and return what was recorded."""
        outputs = run(self.cast_to(dtype), list(given), at="")
        layers = {
            path: replace(trace, layer=self.spec[bare_path(path, self.spec)])
            for path, trace in run.traces.items()
            if path and trace.layer.class_name != "InputLayer"
        }
        return Trace(layers, map_structure(lambda tensor: tensor.value, outputs))

    def call_layer(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        dtype: str | None,
        states: States | None = None,
        every_step: bool = False,
        masks: list[Array | None] | None = None,
    ) -> list[Array]:
        """Call one layer of the model alone, on arguments of your choice.

        Parameters
        ----------
        name : str
            Path of the layer.
        args, kwargs
            The arguments of the call: arrays, or a `Tensor` to pass a mask along.
        dtype : as for `predict`
        states : dict, optional
            Path of a stateful layer -> its states, which the call replaces by the
            states after it.
        every_step : bool
            Whether a recurrent layer returns its output at every step, and no states.
        masks : list, optional
            The masks of the outputs are appended to it.

        Returns
        -------
        list of (batch, ...)
        """
        layer = self.cast_to(dtype).at(name)
        if every_step:
            layer = layer.with_options(return_sequences=True, return_state=False)
        run = Evaluation(states, floatx=dtype or self.floatx)
        tensors = flatten(_called(run, layer, name, args, kwargs, dtype))
        if masks is not None:
            masks += [tensor.mask for tensor in tensors]
        return [tensor.value for tensor in tensors]

    def trace_layer(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        dtype: str | None,
    ) -> Trace:
        """Trace one layer alone; parameters as for `call_layer`."""
        run = Evaluation(recording=True, floatx=dtype or self.floatx)
        layer = self.cast_to(dtype).at(name)
        outputs = _called(run, layer, name, args, kwargs, dtype)
        return Trace(run.traces, map_structure(lambda tensor: tensor.value, outputs))

    def outline_layer(self, call: LayerCall) -> Trace:
        """Return what `trace_layer` would, as `outline` does for a model."""

        def outlined(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or leaf.value.dtype.kind == "U":
                return leaf
            value = leaf.value
            return Tensor(outline(value.shape, value[(0,) * value.ndim]), leaf.mask)

        run = Evaluation(recording=True, floatx=self.floatx, outlining=True)
        layer = self.cast_to(None).at(call.name)
        args = map_structure(outlined, list(call.args))
        kwargs = map_structure(outlined, dict(call.kwargs))
        outputs = run(layer, *args, at=call.name, **kwargs)
        return Trace(run.traces, map_structure(lambda tensor: tensor.value, outputs))

    def loops(self, name: str) -> bool:
        """Return whether a layer is recurrent, so that its steps can be compared."""
        return self.spec[name].class_name in LOOPS

    def prepare(self, x: Any) -> Inputs:
        """Check inputs, and cast them to the dtypes of the model's InputLayers.

        A last axis of size 1 is dropped or added if the number of axes is then right,
        as Keras does it.

        Raises
        ------
        DataError
            The inputs do not fit the model.
        """
        if isinstance(x, Inputs):
            return x
        layers = self.spec.inputs
        given = self.separate(x)
        prepared = Inputs(
            self._prepared(layer, array)
            for layer, array in zip(layers, given, strict=True)
        )
        if len({len(array) for array in prepared}) > 1:
            counts = ", ".join(f"{len(array):,}" for array in prepared)
            raise DataError(
                f"expected inputs of the same number of rows. Received: {counts}"
            )
        return prepared

    def separate(self, x: Any) -> list[Array]:
        """Return one array of numbers for each input, without checking their shapes.

        Raises
        ------
        DataError
            The number or the names of the inputs are not the model's, or an input is
            not made of numbers.
        """
        layers = self.spec.inputs
        if len(layers) == 1:
            if isinstance(x, (list, tuple)) and len(x) == 1 and hasattr(x[0], "shape"):
                x = x[0]  # a list of one input, as Keras takes it
            if not isinstance(x, Mapping):
                return [self._as_array(layers[0], x)]
        names = self.input_names
        if isinstance(x, Mapping):
            own = [layer.name for layer in layers]
            names = own if set(x) == set(own) else names
            if set(x) != set(names):
                raise DataError(
                    f"expected inputs called {join_and(names)}. "
                    f"Received: {join_and([printable(key, 40) for key in x]) or 'none'}"
                )
            given = [x[name] for name in names]
        elif isinstance(x, (list, tuple)) and len(x) == len(layers):
            given = list(x)
        else:
            found = f"{len(x)}" if isinstance(x, (list, tuple)) else "one array"
            raise DataError(
                f"expected {len(layers)} inputs ({join_and(names)}), as a list or a "
                f"dict by their names. Received: {found}"
            )
        return [
            self._as_array(layer, value)
            for layer, value in zip(layers, given, strict=True)
        ]

    def _as_array(self, layer: LayerSpec, x: Any) -> Array:
        try:
            array = np.asarray(x)
        except ValueError:
            raise DataError(
                f"expected {self._expected(layer)}. Received: ragged rows"
            ) from None
        if layer.options["dtype"] == "string":
            return self._as_texts(layer, array)
        if array.dtype.kind not in "biuf" and not is_float(array):
            raise DataError(
                f"expected {self._expected(layer)} holding numbers. "
                f"Received: dtype={array.dtype}"
            )
        return array

    def _as_texts(self, layer: LayerSpec, x: Array) -> Array:
        """Return texts as an array of str; bytes are those of UTF-8."""
        if x.dtype.kind == "S":
            x = x.astype(object)
        try:
            if x.dtype.kind == "O":
                flat = [t.decode() if isinstance(t, bytes) else t for t in x.ravel()]
                if all(isinstance(t, str) for t in flat):
                    x = np.asarray(flat, dtype=str).reshape(x.shape)
        except UnicodeDecodeError:
            raise DataError(
                f"expected {self._expected(layer)} holding texts in UTF-8. "
                "Received: other bytes"
            ) from None
        if x.dtype.kind not in "UT":
            raise DataError(
                f"expected {self._expected(layer)} holding texts. "
                f"Received: dtype={x.dtype}"
            )
        return x.astype(str)

    def _prepared(self, layer: LayerSpec, array: Array) -> Array:
        shape, received = layer.options["batch_shape"], array.shape
        if array.ndim == len(shape) + 1 and received[-1] == 1:
            array = array[..., 0]
        elif array.ndim == len(shape) - 1 and shape[-1] == 1:
            array = array[..., None]
        fits = array.ndim == len(shape) and all(
            want is None or have == want
            for have, want in zip(array.shape[1:], shape[1:], strict=True)
        )
        if not fits or 0 in array.shape:
            raise DataError(
                f"expected {self._expected(layer)}. Received: shape={received}"
            )
        wanted = dtype_of(layer.options["dtype"])
        if wanted.kind == "U":
            return array
        if array.dtype == wanted and not is_float(array):
            return array
        if wanted.kind in "iu":
            limits = np.iinfo(wanted)
            outside = ~((array >= limits.min) & (array <= limits.max))  # NaN is outside
            if outside.any():
                raise DataError(
                    f"expected {self._expected(layer)} from {limits.min} to "
                    f"{limits.max}. Received: {array[outside][0]}"
                )
        with np.errstate(over="ignore"):
            if is_float(array):
                array = array.astype(dtype_of(self.floatx), copy=False)
            return array.astype(wanted, copy=False)

    def _expected(self, layer: LayerSpec) -> str:
        which = "" if len(self.spec.inputs) == 1 else f" '{printable(layer.name, 40)}'"
        return f"inputs{which} of shape {shape_text(layer.options['batch_shape'])}"

    def cast_to(self, dtype: str | None) -> LayerSpec:
        """Return the model with its weights in the dtype that it computes in.

        Raises
        ------
        DataError
            `dtype` is none of those that `predict` takes.
        """
        if dtype not in (None, "float32", "float64"):
            raise DataError(f"expected dtype float32 or float64. Received: {dtype}")
        return cast_to(self.spec.root, dtype)


def _called(
    run: Evaluation,
    layer: LayerSpec,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    dtype: str | None,
) -> Any:
    def given(leaf: Any) -> Any:
        return _anew(leaf, dtype)

    args, kwargs = map_structure(given, list(args)), map_structure(given, dict(kwargs))
    return run(layer, *args, at=name, **kwargs)


def _size(y: Array) -> float:
    """Return the greatest finite magnitude of an array, and at least 1."""
    return float(np.max(np.abs(y), where=np.isfinite(y), initial=1.0))


def _anew(leaf: Any, dtype: str | None) -> Any:
    """Return a copy of a tensor, because a layer may remove the mask of its input.

    Floats are cast to the dtype in which every layer is to compute, if there is one:
    some layers compute in the dtype of their input.
    """
    if not isinstance(leaf, Tensor):
        return leaf
    cast = dtype is not None and is_float(leaf.value)
    return Tensor(leaf.value.astype(dtype) if cast else leaf.value, leaf.mask)


def bare_path(path: str, spec: ModelSpec) -> str:
    """Return the path of a layer from its key in a trace: without a number such as :2.

    The name of a layer may itself end in ``:2``, so the key is looked up first.
    """
    try:
        spec.root.at(path)
    except KeyError:
        return path.rpartition(":")[0]
    return path
