"""The pages in a real browser: they compute, agree with NumPy, and can be used."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.nets import (
    VOCABULARY,
    input_layer,
    keras_sequential,
    layer,
    lstm_spec,
    spec,
)
from support.nets import ids as token_ids
from support.rules import NO_BROWSER
from support.thoroughness import some

import verify
from recipes.explore.page import text_rules
from verify import Network
from verify.data.text import TextPipeline, Vocabulary
from verify.forward.activations import ACTIVATIONS, resolve
from verify.report.page import Exploration, Sample, Summary, Table, explore, render
from verify.report.page.export import activation

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
READY = "#explorer[data-ready]"
PASSED = Summary("PASS", "a model", "the NumPy forward pass matches Keras")
TEXTS = ("thank you for the quick flight", "delayed again, two hours lost")

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(NO_BROWSER)
        pytest.skip(NO_BROWSER)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


class Visit:
    """A page that has been opened, and what went wrong on it."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.troubles: list[str] = []
        self.asked: list[str] = []
        width = options.pop("width", 1100)
        context = browser.new_context(
            viewport={"width": width, "height": 800}, **options
        )
        self.page = context.new_page()
        self.page.on("console", lambda m: self.troubles.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.troubles.append(f"error: {e}"))
        self.page.on("dialog", lambda d: (self.troubles.append("dialog"), d.dismiss()))
        self.page.on("request", lambda r: self.asked.append(r.url))
        context.route("**/*", self._only_files)
        self.page.goto(file.as_uri())
        self.page.wait_for_selector(READY, timeout=20_000)
        self.close = context.close

    def _only_files(self, route: Any) -> None:
        if route.request.url.startswith("file://"):
            route.continue_()
        else:
            route.abort()

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    @property
    def agreement(self) -> str:
        return self.text("#agreement")


@pytest.fixture
def visit(browser, tmp_path) -> Iterator[Any]:
    """Open the page of some content, and find nothing wrong with it at the end."""
    opened: list[Visit] = []

    def open_page(content: Exploration | str, **options: Any) -> Visit:
        page = content if isinstance(content, str) else render(PASSED, content)
        file = tmp_path / f"page{len(opened)}.html"
        file.write_text(page)
        opened.append(Visit(browser, file, **options))
        return opened[-1]

    yield open_page
    for one in opened:
        one.close()
        assert one.troubles == []
        assert len(one.asked) == 1, one.asked
        assert one.asked[0].startswith("file://")


def words_page(**lstm: Any) -> Exploration:
    """A masked LSTM over words, with two texts and classes."""
    pipeline = words_pipeline()
    net = Network(lstm_spec(**lstm))
    samples = [Sample(text, "positive", text) for text in TEXTS]
    return explore(
        net,
        pipeline.encode(TEXTS),
        samples=samples,
        classes=pipeline.classes,
        text=text_rules(pipeline),
    )


def words_pipeline(padding: Any = "post", feature_axis: bool = False) -> TextPipeline:
    vocabulary = Vocabulary(
        ("thank", "quick", "flight", "delayed", "hours", "lost", "two", "seat", "great",
         "constructor")
    )  # fmt: skip
    return TextPipeline(
        vocabulary, 6, padding, False, feature_axis, ("negative", "positive")
    )


# ---- the page computes what NumPy computes


