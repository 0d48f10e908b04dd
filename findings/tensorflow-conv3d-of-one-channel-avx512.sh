#!/usr/bin/env bash
# tensorflow 2.21.0 on x86-64 with AVX-512, one input channel, padding SAME.
#
# Guess: tf.nn.conv3d in float32 is what it is in float64, to rounding, for any strides
#        and any number of rows.
# Found: with stride 1 along the height and a stride along the width that leaves one
#        column of one or two, several rows at once give other numbers altogether. Row by row, in
#        float64, with two channels, with TF_ENABLE_ONEDNN_OPTS=0 or with
#        ONEDNN_MAX_CPU_ISA=AVX2 they are right, so it is a kernel of oneDNN.
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


def apart(x, kernel, strides):
    def of(dtype, rows):
        values = tf.constant(rows, dtype), tf.constant(kernel, dtype)
        return tf.nn.conv3d(*values, (1, *strides, 1), "SAME").numpy()

    right = of("float64", x)
    together = np.abs(of("float32", x) - right).max()
    singly = np.concatenate([of("float32", x[k : k + 1]) for k in range(len(x))])
    return together, np.abs(singly - right).max()


for width, channels, strides, wrong in (
    (2, 1, (1, 1, 2), True), (2, 1, (2, 1, 2), True), (1, 1, (1, 1, 3), True),
    (2, 2, (1, 1, 2), False), (2, 1, (1, 2, 2), False), (4, 1, (1, 1, 2), False),
):
    x = rng.normal(size=(5, 3, 2, width, channels))
    kernel = rng.normal(size=(1, 3, 3, channels, 2))
    together, singly = apart(x, kernel, strides)
    said = "other numbers" if together > 0.01 else "the same"
    print(f"{width} wide, {channels} channel(s), strides {strides}: 5 rows give {said}")
    if (together > 0.01) != (wrong and fast) or singly > 1e-5:
        sys.exit(f"changed: {together}, row by row {singly}")
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
python="$folder/venv/bin/python"
unset TF_ENABLE_ONEDNN_OPTS ONEDNN_MAX_CPU_ISA
"$python" "$folder/conv.py" 2>"$folder/err" || { cat "$folder/err" >&2; exit 1; }
for one in TF_ENABLE_ONEDNN_OPTS=0 ONEDNN_MAX_CPU_ISA=AVX2; do
  echo "with $one:"
  env "$one" "$python" "$folder/conv.py" 2>"$folder/err" || { cat "$folder/err" >&2; exit 1; }
done
