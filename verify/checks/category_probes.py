"""Make probe inputs for the layers that read categories and texts.

Random numbers would nearly all be unknown to a vocabulary, or lie in the last bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from verify.model.arrays import Array
from verify.model.spec import LayerSpec

UNKNOWN_WORDS = ("unseen", "Words,", "\N{LATIN SMALL LETTER E WITH ACUTE}t\xe9", "7")
"""Words that few vocabularies have: capitals, punctuation and others than ASCII."""

MAX_WORDS = 9
"""Words of a text, at most."""


def category_values(
    rng: np.random.Generator,
    readers: Sequence[LayerSpec],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Array | None:
    """Return values for an input that a layer of categories reads; None if none does.

    Parameters
    ----------
    rng : Generator
    readers : sequence of LayerSpec
        The layers that read the input.
    shape : tuple of int
    dtype : dtype
        Of the input.
    """
    if dtype.kind == "U":
        return _texts(rng, readers, shape)
    for layer in readers:
        known = _values(layer, dtype)
        if known is not None:
            return np.asarray(rng.choice(known, size=shape)).astype(dtype)
    return None


def _values(layer: LayerSpec, dtype: np.dtype[Any]) -> Array | None:
    """Return the values among which to choose for one layer."""
    options = layer.options
    if layer.class_name == "CategoryEncoding":
        return np.arange(options["num_tokens"])
    if layer.class_name == "Discretization":
        edges = np.asarray([-1.0, *options["bin_boundaries"], 1.0])
        between = (edges[1:] + edges[:-1]) / 2
        return np.concatenate([edges[:-1] - 0.5, edges, between, edges + 0.5])
    if layer.class_name == "IntegerLookup":
        if options["invert"]:
            return np.arange(-1, len(options["vocabulary"]) + 4)
        known = list(options["vocabulary"])
        known += [] if options["mask_token"] is None else [options["mask_token"]]
        if options["num_oov_indices"]:
            known += [max(known) + k for k in range(1, 6)]
        limits = np.iinfo(dtype) if dtype.kind in "iu" else np.iinfo(np.int64)
        return np.asarray([k for k in known if limits.min <= k <= limits.max])
    if layer.class_name in ("Hashing", "HashedCrossing"):
        return np.arange(0, 100)
    return None


def _texts(
    rng: np.random.Generator, readers: Sequence[LayerSpec], shape: tuple[int, ...]
) -> Array:
    """Return texts of known words and others, or single tokens."""
    words, whole = list(UNKNOWN_WORDS), False
    for layer in readers:
        known = [word for word in layer.options.get("vocabulary") or () if word]
        if layer.class_name == "TextVectorization":
            whole = layer.options["split"] is not None
        elif layer.options.get("num_oov_indices", 1) == 0:
            words = []
        words += known
    if not whole:
        return np.asarray(rng.choice(np.asarray(words), size=shape))
    counts = rng.integers(1, MAX_WORDS + 1, size=shape).ravel()
    texts = [" ".join(rng.choice(np.asarray(words), size=n)) for n in counts]
    return np.asarray(texts).reshape(shape)
