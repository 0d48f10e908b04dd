"""Check what can be read of a model of which not all can.

The layers that cannot be read are cut out (`verify.model_files.cuts`). In their place
stand inputs: what Keras's own layers return there if Keras has them. Otherwise they are
like what such a layer is given, if that fits, or random; they have a mask if the layer
is given one. What remains is checked like any other model, each layer on Keras's own
input to it. The verdict is PARTIAL where it would be PASS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.checks.inputs import usable_inputs
from verify.data.sources import Source
from verify.errors import UnsupportedError, VerifyError, join_and, printable
from verify.forward.evaluate import cast_to
from verify.forward.layers import LOOPS
from verify.forward.layers.base import Tensor
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of, is_float
from verify.model.graph import TensorRef
from verify.model.spec import LayerSpec, ModelSpec, is_path
from verify.model_files.config import without_unread
from verify.model_files.cuts import Cut, StandIn, cut, returned
from verify.model_files.opening import is_whole
from verify.report.parts import Coverage, Unproved
from verify.report.report import Report
from verify.tolerance.compare import Verdict

ADVICE = ", or check the rest with rnn-verify check --partial"
"""End of a refusal, which has been followed here."""

MAX_ROWS = 256
"""Rows of given inputs that a partial check takes, at most."""

OPEN_SIZE = 7
"""Size of the axes that the model leaves open, if no input says it."""


@dataclass(frozen=True)
class Remains:
    """Hold what remains of a model, ready to be checked.

    Attributes
    ----------
    whole : Network
        The model, read with ``partial=True``.
    part : Network
        What remains of it.
    model : keras.Model
        The same in Keras.
    inputs : list of (batch, ...)
        Inputs of `part`.
    fed : str
        What stands for the outputs of layers that cannot be read.
    cut : Cut
    """

    whole: Network
    part: Network
    model: Any
    inputs: list[Array]
    fed: str
    cut: Cut

    def relabelled(self, report: Report) -> Report:
        """Return the report on what remains as one on the whole model."""
        failed = {x.name.partition(":")[0] for x in report.layers if not x.matches}
        undecided = {x.name.partition(":")[0] for x in report.layers if not x.decided}
        proved = {
            name: layer
            for name, layer in self.cut.layers.items()
            if name not in failed | undecided
            and report.verdict in (Verdict.PASS, Verdict.FAIL)
        }
        if report.verdict is Verdict.FAIL and not report.layers:
            proved = {}
        layers = [x for x in self.cut.opened.layers.values() if _counts(x)]
        coverage = Coverage(
            layers=sum(_counts(x) for x in proved.values()),
            of_layers=len(layers),
            parameters=sum(x.parameters for x in proved.values()),
            of_parameters=self.whole.spec.parameters,
            recurrent=tuple(name for name, x in proved.items() if has_a_loop(x)),
            unproved=tuple(
                Unproved(
                    x.name,
                    x.own_class or x.class_name,
                    x.parameters,
                    x.unread.removesuffix(ADVICE) or self._reason(x.name),
                )
                for x in layers
                if x.name not in proved
            ),
        )
        verdict, reason = report.verdict, report.reason
        if verdict is Verdict.PASS:
            count = len(coverage.unproved)
            verdict = Verdict.PARTIAL
            reason = (
                f"what can be read matches Keras; {count} "
                f"layer{'s' if count != 1 else ''} of {coverage.of_layers} could not "
                "be proved"
            )
        facts = {**report.facts, "inputs": f"{report.facts['inputs']}; {self.fed}"}
        shown = tuple(x for x in report.layers if x.name not in self.cut.maskings)
        return replace(
            report,
            verdict=verdict,
            reason=reason,
            coverage=coverage,
            facts=facts,
            layers=shown,
        )

    def _reason(self, name: str) -> str:
        return self.cut.left_out.get(name, "it was compared, without being proved")


def _counts(layer: LayerSpec) -> bool:
    """Return whether a layer counts among those of a model; operations do not.

    Nor does TimeDistributed around a model whose layers are counted one by one.
    """
    if layer.class_name == "TimeDistributed" and not is_whole(layer):
        return False
    return layer.class_name != "InputLayer" and not layer.class_name.startswith("ops.")


def has_a_loop(layer: LayerSpec) -> bool:
    """Return whether a layer is recurrent, or one inside it is."""
    inside = [layer, *(x for _, x in layer.walk())]
    return any(x.class_name in LOOPS for x in inside)


def remains_of(model: Any, whole: Network, x: Any) -> Remains:
    """Return what remains of a model without the layers that cannot be read.

    Parameters
    ----------
    model : path or keras.Model
    whole : Network
        What `load` returned for it with ``partial=True``.
    x : inputs, Source or None

    Raises
    ------
    UnsupportedError
        Nothing remains.
    VerifyError
        Keras cannot build what remains, or the inputs do not fit.
    """
    from verify import keras_bridge

    given = _given(whole, x)
    keras_bridge.require_keras()
    remains = cut(whole.spec.root, whole.spec.config)
    part = _network(whole, remains)
    fill = _Fill(whole, part, remains, given)
    if not is_path(model):
        own = fill.of_keras(model)
        masks = {ref: tensor.mask is not None for ref, tensor in own.items()}
        if any(masks.get(s.ref, False) != bool(s.masked) for s in fill.stand_ins):
            remains = cut(whole.spec.root, whole.spec.config, masks=masks)
            part = _network(whole, remains)
            fill = _Fill(whole, part, remains, given)
        fill.own = own
    inputs, fed = fill.result()
    rebuilt = keras_bridge.rebuild(part.spec)
    return Remains(whole, part, rebuilt, inputs, fed, remains)


def _network(whole: Network, remains: Cut) -> Network:
    """Return what remains of a model, ready to be evaluated."""
    spec = whole.spec
    root = without_unread(spec.root, remains)
    return Network(replace(spec, root=root, config=remains.config), whole.floatx)


def refuse_whole(spec: ModelSpec) -> None:
    """Raise UnsupportedError for a model of which not all can be read."""
    for layer in spec.unread.values():
        raise UnsupportedError(f"{layer}: {layer.unread}")


def _given(whole: Network, x: Any) -> dict[str, Array]:
    """Return the inputs that a user gives, by the names of the model's inputs."""
    if x is None:
        return {}
    if isinstance(x, Source):
        x = x.read()
    arrays = [array[:MAX_ROWS] for array in whole.prepare(x)]
    names = [layer.name for layer in whole.spec.inputs]
    return dict(zip(names, arrays, strict=True))


