# %% [markdown]
# # 4. Gates and memory
#
# **Goal.** You look inside a trained LSTM while it reads a tweet: what each gate does at each
# word, and which words decide the answer.
#
# **You need** [notebook 3](03_sentiment.ipynb). The notebook takes less than a minute on two cores.

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
# An LSTM on the tweets, trained for one epoch. The padding is masked (`mask_zero=True`), so that
# the network reads words and nothing else.

# %%
from recipes import sentiment_lstm
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions

config = sentiment_lstm.Config(epochs=1, mask_zero=True)
result = sentiment_lstm.run(config, RunOptions(RunFolder("runs/gates_lstm")))

# %% [markdown]
# And here is its memory while it reads a tweet of the test set: the cell state, one row a
# unit, one column a word.

# %%
import verify
from recipes import plots
from recipes.data.tweets import load_split
from recipes.explore import insight

net = verify.load("runs/gates_lstm/model.keras")
split = load_split(None, "post")
pipeline = split.pipeline

praise = split.texts_test[52]
print(split.written_test[52])
words = insight.words_read(pipeline, praise)
trace = net.trace(insight.unpadded(pipeline, praise), dtype="float64")["lstm"]
plots.gates(trace, words, "The cell state of 40 units, word by word", names=["c"])

# %% [markdown]
# ## Every gate, word by word
#
# A step of an LSTM has three gates, a candidate and two states (notebook 2 computes them by
# hand). Here each is a picture with a row for each of the 40 units:
#
# * **i**, **f**, **o** are between 0 (closed) and 1 (open), so they share a scale. A bright
#   cell in `f` means: this unit keeps what it had. A bright cell in `i`: it writes.
# * **c_hat** is what would be written, **c** the memory, **h** what the next layer sees. They
#   have a sign, so their scales have 0 in the middle.
#
# Read along a row: a row of `c` that keeps its colour from one word to the next is a unit that
# remembers. Read down a column: where many rows change at once, the word does something to the
# network.

# %%
plots.gates(trace, words, "All gates and states for one tweet")

# %% [markdown]
# What strikes the eye is how little the three gates differ from word to word. The candidate
# does: it has a few loud words and many quiet ones. In numbers, how open are the gates over this
# tweet?

# %%
import numpy as np

for name in ("i", "f", "o"):
    low, median, high = np.quantile(trace[name], [0.05, 0.5, 0.95])
    print(
        f"{name}   median {median:.2f}   nine of ten lie between {low:.2f} and {high:.2f}"
    )
untrained_f = 1 / (1 + np.exp(-1.0))
print(f"f of an untrained LSTM, whose bias is 1: about {untrained_f:.2f}")

# %% [markdown]
# Remember the second line beside the last one: the forget gates are not far from where Keras
# started them. [Notebook 13](13_how_far_back.ipynb) comes back to that.

# %% [markdown]
# ## Which words move the memory?
#
# The cell state changes from $c_{t-1}$ to $c_t$. How far is the length of the difference:

# %%
plots.cell_moves(trace, words, "How far each word moves the states")

# %% [markdown]
# Take the word that moves the cell state most and the one that moves it least, and look at
# what the gates did. The change has two parts:
#
# $$ c_t - c_{t-1} = \underbrace{i \hat c}_{\text{written}}
#    - \underbrace{(1 - f)\, c_{t-1}}_{\text{forgotten}} $$

# %%
before = np.concatenate(
    [0 * trace.c[:, :1], trace.c[:, :-1]], axis=1
)  # (1, words, units)
written = trace.i * trace.c_hat
forgotten = (1 - trace.f) * before
np.testing.assert_allclose(trace.c - before, written - forgotten, atol=1e-12)


def length(x):
    """Of the vector of the units, at each word."""
    return np.linalg.norm(x, axis=-1)[0]


moves = length(trace.c - before)
decisive, calm = int(moves.argmax()), int(moves.argmin())
print(f"{'':10}{words[decisive]:>14}{words[calm]:>14}")
rows = {
    "mean i": trace.i.mean(axis=-1)[0],
    "mean f": trace.f.mean(axis=-1)[0],
    "|c_hat|": length(trace.c_hat),
    "written": length(written),
    "forgotten": length(forgotten),
    "moved": moves,
}
for name, value in rows.items():
    print(f"{name:10}{value[decisive]:14.3f}{value[calm]:14.3f}")
