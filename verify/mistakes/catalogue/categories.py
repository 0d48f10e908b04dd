"""Bins, ids and texts: numbers off by one, unknown tokens, other vocabularies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from verify.forward.layers.lookups import KINDS, Vocabulary
from verify.mistakes.catalogue.mistake import (
    Change,
    Mistake,
    MutationOperator,
    Need,
    on_inputs,
    on_outputs,
)
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

LOOKUPS = {kind.class_name: kind() for kind in KINDS if issubclass(kind, Vocabulary)}
"""Class of a layer that has a vocabulary -> its type."""

UNKNOWN = frozenset({Need.UNKNOWN_TOKENS})


def wrong_bins(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield bins numbered from 1 or too low, and edges that belong to the bin below."""
    if layer.class_name != "Discretization" or not layer.options["bin_boundaries"]:
        return
    bins = len(layer.options["bin_boundaries"]) + 1
    yield Mistake(
        "bins counted from 1",
        "each bin has a number that is one too high",
        "give what is below the first boundary the number 0",
        _moved(layer.options["output_mode"], 1, bins),
        common=True,
    )
    yield Mistake(
        "first boundary left out",
        "each bin has a number that is one too low: the first two are one",
        "count every boundary that is x or less, the first one too",
        lambda layer: layer.with_options(
            bin_boundaries=(*layer.options["bin_boundaries"][1:], np.inf)
        ),
    )
    yield Mistake(
        "numbers at a boundary put in the bin below",
        "a number that equals a boundary is in the bin below it, as with "
        "numpy.digitize(x, bins, right=True) or pandas.cut",
        "put a number that equals a boundary in the bin above it",
        _closed_above,
        common=True,
        needs=frozenset({Need.NUMBERS_AT_BOUNDARIES}),
    )
    yield from _other_mode(layer)


def _closed_above(layer: LayerSpec) -> LayerSpec:
    """Move each boundary by so little that only the boundary itself is below it."""
    edges = np.asarray(layer.options["bin_boundaries"], dtype=np.float32)
    above = np.nextafter(edges, np.float32(np.inf))
    return layer.with_options(bin_boundaries=tuple(map(float, above)))


