"""Tell what breaks on a version of Keras that was not tested from a defect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from verify.errors import KerasCannotRun, UntestedKeras, VerifyError


@contextmanager
def untested_keras() -> Iterator[None]:
    """Make whatever breaks on a version of Keras that was not tested `UntestedKeras`.

    What this package refuses by name stays refused, and so does what broke on a version
    that was tested: that is a defect.
    """
    try:
        yield
    except Exception as error:
        from verify import keras_bridge

        refused = isinstance(error, VerifyError) and not isinstance(
            error, KerasCannotRun
        )
        said = keras_bridge.untested_version()
        if not said or refused or isinstance(error, (MemoryError, UntestedKeras)):
            raise
        known = isinstance(error, VerifyError)
        what = error if known else keras_bridge.first_line(error)
        raise UntestedKeras(
            f"INCONCLUSIVE: {said}. A check cannot go on with it ({what})"
        ) from error
