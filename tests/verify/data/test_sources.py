"""Files of any size, a batch at a time: every format gives the same rows."""

from __future__ import annotations

import zipfile

import numpy as np
import pandas as pd
import pytest

from verify import DataError, UnsupportedError
from verify.data.sources import (
    Arrays,
    csv_files,
    numpy_files,
    open_source,
    parquet_files,
)
from verify.data.text import TextPipeline, Vocabulary

ROWS = 23
X = np.random.default_rng(0).integers(-9, 99, size=(ROWS, 5))
NAMES = [f"t{k}" for k in range(5)]
PIPELINE = TextPipeline(
    Vocabulary(("good", "bad", "flight")), 4, "pre", True, False, ("no", "yes")
)


def write_npz_by_hand(path, header: dict, content: bytes, **how) -> None:
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
        member.write(content)


def files(folder) -> dict[str, np.ndarray]:
    """Name of a file -> the array that is in it."""
    single = X.astype(np.float32) / 7
    np.save(folder / "c.npy", X)
    np.save(folder / "f.npy", np.asfortranarray(X))
    np.savez(folder / "stored.npz", other=X)
    np.savez_compressed(folder / "packed.npz", x=single, y=X)
    np.savez_compressed(folder / "f.npz", x=np.asfortranarray(X))
    np.save(folder / "3.npy", np.stack([X, X + 1], axis=2))
    np.savetxt(folder / "bare.csv", X, delimiter=",", fmt="%d")
    table = pd.DataFrame(X, columns=NAMES)
    table.to_csv(folder / "headed.csv", index=False)
    table.to_parquet(folder / "columns.parquet", row_group_size=4)
    table.set_index(pd.Index(range(5, 5 + ROWS), name="id")).to_parquet(
        folder / "indexed.parquet"
    )
    pd.DataFrame({"x": list(single), "id": range(ROWS)}).to_parquet(
        folder / "lists.parquet", row_group_size=4
    )
    nested = [[[a, a + 1] for a in row] for row in X.tolist()]
    pd.DataFrame({"anything": nested}).to_parquet(folder / "nested.parquet")
    mixed = X.astype(float)
    mixed[-1, 2] = 0.25  # only the last line tells that a column is of floats
    lines = ["".join(f"{v:g}," for v in row)[:-1] for row in mixed]
    (folder / "mixed.csv").write_text("\n".join(lines))
    return {
        "c.npy": X, "f.npy": X, "stored.npz": X, "packed.npz": single, "f.npz": X,
        "3.npy": np.stack([X, X + 1], axis=2), "bare.csv": X, "headed.csv": X,
        "columns.parquet": X, "indexed.parquet": X, "lists.parquet": single,
        "nested.parquet": np.stack([X, X + 1], axis=2), "mixed.csv": mixed,
    }  # fmt: skip


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(csv_files, "MAX_BLOCK_LINES", 6)
    monkeypatch.setattr(parquet_files, "MAX_BATCH_ROWS", 6)


def test_pieces_and_chosen_rows_are_those_of_the_array(tmp_path, small_blocks):
    for name, array in files(tmp_path).items():
        source = open_source(tmp_path / name, "x", ["input"])
        assert source.rows == ROWS, name
        whole = source.read()
        assert (whole.dtype, whole.shape) == (array.dtype, array.shape), name
        assert np.array_equal(whole, array), name
        for size, start in ((7, 0), (7, 5), (7, 7), (1, 20), (100, 0), (5, 22)):
            batches = list(source.batches(size, start))
            lengths = [len(batch) for batch in batches]
            left = ROWS - start
            assert lengths == [min(size, left - k) for k in range(0, left, size)], name
            joined = np.concatenate(batches)
            assert np.array_equal(joined, array[start:]), (name, size, start)
            assert not np.array_equal(joined[::-1], array[start:]) or left == 1
        assert list(source.batches(7, ROWS)) == [], name
        rows = np.array([0, 6, 7, 22])
        assert np.array_equal(source.take(rows), array[rows]), name
        assert len(source.take(rows[:0])) == 0, name


