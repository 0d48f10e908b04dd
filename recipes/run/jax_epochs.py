"""Train whole epochs inside JAX: its compiled loop goes over the batches, not Python's.

Keras's ``fit`` on JAX calls a compiled function for each batch. For networks as small
as those of the recipes that takes about as long as the training itself. Here JAX's own
loop calls ``train_step``, which Keras offers for training loops of one's own. Weights
and metrics are those of ``fit``, to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from verify.model.arrays import Array

SECONDS_AT_ONCE = 0.2
"""Time that JAX computes, roughly, before it is asked whether to go on."""

TEST_BATCH = 256
"""Batch size where nothing is learnt. It changes the time, not the outputs, since rows
do not depend on each other."""

State = tuple[list[Any], ...]
"""The values of several groups of variables."""

Batches = tuple[Any, Any]
"""Batches of the same size, x and y: (batches, rows, ...) each."""

Work = tuple[Callable[..., Any], Sequence[Sequence[Any]], Sequence[Batches]]
"""A step of Keras, the groups of variables that it takes, and batches."""

Loop = Callable[[State, Any, Any, int, int], State]
"""Does the work of batches from..to, given the state, x and y; returns the state."""


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
        self._loops: dict[tuple[Any, ...], Loop] = {}

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
        untrained = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.metrics_variables,
        )
        trained = (*untrained[:2], model.optimizer.variables, untrained[2])
        batches = _batches(x, y, batch_size)
        works: list[Work] = [(model.train_step, trained, batches)]
        if test is not None:
            tested = _batches(*test, TEST_BATCH)
            works.append((model.test_step, untrained, tested))
        self._compile(works)
        logs, *tests = (self._run(*work) for work in works)
        for found in tests:
            logs |= {f"val_{name}": value for name, value in found.items()}
        return logs

    def _compile(self, works: Sequence[Work]) -> None:
        """Compile the loops for all shapes of batches, several at the same time."""
        lowered = {}
        for step, groups, batches in works:
            for x, y in batches:
                key = (step.__name__, x.shape, y.shape)
                if key not in self._loops:
                    lowered[key] = _loop(step).lower(_state(groups), x, y, 0, 1)
        if lowered:
            with ThreadPoolExecutor(len(lowered)) as threads:
                compiled = threads.map(lambda one: one.compile(), lowered.values())
                self._loops |= zip(lowered, compiled, strict=True)

    def _run(
        self,
        step: Callable[..., Any],
        groups: Sequence[Sequence[Any]],
        batches: Sequence[Batches],
    ) -> dict[str, float]:
        """Take steps through all batches; update the variables, return the metrics."""
        self._model.reset_metrics()
        state = _state(groups)
        for x, y in batches:
            loop = self._loops[step.__name__, x.shape, y.shape]
            state = self._through(loop, state, x, y)
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        metrics = self._model.get_metrics_result()
        return {name: float(value) for name, value in metrics.items()}

    def _through(self, loop: Loop, state: State, x: Any, y: Any) -> State:
        """Go through batches, and look in between whether to go on.

        How many are computed at once follows from the time that the last ones took.
        """
        import jax

        wait: Callable[[State], State] = jax.block_until_ready
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


def _state(groups: Sequence[Sequence[Any]]) -> State:
    """Return the values of variables."""
    return tuple([variable.value for variable in group] for group in groups)


def _batches(x: Array, y: Array, size: int) -> list[Batches]:
    """Cut rows into batches of one size, and the rest, which is a smaller batch."""
    import jax

    whole = len(x) // size * size
    cut = [[z[:whole].reshape(-1, size, *z.shape[1:]) for z in (x, y)]]
    cut += [[z[None, whole:] for z in (x, y)]]
    return [
        (jax.numpy.asarray(a), jax.numpy.asarray(b))
        for a, b in cut
        if a.size and len(a)
    ]


def _loop(step: Callable[[State, Any], tuple[Any, State]]) -> Any:
    """Return a function, still to be compiled, that is a `Loop` of Keras's step."""
    import jax

    def loop(state: State, x: Any, y: Any, start: int, stop: int) -> State:
        def one(k: Any, state: State) -> State:
            return step(state, (x[k], y[k]))[1]

        return jax.lax.fori_loop(start, stop, one, state)

    return jax.jit(loop)
