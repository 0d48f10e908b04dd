"""Random models against Keras: some here, more by ``make fuzz``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzzing import images
from fuzzing.__main__ import closing, entries, main
from fuzzing.generator import Maker, program
from support.thoroughness import many

import verify
from verify.forward.layers import REGISTRY
from verify.model_files.keras2_config import MODULES

SEED = 20
SPELLED = {
    "InputLayer": "keras.Input(",
    "Sequential": "keras.Sequential(",
    "Functional": "keras.Model(",
    "ops.GetItem": "[:, -1]",
    "ops.ReLU": "keras.activations.relu(",
    **{name: f"{module}.{name}(" for name, module in MODULES.items()},
}
"""Class -> how a program writes it, where that is neither `layers` nor `ops`."""


@pytest.mark.keras
@pytest.mark.parametrize("block", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_random_models_compute_what_keras_computes(block, tmp_path):
    from fuzzing.trial import try_program

    failed, agreed = [], 0
    count = many(25, 8)
    for number in range(block * count, block * count + count):
        made = program(f"{SEED}:{number}")
        outcome = try_program(made, number, tmp_path)
        agreed += outcome.kind == "agrees"
        if outcome.kind == "FAILS":
            failed.append(f"{outcome.detail}\n{made.source}")
    assert not failed, "\n\n".join(failed)
    assert agreed >= 0.75 * count


@pytest.mark.keras
def test_a_planted_mistake_is_found_and_cut_down(tmp_path, monkeypatch, capsys):
    from verify.forward.layers import recurrent_cells

    right = recurrent_cells.lstm_step

    def swapped(x, h, c, **weights):
        kernel = weights["kernel"]
        units = kernel.shape[1] // 4
        order = [*range(units, 2 * units), *range(units), *range(2 * units, 4 * units)]
        return right(x, h, c, **{**weights, "kernel": kernel[:, order]})

    monkeypatch.setattr(recurrent_cells, "lstm_step", swapped)
    arguments = ["--count", "1", "--seed", "178", "--folder", str(tmp_path)]
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    assert "FAILS" in printed
    small = (tmp_path / "fuzz-178" / "failure-0.py").read_text()
    assert small.count("LSTM") == 1
    assert len(small) < len(program("178:0").source)
    assert small in printed


def test_a_run_goes_on_where_it_was_and_ignores_a_line_cut_off(tmp_path, capsys):
    trial = {"trial": 0, "kind": "agrees", "difference": 0, "detail": "", "seconds": 1}
    line = json.dumps(trial)
    log = tmp_path / "trials-1-of-1.jsonl"
    log.write_text(f'{line}\n{{"trial": 1, "kind": "agr')
    assert [entry["trial"] for entry in entries(tmp_path)] == [0]
    assert closing(entries(tmp_path), 2) == 0
    assert "1 of 2 configurations, 1 seconds" in capsys.readouterr().out


def test_a_failure_ends_with_exit_code_1(capsys):
    trial = {"trial": 0, "kind": "FAILS", "difference": 1.0, "detail": "", "seconds": 1}
    assert closing([trial], 1) == 1


def test_one_key_makes_one_model():
    assert program("1:5").source == program("1:5").source
    assert program("1:5").source != program("1:6").source


LEAVES_ONE_COLUMN = {"kernel_size": (2, 3), "strides": (1, 2), "padding": "valid"}
"""Of an image of 4 rows, 3 columns and one channel."""


def test_only_convolutions_that_tensorflow_computes_wrongly_are_not_tried(monkeypatch):
    monkeypatch.setattr(images, "BACKEND", "tensorflow")
    same = {**LEAVES_ONE_COLUMN, "padding": "same"}
    volume = {"kernel_size": 2, "strides": (2, 1, 3), "padding": "same"}
    for shape, options in (
        ((4, 3, 1), LEAVES_ONE_COLUMN),
        ((4, 2, 1), same),
        ((3, 4, 3, 1), volume),
    ):
        assert images.miscomputed("float32", shape, options)
        assert images.miscomputed("mixed_bfloat16", shape, options)
        assert not images.miscomputed("float64", shape, options)
        assert not images.miscomputed("mixed_float16", shape, options)
        assert not images.miscomputed("float32", (*shape[:-1], 2), options)
    for shape, options in (
        ((4, 3, 1), same),  # two columns
        ((4, 5, 1), LEAVES_ONE_COLUMN),  # two columns
        ((2, 3, 1), LEAVES_ONE_COLUMN),  # one row
        ((4, 2, 1), {**LEAVES_ONE_COLUMN, "kernel_size": (2, 1)}),
        ((4, 3, 1), {**LEAVES_ONE_COLUMN, "strides": 2}),
        ((4, 3, 1), {"kernel_size": (2, 3), "dilation_rate": 1, "padding": "valid"}),
    ):
        assert not images.miscomputed("float32", shape, options)
    monkeypatch.setattr(images, "BACKEND", "jax")
    assert not images.miscomputed("float32", (4, 3, 1), LEAVES_ONE_COLUMN)


@pytest.mark.keras
def test_max_pooling_of_nan_is_seen_and_that_of_numbers_is_not():
    import keras
    from fuzzing.trial import pools_nan

    given = keras.Input((6, 2))
    pooled = keras.layers.MaxPooling1D(2)(keras.ops.log(given))
    net = verify.load(keras.Model(given, pooled))
    x = np.random.default_rng(3).uniform(0.1, 2.0, size=(4, 6, 2))
    assert not pools_nan(net, net.prepare(x))
    x[2, 3, 1] = -1.0
    assert pools_nan(net, net.prepare(x))


def test_few_convolutions_are_others_for_what_tensorflow_computes_wrongly(monkeypatch):
    monkeypatch.setattr(images, "BACKEND", "tensorflow")
    shape = (4, 3, 1)  # of which a stride of 2 leaves one column

    def made(key: int) -> images.Layer:
        return images.convolution(Maker(f"{SEED}:{key}"), shape)

    tried = [made(key) for key in range(2000)]
    judge = images.miscomputed
    monkeypatch.setattr(images, "miscomputed", lambda policy, shape, options: False)
    changed = 0
    for key, layer in enumerate(tried):
        before = made(key)
        wrong = judge(Maker(f"{SEED}:{key}").policy, shape, before[1])
        assert (layer != before) == wrong
        changed += wrong
    assert 0 < changed < 0.02 * len(tried)


@pytest.mark.slow
def test_every_layer_and_operation_that_is_read_is_in_some_model():
    """Leave out the layers that are not read: another test sees them refused."""
    made = "\n".join(program(f"1:{k}").source for k in range(8000))
    found = set(re.findall(r"\blayers\.(\w+)\(", made))
    # ops.log_softmax makes a LogSoftmax, ops.rfft an RFFT
    functions = {name.replace("_", "") for name in re.findall(r"\bops\.(\w+)\(", made)}
    found |= {name for name in REGISTRY if name[len("ops.") :].lower() in functions}
    for class_name, spelled in SPELLED.items():
        if spelled in made:
            found.add(class_name)
    found.discard("ops.Abs")  # ops.abs makes an Absolute: only files have an Abs
    assert sorted(REGISTRY.keys() - found) == ["ops.Abs"]


@pytest.mark.keras
def test_what_is_not_supported_is_refused_and_counted(tmp_path):
    from fuzzing.trial import try_program

    made = next(m for k in range(500) if (m := program(f"1:{k}")).refused)
    outcome = try_program(made, 0, tmp_path)
    assert outcome.kind == "refused"
    assert outcome.detail == made.refused


@pytest.mark.slow
def test_hostile_files_are_read_or_refused_in_one_line(tmp_path):
    count = str(many(300, 160))
    command = [sys.executable, "-m", "fuzzing.hostile", "--count", count, "--seed", "9"]
    run = subprocess.run(
        [*command, "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "tracebacks, or out of bounds: 0" in run.stdout
    kinds = dict(re.findall(r"^  (\w+) +([\d,]+)$", run.stdout, re.MULTILINE))
    assert int(kinds["ModelFileError"]) > 50
    assert int(kinds["UnsupportedError"]) > 5
    assert int(kinds["DataError"]) > 5
    assert int(kinds["read"]) > 30


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        ("time.sleep(60)", "KILLED SIGALRM"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "KILLED SIGKILL"),
        ("numpy.zeros(2**31, 'u1')", "TRACEBACK MemoryError: Unable to allocate"),
        ("1 / 0", "TRACEBACK ZeroDivisionError: division by zero"),
        ("os._exit(3)", "TRACEBACK the process ended without a word, exit code 3"),
    ],
)
def test_what_a_file_must_not_do_is_counted_and_the_next_is_read(
    reading, said, tmp_path
):
    """A stand-in for reading does it, on every other file of four."""
    script = f"""
import itertools, os, signal, sys, time
import numpy
from fuzzing import hostile

def read(path, numbers=itertools.count(), read=hostile.read):
    if next(numbers) % 2:
        {reading}
    return read(path)

hostile.SECONDS, hostile.read = 1, read
sys.exit(hostile.main(["--count", "4", "--seed", "9", "--folder", sys.argv[1]]))
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert len(re.findall(rf"bad-\d\.\w+: {re.escape(said)}", run.stdout)) == 2
    assert run.stdout.endswith("tracebacks, or out of bounds: 2\n")
