"""Say which rules of a version the Keras that runs follows: `verify.model.versions`."""

from __future__ import annotations

from verify.model.versions import VersionRule


def keras_rules() -> frozenset[VersionRule]:
    """The rules of the running Keras. It imports Keras."""
    from verify import keras_bridge

    keras_bridge.import_keras()
    return keras_bridge.version_rules()


def loop_ends_mask() -> bool:
    """Return whether a mask ends at a recurrent layer, as from Keras 3.16 on."""
    return VersionRule.LOOP_ENDS_MASK in keras_rules()
