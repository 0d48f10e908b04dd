"""Weights of other frameworks, read from files, are compared with the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from support.nets import (
    INPUTS,
    OUTPUTS,
    UNITS,
    VOCABULARY,
    FunctionalNet,
    input_layer,
    layer,
    rnn,
    spec,
    word_net,
)

from verify import DataError, Network, UnsupportedError, Verdict
from verify.model.conventions import frameworks, to_framework
from verify.model.conventions.expressions import array_names
from verify.model.spec import LayerSpec, ModelSpec
from verify.ports.weight_files.comparison import weight_file_comparison
from verify.ports.weight_files.findings import findings
from verify.ports.weight_files.matching import match


def word_model(kind: str = "LSTM", seed: int = 0, **options) -> ModelSpec:
    return word_net(rnn(kind, "rnn", **options), seed=seed)


def foreign(
    model: ModelSpec,
    framework: str,
    prefixes: dict[str, str],
    index: dict | None = None,
) -> dict[str, np.ndarray]:
    """All weights of a model as a framework would save them."""
    known = frameworks()[framework]
    found = {}
    for one in model:
        prefix = prefixes.get(one.name, f"{one.name}.")
        kind = one.class_name
        if kind in ("LSTM", "GRU", "SimpleRNN", "Bidirectional"):
            number = (index or {}).get(one.name, 0)
            arrays = to_framework(one, framework, index=number)
            found |= {f"{prefix}{k}": v for k, v in arrays.items()}
        elif one.weights:
            for key, value in one.weights.items():
                (name,) = array_names(known.others[kind].keras[key])
                turned = ".T" in known.others[kind].keras[key]
                found[prefix + name] = value.T.copy() if turned else value
    return found


def saved(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        # of an array that is not contiguous save_file stores the memory as it lies
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)
    return path


PREFIXES = {"words": "module.embed.", "rnn": "module.encoder.rnn.", "dense": "fc."}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("framework", ["torch", "flax.nnx", "paddle", "keras"])
def test_the_right_weights_pass_whatever_the_prefix(tmp_path, framework, suffix):
    model = word_model()
    path = saved(tmp_path / f"w{suffix}", foreign(model, framework, PREFIXES))
    found = weight_file_comparison(Network(model), path, framework)
    assert found.report.verdict is Verdict.PASS
    assert {x.state for x in found.findings} == {"equal"}
    assert found.sentences[1] == "6 of 6 weights are equal to the model's"
    assert found.sentences[0].endswith(f"{frameworks()[framework].version}")


def compared(tmp_path, model, arrays, framework="torch", **options):
    path = saved(tmp_path / "w.safetensors", arrays)
    options.setdefault("diagnosis_seconds", 0)
    return weight_file_comparison(Network(model), path, framework, **options)


def states(found) -> dict[str, str]:
    return {f"{x.layer}/{x.weight}": x.state for x in found.findings}


def swap(array: np.ndarray, order: list[int]) -> np.ndarray:
    parts = np.split(array, len(order))
    return np.concatenate([parts[k] for k in order])


def planted(name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rnn = {k.rpartition(".")[2]: k for k in arrays if "_l0" in k}
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    ih, hh, bi, bh = (arrays[rnn[name]] for name in names)
    changes = {
        "order": {k: swap(arrays[k], [0, 1, 3, 2]) for k in rnn.values()},
        "transposed": {rnn["weight_hh_l0"]: np.concatenate(
            [part.T for part in np.split(hh, 4)])},
        "twice": {rnn["bias_hh_l0"]: bi},
        "forget": {rnn["bias_ih_l0"]: bi - np.repeat([0, 1, 0, 0], UNITS).astype("f")},
        "one": {rnn["weight_ih_l0"]: np.where(np.arange(ih.size).reshape(ih.shape) == 5,
                                              ih + 1, ih)},
        "none": {rnn["bias_ih_l0"]: 0 * bi, rnn["bias_hh_l0"]: 0 * bh},
        "half": {k: arrays[k].astype(np.float16) for k in arrays},
    }  # fmt: skip
    return {**arrays, **changes[name]}


@pytest.mark.parametrize(
    ("name", "sentence", "changed"),
    [
        ("order", "gates read in the order i,f,o,c; Keras stores i,f,c,o", 3),
        ("transposed", "recurrent_kernel is transposed", 1),
        ("twice", "the bias is added twice", 1),
        ("forget", "1 is missing from the forget gate's bias", 1),
        ("none", "the bias is left out", 1),
    ],
)
def test_what_was_done_to_the_weights_is_said_and_shows_in_the_outputs(
    tmp_path, name, sentence, changed
):
    model = word_model()
    arrays = planted(name, foreign(model, "torch", PREFIXES))
    found = compared(tmp_path, model, arrays)
    assert found.report.verdict is Verdict.FAIL
    assert list(states(found).values()).count("changed") == changed
    said = [x.sentence for x in found.findings if x.state == "changed"]
    assert all(sentence in text for text in said), said
    assert all(text in found.report.warnings for text in said)


def test_a_kernel_that_was_stored_as_it_lay_in_memory_is_named(tmp_path):
    """As by save_file({"weight_ih_l0": kernel.T}) of safetensors.numpy."""
    model = word_model()
    arrays = foreign(model, "torch", PREFIXES)
    kernel = model["rnn"].weights["kernel"]
    arrays["module.encoder.rnn.weight_ih_l0"] = kernel.reshape(kernel.T.shape)
    found = compared(tmp_path, model, arrays)
    assert states(found)["rnn/kernel"] == "changed"
    assert "column-major" in found.findings[1].sentence


def test_one_number_is_pointed_at(tmp_path):
    model = word_model()
    arrays = planted("one", foreign(model, "torch", PREFIXES))
    found = compared(tmp_path, model, arrays)
    (wrong,) = (x for x in found.findings if x.state == "different")
    assert (wrong.layer, wrong.weight) == ("rnn", "kernel")
    assert (
        "'module.encoder.rnn:0' differs: 1 of 48 numbers, most at [2, 1]"
        in wrong.sentence
    )
    assert found.report.verdict is Verdict.FAIL


def test_half_floats_are_called_rounded(tmp_path):
    model = word_model()
    arrays = planted("half", foreign(model, "torch", PREFIXES))
    found = compared(tmp_path, model, arrays)
    assert set(states(found).values()) == {"rounded"}
    assert "is rounded to float16" in found.findings[0].sentence
    assert compared(tmp_path, model, arrays, precision="float16").report.verdict in (
        Verdict.PASS, Verdict.INCONCLUSIVE
    )  # fmt: skip


def test_a_diagnosis_names_what_the_outputs_show(tmp_path):
    model = word_model()
    arrays = planted("order", foreign(model, "torch", PREFIXES))
    report = compared(tmp_path, model, arrays, diagnosis_seconds=20).report
    assert "gates read in the order i,f,o,c" in report.to_text()


def test_rows_of_a_grus_bias_that_were_summed_are_named(tmp_path):
    model = word_model("GRU", reset_after=True)
    arrays = foreign(model, "torch", PREFIXES)
    bi, bh = "module.encoder.rnn.bias_ih_l0", "module.encoder.rnn.bias_hh_l0"
    assert compared(tmp_path, model, arrays).report.verdict is Verdict.PASS
    summed = {**arrays, bi: arrays[bi] + arrays[bh], bh: 0 * arrays[bh]}
    found = compared(tmp_path, model, summed)
    assert states(found)["rnn/bias"] == "changed"
    assert "both rows of the bias are added on the input side" in str(found.sentences)
    swapped = {**arrays, bi: arrays[bh], bh: arrays[bi]}
    assert "two rows of the bias are exchanged" in str(
        compared(tmp_path, model, swapped).sentences
    )


def test_a_framework_that_adds_the_rows_of_two_gates_is_equal(tmp_path):
    model = word_model("GRU", reset_after=True)
    arrays = foreign(model, "equinox", PREFIXES)
    found = compared(tmp_path, model, arrays, "equinox")
    assert set(states(found).values()) == {"equal"}
    assert found.report.verdict is Verdict.PASS


def test_an_update_gate_of_the_other_sense_is_named(tmp_path):
    model = word_model("GRU", reset_after=False)
    arrays = foreign(
        model, "sonnet", {"words": "embed/", "rnn": "gru/", "dense": "linear/"}
    )
    assert compared(tmp_path, model, arrays, "sonnet").report.verdict is Verdict.PASS
    copied = {**arrays, "gru/w_i": model["rnn"].weights["kernel"],
              "gru/w_h": model["rnn"].weights["recurrent_kernel"],
              "gru/b": model["rnn"].weights["bias"]}  # fmt: skip
    found = compared(tmp_path, model, copied, "sonnet")
    assert found.report.verdict is Verdict.FAIL
    assert "the block of the update gate z is negated" in str(found.sentences)


def stacked(seed: int = 0) -> ModelSpec:
    """Two LSTM of the same shapes, and one Bidirectional."""
    return spec(
        input_layer(None, None, UNITS),
        rnn("LSTM", "first", return_sequences=True),
        rnn("LSTM", "second"),
        layer("Dense", "dense", units=OUTPUTS),
        seed=seed,
    )


STACK = {"first": "net.lstm.", "second": "net.lstm.", "dense": "net.head."}


def test_layers_of_a_stack_are_told_apart_by_value(tmp_path):
    model = stacked()
    arrays = foreign(model, "torch", STACK, {"first": 1, "second": 0})
    found = compared(tmp_path, model, arrays)
    assert found.report.verdict is Verdict.PASS
    assert found.findings[0].where == "net.lstm:1"


def test_ambiguity_is_said_and_the_user_decides(tmp_path):
    model, other = stacked(), stacked(seed=7)
    other = other.with_layer(model["dense"])
    arrays = foreign(other, "torch", STACK, {"first": 0, "second": 1})
    found = compared(tmp_path, model, arrays)
    assert any("--layer first=PREFIX decides" in text for text in found.sentences)
    wheres = [x.where for x in found.findings]
    assert wheres[0] == "net.lstm:0"
    layers = {"first": "net.lstm:1", "second": "net.lstm:0"}
    decided = compared(tmp_path, model, arrays, layers=layers)
    assert decided.findings[0].where == "net.lstm:1"
    assert not any("decides" in text for text in decided.sentences)
    with pytest.raises(
        DataError, match=r"'nowhere'; those that fit stand under 'net.lstm:0'"
    ):
        compared(tmp_path, model, arrays, layers={"first": "nowhere"})
    with pytest.raises(
        DataError, match="expected a layer with weights: first, second and dense"
    ):
        compared(tmp_path, model, arrays, layers={"third": "net"})


def bidirectional_model() -> ModelSpec:
    net = FunctionalNet()
    x = net.input("x", None, 6, INPUTS)
    inner = rnn("LSTM", "inner", return_sequences=False)
    (y, *_) = net.call(layer("Bidirectional", "both", layer=inner), x, features=INPUTS)
    (out, *_) = net.call(layer("Dense", "dense", units=OUTPUTS), y, features=2 * UNITS)
    return net.spec(out)


@pytest.mark.parametrize(
    "framework", ["torch", "onnxruntime", "flax.nnx", "openvino", "keras"]
)
def test_both_directions_are_found_and_exchanged_ones_are_named(tmp_path, framework):
    model = bidirectional_model()
    dense = {"dense": "dense."}
    others = "torch" if framework in ("onnxruntime", "openvino") else framework
    both = to_framework(model["both"], framework)
    arrays = {f"m.{k}": v for k, v in both.items()}
    if others != framework:
        with pytest.raises(
            UnsupportedError, match=r"which arrays .* has for it is not known"
        ):
            compared(tmp_path, model, arrays, framework)
        return
    head = LayerSpec("m", "Sequential", {}, {}, {"dense": model["dense"]})
    arrays |= foreign(ModelSpec(head), framework, dense)
    assert compared(tmp_path, model, arrays, framework).report.verdict is Verdict.PASS
    if framework == "torch":
        swapped = {
            k.removesuffix("_reverse") if k.endswith("_reverse") else f"{k}_reverse": v
            for k, v in arrays.items()
            if k.startswith("m.")
        }
        found = compared(tmp_path, model, {**arrays, **swapped})
        assert "these are the weights of 'both/backward_layer'" in str(found.sentences)
        assert found.report.verdict is Verdict.FAIL


def test_what_is_left_over_is_listed(tmp_path):
    model = word_model()
    arrays = foreign(model, "torch", PREFIXES)
    arrays |= {
        "fc2.weight": np.ones((3, 9), "f"),
        "bn.num_batches_tracked": np.array(3),
    }
    found = compared(tmp_path, model, arrays)
    assert found.matching.left_over == ("fc2.weight",)
    assert "arrays that no layer uses: 'fc2.weight'" in found.sentences


def test_missing_and_transposed_arrays_are_one_line(tmp_path):
    model = word_model()
    arrays = foreign(model, "torch", PREFIXES)
    without = {k: v for k, v in arrays.items() if "weight_hh" not in k}
    words = r"w.safetensors: Layer 'rnn' \(LSTM\): expected the arrays of nn.LSTM of "
    with pytest.raises(DataError, match=words):
        compared(tmp_path, model, without)
    key = "module.encoder.rnn.weight_ih_l0"
    with pytest.raises(
        DataError, match=r"weight_ih_l0 \(3, 16\) is the transpose of what"
    ):
        compared(tmp_path, model, {**arrays, key: arrays[key].T.copy()})
    nan = {**arrays, key: np.full_like(arrays[key], np.nan)}
    with pytest.raises(DataError, match=r"w.safetensors: .* finite weights"):
        compared(tmp_path, model, nan)


def test_another_network_is_refused_with_what_the_file_holds(tmp_path):
    arrays = {"a.weight": np.ones((VOCABULARY, 2), "f"), "a.bias": np.ones(2, "f")}
    with pytest.raises(DataError, match=r"nn.Embedding .* Received: a.bias \(2,\)"):
        compared(tmp_path, word_model(), arrays)


def test_weights_of_another_model_of_the_same_shapes_are_refused(tmp_path):
    arrays = foreign(word_model(seed=5), "torch", PREFIXES)
    words = (
        "those of another, 0 of 6 weights were found again; Layer 'words': embeddings"
    )
    with pytest.raises(DataError, match=words):
        compared(tmp_path, word_model(), arrays)


def test_what_the_framework_has_no_form_for_is_refused(tmp_path):
    model = word_model("GRU", reset_after=False)
    arrays = foreign(word_model("GRU", reset_after=True), "torch", PREFIXES)
    with pytest.raises(UnsupportedError, match="Instead: train with reset_after=True"):
        compared(tmp_path, model, arrays)
    with pytest.raises(UnsupportedError, match="Did you mean torch"):
        compared(tmp_path, model, arrays, "torhc")


@settings(max_examples=10, deadline=None)
@given(
    framework=st.sampled_from(["torch", "paddle", "keras", "mlx"]),
    order=st.permutations(range(4)),
    seed=st.integers(0, 99),
)
def test_any_order_of_gates_is_found(framework, order, seed):
    """In all weights of an LSTM alike; nothing is said of the right order."""
    model = word_model(seed=seed)
    arrays = foreign(model, framework, PREFIXES)
    for key, value in arrays.items():
        if key.startswith(PREFIXES["rnn"]):
            axis = -1 if framework == "keras" else 0
            parts = np.split(value, 4, axis)
            arrays[key] = np.concatenate([parts[k] for k in order], axis)
    matching = match(model, arrays, frameworks()[framework])
    found = {f"{x.layer}/{x.weight}": x for x in findings(matching)}
    wrong = [key for key, one in found.items() if one.state == "changed"]
    right = list(order) == [0, 1, 2, 3]
    names = ("kernel", "recurrent_kernel", "bias")
    assert wrong == ([] if right else [f"rnn/{name}" for name in names])
    assert all("gates read in the order" in found[key].sentence for key in wrong)
