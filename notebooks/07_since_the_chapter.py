# %% [markdown]
# # 7. Since the chapter
#
# **Goal.** The chapter was written for Keras 2, and this is Keras 3. You see what no longer
# runs and what to write instead; and, more important, what still runs and means something
# else, by how much, and how to read an old file as it was meant.
#
# **You need** [notebook 2](02_lstm_from_scratch.ipynb). The notebook takes less than a
# minute.

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
# One name, two functions. This is `hard_sigmoid` of 1 in Keras 3, which runs here, and in
# Keras 2, as the verifier computes it for old files:

# %%
from recipes.run import training
from verify.forward.activations import hard_sigmoid, keras2_hard_sigmoid

keras = training.start(seed=42)
print("Keras", keras.__version__, "says", float(keras.activations.hard_sigmoid(1.0)))
print("the verifier, Keras 3:   ", hard_sigmoid(1.0))
print("the verifier, Keras 2:   ", keras2_hard_sigmoid(1.0))

# %% [markdown]
# ## What does not run any more
#
# These are lines of programs for Keras 2. Each is tried, and what Keras 3 says is printed,
# its first sentence only.

# %%
import importlib
import warnings

import numpy as np

layers = keras.layers
tiny = keras.Sequential([keras.Input((3,)), layers.Dense(2, activation="softmax")])
tiny.compile(optimizer="adam", loss="categorical_crossentropy")
x3, y3 = np.ones((2, 3)), np.eye(2)


def attempt(line, run):
    """Try a line; print what came of it, without the places where Keras lies."""
    with warnings.catch_warnings(record=True) as advice:
        warnings.simplefilter("always")
        try:
            run()
            said = f"runs, and advises: {advice[0].message}" if advice else "runs"
        except Exception as error:  # whatever Keras raises
            said = f"{type(error).__name__}: {error}"
    said = said.splitlines()[0].split(" (/")[0].split(". ")[0]
    print(f"{line}\n    {said}")
    return said


def missing(module, name):
    """What ``from module import name`` runs into."""
    return lambda: exec(f"from {module} import {name}", {})


gone = {
    "from keras.preprocessing.text import one_hot, Tokenizer": missing(
        "keras.preprocessing.text", "one_hot, Tokenizer"
    ),
    "from keras.utils.np_utils import to_categorical": missing(
        "keras.utils.np_utils", "to_categorical"
    ),
    "from keras.layers import CuDNNLSTM": missing("keras.layers", "CuDNNLSTM"),
    "from keras.layers.recurrent import LSTM": missing(
        "keras.layers.recurrent", "LSTM"
    ),
    "model.predict_classes(x)": lambda: tiny.predict_classes(x3),
    "model.fit_generator(batches)": lambda: tiny.fit_generator([(x3, y3)]),
    "model.reset_states()": lambda: tiny.reset_states(),
    "keras.optimizers.Adam(lr=0.01)": lambda: keras.optimizers.Adam(lr=0.01),
    "keras.optimizers.legacy.Adam()": lambda: keras.optimizers.legacy.Adam(),
    "LSTM(4, weights=[1])": lambda: layers.LSTM(4, weights=[1]),
    "LSTM(4, input_dim=2, input_length=3)": lambda: layers.LSTM(
        4, input_dim=2, input_length=3
    ),
    "history.history['acc']": lambda: tiny.fit(x3, y3, verbose=0).history["acc"],
    "model.save('model')": lambda: tiny.save("model"),
}
answers = {line: attempt(line, run) for line, run in gone.items()}
assert not any(said.startswith("runs") for said in answers.values())

# %% [markdown]
# And some that still run, the first of them with advice:

# %%
still = {
    "Embedding(10, 4, input_length=5)": lambda: layers.Embedding(10, 4, input_length=5),
    "from keras.preprocessing.sequence import pad_sequences": missing(
        "keras.preprocessing.sequence", "pad_sequences"
    ),
    "from tensorflow.keras.preprocessing.text import one_hot, Tokenizer": missing(
        "tensorflow.keras.preprocessing.text", "one_hot, Tokenizer"
    ),
    "Embedding(10, 4, weights=[table])": lambda: layers.Embedding(
        10, 4, weights=[np.ones((10, 4))]
    ),
}
for line, run in still.items():
    assert attempt(line, run).startswith("runs")

