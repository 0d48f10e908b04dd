"""Try the wheels in environments that hold nothing else: ``make try-wheels``.

    PYTHONPATH=tests python -m bare_install dist

installs each distribution with pip, as its users do, and runs its commands. The tests
do the same with the verifier, without pip's downloads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
from support.nets import ids, lstm_file

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
MIB = 2**20


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of an environment; it finds nothing of this one."""
    hidden = ("PYTHONPATH", "KERAS_BACKEND", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True,
        text=True, timeout=300,
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


def main(dist: Path) -> None:
    """Install each distribution by pip in an environment of its own, and try it."""
    verifier, recipes = (
        next(dist.glob(f"{name}-*.whl"))
        for name in ("keras_rnn_verify", "keras_rnn_recipes")
    )
    for wheels in ([verifier], [verifier, recipes]):
        with tempfile.TemporaryDirectory() as made:
            folder, began = Path(made), time.monotonic()
            venv.create(folder / "bare", with_pip=True)
            programs = folder / "bare" / "bin"
            pip = (programs / "python", "-m", "pip", "--disable-pip-version-check")
            install = ("install", "--quiet", "--constraint", CONSTRAINTS.resolve())
            require(0, *pip, *install, *wheels, folder=folder)
            require(0, *pip, "check", folder=folder)
            seconds = time.monotonic() - began
            write_inputs(folder)
            try_verifier(programs, folder)
            if recipes in wheels:
                report = require(
                    0, programs / "rnn-verify", "check", "model.keras", folder=folder
                )
                assert report.startswith("PASS")
                listed = require(0, programs / "rnn-recipe", "list", folder=folder)
                assert "sentiment_lstm" in listed
            else:
                for line in missing_packages(programs, folder).values():
                    print(line, end="")
            files = (folder / "bare").rglob("*")
            size = sum(f.lstat().st_blocks * 512 for f in files)
            print(
                f"{wheels[-1].name}: works; its environment takes "
                f"{size / MIB:,.0f} MiB and {seconds:.0f} s to install"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
