"""Cases for `verify.forward.layers.spectrograms`."""

from __future__ import annotations

from layer_cases.case import Case

SMALL = {"frame_length": 5, "frame_step": 2, "fft_length": 8}
MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")

CASES = [
    *(
        Case("STFTSpectrogram", {**SMALL, "mode": mode}, shape=(17, 2), after=True,
             not_as_onnx="angle" if mode == "angle" else "",
             wrong=[{"frame_step": 3}, {"padding": "same"}, {"expand_dims": True}])
        for mode in MODES
    ),
    Case("STFTSpectrogram", {"frame_length": 6, "mode": "psd"}, shape=(17, 2),
         wrong=[{"mode": "magnitude"}, {"frame_step": 2}]),
    Case("STFTSpectrogram", {**SMALL, "padding": "same", "expand_dims": True},
         shape=(17, 3), wrong=[{"padding": "valid"}]),
    Case("STFTSpectrogram", {**SMALL, "data_format": "channels_first"}, shape=(3, 17),
         compiled=True, wrong=[{"data_format": "channels_last"}]),
    Case("STFTSpectrogram", {**SMALL, "data_format": "channels_first", "mode": "stft",
         "expand_dims": True}, shape=(3, 17), compiled=True),
]  # fmt: skip
