# %% [markdown]
# # 9. Learning, by hand
#
# **Goal.** You compute yourself what training computes: the gradient of every weight of a SimpleRNN,
# step by step backwards. You train the toy network with it until it is right about both phrases, and
# you see what gradient clipping is for.
#
# **You need** [notebook 1](01_rnn_from_scratch.ipynb) and the chain rule. The notebook takes less than
# a minute.

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
# The gradient of every weight, from the verifier. The network is the chapter's, with the weights that
# are printed with it; the loss is the cross-entropy for "this is" → "an".

# %%
import numpy as np

import verify
from recipes import toy_rnn
from recipes.data import toy
from recipes.run import training

keras = training.start(seed=42)
model = toy_rnn.build_model(toy_rnn.Config())
model.set_weights(
    [
        np.array([[-0.46506366]]),
        np.array([[-0.3498325]]),
        np.array([0.3742378]),
        np.array([[-0.07940943, 1.0316525, 0.82078505, 0.69793195, 0.5232159]]),
        np.array([-0.40055057, -0.4714679, 0.43754113, -0.44841036, 0.4264429]),
    ]
)
pipeline = toy.pipeline()
x = pipeline.encode(["this is", "is an"]).astype(float)  # (2, 2, 1)
labels = [pipeline.vocabulary.ids[word] for word in ("an", "example")]
y = training.one_hot(labels, pipeline.vocabulary.size)

net = verify.load(model)
p = net.predict(x[:1], dtype="float64")  # (1, 5)
print("loss:", -np.log(p[0, labels[0]]))
found = verify.backprop(net, x[:1], [-y[:1] / p]).weights
for layer, weights in found.items():
    for name, gradient in weights.items():
        print(f"{layer:6}{name:17}", gradient.ravel().round(6))

# %% [markdown]
# Each number says by how much the loss grows if that weight grows by a little. Training goes the other
# way: it takes a small part of each gradient away from its weight, and looks again.
#
# ## Forwards once more
#
# The forward pass, as in notebook 1, with names for everything that we need on the way back:
#
# $$ a_1 = x_1 w + b, \quad h_1 = \tanh a_1, \qquad a_2 = x_2 w + h_1 u + b, \quad h_2 = \tanh a_2, $$
# $$ z = h_2 k + d, \qquad p = \mathrm{softmax}(z), \qquad L = -\log p_{\text{label}} $$


# %%
def forwards(weights, x1, x2):
    """Both states, and the probabilities."""
    w, u, b, k, d = weights
    h1 = np.tanh(x1 * w + b)
    h2 = np.tanh(x2 * w + h1 * u + b)
    e = np.exp(h2 * k + d)
    return h1, h2, e / e.sum()


w, u, b = (v.item() for v in net.spec["rnn"].weights.values())
k, d = (v.ravel().astype(float) for v in net.spec["dense"].weights.values())
weights = (w, u, b, k, d)
x1, x2 = x[0, :, 0]
h1, h2, ours = forwards(weights, x1, x2)
np.testing.assert_allclose(ours, p[0], atol=1e-12)

# %% [markdown]
# ## Backwards: the Dense layer
#
# A softmax under a cross-entropy has the friendliest derivative there is: what the model says, minus
# what is right.
#
# $$ \frac{\partial L}{\partial z} = p - y $$

# %%
dz = ours - y[0]
dk = h2 * dz  # z = h2 * k + d
dd = dz
dh2 = float(k @ dz)  # h2 goes into all five logits
print("dz ", dz.round(6))
print("dh2", round(dh2, 6))
np.testing.assert_allclose(dk, found["dense"]["kernel"][0], atol=1e-12)
np.testing.assert_allclose(dd, found["dense"]["bias"], atol=1e-12)

# %% [markdown]
# ## Backwards through time
#
# Now from `h2` to the weights of the recurrent layer. `tanh` has the derivative $1 - h^2$, so
#
# $$ \frac{\partial L}{\partial a_2} = \frac{\partial L}{\partial h_2}\,(1 - h_2^2). $$
#
# And `a2` was made of three things: `x2 * w`, `h1 * u` and `b`. Each gets its share, and so does `h1`:
# through it the gradient goes back to the first word, multiplied by `u` on the way.