def recurrent_models() -> Iterator[tuple[str, Any]]:
    """Small Keras models: every layer and option that the page says it computes."""
    from keras import Input, layers

    kinds = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}
    loops = list(product((False, True), repeat=3))  # sequences, backwards, zeroing
    loops_of_kinds = some(product(kinds.items(), loops), 3)
    for (name, kind), (sequences, backwards, zeroing) in loops_of_kinds:
        options = {
            "return_sequences": sequences,
            "go_backwards": backwards,
            "zero_output_for_mask": zeroing,
            "use_bias": not (sequences and backwards),
        }
        if name != "rnn":
            options["recurrent_activation"] = "hard_sigmoid" if zeroing else "sigmoid"
        if name == "gru":
            options["reset_after"] = not backwards
        yield (
            f"{name} {options}",
            [
                Input((None,), dtype="int32"),
                layers.Embedding(VOCABULARY, 3, mask_zero=True),
                kind(4, **options),
                layers.Dense(2, activation="softmax"),
            ],
        )
    two = {"return_sequences": True}
    yield "floats, stacked, GRU of either kind", [
        Input((7, 3)), layers.Masking(0.5), layers.GRU(5, **two), layers.Dropout(0.5),
        layers.GRU(4, reset_after=False, activation="softsign"), layers.Dense(1),
    ]  # fmt: skip
    yield "an output a step", [
        Input((7, 3)), layers.LSTM(5, **two), layers.LSTM(4, unroll=True, **two),
        layers.TimeDistributed(layers.Dense(3, activation="log_softmax")),
    ]  # fmt: skip
    yield "ids as numbers", [Input((6, 1)), layers.LSTM(2), layers.Dense(3, "softmax")]
    yield "encoder, decoder", [
        Input((None,), dtype="int32"), layers.Embedding(VOCABULARY, 3, mask_zero=True),
        layers.LSTM(4), layers.RepeatVector(5), layers.LSTM(3, **two), layers.Dense(2),
    ]  # fmt: skip
    yield "flatten", [
        Input((6, 3)), layers.SimpleRNN(4, **two), layers.Flatten(), layers.Dense(2),
    ]  # fmt: skip
    yield "flatten one step", [Input((1, 3)), layers.GRU(4, **two), layers.Flatten()]
    yield "float64", [
        Input((6, 3), dtype="float64"), layers.LSTM(4, dtype="float64"),
        layers.Dense(2, dtype="float64"),
    ]  # fmt: skip
    yield "a loop around a cell", [Input((6, 3)), layers.RNN(layers.GRUCell(4))]
    yield "activation layers", [
        Input((6, 3)), layers.LSTM(4, **two), layers.LeakyReLU(0.2), layers.ELU(0.7),
        layers.ReLU(max_value=0.3, negative_slope=0.1, threshold=0.05),
        layers.Activation("gelu"), layers.Softmax(),
    ]  # fmt: skip
    for pool, keep in product(
        (layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D), (False, True)
    ):
        yield f"{pool.__name__} {keep}", [
            Input((None,), dtype="int32"),
            layers.Embedding(VOCABULARY, 3, mask_zero="Average" in pool.__name__),
            layers.GRU(4, **two), pool(keepdims=keep),
        ]  # fmt: skip
    two_ways = product(("concat", "sum", "mul", "ave"), (False, True), (False, True))
    for merge, sequences, masked in some(two_ways, 3):
        inner = layers.LSTM if merge in ("concat", "mul") else layers.GRU
        inner = inner(4, return_sequences=sequences)
        yield f"bidirectional {merge} {sequences} {masked}", [
            Input((None,), dtype="int32"),
            layers.Embedding(VOCABULARY, 3, mask_zero=masked),
            layers.Bidirectional(inner, merge_mode=merge),
            layers.Dense(2),
        ]  # fmt: skip


def inputs_for(model: Any, seed: int) -> np.ndarray:
    shape = model.input_shape
    if model.inputs[0].dtype == "int32":
        return token_ids(seed)
    x = np.random.default_rng(seed).normal(size=(4, *shape[1:])).astype("float32")
    x[0, 3:], x[1, 0] = 0.5, 0.5
    return np.abs(np.rint(x * 3)) if shape[-1] == 1 else x


@pytest.mark.keras
def test_the_page_agrees_with_numpy_for_every_layer_and_option(visit):
    texts = list(recurrent_models())
    assert len(texts) > 20
    first = None
    for seed, (name, layers) in enumerate(texts):
        model = keras_sequential(layers, seed=seed)
        content = explore(verify.load(model), inputs_for(model, seed))
        assert content.data["refused"] == "", name
        none = ("encoder, decoder", "flatten", "GlobalMaxPooling1D True")
        none += ("GlobalAveragePooling1D True", "GlobalAveragePooling1D False")
        assert bool(content.data["answers"]) == (name not in none), name
        if first is None:
            first = visit(content).page
        found = first.evaluate(AGREES, dict(content.data))
        assert found["wrong"] == "", name
        assert found["compared"] >= 2 * len(content.data["samples"]), name
        assert 0 < found["most"] <= 1e-6, name


AGREES = """(data) => {
  // every row, every value of every layer, and the answers on the way
  const model = Engine.load(data.model);
  const inputs = Engine.unpacked(data.input.values);
  let most = 0, wrong = "", compared = 0;
  const hold = (name, ours, theirs) => {
    const apart = Engine.apart(ours, theirs);
    compared += 1;
    if (!(apart <= 1e-6)) wrong = `${name}: ${apart}`;
    most = Math.max(most, apart);
  };
  data.samples.forEach((_, k) => {
    const x = Engine.row(inputs, k);
    x.data = Float64Array.from(x.data);
    const done = Engine.evaluate(model, x);
    const of = (packed) => Engine.row(Engine.unpacked(packed), k).data;
    hold("output", done.output.data, of(data.output));
    for (const layer of data.layers) {
      const own = done.layers[layer.path];
      for (const [name, values] of Object.entries(layer.values))
        hold(`${layer.path} ${name}`, own.values[name], of(values));
      if (layer.mask) hold(`${layer.path} mask`, own.mask, of(layer.mask));
      else if (own.mask) wrong = `${layer.path}: a mask`;
    }
    if (data.running) {
      const running = Engine.running(model, x, done, data.prefixes);
      hold("answers on the way", running.data, of(data.running));
    }
  });
  return { most, wrong, compared };
}"""


