# %% [markdown]
# # 8. Leaving Keras
#
# **Goal.** A model that was trained here goes to ONNX, to LiteRT and to C. You let each file
# be run and judged, see an export that is wrong without a word, find a wrong gate inside a
# file, and mend a port in C with test vectors that say where it goes wrong.
#
# **You need** [notebook 2](02_lstm_from_scratch.ipynb) for the gates of an LSTM, and
# [notebook 6](06_reading_a_failure.ipynb) for how to read a failure; a C compiler; and
# `pip install tf2onnx onnx onnxruntime ai-edge-litert`. The notebook takes less than a minute.

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
# An LSTM that remembers the row before, `stateful=True`, is exported with Keras's own
# `export`. It says nothing, and the file runs. Is it the model?

# %%
from pathlib import Path

import verify
from recipes.explore.exporting import export
from recipes.run import training

keras = training.start(seed=42)
folder = Path("runs/leaving_keras")
folder.mkdir(parents=True, exist_ok=True)

small = keras.Sequential(
    [
        keras.Input(batch_shape=(1, 6, 3), name="x"),
        keras.layers.LSTM(4, stateful=True, name="lstm"),
    ]
)
first = verify.compare_exported(small, export(small, folder / "small.onnx"))
print(first)
assert first.verdict == "FAIL"

# %% [markdown]
# `model.export` does the work; `export` only holds back what the converters print. And
# `compare_exported` runs the file with the real runtime, in a process of its own, on inputs
# that are made for what exporters are known to lose. One of them is a second call.
#
# ## A model to carry
#
# [`many_to_many`](../recipes/many_to_many.py) tags the words of made-up sentences: noun,
# verb and so on. Its LSTM returns every step, and padding is masked. With eight units it is
# small enough to look at.

# %%
import numpy as np

from recipes import many_to_many
from recipes.many_to_many import TAGS, Config, TextPipeline, Vocabulary, tagged, words

sentences = tagged(42)
split = [words(text, keep_stop_words=True) for text in sentences.texts]
vocabulary = Vocabulary.of(split)
length = max(map(len, split))
pipeline = TextPipeline(vocabulary, length, "post", True, False, TAGS, "tags")
x_train, x_test = sentences.split(pipeline.encode(sentences.texts))
tags_train, tags_test = sentences.split(many_to_many.targets(sentences, length))

model = many_to_many.build_model(Config(units=8), vocabulary.size, length)
y_train = training.one_hot(np.maximum(tags_train, 0), len(TAGS))
model.fit(x_train, y_train, epochs=4, batch_size=32, verbose=0)
model.save(folder / "tagger.keras")
net = verify.load(folder / "tagger.keras")


def share_right(probabilities):
    """Share of the words, padding left out, that get their tag."""
    return np.mean((probabilities.argmax(-1) == tags_test)[tags_test >= 0])


print(verify.describe(net))
print(f"\nwords tagged right: {share_right(model.predict(x_test, verbose=0)):.1%}")

# %% [markdown]
# ## To ONNX
#
# Most servers and browsers run ONNX. The export is one line, and so is the question whether
# it is right:

# %%
to_onnx = verify.compare_exported(net, export(model, folder / "tagger.onnx"))
print(to_onnx)
assert to_onnx.verdict == "PASS"

# %% [markdown]
# * **inputs** and **outputs** say what was taken for what. The names are not the model's any
#   more, so shape and dtype decide; where they leave a choice, the report asks.
# * **weights** were found again in the file by their numbers, so that an export of another model
#   is not taken for this one. Where something is wrong, the report says in which form each is there.
# * **The table** has a line for each *probe*: rows padded in front, behind and with holes, a
#   row of nothing but padding, batches of several sizes, a second call. What a test with one
#   batch of your own would not have tried.
# * `allowed` is derived from this model's weights and these inputs, as in notebook 6.
#
# ## To LiteRT
#
# Phones run `.tflite`. There the loop of an LSTM needs a batch of one size:

# %%
to_tflite = verify.compare_exported(
    net, export(model, folder / "tagger.tflite", batch=1)
)
print(to_tflite)
assert to_tflite.verdict == "PASS"
assert "refused" in {probe.verdict for probe in to_tflite.probes}

