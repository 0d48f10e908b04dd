"""A .pt2 is sifted before torch reads it, so that nothing in it is executed."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import zipfile

import pytest
from support.exported import EXPORTED, inputs_of

import verify
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.runtimes.pt2_archive import MODEL, SAMPLE_INPUTS, sifted
from verify.ports.artefacts.session import open_session
from verify.tolerance.compare import compare

PATH = EXPORTED / "sequence.pt2"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


def members(data) -> dict[str, bytes]:
    with zipfile.ZipFile(data) as archive:
        return {n.partition("/")[2]: archive.read(n) for n in archive.namelist()}


@pytest.fixture
def changed(tmp_path):
    """Write the file with some members changed: bytes, None, or a function of JSON."""

    def write(**changes):
        found = members(PATH)
        for name, change in changes.pop("inside").items():
            if callable(change):
                value = json.loads(found[name])
                change(value)
                found[name] = json.dumps(value).encode()
            elif change is None:
                del found[name]
            else:
                found[name] = change
        path = tmp_path / "m.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in found.items():
                archive.writestr(f"m/{name}", data)
        return path

    return write


def refused(path) -> str:
    with pytest.raises((verify.UnsupportedError, verify.ModelFileError)) as caught:
        sifted(path, "it")
    assert str(caught.value).startswith("it")
    return str(caught.value)


def test_what_is_handed_on_is_data_alone():
    before, after = members(PATH), members(io.BytesIO(sifted(PATH, "it")))
    assert after[SAMPLE_INPUTS] == b"" != before[SAMPLE_INPUTS]
    assert set(before) - set(after) == {".data/serialization_id"}
    for name in after:
        if name not in (MODEL, SAMPLE_INPUTS):
            assert after[name] == before[name]
    nodes = json.loads(after[MODEL])["graph_module"]["graph"]["nodes"]
    assert nodes
    assert not any(node["metadata"] for node in nodes)


def first_node(key, value):
    def change(model):
        model["graph_module"]["graph"]["nodes"][0][key] = value

    return change


def first_payload(key, value):
    def change(config):
        next(iter(config["config"].values()))[key] = value

    return change


@pytest.mark.parametrize(
    "target",
    [
        *("torch.hub.os.system", "torch.load", "torch.ops.aten.save.default"),
        *("torch.ops.aten.from_file.default", "torch.ops.mine.op.default"),
        *("_operator.methodcaller", "_operator.attrgetter", "math.__loader__"),
        *("#mine", "torch.ops.aten.add.Tensor\n", "torch.ops.aten._print.default"),
    ],
)
def test_operators_that_do_more_than_compute_are_refused_by_name(target, changed):
    message = refused(changed(inside={MODEL: first_node("target", target)}))
    assert "torch.export.load would execute" in message
    assert f"the operator {target.strip()}" in message


@pytest.mark.parametrize(
    "text",
    [
        *("__import__('os').system('true')", "s0.__class__", "exec", "(s0)(1)"),
        *("lambda: 1", "open('x')", "s0;s1", "[s0]", "Symbol('a b')", "Max.x"),
    ],
)
def test_expressions_other_than_of_sizes_are_refused(text, changed):
    size = {"as_expr": {"expr_str": text, "hint": None}}
    path = changed(inside={MODEL: first_node("inputs", [{"arg": size}])})
    assert "the expression" in refused(path)

    def change(model):
        model["range_constraints"] = {text: {"min_val": 1, "max_val": 2}}

    assert "the expression" in refused(changed(inside={MODEL: change}))


@pytest.mark.parametrize(
    "text",
    [
        "s77",
        "Symbol('s77', positive=True, integer=True)",
        "Add(Symbol('s77', positive=True, integer=True), Integer(-1))",
        "Max(1, s0 - 1) // 2",
        "FloorDiv(s0, 2)",
    ],
)
def test_expressions_of_sizes_are_left(text, changed):
    size = {"as_expr": {"expr_str": text, "hint": None}}
    sifted(changed(inside={MODEL: first_node("inputs", [{"arg": size}])}), "it")


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ({WEIGHTS: first_payload("use_pickle", True)}, "a pickle (_functional"),
        ({CONSTANTS: first_payload("use_pickle", True)}, "a pickle (lifted_tensor_0)"),
        ({CONSTANTS: first_payload("path_name", "custom_obj_0")}, "a pickle (lifted"),
        ({CONSTANTS: first_payload("path_name", "../../x")}, "a pickle (lifted"),
        ({"data/weights/model.pt": pickle.dumps(1)}, "a pickle (data/weights/model.pt"),
        ({"data/aotinductor/m/m.so": b"\x7fELF"}, "compiled libraries (data/aoti"),
        ({"models/other.json": b"{}"}, "expected one model"),
        ({MODEL: first_node("name", "a(); b")}, "the name a(); b"),
        ({MODEL: first_node("inputs", [{"as_custom_obj": 1}])}, "an object of a class"),
        ({MODEL: lambda m: m.update(guards_code=["exec('x')"])}, "the guard exec"),
        ({MODEL: first_node("in_spec", '[1, {"type": "a.B"}]')}, "Received: a.B"),
        ({MODEL: first_node("parameter_name", 'a"b')}, 'the name a"b'),
        ({MODEL: b"{"}, "is damaged"),
        ({MODEL: None}, "is damaged"),
        ({WEIGHTS: b"[]"}, "is damaged"),
        ({WEIGHTS: b'{"config": []}'}, "is damaged"),
        ({MODEL: b"[]"}, "is damaged"),
    ],
)
def test_what_would_be_executed_or_is_damaged_is_refused(inside, words, changed):
    assert words in refused(changed(inside=inside))


def test_an_archive_of_an_older_torch_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", b"{}")
    assert "written by torch before 2.8" in refused(tmp_path / "m.pt2")


def test_torch_computes_what_the_model_computes_or_is_said_to_be_missing():
    if importlib.util.find_spec("torch") is None:
        with pytest.raises(verify.UnsupportedError) as caught:
            open_session(PATH)
        assert str(caught.value).endswith("pip install 'keras-rnn-verify[torch]'")
        return
    net = verify.load(EXPORTED / "sequence.keras")
    x = inputs_of("sequence", 5)
    with open_session(PATH) as opened:
        (found,) = opened.run({"args_0": x}).values()
        assert compare(found, net.predict(x), allowed=2e-6).matches
        assert not compare(found, net.predict(x[:, ::-1]), allowed=2e-6).matches
        with pytest.raises(RuntimeRefused, match="to be equal to 5, but got 1"):
            opened.run({"args_0": x[:1]})
        constants = opened.constants()
        kernel = constants["_torch_params.lstm/lstm_cell/kernel"]
        assert compare(kernel, net.spec["lstm"].weights["kernel"], allowed=0.0).matches