# %% [markdown]
# ## What to write instead
#
# | then | now |
# |---|---|
# | `one_hot(text, n)`, `Tokenizer` | `verify.data.text.Vocabulary`, or `keras.layers.TextVectorization` |
# | `keras.utils.np_utils.to_categorical` | `keras.utils.to_categorical` |
# | `CuDNNLSTM`, `CuDNNGRU` | `LSTM`, `GRU`, whose `use_cudnn` is `"auto"` |
# | `keras.layers.recurrent.LSTM` | `keras.layers.LSTM` |
# | `predict_classes(x)` | `predict(x).argmax(axis=1)` |
# | `fit_generator(...)` | `fit(...)` |
# | `model.reset_states()` | `layer.reset_state()` for each stateful layer |
# | `Adam(lr=...)`, `legacy.Adam` | `Adam(learning_rate=...)` |
# | `weights=[...]` | `layer.set_weights([...])` once it is built |
# | `input_shape=`, `input_dim=`, `input_length=` | `keras.Input(shape)` as the first layer |
# | `history["acc"]` | `history["accuracy"]`, with `metrics=["accuracy"]` |
# | `model.save("model")` | `model.save("model.keras")` |
#
# The right column, run:

# %%
from verify.data.text import Vocabulary

words = Vocabulary.of([["this", "is"], ["is", "an"]])
print(words.encode([["this", "is"]]))
print(keras.utils.to_categorical([1], 3))
print(tiny.predict(x3, verbose=0).argmax(axis=1).shape)
print(keras.optimizers.Adam(learning_rate=0.5).learning_rate.numpy())
tiny.set_weights([np.full((3, 2), 0.25), np.zeros(2)])
tiny.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
print(sorted(tiny.fit(x3, y3, verbose=0).history))
vectorise = layers.TextVectorization(vocabulary=["this", "is"])
print(vectorise(["this is it"]).numpy())  # 1: a word that it does not know
print(layers.LSTM(4).use_cudnn)

# %% [markdown]
# One thing to know about the old `one_hot`. Its name promises a vector, but it gives numbers,
# made by *hashing* the words into `n` places. So two words can get the same number, and with
# more words than places two must. `Vocabulary` counts, so every word has its own.

# %%
from tensorflow.keras.preprocessing.text import one_hot as old_one_hot

eight = "this is an example of words that collide"
hashed = old_one_hot(eight, 5)
counted = Vocabulary.of([eight.split()])
print(len(hashed), "words, numbers below 5")
assert len(set(hashed)) < len(hashed) == 8
assert len(set(counted.encode([eight.split()])[0])) == 8

# %% [markdown]
# ## What runs, and means something else
#
# A line that fails is no danger: you see it. The rest of this notebook is about what loads
# without a word and computes another number. First `hard_sigmoid`, which the gates of an
# LSTM had by default up to Keras 2.2:

# %%
from recipes import plots

z = np.linspace(-4, 4, 401)
plots.functions(
    z,
    {
        "sigmoid": 1 / (1 + np.exp(-z)),
        "hard_sigmoid of Keras 2: 0.2 z + 0.5": keras2_hard_sigmoid(z),
        "hard_sigmoid of Keras 3: z / 6 + 0.5": hard_sigmoid(z),
    },
    "Three functions for a gate",
    xlabel="z, what goes into the gate",
    ylabel="how far the gate is open",
)

# %% [markdown]
# By hand, and against the Keras that runs here:

# %%
old, new = np.clip(0.2 * z + 0.5, 0, 1), np.clip(z / 6 + 0.5, 0, 1)
assert np.abs(old - keras2_hard_sigmoid(z)).max() < 1e-12
assert np.abs(new - hard_sigmoid(z)).max() < 1e-12
runs_here = keras.activations.hard_sigmoid(z.astype("float32")).numpy()
assert np.abs(new - runs_here).max() < 1e-6

widest = np.abs(old - new).max()
print(f"greatest difference {widest:.4f}, at z = {z[np.abs(old - new).argmax()]:.2f}")
assert abs(widest - 1 / 12) < 1e-9
for name, cell in (("LSTM", layers.LSTM(4)), ("GRU", layers.GRU(4))):
    print(f"gates of {name} by default: {cell.recurrent_activation.__name__}")

# %% [markdown]
# One twelfth at most, at one gate, at one step. Today the default is `sigmoid`, but a file
# keeps what stands in it, and in an old one that is the name `hard_sigmoid`.
#
# ## An old file
#
# So let us make one. A file of Keras 2 is HDF5: the config as JSON in an attribute, the
# weights in groups. Nothing in it is Keras's own, so we can write it ourselves.

