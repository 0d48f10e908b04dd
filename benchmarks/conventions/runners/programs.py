"""Compile a program of this folder, and give it numbers."""

import functools
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np


@functools.cache
def built(name, *options):
    """Return the path of a program, compiled from a source file of this folder."""
    source = Path(__file__).with_name(name)
    target = Path(tempfile.mkdtemp()) / source.stem
    compiler = "gcc" if source.suffix == ".c" else "g++"
    command = [compiler, "-O1", str(source), *options, "-o", str(target), "-lm"]
    subprocess.run(command, check=True)
    return target


def numbers(program, head, *arrays, **environment):
    """Give a program whole numbers and arrays of float32; return its float32."""
    parts = [np.array(head, np.int32), *arrays]
    given = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    found = subprocess.run(
        [str(program)], input=given, stdout=subprocess.PIPE, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    return np.frombuffer(found.stdout, np.float32)


def folder(variable, what):
    """Return the folder that a variable of the environment names."""
    found = os.environ.get(variable, "")
    if not found:
        raise FileNotFoundError(f"{variable} has to name the folder of {what}")
    return found


def commit(path):
    """Return the commit of a folder that git knows, or what its file COMMIT says."""
    written = Path(path) / "COMMIT"
    if written.is_file():
        return written.read_text().strip()
    command = ["git", "-C", str(path), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.strip()
