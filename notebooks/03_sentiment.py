# %% [markdown]
# # 3. The sentiment of tweets
#
# **Goal.** You train the chapter's three networks on 11,541 real tweets about airlines, put
# their accuracy in its place beside two simple baselines and the luck of the seed, take an
# LSTM's weights apart, and verify every model.
#
# **You need** [notebook 2](02_lstm_from_scratch.ipynb). The notebook takes two to three
# minutes on two cores.

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
# One epoch of the LSTM, its accuracy beside the baselines, and the proof that NumPy
# computes the same.

# %%
from recipes import sentiment_lstm
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions

config = sentiment_lstm.Config(epochs=1)
result = sentiment_lstm.run(config, RunOptions(RunFolder("runs/first_lstm")))

# %% [markdown]
# ## Look at the data first
#
# The tweets are about six airlines in the USA; people marked each as negative or positive.
# As in the chapter, 70 % are to train on and 30 % to test.

# %%
from collections import Counter

import numpy as np

from recipes.data.airline import CLASSES
from recipes.data.tweets import baselines, load_split
from verify.data import text

split = load_split(None, "post")
tweets = split.tweets
print(f"{len(tweets.texts):,} tweets")
for label, name in enumerate(CLASSES):
    count = int((tweets.labels == label).sum())
    example = tweets.texts[int(np.argmax(tweets.labels == label))]
    print(f"  {name:9} {count:6,}  ({count / len(tweets.texts):.1%})   {example!r}")

assert len(tweets.texts) == 11_541

# %% [markdown]
# Four of five are negative. A model that says "negative" to everything is right for four of
# five tweets: remember that when you read an accuracy of 80 %. And look at the first positive
# one: people marked the tweets, and people disagree. No model will be right about all of them.
#
# The texts are cleaned: lower case, letters and digits only, and without *stop words* such as
# "the" or "not". How long are they then, and which words are frequent?

# %%
split_words = [text.words(tweet) for tweet in tweets.texts]
lengths = {
    name: np.array(
        [
            len(words)
            for words, own in zip(split_words, tweets.labels, strict=True)
            if own == label
        ]
    )
    for label, name in enumerate(CLASSES)
}
longest = max(map(len, split_words))
print("longest:", longest, "words; median:", int(np.median([*map(len, split_words)])))
assert longest == split.pipeline.length == 26

# %%
from recipes import plots

plots.lengths(lengths, "How long the tweets are, without stop words")

# %%
counts = {
    name: dict(
        Counter(
            word
            for words, own in zip(split_words, tweets.labels, strict=True)
            if own == label
            for word in words
        ).most_common(15)
    )
    for label, name in enumerate(CLASSES)
}
plots.frequencies(counts, "The most frequent words of each class")

# %% [markdown]
# Flights and airlines are on both sides, but "thanks", "great" and "love" on one, "cancelled",
# "hours" and "hold" on the other ("co" and "http" are pieces of links). So we should ask what a model can do that only counts words.
# That is the second baseline; the first always says "negative".

# %%
for name, accuracy in baselines(None).items():
    print(f"{name:28} {accuracy:.4f}")

# %% [markdown]
# ## Words become numbers
#
# Each word gets its number, the most frequent 1; shorter tweets are filled with 0 behind
# (`padding="post"`) up to 26 steps.

# %%
print(tweets.texts[0])
print(split_words[0])
print(split.pipeline.encode([tweets.texts[0]])[0])
print("x_train", split.x_train.shape, " x_test", split.x_test.shape)
assert split.pipeline.vocabulary.size == 12_533

# %% [markdown]
# ## Three networks, three seeds
#
# A SimpleRNN, an LSTM, and two LSTM layers, each of 40 units over an embedding of 32 numbers a
# word. Each is trained three times from other random weights, since one accuracy alone does not
# tell a better model from a luckier one.

# %%
import os

from recipes import seeds

QUICK = "QUICK" in os.environ  # the project's own tests train less
NAMES = ("sentiment_rnn", "sentiment_lstm", "sentiment_stacked_lstm")
results = seeds.study(
    seeds.Config(epochs=1 if QUICK else 3, seeds=1 if QUICK else 3, recipes=NAMES),
    "runs/seeds",
)

# %% [markdown]
# Loss and accuracy of each by epoch, for the first seed. The solid line is what the network has
# learnt from, the dashed one what it has not seen.

# %%
import pandas as pd
from IPython.display import display

