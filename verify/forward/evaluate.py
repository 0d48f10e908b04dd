"""Call a layer as Keras does: cast its inputs, find its masks and pass them on.

`Evaluation` does the work of Keras's ``Layer.__call__``, so that a layer type holds its
own arithmetic only. It reproduces these rules of keras/src/layers/layer.py:

* floats are cast to the layer's compute dtype, whole numbers and masks are not;
* a layer whose ``call`` has a ``mask`` gets the mask of its *only* tensor argument;
  with a second tensor argument, such as ``initial_state``, it gets none, and only
  arguments called like ``query_mask`` are filled;
* the mask of the output is made from the given mask or else from that of the first
  argument, whether or not the layer itself was masked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from verify.errors import DataError, UnsupportedError, VerifyError, printable
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import LayerType, MergeSteps, Tensor
from verify.forward.outlines import outline_of
from verify.forward.recordable import is_array
from verify.forward.recurrence import KeepStep, TimeLoop
from verify.model.arrays import Array
from verify.model.backends import Rule, Rules
from verify.model.dtypes import POLICIES, dtype_of, is_float, rounded
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec
from verify.model.versions import VersionRule


class FastPath(NamedTuple):
    """Hold the faster replacements for the equations of some layers of a model.

    Attributes
    ----------
    loops : mapping of LayerSpec to TimeLoop
        The fast loops of recurrent layers.
    id_embeddings : set of LayerSpec
        Embeddings that return the ids themselves, because the loop after them looks
        the ids up in a table: the embedding already multiplied by the kernel.
    chain : callable, optional
        Evaluates the whole model, which is a chain of layers, for a block of rows; or
        returns None where `Evaluation` must.
    """

    loops: Mapping[LayerSpec, TimeLoop]
    id_embeddings: Set[LayerSpec]
    chain: Callable[[Array], Array | None] | None = None


EQUATIONS_ALONE = FastPath({}, frozenset())
"""No replacements: every layer is evaluated by its equations."""


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """Hold the input, mask and output of one call of a layer, its gates and states.

    Gates and states can be read as attributes and as keys: ``t["lstm"].f`` is
    ``t["lstm"]["f"]``.

    =======================  ======================================================
    layer                    values, each (batch, time, units) unless noted
    =======================  ======================================================
    SimpleRNN                ``h``
    LSTM, ConvLSTM           ``i f c_hat o c h``; ConvLSTM with its spatial axes
    GRU                      ``z r h_hat h``
    RNN of several cells     ``0/h``, ``0/c``, ``1/h``, ... and the gates likewise
    Dense                    ``logits`` (before the activation, shaped as output)
    =======================  ======================================================

    States (``h``, ``c``) are those after the step. The time axis is that of the input
    even if the layer goes backwards. Layers inside others have traces of their own:
    ``t["bidirectional/forward_layer"].f``.

    Attributes
    ----------
    layer : LayerSpec
        The layer that was called.
    input : ndarray
        The input of the layer; a structure of arrays if it takes several.
    output : ndarray
        The output of the layer; a structure of arrays if it returns several.
    mask : ndarray or None
        The mask that the layer received, (batch, time).
    values : mapping
        Gates, states and logits by name, as in the table.
    arguments : mapping
        What the layer's ``call`` was given, by name.
    carried : ndarray or None
        The mask of the tensor that the layer was called with, a structure of masks if
        it takes several. A model that casts the tensor may not have received it.
    """

    layer: LayerSpec
    input: Any
    mask: Any
    output: Any
    values: Mapping[str, Array] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    carried: Any = None

    def __getitem__(self, name: str) -> Array:
        if name in ("input", "output"):
            return getattr(self, name)
        try:
            return self.values[name]
        except KeyError:
            names = ", ".join(("input", *self.values, "output"))
            raise KeyError(
                f"{self.layer} has no '{printable(name)}'; it has {names}"
            ) from None

    def __getattr__(self, name: str) -> Array:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None


States = dict[str, tuple[Array, ...]]
"""Path of a stateful layer -> its states, (batch, units) each."""

NUMPY_ERRORS = (
    *(ValueError, IndexError, TypeError, MemoryError),
    *(AttributeError, KeyError, ArithmeticError),
)
"""Errors that NumPy raises if inputs, weights and config do not fit together."""


class Evaluation:
    """Evaluate a model once, from its inputs to its outputs.

    Parameters
    ----------
    states : dict, optional
        Path of a stateful layer -> the states it starts with. Each call replaces them
        by those that the layer ends with.
    recording : bool
        Whether to keep a `LayerTrace` of every call in `traces`.
    floatx : str
        Keras's default float type.
    fast : FastPath, optional
        Replacements from `verify.forward.fast`, which record nothing; by default every
        layer is evaluated by its equations.
    outlining : bool
        Whether shapes, dtypes and masks alone are wanted; see `outlines`. The loops
        over time then take two steps, however many there are.
    merge_steps : callable, optional
        Have TimeDistributed call its layer once, on the steps of all rows.

    Attributes
    ----------
    frees : bool
        Whether a model forgets tensors that no later layer reads.
    samples : int or None
        How many samples the whole model is evaluated on; None if a layer is called
        alone. An operation may fold other axes into that of the rows: there are then
        several rows for each sample, and those of the first sample come first.
    fixed_batch : int or None
        The batch size that the model fixes, if it does.
    """

    frees = False

    def __init__(
        self,
        states: States | None = None,
        *,
        recording: bool = False,
        floatx: str = "float32",
        fast: FastPath = EQUATIONS_ALONE,
        outlining: bool = False,
        merge_steps: MergeSteps | None = None,
    ) -> None:
        self.recording = recording
        self.floatx = floatx
        self.outlining = outlining
        self.merge_steps = merge_steps
        self.samples: int | None = None
        self.fixed_batch: int | None = None
        self.traces: dict[str, LayerTrace] = {}
        self._calls: Counter[str] = Counter()
        self._fast = fast
        self._states: States = {} if states is None else states
        self._path: list[str] = []
        self._values: list[dict[str, Array]] = []

    def __call__(self, layer: LayerSpec, *args: Any, at: str, **kwargs: Any) -> Any:
        """Call a layer as Keras's ``Layer.__call__`` does, on tensors.

        Parameters
        ----------
        layer : LayerSpec
        *args, **kwargs
            The arguments of Keras's ``call``: a `Tensor` in place of each tensor.
        at : str
            Name of this call in the paths of traces and states.

        Returns
        -------
        A structure of `Tensor`.
        """
        kind = REGISTRY[layer.class_name]
        if kwargs.get("training") is True:
            _refuse_training(layer)
        given, first, mask = arguments_and_mask(layer, kind, args, kwargs)
        if "use_mask" in layer.overrides:
            _replace_masks(kind, given, layer.overrides["use_mask"])
        compute = POLICIES[layer.policy].compute
        values = {
            key: map_structure(lambda leaf: _cast_input(leaf, kind, compute), value)
            for key, value in given.items()
        }
        for key in kind.strips_masks:
            strip_mask(given.get(key), compute)
        whole = not at and layer.graph is not None and not self._values
        if whole:
            self._begin(layer, first)
        carried = map_structure(mask_of, first) if self.recording else None
        output = self._run(layer, kind, values, at, mask, carried)
        if whole:
            self._require_unfolded(layer, output)
        if "pass_mask" in layer.overrides:
            passed = layer.overrides["pass_mask"]
            return map_structure(
                lambda leaf: Tensor(leaf.value, passed(mask, leaf)),
                self._finished(layer, kind, values[kind.arguments[0]], mask, output),
            )
        if _returned_input(layer, kind, first, values[kind.arguments[0]], output):
            return first
        return self._finished(layer, kind, values[kind.arguments[0]], mask, output)

    def _begin(self, model: LayerSpec, inputs: Any) -> None:
        """Learn how many samples there are, and how many the model wants."""
        assert model.graph is not None
        self.samples = len(value_of(flatten(inputs)[0]))
        entries = [model.sublayers[ref.layer] for ref in flatten(model.graph.inputs)]
        sizes = [entry.options["batch_shape"][0] for entry in entries]
        self.fixed_batch = next((size for size in sizes if size is not None), None)

    def _require_unfolded(self, model: LayerSpec, outputs: Any) -> None:
        """Raise UnsupportedError if an output has not one row for each sample."""
        for output in map(value_of, flatten(outputs)):
            if self.samples and len(output) % self.samples == 0 < len(output):
                rows = len(output) // self.samples
                if rows > 1:
                    raise UnsupportedError(
                        f"{model}: an output has {rows} rows for each sample, because "
                        "an operation folds other axes into that of the batch; it is "
                        "read if another one unfolds them again before the output"
                    )

    def within(
        self, layer: LayerSpec, *args: Any, at: str, mask: Array | None = None
    ) -> Any:
        """Run a layer's ``call`` alone, on arrays: no casts, and no masks passed on.

        The mask is given to the layer if its ``call`` has such an argument.
        """
        kind = REGISTRY[layer.class_name]
        values = bind_arguments(layer, kind, args, {})
        if mask is not None and "mask" in kind.arguments:
            values["mask"] = mask
        output = self._run(layer, kind, values, at, values.get("mask"))
        return map_structure(value_of, output)

    def note(self, **values: Array) -> None:
        """Add values to the trace of the layer that is being called."""
        if self.recording:
            self._values[-1].update(values)

    def keep_steps(self) -> bool | KeepStep:
        """Return what the loop over time of the layer being called is to record."""
        return self.recording

    def windows(self, layer: LayerSpec, time: int, rows: int) -> Iterator[slice] | None:
        """Return None: TimeDistributed calls its layer on one step at a time."""
        return None

    def states(self) -> tuple[Array, ...] | None:
        """Return the states that the layer being called ended with the last time."""
        return self._states.get("/".join(self._path))

    def keep_states(self, states: tuple[Array, ...]) -> None:
        """Keep states for the next call of the layer that is being called."""
        self._states["/".join(self._path)] = states

    def loop(self, layer: LayerSpec) -> TimeLoop | None:
        """Return the fast loop over time of a recurrent layer, if there is one."""
        return self._fast.loops.get(layer)

    def passes_ids_on(self, layer: LayerSpec) -> bool:
        """Return whether an Embedding must return the ids, for a loop with a table."""
        return layer in self._fast.id_embeddings

    def _run(
        self,
        layer: LayerSpec,
        kind: LayerType,
        values: dict[str, Any],
        at: str,
        mask: Any,
        carried: Any = None,
    ) -> Any:
        if at:
            self._path.append(at)
        self._values.append({})
        try:
            # the outermost call sets NumPy's error state for all calls inside it
            with _ignore_overflow() if len(self._values) == 1 else _UNCHANGED:
                output = (
                    layer.overrides["call"](self, layer, values, mask)
                    if "call" in layer.overrides
                    else kind.call(self, layer, **values)
                )
                if self.outlining:
                    output = map_structure(_outline_of, output)
        except NUMPY_ERRORS as error:
            if isinstance(error, VerifyError):
                raise
            received = map_structure(_shape_of, values[kind.arguments[0]])
            raise DataError(
                f"{layer}: expected inputs that its config and weights allow. "
                f"Received: {printable(received)} ({error})"
            ) from error
        finally:
            path = "/".join(self._path) if self.recording else ""
            if at:
                self._path.pop()
            noted = self._values.pop()
        if self.recording:
            self.keep_trace(
                self._free_key(path),
                LayerTrace(
                    layer,
                    map_structure(value_of, values[kind.arguments[0]]),
                    mask,
                    map_structure(value_of, output),
                    noted,
                    dict(values),
                    carried,
                ),
            )
        return output

    def keep_trace(self, key: str, trace: LayerTrace) -> None:
        """Keep what was recorded of one call."""
        self.traces[key] = trace

    def _key(self, path: str) -> str:
        """Return a key for the next call of a layer: ``lstm``, then ``lstm:2``."""
        count = self._calls[path]
        while True:
            count += 1
            key = path if count == 1 else f"{path}:{count}"
            if key not in self.traces:  # a layer may itself be called ``lstm:2``
                return key

    def _free_key(self, path: str) -> str:
        """Return a key for this call of a layer, and count the call."""
        key = self._key(path)
        self._calls[path] += 1
        return key

    def _finished(
        self, layer: LayerSpec, kind: LayerType, inputs: Any, mask: Any, output: Any
    ) -> Any:
        """Return the outputs as tensors, cast to their dtype and with their masks."""
        if kind.casts_outputs:
            compute = POLICIES[layer.policy].compute
            output = map_structure(lambda leaf: _cast_output(leaf, compute), output)
        tensors = map_structure(_as_tensor, output)
        if not kind.passes_masks(layer):
            return tensors
        flat = flatten(tensors)
        if all(tensor.mask is not None for tensor in flat):
            return tensors
        try:
            masks = kind.compute_mask(layer, map_structure(value_of, inputs), mask)
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{layer}: expected masks that fit the inputs. Received: "
                f"{printable(map_structure(_shape_of, mask))} ({error})"
            ) from error
        for tensor, found in zip(flat, flatten(masks), strict=False):
            if tensor.mask is None and found is not None:
                tensor.mask = found
        return tensors


_UNCHANGED = nullcontext()


def _ignore_overflow() -> np.errstate:
    """Have NumPy compute overflows without a warning, as Keras does."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def _refuse_training(layer: LayerSpec) -> None:
    """Raise UnsupportedError if predict follows training=True in a call of a layer."""
    if VersionRule.TRAINING_ARGUMENT_HOLDS in layer.version_rules:
        raise UnsupportedError(
            f"{layer} is called with training=True: from Keras 3.16 on predict, too, "
            "computes it as in training, which is not supported. Call it without the "
            "argument, or give keras='3.15' (--keras 3.15) for what 3.15 predicts"
        )


