"""An export says nothing, unless it fails."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from recipes.explore.exporting import export

pytestmark = pytest.mark.keras


class Model:
    """Export as Keras and its converters do: with much to say."""

    def __init__(self, shapes, fails=False):
        self.inputs = [
            SimpleNamespace(shape=shape, dtype="float32", name=name)
            for name, shape in shapes.items()
        ]
        self.fails = fails

    def export(self, path, **options):
        os.write(2, b"chatter\n")
        if self.fails:
            raise ValueError("no")
        self.path, self.options = path, options


def shapes(specs):
    return [(spec.name, spec.shape) for spec in specs]


@pytest.fixture(autouse=True)
def _keras():
    import keras  # noqa: F401  # with chatter of its own


def test_a_model_is_exported_for_its_batch_or_another(tmp_path, capfd):
    model = Model({"x": (None, 6, 3)})
    path = tmp_path / "m.onnx"
    assert export(model, path) == path
    assert model.path == str(path)
    assert model.options["format"] == "onnx"
    assert shapes(model.options["input_signature"]) == [("x", (None, 6, 3))]
    export(model, tmp_path / "m.tflite", batch=1)
    assert model.options["format"] == "litert"
    assert shapes(model.options["input_signature"]) == [("x", (1, 6, 3))]
    export(model, tmp_path / "m")
    assert model.options["format"] == "tf_saved_model"
    assert capfd.readouterr() == ("", "")


def test_several_inputs_stand_in_one_list(tmp_path):
    model = Model({"a": (2, 3), "b": (2, 4)})
    export(model, tmp_path / "m.onnx")
    (specs,) = model.options["input_signature"]
    assert shapes(specs) == [("a", (2, 3)), ("b", (2, 4))]


def test_an_export_that_fails_shows_what_was_said(tmp_path, capfd):
    with pytest.raises(ValueError, match="no"):
        export(Model({"x": (None, 3)}, fails=True), tmp_path / "m.onnx")
    assert capfd.readouterr().err == "chatter\n"