def test_several_arrays_go_by_their_names(tmp_path, small_blocks):
    both = {"b": X[:, 1:], "a": X[:, 0].astype(np.float32)}
    np.savez(tmp_path / "x.npz", more=X[:2], **both)
    table = pd.DataFrame({"a": both["a"], "b": list(both["b"]), "more": "text"})
    table.to_parquet(tmp_path / "x.parquet", row_group_size=4)
    for path in (tmp_path / "x.npz", tmp_path / "x.parquet"):
        source = open_source(path, "x", ["a", "b"])
        batches = list(source.batches(9, 3))
        assert [len(batch["a"]) for batch in batches] == [9, 9, 2]
        for key, array in both.items():
            found = np.concatenate([batch[key] for batch in batches])
            assert found.dtype == array.dtype
            assert np.array_equal(found, array[3:])
            assert np.array_equal(source.take(np.array([1, 22]))[key], array[[1, 22]])


def test_arrays_in_memory_are_a_source_too(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = Arrays(np.load(tmp_path / "x.npy", mmap_mode="r"))
    batches = list(mapped.batches(10, 3))
    assert np.array_equal(np.concatenate(batches), X[3:])
    assert not any(isinstance(batch, np.memmap) for batch in batches)
    several = Arrays({"a": X, "b": X + 1})
    assert np.array_equal(several.take(np.array([3, 4]))["b"], X[3:5] + 1)
    assert mapped.fingerprint() == Arrays(X).fingerprint()
    assert mapped.fingerprint() != Arrays(X + 1).fingerprint()
    with pytest.raises(DataError, match=r"same number of rows\. Received: 23, 22"):
        Arrays({"a": X, "b": X[1:]})


def test_without_rows_there_is_one_piece_that_shows_the_shape(tmp_path):
    np.save(tmp_path / "x.npy", X[:0])
    np.savez(tmp_path / "x.npz", x=X[:0])
    pd.DataFrame(X[:0], columns=NAMES).to_parquet(tmp_path / "x.parquet")
    for name in ("x.npy", "x.npz", "x.parquet"):
        source = open_source(tmp_path / name, "x", ["x"])
        assert source.rows == 0
        assert [batch.shape for batch in source.batches(7)] == [(0, 5)], name


def test_a_fingerprint_is_of_the_content_and_of_how_texts_become_ids(tmp_path):
    for name, content in (("a", "text\ngood"), ("b", "text\ngood"), ("c", "text\nbad")):
        (tmp_path / f"{name}.csv").write_text(content)

    def of(name, pipeline=PIPELINE):
        path = tmp_path / f"{name}.csv"
        return open_source(path, "x", ["x"], pipeline=pipeline).fingerprint()

    other = TextPipeline(PIPELINE.vocabulary, 5, "pre", False, False, ())
    assert of("a") == of("b")
    assert len({of("a"), of("c"), of("a", other)}) == 3


def bad_files(folder) -> None:
    np.savez(folder / "rows.npz", a=X, b=X[1:])
    np.savez(folder / "words.npz", x=np.array(["a"]))
    np.savez(folder / "objects.npz", x=np.array([{}], dtype=object))
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**15, 4)}
    write_npz_by_hand(folder / "claims.npz", header, b"1234" * 100)
    header = {"descr": "<f8", "fortran_order": False, "shape": (-1, 4)}
    write_npz_by_hand(folder / "negative.npz", header, b"1234" * 100)
    np.save(folder / "number.npy", np.float64(5))
    (folder / "late.csv").write_text("a\n" + "1\n" * 9 + "yes\n1\n")
    (folder / "few.csv").write_text("a,b\n1,2,3\n4,5,6\n")
    (folder / "fake.parquet").write_bytes(b"PAR1 and nothing else PAR1")

    def parquet(name: str, **columns) -> None:
        pd.DataFrame(columns).to_parquet(folder / f"{name}.parquet")

    parquet("text", a=[1, 2], b=["x", "y"])
    parquet("missing", a=[1.0, None])
    parquet("ragged", x=[[1, 2], [3, 4], [5]])
    parquet("none", x=[[1, 2], None])
    parquet("two", p=[[1, 2]], q=[[3, 4]])
    parquet("holes", x=[[1.0, None]])
    (folder / "nocolumn.csv").write_text("words,label\nx,1\n")
    (folder / "twice.csv").write_text("text,text\nx,1\n")
    (folder / "empty.csv").touch()


