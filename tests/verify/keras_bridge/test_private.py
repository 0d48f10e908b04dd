"""Private names of Keras are used in one module, and looked for in both places."""

from __future__ import annotations

import ast
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import verify
from verify.errors import KerasCannotRun, KerasChanged
from verify.forward.layers import REGISTRY
from verify.keras_bridge import private

BRIDGE = Path(verify.__file__).parent / "keras_bridge"


def private_uses(source: str) -> list[str]:
    """Return where a module reads `keras.src`, or an attribute of others that is
    private: not `self._x`, nor what begins with two underscores."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and re.match(
            r"keras\.src", f"{node.module}"
        ):
            found.append(f"from {node.module}")
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.startswith("keras.src")]
        if (
            isinstance(node, ast.Attribute)
            and re.match(r"_[a-z]", node.attr)
            and not (isinstance(node.value, ast.Name) and node.value.id == "self")
        ):
            found.append(node.attr)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
            names = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
            found += [name for name in names if re.match(r"_[a-z]", name)]
    return found


def test_only_one_module_uses_private_names_of_keras():
    others = {
        path.name: uses
        for path in BRIDGE.glob("*.py")
        if path.name != "private.py" and (uses := private_uses(path.read_text()))
    }
    assert not others


def test_a_private_name_elsewhere_would_be_noticed():
    assert private_uses("from keras.src import backend") == ["from keras.src"]
    assert private_uses("import keras.src.ops") == ["keras.src.ops"]
    assert private_uses("model._functional.call(x)") == ["_functional"]
    assert private_uses("getattr(model, '_inputs_struct', None)") == ["_inputs_struct"]
    assert private_uses("self._keys.next(keras.ops.shape)") == []


@pytest.fixture
def keras_of(monkeypatch):
    """Return a function that puts modules in place of an imported Keras."""

    def install(version, **modules):
        root = types.ModuleType("keras")
        root.__version__ = version
        everything = {"keras": root, "keras.src": types.ModuleType("keras.src")}
        for name, content in modules.items():
            module = types.ModuleType(f"keras.src.{name.replace('__', '.')}")
            vars(module).update(content)
            everything[module.__name__] = module
        for name in [n for n in sys.modules if n.split(".")[0] == "keras"]:
            monkeypatch.delitem(sys.modules, name)
        for name, module in everything.items():
            module.__path__ = []
            monkeypatch.setitem(sys.modules, name, module)

    return install


@pytest.mark.parametrize("place", ["backend", "backend__common"])
def test_masks_are_found_where_3_15_and_where_3_16_has_them(keras_of, place):
    names = {"get_keras_mask": lambda x: x["mask"], "set_keras_mask": dict.__setitem__}
    names["set_keras_mask"] = lambda x, mask: x.update(mask=mask)
    keras_of("3.16.0", **{"backend": {}, place: names})
    tensor = {}
    private.set_mask(tensor, [True])
    assert private.mask_of(tensor) == [True]


def test_a_name_that_is_nowhere_is_said_with_the_version_and_the_places(keras_of):
    keras_of("3.17.0", backend={}, backend__common={})
    with pytest.raises(KerasChanged) as caught:
        private.mask_of(object())
    assert str(caught.value) == (
        "Keras 3.17.0 has no get_keras_mask in keras.src.backend or "
        "keras.src.backend.common"
    )
    assert isinstance(caught.value, KerasCannotRun)  # so a report can be made without


def test_an_attribute_that_is_gone_is_said_with_the_version_and_the_class(keras_of):
    keras_of("3.17.0")
    calls = [
        lambda model: private.layers_inside(model),
        lambda model: private.inputs_of(model),
        lambda model: list(private.nodes_of(model)),
        lambda model: private.run_graph(model, [], lambda operation: operation),
        lambda model: private.operations_of(model),
    ]
    names = ["_flatten_layers", "_inputs_struct", "_nodes_by_depth"]
    names += ["_standardize_inputs", "operations or _operations"]
    for call, name in zip(calls, names, strict=True):
        with pytest.raises(KerasChanged) as caught:
            call(types.SimpleNamespace())
        said = f"Keras 3.17.0 has no {name} in SimpleNamespace"
        assert str(caught.value) == said


@pytest.mark.parametrize("place", ["backend__jax__nn", "backend__jax__ops__nn"])
def test_operations_of_a_backend_are_found_in_both_places(keras_of, place):
    package = place.rsplit("__", 1)[0]
    keras_of("3.16.0", **{"backend__jax": {}, package: {"nn": "the module"}})
    assert private.backend_operations("jax", "nn") == "the module"


@pytest.mark.keras
def test_every_operation_is_found_where_keras_defines_it():
    modules = private.operation_modules()
    names = {name.removeprefix("ops.") for name in REGISTRY if name.startswith("ops.")}
    lost = {name for name in names if not any(hasattr(m, name) for m in modules)}
    assert not lost


@pytest.mark.keras
def test_an_h5_file_with_an_operation_of_linear_algebra_is_rebuilt(tmp_path):
    import keras
    from keras import layers, ops

    x = keras.Input((6, 3))
    h = keras.activations.relu(layers.LSTM(4)(x), negative_slope=0.3)
    model = keras.Model(x, h / ops.norm(h, axis=-1, keepdims=True))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.save(path := tmp_path / "model.h5")
    report = verify.check(path)
    assert report.verdict is verify.Verdict.PASS, str(report)