def test_every_activation_of_keras_is_the_same_in_the_page(visit):
    page = visit(words_page()).page
    x = np.concatenate([np.linspace(-7, 7, 57), [-40.0, 40.0]])
    names = [
        *ACTIVATIONS, "keras2_hard_sigmoid", "leaky_relu(negative_slope=0.1)",
        "relu(negative_slope=0.3; threshold=0.5)", "relu(max_value=0.7)",
        "relu(negative_slope=0.3)", "elu(alpha=0.3)", "celu(alpha=0.6)",
        "gelu(approximate=true)", "soft_shrink(threshold=1.5)", "squareplus(b=1.0)",
    ]  # fmt: skip
    dense = spec(input_layer(None, 3), layer("Dense", "dense", units=2))["dense"]
    for name in names:
        values = x[:58] if name == "glu" else x
        ours = page.evaluate(
            "([given, x]) => [...Engine.activation(given)(Float64Array.from(x))]",
            [activation(dense, name), values.tolist()],
        )
        theirs = resolve(name)(values)
        apart = np.abs(np.array(ours) - theirs) / np.maximum(1, np.abs(theirs))
        assert apart.max() < 1e-13, name


def swapped(values: dict, units: int) -> dict:
    """A packed kernel or bias whose blocks f and c have changed places."""
    import base64

    raw = base64.b64decode(values["data"])
    array = np.frombuffer(raw, "<f4").reshape(values["shape"])
    i, f, c, o = np.split(array, 4, axis=-1)
    raw = np.concatenate([i, c, f, o], axis=-1).astype("<f4").tobytes()
    return {**values, "data": base64.b64encode(raw).decode()}


def swap_gates(layers: list[dict]) -> None:
    for key in ("kernel", "recurrent_kernel", "bias"):
        layers[1][key] = swapped(layers[1][key], 4)


