"""The two distributions: what their files hold, and the verifier without TensorFlow."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import bare_install
import pytest

import verify

ROOT = Path(__file__).parents[1]
VERIFIER, RECIPES = "keras_rnn_verify", "keras_rnn_recipes"
LIGHT = ROOT / "packages" / "keras-rnn-verify"
PROJECTS = {VERIFIER: LIGHT, RECIPES: ROOT}


def build(project: Path, dist: Path, *targets: str) -> None:
    """Build without network: hatchling is installed here."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(dist)]
    for target in targets:
        command += ["-t", target]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def requirements(wheel: Path) -> list[str]:
    (text,) = (v for k, v in contents(wheel).items() if k.endswith("/METADATA"))
    return re.findall(r"^Requires-Dist: (.*)$", text.decode(), re.M)


def required_distributions(wheel: Path) -> set[str]:
    """Return what pip would install for a wheel: its requirements, and theirs."""
    found: set[str] = set()
    left = requirements(wheel)
    while left:
        requirement = left.pop()
        if ";" in requirement and "extra" in requirement:
            continue
        (name,) = re.findall(r"^[\w.-]+", requirement)
        if name not in found and (";" not in requirement or is_installed(name)):
            found.add(name)
            left += metadata.requires(name) or []
    return found


def is_installed(name: str) -> bool:
    """Stands in for a marker, such as one for another system."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with both distributions."""
    folder = tmp_path_factory.mktemp("dist")
    for project in PROJECTS.values():
        build(project, folder)
    return folder


@pytest.fixture(scope="module")
def wheels(dist):
    return {name: next(dist.glob(f"{name}-*.whl")) for name in PROJECTS}


def bare_environment(folder: Path, wheel: Path, *, without: str = "") -> Path:
    """An environment with a wheel and what it requires, linked from this one."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in required_distributions(wheel) - {without}:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {".."}:
            if top != "__pycache__":
                (site / top).symlink_to(distribution.locate_file(top))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install",
         "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", wheel],
        check=True,
    )  # fmt: skip
    bare_install.write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def bare(wheels, tmp_path_factory):
    return bare_environment(tmp_path_factory.mktemp("bare"), wheels[VERIFIER])


def test_the_wheels_own_disjoint_files(wheels):
    tops = {
        name: {file.split("/")[0] for file in contents(wheel)}
        for name, wheel in wheels.items()
    }
    version = verify.__version__
    assert tops == {
        VERIFIER: {"verify", f"{VERIFIER}-{version}.dist-info"},
        RECIPES: {"recipes", f"{RECIPES}-{version}.dist-info"},
    }


@pytest.mark.parametrize(
    ("name", "package"), [(VERIFIER, "verify"), (RECIPES, "recipes")]
)
def test_a_wheel_holds_every_file_of_its_package_and_nothing_else(
    name, package, wheels
):
    files = {
        str(file.relative_to(ROOT))
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    held = {file for file in contents(wheels[name]) if ".dist-info/" not in file}
    assert held == files


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_can_be_built_from_the_sdist(name, dist, wheels, tmp_path):
    (archive,) = dist.glob(f"{name}-*.tar.gz")
    (tmp_path / "verify").mkdir()  # another copy lies around it
    (tmp_path / "verify" / "other.py").touch()
    (tmp_path / "sdist").mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path / "sdist"], check=True)
    (unpacked,) = (tmp_path / "sdist").iterdir()
    build(unpacked, tmp_path, "wheel")
    (wheel,) = tmp_path.glob("*.whl")
    assert contents(wheel) == contents(wheels[name])


def test_the_citation_names_the_version_and_the_licence():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {verify.__version__}" in lines
    license_of = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"license: {license_of['license']}" in lines


def test_the_recipes_require_the_verifier_of_their_own_version(wheels):
    pinned = f"keras-rnn-verify[csv,jax,keras]=={verify.__version__}"
    assert pinned in requirements(wheels[RECIPES])


def test_each_distribution_has_the_licence_of_the_project():
    text = (ROOT / "LICENSE").read_text()
    assert (LIGHT / "LICENSE").read_text() == text


def test_both_distributions_ask_for_the_same_python_and_authors():
    projects = [
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        for folder in PROJECTS.values()
    ]
    for key in ("requires-python", "license", "authors"):
        assert projects[0][key] == projects[1][key]


def test_the_verifier_requires_little(wheels):
    """150 MB, measured as `du` does, with the 30 MB that pip and its kin take."""
    required = required_distributions(wheels[VERIFIER])
    assert not required & {"tensorflow", "keras", "pandas", "scipy", "nltk"}
    files = (
        Path(str(file.locate()))
        for name in required
        for file in metadata.files(name) or ()
    )
    size = sum(file.stat().st_blocks * 512 for file in files if file.exists())
    assert size < 120e6


@pytest.mark.slow
def test_the_verifiers_commands_work_where_nothing_else_is_installed(bare):
    bare_install.try_verifier(bare / "bin", bare)
    for name in ("tensorflow", "pandas", "nltk", "recipes"):
        done = bare_install.run(bare / "bin" / "python", "-c", f"import {name}",
                                folder=bare)  # fmt: skip
        assert f"No module named '{name}'" in done.stderr


@pytest.mark.slow
def test_a_requirement_that_is_left_out_shows(wheels, tmp_path):
    folder = bare_environment(tmp_path / "bare", wheels[VERIFIER], without="h5py")
    with pytest.raises(AssertionError, match="No module named 'h5py'"):
        bare_install.try_verifier(folder / "bin", folder)


@pytest.mark.slow
def test_commands_say_in_one_line_what_to_install(bare):
    install = "Install it with: pip install 'keras-rnn-verify[{}]'\n"
    begins = {
        "keras": "expected Keras with its backend tensorflow to be installed. "
        "Received: No module named 'keras'.",
        "csv": "x.csv: reading CSV needs pandas.",
        "parquet": "x.parquet: reading Parquet needs pyarrow.",
        "dask": "Dask is not installed here.",
    }
    assert bare_install.missing_packages(bare / "bin", bare) == {
        extra: f"rnn-verify: {begin} {install.format(extra)}"
        for extra, begin in begins.items()
    }
