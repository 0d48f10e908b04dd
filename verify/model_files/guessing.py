"""Guess the Sequential model that a file of weights alone fits.

The names and shapes of the arrays say which recurrent layers there are, and how many
inputs and units each has. They do not say activations, masks, directions or what has no
weights; `Guess.open_questions` lists that. A guess is JSON for a person to edit, and is
never used in place of a config.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verify.data.file_kinds import KERAS, file_kind
from verify.errors import ModelFileError, join_and, printable
from verify.model_files.guessing_keras1 import (
    VERSION,
    as_keras1,
)
from verify.model_files.guessing_layers import (
    CLASS_NAMES,
    by_number,
    in_lists_alone,
    legacy_parts,
    named_input,
    refusal,
    saved_parts,
)
from verify.model_files.guessing_parts import (
    Part,
    as_graph,
    in_groups,
    with_sizes,
)
from verify.model_files.hdf5 import (
    Hdf5Contents,
    with_slashes,
)
from verify.model_files.read import (
    read_weights,
    weight_contents,
)

MAX_ORDERS = 50_000
"""Steps of the search for the order of the layers, at most."""

SHOWN_ORDERS = 3
"""Orders that one message lists, at most."""


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
    parts = list(legacy_parts(contents) if legacy else saved_parts(contents))
    if not any(part.recurrent is not None for part in parts):
        raise refusal(contents, "no recurrent layer is recognised in it")
    if order:
        parts = _as_given(contents, parts, order)
    elif not legacy:
        parts = _in_order(contents, parts)
    version = str(contents.attributes[""].get("keras_version", "2.2.4"))
    if any(part.keras1 for part in parts):
        if any(part.class_name == "Concatenate" for part in parts):
            raise refusal(contents, "a layer joins branches, so it is no chain")
        version = str(contents.attributes[""].get("keras_version", VERSION))
        guess = _chain(contents, parts, version)
        return replace(guess, config=as_keras1(guess.config, version))
    sized = with_sizes(parts)
    if sized is None:
        raise refusal(
            contents,
            "a layer joins branches, so it is no chain, and no size says which",
        )
    guess = _chain(contents, sized[0], version if legacy else None)
    within = any(part.within for part in parts)
    if within and (sized[1] or len({part.name for part in parts}) < len(parts)):
        raise refusal(contents, "layers inside others are joined, or have one name")
    if within:
        guess = replace(guess, config=in_groups(guess.config, sized[0]))
    if sized[1]:
        guess = replace(guess, config=as_graph(guess.config, sized[1]))
    return guess


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
    and says no more about the order. Attributes have no order, unless they are lists.
    """
    orders: list[list[Part]] = []
    listed = in_lists_alone(contents)
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
            if base in seen and _counted(base, listed):
                continue
            seen.add(base)
            first = not chain
            if not first and part.class_name == "Embedding":
                continue
            if first or part.inputs == size or _merged(chain[-1], part.inputs):
                others = [p for p in rest if p is not part]
                extend([*chain, part], others, part.outputs)

    numbered = sorted(parts, key=lambda part: by_number(part.name.replace("_", "/")))
    extend([], numbered, None)
    if len(orders) == 1 and steps <= MAX_ORDERS:
        return orders[0]
    if not orders:
        sizes = ", ".join(f"{p.name} {p.inputs} to {p.outputs}" for p in numbered)
        raise refusal(
            contents, f"its layers fit together in no order ({printable(sizes, 300)})"
        )
    shown = "; or ".join(
        ", ".join(printable(p.name) for p in order) for order in orders[:SHOWN_ORDERS]
    )
    raise refusal(
        contents,
        "its layers fit together in several orders, of which --order may name one: "
        f"{shown}",
    )


def _counted(base: str, listed: bool) -> bool:
    """Say whether groups of one name have numbers in the order of the model."""
    return listed or ("/" in base and base.rpartition("/")[2] in CLASS_NAMES)


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
    if name := named_input(contents):
        questions.insert(
            0, f"{name}: whether it is the input, as here, or has another function"
        )
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
                raise refusal(
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
    set_so = False
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
            set_so = old
    if set_so:
        either = version == "2.2.4-tf"  # that of TensorFlow 1.13 to 2.1
        questions.append(
            f"recurrent_activation is hard_sigmoid, the default of Keras {version}"
            + (" in TensorFlow 1; in TensorFlow 2 it is sigmoid" if either else "")
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
        kind = file_kind(path)
        has_config = ""
        if kind == KERAS:
            has_config = ", which has its config in it; rnn-verify describe shows it"
        raise ModelFileError(
            f"{printable(path)}: expected a file with weights (.h5, .weights.h5). "
            f"Received: {kind}{has_config}"
        )
    contents = with_slashes(contents)
    guess = guess_config(contents, order)
    version = guess.config["keras_version"]
    read_weights(contents, guess.config, version, path, partial=True)
    return guess
