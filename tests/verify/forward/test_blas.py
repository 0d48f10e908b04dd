"""Loops over time do not let threads wait for each other at every step."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from support.any_layer import chain
from support.nets import layer
from threadpoolctl import ThreadpoolController, threadpool_limits

from verify import Network
from verify.forward import blas
from verify.forward.layers import recurrent


def threads() -> int:
    """How many threads NumPy's BLAS uses now; SciPy has one of its own."""
    info = ThreadpoolController().select(user_api="blas").info()
    numpys = [library for library in info if "numpy" in library["filepath"]]
    return max(library["num_threads"] for library in numpys or info)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    # a generator of blocks that another test has left may still limit the threads
    gc.collect()
    monkeypatch.setattr(blas, "_limiting", 0)
    monkeypatch.setattr(blas, "_limit", None)
    monkeypatch.setattr(blas, "_controller", None)
    with threadpool_limits(2, user_api="blas"):
        if threads() != 2:
            pytest.skip("this BLAS has one thread")
        yield


@pytest.mark.parametrize(
    ("steps", "multiplications", "expected"),
    [
        (blas.LONG_LOOP, 1000, 1),
        (blas.LONG_LOOP - 1, 1000, 2),
        (blas.LONG_LOOP, blas.SMALL_PRODUCTS, 2),
    ],
)
def test_one_thread_for_small_products_of_long_loops(steps, multiplications, expected):
    with blas.for_loop(steps, multiplications):
        assert threads() == expected
    assert threads() == 2


def test_a_recurrent_layer_says_what_its_loop_is(monkeypatch):
    lstm = layer("LSTM", "lstm", units=2, return_sequences=True)
    net, said = Network(chain([(None, None, 3)], lstm)), []

    def noting(steps, multiplications):
        said.append((steps, multiplications))
        return blas.for_loop(steps, multiplications)

    monkeypatch.setattr(recurrent, "for_loop", noting)
    for steps in (blas.LONG_LOOP, 3):
        net.flat(net.prepare(np.zeros((2, steps, 3))), dtype="float64")
    products = 2 * net.spec.parameters  # of two rows
    assert said == [(blas.LONG_LOOP, products), (3, products)]
