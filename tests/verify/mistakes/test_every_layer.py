"""The whole catalogue on every layer type and option: nothing raises, all is accounted.

The layers are those of `layer_cases`, without Keras, and the containers of other
layers; the models are those and random stacks. Sizes differ pairwise, so that a mistake
that takes one size for another cannot pass.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Iterator

import layer_cases
import numpy as np
import pytest
from layer_cases.case import Case
from support.any_layer import chain, inputs_for
from support.nets import layer
from support.thoroughness import many, some

from verify import ModelSpec, Network
from verify.forward.layers import REGISTRY
from verify.mistakes import catalogue as package
from verify.mistakes.catalogue import Attempts, Mutant, catalogue
from verify.model_files.config import read_architecture
from verify.model_files.shapes import with_shapes

MODULES = [
    importlib.import_module(f"layer_cases.{module.name}")
    for module in pkgutil.iter_modules(layer_cases.__path__)
]
ROWS = 36
"""More than `predict` takes at a time, so that states can be carried on."""

UNFIT = {"PReLU(shared_axes=[1, 3])"}
"""Cases whose weights have sizes that `any_layer` does not find."""


def telling_cases() -> Iterator[Case]:
    """One case, at least, for every value of every option of every layer."""
    seen: set[tuple[str, str, str]] = set()
    for module in MODULES:
        for case in getattr(module, "CASES", []):
            own = case.make is None and case.call is None and case.prepare is None
            if not own or case.name.startswith("ops.") or case.name not in REGISTRY:
                continue
            new = {(case.name, k, f"{v}") for k, v in case.options.items()}
            new |= {(case.name, "masked", f"{case.masked}")}
            if not new <= seen:
                seen |= new
                yield case


def case_model(case: Case) -> ModelSpec:
    """The model of a case, as `Case.model` makes it in Keras."""
    shapes = [(case.batch_size, *shape) for shape in case.shapes]
    layers = [layer(case.name, "tested", **case.options)]
    if case.masked and len(case.shapes[0]) > 1:
        layers.insert(0, layer("Masking", "masking", mask_value=0.0))
    if case.after:
        layers.append(layer("GRU", "after", units=2, return_sequences=True))
    return chain(shapes, *layers, dtypes=case.dtypes)


def mutants_of(spec: ModelSpec) -> list[Mutant]:
    """Every mutant; none may be impossible to make."""
    attempts = Attempts()
    found = list(catalogue(spec, attempts=attempts))
    assert not attempts.untried, attempts.sentence
    return found


def evaluated(spec: ModelSpec, mutants: list[Mutant]) -> Iterator[tuple[Mutant, bool]]:
    """Mutants, and whether each changes the outputs; none may raise."""
    net = Network(spec)
    x = net.prepare(inputs_for(spec, ROWS - ROWS % (spec.batch_size or 1)))
    right = net.flat(x, dtype="float64")
    for mutant in mutants:
        with np.errstate(all="ignore"):
            wrong = mutant.evaluate(x)
        yield (
            mutant,
            [y.shape for y in wrong] != [y.shape for y in right]
            or not all(
                np.array_equal(a, b, equal_nan=True)
                for a, b in zip(wrong, right, strict=True)
            ),
        )


CASES = list(telling_cases())


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_no_mistake_raises_on_any_layer_or_option(part):
    tried = 0
    for number, case in enumerate(CASES[part::8]):
        if case.id in UNFIT:
            continue
        spec = case_model(case)
        tried += sum(1 for _ in evaluated(spec, some(mutants_of(spec), 42, number)))
    assert tried > many(2000, 100)


def test_the_cases_have_every_layer_that_stands_alone():
    elsewhere = {
        "InputLayer", "Sequential", "Functional", "Bidirectional", "TimeDistributed",
        "RNN", "StackedRNNCells", "SimpleRNNCell", "LSTMCell", "GRUCell",
        "MultiHeadAttention", "GroupQueryAttention", "SpectralNormalization",
    }  # fmt: skip
    layers = {name for name in REGISTRY if not name.startswith("ops.")}
    assert {case.name for case in CASES} == layers - elsewhere
    assert {case.id for case in CASES} >= UNFIT
    assert len(CASES) > 200


def cell(kind: str, units: int, **options: object) -> dict[str, object]:
    """A cell as it stands in the config of an RNN."""
    return layer(f"{kind}Cell", f"{kind.lower()}{units}", units=units, **options)


def loop(kind: str, **options: object) -> dict[str, object]:
    """A recurrent layer of 5 units, a number that is no other size."""
    return layer(kind, "rnn", units=5, **options)


def stack(*cells: dict[str, object]) -> dict[str, object]:
    """An RNN around a stack of cells."""
    inner = layer("StackedRNNCells", "cells", cells=list(cells))
    return layer("RNN", "rnn", cell=inner, return_sequences=True)


def conv(rank: int, **options: object) -> dict[str, object]:
    """A ConvLSTM whose filters are not its channels, and whose kernel is not square."""
    size = list(range(2, rank + 2))
    return layer(f"ConvLSTM{rank}D", "conv", filters=4, kernel_size=size, **options)


STEPS = (None, 6, 3)
ZEROS = layer("Masking", "masking", mask_value=0.0)
ALL = {"return_sequences": True}
PICTURES = {1: (None, 5, 7, 3), 2: (None, 5, 6, 7, 3), 3: (None, 3, 2, 3, 4, 5)}
MADE = {
    **{
        f"Bidirectional {kind} {mode}": ([STEPS], ZEROS, layer(
            "Bidirectional", "both", layer=loop(kind, **more), merge_mode=mode), {})
        for kind in ("SimpleRNN", "LSTM", "GRU")
        for mode, more in (("concat", {}), ("mul", ALL), ("sum", ALL), ("ave", {}))
    },
    "Bidirectional of two kinds": ([STEPS], ZEROS, layer(
        "Bidirectional", "both", layer=loop("LSTM"),
        backward_layer=layer("GRU", "back", units=5, go_backwards=True)), {}),
    "Bidirectional, both outputs": ([STEPS], ZEROS, layer(
        "Bidirectional", "both", layer=loop("GRU", **ALL), merge_mode=None), {}),
    "Bidirectional of ConvLSTM": ([PICTURES[1]], layer(
        "Bidirectional", "both", layer=conv(1, **ALL)), {}),
    **{
        f"RNN of a {kind}Cell": ([STEPS], ZEROS, layer(
            "RNN", "rnn", cell=cell(kind, 5), **more), {})
        for kind, more in (("SimpleRNN", {}), ("LSTM", ALL), ("GRU", ALL))
    },
    "RNN of cells": ([STEPS], ZEROS, stack(
        cell("LSTM", 5), cell("GRU", 4), cell("GRU", 2, reset_after=False),
        cell("SimpleRNN", 7)), {}),
    "TimeDistributed Dense": ([STEPS], layer(
        "TimeDistributed", "each", layer=layer("Dense", "dense", units=5)), {}),
    "TimeDistributed LSTM": ([(None, 4, 6, 3)], layer(
        "TimeDistributed", "each", layer=loop("LSTM")), {}),
    **{
        f"states given to {kind}": (
            [STEPS, *[(None, 5)] * states], loop(kind, return_state=True),
            {"initial_state": list(range(1, states + 1))})
        for kind, states in (("SimpleRNN", 1), ("LSTM", 2), ("GRU", 1))
    },
    "stateful LSTM": ([(4, 6, 3)], ZEROS, loop("LSTM", stateful=True), {}),
    "stateful GRU": ([(4, 6, 3)], loop("GRU", stateful=True, **ALL), {}),
    "MultiHeadAttention": ([(None, 6, 3), (None, 4, 5)], layer(
        "MultiHeadAttention", "heads", num_heads=2, key_dim=7), {"value": 1}),
    **{f"ConvLSTM{rank}D": ([PICTURES[rank]], conv(rank, padding=padding, **more), {})
       for rank, padding, more in ((1, "same", ALL), (2, "valid", {}),
                                   (3, "same", {}))},
    "ConvLSTM with strides": ([PICTURES[2]], conv(2, strides=[1, 3], padding="same",
                                                  go_backwards=True), {}),
}  # fmt: skip
"""Name -> shapes of the inputs, layers, and what a call gets by name."""

UNCHANGED = {
    # nought times what the other direction has is nought
    "Bidirectional SimpleRNN mul": {"zero_output_for_mask False"},
    "Bidirectional LSTM mul": {"zero_output_for_mask False"},
    "Bidirectional GRU mul": {"zero_output_for_mask False"},
    # every step of it is masked
    "stateful LSTM": {"states left over from a batch of zeros"},
}
"""Model -> mistakes that cannot show in it, whatever its inputs."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_every_mistake_in_a_container_changes_the_outputs(name):
    shapes, *layers, call = MADE[name]
    outputs = 2 if name == "Bidirectional, both outputs" else 1
    spec = chain(shapes, *layers, call=call, outputs=outputs)
    mutants = mutants_of(spec)
    assert len(mutants) > 30
    tried = some(mutants, 1 + len(mutants) // 50)
    same = {mutant.name for mutant, changed in evaluated(spec, tried) if not changed}
    assert same <= UNCHANGED.get(name, set())


def random_stack(seed: int) -> ModelSpec:
    """Two to four layers over time that have any options, behind a mask or none."""
    rng = random.Random(seed)
    layers = [ZEROS] if rng.random() < 0.6 else []
    units = rng.sample((2, 4, 5, 7, 8), 4)
    for k in range(rng.randint(2, 4)):
        size, name = units[k], f"layer{k}"
        kind = rng.choice(("LSTM", "GRU", "SimpleRNN", "both", "dense", "conv", "norm"))
        options = {
            "go_backwards": rng.random() < 0.3,
            "use_bias": rng.random() < 0.8,
            "activation": rng.choice(("tanh", "relu", "softsign")),
            **ALL,
        }
        if kind == "dense":
            layers.append(layer("Dense", name, units=size))
        elif kind == "conv":
            width = rng.choice((2, 3))
            layers.append(layer("Conv1D", name, filters=size, kernel_size=width))
        elif kind == "norm":
            layers.append(layer("LayerNormalization", name))
        elif kind == "both":
            inner = layer(rng.choice(("LSTM", "GRU")), "inner", units=size, **ALL)
            layers.append(layer("Bidirectional", name, layer=inner))
        else:
            layers.append(layer(kind, name, units=size, **options))
    return chain([(None, 9, 3)], *layers, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_no_mistake_raises_in_random_models(part):
    for seed in range(part, many(24, 8), 4):
        spec = random_stack(seed)
        tried = some(mutants_of(spec), 20, seed)
        assert any(changed for _, changed in evaluated(spec, tried))


def test_an_operator_that_takes_filters_for_channels_would_be_found(monkeypatch):
    def stacked(layer):
        if "recurrent_kernel" in layer.weights:
            kernel, recurrent = (
                layer.weights["kernel"],
                layer.weights["recurrent_kernel"],
            )
            np.concatenate([kernel, recurrent])  # along the first axis of a window
        yield from ()

    monkeypatch.setattr(package, "MUTATION_OPERATORS", (stacked,))
    spec = chain([PICTURES[2]], conv(2))
    with pytest.raises(AssertionError, match="could not be tried on this model: stack"):
        mutants_of(spec)


@pytest.mark.slow
def test_masks_of_layers_in_mixed_precision_are_followed():
    """A MultiHeadAttention, which takes the mask off its query, in mixed_float16."""
    heads = layer(
        "MultiHeadAttention", "heads", num_heads=2, key_dim=7, dtype="mixed_float16"
    )
    spec = chain([(None, 6, 3), (None, 4, 5)], ZEROS, heads, call={"value": 1})
    names = {mutant.name for mutant in mutants_of(spec)}
    assert any("mask" in name for name in names)


def test_a_number_beside_a_masked_sequence_has_no_steps():
    """x * 0.5: the second factor has the shape ()."""
    config = chain([STEPS], ZEROS, layer("Dense", "half", units=5)).config
    half = next(e for e in config["config"]["layers"] if e["name"] == "half")
    half |= {"module": "keras.src.ops.numpy", "class_name": "Multiply"}
    half["config"] = {"name": "half"}
    half["inbound_nodes"][0]["args"] = [0.5, *half["inbound_nodes"][0]["args"]]
    root = with_shapes(read_architecture(config))
    assert root.at("half").class_name == "ops.Multiply"
    mutants_of(ModelSpec(root, config=config))
