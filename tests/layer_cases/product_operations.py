"""Cases for `verify.forward.layers.product_operations`."""

from __future__ import annotations

import numpy as np
from layer_cases.operations import CONSTANT, _case


def _heads(*heads):
    """Query, key and value: (rows, steps, heads, 3)."""
    return [(4 if k == 0 else 5, n, 3) for k, n in enumerate(heads)]


def _unwritten(name, call, **kwargs):
    return _case(name, call, not_as_onnx="no form in ONNX that is written", **kwargs)


CASES = [
    _case("Tensordot", lambda ops, x: ops.tensordot(
          x, np.arange(12.0).reshape(3, 4), axes=1)),
    _case("Tensordot", lambda ops, x: ops.tensordot(
          x, np.arange(18.0).reshape(3, 3, 2), axes=[[-1], [0]]),
          wrong=[{"axes": ((-1,), (1,))}]),
    _case("Tensordot", lambda ops, x: ops.tensordot(
          x, np.arange(9.0).reshape(3, 3), axes=[[2, 1], [1, 0]]), shape=(3, 3),
          wrong=[{"axes": ((1, 2), (1, 0))}]),
    _case("Tensordot", lambda ops, x: ops.tensordot(CONSTANT, x, axes=[[0], [2]]),
           shape=(3, 3), wrong=[{"axes": ((0,), (1,))}]),
    *(_unwritten("DotProductAttention", lambda ops, q, k, v, o=o: (
          ops.dot_product_attention(q, k, v, **o)), shape=_heads(*n), wrong=w)
      for n, o, w in (
        ((2, 2, 2), {}, [{"is_causal": True}]),
        ((2, 2, 2), {"is_causal": True}, [{"is_causal": False}]),
        ((2, 2, 2), {"scale": 0.3, "bias": np.arange(20.0).reshape(4, 5) / 7}, ()),
        ((2, 2, 2), {"mask": np.arange(20).reshape(1, 1, 4, 5) % 3 > 0}, ()),
        ((4, 2, 2), {}, ()),
    )),
    _unwritten("DotProductAttention", lambda ops, q, k, v, m: (
          ops.dot_product_attention(q, k, v, mask=m[:, None] > 0.1, is_causal=True)),
          shape=[*_heads(2, 2, 2), (4, 5)], wrong=[{"is_causal": False}],
          except_on=dict.fromkeys(("jax", "torch", "numpy"), "a query without a key")),
]  # fmt: skip
