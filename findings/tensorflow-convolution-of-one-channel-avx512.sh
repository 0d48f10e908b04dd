#!/usr/bin/env bash
# tensorflow 2.21.0 on x86-64 with AVX-512, one input channel.
#
# Guess: tf.nn.conv2d and tf.nn.conv3d in float32 are what they are in float64, to
#        rounding, for any strides and any number of rows.
# Found: where the stride along the width is 2 or more and leaves one column, that along
#        the height is 1 and leaves several rows, and the kernel is 2 or more columns
#        wide, several images at once give other numbers altogether, some as great as
#        1e28. Image by image, in float64, with two channels, with
#        TF_ENABLE_ONEDNN_OPTS=0 or with ONEDNN_MAX_CPU_ISA=AVX2 they are right, so it
#        is a kernel of oneDNN.
#
# Prints one line per case, and fails if any of this changes. Without AVX-512 there is
# nothing to see.
set -euo pipefail
grep -q avx512f /proc/cpuinfo || { echo "no AVX-512 here"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/conv.py" <<'PYTHON'
import os
import sys

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
fast = "TF_ENABLE_ONEDNN_OPTS" not in os.environ and "ONEDNN_MAX_CPU_ISA" not in os.environ


def apart(x, kernel, strides, padding):
    function = tf.nn.conv2d if x.ndim == 4 else tf.nn.conv3d

    def of(dtype, images):
        values = tf.constant(images, dtype), tf.constant(kernel, dtype)
        return function(*values, (1, *strides, 1), padding).numpy()

    def difference(found):
        return np.abs(np.nan_to_num(found, nan=np.inf) - right).max()

    right = of("float64", x)
    singly = [of("float32", x[k : k + 1]) for k in range(len(x))]
    return difference(of("float32", x)), difference(np.concatenate(singly))


for sides, channels, size, strides, padding, wrong in (
    ((4, 3), 1, (2, 3), (1, 2), "VALID", True),
    ((4, 3), 1, (2, 2), (1, 2), "VALID", True),
    ((4, 2), 1, (4, 3), (1, 2), "SAME", True),
    ((3, 2, 2), 1, (1, 3, 3), (1, 1, 2), "SAME", True),
    ((3, 2, 2), 1, (1, 3, 3), (2, 1, 2), "SAME", True),
    ((3, 2, 1), 1, (1, 3, 3), (1, 1, 3), "SAME", True),
    ((4, 3), 2, (2, 3), (1, 2), "VALID", False),  # two channels
    ((4, 3), 1, (2, 3), (2, 2), "VALID", False),  # a stride along the height
    ((4, 3), 1, (2, 1), (1, 3), "VALID", False),  # a kernel of one column
    ((4, 5), 1, (2, 3), (1, 2), "VALID", False),  # two columns are left
    ((2, 3), 1, (2, 3), (1, 2), "VALID", False),  # one row is left
    ((3, 2, 2), 2, (1, 3, 3), (1, 1, 2), "SAME", False),
    ((3, 2, 2), 1, (1, 3, 3), (1, 2, 2), "SAME", False),
    ((3, 2, 4), 1, (1, 3, 3), (1, 1, 2), "SAME", False),
):
    x = rng.normal(size=(5, *sides, channels))
    kernel = rng.normal(size=(*size, channels, 2))
    together, singly = apart(x, kernel, strides, padding)
    said = "other numbers" if together > 0.01 else "the same"
    print(f"{sides}, {channels} channel(s), kernel {size}, strides {strides}, "
          f"{padding}: 5 images give {said}")
    if (together > 0.01) != (wrong and fast) or singly > 1e-5:
        sys.exit(f"changed: {together}, image by image {singly}")
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
python="$folder/venv/bin/python"
unset TF_ENABLE_ONEDNN_OPTS ONEDNN_MAX_CPU_ISA
"$python" "$folder/conv.py" 2>"$folder/err" || { cat "$folder/err" >&2; exit 1; }
for one in TF_ENABLE_ONEDNN_OPTS=0 ONEDNN_MAX_CPU_ISA=AVX2; do
  echo "with $one:"
  env "$one" "$python" "$folder/conv.py" 2>"$folder/err" || { cat "$folder/err" >&2; exit 1; }
done
