#!/usr/bin/env bash
# safetensors 0.8.0, safetensors.numpy, beside safetensors.torch.
#
# Guess: save_file stores the numbers of an array, whatever its memory looks like, as
#        numpy.save does; or it raises, as safetensors.torch does for a tensor that is
#        not contiguous.
# Found: it stores the bytes as they lie in memory, under the shape of the view. A kernel
#        of Keras that was turned for torch, save_file({"weight_ih_l0": kernel.T}, ...),
#        comes back with its numbers in other places. Nothing warns or raises.
#        So does a slice with a step, kernel[:, ::2].
#        numpy.ascontiguousarray(kernel.T) is stored right.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  safetensors==0.8.0 numpy==2.2.6
"$folder/venv/bin/python" - "$folder/weights.safetensors" <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

path = sys.argv[1]
kernel = np.arange(12, dtype=np.float32).reshape(3, 4)
cases = {
    "kernel": (kernel, True),
    "kernel.T": (kernel.T, False),
    "np.asfortranarray(kernel)": (np.asfortranarray(kernel), False),
    "kernel[:, ::2]": (kernel[:, ::2], False),
    "np.ascontiguousarray(kernel.T)": (np.ascontiguousarray(kernel.T), True),
}
for name, (array, right) in cases.items():
    save_file({"a": array}, path)
    found = load_file(path)["a"]
    same = np.array_equal(found, array)
    print(f"{name:32s} shape {found.shape}, same numbers: {same}")
    if same != right:
        sys.exit(f"{name}: expected same numbers: {right}")
PYTHON
