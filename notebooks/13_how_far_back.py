# %% [markdown]
# # 13. How far back an answer reaches
#
# **Goal.** You measure the vanishing gradient in the chapter's own networks, before and after training, with padding
# and with a mask, and see where it is and where it is not. Then you see why.
#
# **You need** [notebook 4](04_gates_and_memory.ipynb), what a derivative is, and for the second half matrices and
# their eigenvalues. The notebook takes about two minutes on two cores.

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
# Three networks before any training, and one tweet. By how much would the answer move if the vector of a word moved a
# little? The axis is logarithmic.

# %%
import numpy as np

import verify
from recipes import plots, sentiment_gru, sentiment_lstm, sentiment_rnn
from recipes.data.tweets import load_split
from recipes.explore import insight
from recipes.run import training

RECIPES = {"SimpleRNN": sentiment_rnn, "LSTM": sentiment_lstm, "GRU": sentiment_gru}
split = load_split(None, "post")
pipeline = split.pipeline
vocabulary = pipeline.vocabulary.size
praise = split.texts_test[52]
words = insight.words_read(pipeline, praise)
alone = insight.unpadded(pipeline, praise)

keras = training.start(seed=42)
norms = {}
for name, recipe in RECIPES.items():
    settings = recipe.Config(mask_zero=True)
    fresh = verify.load(recipe.build_model(settings, vocabulary, pipeline.length))
    norms[name] = insight.gradient_norms(fresh, alone, output=1)[0]
plots.gradients(norms, words, "Untrained: how strongly the answer depends on each word")

# %% [markdown]
# The line of the GRU falls by the same factor at every word, that of the LSTM more slowly, that of the SimpleRNN hardly
# at all. That is not what one hears about them. The rest of this notebook is about why.

# %% [markdown]
# ## Fewer gates: the GRU
#
# The SimpleRNN you know from notebook 1, the LSTM from notebook 2. A
# **GRU** has no cell state, and two gates where the LSTM has three:
#
# | | equation | says |
# |---|---|---|
# | update gate | $z = \sigma(x W_z + h U_z + b_z)$ | how much of the old state stays |
# | reset gate | $r = \sigma(x W_r + h U_r + b_r)$ | how much of the old state the candidate sees |
# | candidate | $\hat h = \tanh(x W_h + b_h + r\,(h U_h + b'_h))$ | what the new is |
# | hidden state | $h_t = z\, h_{t-1} + (1 - z)\, \hat h$ | memory and output in one |
#
# So `z` is forget gate and input gate at once: what is kept and what is written add up to 1. Keras
# stores the columns in the order z, r, h, and two rows of biases, one that is added to `x W` and
# one to `h U`. One step of a GRU of four units, by hand, on random weights:

# %%
gru = keras.Sequential([keras.Input((3, 2)), keras.layers.GRU(4, name="gru")])
rng = np.random.default_rng(0)
gru.set_weights([rng.normal(size=weight.shape) for weight in gru.get_weights()])
W, U, (b_x, b_h) = (weight.astype(float) for weight in gru.get_weights())
print("W", W.shape, " U", U.shape, " biases", b_x.shape, b_h.shape)

given = rng.normal(size=(1, 3, 2))
steps_of = verify.load(gru).trace(given, dtype="float64")["gru"]
x, h = given[:, 2], steps_of.h[:, 1]  # the third step, and the state before it
x_z, x_r, x_h = np.split(x @ W + b_x, 3, axis=1)
h_z, h_r, h_h = np.split(h @ U + b_h, 3, axis=1)
z = 1 / (1 + np.exp(-(x_z + h_z)))
r = 1 / (1 + np.exp(-(x_r + h_r)))
h_hat = np.tanh(x_h + r * h_h)
h_new = z * h + (1 - z) * h_hat
for name, ours in {"z": z, "r": r, "h_hat": h_hat, "h": h_new}.items():
    print(f"{name:6}", ours[0].round(4))
    np.testing.assert_allclose(ours, steps_of[name][:, 2], atol=1e-7)
