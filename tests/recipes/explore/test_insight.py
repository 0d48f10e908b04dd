"""Insights agree with differences, with products written out, and with Keras."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    OUTPUTS,
    TIME,
    UNITS,
    VOCABULARY,
    ids,
    input_layer,
    layer,
    lstm_spec,
    mutated,
    spec,
)

from recipes.data import toy
from recipes.explore.insight import (
    from_the_end,
    gradient_norms,
    greatest_singular_value,
    jacobian_products,
    rank_correlation,
    running_predictions,
    unpadded,
    without_each_word,
    words_read,
)
from verify import DataError, Network, UnsupportedError
from verify.data.text import TextPipeline, Vocabulary
from verify.report.page import explore

STEP = 1e-6
CELLS = pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
WORDS = ("late", "flight", "thanks", "crew", "lost", "bag", "gate", "love", "wait")


def word_net(kind: str, *, mask_zero: bool = True, **options) -> Network:
    """Embedding, a recurrent layer called ``rnn``, Dense: random weights."""
    return Network(
        spec(
            input_layer(None, TIME, dtype="int32"),
            layer(
                "Embedding", "embedding", input_dim=VOCABULARY, output_dim=INPUTS,
                mask_zero=mask_zero,
            ),
            layer(kind, "rnn", units=UNITS, **options),
            layer("Dense", "dense", units=OUTPUTS, activation="softmax"),
        )
    )  # fmt: skip


def pipeline(padding: str = "post") -> TextPipeline:
    return TextPipeline(
        Vocabulary((*WORDS, "the")), TIME, padding, False, False, ("bad", "good")
    )


def moved(net: Network, word: int, feature: int, by: float) -> Network:
    """The network with one number of one word's vector changed."""
    embedding = net.spec["embedding"]
    table = embedding.weights["embeddings"].astype(np.float64)
    table[word, feature] += by
    return Network(net.spec.with_layer(embedding.with_weights(embeddings=table)))


def differences(net: Network, x: np.ndarray, output: int) -> np.ndarray:
    """`gradient_norms` of one row of different words, by central differences."""
    slopes = np.zeros((TIME, INPUTS))
    for t, word in enumerate(x[0]):
        for k in range(INPUTS):
            up, down = (
                moved(net, word, k, by).predict(x, dtype="float64")[0, output]
                for by in (STEP, -STEP)
            )
            slopes[t, k] = (up - down) / (2 * STEP)
    return np.linalg.norm(slopes, axis=1)


@CELLS
@pytest.mark.parametrize("mask_zero", [True, False])
def test_a_gradient_is_what_moving_a_word_changes(kind, mask_zero):
    net, x = word_net(kind, mask_zero=mask_zero), np.array([[3, 7, 1, 10, 5, 0]])
    found = gradient_norms(net, x, output=1)
    expected = differences(net, x, output=1)
    if mask_zero:
        expected[-1] = 0.0  # the padding does not count
    np.testing.assert_allclose(found, expected[None], rtol=0, atol=1e-8)
    assert found[0, :5].min() > 1e-5  # not by being zero


def test_a_gradient_of_another_network_is_another():
    x = np.array([[3, 7, 1, 10, 5, 2]])
    wrong = mutated(lstm_spec(), "gate order i,c,f,o")
    apart = gradient_norms(wrong, x, 1) - differences(Network(lstm_spec()), x, 1)
    assert np.abs(apart).max() > 1e-3


def last_state(net: Network, x: np.ndarray, t: int, states: dict) -> np.ndarray:
    """The last state, from given states before step t on: (batch, units)."""
    trace = net.trace(x, dtype="float64")["rnn"]
    more = {} if trace.mask is None else {"mask": trace.mask[:, t:]}
    more["initial_state"] = list(states.values())
    showing = net.spec["rnn"].with_options(return_state=True)
    net = Network(net.spec.with_layer(showing))
    _, h, *_ = net.call_layer("rnn", [trace.input[:, t:]], more, dtype="float64")
    return h


@CELLS
def test_a_product_of_jacobians_is_what_moving_a_state_changes(kind):
    net, x = word_net(kind), ids()
    trace = net.trace(x, dtype="float64")["rnn"]
    found = jacobian_products(net, x, "rnn")
    assert list(found) == [name for name in ("h", "c") if name in trace.values]
    for t in range(TIME):
        states = {
            name: trace[name][:, t - 1] if t else np.zeros((len(x), UNITS))
            for name in found
        }
        np.testing.assert_allclose(  # the states are where the layer has them
            last_state(net, x, t, states), trace.h[:, -1], rtol=0, atol=1e-12
        )
        for name in found:
            jacobian = np.zeros((len(x), UNITS, UNITS))
            for k in range(UNITS):
                by = STEP * np.eye(UNITS)[k]
                up, down = (
                    last_state(net, x, t, {**states, name: states[name] + d})
                    for d in (by, -by)
                )
                jacobian[:, :, k] = (up - down) / (2 * STEP)
            expected = np.linalg.norm(jacobian, 2, axis=(1, 2))
            np.testing.assert_allclose(found[name][:, t], expected, rtol=0, atol=1e-8)
    assert found["h"][0, 0] != found["h"][0, 1]


