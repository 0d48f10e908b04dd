"""Compare any number of rows, batch by batch.

The results of batches are merged in the order of the rows. So batches can be compared
on any machine, a report can be made after every batch, and a comparison that was
interrupted can be resumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from verify.checks._batches import Batch, BatchPlan, Examiner, examine
from verify.checks.checkpoint import Watch
from verify.checks.mapper import Mapper
from verify.console import signals
from verify.data.sources import Source
from verify.errors import DataError
from verify.forward.network import Network
from verify.report.report import Report
from verify.tolerance.partial import PartialResult


class RowComparison(ABC):
    """Compare the outputs of a network with others, for any number of rows.

    `run` calls the methods of the subclass; they never call `run`.

    Attributes
    ----------
    net : Network
    source : Source
        The inputs.
    plan : BatchPlan
    examiner : Examiner
        Set by `open` at the latest.
    """

    net: Network
    source: Source
    plan: BatchPlan
    examiner: Examiner
    examine: ClassVar[Callable[..., PartialResult]] = staticmethod(examine)
    """Compares one `Batch` by an `examiner`, on any machine."""

    def open(self, log: Callable[[str], None]) -> None:  # noqa: B027 (optional)
        """Load what takes long; tell the user by `log` what there is to wait for."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what must be unchanged for a comparison to resume: plain values."""

    @abstractmethod
    def batches(self, start: int) -> Iterator[Batch]:
        """Yield the rows from `start` on, with the outputs to compare."""

    @abstractmethod
    def report(self, result: PartialResult, watch: Watch) -> Report:
        """Report on all rows; tell `watch` a verdict that takes long to explain."""

    @abstractmethod
    def partial_report(self, result: PartialResult) -> Report:
        """Report on the rows compared so far."""

    def run(self, mapper: Mapper, watch: Watch | None = None) -> Report:
        """Compare all rows; after Ctrl-C report on those compared so far.

        Parameters
        ----------
        mapper : Mapper
        watch : Watch, optional
            Without it Ctrl-C raises KeyboardInterrupt.

        Raises
        ------
        DataError
            The inputs do not fit, or there are none.
        KeyboardInterrupt
            Ctrl-C, without a `watch` or before the first batch has been compared.
        """
        watch = watch or Watch(interruptible=False)
        self.open(watch.log)
        result = None if watch.path is None else watch.begin(self.identity())
        try:
            rows, start = self.plan.rows, 0 if result is None else result.rows
            with watch.over(rows, start):
                left = self.batches(start) if start < rows else iter(())
                for found in mapper(
                    self.examine, left, shared={"examiner": self.examiner}
                ):
                    result = found if result is None else result.merge(found)
                    if watch.advance(found.rows):
                        watch.write(self.partial_report(result))
            if result is None:
                raise DataError("expected a row or more to compare. Received: none")
            report = self.report(result, watch)
        except KeyboardInterrupt:
            signals.heard()
            if result is None:
                raise KeyboardInterrupt from None
            report = self.partial_report(result)
            watch.write(report)
            if not watch.interruptible:
                raise KeyboardInterrupt from None
            return report
        except BaseException:
            if result is not None:
                watch.write(self.partial_report(result))
            raise
        watch.write(report)
        return report
