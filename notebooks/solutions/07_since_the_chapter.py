# %% [markdown]
# # Solutions to 7. Since the chapter
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** In the mistake the slope times z reaches 1, but a gate begins half open, at 0.5.

# %% tags=["mistake-1"]
answer_1 = (1 / 0.2, 1 * 6)

# %% tags=["solution-1"]
answer_1 = (0.5 / 0.2, 0.5 * 6)

# %% [markdown]
# **2.** In the mistake the second bias is forgotten. A GRU of Keras 3 has 120 parameters
# more.

# %% tags=["mistake-2"]
answer_2 = (3 * 40 * (32 + 40 + 1), 3 * 40 * (32 + 40 + 1))

# %% tags=["solution-2"]
answer_2 = (3 * 40 * (32 + 40 + 1), 3 * 40 * (32 + 40 + 2))

# %% [markdown]
# **3.** The mistake is the candidate of Keras 3, where `r` comes after the product.


# %% tags=["mistake-3"]
def candidate(x, h, r, kernel, recurrent_kernel, bias):
    return np.tanh(x @ kernel + bias + r * (h @ recurrent_kernel))


# %% tags=["solution-3"]
def candidate(x, h, r, kernel, recurrent_kernel, bias):
    return np.tanh(x @ kernel + bias + (r * h) @ recurrent_kernel)
