"""Make the environment of a route when it is first needed, and talk to its worker."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from benchmarks.exporters.plan import PROJECT, Route

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".exporters"
"""Holds the environments, the models and what was exported; `make clean` keeps it."""

REQUIREMENTS = Path(__file__).parent / "environments"
NODE = FOLDER / "node"
MARK = ".installed"
"""Is written last, so that an installation which was cut off is begun again."""


class EnvironmentFailed(Exception):
    """An environment could not be made."""


def interpreter(name: str) -> Path:
    """Return the Python of an environment, which is made if it is not there.

    Raises
    ------
    EnvironmentFailed
        pip or npm could not install it.
    """
    if name == PROJECT:
        return Path(sys.executable)
    if name == "tensorflowjs":
        _make_node()
    folder = FOLDER / name
    python = folder / "bin" / "python"
    if not (folder / MARK).exists():
        _run([sys.executable, "-m", "venv", "--clear", folder])
        requirements = REQUIREMENTS / f"{name}.txt"
        _run([python, "-m", "pip", "install", "--quiet", "-r", requirements])
        (folder / MARK).touch()
    return python


def _make_node() -> None:
    if not (NODE / MARK).exists():
        NODE.mkdir(parents=True, exist_ok=True)
        shutil.copy(REQUIREMENTS / "package.json", NODE)
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=NODE)
        (NODE / MARK).touch()


def _run(command: list[Any], cwd: Path = ROOT) -> None:
    words = list(map(str, command))
    try:
        done = subprocess.run(
            words, cwd=cwd, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise EnvironmentFailed(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        shown = lines[-1] if lines else f"exit code {done.returncode}"
        raise EnvironmentFailed(f"{' '.join(words[:4])}: {shown}")


class Worker:
    """Run the program of a route in its environment, from request to request.

    It is ended and begun again if a request takes longer than `seconds`, or crashes it.
    """

    def __init__(self, route: Route, seconds: float, log: Path) -> None:
        self.route, self.seconds, self.log = route, seconds, log
        self.python = interpreter(route.environment)
        self.process: subprocess.Popen[str] | None = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return the answer to a request; ``{"error": ...}`` if there is none."""
        process = self.process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.seconds, end)
        timer.start()
        try:
            asked = {"route": self.route.module, **request}
            process.stdin.write(json.dumps(asked, default=str) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        status = process.wait()
        self.close()
        if late.is_set():
            return {"error": f"not done after {self.seconds:.0f} seconds"}
        return {"error": f"its process ends with status {status}"}

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()

    def _started(self) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KERAS_BACKEND": self.route.backend,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "NODE_FOLDER": str(NODE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "benchmarks.exporters.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                cwd=ROOT,
            )
        return self.process
