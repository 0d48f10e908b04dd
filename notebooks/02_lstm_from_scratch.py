# %% [markdown]
# # 2. An LSTM from scratch
#
# **Goal.** You compute every gate of an LSTM yourself, at both steps, know which column of
# the weights belongs to which gate, and see what happens if you confuse them.
#
# **You need** [notebook 1](01_rnn_from_scratch.ipynb). The notebook takes about a minute.

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

# %%
from recipes import toy_lstm
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions

result = toy_lstm.run(toy_lstm.Config(), RunOptions(RunFolder("runs/toy_lstm")))

# %% [markdown]
# ## Why not a SimpleRNN?
#
# A SimpleRNN makes its state anew at every step: whatever it wants to remember must pass
# through the same `tanh` and the same weights again and again, and fades. An **LSTM** has a
# second state beside `h`, the **cell state** `c`. It is changed by multiplying and
# adding only, and *gates* decide by how much. A gate is a number between 0 (closed) and 1
# (open), computed from the word and the old `h` like a SimpleRNN's state, with a sigmoid
# in the place of `tanh`:
#
# | | equation | says |
# |---|---|---|
# | input gate | $i = \sigma(x W_i + h U_i + b_i)$ | how much of the new is written |
# | forget gate | $f = \sigma(x W_f + h U_f + b_f)$ | how much of the old is kept |
# | candidate | $\hat c = \tanh(x W_c + h U_c + b_c)$ | what the new is |
# | output gate | $o = \sigma(x W_o + h U_o + b_o)$ | how much is shown |
# | cell state | $c_t = f\, c_{t-1} + i\, \hat c$ | the memory |
# | hidden state | $h_t = o\, \tanh(c_t)$ | what the next layer sees |
#
# ## Four gates, one matrix
#
# Keras keeps the four `W` side by side in one matrix, `kernel`, likewise the four `U` in
# `recurrent_kernel` and the four `b` in `bias`. The order of the columns is i, f, c, o. It
# stands nowhere in the file of a model; whoever takes the weights elsewhere must know it.

# %%
import verify

net = verify.load("runs/toy_lstm/model.keras")
print(verify.describe(net))

# %% [markdown]
# An LSTM has four times the parameters of a SimpleRNN:
#
# $$ 4 \times \text{units} \times (\text{inputs} + \text{units} + 1) $$

# %%
units, inputs, words = 1, 1, 5
lstm_parameters = 4 * units * (inputs + units + 1)
dense_parameters = units * words + words
print(lstm_parameters, "+", dense_parameters)

assert lstm_parameters == net.spec["lstm"].parameters == 12
assert dense_parameters == net.spec["dense"].parameters == 10

# %%
from recipes import plots

plots.parameter_blocks(net.spec, "The 22 parameters of the toy LSTM")

# %% [markdown]
# ## The first step, gate by gate
#
# With one unit each gate owns one column. `lstm.gates` is the order of the columns, so the
# letters below are never typed twice.

# %%
from math import exp, tanh

import numpy as np

from recipes.data import toy

pipeline = toy.pipeline()
x = pipeline.encode(["this is", "is an"])  # (batch, time, features) = (2, 2, 1)
trace = net.trace(x[:1], dtype="float64")["lstm"]

lstm = net.spec["lstm"]
print("columns:", ", ".join(lstm.gates))
w = dict(zip(lstm.gates, lstm.weights["kernel"][0].tolist(), strict=True))
u = dict(zip(lstm.gates, lstm.weights["recurrent_kernel"][0].tolist(), strict=True))
b = dict(zip(lstm.gates, lstm.weights["bias"].tolist(), strict=True))
for gate in lstm.gates:
    print(f"  {gate}: w = {w[gate]:9.6f}   u = {u[gate]:9.6f}   b = {b[gate]:9.6f}")


def sigmoid(z):
    """A number between 0 and 1."""
    return 1 / (1 + exp(-z))


def same(ours, name, t):
    """Print a number of ours; it must be the verifier's."""
    print(f"{name}{t + 1} = {ours:.8f}")
    assert abs(ours - trace[name][0, t, 0]) < 1e-12


# %% [markdown]
# The first word is "this", the number 3. Before it there is nothing: `h` and `c` are 0.

# %%
x1, h0, c0 = 3.0, 0.0, 0.0

# %% [markdown]
# **Input gate**, $i_1 = \sigma(x_1 W_i + h_0 U_i + b_i)$:

# %%
i1 = sigmoid(x1 * w["i"] + h0 * u["i"] + b["i"])
same(i1, "i", 0)

