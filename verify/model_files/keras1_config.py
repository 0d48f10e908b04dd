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
from verify.model_files.keras1_graph import (
    highway,
    input_layer,
    joined,
    maxout,
    merge,
    modern_call,
    tensor,
)
from verify.model_files.keras1_names import INERT, MARKS, REFUSED, RENAMED


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
        return [input_layer(name, shape, dtype)]

    def called(self, entry: Any, models: Container[str]) -> list[dict[str, Any]]:
        """Rewrite a layer of a Functional model, with its calls.

        Keras 1 counts the calls of a model in the model, whose names are `models`, from
        1, as Keras 2 does.
        """
        nodes = entry.get("inbound_nodes", [])
        name = entry.get("name", _name_of(entry))
        if entry.get("class_name") == "InputLayer":
            (start,) = self.entries(entry)
            return [{**start, "name": name, "inbound_nodes": []}]
        inputs = [[modern_call(place, models) for place in node] for node in nodes]
        if self._needs_graph(entry):
            made: list[dict[str, Any]] = []
            for k, places in enumerate(inputs):
                made = joined(made, self.expanded(entry, places, k))
            return made
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
            return [input_layer(name, shape, config.get("input_dtype") or "float32")]
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
            return merge(where, name, config, inputs, call)
        if class_name == "Highway":
            weights = self.arrays.get(name) or [None]
            size = getattr(weights[0], "shape", (config.get("input_dim"),))[-1]
            return highway(name, {**config, "input_dim": size}, inputs, call)
        return maxout(name, config, inputs, call)

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
                at = self._add(self.upgrader.expanded(entry, list(map(tensor, ends))))
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
                at = self._add(self.upgrader.expanded(entry, [tensor(at)]))
                continue
            for made in self.upgrader.entries(entry):
                node = {"args": [tensor(at)], "kwargs": {}}
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
