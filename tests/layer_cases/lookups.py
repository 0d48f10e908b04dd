"""Cases for `verify.forward.layers.lookups`."""

from __future__ import annotations

import numpy as np
from layer_cases.case import BATCH, Case

WORDS = ["the", "cat", "sat", "Mat", "é", "[UNK]", "a b"]
TEXTS = [
    "The cat SAT, on the Mat!", "É é dog's\x0b  dæy\tx", "", "a\xa0b the the",
    "[UNK] cat (sat) on ... the é",
]  # fmt: skip
NUMBERS = [30, -4, 7, 0, 12]
NOT_AS_ONNX = "texts are not written"
IDF = [0.3, 0.9, 0.7, 1.1, 0.2, 0.5, 1.3]


def _tokens(*shape, words=(*WORDS, "", "dog", "mouse", "É")):
    return lambda rng: [rng.choice(np.asarray(words), size=(BATCH, *shape))]


def _numbers(*shape, known=(*NUMBERS, 5, 6, -9, 100)):
    return lambda rng: [rng.choice(known, size=(BATCH, *shape)).astype("int64")]


def _texts(*shape):
    return lambda rng: [np.asarray(TEXTS).reshape(BATCH, *shape)]


def strings(options, *shape, **more):
    """A StringLookup of tokens."""
    more = {"inputs": _tokens(*shape), "wrong": [], **more}
    wrong = [*more.pop("wrong"), {"vocabulary": tuple(WORDS[::-1])}]
    return Case("StringLookup", {"vocabulary": WORDS, **options}, shape=shape,
                dtypes=["string"], wrong=wrong, not_as_onnx=NOT_AS_ONNX,
                **more)  # fmt: skip


def integers(options, *shape, **more):
    """An IntegerLookup of numbers."""
    more = {"inputs": _numbers(*shape), "wrong": [], **more}
    wrong = [*more.pop("wrong"), {"vocabulary": tuple(NUMBERS[::-1])}]
    dtypes = more.pop("dtypes", ["int64"])
    count = options.get("num_oov_indices", 1)
    if options.get("invert") or not count:
        more["not_as_onnx"] = "not written"
    elif options.get("oov_method") == "farmhash":
        more["not_as_onnx"] = "no such hash"
    return Case("IntegerLookup", {"vocabulary": NUMBERS, **options}, shape=shape,
                dtypes=dtypes, wrong=wrong, **more)  # fmt: skip


def texts(options, *shape, **more):
    """A TextVectorization of texts."""
    more = {"inputs": _texts(*shape), "wrong": [], **more}
    wrong = [*more.pop("wrong"), {"vocabulary": tuple(WORDS[::-1])}]
    words = [word for word in WORDS if word != "[UNK]"]
    return Case("TextVectorization", {"vocabulary": words, **options}, shape=shape,
                dtypes=["string"], wrong=wrong, not_as_onnx=NOT_AS_ONNX,
                **more)  # fmt: skip


def mode(name):
    """Options of an output mode."""
    return {"output_mode": name}


TFIDF = {**mode("tf_idf"), "idf_weights": IDF}
PADDED = {"max_tokens": 12, "pad_to_max_tokens": True}
UNPADDED = {"pad_to_max_tokens": False}
FARM = {"num_oov_indices": 3, "oov_method": "farmhash"}

