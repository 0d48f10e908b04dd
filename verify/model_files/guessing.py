"""Guess the Sequential model that a file of weights alone fits.

The names and shapes of the arrays say which recurrent layers there are, and how many
inputs and units each has. They do not say activations, masks, directions or what has no
weights; `Guess.open_questions` lists that. A guess is JSON for a person to edit, and is
never used in place of a config.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verify.errors import ModelFileError, join_and, printable
from verify.model.arrays import Array, shape_text
from verify.model_files.guessing_keras1 import (
    VERSION,
    as_keras1,
    is_keras1,
    recurrent_class,
    tails,
)
from verify.model_files.guessing_parts import (
    Part,
    as_graph,
    joins,
    unknown_layer,
    with_sizes,
)
from verify.model_files.hdf5 import (
    LAYER_CONTAINERS,
    Hdf5Contents,
    legacy_arrays,
    with_slashes,
)
from verify.model_files.read import read_weights, weight_contents

RECURRENT = {"simple_rnn": (1, "SimpleRNN"), "gru": (3, "GRU"), "lstm": (4, "LSTM")}
"""Name of a group -> number of gates, and class."""

MAX_ORDERS = 50_000
"""Steps of the search for the order of the layers, at most."""

SHOWN_ORDERS = 3
"""Orders that one message lists, at most."""

KNOWN_NAMES = (
    *("dense", "embedding", "time_distributed", "bidirectional", "conv1d"),
    *("convolution1d", "batch_normalization", "layer_normalization"),
)
"""Default names of layers that are recognised: with other arrays they are refused."""

MERGING = ("concatenate", "add", "merge", "multiply", "average", "maximum", "dot")
WEIGHTLESS: dict[str, tuple[str, dict[str, Any], str]] = {
    "dropout": ("Dropout", {"rate": 0.5}, ""),
    "spatial_dropout1d": ("SpatialDropout1D", {"rate": 0.5}, ""),
    "flatten": ("Flatten", {}, ""),
    "masking": ("Masking", {"mask_value": 0.0}, "its mask_value"),
    "activation": ("Activation", {"activation": "linear"}, "its activation"),
    "leaky_re_lu": ("LeakyReLU", {"alpha": 0.3}, "its alpha"),
    "max_pooling1d": ("MaxPooling1D", {"pool_size": 2}, "its pool_size and strides"),
    "average_pooling1d": ("AveragePooling1D", {"pool_size": 2}, "its pool_size"),
    "repeat_vector": ("RepeatVector", {"n": 1}, "its n"),
    "global_max_pooling1d": ("GlobalMaxPooling1D", {}, ""),
    "global_average_pooling1d": ("GlobalAveragePooling1D", {}, ""),
}
"""Default name of a layer without weights -> class, options, and what is unknown."""


ENDS = ("Flatten", "RepeatVector", "GlobalMaxPooling1D", "GlobalAveragePooling1D")
"""Classes that end a sequence, or that begin one anew."""


@dataclass(frozen=True)
class Guess:
    """Hold a config that fits the weights.

    Attributes
    ----------
    config : dict
        The JSON of a Sequential model.
    open_questions : tuple of str
        What the arrays do not say, and what was put in its place.
    """

    config: dict[str, Any]
    open_questions: tuple[str, ...]


def guess_config(contents: Hdf5Contents, order: Sequence[str] = ()) -> Guess:
    """Return the Sequential model that weights fit.

    Parameters
    ----------
    contents : Hdf5Contents
    order : sequence of str
        The layers in the order of the model, for a file that leaves a choice.

    Raises
    ------
    ModelFileError
        The file has a config, the arrays fit no chain of known layers, or several
        orders of the layers fit them.
    """
    if "model_config" in contents.attributes[""]:
        raise ModelFileError(f"{contents.shown}: has a config of its own")
    legacy = any(name.startswith("layer_names") for name in contents.attributes[""])
    parts = list(_legacy_parts(contents) if legacy else _saved_parts(contents))
    if not any(part.recurrent is not None for part in parts):
        raise _refusal(contents, "no recurrent layer is recognised in it")
    if order:
        parts = _as_given(contents, parts, order)
    elif not legacy:
        parts = _in_order(contents, parts)
    version = str(contents.attributes[""].get("keras_version", "2.2.4"))
    if any(part.keras1 for part in parts):
        if any(part.class_name == "Concatenate" for part in parts):
            raise _refusal(contents, "a layer joins branches, so it is no chain")
        version = str(contents.attributes[""].get("keras_version", VERSION))
        guess = _chain(contents, parts, version)
        return replace(guess, config=as_keras1(guess.config, version))
    sized = with_sizes(parts)
    if sized is None:
        raise _refusal(
            contents,
            "a layer joins branches, so it is no chain, and no size says which",
        )
    guess = _chain(contents, sized[0], version if legacy else None)
    if sized[1]:
        guess = replace(guess, config=as_graph(guess.config, sized[1]))
    return guess


def _refusal(contents: Hdf5Contents, why: str) -> ModelFileError:
    return ModelFileError(f"{contents.shown}: no config can be guessed: {why}")


def _legacy_parts(contents: Hdf5Contents) -> Iterator[Part]:
    """Yield the layers of a file of `save_weights` of Keras 2, in its order."""
    version = str(contents.attributes[""].get("keras_version", ""))
    inputs = 0
    for name, arrays in legacy_arrays(contents).items():
        base = _base_name(name)
        weight_names = [
            w.split(":")[0].rpartition("/")[2]
            for w in contents.names(name, "weight_names")
        ]
        if base.startswith("input"):
            inputs += 1
        elif not arrays and joins(base):
            asks = "which layers it joins, in which order (here those that fit)"
            join = {"axis": -1, "trainable": True}  # or it would be an operation
            yield Part(name, "Concatenate", join, alternatives=asks)
        elif base in MERGING:
            raise _refusal(
                contents, f"layer '{printable(name)}' joins branches, so it is no chain"
            )
        elif not arrays:
            yield _weightless(contents, name, base)
        else:
            two = any("backward" in w for w in contents.names(name, "weight_names"))
            old = is_keras1(version, contents.names(name, "weight_names"))
            made = _keras1_part if old else _part
            try:
                yield made(contents, name, base, arrays, weight_names, two)
            except ModelFileError:
                known = {*RECURRENT, *KNOWN_NAMES}
                if base in known or "recurrent_kernel" in weight_names:
                    raise
                shapes = " ".join(shape_text(a.shape) for a in arrays)
                yield unknown_layer(name, shapes)
    if inputs > 1:
        raise _refusal(contents, f"it has {inputs} inputs, so it is no chain")


def _base_name(name: str) -> str:
    """Return the name of a layer without its number, as Keras 2 would have given it."""
    base = re.sub(r"_\d+$", "", name)
    plain = {known.replace("_", ""): known for known in (*WEIGHTLESS, *RECURRENT)}
    plain["timedistributed"] = "time_distributed"
    return plain.get(base, base)


def _keras1_part(
    contents: Hdf5Contents,
    name: str,
    base: str,
    arrays: Sequence[Array],
    names: Sequence[str],
    two: bool,
) -> Part:
    """Recognise a layer of Keras 1 by the names and shapes of its arrays."""
    kinds = tails(names)
    half = len(arrays) // 2 if two else len(arrays)
    found = recurrent_class(kinds[:half], arrays[:half])
    if found is not None:
        class_name, gpu = found
        if two and [a.shape for a in arrays[:half]] != [a.shape for a in arrays[half:]]:
            raise _refusal(contents, f"the halves of '{printable(name)}' differ")
        named = RECURRENT.get(base)
        if named is not None and named[1] != class_name:
            raise _refusal(
                contents,
                f"layer '{printable(name)}' is called {named[1]}, and its arrays are "
                f"those of a {class_name}",
            )
        units, inputs = arrays[1].shape[0], arrays[0].shape[0]
        options: dict[str, Any] = {"units": units, "name": name}
        options |= {"return_sequences": False, "go_backwards": False}
        options |= {"consume_less": "gpu"} if gpu else {}
        asks = "its activations, direction and dropout"
        part = Part(name, class_name, options, inputs, units, True, options, asks)
        part = _in_two(part) if two else part
        return replace(part, keras1=True)
    what = [kind for kind, _ in kinds]
    first = arrays[0]
    if what == ["W"] and "embedding" in base:
        part = _part(contents, name, base, arrays, ["embeddings"], False)
    elif what in (["W"], ["W", "b"]) and first.ndim == 2:
        part = _part(contents, name, base, arrays, ["kernel", "bias"], False)
    elif what in (["W"], ["W", "b"]) and first.ndim == 4 and first.shape[1] == 1:
        kernels = [first[:, 0], *arrays[1:]]
        part = _part(contents, name, base, kernels, ["kernel", "bias"], False)
    elif what == ["gamma", "beta", "running_mean", "running_std"]:
        moving = ["gamma", "beta", "moving_mean", "moving_variance"]
        part = _part(contents, name, base, arrays, moving, False)
    else:
        shapes = " ".join(shape_text(a.shape) for a in arrays)
        raise _refusal(
            contents,
            f"layer '{printable(name)}' (Keras 1) has arrays of {shapes}, which no "
            "layer has that is guessed",
        )
    return replace(part, keras1=True)


def _weightless(contents: Hdf5Contents, name: str, base: str) -> Part:
    if base not in WEIGHTLESS:
        raise _refusal(
            contents,
            f"layer '{printable(name)}' has no weights, and its name is not that of a "
            "layer that is guessed",
        )
    class_name, options, unknown = WEIGHTLESS[base]
    note = f"{unknown} (here {join_and(f'{v}' for v in options.values())})"
    pools = base.endswith("pooling1d")
    return Part(
        name, class_name, dict(options), sequences=pools or base == "masking",
        alternatives=note if unknown else "",
    )  # fmt: skip


def _saved_parts(contents: Hdf5Contents) -> Iterator[Part]:
    """Yield the layers of a ``.weights.h5`` file, in any order."""
    found: dict[str, list[tuple[str, Array]]] = {}
    for path in sorted(contents.arrays, key=_by_number):
        container, _, rest = path.partition("/")
        if container not in LAYER_CONTAINERS or "seed_gen" in path:
            continue
        name, _, inside = rest.partition("/")
        found.setdefault(name, []).append((inside, contents.array(path)))
    for name, pairs in found.items():
        base = re.sub(r"_\d+$", "", name)
        places = [place for place, _ in pairs]
        two = any(path.startswith("backward") for path in places)
        if two:  # forward first, as in a legacy file
            pairs.sort(key=lambda pair: pair[0].startswith("backward"))
        arrays = [array for _, array in pairs]
        yield _part(
            contents, name, base, arrays, _saved_names(base, places, arrays), two
        )


def _by_number(path: str) -> list[Any]:
    return [(p.isdigit(), int(p) if p.isdigit() else p) for p in path.split("/")]


def _saved_names(
    base: str, inside: Sequence[str], arrays: Sequence[Array]
) -> list[str]:
    """Return Keras's names of arrays that a file only numbers."""
    if any("cell/" in path for path in inside):
        half = ["kernel", "recurrent_kernel", "bias"]
        two = any(path.startswith("backward") for path in inside)
        count = len(arrays) // (2 if two else 1)
        return half[:count] * (2 if two else 1)
    if base == "embedding":
        return ["embeddings"]
    if "normalization" in base:
        return ["gamma", "beta", "moving_mean", "moving_variance"][: len(arrays)]
    return ["kernel", "bias"][: len(arrays)]


