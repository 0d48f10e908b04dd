# %% [markdown]
# # 11. Tags and phrases
#
# **Goal.** You use a network that answers at every word: it tags words, it writes a phrase, it writes
# sentences of its own. You measure how well it knows what comes next, and choose how daring it is.
#
# **You need** [notebook 2](02_lstm_from_scratch.ipynb), and what an Embedding is from
# [notebook 10](10_order_and_distance.ipynb). The notebook takes about a minute on two cores.

# %%
# Where the package is missing, as in Colab, this installs it from the project's folder:
# the one above, or one that lies here. notebooks/README.md says how to bring it there.
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("recipes") is None:
    places = [Path(".."), Path("."), *Path(".").glob("*/")]
    found = [p.resolve() for p in places if (p / "recipes" / "toy_rnn.py").exists()]
    assert found, "The project's folder is not here: see notebooks/README.md"
    both = [str(found[0] / "packages" / "keras-rnn-verify"), str(found[0])]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *both], check=True)

# The notebooks train on TensorFlow, as the chapter does. Without this line the recipes
# train on JAX, which is faster and ends with other weights.
os.environ["KERAS_BACKEND"] = "tensorflow"
# %matplotlib inline

# %% [markdown]
# ## Five lines first
#
# A tag for every word: noun, verb and so on. Some words have two, such as "can".

# %%
import os

from recipes import many_to_many
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions

QUICK = "QUICK" in os.environ  # the project's own tests train less
config = many_to_many.Config(epochs=2 if QUICK else 10)
result = many_to_many.run(config, RunOptions(RunFolder("runs/many_to_many")))

# %% [markdown]
# ## The same word, another state
#
# In "the can can hold the fish" the first "can" is a noun and the second an auxiliary. The Embedding gives
# both the same vector. What differs is the state that the words before have left, and so the state after:

# %%
import numpy as np

import verify
from recipes import plots

folder = RunFolder("runs/many_to_many")
net, pipeline = verify.load(folder / "model.keras"), folder.read_pipeline()
text = "the can can hold the fish"
words = text.split()
x = pipeline.encode([text])
trace = net.trace(x, dtype="float64")
first, second = 1, 2
vectors, states = trace["embedding"].output[0], trace["lstm"].h[0]
print("vectors differ by", np.linalg.norm(vectors[first] - vectors[second]))
print("states differ by ", np.linalg.norm(states[first] - states[second]).round(3))
assert (vectors[first] == vectors[second]).all()
assert np.linalg.norm(states[first] - states[second]) > 0.1

# %%
plots.gates(
    trace["lstm"],
    [*words, *["(padding)"] * (pipeline.length - len(words))],
    "Two times 'can': what the LSTM makes of them",
    names=["h"],
)

# %% [markdown]
# `return_sequences=True` is what hands over all these states. The Dense layer behind is applied to each of
# them by itself, with the same weights at every step:

# %%
dense = net.spec["tag"].weights
kernel, bias = (dense[name].astype(float) for name in ("kernel", "bias"))
for t in range(len(words)):
    logits = states[t] @ kernel + bias
    p = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(p, trace["tag"].output[0, t], atol=1e-12)
    print(f"{words[t]:6} {pipeline.classes[p.argmax()]:12} {p.max():.3f}")

# %% [markdown]
# ## Both directions
#
# A tag is given when the word is read. That is soon enough if only the words *before* it count. Here is a
# task where it is not: in "the cat is faster than the dog", mark the animal that is ahead. At "cat" nobody
# who reads from left to right can know.
#
# A **Bidirectional** layer is two layers: one reads forwards, one backwards, and at each word both states
# stand side by side.

# %%
from recipes.data.grammar import comparisons
from recipes.run import training
from verify.data.text import Vocabulary

sentences = comparisons(seed=42)
split = [text.split() for text in sentences.texts]
vocabulary = Vocabulary.of(split)
ids = np.array(vocabulary.encode(split))
ahead = np.array(
    [
        [word == answer for word in some]
        for some, answer in zip(split, sentences.answers, strict=True)
    ]
).astype("float32")  # (sentences, words): 1 at the animal that is ahead
(x_train, x_test), (y_train, y_test) = sentences.split(ids), sentences.split(ahead)
print(split[1], ahead[1])

