"""A callback that checks a model while Keras trains it.

Importing this module imports Keras; importing `verify` does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

import verify
from verify import keras_bridge
from verify.errors import DataError, did_you_mean

_Callback: Any = keras_bridge.import_keras().callbacks.Callback

OWN_OPTIONS = ("every", "at_end", "stop_on_fail", "name", "verbose")


class VerifyCallback(_Callback):  # type: ignore[misc]
    """Check the model during ``model.fit``, every so many epochs and at the end.

    Each check adds two numbers to the logs of its epoch, and so to the history:
    ``verify_error_ratio``, the greatest error of ``predict`` in units of what is
    allowed, which is above 1 for a mistake; and ``verify_passed``, 1 for PASS and 0 for
    any other verdict. Epochs without a check have NaN. Training goes on as it would
    without the callback.

    Put it behind callbacks that change weights when training ends, such as
    ``EarlyStopping(restore_best_weights=True)``: the weights are then checked again.

    Parameters
    ----------
    x : (batch, ...), optional
        The rows to check on, as for `verify.check`; by default probe inputs.
    every : int or None
        Epochs from one check to the next; None: only at the end of the training.
    at_end : bool
        Whether the last epoch is checked in any case.
    stop_on_fail : bool
        Whether training stops after an epoch whose verdict is FAIL.
    name : str
        What the names in the logs begin with.
    verbose : int
        0: print nothing; 1: print reports whose verdict is not PASS; 2: also a line for
        each PASS.
    **options
        As for `verify.check`: ``partial``, ``batch_size`` and others.

    Attributes
    ----------
    reports : list of (int, verify.Report)
        Each check, with the number of its epoch as Keras prints it, from 1 on.

    Raises
    ------
    verify.DataError
        An option has a value that it cannot have.
    verify.VerifyError
        From ``model.fit``: the model or the rows cannot be used. What cannot be read of
        a model that is built is said before training begins.
    """

    def __init__(
        self,
        x: Any = None,
        *,
        every: int | None = 1,
        at_end: bool = True,
        stop_on_fail: bool = False,
        name: str = "verify",
        verbose: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        whole = isinstance(every, int) and not isinstance(every, bool)
        if every is not None and not (whole and every >= 1):
            raise DataError(f"every: expected 1 or more epochs. Received: {every!r}")
        if every is None and not at_end:
            raise DataError(
                "every=None checks at the end alone: expected at_end=True. "
                "Received: at_end=False"
            )
        known = inspect.signature(verify.check).parameters
        for option in options:
            if option not in known:
                raise TypeError(
                    f"VerifyCallback and verify.check have no option '{option}'. "
                    f"{did_you_mean(option, [*known, *OWN_OPTIONS])}".rstrip()
                )
        self.x = x
        self.every = every
        self.at_end = at_end
        self.stop_on_fail = stop_on_fail
        self.name = name
        self.verbose = verbose
        self.options = options
        self.reports: list[tuple[int, verify.Report]] = []
        self._checked = ""  # the digest of the weights that were checked last
        self._epoch = 0

    @property
    def report(self) -> verify.Report | None:
        """Return the report of the last check; None before the first."""
        return self.reports[-1][1] if self.reports else None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Read the model, so that one that cannot be read is refused at once."""
        self.reports = []
        self._checked, self._epoch = "", 0
        if self.model.built:
            partial = bool(self.options.get("partial", False))
            verify.load(self.model, partial=partial)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the model if it is its turn, and add the outcome to the logs."""
        self._epoch = epoch + 1
        last = self._epoch == self.params.get("epochs") or self.model.stop_training
        due = self.every is not None and self._epoch % self.every == 0
        ratio = passed = math.nan
        if due or (last and self.at_end):
            report = self._check()
            ratio, passed = report.numerics.error_ratio, float(bool(report))
        if logs is not None:
            logs[f"{self.name}_error_ratio"] = ratio
            logs[f"{self.name}_passed"] = passed

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Check the weights that training ends with, if they were not checked."""
        if self.at_end and self._epoch and self._digest() != self._checked:
            self._check()

    def _check(self) -> verify.Report:
        watch = verify.Watch(interruptible=False)
        with _randomness_kept(self.model):
            report = verify.check(self.model, self.x, watch=watch, **self.options)
        self._checked = self._digest()
        self.reports.append((self._epoch, report))
        if self.verbose and not report:
            print(f"\nEpoch {self._epoch}: {report}")
        elif self.verbose > 1:
            print(f"\nEpoch {self._epoch}: {report.verdict}: {report.reason}")
        if self.stop_on_fail and report.verdict is verify.Verdict.FAIL:
            self.model.stop_training = True
        return report

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for array in self.model.get_weights():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@contextlib.contextmanager
def _randomness_kept(model: Any) -> Iterator[None]:
    """Let the training draw the random numbers that it would draw without the block.

    `predict` draws dropout masks in recurrent layers, though it does not use them, and
    a layer that is built draws seeds for its weights.
    """
    drawn = random.getstate()
    kept = [(v, np.array(v.numpy())) for v in model.non_trainable_variables]
    try:
        yield
    finally:
        random.setstate(drawn)
        for variable, value in kept:
            if not np.array_equal(variable.numpy(), value):
                variable.assign(value)
