# %% [markdown]
# # 1. A recurrent network from scratch
#
# **Goal.** You train a SimpleRNN of one unit on "this is an example", compute its
# prediction yourself, number by number, and prove that it is what Keras computes.
#
# *The chapter*, here and in all that follows, is number 11 of *Neural Networks with Keras
# Cookbook* (V Kishore Ayyadevara, Packt, 2019), "Building a Recurrent Neural Network". You
# do not need the book.
#
# **You need** some Python, and what a Dense layer with a softmax does. Nothing about
# recurrent networks. The notebook takes less than a minute.

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
# This trains the model, prints its forward pass done by hand, and verifies it. Read the
# output once; by the end of the notebook every line of it will be yours.

# %%
from recipes import toy_rnn
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions

result = toy_rnn.run(toy_rnn.Config(), RunOptions(RunFolder("runs/toy_rnn")))

# %% [markdown]
# ## Why read in order?
#
# The usual way to hand a text to a classifier is to count its words. Then these two are
# the same text:

# %%
from sklearn.feature_extraction.text import CountVectorizer

counter = CountVectorizer()
counts = counter.fit_transform(["this is an", "an is this"]).toarray()
print(counter.get_feature_names_out())
print(counts)
assert (counts[0] == counts[1]).all()

# %% [markdown]
# Two equal rows: whatever a model makes of the one, it makes of the other. No amount of
# training helps, since what told them apart is gone before the model sees it. How much
# that costs shows in sentences such as "the cat is faster than the dog". A classifier
# that counts words says who is faster, first for the sentences it has learnt from, then
# for new ones:

# %%
from recipes.data.grammar import comparisons
from recipes.word_order import bag_of_words

learnt, new = bag_of_words(comparisons(seed=42))
print(f"learnt sentences {learnt:.3f}, new sentences {new:.3f}")
assert learnt <= 0.5

# %% [markdown]
# It is right half of the time, as a coin would be, even about what it has learnt. The
# recipe `rnn-recipe run word_order` trains a SimpleRNN on the same sentences, and that one is right
# about new ones too.
#
# A **recurrent network** reads one word after the other. It keeps a **state** `h`, and at
# each step makes a new state of the word and the old state. So the state after the last
# word depends on the order.

# %% [markdown]
# ## Words become numbers
#
# Our data are two phrases and the words that follow them: "this is" → "an", and
# "is an" → "example". Every word gets a number, the most frequent word first; 0 is kept for
# *padding*, the filling of phrases that are too short.

# %%
import numpy as np

from recipes.data import toy
from recipes.run.training import one_hot

pipeline = toy.pipeline()
print(pipeline.vocabulary.ids)
for text in ("this is", "is an", "is"):
    print(f"{text!r:12} -> {pipeline.encode([text]).ravel()}")

# %% [markdown]
# "is" alone is filled up with a 0 in front, so that every phrase has two steps. A Keras
# recurrent layer wants three axes, (batch, time, features); here a word is one number, so
# there is one feature. (That "this" is then three times "is" means nothing, and is a poor
# input for anything but a toy: [notebook 10](10_order_and_distance.ipynb) measures it, and
# says what an Embedding does instead.)

# %%
x = pipeline.encode(["this is", "is an"])
print("x has shape", x.shape)

# %% [markdown]
# The answer is one of five: four words, or padding. It is written *one-hot*, a 1 in the
# column of the right word, because the model answers with a probability for each.

# %%
labels = [pipeline.vocabulary.ids[word] for word in ("an", "example")]
y = one_hot(labels, pipeline.vocabulary.size)
print(y)
assert y.shape == (2, 5)
assert (y.sum(axis=1) == 1).all()

# %% [markdown]
# ## The model
#
# One recurrent unit, then a Dense layer with a softmax over the five words. `describe`
# says what each weight is and where the number of parameters comes from.

# %%
import verify

net = verify.load("runs/toy_rnn/model.keras")
print(verify.describe(net))

# %% [markdown]
# In general a SimpleRNN of `units` units on `inputs` features has
#
# $$ \text{units} \times (\text{inputs} + \text{units} + 1) $$
#
# parameters: each unit has a weight for every feature (`kernel`), one for every unit of
# the old state (`recurrent_kernel`), and a `bias`. A Dense layer has
# `inputs x units + units`.

# %%
units, inputs, words = 1, 1, 5
rnn_parameters = units * (inputs + units + 1)
dense_parameters = units * words + words
print(rnn_parameters, "+", dense_parameters)