keras = training.start(seed=42)
layers = keras.layers
one_way = layers.SimpleRNN(24, return_sequences=True)
both_ways = layers.Bidirectional(layers.SimpleRNN(12, return_sequences=True))
marked, markers = {}, {}
for name, layer in (("forwards", one_way), ("both directions", both_ways)):
    marker = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            layers.Embedding(vocabulary.size, 16),
            layer,
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    marker.compile(keras.optimizers.Adam(0.005), "binary_crossentropy")
    marker.fit(x_train, y_train[..., None], epochs=1 if QUICK else 15, verbose=0)
    markers[name] = verify.load(marker)
    p = markers[name].predict(x_test)[..., 0]
    marked[name] = [
        float(((p[:, t] > 0.5) == (y_test[:, t] > 0.5)).mean()) for t in (1, 6)
    ]
    at_first, at_last = marked[name]
    print(
        f"{name:16} right at the first animal {at_first:.3f}, at the last {at_last:.3f}"
    )

# %%
if not QUICK:
    (blind, late), (sees, _) = marked["forwards"], marked["both directions"]
    assert blind < 0.65
    assert late > 0.95
    assert sees > 0.95

# %% [markdown]
# Forwards, the first animal is a guess, and the last one is right. In both directions both are right, with
# half of the units in each. The price: such a layer cannot answer while somebody is still writing, since it
# begins at the end.
#
# Is it really nothing but two layers? The same by hand: the backward layer reads the reversed words, and what
# it says is turned round again.

# %%
embedding = marker.layers[0]
given = embedding(x_test[:2])
forwards = np.asarray(both_ways.forward_layer(given))
reversed_words = np.asarray(given)[:, ::-1]
backwards = keras.layers.SimpleRNN(12, return_sequences=True)
backwards.build(given.shape)
backwards.set_weights(both_ways.backward_layer.get_weights())
turned_round = np.asarray(backwards(reversed_words))[:, ::-1]
side_by_side = np.concatenate([forwards, turned_round], axis=-1)
np.testing.assert_allclose(side_by_side, np.asarray(both_ways(given)), atol=1e-6)
print(side_by_side.shape, "= batch, words, 12 + 12 units")

# %% [markdown]
# ## One word in, a phrase out
#
# The other way round: one of twelve topics goes in, and the LSTM writes a reply, one word at each step. The
# topic is handed to it at every step, so only its state can tell how far the phrase has come.

# %%
from recipes import one_to_many

said = one_to_many.run(
    one_to_many.Config(epochs=60 if QUICK else 400),
    RunOptions(RunFolder("runs/one_to_many")),
)

# %% [markdown]
# Which word is likeliest is one question; how sure the network was of the right one is another.
# **Perplexity** is the usual measure: take the mean of $-\log p$ of the right words, and the exponential of
# it. It is the number of equally likely words among which the network seems to choose. 1 is certainty.

# %%


def perplexity(probabilities):
    """Return the perplexity, given the probabilities of the right words."""
    return float(np.exp(-np.log(probabilities).mean()))


writer = verify.load("runs/one_to_many/model.keras")
topics = RunFolder("runs/one_to_many").read_pipeline().encode(list(one_to_many.REPLIES))
labels = one_to_many.targets()  # (topics, time)
p = writer.predict(topics, dtype="float64")  # (topics, time, words)
of_right = np.take_along_axis(p, labels[..., None], axis=-1)[..., 0]
counts = np.stack([np.bincount(column, minlength=p.shape[-1]) for column in labels.T])
by_place = counts[np.arange(labels.shape[1]), labels] / len(labels)
found = {
    "every word alike": p.shape[-1],
    "words of each position, as often as they occur": perplexity(by_place),
    "the LSTM": perplexity(of_right),
}
for name, value in found.items():
    print(f"{name:48} {value:6.2f}")
