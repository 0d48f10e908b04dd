# %% [markdown]
# # 10. Order and distance
#
# **Goal.** You see two tasks that only a network that reads can do: who is faster, which hangs on the
# order of the words, and which language, which hangs on a word far back. On the way you find out what
# an Embedding is, and why the number of a word is a poor input.
#
# **You need** [notebook 1](01_rnn_from_scratch.ipynb) and [notebook 2](02_lstm_from_scratch.ipynb). The
# notebook takes one to two minutes on two cores.

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
# In "the cat is faster than the dog" the cat is faster, in "the dog is slower than the cat" it is, too.
# A SimpleRNN learns it from sentences about some pairs of animals, and is asked about others.

# %%
from recipes import word_order
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions

result = word_order.run(word_order.Config(), RunOptions(RunFolder("runs/word_order")))

# %% [markdown]
# The table is the point. A bag of words is right half of the time, on the sentences that it has *learnt*:
# every sentence has a twin with the same words and the other answer. The network is right about pairs of
# animals that it has never seen together.
#
# ## When does it know?
#
# The network can be asked after every word. But it was trained on the answer at the end alone: what the Dense
# layer makes of a state on the way is nothing that it ever learnt. Only the last line counts.

# %%
import numpy as np

import verify
from recipes.explore import insight

folder = RunFolder("runs/word_order")
net, pipeline = verify.load(folder / "model.keras"), folder.read_pipeline()
for text in word_order.SHOWN_TEXTS:
    read = text.split()
    running = insight.running_predictions(net, pipeline.encode([text]))[0]
    print()
    for word, p in zip(read, running, strict=True):
        k = int(p.argmax())
        print(f"{word:8} {pipeline.classes[k]:6} {p[k]:.3f}")
    assert pipeline.classes[running[-1].argmax()] == read[1]

# %% [markdown]
# ## What an Embedding is
#
# The first layer gives every word a row of a table, its *vector*:

# %%
x = pipeline.encode(["the cat is faster than the dog"])
table = net.spec["embedding"].weights["embeddings"].astype(float)  # (ids, 16)
vectors = table[x[0]]  # (words, 16)
trace = net.trace(x, dtype="float64")
print("ids", x[0], " table", table.shape, " vectors", vectors.shape)
np.testing.assert_array_equal(vectors, trace["embedding"].output[0])

# %% [markdown]
# Looking up a row is the same as multiplying by a matrix, if the word is written as a *one-hot* vector: a
# 1 in its own place and 0 in all others. So an Embedding is a Dense layer without a bias, for inputs that
# would be too wide to write down.

# %%
one_hot = np.eye(len(table))[x[0]]  # (words, ids)
print("one-hot", one_hot.shape, "of which", f"{(one_hot == 0).mean():.0%} is zeros")
np.testing.assert_array_equal(one_hot @ table, vectors)

# %% [markdown]
# That also says which rows learn. The gradient of a product by a one-hot vector is 0 except in one row:
# a sentence moves the vectors of its own words, and of no others.

# %%
p = net.predict(x, dtype="float64")
y = np.eye(len(pipeline.classes))[[pipeline.classes.index("cat")]]
slopes = verify.backprop(net, x, [-y / p]).weights["embedding"]["embeddings"]
moved = np.flatnonzero(np.abs(slopes).sum(axis=1))
names = ["(padding)", *pipeline.vocabulary.words]
print("rows with a gradient:", ", ".join(names[k] for k in moved))
assert set(moved) == set(x[0])

# %% [markdown]
# ## Why not the number itself?
#
# The chapter's toy gives the network the *number* of a word: "this" is 3, "is" is 1. That is the shortest
# way to a network that can be computed by hand, and it is why notebook 1 does it. But it claims that
# "this" is three times "is", that "an" lies between the two, and that a word's number means something. It
# does not: numbers are given by frequency, and any other order would be as good.
#
# Two networks on the sentences above. They differ in their input only: a vector for each word, or its
# number, divided by the greatest so that all are between 0 and 1. Both train for as many epochs.

