"""A model trained on one backend is verified on the other, as the same file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import verify
from verify.keras_bridge import backend

pytestmark = pytest.mark.keras


def test_a_trained_model_is_verified_on_the_other_backend_too(trained, tmp_path):
    model = Path(trained) / "model.keras"
    other = {"jax": "tensorflow", "tensorflow": "jax"}[backend()]
    length = verify.load(model).spec.inputs[0].input_shape[1]
    ids = np.random.default_rng(0).integers(0, 200, size=(6, length))
    np.save(tmp_path / "ids.npy", ids)
    done = subprocess.run(
        [sys.executable, "-m", "verify", "check", f"{model}", "--data", "ids.npy"],
        env={**os.environ, "KERAS_BACKEND": other},
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"PASS  {model}")
    assert f"kernels of {other}" in done.stdout