assert rnn_parameters == net.spec["rnn"].parameters == 3
assert dense_parameters == net.spec["dense"].parameters == 10

# %%
from recipes import plots

plots.parameter_blocks(net.spec, "The 13 parameters of the toy network")

# %% [markdown]
# ## The forward pass by hand
#
# The whole of a SimpleRNN is one equation, applied once a word:
#
# $$ h_t = \tanh(x_t\, w + h_{t-1}\, u + b), \qquad h_0 = 0 $$
#
# with `w` the kernel, `u` the recurrent kernel and `b` the bias. There is nothing else.
# Let us do it for "this is", which is the numbers 3 and 1. `net.trace` is the verifier's
# own computation, so each line can be checked at once.

# %%
from math import tanh

rnn = net.spec["rnn"].weights
w = rnn["kernel"].item()
u = rnn["recurrent_kernel"].item()
b = rnn["bias"].item()
trace = net.trace(x[:1], dtype="float64")

h0 = 0.0
h1 = tanh(3 * w + h0 * u + b)  # "this"
h2 = tanh(1 * w + h1 * u + b)  # "is"

print(f"w = {w:.6f}   u = {u:.6f}   b = {b:.6f}")
print(f"h1 = tanh(3 * {w:.6f} + {h0} * {u:.6f} + {b:.6f}) = {h1:.6f}")
print(f"h2 = tanh(1 * {w:.6f} + {h1:.6f} * {u:.6f} + {b:.6f}) = {h2:.6f}")

np.testing.assert_allclose([h1, h2], trace["rnn"].h[0, :, 0], atol=1e-12)

# %% [markdown]
# The Dense layer sees the last state only. It gives one number a word, the *logits*, and
# the softmax makes probabilities of them: positive, with the sum 1.

# %%
dense = net.spec["dense"].weights
logits = h2 * dense["kernel"][0].astype(float) + dense["bias"].astype(float)
probabilities = np.exp(logits) / np.exp(logits).sum()

for word, logit, p in zip(pipeline.classes, logits, probabilities, strict=True):
    print(f"{word:10} logit {logit:9.6f}   probability {p:.6f}")

np.testing.assert_allclose(logits, trace["dense"].logits[0], atol=1e-12)
np.testing.assert_allclose(probabilities, trace["dense"].output[0], atol=1e-12)

# %% [markdown]
# The same as a picture. Read it from left to right: the arrow between the two columns is
# the recurrence, the one thing that a Dense layer does not have.

# %%
plots.unrolled(
    net,
    x[:1],
    ["this", "is"],
    'The network unrolled over "this is"',
    classes=pipeline.classes,
)

# %% [markdown]
# The likeliest word is "example", though "this is" goes on with "an". One unit has learnt
# one of the two phrases in the chapter's 500 epochs. Eight units learn both: the run above says with which
# option. Here one is better, since we want to compute it by hand.
#
# And what does Keras say? (`training.start` imports it quietly and fixes the seed.)

# %%
from recipes.run import training

keras = training.start(seed=42)
model = keras.models.load_model("runs/toy_rnn/model.keras")
predicted = model.predict(x[:1], verbose=0)[0]

print("by hand", probabilities.round(6))
print("Keras  ", predicted.round(6))
assert np.abs(probabilities - predicted).max() < 1e-6

# %% [markdown]
# Order matters to this model: the words swapped give another state and another answer.

# %%
for text in ("this is", "is this"):
    print(f"{text!r:10}", net.predict(pipeline.encode([text]))[0].round(4))

there, back = net.predict(pipeline.encode(["this is", "is this"]))
assert np.abs(there - back).max() > 1e-3

# %% [markdown]
# ## Equal, or nearly equal?
#
# Keras computes with 32-bit numbers, so some difference is bound to be there. How much
# may it be? `verify.check` does not guess. It lets both sides compute in 64 bits, where
# right formulas agree to about 1e-16 and wrong ones do not; and it derives from the
# network's own weights what 32-bit rounding can do at most, for every number of an output by itself.
# In the table `error / allowed` is the greatest of these shares: above 1 is a fail. `by` says what
# the allowance came from, nearly always such a bound.

# %%
report = verify.check(model, x)
print(report)

# %%
plots.error_against_bound(report, "How far Keras is from the exact result")

# %% [markdown]
# ## The weights printed with the chapter
#
# The chapter's notebook prints the weights it ended with, and its prediction for "this
# is". Nobody here could tune those, so they are the better test: put into our model, do
# they give the printed prediction?

