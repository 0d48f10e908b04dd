"""Declare the options that several commands have, each with its help."""

from __future__ import annotations

from typing import Annotated

import typer

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
