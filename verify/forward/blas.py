"""Say how many threads NumPy's matrix products use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any

LONG_LOOP, SMALL_PRODUCTS = 200, 2**24
"""Steps of a loop over time from which its products are looked at, and multiplications
of a step below which a second thread does not pay: on a machine with other work the
threads wait for each other at every step, for longer than the product takes."""


def for_loop(steps: int, multiplications: int) -> AbstractContextManager[None]:
    """Use one thread for the products of a long loop over time, if they are small.

    Parameters
    ----------
    steps : int
    multiplications : int
        Of one step.
    """
    small = steps >= LONG_LOOP and multiplications < SMALL_PRODUCTS
    return single_threaded_blas() if small else nullcontext()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Use one thread for each matrix product, because our own threads share the work.

    The setting holds for the whole process. If several callers overlap, the first one
    changes it and the last one restores it.
    """
    global _limiting, _limit
    with _LOCK:
        _limiting += 1
        if _limiting == 1:
            _limit = _limited()
    try:
        yield
    finally:
        with _LOCK:
            _limiting -= 1
            if not _limiting and _limit is not None:
                _limit.restore_original_limits()
                _limit = None


def _limited() -> Any:
    global _controller
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:  # a worker on a cluster may have only NumPy installed
        return None
    if _controller is None:
        _controller = ThreadpoolController()
    return _controller.limit(limits=1, user_api="blas")


_limiting, _limit, _controller = 0, None, None
_LOCK = Lock()
