"""Turn the arguments of a command into a network, inputs and a place to compute."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import verify
from verify.errors import DataError, printable

if TYPE_CHECKING:  # each command imports what it needs, so --help is fast
    from verify.checks.mapper import Mapper
    from verify.commands.options import Dask
    from verify.data.sources import Source

CLASS_FOR_CLASS = re.compile(r"[\w>.]+=\w+")
"""What ``--as-base-class`` may be given: a custom class, and one of Keras."""

_registered: list[str] = []
"""Names that ``--layers`` of the command that runs has registered."""


def load_network(
    model: str,
    config: str | None,
    keras2: bool | None,
    layers: Sequence[str],
    as_base_class: Sequence[str],
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


def _base_classes(texts: Sequence[str]) -> dict[str, str] | str | None:
    """Return what ``--as-base-class`` says, by the name of the custom class."""
    if not texts:
        return None
    for text in texts:
        if text != "auto" and not CLASS_FOR_CLASS.fullmatch(text):
            raise DataError(
                "--as-base-class: expected NAME=CLASS, such as ReversedLSTM=LSTM. "
                f"Received: {printable(text, 60)}"
            )
    if "auto" in texts:
        return "auto"
    return dict(text.split("=", 1) for text in texts)


def with_flag_values(argv: list[str]) -> list[str]:
    """Return the arguments with a value for each ``--as-base-class`` without one."""
    given = []
    for word, after in zip_longest(argv, argv[1:]):
        given.append(word)
        if word == "--as-base-class" and not _is_value(after or ""):
            given.append("auto")
    return given


def _is_value(word: str) -> bool:
    """Return whether a word after ``--as-base-class`` is its value, if a wrong one."""
    if word.startswith("-") or Path(word).exists():
        return False
    return "=" in word or re.fullmatch(r"\w+", word) is not None


def optional_source(
    net: verify.Network,
    data: str | None,
    vocabulary: str | None,
    column: str | None,
    *,
    quiet: bool = False,
) -> Source | None:
    """Open the inputs in a file as `opened_source`, or return None without a file.

    Raises
    ------
    DataError
        There is no file, but an option that says how to read it.
    """
    if data is not None:
        return opened_source(net, data, vocabulary, column, quiet=quiet)
    for option, value in (("--vocabulary", vocabulary), ("--column", column)):
        if value is not None:
            raise DataError(
                f"{option} {printable(value, 60)}: expected --data too, whose texts it "
                "is for. Received: none"
            )
    return None


def opened_source(
    net: verify.Network,
    data: str,
    vocabulary: str | None,
    column: str | None,
    *,
    quiet: bool = False,
) -> Source:
    """Open the inputs in a file; print its notes, unless a report will hold them."""
    from verify.data.sources import open_source
    from verify.data.sources.csv_files import TextInCsv
    from verify.data.text import read_pipeline

    texts = any(layer.options["dtype"] == "string" for layer in net.spec.inputs)
    if vocabulary is None and column is not None and not texts:
        raise DataError(
            f"--column {printable(column, 60)}: expected --vocabulary too, which says "
            "how texts become ids. Received: none"
        )
    pipeline = None if vocabulary is None else read_pipeline(vocabulary)
    try:
        source = open_source(
            data,
            "x",
            net.input_names,
            pipeline=pipeline,
            column="text" if column is None else column,
            texts=texts,
        )
    except TextInCsv as error:
        raise DataError(
            f"{error}; for texts give --vocabulary too, the folder of a run"
        ) from None
    for note in () if quiet else source.notes:
        print(note, file=sys.stderr)
    return source


def require_other_file(data: str, out: Path, option: str = "--data") -> Path:
    """Return the path to write to; raise DataError if it is the one that is read."""
    if out.resolve() == Path(data).resolve():
        raise DataError(f"--out: {out} is the file given as {option}")
    return out


def read_share(option: str, text: str) -> float:
    """Return a share such as ``99%`` as a number from 0 to 1.

    Raises
    ------
    DataError
        It is no such share.
    """
    digits = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if digits is None or float(digits[1]) > 100:
        number = re.fullmatch(r"\d+(?:\.\d+)?", text.strip())
        meant = ""
        if number is not None and 0 < (share := float(number[0])) <= 100:
            meant = f"Did you mean {share if share > 1 else 100 * share:g}%? "
        raise DataError(
            f"{option}: expected a share from 0% to 100%, such as 99%. {meant}"
            f"Received: {printable(text, 60)}"
        )
    return float(digits[1]) / 100


@contextlib.contextmanager
def row_mapper(dask: Dask, net: verify.Network) -> Iterator[Mapper]:
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

    if dask.address is None:
        if any(dask[1:]):
            raise DataError(
                "--tls-ca-file, --tls-cert and --tls-key: expected --dask "
                "tls://host:8786 with them. Received: none"
            )
        yield serial_map
        return
    own = own_layers()
    for _, layer in net.spec.walk():
        if layer.class_name in own:
            raise verify.UnsupportedError(
                f"{layer}: --dask is not supported with layers of your own, which its "
                "workers do not have. Run it without --dask"
            )
    from verify.checks.cluster import Tls, connected  # an extra, and slow to import

    with connected(dask.address, tls=Tls(*dask[1:])) as cluster:
        yield cluster.map


def forget_layers() -> None:
    """Unregister what ``--layers`` of the command has registered."""
    if _registered:
        from verify.forward.own_layers import unregister

        for name in dict.fromkeys(_registered):
            unregister(name)
        _registered.clear()