class _Fill:
    """Find inputs for what remains of a model.

    Parameters
    ----------
    whole, part : Network
    remains : Cut
    given : mapping
        Inputs of the user's, by name.
    """

    def __init__(
        self, whole: Network, part: Network, remains: Cut, given: Mapping[str, Array]
    ) -> None:
        self.whole = whole
        self.part = part
        self.remains = remains
        self.own: dict[TensorRef, Tensor] = {}
        self.given = given
        self.inputs = dict(zip(part.input_names, usable_inputs(part), strict=True))
        if given:
            arrays = given.values()
            size = next((a.shape[1] for a in arrays if a.ndim > 1), OPEN_SIZE)
            rows = len(next(iter(given.values())))
            for layer in part.spec.inputs:
                if layer.name in given:
                    self.inputs[layer.name] = given[layer.name]
                elif part.spec.batch_size is None:
                    self.inputs[layer.name] = _random(layer, rows, size)

    @property
    def stand_ins(self) -> list[StandIn]:
        """Return what stands for the outputs of layers that are not there."""
        return list(self.remains.stand_ins.values())

    def result(self) -> tuple[list[Array], str]:
        """Return the inputs, and what those are that were added."""
        if not self.stand_ins:
            return list(self.inputs.values()), "no layer is given anything in its place"
        before = self._values()
        how: dict[str, list[str]] = {}
        for one in self.stand_ins:
            value, words = self._value(one, before)
            self.inputs[one.name] = value
            shown = f"'{printable(one.ref.layer, 60)}'"
            names = how.setdefault(words, [])
            if shown not in names:
                names.append(shown)
        texts = [words.format(join_and(names)) for words, names in how.items()]
        return list(self.inputs.values()), "; ".join(texts)

    def _value(
        self, one: StandIn, before: Mapping[tuple[str, int, int], Tensor]
    ) -> tuple[Array, str]:
        """Return numbers for an input that was added, and what they are."""
        made = self.inputs[one.name]
        own = self.own.get(one.ref)
        if one.steps is not None:
            return self._steps(one, made, before)
        infinite = own is not None and not _is_finite(own.value)
        if own is not None and own.value.shape == made.shape and not infinite:
            value = own.value.astype(made.dtype)
            if one.masked and own.mask is not None:
                value = _padded(value, own.mask)
            return value, "Keras's own in the place of {}"
        places = (self.remains.place(ref) for ref in one.given)
        tensors = [before[place] for place in places if place in before]
        like = next((t for t in tensors if _is_like(t.value, made)), None)
        if like is None:
            value, words = made, "random numbers in the place of what {} would return"
        else:
            noise = np.random.default_rng(1).normal(size=made.shape)
            value = np.roll(like.value, 1, axis=0) + noise * np.std(like.value) / 10
            words = "numbers like those that {} is given, in place of what it returns"
        words += " (in Keras NaN or infinite numbers)" * infinite
        if not one.masked:
            return value.astype(made.dtype), f"{words}, without a mask"
        masks = [t.mask for t in tensors if t.mask is not None]
        mask = next((m for m in masks if m.shape == made.shape[:2]), None)
        return (
            _padded(value.astype(made.dtype), _some_padding(made.shape, mask)),
            f"{words}, with a mask",
        )

    def _steps(
        self,
        one: StandIn,
        made: Array,
        before: Mapping[tuple[str, int, int], Tensor],
    ) -> tuple[Array, str]:
        """Return for each row one of its steps, as TimeDistributed gives them."""
        assert one.steps is not None
        tensor = before.get(self.remains.place(one.steps))
        around = self.given.get(one.steps.layer) if tensor is None else tensor.value
        rows, kept = made.shape[0], made.shape[1:]
        if around is None or around.ndim <= made.ndim or len(around) != rows:
            return made, "random numbers as steps in {}"
        steps = around.reshape(rows, -1, *around.shape[around.ndim - len(kept) :])
        if steps.shape[2:] != kept:
            return made, "random numbers as steps in {}"
        chosen = np.arange(rows) % steps.shape[1]
        value = steps[np.arange(rows), chosen].astype(made.dtype)
        return value, "one step of each row in {}, as TimeDistributed gives it"

    def _values(self) -> dict[tuple[str, int, int], Tensor]:
        """Return every tensor of what remains, with its mask, by place."""
        root = self.part.spec.root
        values = {
            (layer.name, 0, 0): Tensor(self.inputs[layer.name])
            for layer in self.part.spec.inputs
        }
        for node in root.graph.nodes if root.graph is not None else ():
            layer = cast_to(root.sublayers[node.layer])
            values |= returned(layer, node, values, False)
        return values

    def of_keras(self, live: Any) -> dict[TensorRef, Tensor]:
        """Return what the layers of a live model return that are not there.

        What Keras cannot compute, or does not show, is left out.
        """
        from verify import keras_bridge

        layers = self.whole.spec.inputs
        inputs = {**self.inputs, **self.given}
        known = [inputs[x.name] for x in layers if x.name in inputs]
        some = [*known, *inputs.values()]
        rows = self.whole.spec.batch_size or len(some[0])
        size = next((array.shape[1] for array in known if array.ndim > 1), OPEN_SIZE)
        for x in layers:
            if x.name not in inputs:
                inputs[x.name] = self._like(_random(x, rows, size))
        found = {}
        try:
            taken = self.whole.prepare([inputs[x.name] for x in layers])
            if not keras_bridge.private.holds_calls(live):
                return {}
            calls = {c.key: c for c in keras_bridge.KerasModel(live, 32).calls(taken)}
        except VerifyError:
            return {}
        self.given = {x.name: inputs[x.name] for x in layers}
        self.inputs |= {k: v for k, v in self.given.items() if k in self.inputs}
        for one in self.stand_ins:
            ref = one.ref
            key = ref.layer if not ref.node else f"{ref.layer}:{ref.node + 1}"
            call = calls.get(key)
            if call is not None:
                k = ref.tensor
                found[ref] = Tensor(np.asarray(call.outputs[k]), call.masks[k])
        return found

    def _like(self, made: Array) -> Array:
        """Return numbers or words for an input that only unread layers take.

        What was made for the layers behind them is what these layers know.
        """
        stood = (self.inputs[one.name] for one in self.stand_ins)
        kind = made.dtype.kind
        fits = (x for x in stood if x.shape == made.shape and x.dtype.kind == kind)
        return next(fits, made).astype(made.dtype)


