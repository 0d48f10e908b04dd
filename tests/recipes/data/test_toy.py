"""The toy phrase: two words in, the next out."""

from __future__ import annotations

import numpy as np

from recipes.data import toy


def test_the_toy_phrase_has_the_chapters_ids_and_inputs():
    pipeline = toy.pipeline()
    assert pipeline.vocabulary.ids == {"is": 1, "an": 2, "this": 3, "example": 4}
    x = pipeline.encode(toy.DOCS)
    assert x.shape == (2, 2, 1)
    assert x.dtype == np.float32
    assert x[..., 0].tolist() == [[3, 1], [1, 2]]
    assert pipeline.encode(["an"])[0, :, 0].tolist() == [0, 2]  # padded in front