def _part(
    contents: Hdf5Contents,
    name: str,
    base: str,
    arrays: Sequence[Array],
    names: Sequence[str],
    two: bool,
) -> Part:
    """Recognise a layer by the names and shapes of its arrays."""
    if "recurrent_kernel" in names:
        return _recurrent(contents, name, base, arrays, two)
    first, count = arrays[0], len(arrays)
    biased = {"use_bias": count == 2}
    fits = count == 1 or (count == 2 and arrays[1].shape == first.shape[-1:])
    if names[0] == "embeddings" and first.ndim == 2 and count == 1:
        ids, size = first.shape
        options = {"input_dim": ids, "output_dim": size, "mask_zero": False}
        return Part(name, "Embedding", options, None, size,
                     alternatives="its mask_zero (here not set)")  # fmt: skip
    if names[0] == "kernel" and first.ndim == 2 and fits:
        size, units = first.shape
        dense = {"units": units, "activation": "linear", **biased}
        asks = "its activation (here linear)"
        if base == "time_distributed":
            inner = {
                "class_name": "Dense",
                "config": {"name": f"{name}_dense", **dense},
            }
            options = {"layer": inner}
            return Part(name, "TimeDistributed", options, size, units, True, None, asks)
        return Part(name, "Dense", dense, size, units, False, None, asks)
    if names[0] == "kernel" and first.ndim == 3 and fits:
        options = {"filters": first.shape[2], "kernel_size": [first.shape[0]], **biased}
        options |= {"strides": [1], "padding": "valid", "activation": "linear"}
        asks = "its activation, strides, padding and dilation_rate"
        asks += " (here linear, 1, valid and 1)"
        _, size, filters = first.shape
        return Part(name, "Conv1D", options, size, filters, True, None, asks)
    if "moving_variance" in names and first.ndim == 1 and count == 4:
        size, options = first.shape[0], {"epsilon": 1e-3}
        return Part(name, "BatchNormalization", options, size, size,
                     alternatives="its epsilon (here 0.001)")  # fmt: skip
    if list(names) == ["gamma", "beta"] and first.ndim == 1:
        size, options = first.shape[0], {"epsilon": 1e-3}
        return Part(name, "LayerNormalization", options, size, size,
                     alternatives="its epsilon (here 0.001)")  # fmt: skip
    shapes = " ".join(shape_text(a.shape) for a in arrays)
    raise _refusal(
        contents,
        f"layer '{printable(name)}' has arrays {join_and(names)} of {shapes}, which no "
        "layer has that is guessed",
    )


