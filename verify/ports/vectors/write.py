"""Write test vectors into a folder: JSON, NumPy, C, and the programs that check a port.

The files are the same, byte for byte, for the same model, inputs and seed on the same
machine: they hold no date, no path and no name of the machine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np

from verify import __version__
from verify.checks.load import load
from verify.data.files import read_json, write_error
from verify.errors import DataError, join_and, printable
from verify.model.arguments import typed
from verify.model.arrays import Array
from verify.ports.vectors.document import FORMAT, document, to_json
from verify.ports.vectors.header import header
from verify.ports.vectors.pack import Pack, make_pack
from verify.ports.vectors.readme import readme

FILES = (
    "README.md",
    "vectors.json",
    "vectors.npz",
    "vectors.h",
    "check_port.c",
    "check_port.mjs",
    "vectors.schema.json",
)
"""The names of the files of a pack."""

MADE_BY = f"keras-rnn-verify {__version__}"


@dataclass(frozen=True)
class WrittenVectors:
    """Say what `write_vectors` wrote.

    Attributes
    ----------
    folder : Path
    files : mapping of str to int
        Name of a file -> its size in bytes.
    probes : tuple of str
        Names of the probes.
    calls : int
        How many calls of the model there are in all.
    numbers : int
        How many numbers a port may be compared with.
    notes : tuple of str
        Sentences about what was left out, and why.
    """

    folder: Path
    files: Mapping[str, int]
    probes: tuple[str, ...]
    calls: int
    numbers: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Return the text that ``rnn-verify vectors`` prints."""
        lines = [
            f"{len(self.probes)} probes, {self.calls} calls, {self.numbers:,} numbers "
            f"to compare a port with: {', '.join(self.probes)}",
            *(f"{name}  {size:,} bytes" for name, size in self.files.items()),
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


@typed
def write_vectors(
    model: Any,
    folder: str | os.PathLike[str],
    x: Any = None,
    *,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    backend: str | None = None,
    keras: str | None = None,
    seed: int = 0,
    rows: int | None = None,
    steps: int | None = None,
    weights: bool = True,
    values: bool = True,
) -> WrittenVectors:
    """Write test vectors that prove a port of a model in any language.

    The folder then holds inputs, outputs, every gate and state at every step, how far a
    port may be from each number, the weights, a README.md that explains all of it, and
    two programs that check a port in C and in JavaScript.

    Parameters
    ----------
    model, config, semantics, backend, keras
        As for `verify.load`.
    folder : path
        Made if it is not there. A folder that holds test vectors is replaced.
    x : optional
        Inputs of your own, from whose first rows the calls are made; by default inputs
        are made up on which the known mistakes of ports show.
    seed : int
        Other inputs are made up for another seed.
    rows : int, optional
        Rows of a call, at most.
    steps : int, optional
        Time steps at which gates and states are kept, at most; by default as many of
        16 as fit. Inputs and outputs of the model have all steps.
    weights, values : bool
        Whether to write the weights, and the gates and states.

    Returns
    -------
    WrittenVectors

    Raises
    ------
    ModelFileError, UnsupportedError
        As `verify.load`; or test vectors have no form for what the model holds.
    DataError
        The folder holds other files or cannot be written; NaN or infinity in the
        weights; inputs that do not fit; too many numbers.
    """
    least = {"seed": 0, "rows": 1, "steps": 1}
    for name, value in {"seed": seed, "rows": rows, "steps": steps}.items():
        if value is not None and value < least[name]:
            raise DataError(
                f"{name}: expected {least[name]} or more. Received: {value}"
            )
    target = folder_to_write(folder)
    net = load(model, config=config, semantics=semantics, backend=backend, keras=keras)
    pack = make_pack(
        net, x, seed=seed, rows=rows, steps=steps, weights=weights, values=values
    )
    _write_folder(target, lambda place: _write_files(pack, place))
    return WrittenVectors(
        target,
        {name: (target / name).stat().st_size for name in FILES},
        tuple(probe.name for probe in pack.probes),
        sum(len(probe.calls) for probe in pack.probes),
        pack.numbers,
        pack.notes,
    )


def folder_to_write(folder: str | os.PathLike[str]) -> Path:
    """Return the folder, checked before any work is done for it.

    Raises
    ------
    DataError
        It holds other files, is none, or may not be written.
    """
    path = Path(folder)
    shown = printable(path)
    try:
        path = path.resolve()
        if not path.parent.is_dir():
            raise DataError(
                f"{shown}: cannot be written. Received: no folder "
                f"{printable(path.parent)}"
            )
        if path.exists() and not path.is_dir():
            raise DataError(f"{shown}: expected a folder. Received: a file")
        others = _other_files(path) if path.is_dir() else []
    except OSError as error:
        raise write_error(Path(folder), error) from None
    if others:
        more = [f"{len(others) - 3} more"] if len(others) > 3 else []
        found = join_and([*(printable(name, 60) for name in others[:3]), *more])
        raise DataError(
            f"{shown}: expected a new folder, an empty one, or one of test vectors. "
            f"Received: one that holds {found}"
        )
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{shown}: cannot be written (no permission)")
    return path


def _other_files(folder: Path) -> list[str]:
    """Return the names of the files that are no test vectors."""
    names = sorted(entry.name for entry in folder.iterdir())
    others = [name for name in names if name not in FILES]
    if others or not names:
        return others
    try:
        known = read_json(folder / "vectors.json").get("format") == FORMAT
    except (DataError, OSError):
        known = False
    return [] if known else names


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder so that it is there whole or not at all."""
    place: Path | None = None
    try:
        place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        new, old = place / "new", place / "old"
        new.mkdir()  # as readable as any other new folder, unlike the one around it
        write(new)
        if folder.is_dir():
            os.replace(folder, old)
        try:
            os.replace(new, folder)
        except OSError:
            if old.is_dir():
                os.replace(old, folder)
            raise
    except OSError as error:
        raise write_error(folder, error) from None
    finally:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def _write_files(pack: Pack, folder: Path) -> None:
    about = document(pack, MADE_BY)
    _write_text(folder / "vectors.json", [*to_json(about), "\n"])
    with (folder / "vectors.npz").open("wb") as file:
        write_npz(file, arrays(pack))
    types = static_file("vectors_types.h")
    _write_text(folder / "vectors.h", header(pack, types))
    for name in ("check_port.c", "check_port.mjs", "vectors.schema.json"):
        _write_text(folder / name, [static_file(name)])
    text = readme(pack, about, static_file("README.template.md"))
    _write_text(folder / "README.md", [text])


def static_file(name: str) -> str:
    """Return the text of a file that is the same in every pack."""
    files = resources.files("verify.ports.vectors") / "files"
    return (files / name).read_text(encoding="utf-8")


def _write_text(path: Path, parts: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n", errors="replace") as file:
        file.writelines(parts)


def arrays(pack: Pack) -> dict[str, Array]:
    """Return every array of a pack by its name in ``vectors.npz``."""
    found = {f"weights/{name}": weight for name, weight in pack.weights.items()}
    for p, probe in enumerate(pack.probes):
        for c, call in enumerate(probe.calls):
            at = f"p{p}/c{c}"
            found |= {f"{at}/inputs/{k}": array for k, array in call.inputs.items()}
            found |= {f"{at}/masks/{k}": array for k, array in call.masks.items()}
            for kind, numbers in (("outputs", call.outputs), ("values", call.values)):
                for n in numbers:
                    found[f"{at}/{kind}/{n.name}"] = n.expected
                    found[f"{at}/allowed/{kind}/{n.name}"] = n.allowed
    return found


def write_npz(file: IO[bytes], named: Mapping[str, Array]) -> None:
    """Write arrays as ``numpy.savez_compressed`` does, under names of any kind."""
    import zipfile

    from numpy.lib import format as npy

    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in named.items():
            # the date of a ZipInfo is that of 1980 unless one is given
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as member:
                npy.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