def test_a_product_of_jacobians_is_a_product():
    """Of a SimpleRNN without a mask, each factor is diag(1 - h ** 2) @ U.T."""
    net, x = word_net("SimpleRNN", mask_zero=False), ids()
    h = net.trace(x, dtype="float64")["rnn"].h
    u = net.spec["rnn"].weights["recurrent_kernel"].astype(np.float64)
    found = jacobian_products(net, x, "rnn")["h"]
    for transposed, right in ((u.T, True), (u, False)):
        for row in range(len(x)):
            product = np.eye(UNITS)
            for t in reversed(range(TIME)):
                product = product @ (np.diag(1 - h[row, t] ** 2) @ transposed)
                same = np.isclose(np.linalg.norm(product, 2), found[row, t], rtol=1e-9)
                assert right or t > TIME - 2 or not same
                assert same or not right


def test_masked_steps_add_no_factor():
    net, x = word_net("LSTM"), np.array([[4, 2, 9, 0, 0, 0], [0, 0, 0, 4, 2, 9]])
    found = jacobian_products(net, x, "rnn")
    alone = jacobian_products(net, x, "rnn")["c"][0, :3]
    np.testing.assert_allclose(found["c"][1, 3:], alone, rtol=1e-12)
    np.testing.assert_array_equal(found["c"][1, :3], found["c"][1, 3])
    np.testing.assert_array_equal(found["h"][0, 3:], 1.0)
    np.testing.assert_array_equal(found["c"][0, 3:], 0.0)
    unmasked = jacobian_products(word_net("LSTM", mask_zero=False), x, "rnn")
    assert np.abs(unmasked["c"] - found["c"]).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"return_sequences": True}, "Received: return_sequences=True"),
        ({"go_backwards": True}, "Received: go_backwards=True"),
    ],
)
def test_a_layer_of_another_kind_has_no_products(options, said):
    with pytest.raises(DataError, match=said):
        jacobian_products(word_net("LSTM", **options), ids(), "rnn")
    with pytest.raises(DataError, match="Received: Dense"):
        jacobian_products(word_net("LSTM"), ids(), "dense")


def test_an_activation_without_a_derivative_is_refused_by_name():
    net = word_net("SimpleRNN", activation="sparsemax")
    for found in (
        lambda: jacobian_products(net, ids(), "rnn"),
        lambda: gradient_norms(net, ids(), 1),
    ):
        with pytest.raises(UnsupportedError, match="activation=sparsemax"):
            found()


def test_leaving_a_word_out_is_predicting_the_shorter_text():
    net, reader = word_net("LSTM"), pipeline()
    text = "The lost bag, again: thanks crew!"  # one stop word, one unknown
    read, effects = without_each_word(net, reader, text)
    assert read == ["lost", "bag", "thanks", "crew"]
    whole = net.predict(reader.encode([text]), dtype="float64")[0]
    less = net.predict(reader.encode(["lost thanks crew"]), dtype="float64")[0]
    np.testing.assert_allclose(effects[1], whole - less, rtol=0, atol=1e-15)
    np.testing.assert_allclose(effects.sum(axis=1), 0, atol=1e-12)
    assert np.abs(effects).min() > 1e-6


@pytest.mark.parametrize("padding", ["post", "pre"])
def test_a_text_without_its_padding_is_the_same_to_a_model_that_masks_it(padding):
    reader = pipeline(padding)
    alone, padded = (
        f(["crew lost bag"]) for f in (lambda t: unpadded(reader, *t), reader.encode)
    )
    assert alone[0].tolist() == [[4, 5, 6]]
    for mask_zero in (True, False):
        net = word_net("GRU", mask_zero=mask_zero)
        with_padding = net.predict(padded, dtype="float64")
        apart = np.abs(net.predict(alone, dtype="float64") - with_padding).max()
        assert apart < 1e-15 if mask_zero else apart > 1e-3
    norms = gradient_norms(word_net("GRU"), padded, 0)
    there = slice(-3, None) if padding == "pre" else slice(3)
    expected = gradient_norms(word_net("GRU"), alone, 0)
    np.testing.assert_allclose(norms[:, there], expected, rtol=0, atol=1e-15)
    with pytest.raises(DataError, match="expected a word that the model knows"):
        unpadded(reader, "")


def test_the_greatest_singular_value_is_that_of_a_decomposition():
    matrices = np.random.default_rng(3).normal(size=(4, 2, 7, 7))
    matrices[0, 0] = 0.0
    found = greatest_singular_value(matrices)
    expected = np.linalg.svd(matrices, compute_uv=False)[..., 0]
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    radius = np.abs(np.linalg.eigvals(matrices)).max(axis=-1)
    assert np.abs(found - radius).max() > 0.1  # not the spectral radius


