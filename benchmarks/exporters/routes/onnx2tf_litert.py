"""Turn the ONNX file of Keras on TensorFlow into LiteRT's form by onnx2tf."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def export(source: Path, out: Path) -> None:
    """Write the .tflite file of float32; onnx2tf works on a copy, which it changes."""
    program = Path(sys.executable).with_name("onnx2tf")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.onnx"
        shutil.copy(source, copy)
        done = subprocess.run(
            [program, "-i", copy, "-o", Path(folder) / "made", "-n"],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        found = sorted(Path(folder).glob("made/*_float32.tflite"))
        if done.returncode or not found:
            text = done.stdout + done.stderr
            lines = [line for line in text.splitlines() if "rror" in line]
            raise RuntimeError(
                lines[-1].strip() if lines else f"exit code {done.returncode}"
            )
        shutil.copy(found[0], out)
