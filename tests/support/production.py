"""A model of the shape that people put into production, and a port of it by hand.

Ids under a masked Embedding, two bidirectional GRUs, attention and pooling in one
branch; a GRU over ids and features, whose mask the Concatenate loses, in another; both
with a static input through BatchNormalization and Dense to two outputs. `port` computes
it in plain NumPy, without this package's equations, right or with a mistake in it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from support.graphs import both_ways, given, made, net, rnn

from verify import ModelSpec, Network
from verify.forward.evaluable import Inputs
from verify.mistakes.catalogue import catalogue

TIME, ROWS, VOCABULARY = 7, 40, 20


@cache
def model() -> ModelSpec:
    """The model, with random weights."""
    layers = [
        given("ids", TIME, dtype="int32"),
        given("features", TIME, 3),
        given("static", 4),
        made("Embedding", "words", (VOCABULARY, 5), seed=1, input_dim=VOCABULARY,
             output_dim=5, mask_zero=True),
        both_ways("GRU", "first", 5, 4, seed=2, return_sequences=True),
        both_ways("GRU", "second", 8, 4, seed=4, return_sequences=True),
        made("Dense", "projection", (8, 8), (8,), seed=6, units=8),
        made("Attention", "attention"),
        made("GlobalAveragePooling1D", "pooled"),
        made("GlobalAveragePooling1D", "mean"),
        made("Concatenate", "with_features", axis=-1),
        rnn("GRU", "gru", 8, 6, seed=7),
        made("Concatenate", "merged", axis=-1),
        made("BatchNormalization", "normalized", (26,), (26,), (26,), (26,), seed=8),
        made("Dense", "hidden", (26, 8), (8,), seed=9, scale=0.3, units=8,
             activation="relu"),
        made("Dense", "kind", (8, 3), (3,), seed=10, scale=0.3, units=3,
             activation="softmax"),
        made("Dense", "amount", (8, 2), (2,), seed=11, units=2),
    ]  # fmt: skip
    calls = {
        "words": "ids",
        "first": "words",
        "second": "first",
        "projection": "second",
        "attention": (["first", "projection"],),
        "pooled": "attention",
        "mean": "projection",
        "with_features": (["words", "features"],),
        "gru": "with_features",
        "merged": (["pooled", "mean", "gru", "static"],),
        "normalized": "merged",
        "hidden": "normalized",
        "kind": "hidden",
        "amount": "hidden",
    }
    return net(layers, calls, ["kind", "amount"])


@cache
def inputs() -> Inputs:
    """Ids padded behind, in front, with a hole and not at all; features, numbers."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCABULARY, (ROWS, TIME))
    ids[::4, 5:] = ids[1::4, :2] = ids[2::4, 3] = 0
    features = rng.normal(size=(ROWS, TIME, 3))
    return Network(model()).prepare([ids, features, rng.normal(size=(ROWS, 4))])


@cache
def mutants() -> list[tuple[str, str, list[np.ndarray]]]:
    """Name, layer and outputs of every mistake in the catalogue."""
    return [(m.name, m.layer, m.evaluate(inputs())) for m in catalogue(model())]


def explained(outputs: list[np.ndarray], accuracy: float = 1e-6) -> set[tuple]:
    """The mistakes whose outputs these are."""
    return {
        (name, layer)
        for name, layer, theirs in mutants()
        if all(
            a.shape == b.shape and np.abs(a - b).max() < accuracy
            for a, b in zip(theirs, outputs, strict=True)
        )
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Exponentials that add up to 1."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def gru(x, keep, weights, backwards=False):
    """All outputs of a GRU in the order of the inputs, and its last state."""
    kernel, recurrent, bias = (w.astype(np.float64) for w in weights)
    units = len(recurrent)
    h, found = np.zeros((len(x), units)), []
    steps = range(x.shape[1])
    for t in reversed(steps) if backwards else steps:
        a, b = x[:, t] @ kernel + bias[0], h @ recurrent + bias[1]
        z = sigmoid(a[:, :units] + b[:, :units])
        r = sigmoid(a[:, units : 2 * units] + b[:, units : 2 * units])
        new = np.tanh(a[:, 2 * units :] + r * b[:, 2 * units :])
        new = z * h + (1 - z) * new
        h = np.where(keep[:, t, None], new, h)
        found.append(np.where(keep[:, t, None], h, 0))
    found = found[::-1] if backwards else found
    return np.stack(found, axis=1), h


def port(x: Inputs | None = None, **changed) -> list[np.ndarray]:
    """The model by hand; a keyword replaces one of its parts.

    Parameters
    ----------
    x : Inputs, optional
    weights : dict
        Name of a layer -> the weights to take.
    keep, keys : (batch, time) of bool
        The mask, and the mask of the keys of attention.
    gru_keep : (batch, time) of bool
        The mask of the last GRU, all true.
    attend : callable
        Scores and mask -> weights.
    scale : float
        Factor of the scores.
    exchanged : bool
        Whether query and value change places.
    mean : callable
        Sequence and mask -> pooled.
    order : tuple of int
        Order of what is merged.
    normalize : callable
        Merged, gamma, beta, moving mean, moving variance -> normalised.
    hidden : callable
        What enters the hidden layer -> what is computed on.
    """
    spec = model()
    ids, features, static = (np.asarray(a) for a in (x or inputs()))
    features, static = features.astype(np.float64), static.astype(np.float64)
    own = {path: list(w.weights.values()) for path, w in spec.walk()}
    own |= changed.get("weights", {})
    keep = changed.get("keep", ids != 0)
    words = own["words"][0].astype(np.float64)[ids]

    def both(x, name):
        forward, _ = gru(x, keep, own[f"{name}/forward_layer"])
        backward, _ = gru(x, keep, own[f"{name}/backward_layer"], backwards=True)
        return np.concatenate([forward, backward], axis=-1)

    first = both(words, "first")
    projection = both(first, "second") @ own["projection"][0] + own["projection"][1]
    query, value = first, projection
    if changed.get("exchanged"):
        query, value = value, query
    scores = query @ value.swapaxes(1, 2) * changed.get("scale", 1)
    attention = changed.get("attend", attend)(scores, changed.get("keys", keep)) @ value
    attention = np.where(keep[..., None], attention, 0)
    mean = changed.get("mean", masked_mean)
    joined = np.concatenate([words, features], axis=-1)
    everything = changed.get("gru_keep", np.ones_like(keep))
    parts = [mean(attention, keep), mean(projection, keep)]
    parts += [gru(joined, everything, own["gru"])[1], static]
    merged = np.concatenate([parts[k] for k in changed.get("order", range(4))], axis=-1)
    y = changed.get("normalize", normalize)(merged, *own["normalized"])
    y = changed.get("hidden", lambda y: y)(y)
    y = np.maximum(y @ own["hidden"][0] + own["hidden"][1], 0)
    kind = softmax(y @ own["kind"][0] + own["kind"][1])
    return [kind, y @ own["amount"][0] + own["amount"][1]]


def attend(scores: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Weights of attention to the keys that are not masked."""
    return softmax(scores - 1e9 * ~keep[:, None, :])


def masked_mean(x: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The mean over the steps that are not masked."""
    return (x * keep[..., None]).sum(axis=1) / keep.sum(axis=1, keepdims=True)


def normalize(x, gamma, beta, mean, variance, epsilon=1e-3):
    """BatchNormalization in predict."""
    return (x - mean) / np.sqrt(variance.astype(np.float64) + epsilon) * gamma + beta
