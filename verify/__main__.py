"""The ``rnn-verify`` command.

Data goes to stdout, talk to stderr. Exit codes: 0 pass, 1 fail, 2 wrong usage or
something unreadable or unsupported (one line on stderr), 3 inconclusive.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import verify
from verify.commands import run
from verify.coverage import coverage
from verify.loading import usable_inputs
from verify.network import Inputs
from verify.progress import progress
from verify.running import write_outputs, write_trace
from verify.sources import Source, open_source
from verify.spec import DataError, named, plain
from verify.storage import checked_output, write_whole
from verify.text import read_pipeline

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
    "Inputs: .npy, .npz (one array, or one called x), .csv or .parquet of numbers, or "
    "of texts with --vocabulary. For a model of several inputs .npz or .parquet, one "
    "array by the name of each."
)
Vocabulary = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="For texts: the vocabulary.json of a run, or its folder.",
    ),
]
Column = Annotated[
    str | None,
    typer.Option(help="The column of the texts, 'text' by default."),
]
Threads = Annotated[
    int | None,
    typer.Option(help="How many threads compute; by default one for each core."),
]
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
    vocabulary: Vocabulary = None,
    column: Column = None,
) -> None:
    """Write every gate and state at every step to an .npz file."""
    path = _beside(data, checked_output(out, "--out", ".npz"))
    net = _load(model, config, keras2).on(backend)
    source = _source(net, data, vocabulary, column)
    with named(data), progress("rows", source.rows) as advance:
        shapes = write_trace(net, source, path, advance=advance)
    print(f"Wrote {plain(path)}: {len(shapes)} arrays", file=sys.stderr)
    for name, shape in shapes.items():
        print(f"{plain(name)}  {shape}")


@app.command()
def predict(
    model: Model,
    data: Annotated[str, typer.Option(help=DATA_HELP)],
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
    backend: Backend = "tensorflow",
    vocabulary: Vocabulary = None,
    column: Column = None,
    threads: Threads = None,
) -> None:
    """Write the outputs of the model, computed in NumPy."""
    path = _beside(data, checked_output(out, "--out", ".npy", ".npz"))
    net = _load(model, config, keras2).on(backend)
    source = _source(net, data, vocabulary, column)
    with named(data), progress("rows", source.rows) as advance:
        shapes = write_outputs(net, source, path, threads=threads, advance=advance)
    print(f"Wrote {plain(path)}: {source.rows:,} rows", file=sys.stderr)
    for name, shape in shapes.items():
        print(f"{plain(name)}  {shape}")


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
    vocabulary: Vocabulary = None,
    column: Column = None,
    json: Json = False,
) -> None:
    """Plant every known mistake in the model and say which would not show.

    Exit code 0 if all would show, 3 if some would not.
    """
    net = _load(model, config, keras2)
    if data is None:
        _require_data(vocabulary, column)
    x = None if data is None else _inputs(net, data, vocabulary, column)
    result = verify.selftest(net, x)
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


def _inputs(
    net: verify.Network,
    data: str,
    vocabulary: str | None = None,
    column: str | None = None,
) -> Inputs:
    """The inputs in a file, ready for the model."""
    source = _source(net, data, vocabulary, column)
    with named(data):
        return usable_inputs(net, source.read())


def _require_data(vocabulary: str | None, column: str | None) -> None:
    """Raise DataError if options are given that say how to read data."""
    for option, value in (("--vocabulary", vocabulary), ("--column", column)):
        if value is not None:
            raise DataError(
                f"{option} {plain(value, 60)}: expected --data too, whose texts it is "
                "for. Received: none"
            )


def _source(
    net: verify.Network, data: str, vocabulary: str | None, column: str | None
) -> Source:
    """The inputs in a file."""
    if vocabulary is None and column is not None:
        raise DataError(
            f"--column {plain(column, 60)}: expected --vocabulary too, which says how "
            "texts become ids. Received: none"
        )
    pipeline = None if vocabulary is None else read_pipeline(vocabulary)
    source = open_source(
        data,
        "x",
        net.input_names,
        pipeline=pipeline,
        column="text" if column is None else column,
    )
    for note in source.notes:
        print(note, file=sys.stderr)
    return source


def _beside(data: str, out: Path) -> Path:
    """The path to write to, which must not be the one that is read."""
    if out.resolve() == Path(data).resolve():
        raise DataError(f"--out: {plain(out)} is the file given as --data")
    return out


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
