"""Layers that make numbers of texts, words and categories, in random models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fuzzing.program import NUMBERS, OWN_DTYPE, WORDS

if TYPE_CHECKING:
    from fuzzing.generator import Maker

IDF = (0.3, 0.9, 0.7, 1.1, 0.2, 0.5, 1.3, 0.4, 0.8, 0.6, 1.2, 0.1)
EDGES = (-1.1, -0.4, 0.13, 0.7, 1.9)


def categories(m: Maker) -> None:
    """Add an input of texts, words or whole numbers, and make floats of it."""
    m.pick(_words, _words, _numbers, _numbers, _texts, _hashed, _crossed, _encoded)(m)


def discretization(m: Maker, x: str) -> None:
    """Sort the numbers of a tensor into bins."""
    edges = sorted(m.rng.sample(EDGES, m.pick(1, 2, 4)))
    mode = m.pick("int", "one_hot", "multi_hot", "count")
    if len(m.shapes[x]) > 1 and mode in ("multi_hot", "count"):
        mode = "int"  # Keras joins another axis there than its symbolic shape says
    options: dict[str, Any] = {"bin_boundaries": edges, "output_mode": mode}
    if "16" in m.policy:
        # predict of the live layer rounds in 16 bits before it looks for the bins; a
        # call of it does not, nor does the file of the model
        options["dtype"] = OWN_DTYPE
    _encode(m, "Discretization", x, mode, len(edges) + 1, options)
    y = list(m.shapes)[-1]
    if len(m.shapes[y]) == 3:
        time, *rest = m.shapes[y]
        width = math.prod(n or 1 for n in rest)
        m.emit(f"layers.TimeDistributed(layers.Flatten())({y})", (time, width),
               uses=(y,))  # fmt: skip


def _encode(
    m: Maker, kind: str, x: str, mode: str, depth: int, options: dict[str, Any]
) -> None:
    """Call the layer, and make floats of what is still whole numbers."""
    shape = m.shapes[x]
    if mode == "int":
        (ids,) = m.emit(f"layers.{kind}({{options}})({x})", shape, uses=(x,),
                        options=options)  # fmt: skip
        _embed(m, ids, depth)
        return
    if mode == "one_hot":
        # the last axis is dropped if its length is one
        kept = shape[:-1] if shape and shape[-1] == 1 else shape
        after = (*kept, depth)
    else:
        after = (*shape[:-1], depth)
    (y,) = m.emit(f"layers.{kind}({{options}})({x})", after, uses=(x,),
                  options=options)  # fmt: skip
    if kind == "Hashing" and mode == "one_hot" and None not in after:
        # Keras does not know the length of the last axis
        (y,) = m.emit(f"layers.Reshape({after})({y})", after, uses=(y,))
    if kind in ("Hashing", "StringLookup", "IntegerLookup") and mode != "tf_idf":
        m.kinds[y] = "counts"  # whole numbers, which many an operation does not take
        width = m.pick(2, 3)
        m.emit(f"layers.Dense({width})({y})", (*after[:-1], width), uses=(y,))


def _embed(m: Maker, ids: str, depth: int) -> None:
    m.kinds[ids] = "ids"
    if m.chance(0.15):
        m.forced.append(ids)
    width = m.pick(2, 3)
    # behind a sequence of vectors its mask would have an axis too many
    masked = len(m.shapes[ids]) < 2 and m.chance(0.6)
    m.emit(f"layers.Embedding({{options}})({ids})", (*m.shapes[ids], width),
           uses=(ids,), options={"input_dim": depth, "output_dim": width,
                                 "mask_zero": masked})  # fmt: skip


def _mode(m: Maker) -> str:
    return str(m.pick("int", "int", "int", "one_hot", "multi_hot", "count"))


def _look_up(m: Maker, kind: str, x: str, known: list[Any], masks: list[Any]) -> None:
    """A StringLookup or IntegerLookup, by the words or numbers it knows."""
    mode = m.pick("int", "int", "one_hot", "multi_hot", "count", "tf_idf")
    mask, unknown = m.pick(*masks), m.pick(1, 1, 2, 3)
    known = [token for token in known if token != mask]
    options = {"vocabulary": known, "mask_token": mask, "num_oov_indices": unknown,
               "output_mode": mode}  # fmt: skip
    if m.chance(0.3):
        options["salt"] = m.pick(7, [5, 7])
        if kind == "IntegerLookup":
            options["oov_method"] = "farmhash"
    # only whole numbers have a place for the mask token in every mode
    masked = mask is not None and mode == "int"
    depth = len(known) + unknown + masked
    if mode == "tf_idf":
        options["idf_weights"] = list(IDF[: len(known)])
    if mode in ("multi_hot", "count", "tf_idf") and m.chance(0.3):
        depth += m.pick(1, 2)
        options |= {"max_tokens": depth + (mask is not None), "pad_to_max_tokens": True}
        depth = options["max_tokens"]
    _encode(m, kind, x, mode, depth, options)


def _words(m: Maker) -> None:
    known = m.rng.sample(WORDS, m.pick(3, 6))
    x = m.add_input("words", m.pick((m.time,), (m.time,), (1,)))
    _look_up(m, "StringLookup", x, known, ["", None, "never"])


def _numbers(m: Maker) -> None:
    known = m.rng.sample(NUMBERS, m.pick(3, 6))
    x = m.add_input("numbers", m.pick((m.time,), (m.time,), (1,)))
    if m.chance(0.2):  # from places to numbers, and back into places
        options = {"vocabulary": known, "invert": True, "mask_token": 77}
        ids = m.add_input("ids", m.shapes[x])
        (x,) = m.emit(f"layers.IntegerLookup({{options}})({ids})", m.shapes[ids],
                      uses=(ids,), options=options)  # fmt: skip
        m.kinds[x] = "ids"
    _look_up(m, "IntegerLookup", x, known, [None, 99, 5])


def _texts(m: Maker) -> None:
    """A TextVectorization of sentences; its sequences are as long as others are."""
    known = m.rng.sample([word.lower() for word in WORDS if word], m.pick(3, 6))
    # with a size of the batch Keras finds an axis too many behind (batch, 1)
    x = m.add_input("texts", () if m.batch_size else m.pick((1,), ()))
    mode = m.pick("int", "int", "multi_hot", "count", "tf_idf")
    ngrams = m.pick(None, None, 2, (1, 2))
    options = {
        "vocabulary": list(dict.fromkeys(known)),
        "output_mode": mode,
        "standardize": m.pick("lower_and_strip_punctuation", "lower", None,
                              "strip_punctuation"),
        "split": m.pick("whitespace", "whitespace", "character"),
        "ngrams": ngrams,
    }  # fmt: skip
    depth = len(options["vocabulary"])
    if mode == "int":
        # an unknown length would be another one than that of other sequences
        time = m.time or 7
        options["output_sequence_length"] = time
        (ids,) = m.emit(f"layers.TextVectorization({{options}})({x})", (time,),
                        uses=(x,), options=options)  # fmt: skip
        _embed(m, ids, depth + 2)
        return
    if mode == "tf_idf":
        options["idf_weights"] = list(IDF[:depth])
    m.emit(f"layers.TextVectorization({{options}})({x})", (depth + 1,), uses=(x,),
           options=options)  # fmt: skip


def _hashed(m: Maker) -> None:
    kind = m.pick("words", "numbers")
    x = m.add_input(kind, m.pick((m.time,), (m.time,), (1,)))
    bins, mode = m.pick(2, 5, 7), _mode(m)
    options: dict[str, Any] = {"num_bins": bins, "output_mode": mode}
    if m.chance(0.4):
        options["mask_value"] = m.pick("cat", "") if kind == "words" else m.pick(7, 0)
    if m.chance(0.4):
        options["salt"] = m.pick(3, [133, 137])
    _encode(m, "Hashing", x, mode, bins, options)


def _crossed(m: Maker) -> None:
    shape = m.pick((1,), ())
    inputs = [m.add_input(m.pick("words", "numbers"), shape) for _ in range(2)]
    bins, mode = m.pick(3, 7, 13), m.pick("int", "one_hot")
    options = {"num_bins": bins, "output_mode": mode}
    text = f"layers.HashedCrossing({{options}})([{', '.join(inputs)}])"
    if mode == "one_hot":
        m.emit(text, (bins,), uses=tuple(inputs), options=options)
        return
    (ids,) = m.emit(text, shape, uses=tuple(inputs), options=options)
    _embed(m, ids, bins)


def _encoded(m: Maker) -> None:
    """A CategoryEncoding of ids, which may have weights."""
    x = m.add_input("ids", (m.time,))
    mode = m.pick("one_hot", "multi_hot", "count")
    options = {"num_tokens": m.pick(9, 11), "output_mode": mode}
    if mode == "count" and m.chance(0.5):
        weights = m.add_input("floats", (m.time,))
        text = f"layers.CategoryEncoding({{options}})({x}, count_weights={weights})"
        m.emit(text, (options["num_tokens"],), uses=(x, weights), options=options)
        return
    _encode(m, "CategoryEncoding", x, mode, options["num_tokens"], options)
