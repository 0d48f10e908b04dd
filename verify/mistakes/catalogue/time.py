"""Time and masks misread: other loops than `verify.forward.recurrence.scan`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from verify.forward.recurrence import Scan, Step, scan
from verify.mistakes.catalogue.mask_flow import MaskFlow
from verify.mistakes.catalogue.mistake import (
    Change,
    Mistake,
    ModelOperator,
    Mutant,
    MutationOperator,
    Need,
)
from verify.model.arrays import Array
from verify.model.graph import Graph, TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec

States = tuple[Array, ...]

PREDICT_BATCH_ROWS = 32
"""Rows that Keras's `predict` takes at a time if it is not told otherwise."""

SEVERAL_STEPS = frozenset({Need.SEVERAL_STEPS})


def _with_scan(loop: Callable[..., Scan]) -> Change:
    return lambda layer: layer.with_overrides(scan=loop)


def _mask_or_ones(x: Array, mask: Array | None) -> Array:
    return np.ones(x.shape[:2], dtype=bool) if mask is None else mask.copy()


def _other_mask(change: Callable[[Array], Array]) -> Callable[..., Scan]:
    """Return a loop that changes the mask, (batch, time) of bool, if there is one."""

    def loop(
        step: Step, x: Array, mask: Array | None, *rest: Any, **options: Any
    ) -> Scan:
        return scan(step, x, None if mask is None else change(mask), *rest, **options)

    return loop


def _reverse(mask: Array) -> Array:
    return mask[:, ::-1]


def _cut(mask: Array) -> Array:
    return np.logical_and.accumulate(mask, axis=1)


def _count(mask: Array) -> Array:
    places = np.arange(mask.shape[1]).reshape(-1, *[1] * (mask.ndim - 2))  # (time, ...)
    found: Array = places < mask.sum(axis=1, keepdims=True)
    return found


def _over(mask: Array, values: Array) -> Array:
    """Return a mask with as many axes as the values that it masks."""
    return mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))


def _zeroed_inputs(
    step: Step, x: Array, mask: Array | None, *rest: Any, **options: Any
) -> Scan:
    if mask is not None:
        x = np.where(_over(mask, x), x, np.zeros_like(x))
    return scan(step, x, None, *rest, **options)


def _forgetting(
    step: Step,
    x: Array,
    mask: Array | None,
    states: States,
    *rest: Any,
    **options: Any,
) -> Scan:
    """Set the states to zero at a masked step instead of holding them."""
    if mask is None:
        return scan(step, x, mask, states, *rest, **options)
    order = iter(_in_order_read(mask, options["go_backwards"]))

    def forgetful(now: Array, before: States) -> Any:
        keep, result = next(order), step(now, before)
        shown, *new = (
            np.where(_over(keep, value), value, np.zeros_like(value))
            for value in (result.output, *result.states)
        )
        return result._replace(output=shown, states=tuple(new))

    return scan(forgetful, x, None, states, *rest, **options)


def _in_order_read(mask: Array, go_backwards: bool) -> Array:
    """Return a mask by steps, (time, batch, ...), the first that is read in front."""
    by_step = np.moveaxis(mask, 1, 0)
    return by_step[::-1] if go_backwards else by_step


def _states_go_on(
    step: Step,
    x: Array,
    mask: Array | None,
    states: States,
    *rest: Any,
    **options: Any,
) -> Scan:
    """Repeat the output at a masked step, but keep its new states."""
    if mask is None:
        return scan(step, x, mask, states, *rest, **options)
    free = scan(step, x, None, states, *rest, **{**options, "return_sequences": True})
    shown = np.zeros_like(free.output[:, 0])  # (batch, units)
    outputs = []
    for t, keep in enumerate(_in_order_read(mask, options["go_backwards"])):
        shown = np.where(_over(keep, shown), free.output[:, t], shown)
        outputs.append(shown)
    # (batch, time, units) or (batch, units)
    last = np.stack(outputs, axis=1) if options["return_sequences"] else shown
    return free._replace(output=last)


def _mask_mistake(
    name: str,
    explanation: str,
    loop: Callable[..., Scan],
    *more_needs: Need,
    common: bool = True,
) -> Mistake:
    return Mistake(
        name,
        explanation,
        "hold every state at a masked step, and repeat the last output",
        _with_scan(loop),
        common=common,
        needs=frozenset({Need.MASKED_STEPS, *more_needs}),
    )


