# %% [markdown]
# # Solutions to 6. Reading a failure
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** The mistake reads the other half of the line, the order that Keras has. The name of
# the mistake in the diagnosis holds the order of the port.

# %% tags=["mistake-1"]
answer_1 = ",".join(net.spec["lstm"].gates)

# %% tags=["solution-1"]
named = verify.compare_outputs(net, few, mystery).diagnosis.explanations[0].mistake
answer_1 = named.removeprefix("gate order ")

# %% [markdown]
# **2.** In the mistake a masked step sets the state to zero: what has been read before the
# padding is gone. With padding at the end every answer would be that of an empty text.


# %% tags=["mistake-2"]
def masked_state(old, new, ids):
    return new * (ids != 0)[:, None]


# %% tags=["solution-2"]
def masked_state(old, new, ids):
    return np.where((ids != 0)[:, None], new, old)


# %% [markdown]
# **3.** The comparison of the five lines failed, so it saw one mistake. That does not say
# that it sees all: `small` is untrained, and its biases are zero but for the forget gate's.

# %% tags=["mistake-3"]
answer_3 = 0

# %% tags=["solution-3"]
answer_3 = len(verify.selftest(small, x).survivors)