@pytest.mark.parametrize(
    ("file", "names", "message"),
    [
        ("rows.npz", "a b", "arrays of the same number of rows. Received: 23, 22"),
        ("rows.npz", "a c", "expected arrays called a and c. Received: a, b"),
        ("words.npz", "x", "expected numbers. Received: dtype=<U1"),
        ("objects.npz", "x", "Python objects, which are not unpickled"),
        ("claims.npz", "x", "its header declares more than it holds"),
        ("negative.npz", "x", "its header declares more than it holds"),
        ("number.npy", "x", "expected rows of numbers, (batch, ...). Received: shape"),
        ("late.csv", "x", "line 11: expected numbers only. Received: 'yes' in column"),
        ("few.csv", "x", "read as .csv (line 2 has 3 cells, and those before it 2)"),
        ("fake.parquet", "x", "cannot be read as .parquet ("),
        ("text.parquet", "x", "string in column 'b'"),
        ("text.parquet", "a c", "expected columns called a and c. Received: a, b"),
        ("missing.parquet", "x", "no missing values. Received: some in column 'a'"),
        ("ragged.parquet", "x", "in column 'x'. Received: 2 and 1 numbers in row 2"),
        ("none.parquet", "x", "no missing lists. Received: some in column 'x'"),
        ("two.parquet", "x", "or one of lists called 'x'. Received: p, q"),
        ("holes.parquet", "x", "no missing values. Received: some in column 'x'"),
        ("late.csv", "a b", "expected .npz or .parquet with arrays a and b. Received"),
        ("no.parquet", "x", "expected a file of numbers. Received: no such file"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path, small_blocks, file, names, message
):
    bad_files(tmp_path)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / file, "x", names.split()).read()
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / file))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("nocolumn.csv", "--column names another. Received: 'words', 'label'"),
        ("twice.csv", "expected one column 'text'. Received: two"),
        ("empty.csv", "expected a column 'text'. The file is empty"),
        ("text.parquet", "expected a column 'text' of texts; --column names another. "),
        ("rows.npz", "expected texts in a file ending in .csv, .tsv, .parquet. Rec"),
    ],
)
def test_where_texts_are_missing_one_line_says_so(tmp_path, file, message):
    bad_files(tmp_path)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / file, "x", ["x"], pipeline=PIPELINE)
    assert message in str(caught.value)
    with pytest.raises(DataError, match="texts are for a model of one input"):
        open_source(tmp_path / file, "x", ["a", "b"], pipeline=PIPELINE)