MASK_MISTAKES = (
    _mask_mistake(
        "mask zeroes the states",
        "a masked step sets the states to zero instead of holding them",
        _forgetting,
        Need.SEVERAL_STEPS,
    ),
    _mask_mistake(
        "mask holds the output alone",
        "a masked step repeats the output, while its states go on",
        _states_go_on,
    ),
    _mask_mistake(
        "masked inputs zeroed",
        "masked steps get zeros for inputs and are computed like any other",
        _zeroed_inputs,
    ),
    _mask_mistake(
        "mask reversed",
        "the mask is read from the other end than the sequence",
        _other_mask(_reverse),
        common=False,
    ),
    _mask_mistake(
        "mask inverted",
        "the steps that count are skipped, and the others computed",
        _other_mask(np.logical_not),
        common=False,
    ),
    _mask_mistake(
        "sequence cut at its first masked step",
        "everything from the first masked step on is skipped, as if padding could only "
        "stand on the right",
        _other_mask(_cut),
        Need.MASKED_STEPS_BEFORE_OTHERS,
    ),
    _mask_mistake(
        "length counted from the mask",
        "as many steps from the left as the mask has true values are computed, "
        "wherever these stand",
        _other_mask(_count),
        Need.MASKED_STEPS_BEFORE_OTHERS,
    ),
)


LAST_OUTPUT_ZERO = Mistake(
    "last output zero where masked",
    "the output of the step that is read last is returned, and that is zeros where the "
    "step is masked",
    "return the output of the last step that is not masked",
    lambda layer: layer.with_options(zero_output_for_mask=True),
    common=True,
    needs=frozenset({Need.MASKED_STEPS}),
)


