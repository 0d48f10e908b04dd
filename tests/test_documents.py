"""The documents are true: their code runs, their outputs and figures come out."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from quickly import few

import verify
from recipes import RECIPES, STUDIES
from recipes.__main__ import main as rnn_recipe
from recipes.data import airline
from verify.__main__ import main as rnn_verify
from verify.data import text

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = {"rnn-recipe": rnn_recipe, "rnn-verify": rnn_verify}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def without_numbers(output: str) -> str:
    """Figures differ in their last digits from machine to machine; words do not."""
    masked = re.sub(r"kernels of [^)]*", "kernels of this platform", output)
    masked = re.sub(r"\d[\d.,]*(e[+-]?\d+)?%?", "#", masked)
    return re.sub(r"[ ]+", " ", masked).strip()


def run(command: str, epochs: str = "1") -> int:
    """A command of the README, its training shortened."""
    name, *arguments = shlex.split(command)
    arguments = [
        epochs if before == "--epochs" else argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]
    return COMMANDS[name](arguments)


@pytest.mark.keras
def test_the_python_of_the_readme_prints_what_stands_beneath_it(capsys):
    names: dict = {}
    snippets, outputs = blocks("python"), blocks("text")
    assert len(snippets) == len(outputs) == 3
    for snippet, output in zip(snippets, outputs, strict=True):
        capsys.readouterr()
        exec(compile(snippet, "README.md", "exec"), names)
        assert without_numbers(capsys.readouterr().out) == without_numbers(output)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder in which the README's LSTM has been trained, for one epoch."""
    folder = tmp_path_factory.mktemp("readme")
    out = str(folder / "runs" / "sentiment_lstm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "check", few(verify.check))
        assert run(f"rnn-recipe run sentiment_lstm --epochs 10 --out {out}") == 0
    return folder


@pytest.mark.keras
def test_the_commands_of_the_readme_print_what_stands_beneath_them(
    trained, capsys, monkeypatch
):
    monkeypatch.chdir(trained)
    sessions = blocks("console")
    assert len(sessions) == 2
    for session in sessions:
        command, _, output = session.removeprefix("$ ").partition("\n")
        capsys.readouterr()
        assert run(command) == 0
        printed = capsys.readouterr().out
        if command.startswith("rnn-recipe predict"):  # scores depend on the training
            output, printed = (
                sorted(without_numbers(o).splitlines()) for o in (output, printed)
            )
        assert printed == output


@pytest.mark.keras
def test_every_command_of_the_readmes_tables_runs(
    trained, tweets_csv, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "check", few(verify.check))
    model = trained / "runs" / "sentiment_lstm" / "model.keras"
    (tmp_path / "model.keras").write_bytes(model.read_bytes())
    x = np.random.default_rng(0).integers(0, 12_533, size=(20, 26))
    np.save("x.npy", x)
    np.save("theirs.npy", verify.load(model).predict(x))
    commands = re.findall(r"^\|.*?`(rnn-\w+ .*?)`", README, re.MULTILINE)
    assert len(commands) == len(RECIPES) + 9
    for command in commands:
        words = command.split()
        if words[1] == "run":
            if words[2] in STUDIES:
                continue  # many models each; the tests of each run it
            command += " --epochs 1"
            command += f" --csv {tweets_csv}" if "sentiment" in command else ""
        hidden = "selftest" in command  # a model of a few tweets may hide mistakes
        assert run(command) in ((0, 3) if hidden else (0,)), command
    assert (tmp_path / "trace.npz").exists()
    made = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert made == sorted(set(RECIPES) - set(STUDIES))


def test_the_parameter_counts_of_the_readme_are_those_of_the_formulas():
    embedding, dense = 12_533 * 32, 40 * 2 + 2
    counts = {
        "toy_rnn": 3 + 10,
        "toy_lstm": 12 + 10,
        "sentiment_rnn": embedding + 40 * (32 + 40 + 1) + dense,
        "sentiment_lstm": embedding + 4 * 40 * (32 + 40 + 1) + dense,
        "sentiment_stacked_lstm": embedding
        + 4 * 40 * (32 + 40 + 1)
        + 4 * 40 * (40 + 40 + 1)
        + dense,
        "sentiment_gru": embedding + 3 * 40 * (32 + 40 + 2) + dense,
        "word_order": 24 * 16 + 32 * (16 + 32 + 1) + 12 * (32 + 1),
        "long_memory": 33 * 16 + 4 * 32 * (16 + 32 + 1) + 4 * (32 + 1),
        "many_to_many": 27 * 16 + 4 * 32 * (16 + 32 + 1) + 7 * (32 + 1),
        "one_to_many": 13 * 8 + 4 * 32 * (8 + 32 + 1) + 45 * (32 + 1),
    }
    assert counts["sentiment_stacked_lstm"] == 425_778
    for recipe, count in counts.items():
        assert re.search(rf"`rnn-recipe run {recipe}\b.*` \| {count:,} \|", README)


def test_the_readmes_options_are_those_of_the_command(capsys):
    assert rnn_recipe(["run", "--help"]) == 0
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    (sentence,) = re.findall(r"^Options: `(.*?)`\.", README, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"--[a-z-]+", sentence)) == offered


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    documents = README + (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(
        re.findall(
            r"make (run|test|notebooks|setup|format|lint|fuzz|hostile|trust|clean)\b",
            documents,
        )
    )
    assert {"run", "test", "setup", "format"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_file_that_is_linked_exists():
    documents = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "*/README.md")
    for path in (found for name in documents for found in ROOT.glob(name)):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_the_readmes_table_of_layers_is_made_from_the_registry():
    from verify.report.describe import coverage

    (table,) = re.findall(r"<!-- rnn-verify layers -->\n(.*?)\n<!--", README, re.S)
    assert table == coverage()


def test_the_changelogs_top_version_is_the_packages():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    (top, *_) = re.findall(r"^## \[([\d.]+)\]", changelog, re.MULTILINE)
    assert top == verify.__version__


def test_the_checksums_in_the_documents_are_those_of_the_code():
    documented = (ROOT / "data" / "README.md").read_text()
    assert airline.PACKAGE_SHA256 in documented
    assert text.STOP_WORDS_SHA256 in documented


def test_the_constraints_hold_versions_and_nothing_else():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[\w.!+]+", line), line


def test_no_placeholder_is_left_in_any_file():
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.py"), *ROOT.glob("verify/*/*.py")):
        if path.parts[-2] in ("recipes", "verify", "layers", "benchmarks") or (
            path.suffix == ".md"
        ):
            assert not re.search(r"@[A-Z]\w*@", path.read_text()), path


@pytest.mark.keras
def test_the_table_of_trust_is_made_by_its_command(capsys, monkeypatch):
    from benchmarks import trust

    line = trust.measure("SimpleRNN", every=12)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    (documented,) = re.findall(r"^\| SimpleRNN \|.*\|$", README, re.MULTILINE)
    heads = [cell.strip() for cell in documented.strip("|").split("|")]
    assert cells[:3] == heads[:3]  # the layer, how many mistakes, all of them proved


@pytest.mark.keras
def test_the_benchmark_behind_the_allowances_runs(capsys, monkeypatch):
    import sys

    from benchmarks import allowances

    monkeypatch.setattr(sys, "argv", ["allowances", "--models", "3"])
    allowances.main()
    printed = capsys.readouterr().out
    assert "VIOLATED" not in printed
    shares = re.findall(r"error / (?:bound|noise floor) .*max ([\d.e-]+)", printed)
    assert len(shares) == 4
    assert all(0 < float(share) < 1 for share in shares)


@pytest.mark.keras
def test_the_benchmark_of_the_kernels_prints_what_is_kept(capsys):
    from benchmarks import activation_errors

    activation_errors.main()
    printed = capsys.readouterr().out
    assert "'tanh': " in printed
    assert "greater than what is kept: none" in printed or "not known" in printed


def test_the_readmes_ratios_of_speed_are_those_that_were_measured():
    columns = (
        "predict, batch_size=32", "predict, best batch size", "tf.function",
        "ONNX Runtime",
    )  # fmt: skip
    results = json.loads((ROOT / "benchmarks/results/speed.json").read_text())
    measured = {
        (case["model"], case["rows"]): case["competitors"]
        for case in results["cases"]
        if (case["units"], case["length"]) == (40, 26)
    }
    section = README.partition("### How fast it is")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) == 8
    for model, count, shown in rows:
        found = measured[model, int(count.replace(",", ""))]
        for name, said in zip(columns, shown.split(" | "), strict=True):
            ratio = found[name]["times_ours"]["median"]
            digits = len(said.partition(".")[2])
            assert abs(float(said) - ratio) <= 0.51 * 10.0**-digits, (model, name)


def test_the_memory_in_readme_is_what_was_measured_over_a_million_rows():
    results = json.loads((ROOT / "benchmarks/results/streaming.json").read_text())
    measured = {
        cost["command"]: round(cost["peak"] / 2**20)
        for cost in results["costs"]
        if cost["rows"] == 10**6
    }
    libraries = next(
        round(cost["libraries"] / 2**20)
        for cost in results["costs"]
        if (cost["command"], cost["rows"]) == ("check", 10**6)
    )
    section = README.partition("### A lot of data")[2].partition("\n### ")[0]
    said = re.findall(r"([\d,]+)\s+MiB\s+to\s+(\w+)", section)
    assert {name: int(size.replace(",", "")) for size, name in said} == measured
    (code,) = re.findall(r"of\s+which\s+([\d,]+)\s+MiB", section)
    assert int(code.replace(",", "")) == libraries
    assert all(growth["exponent"] <= 1.15 for growth in results["growth"])
