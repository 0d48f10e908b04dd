"""The page, without a browser: what stands in it, what it refuses, how it grows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    OUTPUTS,
    TIME,
    UNITS,
    features,
    ids,
    input_layer,
    layer,
    lstm_spec,
    mutated,
    spec,
)  # fmt: skip

import verify
from verify import DataError, Network
from verify.forward.layers.regularization import KINDS as TRAINING_ONLY
from verify.report.page import (
    Sample,
    Summary,
    Table,
    TextRules,
    explore,
    recording,
    render,
)
from verify.report.page.export import WRITERS, Refused, exported
from verify.report.page.packing import pack_array, script_json
from verify.report.page.render import SCRIPT_FILES
from verify.report.report import read_report

TYPES = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "u1": "u1"}


def unpacked(content: dict) -> np.ndarray:
    raw = base64.b64decode(content["data"])
    return np.frombuffer(raw, TYPES[content["dtype"]]).reshape(content["shape"])


def report(x=None) -> verify.Report:
    net = Network(lstm_spec())
    x = ids(batch=32) if x is None else x
    return verify.compare_outputs(net, x, net.predict(x))


class Collector(HTMLParser):
    """The tags of a page with their attributes, and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inside.append(data)


# ---- packing


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_arrays_come_out_of_the_page_as_they_went_in(dtype):
    array = (np.random.default_rng(0).normal(size=(3, 4)) * 5).astype(dtype)
    there = unpacked(pack_array(array))
    assert there.shape == (3, 4)
    assert np.array_equal(there, array)


def test_recorded_numbers_are_rounded_to_float32_unless_they_would_overflow():
    assert pack_array(np.array([1 / 3]), exact=False)["dtype"] == "f4"
    assert pack_array(np.array([1 / 3]))["dtype"] == "f8"
    assert pack_array(np.array([1e300]), exact=False)["dtype"] == "f8"
    assert unpacked(pack_array(np.array([1e300]), exact=False))[0] == 1e300