assert sum(w.size for w in (W, U, b_x, b_h)) == 3 * 4 * (2 + 4 + 2)

# %% [markdown]
# Keras starts all its biases at 0, so an untrained `z` is near one half: at each step the memory of what
# was before is halved. Keep that number in mind.

# %% [markdown]
# ## How far back does an answer reach?
#
# The chapter says that early words fade: on the way back from the answer $y$ to the word
# $x_t$ the gradient passes through every step in between, and each multiplies it by something.
# If that is less than 1, it vanishes. Let us measure $|dy/dx_t|$, where $x_t$ is the vector
# that the Embedding makes of word t: by how much the answer moves if that vector does. It is
# also what training has to go by: a word without a gradient teaches nothing.
#
# Six networks, one epoch each: SimpleRNN, LSTM and GRU, with the padding masked, and without a
# mask as in the chapter. We keep each as it was before training, too.

# %%
import os

from recipes.run.training import one_hot

QUICK = "QUICK" in os.environ  # the project's own tests train less
MASKED, UNMASKED = True, False
some = slice(0, 512 if QUICK else None)
tested = slice(0, 300 if QUICK else None)
targets = one_hot(split.y_train, 2)

keras = training.start(seed=42)
models, untrained, trained, accuracy = {}, {}, {}, {}
for mask in (MASKED, UNMASKED):
    for name, recipe in RECIPES.items():
        settings = recipe.Config(epochs=1, mask_zero=mask)
        model = recipe.build_model(settings, vocabulary, pipeline.length)
        untrained[name, mask] = verify.load(model)
        model.fit(
            split.x_train[some], targets[some], batch_size=32, epochs=1, verbose=0
        )
        models[name, mask], trained[name, mask] = model, verify.load(model)
        p = trained[name, mask].predict(split.x_test[tested])
        right = (p.argmax(axis=1) == split.y_test[tested]).mean()
        accuracy[name, mask] = right
        print(f"{name:10} {'masked' if mask else 'not masked':12} right {right:.3f}")
majority = (split.y_test[tested] == 0).mean()
print(f"always saying negative  right {majority:.3f}")

# %% [markdown]
# The gradient is the verifier's own, step by step backwards in NumPy. Is it right? `check` holds
# it against the automatic differentiation of Keras, for every weight:

# %%
report = verify.check(models["LSTM", MASKED], split.x_test[:64], gradients=True)
print(report)
assert report.verdict == "PASS"

# %% [markdown]
# The table at the end is the proof: the gradient of each weight, both sides in float64. The same
# for the number we are after, on one tweet, and for all three networks:

# %%
import tensorflow as tf

x = pipeline.encode([praise])
for name in RECIPES:
    embedding, recurrent, dense = models[name, MASKED].layers
    vectors = embedding(x)  # (1, time, 32)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        y = dense(recurrent(vectors, mask=embedding.compute_mask(x)))[:, 1]
    theirs = np.linalg.norm(tape.gradient(y, vectors), axis=-1)
    ours = insight.gradient_norms(trained[name, MASKED], x, output=1)
    apart = np.abs(ours - theirs).max() / ours.max()
    print(f"{name:10} greatest |dy/dx_t| {ours.max():.4f}   off by {apart:.0e} of it")
    assert apart < 1e-4  # Keras computes with 32 bits here

# %%
norms = {}
for name in RECIPES:
    norms[name] = insight.gradient_norms(trained[name, MASKED], alone, output=1)[0]
plots.gradients(norms, words, "How strongly the answer depends on each word: trained")

# %% [markdown]
# One tweet proves little. So: many test tweets of twelve words and more, lined up at their last
# word. Each is divided by its own value at the last word, so that only the fading counts.

# %%
import pandas as pd

lengths = (split.x_test != 0).sum(axis=1)
long = split.x_test[lengths >= 12][: 40 if QUICK else 200]
BACK = 12
labels = ["last", *(f"-{k}" for k in range(1, BACK))]


