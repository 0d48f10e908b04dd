"""Models that follow the rules of Keras 3.16 are written so, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import INPUTS, ids, input_layer, layer, rnn, spec, word_net

import verify
from verify import Network, Verdict
from verify.errors import UnsupportedError
from verify.model.versions import REFERENCE, VersionRule

LATER = frozenset(VersionRule)
STACKED = rnn("LSTM", "first", return_sequences=True), rnn("GRU", "second")


@pytest.mark.slow
def test_a_mask_ends_in_the_file_where_it_ends_in_the_model(tmp_path) -> None:
    ort = pytest.importorskip("onnxruntime")
    x, outputs = ids(), []
    for rules in (REFERENCE, LATER):
        net = Network(word_net(*STACKED)).by_version(rules)
        path = tmp_path / f"{len(rules)}.onnx"
        verify.convert(net, "onnx", path)
        session = ort.InferenceSession(str(path))
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
        assert np.allclose(y, net.predict(x), rtol=0, atol=1e-5)
        report = verify.compare_exported(net, path)
        assert report.verdict is Verdict.PASS
        said = [text for text in report.warnings if "the mask ends at" in text]
        assert bool(said) == bool(rules)
        assert all("Keras 3.16: the mask ends at Layer 'first'" in t for t in said)
        outputs.append(y)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-4


def test_what_is_written_as_in_3_15_alone_is_refused_by_name(tmp_path) -> None:
    dense = layer("Dense", "dense", units=4, activation="sparsemax")
    net = Network(spec(input_layer(None, INPUTS), dense)).by_version(LATER)
    path = tmp_path / "m.onnx"
    with pytest.raises(UnsupportedError) as caught:
        verify.convert(net, "onnx", path)
    assert "'dense' (Dense): it is written as in Keras 3.15 alone" in str(caught.value)
    assert "sparsemax is that of the paper" in str(caught.value)
    assert not path.exists()
