"""The documents are true: their code runs, their outputs and figures come out."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import re
import shlex
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from quickly import few, on_few
from support.nets import ids, lstm_file
from support.thoroughness import many

import verify
from benchmarks import few_rows
from benchmarks.results import page_table
from recipes import RECIPES, SENTIMENT_RECIPES
from recipes.__main__ import main as rnn_recipe
from recipes.data import airline
from recipes.run import training
from recipes.run.finish import RunResult, Verdicts
from recipes.run.plan import module as recipe_module
from verify.__main__ import main as rnn_verify
from verify.data import text
from verify.model.conventions import frameworks

ROOT = Path(__file__).parents[1]
COMMANDS = {"rnn-recipe": rnn_recipe, "rnn-verify": rnn_verify}


def read(*patterns: str) -> dict[str, str]:
    """The files that match, by their path in the project."""
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in found}


PAGES = read("README.md", "docs/*.md")
"""The pages that users read; everything in them that can be run is run."""

CHANGELOG = read("CHANGELOG.md")
DOCUMENTS = PAGES | read("CONTRIBUTING.md", "[!.]*/README.md")
"""All that speaks of what is there now."""


def fences(page: str) -> list[tuple[str, str]]:
    """Language and content of every block between three backticks."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def code_in(page: str) -> Iterator[str]:
    """Every line of code: those of blocks, and what stands between backticks."""
    for _, content in fences(page):
        yield from content.splitlines()
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`]+)`", prose):
        yield " ".join(span.split())


def section(page: str, title: str) -> str:
    """Return the text beneath a heading of the second level."""
    found = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, title
    return found


def table_rows(part: str) -> list[list[str]]:
    """The cells of all tables in a part of a page, without their headings."""
    lines = re.findall(r"^\|(.*)\|$", part, re.MULTILINE)
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    rules = [k for k, row in enumerate(lines) if re.fullmatch(r"[-|]+", row)]
    skipped = {k for rule in rules for k in (rule - 1, rule)}
    return [row for k, row in enumerate(rows) if k not in skipped]


def help_of(capsys, name: str, *subcommand: str) -> str:
    capsys.readouterr()
    assert COMMANDS[name]([*subcommand, "--help"]) == 0
    return capsys.readouterr().out


def subcommands(capsys, name: str) -> set[str]:
    listed = help_of(capsys, name).partition("Commands:")[2]
    return set(re.findall(r"^  ([\w-]+)  ", listed, re.MULTILINE))


def without_numbers(output: str) -> str:
    """Figures differ in their last digits from machine to machine; words do not."""
    masked = re.sub(r"kernels of [^)]*", "kernels of this platform", output)
    masked = re.sub(r"\d[\d.,]*(e[+-]?\d+)?%?", "#", masked)
    return re.sub(r"[ ]+", " ", masked).strip()


