"""A port in C and one in JavaScript pass; each planted mistake is found and named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.graphs import both_ways, given, made, net, rnn
from support.nets import INPUTS, UNITS, layer, spec, word_net
from support.nets import rnn as recurrent

from verify import Network, write_vectors
from verify.model.spec import LayerSpec
from verify.ports.vectors.pack import make_pack

HERE = Path(__file__).parent
C_FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]

PLAN = """
enum kind {{ EMBEDDING, MASKING, DENSE, LSTM, GRU, SIMPLE }};
enum {{ LINEAR, TANH, SIGMOID, RELU, SOFTMAX }};
struct layer {{
  int kind;
  const char *name, *backward, *whole;
  int units, activation, recurrent_activation;
  int sequences, backwards, stateful, zeroes, reset_after, makes_mask;
  float mask_value;
}};
static const struct layer plan[] = {{
{rows}
}};
#define LAYERS {count}
"""
KINDS = {
    "Embedding": "EMBEDDING", "Masking": "MASKING", "Dense": "DENSE",
    "LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "SIMPLE",
}  # fmt: skip


def plan(layers: Sequence[LayerSpec]) -> str:
    """What the port in C has to know of the layers, apart from their weights."""
    return PLAN.format(rows="\n".join(map(plan_row, layers)), count=len(layers))


def plan_row(layer: LayerSpec) -> str:
    inner, name, backward = layer, layer.name, ""
    if layer.class_name == "Bidirectional":
        inner = layer.sublayers["forward_layer"]
        name, backward = (f"{layer.name}/{half}" for half in layer.sublayers)
    options = inner.options
    flags = ("return_sequences", "go_backwards", "stateful", "zero_output_for_mask",
             "reset_after", "mask_zero")  # fmt: skip
    texts = [name, backward, layer.name]
    numbers = [
        options.get("units", 0),
        str(options.get("activation", "linear")).upper(),
        str(options.get("recurrent_activation", "linear")).upper(),
        *(int(bool(options.get(flag))) for flag in flags),
        f"{float(options.get('mask_value', 0))}f",
    ]
    cells = [KINDS[inner.class_name], *map(json.dumps, texts), *map(str, numbers)]
    return f"  {{{', '.join(cells)}}},"


def stacked() -> Network:
    """Words with a mask through every kind of recurrent layer."""
    return Network(
        word_net(
            recurrent("LSTM", "lstm", return_sequences=True),
            recurrent("GRU", "gru", return_sequences=True),
            recurrent("SimpleRNN", "simple"),
        )
    )


def backwards() -> Network:
    """A Bidirectional layer, a GRU that resets before, one that goes backwards."""
    reset_before = made(
        "GRU", "gru", (2 * UNITS, 9), (3, 9), (9,), seed=5, units=3, reset_after=False,
        activation="relu", return_sequences=True,
    )  # fmt: skip
    layers = [
        given("x", 6, INPUTS),
        made("Masking", "masking", mask_value=-1.5),
        both_ways("LSTM", "both", INPUTS, UNITS, seed=1, return_sequences=True),
        reset_before,
        rnn("LSTM", "lstm", 3, UNITS, seed=7, go_backwards=True, return_sequences=True),
        made("Dense", "dense", (UNITS, 2), (2,), seed=9, units=2, activation="tanh"),
    ]
    names = [x.name for x in layers]
    return Network(net(layers, dict(zip(names[1:], names, strict=False)), "dense"))


def stateful() -> Network:
    """Features in batches of three rows, a layer that goes on from call to call."""
    return Network(
        spec(
            layer("InputLayer", "input", batch_shape=[3, None, INPUTS]),
            recurrent("LSTM", "lstm", stateful=True),
            layer("Dense", "dense", units=2),
        )
    )


MODELS = {"stacked": stacked, "backwards": backwards, "stateful": stateful}

MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    # layer, gate, step, unit as the report names them; call where it is not the first
    "gates swapped": ("stacked", {
        "probe": "batch 1", "layer": "lstm (LSTM)", "gate": "i (input gate)",
        "step": "0 of 0..5", "unit": "0", "before it": "words agree",
    }),
    "one bias": ("stacked", {
        "probe": "batch 1", "layer": "lstm (LSTM)", "gate": "f (forget gate)",
        "step": "0 of 0..5", "unit": "2",
    }),
    "no bias": ("stateful", {
        "probe": "batch 3", "layer": "lstm (LSTM)", "gate": "i (input gate)",
        "step": "0 of 0..6", "unit": "0",
    }),
    "no mask": ("stacked", {
        # the gates of a masked step are not compared, its states are
        "probe": "padding behind", "layer": "lstm (LSTM)", "step": "2 of 0..5",
        "state": "c (cell state after the step)", "row": "3",
    }),
    "reset before": ("stacked", {
        # in step 0 h is zero, and both rules give the same
        "probe": "batch 1", "layer": "gru (GRU)", "gate": "h_hat (candidate)",
        "before it": "words, lstm agree",
    }),
    "late": ("stacked", {
        "probe": "batch 1", "layer": "lstm (LSTM)", "gate": "i (input gate)",
        "step": "1 of 0..5",
    }),
    "not carried": ("stateful", {
        "probe": "second call", "call": "2 of 3", "layer": "lstm (LSTM)",
        "gate": "i (input gate)", "step": "0 of 0..6",
    }),
    "nan": ("stateful", {
        "probe": "batch 3", "output": "dense", "unit": "0", "row": "0", "port": "nan",
    }),
}  # fmt: skip
"""Mistake -> the model in which it is made, and what the report must say."""


class Checked:
    """What a program that checks a port said."""

    def __init__(self, run: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = run.returncode, run.stdout, run.stderr

    def lines(self) -> dict[str, str]:
        """The lines of the report by their names."""
        pairs = (
            line.split(" : ", 1) for line in self.out.splitlines() if " : " in line
        )
        return {name.strip(): text for name, text in pairs}


def path_of(tool: str) -> str:
    """The path of a program; the test is skipped, and says why, where it is missing."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"needs {tool}: a port is tried with it")
    return path


