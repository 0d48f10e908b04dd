"""Compare a model with Keras, or try what a comparison would notice."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import verify
from verify.commands import options
from verify.commands.arguments import (
    load_network,
    optional_source,
    read_share,
    row_mapper,
)
from verify.commands.ending import Ending, write_page
from verify.commands.hashes import sha256_of
from verify.data.files import output_path
from verify.errors import DataError, error_prefix

if TYPE_CHECKING:  # each command imports what it needs, so --help is fast
    from verify.data.sources import Source
    from verify.report.page import Exploration


@click.command()
@options.model
@options.optional_data
@options.config
@options.keras2
@options.layers
@options.base_class
@click.option(
    "--partial",
    is_flag=True,
    help="Check what can be read of a model of which not all can: exit code 3 "
    "(PARTIAL) if that is right.",
)
@click.option(
    "--gradients",
    is_flag=True,
    help="Compare the gradients of every weight and input too.",
)
@options.json
@options.junit
@options.github
@options.html
@options.vocabulary
@options.column
@options.report_file
@options.resume
@options.threads
@options.dask
def check(
    model: str,
    data: str | None,
    config: str | None,
    keras2: bool | None,
    layers: tuple[str, ...],
    as_base_class: tuple[str, ...],
    partial: bool,
    gradients: bool,
    json: bool,
    junit: str | None,
    github: bool,
    html: str | None,
    vocabulary: str | None,
    column: str | None,
    report: str | None,
    resume: bool,
    threads: int | None,
    dask: options.Dask,
) -> None:
    """Compare the NumPy forward pass with Keras, layer by layer."""
    page = None if html is None else output_path(html, "--html", ".html")
    watch = verify.Watch(report, resume=resume, show=True)
    ending = Ending("check", model, watch, json, junit, github)
    with ending.with_errors():
        # first: Keras never opens a refused file
        net = load_network(
            model, config, keras2, layers, as_base_class, partial=partial
        )
        source = optional_source(net, data, vocabulary, column, quiet=True)
        hashes = sha256_of(model=model, config=config, data=data, vocabulary=vocabulary)
        with row_mapper(dask, net) as mapper:
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
        write_page(page, found, explorer)
    ending.finish(found, hashes)


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


@click.command()
@options.model
@options.optional_data
@options.config
@options.keras2
@options.layers
@options.base_class
@options.vocabulary
@options.column
@click.option(
    "--at-least",
    metavar="SHARE",
    help="Exit with 0 if this share of the known mistakes would show, such as 99%; "
    "single numbers of the weights that are off by 0.1 % do not count.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="NAME",
    help="Leave out the mistakes of this name; * stands for any text in it.",
)
@options.json
@options.junit
@options.github
def selftest(
    model: str,
    data: str | None,
    config: str | None,
    keras2: bool | None,
    layers: tuple[str, ...],
    as_base_class: tuple[str, ...],
    vocabulary: str | None,
    column: str | None,
    at_least: str | None,
    ignore: tuple[str, ...],
    json: bool,
    junit: str | None,
    github: bool,
) -> None:
    """Plant every known mistake in the model and say which would not show.

    Exit code 0 if all would show, or with --at-least as many as that, 3 otherwise.
    """
    from verify.checks.inputs import usable_inputs
    from verify.forward.own_layers import own_layers

    enough = None if at_least is None else read_share("--at-least", at_least)
    ending = Ending("selftest", model, None, json, junit, github)
    with ending.with_errors():
        net = load_network(model, config, keras2, layers, as_base_class)
        source = optional_source(net, data, vocabulary, column)
        x = None
        if source is not None:
            with error_prefix(data):
                x = usable_inputs(net, source.read())
        result = verify.selftest(net, x, ignore=ignore)
        hashes = sha256_of(model=model, config=config, data=data, vocabulary=vocabulary)
    own = own_layers()
    for layer in net.spec.layers:
        if layer.class_name in own:
            print(
                f"{layer}: of what code of yours computes, no mistakes are known",
                file=sys.stderr,
            )
    code = result.exit_code
    if enough is not None:
        code = 0 if result.at_least(enough) else 3
    ending.finish_selftest(result, hashes, code)
