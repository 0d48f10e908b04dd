"""Say which input and output of an exported file is which of the model.

Exporters keep names, invent them, or number them; runtimes reorder inputs and outputs.
So names count first, then what shapes and dtypes leave as the only choice, and the
order last of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from verify.errors import DataError, did_you_mean, join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.model.arrays import Array, Shape, shape_text
from verify.model.dtypes import dtype_of, is_float
from verify.model.graph import flatten
from verify.ports.artefacts.signature import Signature, TensorInfo

BY_NAME, BY_PART, BY_NUMBER = "by name", "by a part of its name", "by its number"
BY_SHAPE, BY_PLACE, AS_TOLD = "by shape and dtype", "by place", "as you said"
"""How an input or output was matched."""


@dataclass(frozen=True)
class TensorMatch:
    """Say which tensor of a file is an input or an output of the model.

    Attributes
    ----------
    name : str
        Name of the model's input or output.
    theirs : TensorInfo
    how : str
        By what they were matched.
    axes : tuple of int
        Order in which the axes of the model's tensor stand in the file's; empty if in
        the same order.
    """

    name: str
    theirs: TensorInfo
    how: str
    axes: tuple[int, ...] = ()

    def __str__(self) -> str:
        same = self.name == self.theirs.name
        said = "" if same else f"{printable(self.name, 60)} = "
        turned = f", its axes in the order {self.axes}" if self.axes else ""
        how = "" if same else f" ({self.how}{turned})"
        return f"{said}{self.theirs}{how or (turned and f' ({turned[2:]})')}"

    def to_file(self, x: Array) -> Array:
        """Return an input of the model as the file takes it.

        Raises
        ------
        DataError
            Ids that the file's dtype cannot hold.
        """
        x = x.transpose(self.axes) if self.axes else x
        shape = self.theirs.shape
        if shape is not None and len(shape) != x.ndim:
            x = x.reshape(_with_ones(x.shape, shape))
        wanted = dtype_of(self.theirs.dtype)
        if x.dtype == wanted:
            return x
        if wanted.kind in "iu" and x.size and not is_float(x):
            limits = np.iinfo(wanted)
            if x.min() < limits.min or x.max() > limits.max:
                raise DataError(
                    f"input '{printable(self.name, 60)}': expected ids that fit into "
                    f"{self.theirs.dtype}, the dtype of the exported file. "
                    f"Received: {x.min()} to {x.max()}"
                )
        return x.astype(wanted)

    def from_file(self, y: Array) -> Array:
        """Return an output of the file with its axes in the order of the model's."""
        return y.transpose(np.argsort(self.axes)) if self.axes else y


@dataclass(frozen=True)
class Matching:
    """Hold what each input and output of a model is called in an exported file.

    Attributes
    ----------
    inputs, outputs : tuple of TensorMatch
        In the order of the model's.
    left_over : tuple of TensorInfo
        Outputs of the file that the model does not have.
    states : tuple of (TensorInfo, str)
        For a stateful model whose states the file takes and returns: each input for a
        state, and the name of the output that is its value for the next call.
    """

    inputs: tuple[TensorMatch, ...]
    outputs: tuple[TensorMatch, ...]
    left_over: tuple[TensorInfo, ...] = ()
    states: tuple[tuple[TensorInfo, str], ...] = ()

    def zero_states(self, rows: int) -> dict[str, Array]:
        """Return zeros for every state that the file is given, by its inputs' names."""
        return {
            info.name: np.zeros(
                tuple(rows if size is None else size for size in info.shape or (rows,)),
                dtype_of(info.dtype),
            )
            for info, _ in self.states
        }

    def feeds(self, x: Inputs) -> dict[str, Array]:
        """Return inputs by the names of the file, in its shapes and dtypes."""
        return {
            match.theirs.name: match.to_file(array)
            for match, array in zip(self.inputs, x, strict=True)
        }

    def leaves(self, outputs: Mapping[str, Array]) -> list[Array]:
        """Return the file's outputs in the order of the model's."""
        return [match.from_file(outputs[match.theirs.name]) for match in self.outputs]

    @property
    def shapes(self) -> list[Shape]:
        """Return the shape that the file declares for each input, in the model's axes.

        Axes that it leaves open are None.
        """
        found = []
        for match in self.inputs:
            shape = match.theirs.shape or ()
            found.append(tuple(shape[k] for k in np.argsort(match.axes)) if match.axes
                         else shape)  # fmt: skip
        return found

    @property
    def batch(self) -> int | None:
        """Return the number of rows that the file declares for a call, if it does."""
        sizes = {shape[0] for shape in self.shapes if shape}
        return next((size for size in sizes if size is not None), None)

    def notes(self) -> list[str]:
        """Return a sentence for each thing about the match that a user should see."""
        found = [
            f"output '{printable(info.name, 60)}' of the file is none of the model's"
            for info in self.left_over
        ]
        found += [
            f"'{printable(match.name, 60)}' was matched by its place alone; "
            f"--{side} {printable(match.name, 40)}=NAME decides"
            for side, matches in (("input", self.inputs), ("output", self.outputs))
            for match in matches
            if match.how == BY_PLACE
        ]
        if self.states:
            pairs = [f"{printable(info.name, 60)} from {other}"
                     for info, other in self.states]  # fmt: skip
            found.append(
                "the file keeps no states itself: it is given zeros in the first call, "
                f"and in the next {join_and(pairs)}"
            )
        return found


