"""Find the weights of a model again among the constants of an exported file.

They are looked for by value, so names do not matter: transposed, gate blocks in another
order or interleaved, beside other weights in one constant, one constant for each gate,
negated, both rows of a bias added, and rounded to 16 or 8 bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.errors import join_and, printable
from verify.model.arrays import Array
from verify.model.spec import LayerSpec, ModelSpec
from verify.ports.locate.pool import CLOSE, Place, Pool

LETTERS: Mapping[str, str] = {"c_hat": "c", "h_hat": "h"}
"""Name of a gate block in the code -> its letter in sentences about an order."""

ROUNDING: tuple[tuple[str, float, float], ...] = (
    ("", 2.5e-7, 1e-12),
    ("float16", 2.0**-10.9, 6e-8),
    ("bfloat16", 2.0**-8.9, 1e-38),
)
"""Precision, and how far rounding to it moves a number: relatively, and absolutely."""

CLOSEST = 0.5
"""A constant of the same shape is called close if its greatest difference is less than
this share of the greatest number."""


@dataclass(frozen=True)
class Part:
    """Hold one block of a weight that is looked for by itself.

    Attributes
    ----------
    gate : str
        Letter of its gate; empty if the weight has no gates.
    row : int
        Which row of the bias of a GRU; 0 otherwise.
    block : (rows, columns)
    added : float
        What was added to the numbers before they were looked for.
    summed : bool
        Whether both rows of the bias are added in it.
    """

    gate: str
    row: int
    block: Array
    added: float = 0.0
    summed: bool = False

    @property
    def telling(self) -> bool:
        """Return whether its numbers differ, so that finding them means something."""
        return bool(np.ptp(self.block) > 0) or self.block.size == 1


@dataclass(frozen=True)
class FoundWeight:
    """Hold where a weight of the model stands in an exported file.

    Attributes
    ----------
    layer : str
        Path of the layer.
    name : str
        Keras's name of the weight: ``kernel``.
    places : mapping of (gate, row) to Place
        Where each block stands; empty if the weight was not found.
    gates : tuple of str
        Letters of the gates in the order in which they stand there; empty if each has a
        constant of its own, or if there are none.
    wrong, total : int
        How many of its numbers differ there, of how many.
    constants : tuple of str
        Names of the constants that hold it, or that come closest.
    sentence : str
    """

    layer: str
    name: str
    places: Mapping[tuple[str, int], Place]
    gates: tuple[str, ...]
    wrong: int
    total: int
    constants: tuple[str, ...]
    sentence: str

    @property
    def found(self) -> bool:
        """Return whether the file holds the weight as it is."""
        return bool(self.constants) and not self.wrong

    @property
    def path(self) -> str:
        """Return layer and weight: ``lstm/kernel``."""
        return f"{self.layer}/{self.name}"


@dataclass(frozen=True)
class FoundWeights:
    """Hold which weights of a model stand where in an exported file.

    Attributes
    ----------
    weights : tuple of FoundWeight
        In the order of the model, without those that nothing tells apart.
    untold : tuple of str
        Sentences about weights whose numbers are all the same, such as a bias of zeros:
        they are not looked for.
    """

    weights: tuple[FoundWeight, ...]
    untold: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """Return how many weights the file holds as they are."""
        return sum(weight.found for weight in self.weights)

    @property
    def total(self) -> int:
        """Return how many weights were looked for."""
        return len(self.weights)

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the weights that the file does not hold: ``lstm/kernel``."""
        return tuple(weight.path for weight in self.weights if not weight.found)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return one sentence for each weight."""
        return (*(weight.sentence for weight in self.weights), *self.untold)

    def layers_of(self, constants: Sequence[str]) -> dict[str, int]:
        """Return the layers whose weights stand in these constants, and how many."""
        wanted, found = set(constants), dict[str, int]()
        for weight in self.weights:
            if wanted & set(weight.constants):
                found[weight.layer] = found.get(weight.layer, 0) + 1
        return found


def find_weights(constants: Mapping[str, Array], spec: ModelSpec) -> FoundWeights:
    """Find every weight of a model among the constants of a file.

    Parameters
    ----------
    constants : mapping of str to array
        The constants of the file by their names.
    spec : ModelSpec

    Returns
    -------
    FoundWeights
    """
    pools = _pools(constants)
    found: list[FoundWeight] = []
    untold: list[str] = []
    for path, layer in spec.walk():
        for name, value in layer.weights.items():
            parts = _parts(layer, name, value)
            if not any(part.telling for part in parts):
                what = f"{value.flat[0]:g}" if value.size else "nothing"
                untold.append(
                    f"{_called(name, path)} is {what} everywhere, which leaves no trace"
                )
                continue
            found.append(_find(pools, constants, layer, path, name, value, parts))
        if layer.class_name == "BatchNormalization":
            found = _folded(found, constants, layer, path)
    return FoundWeights(tuple(found), tuple(untold))


FOLDED_RELATIVE = 1e-5
"""How far a number that an exporter made of several weights may be off, of itself and
of the greatest: it was computed in float32, in some order."""


def _folded(
    found: list[FoundWeight],
    constants: Mapping[str, Array],
    layer: LayerSpec,
    path: str,
) -> list[FoundWeight]:
    """Find the scale and the offset that exporters make of a BatchNormalization.

    Its outputs are x * scale + offset, with scale = gamma / sqrt(moving variance +
    epsilon) and offset = beta - moving mean * scale. Where the file has both, the four
    weights count as found.
    """
    own = [w for w in found if w.layer == path]
    if not own or all(weight.found for weight in own):
        return found
    weights = {key: np.asarray(v, np.float64) for key, v in layer.weights.items()}
    scale = weights.get("gamma", np.float64(1)) / np.sqrt(
        weights["moving_variance"] + layer.options["epsilon"]
    )
    offset = weights.get("beta", np.float64(0)) - weights["moving_mean"] * scale
    names = [_constant_like(constants, wanted) for wanted in (scale, offset)]
    if not all(names):
        return found
    where = f"'{printable(names[0], 60)}' and '{printable(names[1], 60)}'"
    return [
        weight
        if weight.layer != path or weight.found
        else replace(
            weight,
            wrong=0,
            constants=(names[0], names[1]),
            sentence=f"{_called(weight.name, path)}: folded into the scale and the "
            f"offset of its layer, which are {where}",
        )
        for weight in found
    ]


def _constant_like(constants: Mapping[str, Array], wanted: Array) -> str:
    """Return the name of a constant with these numbers; empty if there is none."""
    near = FOLDED_RELATIVE * float(np.max(np.abs(wanted), initial=0.0))
    for name, array in constants.items():
        if array.size == wanted.size and array.dtype.kind == "f":
            numbers = array.astype(np.float64).ravel()
            if np.allclose(numbers, wanted.ravel(), rtol=FOLDED_RELATIVE, atol=near):
                return name
    return ""


def _called(name: str, path: str) -> str:
    return f"{name.replace('_', ' ')} of '{printable(path, 80)}'"


def _pools(constants: Mapping[str, Array]) -> list[tuple[str, Pool, float, float]]:
    """Return precision, arrays, and how far their numbers may be off, in turn.

    Numbers of 32 bits are searched three times, because they may have been rounded.
    """
    kinds: dict[str, dict[str, Array]] = {"": {}, "float16": {}, "bfloat16": {}}
    for name, array in constants.items():
        if array.dtype.kind not in "fV" and array.dtype.name != "bfloat16":
            continue
        kind = array.dtype.name if array.dtype.name in kinds else ""
        with np.errstate(over="ignore"):
            kinds[kind][name] = array.astype(np.float32, copy=False)
    full = Pool(kinds[""])
    pools: list[tuple[str, Pool, float, float]] = [("", full, *ROUNDING[0][1:])]
    for kind, relative, absolute in ROUNDING[1:]:
        if kinds[kind]:
            pools.append((kind, Pool(kinds[kind]), relative, absolute))
    pools += [(kind, full, by, least) for kind, by, least in ROUNDING[1:]]
    return pools


def _parts(layer: LayerSpec, name: str, value: Array) -> list[Part]:
    """Return a weight block by block: one for each gate, and each row of a bias."""
    value = np.asarray(value, dtype=np.float32)
    gates = [LETTERS.get(gate, gate) for gate in layer.gates]
    if not value.ndim:
        return [Part("", 0, value.reshape(1, 1))]
    flat = value.reshape(-1, value.shape[-1])  # (rows, columns)
    known = ("kernel", "recurrent_kernel", "bias")
    if name not in known or len(gates) < 2 or flat.shape[1] % len(gates):
        return [Part("", 0, flat)]
    blocks = np.split(flat, len(gates), axis=1)  # (rows, units) each
    if name != "bias":
        return [Part(g, 0, b) for g, b in zip(gates, blocks, strict=True)]
    return [
        Part(gate, row, block[row : row + 1])
        for row in range(len(flat))
        for gate, block in zip(gates, blocks, strict=True)
    ]


def _find(
    pools: list[tuple[str, Pool, float, float]],
    constants: Mapping[str, Array],
    layer: LayerSpec,
    path: str,
    name: str,
    value: Array,
    parts: list[Part],
) -> FoundWeight:
    """Find one weight: exactly, then rounded, then in other forms, then nearly."""
    near: dict[tuple[str, int], list[Place]] = {}
    for precision, pool, relative, absolute in pools:
        exact: dict[tuple[str, int], list[Place]] = {}
        used: list[Part] = []
        for part in parts:
            for form in _forms(layer, name, part, parts):
                if not form.telling:
                    used.append(form)
                    break
                places = pool.places(
                    form.block,
                    relative=relative,
                    absolute=absolute + (2e-7 if form.added or form.summed else 0.0),
                    strides=(1, len(layer.gates)) if len(layer.gates) > 1 else (1,),
                )
                key = form.gate, form.row
                if form is part and places and not precision:
                    near[key] = places
                places = [place for place in places if not place.wrong]
                if places:
                    exact[key] = places
                    used.append(form)
                    break
        if len(used) == len(parts):
            return _described(layer, path, name, value, used, exact, precision)
    for search in (_other_axes, _quantised):
        found = search(constants, layer, path, name, value)
        if found is not None:
            return found
    return _missing(constants, layer, path, name, value, parts, near)


def _forms(
    layer: LayerSpec, name: str, part: Part, parts: list[Part]
) -> Iterator[Part]:
    """Yield a block, and what libraries store in place of it."""
    yield part
    if name != "bias":
        return
    if part.gate == "f" and layer.class_name.startswith("LSTM"):
        yield Part("f", part.row, part.block - 1, added=-1.0)
    others = [p for p in parts if p.gate == part.gate and p.row != part.row]
    if part.gate in ("z", "r") and others:
        yield Part(part.gate, part.row, part.block + others[0].block, summed=True)


def _described(
    layer: LayerSpec,
    path: str,
    name: str,
    value: Array,
    used: list[Part],
    exact: dict[tuple[str, int], list[Place]],
    precision: str,
) -> FoundWeight:
    """Choose one place for each block, those beside each other, and say how."""
    chosen = _beside_each_other(exact)
    names = tuple(dict.fromkeys(place.array for place in chosen.values()))
    ways: list[str] = []
    if all(place.transposed for place in chosen.values()) and value.ndim > 1:
        ways.append("transposed")
    order: tuple[str, ...] = ()
    rows = sorted({row for _, row in chosen})
    if len(chosen) > 1:
        first = {gate: place for (gate, row), place in chosen.items() if row == rows[0]}
        if len({place.layout[:2] for place in chosen.values()}) == 1:
            order = tuple(sorted(first, key=lambda gate: first[gate].start))
            if next(iter(first.values())).stride > 1:
                ways.append(f"gates {','.join(order)} interleaved")
            else:
                ways.append(f"gates in the order {','.join(order)}")
        else:
            ways.append("each gate by itself" if len(names) > 1 else "gates apart")
    negated = {gate or "all" for (gate, _), place in chosen.items() if place.sign < 0}
    if negated:
        some = len(negated) < len({gate for gate, _ in chosen})
        ways.append(
            f"negated (gate {join_and(sorted(negated))})" if some else "negated"
        )
    if any(part.added for part in used):
        ways.append("1 subtracted from gate f")
    summed = dict.fromkeys(part.gate for part in used if part.summed)
    if summed:
        ways.append(f"both rows added for gates {join_and(summed)}")
    if precision:
        ways.append(f"rounded to {precision}")
    how = ", ".join(ways) or "as it is"
    where = join_and(f"'{printable(n, 60)}'" for n in names[:4])
    if len(names) > 4:
        where += f" and {len(names) - 4} more"
    sentence = f"{_called(name, path)}: found in {where}, {how}"
    return FoundWeight(path, name, chosen, order, 0, value.size, names, sentence)


def _beside_each_other(
    candidates: Mapping[tuple[str, int], list[Place]],
) -> dict[tuple[str, int], Place]:
    """Choose a place for each block: where most of the others stand, too."""
    votes: dict[Any, int] = {}
    for places in candidates.values():
        keys = [k for place in places for k in (place.array, place.layout)]
        for key in dict.fromkeys(keys):
            votes[key] = votes.get(key, 0) + 1
    return {
        key: min(
            places,
            key=lambda p: (-votes[p.array], p.wrong, -votes[p.layout], p.transposed),
        )
        for key, places in candidates.items()
    }


def _block(key: tuple[str, int], keys: Collection[tuple[str, int]]) -> str:
    """Return what a block is called: its gate, and its row if there are several."""
    several = len({row for _, row in keys}) > 1
    return f"{key[0]} of row {key[1]}" if several else key[0]


def _other_axes(
    constants: Mapping[str, Array],
    layer: LayerSpec,
    path: str,
    name: str,
    value: Array,
) -> FoundWeight | None:
    """Find a weight of three axes or more, such as a kernel of a convolution."""
    if value.ndim < 3:
        return None
    best: FoundWeight | None = None
    for constant, array in constants.items():
        if array.size != value.size or array.dtype.kind != "f":
            continue
        squeezed = np.squeeze(array)
        plain = np.squeeze(value)
        if sorted(squeezed.shape) != sorted(plain.shape):
            continue
        for axes in itertools.permutations(range(plain.ndim)):
            turned = np.transpose(plain, axes)
            if turned.shape != squeezed.shape:
                continue
            close = np.isclose(turned, squeezed, rtol=1e-3, atol=1e-7)
            wrong = value.size - int(np.count_nonzero(close))
            order = f"axes in the order {','.join(map(str, axes))}"
            where = f"in '{printable(constant, 60)}', {order}"
            sentence = f"{_called(name, path)}: found {where}"
            if wrong:
                apart = float(np.nanmax(np.abs(turned - squeezed)))
                sentence = (
                    f"{_called(name, path)}: nearly found {where}, but {wrong} of "
                    f"{value.size:,} numbers {'differs' if wrong == 1 else 'differ'}, "
                    f"by up to {apart:.3g}"
                )
            if best is None or wrong < best.wrong:
                best = FoundWeight(
                    path, name, {}, (), wrong, value.size, (constant,), sentence
                )
    return best if best is not None and best.wrong <= CLOSE * value.size else None


def _quantised(
    constants: Mapping[str, Array],
    layer: LayerSpec,
    path: str,
    name: str,
    value: Array,
) -> FoundWeight | None:
    """Find a weight among constants of whole numbers, to within one step of them."""
    if value.ndim != 2 or value.dtype.kind != "f":
        return None
    count = max(len(layer.gates), 1)
    letters = [LETTERS.get(gate, gate) for gate in layer.gates] or [""]
    blocks = np.split(value.astype(np.float64), count, axis=1)
    for constant, array in constants.items():
        if array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
            continue
        there = np.squeeze(array).astype(np.float64)
        for transposed in (False, True):
            turned = there.T if transposed else there
            if turned.shape != value.shape:
                continue
            order = []
            for stored in np.split(turned, count, axis=1):
                fits = [
                    letter
                    for letter, block in zip(letters, blocks, strict=True)
                    if _within_a_step(block, stored)
                ]
                if fits:
                    order.append(fits[0])
            if sorted(order) == sorted(letters):
                ways = ["transposed"] if transposed else []
                if count > 1:
                    ways.append(f"gates in the order {','.join(order)}")
                sentence = (
                    f"{_called(name, path)}: found in '{printable(constant, 60)}', "
                    f"{', '.join([*ways, f'in steps of {array.dtype}'])}"
                )
                return FoundWeight(
                    path, name, {}, tuple(order) if count > 1 else (), 0, value.size,
                    (constant,), sentence,
                )  # fmt: skip
    return None


def _within_a_step(block: Array, stored: Array) -> bool:
    """Return whether numbers are whole ones times a scale for each column or for all.

    A zero point, which shifts all of them, is allowed for.
    """
    for axis, shifted in ((None, False), (0, False), (1, False), (None, True)):
        q = stored - shifted * stored.mean()
        w = block - shifted * block.mean()
        power = (q * q).sum(axis=axis, keepdims=True)
        scale = (q * w).sum(axis=axis, keepdims=True) / np.maximum(power, 1e-30)
        if (scale > 0).all() and (np.abs(w - scale * q) <= 0.75 * scale).all():
            return True
    return False


def _missing(
    constants: Mapping[str, Array],
    layer: LayerSpec,
    path: str,
    name: str,
    value: Array,
    parts: list[Part],
    near: dict[tuple[str, int], list[Place]],
) -> FoundWeight:
    """Say that a weight was not found, and what comes closest to it."""
    called = _called(name, path)
    asked = {(part.gate, part.row): part for part in parts if part.telling}
    if near and len(near) == len(asked):
        chosen = _beside_each_other(near)
        wrong = sum(place.wrong for place in chosen.values())
        names = tuple(dict.fromkeys(place.array for place in chosen.values()))
        gates = sorted(
            {gate for gate, _ in chosen},
            key=lambda g: next(p.start for (gate, _), p in chosen.items() if gate == g),
        )
        single = len(gates) > 1 and len(names) == 1
        order = f" with gates {','.join(gates)}" if single else ""
        bad = [gate for (gate, _), place in chosen.items() if place.wrong and gate]
        of = f" (gate {join_and(dict.fromkeys(bad))})" if bad else ""
        apart = max(place.apart for place in chosen.values())
        turned = all(place.transposed for place in chosen.values()) and value.ndim > 1
        sentence = (
            f"{called}: nearly found in '{printable(names[0], 60)}'"
            f"{', transposed' if turned else ''}{order}, but {wrong} of {value.size:,} "
            f"numbers {'differs' if wrong == 1 else 'differ'}{of}, by up to {apart:.3g}"
        )
        return FoundWeight(
            path, name, chosen, tuple(gates) if single else (), max(wrong, 1),
            value.size, names, sentence,
        )  # fmt: skip
    if near:
        lost = [_block(key, asked) for key in asked if key not in near]
        names = tuple(dict.fromkeys(places[0].array for places in near.values()))
        sentence = (
            f"{called}: not found; '{printable(names[0], 60)}' holds its blocks "
            f"{', '.join(_block(key, asked) for key in near)}, and not "
            f"{', '.join(lost)}"
        )
        wrong = sum(asked[key].block.size for key in asked if key not in near)
        return FoundWeight(
            path, name, {k: p[0] for k, p in near.items()}, (), wrong, value.size,
            names, sentence,
        )  # fmt: skip
    best: tuple[float, str] = (np.inf, "")
    for constant, array in constants.items():
        if array.size != value.size or array.dtype.kind != "f":
            continue
        there = np.squeeze(array)
        for other in (there, there.T):
            if other.shape == np.squeeze(value).shape:
                with np.errstate(invalid="ignore"):
                    apart = float(np.abs(other - np.squeeze(value)).max())
                best = min(best, (apart, constant))
    if best[0] < CLOSEST * float(np.abs(value).max()):
        sentence = (
            f"{called}: not found; '{printable(best[1], 60)}' comes closest, up to "
            f"{best[0]:.3g} away"
        )
        return FoundWeight(
            path, name, {}, (), value.size, value.size, (best[1],), sentence
        )
    sentence = f"{called}: not found"
    return FoundWeight(path, name, {}, (), value.size, value.size, (), sentence)