# %%
import json
from pathlib import Path

import h5py

import verify

folder = Path("runs/since_the_chapter")
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(42)


def random(*shape):
    """Weights without a zero among them."""
    return rng.normal(size=shape).astype("float32")


def old_layer(class_name, name, **config):
    """A layer as it stands in the config of Keras 2."""
    return {"class_name": class_name, "config": {"name": name, **config}}


def old_file(name, config, weights, version="2.2.4"):
    """Write a model as Keras 2 did, and return its path."""
    path = folder / name
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [layer.encode() for layer in weights]
        for layer, arrays in weights.items():
            inside = group.create_group(layer)
            names = [f"weight_{k}" for k in range(len(arrays))]
            inside.attrs["weight_names"] = [key.encode() for key in names]
            for key, array in zip(names, arrays, strict=True):
                inside[key] = array
    return path.as_posix()


def one_layer(class_name, **config):
    """A Sequential model of one layer of four units, 6 steps of 3 features in."""
    first = old_layer("InputLayer", "input", batch_input_shape=[None, 6, 3])
    return {
        "class_name": "Sequential",
        "config": [first, old_layer(class_name, "rnn", units=4, **config)],
    }


x = random(5, 6, 3)
lstm_file = old_file(
    "hard_sigmoid.h5",
    one_layer("LSTM", recurrent_activation="hard_sigmoid"),
    {"rnn": [random(3, 16), random(4, 16), random(16)]},
)
meant = verify.load(lstm_file)
print("\n".join(meant.spec.notes))

# %% [markdown]
# The verifier reads it as the Keras that wrote it meant it, and says so. The step by hand,
# with the old slope, agrees:

# %%
kernel, recurrent_kernel, bias = (
    w.astype(float) for w in meant.spec["rnn"].weights.values()
)
h = c = np.zeros((5, 4))
for t in range(6):
    z = x[:, t] @ kernel + h @ recurrent_kernel + bias
    i, f, _, o = np.split(np.clip(0.2 * z + 0.5, 0, 1), 4, axis=1)
    c = f * c + i * np.tanh(np.split(z, 4, axis=1)[2])
    h = o * np.tanh(c)
assert np.abs(h - meant.predict(x, dtype="float64")).max() < 1e-12
print(h[0].round(4))

# %% [markdown]
# And Keras 3 itself? It stumbles over the list of layers, which late versions of Keras 2 put
# into a dict. In that form it loads the same model without a word:


# %%
def younger(config):
    """The same with the list of layers in a dict, as late Keras 2 wrote it."""
    return {**config, "config": {"name": "model", "layers": config["config"]}}


attempt(
    "keras.models.load_model('hard_sigmoid.h5')",
    lambda: keras.models.load_model(lstm_file, compile=False),
)
lstm_weights = [w.astype("float32") for w in (kernel, recurrent_kernel, bias)]
silent = old_file(
    "silent.h5",
    younger(one_layer("LSTM", recurrent_activation="hard_sigmoid")),
    {"rnn": lstm_weights},
)
loaded = keras.models.load_model(silent, compile=False)
predicted = loaded.predict(x, verbose=0)

as_keras2 = verify.load(silent, semantics="keras2").predict(x)
as_keras3 = verify.load(silent, semantics="keras3").predict(x)
print("Keras 3 against Keras 2's meaning:", np.abs(predicted - as_keras2).max())
print("Keras 3 against Keras 3's meaning:", np.abs(predicted - as_keras3).max())
assert np.abs(predicted - as_keras3).max() < 1e-6
assert np.abs(predicted - as_keras2).max() > 1e-3

# %% [markdown]
# That is the dangerous one: no error, no warning, other numbers. The verifier, which reads the
# file as Keras 2 meant it, is now given what Keras 3 predicts:

# %%
found = verify.compare_outputs(silent, x, predicted)
print(found)
assert found.verdict == "FAIL"
assert "hard_sigmoid" in found.diagnosis.explanations[0].explanation

# %% [markdown]
# `rnn-verify check` has `--keras2-semantics` and `--keras3-semantics` for it. To keep such a
# model alive, give Keras 3 the old function by hand: `recurrent_activation=lambda z:
# keras.ops.clip(0.2 * z + 0.5, 0, 1)`.