@dataclass(frozen=True)
class _Ours:
    """Describe an input or output of the model: its names, its shape, and dtype."""

    name: str
    also: tuple[str, ...]
    shape: Shape
    dtype: str

    def __str__(self) -> str:
        return f"{printable(self.name, 80)} {shape_text(self.shape)} {self.dtype}"


def match(
    net: Network,
    signature: Signature,
    *,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    states: Mapping[str, str] | None = None,
) -> Matching:
    """Match a model's inputs and outputs with those of an exported file.

    Parameters
    ----------
    net : Network
    signature : Signature
    inputs, outputs : mapping, optional
        Name in the model -> name in the file, where the user decides.
    states : mapping, optional
        For a stateful model: input of the file that takes a state -> output that
        returns it. By default those whose names say so (`STATE_NAMES`).

    Raises
    ------
    DataError
        They cannot be matched; the message lists both sides.
    """
    ours = [
        _Ours(name, (layer.name,), layer.options["batch_shape"], layer.options["dtype"])
        for name, layer in zip(net.input_names, net.spec.inputs, strict=True)
    ]
    matched = _matched(ours, signature.inputs, dict(inputs or {}), "input", True)
    carried = _states(net, signature, matched, dict(states or {}))
    taken = {info.name for info, _ in carried}
    left = [i for i in _left_over(signature.inputs, matched) if i.name not in taken]
    if left:
        raise DataError(
            f"expected an exported file with {len(ours)} input(s): {_listed(ours)}. "
            f"Received: {len(signature.inputs)}: {_listed(signature.inputs)}"
        )
    shapes: list[Shape] = [tuple(s) for s in _output_shapes(net)]
    theirs = [
        _Ours(name, (name.partition(".")[0],), shape, "float32")
        for name, shape in zip(net.output_names, shapes, strict=True)
    ]
    returned = {name for _, name in carried}
    free = [info for info in signature.outputs if info.name not in returned]
    found = _matched(theirs, free, dict(outputs or {}), "output", False)
    return Matching(matched, found, _left_over(free, found), carried)


STATE_NAMES = (
    ("", "", "", "_next"),
    ("", "_in", "", "_out"),
    ("past_", "", "present_", ""),
)
"""Beginning and end that the names of a state's input and output have in addition to
what they share."""


def _states(
    net: Network,
    signature: Signature,
    matched: Sequence[TensorMatch],
    told: Mapping[str, str],
) -> tuple[tuple[TensorInfo, str], ...]:
    """Return the inputs for states, each with the output of its next value.

    Raises
    ------
    DataError
        The user names an input or an output that is not there.
    """
    outputs = {info.name for info in signature.outputs}
    left = {info.name: info for info in _left_over(signature.inputs, matched)}
    for name, other in told.items():
        if name not in left or other not in outputs:
            raise DataError(
                f"--state {printable(name, 40)}={printable(other, 40)}: expected an "
                f"input of the file that is none of the model's "
                f"({', '.join(left) or 'there is none'}), and an output "
                f"({', '.join(outputs)})"
            )
    pairs = dict(told)
    for name in left if net.stateful else ():
        for start, end, begun, ended in STATE_NAMES:
            core = name.removeprefix(start).removesuffix(end)
            if f"{start}{core}{end}" == name and f"{begun}{core}{ended}" in outputs:
                pairs.setdefault(name, f"{begun}{core}{ended}")
    return tuple((left[name], other) for name, other in pairs.items())


def _output_shapes(net: Network) -> list[Shape]:
    """Return the shape of each output, batch axis first."""
    shape = net.spec.output_shape
    if isinstance(shape, tuple) and not any(isinstance(s, tuple) for s in shape):
        return [shape]
    return [tuple(s) for s in _shapes_in(shape)]


def _shapes_in(structure: object) -> list[Shape]:
    if isinstance(structure, Mapping):
        return [s for inside in structure.values() for s in _shapes_in(inside)]
    if isinstance(structure, (list, tuple)):
        if all(size is None or isinstance(size, int) for size in structure):
            return [tuple(structure)]
        return [s for inside in structure for s in _shapes_in(inside)]
    return [leaf for leaf in flatten(structure) if isinstance(leaf, tuple)]


