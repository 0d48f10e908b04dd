# %% [markdown]
# # Solutions to 8. Leaving Keras
#
# Each with a mistake that many make, and what is wrong with it. Put a cell in the place
# of the exercise's to see what the check says.

# %% [markdown]
# **1.** The mistake names one batch that is refused and forgets the other; the report has a line
# for each.

# %% tags=["mistake-1"]
answer_1 = ["batch 2"]

# %% tags=["solution-1"]
answer_1 = [probe.name for probe in to_tflite.probes if probe.verdict == "refused"]

# %% [markdown]
# **2.** The mistake goes the other way: it takes the blocks as if they were ONNX's and brings them
# into Keras's order. To put four things in another order and to put them back are two different
# things.


# %% tags=["mistake-2"]
def in_onnx_order(kernel):
    i, o, f, c = np.split(kernel, 4, axis=-1)
    return np.concatenate([i, f, c, o], axis=-1)


# %% tags=["solution-2"]
def in_onnx_order(kernel):
    i, f, c, o = np.split(kernel, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)


# %% [markdown]
# **3.** The mistake asks the model, which is right. The file knows less than the model does.

# %% tags=["mistake-3"]
answer_3 = share_right(model.predict(x_test, verbose=0))

# %% tags=["solution-3"]
opened = onnxruntime.InferenceSession(str(swapped))
answer_3 = share_right(opened.run(None, {opened.get_inputs()[0].name: x_test})[0])
