# %% [markdown]
# # 12. Learning by heart
#
# **Goal.** The networks of the chapter are best after one or two epochs and get worse from then on. You see
# what they learn by heart, and try three things against it: stop in time, leave numbers out, and a smaller
# network. You measure which of them helps, on tweets that none of them has seen.
#
# **You need** [notebook 3](03_sentiment.ipynb). The notebook takes about two minutes on two cores.

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
# The chapter's LSTM, its padding masked, for six epochs.

# %%
import numpy as np

from recipes import plots, sentiment_lstm
from recipes.data.tweets import load_split
from recipes.run import training

QUICK = "QUICK" in os.environ  # the project's own tests train less
keras = training.start(seed=42)
split = load_split(None, "post")
some = slice(0, 400 if QUICK else None)
EPOCHS = 2 if QUICK else 6

x, y = split.x_train[some], training.one_hot(split.y_train[some], 2)
count = len(x) * 9 // 10
learnt, held_back = (x[:count], y[:count]), (x[count:], y[count:])
test = (split.x_test[some], training.one_hot(split.y_test[some], 2))
size, length = split.pipeline.vocabulary.size, split.pipeline.length
print(
    f"{len(learnt[0]):,} tweets to learn from, {len(held_back[0]):,} held back, "
    f"{len(test[0]):,} to test"
)


def trained(model, *callbacks):
    """The history of a model, which learns from the first tweets."""
    return model.fit(
        *learnt,
        validation_data=held_back,
        batch_size=32,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[*callbacks],
    ).history


config = sentiment_lstm.Config(mask_zero=True)
plain = sentiment_lstm.build_model(config, size, length)
history = trained(plain)
plots.curves(history, "The chapter's LSTM: learnt tweets, and tweets held back")

# %% [markdown]
# The line called "test" is that of the tweets held back: a tenth of the training tweets, from which nothing is
# learnt. (The chapter, and notebook 3 with it, look at the test tweets after every epoch. Whoever then picks the
# best epoch has chosen it *by* them, and the figure is too good.)
#
# On its own tweets the network becomes nearly perfect. On the others its loss is lowest after an epoch or
# two and rises from then on: it gets surer and surer, and no better.

# %%
best = int(np.argmin(history["val_loss"]))
print(
    f"lowest loss on tweets held back: epoch {best + 1}, {history['val_loss'][best]:.3f}"
)
print(f"after the last epoch: {history['val_loss'][-1]:.3f}")
print(
    f"accuracy there {history['val_accuracy'][-1]:.3f}, on learnt tweets {history['accuracy'][-1]:.3f}"
)
if not QUICK:
    assert history["val_loss"][-1] > 1.3 * history["val_loss"][best]
    assert history["accuracy"][-1] > 0.98

# %% [markdown]
# Accuracy hides most of this. A wrong answer given with 0.55 costs it as much as one with 0.999; the loss, which
# is $-\log p$ of what is right, tells them apart. How sure is the network when it is wrong?

# %%
p = plain.predict(test[0], batch_size=256, verbose=0)
wrong = p.argmax(axis=1) != test[1].argmax(axis=1)
sure = p.max(axis=1)
print(f"wrong about {wrong.mean():.1%} of the test tweets")
print(f"of those, surer than 0.95: {(sure[wrong] > 0.95).mean():.0%}")

# %% [markdown]
# ## Stop in time
#
# **Early stopping** ends the training when the loss on the tweets held back has not fallen for some epochs
# (`patience`), and brings the best weights back.

# %%
training.start(seed=42)
stopped = sentiment_lstm.build_model(config, size, length)
stop = keras.callbacks.EarlyStopping(
    monitor="val_loss", patience=1, restore_best_weights=True
)
short = trained(stopped, stop)
print("loss on tweets held back, by epoch:", np.round(short["val_loss"], 3))
now, _, _ = stopped.evaluate(*held_back, verbose=0)
print(f"loss of the weights that are left: {now:.3f}")
assert abs(now - min(short["val_loss"])) < 1e-4

# %% [markdown]
# ## Leave numbers out
#
# **Dropout** sets a share of the numbers to 0, other ones at each step of training, and makes the rest larger, so
# that their sum stays what it was on average. No unit can then rely on another one being there. When the trained
# network answers, nothing is left out.

# %%
dropout = keras.layers.Dropout(0.25, seed=1)
ones = np.ones((1, 1000), dtype="float32")
in_training = np.asarray(dropout(ones, training=True))
print(
    "in training :", in_training[0, :12].round(2), " mean", in_training.mean().round(3)
)
print("in use      :", np.asarray(dropout(ones, training=False))[0, :12])
assert set(np.unique(in_training.round(5))) == {0.0, np.float32(1 / 0.75).round(5)}
assert (np.asarray(dropout(ones, training=False)) == ones).all()

# %% [markdown]
# So a port of a network needs no dropout, and must not scale anything either: that was done in training. (A
# mistake which the verifier knows.) Now the LSTM with half of each word's vector left out, and half of what goes
# into the Dense layer. And for comparison a much smaller one: 8 numbers a word, 8 units.