def _matched(
    ours: Sequence[_Ours],
    theirs: Sequence[TensorInfo],
    told: Mapping[str, str],
    side: str,
    strict: bool,
) -> tuple[TensorMatch, ...]:
    """Match each tensor of the model with one of the file.

    Parameters
    ----------
    ours, theirs
    told : mapping
        What the user decides.
    side : str
        ``"input"`` or ``"output"``, for messages.
    strict : bool
        Whether the sizes that the file declares are to be believed.
    """
    found = _as_told(ours, theirs, told, side)
    rules: list[tuple[str, Callable[[_Ours, TensorInfo], bool]]] = [
        (
            BY_NAME,
            lambda a, b: _plain(b.name) in {_plain(n) for n in (a.name, *a.also)},
        ),
        (BY_PART, lambda a, b: bool(_parts(b.name) & {a.name, *a.also})),
    ]
    for how, agrees in rules:
        _by_rule(found, ours, theirs, how, agrees, strict)
    _by_number(found, ours, theirs, strict)
    _by_rule(found, ours, theirs, BY_SHAPE, lambda a, b: _kind(a) == _kind(b), strict)
    _by_rule(found, ours, theirs, BY_SHAPE, lambda a, b: True, strict)
    left = [k for k in range(len(ours)) if k not in found]
    free = _free(found, theirs)
    if left and len(left) == len(free):
        for k, info in zip(left, free, strict=True):
            if _axes(ours[k].shape, info.shape, strict) is not None:
                found[k] = (info, BY_PLACE)
    if len(found) < len(ours):
        missing = join_and(f"'{ours[k].name}'" for k in left if k not in found)
        unmatched = ours[next(k for k in left if k not in found)]
        some = any(
            _axes(unmatched.shape, info.shape, strict) is not None
            for info in _free(found, theirs)
        )
        raise DataError(
            f"the exported file has no {side} that can be {missing} of the model. "
            f"Expected: {_listed(ours)}. Received: {_listed(theirs)}"
            + (
                f". --{side} {printable(unmatched.name, 40)}=NAME decides"
                if some
                else ""
            )
        )
    made = []
    for k, tensor in enumerate(ours):
        info, how = found[k]
        axes = _axes(tensor.shape, info.shape, strict)
        if axes is None:
            raise DataError(
                f"{side} '{printable(tensor.name, 60)}': expected a shape like "
                f"{shape_text(tensor.shape)}. Received: {info}"
            )
        made.append(TensorMatch(tensor.name, info, how, axes))
    return tuple(made)


Found = dict[int, tuple[TensorInfo, str]]
"""Number of a tensor of the model -> the file's, and how they were matched."""


def _as_told(
    ours: Sequence[_Ours],
    theirs: Sequence[TensorInfo],
    told: Mapping[str, str],
    side: str,
) -> Found:
    found: Found = {}
    for name, other in told.items():
        k = next((k for k, t in enumerate(ours) if name in (t.name, *t.also)), None)
        info = next((info for info in theirs if info.name == other), None)
        for which, what, have, listed in (
            (name, k, "the model", ours),
            (other, info, "the exported file", theirs),
        ):
            if what is None:
                raise DataError(
                    f"--{side} {printable(name, 40)}={printable(other, 80)}: expected "
                    f"an {side} of {have}: {_listed(listed)}. "
                    f"{did_you_mean(which, [one.name for one in listed])}"
                    f"Received: {printable(which, 80)}"
                )
        if info in [taken for taken, _ in found.values()]:
            raise DataError(
                f"--{side} {printable(name, 40)}={printable(other, 80)}: expected each "
                f"{side} of the file once. Received: it twice"
            )
        if k is not None and info is not None:
            found[k] = (info, AS_TOLD)
    return found


def _free(found: Found, theirs: Sequence[TensorInfo]) -> list[TensorInfo]:
    taken = {info.name for info, _ in found.values()}
    return [info for info in theirs if info.name not in taken]


def _by_rule(
    found: Found,
    ours: Sequence[_Ours],
    theirs: Sequence[TensorInfo],
    how: str,
    agrees: Callable[[_Ours, TensorInfo], bool],
    strict: bool,
) -> None:
    """Match what a rule leaves as the only choice on both sides."""
    free = _free(found, theirs)
    choices = {
        k: [
            info
            for info in free
            if agrees(tensor, info)
            and _axes(tensor.shape, info.shape, strict) is not None
        ]
        for k, tensor in enumerate(ours)
        if k not in found
    }
    for k, options in choices.items():
        if len(options) != 1:
            continue
        rivals = [j for j, other in choices.items() if options[0] in other]
        if rivals == [k]:
            found[k] = (options[0], how)


