"""Run Keras on many time steps without a graph, or a call, for each of them.

Keras itself writes every step of a TimeDistributed into its graph where the number of
steps is fixed: 8,801 of them take two minutes and 8 GB to compile, for two rows. With
an open axis it computes all steps at once, by ``vectorized_map``. For long windows its
own code for the open axis is used here for the fixed one as well; the formula is the
same. And a recurrent layer that is called by itself is compiled first, as in predict.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from verify.keras_bridge import private
from verify.keras_bridge.importing import backend, import_keras
from verify.model.graph import flatten, map_structure

MANY_STEPS = 1000
"""Steps of a TimeDistributed from which all are computed at once."""

COMPILED_STEPS = 300
"""Steps from which a recurrent layer is compiled before it is called by itself."""

AT_ONCE = (
    "TimeDistributed over so many fixed steps is run as Keras runs it over an open "
    "axis, all steps at once: one by one they would take minutes to compile"
)


@contextlib.contextmanager
def all_steps_at_once() -> Iterator[list[str]]:
    """Have TimeDistributed compute the steps of long windows at once.

    On torch and NumPy the steps are not compiled, so nothing changes there.

    Yields
    ------
    list of str
        The names of the layers that did.
    """
    done: list[str] = []
    if backend() not in ("tensorflow", "jax"):
        yield done
        return
    layer = import_keras().layers.TimeDistributed
    original = layer.call

    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        steps = inputs.shape[1] if len(inputs.shape) > 1 else None
        if type(steps) is not int or steps < MANY_STEPS:
            return original(self, inputs, training=training, mask=mask)
        done.append(str(self.name))
        return _mapped(self, inputs, training, mask)

    with patch.object(layer, "call", call):
        yield done


def _mapped(layer: Any, inputs: Any, training: Any, mask: Any) -> Any:
    """Compute the steps of (batch, time, ...) by ``vectorized_map``.

    Source: keras/src/layers/rnn/time_distributed.py, its second implementation.
    """
    ops = import_keras().ops

    def turned(x: Any) -> Any:
        return ops.transpose(x, [1, 0, *range(2, len(x.shape))])

    x = turned(inputs)
    keep = None if mask is None else turned(mask)
    given = private.given_by_time_distributed(layer.layer)

    def step(k: Any) -> Any:
        options: dict[str, Any] = {}
        if keep is not None and "mask" in given:
            options["mask"] = keep[k]
        if "training" in given:
            options["training"] = training
        return layer.layer.call(x[k], **options)

    return turned(ops.vectorized_map(step, ops.arange(inputs.shape[1])))


def compiled_if_long(
    operation: Any, run: Callable[..., Any], args: Any, kwargs: Any
) -> Callable[..., Any]:
    """Return a call of a layer, compiled if its loop takes many steps.

    Only TensorFlow runs the steps of a loop one by one where nothing is compiled.

    Parameters
    ----------
    operation : keras.Operation
    run : callable
        Calls it.
    args, kwargs
        Those of the call.
    """
    tensors = [x for x in flatten([list(args), kwargs]) if hasattr(x, "shape")]
    steps = max((x.shape[1] for x in tensors if len(x.shape) > 1), default=0)
    if backend() != "tensorflow" or steps < COMPILED_STEPS or not _loops(operation):
        return run
    return _compiled(run)


def _loops(operation: Any) -> bool:
    keras = import_keras()
    if not isinstance(operation, keras.layers.Layer):
        return False
    inside = [operation, *private.layers_inside(operation)]
    return any(hasattr(layer, "go_backwards") for layer in inside)


def _compiled(layer: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that compiles a call, and hands masks in and out of it."""
    tf, keras = sys.modules["tensorflow"], import_keras()

    def call(*args: Any, **kwargs: Any) -> Any:
        given = [list(args), kwargs]
        leaves = flatten(given)
        places = [k for k, leaf in enumerate(leaves) if keras.ops.is_tensor(leaf)]
        masks = [private.mask_of(leaves[k]) for k in places]
        shape: list[Any] = []

        @tf.function  # type: ignore[untyped-decorator]
        def run(values: Any, its_masks: Any) -> Any:
            for value, mask in zip(values, its_masks, strict=True):
                if mask is not None:
                    private.set_mask(value, mask)
            known = dict(zip(places, values, strict=True))
            numbers = iter(range(len(leaves)))

            def symbolic(leaf: Any) -> Any:
                return known.get(next(numbers), leaf)

            changed_args, changed = map_structure(symbolic, given)
            outputs = layer(*changed_args, **changed)
            shape[:] = [outputs]
            tensors = flatten(outputs)
            return tensors, [private.mask_of(y) for y in tensors]

        found, passed = run([tf.identity(leaves[k]) for k in places], masks)
        for y, mask in zip(found, passed, strict=True):
            if mask is not None:
                private.set_mask(y, mask)
        remaining = iter(found)
        return map_structure(lambda _: next(remaining), shape[0])

    return call