@pytest.mark.parametrize(
    "text", ["</script>", "<!--", "<script>", "\u2028\u2029", "&lt;", "\ud800"]
)
def test_nothing_in_the_json_can_end_its_element(text):
    written = script_json({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert written.isascii()
    assert not set("<>&") & set(written)


# ---- the document


def test_a_page_without_explorer_has_no_script_and_allows_none():
    page = report().to_html()
    assert "<script" not in page
    assert "script-src 'none'" in page
    assert "default-src 'none'" in page


def test_the_policy_names_the_checksums_of_what_is_in_the_page():
    net = Network(lstm_spec())
    page = report().to_html(explore(net, ids()))
    collected = Collector(page)
    (policy,) = [a["content"] for t, a in collected.tags if a.get("http-equiv")]
    style, content, script = collected.inside
    for text in (style, script):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert json.loads(content)["samples"]
    assert "unsafe" not in policy
    for tag, attributes in collected.tags:
        outside = {"src", "action", "onclick", "style"} & attributes.keys()
        assert not outside, tag
        assert attributes.get("href", "data:,") == "data:,"


def test_the_script_could_stand_in_any_page():
    from importlib import resources

    for name in (*SCRIPT_FILES, "page.css"):
        text = resources.files("verify.report.page").joinpath(name).read_text()
        assert not re.search(r"</(script|style)|<!--", text, re.IGNORECASE)
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "fetch("):
            assert word not in text, name
        assert "@import" not in text
        assert "url(" not in text
        assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_every_script_in_the_folder_is_part_of_the_page():
    from importlib import resources

    folder = Path(str(resources.files("verify.report.page")))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.js")}
    assert found == set(SCRIPT_FILES)


def test_names_and_texts_are_escaped_wherever_they_stand():
    evil = '<img src=x onerror="alert(1)">'
    summary = Summary(
        "PASS", evil, evil, {evil: evil}, (evil,), (Table(evil, (evil,), ((evil,),)),),
        (evil,),
    )  # fmt: skip
    net = Network(lstm_spec())
    shown = explore(net, ids(), samples=[Sample(evil, evil, evil)] * 5, classes=[evil])
    page = render(summary, shown)
    assert "<img" not in page
    assert page.count("&lt;img src=x") == 12


def test_the_facts_and_the_mismatch_of_a_failure_are_shown():
    net = Network(lstm_spec())
    port = mutated(net.spec, "gate order i,c,f,o").predict(ids(batch=32))
    failed = verify.compare_outputs(net, ids(batch=32), port)
    page = failed.to_html()
    assert 'class="verdict fail">FAIL' in page
    assert "greatest |diff|" in page
    assert "compared" in page


# ---- what is recorded


def test_every_gate_and_state_is_recorded_as_numpy_has_it():
    net = Network(lstm_spec())
    data = explore(net, ids()).data
    trace = net.trace(ids(), dtype="float64")
    (lstm,) = data["layers"]
    assert list(lstm["values"]) == ["i", "f", "c_hat", "o", "c", "h"]
    for name, values in lstm["values"].items():
        assert np.array_equal(unpacked(values), trace["lstm"][name].astype(np.float32))
    assert np.array_equal(unpacked(lstm["mask"]), trace["lstm"].mask)
    assert np.array_equal(unpacked(data["output"]), trace.output.astype(np.float32))
    assert data["refused"] == ""


def test_the_answers_on_the_way_are_those_of_the_beginnings_of_a_row():
    net = Network(lstm_spec())
    data = explore(net, ids()).data
    running = unpacked(data["running"])
    assert running.shape == (5, TIME, OUTPUTS)
    dense = net.spec["dense"].weights
    h = net.trace(ids(), dtype="float64")["lstm"].h
    logits = h @ dense["kernel"] + dense["bias"]
    e = np.exp(logits)
    assert np.abs(running - e / e.sum(-1, keepdims=True)).max() < 1e-6


def test_the_answers_of_a_model_with_an_output_a_step_are_its_outputs():
    net = Network(lstm_spec(return_sequences=True))
    data = explore(net, ids()).data
    assert data["answers"] == "each"
    assert data["running"] == data["output"]


def test_a_model_that_needs_all_its_steps_has_no_answers_on_the_way():
    net = Network(
        spec(
            input_layer(None, TIME, INPUTS),
            layer("SimpleRNN", "rnn", units=TIME, return_sequences=True),
            layer("Flatten", "flatten"),
        )
    )
    # Flatten alone gives outputs of another length for every beginning of a row
    data = explore(net, features()).data
    assert data["running"] is None
    assert data["no_answers"] == "the model needs all its steps"


def test_rows_with_nan_are_left_out_and_named():
    net = Network(lstm_spec(activation="exponential", recurrent_activation="linear"))
    wild = net.spec["lstm"]
    wild = wild.with_weights(kernel=wild.weights["kernel"] * 1e4)
    data = explore(Network(net.spec.with_layer(wild)), ids()).data
    finite = len(data["samples"])
    assert finite < 5
    assert f"{5 - finite} row(s) are left out: NaN or infinite values" in data["notes"]
    assert all(
        np.isfinite(unpacked(v)).all() for v in data["layers"][0]["values"].values()
    )


def test_rows_are_numbered_and_show_their_first_ids():
    data = explore(Network(lstm_spec()), ids()).data
    assert data["samples"][0]["label"].startswith("row 0: ")
    assert data["samples"][0]["label"].endswith(" 0 0 0")
    only = Network(
        spec(input_layer(None, TIME, INPUTS), layer("GRU", "g", units=UNITS))
    )
    assert explore(only, features()).data["samples"][1]["label"] == "row 1"


def test_a_stateful_model_and_a_rounding_one_say_what_is_shown():
    notes = explore(Network(lstm_spec(stateful=True)), ids()).data["notes"]
    assert any("stateful" in note for note in notes)
    half = lstm_spec().root.mapped(lambda x: replace(x, policy="mixed_float16"))
    notes = explore(Network(replace(lstm_spec(), root=half)), ids()).data["notes"]
    assert any("mixed_float16" in note for note in notes)


def test_values_of_a_check_that_has_not_passed_come_with_a_caution():
    net = Network(lstm_spec())
    assert report().cautions() == ()
    failed = replace(report(), verdict=verify.Verdict.FAIL)
    notes = explore(net, ids(), notes=failed.cautions()).data["notes"]
    assert notes == [
        "The values are NumPy's, and the verdict is FAIL: those of theirs may be others"
    ]


# ---- limits


def test_so_many_rows_as_asked_for_and_no_more():
    net = Network(lstm_spec())
    assert len(explore(net, ids(batch=20)).data["samples"]) == recording.DEFAULT_ROWS
    assert len(explore(net, ids(batch=20), rows=3).data["samples"]) == 3


def test_recorded_values_have_a_limit_first_in_rows_then_in_units(monkeypatch):
    net = Network(lstm_spec())
    one = 6 * TIME * UNITS * 4  # bytes of a row
    monkeypatch.setattr(recording, "MAX_RECORDED_BYTES", 2 * one)
    data = explore(net, ids()).data
    assert len(data["samples"]) == 2
    assert data["layers"][0]["kept"] == UNITS
    monkeypatch.setattr(recording, "MAX_RECORDED_BYTES", one // 2)
    data = explore(net, ids()).data
    assert len(data["samples"]) == 1
    assert data["layers"][0]["kept"] == UNITS // 2
    assert unpacked(data["layers"][0]["values"]["h"]).shape == (1, TIME, UNITS // 2)


def test_large_weights_are_not_put_into_a_page(monkeypatch):
    from verify.report.page import export

    net = Network(lstm_spec())
    monkeypatch.setattr(export, "MAX_WEIGHT_BYTES", 100)
    data = explore(net, ids()).data
    assert data["model"] is None
    assert "not put into a page" in data["refused"]
    assert len(data["layers"]) == 1


def test_a_model_that_takes_too_long_is_not_computed_by_the_page(monkeypatch):
    from verify.report.page import export

    monkeypatch.setattr(export, "MAX_PRODUCTS", 10)
    data = explore(Network(lstm_spec()), ids()).data
    assert data["model"] is None
    assert "too large" in data["refused"]


def test_very_long_sequences_are_refused():
    net = Network(spec(input_layer(None, None, INPUTS), layer("GRU", "g", units=2)))
    with pytest.raises(DataError, match=r"2,000 steps or fewer.*Received: 2,001"):
        explore(net, np.zeros((1, 2001, INPUTS), np.float32))


def test_a_model_that_amplifies_rounding_is_not_held_against_numpy():
    net = Network(spec(input_layer(None, 300, 3), layer("SimpleRNN", "r", units=32)))
    rnn = net.spec["r"]
    wild = rnn.with_weights(recurrent_kernel=rnn.weights["recurrent_kernel"] * 3)
    x = np.random.default_rng(0).normal(size=(2, 300, 3)).astype(np.float32)
    data = explore(Network(net.spec.with_layer(wild)), x).data
    assert data["model"] is None
    assert "amplifies rounding" in data["refused"]


def test_characters_that_no_file_can_hold_are_replaced():
    table = Table("\ud800", ("name",), [("\ud800",)])
    summary = Summary("PASS", "\ud800", "\ud800", detail=["\ud800"], tables=[table])
    page = render(summary).encode().decode()
    assert page.count("\N{REPLACEMENT CHARACTER}") >= 5


def test_a_neighbour_that_overflows_allows_nothing(monkeypatch):
    net = Network(lstm_spec())
    lost = net.spec["lstm"].with_weights(bias=np.full(4 * UNITS, np.nan))
    lost = Network(net.spec.with_layer(lost))
    monkeypatch.setattr(recording, "perturbed", lambda *_: lost)
    data = explore(net, ids()).data
    assert data["model"] is None
    assert "amplifies rounding" in data["refused"]
    assert script_json(dict(data))


def test_differences_are_measured_beside_the_greatest_number_of_their_row():
    a = np.array([[1e-4, 0.0], [50.0, 1e-4], [0.0, 0.0]])
    b = a + np.array([[1e-10, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert recording._apart(a, b) == pytest.approx(1e-6, rel=1e-3)
    assert recording._apart(a, a) == 0
    c = a + np.array([[0.0, 0.0], [5e-3, 0.0], [0.0, 0.0]])
    assert recording._apart(a, c) == pytest.approx(1e-4)


def test_the_page_of_a_small_model_is_small():
    page = report().to_html(explore(Network(lstm_spec()), ids()))
    assert len(page) < 90_000


# ---- refusals

REFUSED = {
    "Conv1D": [layer("Conv1D", "bad", filters=2, kernel_size=2)],
    "unrolled, backwards and zeroes": [
        layer(
            "LSTM",
            "bad",
            units=UNITS,
            unroll=True,
            go_backwards=True,
            return_sequences=True,
            zero_output_for_mask=True,
        )
    ],
    "softmax along axis (1,)": [
        layer("GRU", "g", units=UNITS, return_sequences=True),
        layer("Softmax", "bad", axis=1),
    ],
    "mask_value 0.1": [layer("Masking", "bad", mask_value=0.1)],
    "data_format": [
        layer("GRU", "g", units=UNITS, return_sequences=True),
        layer("GlobalMaxPooling1D", "bad", data_format="channels_first"),
    ],
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_the_page_does_not_compute_is_refused_by_name(reason):
    net = Network(spec(input_layer(None, TIME, INPUTS), *REFUSED[reason]))
    data = explore(net, features()).data
    assert data["model"] is None
    assert reason in data["refused"]
    if reason == "Conv1D":
        assert "Layer 'bad' (Conv1D)" in data["refused"]


def test_a_layer_that_returns_its_states_too_is_refused():
    net = Network(lstm_spec())
    lstm = net.spec["lstm"].with_options(return_state=True)
    data = explore(Network(net.spec.with_layer(lstm)), ids()).data
    assert data["refused"] == "Layer 'lstm' (LSTM) returns its states too"


def test_other_equations_are_refused():
    lstm = lstm_spec()["lstm"].with_overrides(step=lambda *_, **__: None)
    net = Network(lstm_spec())
    wrong = Network(net.spec.with_layer(lstm))
    with pytest.raises(Refused, match="other equations"):
        exported(wrong, net.trace(ids()))


def test_every_layer_that_is_exported_is_one_that_the_engine_knows():
    from importlib import resources

    engine = resources.files("verify.report.page").joinpath("engine.js").read_text()
    kinds = set(WRITERS) - {"ReLU", "LeakyReLU", "ELU", "Softmax", "RNN", "Identity"}
    for kind in kinds - {kind.class_name for kind in TRAINING_ONLY}:
        assert re.search(rf"\b{kind}\b", engine) or kind == "TimeDistributed", kind


# ---- a report read back


def test_a_report_comes_back_from_its_json():
    net = Network(lstm_spec())
    x = ids(batch=32)
    port = mutated(net.spec, "gate order i,c,f,o")
    for outputs in (net.predict(x), port.predict(x)):
        first = verify.compare_outputs(net, x, outputs)
        again = read_report(json.loads(first.to_json()))
        assert again.to_text() == first.to_text()
        assert again.to_html() == first.to_html()


def test_a_report_of_a_version_without_presentations_is_read():
    net, x = Network(lstm_spec()), ids(batch=32)
    port = mutated(net.spec, "gate order i,c,f,o")
    content = json.loads(verify.compare_outputs(net, x, port.predict(x)).to_json())
    del content["diagnosis"]["untried"]
    for found in content["diagnosis"]["explanations"]:
        del found["presentation"]
    assert "gates read in the order i,c,f,o" in read_report(content).to_text()


@pytest.mark.parametrize(
    "damage",
    [
        {"verdict": "FINE"},
        {"layers": [{"name": 3}]},
        {"numerics": None},
        {"warnings": "many"},
        {"noise": "loud"},
        {"facts": []},
        {"layers": 7},
        {"verdict": "FAIL", "proof": None, "diagnosis": {"tried": 1}},
    ],
)
def test_a_damaged_report_is_one_line(damage):
    content = json.loads(report().to_json()) | damage
    with pytest.raises(DataError, match=r"^expected the report of a verification"):
        read_report(content)


def test_text_rules_are_plain_values():
    rules = TextRules(("a", "b"), ("the",), 4, "pre", False)
    data = explore(Network(lstm_spec()), ids(), text=rules).data
    assert data["text"]["words"] == ["a", "b"]
    assert data["text"]["padding"] == "pre"
