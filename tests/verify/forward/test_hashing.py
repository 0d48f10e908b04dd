"""FarmHash64 and SipHash against published numbers and against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

from verify.forward.hashing import crossed_hash, farm_hash, sip_hash

KEY = [0x0706050403020100, 0x0F0E0D0C0B0A0908]


def test_sip_hash_is_that_of_the_paper():
    """Appendix A of the paper: 15 bytes from 0 on, and the key from 0 on."""
    assert sip_hash(bytes(range(15)), KEY) == 0xA129CA6149BE45E5


def test_each_byte_and_each_word_of_a_key_counts():
    rng = np.random.default_rng(0)
    for size in (1, 5, 9, 20, 40, 64, 65, 128, 190):
        data = bytes(rng.integers(0, 256, size, dtype=np.uint8))
        for place in range(size):
            other = bytearray(data)
            other[place] ^= 1
            assert farm_hash(data) != farm_hash(bytes(other))
            assert sip_hash(data, KEY) != sip_hash(bytes(other), KEY)
        assert sip_hash(data, KEY) != sip_hash(data, KEY[::-1])
    assert crossed_hash([1, 2]) != crossed_hash([2, 1])


@pytest.mark.keras
def test_the_hashes_are_those_of_tensorflow_for_every_length():
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(1)
    data = [bytes(rng.integers(1, 256, n, dtype=np.uint8)) for n in range(260)]
    bins = 2**62 + 1
    fast = tf.strings.to_hash_bucket_fast(data, bins).numpy().tolist()
    assert [farm_hash(x) % bins for x in data] == fast
    strong = tf.strings.to_hash_bucket_strong(data, bins, [123, -5]).numpy().tolist()
    assert [sip_hash(x, [123, -5]) % bins for x in data] == strong