# %%
import os

from recipes.data.grammar import ANIMALS, comparisons
from recipes.run import training

QUICK = "QUICK" in os.environ  # the project's own tests train less
keras = training.start(seed=42)
sentences = comparisons(seed=42)
ids = pipeline.encode(sentences.texts)
targets = np.eye(len(ANIMALS))[[ANIMALS.index(a) for a in sentences.answers]]
x_train, x_test = sentences.split(ids)
y_train, y_test = sentences.split(targets)


def as_number(ids):
    """One feature a word: its number, from 0 to 1."""
    return ids[..., None] / len(pipeline.vocabulary.words)


def reader(first):
    """The recipe's network behind another first layer."""
    layers = keras.layers
    model = keras.Sequential(
        [
            *first,
            layers.SimpleRNN(32),
            layers.Dense(len(ANIMALS), activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.003), "categorical_crossentropy", metrics=["accuracy"]
    )
    return model


LENGTH = pipeline.length
by_vector = reader(
    [keras.Input((LENGTH,), dtype="int32"), keras.layers.Embedding(len(table), 16)]
)
by_number = reader([keras.Input((LENGTH, 1))])
fitting = {"batch_size": 32, "epochs": 2 if QUICK else 20, "verbose": 0}
histories = {
    "a vector for each word": by_vector.fit(
        x_train, y_train, validation_data=(x_test, y_test), **fitting
    ).history,
    "the number of the word": by_number.fit(
        as_number(x_train),
        y_train,
        validation_data=(as_number(x_test), y_test),
        **fitting,
    ).history,
}
for name, history in histories.items():
    print(
        f"{name}: learnt sentences {history['accuracy'][-1]:.3f}, "
        f"new ones {history['val_accuracy'][-1]:.3f}"
    )

# %%
from recipes import plots

plots.accuracy_by(
    range(1, fitting["epochs"] + 1),
    {name: np.array(h["val_accuracy"]) for name, h in histories.items()},
    "epoch",
    "New sentences: vectors against numbers",
    chance=0.5,
    chance_label="guessing one of the two animals",
)

# %%
if not QUICK:
    vector, number = (h["val_accuracy"][-1] for h in histories.values())
    assert vector > 0.95
    assert number < vector - 0.3

# %% [markdown]
# The second network is not merely slower. To tell "cat" from "dog" it has to cut one line into pieces at
# the right places, and it must do so with a few slopes; the first one has sixteen free numbers for each
# word.
#
# ## How far back?
#
# Now the word that decides is far away: "i live in india", then words that say nothing, then "i speak".
# Which language? Three layers of the same size, the same sentences, the same training. A short gap and a
# long one:

# %%
from recipes import long_memory
from recipes.data.grammar import LANGUAGES, memories
from verify.data.text import TextPipeline

GAPS = (10,) if QUICK else (10, 50)
KINDS = ("SimpleRNN", "LSTM") if QUICK else tuple(long_memory.LAYERS)
answers = tuple(LANGUAGES.values())
right, remembering, asked = {}, {}, {}
for gap in GAPS:
    some, _ = memories(seed=42, gap=gap, train=320 if QUICK else 3200, test=100)
    length = gap + long_memory.FRAME_WORDS
    reading = TextPipeline(
        long_memory.vocabulary(), length, "pre", True, False, answers
    )
    encoded = reading.encode(some.texts)
    languages = np.array([answers.index(a) for a in some.answers])
    one = np.eye(len(answers))[languages]
    (learnt, new), (is_learnt, is_new) = some.split(encoded), some.split(one)
    asked[gap] = (some, reading)
    for kind in KINDS:
        settings = long_memory.PartConfig(gaps=(gap,), layer=kind, gap=gap)
        training.start(seed=42)
        model = long_memory.build_model(settings)
        done = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, model=model: setattr(
                model, "stop_training", logs["accuracy"] >= long_memory.SOLVED
            )
        )
        model.fit(
            learnt,
            is_learnt,
            batch_size=64,
            epochs=1 if QUICK else 20,
            verbose=0,
            callbacks=[done],
        )
        remembering[kind, gap] = verify.load(model)
        said = remembering[kind, gap].predict(new).argmax(axis=1)
        right[kind, gap] = float((said == is_new.argmax(axis=1)).mean())
        print(f"{kind:10} over {gap:3} words: right {right[kind, gap]:.3f}")
