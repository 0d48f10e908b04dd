"""Cases for `verify.forward.layers.hashed`."""

from __future__ import annotations

import numpy as np
from layer_cases.case import BATCH, Case
from layer_cases.lookups import _numbers, _tokens, mode


def _pair(rng):
    return [_tokens(1)(rng)[0], _numbers(1)(rng)[0]]


def _flat(rng):
    return [x[:, 0] for x in (*_numbers(1)(rng), *_numbers(1)(rng))]


def _long(rng):
    letters = np.asarray(list("abcdefghijkl é"))
    rows = [["".join(rng.choice(letters, size=n)) for n in rng.integers(0, 150, 6)]
            for _ in range(BATCH)]  # fmt: skip
    return [np.asarray(rows)]


def _case(*args, **more):
    return Case(*args, not_as_onnx="no such hash", **more)


MASK = {"mask_value": "cat"}
SALT = {"salt": [133, 137]}

CASES = [
    _case("Hashing", {"num_bins": 11}, shape=(6,), dtypes=["string"], inputs=_long,
         wrong=[{"num_bins": 10}, {"salt": (1, 1)}, mode("count")]),
    _case("Hashing", {"num_bins": 11, **SALT}, shape=(6,), dtypes=["string"],
         inputs=_long, wrong=[{"salt": (137, 133)}]),
    _case("Hashing", {"num_bins": 7, **MASK}, shape=(6,), dtypes=["string"],
         inputs=_tokens(6), wrong=[{"mask_value": None}, {"mask_value": "the"}]),
    _case("Hashing", {"num_bins": 1, **MASK}, shape=(6,), dtypes=["string"],
         inputs=_tokens(6), wrong=[{"num_bins": 2}]),
    _case("Hashing", {"num_bins": 7, "mask_value": 7}, shape=(6, 2), dtypes=["int64"],
         inputs=_numbers(6, 2), wrong=[{"mask_value": None}]),
    _case("Hashing", {"num_bins": 7, "salt": 3}, shape=(6,),
         inputs=lambda rng: [rng.uniform(-40, 40, size=(BATCH, 6))]),
    _case("Hashing", {"num_bins": 7, **mode("one_hot")}, shape=(6, 1), dtypes=["int64"],
         inputs=_numbers(6, 1), wrong=[mode("count")]),
    _case("Hashing", {"num_bins": 7, **mode("multi_hot")}, shape=(6,), dtypes=["int64"],
         inputs=_numbers(6), wrong=[mode("count")]),
    _case("Hashing", {"num_bins": 7, **mode("count")}, shape=(6,), dtypes=["string"],
         inputs=_tokens(6), wrong=[mode("multi_hot")]),
    _case("HashedCrossing", {"num_bins": 13}, shape=[(1,), (1,)],
         dtypes=["string", "int64"], inputs=_pair,
         wrong=[{"num_bins": 12}, mode("one_hot")]),
    _case("HashedCrossing", {"num_bins": 13}, shape=[(), ()],
         dtypes=["int64", "int64"], inputs=_flat),
    _case("HashedCrossing", {"num_bins": 13, **mode("one_hot")}, shape=[(1,), (1,)],
         dtypes=["string", "int64"], inputs=_pair, wrong=[mode("int")]),
]  # fmt: skip
