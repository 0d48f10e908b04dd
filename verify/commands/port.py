"""Carry a model elsewhere: convert it, and write what proves a port."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import verify
from verify.commands.arguments import (
    load_network,
    optional_source,
    require_other_file,
)
from verify.commands.options import (
    Backend,
    BaseClass,
    Column,
    Config,
    Json,
    Keras2,
    KerasVersion,
    Layers,
    Model,
    OptionalData,
    Vocabulary,
)
from verify.errors import printable


def vectors(
    model: Model,
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="The folder to write: a new one, an empty one, or one of test "
            "vectors, which is replaced.",
        ),
    ],
    data: OptionalData = None,
    config: Config = None,
    keras2: Keras2 = None,
    layers: Layers = None,
    as_base_class: BaseClass = None,
    backend: Backend = "tensorflow",
    keras: KerasVersion = None,
    vocabulary: Vocabulary = None,
    column: Column = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Other inputs are made for another seed.")
    ] = 0,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of a call, at most.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Time steps at which gates and states are kept, at most; by default "
            "as many of 16 as fit. Inputs and outputs have every step.",
        ),
    ] = None,
    weights: Annotated[
        bool, typer.Option("--weights/--no-weights", help="Whether to write weights.")
    ] = True,
    values: Annotated[
        bool,
        typer.Option(
            "--values/--no-values",
            help="Whether to write gates, states and outputs of layers too.",
        ),
    ] = True,
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


def convert(
    model: Model,
    to: Annotated[
        str,
        typer.Option(
            metavar="FRAMEWORK",
            help="onnx, openvino, tflite, c, or a framework that `conventions` knows, "
            "such as torch.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The file to write: .onnx, .xml or .tflite for the whole model, .npz "
            "or .safetensors for the weights by the framework's names, .h for C.",
        ),
    ],
    config: Config = None,
    keras2: Keras2 = None,
    layers: Layers = None,
    as_base_class: BaseClass = None,
    backend: Backend = "tensorflow",
    keras: KerasVersion = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE",
            help="Convert the model as it computes in float32, whatever its policies.",
        ),
    ] = None,
    json: Json = False,
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
        raise typer.Exit(1) from None
    for path in done.paths:
        print(f"Wrote {printable(path)}", file=sys.stderr)
    print(done.to_json() if json else str(done))