print(f"guessing one of four: {long_memory.CHANCE}")

# %%
if not QUICK:
    assert right["SimpleRNN", 10] > 0.95
    assert right["LSTM", 50] > 0.95
    assert right["GRU", 50] > 0.95
    assert right["SimpleRNN", 50] < 0.9

# %% [markdown]
# Over ten words all three remember. Over fifty the SimpleRNN does not, with the same training. Look at the
# difference between two sentences that are the same but for the country. If it has vanished when "i speak"
# is read, no answer can depend on it:

# %%
gap = GAPS[-1]
some, reading = asked[gap]
first = next(t for t in some.texts if "india" in t and len(t.split()) == reading.length)
pair = reading.encode([first, first.replace("india", "japan")])
apart = {}
for kind in KINDS:
    h = remembering[kind, gap].trace(pair, dtype="float64")[long_memory.LAYERS[kind]].h
    apart[kind] = np.linalg.norm(h[0] - h[1], axis=-1)[3:]  # from the country on
plots.powers(
    apart,
    "How far apart are 'india' and 'japan', word by word?",
    ylabel="length of the difference of h",
    xlabel="words after the country",
    first=0,
)

# %%
for kind, line in apart.items():
    print(f"{kind:10} at the country {line[0]:.2f}, at the end {line[-1]:.2g}")
if not QUICK:
    assert apart["LSTM"][-1] > 10 * apart["SimpleRNN"][-1]

# %% [markdown]
# And this is the memory itself: the cell state of the LSTM from "i live in india" to "i speak". Before the country
# all is pale. From there on many rows have a colour and keep it to the end, as things stay on a conveyor belt,
# whatever words pass. No row of a SimpleRNN could do that: it makes its whole state anew at every word.

# %%
words = insight.words_read(reading, first)
trace = remembering["LSTM", gap].trace(pair[:1], dtype="float64")["lstm"]
plots.gates(trace, words, "The cell state over the gap", names=["c"])

# %% [markdown]
# The recipe `rnn-recipe run long_memory` does the same for five gaps up to 100 words, and verifies every model.
#
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/10_order_and_distance.py`.
#
# **1.** Predict first: which accuracy does a bag of words reach on *new* sentences about animals, if it has
# learnt as well as it can? Then think of the twin that every sentence has. Give a number from 0 to 1.

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(
    1,
    answer_1,
    0.5,
    "it gives a sentence and its twin the same answer, and one of the two is wrong.",
)

# %% [markdown]
# **2.** Write an Embedding for one-hot vectors: `rows` is (words, ids), `table` is (ids, size).


# %% tags=["exercise-2"]
def embedded(rows, table):
    """The vectors, (words, size)."""
    return ...


# %%
exercises.check(
    2, embedded, vectors, "it is one product of two matrices.", of=(one_hot, table)
)

# %% [markdown]
# **3.** How many weights has `Embedding(12533, 32)`, and how many of its rows can one tweet of 9 different
# words move in a step of training? Give both numbers.

# %% tags=["exercise-3"]
answer_3 = (..., ...)

# %%
exercises.check(
    3, answer_3, (12533 * 32, 9), "a row for each id; a gradient where a word was read."
)

# %% [markdown]
# ## What you have shown
#
# Order and distance are what a recurrent network is for. Words go in as vectors, which is a product with a
# one-hot vector and nothing else; and a gate keeps over fifty words what a SimpleRNN loses.

# %%
assert result.report.verdict == "PASS"
assert result.accuracy > 0.95
print(f"who is faster: right in {result.accuracy:.3f} of the new sentences")

# %% [markdown]
# Next: [an answer for every word](11_tags_and_phrases.ipynb).
