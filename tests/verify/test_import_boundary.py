"""`import verify` loads no Keras; and this very test would notice if it did."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

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


def test_a_name_that_the_package_does_not_have_is_not_found():
    import verify

    assert verify.check.__module__ == "verify.checks.against_keras"
    for name in ("nothing", "__nothing__", "checkin"):
        assert not hasattr(verify, name)


def test_importing_the_verifier_does_not_load_what_makes_pages():
    probe = "import sys; {}; sys.exit('verify.report.page' in sys.modules)"
    for action, code in (
        ("import verify.__main__", 0),
        ("import verify.report.page", 1),
    ):
        run = subprocess.run([sys.executable, "-c", probe.format(action)], check=False)
        assert run.returncode == code, action


@pytest.mark.slow
def test_reading_and_evaluating_a_file_loads_neither(tmp_path):
    from support.nets import lstm_file

    path = lstm_file(tmp_path / "m.keras")
    assert loaded_by(
        "import verify, numpy as np\n"
        f"net = verify.load({str(path)!r})\n"
        "net.predict(np.ones((2, 6))); net.trace(np.ones((2, 6)))\n"
        "verify.describe(net)\n"
        "verify.compare_outputs(net, np.ones((2, 6)), np.ones((2, 2)),"
        " diagnosis_seconds=1)"
    ) == "none"  # fmt: skip


@pytest.mark.keras
def test_the_probe_sees_keras_when_something_does_import_it():
    action = "from verify.keras_bridge import import_keras; import_keras()"
    assert loaded_by(action).startswith("keras")


COMMANDS = """
import sys
from {tool}.__main__ import main
code = main({arguments!r})
loaded = {{name.partition(".")[0] for name in sys.modules}} | set(sys.modules)
print(code, *sorted(loaded & set({never!r})))
"""
HEAVY = (
    "keras", "tensorflow", "jax", "torch", "pandas", "matplotlib", "sklearn", "nltk",
    "scipy", "pyarrow", "distributed", "verify.report.page",
)  # fmt: skip
AT_ONCE = (
    *HEAVY, "numpy", "h5py", "rich", "verify.model.spec", "verify.data.text",
    "recipes.run.folder",
)  # fmt: skip
"""What a command need not load to say how it is used, or that it was used wrongly."""

COMPUTES_ALONE = (
    *HEAVY, "h5py", "rich", "ml_dtypes", "importlib.metadata", "pydantic",
    "verify.tolerance", "verify.backward", "verify.checks.against_keras",
)  # fmt: skip
"""What a command need not load to read a model in float32 and compute or describe it:
another process reads HDF5."""

PIPELINE = json.dumps(
    {
        "vocabulary": ["good", "bad", "flight"],
        "length": 6,
        "padding": "post",
        "keep_stop_words": False,
        "feature_axis": False,
        "classes": ["no", "yes"],
    }
)
PREDICT_TEXTS = ["predict", "m.keras", "--data", "t.csv", "--out", "y.npy"]
TEXTS_LOAD = ("pandas", "pyarrow")
HEAVY_WITH_TEXTS = tuple(name for name in HEAVY if name not in TEXTS_LOAD)
"""What reading texts need not load: pandas, which loads pyarrow, reads the CSV, and the
verifier itself the stop words."""


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "never"),
    [
        ("verify", ["--help"], 0, AT_ONCE),
        ("verify", ["--version"], 0, AT_ONCE),
        ("verify", ["check", "--help"], 0, AT_ONCE),
        ("verify", ["--nope"], 2, AT_ONCE),
        ("verify", ["check", "--nope"], 2, AT_ONCE),
        ("verify", ["check"], 2, AT_ONCE),
        ("verify", ["describe", "missing.keras"], 2, HEAVY),
        ("verify", ["describe", "m.keras"], 0, COMPUTES_ALONE),
        ("verify", ["trace", "m.keras", "--data", "x.npy", "--out", "t.npz"], 0, HEAVY),
        ("verify", [*PREDICT_TEXTS, "--vocabulary", "run"], 0, HEAVY_WITH_TEXTS),
        ("recipes", ["--help"], 0, AT_ONCE),
        ("recipes", ["--version"], 0, AT_ONCE),
        ("recipes", ["run", "--help"], 0, AT_ONCE),
        ("recipes", ["list"], 0, AT_ONCE),
        ("recipes", ["run", "--nope"], 2, AT_ONCE),
        ("recipes", ["run", "nope"], 2, HEAVY),
        ("recipes", ["predict", "missing", "good"], 2, HEAVY),
        (
            "recipes",
            ["predict", "run", "good"],
            0,
            (*COMPUTES_ALONE, "verify.mistakes"),
        ),
        ("recipes", ["explore", "missing"], 2, set(HEAVY) - {"verify.report.page"}),
    ],
)
def test_a_command_loads_only_what_it_needs(tool, arguments, code, never, tmp_path):
    from support.nets import lstm_file

    np.save(tmp_path / "x.npy", np.ones((2, 6)))
    (tmp_path / "t.csv").write_text("text\nthis flight was good\nbad\n")
    (tmp_path / "run").mkdir()
    for path in ("m.keras", "run/model.keras"):
        lstm_file(tmp_path / path)
    (tmp_path / "run" / "vocabulary.json").write_text(PIPELINE)
    probe = COMMANDS.format(tool=tool, arguments=arguments, never=sorted(never))
    run = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert run.stdout.splitlines()[-1] == f"{code}"


def test_the_probe_of_commands_sees_what_a_command_loads():
    probe = COMMANDS.format(tool="verify", arguments=["layers"], never=AT_ONCE)
    run = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "0 numpy verify.model.spec"


def test_every_name_of_the_package_is_there_whatever_was_imported_before():
    import verify

    modules = {f"verify.{m.name}" for m in pkgutil.iter_modules(verify.__path__)}
    names = {f"verify.{name}" for name in verify.__all__}
    assert not modules & names  # a module would stand where its function should
    for name in verify.__all__:
        assert getattr(verify, name).__module__.startswith("verify."), name
    assert set(verify.__all__) <= set(dir(verify))
    with pytest.raises(AttributeError, match="'verify' has no attribute 'nope'"):
        verify.nope  # noqa: B018
    with pytest.raises(AttributeError, match=r"'Check'\. Did you mean check\?$"):
        verify.Check  # noqa: B018
    with pytest.raises(AttributeError, match=r"'__wrapped__'$"):
        verify.__wrapped__  # noqa: B018


def test_a_name_that_is_a_command_or_of_another_package_is_answered_with_ours():
    import verify

    for sentence, words in verify._MEANT.items():
        for called in re.findall(r"(\w+)\(", sentence):
            assert called in verify.__all__ or hasattr(verify.Network, called)
        for word in words:
            assert word not in verify.__all__
            with pytest.raises(AttributeError, match=re.escape(sentence)):
                getattr(verify, word)
            assert not hasattr(verify, word)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("compare", "compare_exported(model, file) runs an exported file"),
        ("compare_output", "Did you mean compare_outputs?"),
    ],
)
def test_from_import_says_what_was_meant_as_well(name, hint):
    with pytest.raises(ImportError) as refusal:
        exec(f"from verify import load, {name} as other", {})
    assert str(refusal.value).startswith(f"cannot import name {name!r} from 'verify'. ")
    assert str(refusal.value).endswith(hint)
    assert refusal.value.name == name


def test_from_import_of_what_nobody_knows_is_as_in_any_package():
    with pytest.raises(ImportError, match=r"name 'nope' from 'verify' \("):
        exec("from verify import nope", {})


PUBLIC = """
LayerType Option layer_type register registering unregister
    Convention Conversion DataError ExportReport Gradients LayerSpec LayerTrace
    ModelFileError ModelSpec Network Report SelfTest Trace UnsupportedError Verdict
    VerifyError Watch WrittenVectors assert_matches_predict assert_outputs_match
    backprop check compare_exported compare_outputs conventions convert describe
    from_framework load selftest to_framework write_vectors
"""


def test_the_package_has_these_public_names_and_no_others():
    import verify

    assert sorted(verify.__all__) == sorted(PUBLIC.split())


def test_the_names_of_the_package_are_those_that_types_are_read_from():
    import verify

    stub = ast.parse(Path(verify.__file__).with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    found = {a.asname: node.module for node in imports for a in node.names}
    assert list(found) == verify.__all__
    for name, home in found.items():
        assert getattr(importlib.import_module(home), name) is getattr(verify, name)
