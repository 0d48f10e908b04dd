# %% [markdown]
# # Solutions to 1. A recurrent network from scratch
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** The count without the bias is 40 short.

# %% tags=["mistake-1"]
answer_1 = 40 * (32 + 40)

# %% tags=["solution-1"]
answer_1 = 40 * (32 + 40 + 1)

# %% [markdown]
# **2.** In the mistake the recurrent kernel is transposed: a matrix of `units` rows and
# columns, so nothing complains.


# %% tags=["mistake-2"]
def step(x, h, kernel, recurrent_kernel, bias):
    return np.tanh(x @ kernel + h @ recurrent_kernel.T + bias)


# %% tags=["solution-2"]
def step(x, h, kernel, recurrent_kernel, bias):
    return np.tanh(x @ kernel + h @ recurrent_kernel + bias)


# %% [markdown]
# **3.** "example" is word 4. The toy pipeline pads in front; behind is what Keras calls
# `"post"`.

# %% tags=["mistake-3"]
answer_3 = [4, 0]

# %% tags=["solution-3"]
answer_3 = [0, 4]
