"""Have the verifier read every config of a collection, and sort what comes of it."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.configs.collection import Collection
from verify.errors import VerifyError
from verify.model_files.config import read_architecture
from verify.model_files.keras1_config import upgrade_keras1
from verify.model_files.plain_values import plain
from verify.model_files.read import upgraded_config

UNKNOWN_OPTION = re.compile(r"option '\w+' is not supported")


class Outcome(enum.Enum):
    """Say what the verifier makes of a config."""

    READ = "configs read"
    REFUSED_VALUE = "refused for the value of an option"
    REFUSED_CLASS = "refused for their class"
    UNKNOWN = "with an option that the verifier does not know"


@dataclass(frozen=True)
class Reading:
    """Hold the outcome for one config, and the reason if it was refused."""

    class_name: str
    config: dict[str, Any]
    versions: str
    outcome: Outcome
    reason: str = ""


def outcomes(collection: Collection, *, every: bool = True) -> Iterator[Reading]:
    """Yield the outcome for every distinct config; see `Collection.entries`."""
    for class_name, config, numbers in collection.entries(every=every):
        names = [collection.versions[k] for k in numbers]
        shown = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        outcome, reason = read(class_name, config, names[-1])
        yield Reading(class_name, config, shown, outcome, reason)


def read(class_name: str, config: dict[str, Any], version: str) -> tuple[Outcome, str]:
    """Read one config as a layer in a model of the version that wrote it."""
    name, number = version.split()
    if name == "tensorflow":
        number = f"2.{'4' if number.startswith('2') else '1'}.0"
    legacy = number.startswith(("1.", "2."))
    entry: dict[str, Any] = {"class_name": class_name, "config": config}
    body: Any = [entry]
    first = {
        "class_name": "InputLayer",
        "config": {"name": "first", "dtype": "float32"},
    }
    if not legacy:
        entry |= {"module": "keras.layers", "registered_name": None}
        shape = {"batch_shape": [None, 6, 3]}
        first["config"] |= shape  # type: ignore[operator]
        first |= {"module": "keras.layers", "registered_name": None}  # type: ignore[dict-item]
        body = {"name": "model", "layers": [first, entry]}
        if class_name == "InputLayer":
            body["layers"] = [entry]
    elif class_name != "InputLayer" and "batch_input_shape" not in config:
        entry["config"] = {**config, "batch_input_shape": [None, 6, 3]}
    model: dict[str, Any] = {"class_name": "Sequential", "config": body}
    if not legacy:
        model |= {"module": "keras", "registered_name": None}
    try:
        if number.startswith("1."):
            model = upgrade_keras1(plain(model), number, False, {}).config
        read_architecture(upgraded_config(model, number).config)
    except VerifyError as error:
        reason = str(error)
        if UNKNOWN_OPTION.search(reason):
            return Outcome.UNKNOWN, reason
        if "option '" in reason:
            return Outcome.REFUSED_VALUE, reason
        return Outcome.REFUSED_CLASS, reason
    return Outcome.READ, ""
