# %% [markdown]
# # Solutions to 11. Tags and phrases
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** Choosing between 2 is one question of yes or no, between 8 it is three: on average two questions, so 4
# words. The mistake takes the mean of 2 and 8.

# %% tags=["mistake-1"]
answer_1 = (2 + 8) / 2

# %% tags=["solution-1"]
answer_1 = 2 ** ((1 + 3) / 2)

# %% [markdown]
# **2.** The mistake multiplies. It cools where it should heat.


# %% tags=["mistake-2"]
def at_temperature(logits, temperature):
    e = np.exp(logits * temperature)
    return e / e.sum()


# %% tags=["solution-2"]
def at_temperature(logits, temperature):
    e = np.exp(logits / temperature)
    return e / e.sum()


# %% [markdown]
# **3.** `units` is the size of each of the two layers.

# %% tags=["mistake-3"]
answer_3 = 20

# %% tags=["solution-3"]
answer_3 = 40