# %%
revived = keras.Sequential(
    [
        keras.Input((6, 3)),
        layers.LSTM(
            4, recurrent_activation=lambda z: keras.ops.clip(0.2 * z + 0.5, 0, 1)
        ),
    ]
)
revived.set_weights(lstm_weights)
print(np.abs(revived.predict(x, verbose=0) - as_keras2).max())
assert np.abs(revived.predict(x, verbose=0) - as_keras2).max() < 1e-6

# %% [markdown]
# ## A GRU's reset gate, and its two biases
#
# The candidate of a GRU takes the old state through the reset gate `r`. By default Keras 2
# multiplied *before* the matrix product, Keras 3 does so *after* it, and then a second bias
# has a place:
#
# $$ \text{before:}\quad \hat h = \tanh(x W_h + (r\, h)\, U_h + b_h) $$
# $$ \text{after:}\quad \hat h = \tanh(x W_h + b_h + r\, (h\, U_h + b'_h)) $$
#
# Which one is `reset_after`. Old files often do not say, and the default has changed.

# %%
for after in (False, True):
    gru = layers.GRU(4, reset_after=after)
    gru.build((None, 6, 3))
    shapes = [tuple(w.shape) for w in gru.get_weights()]
    print(f"reset_after={after}: {shapes}, {gru.count_params()} parameters")
assert layers.GRU(4).reset_after

# %% [markdown]
# The bias has two rows where it had one. So Keras 3 refuses an old file that does not say.
# The verifier takes the default of the Keras that wrote it:

# %%
gru_weights = [random(3, 12), random(4, 12)]
gru_file = old_file(
    "gru.h5", younger(one_layer("GRU")), {"rnn": [*gru_weights, random(12)]}, "2.1.6"
)
attempt(
    "keras.models.load_model('gru.h5')",
    lambda: keras.models.load_model(gru_file, compile=False),
)
read = verify.load(gru_file)
print("\n".join(read.spec.notes))
assert read.spec["rnn"].options["reset_after"] is False

# %% [markdown]
# It refuses because the shapes do not fit. Without a bias they fit, and nothing is said:

# %%
no_bias = old_file(
    "no_bias.h5", younger(one_layer("GRU", use_bias=False)), {"rnn": gru_weights}
)
predicted = keras.models.load_model(no_bias, compile=False).predict(x, verbose=0)
gaps = {
    s: np.abs(predicted - verify.load(no_bias, semantics=s).predict(x)).max()
    for s in ("keras2", "keras3")
}
for semantics, gap in gaps.items():
    print(f"Keras 3 against {semantics}: {gap:.1e}")
assert gaps["keras3"] < 1e-6
assert gaps["keras2"] > 1e-3

# %% [markdown]
# ## A mask that meets given states
#
# In a translator the second LSTM starts from the states of the first. If a mask comes in too,
# Keras 2 used it, and Keras 3 does not: it looks for a mask only where a layer is given one
# tensor. Here is such a layer, given its states as inputs:

# %%
ids, h0, c0 = keras.Input((6,), dtype="int32"), keras.Input((4,)), keras.Input((4,))
embedded = layers.Embedding(9, 3, mask_zero=True, name="embedding")(ids)
y = layers.LSTM(4, name="lstm")(embedded, initial_state=[h0, c0])
decoder = keras.Model([ids, h0, c0], y)
decoder.set_weights([random(*w.shape) for w in decoder.get_weights()])

sentences = rng.integers(1, 9, size=(5, 6))
sentences[:, 4:] = 0  # padding
states = [random(5, 4), random(5, 4)]
cut = [sentences[:, :4], *states]  # what remains if padding is left out

predicted = decoder.predict([sentences, *states], verbose=0)
lstm, table = decoder.get_layer("lstm"), decoder.get_layer("embedding")
without_padding = lstm(table(cut[0]), initial_state=states).numpy()
asked = lstm(table(sentences), initial_state=states, mask=sentences != 0).numpy()
print("no mask= is given   :", np.abs(predicted - without_padding).max())
print("with mask=ids != 0   :", np.abs(asked - without_padding).max())
assert np.abs(predicted - without_padding).max() > 1e-3
assert np.abs(asked - without_padding).max() < 1e-6

# %% [markdown]
# Both lines say how far an answer is from that for the sentences without their padding. The
# first is far: Keras 3 has read the padding as words. With `mask=` it is what Keras 2 did. An old file holds the
# first form and meant the second:

# %%
nothing = {"inbound_nodes": []}
inputs = [
    {"name": name, **old_layer("InputLayer", name, batch_input_shape=shape), **nothing}
    for name, shape in (("ids", [None, 6]), ("h", [None, 4]), ("c", [None, 4]))
]
inner = [
    {
        "name": "embedding",
        **old_layer(
            "Embedding", "embedding", input_dim=9, output_dim=3, mask_zero=True
        ),
        "inbound_nodes": [[["ids", 0, 0, {}]]],
    },
    {
        "name": "lstm",
        **old_layer("LSTM", "lstm", units=4, recurrent_activation="sigmoid"),
        "inbound_nodes": [[["embedding", 0, 0, {}], ["h", 0, 0, {}], ["c", 0, 0, {}]]],
    },
]
graph = {
    "name": "decoder",
    "layers": [*inputs, *inner],
    "input_layers": [[name, 0, 0] for name in ("ids", "h", "c")],
    "output_layers": [["lstm", 0, 0]],
}
values = decoder.get_weights()
decoder_file = old_file(
    "decoder.h5",
    {"class_name": "Model", "config": graph},
    {"embedding": values[:1], "lstm": values[1:]},
)
read = verify.load(decoder_file)
print("\n".join(read.spec.notes))

given = [sentences, *states]
assert np.abs(read.predict(given) - asked).max() < 1e-6
other = verify.load(decoder_file, semantics="keras3")
assert np.abs(other.predict(given) - predicted).max() < 1e-6

# %% [markdown]
# ## Layers for a GPU that are no more
#
# `CuDNNLSTM` computed the equations of `LSTM`, on a GPU only. Its file lays the weights out
# otherwise: each gate's block of the kernel has its axes exchanged, and the bias comes in two
# halves that are to be added. Keras 3 does not know it; the verifier reads it, and
# `check` builds the ordinary layer and proves that.


# %%
def to_cudnn(kernel, recurrent_kernel, bias):
    """The same weights as cuDNN lays them out."""
    blocks = [k.T.reshape(k.shape) for k in np.hsplit(kernel, 4)]
    recurrent = [u.T for u in np.hsplit(recurrent_kernel, 4)]
    halves = np.concatenate([0.25 * bias, 0.75 * bias])
    return [np.hstack(blocks), np.hstack(recurrent), halves]


cudnn_file = old_file(
    "cudnn.h5", younger(one_layer("CuDNNLSTM")), {"rnn": to_cudnn(*lstm_weights)}
)
attempt(
    "keras.models.load_model('cudnn.h5')",
    lambda: keras.models.load_model(cudnn_file, compile=False),
)
read = verify.load(cudnn_file)
print("\n".join(read.spec.notes))

ordinary = keras.Sequential([keras.Input((6, 3)), layers.LSTM(4)])
ordinary.set_weights(lstm_weights)
gap = np.abs(read.predict(x) - ordinary.predict(x, verbose=0)).max()
print("from an ordinary LSTM with the same weights:", gap)
assert gap < 1e-6

# %%
report = verify.check(cudnn_file, x)
print(report)
assert report.verdict == "PASS"

# %% [markdown]
# ## `.h5` and `.keras`
#
# Keras 3 still writes `.h5`. Its own format, `.keras`, is a zip file with three parts, of
# which the two in JSON can be read with any editor:

# %%
import logging
import zipfile

both = [folder / "ordinary.keras", folder / "ordinary.h5"]
ordinary.save(both[0])
logging.getLogger("absl").setLevel("ERROR")  # through it Keras advises against .h5
ordinary.save(both[1])
with zipfile.ZipFile(both[0]) as archive:
    for name in sorted(archive.namelist()):
        print(name)
    print(json.loads(archive.read("metadata.json"))["keras_version"])
with h5py.File(both[1]) as file:
    print(dict(file.attrs)["keras_version"], sorted(file))

first, second = (verify.load(path).predict(x) for path in both)
assert (first == second).all()

# %% [markdown]
# ## Small things that people stumble over
#
# `predict` takes 32 rows at a time by default, and computes in 32 bits whatever you give it.
# Neither is a reason for other answers:

# %%
many = random(100, 6, 3)
by_32 = ordinary.predict(many, verbose=0)
by_7 = ordinary.predict(many.astype("float64"), batch_size=7, verbose=0)
exact = verify.load(ordinary).predict(many, dtype="float64")
print(by_7.dtype, "between batch sizes:", np.abs(by_32 - by_7).max())
print("from 64 bits:", np.abs(by_32 - exact).max())
assert by_7.dtype == "float32"
assert np.abs(by_32 - by_7).max() < 1e-6

