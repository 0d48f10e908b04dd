"""Compute a model in NumPy, and write what comes out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from verify.commands.arguments import (
    load_network,
    opened_source,
    require_other_file,
    row_mapper,
)
from verify.commands.options import (
    Backend,
    BaseClass,
    Column,
    Config,
    Dask,
    Data,
    Keras2,
    KerasVersion,
    Layers,
    Model,
    Threads,
    Vocabulary,
)
from verify.data.files import output_path
from verify.errors import error_prefix, printable


def trace(
    model: Model,
    data: Data,
    out: Annotated[str, typer.Option(metavar="FILE", help="The .npz to write.")],
    config: Config = None,
    keras2: Keras2 = None,
    layers: Layers = None,
    as_base_class: BaseClass = None,
    backend: Backend = "tensorflow",
    keras: KerasVersion = None,
    vocabulary: Vocabulary = None,
    column: Column = None,
) -> None:
    """Write every gate and state at every step to an .npz file."""
    from verify.checks.predict import write_trace
    from verify.console.progress import progress

    path = require_other_file(data, output_path(out, "--out", ".npz"))
    net = load_network(model, config, keras2, layers, as_base_class, keras).on(backend)
    source = opened_source(net, data, vocabulary, column)
    with error_prefix(data), progress("rows", source.rows) as advance:
        shapes = write_trace(net, source, path, advance=advance)
    print(f"Wrote {printable(path)}: {len(shapes)} arrays", file=sys.stderr)
    _print_shapes(shapes)


def predict(
    model: Model,
    data: Data,
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The .npy to write; of several outputs the .npz, one array by the "
            "name of each layer they come from.",
        ),
    ],
    config: Config = None,
    keras2: Keras2 = None,
    layers: Layers = None,
    as_base_class: BaseClass = None,
    backend: Backend = "tensorflow",
    keras: KerasVersion = None,
    vocabulary: Vocabulary = None,
    column: Column = None,
    threads: Threads = None,
    dask: Dask = None,
) -> None:
    """Write the outputs of the model, computed in NumPy."""
    from verify.checks.predict import write_outputs
    from verify.console.progress import progress

    path = require_other_file(data, output_path(out, "--out", ".npy", ".npz"))
    net = load_network(model, config, keras2, layers, as_base_class, keras).on(backend)
    source = opened_source(net, data, vocabulary, column)
    with row_mapper(dask, net) as mapper, progress("rows", source.rows) as advance:
        shapes = write_outputs(
            net, source, path, threads=threads, mapper=mapper, advance=advance
        )
    print(f"Wrote {printable(path)}: {source.rows:,} rows", file=sys.stderr)
    _print_shapes(shapes)


def _print_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        print(f"{printable(name)}  {shape}")