ratio = {name: value[decisive] / value[calm] for name, value in rows.items()}
assert ratio["written"] > 1
assert ratio["|c_hat|"] > ratio["mean i"]

# %% [markdown]
# The decisive word writes more. Compare the lines for `i` and for `|c_hat|`: it is not that the
# gate opens wider. The difference is in the candidate, in *what* there is to write.

# %% [markdown]
# ## Which words make the answer?
#
# A word can move the memory and still not matter, if nothing behind looks at what it wrote.
# The direct question is: what would the model say **without this word**? We leave out one word
# after the other and see how much the probability of the model's answer falls. First a tweet
# that it calls negative and one that it calls positive:

# %%
complaint = split.texts_test[17]
print(split.written_test[17])


def answer_of(text):
    """The class that the model says, and its probability."""
    p = net.predict(pipeline.encode([text]), dtype="float64")[0]
    return int(p.argmax()), float(p.max())


def bars(text):
    """A bar for every word."""
    said, p = answer_of(text)
    read, effects = insight.without_each_word(net, pipeline, text)
    return plots.importance(
        read,
        effects[:, said],
        f"The model says {pipeline.classes[said]}, with probability {p:.3f}",
        xlabel="how much that probability falls without the word",
    )


bars(complaint)

# %%
bars(praise)

# %% [markdown]
# Look at the scales: no bar comes near the probability itself. Take away one reason, and the others
# still carry the answer. Now, among tweets of this length, the one that it gets most wrong:

# %%
probabilities = net.predict(split.x_test)
said, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
lengths = (split.x_test != 0).sum(axis=1)
wrong = (said != split.y_test) & (lengths >= 9) & (lengths <= 13)
worst = int(np.where(wrong, sure, 0).argmax())
mistaken = split.texts_test[worst]
print(split.written_test[worst])
print("People say:", pipeline.classes[split.y_test[worst]])
bars(mistaken)

# %% [markdown]
# The longest bars name the words that mislead it. Read the tweet once more as the model got it:
# without stop words and punctuation, some of what you would go by is gone.
#
# Does a word that moves the cell state also make the answer? For each of many test tweets we
# order the words in both ways and take the correlation of the two orders: 1 if they are the same,
# 0 if they have nothing in common.

# %%
import os

import pandas as pd

QUICK = "QUICK" in os.environ  # the project's own tests train less, on fewer tweets
chosen = np.flatnonzero(lengths >= 5)[: 40 if QUICK else 200]
states = net.trace(split.x_test[chosen], dtype="float64")["lstm"].c
all_moves = np.linalg.norm(np.diff(states, axis=1, prepend=0.0), axis=-1)

found = []
for row, move in zip(chosen, all_moves, strict=True):
    read, effects = insight.without_each_word(net, pipeline, split.texts_test[row])
    fall = effects[:, said[row]]
    move = move[: len(read)]
    found.append(
        (
            insight.rank_correlation(move, fall),
            insight.rank_correlation(move, np.abs(fall)),
            move.argmax() == fall.argmax(),
        )
    )
agreement = pd.DataFrame(found, columns=["fall", "size of the effect", "same first"])
low, median, high = agreement["fall"].quantile([0.25, 0.5, 0.75])
print(f"{len(agreement)} tweets, rank correlation of the movement with")
print(f"  the fall            median {median:.2f}, middle half {low:.2f} to {high:.2f}")
low, median_size, high = agreement["size of the effect"].quantile([0.25, 0.5, 0.75])
print(
    f"  the fall's size     median {median_size:.2f}, middle half {low:.2f} to {high:.2f}"
)
print(f"the same word first in {agreement['same first'].mean():.0%} of the tweets")
assert 0 < median < median_size < 1

# %% [markdown]
# They agree, but not wholly. The movement has no sign: a word that speaks *against* the answer
# moves the memory too. If only the size of the effect is compared, the agreement is better.

# %% [markdown]
# ## The answer so far
#
# Nothing keeps us from asking the network for its answer after every word: the Dense layer
# takes the state as it is then. With a mask that is exactly what the model would say if the
# tweet ended there.

