"""Declare the options that several commands have, each with its help."""

from __future__ import annotations

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
dask = click.option(
    "--dask",
    metavar="ADDRESS",
    help="Have a Dask cluster evaluate the rows: tcp://host:8786, or local.",
)
