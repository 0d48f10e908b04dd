#!/usr/bin/env bash
# tensorflow 2.21.0 on the CPU.
#
# Guess: tf.nn.conv3d with padding SAME reads the same windows in float32 and float64.
#        Where they leave out steps, nothing is padded, and the first window begins at 0.
# Found: where they leave out two steps of an axis or more, the windows of float64 begin
#        half of these later. So do those of float32 with TF_ENABLE_ONEDNN_OPTS=0, which
#        takes the kernel of processors without oneDNN. It pads by a negative number.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
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

plain = os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0"
for steps, size, stride in ((6, 1, 3), (6, 2, 4), (5, 1, 5), (6, 2, 3), (5, 1, 2)):
    x = np.arange(steps, dtype="float64").reshape(1, steps, 1, 1, 1)
    kernel = np.eye(size, 1).reshape(size, 1, 1, 1, 1)  # the first step of a window
    read = {
        dtype: tf.nn.conv3d(tf.constant(x, dtype), tf.constant(kernel, dtype),
                            (1, stride, 1, 1, 1), "SAME").numpy().ravel().astype(int)
        for dtype in ("float32", "float64")
    }
    starts = np.arange(0, steps, stride)
    left_out = steps - size - starts[-1]
    later = max(left_out, 0) // 2
    print(f"{steps} steps, kernel {size}, stride {stride}: {max(left_out, 0)} left out, "
          f"float32 begins at {read['float32'][0]}, float64 at {read['float64'][0]}")
    if list(read["float64"]) != list(starts + later):
        sys.exit(f"changed: {read}")
    if list(read["float32"]) != list(starts + later * plain):
        sys.exit(f"changed: {read}")
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
for one in TF_ENABLE_ONEDNN_OPTS=1 TF_ENABLE_ONEDNN_OPTS=0; do
  echo "with $one:"
  env "$one" "$folder/venv/bin/python" "$folder/conv.py" 2>"$folder/err" ||
    { cat "$folder/err" >&2; exit 1; }
done
