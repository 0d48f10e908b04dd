"""Run the sessions that pages of the documentation show, and write their outputs there.

``PYTHONPATH=tests python -m support.page_sessions``, from the root of the project.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from support.nets import ids, lstm_file, mutated

from verify import load

ROOT = Path(__file__).parents[2]
EXPORTED = ROOT / "tests" / "data" / "exported"
BLOCK = re.compile(r"^```(c|js|shell)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {"c": "port.c", "js": "port.mjs"}


def stateful_export(folder: Path) -> None:
    """A stateful LSTM, and what Keras exports of it to ONNX."""
    for suffix in (".keras", ".onnx"):
        shutil.copy(EXPORTED / f"stateful{suffix}", folder / f"model{suffix}")


def small_lstm(folder: Path) -> None:
    """Embedding with a mask, LSTM and Dense."""
    lstm_file(folder / "model.keras")


def dumped_port(folder: Path) -> None:
    """The same, inputs, and some values of a port with a mistake in a gate."""
    small_lstm(folder)
    net, x = load(folder / "model.keras"), ids(batch=12)
    np.save(folder / "x.npy", x)
    wrong = mutated(net.spec, "recurrent_kernel of gate c transposed")
    values = wrong.trace(x, dtype="float32").arrays()
    names = ("embedding/output", "lstm/i", "lstm/f", "lstm/h")
    some = {name: values[name] for name in names}
    np.savez(
        folder / "port.npz",
        **some,
        **{
            "lstm/c_hat@0:3": values["lstm/c_hat"][:, :3],
            "dense": values["dense/output"],
        },
    )


PAGES = {
    "vectors": small_lstm,
    "exported": stateful_export,
    "inside": dumped_port,
}
"""Page of docs/ -> what makes the files that its commands are given."""


def path_of(page: str) -> Path:
    """Where a page is."""
    return ROOT / "docs" / f"{page}.md"


def replayed(name: str, folder: Path) -> str:
    """A page with what its commands print now; ports are written to files."""
    PAGES[name](folder)
    tool = folder / "bin" / "rnn-verify"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m verify "$@"\n')
    tool.chmod(0o755)
    env = {**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"}

    def block(found: re.Match[str]) -> str:
        language, content = found.groups()
        if language in FILES:
            (folder / FILES[language]).write_text(content)
            return found[0]
        lines = []
        for command in re.findall(r"^\$ (.*)$", content, re.MULTILINE):
            run = subprocess.run(
                command, shell=True, cwd=folder, env=env,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            lines.append(f"$ {command}\n{run.stdout}")
        return f"```shell\n{''.join(lines)}```"

    return BLOCK.sub(block, path_of(name).read_text())


if __name__ == "__main__":
    for page in PAGES:
        with tempfile.TemporaryDirectory() as name:
            path_of(page).write_text(replayed(page, Path(name)))
