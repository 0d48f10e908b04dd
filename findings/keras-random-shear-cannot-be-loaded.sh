#!/usr/bin/env bash
# Keras 3.15.1.
#
# Guess: a model with RandomShear(0.2) is loaded from its own file.
# Found: it is saved, and `load_model` raises: the config has the range that the layer
#        made of its factor, from -0.2 to 0.2, and the layer takes numbers from 0 to 1
#        alone. A factor that is given as a pair survives. (layers/preprocessing/
#        image_preprocessing/random_shear.py, `get_config`.)
#
# Prints what came of both, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/shear.py" <<'PYTHON'
import sys
from pathlib import Path

import keras

path = Path(sys.argv[1])
for factor, works in ((0.2, False), ((0.0, 0.2), True)):
    layer = keras.layers.RandomShear(factor, factor)
    keras.Sequential([keras.Input((8, 8, 3)), layer]).save(path)
    try:
        keras.models.load_model(path)
        said = "loads"
    except Exception as error:
        said = f"{str(error).splitlines()[-1]}"
    print(f"RandomShear({factor}): saved as x_factor={layer.get_config()['x_factor']}; "
          f"{said}")
    if (said == "loads") != works:
        sys.exit("changed")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/shear.py" "$folder/model.keras" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