assert abs(perplexity(np.full(7, 1 / 42)) - 42) < 1e-9
assert found["the LSTM"] < found["every word alike"]
if not QUICK:
    assert found["the LSTM"] < 1.05

# %% [markdown]
# ## Sentences of its own
#
# A **language model** says at each word which one comes next. Fed with its own answer, it writes. Ours learns
# from the tagged sentences, such as "the can can hold the fish" (the words, not the tags). There is a word
# in front of the first one and one behind the last.

# %%
from recipes.data.grammar import SENTENCE_FORMS, WORDS_BY_TAG, tagged

START, END = "(start)", "(end)"
corpus = tagged(seed=42)
split = [text.split() for text in corpus.texts]
lexicon = Vocabulary((START, END, *sorted({word for some in split for word in some})))
TIME = max(map(len, split)) + 1


def rows(sentences):
    """(sentences, TIME): what is read and, one step on, what comes next; 0 is padding."""
    read, following = np.zeros((2, len(sentences), TIME), dtype="int32")
    for k, some in enumerate(sentences):
        (known,) = lexicon.encode([[START, *some, END]])
        read[k, : len(known) - 1], following[k, : len(known) - 1] = (
            known[:-1],
            known[1:],
        )
    return read, following


test = np.array(corpus.test)
learnt = rows([some for some, is_test in zip(split, test, strict=True) if not is_test])
held = rows([some for some, is_test in zip(split, test, strict=True) if is_test])
print(lexicon.words[:4], "...;", lexicon.size - 1, "words")
print(learnt[0][0], "->", learnt[1][0])

keras = training.start(seed=42)
language = keras.Sequential(
    [
        keras.Input((TIME,), dtype="int32"),
        layers.Embedding(lexicon.size, 16, mask_zero=True),
        layers.GRU(32, return_sequences=True),
        layers.Dense(lexicon.size, activation="softmax"),
    ]
)
language.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
language.fit(
    *learnt,
    sample_weight=(learnt[1] != 0).astype("float32"),
    batch_size=32,
    epochs=2 if QUICK else 12,
    verbose=0,
)
model = verify.load(language)

# %% [markdown]
# How well does it know new sentences? We know the grammar that made them, so we know the best possible answer,
# too: the probability that the grammar itself gives to each sentence.

# %%


def tags_fit(some, form):
    """Return whether every word may have its tag."""
    tags = form.split()
    return len(tags) == len(some) and all(
        word in WORDS_BY_TAG[tag] for word, tag in zip(some, tags, strict=True)
    )


def by_grammar(some):
    """The probability of a sentence: a form, then a word for each tag."""
    return sum(
        np.prod([1 / len(WORDS_BY_TAG[tag]) for tag in form.split()])
        / len(SENTENCE_FORMS)
        for form in SENTENCE_FORMS
        if tags_fit(some, form)
    )


read, following = held
p = model.predict(read, dtype="float64")
of_next = np.take_along_axis(p, following[..., None], axis=-1)[..., 0][following != 0]
new = [some for some, is_test in zip(split, test, strict=True) if is_test]
best = np.exp(
    -sum(np.log(by_grammar(some)) for some in new) / sum(len(s) + 1 for s in new)
)
frequent = np.bincount(learnt[1][learnt[1] != 0], minlength=lexicon.size)
unordered = (frequent / frequent.sum())[following[following != 0]]
print(f"every word alike            {lexicon.size - 1:6.2f}")
print(f"words as often as they occur{perplexity(unordered):6.2f}")
print(f"the network                 {perplexity(of_next):6.2f}")
print(f"the grammar itself, about   {best:6.2f}")
assert perplexity(of_next) < perplexity(unordered)
if not QUICK:
    assert perplexity(of_next) < 1.3 * best

# %% [markdown]
# ## Temperature
#
# To write, draw a word from the probabilities, put it behind the others, ask again. Before drawing one may
# sharpen or flatten them: divide the logits by a **temperature** $T$, which is the same as
#
# $$ p_k \;\to\; \frac{p_k^{1/T}}{\sum_j p_j^{1/T}}. $$
#
# Near 0 only the likeliest word is left; at 1 nothing changes; above, rare words become frequent.

