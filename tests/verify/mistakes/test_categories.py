"""Mistakes in bins, ids and vocabularies, each planted by plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from support.graphs import computed, given, made, named, net

from verify import Network, selftest
from verify.mistakes.blind_spots import blind_spots
from verify.mistakes.catalogue.mistake import Need

EDGES = [-1.0, 0.5, 2.0]
X = np.asarray([[-3.0, -1.0, 0.0], [0.5, 1.5, 2.0], [7.0, 0.5, -2.0]])
BINS = np.asarray([[0, 1, 1], [2, 2, 3], [3, 2, 0]])
WORDS = ["the", "cat", "sat", "mat"]
ROWS = np.asarray([["cat", "dog", "the", "cat"], ["", "mat", "mouse", "sat"]])
MODES = {"multi_hot": "noted", "count": "counted"}


def one(class_name, dtype, *shapes, **options):
    """A model of one layer; of several inputs with several shapes."""
    names = [f"x{k}" for k in range(len(shapes))]
    inputs = [given(name, *shape, dtype=d) for name, shape, d in
              zip(names, shapes, dtype.split(), strict=True)]  # fmt: skip
    called = names if len(names) > 1 else names[0]
    layers = [*inputs, made(class_name, "layer", **options)]
    return net(layers, {"layer": (called,)}, "layer")


def rows_of(ids, depth, mode):
    """Ids as rows, one by one; ids below 0 have no place."""
    y = np.zeros((len(ids), depth))
    for row, some in zip(y, ids, strict=True):
        for k in some:
            if k >= 0:
                row[k] = 1 if mode == "multi_hot" else row[k] + 1
    return y


def test_bins_off_by_one_and_edges_in_the_bin_below():
    spec = one("Discretization", "float32", (3,), bin_boundaries=EDGES)
    assert (computed(spec, X) == BINS).all()
    found = named(spec, X, np.minimum(BINS + 1, 3))
    assert found == {"bins counted from 1"}
    found = named(spec, X, np.maximum(BINS - 1, 0))
    assert found == {"first boundary left out"}
    below = np.digitize(X, EDGES, right=True)
    assert (below != BINS).sum() == 4
    found = named(spec, X, below)
    assert found == {"numbers at a boundary put in the bin below"}


@pytest.mark.parametrize("mode", MODES)
def test_bins_off_by_one_as_columns(mode):
    options = {"bin_boundaries": EDGES, "output_mode": mode}
    spec = one("Discretization", "float32", (3,), **options)
    assert (computed(spec, X) == rows_of(BINS, 4, mode)).all()
    higher = rows_of(np.where(BINS < 3, BINS + 1, -1), 4, mode)
    assert named(spec, X, higher) == {"bins counted from 1"}
    other = "count" if mode == "multi_hot" else "multi_hot"
    (name,) = named(spec, X, rows_of(BINS, 4, other))
    assert name == f"{MODES[other]} instead of {MODES[mode]}"


def lookup(token, known, mask, unknown):
    """The id of a token; of several unknown ones by a hash that is not looked at."""
    if token == mask:
        return 0
    first = (mask is not None) + unknown
    return known.index(token) + first if token in known else first - 1


def test_ids_off_by_one_and_unknown_words():
    spec = one("StringLookup", "string", (4,), vocabulary=WORDS, mask_token="")
    right = np.asarray([[lookup(w, WORDS, "", 1) for w in row] for row in ROWS])
    assert (computed(spec, ROWS) == right).all()
    padding = right == 0
    higher = np.where(padding, 0, np.minimum(right + 1, 5))
    assert named(spec, ROWS, higher) == {"ids one too high"}
    lower = np.maximum(right - 1, 0)
    assert named(spec, ROWS, lower) == {"ids one too low"}
    left_out = np.where(right == 1, 0, right)
    assert named(spec, ROWS, left_out) == {"unknown tokens left out"}
    alphabet = sorted(WORDS)
    other = [[lookup(w, alphabet, "", 1) for w in row] for row in ROWS]
    assert named(spec, ROWS, np.asarray(other)) == {"vocabulary sorted"}


def test_ids_of_numbers_as_columns():
    known, x = [7, 3, 12], np.asarray([[7, 3, 3], [5, 12, 7], [3, 9, 5]])
    options = {"vocabulary": known, "output_mode": "count"}
    spec = one("IntegerLookup", "int64", (3,), **options)
    right = np.asarray([[lookup(n, known, None, 1) for n in row] for row in x])
    assert (computed(spec, x) == rows_of(right, 4, "count")).all()
    higher = rows_of(np.where(right < 3, right + 1, -1), 4, "count")
    assert named(spec, x, higher) == {"ids one too high"}
    assert named(spec, x, rows_of(right - 1, 4, "count")) == {"ids one too low"}
    unknown = rows_of(np.where(right == 0, -1, right), 4, "count")
    assert named(spec, x, unknown) == {"unknown tokens left out"}
    noted = rows_of(right, 4, "multi_hot")
    assert named(spec, x, noted) == {"noted instead of counted"}


def test_one_id_for_all_unknown_numbers_and_no_weights():
    known, x = [7, 3, 12], np.asarray([[7, 4, 3], [5, 12, 7], [3, 9, 8]])
    options = {"vocabulary": known, "num_oov_indices": 3}
    spec = one("IntegerLookup", "int64", (3,), **options)
    right = np.where(np.isin(x, known), computed(spec, x), x % 3)
    assert (computed(spec, x) == right).all()
    found = named(spec, x, np.where(np.isin(x, known), right, 0))
    assert found == {"unknown tokens all of one id"}
    options |= {"output_mode": "tf_idf", "idf_weights": [0.5, 2.0, 3.0]}
    spec = one("IntegerLookup", "int64", (3,), **options)
    found = named(spec, x, rows_of(right, 6, "count"))
    assert found == {"weights of tf_idf left out"}


def test_categories_off_by_one():
    x = np.asarray([[0, 2, 2], [1, 3, 0]])
    options = {"num_tokens": 4, "output_mode": "multi_hot"}
    spec = one("CategoryEncoding", "int32", (3,), **options)
    assert named(spec, x, rows_of(x - 1, 4, "multi_hot")) == {"ids one too low"}
    counted = rows_of(x, 4, "count")
    assert named(spec, x, counted) == {"counted instead of noted"}


TEXTS = np.asarray([["The CAT, sat"], ["on"], ["Cat the (mat) the"]])


@pytest.mark.parametrize(
    ("clean", "name"),
    [
        (lambda w: "".join(c for c in w if c.isalnum()), "upper case kept"),
        (str.lower, "punctuation kept"),
    ],
)
def test_texts_cleaned_otherwise(clean, name):
    options = {"vocabulary": WORDS, "output_sequence_length": 5}
    spec = one("TextVectorization", "string", (1,), **options)
    wrong = np.zeros((3, 5))
    for row, (text,) in zip(wrong, TEXTS, strict=True):
        words = [clean(w) for w in text.split()]
        row[: len(words)] = [lookup(w, WORDS, "", 1) for w in words]
    assert named(spec, TEXTS, wrong) == {name}
    right = computed(spec, TEXTS)
    lengths = [3, 1, 4]
    front = [np.roll(row, 5 - n) for row, n in zip(right, lengths, strict=True)]
    assert named(spec, TEXTS, np.stack(front)) == {"texts filled in front"}


def test_hashes_of_other_keys_and_orders():
    words = np.asarray([["cat", "dog"], ["mat", "mouse"], ["the", ""]])
    salted = one("Hashing", "string", (2,), num_bins=97, salt=[3, 4])
    plain = one("Hashing", "string", (2,), num_bins=97)
    assert named(salted, words, computed(plain, words)) == {"salt ignored"}
    masked = one("Hashing", "string", (2,), num_bins=97, mask_value="cat")
    assert named(masked, words, computed(plain, words)) == {"mask value hashed"}
    crossed = one("HashedCrossing", "int64 int64", (1,), (1,), num_bins=97)
    a, b = np.asarray([[3], [5], [8]]), np.asarray([[1], [0], [7]])
    found = named(crossed, [a, b], computed(crossed, [b, a]))
    assert found == {"features crossed in the other order"}


def test_what_hides_them_is_said_by_the_selftest():
    spec = one("Discretization", "float32", (3,), bin_boundaries=EDGES)
    x = X + 0.1
    (spot,) = [s for s in blind_spots(Network(spec), Network(spec).prepare(x), 3)
               if Need.NUMBERS_AT_BOUNDARIES in s.lacks]  # fmt: skip
    assert "no number is one of its boundaries" in spot.sentence
    text = str(selftest(Network(spec), x))
    assert "give numbers that equal a boundary of bins" in text
    assert "give numbers that equal a boundary" not in str(selftest(Network(spec), X))
    lookups = one("StringLookup", "string", (4,), vocabulary=WORDS, mask_token="")
    known = np.where(np.isin(ROWS, [*WORDS, ""]), ROWS, "cat")
    text = str(selftest(Network(lookups), known))
    assert "give tokens that are not in the vocabulary" in text
    assert "not in the vocabulary" not in str(selftest(Network(lookups), ROWS))
