# %% [markdown]
# # 5. Padding and masks
#
# **Goal.** You see what it costs to fill tweets up to one length, in front, behind, and masked,
# and you look inside a network to see why.
#
# **You need** [notebook 3](03_sentiment.ipynb), and what |dy/dx_t| is from
# [notebook 13](13_how_far_back.ipynb). The notebook takes two to three minutes on two
# cores.

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
# Tweets have different lengths, a batch is one array. So shorter ones are filled up with 0. Here are
# three words, and the same three filled up, for a network that does not know what the zeros are and one
# that does:

# %%
import numpy as np

from recipes.run import training

keras = training.start(seed=42)
for mask_zero in (False, True):
    embedding = keras.layers.Embedding(10, 4, mask_zero=mask_zero)
    network = keras.Sequential([embedding, keras.layers.LSTM(1)])
    short, filled_up = [[5, 2, 7]], [[5, 2, 7, 0, 0, 0, 0, 0]]
    print(
        mask_zero,
        *(network.predict(np.array(x), verbose=0) for x in (short, filled_up)),
    )

# %% [markdown]
# With `mask_zero=False` the zeros are computed like words, and the answer is another one. With
# `mask_zero=True` the Embedding tells the layers behind it which steps are filling, and they skip them:
# the answer is the same.

# %% [markdown]
# ## Three ways to fill up
#
# The same tweet with zeros in front ("pre"), with zeros behind ("post"), and what a mask is: one
# truth value a step, False where the id is 0.

# %%
from recipes.data.tweets import load_split
from verify.data.text import pad, words

split = load_split(None, "post")
vocabulary = split.pipeline.vocabulary
tweet = "@united thanks for the great flight"
ids = vocabulary.encode([words(tweet)])
print(words(tweet), "->", ids[0])
print("pre  ", pad(ids, 10, "pre")[0])
print("post ", pad(ids, 10, "post")[0])
print("mask ", (pad(ids, 10, "post")[0] != 0).astype(int), " for post")

# %% [markdown]
# The longest tweet has 26 words, so 26 steps are enough. But how much of that is filling already?
# And what if somebody chooses a round number, such as 150?

# %%
written = (split.x_test != 0).sum(axis=1).mean()
print(f"{written:.1f} words a tweet, on average")
for length in (26, 75, 150):
    print(f"{length:4} steps: {1 - written / length:.0%} of them are filling")

# %% [markdown]
# ## The study
#
# The chapter's LSTM, filled up in each of the three ways, to each length, each with three seeds, for one
# epoch in batches of 64. (Notebooks 3 and 4 train in batches of 32, so their figures differ a little. Here
# are the shortest length and a long one; `rnn-recipe run padding_study` has one between them too.)

# %%
import os

from recipes import padding_study

QUICK = "QUICK" in os.environ  # the project's own tests train less
LENGTHS = (26, 75 if QUICK else 150)
study = padding_study.study(
    padding_study.Config(
        recipes=("sentiment_lstm",),
        lengths=LENGTHS,
        seeds=1 if QUICK else 3,
        batch_size=128 if QUICK else 64,
    ),
    "runs/padding",
)
print(padding_study.table(study))

# %%
padding_study.figure(study)

# %%
mean = {name: values.mean(axis=0) for name, values in study.accuracy.items()}
majority, _ = study.baselines["majority_class"]
lost = mean["LSTM, masked"] - mean["LSTM, post"]
for length, by in zip(LENGTHS, lost, strict=True):
    print(f"{length:4} steps: zeros behind cost {by:.3f}")

# with a mask, filling changes nothing at all
masked = study.accuracy["LSTM, masked"]
assert (masked == masked[:, :1]).all()
assert mean["LSTM, masked"].min() > mean["LSTM, pre"].max()
# with zeros behind, the longest networks answer as if they had not read anything
assert (study.accuracy["LSTM, post"][:, -1] == majority).all()

# %% [markdown]
# Three things to see:
#
# - **Masked**, the accuracy is the same for every length, to the last digit: the filled-up steps are
#   skipped, so the network computes the same numbers.
# - **Behind**, without a mask, the accuracy falls to that of always saying "negative". This is an LSTM,
#   the network that is said to remember; but behind the words it sees nothing but filling, for more than
#   a hundred steps. (This is after one epoch. What it has not begun to learn, a longer training may or may
#   not find.)
# - **In front**, without a mask, it hardly depends on the length, and stays below the masked one.
#
# ## Why: the state forgets
#
# Let us look into the network that was filled up behind, to the greatest length. Two tweets that say
# opposite things; at every step, how far apart are their states?

# %%
import verify

longest = LENGTHS[-1]
file = f"runs/padding/sentiment_lstm-post-{longest}-42/model.keras"
net = verify.load(file)
pair = ["@united worst airline ever never again", "@united thanks for the great flight"]
x = pad(vocabulary.encode([words(text) for text in pair]), longest, "post")
trace = net.trace(x, dtype="float64")["lstm"]

apart = np.linalg.norm(trace.h[0] - trace.h[1], axis=-1)  # (time,)
read = int((x != 0).sum(axis=1).max())
print(f"after the words      : {apart[read - 1]:.1e}")
print(f"after {longest} steps      : {apart[-1]:.1e}")
print("answers:", net.predict(x).round(4).tolist())

# %%
from recipes import plots

