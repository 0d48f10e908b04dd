"""Turn a Keras model into C by keras2c."""

from pathlib import Path

import keras2c

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the .c file; the library it includes is not part of the package."""
    keras2c.k2c(load(source), str(out.with_suffix("")), num_tests=2, verbose=False)