def wrong_masks(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield mistakes that do not hold every state at a masked step."""
    if "go_backwards" not in layer.options:
        return
    yield from MASK_MISTAKES
    zeroing = layer.options["zero_output_for_mask"]
    if not layer.options["return_sequences"]:
        if not zeroing:
            yield LAST_OUTPUT_ZERO
    else:
        does = "repeats the last output" if zeroing else "outputs zeros"
        yield Mistake(
            f"zero_output_for_mask {not zeroing}",
            f"a masked step {does}; the model has zero_output_for_mask={zeroing}",
            f"do as zero_output_for_mask={zeroing} says",
            lambda layer: layer.with_options(
                zero_output_for_mask=not layer.options["zero_output_for_mask"]
            ),
            common=True,
            needs=frozenset({Need.MASKED_STEPS}),
        )


def _shifted(
    step: Step,
    x: Array,
    mask: Array | None,
    *rest: Any,
    by: int,
    **options: Any,
) -> Scan:
    """Give each step the input of a neighbour, and zeros to the one at the end."""
    moved = np.zeros_like(x)  # (batch, time, ...)
    if by > 0:
        moved[:, by:] = x[:, :-by]
    else:
        moved[:, :by] = x[:, -by:]
    return scan(step, moved, mask, *rest, **options)


def _without(
    step: Step,
    x: Array,
    mask: Array | None,
    *rest: Any,
    which: int,
    **options: Any,
) -> Scan:
    """Skip one step: the first or the last in the order of processing."""
    keep = _mask_or_ones(x, mask)  # (batch, time)
    keep[:, -1 - which if options["go_backwards"] else which] = False
    return scan(step, x, keep, *rest, **options)


def _doubled(
    step: Step,
    x: Array,
    mask: Array | None,
    *rest: Any,
    which: int,
    **options: Any,
) -> Scan:
    """Compute one step twice: the first or the last in the order of processing.

    There are as many outputs as steps: that of the first pass is left out.
    """
    last = (which == -1) != options["go_backwards"]
    place = x.shape[1] - 1 if last else 0
    order = np.insert(np.arange(x.shape[1]), place, place)
    own = None if mask is None else mask[:, order]
    found = scan(step, x[:, order], own, *rest, **options)
    values = {k: np.delete(v, place, axis=1) for k, v in found.values.items()}
    output = found.output
    if options["return_sequences"]:
        output = np.delete(output, 0 if which == 0 else -2, axis=1)
    return Scan(output, found.states, values)


def _one_late(*arguments: Any, **options: Any) -> Scan:
    """Return the output of the step before, zeros at the step that is read first."""
    found = scan(*arguments, **options)
    late = np.zeros_like(found.output)  # (batch, time, units)
    late[:, 1:] = found.output[:, :-1]
    return found._replace(output=late)


def _turned(*arguments: Any, **options: Any) -> Scan:
    """Return the outputs in the opposite order."""
    found = scan(*arguments, **options)
    return found._replace(output=found.output[:, ::-1])


def _backwards_and_put_back(*arguments: Any, **options: Any) -> Scan:
    """Take the steps in reverse order, and return the outputs in that of the inputs."""
    return _turned(*arguments, **{**options, "go_backwards": True})


def _rows_as_steps(
    step: Step,
    x: Array,
    mask: Array | None,
    states: States,
    *rest: Any,
    **options: Any,
) -> Scan:
    """Run over the rows, and treat the steps as the rows of a batch.

    The output is cut as ``outputs[:, -1]`` if no sequence is asked for. The states are
    those that it begins with, because theirs have another shape.
    """
    begin = tuple(np.zeros((x.shape[1], *s.shape[1:]), s.dtype) for s in states)
    found = scan(
        step,
        x.swapaxes(0, 1),
        None if mask is None else mask.swapaxes(0, 1),
        begin,
        *rest,
        **{**options, "return_sequences": True},
    )
    output = found.output.swapaxes(0, 1)  # (batch, time, units)
    if not options["return_sequences"]:
        output = output[:, -1]
    values = {name: value.swapaxes(0, 1) for name, value in found.values.items()}
    return Scan(output, states, values)


def _carried(
    step: Step,
    x: Array,
    mask: Array | None,
    states: States,
    *rest: Any,
    rows: int,
    **options: Any,
) -> Scan:
    """Begin each block of rows with the states that the one before it ended with."""
    found: list[Scan] = []
    for k in range(0, len(x), rows):
        part = slice(k, k + rows)
        count = len(x[part])
        if found:
            states = tuple(s[:count] for s in found[-1].states)
        else:
            states = tuple(s[part] for s in states)
        own = None if mask is None else mask[part]
        found.append(scan(step, x[part], own, states, *rest, **options))
    values = {
        name: np.concatenate([part.values[name] for part in found])
        for name in found[0].values
    }
    ends = zip(*(part.states for part in found), strict=True)
    return Scan(
        np.concatenate([part.output for part in found]),
        tuple(np.concatenate(end) for end in ends),
        values,
    )


def first_output(*arguments: Any, **options: Any) -> Scan:
    """Return the output of the first step where that of the last one is asked for."""
    found = scan(*arguments, **{**options, "return_sequences": True})
    return found._replace(output=found.output[:, 0])


TIME_REVERSED = "time reversed"

PUT_BACK = Mistake(
    "backward sequence put back",
    "outputs put back into the order of the inputs; Keras leaves them last step first",
    "return the outputs of a layer with go_backwards in the order in which it reads",
    _with_scan(_turned),
    common=True,
    needs=SEVERAL_STEPS,
    in_backward_layer=False,
)

OUTPUTS_REVERSED = Mistake(
    "outputs reversed",
    "outputs come last step first; Keras leaves them in the order of the inputs",
    "turn the outputs round in time only where the model does",
    _with_scan(_turned),
    needs=SEVERAL_STEPS,
)


def wrong_time(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield steps from the wrong end, shifted or skipped, and states left over."""
    if "go_backwards" not in layer.options:
        return
    backwards = layer.options["go_backwards"]
    sequences = layer.options["return_sequences"]
    if backwards and sequences:
        yield PUT_BACK
    yield Mistake(
        TIME_REVERSED,
        "go_backwards is ignored: the steps are taken from the first to the last"
        if backwards
        else "the steps are taken in reverse order",
        f"start at the {'last' if backwards else 'first'} step",
        lambda layer: layer.with_options(
            go_backwards=not layer.options["go_backwards"]
        ),
        common=True,
        needs=SEVERAL_STEPS,
        in_backward_layer=False,
    )
    for by, seen in ((1, "before"), (-1, "after")):
        yield Mistake(
            f"inputs shifted to the step {'after' if by > 0 else 'before'}",
            f"each step sees the input of the step {seen} it",
            "step t takes x[:, t]",
            _with_scan(partial(_shifted, by=by)),
            needs=SEVERAL_STEPS,
        )
    for which, word in ((0, "first"), (-1, "last")):
        yield Mistake(
            f"{word} step dropped",
            f"the step that is read {word} is left out",
            "read every step",
            _with_scan(partial(_without, which=which)),
            needs=SEVERAL_STEPS,
        )
        yield Mistake(
            f"{word} step doubled",
            f"the step that is read {word} is computed twice",
            "read every step once",
            _with_scan(partial(_doubled, which=which)),
        )
    if sequences:
        yield Mistake(
            "outputs one step late",
            "each output is that of the step read before, and the first is zeros",
            "return the output after each step, not before it",
            _with_scan(_one_late),
        )
    if sequences and not backwards:
        yield Mistake(
            "time reversed, outputs put back",
            "the steps are taken in reverse order, and the outputs put back into the "
            "order of the inputs",
            "start at the first step",
            _with_scan(_backwards_and_put_back),
            needs=SEVERAL_STEPS,
            in_backward_layer=False,
        )
    if not layer.options["stateful"]:
        for rows, where, what, need in (
            (1, "row", "row", Need.SEVERAL_ROWS),
            (
                PREDICT_BATCH_ROWS,
                "batch",
                f"batch of {PREDICT_BATCH_ROWS} rows",
                Need.SEVERAL_BATCHES,
            ),
        ):
            yield Mistake(
                f"states carried to the next {where}",
                f"each {what} begins with the states that the one before it ended with",
                "begin every row anew: with states of zeros, or with those it is given",
                _with_scan(partial(_carried, rows=rows)),
                needs=frozenset({need, Need.SEVERAL_STEPS}),
                ties_rows=True,
            )
    if not (backwards or layer.options["stateful"] or layer.options["return_state"]):
        yield Mistake(
            "rows read as steps",
            "the layer runs over the rows of the batch instead of over the steps, as "
            "PyTorch's do without batch_first=True",
            "take time from axis 1 and rows from axis 0",
            _with_scan(_rows_as_steps),
            needs=frozenset({Need.SEVERAL_ROWS, Need.SEVERAL_STEPS}),
            ties_rows=True,
            in_backward_layer=False,
        )
    if not sequences:
        yield Mistake(
            "output of the first step",
            "the output at the last time step is returned, of which a layer that goes "
            "backwards has read that step only"
            if backwards
            else "the layer returns the output of the step it reads first",
            "return the output of the step it reads last",
            _with_scan(first_output),
            needs=SEVERAL_STEPS,
            in_backward_layer=False,
        )


def outputs_reversed(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield layers that go forwards, but whose sequences come out last step first.

    Where no step is masked it is the same if the next layer reads in reverse order,
    which is likelier, so these come after the mistakes in single layers.
    """
    for path, layer in spec.walk():
        backward = path.rpartition("/")[2] == "backward_layer"
        options = layer.options
        if backward or "go_backwards" not in options or options["go_backwards"]:
            continue
        if options["return_sequences"]:
            mistake = OUTPUTS_REVERSED
            yield Mutant(
                mistake.name,
                path,
                mistake.explanation,
                mistake.remedy,
                spec.with_layer(mistake.change(layer), path),
                needs=mistake.needs,
                changes=((path, mistake),),
            )


STEPWISE = ("Dense", "Dropout", "Activation", "LayerNormalization", "ReLU")
"""Layers that treat every step alike and by itself."""


def reading_backwards(spec: ModelSpec) -> set[str]:
    """Return the layers that read nothing but the outputs of one with go_backwards.

    In these, if no mask reaches them, `TIME_REVERSED` is the same as `PUT_BACK` in the
    layer before, which is where ports go wrong. Layers of `STEPWISE` may stand between.
    """
    found = set[str]()
    for model, layer in [("", spec.root), *spec.walk()]:
        if layer.graph is None:
            continue
        readers = _readers(layer.graph)
        for node in layer.graph.nodes:
            options = layer.sublayers[node.layer].options
            if options.get("go_backwards") and options["return_sequences"]:
                reader = _only_reader(layer, readers, node.layer)
                if reader:
                    found.add(f"{model}/{reader}" if model else reader)
    if found:
        flow = MaskFlow.of(spec.root)
        found = {path for path in found if not flow.reaches(path)}
    return found


def _readers(graph: Graph) -> dict[str, list[str]]:
    """Return the layers that take outputs of each layer, as often as they do.

    An empty name stands for the outputs of the model.
    """
    found: dict[str, list[str]] = {}
    for node in graph.nodes:
        for leaf in flatten([*node.args, dict(node.kwargs)]):
            if isinstance(leaf, TensorRef):
                found.setdefault(leaf.layer, []).append(node.layer)
    for ref in flatten(graph.outputs):
        found.setdefault(ref.layer, []).append("")
    return found


def _only_reader(
    model: LayerSpec, readers: Mapping[str, Sequence[str]], name: str
) -> str:
    """Return the recurrent layer that alone takes a sequence; empty if none does."""
    while len(readers.get(name, ())) == 1:
        (name,) = readers[name]
        layer = model.sublayers[name] if name else None
        if layer is not None and "go_backwards" in layer.options:
            return name
        if layer is None or layer.class_name not in STEPWISE:
            return ""
    return ""


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_masks, wrong_time)

MODEL_OPERATORS: tuple[ModelOperator, ...] = (outputs_reversed,)
