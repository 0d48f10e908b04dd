"""Run the ``rnn-verify`` command.

Results go to stdout, messages to stderr. Exit codes: 0 pass, 1 fail, 2 wrong usage or
something unreadable or unsupported (one line on stderr), 3 inconclusive or partial, 70
a defect of this program (one line on stderr, and a file to send), 130 interrupted, 143
terminated.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import verify
from verify.console.exit_codes import INTERRUPTED, run
from verify.data.files import output_path, write_atomically
from verify.errors import DataError, error_prefix, printable

if TYPE_CHECKING:  # each command imports what it needs, so --help is fast
    from verify.checks.mapper import Mapper
    from verify.data.sources import Source
    from verify.report.page import Exploration

app = typer.Typer(
    help="Re-computes a Keras recurrent model in NumPy and compares.\n\n"
    "Exit codes: 0 pass, 1 fail, 2 wrong usage or unreadable, 3 inconclusive or "
    "partial, 70 a defect of this program, 130 interrupted, 143 terminated.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

CLASS_FOR_CLASS = re.compile(r"[\w>.]+=\w+")
"""What ``--as-base-class`` may be given: a custom class, and one of Keras."""

_registered: list[str] = []
"""Names that ``--layers`` of the command that runs has registered."""

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
    typer.Option(
        help="Whose rules to follow where they differ: tensorflow, jax, torch or numpy."
    ),
]
KerasVersion = Annotated[
    str | None,
    typer.Option(
        "--keras",
        metavar="VERSION",
        help="The version of Keras whose rules to follow where they differ: 3.15 or "
        "3.16. By default that of the Keras that wrote the file.",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layers",
        metavar="FILE.py",
        help="A Python file of yours that registers layers for classes of your own "
        "(docs/own-layers.md). It is run.",
    ),
]
BaseClass = Annotated[
    list[str] | None,
    typer.Option(
        "--as-base-class",
        metavar="[NAME=CLASS]",
        help="Take a custom class as the class of Keras that it subclasses, such as "
        "ReversedLSTM=LSTM; what it adds is not checked. Without NAME=CLASS each is "
        "taken as the only class that it fits.",
    ),
]
DATA_HELP = (
    "Inputs: .npy, .npz (one array, or one called x), .csv or .parquet of numbers, or "
    "of texts with --vocabulary. For a model of several inputs .npz or .parquet, one "
    "array by the name of each."
)
Data = Annotated[str, typer.Option(help=DATA_HELP)]
OptionalData = Annotated[
    str | None,
    typer.Option(help=f"{DATA_HELP} Without it, probe inputs are made."),
]
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
    typer.Option(min=1, help="How many threads compute; by default one for each core."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ReportFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Also write the report as .json, kept up to date while it runs.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on from --report where a run was interrupted."),
]
Dask = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Have a Dask cluster evaluate the rows: tcp://host:8786, or local.",
    ),
]


@app.command()
def check(
    model: Model,
    data: OptionalData = None,
    config: Config = None,
    keras2: Keras2 = None,
    layers: Layers = None,
    as_base_class: BaseClass = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Check what can be read of a model of which not all can: exit code 3 "
            "(PARTIAL) if that is right.",
        ),
    ] = False,
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
    vocabulary: Vocabulary = None,
    column: Column = None,
    report: ReportFile = None,
    resume: Resume = False,
    threads: Threads = None,
    dask: Dask = None,
) -> None:
    """Compare the NumPy forward pass with Keras, layer by layer."""
    page = None if html is None else output_path(html, "--html", ".html")
    watch = verify.Watch(report, resume=resume, show=True)
    # first: Keras never opens a refused file
    net = _load(model, config, keras2, layers, as_base_class, partial=partial)
    source = _optional_source(net, data, vocabulary, column, quiet=True)
    with _mapper(dask, net) as mapper:
        found = verify.check(
            model,
            source,
            loaded=net,
            partial=partial,
            gradients=gradients,
            threads=threads,
            mapper=mapper,
            watch=watch,
        )
    if page is not None:
        explorer = None if net.spec.unread else _explorer(net, source, found)
        content = found.to_html(explorer).encode()
        write_atomically(page, lambda file: file.write(content))
        print(f"Wrote {page}", file=sys.stderr)
    _finish(found, watch, json)


@app.command()
def describe(
    model: Model,
    config: Config = None,
    keras2: Keras2 = None,
    layers: Layers = None,
    as_base_class: BaseClass = None,
    keras: KerasVersion = None,
) -> None:
    """Say which columns are which gate, and where the parameter count comes from.

    Layers that cannot be read are marked with the reason; exit code 3 if there are any.
    """
    net = _load(model, config, keras2, layers, as_base_class, keras, partial=True)
    print(verify.describe(net))
    if unread := net.spec.unread:
        first = next(iter(unread.values()))
        print(f"rnn-verify: PARTIAL: {first}: {first.unread}", file=sys.stderr)
        raise typer.Exit(verify.Verdict.PARTIAL.exit_code)


@app.command("guess-config")
def guess_config(
    weights: Annotated[
        str,
        typer.Argument(
            metavar="WEIGHTS", help="A file with weights and no config, .h5."
        ),
    ],
    order: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="The layers in the order of the model, lstm,lstm_1,dense, where the "
            "file leaves a choice.",
        ),
    ] = "",
) -> None:
    """Propose the Sequential model that a file of weights fits, as JSON to edit."""
    from json import dumps

    from verify.model_files.guessing import read_guess

    guess = read_guess(Path(weights), order.split(",") if order else ())
    print(dumps(guess.config, indent=1))
    print(
        "This is a guess: names and shapes fit it, and do not say what follows. Edit "
        "it, then give it as --config:",
        *(f"  - {question}" for question in guess.open_questions),
        sep="\n",
        file=sys.stderr,
    )


@app.command()
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

    path = _require_other_file(data, output_path(out, "--out", ".npz"))
    net = _load(model, config, keras2, layers, as_base_class, keras).on(backend)
    source = _source(net, data, vocabulary, column)
    with error_prefix(data), progress("rows", source.rows) as advance:
        shapes = write_trace(net, source, path, advance=advance)
    print(f"Wrote {printable(path)}: {len(shapes)} arrays", file=sys.stderr)
    for name, shape in shapes.items():
        print(f"{printable(name)}  {shape}")


@app.command()
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

    path = _require_other_file(data, output_path(out, "--out", ".npy", ".npz"))
    net = _load(model, config, keras2, layers, as_base_class, keras).on(backend)
    source = _source(net, data, vocabulary, column)
    with _mapper(dask, net) as mapper, progress("rows", source.rows) as advance:
        shapes = write_outputs(
            net, source, path, threads=threads, mapper=mapper, advance=advance
        )
    print(f"Wrote {printable(path)}: {source.rows:,} rows", file=sys.stderr)
    for name, shape in shapes.items():
        print(f"{printable(name)}  {shape}")


@app.command()
def compare(
    model: Model,
    exported: Annotated[
        str | None,
        typer.Argument(
            metavar="EXPORTED",
            help="An exported file, which its own runtime then runs: .onnx, .tflite, "
            "an OpenVINO .xml, a SavedModel folder, a .pt2 of torch.export. With --as, "
            "weights: .safetensors, .npz, or the model.json of TensorFlow.js.",
        ),
    ] = None,
    framework: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="FRAMEWORK",
            help="EXPORTED holds the weights of this framework, one of those that "
            "rnn-verify conventions lists.",
        ),
    ] = None,
    layer_names: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="NAME=PREFIX",
            help="For --as: what the names of a layer's arrays begin with in the file, "
            "where shapes and values leave a choice.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"{DATA_HELP} Without it an exported file is asked probe inputs alone."
        ),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            help="What a port returned for --data, in the same formats; of several "
            "outputs .npz, one array by the name of each layer they come from."
        ),
    ] = None,
    input_names: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=NAME",
            help="Which input of the exported file is this one of the model, where "
            "names and shapes leave a choice.",
        ),
    ] = None,
    output_names: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="NAME=NAME", help="The same for an output."),
    ] = None,
    state_names: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="NAME=NAME",
            help="For a stateful model: an input of the exported file that takes a "
            "state, and the output that is its value for the next call.",
        ),
    ] = None,
    config: Config = None,
    keras2: Keras2 = None,
    layers: Layers = None,
    as_base_class: BaseClass = None,
    backend: Backend = "tensorflow",
    keras: KerasVersion = None,
    vocabulary: Vocabulary = None,
    column: Column = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            metavar="HOW FAR",
            help="How far the outputs may be from the model's by your own word, where "
            "that is more than rounding may do: 1e-3 (in units of the outputs), 1% (of "
            "the greatest output of each unit), or classes:99% (the share of rows "
            "whose class must agree).",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="The number format in which the port computes, whose rounding is then "
            "allowed: float16, bfloat16, int8, or 'fixed<W,I>' with W bits, I of them "
            "for the sign and the whole part, such as 'fixed<16,6>' (in quotes).",
        ),
    ] = None,
    json: Json = False,
    report: ReportFile = None,
    resume: Resume = False,
    diagnosis_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="How long to look for the mistake, if the outputs differ.",
        ),
    ] = 30.0,
    threads: Threads = None,
    dask: Dask = None,
) -> None:
    """Say whether a port computes the model, and if not, what it does instead.

    The port is an exported file, which is run here, or the --outputs of a program that
    was given --data.
    """
    watch = verify.Watch(report, resume=resume, show=True)
    if (exported is None) == (outputs is None):
        raise DataError(
            "expected an exported file to run, or --outputs that a port returned for "
            f"--data. Received: {'neither' if exported is None else 'both'}"
        )
    inputs = _pairs("--input", input_names, exported, framework is None)
    renamed = _pairs("--output", output_names, exported, framework is None)
    carried = _pairs("--state", state_names, exported, framework is None)
    prefixes = _pairs("--layer", layer_names, exported, framework is not None)
    net = _load(model, config, keras2, layers, as_base_class, keras).on(backend)
    allowed: dict[str, Any] = {
        "threads": threads,
        "diagnosis_seconds": diagnosis_seconds,
        "tolerance": tolerance,
        "precision": precision,
    }
    if exported is None:
        if framework is not None:
            raise DataError("--as: expected a file of weights. Received: none")
        if data is None or outputs is None:
            raise DataError(
                "--outputs: expected --data too, the inputs that the port was given. "
                "Received: none"
            )
        source = _source(net, data, vocabulary, column, quiet=True)
        _compare_recorded(net, source, outputs, watch, dask, json, allowed)
    if resume or dask:
        raise DataError(
            f"{'--resume' if resume else '--dask'}: expected --outputs, whose rows it "
            "is for. Received: an exported file"
        )
    probed = _optional_source(net, data, vocabulary, column, quiet=True)
    if framework is not None:
        from verify.ports.weight_files.comparison import weight_file_comparison

        weights = weight_file_comparison(
            net, str(exported), framework, probed, layers=prefixes, **allowed
        )
        watch.write(weights.report)
        _finish(weights.report, watch, json)
    examined = verify.compare_exported(
        net,
        str(exported),
        probed,
        inputs=inputs,
        outputs=renamed,
        states=carried,
        log=watch.log,
        **allowed,
    )
    _finish_exported(examined, watch, json)


def _compare_recorded(
    net: verify.Network,
    source: Source,
    outputs: str,
    watch: verify.Watch,
    dask: str | None,
    json: bool,
    allowed: dict[str, Any],
) -> NoReturn:
    """Compare outputs in a file with those of the model, and end."""
    from verify.data.sources import open_source

    theirs = open_source(outputs, "outputs", net.output_names)
    with _mapper(dask, net) as mapper:
        found = verify.compare_outputs(
            net, source, theirs, mapper=mapper, watch=watch, **allowed
        )
    _finish(found, watch, json)


def _pairs(
    option: str, texts: list[str] | None, exported: str | None, usable: bool
) -> dict[str, str]:
    """Return what options such as ``--input a=b`` say, by the name in the model.

    Parameters
    ----------
    option : str
    texts : list of str, optional
    exported : str or None
        The exported file, without which there is no use for such options.
    usable : bool
        Whether the option is for this kind of file.

    Raises
    ------
    DataError
        One is not two names with a = between them, or has no use here.
    """
    if texts and (exported is None or not usable):
        wanted = (
            "a file of weights, with --as"
            if option == "--layer"
            else ("an exported file that is run")
        )
        raise DataError(f"{option}: expected {wanted}. Received: none")
    found = {}
    for text in texts or ():
        name, equals, other = text.partition("=")
        if not name or not equals or not other:
            raise DataError(f"{option} {printable(text, 80)}: expected NAME=NAME")
        found[name] = other
    return found


@app.command()
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
    net = _load(model, config, keras2, layers, as_base_class, keras).on(backend)
    source = _optional_source(net, data, vocabulary, column)
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


@app.command()
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

    _require_other_file(model, require_target(to, out), "MODEL")
    net = _load(model, config, keras2, layers, as_base_class, keras).on(backend)
    try:
        done = verify.convert(net, to, out, dtype=dtype)
    except NotProven as error:
        print(f"rnn-verify: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for path in done.paths:
        print(f"Wrote {printable(path)}", file=sys.stderr)
    print(done.to_json() if json else str(done))


@app.command()
def selftest(
    model: Model,
    data: OptionalData = None,
    config: Config = None,
    keras2: Keras2 = None,
    layers: Layers = None,
    as_base_class: BaseClass = None,
    vocabulary: Vocabulary = None,
    column: Column = None,
    json: Json = False,
) -> None:
    """Plant every known mistake in the model and say which would not show.

    Exit code 0 if all would show, 3 if some would not.
    """
    from verify.checks.inputs import usable_inputs

    net = _load(model, config, keras2, layers, as_base_class)
    source = _optional_source(net, data, vocabulary, column)
    x = None
    if source is not None:
        with error_prefix(data):
            x = usable_inputs(net, source.read())
    result = verify.selftest(net, x)
    for layer in net.spec.layers:
        if layer.class_name in _registered:
            print(
                f"{layer}: of what code of yours computes, no mistakes are known",
                file=sys.stderr,
            )
    print(result.to_json() if json else str(result))
    raise typer.Exit(result.exit_code)


@app.command()
def layers() -> None:
    """List every layer that is read, with the options that count, in Markdown."""
    from verify.report.describe import coverage

    print(coverage())


@app.command()
def conventions(
    framework: Annotated[
        str | None,
        typer.Argument(
            metavar="FRAMEWORK",
            help="torch, onnx, openvino, flax.nnx, tflite, ...; by default all of "
            "them, as tables in Markdown.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
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


def _load(
    model: str,
    config: str | None,
    keras2: bool | None,
    layers: list[str] | None,
    as_base_class: list[str] | None,
    keras: str | None = None,
    *,
    partial: bool = False,
) -> verify.Network:
    """Read a model, after running the files that register layers."""
    semantics = None if keras2 is None else "keras2" if keras2 else "keras3"
    if layers:
        from verify.forward.own_layers import load_layers

        for file in layers:
            names = load_layers(file)
            _registered.extend(names)
            count = f"{len(names)} layer{'s' if len(names) > 1 else ''}"
            print(
                f"{printable(file)} runs as code of yours: {count} registered "
                f"({', '.join(map(printable, names))})",
                file=sys.stderr,
            )
    return verify.load(
        model,
        config=config,
        semantics=semantics,
        keras=keras,
        partial=partial,
        base_classes=_base_classes(as_base_class),
    )


def _base_classes(texts: list[str] | None) -> dict[str, str] | str | None:
    """Return what ``--as-base-class`` says, by the name of the custom class."""
    if not texts:
        return None
    if "auto" in texts:
        return "auto"
    return dict(text.split("=", 1) for text in texts)


def _optional_source(
    net: verify.Network,
    data: str | None,
    vocabulary: str | None,
    column: str | None,
    *,
    quiet: bool = False,
) -> Source | None:
    """Open the inputs in a file as `_source`, or return None without a file.

    Raises
    ------
    DataError
        There is no file, but an option that says how to read it.
    """
    if data is not None:
        return _source(net, data, vocabulary, column, quiet=quiet)
    for option, value in (("--vocabulary", vocabulary), ("--column", column)):
        if value is not None:
            raise DataError(
                f"{option} {printable(value, 60)}: expected --data too, whose texts it "
                "is for. Received: none"
            )
    return None


def _source(
    net: verify.Network,
    data: str,
    vocabulary: str | None,
    column: str | None,
    *,
    quiet: bool = False,
) -> Source:
    """Open the inputs in a file; print its notes, unless a report will hold them."""
    from verify.data.sources import open_source
    from verify.data.text import read_pipeline

    texts = any(layer.options["dtype"] == "string" for layer in net.spec.inputs)
    if vocabulary is None and column is not None and not texts:
        raise DataError(
            f"--column {printable(column, 60)}: expected --vocabulary too, which says "
            "how texts become ids. Received: none"
        )
    pipeline = None if vocabulary is None else read_pipeline(vocabulary)
    source = open_source(
        data,
        "x",
        net.input_names,
        pipeline=pipeline,
        column="text" if column is None else column,
        texts=texts,
    )
    for note in () if quiet else source.notes:
        print(note, file=sys.stderr)
    return source


def _require_other_file(data: str, out: Path, option: str = "--data") -> Path:
    """Return the path to write to; raise DataError if it is the one that is read."""
    if out.resolve() == Path(data).resolve():
        raise DataError(f"--out: {out} is the file given as {option}")
    return out


@contextlib.contextmanager
def _mapper(address: str | None, net: verify.Network) -> Iterator[Mapper]:
    """Yield the mapper of a Dask cluster, or without an address that of this process.

    Raises
    ------
    ClusterError
        As `verify.checks.cluster.connected`.
    UnsupportedError
        A layer of the model is registered, which workers know nothing of.
    """
    from verify.checks.mapper import serial_map
    from verify.forward.own_layers import own_layers

    if address is None:
        yield serial_map
        return
    own = own_layers()
    for _, layer in net.spec.walk():
        if layer.class_name in own:
            raise verify.UnsupportedError(
                f"{layer}: --dask is not supported with layers of your own, which its "
                "workers do not have. Run it without --dask"
            )
    from verify.checks.cluster import connected  # Dask is an extra, and slow to import

    with connected(address) as cluster:
        yield cluster.map


def _explorer(
    net: verify.Network, source: Source | None, report: verify.Report
) -> Exploration | None:
    """Return the explorer of the first rows for a page; print why if there is none."""
    import numpy as np

    from verify import keras_bridge
    from verify.checks.inputs import prepared_rows, usable_inputs
    from verify.report.page import DEFAULT_ROWS, explore

    # the rules that the check used
    net = net.on(str(report.facts["backend"])).by_version(keras_bridge.version_rules())
    try:
        if source is None:
            some = usable_inputs(net).take(slice(0, DEFAULT_ROWS))
        else:
            some = prepared_rows(net, source, np.arange(min(DEFAULT_ROWS, source.rows)))
        return explore(net, some, notes=report.cautions())
    except DataError as error:
        print(f"The page has no explorer: {error}", file=sys.stderr)
        return None


def _finish(report: verify.Report, watch: verify.Watch, json: bool) -> NoReturn:
    """Print a report and end with its exit code."""
    print(report.to_json() if json else report.to_text())
    if report.complete:
        raise typer.Exit(report.verdict.exit_code)
    print(watch.parting(), file=sys.stderr)
    raise typer.Exit(INTERRUPTED)


def _finish_exported(
    report: verify.ExportReport, watch: verify.Watch, json: bool
) -> NoReturn:
    """Print the report on an exported file, write it, and end with its exit code."""
    text = report.to_json()
    if watch.path is not None:
        write_atomically(watch.path, lambda file: file.write(f"{text}\n".encode()))
    print(text if json else report.to_text())
    raise typer.Exit(report.verdict.exit_code)


def _with_flag_values(argv: list[str]) -> list[str]:
    """Return the arguments with a value for each ``--as-base-class`` without one."""
    given = []
    for word, after in zip_longest(argv, argv[1:]):
        given.append(word)
        if word == "--as-base-class" and not CLASS_FOR_CLASS.fullmatch(after or ""):
            given.append("auto")
    return given


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments and return its exit code."""
    try:
        given = _with_flag_values(sys.argv[1:] if argv is None else argv)
        return run(app, given, "rnn-verify", ends_process=argv is None)
    finally:
        if _registered:
            from verify.forward.own_layers import unregister

            for name in dict.fromkeys(_registered):
                unregister(name)
            _registered.clear()


if __name__ == "__main__":
    sys.exit(main())
