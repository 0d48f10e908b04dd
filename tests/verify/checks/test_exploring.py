"""The page of a comparison has the port's gates and states beside NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import UNITS, features, ids, lstm_file, lstm_spec, stateful_net

import verify
from verify import Network
from verify.__main__ import main
from verify.checks.exploring import explored_port
from verify.data.sources import Arrays
from verify.report.page import Exploration


def explored(net: Network, x: np.ndarray, port: dict) -> Exploration | None:
    report = verify.compare_outputs(net, x, port, diagnosis_seconds=0)
    return explored_port(net, Arrays(x), port, report)


def unpacked(packed: dict) -> np.ndarray:
    import base64

    raw = base64.b64decode(packed["data"])
    kinds = {"f4": "<f4", "f8": "<f8", "u1": "u1"}
    return np.frombuffer(raw, kinds[packed["dtype"]]).reshape(packed["shape"])


@pytest.fixture(scope="module")
def right():
    net, x = Network(lstm_spec()), ids(batch=20)
    return net, x, net.trace(x, dtype="float32").arrays()


def test_the_row_of_the_first_difference_is_shown_with_both_values(right):
    net, x, arrays = right
    port = {"lstm/f": arrays["lstm/f"].copy(), "lstm/h@0:3": arrays["lstm/h"][:, :3]}
    port["lstm/f"][17, 2, 1] += 0.1
    data = explored(net, x, port).data
    first = data["port"]["first"]
    assert (first["layer"], first["value"]) == (0, "f")
    assert (first["step"], first["unit"]) == (2, 1)
    assert data["samples"][first["sample"]]["label"].startswith("row 17: ")
    assert float(first["theirs"]) == pytest.approx(float(first["ours"]) + 0.1, rel=1e-4)
    (layer,) = data["layers"]
    assert set(layer["theirs"]) == {"f", "h"}
    rows = [int(s["label"].split(":")[0].split()[1]) for s in data["samples"]]
    assert len(rows) == 8
    theirs = unpacked(layer["theirs"]["f"])
    np.testing.assert_array_equal(theirs, port["lstm/f"][rows])
    differs = unpacked(layer["differs"]["f"])
    assert np.argwhere(differs).tolist() == [[first["sample"], 2, 1]]
    states = unpacked(layer["theirs"]["h"])
    assert states.shape == (8, x.shape[1], UNITS)
    assert np.isnan(states[:, 3:]).all()
    assert not np.isnan(states[:, :3]).any()


def test_gates_of_masked_steps_are_not_marked(right):
    net, x, arrays = right
    skipped = ~arrays["lstm/mask"][..., None]
    port = {"lstm/i": np.where(skipped, 5, arrays["lstm/i"])}
    (layer,) = explored(net, x, port).data["layers"]
    assert not unpacked(layer["differs"]["i"]).any()


def test_a_difference_outside_of_loops_has_no_picture(right):
    net, x, arrays = right
    port = {"dense/logits": arrays["dense/logits"].copy()}
    port["dense/logits"][3, 1] += 0.1
    assert explored(net, x, port).data["port"]["first"]["layer"] is None


def test_outputs_alone_and_stateful_models_show_numpy_alone(right):
    net, x, _ = right
    report = verify.compare_outputs(net, x, net.predict(x))
    assert explored_port(net, Arrays(x), net.predict(x), report).data["port"] is None
    net, x = stateful_net("GRU", 2, return_sequences=True), features(batch=4)
    data = explored(net, x, {"rnn/h": net.predict(x)}).data
    assert data["port"] is None
    assert any("the model it depends on others" in note for note in data["notes"])


def test_the_command_writes_the_page(tmp_path, capsys, right):
    _, x, arrays = right
    model = lstm_file(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "port.npz", **{"lstm/h": arrays["lstm/h"] + 1})
    page = tmp_path / "page.html"
    arguments = ["compare", f"{model}", "--data", f"{tmp_path / 'x.npy'}", "--html"]
    rest = ["--outputs", f"{tmp_path / 'port.npz'}", "--diagnosis-seconds", "0"]
    assert main([*arguments, f"{page}", *rest]) == 1
    assert "the port" in page.read_text(encoding="utf-8")
    assert main([*arguments, f"{tmp_path / 'page.txt'}", *rest]) == 2
    assert "--html" in capsys.readouterr().err
