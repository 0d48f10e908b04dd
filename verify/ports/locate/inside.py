"""Look inside an exported file while it runs: tensors, recurrent operators, loops.

The modules ``locate_<kind>`` of `verify.ports.artefacts.runtimes` run the file in its
own process and answer with

- ``tensors``: what the nodes compute, in the order of the file, each with ``key`` (its
  array), ``name``, ``op``, ``loop`` (which loop it is computed in, or None) and
  ``steps`` (the iterations that the first axis holds, or None for all);
- ``operators``: operators that run over time by themselves, each with ``op``, ``node``,
  ``attributes`` and ``roles`` (name of an input or output there -> its tensor);
- ``loops``: each with ``op``, ``node`` and ``constants``, those that its body uses;
- ``notes``: sentences about what could not be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verify.model.arrays import Array
from verify.ports.artefacts.session import Session

KINDS = ("onnx", "litert", "openvino")
"""Kinds of files that can be looked into."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """Hold a tensor of a file with its value.

    Attributes
    ----------
    name, op : str
        Its name, and the operator that computes it.
    value : ndarray
        Inside a loop the first axis is that of the iterations.
    loop : int or None
        Which loop of the file it is computed in.
    steps : tuple of int or None
        Which iterations the first axis holds, if not all: the last one is -1.
    """

    name: str
    op: str
    value: Array
    loop: int | None = None
    steps: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Operator:
    """Hold an operator that runs over time by itself.

    Attributes
    ----------
    op, node : str
        Its type, and its name in the file.
    attributes : mapping
        As the file has them; those that it leaves out are absent.
    arrays : mapping of str to ndarray
        Its inputs and outputs by the names that its specification gives them.
    names : mapping of str to str
        The same names -> those of the tensors in the file.
    """

    op: str
    node: str
    attributes: Mapping[str, Any]
    arrays: Mapping[str, Array]
    names: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Loop:
    """Hold a loop of a file: its type, its name, and the constants of its body."""

    op: str
    node: str
    constants: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Inside:
    """Hold what a file computes inside for some inputs."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    loops: tuple[Loop, ...]
    notes: tuple[str, ...]


def look_inside(
    session: Session, feeds: Mapping[str, Array], *, backwards: bool
) -> Inside | None:
    """Run a file with all its tensors as outputs; None if its kind hides them.

    Parameters
    ----------
    session : Session
    feeds : mapping of str to array
        The inputs by their names in the file.
    backwards : bool
        Whether a layer of the model goes backwards.
    """
    if session.kind not in KINDS:
        return None
    found, arrays = session.ask(
        f"locate_{session.kind}.inside", {"backwards": backwards}, feeds
    )
    tensors = tuple(
        Tensor(
            entry["name"],
            entry["op"],
            arrays[entry["key"]],
            entry["loop"],
            None if entry["steps"] is None else tuple(entry["steps"]),
        )
        for entry in found["tensors"]
    )
    operators = tuple(
        Operator(
            entry["op"],
            entry["node"],
            entry["attributes"],
            {role: arrays[f"o{k}/{role}"] for role in entry["roles"]},
            entry["roles"],
        )
        for k, entry in enumerate(found["operators"])
    )
    loops = tuple(
        Loop(
            entry["op"],
            entry["node"],
            {name: arrays[f"l{k}/{name}"] for name in entry["constants"]},
        )
        for k, entry in enumerate(found["loops"])
    )
    return Inside(tensors, operators, loops, tuple(found["notes"]))
