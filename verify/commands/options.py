"""Declare the options that several commands have, each with its help."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import click

model = click.argument(
    "model", metavar="MODEL", help="A .keras, .h5 or .weights.h5 file."
)
config = click.option(
    "--config",
    metavar="JSON",
    help="For .weights.h5: the config, from model.to_json(), or a .keras that has it.",
)
keras2 = click.option(
    "--keras2-semantics/--keras3-semantics",
    "keras2",
    default=None,
    help="What settings mean whose meaning changed, such as hard_sigmoid. By "
    "default what they meant to the Keras that wrote the file.",
    show_default=False,
)
backend = click.option(
    "--backend",
    default="tensorflow",
    help="Whose rules to follow where they differ: tensorflow, jax, torch or numpy.",
)
keras_version = click.option(
    "--keras",
    metavar="VERSION",
    help="The version of Keras whose rules to follow where they differ: 3.15 or "
    "3.16. By default that of the Keras that wrote the file.",
)
layers = click.option(
    "--layers",
    multiple=True,
    metavar="FILE.py",
    help="A Python file of yours that registers layers for classes of your own "
    "(docs/own-layers.md). It is run.",
)
base_class = click.option(
    "--as-base-class",
    multiple=True,
    metavar="[NAME=CLASS]",
    help="Take a custom class as the class of Keras that it subclasses, such as "
    "ReversedLSTM=LSTM; what it adds is not checked. Without NAME=CLASS each is "
    "taken as the only class that it fits.",
)
DATA_HELP = (
    "Inputs: .npy, .npz (one array, or one called x), .csv, .tsv or .parquet of "
    "numbers, or of texts with --vocabulary. For a model of several inputs .npz or "
    ".parquet, one array by the name of each."
)

data = click.option("--data", metavar="FILE", required=True, help=DATA_HELP)
optional_data = click.option(
    "--data", metavar="FILE", help=f"{DATA_HELP} Without it, probe inputs are made."
)
vocabulary = click.option(
    "--vocabulary",
    metavar="FILE",
    help="For texts: the vocabulary.json of a run, or its folder.",
)
column = click.option("--column", help="The column of the texts, 'text' by default.")
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="How many threads compute; by default one for each core.",
)
json = click.option("--json", is_flag=True, help="Print one JSON document.")
junit = click.option(
    "--junit", metavar="FILE", help="Also write the outcome as JUnit, .xml."
)
github = click.option(
    "--github",
    is_flag=True,
    help="For GitHub Actions: also print an annotation, and add the report to the "
    "summary of the run.",
)
html = click.option("--html", metavar="FILE", help="Also write a page.")
report_file = click.option(
    "--report",
    metavar="FILE",
    help="Also write the report as .json, kept up to date while it runs.",
)
resume = click.option(
    "--resume", is_flag=True, help="Go on from --report where a run was interrupted."
)
_dask = click.option(
    "--dask",
    metavar="ADDRESS",
    help="Have a Dask cluster evaluate the rows: tcp://host:8786, tls://host:8786, or "
    "local.",
)


def tls_files(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the files of TLS, by the names that they have in Dask's own commands."""
    files = {
        "key": "the key of --tls-cert",
        "cert": "a certificate of your own",
        "ca-file": "the authority that has signed the scheduler's certificate",
    }
    for name, help_text in files.items():
        option = click.option(
            f"--tls-{name}", metavar="FILE", help=f"For tls://: {help_text}."
        )
        command = option(command)
    return command


class Dask(NamedTuple):
    """Hold the address of a scheduler, if one was given, and the files of its TLS."""

    address: str | None
    ca_file: str | None
    cert: str | None
    key: str | None


def dask(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--dask`` and what belongs to it; the command gets it as one `Dask`."""

    @functools.wraps(command)
    def together(
        *args: Any,
        dask: str | None,
        tls_ca_file: str | None,
        tls_cert: str | None,
        tls_key: str | None,
        **others: Any,
    ) -> Any:
        given = Dask(dask, tls_ca_file, tls_cert, tls_key)
        return command(*args, dask=given, **others)

    return _dask(tls_files(together))
