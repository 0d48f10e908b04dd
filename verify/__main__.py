"""The ``rnn-verify`` command.

Data goes to stdout, talk to stderr. Exit codes: 0 pass, 1 fail, 2 wrong usage or
something unreadable or unsupported (one line on stderr), 3 inconclusive.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

import verify
from verify.commands import run
from verify.coverage import coverage
from verify.loading import usable_inputs
from verify.network import Inputs
from verify.sources import open_source
from verify.spec import DataError, named, plain
from verify.storage import checked_output, write_whole

if TYPE_CHECKING:
    from verify.page import Exploration

app = typer.Typer(
    help="Re-computes a Keras recurrent model in NumPy and compares.\n\n"
    "Exit codes: 0 pass, 1 fail, 2 wrong usage or unreadable, 3 inconclusive.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A .keras, .h5 or .weights.h5 file."),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help="For .weights.h5: the config, from model.to_json()."
    ),
]
Keras2 = Annotated[
    bool | None,
    typer.Option(
        "--keras2-semantics/--keras3-semantics",
        help="What settings mean whose meaning changed, such as hard_sigmoid. By "
        "default what they meant to the Keras that wrote the file.",
        show_default=False,
    ),
]
Backend = Annotated[
    str,
    typer.Option(help="Whose rules to follow where they differ: tensorflow or jax."),
]
DATA_HELP = (
    "Inputs: .npy, .npz (one array, or one called x) or .csv of numbers. For a model "
    "of several inputs .npz, one array by the name of each."
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def check(
    model: Model,
    data: Annotated[
        str | None,
        typer.Option(help=f"{DATA_HELP} Without it, probe inputs are made."),
    ] = None,
    config: Config = None,
    keras2: Keras2 = None,
    gradients: Annotated[
        bool,
        typer.Option(
            "--gradients", help="Compare the gradients of every weight and input too."
        ),
    ] = False,
    json: Json = False,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write a page.")
    ] = None,
) -> None:
    """Compare the NumPy forward pass with Keras, layer by layer."""
    page = None if html is None else checked_output(html, "--html", ".html")
    net = _load(model, config, keras2)  # first: a file we refuse never reaches Keras
    x = None if data is None else _inputs(net, data)
    if x is None:
        usable_inputs(net)
    print("Loading Keras ...", file=sys.stderr)
    report = verify.check(
        model, x, config=config, semantics=_semantics(keras2), gradients=gradients
    )
    if page is not None:
        content = report.to_html(_explored(net, x, report)).encode()
        write_whole(page, lambda file: file.write(content))
        print(f"Wrote {page}", file=sys.stderr)
    print(report.to_json() if json else report.to_text())
    raise typer.Exit(report.verdict.exit_code)


@app.command()
def describe(model: Model, config: Config = None, keras2: Keras2 = None) -> None:
    """Say which columns are which gate, and where the parameter count comes from."""
    print(verify.describe(_load(model, config, keras2)))


@app.command()
def trace(
    model: Model,
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: Annotated[str, typer.Option(metavar="FILE", help="The .npz to write.")],
    config: Config = None,
    keras2: Keras2 = None,
    backend: Backend = "tensorflow",
) -> None:
    """Write every gate and state at every step to an .npz file."""
    path = checked_output(out, "--out", ".npz")
    if path.resolve() == Path(data).resolve():
        raise DataError(f"--out: {out} is the file given as --data")
    net = _load(model, config, keras2).on(backend)
    arrays = net.trace(_inputs(net, data)).arrays()
    write_whole(
        path,
        lambda file: np.savez_compressed(file, **arrays),  # type: ignore[arg-type]
    )
    print(f"Wrote {path}: {len(arrays)} arrays", file=sys.stderr)
    for name, value in arrays.items():
        print(f"{plain(name)}  {value.shape}")


@app.command()
def compare(
    model: Model,
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    outputs: Annotated[
        str,
        typer.Option(
            help="What the port returned, in the same formats; of several outputs "
            ".npz, one array by the name of each layer they come from."
        ),
    ],
    config: Config = None,
    keras2: Keras2 = None,
    backend: Backend = "tensorflow",
    json: Json = False,
) -> None:
    """Say whether these are the outputs of the model, and if not, why not."""
    net = _load(model, config, keras2).on(backend)
    x = _inputs(net, data)
    with named(outputs):
        theirs = open_source(outputs, "outputs", net.output_names).read()
        report = verify.compare_outputs(net, x, theirs)
    print(report.to_json() if json else report.to_text())
    raise typer.Exit(report.verdict.exit_code)


@app.command()
def selftest(
    model: Model,
    data: Annotated[
        str | None,
        typer.Option(help=f"{DATA_HELP} Without it, probe inputs are made."),
    ] = None,
    config: Config = None,
    keras2: Keras2 = None,
    json: Json = False,
) -> None:
    """Plant every known mistake in the model and say which would not show.

    Exit code 0 if all would show, 3 if some would not.
    """
    net = _load(model, config, keras2)
    result = verify.selftest(net, None if data is None else _inputs(net, data))
    print(result.to_json() if json else str(result))
    raise typer.Exit(result.exit_code)


@app.command()
def layers() -> None:
    """List every layer that is read, with the options that count, in Markdown."""
    print(coverage())


def _load(model: str, config: str | None, keras2: bool | None) -> verify.Network:
    return verify.load(model, config=config, semantics=_semantics(keras2))


def _semantics(keras2: bool | None) -> str | None:
    return None if keras2 is None else "keras2" if keras2 else "keras3"


def _inputs(net: verify.Network, data: str) -> Inputs:
    """The inputs in a file, ready for the model."""
    with named(data):
        return usable_inputs(net, open_source(data, "x", net.input_names).read())


def _explored(
    net: verify.Network, x: Inputs | None, report: verify.Report
) -> Exploration | None:
    """The explorer of a page, for the first rows; none where they cannot be shown."""
    from verify.page import ROWS, explore

    net = net.on(str(report.facts["backend"]))  # by the rules that were checked
    try:
        some = (usable_inputs(net) if x is None else x).take(slice(0, ROWS))
        return explore(net, some, notes=report.cautions())
    except DataError as error:
        print(f"The page has no explorer: {error}", file=sys.stderr)
        return None


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit code."""
    return run(app, argv, "rnn-verify")


if __name__ == "__main__":
    sys.exit(main())
