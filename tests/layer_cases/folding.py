"""Cases for `verify.forward.layers.folding`."""

from __future__ import annotations

from layer_cases.case import Case


def _case(call, **kwargs):
    """Reshapes called as ``call(keras, x)``."""

    def called(layer, inputs):
        import keras

        return call(keras, inputs[0])

    return Case("ops.Reshape", call=called, **kwargs)


def _folded(keras, x, axes=(4, 5), **options):
    """Run an LSTM on each of the sequences of a sample."""
    ops = keras.ops
    folded = ops.reshape(x, (-1, 6, 3))
    h = keras.layers.LSTM(2, name="loop", **options)(folded)
    return ops.reshape(h, (-1, *axes, *h.shape[1:]))


def _words(keras, x):
    """Fold ids, so that the mask of an Embedding has a row for each sentence."""
    ids = keras.ops.reshape(x, (-1, 6))
    words = keras.layers.Embedding(5, 3, mask_zero=True)(ids)
    states = keras.layers.GRU(2, name="loop")(words)
    return keras.ops.sum(keras.ops.reshape(states, (-1, 4, 2)), axis=1)


def _ids(rng):
    return [rng.integers(0, 5, size=(5, 4, 6))]


CASES = [
    _case(lambda keras, x: keras.ops.reshape(x, (-1, 3, 6)),
          wrong=[{"newshape": (-1, 6, 3)}]),
    _case(lambda keras, x: _folded(keras, x, (4,)), shape=(4, 6, 3)),
    _case(lambda keras, x: _folded(keras, x), shape=(4, 5, 6, 3)),
    _case(lambda keras, x: _folded(keras, x, (2, 2), return_sequences=True),
          shape=(4, 6, 3)),
    # a part of it is unfolded, and later the rest
    _case(lambda keras, x: keras.ops.sum(keras.ops.reshape(keras.layers.GRU(3)(
          _folded(keras, x, (5,))), (-1, 4, 3)), axis=1), shape=(4, 5, 6, 3)),
    _case(_words, shape=(4, 6), dtypes=["int32"], inputs=_ids),
    _case(lambda keras, x: keras.ops.reshape(keras.layers.SimpleRNN(3, stateful=True)(
          keras.ops.reshape(x, (20, 6, 3))), (5, 4, 3)), shape=(4, 6, 3),
          batch_size=5),
    _case(lambda keras, x: keras.ops.reshape(keras.layers.GRU(3)(
          keras.ops.reshape(x, (20, -1, 3))), (5, -1, 3)), shape=(4, 6, 3),
          batch_size=5),
]  # fmt: skip
