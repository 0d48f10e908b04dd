"""Write a pack as one JSON document, which describes itself.

``files/vectors.schema.json`` is the JSON Schema of the document.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import printable
from verify.forward.activations import resolve
from verify.forward.layers import LOOPS, REGISTRY
from verify.forward.layers.recurrent_cells import CELLS
from verify.forward.recurrence import MaskRule
from verify.forward.trace import bare_path
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.dtypes import is_float
from verify.model.graph import MaskOf, TensorRef, map_structure
from verify.model.spec import LayerSpec
from verify.ports.vectors.pack import Numbers, Pack, PackedCall

FORMAT, VERSION = "keras-rnn-verify test vectors", 1
"""Name and version of the form of the document."""

NAN, INFINITY, MINUS_INFINITY = "NaN", "Infinity", "-Infinity"
"""How JSON holds what it has no number for; `float` reads all three."""

Document = dict[str, Any]


def document(pack: Pack, made_by: str) -> Document:
    """Return a pack as plain values, with arrays in place of lists of numbers.

    Parameters
    ----------
    pack : Pack
    made_by : str
        Name and version of the program.
    """
    net, spec = pack.net, pack.net.spec
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": made_by,
        "seed": pack.seed,
        "notes": list(pack.notes),
        "model": {
            "name": spec.name,
            "class": spec.root.class_name,
            "keras_version": spec.keras_version,
            "stateful": net.stateful
            and Rule.PREDICT_FORGETS_STATES not in spec.root.rules,
            "batch_size": spec.batch_size,
            "inputs": [
                {
                    "name": name,
                    "shape": list(layer.options["batch_shape"]),
                    "dtype": layer.options["dtype"],
                }
                for name, layer in zip(net.input_names, spec.inputs, strict=True)
            ],
            "outputs": list(net.output_names),
            "calls": list(graph_lines(spec.root)),
            "activations": activations(spec.root),
            "layers": list(_layers(pack)),
        },
        "weights": {name: _array(weight) for name, weight in pack.text_weights.items()},
        "probes": [
            {
                "name": probe.name,
                "why": probe.why,
                "calls": [_call(call) for call in probe.calls],
            }
            for probe in pack.probes
        ],
    }


def _array(array: Array) -> Document:
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": array}


def _call(call: PackedCall) -> Document:
    return {
        "inputs": {name: _array(array) for name, array in call.inputs.items()},
        "outputs": {n.name: _numbers(n) for n in call.outputs},
        "masks": {key: _array(mask) for key, mask in call.masks.items()},
        "stages": [
            {
                "layer": stage.layer,
                "class": stage.class_name,
                "backwards": stage.backwards,
                "stepped": [{"name": n.name, **_numbers(n)} for n in stage.stepped],
                "whole": [{"name": n.name, **_numbers(n)} for n in stage.whole],
            }
            for stage in call.stages
        ],
    }


def _numbers(numbers: Numbers) -> Document:
    return {
        "meaning": numbers.meaning,
        "axes": numbers.axes,
        "steps": None if numbers.steps is None else list(numbers.steps),
        "time": numbers.time,
        "shape": list(numbers.expected.shape),
        "data": numbers.expected,
        "allowed": numbers.allowed,
    }


def _layers(pack: Pack) -> Iterator[Document]:
    """Yield what is to be said of each layer, those inside others included."""
    spec = pack.net.spec
    masked = {
        bare_path(key, spec)
        for probe in pack.probes
        for call in probe.calls
        for key in call.masks
    }
    for path, layer in spec.walk():
        if layer.class_name == "InputLayer":
            continue
        yield {
            "path": path,
            "class": layer.class_name,
            "policy": layer.policy,
            "options": {key: _option(x) for key, x in layer.options.items()},
            "weights": [f"{path}/{key}" for key in layer.weights],
            "gates": gates(layer),
            "equations": [printable(x, 500) for x in equations(layer)],
            "calls": list(graph_lines(layer)),
            "receives_a_mask": path in masked,
            "masked_steps": masked_steps(layer) if path in masked else "",
        }


def equations(layer: LayerSpec) -> list[str]:
    """Return what a layer computes: what its class does, then what this one does."""
    kind = REGISTRY[layer.class_name]
    lines: list[str] = []
    # The docstrings of cells point to the code, and the notes have their equations;
    # those of operations are about Python.
    documented = layer.class_name not in (*LOOPS, *CELLS) and layer.graph is None
    if documented and not layer.class_name.startswith("ops."):
        lines = [
            line
            for line in _docstring_lines(inspect.getdoc(type(kind)) or "")
            if layer.options.get("quantization_mode") or "Quantised" not in line
        ]
    # the columns of the gates stand in a table of their own
    return lines + [x for x in kind.notes(layer) if not x.startswith("columns: ")]


def _docstring_lines(text: str) -> Iterator[str]:
    """Yield the paragraphs of a docstring, and its equations line by line."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("Source:") or "\n---" in paragraph:
            return
        if paragraph.startswith("    "):
            yield from (line.strip() for line in paragraph.splitlines())
        elif bare := " ".join(paragraph.split()).removesuffix("::"):
            yield bare


