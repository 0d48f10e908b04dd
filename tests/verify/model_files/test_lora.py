"""LoRA: where Keras keeps the matrices apart, they are part of the kernel here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import verify
from verify import ModelFileError, UnsupportedError, Verdict

pytestmark = [
    pytest.mark.keras,
    # Keras has advice on .h5 files
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

IDS = np.random.default_rng(0).integers(0, 20, size=(4, 5))
NAMES = ("words", "conv", "einsum", "dense")


def model(alpha: int | None = None, *, int8: bool = False) -> Any:
    """Return a model with LoRA in every class that can have it, of random weights."""
    import keras
    from keras import layers

    made = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(20, 4, name="words"),
            layers.Conv1D(4, 2, name="conv"),
            layers.LSTM(3, return_sequences=True, name="lstm"),
            layers.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d", name="einsum"),
            layers.GRU(3, name="gru"),
            layers.Dense(2, name="dense"),
        ]
    )
    rng = np.random.default_rng(1)
    made.set_weights([rng.normal(0, 0.5, w.shape) for w in made.get_weights()])
    if int8:
        made.quantize("int8")
    for name in NAMES:
        made.get_layer(name).enable_lora(2, lora_alpha=alpha)
    for weight in made.weights:
        if "lora" in weight.name:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return made


def predicted(made: Any) -> np.ndarray:
    return np.asarray(made.predict(IDS, verbose=0))


def verdict(path: Path, outputs: np.ndarray, **options: Any) -> Verdict:
    return verify.compare_outputs(
        path, IDS, outputs, diagnosis_seconds=0, **options
    ).verdict


@pytest.mark.parametrize("alpha", [pytest.param(None, marks=pytest.mark.thorough), 3])
def test_a_live_model_is_compared_with_the_matrices_in_its_kernels(alpha):
    report = verify.check(model(alpha), IDS, gradients=True)
    assert report.verdict is Verdict.PASS, str(report)


@pytest.mark.parametrize(
    ("alpha", "ending"),
    [
        (3, ".keras"),
        (3, ".h5"),
        pytest.param(None, ".keras", marks=pytest.mark.thorough),
        pytest.param(None, ".h5", marks=pytest.mark.thorough),
    ],
)
def test_files_compute_what_was_predicted_before_they_were_saved(
    tmp_path, alpha, ending
):
    made = model(alpha)
    made.save(path := tmp_path / f"model{ending}")
    assert verdict(path, predicted(made)) is Verdict.PASS
    report = verify.check(path, IDS)
    assert report.verdict is Verdict.PASS, str(report)
    lost = [line for line in report.warnings if "as if lora_alpha were" in line]
    # a convolution keeps it
    assert len(lost) == (3 if alpha and ending == ".h5" else 0)
    text = verify.describe(verify.load(path))
    assert text.count("LoRA of rank 2 is in the kernel, as Keras saves it") == 3
    assert "LoRA of rank 2 is in the embeddings, as Keras saves it" in text


def test_weights_alone_have_the_matrices_in_the_kernels(tmp_path):
    made = model(3)
    made.save_weights(path := tmp_path / "model.weights.h5")
    (tmp_path / "model.json").write_text(made.to_json())
    found = verdict(path, predicted(made), config=tmp_path / "model.json")
    assert found is Verdict.PASS


def test_a_frozen_layer_has_its_matrices_behind_the_kernel(tmp_path):
    made = model(3)
    made.trainable = False
    made.save(path := tmp_path / "model.h5")
    assert verdict(path, predicted(made)) is Verdict.PASS


@pytest.mark.parametrize("name", NAMES)
def test_each_matrix_of_an_h5_file_counts(tmp_path, name):
    made = model(3)
    right = predicted(made)
    live = made.get_layer(name)
    (matrix,) = (w for w in live.weights if w.name.endswith("_b"))
    matrix.assign(np.asarray(matrix)[::-1])
    made.save(path := tmp_path / "model.h5")
    assert verdict(path, right) is Verdict.FAIL


def test_matrices_of_another_rank_are_refused(tmp_path):
    model().save(path := tmp_path / "model.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace(
            '"lora_rank": 2', '"lora_rank": 3'
        )
    with pytest.raises(ModelFileError, match=r"matrices of LoRA of \(20, 3\) and"):
        verify.load(path)


def test_beside_8_bit_weights_the_file_of_keras_3_is_read_where_both_are_one(tmp_path):
    import keras

    made = model(int8=True)
    with pytest.raises(UnsupportedError, match=r"'words'.*Save it as \.keras"):
        verify.check(made, IDS)
    made.save(path := tmp_path / "model.h5")
    with pytest.raises(UnsupportedError, match=r"'words'.*Save the model as \.keras"):
        verify.load(path)
    made.save(path := tmp_path / "model.keras")
    again = keras.models.load_model(path)
    assert verdict(path, predicted(again)) is Verdict.PASS
    for given in (path, again):
        report = verify.check(given, IDS)
        assert report.verdict is Verdict.PASS, str(report)
