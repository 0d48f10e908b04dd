"""Check NumPy against Keras, layer by layer, and give a verdict.

Three comparisons, in this order:

1. *proof*, the float64 check: Keras rebuilt with every dtype policy float64, NumPy in
   float64. Only a wrong formula can exceed 1e-10 here.
2. *layers*: each layer on Keras's own input to it, so that an error does not spread.
3. *numerics*, the float32 check: ``model.predict`` as the user runs it, against NumPy
   in float64. Allowed is a bound that is derived for every output, or the noise floor,
   which is measured.
"""

from __future__ import annotations

import os
from typing import Any

from verify.backward import supports
from verify.checks._batches import DEFAULT_LIMITS, BatchPlan, Limits
from verify.checks._keras_comparison import KerasComparison, OnBatch
from verify.checks._versions import untested_keras
from verify.checks.checkpoint import Watch
from verify.checks.inputs import as_source, usable_inputs
from verify.checks.load import load
from verify.checks.mapper import Mapper, serial_map
from verify.checks.partial import refuse_whole, remains_of
from verify.errors import DataError, UnsupportedError
from verify.forward.network import Network
from verify.model.arguments import typed
from verify.model.spec import ModelSpec
from verify.report.report import Report


@typed
def check(
    model: Any,
    x: Any = None,
    *,
    batch_size: int = 32,
    network: Network | str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    loaded: Network | None = None,
    partial: bool = False,
    gradients: bool = False,
    threads: int | None = None,
    mapper: Mapper = serial_map,
    watch: Watch | None = None,
    on_batch: OnBatch | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Report:
    """Check whether NumPy, from config and weights alone, computes what Keras computes.

    Parameters
    ----------
    model : path to a model file, or keras.Model
    x : (batch, ...), optional
        Inputs, in a list or a dict by their names where there are several; by default
        probe inputs are made from the model's input shapes. Any number of rows: they
        are compared a batch at a time, and may be a `verify.data.sources.Source`, or a
        file of ``rnn-verify check --data``.
    batch_size : int
        Batch size of ``model.predict``; one that is fixed in the model takes
        precedence. Only a stateful model needs a multiple of it.
    network : Network or path, optional
        Compare this network with Keras, not the one read from `model`: your own
        variant, or a mistake planted on purpose. The numbers and options in which a
        layer that differs is not the model's are named.
    config, semantics
        As for `load`.
    loaded : Network, optional
        What `load` returned for `model`, if it has been read already.
    partial : bool
        Whether a model of which not all can be read is checked as far as it can be. The
        verdict is then PARTIAL at best, and ``Report.coverage`` says how much of it
        was proved.
    gradients : bool
        Whether to compare the gradients of every weight and input too: NumPy's own
        backpropagation with Keras's automatic differentiation, in float64.
    threads : int, optional
        Threads of NumPy's evaluation of the model; one for each core by default.
    mapper : Mapper
        Runs the comparisons of batches; by default one after the other in this process.
    watch : Watch, optional
        Shows progress, keeps a report up to date and makes Ctrl-C end in a partial
        report.
    on_batch : callable, optional
        Called with what Keras's predict returns for each batch of rows, one array for
        each output, in the order of the rows. Rows that `watch` knows already are not
        predicted again.
    limits : Limits
        How many rows make a batch, and how many are looked at more closely.

    Returns
    -------
    Report

    Raises
    ------
    VerifyError
        The model or the inputs cannot be used; the message is one line.
    UntestedKeras
        The Keras that runs was not tested, and lacks what a check needs of it.
    """
    if isinstance(model, Network):
        raise DataError(
            "expected a path to a model file or a Keras model, to compare with. "
            "Received: a verify.Network; give it as network=, beside its model"
        )
    own = loaded
    if own is None:
        with untested_keras():
            own = load(model, config=config, semantics=semantics, partial=partial)
    remains, probe = None, x is None
    if own.spec.unread:
        if not partial:
            refuse_whole(own.spec)
        if network is not None:
            raise DataError("network is for models that can be read. Received: one too")
        remains = remains_of(model, own, x)
        model, own, x = remains.model, remains.part, remains.inputs
    net = own if network is None else load(network)
    _require_same_layers(own.spec, net.spec)
    if gradients and (reason := supports(net)):
        raise UnsupportedError(reason)
    net.spec.require_finite()
    source = as_source(net, usable_inputs(net) if x is None else x)
    batch_size = _batch_size(net.spec, source.rows, batch_size)
    comparison = KerasComparison(
        model=model,
        own=own,
        net=net,
        given=network is not None,
        source=source,
        probe=probe,
        plan=BatchPlan.of(net, source, batch_size, limits),
        batch_size=batch_size,
        gradients=gradients,
        threads=threads,
        limits=limits,
        on_batch=on_batch,
        remains=remains,
    )
    with untested_keras():
        return comparison.run(mapper, watch)


def _batch_size(spec: ModelSpec, rows: int, wanted: int) -> int:
    fixed = spec.batch_size
    if not hasattr(wanted, "__index__") or wanted < 1:
        raise DataError(f"expected a batch size of 1 or more. Received: {wanted!r}")
    if fixed is None:
        return wanted
    if spec.stateful and rows % fixed:  # another model takes fewer rows at the end
        raise DataError(
            f"expected a multiple of {fixed} rows, the model's fixed batch size. "
            f"Received: {rows} rows"
        )
    return fixed


def _require_same_layers(own: ModelSpec, other: ModelSpec) -> None:
    """Raise DataError for a network that has other layers than its model."""
    if [(x.name, x.class_name) for x in own] != [(x.name, x.class_name) for x in other]:
        raise DataError(
            "expected a network with the layers of the model "
            f"({', '.join(x.name for x in own)}). "
            f"Received: {', '.join(x.name for x in other)}"
        )