# %% [markdown]
# `unroll=True`, which the chapter's toy LSTM has, writes the loop out step by step and
# changes nothing:

# %%
unrolled = keras.Sequential([keras.Input((6, 3)), layers.LSTM(4, unroll=True)])
unrolled.set_weights(lstm_weights)
gap = np.abs(unrolled.predict(x, verbose=0) - ordinary.predict(x, verbose=0)).max()
print("unrolled or not:", gap)
assert gap < 1e-6

# %% [markdown]
# The chapter trains its toy LSTM with `binary_crossentropy` on five classes with a softmax.
# That runs, then and now. It is another loss than `categorical_crossentropy`: each class
# counts as a question of its own, and the five answers are averaged.

# %%
truth = np.array([[0, 0, 1, 0, 0]], dtype="float32")
answer = np.array([[0.1, 0.1, 0.6, 0.1, 0.1]], dtype="float32")
binary = float(keras.losses.binary_crossentropy(truth, answer)[0])
categorical = float(keras.losses.categorical_crossentropy(truth, answer)[0])
print(f"binary {binary:.6f}, categorical {categorical:.6f}")

by_hand = -np.mean(np.log([0.9, 0.9, 0.6, 0.9, 0.9]))
assert abs(binary - by_hand) < 1e-5
assert abs(categorical + np.log(0.6)) < 1e-5

# %% [markdown]
# The forward pass does not know the loss: with the same weights the predictions are the same.
# That is why the numbers printed with the chapter still come out, in
# [notebook 1](01_rnn_from_scratch.ipynb) and [notebook 2](02_lstm_from_scratch.ipynb).
#
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/07_since_the_chapter.py`.
#
# **1.** From which `z` on is the gate of Keras 2's `hard_sigmoid` fully open, and from which
# that of Keras 3's? Give the pair.

# %% tags=["exercise-1"]
answer_1 = (..., ...)

# %%
from recipes.explore import exercises

slopes = [f(1.0) - f(0.0) for f in (keras2_hard_sigmoid, hard_sigmoid)]
exercises.check(
    1,
    answer_1,
    [0.5 / slope for slope in slopes],
    "where does slope * z + 0.5 reach 1?",
)

# %% [markdown]
# **2.** How many parameters has `GRU(40)` on 32 features by the default of Keras 2, and how
# many by that of Keras 3? Give the pair.

# %% tags=["exercise-2"]
answer_2 = (..., ...)

# %%
counts = []
for after in (False, True):
    wide = layers.GRU(40, reset_after=after)
    wide.build((None, 26, 32))
    counts.append(wide.count_params())
exercises.check(
    2, answer_2, counts, "three gates; a bias for each in Keras 2, two in Keras 3."
)

# %% [markdown]
# **3.** Write the candidate of an old GRU: `x` is (batch, features), `h` and the reset gate
# `r` are (batch, units), and the weights are those of the candidate alone.


# %% tags=["exercise-3"]
def candidate(x, h, r, kernel, recurrent_kernel, bias):
    """The candidate of a GRU with reset_after=False: (batch, units)."""
    return ...


# %%
gru_net = verify.load(gru_file)
trace = gru_net.trace(x, dtype="float64")["rnn"]
last = [w[..., 8:].astype(float) for w in gru_net.spec["rnn"].weights.values()]
exercises.check(
    3,
    candidate,
    trace.h_hat[:, 3],
    "the reset gate multiplies the old state, before the matrix does.",
    of=(x[:, 3].astype(float), trace.h[:, 2], trace.r[:, 3], *last),
)

# %% [markdown]
# ## What you have shown
#
# Most of what changed says so: a line fails, and there is another for it. Three things
# change numbers in silence, `hard_sigmoid`, `reset_after` without a bias, and a mask that
# meets given states. You have seen each do so, and a file can be read either way.

# %%
apart = {}
for path, ours in ((lstm_file, x), (no_bias, x), (decoder_file, given)):
    old = verify.load(path, semantics="keras2").predict(ours)
    new = verify.load(path, semantics="keras3").predict(ours)
    apart[Path(path).name] = np.abs(old - new).max()
    print(f"{Path(path).name:16} {apart[Path(path).name]:.4f} apart")
assert min(apart.values()) > 1e-3

# %% [markdown]
# Next: [leaving Keras](08_leaving_keras.ipynb).
