"""Evaluate a ModelSpec in NumPy: its outputs, or every gate and state as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.evaluate import (
    EQUATIONS_ALONE,
    Evaluation,
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
from verify.forward.preparing import names_of_inputs, prepared, separated
from verify.forward.trace import Trace, bare_path
from verify.model.arguments import typed
from verify.model.arrays import Array
from verify.model.backends import SEEN_IN_FLOAT32, Rule
from verify.model.dtypes import is_float
from verify.model.graph import TensorRef, call_names, flatten, map_structure
from verify.model.spec import LayerSpec, ModelSpec
from verify.model.versions import REFERENCE, VersionRule

KERAS_BATCH = 32
"""Rows of a batch of ``model.predict``. They matter where texts are filled up to the
longest of their batch."""

RULE_NOISE: Mapping[str, float] = {"float64": 1e-12, "float32": 1e-4}
"""Dtype -> the share of the greatest output up to which a rule's effect is rounding."""


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
        self._rows_of_a_sample: int | None = None  # in the layer that has most

    def __repr__(self) -> str:
        names = ", ".join(layer.class_name for layer in self.spec)
        return f"<verify.Network {self.spec.name}: {names}>"

    @typed
    def on(self, backend: str) -> Network:
        """Return the same network by the rules of another backend; see `load`."""
        return Network(self.spec.on(backend), self.floatx)

    def by_version(self, rules: frozenset[VersionRule]) -> Network:
        """Return the same network by the rules of another version of Keras."""
        return Network(self.spec.by_version(rules), self.floatx)

    def rule_effects(
        self, x: Inputs, by_reference: Sequence[Array] | None = None
    ) -> dict[Rule | VersionRule, float]:
        """Return how much each rule of backend and version changes the outputs.

        Parameters
        ----------
        x : Inputs
        by_reference : list of (batch, ...), optional
            The outputs in float64 by the rules of the version `REFERENCE`, if they are
            known.

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

        def outputs(net: Network, dtype: str) -> list[Array]:
            # float32 is rounded as the equations round it
            return net.flat(x, dtype=dtype, fast=dtype == "float64", of_rows=0)

        here = {"float64": outputs(self, "float64")}
        size = max((_size(y) for y in here["float64"]), default=1.0)

        def effect(
            other: ModelSpec,
            dtype: str = "float64",
            there: Sequence[Array] | None = None,
        ) -> float:
            """Return how far the outputs move; 0 if rounding moves them as far."""
            if dtype not in here:
                here[dtype] = outputs(self, dtype)
            if there is None:
                there = outputs(Network(other, self.floatx), dtype)
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
            tried = set(kind)
            try:
                moved = effect(spec.following(rules - tried), dtype) if tried else 0.0
            except UnsupportedError:  # without this one Keras cannot run the model
                tried.discard(Rule.MASK_HOLDS_STEPS)
                moved = effect(spec.following(rules - tried), dtype)
            if moved:
                for rule in (rule for rule in Rule if rule in tried):
                    found[rule] = effect(spec.following(rules - {rule}), dtype)
        if later and (moved := effect(spec.by_version(REFERENCE), there=by_reference)):
            for one in (one for one in VersionRule if one in later):
                others = later - {one}
                found[one] = (
                    moved if others == REFERENCE else effect(spec.by_version(others))
                )
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
        of the layers that the outputs come from; ``lstm:2`` comes from the second call
        of a layer of which several calls are outputs.
        """
        graph = self.spec.root.graph
        outputs = graph.outputs if graph is not None else []
        if isinstance(outputs, Mapping):
            return [
                f"{key}.{k}" if k else str(key)
                for key, inside in outputs.items()
                for k, _ in enumerate(flatten(inside))
            ]
        refs = [ref for ref in flatten(outputs) if isinstance(ref, TensorRef)]
        names = [str(ref.layer) for ref in refs]
        if graph is not None and len({ref.place[::2] for ref in refs}) < len(refs):
            calls = call_names(graph)  # a layer is called several times
            names = [calls.get((r.layer, r.node), r.layer) for r in refs]
        return [
            f"{name}.{ref.tensor}" if ref.tensor else name
            for name, ref in zip(names, refs, strict=True)
        ]

    @property
    def input_names(self) -> list[str]:
        """Return the names of the inputs, in the order of `Inputs`.

        They are the keys of the dict if the model takes one that holds arrays alone,
        and otherwise the names of its InputLayers.
        """
        return names_of_inputs(self.spec)

    @typed
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
        of_rows: int | None = None,
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
        of_rows : int, optional
            Of how many rows, evaluated one batch after the other, these are a batch.
            With `fast` the outputs are then the same to the last digit, whatever was
            evaluated before. With 0 nothing is computed beforehand that pays over many
            rows alone.

        Returns
        -------
        list of (batch, ...)
        """
        root = self.cast_to(dtype)
        ids = sum(array.size for array in x)  # at most this many ids are looked up
        if of_rows is not None:
            ids = ids // max(x.rows, 1) * of_rows
        path = EQUATIONS_ALONE
        if fast:
            path = compiled(root, ids, in_all=of_rows is not None)
        if path.chain is not None and x.rows == 1 and thread_count(threads) > 1:
            y = path.chain(x[0])  # there is nothing to share out
            if y is not None:
                return [y]
        blocks = self.row_blocks(x, dtype)
        states = {} if states is None else states
        begun = dict(states)
        floatx = dtype or self.floatx

        def evaluate(rows: slice) -> list[Array]:
            y = None if path.chain is None else path.chain(x[0][rows])
            if y is not None:
                return [y]
            if Rule.PREDICT_FORGETS_STATES in root.rules:
                states.clear()
                states.update(begun)
            run = Evaluation(
                states if self.stateful else None, floatx=floatx, fast=path
            )
            run.frees = True
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
        if self._rows_of_a_sample is None:
            self._rows_of_a_sample = max([1, *self.folded_arrays(x).values()])
        steps *= self._rows_of_a_sample
        return row_blocks_for(self.cast_to(dtype), steps, self.spec.batch_size)

    @typed
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

    def folded_arrays(self, x: Inputs) -> dict[str, int]:
        """Return which arrays of a trace have several rows for each sample.

        They do where an operation folds other axes into that of the rows.

        Returns
        -------
        dict
            Name as in `Trace.arrays` -> how many rows.
        """
        if all(layer.class_name != "ops.Reshape" for _, layer in self.spec.walk()):
            return {}
        few = self.spec.batch_size or 1
        # what has no rows at all is as long for twice as many samples
        once, twice = (
            self.outline(x.take(np.arange(n) % x.rows), dtype="float64").arrays()
            for n in (few, 2 * few)
        )
        return {
            name: len(array) // few
            for name, array in once.items()
            if array.ndim
            and len(twice[name]) == 2 * len(array)
            and len(array) % few == 0
            and len(array) > few
        }

    def row_counts(self, x: Inputs) -> frozenset[int]:
        """Return how many rows the layers are given for these inputs together."""
        return frozenset(x.rows * n for n in {1, *self.folded_arrays(x).values()})

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
        fast: bool = False,
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
        fast : bool
            Whether to use the loops of `verify.forward.fast`, as for `flat`.

        Returns
        -------
        list of (batch, ...)
        """
        root = self.cast_to(dtype)
        layer = root.at(name)
        if every_step:
            layer = layer.with_options(return_sequences=True, return_state=False)
        path = compiled(root, None) if fast else EQUATIONS_ALONE
        run = Evaluation(states, floatx=dtype or self.floatx, fast=path)
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
        return prepared(self.spec, x, self.floatx)

    def separate(self, x: Any) -> list[Array]:
        """Return one array of numbers for each input, without checking their shapes.

        Raises
        ------
        DataError
            The number or the names of the inputs are not the model's, or an input is
            not made of numbers.
        """
        return separated(self.spec, x)

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