# %% [markdown]
# It passes, and the report says what the file cannot do: its runtime *refuses* a larger
# batch. That is honest. What is wrong in silence is what costs a week.
#
# ## An export that is wrong without a word
#
# Somebody wants tags while the words come in, one at a time. So the state has to stay from
# call to call, and Keras has an option for that. Here is the same tagger for streams; its
# weights are those of the trained one.

# %%
streaming = keras.Sequential(
    [
        keras.Input(batch_shape=(1, 1), dtype="int32", name="word"),
        keras.layers.Embedding(vocabulary.size, 16, name="embedding"),
        keras.layers.LSTM(8, stateful=True, return_sequences=True, name="lstm"),
        keras.layers.Dense(len(TAGS), activation="softmax", name="tag"),
    ],
    name="streaming",
)
streaming.set_weights(model.get_weights())
streaming.save(folder / "streaming.keras")
stream = export(streaming, folder / "streaming.onnx")

forgets = verify.compare_exported(folder / "streaming.keras", stream)
print(forgets)
assert forgets.verdict == "FAIL"
assert any("forgets its states" in finding for finding in forgets.findings)

# %% [markdown]
# Read it from the top. **what is wrong** names the loss: every call begins with zeros.
# **probe** is how it showed, the second call; the line `batch 1` below is right to the last
# digit, and a test that calls the file once has nothing to find. ONNX has no variable that
# outlives a call: Keras's export put the state there as a constant.
#
# What does it do to a sentence? The words one after the other, with the file as it is:

# %%
import onnxruntime

session = onnxruntime.InferenceSession(str(stream))


def tags_of(ids, one_word):
    """The tags of a sentence, one word at a time."""
    answers = (one_word(np.array([[word]], dtype="int32")) for word in ids)
    return [TAGS[int(np.argmax(answer))] for answer in answers]


def from_the_file(word):
    return session.run(None, {"word": word})[0]


some = np.array([np.count_nonzero(row) for row in x_test]).argmax()
ids = x_test[some][x_test[some] != 0]
shown = [text for text, test in zip(split, sentences.test, strict=True) if test][some]
whole = model.predict(x_test[some : some + 1], verbose=0)[0, : len(ids)]
expected = [TAGS[k] for k in whole.argmax(-1)]
for text, wanted, got in zip(shown, expected, tags_of(ids, from_the_file), strict=True):
    print(f"{text:10} {wanted:12} {got}")

# %% [markdown]
# A tagger without memory tags each word as if it began the sentence. The remedy is to hand the
# states in and out, so that there is nothing to forget:

# %%
word = keras.Input((1,), dtype="int32", name="word")
h = keras.Input((8,), name="h")
c = keras.Input((8,), name="c")
lstm = keras.layers.LSTM(8, return_sequences=True, return_state=True, name="lstm")
y, new_h, new_c = lstm(
    keras.layers.Embedding(vocabulary.size, 16, name="embedding")(word),
    initial_state=[h, c],
)
tag = keras.layers.Dense(len(TAGS), activation="softmax", name="tag")(y)
handed = keras.Model([word, h, c], [tag, new_h, new_c], name="handed")
handed.set_weights(model.get_weights())

mended = verify.compare_exported(handed, export(handed, folder / "handed.onnx"))
print(mended)
assert mended.verdict == "PASS"

# %% [markdown]
# ## A wrong gate inside a file
#
# Not every file comes from Keras. People write converters, and ONNX has the gates of an LSTM
# in another order than Keras: i, o, f, c. `verify.convert` knows that. Here somebody did not,
# and left the blocks where Keras has them:

# %%
import onnx
from onnx import numpy_helper

right = folder / "converted.onnx"
print(verify.convert(folder / "tagger.keras", "onnx", right))


