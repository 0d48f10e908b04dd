"""A table reads the same in every form in which spreadsheets and pandas write it."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify import DataError
from verify.data.csv_form import (
    HEAD_BYTES,
    CsvForm,
    column_called,
    encoding_of,
    lines_of,
    number_form,
    text_form,
)
from verify.data.sources import open_source

PATH = Path("x.csv")


@st.composite
def tables(draw) -> tuple[pd.DataFrame, dict, CsvForm]:
    """A table, the arguments of to_csv, and the form in which that writes it."""
    rows, columns = draw(st.integers(2, 5)), draw(st.integers(2, 4))
    numbers = st.one_of(
        st.integers(-9999, 9999).map(float),
        st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 4)),
    )
    values = draw(
        st.lists(
            st.lists(numbers, min_size=columns, max_size=columns),
            min_size=rows, max_size=rows,
        )
    )  # fmt: skip
    values[0][0] = 0.25  # a single cell suffices to tell decimal commas
    separator = draw(st.sampled_from([",", ";", "\t"]))
    decimal = draw(st.sampled_from([".", ","]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    index = draw(st.booleans())
    named = draw(st.booleans())
    names = list(string.ascii_lowercase[:columns]) if named else list(range(columns))
    headings = draw(st.booleans()) if index is False and named else True
    if not named and not index:
        headings = False  # headings 0, 1, 2 may be a sample
    how = {
        "sep": separator, "decimal": decimal, "encoding": encoding,
        "index": index, "header": headings,
    }  # fmt: skip
    form = CsvForm(
        "utf-16" if encoding == "utf-16" else "utf-8-sig",
        separator,
        decimal,
        int(index),
        True if index else None,
    )
    return pd.DataFrame(values, columns=names), how, form


@settings(max_examples=20)
@given(tables())
def test_numbers_are_read_in_every_form_and_the_form_is_said(made):
    table, how, form = made
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        table.to_csv(path, **how)
        assert number_form(path, path.read_bytes()) == form
        source = open_source(path, "x", ["x"])
        found = source.read()
        batches = np.concatenate(list(source.batches(2)))
    assert np.array_equal(found, table.to_numpy())
    assert np.array_equal(batches, found)
    assert len(source.notes) == (form.note("") != "")
    said = "".join(source.notes)
    for word, needed in (
        ("semicolons", form.separator == ";"),
        ("tabs", form.separator == "\t"),
        ("decimal commas", form.decimal == ","),
        ("UTF-16", form.encoding == "utf-16"),
        ("index", form.index == 1),
    ):
        assert (word in said) == needed


def head(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def test_an_index_is_one_only_without_a_heading():
    assert number_form(PATH, head("id,a", "0,5")).index == 0
    assert number_form(PATH, head("Unnamed: 0,a", "0,5")).index == 1
    assert number_form(PATH, head("Unnamed: 0.1,Unnamed: 0,a", "0,0,5")).index == 2
    assert number_form(PATH, head(",0,1", "0,5,7")).index == 1
    assert number_form(PATH, head(",3.5,1", "0,5,7")).index == 0  # a sample with a gap
    assert number_form(PATH, head(",,", "1,2,3")).index == 0
    assert number_form(PATH, head("1,2", "3,4")).index == 0


def test_commas_between_thousands_are_not_taken_for_decimal_ones():
    with pytest.raises(DataError, match=r"'1,234' may be 1\.234 or 1234"):
        number_form(PATH, head("a;b", "1,234;5,678"))
    assert number_form(PATH, head("a;b", "0,234;5,678")).decimal == ","
    assert number_form(PATH, head("a;b", "1,23;5,678")).decimal == ","
    assert number_form(PATH, head("a;b", "1.234,5;5")).decimal == "."  # refused as text
    assert number_form(PATH, head("a,b", "1,2")).decimal == "."


def test_blanks_are_separators_between_numbers_alone():
    assert number_form(PATH, head("1.0 2.0", "3e-5 nan")).separator == " "
    assert number_form(PATH, head("good flight", "bad flight")).separator == ","
    assert number_form(PATH, head("1, 2", "3, 4")).separator == ","


def test_utf_16_is_told_with_a_byte_order_mark_and_without():
    text = "a,b\n1,2\n3,4\n"
    assert encoding_of(text.encode("utf-16")) == "utf-16"
    assert encoding_of(text.encode("utf-16-le")) == "utf-16-le"
    assert encoding_of(text.encode("utf-16-be")) == "utf-16-be"
    assert encoding_of(text.encode()) == "utf-8-sig"
    assert encoding_of(b"\0\1\2\3\4\5") == "utf-8-sig"
    assert encoding_of(b"") == "utf-8-sig"


def test_the_last_line_of_what_was_read_is_left_out_where_it_may_be_cut():
    assert lines_of(b"1,2\n" * (HEAD_BYTES // 4), "utf-8-sig")[-1] == "1,2"
    whole = (b"1,2\n" * HEAD_BYTES)[: HEAD_BYTES - 2] + b"9;"
    assert "9;" not in lines_of(whole, "utf-8-sig")


def test_the_columns_of_texts_decide_their_separator():
    wanted = ["text", "label"]
    assert text_form(head("text;label", "a, b;1"), wanted).separator == ";"
    assert text_form(head("text,label", "a; b,1"), wanted).separator == ","
    assert text_form(head("a;text, or more;label"), ["label"]).separator == ";"
    assert text_form(head("one;two"), wanted).separator == ";"
    assert text_form(head("text"), ["text"]).separator == ","


def test_a_column_may_be_written_otherwise_if_it_is_the_only_one():
    assert column_called("text", ["Text", "text"]) == "text"
    assert column_called("text", [" TEXT "]) == " TEXT "
    assert column_called("airline_sentiment", ["Airline Sentiment"]) is not None
    assert column_called("text", ["Text", "TEXT"]) is None
    assert column_called("text", ["texts"]) is None
