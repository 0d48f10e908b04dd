"""Train whole epochs inside JAX: its compiled loop goes over the batches, not Python's.

Keras's ``fit`` on JAX calls a compiled function for each batch. For networks as small
as those of the recipes that takes about as long as the training itself. Here JAX's own
loop calls ``train_step``, which Keras offers for training loops of one's own. Weights
and metrics are those of ``fit``, to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from verify.model.arrays import Array

SECONDS_AT_ONCE = 0.2
"""Time that JAX computes, roughly, before it is asked whether to go on."""

TEST_BATCH = 256
"""Batch size where nothing is learnt. It changes the time, not the outputs, since rows
do not depend on each other."""

State = tuple[list[Any], ...]
"""The values of several groups of variables."""


class JaxEpochs:
    """Train and evaluate a compiled model, whose metrics have been built.

    Parameters
    ----------
    model : keras.Model
    look : callable
        Called again and again; it raises an error to end the work.
    """

    def __init__(self, model: Any, look: Callable[[], object]) -> None:
        self._model = model
        self._look = look
        self._train = _loop(model.train_step)
        self._test = _loop(model.test_step)

    def epoch(
        self, x: Array, y: Array, batch_size: int, test: tuple[Array, Array] | None
    ) -> dict[str, float]:
        """Train one epoch, on batches in the order of the rows, and return its metrics.

        Parameters
        ----------
        x, y : (samples, ...)
        batch_size : int
        test : (x, y), optional
            Rows that are not learnt from; their metrics begin with ``val_``.
        """
        model = self._model
        groups = [
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        ]
        logs = self._run(self._train, groups, x, y, batch_size)
        if test is not None:
            del groups[2]  # nothing is learnt
            tested = self._run(self._test, groups, *test, TEST_BATCH)
            logs |= {f"val_{name}": value for name, value in tested.items()}
        return logs

    def _run(
        self,
        loop: Callable[..., State],
        groups: Sequence[Sequence[Any]],
        x: Array,
        y: Array,
        batch_size: int,
    ) -> dict[str, float]:
        self._model.reset_metrics()
        state = tuple([variable.value for variable in group] for group in groups)
        whole = len(x) // batch_size * batch_size
        if whole:
            batches = [z[:whole].reshape(-1, batch_size, *z.shape[1:]) for z in (x, y)]
            state = self._batches(loop, state, batches)
        if whole < len(x):
            state = self._batches(loop, state, [z[None, whole:] for z in (x, y)])
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        metrics = self._model.get_metrics_result()
        return {name: float(value) for name, value in metrics.items()}

    def _batches(
        self, loop: Callable[..., State], state: State, batches: Sequence[Array]
    ) -> State:
        """Go over batches, in x and in y: (batches, rows, ...), and return the state.

        How many are computed at once follows from the time that the last ones took.
        """
        import jax

        wait: Callable[[State], State] = jax.block_until_ready
        x, y = (jax.numpy.asarray(z) for z in batches)
        done, count = 0, 1
        while done < len(x):
            count = min(count, len(x) - done)
            began = time.perf_counter()
            state = wait(loop(state, x, y, done, done + count))
            seconds = time.perf_counter() - began
            self._look()
            done += count
            count = max(1, int(count * min(16.0, SECONDS_AT_ONCE / max(seconds, 1e-6))))
        return state


def _loop(step: Callable[[State, Any], tuple[Any, State]]) -> Callable[..., State]:
    """Return a compiled function that repeats Keras's step for batches from..to."""
    import jax

    @jax.jit
    def loop(state: State, x: Any, y: Any, start: int, stop: int) -> State:
        def one(k: Any, state: State) -> State:
            return step(state, (x[k], y[k]))[1]

        return jax.lax.fori_loop(start, stop, one, state)

    return loop
