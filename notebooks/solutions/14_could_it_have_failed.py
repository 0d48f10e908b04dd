# %% [markdown]
# # Solutions to 14. Could it have failed?
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** The mistake is the `eps` of 32-bit numbers, how far apart they are just above 1. Near 18 they are 16 times as far apart: the
# first digit is worth 16, the last of 24 is worth 16 / 2^23.

# %% tags=["mistake-1"]
answer_1 = np.finfo("float32").eps

# %% tags=["solution-1"]
answer_1 = 16 / 2**23

# %% [markdown]
# **2.** The mistake cuts the texts short. Then there is no padding again, and nothing that a mask could hide.


# %% tags=["mistake-2"]
def padded(ids, words):
    return ids[:, :words]


# %% tags=["solution-2"]
def padded(ids, words):
    return np.where(np.arange(ids.shape[1]) < words, ids, 0)


# %% [markdown]
# **3.** The comparison of the five lines has found the mistake in the end. That does not say that it sees all.

# %% tags=["mistake-3"]
answer_3 = 0

# %% tags=["solution-3"]
answer_3 = len(verify.selftest(small, x).survivors)
