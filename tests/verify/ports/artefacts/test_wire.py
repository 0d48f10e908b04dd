"""Messages with arrays arrive as they were sent, or are refused."""

from __future__ import annotations

import io
import json

import ml_dtypes
import numpy as np
import pytest

import verify
from verify.ports.artefacts import wire

ARRAYS = {
    "x": np.random.default_rng(0).normal(size=(2, 3)).astype("float32"),
    "turned": np.arange(6.0).reshape(2, 3).T,
    "half": np.linspace(-1, 1, 5).astype(ml_dtypes.bfloat16),
    "scalar": np.array(7, "int64"),
    "none": np.zeros((0, 4), "float16"),
    "true": np.array([True, False]),
    "nan": np.array([np.nan, np.inf]),
}


def sent(header, arrays):
    stream = io.BytesIO()
    wire.send(stream, header, arrays)
    return stream.getvalue()


def test_arrays_arrive_with_dtype_shape_and_bits():
    header, arrays = wire.receive(io.BytesIO(sent({"a": [1, None, "x"]}, ARRAYS)))
    assert header == {"a": [1, None, "x"]}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()
        arrays[name][...] = 0  # may be written to


def test_messages_follow_one_another():
    stream = io.BytesIO(sent({"k": 1}, ARRAYS) + sent({"k": 2}, {}))
    assert wire.receive(stream)[0] == {"k": 1}
    assert wire.receive(stream) == ({"k": 2}, {})


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None])])
def test_what_is_no_number_is_not_sent(array):
    stream = io.BytesIO()
    with pytest.raises(verify.DataError, match="x: expected numbers"):
        wire.send(stream, {}, {"x": array})
    assert stream.getvalue() == b""


@pytest.mark.parametrize("cut", [0, 3, 20, -1])
def test_a_message_that_ends_early_is_refused(cut):
    with pytest.raises(wire.StreamEnded):
        wire.receive(io.BytesIO(sent({}, ARRAYS)[:cut]))


@pytest.mark.parametrize(
    "text",
    [
        *("no JSON", "[]", "{}", '{"header": 3, "arrays": []}'),
        *(
            json.dumps({"header": {}, "arrays": [["x", dtype, shape]]})
            for dtype, shape in [
                *(("object", [1]), ("float32", [-1]), ("float32", [2**40])),
                *(("float32", "ab"), ("float32", [None])),
            ]
        ),
    ],
)
def test_what_is_no_message_is_refused(text):
    data = text.encode()
    with pytest.raises(wire.WireError):
        wire.receive(io.BytesIO(wire.LENGTH.pack(len(data)) + data + bytes(64)))


def test_a_header_that_claims_too_much_is_refused():
    with pytest.raises(wire.WireError, match="expected a message"):
        wire.receive(io.BytesIO(wire.LENGTH.pack(2**60)))
