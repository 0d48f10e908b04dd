"""ONNX, LiteRT and OpenVINO files compute what the models compute, by name."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support import exported
from support.exported import EXPORTED, inputs_of

import verify
from verify.model.dtypes import dtype_of
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.session import open_session
from verify.tolerance.compare import compare

pytestmark = pytest.mark.slow  # each starts a process with a runtime

ALLOWED = 2e-6


def outputs(net, x):
    found = net.predict(x)
    return found if isinstance(found, list) else [found]


def agree(found, expected) -> bool:
    return all(
        compare(a, b, allowed=ALLOWED).matches
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "batches"),
    [
        ("masked.onnx", (1, 5)),
        ("sequence.onnx", (1, 5)),
        ("gru.onnx", (1, 5)),
        ("states.onnx", (1, 5)),
        ("masked.tflite", (1,)),
        ("sequence.tflite", (1,)),
        ("gru.tflite", (1,)),
        ("states.tflite", (1,)),
        ("masked.xml", (1, 5)),
        ("sequence.xml", (1,)),
        ("gru.xml", (1,)),
        ("states.xml", (1, 5)),
    ],
)
def test_a_file_computes_what_the_model_computes(name, batches, capfd):
    model = name.partition(".")[0]
    net = verify.load(EXPORTED / f"{model}.keras")
    with open_session(EXPORTED / name) as opened:
        assert opened.signature.outputs
        for batch in batches:
            x = inputs_of(model, batch, seed=batch)
            parts = x if isinstance(x, list) else [x]
            names = [info.name for info in opened.signature.inputs]
            feeds = dict(zip(sorted(names), parts, strict=True))
            results = opened.run(feeds)
            found = [results[info.name] for info in opened.signature.outputs]
            assert agree(found, outputs(net, x))
            # a port with two rows of a kernel exchanged is told from the right one
            layer = next(each for each in net.spec.layers if "kernel" in each.weights)
            wrong = layer.with_weights(kernel=layer.weights["kernel"][[1, 0, 2]])
            changed = verify.Network(net.spec.with_layer(wrong))
            assert not agree(found, outputs(changed, x))
    assert capfd.readouterr() == ("", "")  # no chatter


@pytest.mark.parametrize("name", ["gru.onnx", "gru.tflite"])
def test_the_length_may_differ_from_call_to_call(name):
    net = verify.load(EXPORTED / "gru.keras")
    with open_session(EXPORTED / name) as opened:
        for time in (6, 9, 1, 6):
            x = inputs_of("gru", 1, time, seed=time)
            (found,) = opened.run({"x": x}).values()
            assert agree([found], outputs(net, x))


@pytest.mark.parametrize("name", ["masked.tflite", "gru.tflite", "sequence.xml"])
def test_a_batch_that_the_file_does_not_take_is_refused_and_then_forgotten(name):
    model = name.partition(".")[0]
    with open_session(EXPORTED / name) as opened:
        (info,) = opened.signature.inputs
        before = opened.run({info.name: inputs_of(model)})
        said = []
        for batch in (2, 5, 2):
            with pytest.raises(RuntimeRefused) as caught:
                opened.run({info.name: inputs_of(model, batch)})
            said.append(str(caught.value))
        assert said[0] == said[2]  # and not what was said before it
        after = opened.run({info.name: inputs_of(model)})
        assert agree(after.values(), before.values())


def test_litert_keeps_a_state_from_call_to_call_until_it_is_renewed():
    x = inputs_of("stateful")
    with open_session(EXPORTED / "stateful.tflite") as opened:
        first, second = (
            opened.run({"x": x})["output_0"],
            opened.run({"x": x})["output_0"],
        )
        assert not agree([second], [first])
        opened.renew()
        assert agree([opened.run({"x": x})["output_0"]], [first])
        net = verify.load(EXPORTED / "stateful.keras")
        y, states = net.predict(x, return_state=True)
        assert agree([first], [y])
        assert agree([second], [net.predict(x, initial_state=states)])


def test_onnx_forgets_the_state_of_a_stateful_model():
    x = inputs_of("stateful")
    with open_session(EXPORTED / "stateful.onnx") as opened:
        (first,), (second,) = (
            opened.run({"x": x}).values(),
            opened.run({"x": x}).values(),
        )
        assert agree([second], [first])


def test_names_decide_not_the_order_of_a_file():
    a, b = inputs_of("states")
    net = verify.load(EXPORTED / "states.keras")
    with open_session(EXPORTED / "states.tflite") as opened:
        found = opened.run({"b": b, "a": a})
        expected = net.predict([a, b])
        assert agree([found[f"output_{k}"] for k in range(3)], expected)
        swapped = opened.run({"a": b, "b": a})
        assert not agree([swapped["output_0"]], [expected[0]])


@pytest.mark.parametrize(
    "name", ["masked.onnx", "masked.tflite", "masked.xml", "states.onnx", "gru.tflite"]
)
def test_every_weight_is_among_the_constants(name):
    net = verify.load(EXPORTED / f"{name.partition('.')[0]}.keras")
    with open_session(EXPORTED / name) as opened:
        constants = opened.constants()
    weights = [w for layer in net.spec.layers for w in layer.weights.values()]
    # gates of ONNX's LSTM come in another order, so the numbers are counted
    numbers = {float(n) for array in constants.values() for n in np.ravel(array)}
    assert weights
    for weight in weights:
        if weight.ndim == 2 and weight.dtype == np.float32:
            assert {float(n) for n in weight.ravel()} <= numbers


@pytest.mark.parametrize("dtype", ["FLOAT16", "BFLOAT16", "INT32", "BOOL", "DOUBLE"])
def test_onnx_takes_and_returns_other_dtypes(dtype, tmp_path):
    from onnx import helper

    info = {"x": (dtype, ["n", 3])}
    node = helper.make_node("Identity", ["x"], ["y"])
    path = exported.save_onnx(
        tmp_path / "m.onnx", [node], info, {"y": (dtype, ["n", 3])}
    )
    with open_session(path) as opened:
        (given,) = opened.signature.inputs
        x = np.array([[1.5, 0, -3]]).astype(dtype_of(given.dtype))
        y = opened.run({"x": x})["y"]
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, x)


# --- what a file may not be


def refused(path, **options) -> str:
    with pytest.raises(verify.VerifyError) as caught:
        open_session(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}")
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("op", "domain", "words"),
    [
        ("Erfc", "", "lacks an operator: .*Erfc"),
        ("Gate", "com.example", "lacks an operator: .*com.example:Gate"),
        ("EPContext", "com.microsoft", "EPContext"),
    ],
)
def test_onnx_operators_that_the_runtime_lacks_are_named(op, domain, words, tmp_path):
    from onnx import helper

    path = exported.save_onnx(
        tmp_path / "m.onnx",
        [helper.make_node(op, ["x"], ["y"], name="n", domain=domain)],
        {"x": ("FLOAT", [1])}, {"y": ("FLOAT", [1])},
        domains={domain: 1} if domain else None,
    )  # fmt: skip
    with pytest.raises(verify.VerifyError, match=words):
        open_session(path)


def external(path, location, **entries):
    """Write an ONNX file whose weight lies in another file."""
    import onnx
    from onnx import helper

    exported.save_onnx(
        path, [helper.make_node("Add", ["x", "w"], ["y"])],
        {"x": ("FLOAT", [3])}, {"y": ("FLOAT", [3])}, {"w": np.ones(3, "float32")},
    )  # fmt: skip
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    path.write_bytes(model.SerializeToString())


def test_onnx_data_in_a_file_beside_it_is_read(tmp_path):
    data = np.arange(3, dtype="float32")
    (tmp_path / "w.data").write_bytes(bytes(8) + data.tobytes())
    external(tmp_path / "m.onnx", "w.data", offset=8, length=12)
    with open_session(tmp_path / "m.onnx") as opened:
        found = opened.run({"x": np.ones(3, "float32")})["y"]
        np.testing.assert_array_equal(found, 1 + data)
        np.testing.assert_array_equal(opened.constants()["w"], data)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("none.data", "the data of w is absent (none.data)"),
        ("", "lies outside the folder of the file"),
        ("/etc/hostname", "lies outside the folder of the file (/etc/hostname)"),
        ("../secret", "lies outside the folder of the file (../secret)"),
        ("inner/../../secret", "lies outside the folder of the file"),
        ("link", "lies outside the folder of the file (link)"),
        ("inner/link", "lies outside the folder of the file (inner/link)"),
        ("inner", "the data of w is not a file (inner)"),
        ("short.data", "is not within the 4 bytes of short.data"),
    ],
)
def test_onnx_data_elsewhere_is_refused(location, words, tmp_path):
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(np.ones(3, "float32").tobytes())
    (folder / "short.data").write_bytes(bytes(4))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner" / "link").symlink_to("../../secret")
    external(folder / "m.onnx", location, length=12)
    assert words in refused(folder / "m.onnx")


def test_onnx_data_in_the_body_of_a_loop_is_looked_at_too(tmp_path):
    import onnx

    path = tmp_path / "m.onnx"
    model = onnx.load(EXPORTED / "masked.onnx")
    (loop,) = [node for node in model.graph.node if node.op_type == "Loop"]
    (body,) = [a.g for a in loop.attribute if a.name == "body"]
    tensor = onnx.numpy_helper.from_array(np.ones(3, "float32"), "inner")
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../w.data"
    body.initializer.append(tensor)
    path.write_bytes(model.SerializeToString())
    assert "lies outside the folder" in refused(path)


def test_damaged_onnx_files_are_told(tmp_path):
    path = tmp_path / "m.onnx"
    data = bytearray((EXPORTED / "masked.onnx").read_bytes())
    data[400:9000] = bytes(8600)
    path.write_bytes(data)
    assert "is damaged" in refused(path)
    import onnx

    model = onnx.load(EXPORTED / "sequence.onnx")
    del model.graph.initializer[:]
    path.write_bytes(model.SerializeToString())
    assert "cannot load it" in refused(path)
    model = onnx.load(EXPORTED / "sequence.onnx")
    model.opset_import[0].version = 999
    path.write_bytes(model.SerializeToString())
    assert "999" in refused(path)


@pytest.fixture
def tflite():
    """The model in masked.tflite as an object, and how to write one."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    data = (EXPORTED / "masked.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))

    def save(path):
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(builder.Output())
        return path

    return model, save


