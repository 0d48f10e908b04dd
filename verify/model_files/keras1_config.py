"""Turn configs that Keras 1 wrote into the form of Keras 2.

Keras 1 has other names for classes and options, and other defaults for options that a
config lacks. `upgrade_keras1` renames them; what it returns goes to
`verify.model_files.keras2_config`. The weights are turned by
`verify.model_files.keras1_weights`.

Some layers of Keras 1 have no counterpart. They become the layers of Keras that compute
the same: a Merge is an Add, a Dot and so on, and a Highway is two Dense layers and some
raw operations. A Sequential model that begins with a Merge, or has such a layer,
becomes a Functional model, with the layers of the merged branches in it.

=========================================  =============================================
in Keras 1                                 read as
=========================================  =============================================
``output_dim``, ``nb_filter``, ``bias``    ``units``, ``filters``, ``use_bias``
``inner_activation``                       ``recurrent_activation``
``border_mode``, ``subsample``             ``padding``, ``strides``
``dim_ordering`` "th", "tf"                ``data_format`` channels first, last
GRU                                        GRU with ``reset_after=False``
``border_mode="same"`` on Theano           zeros around the input, ``padding="valid"``
=========================================  =============================================

Source: keras 1.0.0 to 1.2.2, keras/layers/*.py, keras/engine/topology.py (Merge,
Container), keras/models.py (Sequential) and keras/backend/theano_backend.py.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verify.errors import ModelFileError, UnsupportedError, printable

INERT = frozenset(
    {"init", "inner_init", "forget_bias_init", "beta_init", "gamma_init", "alpha_init"}
    | {"W_regularizer", "U_regularizer", "b_regularizer", "activity_regularizer"}
    | {"gamma_regularizer", "beta_regularizer", "depthwise_regularizer"}
    | {"pointwise_regularizer", "W_constraint", "U_constraint", "b_constraint"}
    | {"depthwise_constraint", "pointwise_constraint", "depthwise_init"}
    | {"pointwise_init", "dropout_W", "dropout_U", "consume_less", "input_length"}
    | {"weights", "cache_enabled", "input_dtype", "batch_input_shape", "momentum"}
    | {"transform_bias", "create_input_layer"}
)
"""Options that do not change what the layer computes, in any class."""

_UNITS = {"output_dim": "units", "bias": "use_bias"}
_GATED = {"output_dim": "units", "inner_activation": "recurrent_activation"}
_FILTERS = {"nb_filter": "filters", "border_mode": "padding", "bias": "use_bias"}
_PLANE = {"subsample": "strides", "dim_ordering": "data_format"}
_POOL = {"border_mode": "padding", "dim_ordering": "data_format"}
_LINE = {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"}
_FORMAT = {"dim_ordering": "data_format"}
_TANH, _LINEAR = {"activation": "tanh"}, {"activation": "linear"}
_HARD = {**_TANH, "inner_activation": "hard_sigmoid"}
_CONVOLVED = {**_LINEAR, "border_mode": "valid", "bias": True}
_POOLED = {"border_mode": "valid"}


@dataclass(frozen=True)
class Renamed:
    """Say how a class of Keras 1 is called later.

    Attributes
    ----------
    class_name : str
        The class in Keras 2.
    options : mapping of str to str
        Options with another name -> that name.
    defaults : mapping
        The defaults of Keras 1, by the old names.
    """

    class_name: str
    options: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


RENAMED: Mapping[str, Renamed] = {
    "Dense": Renamed("Dense", _UNITS, {**_LINEAR, "bias": True}),
    "TimeDistributedDense": Renamed("Dense", _UNITS, {**_LINEAR, "bias": True}),
    "SimpleRNN": Renamed("SimpleRNN", _GATED, _TANH),
    "LSTM": Renamed("LSTM", _GATED, _HARD),
    "GRU": Renamed("GRU", _GATED, _HARD),
    "Embedding": Renamed("Embedding", {}, {"mask_zero": False}),
    "Convolution1D": Renamed(
        "Conv1D",
        {**_FILTERS, "filter_length": "kernel_size", "subsample_length": "strides"},
        {**_CONVOLVED, "subsample_length": 1},
    ),
    "AtrousConvolution1D": Renamed(
        "Conv1D",
        {**_FILTERS, "filter_length": "kernel_size", "subsample_length": "strides"},
        {**_CONVOLVED, "subsample_length": 1},
    ),
    "AtrousConvolution2D": Renamed("Conv2D", {**_FILTERS, **_PLANE}, _CONVOLVED),
    "Convolution2D": Renamed("Conv2D", {**_FILTERS, **_PLANE}, _CONVOLVED),
    "Convolution3D": Renamed("Conv3D", {**_FILTERS, **_PLANE}, _CONVOLVED),
    "SeparableConvolution2D": Renamed(
        "SeparableConv2D", {**_FILTERS, **_PLANE}, _CONVOLVED
    ),
    "ConvLSTM2D": Renamed(
        "ConvLSTM2D",
        {**_FILTERS, **_PLANE, "inner_activation": "recurrent_activation"},
        {**_HARD, "border_mode": "valid"},
    ),
    "LocallyConnected1D": Renamed(
        "LocallyConnected1D",
        {**_FILTERS, "filter_length": "kernel_size", "subsample_length": "strides"},
        _CONVOLVED,
    ),
    "LocallyConnected2D": Renamed(
        "LocallyConnected2D", {**_FILTERS, **_PLANE}, _CONVOLVED
    ),
    "MaxPooling1D": Renamed("MaxPooling1D", _LINE, {**_POOLED, "pool_length": 2}),
    "AveragePooling1D": Renamed(
        "AveragePooling1D", _LINE, {**_POOLED, "pool_length": 2}
    ),
    **{
        f"{kind}Pooling{n}D": Renamed(f"{kind}Pooling{n}D", _POOL, _POOLED)
        for kind in ("Max", "Average")
        for n in (2, 3)
    },
    **{
        f"Global{kind}Pooling{n}D": Renamed(f"Global{kind}Pooling{n}D", _FORMAT)
        for kind in ("Max", "Average")
        for n in (1, 2, 3)
    },
    "UpSampling1D": Renamed("UpSampling1D", {"length": "size"}, {"length": 2}),
    "UpSampling2D": Renamed("UpSampling2D", _FORMAT),
    "UpSampling3D": Renamed("UpSampling3D", _FORMAT),
    **{
        f"{kind}{n}D": Renamed(f"{kind}{n}D", _FORMAT)
        for kind in ("ZeroPadding", "Cropping")
        for n in (1, 2, 3)
    },
    "Dropout": Renamed("Dropout", {"p": "rate"}),
    **{
        f"SpatialDropout{n}D": Renamed(
            f"SpatialDropout{n}D", {"p": "rate", "dim_ordering": "data_format"}
        )
        for n in (1, 2, 3)
    },
    "GaussianDropout": Renamed("GaussianDropout", {"p": "rate"}),
    "GaussianNoise": Renamed("GaussianNoise", {"sigma": "stddev"}),
    "BatchNormalization": Renamed("BatchNormalization", {}, {"axis": -1}),
    "LeakyReLU": Renamed("LeakyReLU", {}, {"alpha": 0.3}),
    "ELU": Renamed("ELU", {}, {"alpha": 1.0}),
    "PReLU": Renamed("PReLU"),
    "ThresholdedReLU": Renamed("ThresholdedReLU", {}, {"theta": 1.0}),
    **{
        name: Renamed(name)
        for name in ("Activation", "Flatten", "Masking", "Permute", "RepeatVector")
    },
    "Reshape": Renamed("Reshape"),
    "ActivityRegularization": Renamed("ActivityRegularization"),
}
"""Class of Keras 1 -> its later name, with those of its options."""

MERGES = {
    "sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum",
    "concat": "Concatenate", "dot": "Dot",
}  # fmt: skip
"""Mode of a Merge -> the layer that computes it."""

REFUSED = {
    "ParametricSoftplus": "Keras 2 has dropped it",
    "SReLU": "Keras 2 has dropped it",
    "Deconvolution2D": "its output_shape fixes the size, which Keras 3 cannot say",
    "Highway": "it is read between the layers of a model only",
    "MaxoutDense": "it is read between the layers of a model only",
    "Merge": "it is read between the layers of a model only",
}
"""Classes of Keras 1 that are refused, with the reason."""

MARKS = frozenset(
    {"W_regularizer", "inner_init", "inner_activation", "nb_filter", "border_mode"}
    | {"dim_ordering", "pool_length", "input_dtype", "consume_less", "mode_type"}
)
"""Options that only Keras 1 writes."""


def is_keras1(config: Any, version: Any) -> bool:
    """Return whether Keras 1 wrote a config, by its version or by its options."""
    if isinstance(version, str):
        return version.startswith("1.")
    return version is None and _has_marks(config)


def _has_marks(item: Any) -> bool:
    if isinstance(item, list):
        return any(map(_has_marks, item))
    if not isinstance(item, Mapping):
        return False
    return bool(MARKS & item.keys()) or any(map(_has_marks, item.values()))


@dataclass(frozen=True)
class Upgraded1:
    """Hold a config of Keras 1 in the form of Keras 2.

    Attributes
    ----------
    config
        For `verify.model_files.keras2_config.upgrade_config`.
    layers : list
        The layers of the model in the order of Keras 1, as Keras 1 wrote them.
    notes : tuple of str
        Sentences about how the config was read.
    """

    config: Any
    layers: list[Any]
    notes: tuple[str, ...]


def upgrade_keras1(
    config: Any, version: Any, theano: bool, arrays: Mapping[str, Sequence[Any]]
) -> Upgraded1:
    """Turn a config of Keras 1 into one of Keras 2.

    Parameters
    ----------
    config
        The parsed JSON of a file.
    version : str or None
        The version that wrote it.
    theano : bool
        Whether the weights were written by Keras on Theano.
    arrays : mapping
        Name of a layer -> its weights, whose sizes some configs lack.

    Raises
    ------
    UnsupportedError
        A layer or an option has no equivalent.
    """
    upgrader = _Upgrader(theano, arrays)
    config = _named(config, arrays)
    entry = upgrader.model(config, "the model")
    wrote = f"Keras {printable(version, 20)}" if version else "Keras 1, by its options"
    notes = [f"written by {wrote}: read with the layouts and defaults of Keras 1"]
    if upgrader.defaults:
        taken = ", ".join(f"{k}={v}" for k, v in sorted(upgrader.defaults))
        notes.append(f"defaults of Keras 1 for options that the file lacks: {taken}")
    return Upgraded1(entry, upgrader.flat(config), (*notes, *upgrader.notes))


def _named(config: Any, arrays: Mapping[str, Any]) -> Any:
    """Give models in a Sequential model the names of their weights.

    Keras 1 does not write the name of a Sequential model into a config.
    """
    layers = config.get("config")
    if config.get("class_name") != "Sequential" or not isinstance(layers, list):
        return config
    known = {_name_of(layer) for layer in layers}
    spare = iter([name for name in arrays if name not in known])
    named = [
        {**layer, "name": next(spare, f"sequential_{k}")}
        if isinstance(layer.get("config"), list) and "name" not in layer
        else layer
        for k, layer in enumerate(layers)
    ]
    return {**config, "config": named}


@dataclass
class _Upgrader:
    """Rewrite the parts of a config, and collect notes."""

    theano: bool
    arrays: Mapping[str, Sequence[Any]]
    notes: list[str] = field(default_factory=list)
    defaults: set[tuple[str, str]] = field(default_factory=set)

    def model(self, entry: Any, what: str) -> dict[str, Any]:
        """Rewrite a Sequential or Functional model."""
        class_name, config = entry.get("class_name"), entry.get("config")
        if class_name == "Sequential" and isinstance(config, (list, Mapping)):
            layers = config if isinstance(config, list) else config.get("layers", [])
            name = entry.get("name", "sequential")
            return {**entry, **self.sequential(str(name), layers)}
        if class_name in ("Model", "Functional") and isinstance(config, Mapping):
            layers = config.get("layers")
            if not isinstance(layers, list):
                raise ModelFileError(f"the config of {what} has no layers")
            inner = {
                layer.get("name", _name_of(layer))
                for layer in layers
                if layer.get("class_name") in ("Sequential", "Model")
            }
            made = [new for layer in layers for new in self.called(layer, inner)]
            return {
                **entry,
                "class_name": "Model",
                "config": {**config, "layers": made},
            }
        raise UnsupportedError(
            f"{what} is a {printable(class_name)} of Keras 1, which is not supported. "
            "Supported: Sequential and Model"
        )

    def sequential(self, name: str, layers: Sequence[Any]) -> dict[str, Any]:
        """Rewrite a Sequential model, as a Functional one where it must be."""
        if not any(map(self._needs_graph, layers)):
            made = self._input_of(layers[:1])
            for layer in layers:
                made += self.entries(layer)
            return {
                "class_name": "Sequential",
                "config": {"name": name, "layers": made},
            }
        graph = _Chain(self)
        last = graph.follow(layers)
        places = [[entry["name"], 0, 0] for entry in graph.inputs]
        return {
            "class_name": "Model",
            "config": {
                "name": name,
                "layers": graph.layers,
                "input_layers": places,
                "output_layers": [graph.place(last)],
            },
        }

    def _needs_graph(self, entry: Any) -> bool:
        class_name = entry.get("class_name") if isinstance(entry, Mapping) else None
        return class_name in ("Merge", "Highway", "MaxoutDense")

    def _input_of(self, first: Sequence[Any]) -> list[Any]:
        """Return the InputLayer that the first layer of a Sequential stands for."""
        if not first or first[0].get("class_name") == "InputLayer":
            return []
        entry = first[0]
        config = entry.get("config")
        while isinstance(config, Mapping) and "batch_input_shape" not in config:
            inner = config.get("layer")
            if not isinstance(inner, Mapping):
                break
            config = inner.get("config")
        if isinstance(config, list):  # a model in the model: its own input serves
            return self._input_of(config[:1])
        shape = _input_shape(entry, config) if isinstance(config, Mapping) else None
        if shape is None or not isinstance(config, Mapping):
            return []
        dtype = config.get("input_dtype") or "float32"
        name = f"{entry['config'].get('name', 'first')}_input"
        return [_input_layer(name, shape, dtype)]

    def called(self, entry: Any, models: Container[str]) -> list[dict[str, Any]]:
        """Rewrite a layer of a Functional model, with its calls.

        Keras 1 counts the calls of a model in the model, whose names are `models`, from
        1, as Keras 2 does.
        """
        nodes = entry.get("inbound_nodes", [])
        name = entry.get("name", _name_of(entry))
        if entry.get("class_name") == "InputLayer":
            (made,) = self.entries(entry)
            return [{**made, "name": name, "inbound_nodes": []}]
        inputs = [[_modern(place, models) for place in node] for node in nodes]
        if self._needs_graph(entry):
            joined: list[dict[str, Any]] = []
            for k, places in enumerate(inputs):
                joined = _joined(joined, self.expanded(entry, places, k))
            return joined
        *before, last = self.entries(entry)
        found = []
        for extra in before:
            found.append({**extra, "inbound_nodes": nodes})
            nodes = [[[extra["name"], k, 0]] for k in range(len(nodes))]
        return [*found, {**last, "name": name, "inbound_nodes": nodes}]

    def entries(self, entry: Any) -> list[dict[str, Any]]:
        """Return the layers of Keras 2 that compute one of Keras 1, one by one."""
        class_name, config = entry.get("class_name"), entry.get("config")
        if class_name in ("Sequential", "Model"):
            inner = self.model(entry, "a model in the model")
            name = entry.get("name", _name_of(inner))
            inner["config"]["name"] = name
            return [{**inner, "name": name}]
        if not isinstance(class_name, str) or not isinstance(config, Mapping):
            raise ModelFileError("a layer of the config has no class_name or no config")
        name = str(config.get("name", entry.get("name", class_name)))
        where = f"Layer '{printable(name)}' ({printable(class_name)}, Keras 1)"
        if class_name in REFUSED:
            raise UnsupportedError(
                f"{where}: this class is not supported: {REFUSED[class_name]}"
            )
        if class_name == "InputLayer":
            shape = config.get("batch_input_shape")
            return [_input_layer(name, shape, config.get("input_dtype") or "float32")]
        if class_name in ("TimeDistributed", "Bidirectional"):
            return [self.wrapper(where, class_name, config)]
        made = self.renamed(where, class_name, config)
        if class_name == "ConvLSTM2D" and self.theano:
            _refuse_even_kernel(where, made["config"])
        return [*self._padded(where, class_name, made), made]

    def wrapper(
        self, where: str, class_name: str, config: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Rewrite a wrapper and the layer in it."""
        *before, inner = self.entries(config.get("layer", {}))
        if before:
            raise UnsupportedError(
                f"{where}: the convolution in it was padded by Theano, which is not "
                "supported in a wrapper"
            )
        kept = {k: v for k, v in config.items() if k not in INERT and k != "input_dim"}
        if class_name == "Bidirectional":
            kept.setdefault("merge_mode", "concat")
        return {"class_name": class_name, "config": {**kept, "layer": inner}}

    def renamed(
        self, where: str, class_name: str, config: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Rewrite a layer that Keras 2 has under this name or another."""
        rule = RENAMED.get(class_name)
        if rule is None:
            return {"class_name": class_name, "config": dict(config)}
        old = {k: v for k, v in config.items() if k not in INERT}
        if class_name != "Embedding":
            old.pop("input_dim", None)
        else:
            old.pop("dropout", None)
        for key, value in rule.defaults.items():
            if key not in old:
                old[key] = value
                self.defaults.add((key, str(value)))
        self._sizes(class_name, old)
        new = {rule.options.get(key, key): value for key, value in old.items()}
        if "data_format" in new:
            new["data_format"] = _data_format(where, new["data_format"])
        self._special(where, class_name, new)
        return {"class_name": rule.class_name, "config": new}

    def _sizes(self, class_name: str, old: dict[str, Any]) -> None:
        """Join the sizes of a kernel into one option."""
        for keys in (
            ("nb_row", "nb_col"),
            ("kernel_dim1", "kernel_dim2", "kernel_dim3"),
        ):
            if keys[0] in old:
                old["kernel_size"] = [old.pop(key) for key in keys if key in old]
        if class_name.endswith("Convolution1D"):
            old.setdefault("filter_length", 1)
        if isinstance(old.get("atrous_rate"), (int, list)):
            old["dilation_rate"] = old.pop("atrous_rate")

    def _special(self, where: str, class_name: str, new: dict[str, Any]) -> None:
        if class_name == "GRU":
            new["reset_after"] = False
        if class_name == "BatchNormalization":
            mode = new.pop("mode", 0)
            if mode != 0:
                what = {1: "normalises each row", 2: "uses the batch in predict"}
                raise UnsupportedError(
                    f"{where}: option 'mode' expects 0. Received: mode="
                    f"{printable(mode, 20)}, which {what.get(mode, 'is unknown')}"
                )
            new.setdefault("epsilon", 1e-3)
        if class_name == "ZeroPadding1D" and isinstance(new.get("padding"), Mapping):
            sides = new["padding"]
            new["padding"] = [sides.get("left_pad", 0), sides.get("right_pad", 0)]
        if class_name == "ZeroPadding2D":
            new["padding"] = _four_sides(new.get("padding", [1, 1]))
        if class_name == "PReLU" and new.get("shared_axes") == [None]:
            del new["shared_axes"]

    def _padded(
        self, where: str, class_name: str, made: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Return the zeros that Theano puts around the input of a convolution.

        For ``same`` Theano puts half a kernel on both sides, whatever the stride, and
        drops what is too much at the end. Keras 3 distributes as many zeros as are
        needed. For ``full`` Theano puts a kernel less one on both sides.
        """
        config = made["config"]
        padding = config.get("padding")
        plain = class_name.startswith(("Convolution", "AtrousConvolution"))
        pooled = "Pooling" in class_name
        if padding not in ("same", "full") or (padding == "same" and not self.theano):
            return []
        if not plain:
            if pooled or class_name.startswith("Separable"):
                raise UnsupportedError(
                    f"{where}: border_mode='{padding}' by Theano is not supported"
                )
            return []
        n = int(class_name[-2])
        kernel = config["kernel_size"]
        sizes = kernel if isinstance(kernel, list) else [kernel] * n
        rates = config.get("dilation_rate", 1)
        rates = rates if isinstance(rates, list) else [rates] * n
        spans = [(size - 1) * rate for size, rate in zip(sizes, rates, strict=True)]
        if padding == "full":
            widths = [[span, span] for span in spans]
        elif any(rate != 1 for rate in rates):
            raise UnsupportedError(
                f"{where}: border_mode='same' with atrous_rate by Theano is not "
                "supported"
            )
        else:
            widths = [[size // 2, (size - 1) // 2] for size in sizes]
        config["padding"] = "valid"
        options: dict[str, Any] = {"padding": widths[0] if n == 1 else widths}
        if n > 1 and "data_format" in config:
            options["data_format"] = config["data_format"]
        name = f"{config['name']}.padding"
        self.notes.append(f"{where}: padded as by Keras 1 on Theano")
        entry = {"class_name": f"ZeroPadding{n}D", "config": {"name": name, **options}}
        return [{**entry, "name": name}]

    def expanded(
        self, entry: Mapping[str, Any], inputs: list[Any], call: int = 0
    ) -> list[dict[str, Any]]:
        """Return the layers and operations that compute a call, the last one named."""
        class_name, config = entry["class_name"], entry["config"]
        name = str(entry.get("name", config.get("name", class_name)))
        where = f"Layer '{printable(name)}' ({class_name}, Keras 1)"
        if class_name == "Merge":
            return _merge(where, name, config, inputs, call)
        if class_name == "Highway":
            weights = self.arrays.get(name) or [None]
            size = getattr(weights[0], "shape", (config.get("input_dim"),))[-1]
            return _highway(name, {**config, "input_dim": size}, inputs, call)
        return _maxout(name, config, inputs, call)

    def flat(self, entry: Any) -> list[Any]:
        """Return the layers whose weights a file holds, each in a group of its own."""
        config = entry.get("config")
        layers = config if isinstance(config, list) else config.get("layers", [])
        if entry.get("class_name") != "Sequential":
            return list(layers)
        found: list[Any] = []
        for k, layer in enumerate(layers):
            branches = layer.get("config", {})
            branches = branches.get("layers") if isinstance(branches, Mapping) else None
            if k == 0 and layer.get("class_name") == "Merge" and branches:
                for branch in branches:
                    inner = branch.get("class_name") in ("Sequential", "Model")
                    found += self.flat(branch) if inner else [branch]
            else:
                found.append(layer)
        return found


class _Chain:
    """Turn a Sequential model into the layers of a Functional one."""

    def __init__(self, upgrader: _Upgrader) -> None:
        self.upgrader = upgrader
        self.layers: list[dict[str, Any]] = []
        self.inputs: list[dict[str, Any]] = []
        self._ends: list[tuple[Sequence[Any], str]] = []

    def follow(self, layers: Sequence[Any]) -> str:
        """Add the layers of a chain, and return the name of the last one.

        A chain that stands in the config twice is one whose layers are shared.
        """
        for known, end in self._ends:
            if known == layers:
                return end
        end = self._follow(layers)
        self._ends.append((layers, end))
        return end

    def _follow(self, layers: Sequence[Any]) -> str:
        at = ""
        for k, entry in enumerate(layers):
            branches = entry.get("config")
            branches = branches.get("layers") if isinstance(branches, Mapping) else None
            if k == 0 and entry.get("class_name") == "Merge" and branches:
                ends = [self.follow(_chain_of(branch)) for branch in branches]
                at = self._add(self.upgrader.expanded(entry, list(map(_tensor, ends))))
                continue
            if k == 0:
                (start,) = self.upgrader._input_of([entry]) or [None]
                if start is None and entry.get("class_name") == "InputLayer":
                    (start,) = self.upgrader.entries(entry)
                if start is None:
                    raise UnsupportedError("a branch of a Merge does not say its input")
                start = {**start, "name": start["config"]["name"], "inbound_nodes": []}
                self.layers.append(start)
                self.inputs.append(start)
                at = start["name"]
                if entry.get("class_name") == "InputLayer":
                    continue
            if self.upgrader._needs_graph(entry):
                at = self._add(self.upgrader.expanded(entry, [_tensor(at)]))
                continue
            for made in self.upgrader.entries(entry):
                node = {"args": [_tensor(at)], "kwargs": {}}
                name = made.get("name", made["config"].get("name"))
                at = self._add([{**made, "name": name, "inbound_nodes": [node]}])
        return at

    def _add(self, entries: list[dict[str, Any]]) -> str:
        self.layers += entries
        return str(entries[-1]["name"])

    def place(self, name: str) -> list[Any]:
        """Return a layer as an output of the model; models count their calls from 1."""
        entry = next(x for x in self.layers if x["name"] == name)
        return [name, int(entry["class_name"] == "Model"), 0]


def _chain_of(branch: Any) -> list[Any]:
    """Return the layers of a branch of a Merge."""
    config = branch.get("config")
    if branch.get("class_name") == "Sequential":
        return list(config if isinstance(config, list) else config.get("layers", []))
    raise UnsupportedError(
        "a Merge of Keras 1 joins something else than Sequential models: "
        f"{printable(branch.get('class_name'))}"
    )


def _merge(
    where: str, name: str, config: Mapping[str, Any], inputs: list[Any], call: int
) -> list[dict[str, Any]]:
    mode = config.get("mode", "sum")
    raw = config.get("mode_type", "raw") == "raw" and config.get("output_mask") is None
    if not raw or (mode not in MERGES and mode != "cos"):
        raise UnsupportedError(
            f"{where}: a mode that is a function is not supported: its code is not run"
        )
    axes = config.get("dot_axes", -1)
    if isinstance(axes, list) and any(isinstance(axis, list) for axis in axes):
        axes = [axis[0] if isinstance(axis, list) else axis for axis in axes]
    if mode != "cos":
        options: dict[str, Any] = {"name": name}
        if mode == "concat":
            options["axis"] = config.get("concat_axis", -1)
        if mode == "dot":
            options["axes"] = axes
        return [_layer(MERGES[mode], options, [inputs])]
    first, second = inputs
    made = [
        _layer("Dot", {"name": f"{name}.{key}", "axes": axes}, [[a, b]])
        for key, (a, b) in {
            "dot": (first, second),
            "first": (first, first),
            "second": (second, second),
        }.items()
    ]
    dot, *squares = [_tensor(entry["name"], call) for entry in made]
    made.append(_operation("Multiply", f"{name}.squares", squares))
    made.append(_operation("Sqrt", f"{name}.norm", [_tensor(made[-1]["name"], call)]))
    norm = _tensor(made[-1]["name"], call)
    made.append(_operation("Maximum", f"{name}.least", [norm, 1e-7]))
    made.append(
        _operation("Divide", f"{name}.cos", [dot, _tensor(made[-1]["name"], call)])
    )
    cos = _tensor(made[-1]["name"], call)
    return [*made, _operation("ExpandDims", name, [cos], axis=1)]


def _highway(
    name: str, config: Mapping[str, Any], inputs: list[Any], call: int
) -> list[dict[str, Any]]:
    (x,) = inputs
    size = config.get("input_dim")
    bias = bool(config.get("bias", True))
    if type(size) is not int:
        raise UnsupportedError(
            f"Layer '{printable(name)}' (Highway, Keras 1): the file lacks input_dim"
        )
    dense = {"units": size, "use_bias": bias}
    activation = config.get("activation", "linear")
    value = {"name": f"{name}.value", **dense, "activation": activation}
    carry = {"name": f"{name}.carry", **dense, "activation": "sigmoid"}
    t, h = _tensor(f"{name}.carry", call), _tensor(f"{name}.value", call)
    rest = _tensor(f"{name}.rest", call)
    kept, new = _tensor(f"{name}.kept", call), _tensor(f"{name}.new", call)
    return [
        _layer("Dense", value, [x]),
        _layer("Dense", carry, [x]),
        _operation("Multiply", f"{name}.new", [h, t]),
        _operation("Subtract", f"{name}.rest", [1.0, t]),
        _operation("Multiply", f"{name}.kept", [rest, x]),
        _operation("Add", name, [new, kept]),
    ]


def _maxout(
    name: str, config: Mapping[str, Any], inputs: list[Any], call: int
) -> list[dict[str, Any]]:
    count, size = config.get("nb_feature", 4), config.get("output_dim")
    if type(count) is not int or type(size) is not int:
        raise UnsupportedError(
            f"Layer '{printable(name)}' (MaxoutDense, Keras 1): the file lacks a size"
        )
    dense = {
        "name": f"{name}.dense",
        "units": count * size,
        "use_bias": bool(config.get("bias", True)),
        "activation": "linear",
    }
    parts = {"name": f"{name}.parts", "target_shape": [count, size]}
    return [
        _layer("Dense", dense, inputs),
        _layer("Reshape", parts, [_tensor(f"{name}.dense", call)]),
        _operation("Max", name, [_tensor(f"{name}.parts", call)], axis=1),
    ]


def _layer(
    class_name: str, config: Mapping[str, Any], args: list[Any]
) -> dict[str, Any]:
    return {
        "class_name": class_name,
        "config": {**config, "trainable": True},
        "name": config["name"],
        "inbound_nodes": [{"args": args, "kwargs": {}}],
    }


def _operation(
    class_name: str, name: str, args: list[Any], **options: Any
) -> dict[str, Any]:
    return {
        "module": "keras.ops",
        "registered_name": None,
        "class_name": class_name,
        "config": options,
        "name": name,
        "inbound_nodes": [{"args": args, "kwargs": {}}],
    }


def _joined(
    made: list[dict[str, Any]], more: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Add the calls of some layers to those of the same layers."""
    if not made:
        return more
    return [
        {**a, "inbound_nodes": [*a["inbound_nodes"], *b["inbound_nodes"]]}
        for a, b in zip(made, more, strict=True)
    ]


def _tensor(name: str, call: int = 0) -> dict[str, Any]:
    place = [name, call, 0]
    return {"class_name": "__keras_tensor__", "config": {"keras_history": place}}


def _modern(place: Any, models: Container[str]) -> dict[str, Any]:
    if not isinstance(place, list) or len(place) < 3 or type(place[1]) is not int:
        raise ModelFileError(f"a call cannot be read: {printable(place, 60)}")
    name, call, number = place[:3]
    history = [name, call - (name in models), number]
    return {"class_name": "__keras_tensor__", "config": {"keras_history": history}}


def _input_layer(name: str, shape: Any, dtype: Any) -> dict[str, Any]:
    config = {"name": name, "batch_input_shape": shape, "dtype": dtype}
    return {"class_name": "InputLayer", "config": config}


def _input_shape(
    entry: Mapping[str, Any], config: Mapping[str, Any]
) -> list[Any] | None:
    """Return the shape of a model's input from the options of its first layer."""
    shape = config.get("batch_input_shape")
    size, length = config.get("input_dim"), config.get("input_length")
    if isinstance(shape, list):
        return shape
    class_name = entry.get("class_name")
    if class_name == "Embedding":
        return [None, length]
    if type(size) is not int:
        return None
    flat = class_name in ("Dense", "MaxoutDense", "Highway")
    return [None, size] if flat else [None, length, size]


def _name_of(entry: Mapping[str, Any]) -> str:
    config = entry.get("config")
    return str(config.get("name", "model")) if isinstance(config, Mapping) else "model"


def _data_format(where: str, value: Any) -> str:
    known = {"tf": "channels_last", "th": "channels_first"}
    if value not in known:
        raise UnsupportedError(
            f"{where}: option 'dim_ordering' expects one of tf, th. "
            f"Received: dim_ordering={printable(value, 20)}"
        )
    return known[value]


def _refuse_even_kernel(where: str, config: Mapping[str, Any]) -> None:
    """Raise UnsupportedError for a ConvLSTM2D that Theano pads in its own way."""
    strides = config.get("strides", 1)
    plain = strides in (1, [1, 1]) or config.get("padding") == "valid"
    if any(size % 2 == 0 for size in config["kernel_size"]) or not plain:
        raise UnsupportedError(
            f"{where}: a kernel of even size, or strides with border_mode='same', as "
            "Theano pads them, is not supported"
        )


def _four_sides(padding: Any) -> Any:
    """Return the padding of ZeroPadding2D as a pair for each axis."""
    if isinstance(padding, Mapping):
        sides = [padding.get(f"{side}_pad", 0) for side in ("top", "bottom")]
        return [sides, [padding.get(f"{side}_pad", 0) for side in ("left", "right")]]
    if isinstance(padding, list) and len(padding) == 4:
        return [padding[:2], padding[2:]]
    return padding
