# %% [markdown]
# # Solutions to 4. Gates and memory
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** In the mistake every step takes away 0.27 of the *first* memory, so that it is gone after
# four. But a gate multiplies: what it takes is a share of what is left.

# %% tags=["mistake-1"]
answer_1 = int(np.ceil((1 - 0.01) / (1 - 0.73)))

# %% tags=["solution-1"]
answer_1 = 1
while 0.73**answer_1 >= 0.01:
    answer_1 += 1

# %% [markdown]
# **2.** The gate of step t acts on what was there *before* step t. The mistake counts it for
# what the step leaves, too.


# %% tags=["mistake-2"]
def still_there(f):
    return np.cumprod(f[::-1], axis=0)[::-1]


# %% tags=["solution-2"]
def still_there(f):
    later = np.concatenate([f[1:], np.ones_like(f[:1])])
    return np.cumprod(later[::-1], axis=0)[::-1]


# %% [markdown]
# **3.** They add up from the first answer to the last, whatever happens between. The mistake forgets that the answer does
# not begin at 0.

# %% tags=["mistake-3"]
answer_3 = 0.9

# %% tags=["solution-3"]
answer_3 = 0.7

# %% [markdown]
# **4.** "not" is a stop word, as "a" is: both texts are "good flight" to the network. The mistake asks what a reader would say.

# %% tags=["mistake-4"]
answer_4 = 0.9

# %% tags=["solution-4"]
answer_4 = 0
