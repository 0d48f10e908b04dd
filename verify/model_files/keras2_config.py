"""Upgrade configs that Keras 2 wrote, or that Keras 3 wrote into ``.h5``.

`upgrade_config` turns an old config into the form of Keras 3, and describes in
sentences what that changed. Some settings mean something else in Keras 3 than in
Keras 2; the caller chooses the meaning:

=======================  ==============================  ============================
setting                  Keras 2                         Keras 3
=======================  ==============================  ============================
``hard_sigmoid``         ``clip(0.2 * x + 0.5, 0, 1)``   ``clip(x / 6 + 0.5, 0, 1)``
GRU, no ``reset_after``  ``False``                       ``True``
RNN with states given    its mask is applied             its mask is ignored
Add, Concatenate, ...    masked if any input is          masked if all inputs are
=======================  ==============================  ============================

Sources: keras 2.2.5 and tf.keras 2.15, keras/engine/network.py,
keras/engine/saving.py, keras/layers/recurrent.py; Keras 3.15,
keras/src/legacy/saving/legacy_h5_format.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verify.errors import ModelFileError, UnsupportedError, join_and, printable
from verify.forward.layers import ALIASES, REGISTRY
from verify.model.dtypes import POLICIES
from verify.model.spec import UNREAD
from verify.model_files.classes import MODEL_MODULES, holds_operations
from verify.model_files.keras2_operations import expand_operations, is_operation
from verify.model_files.plain_values import plain

KERAS2, KERAS3 = "keras2", "keras3"
SEMANTICS = (KERAS2, KERAS3)
MODEL_CLASSES = ("Sequential", "Functional", "Model")
CUDNN_CLASSES = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
RENAMED_CLASSES = {
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
}
"""Classes of Keras 2 that Keras 3 lacks -> the class that computes the same."""

RECURRENT_CLASSES = ("SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM2D")
MERGING_CLASSES = (
    *("Add", "Subtract", "Multiply", "Average"),
    *("Maximum", "Minimum", "Concatenate"),
)
_KERNEL_OPTIONS = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
DROPPED_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "Softmax": ("robust_masking",),
    "MultiHeadAttention": (
        *("query_shape", "key_shape", "value_shape"),
        "softmax_robust_masking",
    ),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _KERNEL_OPTIONS),
    **dict.fromkeys(
        ("DepthwiseConv1D", "DepthwiseConv2D"), (*_KERNEL_OPTIONS, "filters")
    ),
}
"""Class -> options that Keras 2 wrote and Keras 3 lacks; they have no effect."""

POLICY_CLASSES = ("Policy", "PolicyV1", "DTypePolicy", "FloatDTypePolicy")
FLOAT32_VARIABLES = "_with_float32_vars"

_NO_GROUPS = {"groups": (1, "Keras 3 has no groups there")}
ONE_VALUE: Mapping[str, Mapping[str, tuple[Any, str]]] = {
    **dict.fromkeys(
        (
            *("SeparableConv1D", "SeparableConv2D"),
            *("DepthwiseConv1D", "DepthwiseConv2D"),
            *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
        ),
        _NO_GROUPS,
    ),
    "BatchNormalization": {
        "virtual_batch_size": (None, "Keras 3 has no virtual batches"),
    },
}
"""Class -> options that Keras 2 wrote and Keras 3 lacks: the only value that is read,
and why there is no other."""

ATTENTION_CLASSES = ("Attention", "AdditiveAttention")
"""Classes whose option ``causal`` became an argument of the call in Keras 2.10."""

KERAS2_HARD_SIGMOID = {
    "module": "keras2",
    "class_name": "function",
    "config": "keras2_hard_sigmoid",
}
"""The hard_sigmoid of Keras 2 in an upgraded config. Keras 3 has no name for it, so the
module is ours; see `verify.forward.activations.read_activation`."""


@dataclass(frozen=True)
class UpgradedConfig:
    """Hold a config in the form of Keras 3.

    Attributes
    ----------
    config
        The config, for `verify.model_files.config.read_model`.
    notes : tuple of str
        Sentences about what was changed, and about settings whose meaning depends on
        the version of Keras.
    legacy : bool
        Whether the config in the file has another form.
    """

    config: Any
    notes: tuple[str, ...] = ()
    legacy: bool = False


def is_legacy(config: Any, version: Any) -> bool:
    """Return whether a config differs in form from those in ``.keras`` of Keras 3."""
    if isinstance(version, str) and version.startswith(("0.", "1.", "2.")):
        return True
    return isinstance(config, Mapping) and "module" not in config


def upgrade_config(
    config: Any, semantics: str, *, partial: bool = False
) -> UpgradedConfig:
    """Turn an old config into the form of Keras 3, and leave a current one unchanged.

    Parameters
    ----------
    config
        The parsed JSON of a file.
    semantics : "keras2" or "keras3"
        The version of Keras whose meaning the settings in the table above get.
    partial : bool
        Whether a layer with an option that Keras 3 lacks is marked instead of refused:
        with the reason under the key `verify.model.spec.UNREAD`.

    Raises
    ------
    UnsupportedError
        `semantics` is neither, or an option has no equivalent in Keras 3.
    ModelFileError
        The graph of the config cannot be read.
    """
    if semantics not in SEMANTICS:
        raise UnsupportedError(
            f"expected semantics {join_and(SEMANTICS)}. Received: {semantics}"
        )
    upgrader = ConfigUpgrader(semantics, partial, _makes_masks(config))
    upgraded = upgrader.model(plain(config))
    return UpgradedConfig(upgraded, tuple(dict.fromkeys(upgrader.notes)), True)


@dataclass
class ConfigUpgrader:
    """Rewrite the parts of an old config, and collect notes on what was changed."""

    semantics: str
    partial: bool = False
    masked: bool = False
    notes: list[str] = field(default_factory=list)

    def model(self, entry: Any) -> Any:
        """Upgrade a Sequential or Functional model."""
        if not isinstance(entry, Mapping) or "config" not in entry:
            return entry
        config = entry["config"]
        if isinstance(config, list):  # Keras 1 and early 2: the bare list of layers
            config = {"name": "sequential", "layers": config}
        class_name = entry.get("class_name")
        class_name = "Functional" if class_name == "Model" else class_name
        if not isinstance(config, Mapping) or not isinstance(
            config.get("layers"), list
        ):
            return {**entry, "class_name": class_name}
        layers = [self.part(layer) for layer in config["layers"]]
        if class_name == "Sequential":
            layers = self.with_input(layers)
        elif class_name == "Functional":
            if any(_has_keras2_calls(layer) for layer in layers):
                config = {**config, "output_layers": _read_outputs(config, layers)}
            layers = [self.with_calls(layer, layers) for layer in layers]
            config, layers, notes = expand_operations(config, layers)
            self.notes += notes
        layers = [_with_float_dtype(layer) for layer in layers]
        package = str(entry.get("module") or "keras").split(".")[0]
        custom = package not in ("keras", "tf_keras", "tensorflow") or ">" in str(
            entry.get("registered_name")  # a class of the user is "package>Class"
        )
        modern = {
            "module": MODEL_MODULES.get(str(class_name), "keras"),
            "registered_name": None,
        }
        return {
            **{k: v for k, v in entry.items() if k != "keras_version"},
            **({} if custom else modern),
            "class_name": class_name,
            "config": {**config, "layers": layers},
        }

    def part(self, entry: Any) -> Any:
        """Upgrade a layer of a model, or mark it if it cannot be read."""
        try:
            return self.layer(entry)
        except UnsupportedError as error:
            if not self.partial:
                raise
            reason = str(error).partition("): ")[2] or str(error)
            return {"module": "keras.layers", **entry, UNREAD: reason}

    def layer(self, entry: Any) -> Any:
        """Upgrade a layer and the layers inside it."""
        if not isinstance(entry, Mapping) or not isinstance(
            entry.get("config"), Mapping
        ):
            if isinstance(entry, Mapping) and isinstance(entry.get("config"), list):
                return self.model(entry)
            return entry
        class_name, config = entry.get("class_name"), dict(entry["config"])
        if not isinstance(class_name, str):
            return entry  # refused by the reader
        if class_name in MODEL_CLASSES:
            return self.model(entry)
        if _of_keras(entry):
            class_name = ALIASES.get(class_name, class_name)
            named = entry.get("module") is not None
            module = (
                MODULES.get(class_name, "keras.layers")
                if named
                else _default_module(entry, config)
            )
            entry = {**entry, "module": module}
            if class_name in RENAMED_CLASSES:
                class_name = self._renamed(class_name, config)
        operation = holds_operations(entry.get("module"))
        if (
            "dtype" in config and not operation
        ):  # the dtype of an operation is an option
            config["dtype"] = _policy_of(config["dtype"])
        name = printable(config.get("name", entry.get("name", class_name)))
        where = f"layer '{name}' ({printable(class_name)})"
        if class_name in CUDNN_CLASSES:
            self.notes.append(
                f"{where} is read as {CUDNN_CLASSES[class_name]}: same equations"
            )
            class_name = CUDNN_CLASSES[class_name]
            if class_name == "GRU":
                config["reset_after"] = True
            config.pop("recurrent_activation", None)
        if "time_major" in config:
            if config.pop("time_major"):
                raise UnsupportedError(
                    f"Layer '{name}' ({printable(class_name)}): option 'time_major' "
                    "expects false; Keras 3 has no time-major layers. "
                    "Received: time_major=True"
                )
            self.notes.append(
                "time_major=False, which Keras 2 writes, is dropped: Keras 3 refuses it"
            )
        module = entry.get("module") or _default_module(entry, config)
        operation = holds_operations(module)
        keras2 = self.semantics == KERAS2
        merges = class_name in MERGING_CLASSES and not operation
        if self.masked and keras2 and merges:
            config["keras2_masks"] = True
            self.notes.append(
                f"{where} masks a step that is masked in any of its inputs, and does "
                "nothing else with masks, as Keras 2; Keras 3 masks a step that is "
                "masked in all inputs (--keras3-semantics)"
            )
        if class_name == "GRU" and "reset_after" not in config:
            self._reset_after(where, config)
        if class_name == "InputLayer" and "batch_input_shape" in config:
            config.setdefault("batch_shape", config.pop("batch_input_shape"))
        for option in ("activation", "recurrent_activation"):
            if config.get(option) == "hard_sigmoid":
                self._hard_sigmoid(where, option, config)
        for option in DROPPED_OPTIONS.get(str(class_name), ()):
            config.pop(option, None)
        for option, (only, why) in ONE_VALUE.get(str(class_name), {}).items():
            if config.pop(option, only) != only:
                raise UnsupportedError(
                    f"Layer '{name}' ({printable(class_name)}): option '{option}' "
                    f"expects {only}; {why}. "
                    f"Received: {option}={printable(entry['config'][option], 60)}"
                )
        if class_name in ATTENTION_CLASSES and config.pop("causal", False):
            entry = {**entry, "inbound_nodes": _causal_calls(entry, name)}
        axis = config.get("axis")
        if class_name == "BatchNormalization" and isinstance(axis, list):
            config["axis"] = axis[0] if len(axis) == 1 else axis
        if class_name == "ThresholdedReLU":  # the same as a ReLU that is strict
            class_name, config["threshold"] = "ReLU", config.pop("theta", 1.0)
        if class_name == "LeakyReLU" and "alpha" in config:
            config["negative_slope"] = config.pop("alpha")
        for option in ("layer", "backward_layer", "cell"):
            if isinstance(config.get(option), Mapping):
                config[option] = self.layer(config[option])
        if isinstance(config.get("cells"), list):
            config["cells"] = [self.layer(cell) for cell in config["cells"]]
        if isinstance(config.get("layer"), Mapping):
            config["layer"] = _with_float_dtype(config["layer"])
        modern = {"registered_name": None, **entry}
        modern.setdefault("module", _default_module(entry, config))
        return {**modern, "class_name": class_name, "config": config}

    def _renamed(self, class_name: str, config: dict[str, Any]) -> str:
        """Return the class of Keras 3 that computes the same; rename its options."""
        if class_name == "ThresholdedReLU":
            config["threshold"] = config.pop("theta", 1.0)
        now = RENAMED_CLASSES[class_name]
        self.notes.append(
            f"layer '{printable(config.get('name', class_name))}' ({class_name}) is "
            f"read as {now}: Keras 3 has no {class_name}"
        )
        return now

    def _reset_after(self, where: str, config: dict[str, Any]) -> None:
        config["reset_after"] = after = self.semantics == KERAS3
        other = _other_meaning(self.semantics, str(not after))
        self.notes.append(
            f"{where} does not say reset_after: read as {after}, the default of "
            f"{_keras_name(self.semantics)}; {other}"
        )

    def _hard_sigmoid(self, where: str, option: str, config: dict[str, Any]) -> None:
        old, new = "clip(0.2 * x + 0.5, 0, 1)", "clip(x / 6 + 0.5, 0, 1)"
        keras2 = self.semantics == KERAS2
        if keras2:
            config[option] = dict(KERAS2_HARD_SIGMOID)
        mine, other = (old, new) if keras2 else (new, old)
        self.notes.append(
            f"{where}: {option} hard_sigmoid is {mine}, that of "
            f"{_keras_name(self.semantics)}; {_other_meaning(self.semantics, other)}"
        )

    def with_input(self, layers: list[Any]) -> list[Any]:
        """Add an InputLayer if the first layer holds the shape of the input."""
        first = layers[0] if layers else None
        config = first.get("config") if isinstance(first, Mapping) else None
        if not isinstance(config, Mapping) or first is None:
            return layers
        shape = config.get("batch_input_shape")
        if first.get("class_name") == "InputLayer" or shape is None:
            return layers
        self.notes.append(
            "the input is read from batch_input_shape of the first layer, "
            f"'{printable(config.get('name'))}'"
        )
        dtype = config.get("dtype", "float32")
        if isinstance(dtype, str) and dtype in POLICIES:
            dtype = POLICIES[dtype].variable  # as Keras 2 makes the input
        name = f"{config.get('name', 'first')}_input"
        entry = {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": {"name": name, "batch_shape": shape, "dtype": dtype},
            "registered_name": None,
        }
        rest = {k: v for k, v in config.items() if k != "batch_input_shape"}
        return [entry, {**first, "config": rest}, *layers[1:]]

    def with_calls(self, entry: Any, layers: list[Any]) -> Any:
        """Rewrite the calls of a Functional model's layer in Keras 3's form."""
        nodes = entry.get("inbound_nodes") if isinstance(entry, Mapping) else None
        if not isinstance(nodes, list) or not all(isinstance(n, list) for n in nodes):
            return entry
        if is_operation(entry):
            return entry  # its arguments mean what the function makes of them
        classes = _class_names(layers)
        name = entry.get("name", entry["config"].get("name"))
        calls = [self._call(name, entry, node, classes) for node in nodes]
        return {**entry, "name": name, "inbound_nodes": calls}

    def _call(
        self,
        name: str,
        entry: Mapping[str, Any],
        node: list[Any],
        classes: Mapping[str, str],
    ) -> dict[str, Any]:
        class_name = entry["class_name"]
        if node and isinstance(node[0], str):
            node = [node]
        tensors: list[Any] = []
        kwargs: dict[str, Any] = {}
        for item in node:
            if not isinstance(item, list) or len(item) < 3:
                raise ModelFileError(
                    f"a call of layer '{printable(name)}' cannot be read"
                )
            tensors.append(_upgrade_tensor(item[:3], classes))
            if len(item) > 3 and isinstance(item[3], Mapping):
                kwargs |= {k: _upgrade_argument(v, classes) for k, v in item[3].items()}
        if class_name in RECURRENT_CLASSES and len(tensors) > 1:
            kwargs["initial_state"] = tensors[1:]
            tensors = tensors[:1]
        if isinstance(kwargs.get("initial_state"), list):
            kwargs["initial_state"] = _by_cell(entry, kwargs["initial_state"])
        given = kwargs.get("initial_state") is not None
        if self.masked and given and kwargs.get("mask") is None:
            self._mask_with_states(name, class_name, tensors[0], kwargs)
        first = tensors[0] if len(tensors) == 1 else tensors
        return {"args": [first], "kwargs": kwargs}

    def _mask_with_states(
        self, name: str, class_name: str, x: dict[str, Any], kwargs: dict[str, Any]
    ) -> None:
        keras2 = self.semantics == KERAS2
        if keras2:
            kwargs["mask"] = {**x, "class_name": "__keras_mask__"}
        words = ["applied", "ignored"]
        mine, theirs = words if keras2 else words[::-1]
        self.notes.append(
            f"layer '{printable(name)}' ({printable(class_name)}) is given initial "
            f"states: a mask that reaches it is {mine}, as by "
            f"{_keras_name(self.semantics)}; "
            f"{_other_meaning(self.semantics, theirs)}"
        )


def _with_float_dtype(entry: Any) -> Any:
    """Return a layer without the dtype of its ids as its own.

    Keras 2.0 wrote that of what an Embedding takes, and Keras 2 writes that of what a
    Discretization returns. It has no effect on the outputs there; Keras 3 would cast.
    """
    kinds = ("Embedding", "Discretization")
    if isinstance(entry, Mapping) and entry.get("class_name") in kinds:
        config = entry.get("config")
        if isinstance(config, Mapping) and config.get("dtype") in ("int32", "int64"):
            return {**entry, "config": {**config, "dtype": "float32"}}
    return entry


def _by_cell(entry: Mapping[str, Any], states: list[Any]) -> list[Any]:
    """Return the states of stacked cells in a list for each cell, as Keras 3 does."""
    config = entry.get("config")
    config = config if isinstance(config, Mapping) else {}
    halves = [states]
    if entry["class_name"] == "Bidirectional" and isinstance(
        config.get("layer"), Mapping
    ):
        middle = len(states) // 2
        halves = [states[:middle], states[middle:]]
        config = config["layer"].get("config", {})
    cell = config.get("cell")
    if not isinstance(cell, Mapping) or cell.get("class_name") != "StackedRNNCells":
        return states
    counts = [
        2 if isinstance(inner, Mapping) and inner.get("class_name") == "LSTMCell" else 1
        for inner in cell.get("config", {}).get("cells", [])
    ]
    if any(len(half) != sum(counts) for half in halves):
        return states  # given cell by cell, or refused by the reader
    found: list[Any] = []
    for half in halves:
        rest = iter(half)
        for count in counts:
            own = [next(rest) for _ in range(count)]
            found.append(own if count > 1 else own[0])
    return found


def _policy_of(value: Any) -> Any:
    """Return a dtype policy of Keras 2 by the name that Keras 3 has for it.

    A policy that infers its dtype takes that of the inputs, float32 unless the model
    says otherwise; the first mixed policies were named by the dtype of the variables.
    """
    name = value
    if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
        if value.get("class_name") not in POLICY_CLASSES:
            return value
        name = value["config"].get("name")
    if name in (None, "infer", "_infer", "infer_float32_vars"):
        return "float32"
    if isinstance(name, str) and name.endswith(FLOAT32_VARIABLES):
        name = name.removesuffix(FLOAT32_VARIABLES)
        return f"mixed_{name}" if f"mixed_{name}" in POLICIES else name
    return name


def _makes_masks(config: Any) -> bool:
    """Return whether a layer of a config makes a mask."""
    if isinstance(config, list):
        return any(map(_makes_masks, config))
    if not isinstance(config, Mapping):
        return False
    if config.get("class_name") == "Masking" or config.get("mask_zero"):
        return True
    return any(map(_makes_masks, config.values()))


def _causal_calls(entry: Mapping[str, Any], name: str) -> list[Any]:
    """Return the calls of an attention layer with the mask that ``causal`` means."""
    nodes = entry.get("inbound_nodes")
    if not isinstance(nodes, list) or not all(isinstance(n, list) and n for n in nodes):
        raise UnsupportedError(
            f"Layer '{name}' ({entry['class_name']}): option 'causal' expects false "
            "outside a graph of calls. Received: causal=True"
        )
    calls = []
    for node in nodes:
        items = [node] if isinstance(node[0], str) else node
        first = items[0]
        given = first[3] if len(first) > 3 and isinstance(first[3], Mapping) else {}
        calls.append([[*first[:3], {**given, "use_causal_mask": True}], *items[1:]])
    return calls


def _has_keras2_calls(entry: Any) -> bool:
    nodes = entry.get("inbound_nodes") if isinstance(entry, Mapping) else None
    return isinstance(nodes, list) and any(isinstance(node, list) for node in nodes)


def _class_names(layers: list[Any]) -> dict[str, str]:
    """Return the classes of a model's layers by their names."""
    return {
        layer.get("name", layer["config"].get("name")): layer["class_name"]
        for layer in layers
        if isinstance(layer, Mapping) and isinstance(layer.get("config"), Mapping)
    }


