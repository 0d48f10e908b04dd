"""What exporters lose of a model is said of the layers that have the option, alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nets import INPUTS, TIME, UNITS, input_layer, layer, lstm_spec, spec

import verify
from verify import Network
from verify.model.conventions import export_warning, losses


def recurrent(class_name="LSTM", steps=TIME, mask=False, batch=None, **options):
    """A spec of one recurrent layer."""
    masking = [layer("Masking", "masking", mask_value=0.0)] if mask else []
    return spec(
        input_layer(batch, steps, INPUTS),
        *masking,
        layer(class_name, "loop", units=UNITS, **options),
    )


def test_a_plain_lstm_loses_nothing():
    assert losses(recurrent()) == []
    assert losses(lstm_spec()) == []
    assert export_warning(recurrent()) == []
    assert "Leaving Keras" not in verify.describe(Network(recurrent()))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": None}, "LSTM 'loop', time axis None: the ONNX export of Keras 3.15"),
        ({"batch": 2, "stateful": True}, "LSTM 'loop', stateful: the ONNX export"),
        ({"go_backwards": True}, "LSTM 'loop', go_backwards: hls4ml"),
        ({"class_name": "GRU", "reset_after": False}, "GRU 'loop', reset_after=False"),
        ({"class_name": "SimpleRNN"}, "SimpleRNN 'loop': hls4ml"),
        ({"class_name": "GRU", "activation": "gelu"}, "GRU 'loop', activation gelu"),
        (
            {"steps": None, "mask": True},
            "LSTM 'loop', masked, time axis None: the",
        ),
    ],
)
def test_each_option_has_its_line_and_nothing_without_it_has(options, says):
    assert any(line.startswith(says) for line in losses(recurrent(**options)))
    plain = {"class_name": "GRU"} if options.get("class_name") == "GRU" else {}
    assert not any(line.startswith(says) for line in losses(recurrent(**plain)))


def test_silent_losses_come_first():
    lines = losses(recurrent("SimpleRNN", go_backwards=True))
    refused = [k for k, line in enumerate(lines) if "cannot load" in line]
    assert refused == [len(lines) - 1]


def test_the_backward_layer_of_a_bidirectional_is_not_taken_for_go_backwards():
    alone = recurrent(go_backwards=True)
    loop = alone.root.sublayers["loop"]
    both = replace(
        loop, name="both", class_name="Bidirectional", options={},
        sublayers={"backward_layer": loop},
    )  # fmt: skip
    layers = {"input": alone.root.sublayers["input"], "both": both}
    inside = replace(alone, root=replace(alone.root, sublayers=layers))
    assert any("go_backwards: hls4ml" in line for line in losses(alone))
    assert not any("go_backwards" in line for line in losses(inside))


def test_a_check_warns_in_one_line_of_what_goes_silently_wrong_on_its_backend():
    assert export_warning(recurrent(steps=None)) == []
    (line,) = export_warning(recurrent(steps=None).on("torch"))
    assert "reads only the first step" in line
    assert "rnn-verify describe" in line
    assert export_warning(recurrent("SimpleRNN")) == []  # hls4ml alone
    (line,) = export_warning(recurrent(batch=2, stateful=True))
    assert ", and 1 more" in line


def test_describe_ends_in_what_exporters_lose():
    text = verify.describe(Network(recurrent(steps=None)))
    assert "\n\nLeaving Keras: " in text
    assert text.endswith("reads only the first step, at every length")


def test_a_check_counts_only_what_goes_wrong_without_a_warning():
    (line,) = export_warning(recurrent(batch=2, stateful=True, activation="gelu"))
    assert ", and 1 more" in line
