"""Models of any layers without Keras: random weights whose sizes are found by trial."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from support.nets import layer

from verify.errors import ModelFileError
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import AnyShape
from verify.model.graph import flatten
from verify.model.spec import LayerSpec, ModelSpec
from verify.model_files.config import read_architecture
from verify.model_files.shapes import FALLBACK_SIZES, with_shapes

Shape = tuple[int | None, ...]
POSITIVE = ("variance", "moving_variance", "scale", "gamma")
"""Weights that are divided by, or whose root is taken, or that must not change sign."""


def chain(
    shapes: Sequence[Shape],
    *layers: dict[str, Any],
    dtypes: Sequence[str] = (),
    call: Mapping[str, int | Sequence[int]] | None = None,
    masked: int = 0,
    outputs: int = 1,
    seed: int = 0,
) -> ModelSpec:
    """A model whose first layer takes all inputs, and each other the output before.

    Parameters
    ----------
    shapes : sequence of tuples
        Of the inputs, with the batch axis; they are called in0, in1, ...
    *layers : dict
        From `nets.layer`. One called ``masking`` stands before the others and takes one
        input, number `masked`.
    dtypes : sequence of str
        Of the inputs.
    call : mapping, optional
        Arguments of the first layer besides its input, by the numbers of the inputs
        that are given for them; the others are its input.
    outputs : int
        How many outputs of the last layer the model returns.
    seed : int
        Of the weights.
    """
    names = [f"in{k}" for k in range(len(shapes))]
    kinds = [*dtypes, *["float32"] * (len(shapes) - len(dtypes))]
    entries = [
        layer("InputLayer", name, batch_shape=list(shape), dtype=kind)
        for name, shape, kind in zip(names, shapes, kinds, strict=True)
    ]
    sources = list(names)
    known: dict[str, LayerSpec] = {}
    spec: ModelSpec | None = None
    for k, entry in enumerate(layers):
        name = entry["config"]["name"]
        if name == "masking":
            given, kwargs = _tensor(sources[masked]), {}
            sources[masked] = name
        elif k == 0 or (k == 1 and "masking" in sources):
            kwargs = {
                key: _tensor(sources[n]) if isinstance(n, int) else
                [_tensor(sources[m]) for m in n]
                for key, n in (call or {}).items()
            }  # fmt: skip
            used = {m for n in (call or {}).values()
                    for m in ([n] if isinstance(n, int) else n)}  # fmt: skip
            plain = [_tensor(s) for m, s in enumerate(sources) if m not in used]
            given = plain if len(plain) > 1 else plain[0]
        else:
            given, kwargs = _tensor(layers[k - 1]["config"]["name"]), {}
        node = {"args": [given], "kwargs": kwargs}
        entries.append({**entry, "name": name, "inbound_nodes": [node]})
        count = outputs if k == len(layers) - 1 else 1
        config = _config(entries, names, name, count)
        spec = _fitted(config, known, name, seed + k)
        known[name] = spec[name]
    assert spec is not None
    return spec


def _tensor(name: str) -> dict[str, Any]:
    history = {"shape": [], "dtype": "float32", "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": history}


def _config(
    entries: list[Any], inputs: list[str], output: str, count: int
) -> dict[str, Any]:
    used = [e for e in entries if "inbound_nodes" in e or e["config"]["name"] in inputs]
    return {
        "module": "keras",
        "class_name": "Functional",
        "config": {
            "name": "model",
            "layers": [{"name": e["config"]["name"], "inbound_nodes": [], **e}
                       for e in used],
            "input_layers": [[name, 0, 0] for name in inputs],
            "output_layers": [[output, 0, k] for k in range(count)],
        },
        "registered_name": None,
    }  # fmt: skip


def _fitted(
    config: dict[str, Any], known: Mapping[str, LayerSpec], new: str, seed: int
) -> ModelSpec:
    """Return the model with weights for a new layer, in the first sizes that fit."""
    root = read_architecture(config)
    for name, found in known.items():
        root = root.replaced(name, replace(found, input_shape=None, output_shape=None))
    sizes = {s for _, x in root.walk() for s in _dims(x.options) if s}
    sizes |= _outputs(known)
    sizes |= _parts_and_products(root.at(new).options, sizes)
    last: ModelFileError | None = None
    candidates = list(_candidates(root.at(new), sorted(sizes)))
    # what does not fit is refused sooner if few sizes of the open axes are tried
    for fallback, shapes in itertools.product(((), FALLBACK_SIZES), candidates):
        try:
            grown = root.replaced(new, _weighted(root.at(new), iter(shapes), seed))
            shaped = with_shapes(grown, fallback)
            return ModelSpec(shaped, source="a test", config=config)
        except ModelFileError as error:
            last = last or error
    raise AssertionError(f"no sizes fit {root.at(new)}: {last}")


def _dims(options: Mapping[str, Any]) -> Iterator[int]:
    for key in ("batch_shape", "units", "filters", "output_dim"):
        for size in np.atleast_1d(np.asarray(options.get(key, ()), dtype=object)):
            if isinstance(size, int):
                yield size


def _parts_and_products(options: Mapping[str, Any], sizes: set[int]) -> set[int]:
    """Channels of a group, and of what a depthwise convolution makes of them."""
    groups, multiplier = options.get("groups", 1), options.get("depth_multiplier", 1)
    groups = max(groups, 1)  # -1: a GroupNormalization of each position
    return {s // groups for s in sizes if s % groups == 0} | {
        s * multiplier for s in sizes
    }


def _outputs(known: Mapping[str, LayerSpec]) -> set[int]:
    shapes = [x.output_shape for x in known.values() if x.output_shape]
    return {s for shape in shapes for s in np.ravel(np.asarray(shape, object)) if s}


def _slots(spec: LayerSpec) -> Iterator[tuple[int | None, ...]]:
    """The shapes of all weights of a layer and of those inside it, in order."""
    yield from REGISTRY[spec.class_name].weight_shapes(spec.options).values()
    for inner in spec.sublayers.values():
        yield from _slots(inner)


def _candidates(spec: LayerSpec, sizes: list[int]) -> Iterator[list[tuple[int, ...]]]:
    """Shapes for all weights: one size for all open axes, then those of stacks, any."""
    slots = list(_slots(spec))
    open_axes = sum(s is None for slot in slots for s in slot)
    whole = sum(isinstance(slot, AnyShape) for slot in slots)
    axes = [(n,) * open_axes for n in sizes]
    units = [x.options["units"] for _, x in spec.walk() if "units" in x.options]
    if len(units) == open_axes:  # cells in a stack: each takes the output before
        axes += [(n, *units[:-1]) for n in sizes]
    if 1 < open_axes < 6:
        axes += list(itertools.product(sizes, repeat=open_axes))
    shapes = [(n,) for n in sizes]
    shapes += [*itertools.product([*sizes, 1], repeat=2)]
    for chosen in axes or [()]:
        for shape in shapes if whole else [()]:
            rest = iter(chosen)
            yield [
                shape if isinstance(slot, AnyShape)
                else tuple(next(rest) if s is None else s for s in slot)
                for slot in slots
            ]  # fmt: skip


def _weighted(
    spec: LayerSpec, shapes: Iterator[tuple[int, ...]], seed: int
) -> LayerSpec:
    rng = np.random.default_rng(seed)
    weights = {}
    for key in REGISTRY[spec.class_name].weight_shapes(spec.options):
        shape = next(shapes)
        value = rng.uniform(0.2, 0.9, size=shape)
        if key not in POSITIVE:
            value = value * rng.choice([-1.0, 1.0], size=shape)
        weights[key] = np.asarray(value, dtype=np.float32)
    inside = {
        key: _weighted(inner, shapes, seed + 101 + k)
        for k, (key, inner) in enumerate(spec.sublayers.items())
    }
    return replace(spec, weights=weights, sublayers=inside)


def inputs_for(spec: ModelSpec, rows: int, seed: int = 0) -> Any:
    """Inputs of a model: numbers, ids below 7, masks; some steps are zeros or false."""
    rng = np.random.default_rng(seed)
    found = {}
    for given in spec.inputs:
        _, *sizes = given.options["batch_shape"]
        shape = (rows, *(s or 5 for s in sizes))
        x: np.ndarray
        if known := _known(spec):
            x = rng.choice(np.asarray(known), size=shape)
        elif given.options["dtype"] == "string":
            x = rng.choice(np.asarray(["a", "few", "words"]), size=shape)
        elif given.options["dtype"] == "bool":
            x = rng.random(size=shape) < 0.7
            x[0] = True
        elif given.options["dtype"].startswith("int"):
            x = rng.integers(1, 7, size=shape).astype(np.int32)
        elif given.options["dtype"] == "uint8":
            x = rng.integers(0, 256, size=shape).astype(np.uint8)
        else:
            x = rng.normal(size=shape).astype(np.float32)
        if x.ndim > 1 and x.dtype.kind not in "bU" and not known and shape[1] > 2:
            time = shape[1]
            x[1::4, time // 2 :] = 0  # on the right, on the left, a hole
            x[2::4, : time // 2] = 0
            x[3::4, 1] = 0
        found[given.name] = x
    return found if len(found) > 1 else next(iter(found.values()))


def _known(spec: ModelSpec) -> list[Any]:
    """Tokens of the vocabularies of a model, and others where they may be."""
    for _, x in spec.walk():
        tokens = list(x.options.get("vocabulary") or ())
        if tokens and x.options.get("num_oov_indices", 1):
            tokens += [f"{tokens[0]} x"] if isinstance(tokens[0], str) else [77]
        if tokens:
            return tokens
    return []


def all_outputs(values: Any) -> list[np.ndarray]:
    """The leaves of what a model returns."""
    return [np.asarray(leaf) for leaf in flatten(values)]