CASES = [
    strings({}, 6, wrong=[{"num_oov_indices": 2}, mode("count")]),
    strings({"mask_token": "", "num_oov_indices": 3}, 6,
            wrong=[{"mask_token": None}, {"salt": (1, 2)}]),
    strings({"mask_token": "é", "oov_token": "dog"}, 6, wrong=[{"mask_token": "cat"}],
            make=lambda: _without("é")),
    strings({"num_oov_indices": 3, "salt": [5, 7]}, 4, 2, wrong=[{"salt": (7, 5)}]),
    strings({"num_oov_indices": 0}, 6, inputs=_tokens(6, words=WORDS)),
    strings({"mask_token": "", **mode("one_hot")}, 6, wrong=[mode("count")]),
    strings({**mode("multi_hot"), **PADDED}, 6, wrong=[UNPADDED, {"max_tokens": 13}]),
    strings({"mask_token": "", "num_oov_indices": 2, **mode("count")}, 6,
            wrong=[mode("multi_hot")]),
    strings(TFIDF, 6, wrong=[{"idf_weights": (1.0, *IDF)}]),
    strings({**TFIDF, **PADDED}, 6, wrong=[UNPADDED]),
    integers({}, 6, wrong=[{"num_oov_indices": 2}, mode("count")]),
    integers({"mask_token": 5, "num_oov_indices": 3}, 6,
             wrong=[{"mask_token": None}, {"oov_method": "farmhash"}]),
    integers({**FARM, "salt": 3}, 6,
             wrong=[{"salt": None}, {"oov_method": "floormod"}]),
    integers(FARM, 4, 2, wrong=[{"oov_method": "floormod"}]),
    integers({}, 6, dtypes=["float64"],
             inputs=lambda rng: [rng.uniform(-40, 40, size=(BATCH, 6))]),
    integers({"num_oov_indices": 0}, 6, inputs=_numbers(6, known=NUMBERS)),
    integers({"mask_token": 5, **mode("one_hot")}, 6, 1),
    integers({**mode("multi_hot"), **PADDED}, 6, wrong=[UNPADDED, {"max_tokens": 13}]),
    integers({"mask_token": 5, "num_oov_indices": 2, **mode("count")}, 4, 2),
    integers({**mode("tf_idf"), "idf_weights": IDF[:5], "num_oov_indices": 2}, 6,
             wrong=[{"idf_weights": (*IDF,)}]),
    integers({"invert": True, "mask_token": 5, "oov_token": -2}, 6,
             inputs=_numbers(6, known=(0, 1, 2, 3, 4, 5, 6, 7, 8, -1)),
             wrong=[{"invert": False}, {"oov_token": -1}, {"mask_token": None}]),
    texts({}, 1, wrong=[{"standardize": "lower"}, {"split": "character"},
                        {"ngrams": (1, 2)}, {"output_sequence_length": 2},
                        mode("count")]),
    texts({"output_sequence_length": 4}, 1, after=False,
          wrong=[{"output_sequence_length": None}]),
    texts({"output_sequence_length": 12, "standardize": "lower"}, wrong=[
        {"standardize": "strip_punctuation"}]),
    texts({"standardize": "strip_punctuation"}, 1, wrong=[{"standardize": None}]),
    texts({"standardize": None, "split": "character"}, 1),
    texts({"ngrams": 2}, 1, wrong=[{"ngrams": (2,)}, {"ngrams": None}]),
    texts({"ngrams": (2, 1), "standardize": None}, 1, wrong=[{"ngrams": (1, 2)}]),
    texts({"split": None}, 4, inputs=_tokens(4)),
    texts({"split": None, "output_sequence_length": 6}, 4, inputs=_tokens(4)),
    texts({"split": None, "output_sequence_length": 2, "standardize": None}, 4,
          inputs=_tokens(4)),
    texts({"split": None, "ngrams": 2}, 4, inputs=_tokens(4)),
    texts({"split": None, **mode("count")}, 4, inputs=_tokens(4)),
    texts(mode("multi_hot"), 1, wrong=[mode("count")]),
    texts({**mode("count"), **PADDED}, wrong=[UNPADDED, {"max_tokens": 13}]),
    texts({**TFIDF, "idf_weights": IDF[:6], **PADDED}, 1, wrong=[
        {"idf_weights": (1.0, *IDF)}]),
]  # fmt: skip


def _without(word):
    """A StringLookup whose mask token is a word of the others."""
    import keras

    words = [w for w in WORDS if w != word]
    return keras.layers.StringLookup(
        vocabulary=words, mask_token=word, oov_token="dog", name="tested"
    )