# %%
da2 = dh2 * (1 - h2**2)
dh1 = da2 * u
da1 = dh1 * (1 - h1**2)
print(f"second step  da2 = {da2:.6f}")
print(f"first step   da1 = {da1:.6f}")

# %% [markdown]
# The same three weights were used at both steps, so each has two gradients, one for each step, and they
# add up. This is all there is to **backpropagation through time**.

# %%
dw = da2 * x2 + da1 * x1
du = da2 * h1 + da1 * 0.0  # before the first step the state is 0
db = da2 + da1
print(f"dw = {da2 * x2:.6f} + {da1 * x1:.6f} = {dw:.6f}")
print(f"du = {da2 * h1:.6f} + {0.0:.6f} = {du:.6f}")
print(f"db = {da2:.6f} + {da1:.6f} = {db:.6f}")
by_hand = {"kernel": dw, "recurrent_kernel": du, "bias": db}
for name, value in by_hand.items():
    np.testing.assert_allclose(value, found["rnn"][name].item(), atol=1e-12)

# %% [markdown]
# The verifier computes the same. So does Keras, by automatic differentiation:

# %%
import tensorflow as tf

with tf.GradientTape() as tape:
    loss = keras.losses.categorical_crossentropy(y[:1], model(x[:1]))
theirs = tape.gradient(loss, model.trainable_variables)
ours_in_order = (dw, du, db, dk, dd)
for variable, their, mine in zip(
    model.trainable_variables, theirs, ours_in_order, strict=True
):
    apart = np.abs(np.asarray(their).ravel() - mine).max()
    print(f"{variable.path:24} off by {apart:.0e}")
    assert apart < 1e-6

# %% [markdown]
# ## What the loss says about it
#
# A gradient is a promise about the loss. Let us hold it to that: change one weight by a little, and see
# what becomes of the loss. Here is `u`, over a whole range, with the line that our gradient promises:


# %%
def loss_of(weights, phrase=0):
    """The cross-entropy of a phrase."""
    *_, p = forwards(weights, *x[phrase, :, 0])
    return -np.log(p[labels[phrase]])


around = np.linspace(u - 2, u + 2, 81)
losses = np.array([loss_of((w, value, b, k, d)) for value in around])

from recipes import plots

plots.functions(
    around,
    {"loss": losses, "promised by du": loss_of(weights) + du * (around - u)},
    "The loss for one phrase, and its tangent",
    xlabel="recurrent kernel u",
    ylabel="loss",
)

# %%
small = 1e-5
difference = loss_of((w, u + small, b, k, d)) - loss_of((w, u - small, b, k, d))
print(f"measured {difference / (2 * small):.8f}   computed {du:.8f}")
assert abs(difference / (2 * small) - du) < 1e-8

# %% [markdown]
# ## Training by hand
#
# Everything together, for both phrases: gradients, then a step against them. The size of the step is
# the **learning rate**. After each step both phrases are looked at again.


# %%
def gradients(weights, x1, x2, label):
    """The gradient of every weight: forwards, then backwards."""
    _, u, _, k, _ = weights
    h1, h2, p = forwards(weights, x1, x2)
    dz = p - np.eye(len(p))[label]
    da2 = (k @ dz) * (1 - h2**2)
    da1 = da2 * u * (1 - h1**2)
    return da2 * x2 + da1 * x1, da2 * h1, da2 + da1, h2 * dz, dz


np.testing.assert_allclose(
    np.hstack(gradients(weights, x1, x2, labels[0])), np.hstack(ours_in_order)
)


def step(weights, rate):
    """The weights after one step; the loss is the mean of both phrases."""
    both = [gradients(weights, *x[n, :, 0], labels[n]) for n in (0, 1)]
    return tuple(
        value - rate * (one + other) / 2
        for value, one, other in zip(weights, *both, strict=True)
    )


RATE, STEPS = 0.1, 2000
learnt, history = weights, []
for _ in range(STEPS):
    history.append((loss_of(learnt, 0) + loss_of(learnt, 1)) / 2)
    learnt = step(learnt, RATE)
print("loss at first", round(history[0], 4), " at the end", round(history[-1], 4))
plots.powers(
    {"mean of both phrases": np.array(history)}, "Trained by hand", ylabel="loss"
)