def test_litert_without_a_signature_goes_by_the_names_of_tensors(tflite, tmp_path):
    model, save = tflite
    model.signatureDefs = None
    path = save(tmp_path / "m.tflite")
    x = inputs_of("masked")
    with open_session(path) as opened:
        (given,), (returned,) = opened.signature.inputs, opened.signature.outputs
        assert given.name == "serving_default_ids:0"
        assert "no signature" in opened.signature.notes[0]
        found = opened.run({given.name: x})[returned.name]
        net = verify.load(EXPORTED / "masked.keras")
        assert agree([found], [net.predict(x)])
        with pytest.raises(RuntimeRefused):  # a size that the file does not leave open
            opened.run({given.name: inputs_of("masked", 2)})
        assert agree([opened.run({given.name: x})[returned.name]], [net.predict(x)])


@pytest.mark.parametrize("name", ["FlexTensorListReserve", "MyOwn"])
def test_litert_operators_that_the_runtime_lacks_are_named(name, tflite, tmp_path):
    model, save = tflite
    code = model.operatorCodes[2]
    code.builtinCode = code.deprecatedBuiltinCode = 32
    code.customCode = name
    message = refused(save(tmp_path / "m.tflite"))
    assert f"lacks the operators {name}" in message
    assert ("export it for a fixed batch" in message) is name.startswith("Flex")