def bind_arguments(
    layer: LayerSpec, kind: LayerType, args: Any, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call that are not None, by name."""
    if layer.unread:
        raise UnsupportedError(f"{layer}: {layer.unread}")
    named = {k: v for k, v in kwargs.items() if k != "training"}
    unknown = sorted(named.keys() - set(kind.arguments)) if named else []
    if unknown or len(args) > len(kind.arguments):
        found = unknown[0] if unknown else f"{len(args)} arguments"
        raise DataError(
            f"{layer}: expected a call with {', '.join(kind.arguments)}. "
            f"Received: {found}"
        )
    given = kind.by_name(args, named)
    if kind.arguments[0] not in given:
        raise DataError(f"{layer}: expected a call with {kind.arguments[0]}")
    return given


def arguments_and_mask(
    layer: LayerSpec, kind: LayerType, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], Any, Any]:
    """Return what a call gives to a layer, with the masks that Keras fills in.

    Returns
    -------
    given : dict
        Name of an argument -> what it is given.
    first : structure
        The first argument.
    mask : structure
        The mask that the layer passes on: the one it is given, or that of `first`.
    """
    given = bind_arguments(layer, kind, args, kwargs)
    for name in kind.masks_from_tensor:
        given.pop(name, None)
    fill_masks(kind, given)
    first = given[kind.arguments[0]]
    mask = map_structure(value_of, given.get("mask"))
    if mask is None:
        mask = map_structure(mask_of, first)
    return given, first, mask


def fill_masks(kind: LayerType, given: dict[str, Any]) -> None:
    """Add the mask arguments that Keras finds itself; see the module's docstring."""
    tensors = {k: v for k, v in given.items() if _is_tensor_argument(v)}
    if len(tensors) == 1:
        if "mask" in kind.arguments and "mask" not in given:
            (only,) = tensors.values()
            mask = map_structure(mask_of, only)
            if any(leaf is not None for leaf in flatten(mask)):
                given["mask"] = mask
    else:
        for key, value in tensors.items():
            name = f"{key}_mask"
            if name in kind.arguments and name not in given:
                mask = map_structure(mask_of, value)
                if mask is not None:
                    given[name] = mask


def _replace_masks(
    kind: LayerType, given: dict[str, Any], change: Callable[[str, Any], Any]
) -> None:
    """Have a layer use other masks than it receives; what it passes on stays.

    Parameters
    ----------
    kind : LayerType
    given : dict
        The arguments of the call.
    change : callable
        Name of a mask argument and its value -> the value to use; None for no mask.
    """
    for name in kind.mask_arguments & given.keys():
        value = change(name, map_structure(value_of, given.pop(name)))
        if value is not None:
            given[name] = value


def _is_tensor_argument(value: Any) -> bool:
    """Return whether Keras counts an argument as a tensor argument."""
    if isinstance(value, Tensor):
        return True
    leaves = flatten(value)
    return bool(leaves) and all(
        leaf is None or isinstance(leaf, Tensor) or is_array(leaf) for leaf in leaves
    )


def strip_mask(leaf: Any, compute: str) -> None:
    """Remove the mask in place, as Keras does.

    If Keras casts the input, it removes the mask of the copy; the original keeps its
    own.
    """
    if isinstance(leaf, Tensor) and (
        not is_float(leaf.value) or leaf.value.dtype == dtype_of(compute)
    ):
        leaf.mask = None


def _returned_input(
    layer: LayerSpec, kind: LayerType, first: Any, entered: Any, output: Any
) -> bool:
    """Return whether Keras returns the input tensor object itself; see `LayerType`.

    NumPy returns a view of the same memory in those cases, which is what is compared.
    """
    if not isinstance(first, Tensor) or not hands_on(kind.returns_input, layer.rules):
        return False
    if layer.options.get("ends_mask"):  # it casts, unless all has been made float64
        return False
    x, y = value_of(entered), value_of(output)
    compute = POLICIES[layer.policy].compute
    if kind.autocast and is_float(x) and first.value.dtype != dtype_of(compute):
        return False  # Keras casts the input, so the output is another tensor
    # recorded values have arrays of their own
    x, y = (one if isinstance(one, np.ndarray) else one.value for one in (x, y))
    return (
        x.dtype == y.dtype
        and x.shape == y.shape
        and x.strides == y.strides
        and x.__array_interface__["data"] == y.__array_interface__["data"]
    )


def hands_on(what: str, rules: Rules) -> bool:
    """Return whether Keras returns its input where nothing changes; see `LayerType`."""
    if what == "cast":
        return Rule.CAST_ENDS_MASK not in rules
    if what == "swap":
        return Rule.SWAP_ENDS_MASK not in rules
    if what == "always":
        return True
    return what == "by rule" and Rule.UNCHANGED_KEEPS_MASK in rules


def _cast_input(leaf: Any, kind: LayerType, compute: str) -> Any:
    if kind.raw_tensors:
        return leaf
    value = value_of(leaf)
    if not kind.autocast or not isinstance(value, np.ndarray):
        return value
    return rounded(value, compute)


def _cast_output(leaf: Any, compute: str) -> Any:
    """Round an output to the dtype in which Keras returns it."""
    value = value_of(leaf)
    to = dtype_of(compute)
    if value.dtype == to or not is_float(value):
        return leaf
    with np.errstate(over="ignore"):
        value = value.astype(to)
    return Tensor(value, leaf.mask) if isinstance(leaf, Tensor) else value


def _as_tensor(leaf: Any) -> Tensor:
    return leaf if isinstance(leaf, Tensor) else Tensor(leaf)


def _outline_of(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return Tensor(outline_of(leaf.value), leaf.mask)
    return outline_of(leaf)


def value_of(leaf: Any) -> Any:
    """Return the value of a tensor; anything else as it is."""
    return leaf.value if isinstance(leaf, Tensor) else leaf


def mask_of(leaf: Any) -> Any:
    """Return the mask of a tensor, or None."""
    return leaf.mask if isinstance(leaf, Tensor) else None


def _shape_of(leaf: Any) -> Any:
    leaf = value_of(leaf)
    return leaf.shape if isinstance(leaf, np.ndarray) else leaf


def cast_to(layer: LayerSpec, dtype: str | None = None) -> LayerSpec:
    """Return a layer with its weights in the dtype that it computes in.

    Parameters
    ----------
    layer : LayerSpec
        Its sublayers are cast too.
    dtype : "float32", "float64" or None
        The dtype of every layer, whatever its policy. With None each layer keeps its
        policy, and the weights of 16-bit layers are rounded to 16 bits.
    """

    known = _CAST.setdefault(layer, {})
    if dtype not in known:
        inside = {k: cast_to(x, dtype) for k, x in layer.sublayers.items()}
        known[dtype] = _cast(replace(layer, sublayers=inside), dtype)
    return known[dtype]


_CAST: WeakKeyDictionary[LayerSpec, dict[str | None, LayerSpec]] = WeakKeyDictionary()
"""Layers that have been cast, so that two models that share layers cast them once. A
model with a planted mistake shares all layers but one with the original."""


def _cast(layer: LayerSpec, dtype: str | None) -> LayerSpec:
    kind = REGISTRY[layer.class_name]
    policy = layer.policy if dtype is None else dtype
    to = POLICIES[policy].variable if kind.full_precision else None
    to = to or POLICIES[policy].compute
    options = dict(layer.options)
    for key in ("dtype", "reverse_dtype"):
        if dtype is not None and options.get(key) in POLICIES:
            options[key] = dtype
    weights = {
        key: rounded(value, to) if is_float(value) else value
        for key, value in layer.weights.items()
    }
    return replace(layer, policy=policy, weights=weights, options=options)
