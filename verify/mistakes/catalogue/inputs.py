"""What a port is given instead of the inputs: padding, order, ids, features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from verify.errors import printable
from verify.forward.evaluable import Inputs
from verify.forward.layers.core import padding_number
from verify.mistakes.catalogue.mask_flow import MaskFlow
from verify.mistakes.catalogue.mistake import ModelOperator, Mutant, Need
from verify.model.arrays import Array
from verify.model.graph import TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec

SEVERAL_STEPS = frozenset({Need.SEVERAL_STEPS})
MOST_FEATURES = 16
"""Features up to which neighbours are exchanged one by one."""

ANY_LENGTH = (
    *("InputLayer", "Embedding", "Masking", "Dense", "Dropout", "SpatialDropout1D"),
    *("SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "TimeDistributed"),
    *("LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells", "Activation"),
    *("LayerNormalization", "BatchNormalization", "GaussianNoise"),
    *("GlobalAveragePooling1D", "GlobalMaxPooling1D"),
)
"""Layers that take sequences of any length, whatever length the model declares."""

WHEREVER_PADDED = (
    *("InputLayer", "Embedding", "Masking", "Dense", "Dropout", "SpatialDropout1D"),
    *("SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "TimeDistributed"),
    *("LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells", "Activation"),
    *("LayerNormalization", "BatchNormalization", "GaussianNoise"),
    *("GlobalAveragePooling1D", "Attention", "AdditiveAttention"),
)
"""Layers that return the same for a masked sequence at whichever end it is padded."""

Change = Callable[[Array], Array]


@dataclass(frozen=True)
class Given:
    """Describe one input of a model by the layers that take it.

    Attributes
    ----------
    number : int
        Its number among the inputs.
    layer : LayerSpec
        The InputLayer.
    users : tuple of LayerSpec
        The layers that are called on it.
    """

    number: int
    layer: LayerSpec
    users: tuple[LayerSpec, ...]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of the input, batch axis first."""
        return tuple(self.layer.options["batch_shape"])

    @property
    def embedding(self) -> LayerSpec | None:
        """Return the Embedding that looks its ids up, if there is one."""
        found = (x for x in self.users if x.class_name == "Embedding")
        return next(found, None)

    @property
    def timed(self) -> bool:
        """Return whether axis 1 is time: ids in rows, or features of several steps."""
        if self.embedding is not None:
            return len(self.shape) == 2 and self.shape[1] != 1
        return len(self.shape) >= 3 and self.shape[1] != 1

    @property
    def padding(self) -> float | None:
        """Return the number that stands in padded steps, if the model tells it."""
        if not self.timed:
            return None
        if self.embedding is not None:
            return 0.0
        masks = (x for x in self.users if x.class_name == "Masking")
        return next(map(padding_number, masks), None)

    @property
    def masked(self) -> bool:
        """Return whether its padded steps are masked."""
        embedding = self.embedding
        if embedding is None:
            return self.padding is not None
        return bool(embedding.options["mask_zero"])

    @property
    def looped(self) -> bool:
        """Return whether a recurrent layer alone takes it, step by step."""
        return len(self.users) == 1 and (
            "go_backwards" in self.users[0].options
            or self.users[0].class_name == "Bidirectional"
        )

    @property
    def features(self) -> int:
        """Return how many features it has; 0 for ids, and if that is not known."""
        floats = str(self.layer.options["dtype"]).startswith(("float", "bfloat"))
        if self.embedding is not None or not floats or len(self.shape) < 2:
            return 0
        return self.shape[-1] or 0

    def padded(self, x: Array) -> Array:
        """Return which steps are padding, (batch, time) of bool."""
        if self.padding is None:
            return np.zeros(x.shape[:2], dtype=bool)
        same = x == x.dtype.type(self.padding)
        return np.asarray(same.reshape(*x.shape[:2], -1).all(axis=-1))


def given_inputs(spec: ModelSpec) -> list[Given]:
    """Return the inputs of a model with the layers that are called on them."""
    return [
        Given(k, layer, tuple(_users(spec.root, layer.name)))
        for k, layer in enumerate(spec.inputs)
    ]


def _users(model: LayerSpec, name: str) -> Iterator[LayerSpec]:
    """Yield the layers called on an input of a model, also in models inside."""
    if model.graph is None:
        return
    for node in model.graph.nodes:
        refs = flatten([list(node.args), dict(node.kwargs)])
        places = [
            k
            for k, x in enumerate(refs)
            if isinstance(x, TensorRef) and x.layer == name
        ]
        user = model.sublayers[node.layer]
        if not places:
            continue
        if user.graph is None:
            yield user
            continue
        inside = flatten(user.graph.inputs)
        for k in places:
            if k < len(inside):
                yield from _users(user, inside[k].layer)