# %%
def network(vector, units, rate):
    """An LSTM; `rate` is the share that is left out."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((length,), dtype="int32"),
            layers.Embedding(size, vector, mask_zero=True, name="embedding"),
            layers.Dropout(rate, name="of_words"),
            layers.LSTM(units, name="lstm"),
            layers.Dropout(rate, name="of_state"),
            layers.Dense(2, activation="softmax", name="dense"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


training.start(seed=42)
with_dropout = network(32, 40, 0.5)
dropped = trained(with_dropout)
training.start(seed=42)
small = network(8, 8, 0.0)
smaller = trained(small)
plots.powers(
    {
        "as in the chapter": np.array(history["val_loss"]),
        "with dropout": np.array(dropped["val_loss"]),
        "small": np.array(smaller["val_loss"]),
    },
    "Loss on tweets held back, by epoch",
    ylabel="loss",
    xlabel="epochs",
)

# %% [markdown]
# The test tweets have not been looked at yet. Here they are, once, for every network, beside the linear model that
# counts words:

# %%
import pandas as pd

from recipes.data.tweets import baselines

rows = {}
for name, model in {
    "as in the chapter, last epoch": plain,
    "stopped early": stopped,
    "with dropout, last epoch": with_dropout,
    "small, last epoch": small,
}.items():
    p = model.predict(test[0], batch_size=256, verbose=0)
    right = (p * test[1]).sum(axis=1)
    rows[name] = {
        "test loss": -np.log(right).mean(),
        "test accuracy": (p.argmax(axis=1) == test[1].argmax(axis=1)).mean(),
        "parameters": f"{model.count_params():,}",
    }
table = pd.DataFrame(rows).T
linear = baselines(None)["tfidf_logistic_regression"]
print(f"TF-IDF with logistic regression: accuracy {linear:.3f}")
table

# %%
loss = table["test loss"].astype(float)
assert not QUICK or len(loss) == 4
if not QUICK:
    assert loss["stopped early"] < 0.8 * loss["as in the chapter, last epoch"]
    assert loss["with dropout, last epoch"] < loss["as in the chapter, last epoch"]

# %% [markdown]
# Read the losses, then the accuracies. Stopping in time is the cheapest remedy and the most effective one: the network
# is then right more often, and far less sure where it is wrong. Dropout slows the learning by heart down; it does not end
# it. A network of a quarter of the size learns by heart as well, a little later: many words are in one tweet or two
# (notebook 3 counts them), and a few numbers are enough to remember those.
#
# None of them is ahead of the linear model.
#
# ## What dropout leaves in the file
#
# A trained network with dropout is verified like any other; the layer is there and does nothing:

# %%
import verify

report = verify.check(with_dropout, test[0][:64])
print(report)

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/12_overfitting.py`.
#
# **1.** Predict first: what is the loss of a network that says 1/2 for both classes, whatever it reads? (The natural
# logarithm.) Compare it with the losses above.

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(1, answer_1, np.log(2), "-log p of the right class, and p is 1/2.")

# %% [markdown]
# **2.** Write dropout as it is done in training: `kept` is an array of True and False, `rate` the share that is left out.


# %% tags=["exercise-2"]
def drop(x, kept, rate):
    """Return what goes on to the next layer."""
    return ...


# %%
rng = np.random.default_rng(0)
numbers, keep = rng.normal(size=(3, 8)), rng.uniform(size=(3, 8)) > 0.25
exercises.check(
    2,
    drop,
    np.where(keep, numbers / 0.75, 0),
    "0 where it is left out; the others are divided by the share that stays.",
    of=(numbers, keep, 0.25),
)

# %% [markdown]
# **3.** The losses on the tweets held back would be 0.30, 0.24, 0.26, 0.23, 0.29 in five epochs. After which epoch does early
# stopping with `patience=1` end, and after which with `patience=2`? Give both numbers.

# %% tags=["exercise-3"]
answer_3 = (..., ...)

# %%


def ends(losses, patience):
    """The epoch after which EarlyStopping ends."""
    waited, lowest = 0, np.inf
    for epoch, value in enumerate(losses, start=1):
        waited, lowest = (0, value) if value < lowest else (waited + 1, lowest)
        if waited >= patience:
            return epoch
    return len(losses)


losses = [0.30, 0.24, 0.26, 0.23, 0.29]
exercises.check(
    3,
    answer_3,
    (ends(losses, 1), ends(losses, 2)),
    "it waits for so many epochs without a new lowest loss; then it ends.",
)

# %% [markdown]
# ## What you have shown
#
# The networks learn their tweets by heart, and the loss on other tweets says when that begins. Stopping there costs
# nothing and helps most; and where to stop must be learnt from tweets that are neither trained on nor tested with.

# %%
assert report.verdict == "PASS"
assert abs(now - min(short["val_loss"])) < 1e-4
print("stopped after epoch", len(short["loss"]), "of", EPOCHS)

# %% [markdown]
# Next: [how far back an answer reaches](13_how_far_back.ipynb), which goes on from notebook 4.
