"""Put the outputs of a model into words: a class, a tag for every word, or a phrase."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from recipes.run.folder import END_OF_PHRASE
from verify.data.text import TextPipeline
from verify.errors import printable
from verify.model.arrays import Array


def answer(scores: Array, used: Sequence[str], pipeline: TextPipeline) -> list[str]:
    """Return the lines that state the answer of a model.

    Parameters
    ----------
    scores : (classes,), or (steps, classes) where there are several answers
        Probabilities.
    used : sequence of str
        The words that were read, at most as many as the model has steps.
    pipeline : TextPipeline
    """
    if pipeline.outputs == "tags":
        width = max(map(len, used))
        at = slice(len(used)) if pipeline.padding == "post" else slice(-len(used), None)
        tags = [printable(pipeline.classes[step.argmax()]) for step in scores[at]]
        return [
            f"{word:<{width}}  {step.max():.4f}  {tag}"
            for word, step, tag in zip(used, scores[at], tags, strict=True)
        ]
    if pipeline.outputs == "phrase":
        words = phrase([pipeline.classes[k] for k in scores.argmax(axis=-1)])
        certain = float(np.prod(scores.max(axis=-1)))
        return [f"{certain:.4f}  {printable(words, 1000) or 'nothing'}"]
    ranked = sorted(zip(scores, pipeline.classes, strict=True), reverse=True)
    return [f"{score:.4f}  {printable(name)}" for score, name in ranked]


def phrase(words: Iterable[str]) -> str:
    """Join the words before `END_OF_PHRASE`."""
    said = []
    for word in words:
        if word == END_OF_PHRASE:
            break
        said.append(word)
    return " ".join(said)