def test_a_column_of_numbers_holds_no_texts(tmp_path):
    pd.DataFrame({"text": [1, 2]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"texts in column 'text'\. Received: int64"):
        open_source(tmp_path / "x.parquet", "x", ["x"], pipeline=PIPELINE)


def test_texts_become_ids_piece_by_piece(tmp_path, small_blocks):
    texts = ['a "good", GOOD flight', "", "NA", "bad\nnews", " ", "the good"] * 4
    table = pd.DataFrame({"id": range(24), "tweet": texts})
    table.to_csv(tmp_path / "x.csv", index=False)
    # The sixth is damaged on its way: a byte that is not UTF-8.
    raw = (tmp_path / "x.csv").read_bytes().replace(b"the good", b"the good\xff bad")
    (tmp_path / "x.csv").write_bytes(raw)
    table["tweet"] = [None if text == "" else text for text in texts]
    table.to_parquet(tmp_path / "x.parquet", row_group_size=5)
    rows = [[0, 1, 1, 3], [0] * 4, [0] * 4, [0, 0, 0, 2], [0] * 4, [0, 0, 0, 1]]
    for name in ("x.csv", "x.parquet"):
        source = open_source(
            tmp_path / name, "x", ["x"], pipeline=PIPELINE, column="tweet"
        )
        assert source.rows == 24
        (note,) = source.notes
        assert "8 of 24 texts are empty; each is a row of padding" in note
        expected = np.array(rows * 4)
        if name == "x.csv":
            expected[5::6] = [0, 0, 1, 2]
        batches = list(source.batches(7, 2))
        assert [len(batch) for batch in batches] == [7, 7, 7, 1]
        assert batches[0].dtype == np.int32
        assert np.array_equal(np.concatenate(batches), expected[2:])


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        UnsupportedError, match=r"pip install 'keras-rnn-verify\[parquet\]'"
    ):
        open_source(tmp_path / "x.parquet", "x", ["x"])


def test_a_large_array_in_fortran_order_is_refused_inside_an_archive(
    tmp_path, monkeypatch
):
    np.savez(tmp_path / "x.npz", x=np.asfortranarray(X))
    monkeypatch.setattr(numpy_files, "MAX_FORTRAN_BYTES", 100)
    with pytest.raises(DataError, match=r"in Fortran order.*np.ascontiguousarray"):
        open_source(tmp_path / "x.npz", "x", ["x"])


@pytest.mark.parametrize("name", ["x.npy", "x.csv"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, name):
    def write(array) -> None:
        if name == "x.npy":
            np.save(tmp_path / name, array)
        else:
            np.savetxt(tmp_path / name, array, delimiter=",", fmt="%d")

    write(X)
    source = open_source(tmp_path / name, "x", ["x"])
    write(X[:-3])
    with pytest.raises(DataError, match="it has changed while it was read"):
        list(source.batches(4))


def test_damage_further_on_is_found_when_it_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((5000, 8)))
    raw = bytearray((tmp_path / "x.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "x.npz").write_bytes(raw)
    batches = open_source(tmp_path / "x.npz", "x", ["x"]).batches(1000)
    assert len(next(batches)) == 1000
    with pytest.raises(DataError, match="Bad CRC-32"):
        list(batches)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", ".txt"])
def test_texts_are_read_as_they_are_for_a_model_that_takes_texts(tmp_path, suffix):
    texts = ["a, b", "NA", "caf\xe9  c"]
    path = tmp_path / f"texts{suffix}"
    if suffix == ".npy":
        np.save(path, np.array(texts)[:, None])
    elif suffix == ".npz":
        np.savez(path, x=np.array(texts)[:, None])
    elif suffix == ".txt":
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    else:
        pd = pytest.importorskip("pandas")
        table = pd.DataFrame({"text": texts})
        write = table.to_csv if suffix == ".csv" else table.to_parquet
        write(path, index=False)
    source = open_source(path, "x", ["in"], texts=True)
    assert source.rows == 3
    assert np.asarray(source.read()).tolist() == [[text] for text in texts]
    assert np.concatenate(list(source.batches(2, start=1))).tolist() == [
        ["NA"], ["caf\xe9  c"]
    ]  # fmt: skip


def test_texts_for_a_model_of_numbers_and_unknown_files_of_texts_are_refused(tmp_path):
    path = tmp_path / "texts.npy"
    np.save(path, np.array(["a"]))
    with pytest.raises(DataError, match="expected numbers"):
        open_source(path, "x", ["in"])
    with pytest.raises(DataError, match="no such file"):
        open_source(tmp_path / "none.txt", "x", ["in"], texts=True)
    (tmp_path / "a.doc").write_text("a")
    with pytest.raises(DataError, match=r"\.txt"):
        open_source(tmp_path / "a.doc", "x", ["in"], texts=True)
