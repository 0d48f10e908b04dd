# %% [markdown]
# # Solutions to 13. How far back an answer reaches
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** About a thousandth. The mistake subtracts in place of multiplying, and thinks of what is left after one step.

# %% tags=["mistake-1"]
answer_1 = 0.5

# %% tags=["solution-1"]
answer_1 = 0.000977

# %% [markdown]
# **2.** The mistake is a form that many papers have: there `z` says how much of the *candidate* is taken. In Keras it is the
# other way round.


# %% tags=["mistake-2"]
def new_state(h, z, h_hat):
    return (1 - z) * h + z * h_hat


# %% tags=["solution-2"]
def new_state(h, z, h_hat):
    return z * h + (1 - z) * h_hat


# %% [markdown]
# **3.** The greatest singular value is how far *one* application stretches at most. Divided by it
# the powers vanish, since no vector is stretched so far again and again.

# %% tags=["mistake-3"]
matrix = np.array([[0.9, 2.0], [0.1, 1.4]])
answer_3 = np.linalg.norm(matrix, 2)

# %% tags=["solution-3"]
matrix = np.array([[0.9, 2.0], [0.1, 1.4]])
answer_3 = np.abs(np.linalg.eigvals(matrix)).max()