# %%
for n, text in enumerate(("this is", "is an")):
    *_, p = forwards(learnt, *x[n, :, 0])
    said = pipeline.classes[int(p.argmax())]
    print(f"{text!r:10} -> {said:8} {p.max():.3f}")
    assert p.argmax() == labels[n]

# %% [markdown]
# Both are right: one unit *can* tell the two phrases apart. The chapter stopped early, with smaller steps. (From some
# random weights one unit never learns it. Where `h` is near 1 or -1, $1 - h^2$ is near 0, and nothing comes back. More
# units help, since they hardly ever get stuck all at once: `rnn-recipe run toy_rnn --units 8`.)
#
# Does Keras do the same, step by step? A plain `SGD` with the same rate, for three steps:

# %%
model.compile(optimizer=keras.optimizers.SGD(RATE), loss="categorical_crossentropy")
after = weights
for _ in range(3):
    model.train_on_batch(x, y)
    after = step(after, RATE)
apart = max(
    np.abs(theirs.ravel() - ours).max()
    for theirs, ours in zip(model.get_weights(), after, strict=True)
)
print(f"after three steps the weights differ by {apart:.0e}")
assert apart < 1e-6

# %% [markdown]
# ## Exploding gradients
#
# On the way back the gradient is multiplied by `u` at every step. Over two steps that is harmless. Over
# thirty it is not. Take one linear unit that is to keep its first input, 0.5, for thirty steps, while
# nothing else comes in: it should have `u = 1`. Its loss, as `u` varies:

# %%
TIME = 30
target = 0.5
values = np.linspace(0.8, 1.12, 200)


def far_loss(u):
    """Half the squared error of the last state."""
    return 0.5 * (0.5 * u ** (TIME - 1) - target) ** 2


def far_gradient(u):
    """Its derivative."""
    return (0.5 * u ** (TIME - 1) - target) * 0.5 * (TIME - 1) * u ** (TIME - 2)


plots.functions(
    values,
    {"loss": far_loss(values)},
    "A cliff: the loss after thirty steps",
    xlabel="recurrent kernel u",
    ylabel="loss",
)

# %%
remember = keras.Sequential(
    [keras.Input((TIME, 1)), keras.layers.SimpleRNN(1, activation="linear", name="rnn")]
)
first_only = np.zeros((1, TIME, 1))
first_only[0, 0] = 0.5


def at(u):
    """The network with this recurrent kernel."""
    remember.set_weights([np.array([[1.0]]), np.array([[u]]), np.array([0.0])])
    return verify.load(remember)


for value in (0.8, 1.0, 1.05, 1.2):
    network = at(value)
    error = network.predict(first_only, dtype="float64") - target
    slope = verify.backprop(network, first_only, [error]).weights["rnn"]
    print(f"u = {value:4}   dL/du = {slope['recurrent_kernel'].item():12.4g}")
    exact = float(np.float32(value))  # what Keras keeps of it
    np.testing.assert_allclose(slope["recurrent_kernel"].item(), far_gradient(exact))

# %% [markdown]
# Left of 1 the ground is flat: the gradient vanishes. Right of 1 it is a wall. A step that is right for
# the flat part throws the weight far away from the wall. **Gradient clipping** makes such a step
# shorter and keeps its direction. Here are sixty steps from `u = 1.2`, without and with:


# %%
def descend(clip):
    """u at each of sixty steps."""
    u, path = 1.2, []
    for _ in range(60):
        path.append(u)
        g = far_gradient(u)
        if clip is not None:
            g *= min(1.0, clip / abs(g)) if g else 1.0
        u -= 0.005 * g
        if abs(u) > 1e3:
            break
    return np.array(path), u


path, thrown = descend(None)
kept, arrived = descend(1.0)
print(f"without clipping: after {len(path)} step(s) u = {thrown:.4g}")
print(f"with clipping   : after {len(kept)} steps u = {arrived:.4f}")
plots.functions(
    range(len(kept)),
    {"gradient clipped to 1": kept},
    "With clipping u finds its way to 1",
    xlabel="step",
    ylabel="recurrent kernel u",
)