MISTAKES = {
    "gates f and c change places": swap_gates,
    "the mask is ignored": lambda layers: layers[0].update(mask_zero=False),
    "a bias is dropped": lambda layers: layers[1].update(bias=None),
    "the last bias is dropped": lambda layers: layers[2].update(bias=None),
    "another sigmoid": lambda layers: layers[1].update(
        recurrent_activation={"name": "hard_sigmoid"}
    ),
    "it reads backwards": lambda layers: layers[1].update(go_backwards=True),
    "an unknown layer": lambda layers: layers[2].update(kind="Thing"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_page_makes_it_say_fail(mistake, visit):
    content = json.loads(json.dumps(dict(words_page().data)))
    MISTAKES[mistake](content["model"]["layers"])
    opened = visit(Exploration(content))
    assert opened.agreement.startswith("FAIL: this page does not compute what NumPy")
    assert opened.page.locator("#agreement.bad[role=alert]").count() == 1
    assert opened.page.is_disabled("#typed")
    # what is shown is then what NumPy recorded
    net = Network(lstm_spec())
    scores = net.predict(words_pipeline().encode(TEXTS[:1]))[0]
    assert f"{100 * scores.max():.1f} %" in opened.text(".bars")


def test_a_mistake_among_tiny_numbers_makes_it_say_fail(visit):
    net = Network(lstm_spec())
    lstm = net.spec["lstm"]
    tiny = {name: weight * 1e-7 for name, weight in lstm.weights.items()}
    net = Network(net.spec.with_layer(lstm.with_weights(**tiny)))
    content = json.loads(json.dumps(dict(explore(net, token_ids()).data)))
    assert visit(Exploration(content)).agreement.startswith("This page agrees")
    swap_gates(content["model"]["layers"])
    assert visit(Exploration(content)).agreement.startswith("FAIL: this page does not")


def test_a_page_that_does_not_compute_shows_what_numpy_recorded(visit):
    net = Network(
        spec(
            input_layer(None, 6, dtype="int32"),
            layer("Embedding", "embedding", input_dim=VOCABULARY, output_dim=3),
            layer("LSTM", "lstm", units=4, return_sequences=True),
            layer("Cropping1D", "crop", cropping=[1, 1]),
        )
    )
    opened = visit(explore(net, token_ids()))
    assert "NumPy recorded" in opened.agreement
    assert "Layer 'crop' (Cropping1D)" in opened.agreement
    assert opened.page.locator("#typed").count() == 0
    f = net.trace(token_ids(), dtype="float64")["lstm"].f[0, 5, 0]
    assert f"{f:.3f}" in opened.text(".card:nth-child(2) .readout")


# ---- text that is typed


def hard_texts() -> list[str]:
    """Texts that could be cleaned or cut otherwise than Python does."""
    return [
        "thank you for the quick flight", "", "   ", "the and of", "zzyzx, qwerty!",
        "THANK... quick???flight", "thank\nyou\tquick", "Thank\u00a0you\u2028flight",
        "\u0130stanbul flight \u212aelvin", "na\u00efve quick caf\u00e9",
        "\U0001f600 thank\U0001f680quick", "flight " * 40,
        "two hours lost two seat great",
        "two hours lost two seat great thank delayed", "__proto__ constructor toString",
        "don't thank us; isn't great", "<b>great</b>&amp;lost",
        "\u0661\u0662 two 2 two",
        "quick-flight_delayed", "GREAT\u0301 lost", "\ufb02ight flight", "0 1 2 3 two",
    ]  # fmt: skip


READ = """(texts) => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const model = Engine.load(data.model);
  const rules = Engine.textRules(data.text);
  return texts.map((text) => {
    const read = Engine.read(text, rules);
    const { output } = Engine.evaluate(model, read.x);
    return { x: [...read.x.data], output: [...output.data] };
  });
}"""


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("feature_axis", [False, True])
def test_typed_texts_are_read_and_answered_as_python_does(padding, feature_axis, visit):
    pipeline = words_pipeline(padding, feature_axis)
    net = Network(lstm_spec())
    if feature_axis:
        net = Network(
            spec(
                input_layer(None, 6, 1),
                layer("LSTM", "lstm", units=3),
                layer("Dense", "dense", units=2, activation="softmax"),
            )
        )
    content = explore(
        net, pipeline.encode(TEXTS), classes=pipeline.classes, text=text_rules(pipeline)
    )
    page = visit(content).page
    texts = hard_texts()
    x = pipeline.encode(texts)
    expected = net.predict(x, dtype="float64")
    for text, found, row, scores in zip(
        texts, page.evaluate(READ, texts), x, expected, strict=True
    ):
        assert found["x"] == row.ravel().tolist(), text
        assert np.abs(np.array(found["output"]) - scores).max() < 1e-12, text


def test_what_is_typed_is_shown_with_the_words_that_were_left_out(visit):
    opened = visit(words_page())
    opened.page.fill("#typed", "The GREAT flight was zzyzx")
    opened.page.wait_for_function("document.querySelectorAll('.chip.now').length === 1")
    opened.page.wait_for_selector("text=NumPy has not seen")
    about = opened.text(".about")
    assert "Stop words, left out: the, was" in about
    assert "Not in the vocabulary, left out: zzyzx" in about
    assert opened.page.locator(".chip").all_inner_texts()[:2] == ["great", "flight"]
    net = Network(lstm_spec())
    (scores,) = net.predict(words_pipeline().encode(["great flight"]))
    assert f"{100 * scores[0]:.1f} %" in opened.text(".bars")


@pytest.mark.parametrize("text", ["", "  ", "the of", "zzyzx"])
def test_a_text_without_words_has_no_answer(text, visit):
    """`rnn-recipe predict` refuses it, too."""
    opened = visit(words_page())
    opened.page.fill("#typed", "great flight")
    opened.page.wait_for_selector("text=NumPy has not seen")
    assert opened.page.is_visible(".bars")
    opened.page.fill("#typed", text)
    opened.page.wait_for_selector(".complaint:has-text('with words of the vocabulary')")
    assert not opened.page.is_visible(".bars")
    assert not opened.page.is_visible(".player")
    assert not opened.page.is_visible(".cards")
    about = opened.text(".about")
    assert "says" not in about
    assert ("left out: the, of" in about) == (text == "the of")
    opened.page.keyboard.press("Home")
    opened.page.fill("#typed", "seat")
    opened.page.wait_for_selector(".chip.now:has-text('seat')")
    assert opened.page.is_visible(".bars")
    assert not opened.page.is_visible(".complaint")


def unmasked(length: int) -> Network:
    """An LSTM over words that reads its padding."""
    return Network(
        spec(
            input_layer(None, length, dtype="int32"),
            layer("Embedding", "embedding", input_dim=VOCABULARY, output_dim=3),
            layer("LSTM", "lstm", units=4),
            layer("Dense", "dense", units=2, activation="softmax"),
        )
    )


def unmasked_page(length: int) -> Exploration:
    """Padding stands behind the words."""
    pipeline = dataclasses.replace(words_pipeline(), length=length)
    return explore(
        unmasked(length),
        pipeline.encode(TEXTS),
        samples=[Sample(text, "", text) for text in TEXTS],
        classes=pipeline.classes,
        text=text_rules(pipeline),
    )


def test_a_page_opens_at_the_last_word_not_in_the_padding(visit):
    opened = visit(unmasked_page(26))
    assert "step 3 of 26: flight" in opened.text(".where")
    assert "padding behind the text is read too" in opened.text(".answer")
    pipeline = dataclasses.replace(words_pipeline(), length=26)
    for k, text in ((0, "thank"), (1, "thank quick"), (2, TEXTS[0])):
        opened.page.evaluate(f"document.querySelectorAll('.chip')[{k}].click()")
        (scores,) = unmasked(26).predict(pipeline.encode([text]), dtype="float64")
        said = f"{pipeline.classes[scores.argmax()]}, {100 * scores.max():.1f} %."
        assert f"If the text ended here, the model would say {said}" == opened.text(
            ".ended"
        )
    opened.page.focus("#step")
    opened.page.keyboard.press("End")
    assert opened.page.locator(".ended").count() == 0
    opened.page.fill("#typed", "delayed two hours")
    opened.page.wait_for_selector("text=NumPy has not seen")
    assert "step 3 of 26: hours" in opened.text(".where")


@pytest.mark.parametrize("words", [2, 12, 26])
def test_on_a_phone_the_word_that_is_shown_can_be_seen(words, visit):
    opened = visit(unmasked_page(26), width=390)
    opened.page.fill("#typed", " ".join(["constructor", "delayed"] * (words // 2)))
    opened.page.wait_for_selector("text=NumPy has not seen")
    inside = """([chip, strip]) => {
      const [a, b] = [chip, strip].map((e) => e.getBoundingClientRect());
      return a.left >= b.left && a.right <= b.right;
    }"""
    chips = opened.page.locator(".chip").element_handles()
    strip = opened.page.locator(".strip").element_handle()
    opened.page.wait_for_function(inside, arg=[chips[words - 1], strip])
    assert "now" in chips[words - 1].get_attribute("class")
    opened.page.focus("#step")
    opened.page.keyboard.press("Home")
    opened.page.wait_for_function(inside, arg=[chips[0], strip])


def test_ids_can_be_changed_and_wrong_ones_are_refused(visit):
    net = Network(lstm_spec())
    opened = visit(explore(net, token_ids()))
    opened.page.fill("#typed", "1 2 3 4 5 6")
    opened.page.wait_for_selector("text=NumPy has not seen")
    (scores,) = net.predict(np.array([[1, 2, 3, 4, 5, 6]], np.int32))
    assert f"{100 * scores[0]:.1f} %" in opened.text(".bars")
    for wrong, said in {
        "1 2 3 4 5 11": "Expected whole numbers from 0 to 10. Received: 11",
        "1 2 x": "Received: x",
        "1 2 3": "Expected 6 numbers. Received: 3",
    }.items():
        opened.page.fill("#typed", wrong)
        opened.page.wait_for_selector(f".complaint:has-text('{said}')")


def test_markup_in_texts_and_names_is_text(visit):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    config = lstm_spec()
    renamed = spec(
        input_layer(None, 6, dtype="int32"),
        layer("Embedding", "e", input_dim=VOCABULARY, output_dim=3, mask_zero=True),
        layer("LSTM", evil, units=4, return_sequences=True),
        layer("GRU", "<b>gru</b>", units=3),
        layer("Dense", "d", units=2, activation="softmax"),
    )
    assert config
    pipeline = TextPipeline(
        Vocabulary(("<i>word</i>", *words_pipeline().vocabulary.words[1:])),
        6, "post", False, False, (evil, "<u>other</u>"),
    )  # fmt: skip
    content = explore(
        Network(renamed), np.array([[1, 2, 3, 0, 0, 0]], np.int32),
        samples=[Sample(evil, evil, evil)], classes=pipeline.classes,
        text=text_rules(pipeline),
    )  # fmt: skip
    opened = visit(render(Summary("PASS", evil, evil, {evil: evil}, (evil,)), content))
    assert opened.text("blockquote") == evil
    assert evil in opened.text("h1")
    assert opened.page.locator("#layer option").all_inner_texts()[0].startswith(evil)
    assert evil in opened.text(".bars")
    assert opened.page.locator(".chip").first.inner_text() == "<i>word</i>"
    opened.page.fill("#typed", evil)
    opened.page.wait_for_selector("text=left out: script, alert, 1, img")
    assert opened.page.locator("img, b, i, u").count() == 0
    assert opened.page.locator("script").count() == 2


# ---- how it is used


def test_the_heat_map_shows_the_numbers(visit):
    content = words_page()
    opened = visit(content)
    pixels = opened.page.evaluate(
        """() => {
          const canvas = document.querySelector(".plane canvas");
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          return [width, height, [...data]];
        }"""
    )
    width, height, data = pixels
    assert (width, height) == (6, 4)
    colours = np.array(data).reshape(height, width, 4)
    net = Network(lstm_spec())
    x = words_pipeline().encode(TEXTS[:1])
    i = net.trace(x, dtype="float64")["lstm"].i[0].T  # (units, time)
    seen = x[0] != 0
    assert (colours[:, seen, 3] == 255).all()
    assert (colours[:, ~seen, 3] < 255).all()  # masked steps are faint
    light = colours[:, seen, :3].sum(axis=-1).ravel()
    order = np.argsort(i[:, seen].ravel())
    assert (np.diff(light[order]) <= 3).all()  # the greater, the darker
    assert np.ptp(light) > 50


def test_everything_can_be_reached_and_moved_by_the_keyboard(visit):
    opened = visit(words_page())
    page = opened.page
    names = []
    for _ in range(25):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
              const e = document.activeElement;
              const style = getComputedStyle(e);
              const wide = parseFloat(style.outlineWidth) >= 2;
              return [e.id || e.className || e.tagName,
                      wide && style.outlineStyle !== "none",
                      Boolean(e.ariaLabel || e.labels?.length || e.textContent)];
            }"""
        )
        names.append(name)
        if name[0] == "unit":
            break
    reached = [name for name, _, _ in names]
    for wanted in ("SUMMARY", "sample", "typed", "turn", "step", "map", "unit"):
        assert wanted in reached, names
    assert reached.count("map") == 6
    assert all(visible and labelled for _, visible, labelled in names), names

    page.focus("#step")
    page.keyboard.press("Home")
    assert "step 1 of 6: thank" in opened.text(".where")
    page.keyboard.press("ArrowRight")
    assert "step 2 of 6: quick" in opened.text(".where")
    assert "step 2 of 6: quick" in page.text_content("#live")
    assert "If the text ended here" in page.text_content("#live")
    page.focus(".map")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    i = Network(lstm_spec()).trace(words_pipeline().encode(TEXTS[:1]), dtype="float64")
    assert (
        opened.text(".card .readout")
        == f"unit 2, \u201cflight\u201d: {i['lstm'].i[0, 2, 2]:.3f}"
    )
    assert page.text_content("#live") == f"i, {opened.text('.card .readout')}"
    page.keyboard.press("End")
    assert "step 6 of 6: padding masked: the layer skips it" in opened.text(".where")
    assert "masked: the state stays" in opened.text(".unit")
    page.focus("button[aria-label='previous word']")
    page.keyboard.press("Enter")
    assert "step 5 of 6" in opened.text(".where")
    page.focus("#sample")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("blockquote:has-text('delayed again')")


def test_pointing_and_tapping_name_the_value(visit):
    opened = visit(words_page())
    canvas = opened.page.locator(".plane canvas").nth(1)
    area = canvas.bounding_box()
    at = {"x": area["width"] / 12, "y": area["height"] * 7 / 8}  # step 0, unit 3
    canvas.hover(position=at)
    x = words_pipeline().encode(TEXTS[:1])
    f = Network(lstm_spec()).trace(x, dtype="float64")["lstm"].f[0, 0, 3]
    shown = f"unit 3, \u201cthank\u201d: {f:.3f}".replace("-", "\u2212")
    assert opened.text(".card:nth-child(2) .readout") == shown
    assert "step 3 of 6" in opened.text(".where")
    canvas.click(position=at)
    assert "step 1 of 6" in opened.text(".where")
    assert opened.page.input_value("#unit") == "3"


def test_layers_of_a_stack_and_both_directions_can_be_chosen(visit):
    net = Network(
        spec(
            input_layer(None, 6, 3),
            layer("LSTM", "first", units=5, return_sequences=True),
            layer("GRU", "second", units=4, go_backwards=True),
        )
    )
    rng = np.random.default_rng(0)
    opened = visit(explore(net, rng.normal(size=(2, 6, 3)).astype(np.float32)))
    assert opened.page.locator(".card").count() == 6
    opened.page.select_option("#layer", index=1)
    assert opened.page.locator(".card").count() == 4
    assert opened.text(".card h4 code") == "z"
    assert "reads backwards" in opened.text("#explorer")
    assert "input" in opened.text(".where")


CONTRAST = """() => {
  const channel = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) =>
    0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const ground = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const field = ["INPUT", "SELECT"].includes(e.tagName) && e.type !== "range";
    if ((!own && !field) || e.disabled || !e.getClientRects().length) continue;
    if (["SCRIPT", "STYLE", "OPTION"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const ink = parse(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
    const name = [e.tagName, e.getAttribute("class"), e.textContent.slice(0, 30)];
    found.push([(a + 0.05) / (b + 0.05), name.join(" ")]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(scheme, visit):
    good = json.loads(json.dumps(dict(words_page().data)))
    bad = json.loads(json.dumps(good))
    bad["model"]["layers"][1]["bias"] = None
    for content, verdict in ((good, "PASS"), (bad, "FAIL"), (good, "INCONCLUSIVE")):
        page = render(
            Summary(verdict, "a model", "why", {"a": "b"}, ("line",), (), ("careful",)),
            Exploration(content),
        )
        opened = visit(page, color_scheme=scheme)
        opened.page.click("summary")
        if content is good:
            opened.page.fill("#typed", "zzyzx the seat")
            opened.page.wait_for_selector("text=left out: zzyzx")
        found = opened.page.evaluate(CONTRAST)
        assert len(found) > 40
        assert [one for one in found if one[0] < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_and_never_sideways(scheme, visit):
    rng = np.random.default_rng(0)
    bi = Network(spec(input_layer(None, 40, 9), layer("LSTM", "l", units=30)))
    wide = explore(bi, rng.normal(size=(2, 40, 9)).astype(np.float32))
    long_name = "x" * 300
    for content in (
        render(PASSED, words_page()),
        render(Summary("PASS", long_name, long_name, {long_name: long_name}), wide),
    ):
        opened = visit(content, width=360, color_scheme=scheme)
        size = opened.page.evaluate("document.documentElement.scrollWidth")
        assert size <= 360
    inside = opened.page.evaluate(
        "(() => { const m = document.querySelector('.map'); "
        "return [m.scrollWidth, m.clientWidth]; })()"
    )
    assert inside[0] > inside[1]  # the heat map scrolls in its own box


TABLE = Table(
    "Layers",
    ("layer", "class", "float64 |diff|", "predict |diff|", "allowed", ""),
    [
        ("embedding", "Embedding", "0", "0", "1e-37", "ok"),
        (
            "a_layer_with_a_name_that_is_long_for_a_phone",
            "LSTM", "5.2e-18", "3.6e-09", "1.1e-07", "FAIL",
        ),
    ],
)  # fmt: skip


@pytest.mark.parametrize("width", [360, 390, 844, 1100])
def test_a_table_can_be_read_without_scrolling(width, visit):
    summary = Summary("PASS", "a model", "why", {}, (), (TABLE,))
    opened = visit(render(summary, words_page()), width=width)
    overflow = opened.page.evaluate(
        "(() => { const e = document.querySelector('.wide'); "
        "return [e.scrollWidth, e.clientWidth]; })()"
    )
    assert overflow[0] <= overflow[1]
    names = opened.page.evaluate(
        "[...document.querySelectorAll('.wide tr:last-child td')].map("
        "(e) => getComputedStyle(e, '::before').content)"
    )
    if width < 1000:
        assert names == ["none", *(f'"{name}"' for name in TABLE.headings[1:])]
    else:
        assert set(names) == {"none"}
    assert opened.page.is_visible("text=a_layer_with_a_name")
    assert opened.page.is_visible("td:has-text('3.6e-09')")


def test_motion_is_left_out_where_it_is_not_wanted(visit):
    moving = visit(words_page(), reduced_motion="no-preference")
    still = visit(words_page(), reduced_motion="reduce")
    duration = "getComputedStyle(document.querySelector('.fill')).transitionDuration"
    assert moving.page.evaluate(duration) != "0s"
    assert still.page.evaluate(duration) == "0s"


def test_a_print_has_the_pictures_and_not_the_controls(visit):
    opened = visit(words_page(), color_scheme="dark")
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert not opened.page.is_visible("#sample")
    assert opened.page.is_visible(".plane canvas")
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"


def test_a_thousand_steps_are_shown_and_stepped_through(visit):
    net = Network(
        spec(
            input_layer(None, 1000, 3),
            layer("LSTM", "lstm", units=16),
            layer("Dense", "dense", units=2),
        )
    )
    lstm = net.spec["lstm"]
    calm = lstm.with_weights(recurrent_kernel=lstm.weights["recurrent_kernel"] * 0.2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 1000, 3)).astype(np.float32)
    opened = visit(explore(Network(net.spec.with_layer(calm)), x))
    assert opened.agreement.startswith("This page agrees with NumPy on 3 rows")
    opened.page.focus("#step")
    opened.page.keyboard.press("Home")
    assert "step 1 of 1000" in opened.text(".where")
    opened.page.keyboard.press("End")
    assert "step 1000 of 1000" in opened.text(".where")


def test_a_decoder_says_its_answer_step_by_step(visit):
    net = Network(
        spec(
            input_layer(None, 3, dtype="int32"),
            layer("Embedding", "e", input_dim=VOCABULARY, output_dim=4),
            layer("SimpleRNN", "reads", units=4),
            layer("RepeatVector", "repeat", n=5),
            layer("GRU", "says", units=4, return_sequences=True),
            layer("Dense", "d", units=4, activation="softmax"),
        )
    )
    x = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    names = ("one", "two", "three", "four")
    opened = visit(explore(net, x, classes=names))
    said = [names[k] for k in net.predict(x)[0].argmax(axis=-1)]
    assert f"The model says {' '.join(said)}" in opened.text(".about")
    assert "There is no answer on the way" in opened.text(".answer")
    opened.page.select_option("#layer", index=1)
    assert "steps of this layer are its own" in opened.text("#explorer")
    for t, name in enumerate(said):
        opened.page.evaluate(
            f"(() => {{ const s = document.querySelector('#step'); s.value = {t}; "
            "s.dispatchEvent(new Event('input')); })()"
        )
        assert f"step {t + 1} of 5" in opened.text(".where")
        assert opened.text(".bars .winner .name") == name


# ---- a port beside NumPy


@pytest.mark.parametrize("width", [1100, 390])
def test_a_port_stands_beside_numpy_and_the_first_difference_is_marked(visit, width):
    from verify.checks.exploring import explored_port
    from verify.data.sources import Arrays

    net, x = Network(lstm_spec()), token_ids(batch=12)
    port = {
        "lstm/f": net.trace(x)["lstm"].f.copy(),
        "lstm/h@1": net.trace(x)["lstm"].h[:, 1],
    }
    port["lstm/f"][9, 4, 2] += 0.25
    report = verify.compare_outputs(net, x, port, diagnosis_seconds=0)
    shown = visit(
        report.to_html(explored_port(net, Arrays(x), port, report)),
        width=width,
        color_scheme="dark" if width < 1000 else "light",
    )
    page = shown.page
    assert "gate f, time step 4 of 0..5, row 9, unit 2" in shown.text("#first")
    assert "that is step 5" in shown.text("#first")
    assert page.input_value("#sample") == "7"
    assert shown.text(".where").startswith("step 5 of 6")
    assert page.input_value("#unit") == "2"
    pairs = page.query_selector_all(".pair")
    assert [pair.query_selector("h4").inner_text() for pair in pairs] == [
        "f forget gate, NumPy\u2019s", "h hidden value, NumPy\u2019s",
    ]  # fmt: skip
    ours, theirs = (one.inner_text() for one in pairs[0].query_selector_all(".readout"))
    difference = float(theirs.split(": ")[1]) - float(ours.split(": ")[1])
    assert difference == pytest.approx(0.25, abs=1e-5)
    boxes = [card.bounding_box() for card in pairs[0].query_selector_all(".card")]
    beside = boxes[0]["y"] == boxes[1]["y"]
    assert beside is (width > 1000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # a number such as 3.4e+05 is in one line, beside its name
    cells = page.query_selector_all(".wide td:not(:first-child)")
    assert any("e+0" in cell.inner_text() for cell in cells)
    assert max(cell.bounding_box()["height"] for cell in cells) < 40
    assert len(page.query_selector_all(".first")) == 2  # in both pictures
    assert "not given" in pairs[1].query_selector_all(".readout")[1].inner_text()
    page.select_option("#sample", "0")
    assert page.query_selector_all(".first") == []
    page.click("#first button")
    assert page.input_value("#sample") == "7"
    assert shown.text(".where").startswith("step 5 of 6")
