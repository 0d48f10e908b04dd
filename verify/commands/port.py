"""Carry a model elsewhere: convert it, and write what proves a port."""

from __future__ import annotations

import sys

import click
from click.exceptions import Exit

import verify
from verify.commands import options
from verify.commands.arguments import (
    load_network,
    optional_source,
    require_other_file,
)
from verify.errors import printable


@click.command()
@options.model
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    help="The folder to write: a new one, an empty one, or one of test "
    "vectors, which is replaced.",
)
@options.optional_data
@options.config
@options.keras2
@options.layers
@options.base_class
@options.backend
@options.keras_version
@options.vocabulary
@options.column
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="Other inputs are made for another seed.",
)
@click.option("--rows", type=click.IntRange(min=1), help="Rows of a call, at most.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Time steps at which gates and states are kept, at most; by default "
    "as many of 16 as fit. Inputs and outputs have every step.",
)
@click.option("--weights/--no-weights", default=True, help="Whether to write weights.")
@click.option(
    "--values/--no-values",
    default=True,
    help="Whether to write gates, states and outputs of layers too.",
)
def vectors(
    model: str,
    out: str,
    data: str | None,
    config: str | None,
    keras2: bool | None,
    layers: tuple[str, ...],
    as_base_class: tuple[str, ...],
    backend: str,
    keras: str | None,
    vocabulary: str | None,
    column: str | None,
    seed: int,
    rows: int | None,
    steps: int | None,
    weights: bool,
    values: bool,
) -> None:
    """Write test vectors that prove a port in any language: C, JavaScript, others."""
    from verify.ports.vectors.write import folder_to_write

    folder = folder_to_write(out)
    net = load_network(model, config, keras2, layers, as_base_class, keras).on(backend)
    source = optional_source(net, data, vocabulary, column)
    written = verify.write_vectors(
        net,
        folder,
        source,
        seed=seed,
        rows=rows,
        steps=steps,
        weights=weights,
        values=values,
    )
    print(f"Wrote {printable(out)}", file=sys.stderr)
    print(written)


@click.command()
@options.model
@click.option(
    "--to",
    required=True,
    metavar="FRAMEWORK",
    help="onnx, openvino, tflite, c, or a framework that `conventions` knows, "
    "such as torch.",
)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    help="The file to write: .onnx, .xml or .tflite for the whole model, .npz "
    "or .safetensors for the weights by the framework's names, .h for C.",
)
@options.config
@options.keras2
@options.layers
@options.base_class
@options.backend
@options.keras_version
@click.option(
    "--dtype",
    metavar="DTYPE",
    help="Convert the model as it computes in float32, whatever its policies.",
)
@options.json
def convert(
    model: str,
    to: str,
    out: str,
    config: str | None,
    keras2: bool | None,
    layers: tuple[str, ...],
    as_base_class: tuple[str, ...],
    backend: str,
    keras: str | None,
    dtype: str | None,
    json: bool,
) -> None:
    """Write a model or its weights for another framework, proved before it is written.

    Exit code 1, and no file, if what would be written is not the model.
    """
    from verify.ports.convert.conversion import require_target
    from verify.ports.convert.proof import NotProven

    require_other_file(model, require_target(to, out), "MODEL")
    net = load_network(model, config, keras2, layers, as_base_class, keras).on(backend)
    try:
        done = verify.convert(net, to, out, dtype=dtype)
    except NotProven as error:
        print(f"rnn-verify: {error}", file=sys.stderr)
        raise Exit(1) from None
    for path in done.paths:
        print(f"Wrote {printable(path)}", file=sys.stderr)
    print(done.to_json() if json else str(done))