@pytest.mark.parametrize("cut", [8, 200, 6000])
def test_damaged_litert_files_are_told(cut, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes((EXPORTED / "masked.tflite").read_bytes()[:cut])
    refused(path)


@pytest.fixture
def openvino_files(tmp_path):
    for suffix in (".xml", ".bin"):
        shutil.copy(EXPORTED / f"masked{suffix}", tmp_path / f"m{suffix}")
    return tmp_path / "m.xml"


def test_openvino_says_in_which_precision_it_computes():
    path = EXPORTED / "masked.xml"
    x = inputs_of("masked", 5)
    with open_session(path) as opened:
        assert "asked to compute in float32" in opened.signature.notes[0]
        (exact,) = opened.run({opened.signature.inputs[0].name: x}).values()
    with open_session(path, precision_hint=None) as opened:
        assert "its choice on this CPU" in opened.signature.notes[0]
    message = refused(path, precision_hint="int3")
    assert "expected one of float32, bfloat16, float16" in message
    assert exact.dtype == np.float32


def test_openvino_converts_no_inputs_in_silence():
    with open_session(EXPORTED / "masked.xml") as opened:
        (info,) = opened.signature.inputs
        with pytest.raises(RuntimeRefused, match="expected dtype int32"):
            opened.run({info.name: inputs_of("masked").astype("float32")})


def test_a_name_that_is_no_text_is_damage(openvino_files):
    data = openvino_files.read_bytes()
    at = data.index(b'name="', data.index(b'type="Sigmoid"') - 200)
    openvino_files.write_bytes(data[: at + 6] + b"\x9b" + data[at + 7 :])
    with (
        pytest.raises(verify.ModelFileError, match="is damaged") as caught,
        open_session(openvino_files) as opened,
    ):
        opened.constants()
    assert len(str(caught.value).splitlines()) == 1


def test_openvino_files_that_are_damaged_or_lack_their_weights(openvino_files):
    xml, weights = openvino_files, openvino_files.with_suffix(".bin")
    text, data = xml.read_text(), weights.read_bytes()
    xml.write_text(text.replace('type="Sigmoid"', 'type="MyOwn"'))
    assert "lacks an operation" in (message := refused(xml))
    assert "MyOwn" in message
    xml.write_text(text[: len(text) // 2])
    refused(xml)
    xml.write_text(text)
    weights.write_bytes(data[:100])
    refused(xml)
    weights.unlink()
    assert refused(xml).endswith("expected its weights in m.bin beside it")
