# %% [markdown]
# # 14. Could it have failed?
#
# **Goal.** You see a check that passes and means nothing, and let the verifier say so. You hold the verifier itself against
# Keras, count which mistakes a check would have missed, and find a difference that is no mistake, greater than one that is.
#
# **You need** [notebook 5](05_padding_and_masks.ipynb) for masks and [notebook 6](06_reading_a_failure.ipynb), which reads
# a report line by line. The notebook takes less than a minute on two cores.

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
# Somebody carries a GRU to another program and forgets its bias. Here the other program is Keras, with `use_bias=False`.

# %%
import numpy as np

import verify
from recipes.run import training

keras = training.start(seed=42)
small = keras.Sequential([keras.Input((6, 3)), keras.layers.GRU(4, name="gru")])
port = keras.Sequential([keras.Input((6, 3)), keras.layers.GRU(4, use_bias=False)])
port.set_weights(small.get_weights()[:2])  # the third is the bias
x = np.random.default_rng(0).normal(size=(5, 6, 3))
first = verify.compare_outputs(small, x, port.predict(x, verbose=0))
print(first)
assert first.verdict == "PASS"

# %% [markdown]
# It passes. `small` has never been trained, so its biases are 0, and what is 0 can be left out. The warning at the end
# says that this pass does not mean much. Once the biases are numbers, the same port fails:

# %%
rng = np.random.default_rng(1)
small.set_weights([*small.get_weights()[:2], rng.normal(size=(2, 12))])
second = verify.compare_outputs(small, x, port.predict(x, verbose=0))
print(second)
assert second.verdict == "FAIL"
assert second.diagnosis.explanations[0].mistake == "bias missing"

# %% [markdown]
# So there are two questions about a pass: by what was it judged, and could it have failed at all?
#
# ## By what is a port judged?
#
# By the verifier's own computation of the model in NumPy. Who proves that that is right? Keras. `verify.check` holds it
# against `model.predict`, layer by layer. First a model: an LSTM that learns the sentiment of the tweets for one epoch.

# %%
import os

from recipes.data.tweets import load_split

QUICK = "QUICK" in os.environ  # the project's own tests train less

tweets = load_split(None, "post")
rows = 2_000 if QUICK else len(tweets.x_train)


def build(mask_zero=True):
    """An LSTM on the tweets, not trained."""
    return keras.Sequential(
        [
            keras.Input((tweets.pipeline.length,), dtype="int32"),
            keras.layers.Embedding(
                tweets.pipeline.vocabulary.size,
                32,
                mask_zero=mask_zero,
                name="embedding",
            ),
            keras.layers.LSTM(16, name="lstm"),
            keras.layers.Dense(2, activation="softmax", name="dense"),
        ]
    )


model = build()
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
model.fit(tweets.x_train[:rows], tweets.y_train[:rows], epochs=1, verbose=0)

few = tweets.x_test[: 40 if QUICK else 200]
report = verify.check(model, few)
print(report)
assert report.verdict == "PASS"

# %%
from recipes import plots

plots.error_against_bound(report, "A check that passes: error and allowance")

# %% [markdown]
# Here is more than in a comparison of outputs. `proof` compares both in 64 bits, where only
# a wrong formula can differ by more than 1e-10. The table takes each layer by itself,
# on Keras's own input to it, so that an error in one does not make the next look wrong.
#
# To see that, plant a mistake in the verifier's side, the gates in the order of many textbooks, and check again:

# %%
from verify.mistakes.catalogue import catalogue

net = verify.load(model)
wrong = next(m for m in catalogue(net.spec) if m.name == "gate order f,i,c,o")
failed = verify.check(model, few, network=verify.Network(wrong.model))
print(failed)
assert failed.verdict == "FAIL"
assert failed.first_mismatch.name == "lstm"

# %%
plots.error_against_bound(failed, "The same with a mistake in the LSTM")

# %% [markdown]
# Now the report has a layer and a time step. `embedding` is right, `lstm` is wrong from step 0
# on, and `dense` is right again: given right inputs it does right things.
#
# ## Could the check have failed at all?
#
# A pass is worth as much as the mistakes that it would have caught. `selftest` plants every
# mistake of its catalogue, one at a time, and tells which of them *these* weights and
# *these* inputs would have hidden. First a bad choice: a model that has not been trained,
# and texts without padding.

# %%
untrained = build()
full_ids = np.random.default_rng(0).integers(1, 500, size=few.shape)
blind = verify.selftest(untrained, full_ids)
print(blind)

hidden = [result.mistake for result in blind.survivors]
assert "mask ignored" in hidden
assert "bias missing" in hidden

# %% [markdown]
# The biases you know from the five lines. And without an id of 0 no mask is ever false, and what is never false can be
# ignored. Here is the proof: a port that does not know of masks, on both kinds of texts.

# %%
unmasked = build(mask_zero=False)
unmasked.set_weights(model.get_weights())

without_padding = verify.compare_outputs(
    net, full_ids, unmasked.predict(full_ids, verbose=0)
)
with_padding = verify.compare_outputs(net, few, unmasked.predict(few, verbose=0))
print("without padding:", without_padding.verdict)
print("with padding   :", with_padding.verdict)
assert without_padding.verdict == "PASS"
assert with_padding.verdict == "FAIL"

# %% [markdown]
# The same port passes and fails. The pass was honest, its outputs *are* those of the model on
# these inputs. It just did not mean much, and the report of the pass says so in a warning:

# %%
print("\n".join(without_padding.warnings))
assert any("mask is never false" in warning for warning in without_padding.warnings)

