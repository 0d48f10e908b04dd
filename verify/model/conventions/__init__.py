"""Say how other frameworks store and compute recurrent layers, and convert weights.

`conventions` describes them, `to_framework` and `from_framework` turn weights. The data
are in ``conventions.json``; ``measured.json`` has what running them gave.
"""

from verify.model.conventions.data import (
    Convention,
    Framework,
    Measurement,
    Refusal,
    conventions,
    find_framework,
    frameworks,
)
from verify.model.conventions.losses import (
    Loss,
    export_warning,
    exporter_losses,
    losses,
)
from verify.model.conventions.weights import find_form, from_framework, to_framework

__all__ = [
    "Convention",
    "Framework",
    "Loss",
    "Measurement",
    "Refusal",
    "conventions",
    "export_warning",
    "exporter_losses",
    "find_form",
    "find_framework",
    "frameworks",
    "from_framework",
    "losses",
    "to_framework",
]
