"""`import verify` loads no Keras; and this very test would notice if it did."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

PROBE = """
import sys
{action}
heavy = [m for m in ("keras", "tensorflow", "jax", "torch") if m in sys.modules]
print(",".join(heavy) or "none")
"""


def loaded_by(action: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(action=action)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.strip()


@pytest.mark.parametrize(
    "action",
    [
        "import verify",
        "import verify.__main__",
        "import verify.keras_bridge",
        "import recipes",
        "import recipes.__main__, recipes.sentiment_lstm, recipes.toy_rnn",
    ],
)
def test_importing_the_packages_loads_neither_keras_nor_tensorflow(action):
    assert loaded_by(action) == "none"


def test_importing_the_verifier_does_not_load_what_makes_pages():
    probe = "import sys; {}; sys.exit('verify.page' in sys.modules)"
    for action, code in (("import verify.__main__", 0), ("import verify.page", 1)):
        run = subprocess.run([sys.executable, "-c", probe.format(action)], check=False)
        assert run.returncode == code, action


def test_reading_and_evaluating_a_file_loads_neither(tmp_path):
    from models import lstm_file

    path = lstm_file(tmp_path / "m.keras")
    assert loaded_by(
        "import verify, numpy as np\n"
        f"net = verify.load({str(path)!r})\n"
        "net.predict(np.ones((2, 6))); net.trace(np.ones((2, 6)))\n"
        "verify.describe(net)\n"
        "verify.compare_outputs(net, np.ones((2, 6)), np.ones((2, 2)))"
    ) == "none"  # fmt: skip


@pytest.mark.keras
def test_the_probe_sees_keras_when_something_does_import_it():
    action = "from verify.keras_bridge import import_keras; import_keras()"
    assert loaded_by(action).startswith("keras")


COMMANDS = """
import sys
import numpy as np
from verify.__main__ import main
code = main({arguments!r})
never = ("keras", "tensorflow", "jax", "torch", "pandas", "matplotlib", "sklearn",
         "nltk", "pyarrow", "distributed", "verify.page")
heavy = [m for m in (*never, *{also!r}) if m in sys.modules]
print(code, ",".join(heavy) or "none")
"""


@pytest.mark.parametrize(
    ("arguments", "also"),
    [
        (["--help"], ["h5py", "rich"]),
        (["describe", "m.keras"], []),
        (["trace", "m.keras", "--data", "x.npy", "--out", "t.npz"], []),
    ],
)
def test_a_command_loads_only_what_it_needs(arguments, also, tmp_path):
    from models import lstm_file

    lstm_file(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", np.ones((2, 6)))
    run = subprocess.run(
        [sys.executable, "-c", COMMANDS.format(arguments=arguments, also=also)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert run.stdout.splitlines()[-1] == "0 none"
