"""Check what can be read of a model of which not all can.

The layers that cannot be read are cut out (`verify.model_files.cuts`). In their place
stand inputs: what Keras's own layers return there if Keras has them, otherwise random
numbers. What remains is checked like any other model, each layer on Keras's own input
to it. The verdict is PARTIAL where it would be PASS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.checks.inputs import usable_inputs
from verify.data.sources import Source
from verify.errors import KerasCannotRun, UnsupportedError, VerifyError
from verify.forward.layers import LOOPS
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of
from verify.model.spec import LayerSpec, ModelSpec, is_path
from verify.model_files.config import without_unread
from verify.model_files.cuts import Cut, cut
from verify.report.parts import Coverage, Unproved
from verify.report.report import Report
from verify.tolerance.compare import Verdict

ADVICE = ", or check the rest with --partial"
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
        layers = [x for x in self.whole.spec.root.sublayers.values() if _counts(x)]
        coverage = Coverage(
            layers=sum(_counts(x) for x in proved.values()),
            of_layers=len(layers),
            parameters=sum(x.parameters for x in proved.values()),
            of_parameters=self.whole.spec.parameters,
            recurrent=tuple(name for name, x in proved.items() if is_recurrent(x)),
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
        return replace(
            report, verdict=verdict, reason=reason, coverage=coverage, facts=facts
        )

    def _reason(self, name: str) -> str:
        return self.cut.left_out.get(name, "it was compared, without being proved")


def _counts(layer: LayerSpec) -> bool:
    """Return whether a layer counts among those of a model; operations do not."""
    return layer.class_name != "InputLayer" and not layer.class_name.startswith("ops.")


def is_recurrent(layer: LayerSpec) -> bool:
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

    spec = whole.spec
    remains = cut(spec.root, spec.config)
    root = without_unread(spec.root, remains)
    part_spec = ModelSpec(
        root=root,
        source=spec.source,
        keras_version=spec.keras_version,
        notes=spec.notes,
        config=remains.config,
        legacy=spec.legacy,
    )
    part = Network(part_spec, whole.floatx)
    given = _given(whole, x)
    keras_bridge.require_keras()
    live = None if is_path(model) else model
    inputs, fed = _inputs(whole, part, remains, given, live)
    return Remains(whole, part, keras_bridge.rebuild(part_spec), inputs, fed, remains)


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


def _inputs(
    whole: Network,
    part: Network,
    remains: Cut,
    given: Mapping[str, Array],
    live: Any,
) -> tuple[list[Array], str]:
    """Return the inputs of what remains, and what those are that were added."""
    made = dict(zip(part.input_names, usable_inputs(part), strict=True))
    inputs = dict(made)
    if given:
        size = next((a.shape[1] for a in given.values() if a.ndim > 1), OPEN_SIZE)
        rows = len(next(iter(given.values())))
        for layer in part.spec.inputs:
            if layer.name in given:
                inputs[layer.name] = given[layer.name]
            elif part.spec.batch_size is None:
                inputs[layer.name] = _random(layer, rows, size)
    if not remains.stand_ins:
        return list(inputs.values()), "no layer is given anything in their place"
    names = sorted({ref.layer for ref in remains.stand_ins.values()})
    shown = ", ".join(f"'{name}'" for name in names)
    if live is not None:
        try:
            values = _of_keras(whole, remains, {**made, **given}, live)
        except VerifyError as error:
            return list(
                inputs.values()
            ), f"random numbers in the place of {shown} ({error})"
        inputs |= {k: v for k, v in {**made, **given}.items() if k in inputs} | values
        return list(inputs.values()), f"Keras's own in the place of {shown}"
    return (
        list(inputs.values()),
        f"random numbers in the place of what {shown} would return, without a mask",
    )


def _random(layer: LayerSpec, rows: int, size: int) -> Array:
    """Return random inputs, (rows, ...), with open axes of one size."""
    shape = [
        rows,
        *(size if n is None else n for n in layer.options["batch_shape"][1:]),
    ]
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).astype(dtype_of(layer.options["dtype"]))


def _of_keras(
    whole: Network, remains: Cut, inputs: Mapping[str, Array], live: Any
) -> dict[str, Array]:
    """Return what Keras's own layers return in the place of inputs that were added."""
    from verify import keras_bridge

    layers = whole.spec.inputs
    some = [len(inputs[x.name]) for x in layers if x.name in inputs]
    some += [len(a) for a in inputs.values()]
    rows = whole.spec.batch_size or some[0]
    known = [inputs[x.name] for x in layers if x.name in inputs]
    size = next((array.shape[1] for array in known if array.ndim > 1), OPEN_SIZE)
    x = whole.prepare(
        [inputs[x.name] if x.name in inputs else _random(x, rows, size) for x in layers]
    )
    calls = {c.key: c for c in keras_bridge.KerasModel(live, 32).calls(x)}
    found = {}
    for name, ref in remains.stand_ins.items():
        key = ref.layer if not ref.node else f"{ref.layer}:{ref.node + 1}"
        if key not in calls:
            raise KerasCannotRun(f"Keras does not call '{ref.layer}'")
        found[name] = np.asarray(calls[key].outputs[ref.tensor])
    return found