def fading(network):
    """(rows, words back): the gradient as a share of that at the last word."""
    values = insight.gradient_norms(network, long, output=1)
    lined = insight.from_the_end(values, long, BACK)
    return lined / lined[:, :1]


def medians(networks, mask):
    """Median share 1, 5 and 11 words before the last."""
    found = {}
    for name in RECIPES:
        found[name] = np.median(fading(networks[name, mask]), axis=0)[[1, 5, 11]]
    return pd.DataFrame(found, index=["1 word back", "5", "11"]).T


print(f"{len(long)} tweets, trained, masked")
print(medians(trained, MASKED).round(4))
plots.gradients(
    {name: fading(trained[name, MASKED]) for name in RECIPES},
    labels,
    "Trained: |dy/dx_t| as a share of that at the last word",
)

# %% [markdown]
# This is not the picture of the textbooks. Eleven words back the trained networks have about half
# of the gradient that they have at the last word, or more, and the SimpleRNN is no exception. What
# they have learnt reaches across a tweet. Now the same networks **before** training:

# %%
print(f"{len(long)} tweets, untrained, masked")
print(medians(untrained, MASKED).round(4))
plots.gradients(
    {name: fading(untrained[name, MASKED]) for name in RECIPES},
    labels,
    "Untrained: |dy/dx_t| as a share of that at the last word",
)

# %%
start = medians(untrained, MASKED)["11"]
assert start["SimpleRNN"] > 0.3
assert start["LSTM"] < 0.3
assert start["GRU"] < 0.05
if not QUICK:
    assert (medians(trained, MASKED)["11"] > 0.3).all()

# %% [markdown]
# Here is the vanishing gradient, and it is in the LSTM and the GRU: what they keep of a memory at
# each step starts at 0.73 and at one half. The SimpleRNN starts without it, for a reason that
# comes below. So in these networks fading is where training *begins*.

# %% [markdown]
# ## The chapter's own padding
#
# The chapter pads behind the words and does not mask. Then the last word is not the last step:
# behind it the network goes on, through one zero after the other, and all that it knows of the
# words has to survive that. Here is a short tweet in the untrained networks, padding and all:

# %%
short_row = int(np.flatnonzero(lengths == 6)[0])
short = insight.words_read(pipeline, split.texts_test[short_row])
x = split.x_test[short_row : short_row + 1]
axis = [*short, *["(padding)"] * (pipeline.length - len(short))]
norms = {}
for name in RECIPES:
    norms[name] = insight.gradient_norms(untrained[name, UNMASKED], x, output=1)[0]
plots.gradients(norms, axis, "Untrained, not masked: the padding comes last")

# %% [markdown]
# To the GRU and the LSTM the padding is what counts, and the words are far away. Over many
# tweets, the gradient at the last *word*, with and without a mask:

# %%
tweets = split.x_test[(lengths >= 4) & (lengths <= 10)][: 40 if QUICK else 200]
last_word = []
for state, networks in (("untrained", untrained), ("trained", trained)):
    for name in RECIPES:
        line = {"network": name, "state": state}
        for mask, heading in ((MASKED, "masked"), (UNMASKED, "not masked")):
            values = insight.gradient_norms(networks[name, mask], tweets, output=1)
            at_end = insight.from_the_end(values, tweets, 1)[:, 0]
            line[heading] = float(np.median(at_end))
        last_word.append({**line, "share": line["not masked"] / line["masked"]})
last_word = pd.DataFrame(last_word).set_index(["state", "network"])
last_word.map("{:.2g}".format)

# %% [markdown]
# Read the untrained rows first. Without a mask the gradient at the last word is a small part of
# the other in the LSTM, next to nothing in the GRU, and most of it in the SimpleRNN. This is the
# chapter's vanishing gradient at work in its own models, and padding is what brings it about: a
# tweet is short, but 26 steps are long.
#
# Then the trained rows. In the LSTM one epoch has brought much of the gradient back. In the GRU it
# has not, and the accuracies above say the same: without a mask the GRU is no better than always
# saying "negative". After this one epoch it has not begun to learn.