def _on(numbers: Sequence[int], change: Change) -> Callable[[Inputs], Inputs]:
    """Return a change of some of the inputs."""
    return lambda x: Inputs(
        change(array) if k in numbers else array for k, array in enumerate(x)
    )


def moved_steps(x: Array, by: Array) -> Array:
    """Return rows whose steps are moved to later ones, around the end.

    Parameters
    ----------
    x : (batch, time, ...)
    by : (batch,) of int
    """
    order = (np.arange(x.shape[1]) - by[:, None]) % x.shape[1]  # (batch, time)
    return np.asarray(x[np.arange(len(x))[:, None], order])


def _run_length(padded: Array) -> Array:
    """Return how many steps of padding each row begins with, (batch,)."""
    return np.logical_and.accumulate(padded, axis=1).sum(axis=1)


def other_padding(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield padding at the other end of the sequences."""
    inputs = given_inputs(spec)
    padded = [x for x in inputs if x.padding is not None]
    timed = [x for x in inputs if x.timed]
    if not padded or not _padding_has_a_side(spec, timed):
        return
    for there, other in (("behind", "in front"), ("in front", "behind")):
        groups = [("", padded)]
        if len(padded) > 1:
            groups += [(f" of input '{x.layer.name}' alone", [x]) for x in padded]
        for words, group in groups:
            needs = Need.MASKED_STEPS if group[0].masked else Need.ID_ZERO
            if other == "behind" and group[0].masked:
                needs = Need.MASKED_STEPS_BEFORE_OTHERS
            yield Mutant(
                f"padding {other} instead of {there}{words}",
                "",
                f"the padding {there} the sequences{words} is put {other} of them"
                if other == "in front"
                else f"the padding in front of the sequences{words} is put behind them",
                "pad at the end at which the model was trained to have it",
                spec,
                inputs=partial(_padded_elsewhere, group=group, other=other),
                common=not words,
                needs=frozenset({needs}),
            )
        if len(timed) > len(padded) == 1:
            yield Mutant(
                f"padding {other} instead of {there} in all inputs",
                "",
                f"the padding is put {other}, and all inputs are moved by as many "
                "steps",
                "pad at the end at which the model was trained to have it",
                spec,
                inputs=partial(
                    _padded_elsewhere, group=padded, other=other, along=timed
                ),
                common=True,
                needs=frozenset(
                    {Need.MASKED_STEPS if padded[0].masked else Need.ID_ZERO}
                ),
            )


def _padding_has_a_side(spec: ModelSpec, timed: Sequence[Given]) -> bool:
    """Say whether it can matter at which end sequences are padded."""
    layers = [layer for _, layer in spec.walk()]
    outputs = spec.output_shape
    outputs = outputs if isinstance(outputs, (list, dict)) else [outputs]
    shapes = outputs.values() if isinstance(outputs, dict) else outputs
    return (
        len(timed) > 1
        or not all(x.masked for x in timed)
        or any(x.class_name not in WHEREVER_PADDED for x in layers)
        or any(shape is None or len(shape) > 2 for shape in shapes)
    )


def _padded_elsewhere(
    x: Inputs, group: Sequence[Given], other: str, along: Sequence[Given] = ()
) -> Inputs:
    moved = list(x)
    for given in group:
        padded = given.padded(x[given.number])
        if other == "in front":
            by = _run_length(padded[:, ::-1])
        else:
            by = -_run_length(padded)
        for k in {given.number, *(one.number for one in along)}:
            if x[k].shape[1] == padded.shape[1]:
                moved[k] = moved_steps(x[k], by)
    return Inputs(moved)


def other_order(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield sequences turned round, or moved by one step."""
    timed = [x for x in given_inputs(spec) if x.timed]
    if not timed:
        return
    numbers = [x.number for x in timed]
    alone = _one_recurrent_layer(spec)
    if not alone:  # else `time.wrong_time` has it
        yield Mutant(
            "sequences given in reverse",
            "",
            "the sequences are given in reverse order, padding included",
            "give the first step first",
            spec,
            inputs=_on(numbers, lambda x: x[:, ::-1]),
            common=True,
            needs=SEVERAL_STEPS,
        )
    sided = _padding_has_a_side(spec, timed)
    halves = any(layer.class_name == "Bidirectional" for _, layer in spec.walk())
    if sided and any(x.padding is not None for x in timed):
        yield Mutant(
            "sequences reversed up to their padding",
            "",
            "the steps of each sequence are in reverse order, and its padding stays "
            "where it is",
            "give the first step first",
            spec,
            inputs=partial(_reversed_inside, timed=timed),
            common=True,
            needs=SEVERAL_STEPS,
        )
    for by, cut, end in ((1, "last", "in front"), (-1, "first", "behind")):
        where = "later" if by > 0 else "earlier"
        # where these are those of `time.wrong_time` they are left to it
        if (sided or halves) and not all(x.looped for x in timed):
            yield Mutant(
                f"sequences one step {where}",
                "",
                f"every step stands one place {where}: a step of padding is added "
                f"{end}, and the {cut} step is cut off",
                "give each step at its place",
                spec,
                inputs=partial(_moved_by_one, timed=timed, by=by),
                common=True,
                needs=SEVERAL_STEPS,
            )
        yield Mutant(
            f"sequences rolled one step {where}",
            "",
            f"every step stands one place {where}, and the {cut} step is put {end}",
            "give each step at its place",
            spec,
            inputs=_on(numbers, partial(np.roll, shift=by, axis=1)),
            needs=SEVERAL_STEPS,
        )


def _one_recurrent_layer(spec: ModelSpec) -> bool:
    """Say whether one layer alone, a recurrent one, has to do with time."""
    timed = [
        layer
        for _, layer in spec.walk()
        if "go_backwards" in layer.options
        or "Conv" in layer.class_name
        or "Pooling" in layer.class_name
        or "Attention" in layer.class_name
        or layer.class_name in ("Bidirectional", "Flatten", "Reshape")
        or layer.class_name.startswith("ops.")
    ]
    return len(timed) == 1 and "go_backwards" in timed[0].options


def _reversed_inside(x: Inputs, timed: Sequence[Given]) -> Inputs:
    """Turn the steps of each row round, from its first that is no padding to its last.

    An input whose padding is not known follows the first one whose padding is.
    """
    turned = list(x)
    leader = next(given for given in timed if given.padding is not None)
    for given in timed:
        array = x[given.number]
        own = given if given.padding is not None else leader
        padded = own.padded(x[own.number])  # (batch, time)
        if padded.shape != array.shape[:2]:
            continue
        first = _run_length(padded)[:, None]
        last = padded.shape[1] - 1 - _run_length(padded[:, ::-1])[:, None]
        steps = np.arange(padded.shape[1])
        inside = (steps >= first) & (steps <= last)
        order = np.where(inside, first + last - steps, steps)
        turned[given.number] = array[np.arange(len(array))[:, None], order]
    return Inputs(turned)


def _moved_by_one(x: Inputs, timed: Sequence[Given], by: int) -> Inputs:
    moved = list(x)
    for given in timed:
        y = np.roll(x[given.number], by, axis=1)
        y[:, 0 if by > 0 else -1] = given.padding or 0
        moved[given.number] = y
    return Inputs(moved)


def more_padding(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield sequences with one step of padding more, which the model computes."""
    timed = [x for x in given_inputs(spec) if x.timed]
    computed = [x for x in timed if x.padding is not None and not x.masked]
    flexible = all(layer.class_name in ANY_LENGTH for _, layer in spec.walk())
    if not computed or not flexible or len(computed) < len(timed):
        return
    for end, widths in (("in front", (1, 0)), ("behind", (0, 1))):
        yield Mutant(
            f"one step of padding more {end}",
            "",
            f"the sequences have one step of padding more {end}, which the model "
            "computes like any other",
            "pad to the length with which the model was trained",
            spec,
            inputs=_on([x.number for x in timed], partial(_padded, widths=widths)),
            common=True,
            needs=SEVERAL_STEPS,
        )


def _padded(x: Array, widths: tuple[int, int]) -> Array:
    return np.pad(x, [(0, 0), widths, *[(0, 0)] * (x.ndim - 2)])


def padding_skipped(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield ids of 0 masked, or cut off, where the model computes them."""
    paths = [
        path
        for path, layer in spec.walk()
        if layer.class_name == "Embedding" and not layer.options["mask_zero"]
    ]
    groups: list[tuple[str, ...]] = [(path,) for path in paths]
    if len(paths) > 1:
        groups.append(tuple(paths))
    for group in groups:
        model = spec
        for path in group:
            model = model.with_layer(model[path].with_options(mask_zero=True), path)
        if not any(MaskFlow.of(model.root).reaches(path) for path, _ in model.walk()):
            continue  # no layer uses such a mask
        everywhere = len(group) > 1
        yield Mutant(
            "padding skipped" + " in all inputs" * everywhere,
            "" if everywhere else group[0],
            "ids of 0 are masked, as if the padding were cut off or packed; the model "
            "has mask_zero=False and computes them",
            "compute padded steps like any other",
            model,
            common=True,
            needs=frozenset({Need.ID_ZERO}),
        )


def other_ids(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield ids that are counted from another number on."""
    for given in given_inputs(spec):
        embedding = given.embedding
        if embedding is None:
            continue
        last = embedding.options["input_dim"] - 1
        for by, sign in ((1, "+"), (-1, "-")):
            if given.masked:  # else `around.embedding` has it
                yield Mutant(
                    f"ids {sign} 1",
                    given.layer.name,
                    f"each id is given as id {sign} 1, cut to 0..{last}; the mask "
                    "follows the ids given",
                    "give the ids that the model was trained with; 0 is the padding",
                    spec,
                    inputs=_on([given.number], partial(_shifted, by=by, last=last)),
                    common=True,
                )
        if given.masked:
            continue  # row 0 is masked, so `around.embedding` has it
        yield Mutant(
            "ids + 1, padding kept",
            given.layer.name,
            f"each id but 0 is given as id + 1, cut to {last}",
            "give the ids that the model was trained with",
            spec,
            inputs=_on([given.number], partial(_words_shifted, last=last)),
            common=True,
            needs=frozenset({Need.ID_ZERO}),
        )


def _shifted(ids: Array, by: int, last: int) -> Array:
    return np.clip(ids + ids.dtype.type(by), 0, last).astype(ids.dtype)


def _words_shifted(ids: Array, last: int) -> Array:
    return np.where(ids == 0, ids, _shifted(ids, 1, last))


def other_features(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield features in another order, and axes exchanged."""
    for given in given_inputs(spec):
        count, name = given.features, given.layer.name
        if count < 2:
            continue
        right = "give the features in the order in which the model was trained"
        if count > 2:
            yield Mutant(
                "features in reverse order",
                name,
                "the features are given in reverse order",
                right,
                spec,
                inputs=_on([given.number], lambda x: x[..., ::-1]),
                common=True,
            )
        for k in range(count - 1) if count <= MOST_FEATURES else ():
            yield Mutant(
                f"features {k} and {k + 1} exchanged",
                name,
                f"features {k} and {k + 1}, counted from 0, are exchanged",
                right,
                spec,
                inputs=_on([given.number], partial(_exchanged, k=k)),
            )
        if len(given.shape) == 3 and given.timed:
            yield Mutant(
                "inputs laid out features first",
                name,
                "the numbers of a row are laid out (features, time) and read as "
                "(time, features)",
                "lay the inputs out as (batch, time, features), last axis fastest",
                spec,
                inputs=_on([given.number], _features_first),
                common=True,
                needs=SEVERAL_STEPS,
            )
            yield Mutant(
                "inputs read features first",
                name,
                "the numbers of a row are laid out (time, features) and read as "
                "(features, time)",
                "read the inputs as (batch, time, features), last axis fastest",
                spec,
                inputs=_on([given.number], _read_features_first),
                common=True,
                needs=SEVERAL_STEPS,
            )


def _exchanged(x: Array, k: int) -> Array:
    order = np.arange(x.shape[-1])
    order[[k, k + 1]] = order[[k + 1, k]]
    return np.asarray(x[..., order])


def _features_first(x: Array) -> Array:
    return np.swapaxes(x, 1, 2).reshape(x.shape)


def _read_features_first(x: Array) -> Array:
    batch, time, features = x.shape
    return np.swapaxes(x.reshape(batch, features, time), 1, 2)


def inputs_exchanged(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield inputs of one shape given in each other's place."""
    for one, two in combinations(given_inputs(spec), 2):
        form = [(x.shape, x.layer.options["dtype"]) for x in (one, two)]
        tables = [
            x.embedding.options["input_dim"] if x.embedding else 0 for x in (one, two)
        ]
        if form[0] == form[1] and tables[0] == tables[1] and one.users != two.users:
            yield Mutant(
                f"inputs '{one.layer.name}' and '{two.layer.name}' exchanged",
                "",
                f"inputs '{one.layer.name}' and '{two.layer.name}' are given in each "
                "other's place",
                "give the inputs by name, or in the order of the model",
                spec,
                inputs=partial(_in_place_of, one=one.number, two=two.number),
                common=True,
            )


def _in_place_of(x: Inputs, one: int, two: int) -> Inputs:
    moved = list(x)
    moved[one], moved[two] = x[two], x[one]
    return Inputs(moved)


MOST_LIMITS = 8
"""Sizes of a vocabulary that are tried by `unknown_ids`."""

FEWEST_TOLD = 3
"""Rows that differ, and rows that agree, from which on an id tells them apart by more
than chance."""


def unknown_ids(spec: ModelSpec, x: Inputs, agrees: Array) -> Iterator[Mutant]:
    """Yield ids taken as unknown that explain which rows agree and which do not.

    An id that is taken as unknown, 1 or 0, stands in rows that differ alone. Either it
    is one id, or all from some number on, because the port's vocabulary is smaller.

    Parameters
    ----------
    spec : ModelSpec
    x : Inputs
    agrees : (batch,) of bool
        Whether the outputs of a row are those of the model.
    """
    if agrees.all() or not agrees.any():
        return
    for given in given_inputs(spec):
        if given.embedding is None or len(given.shape) != 2:
            continue
        ids = x[given.number].astype(np.int64)  # (batch, time)
        fine = np.unique(ids[agrees])
        differ = [np.setdiff1d(row, fine) for row in ids[~agrees]]
        if not all(map(len, differ)):
            continue
        single = [[k] for k in _in_all(differ)][:MOST_LIMITS]
        least = min(int(d.max()) for d in differ)
        seen = np.unique(np.concatenate(differ))
        limits = seen[(seen > fine.max()) & (seen <= least)][::-1][:MOST_LIMITS]
        several = [seen[seen >= limit].tolist() for limit in limits]
        words = [f"id {k}" for (k,) in single]
        words += [f"every id from {limit} on" for limit in limits]
        for what, replaced in zip(words, [*single, *several], strict=True):
            for by in (1, 0):
                if by in replaced:
                    continue
                yield Mutant(
                    f"{what} given as {by}",
                    given.layer.name,
                    f"{what} is given as {by}"
                    + (", the usual id of unknown words" if by else ", the padding"),
                    "use the vocabulary that the model was trained with, whole",
                    spec,
                    inputs=_on([given.number], partial(_replaced, ids=replaced, by=by)),
                )


def _in_all(rows: Sequence[Array]) -> list[int]:
    """Return the ids that every row holds, ascending."""
    return sorted(set(rows[0].tolist()).intersection(*(d.tolist() for d in rows[1:])))


def telling_ids(spec: ModelSpec, x: Inputs, agrees: Array) -> Iterator[str]:
    """Yield in words which id every row that differs holds, and no other row does.

    Parameters
    ----------
    spec, x, agrees : as for `unknown_ids`
    """
    if min(np.count_nonzero(agrees), np.count_nonzero(~agrees)) < FEWEST_TOLD:
        return
    for given in given_inputs(spec):
        if given.embedding is None or len(given.shape) != 2:
            continue
        ids = x[given.number].astype(np.int64)  # (batch, time)
        fine = np.unique(ids[agrees])
        common = _in_all([np.setdiff1d(row, fine) for row in ids[~agrees]])
        if len(common) == 1:
            yield (
                f"every row that differs holds id {common[0]}, and no other row does: "
                f"compare row {common[0]} of the table of layer "
                f"'{printable(given.embedding.name)}'"
            )


def _replaced(x: Array, ids: Sequence[int], by: int) -> Array:
    return np.where(np.isin(x, ids), x.dtype.type(by), x)


def hints(spec: ModelSpec) -> list[str]:
    """Return what may be asked of the inputs if no known mistake explains the outputs.

    These are no explanations: they cannot be decided from the outputs.
    """
    given = given_inputs(spec)
    found = []
    if any(x.embedding is not None for x in given):
        found.append(
            "the port may look words up in another word index: compare the ids of one "
            "text in both"
        )
    if any(x.features for x in given):
        found.append(
            "the port may scale its features, or not scale them, unlike the data given "
            "here: compare the numbers that enter both"
        )
    return found


MODEL_OPERATORS: tuple[ModelOperator, ...] = (
    other_padding,
    other_order,
    more_padding,
    padding_skipped,
    other_ids,
    other_features,
    inputs_exchanged,
)