class Checker:
    """Check the port of the tests in one language, with a mistake or without."""

    def __init__(self, language: str, root: Path) -> None:
        self.language, self.root = language, root

    def __call__(self, model: str, mistake: str) -> Checked:
        pack, program = self.root / model, self.root / f"{model}.bin"
        if not pack.exists():
            network = MODELS[model]()
            write_vectors(network, pack)
            if self.language == "C":
                compiled(network, pack, program)
        node = ["node", str(pack / "check_port.mjs"), str(HERE / "port.mjs")]
        command = (
            [str(program)] if self.language == "C" else [path_of(node[0]), *node[1:]]
        )
        env = {**os.environ, "MISTAKE": mistake, "VECTORS": str(pack / "vectors.json")}
        return Checked(subprocess.run(command, env=env, capture_output=True, text=True))


def compiled(network: Network, pack: Path, program: Path) -> None:
    header = program.with_suffix(".plan")
    header.mkdir()
    (header / "plan.h").write_text(plan(network.spec.layers))
    sources = [str(pack / "check_port.c"), str(HERE / "port.c")]
    places = ["-I", str(pack), "-I", str(header)]
    command = [path_of("gcc"), *C_FLAGS, *places, *sources, "-lm", "-o", str(program)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module", params=["C", "JavaScript"])
def check(request, tmp_path_factory) -> Checker:
    return Checker(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("model", MODELS)
def test_a_right_port_passes(check, model):
    found = check(model, "")
    assert found.code == 0, found.out + found.err
    assert "\nPASS: " in found.out
    assert "FAIL" not in found.out
    offered = next(x for x in found.out.splitlines() if x.startswith("gates, states"))
    assert ": 0 of " not in offered
    # all that is left are logits and, of a Bidirectional layer, the halves
    missing = found.out.splitlines()[-1].removeprefix("not offered: ").split(", ")
    assert {name.split("/")[-1] for name in missing} <= {"logits", "output"}
    assert [name for name in missing if name.count("/") == 1] == ["dense/logits"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_layer_step_gate_and_unit(check, mistake):
    model, expected = MISTAKES[mistake]
    found = check(model, mistake)
    assert found.code == 1, found.out + found.err
    lines = found.lines()
    for name, text in expected.items():
        assert lines[name].lower().startswith(text.lower()), (name, lines)
    assert "FAIL: the port differs from the model" in found.out
    assert "PASS" not in found.out
    if "layer" in lines:
        assert float(lines["model"]) == pytest.approx(number_at(model, lines), rel=1e-8)
        assert abs(float(lines["port"]) - float(lines["model"])) > 1e-3


def number_at(model: str, lines: dict[str, str]) -> float:
    """What the model computes where a report says that the port differs."""
    probes = make_pack(MODELS[model]()).probes
    probe = next(p for p in probes if lines["probe"].startswith(f"{p.name} ("))
    call = probe.calls[int(lines["call"].split()[0]) - 1]
    gate = lines.get("gate") or lines["state"]
    name = f"{lines['layer'].split()[0]}/{gate.split()[0]}"
    numbers = next(n for n in call.values if n.name == name)
    step = numbers.steps.index(int(lines["step"].split()[0]))
    return numbers.expected[int(lines["row"]), step, int(lines["unit"])]


MISUSES = {
    "C": {
        "wrong name": (2, 'offer("nothing/f"): expected one of these names: lstm/i'),
        "wrong count": (2, "expected a count of numbers of 4. Received: 1"),
        "refuses": (1, "port_run returned 1 in call 1"),
        "no reset": (1, "port_reset returned 1"),
    },
    "JavaScript": {
        "wrong name": (2, 'offer("nothing/f"): expected one of these names: lstm/i'),
        "wrong count": (2, "expected 4 numbers. Received: 1"),
        "wrong shape": (2, 'expected output "dense" of 6 numbers. Received: 1'),
    },
}
"""Language -> what a port does wrong -> exit code, and what is said."""


def test_a_port_that_uses_the_check_wrongly_is_told_so(check):
    for mistake, (code, text) in MISUSES[check.language].items():
        found = check("stateful", mistake)
        assert found.code == code, mistake
        assert text in found.out + found.err
        assert "PASS" not in found.out


def test_a_port_of_outputs_alone_is_told_that_an_output_differs(check):
    right, wrong = check("stacked", "offers nothing"), check("stateful", "nan")
    assert right.code == 0
    assert ": 0 of " in right.out
    assert "not offered: words/output, lstm/i" in right.out
    assert wrong.lines()["output"] == "dense"
