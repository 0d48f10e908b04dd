"""The toy recipes: the forward pass that they print."""

from __future__ import annotations

import json

import numpy as np
import pytest

import verify
from recipes.__main__ import main

pytestmark = pytest.mark.keras


@pytest.mark.parametrize(
    "name", ["toy_rnn", pytest.param("toy_lstm", marks=pytest.mark.thorough)]
)
def test_with_more_units_both_phrases_are_learnt(name, tmp_path, capsys):
    """The command that a wrong model names."""
    command = ["run", name, "--out", str(tmp_path)]
    assert main([*command, "--epochs", "20"]) == 0
    said = capsys.readouterr().out
    assert "That is wrong: 1 unit(s) and 20 epoch(s) are too few. Enough is:" in said
    (line,) = [x for x in said.splitlines() if x.startswith("  rnn-recipe run")]
    named = line.split()[1:]
    assert named[:2] == command[:2]
    assert main([*named, *command[2:]]) == 0
    said = capsys.readouterr().out
    assert "That is wrong" not in said
    assert 'After "this is" the model says: an (the phrase goes on with: an)' in said
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["training_accuracy"] == 1.0
    (difference,) = [
        float(line.split()[-1])
        for line in said.splitlines()
        if line.strip().startswith("difference")
    ]
    assert difference < 1e-6


@pytest.mark.parametrize(("name", "count"), [("toy_rnn", 3), ("toy_lstm", 12)])
def test_a_toy_recipe_prints_its_forward_pass_by_hand(name, count, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", name, "--epochs", "60", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"= {count}\n" in printed
    assert "1 x 5 + 5 = 10" in printed
    trace = verify.load(out / "model.keras").trace(
        np.array([[[3.0], [1.0]]]), dtype="float64"
    )
    values = trace["lstm" if "lstm" in name else "rnn"].values
    names = {
        "forget gate": "f", "input gate": "i", "candidate": "c_hat", "cell state": "c",
        "output gate": "o", "hidden value": "h",
    }  # fmt: skip
    seen = 0
    for line in printed.splitlines():
        left, colon, rest = line.strip().partition(": ")
        if not (colon and left.startswith("step ")):
            continue
        seen += 1
        quantity = next(q for q in names if rest.startswith(q))
        formula, _, value = rest.removeprefix(quantity).strip().rpartition(" = ")
        step = int(left.removeprefix("step ")) - 1
        assert float(value) == pytest.approx(
            values[names[quantity]][0, step, 0], abs=1e-8
        )
        functions = {
            "tanh": np.tanh, "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        }  # fmt: skip
        # the formula that is printed gives the value that is printed
        assert eval(formula, functions) == pytest.approx(float(value), abs=1e-6)
    assert seen == (12 if "lstm" in name else 2)
    (difference,) = [
        float(line.split()[-1])
        for line in printed.splitlines()
        if line.strip().startswith("difference")
    ]
    assert difference < 1e-6
    assert "Keras predict" in printed
