"""Run the session of docs/vectors.md, and write its outputs into the page.

``PYTHONPATH=tests python -m support.vectors_session``, from the root of the project.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from support.nets import lstm_file

PAGE = Path(__file__).parents[2] / "docs" / "vectors.md"
BLOCK = re.compile(r"^```(c|js|shell)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {"c": "port.c", "js": "port.mjs"}


def replayed(page: str, folder: Path) -> str:
    """The page with what its commands print now; ports are written to files."""
    lstm_file(folder / "model.keras")
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

    return BLOCK.sub(block, page)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(replayed(PAGE.read_text(), Path(name)))
