"""Compute a model in NumPy, and write what comes out."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from verify.commands import options
from verify.commands.arguments import (
    load_network,
    opened_source,
    require_other_file,
    row_mapper,
)
from verify.data.files import output_path
from verify.errors import error_prefix, printable


@click.command()
@options.model
@options.data
@click.option("--out", required=True, metavar="FILE", help="The .npz to write.")
@options.config
@options.keras2
@options.layers
@options.base_class
@options.backend
@options.keras_version
@options.vocabulary
@options.column
def trace(
    model: str,
    data: str,
    out: str,
    config: str | None,
    keras2: bool | None,
    layers: tuple[str, ...],
    as_base_class: tuple[str, ...],
    backend: str,
    keras: str | None,
    vocabulary: str | None,
    column: str | None,
) -> None:
    """Write every gate and state at every step to an .npz file."""
    from verify.checks.inputs import id_notes
    from verify.checks.predict import write_trace
    from verify.console.progress import progress

    path = require_other_file(data, output_path(out, "--out", ".npz"))
    net = load_network(model, config, keras2, layers, as_base_class, keras).on(backend)
    source = opened_source(net, data, vocabulary, column)
    for note in id_notes(net, source):
        print(note, file=sys.stderr)
    with error_prefix(data), progress("rows", source.rows) as advance:
        shapes = write_trace(net, source, path, advance=advance)
    print(f"Wrote {printable(path)}: {len(shapes)} arrays", file=sys.stderr)
    _print_shapes(shapes)


@click.command()
@options.model
@options.data
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    help="The .npy to write; of several outputs the .npz, one array by the "
    "name of each layer they come from.",
)
@options.config
@options.keras2
@options.layers
@options.base_class
@options.backend
@options.keras_version
@options.vocabulary
@options.column
@options.threads
@options.dask
def predict(
    model: str,
    data: str,
    out: str,
    config: str | None,
    keras2: bool | None,
    layers: tuple[str, ...],
    as_base_class: tuple[str, ...],
    backend: str,
    keras: str | None,
    vocabulary: str | None,
    column: str | None,
    threads: int | None,
    dask: options.Dask,
) -> None:
    """Write the outputs of the model, computed in NumPy."""
    from verify.checks.inputs import id_notes
    from verify.checks.predict import write_outputs
    from verify.console.progress import progress

    path = require_other_file(data, output_path(out, "--out", ".npy", ".npz"))
    net = load_network(model, config, keras2, layers, as_base_class, keras).on(backend)
    source = opened_source(net, data, vocabulary, column)
    for note in id_notes(net, source):
        print(note, file=sys.stderr)
    with row_mapper(dask, net) as mapper, progress("rows", source.rows) as advance:
        shapes = write_outputs(
            net, source, path, threads=threads, mapper=mapper, advance=advance
        )
    print(f"Wrote {printable(path)}: {source.rows:,} rows", file=sys.stderr)
    _print_shapes(shapes)


def _print_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        print(f"{printable(name)}  {shape}")