# %%
alone = insight.unpadded(pipeline, praise)
running = insight.running_predictions(net, alone)[0]  # (words, classes)
for word, p in zip(words, running[:, 1], strict=True):
    print(f"{word:14} {p:.3f}  {'#' * round(40 * p)}")

ended_there = insight.running_predictions(net, pipeline.encode([praise]), "post")
np.testing.assert_allclose(running, ended_there[0, : len(words)], atol=1e-12)
prediction = net.predict(pipeline.encode([praise]), dtype="float64")[0]
np.testing.assert_allclose(running[-1], prediction, atol=1e-12)

# %% [markdown]
# So each word has a second effect: by how much the answer changes when it is *read*. These
# effects add up, from the answer to an empty tweet to the answer to this one.

# %%
empty = net.predict(pipeline.encode([""]), dtype="float64")[0, 1]
steps = np.diff(running[:, 1], prepend=empty)
assert abs(empty + steps.sum() - prediction[1]) < 1e-12
plots.importance(
    words,
    steps,
    f"From {empty:.3f} for an empty tweet to {prediction[1]:.3f}",
    xlabel="change of the probability of positive when the word is read",
)

# %% [markdown]
# Compare it with the bars of the same tweet above. When "thanks" is read, the answer changes by
# much; if it is left out of the whole tweet, by much less. Neither picture is *the* importance of
# a word. Each answers its own question.

# %%
_, effects = insight.without_each_word(net, pipeline, praise)
thanks = words.index("thanks")
print(f"'thanks': read {steps[thanks]:+.3f}, left out {-effects[thanks, 1]:+.3f}")
assert steps[thanks] > effects[thanks, 1]

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/04_gates_and_memory.py`.
#
# **1.** The forget gate of a unit stays at 0.73, and nothing is written. After how many steps is
# less than a hundredth of its memory left, for the first time?

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(
    1,
    answer_1,
    int(np.ceil(np.log(0.01) / np.log(0.73))),
    "each step multiplies by 0.73 what the one before has left.",
)

# %% [markdown]
# **2.** `f` is (time, units), the forget gates of a tweet. For each step t, which share of the
# cell state that the step *leaves* is still there after the last one, if you look at the forget
# gates alone? Return (time, units); the last row is 1.


# %% tags=["exercise-2"]
def still_there(f):
    """The share of c_t in the last cell state."""
    return ...


# %%
gates = trace.f[0]
exercises.check(
    2,
    still_there,
    np.stack([gates[t + 1 :].prod(axis=0) for t in range(len(gates))]),
    "the gate of step t itself has already done its work.",
    of=(gates,),
)

# %% [markdown]
# **3.** Predict first: the model says 0.2 (positive) to an empty tweet. It reads a tweet of nine words and says 0.9 after
# the last. How much do the nine changes, word by word, add up to?

# %% tags=["exercise-3"]
answer_3 = ...

# %%
exercises.check(
    3, answer_3, 0.9 - 0.2, "each change begins where the one before it ended."
)

# %% [markdown]
# **4.** Predict first: how much less positive is "not a good flight" than "good flight" to this network? Give the probability
# of positive for the second, minus that for the first. (Which words of a text does the network get to read?)

# %% tags=["exercise-4"]
answer_4 = ...

# %%
good, not_good = net.predict(pipeline.encode(["good flight", "not a good flight"]))[
    :, 1
]
exercises.check(
    4,
    answer_4,
    good - not_good,
    "insight.words_read(pipeline, text) says which words are left.",
)

# %% [markdown]
# `rnn-recipe explore runs/gates_lstm` shows the same on a page on which you can type. Which other words, left out before the
# network reads anything, turn a meaning round? `verify.data.text.stop_words()` has them all.
#
# ## What you have shown
#
# You have looked at every gate at every word, and asked in two ways which words the model needs: leave one out, or
# watch the answer while it reads. Both are right, and they are not the same.

# %%
assert result.report.verdict == "PASS"
np.testing.assert_allclose(running[-1], prediction, atol=1e-12)
print("the answer after the last word is the prediction:", prediction.round(3))

# %% [markdown]
# Next: [what padding does to accuracy](05_padding_and_masks.ipynb), and what to do about it; or
# [how far back an answer reaches](13_how_far_back.ipynb), which goes on from here.
