"""The probes: each is made for one loss, and only where it can occur."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import INPUTS, feature_net, lstm_spec, stateful_net, word_net
from support.nets import rnn as layer
from support.ports import with_states

from verify import DataError, Network
from verify.ports.probes import PADDING, Probe, probes


def named(found: tuple[Probe, ...]) -> dict[str, Probe]:
    by_name = {probe.name: probe for probe in found}
    assert len(by_name) == len(found)
    return by_name


def test_a_model_of_features_is_asked_for_batches_calls_and_lengths():
    found = named(probes(feature_net("GRU")))
    assert list(found) == [
        *("batch 1", "batch 2", "batch 5", "second call"),
        *("3 step(s)", "11 step(s)", "1 step(s)"),
    ]
    assert [found[f"batch {n}"].calls[0].rows for n in (1, 2, 5)] == [1, 2, 5]
    assert found["11 step(s)"].whole[0].shape == (5, 11, INPUTS)


def test_a_fixed_length_is_not_varied():
    assert not any("step" in probe.name for probe in probes(Network(lstm_spec())))


def test_axes_that_a_port_fixes_are_kept():
    net = feature_net("LSTM")
    found = named(probes(net, shapes=[(None, 9, INPUTS)]))
    assert not any("step" in name for name in found)
    assert found["batch 2"].whole[0].shape == (2, 9, INPUTS)


def test_the_last_call_is_like_the_first_and_unlike_the_one_between():
    first, other, last = named(probes(feature_net("LSTM")))["second call"].calls
    np.testing.assert_array_equal(first[0], last[0])
    assert not np.array_equal(first[0], other[0])


def test_a_stateful_model_is_called_with_its_batch_and_goes_on():
    stateful = stateful_net("LSTM", 3)
    found = named(probes(stateful))
    assert set(found) >= {"batch 3", "second call"}
    assert "batch 1" not in found
    probe = found["second call"]
    assert [call.rows for call in probe.calls] == [3, 3, 3]
    outputs = stateful.flat(probe.whole)[0]
    assert not np.allclose(outputs[:3], outputs[6:])  # the state has gone on


def test_every_kind_of_padding_has_a_probe_with_rows_of_several_lengths():
    model = Network(word_net(layer("LSTM")))
    found = named(probes(model))
    assert set(PADDING) <= set(found)
    kept = {name: found[name].whole[0] != 0 for name in PADDING}
    assert all(row.all() for row in (mask[-1] for mask in kept.values()))
    behind, front = kept["padding behind"], kept["padding in front"]
    assert behind[:-1, 0].all()
    assert not behind[:-1, -1].any()
    assert front[:-1, -1].all()
    assert not front[:-1, 0].any()
    assert len({int(mask.sum()) for mask in behind}) > 2
    assert not kept["all padding"][0].any()
    holes = kept["padding in holes"][:-1]
    assert all((~row[1:-1]).any() for row in holes)
    # each of them matters: without the mask the model answers otherwise
    unmasked = Network(word_net(layer("LSTM"), mask_zero=False))
    for name in PADDING:
        x = found[name].whole
        assert np.abs(model.flat(x)[0] - unmasked.flat(x)[0])[:-1].max() > 1e-3


def test_without_a_mask_there_is_no_padding():
    model = Network(word_net(layer("LSTM"), mask_zero=False))
    assert not set(PADDING) & set(named(probes(model)))


def test_a_mask_that_is_an_input_is_padded_itself_and_hides_nan():
    model = with_states()
    found = named(probes(model))
    assert set(PADDING) <= set(found)
    assert not found["all padding"].whole[1][0].any()
    probe = found["NaN under the mask"]
    assert np.isnan(probe.given[0][0]).any()
    assert not np.isnan(probe.calls[0][0]).any()
    y = model.flat(probe.given[0])[0]
    np.testing.assert_array_equal(y, model.flat(probe.calls[0])[0])


def test_initial_states_are_random_and_in_one_probe_zero():
    found = named(probes(with_states()))
    assert all(np.abs(x).min() > 0 for x in found["batch 5"].whole[2:])
    assert not any(x.any() for x in found["initial states of zeros"].whole[2:])


def test_the_first_rows_of_given_inputs_are_used():
    x = np.random.default_rng(5).normal(size=(9, 4, INPUTS)).astype(np.float32)
    found = named(probes(feature_net("LSTM"), x))
    np.testing.assert_array_equal(found["batch 5"].whole[0], x[:5])
    np.testing.assert_array_equal(found["2 step(s)"].whole[0], x[:5, :2])
    longer = found["8 step(s)"].whole[0]
    np.testing.assert_array_equal(longer[:, :4], x[:5])
    np.testing.assert_array_equal(longer[:, 4:], x[:5])


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"expected inputs of shape .*any, 3"):
        probes(feature_net("LSTM"), np.zeros((2, 4, 7)))


def test_the_same_seed_makes_the_same_probes():
    model = feature_net("LSTM")
    for a, b, c in zip(*(probes(model, seed=seed) for seed in (1, 1, 2)), strict=True):
        np.testing.assert_array_equal(a.whole[0], b.whole[0])
        assert not np.array_equal(a.whole[0], c.whole[0])
