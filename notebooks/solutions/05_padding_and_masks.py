# %% [markdown]
# # Solutions to 5. Padding and masks
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** The mistake keeps the first ids of a longer list. Keras's `pad_sequences` keeps the last ones
# unless it is told otherwise.


# %% tags=["mistake-1"]
def filled(ids, length):
    return [0] * (length - len(ids)) + ids[:length]


# %% tags=["solution-1"]
def filled(ids, length):
    kept = ids[-length:]
    return [0] * (length - len(kept)) + kept


# %% [markdown]
# **2.** Multiplying by the mask sets the state to zero where the step is filling: the network would
# forget what it has read. A masked step *keeps* the state.


# %% tags=["mistake-2"]
def masked_step(h, h_new, mask):
    return h_new * mask[:, None]


# %% tags=["solution-2"]
def masked_step(h, h_new, mask):
    return np.where(mask[:, None], h_new, h)


# %% [markdown]
# **3.** n > log(0.001) / log(0.85) = 42.5. Rounding down leaves a little more than a thousandth.

# %% tags=["mistake-3"]
answer_3 = 42

# %% tags=["solution-3"]
answer_3 = 43
