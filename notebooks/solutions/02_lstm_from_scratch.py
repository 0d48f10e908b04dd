# %% [markdown]
# # Solutions to 2. An LSTM from scratch
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** The forget gate is the second of four blocks; its first column is number 40, since
# columns are counted from 0.

# %% tags=["mistake-1"]
answer_1 = (0, 40)

# %% tags=["solution-1"]
answer_1 = (40, 80)

# %% [markdown]
# **2.** In the mistake the candidate goes through the sigmoid like the gates.


# %% tags=["mistake-2"]
def step(x, h, c, kernel, recurrent_kernel, bias):
    z = x @ kernel + h @ recurrent_kernel + bias
    i, f, c_hat, o = np.split(1 / (1 + np.exp(-z)), 4, axis=1)
    c = f * c + i * c_hat
    return o * np.tanh(c), c


# %% tags=["solution-2"]
def step(x, h, c, kernel, recurrent_kernel, bias):
    z = x @ kernel + h @ recurrent_kernel + bias
    z_i, z_f, z_c, z_o = np.split(z, 4, axis=1)
    i, f, o = (1 / (1 + np.exp(-gate)) for gate in (z_i, z_f, z_o))
    c = f * c + i * np.tanh(z_c)
    return o * np.tanh(c), c


# %% [markdown]
# **3.** The old is kept whole (f = 1) and nothing new is written (i = 0). With f = 1 and
# i = 1 the cell state is a sum that changes with every word.

# %% tags=["mistake-3"]
answer_3 = (1, 1)

# %% tags=["solution-3"]
answer_3 = (1, 0)