def with_gates(path, order, out):
    """Write an ONNX file whose LSTM has its gate blocks (i, o, f, c) in another order."""
    proto = onnx.load(path)
    (node,) = [node for node in proto.graph.node if node.op_type == "LSTM"]
    for array in proto.graph.initializer:
        if array.name in node.input[1:4]:  # W, R, and B of two halves
            old = numpy_helper.to_array(array)
            halves = np.split(old, old.shape[1] // 32, axis=1)
            blocks = [np.split(half, 4, axis=1) for half in halves]
            new = np.concatenate([half[k] for half in blocks for k in order], axis=1)
            array.CopyFrom(numpy_helper.from_array(new, array.name))
    onnx.save(proto, out)
    return out


swapped = with_gates(
    right, ["iofc".index(gate) for gate in "ifco"], folder / "gates.onnx"
)
gates = verify.compare_exported(net, swapped)
print(gates)
assert gates.verdict == "FAIL"
assert gates.location.layer == "lstm"
assert gates.location.gate

# %% [markdown]
# * **where** is inside the file. The layers before agree, and the first number that differs is a
#   gate of `lstm`, at a time step and a unit. ONNX's operator does not return its gates, so they
#   are computed again from the weights and the states that it does return.
# * The lines after it say which gate the operator reads in place of which, found by the numbers
#   of the weights.
# * **likely cause** comes from the outputs alone, as in notebook 6. Two ways, one answer.
#
# ## Every probe, side by side
#
# One number for each probe: the error in units of what rounding may do. Below the line is
# rounding, above it is a mistake.

# %%
import matplotlib.pyplot as plt

reports = {
    "tagger.onnx": to_onnx,
    "tagger.tflite": to_tflite,
    "streaming.onnx": forgets,
    "handed.onnx": mended,
    "gates.onnx": gates,
}
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, report), marker in zip(reports.items(), "os^vD", strict=True):
    answered = [p for p in report.probes if p.comparison is not None]
    axes.plot(
        [p.name for p in answered],
        [max(p.comparison.error_ratio, 1e-3) for p in answered],
        marker, label=name,
    )  # fmt: skip
