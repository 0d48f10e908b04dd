# %% [markdown]
# # Solutions to 9. Learning, by hand
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** `dh1` is `da2 * u`, so it is 0: at the very first step of training the network learns nothing
# through its memory. The mistake forgets that the way back goes through `u`.

# %% tags=["mistake-1"]
answer_1 = da2

# %% tags=["solution-1"]
answer_1 = 0

# %% [markdown]
# **2.** On the way back the matrix is transposed. The mistake multiplies by it as on the way forwards;
# both have the same shape.


# %% tags=["mistake-2"]
def step_back(dh, h, h_before, recurrent_kernel):
    da = dh * (1 - h**2)
    return da @ recurrent_kernel, h_before.T @ da


# %% tags=["solution-2"]
def step_back(dh, h, h_before, recurrent_kernel):
    da = dh * (1 - h**2)
    return da @ recurrent_kernel.T, h_before.T @ da


# %% [markdown]
# **3.** The mistake divides the wrong way round and would make the gradient longer.

# %% tags=["mistake-3"]
answer_3 = 50 / 2

# %% tags=["solution-3"]
answer_3 = 2 / 50
