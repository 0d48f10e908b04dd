"""The only package that imports Keras: it reads live models and runs them.

Import it lazily, inside a function, so that ``import verify`` stays free of Keras.
"""

from verify.keras_bridge.activation_errors import (
    current_activation_errors,
    current_platform,
    measured_activation_errors,
)
from verify.keras_bridge.building import (
    layer_with_old_copies,
    load_model,
    rebuild,
)
from verify.keras_bridge.chunking import (
    EVERY_STEP,
    predicted_calls,
    time_chunks,
    time_slices,
)
from verify.keras_bridge.gradients import keras_gradients
from verify.keras_bridge.importing import (
    backend,
    first_line,
    floatx,
    import_keras,
    require_keras,
    untested_version,
    versions,
    without_tensorflow,
)
from verify.keras_bridge.litert import litert_file
from verify.keras_bridge.long_windows import AT_ONCE
from verify.keras_bridge.opening import opened
from verify.keras_bridge.probing import version_rules
from verify.keras_bridge.reading import read_live, set_afterwards
from verify.keras_bridge.recording import KerasCall
from verify.keras_bridge.running import KerasModel, inner_layer
from verify.keras_bridge.subclasses import options_of

__all__ = [
    "AT_ONCE",
    "EVERY_STEP",
    "KerasCall",
    "KerasModel",
    "backend",
    "current_activation_errors",
    "current_platform",
    "first_line",
    "floatx",
    "import_keras",
    "inner_layer",
    "keras_gradients",
    "layer_with_old_copies",
    "litert_file",
    "load_model",
    "measured_activation_errors",
    "opened",
    "options_of",
    "predicted_calls",
    "read_live",
    "rebuild",
    "require_keras",
    "set_afterwards",
    "time_chunks",
    "time_slices",
    "untested_version",
    "version_rules",
    "versions",
    "without_tensorflow",
]
