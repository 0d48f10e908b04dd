"""Recognise the layers of a file of weights alone, by names and shapes of arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from verify.errors import ModelFileError, join_and, printable
from verify.forward.layers import REGISTRY
from verify.model.arrays import Array, shape_text
from verify.model_files.guessing_keras1 import (
    conv1d_kernels,
    is_keras1,
    recurrent_class,
    tails,
)
from verify.model_files.guessing_parts import (
    Part,
    joins,
    unknown_layer,
)
from verify.model_files.hdf5 import (
    LAYER_CONTAINERS,
    Hdf5Contents,
    legacy_arrays,
    snake_case,
)

RECURRENT = {"simple_rnn": (1, "SimpleRNN"), "gru": (3, "GRU"), "lstm": (4, "LSTM")}
"""Name of a group -> number of gates, and class."""

KNOWN_NAMES = (
    *("dense", "embedding", "time_distributed", "bidirectional", "conv1d"),
    *("convolution1d", "batch_normalization", "layer_normalization"),
)
"""Default names of layers that are recognised: with other arrays they are refused."""

MERGING = ("concatenate", "add", "merge", "multiply", "average", "maximum", "dot")
CLASS_NAMES = {snake_case(name): name for name in REGISTRY if "." not in name}
"""Default name of a layer -> its class, for the classes of Keras."""

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


def refusal(contents: Hdf5Contents, why: str) -> ModelFileError:
    """Return the error that says why there is no guess."""
    return ModelFileError(f"{contents.shown}: no config can be guessed: {why}")


def named_input(contents: Hdf5Contents) -> str:
    """Return the first layer of a file of Keras 2, if it may be an input by any name.

    It has no weights, and not the default name of a layer that is guessed.
    """
    if not any(name.startswith("layer_names") for name in contents.attributes[""]):
        return ""
    name, arrays = next(iter(legacy_arrays(contents).items()), ("", []))
    base = _base_name(name)
    known = (*WEIGHTLESS, *MERGING)
    is_input = base.startswith("input") or base in known or joins(base)
    return "" if arrays or is_input else name


def legacy_parts(contents: Hdf5Contents) -> Iterator[Part]:
    """Yield the layers of a file of `save_weights` of Keras 2, in its order."""
    version = str(contents.attributes[""].get("keras_version", ""))
    inputs = 0
    by_another_name = named_input(contents)
    for name, arrays in legacy_arrays(contents).items():
        base = _base_name(name)
        weight_names = [
            w.split(":")[0].rpartition("/")[2]
            for w in contents.names(name, "weight_names")
        ]
        if base.startswith("input") or name == by_another_name:
            inputs += 1
        elif not arrays and joins(base):
            asks = "which layers it joins, in which order (here those that fit)"
            join = {"axis": -1, "trainable": True}  # or it would be an operation
            yield Part(name, "Concatenate", join, alternatives=asks)
        elif base in MERGING:
            raise refusal(
                contents, f"layer '{printable(name)}' joins branches, so it is no chain"
            )
        elif not arrays:
            yield _weightless(contents, name, base)
        elif len(inside := _inside(name, contents.names(name, "weight_names"))) > 1:
            full_names = contents.names(name, "weight_names")
            for inner, places in inside.items():
                some = [arrays[k] for k in places]
                ends = [weight_names[k] for k in places]
                two = any("backward" in full_names[k] for k in places)
                part = _part(contents, inner, _base_name(inner), some, ends, two)
                yield replace(part, within=name)
        else:
            two = any("backward" in w for w in contents.names(name, "weight_names"))
            old = is_keras1(version, contents.names(name, "weight_names"))
            made = _keras1_part if old else _part
            try:
                part = made(contents, name, base, arrays, weight_names, two)
                named = CLASS_NAMES.get(base, part.class_name)
                if part.recurrent is None and named != part.class_name and not old:
                    raise _of_another_class(contents, part, named)
                yield part
            except ModelFileError:
                loops = "recurrent_kernel" in weight_names and not _is_other(base)
                if base in {*RECURRENT, *KNOWN_NAMES} or loops:
                    raise
                shapes = " ".join(shape_text(a.shape) for a in arrays)
                yield unknown_layer(name, shapes)
    if inputs > 1:
        raise refusal(contents, f"it has {inputs} inputs, so it is no chain")


def _inside(name: str, weight_names: Sequence[str]) -> dict[str, list[int]]:
    """Return the layers inside a layer of a class of its own, and their arrays.

    The name of an array has those of all layers around it, as in
    ``encoder/lstm_1/lstm_cell/kernel``. The cell or a direction is no layer here.
    """
    found: dict[str, list[int]] = {}
    for k, weight in enumerate(weight_names):
        parts = weight.split("/")[:-1]
        # Keras 2 leaves out a model that the layers are in
        behind = parts[parts.index(name) + 1 :] if name in parts else parts
        inner = behind[0] if behind else ""
        cell = inner.startswith(("forward", "backward")) or "cell" in inner
        found.setdefault("" if cell else inner, []).append(k)
    return found if "" not in found else {}


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
            raise refusal(contents, f"the halves of '{printable(name)}' differ")
        named = RECURRENT.get(base)
        if named is not None and named[1] != class_name:
            raise refusal(
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
    elif what in (["W"], ["W", "b"]) and (kernels := conv1d_kernels(*arrays)):
        if len(kernels) > 1:
            shown = " or ".join(shape_text(kernel.shape) for kernel in kernels)
            raise refusal(
                contents,
                f"the kernel of layer '{printable(name)}' may have the axes of Keras "
                f"1.0 or of later ones: (steps, inputs, filters) are {shown}",
            )
        kernels = [*kernels, *arrays[1:]]
        part = _part(contents, name, base, kernels, ["kernel", "bias"], False)
    elif what == ["gamma", "beta", "running_mean", "running_std"]:
        moving = ["gamma", "beta", "moving_mean", "moving_variance"]
        part = _part(contents, name, base, arrays, moving, False)
    else:
        shapes = " ".join(shape_text(a.shape) for a in arrays)
        raise refusal(
            contents,
            f"layer '{printable(name)}' (Keras 1) has arrays of {shapes}, which no "
            "layer has that is guessed",
        )
    return replace(part, keras1=True)


def _weightless(contents: Hdf5Contents, name: str, base: str) -> Part:
    if base not in WEIGHTLESS:
        raise refusal(
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


def saved_parts(contents: Hdf5Contents) -> Iterator[Part]:
    """Yield the layers of a ``.weights.h5`` file, in any order.

    The groups have the names of classes in a list of layers, and those of attributes in
    a model of a class of its own: ``layers/lstm/cell`` and ``encoder/rnn/cell``. That
    has both if some attributes come before ``layers`` in the alphabet.
    """
    listed = in_lists_alone(contents)
    split = _listed if listed else partial(_attribute, contents)
    found: dict[str, list[tuple[str, Array]]] = {}
    for path in sorted(contents.arrays, key=by_number):
        name, inside = split(path)
        if name and "seed_gen" not in path:
            found.setdefault(name, []).append((inside, contents.array(path)))
    for name, pairs in found.items():
        base = re.sub(r"_\d+$", "", name)
        if not listed:
            base = _base_of_attribute(contents, name, [array for _, array in pairs])
        places = [place for place, _ in pairs]
        two = any(path.startswith("backward") for path in places)
        if two:  # forward first, as in a legacy file
            pairs.sort(key=lambda pair: pair[0].startswith("backward"))
        arrays = [array for _, array in pairs]
        part = _part(
            contents, name, base, arrays, _saved_names(base, places, arrays), two
        )
        known = CLASS_NAMES.get(base)
        # groups of a list are called after the class
        if listed and snake_case(part.class_name) != base:
            known = known or "a layer of another class"
        if known not in (None, part.class_name) and (listed or not part.recurrent):
            raise _of_another_class(contents, part, str(known))
        if not (listed or known or part.recurrent):
            asks = f"its class (here {part.class_name}, by its arrays), and "
            part = replace(part, alternatives=f"{asks}{part.alternatives}")
        yield part


OTHERS = ("vars", "optimizer", "metrics", "compile_metrics")
"""Groups beside those of the layers of a model."""


def in_lists_alone(contents: Hdf5Contents) -> bool:
    """Say whether all layers stand in a list, as in a Sequential or a Functional model.

    A model of a class of its own has its attributes, in the order of their names, and
    ``layers`` among them, with all that come behind it.
    """
    groups = {path.partition("/")[0] for path in contents.arrays} - {*OTHERS}
    return bool(groups) and groups <= {*LAYER_CONTAINERS}


def _listed(path: str) -> tuple[str, str]:
    """Return the layer that an array in a list of layers belongs to, and where in it.

    The name is empty for an array of anything else.
    """
    container, _, rest = path.partition("/")
    name, _, inside = rest.partition("/")
    return (name, inside) if container in LAYER_CONTAINERS else ("", "")


def _attribute(contents: Hdf5Contents, path: str) -> tuple[str, str]:
    """Return the layer that an array belongs to by its attributes, and where in it.

    Raises
    ------
    ModelFileError
        The array is a weight of the model itself.
    """
    place, _, number = path.rpartition("vars/")
    name = re.sub(r"(/(for|back)ward_layer)?(/cell)?$", "", place.rstrip("/"))
    outer = name.removesuffix("/layer")
    if outer != name and _given_base(contents, outer) == "time_distributed":
        name = outer
    if not name:
        raise refusal(
            contents,
            f"array {number} of {shape_text(contents.array(path).shape)} belongs to "
            "the model itself, and to none of its layers",
        )
    return (
        (name, path[len(name) + 1 :]) if name.split("/")[0] not in OTHERS else ("", "")
    )


def _given_base(contents: Hdf5Contents, name: str) -> str:
    """Return the name that a layer was given, without its number; empty if unknown."""
    given = contents.attributes.get(f"{name}/vars", {}).get("name", "")
    return re.sub(r"_\d+$", "", str(given))


def _base_of_attribute(
    contents: Hdf5Contents, name: str, arrays: Sequence[Array]
) -> str:
    """Return the default name of the class of a layer that is called as an attribute.

    Later versions of Keras 3 write the name of the layer beside its arrays.

    Raises
    ------
    ModelFileError
        Layers of several classes have such arrays, and no name says which it is.
    """
    own = re.sub(r"_\d+$", "", name.rpartition("/")[2])
    for base in (_given_base(contents, name), own):
        if base in CLASS_NAMES:
            return base
    ranks = [array.ndim for array in arrays]
    if ranks == [2] and "embed" in name.lower():
        return "embedding"
    if ranks == [1] * 4:
        return "batch_normalization"
    classes = {
        (2,): "an Embedding, or a Dense without bias",
        (1, 1): "a LayerNormalization, or another layer that scales and adds",
        (1,): "a PReLU, or another layer that scales",
    }
    if tuple(ranks) in classes:
        raise refusal(
            contents,
            f"layer '{printable(name)}' has "
            f"{' and '.join(shape_text(a.shape) for a in arrays)} and may be "
            f"{classes[tuple(ranks)]}, which neither its arrays nor its name say",
        )
    return own


def _of_another_class(contents: Hdf5Contents, part: Part, named: str) -> ModelFileError:
    """Return the error for arrays like those of a class, under the name of another."""
    return refusal(
        contents,
        f"layer '{printable(part.name)}' is called {named}, which is not guessed, and "
        f"its arrays could be those of a {part.class_name}",
    )


def by_number(path: str) -> list[Any]:
    """Return what sorts the paths of layers, with numbers by their value."""
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
    raise _unrecognised(
        contents,
        name,
        base,
        f"layer '{printable(name)}' has arrays {join_and(names)} of {shapes}, which no "
        "layer has that is guessed",
    )


def _is_other(base: str) -> bool:
    """Return whether a layer has the default name of a class that is not guessed."""
    return base in CLASS_NAMES and base not in {*RECURRENT, *KNOWN_NAMES}


def _unrecognised(
    contents: Hdf5Contents, name: str, base: str, why: str
) -> ModelFileError:
    """Return the error for a layer whose class is not guessed, or for its arrays."""
    if _is_other(base):
        why = f"layer '{printable(name)}' is called {CLASS_NAMES[base]}, which is not "
        why += "guessed"
    return refusal(contents, why)


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
        raise _unrecognised(
            contents,
            name,
            base,
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
        raise refusal(contents, f"the bias of layer '{printable(name)}' fits no layer")
    named = next((v for k, v in RECURRENT.items() if k == base), None)
    if named is not None and named[0] != gates:
        raise refusal(
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
