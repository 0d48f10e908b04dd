"""Real runs that meet a signal, a full disk, a folder that goes away."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.faults import SLOW_DISK, Watched
from support.rules import NO_MOUNTS
from support.runs import assert_same_run, read
from support.thoroughness import THOROUGH, some

from recipes import toy_rnn
from recipes.__main__ import main
from recipes.run import workers
from recipes.run.folder import RUN_FILES, RunFolder
from verify import DataError

COMMAND = ("run", "toy_rnn", "--epochs", "30")
STAGES = [name for name in RUN_FILES if name != "model.keras"]  # Keras writes that one


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing has happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main([*COMMAND, "--out", str(out)]) == 0
    return out


@pytest.mark.keras
@pytest.mark.parametrize(
    "stage", some(STAGES, len(STAGES), STAGES.index("history.csv"))
)
def test_a_signal_while_a_file_is_written_leaves_a_run_to_resume(
    stage, whole, tmp_path
):
    number = signal.SIGTERM if STAGES.index(stage) % 2 else signal.SIGINT
    program = SLOW_DISK.format(package="recipes")
    arguments = ("-c", program, stage, *COMMAND, "--out", "run")
    with Watched(*arguments, folder=tmp_path) as process:
        process.wait_for("half written")
        process.end(number)
    run = tmp_path / "run"
    left = {path.name for path in run.iterdir()}
    assert left <= set(RUN_FILES)  # nothing hidden
    kept = ("checkpoint.npz", "history.csv")  # written at last, of whole epochs
    assert (stage in left) is (stage in kept)
    assert not (run / "metrics.json").exists()  # with which it would look finished
    again = process.log.read_text().splitlines()[-1].partition(" Go on with: ")[2]
    wanted = f"rnn-recipe {' '.join(COMMAND)} --out run"
    assert again == wanted + " --resume" * (stage != "manifest.json")
    if THOROUGH or stage == "history.csv":
        goes_on = again.replace("--out run", f"--out {run}")
        assert main(goes_on.split()[1:]) == 0
        assert_same_run(whole, run)
        assert read(run, "metrics.json")["verdict"] == "PASS"


@pytest.mark.keras
@pytest.mark.parametrize(("most", "name"), [(6000, "checkpoint.npz"), (20_000, "")])
def test_a_file_that_cannot_grow_is_one_line_and_the_run_can_be_resumed(
    most, name, whole, tmp_path, capsys
):
    """Have the system refuse longer files, as a full disk or a quota does."""
    run = tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        assert main([*COMMAND, "--out", str(run)]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    line = capsys.readouterr().err.splitlines()[-1]
    what, _, again = line.partition(" Go on with: ")
    assert what.startswith(f"rnn-recipe: {run}/{name}")
    assert what.endswith(": cannot be written (File too large).")
    assert main(again.split()[1:]) == 0
    assert_same_run(whole, run)


def unshared(script: str) -> list[str]:
    """Return a command with mounts of its own, which end with it; or skip the test."""
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    mount = [*command, "mount -t tmpfs none /mnt"]
    known = shutil.which("unshare") is not None
    if not known or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip(NO_MOUNTS)
    return [*command, script]


@pytest.mark.keras
@pytest.mark.thorough
@pytest.mark.parametrize("size", ["8k", "16k", "24k", "32k", "48k", "64k"])
def test_a_full_disk_is_one_line_and_the_command_that_goes_on(size, tmp_path):
    script = (
        f"mount -t tmpfs -o size={size} none {tmp_path} && cd {tmp_path} && "
        f"{sys.executable} -m recipes {' '.join(COMMAND)} --out run; "
        'code=$?; find . -name ".?*"; exit $code'
    )
    ended = subprocess.run(unshared(script), capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert "cannot be written (No space left on device). Go on with: " in line
    assert line.endswith(" --resume")
    assert ended.stdout == ""  # nothing hidden


@pytest.mark.parametrize("command", ["run toy_rnn", "sweep"])
def test_a_read_only_folder_is_refused_at_once(command, tmp_path):
    script = (
        f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path} && "
        f"{sys.executable} -m recipes {command} --out {tmp_path}/run"
    )
    ended = subprocess.run(unshared(script), capture_output=True, text=True)
    assert ended.returncode == 2
    why = f"rnn-recipe: {tmp_path}/run: cannot be written (no permission)\n"
    assert (ended.stdout, ended.stderr) == ("", why)


@pytest.mark.keras
@pytest.mark.thorough
@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_removed_during_the_training_ends_it(replaced, tmp_path):
    run = tmp_path / "run"
    command = ("-m", "recipes", "run", "toy_rnn", "--epochs", "1000000")
    with Watched(*command, "--out", str(run), folder=tmp_path) as process:
        process.wait_for("epoch ")
        shutil.rmtree(run)
        if replaced:
            run.touch()
        assert process.process.wait(30) == 2
        process.require_nothing_left()
    why = "Not a directory" if replaced else "No such file or directory"
    line = f"rnn-recipe: {run}/checkpoint.npz: cannot be written ({why})"
    assert process.log.read_text().splitlines()[-1] == line  # nothing to resume
    assert run.exists() is replaced


def test_an_earlier_run_is_not_resumed_where_the_new_one_has_not_begun(
    tmp_path, monkeypatch, capsys
):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_json("manifest.json", {"recipe": "toy_rnn", "config": {"seed": 42}})

    def interrupted(config, options):
        if begins:
            options.folder.write_json("manifest.json", {})
        raise KeyboardInterrupt

    monkeypatch.setattr(toy_rnn, "run", interrupted)
    for begins in (False, True):
        assert main([*COMMAND, "--seed", "7", "--out", str(folder.path)]) == 130
        said = capsys.readouterr().err
        assert said.endswith(" --resume\n") is begins


def test_what_a_killed_process_left_half_written_is_removed_on_resume(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("manifest.json", {"recipe": "toy_rnn", "config": {"units": 1}})
    for name in (".checkpoint.npz.x1.npz", ".partial.model.keras", ".mine"):
        (tmp_path / name).touch()
    with pytest.raises(DataError):  # nothing is touched where it is refused
        folder.open_for("toy_rnn", {"units": 2}, "", resume=True)
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(DataError, match="checksum"):
        folder.open_for("toy_rnn", {"units": 1}, "other", resume=True)
    folder.write_json(
        "manifest.json",
        {"recipe": "toy_rnn", "config": {"units": 1}, "data_sha256": "a"},
    )
    folder.open_for("toy_rnn", {"units": 1}, "a", resume=True)
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", ".mine"}


def test_a_training_process_takes_its_temporary_files_with_it(tmp_path, monkeypatch):
    process = workers.TrainingProcess(1, str(tmp_path))
    (place,) = tmp_path.iterdir()
    (place / "weights.h5").touch()
    environment = Path(f"/proc/{process._process.pid}/environ").read_bytes()
    assert f"TMPDIR={place}\0".encode() in environment
    process.close()
    assert list(tmp_path.iterdir()) == []


PARENT = """
import time
from recipes.run.workers import TrainingProcess
process = TrainingProcess(1)
print("begun", file=__import__("sys").stderr, flush=True)
time.sleep(60)
"""


def test_a_training_process_ends_with_a_parent_that_is_killed(tmp_path):
    with Watched("-c", PARENT, folder=tmp_path) as parent:
        parent.wait_for("begun")
        assert len(parent.processes()) == 2
        os.kill(parent.process.pid, signal.SIGKILL)
        parent.process.wait()
        shutil.rmtree(parent.temporary)  # which nobody is left to remove
        parent.temporary.mkdir()
        parent.require_nothing_left()
