"""Turn the operations of TensorFlow in a graph of Keras 2 into those of Keras 3.

In a Functional model of Keras 2, ``x[:, -1]``, ``a + b`` and ``tf.reduce_mean(x, 1)``
are layers of the classes SlicingOpLambda and TFOpLambda. Their config holds the name of
a function of TensorFlow, and the calls hold its arguments. Each call becomes one raw
operation of Keras 3 or a chain of them; `verify.model_files.tensorflow_functions` says
which. The last operation of a chain keeps the name of the layer, and the names of the
others begin with it.

A function that has no equivalent stays what it is: an entry of the same class, whose
config has the `REASON`. So the reader refuses that one layer, and can still describe
the others.

Keras 2 gives the results of these layers no mask. Only where TensorFlow returns the
very tensor that it was given, as ``tf.cast`` to the same dtype does, is the mask still
there; Keras 3 does the same.

Source: tf.keras 2.4 to 2.15 and tf_keras 2.21, keras/layers/core/tf_op_layer.py and
keras/engine/node.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verify.errors import printable
from verify.model.dtypes import POLICIES
from verify.model_files.operation_emitter import (
    Emitter,
    FoldedRows,
    Program,
    Refused,
    ShapeOf,
    SizeOf,
    is_tensor,
    made_dtype,
    tensors_behind,
)
from verify.model_files.tensorflow_functions import FUNCTIONS
from verify.model_files.tensorflow_nodes import read_node

NODE_CLASS = "TensorFlowOpLayer"
"""The class of tf.keras 2.0 to 2.3; see `verify.model_files.tensorflow_nodes`."""

OPERATION_CLASSES = (
    *("TFOpLambda", "SlicingOpLambda", NODE_CLASS),
    *("ClassMethod", "InstanceMethod", "InstanceProperty"),
)
REASON = "refused_because"
"""Key in the config of an operation that cannot be read: the reason."""

MODEL_CLASSES = ("Sequential", "Functional")
KEEPING_DTYPE = frozenset(
    {"Activation", "Add", "Average", "Concatenate", "Cropping1D", "Dropout", "Flatten"}
    | {"Masking", "Maximum", "Minimum", "Multiply", "Permute", "RepeatVector"}
    | {"Reshape", "SpatialDropout1D", "Subtract", "UpSampling1D", "ZeroPadding1D"}
)
"""Layers that return whole numbers if they are given whole numbers."""

ANSWER = "build the model with a layer of Keras instead, and save it again"


def expand_operations(
    config: Mapping[str, Any], layers: Sequence[Any]
) -> tuple[dict[str, Any], list[Any], list[str]]:
    """Replace the operations of TensorFlow in a Functional model of Keras 2.

    Parameters
    ----------
    config : mapping
        The config of the model.
    layers : sequence
        Its layers in Keras 3's form, but the operations as Keras 2 wrote them.

    Returns
    -------
    config : dict
        The config, with the outputs renamed.
    layers : list
        The layers, with the operations of Keras 3.
    notes : list of str
        A sentence about what was replaced, if anything was.
    """
    if not any(map(is_operation, layers)):
        return dict(config), list(layers), []
    graph = _Graph(layers)
    made = graph.expanded()
    read = sorted(graph.read)
    notes = []
    if read:
        listed = ", ".join(read[:6]) + (" and others" if len(read) > 6 else "")
        notes.append(f"operations of TensorFlow are read as those of Keras 3: {listed}")
    outputs = graph.renamed_outputs(config.get("output_layers"))
    return {**config, "output_layers": outputs}, made, notes


def is_operation(entry: Any) -> bool:
    """Return whether an entry of a config is an operation of TensorFlow."""
    return isinstance(entry, Mapping) and entry.get("class_name") in OPERATION_CLASSES


Place = tuple[str, int, int]
"""A tensor of a graph: the layer, the number of its call, the number of the output."""


@dataclass
class _Graph:
    """Hold the layers of a model, and what its operations have become."""

    layers: Sequence[Any]
    names: dict[str, Any] = field(init=False)
    values: dict[Place, Any] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.names = {_name(x): x for x in self.layers if isinstance(x, Mapping)}

    def expanded(self) -> list[Any]:
        """Return the layers with operations of Keras 3."""
        made: dict[str, list[Any]] = {}
        pending = [(_name(x), x) for x in self.layers if is_operation(x)]
        while pending:
            ready = [(n, x) for n, x in pending if self._is_ready(x)]
            for name, entry in ready or pending[:1]:
                made[name] = self._operation(name, entry)
            done = {name for name, _ in ready or pending[:1]}
            pending = [(n, x) for n, x in pending if n not in done]
        found: list[Any] = []
        for entry in self.layers:
            if is_operation(entry):
                found += made[_name(entry)]
            else:
                found.append(self._renamed(entry))
        return found

    def _is_ready(self, entry: Mapping[str, Any]) -> bool:
        """Return whether the operations that an operation needs are expanded."""
        needed = (
            place
            for node in entry.get("inbound_nodes", [])
            for place in self._places(node)
        )
        return all(
            place in self.values
            for place in needed
            if is_operation(self.names[place[0]])
        )

    def _places(self, item: Any) -> list[Place]:
        if self._is_place(item):
            inside = [p for part in item[3:] for p in self._places(part)]
            return [(item[0], item[1], item[2]), *inside]
        parts: Any = item.values() if isinstance(item, Mapping) else ()
        parts = item if isinstance(item, list) else parts
        return [place for part in parts for place in self._places(part)]

    def _is_place(self, item: Any) -> bool:
        return (
            isinstance(item, list)
            and len(item) in (3, 4)
            and isinstance(item[0], str)
            and item[0] in self.names
            and all(type(k) is int for k in item[1:3])
        )

    def _operation(self, name: str, entry: Mapping[str, Any]) -> list[Any]:
        """Return the operations of Keras 3 for all calls of one of TensorFlow."""
        nodes = entry.get("inbound_nodes")
        made: list[Any] = []
        taken = set(self.names)
        for k, node in enumerate(nodes if isinstance(nodes, list) else []):
            called = name if k == 0 else f"{name}.call_{k}"
            emitter = Emitter(called, self.dtype, self.rank, taken)
            config = entry["config"]
            function = str(config.get("function", entry["class_name"]))
            try:
                first, arguments = self._call(node)
                if entry["class_name"] == NODE_CLASS:
                    function = _name_of_node(config)
                    tensors = first if isinstance(first, list) else [first]
                    function, read, first, arguments = read_node(config, tensors)
                else:
                    read = _function(function)
                results = _evaluate(emitter, read, first, arguments)
            except (Refused, *MALFORMED) as refusal:
                known = isinstance(refusal, Refused)
                reason = str(refusal) if known else "its call cannot be read"
                made.append(_refused(called, entry, function, reason))
                given = [x for p in self._places(node) for x in self._tensors_at(p)]
                made[-1]["inbound_nodes"] = [{"args": given, "kwargs": {}}]
                results = [_tensor((called, 0, j)) for j in range(_MOST_OUTPUTS)]
            else:
                made += emitter.entries
                self.read.add(function)
            for j, value in enumerate(results):
                self.values[name, k, j] = value
        return made

    def _call(self, node: Any) -> tuple[Any, dict[str, Any]]:
        """Return the first argument of a call, and the others by name."""
        if not isinstance(node, list) or not node:
            raise Refused("its call cannot be read")
        single = isinstance(node[0], str)
        items = [node] if single else node
        first, arguments = [], {}
        for item in items:
            if not isinstance(item, list) or len(item) < 3:
                raise Refused("its call cannot be read")
            constant = item[0] == "_CONSTANT_VALUE"
            first.append(item[2] if constant else self._value(item[:3]))
            if len(item) > 3 and isinstance(item[3], Mapping):
                arguments = {k: self._value(v) for k, v in item[3].items()}
        return (first[0] if single else first), arguments

    def _value(self, item: Any) -> Any:
        """Return an argument of a call, with values in place of tensors."""
        if self._is_place(item):
            return self._resolved(tuple(item[:3]))
        if isinstance(item, list):
            if len(item) >= 3 and item[0] == "_CONSTANT_VALUE":
                return item[2]
            return [self._value(part) for part in item]
        if isinstance(item, Mapping):
            return {key: self._value(part) for key, part in item.items()}
        return item

    def _resolved(self, place: Any) -> Any:
        if is_operation(self.names[place[0]]):
            if place not in self.values:
                raise Refused(f"there is no tensor {printable(list(place))}")
            return self.values[place]
        model = self.names[place[0]].get("class_name") in MODEL_CLASSES
        return _tensor((place[0], place[1] - model, place[2]))

    def _tensors_at(self, place: Place) -> list[Any]:
        """Return the tensor at a place, or those whose shape stands there."""
        try:
            return tensors_behind(self._resolved(place))
        except Refused:
            return [_tensor(place)]

    def _renamed(self, item: Any) -> Any:
        """Return an entry whose calls refer to the new operations."""
        if is_tensor(item):
            value = self.values.get(_place(item), item)
            if is_tensor(value):
                return {**item, "config": value["config"]}
            return _as_constant(value)
        if isinstance(item, Mapping):
            return {key: self._renamed(part) for key, part in item.items()}
        return [self._renamed(x) for x in item] if isinstance(item, list) else item

    def renamed_outputs(self, item: Any) -> Any:
        """Return the outputs of the model, naming the new operations."""
        if self._is_place(item) and len(item) == 3:
            value: Any = self.values.get((item[0], item[1], item[2]))
            return list(value["config"]["keras_history"]) if is_tensor(value) else item
        if isinstance(item, Mapping):
            return {key: self.renamed_outputs(part) for key, part in item.items()}
        if isinstance(item, list):
            return [self.renamed_outputs(part) for part in item]
        return item

    def dtype(self, tensor: Any) -> str:
        """Return the dtype of a tensor that a layer returns."""
        name = tensor["config"]["keras_history"][0]
        for _ in range(len(self.names) + 1):
            entry = self.names.get(name)
            if entry is None:
                return "float32"
            config = entry.get("config", {})
            if entry.get("class_name") == "InputLayer":
                return str(config.get("dtype", "float32"))
            before = _first_input(entry)
            if entry.get("class_name") not in KEEPING_DTYPE or before is None:
                return _compute_dtype(config.get("dtype", "float32"))
            known = made_dtype(self.values.get(before))
            if known is not None:
                return known
            name = before[0]
        return "float32"

    def rank(self, tensor: Any) -> int | None:
        """Return the number of axes of a tensor that a layer returns, if it is known.

        It is, behind inputs of the model, for recurrent layers, embeddings and layers
        that keep the axes.
        """
        name, _, number = tensor["config"]["keras_history"]
        more = 0
        for _ in range(len(self.names) + 1):
            entry = self.names.get(name, {})
            config, kind = entry.get("config", {}), entry.get("class_name")
            if kind == "InputLayer":
                shape = config.get("batch_shape")
                return len(shape) + more if isinstance(shape, list) else None
            if kind in RECURRENT and number == 0:
                return more + (3 if config.get("return_sequences") else 2)
            before = _first_input(entry) if entry else None
            if before is None or kind not in KEEPING_AXES | {"Embedding"}:
                return None
            (name, _, number), more = before, more + (kind == "Embedding")
        return None


RECURRENT = frozenset({"SimpleRNN", "LSTM", "GRU"})
"""Layers whose first output has an axis of time if they return sequences."""

KEEPING_AXES = frozenset(
    {"Dense", "Dropout", "SpatialDropout1D", "LayerNormalization", "Activation"}
    | {"BatchNormalization", "Masking", "ReLU", "LeakyReLU", "Conv1D", "Softmax"}
)
"""Layers whose output has as many axes as their input."""


MALFORMED = (TypeError, ValueError, KeyError, IndexError, AttributeError)
"""What a call raises whose arguments have forms that Keras never writes."""

_MOST_OUTPUTS = 32
"""Outputs of a refused operation to which a graph may refer."""


def _function(name: str) -> Program:
    """Return the program of a function of TensorFlow."""
    read = FUNCTIONS.get(name.removeprefix("compat.v1."))
    if read is None:
        raise Refused("")
    return read


def _name_of_node(config: Mapping[str, Any]) -> str:
    node = config.get("node_def")
    return str(node.get("op")) if isinstance(node, Mapping) else NODE_CLASS


def _evaluate(
    emitter: Emitter, read: Program, first: Any, arguments: dict[str, Any]
) -> list[Any]:
    """Return the results of a function of TensorFlow, as tensors or shapes."""
    results = emitter.finished(read, first, arguments)
    known = (ShapeOf, SizeOf, FoldedRows, int, float, list)
    if not all(is_tensor(value) or isinstance(value, known) for value in results):
        raise Refused("its result is no tensor")
    return results


def _refused(
    name: str, entry: Mapping[str, Any], function: str, reason: str
) -> dict[str, Any]:
    shown = f"the function tf.{printable(function, 60)}"
    if entry["class_name"] == NODE_CLASS:
        shown = f"the operation {printable(function, 60)}"
    because = f": {reason}" if reason else ""
    text = f"{shown} of TensorFlow is not supported{because}. To go on, {ANSWER}"
    return {
        "module": "keras.layers",
        "registered_name": None,
        "class_name": entry["class_name"],
        "name": name,
        "config": {"name": name, "function": function, REASON: text},
    }


def _name(entry: Mapping[str, Any]) -> str:
    config = entry.get("config")
    inner = config.get("name") if isinstance(config, Mapping) else None
    return str(entry.get("name", inner))


def _tensor(place: Sequence[Any]) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": list(place)}}


def _place(tensor: Mapping[str, Any]) -> Place:
    layer, node, number = tensor["config"]["keras_history"]
    return layer, node, number


def _as_constant(value: Any) -> Any:
    """Return a shape that a layer is given in place of a tensor, for a refusal."""
    return {"class_name": "shape of a tensor", "config": {"value": printable(value)}}


def _first_input(entry: Mapping[str, Any]) -> Place | None:
    nodes = entry.get("inbound_nodes")
    found: Any = nodes
    while isinstance(found, (list, Mapping)) and not is_tensor(found):
        if isinstance(found, Mapping):
            found = found.get("args")
        else:
            found = found[0] if found else None
    if not is_tensor(found):
        return None
    return _place(found)


def _compute_dtype(policy: Any) -> str:
    if isinstance(policy, Mapping):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, Mapping) else None
    return POLICIES[policy].compute if policy in POLICIES else "float32"
