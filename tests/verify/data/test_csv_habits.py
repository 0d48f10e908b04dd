"""CSV files as programs and people write them: read, and said, or refused by line."""

from __future__ import annotations

import io

import numpy as np
import pytest

from verify import DataError
from verify.data.csv_form import record_line
from verify.data.sources import csv_files, open_source

ROWS = "1,2,3\n4,5,6\n7,8,9\n10,11,12\n"
TABLE = np.arange(1, 13).reshape(4, 3)
AT_END = "without the empty cell at the end of each row"
NO_COMMENTS = "without the lines that begin with #"
AS_NUMBERS = "with True as 1 and False as 0"


@pytest.fixture(params=[2, 1000], autouse=True)
def _blocks(request, monkeypatch):
    """Parse two lines at a time, and all of them."""
    monkeypatch.setattr(csv_files, "MAX_BLOCK_LINES", request.param)


@pytest.fixture
def opened(tmp_path):
    def opened(text, **how):
        path = tmp_path / "x.csv"
        path.write_text(text, **how)
        return open_source(path, "x", ["x"])

    return opened


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (ROWS, ""),
        (ROWS.replace("\n", "\n\n  \n"), ""),
        (ROWS.replace("\n", "\r"), ""),
        (ROWS.replace("10", '"10"').replace("4", "4\N{NO-BREAK SPACE}"), ""),
        (ROWS.replace("\n", ",\n"), AT_END),
        ("a,b,c,\n" + ROWS.replace("\n", ",\n"), AT_END),
        ("a,b,c\n" + ROWS.replace("\n", ",\n"), AT_END),
        ("# a,b,c\n" + ROWS, NO_COMMENTS),
        ("#made by hand\n\n# on a Monday\n" + ROWS + "# end\n", NO_COMMENTS),
        (ROWS * 1000 + "# end\n", NO_COMMENTS),
        ("a,b,c\n" + ROWS.replace("7", "# in between\n7"), NO_COMMENTS),
        ("a#,b,c\n" + ROWS, ""),
        ("sep=;\n" + ROWS.replace(",", ";"), "with semicolons between columns"),
        (ROWS.replace(",", "|"), "with bars between columns"),
        (
            "# a b c\n" + ROWS.replace(",", " "),
            f"with blanks between columns and {NO_COMMENTS}",
        ),
    ],
)
def test_rows_are_read_as_they_were_meant_and_the_form_is_said(text, form, opened):
    source = opened(text)
    times = 1000 if len(text) > 10_000 else 1
    assert np.array_equal(source.read(), np.tile(TABLE, (times, 1)))
    assert source.rows == 4 * times
    assert source.read_how == form
    assert all(note.endswith(f"x.csv: is read {form}") for note in source.notes)
    assert len(source.notes) == bool(form)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("ending", ["", "the end"])
def test_what_numpy_savetxt_writes_is_read(columns, ending, opened):
    x = np.random.default_rng(0).normal(size=(7, columns)).round(6)
    file = io.StringIO()
    np.savetxt(file, x, "%.6f", delimiter=",", header="t, of\n7 rows", footer=ending)
    assert np.array_equal(opened(file.getvalue()).read(), x)


@pytest.mark.parametrize("headings", ["", "a,b\n"])
@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ("True,1\nFalse,2\nTrue,3\n", [[1, 1], [0, 2], [1, 3]]),
        ("0,9\n0,2\n TRUE,3\n", [[0, 9], [0, 2], [1, 3]]),
        ("true,0.5\n2,2\n0.25,false\n", [[1, 0.5], [2, 2], [0.25, 0]]),
    ],
)
def test_true_and_false_among_numbers_are_one_and_zero(headings, rows, wanted, opened):
    source = opened(headings + rows)
    assert np.array_equal(source.read(), wanted)
    assert source.read_how == AS_NUMBERS


def test_true_and_false_alone_stay_booleans(opened):
    source = opened("a,b\nTrue,False\nFalse,False\n")
    assert source.read().dtype == bool
    assert source.read_how == ""


@pytest.mark.parametrize("word", ["nan", "NaN", "-nan", "-nan(ind)"])
def test_nan_is_a_number_that_a_port_may_have_returned(word, opened):
    found = opened(f"1,2\n{word},3\n").read()
    assert np.isnan(found[1, 0])
    assert np.isfinite(found).sum() == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n\n3,\n5,6\n", "line 4: expected numbers only. Received: an empty "
         "cell in column 'b'; fill it, or leave the row out"),
        ("1,2\n3\n5,6\n", "line 2: expected numbers only. Received: an empty cell in "
         "column 2; fill"),
        ("# x\na,b\n1,2\n3,NA\n5,6\n", "line 4: expected numbers only. Received: 'NA' "
         "in column 'b'; fill it, or leave the row out"),
        ("a,b\n1,2\n3,4\nTotal,6\n", "line 4: expected numbers only. Received: 'Total' "
         "in column 'a'; leave the last row out, if it is a sum or a mean"),
        ("a,b\n1,2\n3,oops4\n5,6\n", "line 3: expected numbers only. Received: "
         "'oops4' in column 'b'. Write numbers with decimal points"),
        ("u,u\na,b\n1,2\n3,4\n", "line 2: expected numbers only. Received: 'a' in "
         "column 'u'; one line of headings is read"),
        ('a,b\n"1,234,567",2\n3,4\n', "line 2: expected numbers only. Received: "
         "'1,234,567' in column 'a'. Write numbers with decimal points, and without "
         "thousands separators"),
        ("a,b\n1 000,2\n3,4\n", "line 2: expected numbers only. Received: '1 000'"),
        ("a,b\n1_000,2\n3,4\n", "line 2: expected numbers only. Received: '1_000'"),
        ("a,b\n1,cat\n2,dog\n", "'cat' in column 'b'; leave the column out"),
        ("[1,2]\n[3,4]\n", "Received: a row in brackets, '[3,4]'; numpy.savetxt("),
        ('x\n"[1, 2]"\n', "Received: a row in brackets, "),
        ("A title\n\n1,2\n3,4\n", "(line 3 has 2 cells, and those before it 1; a table "
         "has no title)"),
        ("1,2,\n3,4,\n" + "5,6,\n" * 300 + "7,8,9\n", "line 303: expected a row of 2 "
         "cells that ends with a separator. Received: 3 cells"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused_by_its_line(text, message, opened):
    with pytest.raises(DataError) as refusal:
        opened(text)
    assert message in str(refusal.value)


def test_the_line_of_a_row_counts_quoted_ones_comments_and_empty_ones(opened):
    source = opened('#1\na,b\n\n"1\n",2\n#\n3,4\n')
    lines = [record_line(source.path, source._form, record) for record in range(4)]
    assert lines == [2, 5, 7, 0]
