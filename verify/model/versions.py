"""List where other versions of Keras compute something else than Keras 3.15.

By default this package computes what Keras 3.15 computes. Each `VersionRule` is one
point where a later version differs; a layer that follows a rule has it in its
``version_rules``. The rules of a backend are in `verify.model.backends`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from verify.errors import UnsupportedError, join_and, printable


class VersionRule(StrEnum):
    """Enumerate the differences from Keras 3.15.

    The value of a member says, for reports, what is done instead.
    """

    LOOP_ENDS_MASK = (
        "the mask ends at a recurrent layer, a Bidirectional and a TimeDistributed, so "
        "layers behind it are computed without one; up to 3.15 it goes on"
    )
    """Source: ``supports_masking = False`` in keras/src/layers/rnn/rnn.py,
    bidirectional.py and time_distributed.py. The layer itself still uses its mask. A
    mask that is an argument of a call in the config is used as before."""

    MASKED_ROW_ATTENDS_TO_NOTHING = (
        "in Attention and AdditiveAttention a query whose keys are all masked attends "
        "to nothing, so its output is 0; up to 3.15 it attends to all alike"
    )
    """Source: keras/src/layers/attention/attention.py, which also replaces the score of
    a masked key, where 3.15 subtracts from it."""

    SPARSEMAX_OF_THE_PAPER = (
        "sparsemax is that of the paper; up to 3.15 it is another function wherever "
        "more than one output is not 0"
    )
    """Paper: Martins and Astudillo, 2016. Source: ``sparsemax`` in
    keras/src/backend/tensorflow/ops/nn.py."""

    EXACT_FLOOR_DIVIDE = (
        "ops.floor_divide of floats is exact, so 1 // 0.1 is 9; up to 3.15 it is the "
        "floor of the rounded quotient, 10"
    )
    """Source: ``floor_divide`` in keras/src/backend/tensorflow/ops/numpy.py."""

    WHOLE_NUMBERS_AVERAGED_IN_FLOATX = (
        "a mean of whole numbers is computed in Keras's default float type; up to 3.15 "
        "in float32"
    )
    """Source: ``mean`` in keras/src/backend/tensorflow/ops/numpy.py, so on TensorFlow
    alone. It shows only where that type is float64."""

    TRAINING_ARGUMENT_HOLDS = (
        "a layer that the model calls with training=True acts as in training, in "
        "predict too: dropout is random, BatchNormalization uses the batch. It is "
        "refused here; up to 3.15 predict overrides the argument"
    )
    """Source: keras/src/models/functional.py, which no longer gives the calls of a
    graph the argument of predict."""


REFERENCE: frozenset[VersionRule] = frozenset()
"""Keras 3.15 is the reference, so it follows no rule."""

VERSIONS: Mapping[str, frozenset[VersionRule]] = MappingProxyType(
    {"3.15": REFERENCE, "3.16": frozenset(VersionRule)}
)
"""Version of Keras -> its rules. Those before the first compute as the first does, as
far as this package reads them; those after the last are taken to do as the last."""

TESTED = ("3.15", "3.16.0.dev2026102704")
"""The versions that this package was tested with: a release with all its patches, or a
single nightly build. `make nightly` runs the tests with a later one."""


def rules_of(version: str) -> frozenset[VersionRule]:
    """Return the rules of a version such as ``3.16.0.dev2026102704``.

    An unknown version has those of the reference.
    """
    found = REFERENCE
    for known, rules in VERSIONS.items():
        if _release(version) >= _release(known):
            found = rules
    return found


def known_rules(version: str) -> frozenset[VersionRule]:
    """Return the rules of a version that a user names.

    Raises
    ------
    UnsupportedError
        It is none of `VERSIONS`, nor a patch or a nightly of one.
    """
    release = ".".join(map(str, _release(version)))
    if release not in VERSIONS:
        raise UnsupportedError(
            f"expected a version of Keras whose rules are known, "
            f"{' or '.join(VERSIONS)}. Received: {printable(version, 40)}"
        )
    return VERSIONS[release]


def is_tested(version: str) -> bool:
    """Return whether this package was tested with a version; see `TESTED`."""
    released = re.fullmatch(r"\d+\.\d+(\.\d+)?", version) is not None
    release = ".".join(map(str, _release(version)))
    return version in TESTED or (released and release in TESTED)


def is_later(version: str) -> bool:
    """Return whether a version comes after the one whose rules are the reference."""
    return _release(version) > _release(next(iter(VERSIONS)))


def untested(version: str) -> str:
    """Say that a version was not tested, and which were; empty if it was."""
    if is_tested(version):
        return ""
    tested = join_and(TESTED)
    return f"Keras {printable(version, 40)} was not tested; tested: {tested}"


def _release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; () if it does not begin so."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})(?![\d])", version)
    return tuple(map(int, found.groups())) if found else ()
