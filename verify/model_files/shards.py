"""Read weights that Keras wrote into several files.

With ``max_shard_size`` Keras writes ``x_00000.weights.h5``, ``x_00001.weights.h5`` and
so on, and beside them ``x.weights.json``, whose ``weight_map`` names the file, or the
files, of each group of weights.

Source: ``ShardedH5IOStore`` in keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verify.errors import ModelFileError, join_and, printable
from verify.model_files.hdf5 import Hdf5Contents, read_hdf5

SHARD_NAME = re.compile(r"(?P<base>.+)_\d{5}\.weights\.h5")
SHOWN_MISSING = 4
"""Missing files that one message lists, at most."""


def is_shard_index(content: Any) -> bool:
    """Say whether parsed JSON is the index of sharded weights."""
    return isinstance(content, Mapping) and isinstance(
        content.get("weight_map"), Mapping
    )


def index_of(path: Path) -> Path | None:
    """Return the index of which a file is a shard, if there is one beside it."""
    found = SHARD_NAME.fullmatch(path.name)
    index = path.with_name(f"{found['base']}.weights.json") if found else None
    return index if index is not None and index.is_file() else None


def read_shards(index: Path, content: Mapping[str, Any], shown: str) -> Hdf5Contents:
    """Read all files of an index as if they were one.

    Parameters
    ----------
    index : path
    content : mapping
        The parsed JSON of the index.
    shown : str
        Name of the index in messages.

    Raises
    ------
    ModelFileError
        A file is missing or damaged, lacks a group that the index says it has, or is
        named as no Keras names it.
    """
    groups = _groups_by_file(content["weight_map"], shown)
    missing = [name for name in groups if not index.with_name(name).is_file()]
    if missing:
        more = len(missing) - SHOWN_MISSING
        names = missing[:SHOWN_MISSING] + ([f"{more} more"] if more > 0 else [])
        raise ModelFileError(
            f"{shown}: its weights are in {len(groups)} file(s), which must lie beside "
            f"it. Missing: {join_and(map(printable, names))}"
        )
    attributes: dict[str, Any] = {"": {}}
    arrays: dict[str, Any] = {}
    for name, wanted in groups.items():
        part = read_hdf5(index.with_name(name), printable(index.with_name(name)))
        absent = sorted(wanted - part.attributes.keys())
        if absent:
            raise ModelFileError(
                f"{part.shown}: expected {printable(absent[0])}, which {shown} says is "
                "there. It may be a file of another saving"
            )
        attributes |= part.attributes
        arrays |= {
            path: array
            for path, array in part.arrays.items()
            if path.rpartition("/")[0] in wanted
        }
    return Hdf5Contents(attributes, arrays, shown)


def _groups_by_file(weight_map: Mapping[str, Any], shown: str) -> dict[str, set[str]]:
    """Return the groups of each file, in the order of the files."""
    found: dict[str, set[str]] = {}
    for group, files in weight_map.items():
        for name in files if isinstance(files, list) else [files]:
            if not isinstance(name, str) or not _is_plain_name(name):
                raise ModelFileError(
                    f"{shown}: expected the name of a file beside it. "
                    f"Received: {printable(name, 60)} for {printable(group, 60)}"
                )
            found.setdefault(name, set()).add(str(group).strip("/"))
    if not found:
        raise ModelFileError(f"{shown}: its weight_map is empty")
    return dict(sorted(found.items()))


def _is_plain_name(name: str) -> bool:
    """Say whether a name leads to no other folder."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")
