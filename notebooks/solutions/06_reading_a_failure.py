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
# **3.** The longest text that is right is as long as what the port reads. The mistake takes the shortest text that
# is wrong: that has one word more.

# %% tags=["mistake-3"]
wrong = np.abs(short - net.predict(few)).max(axis=1) > 1e-5
answer_3 = (few != 0).sum(axis=1)[wrong].min()

# %% tags=["solution-3"]
wrong = np.abs(short - net.predict(few)).max(axis=1) > 1e-5
answer_3 = (few != 0).sum(axis=1)[~wrong].max()
