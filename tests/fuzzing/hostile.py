"""Hostile and broken files: each must be read, or refused in one line, in bounds.

    PYTHONPATH=tests python -m fuzzing.hostile --count 100000 --seed 1

Files are read in processes forked from this one, with 1 GiB of memory, and with a few
seconds for each; a process that is ended gives its place to another, at the next file.
Archives, configs and data files are genuine ones with bits flipped, cut short or
written over, or with something replaced by something absurd, packed anew so that no
checksum gives them away. HDF5 and Parquet files are always valid: h5py and pyarrow
write unusual contents into them. What those libraries make of invalid ones is not
tested here.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import signal
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
from support.nets import lstm_file

import verify
from verify.data.sources import FORMATS, open_source
from verify.errors import VerifyError
from verify.model_files import _hdf5_process, hdf5

KERAS2 = Path(__file__).parents[1] / "data" / "keras2"
SECONDS, MEMORY, EACH = 2, 2**30, 250
"""Seconds for a file, bytes for a process, and the files that a process reads."""

ATTRIBUTES = (
    *("model_config", "keras_version", "backend", "layer_names", "weight_names"),
    *("layer_names0", "weight_names0", "dtype", "x"),
)
"""Names of attributes that Keras gives its HDF5 files, and one that it does not."""

NAMES = ("0", "1", "vars", "layers", "cell", "lstm", "model_weights", "\x1b[31mred",
         "\u00e9\u4e2d", "..", "a b", "n" * 1000)  # fmt: skip
"""Names of groups and arrays, usual and odd ones."""

DTYPES = ("f2", "f4", "f8", ">f4", "i1", "i4", "i8", "u1", "u8", "c8", "?", "S3", "V16")

ABSURD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 10**30, -(10**30), 1e308, float("nan"),
    float("inf"), "", "x", "\x1b[31mred\x07\n", "\ud800", "../../etc/passwd",
    "a" * 10**5,
    [], {}, [[]], [None], [0], [1, 2, 3], [10**9, 10**9], {"class_name": "Lambda"},
    {"class_name": "LSTM", "config": {}}, {"class_name": "Sequential", "config": {}},
    {"module": "os", "class_name": "system", "config": "true", "registered_name": "x"},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0, 0]}},
    {"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "float32"}},
)  # fmt: skip


def originals(folder: Path) -> dict[str, bytes]:
    """Genuine files, by name."""
    lstm_file(folder / "lstm.keras")
    found = {p.name: p.read_bytes() for p in KERAS2.glob("*.keras")}
    found |= {p.name: p.read_bytes() for p in KERAS2.glob("*.h5")}
    found["lstm.keras"] = (folder / "lstm.keras").read_bytes()
    return found


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut off, written over or pushed in."""
    changed = bytearray(content)
    at = rng.randrange(max(1, len(changed) - 64))
    match rng.randrange(5):
        case 0:
            for _ in range(rng.randint(1, 8)):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        case 1:
            return content[:at]
        case 2:
            changed[at : at + rng.randint(1, 64)] = rng.randbytes(rng.randint(1, 64))
        case 3:
            changed[at:at] = rng.randbytes(rng.randint(1, 9))
        case _:
            for _ in range(rng.randint(1, 5)):
                changed[rng.randrange(min(4096, len(changed)))] = rng.randrange(256)
    return bytes(changed)


def replaced(config: Any, rng: random.Random) -> Any:
    """A config with something in it replaced, removed, doubled or nested."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inside in items:
            places.append((value, key))
            if isinstance(inside, (dict, list)):
                walk(inside)

    walk(config)
    for _ in range(rng.randint(1, 3)):
        owner, key = rng.choice(places)
        try:
            match rng.randrange(5):
                case 0 if isinstance(owner, dict):
                    del owner[key]
                case 1 if isinstance(owner, list):
                    owner.append(owner[key])
                case 2:
                    other, place = rng.choice(places)
                    owner[key] = json.loads(json.dumps(other[place]))
                case 3:
                    nested: Any = owner[key]
                    for _ in range(rng.choice([1, 60, 900])):
                        nested = [nested] if rng.random() < 0.5 else {"config": nested}
                    owner[key] = nested
                case _:
                    owner[key] = rng.choice(ABSURD)
        except (KeyError, IndexError, ValueError, RecursionError):
            continue  # another change has taken that place away
    return config


def odd_attribute(rng: random.Random) -> Any:
    """A value of an attribute that HDF5 can hold."""
    return rng.choice(
        [
            *(
                "",
                "x",
                "{",
                "[]",
                "null",
                "3.15.1",
                "2.4.0",
                "\x1b[31mred",
                "a" * 10**4,
            ),
            *(b"\xff\xfe", 0, -1.5, float("nan"), True),
            *([], ["0"], ["lstm", "lstm"], ["", "x" * 500], [[1, 2], [3, 4]]),
            *(np.zeros((0, 2)), np.arange(3), h5py.Empty("f4")),
        ]
    )


def odd_array(array: np.ndarray, rng: random.Random) -> Any:
    """An array in another dtype or another shape, or something else instead of it."""
    if array.dtype.kind not in "fiu":
        array = np.ones(array.shape, "f4")
    match rng.randrange(8):
        case 0:
            with np.errstate(all="ignore"):
                return np.nan_to_num(array).astype(rng.choice(DTYPES))
        case 1:
            return array.T
        case 2:
            return array.reshape(-1)
        case 3:
            return array[..., None]
        case 4:
            return array[:0] if array.ndim else array
        case 5:
            return np.full(array.shape, rng.choice([np.nan, np.inf, 1e38]), "f4")
        case 6:
            return rng.choice([h5py.Empty("f4"), np.float32(1), "text", b"bytes"])
        case _:
            return np.zeros(array.shape, [("a", "f4"), ("b", "i4")])


def unusual_hdf5(content: bytes, rng: random.Random) -> bytes:
    """A valid HDF5 file with unusual contents, made of a genuine one by h5py."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for _ in range(rng.randint(1, 3)):
            found: list[Any] = [file]
            file.visititems(lambda _, item, found=found: found.append(item))
            item = rng.choice(found)
            try:
                change_hdf5(file, item, rng)
            except (LookupError, ValueError, TypeError, OSError, RuntimeError):
                continue  # h5py refuses to write that there
    return buffer.getvalue()