# %%
share = last_word["share"]["untrained"]
assert share["GRU"] < 0.01
assert share["LSTM"] < 0.2
assert share["SimpleRNN"] > 0.3
if not QUICK:
    assert last_word["share"]["trained", "LSTM"] > 2 * share["LSTM"]
    assert accuracy["GRU", UNMASKED] < accuracy["GRU", MASKED] - 0.03

# %% [markdown]
# ## Why: the same matrix, again and again
#
# The chapter writes the state out. Take a SimpleRNN without its `tanh` and put each state into
# the next: the first word has been multiplied by `U` once for every later step.
#
# $$ h_5 = x_5 w + U x_4 w + U^2 x_3 w + U^3 x_2 w + U^4 x_1 w $$

# %%


def scalar(u, activation, steps, w=1.0):
    """A network of one recurrent unit, with these weights."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((steps, 1)),
            layers.SimpleRNN(1, activation=activation, name="rnn"),
        ]
    )
    model.set_weights([np.array([[w]]), np.array([[u]]), np.array([0.0])])
    return verify.load(model)


x = np.array([0.5, -1.0, 2.0, 0.25, -0.5])  # five "words"
w, u = 2.0, 0.5
h5 = x[4] * w + u * x[3] * w + u**2 * x[2] * w + u**3 * x[1] * w + u**4 * x[0] * w
step_by_step = scalar(u, "linear", 5, w).predict(x[None, :, None], dtype="float64")
print("written out ", h5)
print("step by step", step_by_step.item())
assert abs(h5 - step_by_step.item()) < 1e-12

# %% [markdown]
# So the first word counts `U**4` times as much as the last. Now 30 steps, with `U` below 1, at 1 and
# above 1, without `tanh` and with it:

# %%
inputs = np.random.default_rng(0).normal(scale=0.5, size=(1, 30, 1))


def reach(u, activation):
    """|dh_T / dh_(T-k)| for k = 1 ... 30, from the verifier."""
    network = scalar(u, activation, 30)
    return insight.jacobian_products(network, inputs, "rnn")["h"][0][::-1]


lines = {}
for u in (0.5, 1.0, 1.5):
    np.testing.assert_allclose(reach(u, "linear"), u ** np.arange(1.0, 31.0))
    lines[f"U = {u}, linear"] = reach(u, "linear")
    lines[f"U = {u}, tanh"] = reach(u, "tanh")
plots.powers(
    lines,
    "One unit: what U does to the past",
    ylabel="|dh_T / dh_(T-k)|",
    xlabel="steps back, k",
)

# %%
for name, line in lines.items():
    print(f"{name:18} after 10 steps {line[9]:8.2g}   after 30 {line[29]:8.2g}")
assert all(line[29] < 1e-4 for name, line in lines.items() if "tanh" in name)

# %% [markdown]
# Without `tanh` the past vanishes below 1, explodes above 1, and stays at exactly 1. With `tanh`
# each step multiplies by $U (1 - h^2)$ instead, which is less than `U` wherever the state is not 0.
# On these inputs the past then vanishes in all three cases.
#
# ## The same for matrices
#
# With 40 units `U` is a matrix. In place of the number stands its **spectral radius**, the size
# of its greatest eigenvalue. It rules how large the powers of the matrix are in the end. How much a
# matrix stretches a vector at most is its greatest *singular value*; that of each power:

# %%
rng = np.random.default_rng(1)
gaussian = rng.normal(size=(40, 40))
gaussian /= np.abs(np.linalg.eigvals(gaussian)).max()  # spectral radius 1
orthogonal = np.asarray(keras.initializers.Orthogonal(seed=1)((40, 40)), dtype=float)


def powers(matrix):
    """The greatest stretch by the first 30 powers."""
    every = [np.linalg.matrix_power(matrix, k) for k in range(1, 31)]
    return insight.greatest_singular_value(np.array(every))


plots.powers(
    {
        "random, spectral radius 0.8": powers(0.8 * gaussian),
        "random, spectral radius 1": powers(gaussian),
        "random, spectral radius 1.2": powers(1.2 * gaussian),
        "orthogonal": powers(orthogonal),
    },
    "40 units: the greatest stretch by U to the power k",
    ylabel="greatest singular value",
    xlabel="power k",
)

# %% [markdown]
# A random matrix stretches some vectors at first even where its powers shrink in the end. An
# **orthogonal** matrix does neither: it turns vectors and keeps their length, however often. Keras
# starts every `recurrent_kernel` as an orthogonal matrix, and that is why the gradient of the
# untrained SimpleRNN did not fade.

# %%
np.testing.assert_allclose(orthogonal @ orthogonal.T, np.eye(40), atol=1e-5)
np.testing.assert_allclose(powers(orthogonal), 1, atol=1e-5)
initializer = keras.layers.SimpleRNN(40).recurrent_initializer
assert isinstance(initializer, keras.initializers.Orthogonal)


def radius(network):
    """Return the spectral radius of the recurrent kernel of a SimpleRNN."""
    kernel = network.spec["rnn"].weights["recurrent_kernel"]
    return np.abs(np.linalg.eigvals(kernel)).max()


print(f"spectral radius before training {radius(untrained['SimpleRNN', MASKED]):.4f}")
print(f"after an epoch                  {radius(trained['SimpleRNN', MASKED]):.4f}")
assert abs(radius(untrained["SimpleRNN", MASKED]) - 1) < 1e-5

# %% [markdown]
# ## What gates do about it
#
# In a SimpleRNN the way back through one step is the matrix $J_t = \mathrm{diag}(1 - h_t^2)\,
# U^T$, and through many steps their product. Here it is by hand for one tweet, beside the
# verifier's:

# %%
rnn = trained["SimpleRNN", MASKED]
h = rnn.trace(alone, dtype="float64")["rnn"].h[0]  # (words, units)
u = rnn.spec["rnn"].weights["recurrent_kernel"].astype(float)
product, sizes = np.eye(40), []
for t in reversed(range(len(h))):
    product = product @ (np.diag(1 - h[t] ** 2) @ u.T)
    sizes.append(np.linalg.norm(product, 2))
whole = insight.jacobian_products(rnn, alone, "rnn")["h"][0]
np.testing.assert_allclose(sizes[::-1], whole, rtol=1e-9)

# %% [markdown]
# An LSTM's cell state has another way back. By its equation $c_t = f c_{t-1} + i \hat c$,
#
# $$ \frac{dc_t}{dc_{t-1}} = f_t \;+\; \text{what comes through } h_{t-1}, $$
#
# since the gates and the candidate depend on $h_{t-1}$, and that on $c_{t-1}$. The first term is
# the famous one: no matrix, no `tanh`, just the forget gate. Where `f` is 1 it passes the gradient
# on whole. What are these products worth along real tweets? For each tweet the whole
# product, and for the LSTM also the part that uses the forget gates alone:

# %%
some_tweets = long[: 20 if QUICK else 60]
lstm = trained["LSTM", MASKED]
along = lstm.trace(some_tweets, dtype="float64")["lstm"]
f = np.where(along.mask[..., None], along.f, 1.0)  # a masked step keeps its state whole
kept = np.flip(np.cumprod(np.flip(f, axis=1), axis=1), axis=1)  # from t to the end
h_from_c = along.o * (1 - np.tanh(along.c) ** 2)
last = lengths[lengths >= 12][: len(some_tweets)] - 1
at_last = h_from_c[np.arange(len(last)), last][:, None]  # of the last word
by_gates_alone = (at_last * kept).max(axis=-1)  # diagonal: its greatest number


def lined(values):
    """The median over the tweets, 1, 2, ... steps back."""
    return np.median(insight.from_the_end(values, some_tweets, BACK), axis=0)


through_lstm = insight.jacobian_products(lstm, some_tweets, "lstm")
through_rnn = insight.jacobian_products(rnn, some_tweets, "rnn")
at_start = {}
for name, layer in (("SimpleRNN", "rnn"), ("LSTM", "lstm")):
    network = untrained[name, MASKED]
    at_start[name] = insight.jacobian_products(network, some_tweets, layer)
one_step = insight.from_the_end(by_gates_alone, some_tweets, 1)
np.testing.assert_allclose(  # back through one step there is no other way
    one_step, insight.from_the_end(through_lstm["c"], some_tweets, 1), rtol=1e-9
)
products = {
    "SimpleRNN: dh_T/dh": lined(through_rnn["h"]),
    "LSTM: dh_T/dc": lined(through_lstm["c"]),
    "LSTM: by its forget gates alone": lined(by_gates_alone),
    "untrained SimpleRNN: dh_T/dh": lined(at_start["SimpleRNN"]["h"]),
    "untrained LSTM: dh_T/dc": lined(at_start["LSTM"]["c"]),
}
plots.powers(
    products,
    f"Back through up to {BACK} words of real tweets, median",
    ylabel="greatest singular value",
    xlabel="words back",
)

# %%
for name, line in products.items():
    print(f"{name:33} 1 step {line[0]:.3f}   6 steps {line[5]:.3f}   12 {line[11]:.3f}")
real = along.f[along.mask]
print(f"forget gates: median {np.median(real):.2f}, greatest {real.max():.2f}")
assert products["LSTM: by its forget gates alone"][11] < 0.3
if not QUICK:
    whole, gates_alone = products["LSTM: dh_T/dc"], lined(by_gates_alone)
    assert whole[11] > 3 * gates_alone[11]

# %% [markdown]
# So look at what this LSTM really does. Most of its forget gates are still near 0.73, where Keras
# put them; through them alone a memory of twelve words ago would count a few hundredths. Yet the
# whole product is many times greater: the rest comes back through `h`, as in a SimpleRNN. The gates
# *can* hold a memory for long. Whether they *do* is a matter of what training makes of them, and
# here it has left them nearly as they were.

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/13_how_far_back.py`.
#
# **1.** Predict first: the update gate of a GRU stays at one half, and nothing else comes from the past. By which number
# is a change of the state multiplied after ten steps?

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(1, answer_1, 0.5**10, "each step keeps z of what was there before it.")

# %% [markdown]
# **2.** Write the last line of a GRU's step: the new state of the old one, the update gate and the candidate.


# %% tags=["exercise-2"]
def new_state(h, z, h_hat):
    """The state after the step, (batch, units)."""
    return ...


# %%
before, gates = (
    steps_of.h[:, 0],
    {name: steps_of[name][:, 1] for name in ("z", "h_hat")},
)
exercises.check(
    2,
    new_state,
    steps_of.h[:, 1],
    "in Keras z says how much of the OLD state stays.",
    of=(before, gates["z"], gates["h_hat"]),
)

# %% [markdown]
# **3.** By which number must you divide this matrix so that its powers neither vanish nor explode
# in the end?

# %% tags=["exercise-3"]
matrix = np.array([[0.9, 2.0], [0.1, 1.4]])
answer_3 = ...

# %%
exercises.check(
    3,
    answer_3,
    np.abs(np.linalg.eigvals(matrix)).max(),
    "the powers are ruled by the greatest eigenvalue, not by the greatest stretch.",
)

# %% [markdown]
# ## What you have shown
#
# You have measured how far back answers reach, with gradients that are proved against Keras's. The vanishing gradient is
# there in the untrained LSTM and GRU, and padding without a mask makes it much worse; the trained networks with a mask
# reach across a tweet.

# %%
assert report.verdict == "PASS"
assert all(g.comparison.matches for g in report.gradients)
worst_gradient = max(g.comparison.max_diff for g in report.gradients)
print("Keras's gradients and NumPy's agree to", worst_gradient)

# %% [markdown]
# Next: [could it have failed?](14_could_it_have_failed.ipynb), which goes on from notebook 6.
