"""Read the forms in which versions of Keras wrote numbers, lists and tuples into JSON.

==========================================================  ==========================
form                                                        written by
==========================================================  ==========================
``{"type": "ndarray", "value": [0.3]}``                     Keras 1 and 2.0 to 2.3
``{"class_name": "__tuple__", "items": [2, 3]}``            tf.keras 2.4 to 2.15
``{"class_name": "TensorShape", "items": [null, 3]}``       tf.keras
==========================================================  ==========================

Keras 2.12 and later, Keras 3 among them, write an array with its dtype, as
``{"class_name": "__numpy__", "config": {"value": [0.3], "dtype": "float32"}}``, which
`verify.forward.layers.base.array_value` reads, because some options are held in it.

Sources: keras 2.0.9, keras/models.py; tf.keras 2.15,
keras/src/saving/legacy/saved_model/json_utils.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LISTS = ("__tuple__", "TensorShape")
"""Classes that stand for the list of their ``items``."""

CALLS = "inbound_nodes"
"""Key of the calls of a layer. In their arguments a tuple is not a list, so these are
left to `verify.model_files.functional`."""


def plain(value: Any) -> Any:
    """Return a config of Keras 1 or 2 with every number and list in its plain form."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"type", "value"} and isinstance(value["type"], str):
        return plain(value["value"])
    if value.get("class_name") in LISTS and isinstance(value.get("items"), list):
        return plain(value["items"])
    return {k: v if k == CALLS else plain(v) for k, v in value.items()}
