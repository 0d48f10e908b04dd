"""Frameworks that are installed here compute what their conventions say."""

from __future__ import annotations

import json
from importlib import import_module, resources

import numpy as np
import pytest

from benchmarks.conventions.measure import (
    LIMIT,
    MODULES,
    RUNNERS,
    cases,
    in_this_process,
    is_here,
    measured,
)
from verify.model.conventions import conventions

HERE = ("onnxruntime", "onnx.reference", "openvino", "litert")
WRONG = 3e-2
"""What every wrong order of gates misses by, on weights of this size."""


@pytest.mark.parametrize("framework", HERE)
def test_a_framework_computes_what_its_conventions_say(framework):
    _, found = measured(framework, seed=20)
    assert {case.convention for case, _ in found} == set(conventions(framework))
    assert all(difference < LIMIT for _, difference in found)


@pytest.mark.parametrize("framework", HERE)
def test_a_planted_mistake_shows(framework, monkeypatch):
    """Two gates exchanged, and for a SimpleRNN the recurrent kernel transposed."""
    run = in_this_process(
        import_module(f"benchmarks.conventions.runners.{MODULES[framework][0]}")
    )
    for case in cases(framework, seed=20, both=False):
        arrays = case.arrays()
        name = next(
            k
            for k in arrays
            if k in ("R", "recurrent_weights") or "recurrent_to_input" in k
        )
        if case.convention.keras_layer == "SimpleRNN":
            arrays[name] = np.swapaxes(arrays[name], -1, -2).copy()
        elif case.convention.layout == "separate":
            other = name.replace("input_weights", "forget_weights")
            arrays[name], arrays[other] = arrays[other], arrays[name]
        else:
            parts = np.split(arrays[name], len(case.convention.gates), axis=1)
            arrays[name] = np.concatenate([parts[1], parts[0], *parts[2:]], axis=1)
        monkeypatch.setattr(type(case), "arrays", lambda _, a=arrays: a)
        assert case.difference(run(case)) > WRONG, case.convention.cell
        monkeypatch.undo()


def test_every_runner_belongs_to_a_framework():
    modules = {f"{name}.py" for name, _ in MODULES.values()}
    assert modules == {path.name for path in RUNNERS.glob("run_*.py")}
    assert all(conventions(name) for name in MODULES)
    assert all(is_here(name) for name in HERE)


def test_what_was_measured_is_of_conventions_that_there_are():
    folder = resources.files("verify.model.conventions")
    held = json.loads((folder / "measured.json").read_text())["measurements"]
    cells = {(c.framework, c.cell) for c in conventions() if c.measured}
    assert {(name, cell) for name, found in held.items() for cell in found} == cells
    for one in conventions():
        if one.measured is not None:
            assert one.measured.difference < LIMIT
            assert one.measured.version == one.version
