"""Cases for `verify.forward.layers.wrappers`."""

from __future__ import annotations

from layer_cases.case import Case

MODES = ("concat", "sum", "mul", "ave", None)


def _both(name: str, mode: str | None = "concat", **options):
    def make():
        from keras import layers

        inner = getattr(layers, name)(4, **options)
        return layers.Bidirectional(inner, merge_mode=mode, name="tested")

    return make


def _mixed(**options):
    def make():
        from keras import layers

        return layers.Bidirectional(
            layers.GRU(4, **options),
            backward_layer=layers.LSTM(4, go_backwards=True, **options),
            name="tested",
        )

    return make


def _turned():
    """The forward layer runs backwards, the backward layer forwards."""
    from keras import layers

    return layers.Bidirectional(
        layers.GRU(4, go_backwards=True, return_sequences=True),
        backward_layer=layers.GRU(4, return_sequences=True),
        name="tested",
    )


def _other(mode: str | None):
    return [{"merge_mode": m} for m in MODES if m != mode]


BIDIRECTIONAL = [
    case
    for mode in MODES
    for case in (
        Case("Bidirectional", make=_both("LSTM", mode), masked=True,
             wrong=_other(mode)),
        Case("Bidirectional", make=_both("GRU", mode, return_sequences=True),
             masked=True, after=mode is not None, wrong=_other(mode)),
        Case("Bidirectional", make=_both("SimpleRNN", mode, return_sequences=True,
                                         return_state=True), masked=True),
    )
] + [
    Case("Bidirectional", make=_both("LSTM", return_sequences=True, unroll=True),
         masked=True, after=True),
    Case("Bidirectional", make=_both("GRU", unroll=True), masked=True),
    Case("Bidirectional", make=_mixed(), masked=True),
    Case("Bidirectional", make=_mixed(return_sequences=True), masked=True, after=True),
    Case("Bidirectional", make=_mixed(return_state=True), masked=True),
    Case("Bidirectional", make=_turned, masked=True, after=True),
    Case("Bidirectional", make=_both("LSTM", return_sequences=True, stateful=True),
         batch_size=4, inputs=lambda rng: [rng.normal(size=(8, 6, 3))]),
    Case("Bidirectional", make=_both("LSTM", return_state=True),
         shape=[(6, 3), (4,), (4,), (4,), (4,)], masked=True,
         call=lambda layer, x: layer(x[0], initial_state=x[1:])),
    Case("Bidirectional", make=_both("GRU", return_sequences=True),
         shape=[(6, 3), (4,), (4,)], masked=True, after=True,
         call=lambda layer, x: layer(x[0], initial_state=x[1:])),
]  # fmt: skip


def _distributed(make_inner):
    def make():
        from keras import layers

        return layers.TimeDistributed(make_inner(), name="tested")

    return make


def _dense():
    from keras import layers

    return layers.Dense(4, activation="relu")


def _lstm():
    from keras import layers

    return layers.LSTM(3)


def _embedding():
    from keras import layers

    return layers.Embedding(9, 3, mask_zero=True)


def _model():
    import keras
    from keras import layers

    inputs = keras.Input((5,))
    x = layers.Embedding(9, 3, mask_zero=True)(inputs)
    return keras.Model(inputs, layers.LSTM(4)(x))


def _sequential():
    import keras
    from keras import layers

    return keras.Sequential([keras.Input((3,)), layers.Dense(2, activation="tanh")])


def _int8(model):
    model.quantize("int8")


def _sentences(rng):
    return [rng.integers(0, 9, size=(5, 6, 5))]


DISTRIBUTED = [
    Case("TimeDistributed", make=_distributed(_dense), masked=True, after=True),
    Case("TimeDistributed", make=_distributed(_sequential), masked=True, after=True),
    Case("TimeDistributed", make=_distributed(_dense), shape=(None, 2, 3)),
    # Keras leaves out the scales of a quantised layer in here
    Case("TimeDistributed", make=_distributed(_dense), prepare=_int8),
    Case("TimeDistributed", make=_distributed(_embedding), shape=(6, 5),
         dtypes=["int32"], inputs=_sentences, prepare=_int8),
    Case("TimeDistributed", make=_distributed(_lstm), shape=(6, 4, 3), after=True),
    Case("TimeDistributed", make=_distributed(_model), shape=(6, 5), dtypes=["int32"],
         inputs=_sentences, after=True),
    Case("TimeDistributed", make=_distributed(_embedding), shape=(6, 5),
         dtypes=["int32"], inputs=_sentences),
    Case("TimeDistributed", make=_distributed(_lstm), shape=[(6, 4, 3), (6, 4)],
         dtypes=["float64", "bool"],
         inputs=lambda rng: [rng.normal(size=(5, 6, 4, 3)),
                             rng.random(size=(5, 6, 4)) < 0.7],
         call=lambda layer, x: layer(x[0], mask=x[1])),
]  # fmt: skip


def _spectral(make):
    def outer():
        from keras import layers

        return layers.SpectralNormalization(make(), name="tested")

    return outer


def _convolution():
    from keras import layers

    return layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2)


def _masking_embedding():
    from keras import layers

    return layers.Embedding(9, 3, mask_zero=True)


SPECTRAL = [
    Case("SpectralNormalization", make=_spectral(_dense), masked=True, after=True,
         weights=False),
    Case("SpectralNormalization", make=_spectral(_convolution), weights=False),
    Case("TimeDistributed", make=_distributed(_spectral(_dense)), weights=False),
    Case("SpectralNormalization", make=_spectral(_masking_embedding), shape=(6,),
         inputs=lambda rng: [rng.integers(0, 9, size=(5, 6)).astype(float)],
         after=True, weights=False),
    # after ids Keras makes whole numbers of the vectors
    Case("SpectralNormalization", make=_spectral(_masking_embedding), shape=(6,),
         dtypes=["int32"], inputs=lambda rng: [rng.integers(0, 9, size=(5, 6))],
         after=True, weights=False),
]  # fmt: skip
"""`vector_u` plays no part."""

CASES = [*BIDIRECTIONAL, *DISTRIBUTED, *SPECTRAL]