# %%
assert abs(thrown - 1) > 100
assert abs(arrived - 1) < 0.01

# %% [markdown]
# Keras has it in every optimizer, in three kinds, and they are not the same:
#
# | option | limits |
# |---|---|
# | `clipvalue` | every single number of a gradient: the direction changes |
# | `clipnorm` | the length of the gradient of each weight array by itself |
# | `global_clipnorm` | the length of all gradients together: the direction stays |
#
# Two arrays of weights and a gradient of length 13, clipped to 1 in each way:

# %%
gradient = [np.array([3.0, 4.0]), np.array([12.0])]
length = np.sqrt(sum((g**2).sum() for g in gradient))
by_hand = {
    "clipvalue": [np.clip(g, -1, 1) for g in gradient],
    "clipnorm": [g * min(1, 1 / np.linalg.norm(g)) for g in gradient],
    "global_clipnorm": [g * min(1, 1 / length) for g in gradient],
}
for option, expected in by_hand.items():
    arrays = [keras.Variable(np.zeros_like(g)) for g in gradient]
    optimizer = keras.optimizers.SGD(1.0, **{option: 1.0})
    optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradient], arrays)
    moved = [-np.asarray(v) for v in arrays]
    print(f"{option:16}", *(m.round(4) for m in moved))
    for mine, theirs in zip(expected, moved, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell with your answer, then the one beneath it. Solutions
# are in `solutions/09_learning_by_hand.py`.
#
# **1.** Predict first, without computing: a new SimpleRNN of these recipes starts with `u = 0`. Which
# gradient has `h1` then, whatever the words are? Give one number.

# %% tags=["exercise-1"]
answer_1 = ...

# %%
from recipes.explore import exercises

exercises.check(
    1,
    answer_1,
    da2 * 0.0,
    "dh1 = da2 * u: what is multiplied by u on the way back?",
)

# %% [markdown]
# **2.** Write one step backwards for any number of units: `dh` is the gradient of the new state `h`, both
# (batch, units). Return the gradients of the old state `h_before` and of `recurrent_kernel`.


# %% tags=["exercise-2"]
def step_back(dh, h, h_before, recurrent_kernel):
    """The gradients of h_before and recurrent_kernel."""
    return ...


# %%
rng = np.random.default_rng(0)
wide = keras.Sequential([keras.Input((1, 3)), keras.layers.SimpleRNN(4, name="rnn")])
wide.set_weights([rng.normal(size=v.shape) for v in wide.get_weights()])
kernel, recurrent, bias = (tf.constant(v, tf.float64) for v in wide.get_weights())
now, before = tf.constant(rng.normal(size=(2, 3))), tf.constant(rng.normal(size=(2, 4)))
towards = rng.normal(size=(2, 4))
with tf.GradientTape() as tape:
    tape.watch([before, recurrent])
    new = tf.tanh(now @ kernel + before @ recurrent + bias)
    total = tf.reduce_sum(new * towards)
right = tape.gradient(total, [before, recurrent])


def joined(*given):
    """Both gradients in one array."""
    answer = step_back(*given)
    return answer if answer is ... else np.concatenate(answer)


exercises.check(
    2,
    joined,
    np.concatenate([r.numpy() for r in right]),
    "first through tanh; then da @ recurrent_kernel.T, and h_before.T @ da.",
    of=(towards, new.numpy(), before.numpy(), recurrent.numpy()),
)

# %% [markdown]
# **3.** A gradient has the length 50, and the optimizer has `global_clipnorm=2`. By which number is each
# part of it multiplied?

# %% tags=["exercise-3"]
answer_3 = ...

# %%
exercises.check(3, answer_3, 2 / 50, "the length afterwards is 2.")

# %% [markdown]
# ## What you have shown
#
# Training is the forward pass, the same equations backwards, and a small step. You have computed the
# gradient of every weight by hand, the verifier and Keras have the same, and enough of such steps make
# the toy network right.

# %%
assert history[-1] < 0.1 < history[0]
print(
    f"loss {history[0]:.3f} -> {history[-1]:.3f}; Keras's weights agree to {apart:.0e}"
)

# %% [markdown]
# Next: [words as vectors, and texts in order](10_order_and_distance.ipynb).
