# %% [markdown]
# # Solutions to 3. The sentiment of tweets
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** The mistake takes the embedding's 32 numbers for the inputs. The second layer never
# sees them; it reads the first layer's 40.

# %% tags=["mistake-1"]
answer_1 = 4 * 40 * (32 + 40 + 1)

# %% tags=["solution-1"]
answer_1 = 4 * 40 * (40 + 40 + 1)

# %% [markdown]
# **2.** About half a point. Without the square root one gets the variance, which is no share
# of tweets.

# %% tags=["mistake-2"]
answer_2 = 0.9 * (1 - 0.9) / 3463

# %% tags=["solution-2"]
answer_2 = (0.9 * (1 - 0.9) / 3463) ** 0.5

# %% [markdown]
# **3.** The mistake has the gates in the order of ONNX. The shape is the same, so only the
# numbers tell.


# %% tags=["mistake-3"]
def columns(weights, gate):
    return np.split(weights, 4, axis=-1)["iofc".index(gate)]


# %% tags=["solution-3"]
def columns(weights, gate):
    return np.split(weights, 4, axis=-1)["ifco".index(gate)]