# %%


def heated(p, temperature):
    """Probabilities (..., words) at a temperature."""
    logs = np.log(p) / temperature
    e = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def write(count, temperature, seed=0):
    """Return so many sentences, each a list of words."""
    rng = np.random.default_rng(seed)
    read = np.zeros((count, TIME), dtype="int32")
    read[:, 0] = lexicon.ids[START]
    for t in range(TIME - 1):
        p = model.predict(read, dtype="float64")[:, t]  # (count, ids)
        p[:, [0, lexicon.ids[START]]] = 1e-300  # neither is a word
        chances = heated(p, temperature).cumsum(axis=1)
        drawn = (rng.uniform(size=(count, 1)) > chances).sum(axis=1)
        read[:, t + 1] = np.where(
            read[:, t] == lexicon.ids[END], lexicon.ids[END], drawn
        )
    texts = [[lexicon.words[k - 1] for k in row[1:]] for row in read]
    return [some[: some.index(END)] if END in some else some for some in texts]


for temperature in (0.05, 0.5, 1.0, 2.0):
    print(f"T = {temperature}")
    for some in write(3, temperature, seed=1):
        print("   ", " ".join(some))

# %% [markdown]
# How many of its sentences does the grammar allow? And how many are different from each other?

# %%
TEMPERATURES = (0.05, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
written = {t: write(100 if QUICK else 300, t) for t in TEMPERATURES}
allowed = [
    np.mean([any(tags_fit(s, form) for form in SENTENCE_FORMS) for s in written[t]])
    for t in TEMPERATURES
]
different = [
    len({" ".join(s) for s in written[t]}) / len(written[t]) for t in TEMPERATURES
]
plots.functions(
    TEMPERATURES,
    {
        "allowed by the grammar": np.array(allowed),
        "different sentences": np.array(different),
    },
    "Cold repeats itself, hot makes mistakes",
    xlabel="temperature",
    ylabel="share of the sentences",
)

# %%
assert different[0] < 0.5 < different[-1]
if not QUICK:
    assert allowed[0] > 0.95
    assert allowed[4] > 0.8
    assert allowed[-1] < 0.6

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/11_tags_and_phrases.py`.
#
# **1.** Predict first: a model gives the right word the probability 1/2 in one place, and 1/8 in the next. What is
# its perplexity on both? (It is not 5.)

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(
    1,
    answer_1,
    perplexity(np.array([1 / 2, 1 / 8])),
    "the mean is taken of the logarithms: 1 and 3, if you count in powers of two.",
)

# %% [markdown]
# **2.** Write the function `at_temperature` for *logits*: the softmax of logits (words,) at a temperature.


# %% tags=["exercise-2"]
def at_temperature(logits, temperature):
    """Probabilities, (words,)."""
    return ...


# %%
logits = np.array([2.0, 1.0, -1.0])
softmax = np.exp(logits) / np.exp(logits).sum()
exercises.check(
    2,
    at_temperature,
    heated(softmax, 0.5),
    "divide before the exponential; then make the sum 1.",
    of=(logits, 0.5),
)

# %% [markdown]
# **3.** Predict first: how many numbers does `Bidirectional(LSTM(20, return_sequences=True))` hand on at each word?

# %% tags=["exercise-3"]
answer_3 = ...

# %%
exercises.check(3, answer_3, 40, "two layers, and their states stand side by side.")

# %% [markdown]
# ## What you have shown
#
# A network that answers at every step tags, marks and writes. Reading both ways it knows what comes later;
# perplexity says how well it knows what comes next; temperature decides what it makes of that.

# %%
assert result.report.verdict == "PASS"
assert said.report.verdict == "PASS"
print(f"perplexity {perplexity(of_next):.2f}; the grammar itself {best:.2f}")

# %% [markdown]
# Next: [what to do about learning by heart](12_overfitting.ipynb).
