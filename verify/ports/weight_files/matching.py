"""Find the arrays of each layer in a file of weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from verify.errors import (
    DataError,
    UnsupportedError,
    did_you_mean,
    join_and,
    printable,
)
from verify.model.arrays import Array, weights_text
from verify.model.conventions import (
    Convention,
    Framework,
    find_form,
    from_framework,
    to_framework,
)
from verify.model.conventions.expressions import Evaluator, array_names
from verify.model.spec import LayerSpec, ModelSpec

SEPARATORS = "./:_|"
"""What may stand between the name of a module and that of an array in it."""

UNUSED = re.compile(r"(^|[./])num_batches_tracked$")
"""Arrays that no output depends on."""

RECURRENT = ("LSTM", "GRU", "SimpleRNN")
WORDS: Mapping[str, tuple[str, ...]] = {
    "forward": ("forward", "fwd", "fw"),
    "backward": ("backward", "bwd", "bw", "reverse"),
}
"""Direction -> words in a name that say it."""

MAX_LISTED = 12
"""Arrays that a message names, at most."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """Hold a layer of the model that has weights of its own.

    Attributes
    ----------
    path : str
    layer : LayerSpec
    direction : str
        ``"forward"`` or ``"backward"`` inside a Bidirectional; empty elsewhere.
    """

    path: str
    layer: LayerSpec
    direction: str = ""

    def __str__(self) -> str:
        return f"Layer '{printable(self.path)}' ({self.layer.class_name})"


@dataclass(frozen=True, eq=False)
class Group:
    """Hold arrays of a file that could be the weights of one layer.

    Attributes
    ----------
    prefix : str
        What stands before the names of the arrays.
    number : int
        Number of the layer, for frameworks that number them.
    keys : mapping of str to str
        Name in the framework's form -> name in the file.
    found : LayerSpec
        The layer with these weights, in Keras's form.
    numbered : bool
        Whether the framework numbers its layers.
    """

    prefix: str
    number: int
    keys: Mapping[str, str]
    found: LayerSpec
    numbered: bool = False

    @property
    def label(self) -> str:
        """Return what the group is called: ``encoder.lstm``, ``encoder.lstm:1``."""
        shown = self.prefix.rstrip(SEPARATORS)
        return f"{shown}:{self.number}" if self.numbered else shown

    def named(self, name: str) -> bool:
        """Return whether the prefix has this name as one of its parts."""
        return name in re.split(f"[{re.escape(SEPARATORS[:3])}]", self.prefix) or (
            self.prefix.rstrip(SEPARATORS) == name
        )


@dataclass(frozen=True, eq=False)
class Matched:
    """Hold the group that was taken for a layer, and why.

    Attributes
    ----------
    leaf : Leaf
    group : Group
    why : str
        How it was chosen: ``"by value"``, ``"by name"``, ...
    doubt : str
        A sentence where the choice could have been another one.
    """

    leaf: Leaf
    group: Group
    why: str
    doubt: str = ""


@dataclass(frozen=True, eq=False)
class Matching:
    """Hold what was matched, and which arrays of the file were left over."""

    matched: tuple[Matched, ...]
    left_over: tuple[str, ...]
    spec: ModelSpec = field(repr=False)

    @cached_property
    def found(self) -> ModelSpec:
        """Return the model with the weights of the file."""
        spec = self.spec
        for one in self.matched:
            layer = one.group.found
            spec = replace(spec, root=spec.root.replaced(one.leaf.path, layer))
        return spec


def match(
    spec: ModelSpec,
    arrays: Mapping[str, Array],
    framework: Framework,
    layers: Mapping[str, str] | None = None,
) -> Matching:
    """Find the arrays of every layer of a model in a file.

    They are taken by what the user says, then by value, then by name, then in order.

    Parameters
    ----------
    spec : ModelSpec
    arrays : mapping of str to ndarray
    framework : Framework
    layers : mapping of str to str, optional
        Name of a layer -> the prefix of its arrays in the file; where the framework
        numbers layers, ``PREFIX:1`` is the second one.

    Raises
    ------
    DataError
        The arrays of a layer are not there, or have other shapes; `layers` names what
        there is not.
    UnsupportedError
        The framework has no form for a layer.
    """
    leaves = list(_leaves(spec))
    chosen = _chosen(leaves, layers or {})
    names = {_plain(key): key for key in arrays}
    candidates: dict[str, list[Group]] = {}
    for leaf in leaves:
        groups, misfit = _groups(leaf, names, arrays, framework)
        if leaf.path in chosen:
            wanted = chosen[leaf.path].rstrip(SEPARATORS)
            fitting = [
                g for g in groups if wanted in (g.label, g.prefix.rstrip(SEPARATORS))
            ]
            if not fitting:
                raise DataError(
                    f"{leaf}: no arrays that fit stand under "
                    f"'{printable(chosen[leaf.path], 80)}'; those that fit stand under "
                    f"{_labels(groups)}{f' ({misfit})' if misfit else ''}"
                )
            groups = fitting
        if not groups:
            raise DataError(_nothing(leaf, arrays, framework, misfit))
        candidates[leaf.path] = groups
    shared = framework.conventions[0].direction_axis is not None
    matched = _assigned(leaves, candidates, chosen, shared)
    used = {key for one in matched for key in one.group.keys.values()}
    left = [k for k in arrays if k not in used and not UNUSED.search(k)]
    return Matching(tuple(matched), tuple(left), spec)


def _leaves(spec: ModelSpec) -> Iterator[Leaf]:
    """Yield the layers that have weights, in the order of the model."""
    for path, layer in spec.walk():
        if not layer.weights:
            continue
        direction = ""
        outer, _, key = path.rpartition("/")
        if key in ("forward_layer", "backward_layer") and outer:
            direction = key.removesuffix("_layer")
        yield Leaf(path, layer, direction)


def _chosen(leaves: Sequence[Leaf], layers: Mapping[str, str]) -> dict[str, str]:
    """Return prefix by path, of the layers that the user has named.

    Raises
    ------
    DataError
        A name is that of no layer with weights.
    """
    found: dict[str, str] = {}
    for name, prefix in layers.items():
        paths = [x.path for x in leaves if name in (x.path, x.path.partition("/")[0])]
        if not paths:
            known = [x.path for x in leaves]
            raise DataError(
                f"--layer: expected a layer with weights: {join_and(known)}. "
                f"{did_you_mean(name, known)}Received: '{printable(name, 80)}'"
            )
        found |= dict.fromkeys(paths, prefix)
    return found


def _groups(
    leaf: Leaf,
    names: Mapping[str, str],
    arrays: Mapping[str, Array],
    framework: Framework,
) -> tuple[list[Group], str]:
    """Return the groups that fit a layer, and why another one does not fit."""
    found: list[Group] = []
    misfit = ""
    kind = leaf.layer.class_name.removesuffix("Cell")
    if kind in RECURRENT:
        first = find_form(leaf.layer, framework.name)  # refuses what has no form
        forms = [
            form
            for form in framework.conventions
            if form.fits(first.keras_layer, first.reset_after) and form.arrays
        ]
        makers = [_recurrent_groups(leaf, form, names, arrays) for form in forms]
    elif kind in framework.others:
        makers = [_other_groups(leaf, framework, names, arrays)]
    else:
        raise UnsupportedError(
            f"{leaf}: which arrays {framework.title} has for it is not known; known "
            "are "
            f"{join_and([*RECURRENT, *framework.others])}"
        )
    for one in (group for maker in makers for group in maker):
        if isinstance(one, str):
            misfit = misfit or one
        else:
            found.append(one)
    if leaf.direction:
        said = [g for g in found if _direction(g.prefix) == leaf.direction]
        silent = [g for g in found if not _direction(g.prefix)]
        found = said or silent
    return sorted(found, key=lambda g: _natural(g.prefix, g.number)), misfit


def _direction(prefix: str) -> str:
    """Return the direction that a prefix speaks of; empty if it speaks of none."""
    words = re.split(r"[\W_]+|\d+", prefix.lower())
    for direction, known in WORDS.items():
        if any(word in known for word in words):
            return direction
    return ""


def _recurrent_groups(
    leaf: Leaf, form: Convention, names: Mapping[str, str], arrays: Mapping[str, Array]
) -> Iterator[Group | str]:
    direction = leaf.direction or "forward"
    mark = form.marks.get(direction, "")
    like = to_framework(_without_weights(leaf.layer), form.framework, cell=form.cell)
    templates = dict(zip(form.arrays or {}, like, strict=True))
    stand: dict[tuple[str, int], dict[str, str]] = {}
    for template, name in templates.items():
        pattern = re.escape(template).replace(r"\{direction\}", re.escape(mark))
        pattern = pattern.replace(r"\{layer\}", r"(?P<number>\d+)")
        for prefix, number, key in _with_suffix(names, pattern):
            stand.setdefault((prefix, number), {})[name] = key
    kernels = [name for name in like if "b" not in _made_from(form, templates, name)]
    for (prefix, number), keys in stand.items():
        if not all(name in keys for name in kernels):
            continue
        held = {name: _one_direction(arrays[key], form, leaf, like[name])
                for name, key in keys.items()}  # fmt: skip
        try:
            own = from_framework(held, form.framework, leaf.layer, cell=form.cell)
        except DataError as error:
            yield f"{printable(prefix, 60)}: {_transposed(held, like) or error}"
            continue
        numbered = any("{layer}" in template for template in templates)
        yield Group(prefix, number, keys, own, numbered)


def _one_direction(array: Array, form: Convention, leaf: Leaf, like: Array) -> Array:
    """Return the half of an array of both directions that belongs to a layer."""
    if form.direction_axis is None or not leaf.direction or array.shape[:1] != (2,):
        return array
    half = int(leaf.direction == "backward")
    return array[half : half + 1]


def _made_from(form: Convention, templates: Mapping[str, str], name: str) -> str:
    """Return ``b`` for an array that is made of the bias, and ``K`` for any other."""
    template = next(key for key, value in templates.items() if value == name)
    expression = (form.arrays or {})[template]
    return "b" if re.search(r"\bb\b", expression) else "K"


def _transposed(held: Mapping[str, Array], like: Mapping[str, Array]) -> str:
    """Say which array stands transposed, if that is what is wrong."""
    turned = [
        f"{name} {held[name].shape} is the transpose of what the framework has, "
        f"{like[name].shape}"
        for name in like
        if name in held
        and held[name].shape != like[name].shape
        and held[name].T.shape == like[name].shape
    ]
    return "; ".join(turned)


def _other_groups(
    leaf: Leaf,
    framework: Framework,
    names: Mapping[str, str],
    arrays: Mapping[str, Array],
) -> Iterator[Group | str]:
    known = framework.others[leaf.layer.class_name]
    unknown = [key for key in leaf.layer.weights if key not in known.keras]
    if unknown:
        raise UnsupportedError(
            f"{leaf}: {known.cell} of {framework.title} has no {join_and(unknown)}"
        )
    expressions = {key: known.keras[key] for key in leaf.layer.weights}
    needed = [name for text in expressions.values() for name in array_names(text)]
    stand: dict[str, dict[str, str]] = {}
    for name in needed:
        for prefix, _, key in _with_suffix(names, re.escape(name)):
            stand.setdefault(prefix, {})[name] = key
    for prefix, keys in stand.items():
        if not all(name in keys for name in needed):
            continue
        held = {name: arrays[key] for name, key in keys.items()}
        evaluate = Evaluator((), (), False, 0, 0, held)
        weights = {key: evaluate(text) for key, text in expressions.items()}
        shapes = {k: v.shape for k, v in weights.items()}
        expected = {k: v.shape for k, v in leaf.layer.weights.items()}
        if shapes == expected:
            yield Group(prefix, 0, keys, replace(leaf.layer, weights=weights))
        elif {k: s[::-1] for k, s in shapes.items()} == expected:
            yield f"{printable(prefix, 60)}: its arrays are transposed"


def _with_suffix(
    names: Mapping[str, str], pattern: str
) -> Iterator[tuple[str, int, str]]:
    """Yield prefix, number of the layer and name of the arrays that end like this."""
    whole = re.compile(rf"(?P<prefix>|.*[{re.escape(SEPARATORS)}]){pattern}")
    for plain, key in names.items():
        found = whole.fullmatch(plain)
        if found is not None:
            number = found.groupdict().get("number")
            yield found["prefix"], int(number or 0), key


def _plain(key: str) -> str:
    """Return a name without what some writers append: ``:0``, ``.value``."""
    return re.sub(r"(:0|\.value|/value)$", "", key)


def _without_weights(layer: LayerSpec) -> LayerSpec:
    zeros = {key: np.zeros_like(value) for key, value in layer.weights.items()}
    return replace(layer, weights=zeros)


def _assigned(
    leaves: Sequence[Leaf],
    candidates: Mapping[str, Sequence[Group]],
    chosen: Mapping[str, str],
    shared: bool,
) -> list[Matched]:
    """Choose a group for each layer; no array is taken twice.

    `shared`: both directions of a Bidirectional stand in the same arrays.

    Raises
    ------
    DataError
        A layer is left without one.
    """
    taken: dict[str, Matched] = {}
    used: set[tuple[str, str]] = set()

    def places(leaf: Leaf, group: Group) -> set[tuple[str, str]]:
        half = leaf.direction if shared else ""
        return {(key, half) for key in group.keys.values()}

    def free(leaf: Leaf) -> list[Group]:
        return [g for g in candidates[leaf.path] if not used & places(leaf, g)]

    def take(leaf: Leaf, group: Group, why: str, doubt: str = "") -> None:
        taken[leaf.path] = Matched(leaf, group, why, doubt)
        used.update(places(leaf, group))

    for leaf in leaves:
        if leaf.path in chosen and free(leaf):
            take(leaf, free(leaf)[0], "as you say")
    rules = (
        ("by value", lambda leaf, g: _same_values(leaf.layer, g.found)),
        (
            "by value, in another order",
            lambda leaf, g: _same_numbers(leaf.layer, g.found),
        ),
        ("by name", lambda leaf, g: g.named(leaf.path.partition("/")[0])),
    )
    for why, fits in rules:
        for leaf in leaves:
            if leaf.path not in taken:
                fitting = [g for g in free(leaf) if fits(leaf, g)]
                if fitting and (len(fitting) == 1 or why != "by name"):
                    take(leaf, fitting[0], why)
    rest = [leaf for leaf in leaves if leaf.path not in taken]
    open_at_start = {leaf.path: free(leaf) for leaf in rest}
    for leaf in rest:
        groups = free(leaf)
        if not groups:
            others = join_and(_labels([m.group]) for m in taken.values())
            raise DataError(
                f"{leaf}: the arrays that fit it are those of other layers ({others})"
            )
        doubt = ""
        if len(open_at_start[leaf.path]) > 1:
            doubt = (
                f"{leaf}: {_labels(open_at_start[leaf.path])} fit, and neither values "
                f"nor names decide; {_labels(groups[:1])} was taken. "
                f"--layer {leaf.path}=PREFIX decides"
            )
        take(
            leaf,
            groups[0],
            "the only one that fits" if not doubt else "in order",
            doubt,
        )
    return [taken[leaf.path] for leaf in leaves]


def _same_values(ours: LayerSpec, theirs: LayerSpec) -> bool:
    """Return whether all kernels are equal but for rounding to 16 bits."""
    return all(_near(ours.weights[k], theirs.weights[k]) for k in _kernels(ours))


def _same_numbers(ours: LayerSpec, theirs: LayerSpec) -> bool:
    """Return whether some kernel holds the same numbers in any order."""
    return any(
        _near(
            np.sort(change(ours.weights[k]), axis=None),
            np.sort(change(theirs.weights[k]), axis=None),
        )
        for k in _kernels(ours)
        for change in (np.positive, np.abs)
    )


def _kernels(layer: LayerSpec) -> list[str]:
    names = [k for k, w in layer.weights.items() if w.ndim > 1 and "bias" not in k]
    return names or list(layer.weights)


def _near(a: Array, b: Array) -> bool:
    a, b = a.astype(np.float64), b.astype(np.float64)
    scale = float(np.abs(a).max(initial=0))
    return bool((np.abs(a - b) <= 4e-3 * np.abs(a) + 1e-6 * scale).all())


def _nothing(
    leaf: Leaf, arrays: Mapping[str, Array], framework: Framework, misfit: str
) -> str:
    kind = leaf.layer.class_name.removesuffix("Cell")
    if kind in RECURRENT:
        form = find_form(leaf.layer, framework.name)
        cell = form.cell
        like = to_framework(_without_weights(leaf.layer), framework.name, cell=cell)
        wanted = weights_text(like)
    else:
        cell = framework.others[kind].cell
        expressions = framework.others[kind].keras.values()
        wanted = join_and(name for r in expressions for name in array_names(r))
        wanted += f" for {weights_text(leaf.layer.weights)}"
    listed = list(arrays.items())[:MAX_LISTED]
    more = len(arrays) - len(listed)
    held = weights_text({printable(k, 60): v for k, v in listed})
    return (
        f"{leaf}: expected the arrays of {cell} of {framework.title}, {wanted}. "
        f"Received: {misfit + '; ' if misfit else ''}{held}"
        f"{f' and {more} more' if more else ''}"
    )


def _labels(groups: Iterable[Group]) -> str:
    return join_and(f"'{printable(g.label, 60)}'" for g in groups) or "no prefix"


def _natural(prefix: str, number: int) -> list[tuple[int, int, str]]:
    """Return what sorts names by the numbers in them."""
    parts = [*re.split(r"(\d+)", prefix), str(number)]
    return [(1, int(p), "") if p.isdigit() else (0, 0, p) for p in parts]