def _by_number(
    found: Found, ours: Sequence[_Ours], theirs: Sequence[TensorInfo], strict: bool
) -> None:
    """Match names that one stem and numbers from 0 make, such as ``output_1``.

    Exporters number the tensors of a model in its own order, whatever the order in
    which the file then lists them.
    """
    if found or len(theirs) != len(ours) or len(ours) < 2:
        return
    for scheme in NUMBERINGS:
        numbered: dict[int, TensorInfo] = {}
        stems = set()
        for info in theirs:
            stem, number = scheme(info.name)
            stems.add(stem)
            numbered[number] = info
        if len(stems) > 1 or sorted(numbered) != list(range(len(ours))):
            continue
        pairs = [(tensor, numbered[k]) for k, tensor in enumerate(ours)]
        if all(_axes(a.shape, b.shape, strict) is not None for a, b in pairs):
            found.update({k: (numbered[k], BY_NUMBER) for k in range(len(ours))})
            return


def _numbered_after_colon(name: str) -> tuple[str, int]:
    """Split a name: ``PartitionedCall_1:2`` is (PartitionedCall_1, 2)."""
    parts = re.fullmatch(r"(.*):(\d{1,4})", name)
    return (parts[1], int(parts[2])) if parts else (name, 0)


def _numbered_at_end(name: str) -> tuple[str, int]:
    """Split a name: ``Identity_2:0`` and ``output_2`` end in 2, ``Identity:0`` in 0."""
    name = name.removesuffix(":0")
    parts = re.fullmatch(r"(.*)_(\d{1,4})", name)
    return (parts[1], int(parts[2])) if parts else (name, 0)


NUMBERINGS = (_numbered_after_colon, _numbered_at_end)


def _plain(name: str) -> str:
    """Return a name without what exporters put around it."""
    name = name.removesuffix(":0").removeprefix("serving_default_")
    return re.sub(r"[/.:]", "_", name)


def _parts(name: str) -> set[str]:
    """Return the names that a path such as ``model/dense_1/Softmax:0`` is made of."""
    return set(re.split(r"[/:;]", name))


def _kind(tensor: _Ours | TensorInfo) -> str:
    return "float" if tensor.dtype.startswith(("float", "bfloat")) else (
        "bool" if tensor.dtype == "bool" else "int"
    )  # fmt: skip


def _axes(
    ours: Shape, theirs: Sequence[int | None] | None, strict: bool
) -> tuple[int, ...] | None:
    """Return the order of the model's axes in the file's tensor; None if none fits.

    Returns
    -------
    tuple of int
        Empty if the axes are in the same order; otherwise the only other order that
        the sizes allow.
    """
    if theirs is None:
        return ()
    if len(theirs) != len(ours):
        fixed = sorted(size for size in ours[1:] if size not in (None, 1))
        there = sorted(size for size in theirs if size not in (None, 1))
        rows = [ours[0]] if ours[0] not in (None, 1) else []
        return () if there in (fixed, sorted([*fixed, *rows])) else None
    if _fits(ours, theirs, strict):
        return ()
    turned = [
        axes
        for axes in permutations(range(len(ours)))
        if _fits([ours[k] for k in axes], theirs, strict)
    ]
    # rows that stay in front are likelier than rows that an open axis also allows
    turned = [axes for axes in turned if axes[0] == 0] or turned
    return turned[0] if len(turned) == 1 else None


def _fits(
    ours: Sequence[int | None], theirs: Sequence[int | None], strict: bool
) -> bool:
    """Say whether shapes agree; an axis that either leaves open agrees with any size.

    Shapes of outputs that a file declares are believed less: LiteRT writes 1 for an
    axis whose size depends on the inputs.
    """
    return all(
        a is None or b is None or a == b or (not strict and b == 1)
        for a, b in zip(ours, theirs, strict=True)
    )


def _with_ones(shape: tuple[int, ...], like: Sequence[int | None]) -> tuple[int, ...]:
    """Return a shape with axes of size 1 added or left out, as the file has them."""
    sizes = iter([size for k, size in enumerate(shape) if k == 0 or size != 1])
    rows = next(sizes)
    rest = list(sizes)
    made: list[int] = [rows]
    for size in like[1:]:
        made.append(1 if size == 1 or not rest else rest.pop(0))
    return (*made, *rest)


def _left_over(
    theirs: Sequence[TensorInfo], matched: Sequence[TensorMatch]
) -> tuple[TensorInfo, ...]:
    taken = {match.theirs.name for match in matched}
    return tuple(info for info in theirs if info.name not in taken)


def _listed(tensors: Sequence[_Ours] | Sequence[TensorInfo]) -> str:
    return ", ".join(map(str, tensors)) or "none"
