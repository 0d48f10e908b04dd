"""Say what a file, a layer or another framework holds, without computing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
from click.exceptions import Exit

import verify
from verify.commands import options
from verify.commands.arguments import load_network


@click.command()
@options.model
@options.config
@options.keras2
@options.layers
@options.base_class
@options.keras_version
def describe(
    model: str,
    config: str | None,
    keras2: bool | None,
    layers: tuple[str, ...],
    as_base_class: tuple[str, ...],
    keras: str | None,
) -> None:
    """Say which columns are which gate, and where the parameter count comes from.

    Layers that cannot be read are marked with the reason; exit code 3 if there are any.
    """
    net = load_network(
        model, config, keras2, layers, as_base_class, keras, partial=True
    )
    print(verify.describe(net))
    if unread := net.spec.unread:
        first = next(iter(unread.values()))
        print(f"rnn-verify: PARTIAL: {first}: {first.unread}", file=sys.stderr)
        raise Exit(verify.Verdict.PARTIAL.exit_code)


@click.command()
@click.argument(
    "weights", metavar="WEIGHTS", help="A file with weights and no config, .h5."
)
@click.option(
    "--order",
    default="",
    metavar="NAMES",
    help="The layers in the order of the model, lstm,lstm_1,dense, where the "
    "file leaves a choice.",
)
def guess_config(weights: str, order: str) -> None:
    """Propose the Sequential model that a file of weights fits, as JSON to edit."""
    from json import dumps

    from verify.model_files.guessing import read_guess

    guess = read_guess(Path(weights), re.findall(r"[^\s,]+", order))
    print(dumps(guess.config, indent=1))
    print(
        "This is a guess: names and shapes fit it, and do not say what follows. Edit "
        "it, then give it as --config:",
        *(f"  - {question}" for question in guess.open_questions),
        sep="\n",
        file=sys.stderr,
    )


@click.command()
def layers() -> None:
    """List every layer that is read, with the options that count, in Markdown."""
    from verify.report.describe import coverage

    print(coverage())


@click.command()
def schema() -> None:
    """Print the JSON Schema of what --json prints for check, compare and selftest."""
    from verify.report.schema import schema_text

    print(schema_text(), end="")


@click.command()
@click.argument(
    "framework",
    metavar="[FRAMEWORK]",
    help="torch, onnx, openvino, flax.nnx, tflite, ...; by default all of "
    "them, as tables in Markdown.",
    required=False,
)
@options.json
def conventions(framework: str | None, json: bool) -> None:
    """Say how other frameworks store and compute SimpleRNN, LSTM and GRU."""
    from verify.report.conventions import (
        convention_tables,
        convention_text,
        conventions_json,
    )

    if json:
        print(conventions_json(framework))
    else:
        print(convention_tables() if framework is None else convention_text(framework))