folders = {name: RunFolder(f"runs/seeds/{name}-42") for name in NAMES}
for name, folder in folders.items():
    history = pd.read_csv(folder / "history.csv").to_dict("list")
    display(plots.curves(history, name))

# %% [markdown]
# The solid lines go on getting better, the dashed ones do not: after the first or second epoch the
# networks learn their training tweets by heart. (The chapter goes on to 10 and to 50 epochs; so does
# `rnn-recipe run chapter`, and `history.csv` shows what becomes of it.)
#
# Now all seeds together, beside the two baselines:

# %%
plots.spread(
    results.scores["accuracy"],
    "Test accuracy after the last epoch, one dot a seed",
    baselines={name: accuracy for name, (accuracy, _) in results.baselines.items()},
)

# %%
table = pd.DataFrame(
    {
        name: {
            "mean": values.mean(),
            "lowest": values.min(),
            "highest": values.max(),
            "mean macro-F1": results.scores["macro_f1"][name].mean(),
        }
        for name, values in results.scores["accuracy"].items()
    }
).T
table.round(4)

# %%
means = table["mean"]
ranges = table["highest"] - table["lowest"]
linear, _ = results.baselines["tfidf_logistic_regression"]
error = 1.96 * np.sqrt(0.9 * 0.1 / results.test_rows)
print(f"between the networks' means : {means.max() - means.min():.4f}")
print(f"between seeds of one network: {ranges.max():.4f} at most")
print(f"sampling error of one accuracy (95 %): +-{error:.4f}")
print(
    f"the linear baseline is ahead of the best network's mean by {linear - means.max():.4f}"
)
if not QUICK:
    assert linear > means.max()
    assert ranges.max() > means.max() - means.min()

# %% [markdown]
# Read the four numbers together. The seeds of one network are farther apart than the means of the
# networks are; so from one run each, nobody should say which is best. And the baseline that knows
# nothing of order is ahead of all of them. For such short texts the words say nearly everything.

# %% [markdown]
# ## Where they are wrong
#
# Accuracy hides which class the mistakes fall on. Rows are what the tweets are, columns what
# the model says.

# %%
metrics = {name: folder.read_json("metrics.json") for name, folder in folders.items()}
plots.confusions(
    {name: found["confusion_matrix"] for name, found in metrics.items()},
    CLASSES,
    "Test tweets by class, seed 42",
)

# %% [markdown]
# ## Confidently wrong
#
# Which tweets does the LSTM get wrong and is sure of? Reading them is the quickest way to learn
# what a model does not understand, and which tweets are marked wrongly. Each line has the
# probability that it gave to the wrong class, and that class.

# %%
import verify

net = verify.load(folders["sentiment_lstm"] / "model.keras")
p = net.predict(split.x_test)  # (tweets, 2)
sure_of_wrong = p[np.arange(len(p)), 1 - split.y_test]
worst = np.argsort(sure_of_wrong)[::-1][:8]
for row in worst:
    print(
        f"{sure_of_wrong[row]:.3f} {CLASSES[1 - split.y_test[row]]:8} | {split.written_test[row]}"
    )

# %% [markdown]
# ## The weights of an LSTM, taken apart
#
# The layer holds three arrays. `W` multiplies the word's 32 numbers, `U` the 40 of the old state,
# `b` is added. Each has 160 columns: 40 for each gate, in the order i, f, c, o.

# %%
lstm = net.spec["lstm"]
W, U, b = lstm.weights.values()
print("W", W.shape, " U", U.shape, " b", b.shape)
assert (W.shape, U.shape, b.shape) == ((32, 160), (40, 160), (160,))

units = 40
W_i, W_f, W_c, W_o = (W[:, k * units : (k + 1) * units] for k in range(4))
U_i, U_f, U_c, U_o = (U[:, k * units : (k + 1) * units] for k in range(4))
b_i, b_f, b_c, b_o = (b[k * units : (k + 1) * units] for k in range(4))
print("W_i", W_i.shape, " U_i", U_i.shape, " b_i", b_i.shape)

# %%
plots.gate_columns(lstm, "The trained LSTM's weights, gate by gate")

# %% [markdown]
# The bias of the forget gate stands out: Keras starts it at 1, the others at 0, and a few epochs
# move it little. Are these the right columns? The proof is to compute with them. This is the first
# word of a test tweet, all 40 units at once:


# %%
def sigmoid(z):
    """Numbers between 0 and 1."""
    return 1 / (1 + np.exp(-z))


