"""A mask that does not reach a recurrent layer is said, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from support.any_layer import chain, inputs_for
from support.graphs import given, made
from support.graphs import net as net_of
from support.nets import ids, layer, lstm_spec

import verify
from verify import Network, compare_outputs, describe, selftest
from verify.mistakes.blind_spots import warnings
from verify.mistakes.lost_masks import lost_masks, padding_alone

WORDS = layer("Embedding", "masking", input_dim=9, output_dim=3, mask_zero=True)
GRU = layer("GRU", "gru", units=4)
ALL = layer("GRU", "all", units=4, return_sequences=True)
STEPS = (None, 6)
CONV = layer("Conv1D", "conv", filters=2, kernel_size=3, padding="same")

LOST = {
    "Concatenate": (
        chain([STEPS, (None, 6, 2)], WORDS, layer("Concatenate", "cat"), GRU,
              dtypes=["int32"]),
        "its mask is never false, because Layer 'cat' (Concatenate) combines the mask "
        "with an input that has none",
    ),
    "Conv1D": (
        chain([STEPS], WORDS, CONV, layer("Dense", "dense", units=5), GRU,
              dtypes=["int32"]),
        "no mask reaches it, because Layer 'conv' (Conv1D) hands none on",
    ),
    "Add": (
        chain([STEPS, (None, 6, 3)], WORDS, layer("Add", "add"), GRU,
              dtypes=["int32"]),
        "no mask reaches it, because Layer 'add' (Add) hands none on",
    ),
    "behind another": (
        chain([STEPS], WORDS, ALL, CONV, layer("LSTM", "gru", units=4),
              dtypes=["int32"]),
        "no mask reaches it, because Layer 'conv' (Conv1D) hands none on",
    ),
}  # fmt: skip

KEPT = {
    "straight": chain([STEPS], WORDS, GRU, dtypes=["int32"]),
    "through layers that pass it on": chain(
        [STEPS], WORDS, ALL, layer("Dropout", "drop", rate=0.5), GRU, dtypes=["int32"]
    ),
    "an encoder's last state, repeated": chain(
        [STEPS], WORDS, layer("GRU", "enc", units=4),
        layer("RepeatVector", "again", n=6), GRU, dtypes=["int32"],
    ),
    "pooled steps": chain(
        [STEPS], WORDS, layer("MaxPooling1D", "pool", pool_size=2), GRU,
        dtypes=["int32"],
    ),
    "values of attention": chain(
        [(None, 6, 3), (None, 6, 3)], layer("Masking", "masking", mask_value=0.0),
        layer("Attention", "att"), GRU, masked=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_a_lost_mask_is_warned_of_and_said_by_describe(name):
    spec, reason = LOST[name]
    net = Network(spec)
    x = net.prepare(inputs_for(spec, 40))
    (found,) = lost_masks(spec.root, net.trace(x))
    assert found.path == "gru"
    assert found.reason == reason
    said = [w for w in warnings(net, x, x.rows) if "there is padding" in w]
    assert len(said) == 1
    padded = x[0] == 0
    where = f"{padded.sum()} of {padded.size} steps"
    assert f"there is padding ({where}, the first is step" in said[0]
    assert np.array_equal(found.padded, padded)
    assert f"it is computed like any other step: {reason}" in said[0]
    text = describe(net)
    assert f"  padding is computed like any other step: {reason}" in text
    assert f"  the mask is lost for 'gru': {found.how}" in text
    report = compare_outputs(net, inputs_for(spec, 40), net.flat(x)[0])
    assert said[0] in report.warnings


@pytest.mark.parametrize("name", LOST)
def test_the_mask_that_is_said_to_be_lost_is(name):
    """Marking other steps as padding must change nothing behind the culprit."""
    spec, _ = LOST[name]
    gru = next(layer for path, layer in spec.walk() if path == "gru")
    bare = spec.with_layer(gru.with_overrides(scan=_without_mask))
    net, x = Network(spec), Network(spec).prepare(inputs_for(spec, 40))
    assert np.array_equal(net.flat(x)[0], Network(bare).flat(x)[0])


@pytest.mark.parametrize("name", KEPT)
def test_a_mask_that_is_kept_or_that_ends_with_its_steps_is_not(name):
    spec = KEPT[name]
    net = Network(spec)
    x = net.prepare(inputs_for(spec, 40))
    assert not list(lost_masks(spec.root, net.trace(x)))
    assert "padding is computed" not in describe(net)
    if name == "straight":  # the mutation of the test above: here the mask matters
        bare = spec.with_layer(spec["gru"].with_overrides(scan=_without_mask))
        assert not np.allclose(net.flat(x)[0], Network(bare).flat(x)[0])


@pytest.mark.parametrize("name", LOST)
def test_what_the_mask_would_change_is_measured(name):
    """The figure is that of the same layers on a model with the mask given by hand."""
    spec, _ = LOST[name]
    net = Network(spec)
    x = net.prepare(inputs_for(spec, 40))
    (found,) = lost_masks(spec.root, net.trace(x))
    keep = x[0] != 0

    def with_mask(step, sequences, mask, *rest, **options):
        from verify.forward.recurrence import scan

        return scan(step, sequences, keep, *rest, **options)

    gru = spec["gru"].with_overrides(scan=with_mask)
    there = Network(spec.with_layer(gru)).flat(x, dtype="float64")[0]
    apart = np.abs(there - net.flat(x, dtype="float64")[0]).max()
    assert found.effect(net, x) == pytest.approx(apart, rel=1e-9)
    assert apart > 0.01
    (said,) = [w for w in warnings(net, x, x.rows) if "there is padding" in w]
    assert said.endswith(f"with the mask the outputs would be up to {apart:.2g} apart")


def positions_added(last, *arguments):
    """Add unmasked positions to masked words, and give the sum to the layer `last`."""
    inputs = given("in0", 6, dtype="int32"), given("in1", 6, 3)
    words = made("Embedding", "words", (9, 3), input_dim=9, output_dim=3,
                 mask_zero=True)  # fmt: skip
    calls = {"words": "in0", "add": ["words", "in1"], "last": arguments}
    calls = {k: (v,) if isinstance(v, list) else v for k, v in calls.items()}
    return net_of([*inputs, words, made("Add", "add"), last], calls, "last")


ATTENTION = {"num_heads": 2, "key_dim": 2}
HEADS = made(
    "MultiHeadAttention", "last", *[(3, 2, 2), (2, 2)] * 3, (2, 2, 3), (3,), **ATTENTION
)
NOT_RECURRENT = {
    "is averaged": positions_added(made("GlobalAveragePooling1D", "last"), "add"),
    "is attended to": positions_added(HEADS, "add", "add"),
}
NOT_RECURRENT["is attended to in pairs"] = positions_added(
    made("Attention", "last"), ["in1", "add"]
)


CROSS = made("MultiHeadAttention", "last", *[(3, 2, 2), (2, 2)] * 3, (2, 2, 3), (3,),
             **ATTENTION)  # fmt: skip
GROUPED = made("GroupQueryAttention", "last", *[(3, 2, 2), (2, 2)] * 3, (2, 2, 3), (3,),
               head_dim=2, num_query_heads=2, num_key_value_heads=2)  # fmt: skip
NOT_RECURRENT["is attended to from others"] = positions_added(CROSS, "in1", "add")
NOT_RECURRENT["is attended to from others in groups"] = positions_added(
    GROUPED, "in1", "add"
)


@pytest.mark.parametrize("fate", NOT_RECURRENT)
def test_pooling_and_attention_that_lost_a_mask_are_said_too(fate):
    spec = NOT_RECURRENT[fate]
    net = Network(spec)
    x = net.prepare(inputs_for(spec, 40))
    (found,) = lost_masks(spec.root, net.trace(x))
    assert found.path == "last"
    assert found.culprit_path == "add"
    (said,) = [w for w in warnings(net, x, x.rows) if "there is padding" in w]
    assert f"and it {' '.join(fate.split()[: 3 if 'to' in fate else 2])}" in said
    assert "its mask is used by no layer" in describe(net)


@pytest.mark.parametrize("arguments", [("words", "in1"), ("in1", "words")])
def test_attention_that_gets_the_mask_of_its_values_lost_none(arguments):
    spec = positions_added(CROSS, *arguments)
    net = Network(spec)
    x = net.prepare(inputs_for(spec, 40))
    assert not list(lost_masks(spec.root, net.trace(x)))


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("rank", [2, 3])
def test_a_mean_over_time_and_space_counts_padding(rank, lost):
    """A TimeDistributed hands the mask on, a Conv2D or Conv3D does not."""
    frame = (2, 2, 1) if rank == 3 else (4, 1)
    inner = made("Reshape", "layer", target_shape=frame)
    kernel = (1,) * rank + (1, 3)
    layers = [
        given("in0", 6, 4),
        made("Masking", "masking", mask_value=0.0),
        made("TimeDistributed", "each", inside={"layer": inner}),
        made(f"Conv{rank}D", "conv", kernel, (3,), filters=3, kernel_size=1),
        made(f"GlobalAveragePooling{rank}D", "last"),
    ]
    layers = [layer for layer in layers if lost or layer.name != "conv"]
    names = [layer.name for layer in layers]
    spec = net_of(layers, dict(zip(names[1:], names, strict=False)), "last")
    net, x = Network(spec), np.ones((4, 6, 4))
    x[1, 4:] = 0
    prepared = net.prepare(x)
    (found,) = lost_masks(spec.root, net.trace(prepared))
    assert found.path == "last"
    assert found.where == "2 of 24 steps, the first is step 4"
    assert found.culprit_path == ("conv" if lost else "last")
    (said,) = [w for w in warnings(net, prepared, 4) if "there is padding" in w]
    reason = (
        f"no mask reaches it, because Layer 'conv' (Conv{rank}D) hands none on"
        if lost
        else "it knows no mask"
    )
    assert f"it is averaged like any other step: {reason}" in said
    assert f"padding is averaged like any other step: {reason}" in describe(net)
    # and padding does count in it
    other = net.flat(net.prepare(np.where(x == 0, 7.0, x)))[0]
    assert np.abs(other - net.flat(prepared)[0])[1].max() > 0.01
    full = net.prepare(np.ones((4, 6, 4)))
    assert not list(lost_masks(spec.root, net.trace(full)))


def test_describe_says_which_layers_use_a_mask():
    text = describe(Network(KEPT["through layers that pass it on"]))
    assert "id 0 is padding, and the output has a mask of it" in text
    assert "its mask is used by 'all' and 'gru'" in text
    assert "its mask is used by no layer" in describe(Network(LOST["Conv1D"][0]))


def test_padding_beyond_the_rows_looked_at_is_told_of():
    spec, reason = LOST["Conv1D"]
    net = Network(spec)
    x = net.prepare(np.maximum(inputs_for(spec, 40), 1))
    (said,) = [w for w in warnings(net, x, 1000) if "padding" in w and "gru" in w]
    assert said == (
        "Layer 'gru' (GRU): padding, of which the 40 rows looked at have none, is "
        f"computed like any other step: {reason}"
    )


def _without_mask(step, x, mask, *rest, **options):
    from verify.forward.recurrence import scan

    return scan(step, x, None, *rest, **options)


def test_without_padding_in_the_data_nothing_is_warned_of():
    spec, _ = LOST["Concatenate"]
    net = Network(spec)
    rows = inputs_for(spec, 40)
    rows["in0"] = np.maximum(rows["in0"], 1)
    x = net.prepare(rows)
    assert not [w for w in warnings(net, x, x.rows) if "there is padding" in w]


@pytest.mark.parametrize("name", LOST)
def test_the_selftest_does_not_ask_for_padding_that_is_there(name):
    spec, _ = LOST[name]
    said = str(selftest(Network(spec), inputs_for(spec, 40)))
    assert "with padding" not in said


def test_inputs_of_padding_alone_are_masked_everywhere():
    value = chain([(None, 6, 3)], layer("Masking", "masking", mask_value=-1.5), GRU)
    assert np.all(padding_alone(value)[0] == -1.5)
    assert padding_alone(KEPT["straight"])[0].dtype == np.int32
    open_steps = chain([(None, None)], WORDS, GRU, dtypes=["int32"])
    assert padding_alone(open_steps)[0].shape[1] == 4


# -- one step --------------------------------------------------------------------------


def one_step(**more):
    return chain([(None, 1, 3), (None, 4)], layer("GRU", "gru", units=4), **more)


def sentences(spec, rows=40):
    net = Network(spec)
    x = net.prepare(inputs_for(spec, rows))
    return " ".join(warnings(net, x, rows))


def test_one_step_with_states_given_is_not_said_to_leave_the_kernel_idle():
    spec = one_step(call={"initial_state": [1]})
    assert "plays no part" not in sentences(spec)
    # and it does play a part
    net, x = Network(spec), Network(spec).prepare(inputs_for(spec, 40))
    gru = spec["gru"]
    idle = gru.with_weights(
        recurrent_kernel=np.zeros_like(gru.weights["recurrent_kernel"])
    )
    without = Network(spec.with_layer(idle)).flat(x)[0]
    assert np.abs(without - net.flat(x)[0]).max() > 0.01
    plain = chain([(None, 1, 3)], layer("GRU", "gru", units=4))
    assert "one time step, so the recurrent kernel plays no part" in sentences(plain)
    lstm = chain([(None, 1, 3)], layer("LSTM", "lstm", units=4))
    assert "the recurrent kernel and the forget gate play no part" in sentences(lstm)


def test_a_stateful_layer_has_states_from_its_second_batch_on():
    stateful = chain([(4, 1, 3)], layer("LSTM", "lstm", units=4, stateful=True))
    assert "no part" not in sentences(stateful, rows=8)
    assert "no part" in sentences(stateful, rows=4)
    both = layer(
        "Bidirectional", "both", layer=layer("LSTM", "a", units=4, stateful=True)
    )
    assert "no part" not in sentences(chain([(4, 1, 3)], both), rows=8)


def test_states_given_to_a_bidirectional_reach_its_halves():
    both = layer("Bidirectional", "both", layer=layer("GRU", "a", units=4))
    shapes = [(None, 1, 3), (None, 4), (None, 4)]
    assert "no part" not in sentences(
        chain(shapes, both, call={"initial_state": [1, 2]})
    )
    assert "no part" in sentences(chain(shapes[:1], both))


def test_a_cell_has_no_steps():
    cell = layer("GRUCell", "cell", units=4)
    spec = chain([(None, 1), (None, 4)], cell, call={"states": [1]})
    assert "no part" not in sentences(spec)


# -- ids with fractions ----------------------------------------------------------------


def test_fractions_that_the_input_cuts_off_are_warned_of():
    net = Network(KEPT["straight"])
    x = inputs_for(net.spec, 40)
    halves = x + 0.5
    halves[0] = x[0]
    report = compare_outputs(net, halves, net.predict(x))
    assert report.verdict is verify.Verdict.PASS
    (said,) = [w for w in report.warnings if "fractions" in w]
    assert said == (
        "Layer 'in0' (InputLayer): 234 number(s) have fractions, the first at [1, 0], "
        f"{halves[1, 0]:g}; Keras cuts them off, and a port may not"
    )
    for whole in (x, x.astype(np.float64)):
        assert not [
            w for w in compare_outputs(net, whole, net.predict(x)).warnings
            if "fractions" in w
        ]  # fmt: skip


def test_fractions_in_features_are_numbers_like_any_other():
    net = Network(LOST["Concatenate"][0])
    x = inputs_for(net.spec, 40)
    report = compare_outputs(net, x, net.predict(x))
    assert not [w for w in report.warnings if "fractions" in w]


@pytest.mark.parametrize("spec", [KEPT["straight"], lstm_spec()], ids=["graph", "list"])
def test_ids_below_0_are_warned_of(spec):
    """-1 reads the last row of the table, on every backend of Keras."""
    net, x = Network(spec), ids(batch=20) % 9
    assert not [
        w for w in compare_outputs(net, x, net.predict(x)).warnings if "below 0" in w
    ]
    x[2, 3:] = -1
    report = compare_outputs(net, x, net.predict(x))
    assert report.verdict is verify.Verdict.PASS
    (said,) = [w for w in report.warnings if "below 0" in w]
    count = x.shape[1] - 3
    assert said.endswith(
        f"(Embedding): {count} id(s) are below 0, the first at [2, 3], -1; Keras "
        "counts them from the end of the table, where -1 is the last row"
    )


@pytest.mark.parametrize("kept", ["float32", "int32"])
def test_ids_with_fractions_are_warned_of_once(kept):
    """Most old files have an input of floats before an Embedding."""
    spec = KEPT["straight"]
    entry = spec.inputs[0]
    net = Network(spec.with_layer(entry.with_options(dtype=kept), entry.name))
    x = (ids(batch=20) % 9).astype("float32")
    whole = compare_outputs(net, x, net.predict(x))
    assert not [w for w in whole.warnings if "fractions" in w]
    x[2, 3:] += 0.25
    report = compare_outputs(net, x, net.predict(x))
    assert report.verdict is verify.Verdict.PASS
    (said,) = [w for w in report.warnings if "fractions" in w]
    assert f"{x.shape[1] - 3} " in said
    first = f"the first at [2, 3], {x[2, 3]:g}; Keras cuts them off, and a port may not"
    assert said.endswith(first)