# %%
published = toy_rnn.build_model(toy_rnn.Config())
published.set_weights(
    [
        np.array([[-0.46506366]]),
        np.array([[-0.3498325]]),
        np.array([0.3742378]),
        np.array([[-0.07940943, 1.0316525, 0.82078505, 0.69793195, 0.5232159]]),
        np.array([-0.40055057, -0.4714679, 0.43754113, -0.44841036, 0.4264429]),
    ]
)
printed = np.array([0.11790387, 0.13366564, 0.31960246, 0.12894824, 0.29987988])

ours = verify.load(published).predict(x[:1], dtype="float64")[0]
print("printed with the chapter", printed)
print("NumPy                   ", ours.round(8))
print("greatest difference      ", np.abs(ours - printed).max())
assert np.abs(ours - printed).max() < 1e-7

# %% [markdown]
# To 4e-8, as near as numbers of 32 bits come. The chapter's text, though, shows another vector for the
# same model:

# %%
misprinted = np.array([0.3684635, 0.33566403, 0.61344165, 0.378485, 0.4069949])
print("sum of the vector in the text      ", misprinted.sum().round(4))
print("sum of the one in its notebook     ", printed.sum().round(4))
assert misprinted.sum() > 2.1
assert abs(printed.sum() - 1) < 1e-6

# %% [markdown]
# Five probabilities that add up to 2.10 cannot come from a softmax, whatever the weights.
# It is a misprint. You now have a test for such things: a softmax sums to 1.

# %% [markdown]
# ## A mistake, found
#
# Somebody carries the published model to another language and forgets the recurrent term
# `h * u`. The outputs look fine: positive, and their sum is 1.

# %%
kernel, _, bias, out_kernel, out_bias = published.get_weights()


def forgetful(x):
    """The model without its memory."""
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + bias)
    e = np.exp(h @ out_kernel + out_bias)
    return e / e.sum(axis=1, keepdims=True)


theirs = forgetful(x)
print(theirs.sum(axis=1))
found = verify.compare_outputs(published, x, theirs)
print(found)
assert found.verdict == "FAIL"
assert "recurrent_kernel is left out" in found.diagnosis.explanations[0].explanation

# %% [markdown]
# The verifier names the mistake from the outputs alone. It also names a second one that
# would give the same outputs: with two steps only, leaving out the first word and leaving out
# the memory of it are the same. Longer phrases would tell them apart.

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/01_rnn_from_scratch.py`.
#
# **1.** How many parameters has `SimpleRNN(40)` on vectors of 32 numbers? Give one number.

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

layer = keras.layers.SimpleRNN(40)
layer.build((None, 26, 32))
exercises.check(
    1,
    answer_1,
    layer.count_params(),
    "each of the 40 units has a weight for every input, for every unit, and a bias.",
)

# %% [markdown]
# **2.** Write the step of a SimpleRNN for any number of units: `x` is (batch, features),
# `h` (batch, units), and the result is the new `h`.


# %% tags=["exercise-2"]
def step(x, h, kernel, recurrent_kernel, bias):
    """The new state."""
    return ...


# %%
wide = keras.Sequential([keras.Input((4, 3)), keras.layers.SimpleRNN(5, name="rnn")])
rng = np.random.default_rng(0)
wide.set_weights([rng.normal(size=v.shape) for v in wide.get_weights()])
batch = rng.normal(size=(2, 4, 3))
states = verify.load(wide).trace(batch, dtype="float64")["rnn"].h
exercises.check(
    2,
    step,
    states[:, 3],
    "x @ kernel is a row for each of the batch; np.tanh takes arrays, math's tanh does not.",
    of=(batch[:, 3], states[:, 2], *(v.astype(float) for v in wide.get_weights())),
)

# %% [markdown]
# **3.** Which two numbers does the pipeline make of the single word "example"? Give them
# as a list.

# %% tags=["exercise-3"]
answer_3 = ...

# %%
exercises.check(
    3,
    answer_3,
    pipeline.encode(["example"]).ravel(),
    "the model wants two steps, and the filling stands in front.",
)

# %% [markdown]
# ## What you have shown
#
# A SimpleRNN is one equation, applied once a word. With the weights that Keras learnt, and
# with those printed years ago, your own arithmetic gives what Keras predicts:

# %%
assert result.report.verdict == "PASS"
assert report.verdict == "PASS"
print(f"both in 64 bits: {report.proof.max_diff:.1e}")
print(f"Keras as it runs: {report.numerics.max_diff:.1e}")

# %% [markdown]
# Next: [the same for an LSTM](02_lstm_from_scratch.ipynb), which has four such equations.