plots.powers(
    {"two tweets, zeros behind": apart},
    "How far apart the states of two opposite tweets are",
    ylabel="length of the difference of h",
    xlabel="time step",
)

# %% [markdown]
# Both tweets begin with "united", so at first there is no difference. Then, at every step of filling, the
# network gets the same vector, whatever the tweet was. The difference of the two states shrinks by
# nearly the same factor at each step, which is close to a straight line on this log axis, and at the
# end both tweets have the same state: a *fixed point*, which depends on the weights only. The
# answer is read from there. It cannot depend on the tweet.

# %%
filling = longest - read
factor = (apart[-1] / apart[read - 1]) ** (1 / filling)
print(
    f"{filling} steps of filling leave {apart[-1] / apart[read - 1]:.0e} of the difference,"
)
print(f"as if each multiplied it by {factor:.2f}")
assert factor < 1
assert apart[-1] < 1e-3 * apart[read - 1]

# %% [markdown]
# And the gradient has to go back through the same steps. It is multiplied by the same kind of factor at
# each, so hardly anything reaches the words, and the network cannot learn to do better:

# %%
from recipes.explore.insight import gradient_norms

kinds = {"zeros behind": "post", "masked": "masked", "zeros in front": "pre"}
reach = {}
for name, kind in kinds.items():
    other = verify.load(f"runs/padding/sentiment_lstm-{kind}-{longest}-42/model.keras")
    row = pad(
        vocabulary.encode([words(pair[1])]), longest, "pre" if kind == "pre" else "post"
    )
    norms = gradient_norms(other, row, output=1)[0]  # (time,)
    reach[name] = norms[row[0] != 0]  # at the words

plots.gradients(reach, words(pair[1]), "How strongly the answer depends on each word")

# %%
for name, norms in reach.items():
    print(f"{name:15} {norms.max():.1e} at the word that counts most")
assert reach["zeros behind"].max() < 1e-2 * reach["masked"].max()

# %% [markdown]
# ## In front: a warm-up
#
# Zeros in front are read before the first word. They take the state from 0 to the fixed point; there the
# first word finds it, and nothing that matters has been read before. So the length hardly matters. But the
# network has to learn to start from there, and in one epoch it does not learn that as well as with a
# mask. Here are the states of the network with zeros in front, around the first word:

# %%
front = verify.load(f"runs/padding/sentiment_lstm-pre-{longest}-42/model.keras")
happy = words(pair[1])
x_front = pad(vocabulary.encode([happy]), longest, "pre")
states = front.trace(x_front, dtype="float64")["lstm"].h[0]  # (time, units)
moved = np.linalg.norm(np.diff(states, axis=0), axis=-1)  # by the second step and so on
labels = ["(filling)"] * 4 + happy
for label, by in zip(labels, moved[-len(labels) :], strict=True):
    print(f"{label:10} moves the state by {by:.1e}")
assert moved[-len(happy) - 1] < 1e-2 * moved.max()

# %% [markdown]
# ## The verifier warns
#
# Because this is so easy to get wrong, `verify.check` looks at the inputs too. The network computes what
# its equations say, so it passes; and it says what most of the steps are.

# %%
report = verify.check(file, x)
print(report)
assert any("padding is computed like a word" in warning for warning in report.warnings)

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/05_padding_and_masks.py`.
#
# **1.** Write a function that fills a list of ids up to `length` with zeros in front, and of a longer list
# keeps the last ids.


# %% tags=["exercise-1"]
def filled(ids, length):
    """A list of `length` ids."""
    return ...


# %%
from recipes.explore import exercises

long_and_short = [[4, 5], list(range(1, 9))]
exercises.check(
    1,
    lambda: [filled(ids, 5) for ids in long_and_short],
    pad(long_and_short, 5, "pre"),
    "[0] * n is n zeros; ids[-5:] are the last five, or all where there are fewer.",
)

# %% [markdown]
# **2.** Write what a layer does at one step with a mask: `h` is the old state, `h_new` what the equations
# make of it, both (batch, units), and `mask` is (batch,), False where the step is filling.


# %% tags=["exercise-2"]
def masked_step(h, h_new, mask):
    """The state after the step."""
    return ...


# %%
rng = np.random.default_rng(0)
old, new = rng.normal(size=(2, 3, 4))
keep = np.array([True, False, True])
exercises.check(
    2,
    masked_step,
    np.stack([new[0], old[1], new[2]]),
    "np.where chooses; mask[:, None] makes one column of it.",
    of=(old, new, keep),
)

# %% [markdown]
# **3.** A difference of two states is multiplied by 0.85 at each step. After how many steps is less than
# a thousandth of it left? Give the smallest whole number.

# %% tags=["exercise-3"]
answer_3 = ...

# %%
exercises.check(
    3,
    answer_3,
    int(np.argmax(0.85 ** np.arange(100) < 1e-3)),
    "solve 0.85 ** n < 0.001 with logarithms, and round up.",
)

# %% [markdown]
# ## What you have shown
#
# Filling is not nothing: without a mask it is computed like a word. Behind the words it wipes them out, in
# an LSTM as well; a mask makes it vanish, exactly.

# %%
assert {str(one.verdict) for one in study.trained} == {"PASS"}
print(f"{len(study.trained)} networks trained, all of them verified")

# %% [markdown]
# Next: [reading a failure](06_reading_a_failure.ipynb).