def _is_like(value: Array, made: Array) -> bool:
    """Return whether numbers may stand for those of an input."""
    return (
        value.shape == made.shape
        and is_float(value)
        and is_float(made)
        and _is_finite(value)
        and bool(np.any(value))
    )


def _is_finite(value: Array) -> bool:
    """Return whether no number is NaN or infinite."""
    return not is_float(value) or bool(np.isfinite(value).all())


def _some_padding(shape: Sequence[int], mask: Array | None) -> Array:
    """Return a mask, (batch, time), in which some row has padding at its end."""
    if mask is not None and not mask.all():
        return mask
    lengths = np.random.default_rng(2).integers(1, shape[1] + 1, size=shape[0])
    lengths[: len(lengths) // 2] = shape[1]
    return np.asarray(np.arange(shape[1]) < lengths[:, None])


def _padded(value: Array, mask: Array) -> Array:
    """Return numbers with zeros at the steps that are masked."""
    if mask.shape != value.shape[:2]:
        return value
    return np.where(mask[..., None], value, np.zeros((), value.dtype))


def _random(layer: LayerSpec, rows: int, size: int) -> Array:
    """Return random inputs, (rows, ...), with open axes of one size; no id below 0."""
    shape = [
        rows,
        *(size if n is None else n for n in layer.options["batch_shape"][1:]),
    ]
    dtype = dtype_of(layer.options["dtype"])
    value = np.random.default_rng(0).normal(size=shape)
    return (np.abs(value) if dtype.kind in "iu" else value).astype(dtype)