def wrong_ids(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield ids of categories that are one too high or too low."""
    kind, mode = layer.class_name, layer.options.get("output_mode", "int")
    if kind not in (*LOOKUPS, "CategoryEncoding") or layer.options.get("invert"):
        return
    depth, kept = layer.options.get("num_tokens", 0), 0
    if kind in LOOKUPS:
        special, unknown = LOOKUPS[kind].special(layer.options)
        depth = len(special) + len(layer.options["vocabulary"])
        kept = len(special) - unknown  # the id of padding stays 0
    if depth > kept + 1 and mode != "tf_idf":
        for name, by, why in (
            ("ids one too high", 1, "as where special tokens are counted once more"),
            ("ids one too low", -1, "as where a special token is not counted"),
        ):
            yield Mistake(
                name,
                f"each id is {name[4:]}, {why}",
                "count the ids of special tokens once: that of padding, then those of "
                "tokens that are not in the vocabulary"
                if kind in LOOKUPS
                else "let id k stand for column k, from 0 on",
                _moved(mode, by, depth, kept),
                common=True,
            )
    yield from _other_mode(layer)


def _moved(mode: str, by: int, depth: int, kept: int = 0) -> Change:
    """Return a change of all ids, or of the columns that stand for them.

    Ids that leave the range stay at its end, so that a layer behind can be computed.
    """

    def ids(y: Array) -> Array:
        moved = np.clip(y + by, 0, depth - 1).astype(y.dtype)
        return np.where(y < kept, y, moved)

    def columns(y: Array) -> Array:
        moved = np.zeros_like(y)
        if by > 0:
            moved[..., by:] = y[..., :-by]
        else:
            moved[..., :by] = y[..., -by:]
        return moved

    return on_outputs(ids if mode == "int" else columns)


def _other_mode(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield tokens counted where they are only noted, or the other way round."""
    mode = layer.options["output_mode"]
    for name, right, wrong, what in (
        ("counted instead of noted", "multi_hot", "count",
         "a token that occurs twice counts twice; the model has 1 for it"),
        ("noted instead of counted", "count", "multi_hot",
         "a token that occurs twice has a 1; the model counts it"),
        ("weights of tf_idf left out", "tf_idf", "count",
         "tokens are counted and not weighed"),
    ):  # fmt: skip
        if mode == right:
            yield Mistake(
                name,
                what,
                f"compute output_mode {right!r}",
                partial(_with, output_mode=wrong),
                common=True,
            )


def _with(layer: LayerSpec, **options: Any) -> LayerSpec:
    return layer.with_options(**options)


def wrong_vocabulary(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield another order of the tokens, and unknown ones that are left out."""
    if layer.class_name not in LOOKUPS:
        return
    tokens = layer.options["vocabulary"]
    if list(tokens) != sorted(tokens):
        yield Mistake(
            "vocabulary sorted",
            "the tokens have ids in the order of their letters or numbers",
            "give the tokens ids in the order of the model's vocabulary",
            partial(_with, vocabulary=tuple(sorted(tokens))),
        )
    special, unknown = LOOKUPS[layer.class_name].special(layer.options)
    encodes = layer.options["output_mode"] != "int"
    if layer.options.get("invert") or not unknown:
        return
    if encodes or len(special) > unknown:
        yield Mistake(
            "unknown tokens left out",
            "a token that is not in the vocabulary "
            + ("is not counted" if encodes else "is padding, id 0"),
            "give such tokens the id before the first token of the vocabulary",
            _unknown_as(-1 if encodes else 0),
            common=True,
            needs=UNKNOWN,
        )
    if unknown > 1:
        yield Mistake(
            "unknown tokens all of one id",
            "every token that is not in the vocabulary has the first of their ids",
            f"choose one of the {unknown} ids by the hash that Keras takes",
            _unknown_as(len(special) - unknown),
            common=True,
            needs=UNKNOWN,
        )


def _unknown_as(k: int) -> Change:
    return lambda layer: layer.with_overrides(unknown=lambda layer, token: k)


STANDARDS = {
    "lower_and_strip_punctuation": (
        ("upper case kept", "strip_punctuation"),
        ("punctuation kept", "lower"),
    ),
    "lower": (("upper case kept", None),),
    "strip_punctuation": (("punctuation kept", None),),
    None: (("texts in lower case", "lower"),),
}
"""Option standardize -> the mistakes, with what they take instead."""


def wrong_texts(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield texts cut into other tokens, or filled at the other end."""
    if layer.class_name != "TextVectorization":
        return
    options = layer.options
    for name, wrong in STANDARDS[options["standardize"]]:
        yield Mistake(
            name,
            f"texts are standardized by {wrong!r}; the model has "
            f"{options['standardize']!r}",
            f"standardize texts by {options['standardize']!r}",
            partial(_with, standardize=wrong),
            common=True,
        )
    if options["ngrams"] is not None and options["ngrams"] != (1,):
        yield Mistake(
            "single tokens instead of n-grams",
            "tokens are looked up one by one",
            f"look up n-grams of {', '.join(map(str, options['ngrams']))} tokens",
            partial(_with, ngrams=(1,)),
        )
    if options["output_mode"] == "int":
        yield Mistake(
            "texts filled in front",
            "rows that are shorter have their padding in front",
            "put the padding, ids of 0, behind the tokens",
            on_outputs(_filled_in_front),
            common=True,
        )


def _filled_in_front(ids: Array) -> Array:
    lengths = (ids != 0).sum(axis=-1, keepdims=True)
    steps = ids.shape[-1]
    places = (np.arange(steps) + lengths) % max(steps, 1)
    return np.take_along_axis(ids, places, axis=-1)


def wrong_hashes(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield hashes with other keys, and categories that are crossed in other order."""
    if layer.class_name == "HashedCrossing":
        yield Mistake(
            "features crossed in the other order",
            "the features are joined from the last to the first before the hash",
            "join the features in the order of the layer's inputs",
            on_inputs(_reversed),
            common=True,
        )
    if layer.class_name != "Hashing" or layer.options["num_bins"] < 2:
        return
    if layer.options["salt"] is not None:
        yield Mistake(
            "salt ignored",
            "the hash is FarmHash64, without the salt",
            "compute SipHash-2-4 with the salt as its key",
            partial(_with, salt=None),
            common=True,
        )
    if layer.options["mask_value"] is not None:
        yield Mistake(
            "mask value hashed",
            "the mask value is hashed like any other, into all bins",
            "keep bin 0 for the mask value, and hash the rest into the bins from 1 on",
            partial(_with, mask_value=None),
            common=True,
        )
    yield from _other_mode(layer)


def _reversed(features: Any) -> Any:
    return features[::-1] if isinstance(features, list) else features


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    wrong_bins,
    wrong_ids,
    wrong_vocabulary,
    wrong_texts,
    wrong_hashes,
)
