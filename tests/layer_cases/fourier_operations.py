"""Cases for `verify.forward.layers.fourier_operations`."""

from __future__ import annotations

from layer_cases.operations import _case

WHOLE = {"sequence_length": 4, "sequence_stride": 2, "fft_length": 6}


def _frequencies(ops, x, **options):
    """A sequence of 8 steps for each row, from its frequencies."""
    parts = ops.stft(ops.transpose(x, (0, 2, 1)), 4, 2, 6, center=False)
    return ops.istft(parts, 4, 2, 6, **options)


def _unwritten(name, call, **kwargs):
    return _case(name, call, not_as_onnx="no form in ONNX that is written", **kwargs)


CASES = [
    _case("RFFT", lambda ops, x: ops.rfft(x), shape=(3, 6)),
    _case("RFFT", lambda ops, x: ops.rfft(x, fft_length=5), shape=(3, 7),
               wrong=[{"fft_length": 4}]),
    _case("RFFT", lambda ops, x: ops.rfft(x, fft_length=9), shape=(6,)),
    _case("IRFFT", lambda ops, a, b: ops.irfft((a, b)), shape=[(3, 5), (3, 5)]),
    _case("IRFFT", lambda ops, a, b: ops.irfft((a, b), fft_length=7),
               shape=[(4,), (4,)], wrong=[{"fft_length": 6}]),
    _case("FFT", lambda ops, a, b: ops.fft((a, b)), shape=[(3, 5), (3, 5)]),
    *(_case("STFT", lambda ops, x, o=o: ops.stft(x, **WHOLE, **o),
                 shape=shape, wrong=wrong)
      for shape, o, wrong in (
        ((11,), {}, [{"sequence_length": 6}, {"sequence_stride": 3},
                     {"fft_length": 8}, {"window": "hamming"}, {"center": False}]),
        ((3, 11), {"window": "hamming", "center": False}, [{"window": None}]),
        ((12,), {"window": None}, ()),
    )),
    *(_unwritten("ISTFT", lambda ops, x, o=o: _frequencies(ops, x, **o), shape=(12, 3),
                 wrong=wrong)
      for o, wrong in (
        ({"center": False}, [{"center": True}, {"sequence_length": 6}]),
        ({"length": 5}, [{"length": 4}, {"window": "hamming"}]),
        ({"window": None}, [{"sequence_stride": 3}, {"fft_length": 8}]),
    )),
    _case("ExtractSequences", lambda ops, x: ops.extract_sequences(x, 3, 2),
               shape=(2, 9), wrong=[{"sequence_length": 2}, {"sequence_stride": 1}]),
]  # fmt: skip