# %% [markdown]
# **Forget gate**, $f_1 = \sigma(x_1 W_f + h_0 U_f + b_f)$. At the first step there is
# nothing to forget, so it does not matter yet. Keras starts its bias at 1, not at 0, so
# that an untrained LSTM remembers.

# %%
f1 = sigmoid(x1 * w["f"] + h0 * u["f"] + b["f"])
same(f1, "f", 0)

# %% [markdown]
# **Candidate**, $\hat c_1 = \tanh(x_1 W_c + h_0 U_c + b_c)$:

# %%
c_hat1 = tanh(x1 * w["c"] + h0 * u["c"] + b["c"])
same(c_hat1, "c_hat", 0)

# %% [markdown]
# **Cell state**, $c_1 = f_1 c_0 + i_1 \hat c_1$:

# %%
c1 = f1 * c0 + i1 * c_hat1
same(c1, "c", 0)

# %% [markdown]
# **Output gate**, $o_1 = \sigma(x_1 W_o + h_0 U_o + b_o)$, and the **hidden state**,
# $h_1 = o_1 \tanh(c_1)$:

# %%
o1 = sigmoid(x1 * w["o"] + h0 * u["o"] + b["o"])
h1 = o1 * tanh(c1)
same(o1, "o", 0)
same(h1, "h", 0)

# %% [markdown]
# ## The second step
#
# The word is "is", the number 1. The weights are the same, the states are not 0 any more:
# now the forget gate and the recurrent weights count.

# %%
x2 = 1.0
i2 = sigmoid(x2 * w["i"] + h1 * u["i"] + b["i"])
f2 = sigmoid(x2 * w["f"] + h1 * u["f"] + b["f"])
c_hat2 = tanh(x2 * w["c"] + h1 * u["c"] + b["c"])
c2 = f2 * c1 + i2 * c_hat2
o2 = sigmoid(x2 * w["o"] + h1 * u["o"] + b["o"])
h2 = o2 * tanh(c2)
for name, value in zip(
    ("i", "f", "c_hat", "c", "o", "h"), (i2, f2, c_hat2, c2, o2, h2), strict=True
):
    same(value, name, 1)

# %% [markdown]
# Then the Dense layer and the softmax, as in notebook 1:

# %%
dense = net.spec["dense"].weights
logits = h2 * dense["kernel"][0].astype(float) + dense["bias"].astype(float)
probabilities = np.exp(logits) / np.exp(logits).sum()
for word, p in zip(pipeline.classes, probabilities, strict=True):
    print(f"{word:10} {p:.6f}")

# %%
plots.unrolled(
    net,
    x[:1],
    ["this", "is"],
    'The LSTM unrolled over "this is"',
    classes=pipeline.classes,
)

# %%
from recipes.run import training

keras = training.start(seed=42)
model = keras.models.load_model("runs/toy_lstm/model.keras")
predicted = model.predict(x[:1], verbose=0)[0]

print("by hand", probabilities.round(6))
print("Keras  ", predicted.round(6))
assert np.abs(probabilities - predicted).max() < 1e-6

report = verify.check(model, x)
print()
print(report)

# %% [markdown]
# ## The weights printed with the chapter
#
# Again there are weights and a prediction that nobody here could tune: those printed with
# the chapter's notebook.

# %%
published = toy_lstm.build_model(toy_lstm.Config())
published.set_weights(
    [
        np.array([[0.01893798, -0.01265655, 0.45142433, -0.2514151]]),
        np.array([[0.19410396, 0.72569233, 0.79784596, 0.54982764]]),
        np.array([0.31918937, 1.5844553, 0.15022673, 0.31409034]),
        np.array([[-0.38649145, -0.13294883, 0.969494, -0.8276547, -0.32456025]]),
        np.array([-0.44486812, -0.4477383, 0.42624277, -0.4402125, 0.46074733]),
    ]
)
printed = np.array([0.10610605, 0.11620068, 0.41860935, 0.09055618, 0.26852772])

chapter = verify.load(published)
ours = chapter.predict(x[:1], dtype="float64")[0]
print("printed with the chapter", printed)
print("NumPy                   ", ours.round(8))
print("greatest difference      ", np.abs(ours - printed).max())
assert np.abs(ours - printed).max() < 1e-7

# %%
plots.gate_columns(chapter.spec["lstm"], "The chapter's LSTM, gate by gate")

# %% [markdown]
# ## What each wrong order would have predicted
#
# Four gates can stand in 24 orders, and libraries differ: PyTorch has i, f, c, o as Keras has
# (it writes g for the candidate), ONNX has i, o, f, c. Nothing crashes if you take the wrong
# one, because every column has the same shape. So here are all 23 wrong orders, each with the
# prediction that it makes of the chapter's weights.

