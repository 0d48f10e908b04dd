"""Cases for recurrent layers: every cell, option, mask and way of handing on states."""

from __future__ import annotations

from layer_cases.case import Case

LAYERS = ("SimpleRNN", "LSTM", "GRU")
GATED = ("LSTM", "GRU")
UNITS = 4


def _with_states(count: int, **kwargs):
    """Call the layer with states that are inputs of their own."""

    def call(layer, inputs):
        x, *states = inputs
        return layer(x, initial_state=list(states), **kwargs)

    return call


def _explicit_mask(layer, inputs):
    """A mask that is an input; states or not, it is applied."""
    x, mask, *states = inputs
    return layer(x, mask=mask, **({"initial_state": states} if states else {}))


def _masks(rng, *others):
    x = rng.normal(size=(5, 6, 3))
    mask = rng.random(size=(5, 6)) < 0.6
    mask[3] = False
    return [x, mask, *(rng.normal(size=shape) for shape in others)]


def _cell(name: str, units: int = UNITS, **options):
    def make():
        from keras import layers

        return getattr(layers, name)(units, **options)

    return make


def _rnn(cells, **options):
    def make():
        from keras import layers

        made = [cell() for cell in cells]
        return layers.RNN(made if len(made) > 1 else made[0], **options, name="tested")

    return make


STATES = {"SimpleRNN": 1, "LSTM": 2, "GRU": 1}

OPTIONS = [
    case
    for name in LAYERS
    for case in (
        Case(name, {"units": UNITS}, wrong=[{"activation": "relu"}]),
        Case(
            name,
            {"units": UNITS, "activation": "softsign", "return_sequences": True},
            masked=True,
            after=True,
            wrong=[{"activation": "tanh"}, {"return_sequences": False},
                   {"go_backwards": True}],
        ),
        Case(name, {"units": UNITS, "use_bias": False}, masked=True),
        Case(
            name,
            {"units": UNITS, "go_backwards": True, "return_sequences": True},
            masked=True,
            after=True,
            wrong=[{"go_backwards": False}],
        ),
        Case(
            name,
            {"units": UNITS, "zero_output_for_mask": True, "return_sequences": True},
            masked=True,
            wrong=[{"zero_output_for_mask": False}],
        ),
        Case(
            name,
            {"units": UNITS, "zero_output_for_mask": True},
            masked=True,
            wrong=[{"zero_output_for_mask": False}],
        ),
        Case(
            name,
            {"units": UNITS, "unroll": True, "go_backwards": True,
             "zero_output_for_mask": True, "return_sequences": True},
            masked=True,
            after=True,
            wrong=[{"unroll": False}],
        ),
        Case(name, {"units": UNITS, "unroll": True}, masked=True),
        Case(
            name,
            {"units": UNITS, "return_state": True, "return_sequences": True},
            masked=True,
            call=lambda layer, x: layer(x[0]),
            wrong=[{"return_state": False}],
        ),
        Case(
            name,
            {"units": UNITS, "return_state": True},
            shape=[(6, 3), *[(UNITS,)] * STATES[name]],
            masked=True,  # states given: the mask is not applied, but goes on
            call=_with_states(STATES[name]),
        ),
        Case(
            name,
            {"units": UNITS, "return_sequences": True},
            shape=[(6, 3), *[(UNITS,)] * STATES[name]],
            masked=True,
            after=True,
            call=_with_states(STATES[name], training=False),
        ),
        Case(
            name,
            {"units": UNITS, "return_sequences": True, "return_state": True},
            shape=[(6, 3), (6,), *[(UNITS,)] * STATES[name]],
            dtypes=["float64", "bool", *["float64"] * STATES[name]],
            inputs=lambda rng, name=name: _masks(rng, *[(5, UNITS)] * STATES[name]),
            call=_explicit_mask,
        ),
        Case(
            name,
            {"units": UNITS, "stateful": True, "return_sequences": True},
            batch_size=4,
            masked=True,
            inputs=lambda rng: [rng.normal(size=(12, 6, 3))],
            wrong=[{"stateful": False}],
        ),
        Case(
            name,
            {"units": UNITS, "dropout": 0.3, "recurrent_dropout": 0.4, "seed": 3},
            shape=(None, 3),
        ),
        Case(name, {"units": 1}, shape=(1, 3), weights=False),
        Case(name, {"units": 8, "activation": "softmax"}),
    )
]  # fmt: skip