def change_hdf5(file: Any, item: Any, rng: random.Random) -> None:
    """Change, by h5py, an attribute, an array, a group or a link."""
    group = item if isinstance(item, h5py.Group) else item.parent
    path, name = item.name, rng.choice(NAMES)
    kind = rng.randrange(10)
    if kind < 3:
        own = sorted(item.attrs)
        attribute = rng.choice(own) if own else rng.choice(ATTRIBUTES)
        if kind == 0 and own:
            del item.attrs[attribute]
        else:
            item.attrs[attribute] = odd_attribute(rng)
    elif kind == 3 and "model_config" in file.attrs:
        config = replaced(json.loads(file.attrs["model_config"]), rng)
        file.attrs["model_config"] = json.dumps(config)
    elif kind < 6 and isinstance(item, h5py.Dataset) and item.nbytes < 2**20:
        value = odd_array(np.asarray(item[()]), rng)
        del file[path]
        file[path] = value
    elif kind == 6 and path != "/":
        del file[path]
        if rng.random() < 0.5:  # a group where an array was, or the other way round
            if isinstance(item, h5py.Group):
                file[path] = np.zeros(3, "f4")
            else:
                file.create_group(path)
    elif kind == 7:
        targets = [path, "/", group.name, "/nowhere", rng.choice(NAMES)]
        group[name] = rng.choice(
            [
                h5py.SoftLink(rng.choice(targets)),
                h5py.ExternalLink("nowhere.h5", "/"),
                item,  # a hard link, perhaps to a group around it
            ]
        )
    elif kind == 8:
        shape = rng.choice([(10**6, 10**4), (0,), (3, 0, 2), (1,) * 30])
        group.create_dataset(name, shape, "f4")  # nothing is allocated for it
    else:
        sources = h5py.VirtualLayout((3,), "f4")
        sources[:] = h5py.VirtualSource("nowhere.h5", "x", (3,))
        group.create_virtual_dataset(name, sources)