def _option(value: Any) -> Any:
    """Return an option as JSON can hold it; what it cannot hold as text."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return printable(repr(value))


def gates(layer: LayerSpec) -> list[Document]:
    """Return the columns of each gate in the weights, from left to right."""
    size = layer.options.get("units", layer.options.get("filters", 0))
    candidate = {"c": "c_hat"} if "f" in layer.gates else {"h": "h_hat"}
    names = candidate if len(layer.gates) > 1 else {}
    return [
        {
            "value": names.get(gate, gate),
            "columns": [k * size, (k + 1) * size],
        }
        for k, gate in enumerate(layer.gates)
    ]


def masked_steps(layer: LayerSpec) -> str:
    """Return in words what a recurrent layer does at a masked step."""
    if layer.class_name not in LOOPS:
        return ""
    rule = MaskRule.of(layer)
    kept = "At a masked step every state keeps its value, and the output is "
    if rule.zeroes:
        return f"{kept}zeros."
    if rule.shows_state:
        return f"{kept}the state h."
    if rule.misaligned:
        return (
            f"{kept}that of the step processed before it (zeros if there is none). "
            "Then, because Keras does so, the outputs, which stand in the order of "
            "processing, are set to zero where the mask, which stands in the order "
            "of the input, is false."
        )
    return (
        f"{kept}that of the step processed before it; it is zeros until the first "
        "step that is not masked, whatever the initial state is. If the layer returns "
        "one output and no sequence, it is the output of the step processed last, by "
        "the same rule."
    )


def activations(root: LayerSpec) -> dict[str, str]:
    """Return the formula of each activation in the model by its name."""
    names = {
        str(value)
        for _, layer in root.walk()
        for key, value in layer.options.items()
        if key in ("activation", "recurrent_activation") and isinstance(value, str)
    }
    found = {}
    for name in sorted(names):
        try:
            function = resolve(name)
        except StopIteration:
            continue  # not an activation: an option of that name with other values
        text = inspect.getdoc(getattr(function, "func", function)) or ""
        formula = " ".join(text.partition("\n\n")[0].split())
        found[name] = formula.removeprefix("Compute ")
    return found


def graph_lines(model: LayerSpec) -> Iterator[str]:
    """Yield the calls of a model's layers, from its inputs to its outputs.

    A call reads like ``lstm = LSTM(embedding, mask=keep)``; nothing is yielded for a
    layer that is no model.
    """
    if model.graph is None:
        return
    yield f"inputs: {_text(model.graph.inputs)}"
    for node in model.graph.nodes:
        layer = model.sublayers[node.layer]
        given = [_text(argument) for argument in node.args]
        given += [f"{k}={_text(x)}" for k, x in node.kwargs.items() if x is not None]
        name = _tensor(TensorRef(node.layer, node.index, 0))
        yield f"{name} = {layer.class_name}({', '.join(given)})"
    yield f"outputs: {_text(model.graph.outputs)}"


def _tensor(ref: TensorRef) -> str:
    call = f":{ref.node + 1}" if ref.node else ""
    return f"{ref.layer}{call}" + (f".{ref.tensor}" if ref.tensor else "")


def _text(argument: Any) -> str:
    def shown(leaf: Any) -> Any:
        if isinstance(leaf, TensorRef):
            return _Bare(_tensor(leaf))
        if isinstance(leaf, MaskOf):
            return _Bare(f"mask of {_tensor(leaf.tensor)}")
        return leaf

    return printable(repr(map_structure(shown, argument)), 500)


class _Bare(str):
    """Stand for a name that is shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def to_json(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the parts of a JSON text; the numbers of an array stand on one line.

    Floats have the fewest digits that give the same float of their dtype back.
    """
    deeper = indent + " "
    if isinstance(value, np.ndarray):
        yield f"[{','.join(number_texts(value))}]"
    elif isinstance(value, Mapping) and value:
        before = "{"
        for key, item in value.items():
            yield f"{before}\n{deeper}{json.dumps(str(key))}: "
            yield from to_json(item, deeper)
            before = ","
        yield f"\n{indent}}}"
    elif _nests(value):
        before = "["
        for item in value:
            yield f"{before}\n{deeper}"
            yield from to_json(item, deeper)
            before = ","
        yield f"\n{indent}]"
    else:
        yield json.dumps(value)


def _nests(value: Any) -> bool:
    """Return whether a value is a list of more than plain numbers and texts."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    return any(isinstance(item, (Mapping, list)) for item in value)


def number_texts(array: Array) -> list[str]:
    """Return every number of an array as JSON writes it, row by row."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.kind == "b":
        flat = flat.astype(np.uint8)
    if not is_float(flat):
        return [str(n) for n in flat.tolist()]
    if flat.dtype == np.float64:
        texts = [repr(n) for n in flat.tolist()]
    else:
        texts = [str(t) for t in flat.astype("U32").tolist()]
    if np.isfinite(flat).all():
        return texts
    words = {"nan": NAN, "inf": INFINITY, "-inf": MINUS_INFINITY}
    return [json.dumps(words[t]) if t in words else t for t in texts]