def _recurrent(
    contents: Hdf5Contents, name: str, base: str, arrays: Sequence[Array], two: bool
) -> Part:
    """Recognise a recurrent layer by its recurrent kernel, which is (units, n * units).

    With one block it is a SimpleRNN, with three a GRU, with four an LSTM.
    """
    some = list(arrays[: len(arrays) // 2] if two else arrays)
    other = list(arrays[len(arrays) // 2 :] if two else [])
    same = not two or [a.shape for a in some] == [a.shape for a in other]
    good = len(some) in (2, 3) and some[0].ndim == some[1].ndim == 2 and same
    units, width = some[1].shape if good else (0, 0)
    gates = width // units if units and not width % units else 0
    known = dict(RECURRENT.values())
    if gates not in known or some[0].shape[1] != width:
        raise _refusal(
            contents,
            f"the arrays of layer '{printable(name)}' are those of no recurrent layer",
        )
    class_name = known[gates]
    bias = some[2].shape if len(some) == 3 else None
    options: dict[str, Any] = {"units": units, "use_bias": bias is not None}
    if class_name != "SimpleRNN" and bias == (2 * width,):
        class_name = f"CuDNN{class_name}"
        del options["use_bias"]
    elif class_name == "GRU":
        options["reset_after"] = bias is not None and len(bias) == 2
    elif bias not in (None, (width,)):
        raise _refusal(contents, f"the bias of layer '{printable(name)}' fits no layer")
    named = next((v for k, v in RECURRENT.items() if k == base), None)
    if named is not None and named[0] != gates:
        raise _refusal(
            contents,
            f"layer '{printable(name)}' is called {named[1]}, and its arrays are those "
            f"of a {class_name}",
        )
    asks = "its activations, direction and dropout"
    if class_name == "GRU" and bias is None:
        asks += (
            ", and whether reset_after is set, since it has no bias (here it is not)"
        )
    options |= {"return_sequences": False, "go_backwards": False, "name": name}
    part = Part(name, class_name, options, some[0].shape[0], units, True, options, asks)
    if not two:
        return part
    return _in_two(part)


def _in_two(part: Part) -> Part:
    """Return a recurrent layer in both directions."""
    assert part.recurrent is not None
    part.recurrent["name"] = f"{part.name}_{part.class_name.lower()}"
    layer = {"class_name": part.class_name, "config": part.recurrent}
    outer = {"layer": layer, "merge_mode": "concat"}
    outputs = None if part.outputs is None else 2 * part.outputs
    return replace(part, class_name="Bidirectional", options=outer, outputs=outputs)


def _as_given(
    contents: Hdf5Contents, parts: Sequence[Part], order: Sequence[str]
) -> list[Part]:
    """Return layers in the order of their names that the user gave."""
    known = {part.name: part for part in parts}
    if sorted(order) != sorted(known):
        raise ModelFileError(
            f"{contents.shown}: expected --order to name {join_and(sorted(known))}. "
            f"Received: {printable(', '.join(order), 200)}"
        )
    return [known[name] for name in order]


def _in_order(contents: Hdf5Contents, parts: Sequence[Part]) -> list[Part]:
    """Return layers in the only order in which each takes what the one before gives.

    A ``.weights.h5`` file numbers the layers of one class in the order of the model,
    and says no more about the order.
    """
    orders: list[list[Part]] = []
    steps = 0

    def extend(chain: list[Part], rest: list[Part], size: int | None) -> None:
        nonlocal steps
        steps += 1
        if steps > MAX_ORDERS or len(orders) > SHOWN_ORDERS:
            return
        if not rest:
            orders.append(chain)
            return
        seen = set()
        for part in rest:  # the first of its class alone may be next
            base = re.sub(r"_\d+$", "", part.name)
            if base in seen:
                continue
            seen.add(base)
            first = not chain
            if not first and part.class_name == "Embedding":
                continue
            if first or part.inputs == size or _merged(chain[-1], part.inputs):
                others = [p for p in rest if p is not part]
                extend([*chain, part], others, part.outputs)

    numbered = sorted(parts, key=lambda part: _by_number(part.name.replace("_", "/")))
    extend([], numbered, None)
    if len(orders) == 1 and steps <= MAX_ORDERS:
        return orders[0]
    if not orders:
        listed = ", ".join(f"{p.name} {p.inputs} to {p.outputs}" for p in numbered)
        raise _refusal(
            contents, f"its layers fit together in no order ({printable(listed, 300)})"
        )
    shown = "; or ".join(
        ", ".join(printable(p.name) for p in order) for order in orders[:SHOWN_ORDERS]
    )
    raise _refusal(
        contents,
        "its layers fit together in several orders, of which --order may name one: "
        f"{shown}",
    )


def _merged(before: Part, size: int | None) -> bool:
    """Say whether a Bidirectional gives this size if it does not concatenate."""
    return (
        before.class_name == "Bidirectional"
        and before.outputs is not None
        and size == before.outputs // 2
    )


def _chain(contents: Hdf5Contents, parts: Sequence[Part], version: str | None) -> Guess:
    """Return the model of layers that follow each other."""
    questions = [
        f"{part.name}: {part.alternatives}" for part in parts if part.alternatives
    ]
    chain: list[Part] = []
    time: int | None = None
    size: int | None = None
    for part in parts:
        if part.inputs is not None and size is not None and part.inputs != size:
            before = max(k for k, p in enumerate(chain) if p.outputs)
            if _merged(chain[before], part.inputs):
                chain[before].options["merge_mode"] = "sum"
                questions.append(
                    f"{chain[before].name}: merge_mode, sum, mul or ave (here sum), by "
                    f"the {part.inputs} inputs of {part.name}"
                )
            elif part.class_name == "Dense" and part.inputs % size == 0:
                steps = part.inputs // size
                if all(p.class_name != "Flatten" for p in chain[before:]):
                    chain.append(Part(f"{part.name}_flatten", "Flatten", {}))
                time = _steps_before(chain[: before + 1], steps)
                questions.append(
                    f"{part.name}: {part.inputs} inputs are read as {steps} steps of "
                    f"{size}, flattened"
                )
            else:
                raise _refusal(
                    contents,
                    f"layer '{printable(part.name)}' takes {part.inputs} features, and "
                    f"'{printable(chain[before].name)}' before it gives {size}",
                )
        size = part.outputs or size
        chain.append(part)
    _return_sequences(chain, questions)
    _activations(chain, version, questions)
    first = next(part for part in chain if part.outputs is not None)
    ids = first.class_name == "Embedding"
    given: dict[str, Any] = {
        "name": "guessed_input",
        "batch_shape" if version is None else "batch_input_shape": (
            [None, time] if ids else [None, time, first.inputs]
        ),
        "dtype": "int32" if ids else "float32",
    }
    if time is None:
        questions.append("the number of time steps (here open)")
    questions.append(
        "layers without weights, which leave no name here, such as Masking, Flatten, "
        "pooling or an Activation"
        if version is None
        else "whether the layers are a chain, as they are written here"
    )
    layers = [_entry("InputLayer", given)]
    layers += [_entry(p.class_name, {"name": p.name, **p.options}) for p in chain]
    config: dict[str, Any] = {
        "class_name": "Sequential",
        "config": {"name": "guessed", "layers": layers},
        "keras_version": version or "3.0.0",
        "guessed": {"not known": questions},
    }
    return Guess(config, tuple(questions))


def _steps_before(chain: Sequence[Part], steps: int) -> int:
    """Return the steps of the input of which some layers make so many."""
    for part in reversed(chain):
        if part.class_name == "Conv1D":
            steps += part.options["kernel_size"][0] - 1
        elif "pool_size" in part.options:
            steps *= part.options["pool_size"]
    return steps


def _entry(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": class_name, "config": config}


def _return_sequences(parts: Sequence[Part], questions: list[str]) -> None:
    """Have a recurrent layer return sequences if the layers behind it need them."""
    for k, part in enumerate(parts):
        if part.recurrent is None:
            continue
        behind = iter(parts[k + 1 :])
        user = next((p for p in behind if p.sequences or p.class_name in ENDS), None)
        needed = user is not None and user.class_name != "RepeatVector"
        part.recurrent["return_sequences"] = needed
        if user is None:
            questions.append(
                f"{part.name}: whether this last recurrent layer has return_sequences "
                "(here it has not)"
            )


def _activations(
    parts: Sequence[Part], version: str | None, questions: list[str]
) -> None:
    """Set the default of the version that wrote the file, and say so."""
    old = version is not None and re.match(r"1\.|2\.[0-2]\b", version) is not None
    for part in parts:
        options = part.recurrent
        kind = part.options.get("layer", {}).get("class_name", part.class_name)
        if options is None:
            continue
        if kind.startswith("CuDNN"):
            options.pop("go_backwards", None)
            continue
        options["activation"] = "tanh"
        if kind != "SimpleRNN":
            options["recurrent_activation"] = "hard_sigmoid" if old else "sigmoid"
    if old:
        questions.append(
            f"recurrent_activation is hard_sigmoid, the default of Keras {version}"
        )


def read_guess(path: Path, order: Sequence[str] = ()) -> Guess:
    """Guess the config of a file, and make sure that it fits the file.

    Raises
    ------
    ModelFileError
        As `guess_config`, or the file holds no weights.
    """
    contents = weight_contents(path)
    if contents is None:
        raise ModelFileError(
            f"{printable(path)}: expected a file with weights (.h5, .weights.h5)"
        )
    contents = with_slashes(contents)
    guess = guess_config(contents, order)
    version = guess.config["keras_version"]
    read_weights(contents, guess.config, version, path, partial=True)
    return guess