def test_of_a_long_text_the_words_that_are_read_are_the_last():
    reader = pipeline()
    text = " ".join(WORDS)
    assert words_read(reader, text) == list(WORDS[-TIME:])
    known = reader.vocabulary.words
    encoded = [known[k - 1] for k in reader.encode([text])[0]]
    assert words_read(reader, text) == encoded
    assert without_each_word(word_net("GRU"), reader, text)[0] == encoded


@pytest.mark.parametrize("text", ["", "the", "unheard of"])
def test_a_text_without_a_word_that_is_known_is_refused(text):
    with pytest.raises(DataError, match="expected a word that the model knows"):
        without_each_word(word_net("LSTM"), pipeline(), text)


@pytest.mark.parametrize("padding", ["post", "pre"])
def test_a_running_prediction_is_that_of_the_text_so_far(padding):
    reader = pipeline(padding)
    text = " ".join(WORDS[:TIME])
    so_far = [" ".join(WORDS[: k + 1]) for k in range(TIME)]
    for mask_zero in (True, False):
        net = word_net("LSTM", mask_zero=mask_zero)
        found = running_predictions(net, reader.encode([text]), padding)
        expected = net.predict(reader.encode(so_far), dtype="float64")
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-15)
        alone = running_predictions(net, reader.encode([text]))
        apart = np.abs(found - alone).max()
        assert apart < 1e-15 if mask_zero else apart > 1e-3


@CELLS
def test_the_answer_after_a_step_is_made_of_the_state_at_that_step(kind):
    net, x = word_net(kind), ids()
    found = running_predictions(net, x)
    dense = net.spec["dense"].weights
    logits = net.trace(x, dtype="float64")["rnn"].h @ dense["kernel"] + dense["bias"]
    e = np.exp(logits)
    np.testing.assert_allclose(found, e / e.sum(-1, keepdims=True), atol=1e-7)
    whole = net.predict(x, dtype="float64")
    np.testing.assert_allclose(found[:, -1], whole, rtol=0, atol=1e-15)
    forgotten = running_predictions(word_net(kind, mask_zero=False), x)
    assert np.abs(forgotten - found).max() > 1e-2  # a mask that is left out shows


def test_the_page_shows_the_same_running_predictions():
    from base64 import b64decode

    net, x = word_net("LSTM"), ids()
    packed = explore(net, x).data["running"]
    shown = np.frombuffer(b64decode(packed["data"]), np.dtype(packed["dtype"]))
    found = running_predictions(net, x)
    np.testing.assert_allclose(shown.reshape(packed["shape"]), found, atol=1e-6)


def test_rows_are_lined_up_at_their_last_word():
    x = np.array([[5, 6, 7, 0], [0, 1, 2, 3], [1, 0, 2, 0]])
    values = np.arange(12.0).reshape(3, 4)
    lined = from_the_end(values, x, 2)
    np.testing.assert_array_equal(lined, [[2, 1], [7, 6], [10, 8]])
    with pytest.raises(DataError, match=r"rows of 3 words or more\. Received: 2"):
        from_the_end(values, x, 3)
    with pytest.raises(DataError, match="expected one for each id"):
        from_the_end(values[:, 1:], x, 2)


def test_a_rank_correlation_is_that_of_the_orders():
    a = np.array([3.0, -1.0, 7.0, 7.0, 0.5])
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1)
    assert rank_correlation(a, -(a**3)) == pytest.approx(-1)
    b = [4, 2, 2, 5, 1]  # ranks 3 1 4.5 4.5 2 and 4 2.5 2.5 5 1
    assert rank_correlation(a, b) == pytest.approx(5.25 / 9.5)
    assert np.isnan(rank_correlation(a, np.ones(5)))
    assert np.isnan(rank_correlation([1], [2]))


def test_what_does_not_fit_is_said_in_a_line():
    net = word_net("LSTM")
    with pytest.raises(DataError, match=r"a class from 0 to 1\. Received: 2"):
        gradient_norms(net, ids(), OUTPUTS)
    every_step = word_net("LSTM", return_sequences=True)
    for found in (
        lambda: gradient_norms(every_step, ids(), 0),
        lambda: running_predictions(every_step, ids()),
    ):
        with pytest.raises(DataError, match="one output, \\(batch, classes\\)"):
            found()
    with pytest.raises(DataError, match="expected inputs of shape"):
        running_predictions(net, ids(time=TIME + 1))


def test_the_toy_network_has_its_insights_too():
    """One number a step, without an Embedding, padded in front."""
    reader = toy.pipeline()
    net = Network(
        spec(
            input_layer(None, 2, 1),
            layer("SimpleRNN", "rnn", units=1),
            layer("Dense", "dense", units=5, activation="softmax"),
        )
    )
    x = reader.encode(["this is"])
    assert gradient_norms(net, x, 2).shape == (1, 2)
    found = running_predictions(net, x, reader.padding)
    expected = net.predict(reader.encode(["this", "this is"]), dtype="float64")
    np.testing.assert_allclose(found[0], expected, atol=1e-15)
