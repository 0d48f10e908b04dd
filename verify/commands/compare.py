"""Compare a port with a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

import verify
from verify.commands import options
from verify.commands.arguments import (
    load_network,
    opened_source,
    optional_source,
    row_mapper,
)
from verify.commands.ending import Ending, write_page
from verify.commands.hashes import sha256_of
from verify.data.files import output_path
from verify.errors import DataError, printable


@click.command()
@options.model
@click.argument(
    "exported",
    metavar="[EXPORTED]",
    help="An exported file, which its own runtime then runs: .onnx, .tflite, "
    "an OpenVINO .xml, a SavedModel folder, a .pt2 of torch.export. With --as, "
    "weights: .safetensors, .npz, or the model.json of TensorFlow.js.",
    required=False,
)
@click.option(
    "--as",
    "framework",
    metavar="FRAMEWORK",
    help="EXPORTED holds the weights of this framework, one of those that "
    "rnn-verify conventions lists.",
)
@click.option(
    "--layer",
    "layer_names",
    multiple=True,
    metavar="NAME=PREFIX",
    help="For --as: what the names of a layer's arrays begin with in the file, "
    "where shapes and values leave a choice.",
)
@click.option(
    "--data",
    help=f"{options.DATA_HELP} Without it an exported file is asked probe inputs "
    "alone.",
)
@click.option(
    "--outputs",
    help="What a port returned for --data, in the same formats; of several "
    "outputs .npz, one array by the name of each layer they come from. An .npz or "
    "a folder may hold gates, states and outputs of layers too, named as in "
    "rnn-verify trace: lstm/h, or of some steps lstm/h@0:4.",
)
@click.option(
    "--input",
    "input_names",
    multiple=True,
    metavar="NAME=NAME",
    help="Which input of the exported file is this one of the model, where "
    "names and shapes leave a choice.",
)
@click.option(
    "--output",
    "output_names",
    multiple=True,
    metavar="NAME=NAME",
    help="The same for an output.",
)
@click.option(
    "--state",
    "state_names",
    multiple=True,
    metavar="NAME=NAME",
    help="For a stateful model: an input of the exported file that takes a "
    "state, and the output that is its value for the next call.",
)
@options.config
@options.keras2
@options.layers
@options.base_class
@options.backend
@options.keras_version
@options.vocabulary
@options.column
@click.option(
    "--tolerance",
    metavar="HOW FAR",
    help="How far the outputs may be from the model's by your own word, where "
    "that is more than rounding may do: 1e-3 (in units of the outputs), 1% (of "
    "the greatest output of each unit), or classes:99% (the share of rows "
    "whose class must agree).",
)
@click.option(
    "--precision",
    metavar="FORMAT",
    help="The number format in which the port computes, whose rounding is then "
    "allowed: float16, bfloat16, int8, or 'fixed<W,I>' with W bits, I of them "
    "for the sign and the whole part, such as 'fixed<16,6>' (in quotes).",
)
@options.json
@options.junit
@options.github
@options.html
@options.report_file
@options.resume
@click.option(
    "--diagnosis-seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    metavar="SECONDS",
    help="How long to look for the mistake, if the outputs differ.",
)
@options.threads
@options.dask
def compare(
    model: str,
    exported: str | None,
    framework: str | None,
    layer_names: tuple[str, ...],
    data: str | None,
    outputs: str | None,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    state_names: tuple[str, ...],
    config: str | None,
    keras2: bool | None,
    layers: tuple[str, ...],
    as_base_class: tuple[str, ...],
    backend: str,
    keras: str | None,
    vocabulary: str | None,
    column: str | None,
    tolerance: str | None,
    precision: str | None,
    json: bool,
    junit: str | None,
    github: bool,
    html: str | None,
    report: str | None,
    resume: bool,
    diagnosis_seconds: float,
    threads: int | None,
    dask: options.Dask,
) -> None:
    """Say whether a port computes the model, and if not, what it does instead.

    The port is an exported file, which is run here, or the --outputs of a program that
    was given --data.
    """
    page = None if html is None else output_path(html, "--html", ".html")
    from verify.checks.against_outputs import opened_outputs
    from verify.checks.exploring import explored_port

    watch = verify.Watch(report, resume=resume, show=True)
    ending = Ending("compare", model, watch, json, junit, github)
    with ending.with_errors():
        inputs = _pairs("--input", input_names, exported, framework is None)
        renamed = _pairs("--output", output_names, exported, framework is None)
        carried = _pairs("--state", state_names, exported, framework is None)
        prefixes = _pairs("--layer", layer_names, exported, framework is not None)
        if (exported is None) == (outputs is None):
            raise DataError(
                "expected an exported file to run, or --outputs that a port returned "
                f"for --data. Received: {'neither' if exported is None else 'both'}"
            )
        net = load_network(model, config, keras2, layers, as_base_class, keras).on(
            backend
        )
        allowed: dict[str, Any] = {
            "threads": threads,
            "diagnosis_seconds": diagnosis_seconds,
            "tolerance": tolerance,
            "precision": precision,
        }
        found: verify.Report | verify.ExportReport
        if exported is None:
            if framework is not None:
                raise DataError("--as: expected a file of weights. Received: none")
            if data is None or outputs is None:
                raise DataError(
                    "--outputs: expected --data too, the inputs that the port was "
                    "given. Received: none"
                )
            source = opened_source(net, data, vocabulary, column, quiet=True)
            theirs = opened_outputs(net, outputs)
            with row_mapper(dask, net) as mapper:
                found = verify.compare_outputs(
                    net, source, theirs, mapper=mapper, watch=watch, **allowed
                )
            if page is not None:
                write_page(page, found, explored_port(net, source, theirs, found))
        elif resume or dask.address or html:
            option = "--resume" if resume else "--dask" if dask.address else "--html"
            raise DataError(
                f"{option}: expected --outputs, whose rows it is for. "
                "Received: an exported file"
            )
        else:
            probed = optional_source(net, data, vocabulary, column)
            if framework is not None:
                from verify.ports.weight_files.comparison import weight_file_comparison

                found = weight_file_comparison(
                    net, exported, framework, probed, layers=prefixes, **allowed
                ).report
            else:
                found = verify.compare_exported(
                    net,
                    exported,
                    probed,
                    inputs=inputs,
                    outputs=renamed,
                    states=carried,
                    log=watch.log,
                    **allowed,
                )
        hashes = sha256_of(
            model=model,
            config=config,
            data=data,
            outputs=outputs,
            vocabulary=vocabulary,
            exported=exported,
        )
    ending.finish(found, hashes)


def _pairs(
    option: str, texts: Sequence[str], exported: str | None, usable: bool
) -> dict[str, str]:
    """Return what options such as ``--input a=b`` say, by the name in the model.

    Parameters
    ----------
    option : str
    texts : sequence of str
    exported : str or None
        The exported file, without which there is no use for such options.
    usable : bool
        Whether the option is for this kind of file.

    Raises
    ------
    DataError
        One is not two names with a = between them, or has no use here.
    """
    found = {}
    for text in texts:
        name, equals, other = text.partition("=")
        if not name or not equals or not other:
            meant = {"--output": "--outputs", "--input": "--data"}.get(option)
            hint = f". Did you mean {meant}?" if meant is not None else ""
            raise DataError(f"{option} {printable(text, 80)}: expected NAME=NAME{hint}")
        found[name] = other
    if found and (exported is None or not usable):
        wanted = (
            "a file of weights, with --as"
            if option == "--layer"
            else "an exported file that is run"
        )
        raise DataError(f"{option}: expected {wanted}. Received: none")
    return found
