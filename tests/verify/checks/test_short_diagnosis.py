"""A mistake in long windows is sought in shorter ones, and named as there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.any_layer import chain
from support.nets import layer

from verify import Network, compare_outputs
from verify.checks import _short_diagnosis as short
from verify.checks import shorter_windows
from verify.mistakes.catalogue import catalogue

TIME, FEW = 220, 3000


def net_of(*layers, time=TIME) -> Network:
    return Network(chain([(None, time, 3)], *layers, seed=2))


def loop(kind, name="a", sequences=True):
    return layer(kind, name, units=4, return_sequences=sequences)


def both(kind):
    return layer("Bidirectional", "both", layer=loop(kind))


DENSE = layer("Dense", "d", units=2)


def given(rows=4, time=TIME):
    return np.random.default_rng(5).normal(size=(rows, time, 3)).astype(np.float32)


def planted(net, name):
    return next(m for m in catalogue(net.spec) if m.name == name)


@pytest.fixture(autouse=True)
def few_numbers(monkeypatch):
    monkeypatch.setattr(short, "DIAGNOSIS_NUMBERS", FEW)
    monkeypatch.setattr(short, "DIAGNOSIS_STEPS", 100)


@pytest.fixture
def evaluated(monkeypatch):
    """How many steps the models have that are evaluated, with how often."""
    seen = {}
    flat = Network.flat

    def counted(self, x, *args, **kwargs):
        steps = x[0].shape[1]
        seen[steps] = seen.get(steps, 0) + 1
        return flat(self, x, *args, **kwargs)

    monkeypatch.setattr(Network, "flat", counted)
    return seen


def some_mistake(net, kind):
    names = [m.name for m in catalogue(net.spec) if m.layer == "a"]
    return next(name for name in names if "swapped" in name or "gate" in name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["GRU", pytest.param("LSTM", marks=pytest.mark.thorough)]
)
def test_a_port_is_searched_on_its_first_steps(kind, evaluated):
    net = net_of(loop(kind), loop(kind, "b"), DENSE)
    name = some_mistake(net, kind)
    x = given()
    y = planted(net, name).evaluate(x)
    evaluated.clear()
    found = compare_outputs(net, x, [a.astype(np.float32) for a in y]).diagnosis
    assert name in [e.mistake for e in found.explanations]
    window = min(evaluated)
    assert window < TIME / 2
    # the comparison, the noise floor and the confirmation need whole windows
    assert evaluated[TIME] < 16


@pytest.mark.slow
def test_a_mistake_that_shows_late_is_sought_where_it_shows(evaluated):
    net = net_of(loop("GRU"), DENSE)
    x = given()
    x[:, :110] = 0
    weights = {"bias": np.zeros_like(net.spec["a"].weights["bias"])}
    net = Network(net.spec.with_layer(net.spec["a"].with_weights(**weights)))
    name = some_mistake(net, "GRU")
    y = planted(net, name).evaluate(x)
    found = compare_outputs(net, x, [a.astype(np.float32) for a in y]).diagnosis
    assert name in [e.mistake for e in found.explanations]


@pytest.mark.slow
def test_what_explains_the_first_steps_alone_is_not_said():
    net = net_of(loop("GRU"), DENSE)
    name = some_mistake(net, "GRU")
    x = given()
    (y,) = planted(net, name).evaluate(x)
    y[:, TIME - 20 :] += 0.3
    found = compare_outputs(net, x, [y.astype(np.float32)], diagnosis_seconds=1)
    assert name not in [e.mistake for e in found.diagnosis.explanations]


def test_layers_that_look_ahead_are_searched_where_what_is_beyond_has_faded(evaluated):
    net = net_of(both("GRU"), DENSE, time=300)
    x = given(rows=2, time=300)
    mutant = next(m for m in catalogue(net.spec) if m.layer.startswith("both"))
    y = mutant.evaluate(x)
    evaluated.clear()
    found = compare_outputs(net, x, [a.astype(np.float32) for a in y]).diagnosis
    assert mutant.name in [e.mistake for e in found.explanations]
    assert "some steps" not in str(found)
    assert min(evaluated) == 100
    assert evaluated[300] < 16


def test_a_model_of_fewer_outputs_is_the_same_at_the_steps_that_are_left():
    net = net_of(loop("GRU"), both("GRU"), DENSE)
    x = net.prepare(given())
    cut = shorter_windows.some_steps(net, x, 100, last=True)
    assert np.array_equal(cut.x[0], x[0][:, -100:])
    seen = cut.showing([slice(-60, None)])
    (a,), (b,) = cut.net.flat(cut.x), seen.net.flat(cut.x)
    assert b.shape == (4, 60, 2)
    assert np.array_equal(a[:, -60:], b)
    assert seen.net.output_names == net.output_names
    whole = Network(seen.lengthened(seen.net.spec)).flat(x)
    assert np.array_equal(whole, net.flat(x))
    for mutant in catalogue(seen.net.spec):
        assert "some steps" not in f"{mutant.layer} {mutant.explanation}"


def test_what_was_not_found_in_the_first_steps_says_which_were_not_searched():
    net = net_of(loop("GRU"), DENSE)
    x = given()
    y = net.predict(x) + np.sin(np.arange(TIME * 2)).reshape(1, TIME, 2)
    found = compare_outputs(net, x, y.astype(np.float32), diagnosis_seconds=0.5)
    assert not found.diagnosis.explanations
    assert "time steps 100 to 219" in found.diagnosis.unsearched


def test_the_last_output_of_a_classifier_is_explained_by_its_last_steps(evaluated):
    net = net_of(layer("LSTM", "a", units=4), DENSE)
    x = given(rows=2)
    name = some_mistake(net, "LSTM")
    y = planted(net, name).evaluate(x)
    evaluated.clear()
    found = compare_outputs(net, x, [a.astype(np.float32) for a in y]).diagnosis
    assert name in [e.mistake for e in found.explanations]
    assert min(evaluated) == 100
    assert evaluated[TIME] < 16


def test_what_is_wrong_in_the_last_steps_alone_is_sought_there(monkeypatch):
    monkeypatch.setattr(short, "DIAGNOSIS_STEPS", 200)
    net = net_of(loop("LSTM"), DENSE, time=440)
    x = given(rows=2, time=440)
    y = net.predict(x)
    y[:, -20:] += 0.3
    found = compare_outputs(net, x, y, diagnosis_seconds=0.2).diagnosis
    assert not found.explanations
    assert any(text.startswith("time steps 0 to ") for text in found.unsearched)
    assert found.hints[0].startswith("the difference is in steps 420 to 439 of 440")


def test_what_was_not_found_in_the_last_steps_says_so_too():
    net = net_of(layer("LSTM", "a", units=4), DENSE)
    x = given(rows=2)
    wrong = np.random.default_rng(0).random((2, 2)).astype(np.float32)
    found = compare_outputs(net, x, wrong, diagnosis_seconds=0.5).diagnosis
    assert not found.explanations
    assert "time steps 0 to 119" in found.unsearched


def test_a_model_whose_outputs_depend_on_all_steps_is_searched_whole():
    pooled = layer("GlobalAveragePooling1D", "mean")
    net = net_of(loop("GRU"), pooled)
    x = net.prepare(given())
    observed = net.flat(x)
    never = lambda *arguments: pytest.fail("searched on the first steps")  # noqa: E731
    allowed = [np.full(4, 1e-6)]
    arguments = (net, x, observed, allowed, 1.0, never, np.arange(4))
    assert short.diagnosed_on_some_steps(*arguments) is None


def test_few_rows_are_searched_where_windows_are_long(monkeypatch):
    net, x = net_of(both("GRU"), DENSE), given(rows=9)
    one = net.prepare(x[:1])
    differing = np.array([7, 3, 0])
    assert short.few_rows(net, one, 9, differing) is None
    monkeypatch.setattr(short, "WHOLE_NUMBERS", 1)
    assert short.few_rows(net, one, 9, differing).tolist() == [0, 7]
    assert short.few_rows(net, one, 2, differing) is None
    monkeypatch.setattr(short, "DIAGNOSIS_NUMBERS", 1e9)
    assert short.few_rows(net, one, 9, differing) is None


def test_two_models_are_cut_alike_where_they_still_differ():
    net = net_of(both("GRU"), DENSE)
    x = net.prepare(given(rows=1))
    mutant = next(m for m in catalogue(net.spec) if m.layer.startswith("both"))
    other = Network(mutant.model)
    pair = short.shorter_pair(net, other, x, "both", 1e-10)
    steps = pair.x[0].shape[1]
    assert steps < TIME / 2
    np.testing.assert_array_equal(pair.x[0][0], x[0][0, :steps])
    np.testing.assert_array_equal(pair.x[0][1], x[0][0, -steps:])
    assert pair.own.spec.input_shape == (None, steps, 3)
    assert short.shorter_pair(net, net, x, "both", 1e-10) is None
    assert short.shorter_pair(net, other, x, None, 1e9) is None
    spec = replace(net.spec)
    assert short.shorter_pair(Network(spec), other, x.take([0]), "no", 0.0) is None