# %%
import pandas as pd

from verify.forward.network import Network
from verify.mistakes.catalogue import catalogue

rows = {"i,f,c,o (Keras)": ours}
for mistake in catalogue(chapter.spec):
    if mistake.name.startswith("gate order") and "alone" not in mistake.name:
        wrong = Network(mistake.model).predict(x[:1], dtype="float64")[0]
        rows[mistake.name.removeprefix("gate order ")] = wrong
orders = pd.DataFrame(rows, index=list(pipeline.classes)).T
orders["greatest difference"] = np.abs(orders - printed).max(axis=1)
orders.sort_values("greatest difference").round(6)

# %% [markdown]
# All rows are probabilities, most look alike, and most even have the largest number in the
# same place: a test that asks only which word wins would let them pass. The numbers do not.

# %%
winners = orders[list(pipeline.classes)].idxmax(axis=1)
agree = int((winners == winners.iloc[0]).sum()) - 1
nearest = orders["greatest difference"].iloc[1:].min()
print(f"{agree} of 23 wrong orders have the right word on top")
print(f"the nearest of them is off by {nearest:.1e}")
assert len(orders) == 24
assert (orders["greatest difference"] < 1e-7).sum() == 1

# %% [markdown]
# ## A mistake, found
#
# You do not have to try orders one by one. Give the verifier the outputs of the wrong
# program, and it says what its mistake is. Here somebody reads the columns as i, f, o, c:


# %%
def port(x, kernel, recurrent_kernel, bias, out_kernel, out_bias):
    """Somebody's LSTM, with the last two gates exchanged."""
    h = c = np.zeros((len(x), 1))
    for t in range(x.shape[1]):
        z = x[:, t] @ kernel + h @ recurrent_kernel + bias
        i, f, o, c_hat = np.split(z, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(c_hat)
        h = o * np.tanh(c)
    e = np.exp(h @ out_kernel + out_bias)
    return e / e.sum(axis=1, keepdims=True)


texts = ["this is", "is an", "an example", "example this", "is", "this an"]
several = pipeline.encode(texts)
found = verify.compare_outputs(
    published, several, port(several, *published.get_weights())
)
print(found)
assert found.verdict == "FAIL"
assert "i,f,o,c" in found.diagnosis.explanations[0].explanation

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/02_lstm_from_scratch.py`.
#
# **1.** Which columns of the kernel of `LSTM(40)` belong to the forget gate? Give two numbers, the
# first and the one behind the last, as in a slice.

# %% tags=["exercise-1"]
answer_1 = (..., ...)

# %%
from recipes.explore import exercises

start = lstm.gates.index("f") * 40
exercises.check(
    1,
    answer_1,
    (start, start + 40),
    "each gate has as many columns as units; the second is the one behind the last.",
)

# %% [markdown]
# **2.** Write one step of an LSTM for any number of units. `x` is (batch, features), `h`
# and `c` are (batch, units). Return the new `h` and `c`.


# %% tags=["exercise-2"]
def step(x, h, c, kernel, recurrent_kernel, bias):
    """The new states."""
    return ...


# %%
wide = keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(5, name="lstm")])
rng = np.random.default_rng(0)
wide.set_weights([rng.normal(size=v.shape) for v in wide.get_weights()])
batch = rng.normal(size=(2, 4, 3))
states = verify.load(wide).trace(batch, dtype="float64")["lstm"]
exercises.check(
    2,
    step,
    np.stack([states.h[:, 3], states.c[:, 3]]),
    "four blocks of columns, i, f, c, o; h is returned first; np.exp takes arrays.",
    of=(
        batch[:, 3],
        states.h[:, 2],
        states.c[:, 2],
        *(v.astype(float) for v in wide.get_weights()),
    ),
)

# %% [markdown]
# **3.** Which value must `f` have at every step, and which `i`, so that an LSTM keeps its
# cell state for ever? Give the pair (f, i).

# %% tags=["exercise-3"]
answer_3 = (..., ...)

# %%
exercises.check(
    3, answer_3, (1.0, 0.0), "c = f * c + i * c_hat must give c, whatever c_hat is."
)

# %% [markdown]
# ## What you have shown
#
# An LSTM is six equations, applied once a word. You have computed each with this model's
# numbers, and of the 24 orders of the gates only i, f, c, o gives what Keras predicts.

# %%
assert result.report.verdict == "PASS"
assert report.verdict == "PASS"
print(f"both in 64 bits: {report.proof.max_diff:.1e}")
print(f"Keras as it runs: {report.numerics.max_diff:.1e}")

# %% [markdown]
# Next: [real tweets](03_sentiment.ipynb).
