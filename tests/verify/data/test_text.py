"""Texts to ids in bulk: the same as one word at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify import DataError
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
