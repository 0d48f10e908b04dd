"""Hash texts as TensorFlow does: FarmHash64, SipHash-2-4 and the hash of a crossing.

All arithmetic is that of unsigned numbers of 64 bits.

Sources: G. Pike, FarmHash, https://github.com/google/farmhash, ``farmhashna::Hash64``;
J.-P. Aumasson and D. J. Bernstein, SipHash: a fast short-input PRF, INDOCRYPT 2012;
tsl/platform/fingerprint.h, ``FingerprintCat64``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

WORD = 2**64 - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_CAT = 0xC6A4A7935BD1E995
CROSSING_KEY = 0xDECAFCAFFE
"""The key of ``tf.sparse.cross_hashed``, unless one is given."""

Pair = tuple[int, int]


def _fetch(data: bytes, start: int, size: int = 8) -> int:
    return int.from_bytes(data[start : start + size], "little")


def _right(value: int, count: int) -> int:
    """Rotate a word to the right."""
    value &= WORD
    return ((value >> count) | (value << (64 - count))) & WORD


def _left(value: int, count: int) -> int:
    return _right(value, 64 - count)


def _mixed(value: int) -> int:
    value &= WORD
    return value ^ (value >> 47)


def _joined(u: int, v: int, factor: int) -> int:
    """Return ``HashLen16`` of two words."""
    a = _mixed(((u ^ v) & WORD) * factor)
    b = _mixed(((v ^ a) & WORD) * factor)
    return b * factor & WORD


def farm_hash(data: bytes) -> int:
    """Return FarmHash64 of some bytes, which TensorFlow calls ``Fingerprint64``."""
    size = len(data)
    if size > 64:
        return _of_many(data)
    factor = _K2 + 2 * size
    if size > 16:
        return _up_to_64(data, factor) if size > 32 else _up_to_32(data, factor)
    if size >= 8:
        a, b = _fetch(data, 0) + _K2, _fetch(data, size - 8)
        c = _right(b, 37) * factor + a
        d = (_right(a, 25) + b) * factor
        return _joined(c & WORD, d & WORD, factor)
    if size >= 4:
        first, last = _fetch(data, 0, 4), _fetch(data, size - 4, 4)
        return _joined(size + (first << 3), last, factor)
    if size:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[-1] << 2)
        return _mixed(y * _K2 ^ z * _K0) * _K2 & WORD
    return _K2


def _halves(data: bytes, factor: int, first: int) -> tuple[int, int, int]:
    """Return the first number of some bytes, and the two that are joined."""
    size = len(data)
    a, b = _fetch(data, 0) * first & WORD, _fetch(data, 8)
    c, d = _fetch(data, size - 8) * factor, _fetch(data, size - 16) * _K2
    u = _right(a + b, 43) + _right(c, 30) + d
    v = a + _right(b + _K2, 18) + c
    return a, u & WORD, v & WORD


def _up_to_32(data: bytes, factor: int) -> int:
    _, u, v = _halves(data, factor, _K1)
    return _joined(u, v, factor)


def _up_to_64(data: bytes, factor: int) -> int:
    size = len(data)
    a, y, v = _halves(data, factor, _K2)
    z = _joined(y, v, factor)
    e, f = _fetch(data, 16) * factor, _fetch(data, 24)
    g = (y + _fetch(data, size - 32)) * factor
    h = (z + _fetch(data, size - 24)) * factor
    u = _right(e + f, 43) + _right(g, 30) + h
    return _joined(u & WORD, e + _right(f + a, 18) + g & WORD, factor)


def _weak(data: bytes, start: int, a: int, b: int) -> Pair:
    """Return ``WeakHashLen32WithSeeds`` of 32 bytes."""
    w, x, y, z = (_fetch(data, start + 8 * k) for k in range(4))
    a += w
    b = _right(b + a + z, 21)
    c = a
    a += x + y
    b += _right(a, 44)
    return (a + z) & WORD, (b + c) & WORD


State = tuple[int, int, int, Pair, Pair]


def _round(data: bytes, start: int, state: State, factor: int, nine: int = 1) -> State:
    """Take 64 bytes into the state; `nine` is 9 in the last round."""
    x, y, z, v, w = state
    fetch = partial(_fetch, data)
    x = _right(x + y + v[0] + fetch(start + 8), 37) * factor
    y = _right(y + v[1] + fetch(start + 48), 42) * factor
    x = (x ^ w[1] * nine) & WORD
    y += v[0] * nine + fetch(start + 40)
    z = _right(z + w[0], 33) * factor
    v = _weak(data, start, v[1] * factor, x + w[0])
    w = _weak(data, start + 32, z + w[1], y + fetch(start + 16))
    return z & WORD, y & WORD, x, v, w


def _of_many(data: bytes) -> int:
    """Return FarmHash64 of more than 64 bytes."""
    y = (81 * _K1 + 113) & WORD
    z = _mixed(y * _K2 + 113) * _K2
    state: State = (81 * _K2 + _fetch(data, 0), y, z, (0, 0), (0, 0))
    end = (len(data) - 1) // 64 * 64
    for start in range(0, end, 64):
        state = _round(data, start, state, _K1)
    x, y, z, v, w = state
    factor = _K1 + ((z & 0xFF) << 1)
    w = (w[0] + ((len(data) - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    last = _round(data, len(data) - 64, (x, y, z, v, w), factor, nine=9)
    x, y, z, v, w = last
    # the round has exchanged x and z already
    u = _joined(v[0], w[0], factor) + _mixed(y) * _K0 + z
    return _joined(u & WORD, _joined(v[1], w[1], factor) + x & WORD, factor)


def sip_hash(data: bytes, key: Sequence[int]) -> int:
    """Return SipHash-2-4 of some bytes with a key of two words."""
    k0, k1 = (int(word) & WORD for word in key)
    v = [
        *(k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D),
        *(k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573),
    ]
    size = len(data)
    padded = data + bytes(7 - size % 8) + bytes([size & 0xFF])
    for start in range(0, len(padded), 8):
        word = _fetch(padded, start)
        v[3] ^= word
        _sip_rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _sip_rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _sip_rounds(v: list[int], count: int) -> None:
    for _ in range(count):
        v[0] = (v[0] + v[1]) & WORD
        v[2] = (v[2] + v[3]) & WORD
        v[1] = _left(v[1], 13) ^ v[0]
        v[3] = _left(v[3], 16) ^ v[2]
        v[0] = _left(v[0], 32)
        v[2] = (v[2] + v[1]) & WORD
        v[0] = (v[0] + v[3]) & WORD
        v[1] = _left(v[1], 17) ^ v[2]
        v[3] = _left(v[3], 21) ^ v[0]
        v[2] = _left(v[2], 32)


def crossed_hash(features: Sequence[int]) -> int:
    """Return the hash of a crossing: that of `CROSSING_KEY` and each feature in turn.

    Parameters
    ----------
    features : sequence of int
        A whole number stands for itself, a text for its `farm_hash`.
    """
    found = CROSSING_KEY
    for feature in features:
        found ^= _CAT ^ (_mixed((feature & WORD) * _CAT) * _CAT & WORD)
        found = _mixed(_mixed(found * _CAT & WORD) * _CAT & WORD)
    return found
