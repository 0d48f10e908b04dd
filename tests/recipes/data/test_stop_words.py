"""NLTK reads the same stop words as the verifier, which does without NLTK."""

from __future__ import annotations

import sys

import pytest

from recipes.data.stop_words import nltk_stop_words
from verify.data import text
from verify.errors import DataError


@pytest.mark.slow
def test_nltk_and_the_verifier_read_the_same_179_words():
    found = nltk_stop_words()
    assert found == text.stop_words()
    assert len(found) == 179
    assert "nltk" in sys.modules


def test_nltk_is_not_given_a_list_that_was_changed(monkeypatch):
    monkeypatch.setattr(text, "STOP_WORDS_SHA256", "0" * 64)
    nltk_stop_words.cache_clear()
    with pytest.raises(DataError, match=r"expected the SHA-256 000.*reinstall gotstop"):
        nltk_stop_words()
    nltk_stop_words.cache_clear()
