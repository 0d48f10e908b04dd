"""Which rules of a version the running Keras follows, seen from what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from verify.keras_bridge.importing import floatx, import_keras, quiet, versions
from verify.model.versions import VersionRule, is_tested, rules_of


def version_rules() -> frozenset[VersionRule]:
    """Return the rules of the running Keras.

    They are known for a version that was tested. Any other is asked: a release may do
    otherwise than the nightly builds before it.
    """
    version = versions()["keras"]
    return rules_of(version) if is_tested(version) else probed_rules()


@cache
def probed_rules() -> frozenset[VersionRule]:
    """Return the rules that Keras is seen to follow; one that fails counts as known."""
    known = rules_of(versions()["keras"])
    found = set()
    for rule, follows in PROBES.items():
        try:
            with quiet():
                followed = follows()
        except Exception:  # what a probe calls may have changed, too
            followed = rule in known
        if followed:
            found.add(rule)
    return frozenset(found)


def _loop_ends_mask() -> bool:
    return not import_keras().layers.LSTM(1).supports_masking


def _masked_row_attends_to_nothing() -> bool:
    keras = import_keras()
    value = np.ones((1, 2, 1), "float32")
    mask = keras.ops.convert_to_tensor([[False, False]])
    y = keras.layers.Attention()([value, value], mask=[None, mask])
    return float(_to_numpy(y).max()) == 0.0


def _sparsemax_of_the_paper() -> bool:
    y = import_keras().activations.sparsemax(np.array([[1.0, 1.2]], "float32"))
    return float(_to_numpy(y).min()) > 0.1


def _exact_floor_divide() -> bool:
    divide = import_keras().ops.floor_divide
    tenth = np.array([0.1], "float32")
    return float(_to_numpy(divide(np.array([1.0], "float32"), tenth))[0]) == 9.0


def _whole_numbers_averaged_in_floatx() -> bool:
    with floatx("float64"):
        y = import_keras().ops.mean(np.array([0, 0, 1], "int32"))
    return _to_numpy(y).dtype == np.float64


def _training_argument_holds() -> bool:
    keras = import_keras()
    x = keras.Input((99,))
    model = keras.Model(x, keras.layers.Dropout(0.9)(x, training=True))
    y = model(np.ones((1, 99), "float32"), training=False)
    return float(_to_numpy(y).min()) == 0.0


def _to_numpy(y: Any) -> Any:
    return np.asarray(import_keras().ops.convert_to_numpy(y))


PROBES: Mapping[VersionRule, Callable[[], bool]] = MappingProxyType(
    {
        VersionRule.LOOP_ENDS_MASK: _loop_ends_mask,
        VersionRule.MASKED_ROW_ATTENDS_TO_NOTHING: _masked_row_attends_to_nothing,
        VersionRule.SPARSEMAX_OF_THE_PAPER: _sparsemax_of_the_paper,
        VersionRule.EXACT_FLOOR_DIVIDE: _exact_floor_divide,
        VersionRule.WHOLE_NUMBERS_AVERAGED_IN_FLOATX: _whole_numbers_averaged_in_floatx,
        VersionRule.TRAINING_ARGUMENT_HOLDS: _training_argument_holds,
    }
)
"""Rule of a version -> whether the running Keras follows it, by a tiny computation."""
