"""Texts are cut as TensorFlow cuts them, not as Python would."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import layer, sequential

from verify import Network
from verify.errors import DataError, ModelFileError, UnsupportedError
from verify.forward.texts import as_bytes, joined_ngrams, split, standardized
from verify.model_files.config import read_model


class Assets:
    """A source of weights with a vocabulary and nothing else."""

    def __init__(self, tokens=None, idf=None):
        self.found = tokens, idf

    def own(self, group):
        return []

    def vocabulary(self):
        return self.found

    def inside(self, *args):
        return self


def net(tokens=None, idf=None, shape=(1,), **options):
    """A model of one TextVectorization, or of the class in `kind`."""
    kind = options.pop("kind", "TextVectorization")
    dtype = "int64" if kind == "IntegerLookup" else "string"
    first = layer("InputLayer", "in", batch_shape=[None, *shape], dtype=dtype)
    config = sequential(first, layer(kind, "words", **options))
    assets = Assets(tokens, idf)
    return Network(read_model(config, assets, source="a test", keras_version="3.15.1"))


def test_only_ascii_letters_have_a_lower_case_and_only_ascii_spaces_part_words():
    text = "\N{LATIN CAPITAL LETTER E WITH ACUTE}T\xe9\xa0A-b\u2028C d".encode()
    lower = standardized(text, "lower_and_strip_punctuation").decode()
    assert lower == "\xc9t\xe9\xa0ab\u2028c d"
    assert [x.decode() for x in split(lower.encode(), "whitespace")] == [
        "\xc9t\xe9\xa0ab\u2028c", "d"
    ]  # fmt: skip
    assert split(b" a\x0b\x0cb\n", "whitespace") == [b"a", b"b"]
    assert split("\xe9a".encode(), "character") == ["\xe9".encode(), b"a"]


def test_ngrams_come_one_width_after_the_other():
    words = [b"a", b"b", b"c"]
    assert joined_ngrams(words, (2, 1)) == [b"a b", b"b c", b"a", b"b", b"c"]
    assert joined_ngrams(words[:1], (2,)) == []


def test_ids_begin_behind_padding_and_unknown_words_and_specials_are_no_words():
    for tokens in (["", "[UNK]", "the", "cat"], ["the", "cat"]):
        words = net(tokens)
        assert words.predict([["The cat!"], ["a"]]).tolist() == [[2, 3], [1, 0]]
    counted = net(["[UNK]", "the", "cat"], output_mode="count")
    assert counted.predict([["the dog the"]]).tolist() == [[1, 2, 0]]


def test_the_weights_of_unknown_words_are_the_mean_unless_they_are_given():
    mean = net(vocabulary=["the", "cat"], idf_weights=[0.5, 1.5], output_mode="tf_idf")
    assert mean.predict([["the dog cat dog"]], dtype="float64").tolist() == [
        [2, 0.5, 1.5]
    ]
    stored = net(["[UNK]", "the"], np.array([4.0, 0.5, 9.0]), output_mode="tf_idf")
    assert stored.predict([["the dog"]], dtype="float64").tolist() == [[4, 0.5]]


def test_rows_are_filled_up_to_the_longest_of_a_batch_as_predict_makes_them():
    words = net(["a"])
    same = [["a"]] * 40
    assert words.predict(same).shape == (40, 1)
    with pytest.raises(DataError, match="one length in every batch of 32 rows"):
        words.predict([*same, ["a a"]])


def test_texts_may_be_bytes_and_objects_but_no_numbers():
    words = net(["caf\xe9"])
    for given in (
        ["caf\xe9"],
        np.array(["caf\xe9".encode()]),
        np.array(["caf\xe9"], object),
    ):
        assert words.predict(np.asarray(given).reshape(1, 1)).tolist() == [[2]]
    with pytest.raises(DataError, match=r"holding texts. Received: dtype=float64"):
        words.predict([[1.5]])
    with pytest.raises(DataError, match="holding texts in UTF-8"):
        words.predict(np.array([[b"\xff"]]))
    assert as_bytes(np.array(["\xe9"])) == ["\xe9".encode()]


@pytest.mark.parametrize(
    ("error", "message", "tokens", "options"),
    [
        (UnsupportedError, "has no vocabulary", None, {}),
        (ModelFileError, "without repeated tokens", ["", "[UNK]", "a", "a"], {}),
        (ModelFileError, "Received: '' again", ["", "[UNK]", "a", ""], {}),
        (UnsupportedError, "no idf_weights", ["a"], {"output_mode": "tf_idf"}),
        (UnsupportedError, "'standardize' expects", ["a"], {"standardize": "mine"}),
        (UnsupportedError, "rows of different lengths", ["a"],
         {"output_mode": "one_hot"}),
        (UnsupportedError, "'ragged' expects", ["a"], {"ragged": True}),
        (ModelFileError, "whole numbers", ["a"], {"kind": "IntegerLookup"}),
        (UnsupportedError, "it returns texts|'invert'", ["a"],
         {"kind": "StringLookup", "invert": True}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(error, message, tokens, options):
    with pytest.raises(error, match=message):
        net(tokens, **options)


def test_a_word_that_is_unknown_is_an_error_where_no_id_is_left_for_it():
    words = net(["a"], kind="StringLookup", num_oov_indices=0)
    assert words.predict([["a"]]).tolist() == [[0]]
    with pytest.raises(DataError, match=r"num_oov_indices=0. Received: 'b'"):
        words.predict([["b"]])
