"""Read the stop words with NLTK, as the chapter does."""

from __future__ import annotations

from functools import cache

from verify.data.text import stop_words_file


@cache
def nltk_stop_words() -> frozenset[str]:
    """Return the 179 English stop words, read by NLTK.

    Raises
    ------
    DataError
        The data package is missing, or its list is not the one the chapter used.
    """
    path = stop_words_file()
    import nltk  # here, since it is slow
    from nltk.corpus.reader import WordListCorpusReader

    folder = str(path.parent)
    if folder not in nltk.data.path:
        nltk.data.path.append(folder)  # NLTK reads from listed folders only
    return frozenset(WordListCorpusReader(folder, [path.name]).words())