axes.axhline(1, color="black", linewidth=1)
axes.set(yscale="log", ylabel="error / allowed")
plt.setp(axes.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## To C
#
# On a small device there is no runtime: somebody writes the loop in C. Then there are no names
# and no file to look into, and what is needed is numbers to compare with, *inside* the network.
# `write_vectors` writes them: inputs, outputs, every gate at every step, how far a port may be
# from each, and a program that checks a port.

# %%
written = verify.write_vectors(net, folder / "vectors")
print(written)

# %% [markdown]
# The port needs two functions. `vectors_weight` returns a weight, and `vectors_offer` hands over
# what is computed on the way. This one was written with the ONNX page open, so it takes the gates
# in the order i, o, f, c:

# %%
PORT = r"""
#include "vectors.h"

enum { SIZE = 16, UNITS = 8, TAGS = 7 };
enum { I, O, F, C }; /* the blocks of kernel, recurrent_kernel and bias */

static const float *weight(const char *name) { return vectors_weight(name)->data; }

static float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

int port_reset(void) { return 0; } /* nothing is kept from call to call */

int port_run(const vectors_array *inputs, int input_count, VECTORS_REAL *const *outputs,
             int output_count) {
  const int *ids = inputs[0].data;
  const int rows = inputs[0].shape[0], time = inputs[0].shape[1];
  const float *embeddings = weight("embedding/embeddings");
  const float *kernel = weight("lstm/kernel"), *bias = weight("lstm/bias");
  const float *recurrent = weight("lstm/recurrent_kernel");
  const float *tag = weight("tag/kernel"), *tag_bias = weight("tag/bias");
  for (int row = 0; row < rows; row++) {
    float h[UNITS] = {0}, c[UNITS] = {0};
    for (int t = 0; t < time; t++) {
      const int id = ids[row * time + t];
      float gate[4][UNITS], e[TAGS], sum = 0;
      for (int j = 0; j < 4 * UNITS; j++) {
        float z = bias[j];
        for (int k = 0; k < SIZE; k++)
          z += embeddings[id * SIZE + k] * kernel[k * 4 * UNITS + j];
        for (int k = 0; k < UNITS; k++) z += h[k] * recurrent[k * 4 * UNITS + j];
        gate[j / UNITS][j % UNITS] = j / UNITS == C ? tanhf(z) : sigmoid(z);
      }
      vectors_offer("lstm/i", row, t, gate[I], UNITS);
      vectors_offer("lstm/f", row, t, gate[F], UNITS);
      vectors_offer("lstm/c_hat", row, t, gate[C], UNITS);
      vectors_offer("lstm/o", row, t, gate[O], UNITS);
      for (int k = 0; k < UNITS && id; k++) { /* 0 is padding: h and c stay */
        c[k] = gate[F][k] * c[k] + gate[I][k] * gate[C][k];
        h[k] = gate[O][k] * tanhf(c[k]);
      }
      for (int j = 0; j < TAGS; j++) {
        float z = tag_bias[j];
        for (int k = 0; k < UNITS; k++) z += h[k] * tag[k * TAGS + j];
        sum += e[j] = expf(z);
      }
      for (int j = 0; j < TAGS; j++)
        outputs[0][(row * time + t) * TAGS + j] = e[j] / sum;
    }
  }
  return 0;
}
"""


def checked(port):
    """Compile a port with the program that checks it, and run that."""
    (folder / "port.c").write_text(port)
    program = folder.resolve() / "check_port"
    vectors = folder / "vectors"
    command = ["cc", "-std=c99", "-O1", f"-I{vectors}", f"{vectors}/check_port.c"]
    subprocess.run(
        [*command, str(folder / "port.c"), "-lm", "-o", str(program)], check=True
    )
    done = subprocess.run([str(program)], capture_output=True, text=True)
    print(done.stdout)
    return done.returncode


assert checked(PORT) == 1

# %% [markdown]
# It stops at the first number that differs, and says layer, step, gate and unit. The gate `i` is
# not named: its block is the first in both orders. What is wrong is what comes after. One line is
# mended:

# %%
MENDED = PORT.replace("enum { I, O, F, C };", "enum { I, F, C, O };")
assert MENDED != PORT
assert checked(MENDED) == 0

# %% [markdown]
# The same folder has the numbers as JSON and as `.npz`, and a program that checks a port in
# JavaScript. Its `README.md` says what a port in any other language has to do.
#
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/08_leaving_keras.py`.
#
# **1.** Which probes does the runtime of `tagger.tflite` refuse? Give their names in a list, in
# the order of the report. `to_tflite.probes` has a `name` and a `verdict` each.

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(
    1,
    answer_1,
    [probe.name for probe in to_tflite.probes if probe.verdict == "refused"],
    "a file for one row takes one row.",
)

# %% [markdown]
# **2.** Write what brings the gate blocks of Keras (i, f, c, o, in the last axis) into the order of
# ONNX (i, o, f, c). The axis stays the last one.


# %% tags=["exercise-2"]
def in_onnx_order(kernel):
    """The same blocks in the order of ONNX: (inputs, 4 * units)."""
    return ...


# %%
kernel = net.spec["lstm"].weights["kernel"]
converter = onnx.load(right)
(stored,) = [a for a in converter.graph.initializer if a.name == "lstm/W"]
exercises.check(
    2,
    in_onnx_order,
    numpy_helper.to_array(stored)[0].T,
    "the second block of ONNX is Keras's last one.",
    of=(kernel,),
)

# %% [markdown]
# **3.** Would anybody have noticed? The port in C and `gates.onnx` made the same mistake. What share of
# the test words, padding left out, gets its right tag from that file? `share_right` wants
# probabilities.

# %% tags=["exercise-3"]
answer_3 = ...

# %%
wrong_session = onnxruntime.InferenceSession(str(swapped))
(from_wrong,) = wrong_session.run(None, {wrong_session.get_inputs()[0].name: x_test})
exercises.check(
    3,
    answer_3,
    share_right(from_wrong),
    "run the file on x_test with onnxruntime, as the cell above does with one word.",
)

# %% [markdown]
# ## What you have shown
#
# One model left Keras three ways, to ONNX, to LiteRT and to C, and each was run and judged on inputs
# that were made for it. An export that forgets was caught though it answers a single call to the last
# digit; wrong gates were found inside a file; and a port in C was mended with the numbers of the first
# gate that differs.

# %%
for name, report in reports.items():
    print(f"{report.verdict}  {name}")
assert [str(report.verdict) for report in reports.values()] == [
    "PASS", "PASS", "FAIL", "PASS", "FAIL",
]  # fmt: skip

# %% [markdown]
# Next: [learning, by hand](09_learning_by_hand.ipynb), which needs notebook 1 only.