trace = net.trace(split.x_test[:1], dtype="float64")
x = trace["lstm"].input[:, 0].astype(float)  # (batch, 32), the first word's vector
h = np.zeros((1, units))
c = np.zeros((1, units))

i = sigmoid(x @ W_i + h @ U_i + b_i)
f = sigmoid(x @ W_f + h @ U_f + b_f)
c_hat = np.tanh(x @ W_c + h @ U_c + b_c)
o = sigmoid(x @ W_o + h @ U_o + b_o)
c = f * c + i * c_hat
h = o * np.tanh(c)

for name, ours in {"i": i, "f": f, "c_hat": c_hat, "o": o, "c": c, "h": h}.items():
    np.testing.assert_allclose(ours, trace["lstm"][name][:, 0], atol=1e-12)
print("all six agree with the verifier's, for", h.shape[1], "units")

# %% [markdown]
# ## Two layers
#
# In the stacked network the first LSTM must hand on its state at *every* step, since the second
# one reads a sequence too. That is `return_sequences=True`; without it only the last state goes on.

# %%
stacked = verify.load(folders["sentiment_stacked_lstm"] / "model.keras")
print(verify.describe(stacked))

# %%
shapes = {layer.name: layer.output_shape for layer in stacked.spec}
print(shapes)
first, second = (layer for layer in stacked.spec if layer.class_name == "LSTM")
assert first.output_shape == (None, 26, 40)
assert second.output_shape == (None, 40)

# %%
plots.parameter_blocks(stacked.spec, "The stacked network's parameters")

# %% [markdown]
# Nearly all parameters belong to the embedding, a row of 32 numbers for each word. And most words
# are rare:

# %%
occurrences = Counter(word for words in split_words for word in words)
rare = sum(count <= 2 for count in occurrences.values()) / len(occurrences)
share = stacked.spec["embedding"].parameters / stacked.spec.parameters
print(f"{share:.0%} of the parameters are the embedding's")
print(f"{rare:.0%} of the words occur once or twice")
assert share > 0.9
assert rare > 0.5

# %% [markdown]
# So most of what is trained is trained on one tweet or two. No wonder that the networks learn their
# training tweets by heart.

# %% [markdown]
# ## Every model verified
#
# Each of the runs above ended with the verifier: NumPy computed the outputs for 64 test tweets from
# the weights alone. For the last one we do it again with 500.

# %%
for name, folder in folders.items():
    kept = folder.read_json("verification.json")
    print(
        f"{name:24} {kept['verdict']}   max |difference| {kept['predict_max_diff']:.1e}"
    )
    assert kept["verdict"] == "PASS"

report = verify.check(
    folders["sentiment_stacked_lstm"] / "model.keras", split.x_test[:500]
)
print()
print(report)

# %%
plots.error_against_bound(report, "The stacked network, layer by layer, on 500 tweets")

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/03_sentiment.py`.
#
# **1.** How many parameters has the second LSTM layer of the stacked network? Its inputs are the
# first layer's 40 numbers.

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(
    1,
    answer_1,
    second.parameters,
    "4 x units x (inputs + units + 1), and its inputs are not 32 numbers.",
)

# %% [markdown]
# **2.** A model is right about 90 % of the 3,463 test tweets. What is the standard error of that
# share, `sqrt(p (1 - p) / n)`? Two models that differ by less than about twice as much may be
# equally good.

# %% tags=["exercise-2"]
answer_2 = ...

# %%
exercises.check(
    2,
    answer_2,
    np.sqrt(0.9 * 0.1 / len(split.y_test)),
    "p is 0.9, n the number of test tweets; take the square root of the whole.",
)

# %% [markdown]
# **3.** Write a function that takes the columns of one gate out of an LSTM's weights.


# %% tags=["exercise-3"]
def columns(weights, gate):
    """The columns of gate "i", "f", "c" or "o" of an array (..., 4 * units)."""
    return ...


# %%
exercises.check(3, columns, W_o, "each gate has a quarter of the columns.", of=(W, "o"))

# %% [markdown]
# ## What you have shown
#
# Three networks reach about the same accuracy; the seed moves it more than the architecture does; after
# three epochs a linear model that counts words is ahead of all of them. (At their best epoch, which one
# would have to know beforehand, they come close to it.) And each of them computes exactly what its
# equations say.

# %%
assert result.report.verdict == "PASS"
assert report.verdict == "PASS"
print("verified:", ", ".join(["first_lstm", *folders]))

# %% [markdown]
# Next: [what the gates do, word by word](04_gates_and_memory.ipynb).