def _read_outputs(config: Mapping[str, Any], layers: list[Any]) -> Any:
    """Return the outputs of a model of Keras 2, with calls numbered as in Keras 3.

    Both count the calls of a nested Functional model from 1. The calls of a nested
    Sequential model are counted from 1 by Keras 2, and from 0 by Keras 3.
    """
    classes = _class_names(layers)

    def read(item: Any) -> Any:
        if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str):
            if classes.get(item[0]) == "Sequential" and type(item[1]) is int:
                return [item[0], item[1] - 1, item[2]]
            return item
        return [read(inner) for inner in item] if isinstance(item, list) else item

    return read(config.get("output_layers"))


MODULES: Mapping[str, str] = {
    "LayerScale": "keras.src.applications.convnext",
    "StochasticDepth": "keras.src.applications.convnext",
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
}
"""Class of Keras -> its module, for those that `keras.layers` has not."""


def _of_keras(entry: Mapping[str, Any]) -> bool:
    """Return whether a layer belongs to Keras, by the module that its config names.

    The module is where the class was defined or where it is exported, in Keras, in
    tf_keras or in TensorFlow; old configs name none.
    """
    module = entry.get("module")
    if module is None:
        return True
    if not isinstance(module, str):
        return False
    parts = module.split(".")
    kept = parts[0] in ("keras", "tf_keras") or parts[:2] == ["tensorflow", "keras"]
    return (kept or parts[:3] == ["tensorflow", "python", "keras"]) and (
        "layers" in parts or entry.get("class_name") in MODULES
    )