def hostile_model(files: dict[str, bytes], rng: random.Random) -> tuple[str, bytes]:
    """A model file, and how its name ends."""
    name = rng.choice(sorted(files))
    content = files[name]
    if name.endswith(".h5"):
        return ".h5", unusual_hdf5(content, rng)
    if rng.random() < 0.25:
        return ".keras", damaged(
            content, rng
        )  # the archive: each member has a checksum
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    if rng.random() < 0.75:
        config = replaced(json.loads(members["config.json"]), rng)
        try:
            members["config.json"] = json.dumps(config).encode()
        except (RecursionError, UnicodeError):
            members["config.json"] = b"[" * 10**6
    else:
        key = rng.choice(sorted(members))
        change = unusual_hdf5 if key.endswith(".h5") else damaged
        members[key] = change(members[key], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, value in members.items():
            archive.writestr(key, value)
            if rng.random() < 0.01:
                archive.writestr("../outside", value)
    return ".keras", buffer.getvalue()


def hostile_data(rng: random.Random) -> tuple[str, bytes]:
    """A file of numbers, and how its name ends."""
    buffer = io.BytesIO()
    array = np.arange(60.0).reshape(5, 12)
    match rng.randrange(6):
        case 0:
            np.save(buffer, array)
            return ".npy", damaged(buffer.getvalue(), rng)
        case 1:
            np.savez(buffer, x=array)
            return ".npz", damaged(buffer.getvalue(), rng)
        case 2:
            np.savez_compressed(buffer, x=np.asfortranarray(array))
            return ".npz", damaged(buffer.getvalue(), rng)
        case 3:
            return ".parquet", unusual_parquet(array, rng)
        case 4:
            return ".parquet", rng.choice([b"", b"PAR1", b"1,2,3\n", b"\0" * 64])
        case _:
            text = "\n".join(",".join(map(str, row)) for row in array)
            return ".csv", damaged(text.encode(), rng)


def unusual_parquet(array: np.ndarray, rng: random.Random) -> bytes:
    """A valid Parquet file with unusual contents, written by pyarrow."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    columns: dict[str, Any] = {str(k): array[:, k] for k in range(array.shape[1])}
    rows, name = len(array), rng.choice(["x", "0", "text", NAMES[6], NAMES[-1]])
    match rng.randrange(8):
        case 0:
            columns[name] = [rng.choice([None, 1.5, float("nan")]) for _ in range(rows)]
        case 1:
            columns[name] = [rng.choice(["", "x", NAMES[7], "1.5"])] * rows
        case 2:
            columns = {name: [[1.0] * rng.randrange(4) for _ in range(rows)]}
        case 3:
            columns = {name: [[[1.0], [2.0]]] * rows, "y": [{"a": 1}] * rows}
        case 4:
            columns = {name: pa.array([None] * rows, pa.null())}
        case 5:
            kinds = [pa.decimal128(9, 2), pa.binary(), pa.date32(), pa.bool_()]
            columns = {name: pa.array([None] * rows, rng.choice(kinds))}
        case 6:
            columns = {name: np.zeros(0, rng.choice(["f4", "i8", "u1"]))}
        case _:
            columns = {"x": array.tolist()}
    buffer = io.BytesIO()
    write_table(pa.table(columns), buffer, row_group_size=rng.choice([1, 3, 100]))
    return buffer.getvalue()


def read(path: Path) -> str:
    """``read``, or the kind of the refusal; anything else is raised."""
    try:
        if path.suffix in FORMATS:
            source = open_source(path, "x", ["x"])
            for _ in source.batches(2):
                pass
        else:
            net = verify.load(path)
            verify.describe(net)
    except VerifyError as error:
        text = str(error)
        if "\n" in text or not text.isprintable() or len(text) > 5000:
            raise AssertionError(f"not one printable line: {text!r}") from None
        return type(error).__name__
    return "read"


def read_in_this_process(path: Path, shown: str) -> bytes:
    """Stand in for `hdf5._run_reader`: here a file has a process of its own anyway."""
    output = io.BytesIO()
    with patch.object(_hdf5_process, "limit_resources"):
        _hdf5_process.main(os.fspath(path), "10", output)
    return output.getvalue()


def made(
    files: dict[str, bytes], folder: Path, seed: int, k: int
) -> tuple[Path, bytes]:
    """The k-th hostile file of a seed: where it goes, and what is in it."""
    rng = random.Random(f"{seed}:{k}")
    data = rng.random() < 0.15
    suffix, content = hostile_data(rng) if data else hostile_model(files, rng)
    return folder / f"file{suffix}", content


def outcomes(
    files: dict[str, bytes], folder: Path, seed: int, numbers: range
) -> Iterator[tuple[int, str]]:
    """Yield what comes of each file; fewer than all if one of them ends the process."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        hdf5._run_reader = read_in_this_process
        for k in numbers:
            signal.alarm(SECONDS)
            try:
                path, content = made(files, folder, seed, k)
                path.write_bytes(content)
                said = read(path)
            except BaseException as error:
                said = f"TRACEBACK {type(error).__name__}: {error}"[:2000]
            signal.alarm(0)
            os.write(writer, (json.dumps(said) + "\n").encode())
        os._exit(0)
    os.close(writer)
    k = numbers.start
    with os.fdopen(reader) as pipe:
        for line in pipe:
            yield k, json.loads(line)
            k += 1
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        ended = signal.Signals(os.WTERMSIG(status)).name
        yield k, f"KILLED {ended}"
    elif k < numbers.stop:
        code = os.waitstatus_to_exitcode(status)
        yield k, f"TRACEBACK the process ended without a word, exit code {code}"


def main(arguments: list[str] | None = None) -> int:
    """Read so many files; 0 if none ended in a traceback."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    given = parser.parse_args(arguments)
    folder = given.folder / f"hostile-{given.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    files = originals(folder)
    # Arrow's own allocator reserves as much address space as MEMORY; pandas imports it
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    import pandas  # noqa: F401 - once, for all processes to come
    import pyarrow.parquet  # noqa: F401

    kinds: Counter[str] = Counter()
    bad = k = 0
    began = time.monotonic()
    while k < given.count:
        ahead = range(k, min(k + EACH, given.count))
        for k, said in outcomes(files, folder, given.seed, ahead):
            kinds[said.partition(":")[0]] += 1
            if said.startswith(("TRACEBACK", "KILLED")):
                bad += 1
                path, content = made(files, folder, given.seed, k)
                kept = folder / f"bad-{k}{path.suffix}"
                kept.write_bytes(content)
                print(f"{kept}: {said[:300]}")
            if k % 2000 == 1999:
                print(f"{k + 1:,} files, {time.monotonic() - began:,.0f} seconds")
                sys.stdout.flush()
        k += 1
    print(f"{given.count:,} files, {time.monotonic() - began:,.0f} seconds")
    for kind, count in kinds.most_common():
        print(f"  {kind:<24} {count:,}")
    print(f"tracebacks, or out of bounds: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
