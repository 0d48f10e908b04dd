"""Layer types of users: found by name, computed, refused with file and line."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from support.nets import UNITS, features
from support.own_layers import OWN, own_file

import verify
from verify import DataError, UnsupportedError
from verify.__main__ import main
from verify.forward.layers import REGISTRY
from verify.forward.own_layers import load_layers


@pytest.fixture(autouse=True)
def forget():
    with verify.registering():
        yield


FILE = """
import verify

@verify.register("mine>ReversedLSTM")
class ReversedLSTM(verify.layer_type("LSTM")):
    def call(self, run, layer, sequences, initial_state=None, mask=None):
        return super().call(run, layer, sequences[:, ::-1], initial_state, mask)
"""


def test_a_registered_layer_is_read_and_computed(tmp_path):
    path, weights = own_file(tmp_path / "m.keras")
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    assert load_layers(str(file)) == [OWN]
    net = verify.load(path)
    own = net.spec["own"]
    assert (own.class_name, own.own_class) == (OWN, "ReversedLSTM")
    np.testing.assert_array_equal(own.weights["kernel"], weights[1][0])
    x = features()
    before = net.trace(x)["lstm"].output
    plain = verify.load(path, base_classes={"ReversedLSTM": "LSTM"})
    call = {"kwargs": {}, "dtype": None}
    (theirs,) = net.call_layer("own", [before], **call)
    (expected,) = plain.call_layer("own", [before[:, ::-1]], **call)
    np.testing.assert_array_equal(theirs, expected)
    assert verify.compare_outputs(net, x, net.predict(x)).verdict == "PASS"
    assert verify.compare_outputs(net, x, plain.predict(x)).verdict == "FAIL"


def test_layers_of_equal_class_names_have_weights_of_their_own(tmp_path):
    path, weights = own_file(tmp_path / "m.keras", name="LSTM")

    @verify.register("mine>LSTM")
    class Own(verify.layer_type("LSTM")):
        pass

    # both are saved as layers/lstm, the second as layers/lstm_1
    net = verify.load(path)
    np.testing.assert_array_equal(net.spec["own"].weights["kernel"], weights[1][0])


def test_a_name_without_a_package_is_found_in_any(tmp_path):
    path, _ = own_file(tmp_path / "m.keras")

    @verify.register("ReversedLSTM")
    class Own(verify.layer_type("LSTM")):
        pass

    assert verify.load(path).spec["own"].class_name == "ReversedLSTM"
    verify.unregister("ReversedLSTM")
    with pytest.raises(UnsupportedError, match="this custom class is not supported"):
        verify.load(path)
    with pytest.raises(DataError, match="nothing is registered"):
        verify.unregister("ReversedLSTM")


def test_what_is_registered_is_forgotten_after_the_with():
    with verify.registering():
        verify.register(OWN)(verify.layer_type("LSTM"))
        assert OWN in REGISTRY
        assert list(REGISTRY)[-1] == OWN
    assert OWN not in REGISTRY
    assert "unread" not in REGISTRY


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("LSTM", verify.LayerType, "LSTM is a layer of Keras"),
        ("mine>", verify.LayerType, "expected a name such as"),
        (3, verify.LayerType, "name: expected a text. Received: 3"),
        (OWN, dict, "expected a subclass of verify.LayerType"),
        (OWN, verify.LayerType, "abstract"),
    ],
)
def test_what_cannot_be_registered_is_refused(name, kind, message):
    with pytest.raises(DataError, match=message):
        verify.register(name)(kind)


def test_a_name_is_registered_once_except_by_the_same_class_again():
    def define():
        @verify.register(OWN)
        class Own(verify.layer_type("LSTM")):
            pass

    define()
    define()
    with pytest.raises(DataError, match="is registered already, in"):

        @verify.register(OWN)
        class Other(verify.layer_type("GRU")):
            pass


def test_keras_class_is_a_class_or_a_function():
    with pytest.raises(DataError, match=r"as keras_class\. Received: 3"):
        verify.register(OWN, keras_class=3)
    with pytest.raises(DataError, match="Did you mean LSTM"):
        verify.layer_type("lstm")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def call(", "mine.py, line 1, in <module>|SyntaxError"),
        ("1 / 0", "mine.py, line 1, in <module>: ZeroDivisionError"),
        ("raise SystemExit(0)", "mine.py, line 1, in <module>: SystemExit: 0"),
        ("x = 1", "it registers no layer"),
        (
            "import verify\n@verify.register('LSTM')\nclass A(verify.LayerType): pass",
            "mine.py, line 2, in <module>: DataError: verify.register: LSTM is a layer",
        ),
    ],
)
def test_a_file_that_fails_is_refused_with_the_line(tmp_path, body, message, capsys):
    path, _ = own_file(tmp_path / "m.keras")
    file = tmp_path / "mine.py"
    file.write_text(body)
    assert main(["describe", str(path), "--layers", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert any(part in line for part in message.split("|"))


def test_a_file_that_is_not_there_is_refused(tmp_path, capsys):
    path, _ = own_file(tmp_path / "m.keras")
    for name, found in (("none.py", "no such file"), (".", "a folder")):
        file = str(tmp_path / name)
        assert main(["describe", str(path), "--layers", file]) == 2
        assert f"Received: {found}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            "def call(self, run, layer, inputs): return inputs @ 3",
            "in call: ValueError",
        ),
        (
            "def call(self, run, layer, inputs): raise KeyError('k')",
            "in call: KeyError: 'k'",
        ),
        (
            "def call(self, run, layer, inputs): return None",
            "expected call to return an array",
        ),
        (
            "def call(self, run, layer, inputs): return inputs\n"
            "    def weight_shapes(self, options): return options.nothing",
            "in weight_shapes: AttributeError",
        ),
        (
            "def call(self, run, layer, x, other): return x",
            "mine.py: TypeError: Own.call() missing 1 required positional argument",
        ),
        (
            "options = {}\n    def call(self, run, layer, inputs): return inputs",
            "Name it in options or inert of its LayerType (mine.py)",
        ),
    ],
)
def test_an_error_in_the_users_code_is_told_with_its_line(
    tmp_path, method, message, capsys
):
    path, _ = own_file(tmp_path / "m.keras")
    file = tmp_path / "mine.py"
    head = (
        "import verify\n"
        "@verify.register('mine>ReversedLSTM')\n"
        "class Own(verify.LayerType):\n"
        "    inert = frozenset({'units', 'return_sequences'})\n"
        "    weight_groups = ('cell',)\n"
        "    def weight_shapes(self, options):\n"
        f"        return dict(k=({UNITS}, {4 * UNITS}), r=({UNITS}, {4 * UNITS}), "
        f"b=({4 * UNITS},))\n"
    )
    if method.startswith("options"):
        head = head.replace("frozenset({'units', 'return_sequences'})", "frozenset()")
    file.write_text(textwrap.dedent(head) + f"    {method}\n")
    assert main(["describe", str(path), "--layers", str(file)]) in (2, 3)
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith(
        "mine.py runs as code of yours: 1 layer registered (mine>ReversedLSTM)"
    )
    assert message in said[-1]
    if message.startswith("in call"):
        assert "Layer 'own' (mine>ReversedLSTM): mine.py, line 8, in call" in said[-1]


def test_the_command_forgets_its_layers(tmp_path, capsys):
    path, _ = own_file(tmp_path / "m.keras")
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    for _ in range(2):
        assert main(["describe", str(path), "--layers", str(file)]) == 0
        out, err = capsys.readouterr()
        assert "own (mine>ReversedLSTM)  (batch, 6, 4) -> (batch, 6, 4)" in out
        assert err.count("runs as code of yours") == 1
    assert OWN not in REGISTRY
    assert main(["describe", str(path)]) == 3


@pytest.mark.parametrize("how", ["inputs.tolist()", "np.asarray(inputs, dtype=float)"])
def test_code_whose_operations_are_not_recorded_is_compared_all_the_same(tmp_path, how):
    path, _ = own_file(tmp_path / "m.keras")

    @verify.register(OWN)
    class Own(verify.LayerType):
        inert = frozenset({"units", "return_sequences"})
        weight_groups = ("cell",)

        def weight_shapes(self, options):
            shape = (UNITS, 4 * UNITS)
            return {"k": shape, "r": shape, "b": (4 * UNITS,)}

        def call(self, run, layer, inputs):
            return np.array(eval(how)).astype(inputs.dtype) * 2

    net = verify.load(path)
    x = features()
    assert verify.compare_outputs(net, x, net.predict(x)).verdict == "PASS"
