# %% [markdown]
# # Solutions to 10. Order and distance
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** There are twelve animals, but only two in the sentence, and both words speak for their animal. So it
# is not one of twelve; it is one of two.

# %% tags=["mistake-1"]
answer_1 = 1 / 12

# %% tags=["solution-1"]
answer_1 = 0.5

# %% [markdown]
# **2.** The mistake adds the rows up first, which is a bag of words: the order is gone.


# %% tags=["mistake-2"]
def embedded(rows, table):
    return np.tile(rows.sum(axis=0) @ table, (len(rows), 1))


# %% tags=["solution-2"]
def embedded(rows, table):
    return rows @ table


# %% [markdown]
# **3.** All rows are weights, but only those of words that were read have a gradient. (Adam still moves the
# others a little: it goes on in the direction of earlier steps.)

# %% tags=["mistake-3"]
answer_3 = (12533 * 32, 12533)

# %% tags=["solution-3"]
answer_3 = (12533 * 32, 9)