# %% [markdown]
# Our trained model with real tweets does better:

# %%
seeing = verify.selftest(net, few)
print(seeing)
assert seeing.mutation_score > blind.mutation_score
assert "mask ignored" not in [result.mistake for result in seeing.survivors]

# %% [markdown]
# The tweets are padded at the end only, and that hides a few mistakes about masks.
# Without inputs of yours the verifier makes some of its own, which have padding on both sides,
# holes, and a row of nothing but padding:

# %%
probed = verify.selftest(net)
about_masks = [p.mistake for p in probed.survivors if "mask" in p.mistake]
print(str(probed).splitlines()[0])
print("about masks, not seen:", about_masks or "none")
assert not about_masks

# %% [markdown]
# ## A difference that is no mistake
#
# Now the opposite error: to call something wrong that is right. This model is a meter. It
# adds up what comes in, here a thousand times the number 0.0183624:

# %%
meter = keras.Sequential(
    [
        keras.Input((1000, 1)),
        keras.layers.SimpleRNN(1, activation="linear", name="meter"),
    ]
)
meter.set_weights([np.ones((1, 1)), np.ones((1, 1)), np.zeros(1)])
flow = np.full((1, 1000, 1), 0.0183624)

shown = meter.predict(flow, verbose=0).item()
exact = verify.load(meter).predict(flow, dtype="float64").item()
print(f"Keras, 32 bits    {shown:.4f}")
print(f"NumPy, 64 bits    {exact:.4f}")
print(f"difference        {abs(shown - exact):.1e}")
print("within 1e-4       ", abs(shown - exact) < 1e-4)

# %% [markdown]
# The fourth decimal differs. A test with a tolerance of 1e-4 calls this a failure, and
# somebody loses a day. But nothing is wrong: a 32-bit number near 18 has its last digit
# at about 1e-6, and a thousand additions each lose a part of it. The bound knows how many
# additions there are and how large the numbers get:

# %%
counted = verify.check(meter, flow)
print(counted)
assert counted.verdict == "PASS"

# %% [markdown]
# And a mistake of the same size? Somebody keeps the weights of our LSTM as 16-bit numbers
# to save room. That is a *smaller* difference than the meter's:

# %%
halved = build()
halved.set_weights(model.get_weights())
lstm = halved.get_layer("lstm")
lstm.set_weights([w.astype("float16").astype("float32") for w in lstm.get_weights()])

half = verify.compare_outputs(net, few, halved.predict(few, verbose=0))
print(half)
print()
print(f"right meter     {abs(shown - exact):.1e}")
print(f"LSTM in 16 bits {half.numerics.max_diff:.1e}")
assert half.verdict == "FAIL"
assert half.numerics.max_diff < abs(shown - exact)

# %% [markdown]
# The right one differs more than the wrong one. So no absolute tolerance that is fixed beforehand can
# tell them apart: it lets the wrong one pass, or it refuses the right one. (A relative one could here, if
# one knew which. It would fail for outputs that are small because large numbers cancel.) How much may
# differ is a property of the model and its inputs, and has to be derived from them.
#
# The report names two causes, `likely cause` and `or`. Both kinds of numbers keep 11 binary
# digits, so these outputs cannot tell the one from the other.
#
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/14_could_it_have_failed.py`.
#
# **1.** Predict first: how far apart are two 32-bit numbers next to each other near 18.36, where the meter stops?
# A 32-bit number has 24 binary digits.

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(
    1,
    answer_1,
    np.spacing(np.float32(shown)).astype(float),
    "18.36 lies between 16 and 32, and the first of its 24 digits is worth 16.",
)

# %% [markdown]
# **2.** Make the pass of the port without masks mean something. Of every text keep the first words only, and let
# what follows be padding.


# %% tags=["exercise-2"]
def padded(ids, words):
    """Ids of the same shape, (batch, time), with so many words in each row."""
    return ...


# %%
telling = np.where(np.arange(full_ids.shape[1]) < 20, full_ids, 0)
exercises.check(
    2,
    padded,
    telling,
    "the id of padding is 0, and the rows stay as long as they were.",
    of=(full_ids, 20),
)
again = verify.compare_outputs(net, telling, unmasked.predict(telling, verbose=0))
assert again.verdict == "FAIL"

# %% [markdown]
# **3.** With `small`, the GRU of the five lines, which now has biases, and its inputs `x`: how many mistakes of
# the catalogue would a comparison *not* have seen?

# %% tags=["exercise-3"]
answer_3 = ...

# %%
exercises.check(
    3,
    answer_3,
    len(verify.selftest(small, x).survivors),
    "verify.selftest gives it, in survivors.",
)

# %% [markdown]
# ## What you have shown
#
# The computation that judges a port is held against Keras, layer by layer. A pass says what it could not have seen,
# `selftest` counts it, and other weights or inputs make it seen. A right answer that differs in the fourth decimal
# was not called wrong, and a wrong one that differs less was.

# %%
outcomes = {
    "a bias forgotten, biases of 0": first,
    "a bias forgotten": second,
    "masks forgotten, no padding": without_padding,
    "masks forgotten, padding": with_padding,
    "a thousand additions in 32 bits": counted,
    "weights in 16 bits": half,
}
for name, outcome in outcomes.items():
    print(f"{outcome.verdict}  {name}")
assert [str(o.verdict) for o in outcomes.values()] == [
    "PASS", "FAIL", "PASS", "FAIL", "PASS", "FAIL",
]  # fmt: skip

# %% [markdown]
# This was the last notebook. [All of them](README.md), with what you see in each.
