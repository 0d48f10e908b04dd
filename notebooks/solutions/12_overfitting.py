# %% [markdown]
# # Solutions to 12. Learning by heart
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** 0.693: a loss above that is worse than a coin. The mistake takes the error for the loss.

# %% tags=["mistake-1"]
answer_1 = 0.5

# %% tags=["solution-1"]
answer_1 = np.log(2)

# %% [markdown]
# **2.** The mistake leaves out and does not scale. In use, where nothing is left out, the next layer would then be
# given more than it has learnt with.


# %% tags=["mistake-2"]
def drop(x, kept, rate):
    return x * kept


# %% tags=["solution-2"]
def drop(x, kept, rate):
    return x * kept / (1 - rate)


# %% [markdown]
# **3.** With `patience=1` the third epoch, which is worse than the second, ends it. With 2 the fourth comes in time
# with a new lowest loss, and the five epochs end before two have passed without one.

# %% tags=["mistake-3"]
answer_3 = (2, 4)

# %% tags=["solution-3"]
answer_3 = (3, 5)
