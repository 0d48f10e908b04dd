"""What `describe` says of the calls of layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.nets import FunctionalNet, layer, lstm_file

import verify
from verify.forward.network import Network
from verify.model.graph import Graph, MaskOf, Node, TensorRef
from verify.model.spec import LayerSpec
from verify.report.call_constants import constants_said

X = TensorRef("x", 0, 0)
MASK = np.tri(8, dtype=bool)


def said(class_name: str, *args: Any, **kwargs: Any) -> list[str]:
    layer = LayerSpec("called", class_name, {})
    nodes = (Node("called", 0, args, kwargs),)
    graph = Graph(inputs=X, outputs=TensorRef("called", 0, 0), nodes=nodes)
    model = LayerSpec(
        "model", "Functional", {}, sublayers={"called": layer}, graph=graph
    )
    return constants_said(model, "called")


@pytest.mark.parametrize(
    ("class_name", "args", "kwargs", "expected"),
    [
        (
            "ops.GetItem",
            (X, (slice(None), slice(None, None, -1))),
            {},
            ["called with key [:, ::-1]"],
        ),
        ("ops.GetItem", (X, (..., slice(0, 1))), {}, ["called with key [..., 0:1]"]),
        (
            "ops.GetItem",
            (X, (slice(None), -1, None)),
            {},
            ["called with key [:, -1, None]"],
        ),
        ("ops.Multiply", (0.1, X), {}, ["called with x1 0.1"]),
        ("ops.Add", (X, MASK), {}, ["called with x2 an array of shape (8, 8)"]),
        ("ops.Concatenate", ([X, X],), {}, []),
        ("GRU", (X,), {"mask": MaskOf(X), "initial_state": None}, []),
        (
            "MultiHeadAttention",
            (X, X),
            {"use_causal_mask": True},
            ["called with use_causal_mask True"],
        ),
        (
            "Attention",
            ([X, X],),
            {"training": False, "mask": [MASK[:1, :3]]},
            ["called with mask [[[True, False, False]]]"],
        ),
    ],
)
def test_describe_says_the_constants_of_a_call(class_name, args, kwargs, expected):
    assert said(class_name, *args, **kwargs) == expected


def test_calls_with_other_constants_are_told_apart():
    layer = LayerSpec("add", "ops.Add", {})
    nodes = tuple(Node("add", k, (X, k % 2), {}) for k in range(4))
    graph = Graph(inputs=X, outputs=TensorRef("add", 3, 0), nodes=nodes)
    model = LayerSpec("m", "Functional", {}, sublayers={"add": layer}, graph=graph)
    assert constants_said(model, "add") == ["called with x2 0", "called with x2 1"]


def test_weights_that_are_no_numbers_are_noted(tmp_path):
    path = lstm_file(tmp_path / "m.keras")
    net = verify.load(path)
    assert "finite" not in verify.describe(net)
    weights = {key: np.array(w) for key, w in net.spec["lstm"].weights.items()}
    weights["kernel"][0, :3] = np.nan
    broken = net.spec.with_layer(replace(net.spec["lstm"], weights=weights))
    said = verify.describe(Network(broken))
    assert "note: Layer 'lstm' (LSTM): expected finite weights. Received: 3 NaN" in said


@pytest.mark.parametrize(
    ("units", "sum_of_all", "steps"),
    [((4,), "112", "one cell"), ((4, 3), "112 + 96 = 208", "2 cells in turn")],
)
def test_a_sum_of_one_number_is_said_once(units, sum_of_all, steps):
    cells = [layer("LSTMCell", f"cell_{k}", units=n) for k, n in enumerate(units)]
    stack = layer("StackedRNNCells", "cells", cells=cells)
    net = FunctionalNet()
    x = net.input("x", None, 5, 2)
    states = net.call(layer("RNN", "loop", cell=stack), x, features=2)
    said = verify.describe(Network(net.spec(states[0])))
    of_cells = said.partition("= cells (StackedRNNCells)\n")[2]
    assert of_cells.startswith(f"  parameters : {sum_of_all}\n")
    assert f"each step runs {steps}" in of_cells


def test_names_of_arrays_keep_their_distance_from_the_shapes():
    net = FunctionalNet()
    x = net.input("x", None, 2)
    ends = net.call(layer("Dense", "dense", units=2), x, features=2)
    of_dense = net.layers["dense"]
    arrays = {**of_dense.weights, "layer_norm/vars/0": np.ones(32)}
    own = replace(of_dense, weights=arrays)
    said = verify.describe(Network(net.spec(ends[0]).with_layer(own, "dense")))
    assert "  kernel           (2, 2)" in said
    assert "  layer_norm/vars/0 (32,)" in said