def run(command: str, epochs: str = "1") -> int:
    """A command of a document, its training shortened."""
    name, *arguments = shlex.split(command)
    arguments = [
        epochs if before == "--epochs" else argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]
    return COMMANDS[name](arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder in which the documents' LSTM has been trained a little."""
    folder = tmp_path_factory.mktemp("documents")
    out = str(folder / "runs" / "sentiment_lstm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "check", few(verify.check))
        patch.setattr(training, "fit", on_few(training.fit, 1024))
        assert run(f"rnn-recipe run sentiment_lstm --epochs 10 --out {out}") == 0
    return folder


@pytest.mark.keras
def test_python_prints_what_stands_beneath_it(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    compared = []
    for name, page in PAGES.items():
        names: dict = {}
        blocks = [*fences(page), ("", "")]
        for (language, content), (below, output) in itertools.pairwise(blocks):
            if language == "python":
                capsys.readouterr()
                exec(compile(content, name, "exec"), names)
                if below == "text":
                    printed = capsys.readouterr().out
                    assert without_numbers(printed) == without_numbers(output), name
                    compared.append(output.split()[0])
    assert {"PASS", "FAIL"} <= set(compared)  # of the README


def test_every_output_stands_beneath_its_code():
    for name, page in PAGES.items():
        languages = ["", *(language for language, _ in fences(page))]
        for before, language in itertools.pairwise(languages):
            assert language != "text" or before == "python", name


@pytest.mark.keras
def test_commands_print_what_stands_beneath_them(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    ran = set()
    for name, page in PAGES.items():
        for language, content in fences(page):
            if language != "console":
                continue
            command, _, output = content.removeprefix("$ ").partition("\n")
            capsys.readouterr()
            assert run(command) == 0, name
            printed = capsys.readouterr().out
            if command.startswith("rnn-recipe predict"):  # scores depend on training
                output, printed = (
                    sorted(without_numbers(o).splitlines()) for o in (output, printed)
                )
            assert printed == output, name
            ran.add(" ".join(command.split()[:2]))
    assert {"rnn-verify describe", "rnn-recipe predict"} <= ran


@pytest.fixture
def planned(monkeypatch) -> list[str]:
    """Names of the recipes that are planned and not trained: all but the toy.

    The tests of each recipe train it.
    """
    names = []

    def not_trained(_, options):
        names.append(options.folder.path.name)
        passed = Verdicts(verify.Verdict.PASS, 0.0)
        return RunResult(names[-1], None, None, None, 0.0, passed)

    for name in set(RECIPES) - {"toy_rnn"}:
        monkeypatch.setattr(recipe_module(name), "run", not_trained)
    return names


@pytest.mark.keras
def test_every_command_of_the_tables_runs(planned, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "check", few(verify.check))
    model = lstm_file(tmp_path / "model.keras")
    with zipfile.ZipFile(model) as archive:
        weights = archive.read("model.weights.h5")
    (tmp_path / "weights.h5").write_bytes(weights)
    np.save("x.npy", ids(batch=20))
    np.save("theirs.npy", verify.load(model).predict(ids(batch=20)))
    named: dict[str, set[str]] = {
        "run": set(),
        "rnn-recipe": set(),
        "rnn-verify": set(),
    }
    for page in PAGES.values():
        for command in re.findall(r"^\|.*?`(rnn-\w+ .*?)`", page, re.MULTILINE):
            words = command.split()
            named[words[0]].add(words[1])
            if words[1] == "run":
                named["run"].add(words[2])
                command += " --epochs 1" if words[2] == "toy_rnn" else ""
            hidden = "selftest" in command  # a model of a few tweets may hide mistakes
            assert run(command) in ((0, 3) if hidden else (0,)), command
    assert named["run"] == set(RECIPES)
    assert named["rnn-verify"] == subcommands(capsys, "rnn-verify")
    assert (tmp_path / "trace.npz").exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["toy_rnn"]
    assert {"toy_rnn", *planned} == set(RECIPES)


def test_every_option_that_is_named_exists(capsys):
    offered = {
        (name, command): set(
            re.findall(r"--[a-z][a-z0-9-]+", help_of(capsys, name, command))
        )
        for name in COMMANDS
        for command in subcommands(capsys, name)
    }
    anywhere = set().union(*offered.values())
    seen = set()
    for name, page in DOCUMENTS.items():
        for line in code_in(page.replace("\\\n", " ")):
            command = re.search(r"\b(rnn-\w+) ([\w-]+)", line)
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", line))
            if command and command.groups() in offered:
                assert options <= offered[command.groups()], f"{name}: {line}"
            elif line.startswith("--"):
                assert options <= anywhere, f"{name}: {line}"
            else:
                continue
            seen |= options
    assert {"--data", "--epochs", "--resume", "--dask", "--vocabulary"} <= seen


def test_the_parameter_counts_are_those_of_the_formulas():
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
        assert re.search(
            rf"`rnn-recipe run {recipe}\b.*` \| {count:,} \|", PAGES["README.md"]
        )


def test_the_options_of_a_run_are_those_of_the_command(capsys):
    offered = set(re.findall(r"--[a-z-]+", help_of(capsys, "rnn-recipe", "run")))
    page = PAGES["docs/recipes.md"]
    (sentence,) = re.findall(r"^Options: `(.*?)`\.", page, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"--[a-z-]+", sentence)) == offered - {"--help"}


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    lines = [line for page in DOCUMENTS.values() for line in code_in(page)]
    targets = {
        target
        for line in lines
        for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", line)
    }
    assert {"run", "test", "setup", "docs", "trust", "hostile", "fuzz"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_module_that_is_named_can_be_run():
    lines = [line for page in DOCUMENTS.values() for line in code_in(page)]
    modules = {m for line in lines for m in re.findall(r"python -m ([\w.]+)", line)}
    assert {"benchmarks.activation_errors", "benchmarks.allowances"} <= modules
    for module in modules:
        assert importlib.util.find_spec(module), module


def slugs(page: str) -> set[str]:
    """The anchors of a page's headings, as a Git host makes them."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_link_leads_somewhere():
    anchors = 0
    for name, page in (DOCUMENTS | CHANGELOG).items():
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page):
            file, _, anchor = target.partition("#")
            path = (ROOT / name).parent / file if file else ROOT / name
            assert path.is_file(), f"{name}: {target}"
            if anchor:
                assert anchor in slugs(path.read_text()), f"{name}: {target}"
                anchors += 1
    assert anchors


def test_every_path_that_is_named_exists():
    folders = "benchmarks|data|docs|notebooks|recipes|tests|verify"
    seen = set()
    for name, page in DOCUMENTS.items():
        for line in code_in(page):
            if re.fullmatch(rf"({folders})/[\w./]+", line) and "NN" not in line:
                assert (ROOT / line).exists(), f"{name}: {line}"
                seen.add(line)
    assert "verify/forward/cells.py" in seen


def test_the_storeys_are_those_of_the_contract_and_of_the_folder():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = (
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["verify"]
    )
    contract = [name for layer in layers for name in layer.split(" | ")]
    rows = table_rows(
        section(PAGES["docs/architecture.md"], "The storeys of `verify/`")
    )
    named = [re.sub(r"`verify/(\w+)(\.py|/)`", r"\1", cells[0]) for cells in rows]
    assert named == contract
    listed = {
        path.stem
        for path in (ROOT / "verify").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(named) == listed - {"__init__"}


def test_what_to_look_for_in_a_file_is_in_the_file():
    part = section(PAGES["docs/architecture.md"], "An LSTM, from file to bound")
    seen = 0
    for cells in table_rows(part):
        where, look = ("".join(cells[:-1]), cells[-1])
        files = re.findall(r"`([\w/]+\.(?:py|js)|[\w/]+/)`", where)
        if len(cells) == 2:  # of the fast path, whose folder is in the heading
            files = [f"verify/forward/fast/{file}" for file in files]
        folder = (ROOT / files[0]).parent
        paths = [ROOT / file if "/" in file else folder / file for file in files]
        text = "".join(path.read_text() for path in paths if path.is_file())
        for span in re.findall(r"`([^`/]+)`", look) if text else ():
            for word in re.findall(r"[A-Za-z_]\w+", span):
                assert re.search(rf"\b{word}\b", text), f"{files}: {word}"
                seen += 1
    assert seen


def defined(dotted: str) -> bool:
    """Say whether a module has this name, or offers it."""
    module, _, name = dotted.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name) or bool(
            importlib.util.find_spec(dotted)
        )
    except ModuleNotFoundError:
        return False


def test_every_word_of_the_glossary_names_what_it_is_defined_by():
    rows = table_rows(section(PAGES["docs/architecture.md"], "Words"))
    assert len({word for word, *_ in rows}) == len(rows) > 1
    for word, _, cell in rows:
        module, _, name = cell.strip("`").rpartition(".")
        found = getattr(importlib.import_module(module), name)
        assert getattr(found, "__module__", module) == module, word


def test_every_name_in_the_packages_that_is_mentioned_exists():
    seen = set()
    for name, page in DOCUMENTS.items():
        for line in code_in(page):
            if re.fullmatch(r"(verify|recipes|benchmarks)(\.\w+)+", line):
                if line.endswith((".py", ".md")):
                    continue
                assert defined(line), f"{name}: {line}"
                seen.add(line)
    assert {"verify.load", "verify.checks.load.load"} <= seen
    assert not defined("verify.forward.cells.nothing_of_the_kind")


def test_the_api_reference_describes_every_public_name():
    page = (ROOT / "docs" / "api.rst").read_text()
    described = re.findall(r"^\.\. auto\w+:: verify\.(\w+)$", page, re.MULTILINE)
    assert sorted(described) == sorted(verify.__all__)


def test_the_table_of_layers_is_made_from_the_registry():
    from verify.report.describe import coverage

    page = PAGES["docs/supported.md"]
    (table,) = re.findall(r"<!-- rnn-verify layers -->\n(.*?)\n<!--", page, re.S)
    assert table == coverage()


def test_the_page_of_conventions_is_made_from_their_data():
    from verify.report.conventions import convention_tables

    page = PAGES["docs/conventions.md"]
    (tables,) = re.findall(r"<!-- rnn-verify conventions -->\n(.*?)\n<!--", page, re.S)
    assert tables == convention_tables()
    count = re.search(r"and (\d+) others", PAGES["README.md"])
    assert len(frameworks()) == int(count[1]) + 3


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


@pytest.mark.keras
def test_the_table_of_trust_is_what_its_command_wrote():
    from benchmarks.trust import single_layers as trust
    from verify.console.tables import markdown_table
    from verify.mistakes.catalogue import catalogue

    page = section(PAGES["docs/diagnosis.md"], "How often it is right")
    written = json.loads((trust.RESULTS_FOLDER / "trust.json").read_text())["rows"]
    lines = [trust.Trust(**row).line() for row in written]
    assert [row["layer"] for row in written] == list(trust.TRUSTED_LAYERS)
    assert markdown_table(trust.TABLE_HEADS, lines) in page
    for row in written:  # and the catalogue is still the one that was measured
        model = trust.untrained(row["layer"])
        rng = np.random.default_rng(0)  # no weight is 0, as after training
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        found = len(list(catalogue(verify.load(model).spec)))
        assert row["mistakes"] == found, row["layer"]


def test_the_table_of_whole_models_is_what_its_command_wrote():
    from benchmarks.trust import six_models, whole_models
    from verify.console.tables import markdown_table

    page = section(PAGES["docs/diagnosis.md"], "How often it is right")
    written = json.loads(
        (whole_models.RESULTS_FOLDER / "trust_models.json").read_text()
    )
    rows = [whole_models.ModelTrust(**row) for row in written["rows"]]
    assert [row.model for row in rows] == [m.name for m in six_models.SIX_MODELS]
    table = markdown_table(whole_models.TABLE_HEADS, [row.line() for row in rows])
    assert table in page
    assert written["sample"] == whole_models.SAMPLE
    assert all(row.caught == 1 and row.false == 0 for row in rows)
    assert all(row.named >= 0.95 and row.seconds < 10 for row in rows)


@pytest.mark.keras
def test_the_benchmark_of_trust_measures_every_column():
    from benchmarks.trust import single_layers as trust

    (written, *_) = json.loads((trust.RESULTS_FOLDER / "trust.json").read_text())[
        "rows"
    ]
    measured = trust.measure("SimpleRNN", every=many(12, 60))
    assert measured.mistakes == written["mistakes"]
    assert measured.proof == written["proof"] == 1
    assert 0 < measured.port <= 1
    assert measured.least >= written["least"] * 0.99  # the least of fewer mistakes
    assert 0 < measured.first <= measured.named <= 1
    assert 0 < measured.number <= 1
    assert 1 < measured.bound_median < measured.bound_p95


def test_the_hostile_files_are_all_accounted_for():
    part = section(PAGES["docs/matches.md"], "Hostile files")
    (count,) = re.findall(r"`make hostile N=(\d+) SEED=\d+`", part)
    found = dict(re.findall(r"^  (\w+) +([\d,]+)$", part, re.MULTILINE))
    assert sum(int(n.replace(",", "")) for n in found.values()) == int(count)
    assert all(hasattr(verify, kind) for kind in found.keys() - {"read"})
    assert "\ntracebacks, or out of bounds: 0\n" in part


def test_the_figures_of_the_error_bound_are_what_their_command_wrote():
    from benchmarks.output import digits

    results = json.loads((ROOT / "benchmarks/results/allowances.json").read_text())
    found = results["predict"]
    ratio, looseness = found["error / bound"], found["bound / error"]
    floor = found["error / noise floor"]
    assert results["violated"] == 0
    said = " ".join(
        section(PAGES["docs/matches.md"], "How much rounding may do").split()
    )
    outcomes = results["outcomes"]
    for figure in (
        f"Over {results['models']:,} random models",
        f"{outcomes['bound']:,} had a bound for every output and "
        f"{outcomes['bound for some outputs']} for some of them",
        f"In the other {outcomes['undecided']} ",
        f"error / bound was at most {digits(ratio['max'])}",
        f"{digits(looseness['median'])} times its greatest error",
        f"{digits(looseness['p95'])} times at the 95th percentile",
        f"`python -m benchmarks.allowances --models {results['models']}`",
        f"error / noise floor was at most {digits(floor['max'])}",
    ):
        assert figure in said, figure


@pytest.mark.keras
def test_the_benchmark_behind_the_allowances_runs(capsys, tmp_path):
    from benchmarks import allowances

    allowances.main(["--models", "3", "--out", str(tmp_path)])
    assert "VIOLATED" not in capsys.readouterr().out
    written = json.loads((tmp_path / "allowances.json").read_text())
    kept = json.loads((allowances.RESULTS_FOLDER / "allowances.json").read_text())
    assert written.keys() == kept.keys()
    for program in ("predict", "numpy_float32"):
        for title in ("error / bound", "error / noise floor"):
            assert 0 < written[program][title]["max"] < 1


def test_the_table_of_number_formats_is_what_its_command_wrote():
    from benchmarks.number_formats import table

    path = ROOT / "benchmarks/results/number_formats.json"
    results = json.loads(path.read_text())
    part = section(PAGES["docs/matches.md"], "Ports that compute in few bits")
    assert table(results["formats"]) in part
    command = f"`python -m benchmarks.number_formats --models {results['models']}`"
    assert command in part
    for found in results["formats"].values():
        assert found["error / allowed"] < 1
        assert found["greatest that passes"] < 1


def test_the_tables_of_conversions_are_what_their_command_wrote():
    from benchmarks import conversions

    results = json.loads((ROOT / "benchmarks/results/conversions.json").read_text())
    page = PAGES["docs/converting.md"]
    assert conversions.cases_table(results) in page
    assert conversions.frameworks_table(results) in page
    written = "ONNX Runtime has no ", "the outputs differ", "float32 (", "float64 ("
    for found in results["cases"]["float32"].values():
        assert found["right"] + len(found["refused"]) == found["cases"]
        assert not any(text.startswith(written) for text in found["refused"])
    lacking = {
        text.removeprefix(written[0])
        for found in results["cases"]["float64"].values()
        for text in found["refused"]
        if text.startswith(written[0])
    }
    resized = {
        name
        for name, found in results["cases"]["float64"].items()
        if any(text.startswith(written[1:]) for text in found["refused"])
    }
    assert resized <= {"images", "reshaping"}
    said = re.search(r"In float64 ONNX Runtime [\d.]+ has no (.*?);", page, re.DOTALL)
    assert said
    assert all(name in said[1] for name in lacking), lacking


@pytest.mark.keras
def test_the_benchmark_of_number_formats_runs(capsys, tmp_path):
    from benchmarks import number_formats

    few = ["--models", "2", "--every", str(many(40, 160)), "--out", str(tmp_path)]
    number_formats.main(few)
    assert "FALSE ALARM" not in capsys.readouterr().out
    name = "number_formats.json"
    written = json.loads((tmp_path / name).read_text())
    kept = json.loads((number_formats.RESULTS_FOLDER / name).read_text())
    assert written.keys() == kept.keys()
    assert written["formats"].keys() == kept["formats"].keys()


@pytest.mark.thorough
@pytest.mark.keras
def test_the_benchmark_of_the_kernels_prints_what_is_kept(capsys, monkeypatch):
    from benchmarks import activation_errors

    monkeypatch.setattr("sys.argv", ["activation_errors"])  # not those of pytest
    activation_errors.main()
    printed = capsys.readouterr().out
    assert "'tanh': " in printed
    assert "greater than what is kept: none" in printed or "not known" in printed


def test_the_ratios_of_speed_are_those_that_were_measured():
    folder, page = ROOT / "benchmarks/results", PAGES["docs/speed.md"]
    measured = json.loads((folder / "speed.json").read_text())
    assert page_table(measured) in page
    document = json.loads((folder / "few_rows.json").read_text())
    assert few_rows.table(document) in page
    for call, seconds in document["numpy_calls_of_an_lstm_step"].items():
        assert f"| {call} | {1e6 * seconds:.2f} |" in page


def test_what_a_verdict_costs_is_what_was_measured():
    from benchmarks import verdict

    document = json.loads((ROOT / "benchmarks/results/verdict.json").read_text())
    part = " ".join(section(PAGES["docs/speed.md"], "A verdict").split())
    assert " ".join(verdict.page_table(document).split()) in part
    assert f"`{document['command']}`" in part
    check, keras = (document["memory"][name] for name in ("check", "keras"))
    assert f"{check:,.0f} MiB for the million rows" in part
    assert f"Keras's own predict of them, {keras:,.0f} MiB" in part


def test_what_an_earlier_build_takes_is_what_was_measured():
    from benchmarks import goals

    document = json.loads((ROOT / "benchmarks/results/goals.json").read_text())
    part = " ".join(section(PAGES["docs/speed.md"], "Beside an earlier build").split())
    assert " ".join(goals.page_table(document).split()) in part
    assert f"`git worktree add --detach ../earlier {document['beside']}`" in part


def test_what_the_calls_of_one_row_take_is_what_was_measured():
    document = json.loads((ROOT / "benchmarks/results/few_rows.json").read_text())
    step = 1e6 * sum(document["numpy_calls_of_an_lstm_step"].values())
    (ours,) = (
        1e6 * case["programs"]["verify"]["seconds"]["median"]
        for case in document["cases"]
        if [case[key] for key in ("model", "units", "length", "rows")]
        == ["sentiment_lstm", 40, 26, 1]
    )
    text = " ".join(section(PAGES["docs/speed.md"], "A single row").split())
    assert f"eight calls, which take {step:.2f} microseconds alone" in text
    assert f"that is {26 * step:.0f} of the {ours:.0f} microseconds" in text


def test_the_memory_is_what_was_measured_over_a_million_rows():
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
    part = section(PAGES["docs/checking.md"], "A lot of data")
    said = re.findall(r"([\d,]+)\s+MiB\s+to\s+(\w+)", part)
    assert {name: int(size.replace(",", "")) for size, name in said} == measured
    (code,) = re.findall(r"of\s+which\s+([\d,]+)\s+MiB", part)
    assert int(code.replace(",", "")) == libraries
    assert all(growth["exponent"] <= 1.15 for growth in results["growth"])


def test_the_figures_of_training_are_what_their_command_wrote():
    from benchmarks import training

    rows = training.read()
    assert {row.recipe for row in rows} <= set(SENTIMENT_RECIPES)
    assert rows
    assert training.ratios(rows) in section(PAGES["docs/speed.md"], "Training")
