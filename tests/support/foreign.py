"""Files as people have them: those of other programs, and tables in every form.

Each has the few bytes by which its kind is told, and nothing that a program would run.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from support.nets import TIME, ids, lstm_file

OLD_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
TABLE_END = bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
ONNX = b"\x08\x08\x12\x04test\x3a\x00"
LITERT = b"\x1c\x00\x00\x00TFL3" + bytes(8)
SAVED_MODEL = b"\x08\x01\x12\x00"
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(8)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132\n"
LEARNT = {
    "vocabulary": ["good", "bad", "flight"], "length": TIME, "padding": "post",
    "keep_stop_words": False, "feature_axis": False, "classes": ["no", "yes"],
}  # fmt: skip


def zipped(*names: str) -> bytes:
    """A zip archive of empty files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return file.getvalue()


def tarred(*names: str) -> bytes:
    """A tar archive of empty files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """Arrays as a .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def safetensors() -> bytes:
    """Weights without an array, as a .safetensors file."""
    return (2).to_bytes(8, "little") + b"{}"


def written(folder: Path, files: dict[str, bytes | str]) -> None:
    """Write files into a folder, with the folders that their names have."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)


MODELS: dict[str, bytes | str] = {
    "m.tflite": LITERT,
    "m.onnx": ONNX,
    "called.keras": ONNX,
    "cut.onnx": ONNX[:-1] + b"\x09",
    "m.pt": zipped("m/data.pkl", "m/data/0"),
    "old.pt": OLD_TORCH,
    "m.ts": zipped("m/code/net.py", "m/data.pkl"),
    "m.pt2": zipped("m/archive_format", "m/models/model.json"),
    "m.pkl": pickle.dumps({"layers": []}),
    "m.pkl0": pickle.dumps({"layers": []}, protocol=0),
    "m.joblib": zlib.compress(pickle.dumps({"layers": []})),
    "m.safetensors": safetensors(),
    "m.xml": '<?xml version="1.0"?>\n<net name="m" version="11"/>',
    "m.pmml": '<?xml version="1.0"?>\n<PMML version="4.4"/>',
    "m.pb": b"\x0a\x02\x0a\x00",
    "m.mlmodel": b"\x08\x04\x12\x00\xa2\x1f\x00",
    "m.mlpackage/Manifest.json": "{}",
    "saved/saved_model.pb": SAVED_MODEL,
    "saved/variables/variables.index": TABLE_END,
    "keras2/saved_model.pb": SAVED_MODEL,
    "keras2/keras_metadata.pb": b"",
    "pbtxt/saved_model.pbtxt": "saved_model_schema_version: 1",
    "tf/checkpoint": 'model_checkpoint_path: "ckpt-3"\n',
    "tf/ckpt-3.index": TABLE_END,
    "tf/ckpt-3.data-00000-of-00001": bytes(60),
    "web/model.json": json.dumps({"format": "layers-model", "modelTopology": {}}),
    "web/group1-shard1of1.bin": bytes(4),
    "config.json": json.dumps({"class_name": "Sequential", "config": {}}),
    "lesson.ipynb": json.dumps({"cells": [], "nbformat": 4}),
    "lfs.keras": LFS,
    "page.keras": "<!DOCTYPE html>\n<html><head><title>GitHub</title></head></html>",
    "missing.keras": "404: Not Found",
    "entry.h5": "Entry not found",
    "denied.keras": "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "empty.keras": "",
    "train.py": "import keras\n\nmodel = keras.Sequential()\n",
    "random.bin": bytes([255, 0, 254, 1]) * 9,
    "x.npy": npy(np.ones((2, TIME))),
    "weights.npz": npz(kernel=np.ones((2, 3))),
    "t.parquet": b"PAR1" + bytes(8),
    "m.zip": zipped("project/model.keras", "project/readme.txt"),
    "saved.zip": zipped("m/saved_model.pb", "m/variables/variables.index"),
    "m.tar": tarred("project/model.keras"),
    "m.tar.gz": gzip.compress(tarred("project/readme.txt", "project/model.h5")),
    "m.h5.gz": gzip.compress(HDF5),
    "m.onnx.bz2": bz2.compress(ONNX),
    "m.tflite.xz": lzma.compress(LITERT),
    "m.7z": b"7z\xbc\xaf\x27\x1c" + bytes(8),
    "halved.keras": zipped("config.json", "metadata.json", "model.weights.h5")[:60],
    "part/config.json": "{}",
    "part/metadata.json": "{}",
    "nothing/": "",
    "photos/a.png": b"\x89PNG",
    "photos/b.png": b"\x89PNG",
    "cat.png": b"\x89PNG\r\n\x1a\n",
    "book.xlsx": zipped("[Content_Types].xml", "xl/workbook.xml"),
    "book.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(8),
    "book.ods": zipped("mimetype", "content.xml"),
}
"""Files that are given as a model, and are none that can be read as one."""

TOKENS = ids(batch=4)
LINES = [",".join(map(str, row)) for row in TOKENS]
HEADINGS = [f"t{k}" for k in range(TIME)]


def table(separator: str = ",", headings: bool = True) -> str:
    """The token ids as lines of text."""
    rows = [HEADINGS, *TOKENS.tolist()] if headings else TOKENS.tolist()
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def indexed(first: str = "", headings: list[str] = HEADINGS) -> str:
    """The token ids as pandas.DataFrame(x).to_csv writes them, with an index."""
    lines = [",".join([first, *headings])]
    lines += [f"{k},{line}" for k, line in enumerate(LINES)]
    return "\n".join(lines)


TWEETS = "text,airline_sentiment\ngood flight,positive\nbad flight,negative\n"

TABLES: dict[str, bytes | str] = {
    "x.csv": table(),
    "semicolons.csv": table(";"),
    "tabs.csv": table("\t"),
    "tabs.tsv": table("\t"),
    "blanks.csv": table(" ", headings=False),
    "decimal.csv": table(";", headings=False).replace("2", "2,0"),
    "quoted.csv": table(headings=False).replace("2", '"2,0"'),
    "thousands.csv": "a;b\n1,234;5,678\n",
    "mixed.csv": "a;b\n1.234,5;5\n",
    "utf16.csv": codecs.BOM_UTF16_LE + table("\t").encode("utf-16-le"),
    "utf16be.csv": table().encode("utf-16-be"),
    "index.csv": indexed(),
    "index2.csv": indexed("Unnamed: 0"),
    "gap.csv": "\n".join(["," + ",".join(HEADINGS[1:]), *LINES]),
    "numbered.csv": indexed("", [str(k) for k in range(TIME)]),
    "headings.csv": ",".join(HEADINGS) + "\n",
    "range.csv": ",".join(map(str, range(TIME))) + "\n" + "\n".join(LINES),
    "empty.csv": "",
    "words.csv": TWEETS,
    "ragged.csv": "1,2\n1,2,3\n",
    "named.csv": npy(np.ones((2, TIME))),
    "named.npy": npz(x=np.ones((2, TIME))),
    "lfs.npy": LFS,
    "page.npy": "<!DOCTYPE html>\n<html></html>",
    "missing.csv": "404: Not Found",
    "x.txt": table(" ", headings=False),
    "x.json": "[[1, 2]]",
    "x.pkl": pickle.dumps([1, 2]),
    "x.mat": b"MATLAB 5.0 MAT-file",
    "fractions.npy": npy(ids(batch=2) + 0.5),
    "negative.npy": npy(ids(batch=2) - 11),
    "far.npy": npy(np.full((2, TIME), 11)),
    "nan.npy": npy(np.full((2, TIME), np.nan)),
    "wide.npy": npy(np.ones((2, TIME + 1))),
    "two.npz": npz(a=np.ones(2), b=np.ones(2)),
    "tweets.csv": TWEETS,
    "capitals.csv": TWEETS.replace("text", " Text").replace("airline_s", "Airline S"),
    "typo.csv": TWEETS.replace("text", "txet"),
    "label.csv": TWEETS.replace("airline_sentiment", "label"),
    "bare.csv": "good flight,1\nbad flight,0\n",
    "twice.csv": "text,airline_sentiment,text\na,0,b\n",
    "meh.csv": TWEETS.replace("negative", "meh"),
    "onesided.csv": TWEETS.replace("negative", "positive"),
    "only.csv": "text,airline_sentiment\n",
    "class.csv": "class\nno\nyes\n",
    "savetxt.csv": "# " + table(),
    "trailing.csv": table().replace("\n", ",\n"),
    "total.csv": table() + "Total,9,9,9,9,9\n",
    "truths.csv": table(headings=False) + "True,False,1,2,3,4\n",
    "bracketed.csv": "".join(f"[{line}]\n" for line in LINES),
    "printed.csv": "".join(f"{row}\n" for row in TOKENS),
    "hole.csv": table() + "1,,2,3,4,5\n1,2,3,4,5,6\n",
    "short.csv": table() + "1,2\n1,2,3,4,5,6\n",
    "na.csv": table() + "1,NA,2,3,4,5\n",
    "nan.csv": table() + "1,nan,2,3,4,5\n",
    "millions.csv": table() + '"1,234,567",2,3,4,5,6\n1,2,3,4,5,6\n',
    "labels.csv": "a,b,class\n1,2,cat\n3,4,dog\n",
    "titled.csv": "Measured on Monday\n\n" + table(),
    "headed.csv": ",".join("aaabbb") + "\n" + table(),
    "bars.csv": table("|"),
    "excel.csv": "sep=;\n" + table(";"),
    "objects.npy": npy(np.array([[1], [2, 3]], dtype=object)),
    "texts.npy": npy(TOKENS.astype(str)),
    "turned.npy": npy(TOKENS.T),
    "onehot.npy": npy(np.eye(11)[TOKENS]),
    "half.npy": npy(TOKENS.astype(np.float16)),
    "open.csv": 'text,airline_sentiment\n"never closed,0\n',
    "tweets16.csv": codecs.BOM_UTF16_LE + TWEETS.encode("utf-16-le"),
}
"""Tables of numbers and of tweets, some of which can be read."""


def write_all(folder: Path) -> None:
    """Write every file, a model, a run, and the folder of an unfinished run."""
    written(folder, {n: c for n, c in (MODELS | TABLES).items() if n[-1] != "/"})
    (folder / "nothing").mkdir()
    os.mkfifo(folder / "pipe")  # what <(command) gives in a shell
    lstm_file(folder / "m.keras")
    for name in ("one/a.keras", "two/a.keras", "two/b.keras"):
        (folder / name).parent.mkdir(exist_ok=True)
        lstm_file(folder / name)
    (folder / "runs" / "sentiment_lstm").mkdir(parents=True)
    lstm_file(folder / "runs" / "sentiment_lstm" / "model.keras")
    (folder / "runs" / "sentiment_lstm" / "checkpoint.npz").write_bytes(
        npz(weights=np.ones(3))
    )
    written(
        folder / "runs",
        {
            "sentiment_lstm/vocabulary.json": json.dumps(LEARNT),
            "sentiment_lstm/notes.txt": "mine",
            "sentiment_gru/manifest.json": '{"recipe": "sentiment_gru"}',
        },
    )
    with zipfile.ZipFile(folder / "m.keras") as archive:
        archive.extractall(folder / "unpacked")
        (folder / "m.weights.h5").write_bytes(archive.read("model.weights.h5"))