GATES = [
    Case(
        name,
        {"units": UNITS, "recurrent_activation": activation, "return_sequences": True},
        wrong=[{"recurrent_activation": "keras2_hard_sigmoid"}],
    )
    for name in GATED
    for activation in ("hard_sigmoid", "tanh", "sigmoid")
]

GRUS = [
    Case("GRU", {"units": UNITS, "reset_after": after, "use_bias": bias}, masked=True,
         wrong=[{"reset_after": not after}])
    for after in (True, False)
    for bias in (True, False)
]  # fmt: skip


def _own_arguments():
    from keras import layers

    return layers.LSTM(
        UNITS,
        activation=layers.LeakyReLU(negative_slope=0.2),
        recurrent_activation=layers.ReLU(max_value=1.5, negative_slope=0.1),
        name="tested",
    )


RNNS = [
    Case("RNN", make=_rnn([_cell("LSTMCell")], return_sequences=True), masked=True,
         after=True, wrong=[{"return_sequences": False}, {"go_backwards": True}]),
    Case("RNN", make=_rnn([_cell("LSTMCell")], zero_output_for_mask=True),
         masked=True, wrong=[{"zero_output_for_mask": False}]),
    Case("RNN", make=_rnn([_cell("SimpleRNNCell")], go_backwards=True,
                          unroll=True, zero_output_for_mask=True,
                          return_sequences=True),
         masked=True, wrong=[{"unroll": False}]),
    Case("RNN", make=_rnn([_cell("GRUCell", reset_after=False)], return_state=True),
         wrong=[{"return_state": False}]),
    Case("RNN", make=_rnn([_cell("GRUCell"), _cell("LSTMCell", 3)], stateful=True),
         batch_size=4, inputs=lambda rng: [rng.normal(size=(8, 6, 3))],
         wrong=[{"stateful": False}]),
    Case("StackedRNNCells", make=_rnn(
        [_cell("LSTMCell"), _cell("GRUCell", 3), _cell("SimpleRNNCell", 2)],
        return_sequences=True, return_state=True), masked=True),
    Case("StackedRNNCells", make=_rnn(
        [_cell("LSTMCell"), _cell("LSTMCell", 3)], return_state=True),
        shape=[(6, 3), (UNITS,), (UNITS,), (3,), (3,)],
        call=lambda layer, x: layer(x[0], initial_state=[[x[1], x[2]], [x[3], x[4]]])),
    Case("SimpleRNNCell", make=_rnn([_cell("SimpleRNNCell", activation="relu")]),
         wrong=[{"activation": "tanh"}]),
    Case("LSTMCell", make=_rnn([_cell("LSTMCell", activation="relu",
                                      recurrent_activation="hard_sigmoid")]),
         wrong=[{"activation": "tanh"}, {"recurrent_activation": "sigmoid"}]),
    Case("GRUCell", make=_rnn([_cell("GRUCell", activation="relu", reset_after=False,
                                     recurrent_activation="hard_sigmoid")]),
         wrong=[{"activation": "tanh"}, {"recurrent_activation": "sigmoid"}]),
    Case("GRUCell", make=_rnn([_cell("GRUCell", use_bias=False)]),
         wrong=[{"reset_after": False}]),
    Case("LSTM", make=_own_arguments, wrong=[
        {"activation": "leaky_relu(negative_slope=0.3)"},
        {"recurrent_activation": "relu(max_value=1.5)"},
    ]),
]  # fmt: skip

CASES = [*OPTIONS, *GATES, *GRUS, *RNNS]
