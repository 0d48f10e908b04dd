"""The numbers printed with the chapter: a test that no one here could tune."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from support.nets import GivenWeights, input_layer, layer, sequential

from verify import Network
from verify.mistakes.catalogue import catalogue
from verify.model_files.config import read_model
from verify.tolerance.compare import compare

PUBLISHED = Path(__file__).parents[3] / "data" / "published"


def published(name: str) -> tuple[Network, np.ndarray, np.ndarray, dict]:
    numbers = json.loads((PUBLISHED / f"{name}.json").read_text())
    config = sequential(
        input_layer(None, 2, 1),
        layer(numbers["layer"], "recurrent", units=1),
        layer("Dense", "dense", units=5, activation="softmax"),
    )
    weights = GivenWeights(
        {
            "recurrent": [
                np.array([numbers["kernel"]]),
                np.array([numbers["recurrent_kernel"]]),
                np.array(numbers["bias"]),
            ],
            "dense": [
                np.array([numbers["dense_kernel"]]),
                np.array(numbers["dense_bias"]),
            ],
        }
    )
    spec = read_model(config, weights, source="published", keras_version="2")
    x = np.array(numbers["input"], dtype=np.float32).reshape(1, 2, 1)
    return Network(spec), x, np.array([numbers["prediction"]]), numbers


@pytest.mark.parametrize("name", ["simple_rnn", "lstm"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_published_prediction_comes_out_of_the_published_weights(name, dtype):
    network, x, prediction, _ = published(name)
    assert compare(network.predict(x, dtype=dtype), prediction, allowed=1e-7).matches


def test_no_other_gate_order_gives_the_published_lstm_prediction():
    network, x, prediction, _ = published("lstm")
    found = [m for m in catalogue(network.spec) if m.name.startswith("gate order")]
    orders = [mutant for mutant in found if "alone" not in mutant.name]
    assert len(orders) == len(list(permutations("ifco"))) - 1
    for mutant in orders:
        outputs = mutant.evaluate(x)[0]
        assert not compare(outputs, prediction, allowed=1e-7).matches, mutant.name


@pytest.mark.parametrize("name", ["simple_rnn", "lstm"])
def test_no_single_mistake_of_the_catalogue_gives_a_published_prediction(name):
    network, x, prediction, _ = published(name)
    right, seen = network.predict(x, dtype="float64"), 0
    for mutant in catalogue(network.spec):
        outputs = mutant.evaluate(x)[0]
        # one row, two steps and saturated units hide what carries states or rounds them
        if compare(outputs, right, allowed=1e-7).matches:
            continue
        seen += 1
        assert not compare(outputs, prediction, allowed=1e-7).matches, mutant.name
    assert seen > 40


def test_the_chapters_other_rnn_vector_is_a_misprint_that_no_softmax_can_return():
    _, _, prediction, numbers = published("simple_rnn")
    assert sum(numbers["misprinted"]) == pytest.approx(2.10, abs=0.005)
    assert prediction.sum() == pytest.approx(1, abs=1e-6)
