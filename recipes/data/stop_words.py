"""The chapter's stop words, read as the chapter reads them: with NLTK."""

from __future__ import annotations

from functools import cache

from verify.data.text import stop_words_file


@cache
def nltk_stop_words() -> frozenset[str]:
    """Return the 179 English stop words through NLTK's own reader of word lists.

    Raises
    ------
    DataError
        The data package is missing, or its list is not the one the chapter used.
    """
    path = stop_words_file()
    import nltk  # slow: when tweets are prepared
    from nltk.corpus.reader import WordListCorpusReader

    folder = str(path.parent)
    if folder not in nltk.data.path:
        nltk.data.path.append(folder)  # NLTK reads from listed folders only
    return frozenset(WordListCorpusReader(folder, [path.name]).words())