def _default_module(entry: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the module of a class whose config does not name the module.

    Keras 3 writes raw operations like layers into ``.h5``, but only the configs of
    layers have ``trainable``, and a ``dtype`` that is not an option of an operation.
    """
    class_name = str(entry.get("class_name"))
    layer = "trainable" in config or ("dtype" in config and class_name in REGISTRY)
    if f"ops.{class_name}" in REGISTRY and not layer:
        return "keras.ops"
    return MODULES.get(class_name, "keras.layers")


def _keras_name(semantics: str) -> str:
    return "Keras 2" if semantics == KERAS2 else "Keras 3"


def _other_meaning(semantics: str, meaning: str) -> str:
    other = KERAS3 if semantics == KERAS2 else KERAS2
    return f"{_keras_name(other)} takes it as {meaning} (--{other}-semantics)"


def _upgrade_tensor(history: list[Any], classes: Mapping[str, str]) -> dict[str, Any]:
    """Upgrade a tensor; Keras 2 counts the calls of a nested model from 1."""
    name, node, tensor = history
    if (
        isinstance(name, str)
        and classes.get(name) in MODEL_CLASSES
        and type(node) is int
    ):
        history = [name, node - 1, tensor]
    return {"class_name": "__keras_tensor__", "config": {"keras_history": history}}


def _upgrade_argument(value: Any, classes: Mapping[str, str]) -> Any:
    """Upgrade an argument of a call; tensors in it look like ``["lstm", 0, 1]``."""
    if isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and value[0] in classes:
            return _upgrade_tensor(value[:3], classes)
        if len(value) >= 3 and value[0] == "_CONSTANT_VALUE":
            return value[2]
        return [_upgrade_argument(item, classes) for item in value]
    return value
