"""Try the distributions in environments that hold nothing else: ``make try-wheels``.

    PYTHONPATH=tests python -m bare_install dist

installs each wheel and each source distribution with pip, as its users do, in folders
with blanks in their names, and runs its commands and what README.md shows. The tests do
the same with the verifier, without pip's downloads.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
from support.nets import ids, lstm_file

ROOT = Path(__file__).parents[1]
CONSTRAINTS, README = ROOT / "constraints.txt", ROOT / "README.md"
MIB = 2**20


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of an environment; it finds nothing of this one."""
    hidden = ("PYTHONPATH", "KERAS_BACKEND", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True,
        text=True, timeout=900,
    )  # fmt: skip


def require(code: int, *command: str | Path, folder: Path) -> str:
    """Run a command that must end with an exit code, and return what it printed."""
    done = run(*command, folder=folder)
    said = f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    assert done.returncode == code, f"exit code {done.returncode}, not {code}: {said}"
    assert "Traceback" not in done.stderr, said
    return done.stdout if code == 0 else done.stderr


def write_inputs(folder: Path) -> None:
    """Write a model and inputs; those in other formats than .npy are never read."""
    lstm_file(folder / "model.keras")
    np.save(folder / "x.npy", ids(batch=40))  # of fewer, selftest says they are few
    (folder / "x.csv").write_text("1,2,3\n")
    (folder / "x.parquet").write_bytes(b"")


def try_verifier(programs: Path, folder: Path) -> None:
    """Run every command of ``rnn-verify`` that needs neither Keras nor an extra."""
    verify, data = programs / "rnn-verify", ("--data", "x.npy")
    assert "columns: i 0:4, f 4:8" in require(
        0, verify, "describe", "model.keras", folder=folder
    )
    require(0, verify, "predict", "model.keras", *data, "--out", "y.npy", folder=folder)
    require(0, verify, "trace", "model.keras", *data, "--out", "t.npz", folder=folder)
    report = require(
        0, verify, "compare", "model.keras", *data, "--outputs", "y.npy", folder=folder
    )
    assert report.startswith("PASS")
    require(0, verify, "selftest", "model.keras", *data, folder=folder)
    assert "`ConvLSTM2D`" in require(0, verify, "layers", folder=folder)
    count = "from verify.data.text import stop_words; print(len(stop_words()))"
    assert require(0, programs / "python", "-c", count, folder=folder) == "179\n"


def missing_packages(programs: Path, folder: Path) -> dict[str, str]:
    """Return what the commands say whose package is missing, by their extra."""
    verify = programs / "rnn-verify"
    predict = (verify, "predict", "model.keras", "--out", "y.npy")
    commands = {
        "keras": (verify, "check", "model.keras"),
        "csv": (*predict, "--data", "x.csv"),
        "parquet": (*predict, "--data", "x.parquet"),
        "dask": (*predict, "--data", "x.npy", "--dask", "local"),
    }
    return {
        extra: require(2, *command, folder=folder)
        for extra, command in commands.items()
    }


def try_recipes(programs: Path, folder: Path) -> None:
    """Train a recipe, verify and explore it, and run the Python of README.md."""
    python = programs / "python"
    report = require(0, programs / "rnn-verify", "check", "model.keras", folder=folder)
    assert report.startswith("PASS")
    listed = require(0, programs / "rnn-recipe", "list", folder=folder)
    assert "sentiment_lstm" in listed
    recipe = ("many_to_many", "--epochs", "1", "--out", "a run")
    require(0, python, "-m", "recipes", "run", *recipe, folder=folder)
    require(0, python, "-m", "verify", "check", "a run/model.keras", folder=folder)
    require(0, programs / "rnn-recipe", "explore", "a run", folder=folder)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (folder / "readme.py").write_text("\n".join(blocks))
    shown = require(0, python, "readme.py", folder=folder)
    for verdict in ("PASS", "FAIL"):
        assert re.search(rf"^{verdict}  a live model: ", shown, re.MULTILINE), shown


def main(dist: Path) -> None:
    """Install each distribution by pip in an environment of its own, and try it."""
    for suffix in (".whl", ".tar.gz"):
        verifier, recipes = (
            next(dist.glob(f"{name}-*{suffix}"))
            for name in ("keras_rnn_verify", "keras_rnn_recipes")
        )
        for files in ([verifier], [verifier, recipes]):
            with tempfile.TemporaryDirectory(prefix="with blanks ") as made:
                try_files(files, Path(made), with_recipes=recipes in files)


def try_files(files: list[Path], folder: Path, *, with_recipes: bool) -> None:
    """Install distributions into a folder, and run what they bring."""
    began = time.monotonic()
    venv.create(folder / "bare", with_pip=True)
    programs = folder / "bare" / "bin"
    pip = (programs / "python", "-m", "pip", "--disable-pip-version-check")
    install = ("install", "--quiet", "--constraint", CONSTRAINTS.resolve())
    require(0, *pip, *install, *files, folder=folder)
    require(0, *pip, "check", folder=folder)
    seconds = time.monotonic() - began
    write_inputs(folder)
    try_verifier(programs, folder)
    if with_recipes:
        try_recipes(programs, folder)
    else:
        for line in missing_packages(programs, folder).values():
            print(line, end="")
    installed = (folder / "bare").rglob("*")
    size = sum(file.lstat().st_blocks * 512 for file in installed)
    print(
        f"{files[-1].name}: works; its environment takes {size / MIB:,.0f} MiB and "
        f"{seconds:.0f} s to install",
        flush=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
