"""Models are written as ONNX and run by ONNX Runtime against the NumPy network."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from support.graphs import given as model_input
from support.graphs import made, net
from support.nets import (
    INPUTS,
    UNITS,
    features,
    ids,
    input_layer,
    layer,
    rnn,
    spec,
    word_net,
)
from support.thoroughness import some

import verify
from verify import ModelSpec, Network, Verdict
from verify.errors import DataError, UnsupportedError
from verify.forward.activations import ACTIVATIONS, with_arguments
from verify.forward.layers import REGISTRY
from verify.model.graph import MaskOf, TensorRef
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx import activations, fused, operations, recurrent
from verify.ports.convert.to_onnx.model import EMITTERS, OnnxModel, onnx_model
from verify.ports.convert.to_onnx.run import ONNX_RUNTIME, OPENVINO
from verify.tolerance import activation_errors

onnxruntime.set_default_logger_severity(4)

KINDS = ("SimpleRNN", "LSTM", "GRU")
NAMES = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}
ALLOWED = 1e-6


def session(model: OnnxModel) -> Any:
    """A session of ONNX Runtime in this process."""
    return onnxruntime.InferenceSession(
        model.content, providers=["CPUExecutionProvider"]
    )


def difference(
    model: OnnxModel, network: Network, *batches: Any, against: Network | None = None
) -> float:
    """The greatest relative difference of all outputs over some batches."""
    run, worst = session(model), 0.0
    for x in batches:
        inputs = network.prepare(x)
        found = run.run(
            list(model.outputs), dict(zip(model.inputs, inputs, strict=True))
        )
        wanted = (against or network).flat(inputs)
        assert len(found) == len(wanted)
        for a, b in zip(wanted, found, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert np.array_equal(np.isnan(a), np.isnan(b))
            scale = max(1.0, float(np.nanmax(np.abs(a))))
            apart = np.abs(a.astype(float) - b.astype(float))
            worst = max(worst, float(np.nanmax(apart)) / scale)
    return worst


def words() -> list[np.ndarray]:
    """Several numbers of rows and lengths, padded in every way, and padding alone."""
    return [
        ids(),
        ids(1, 2, 9),
        ids(2, 1, 1),
        np.zeros((2, 3), np.int32),
        np.array([[0, 4, 2, 0, 7, 0]], np.int32),
    ]


def right(made: ModelSpec, *batches: Any) -> OnnxModel:
    """The model as ONNX, which must compute what NumPy computes."""
    network = Network(made)
    model = onnx_model(network)
    assert difference(model, network, *batches) < ALLOWED
    return model


LEAKY = {
    "module": "keras.layers",
    "class_name": "LeakyReLU",
    "config": {"negative_slope": 0.1},
}

OPTIONS: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"go_backwards": True},
    {"go_backwards": True, "return_sequences": True},
    {"zero_output_for_mask": True},
    {"zero_output_for_mask": True, "return_sequences": True},
    {"zero_output_for_mask": True, "go_backwards": True},
    {
        "zero_output_for_mask": True,
        "go_backwards": True,
        "return_sequences": True,
        "unroll": True,
    },
    {"use_bias": False},
    {"activation": "relu"},
    {"activation": "linear"},
    {"activation": "elu"},
    {"activation": "softplus"},
    {"activation": "softsign"},
    {"activation": "hard_sigmoid"},
    {"activation": LEAKY},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_layer_is_one_fused_operator(kind: str, options: dict) -> None:
    model = right(word_net(rnn(kind, **options), time=None), *words())
    assert model.operators[NAMES[kind]] == 1
    assert "Scan" not in model.operators
    assert "sequence_lens" in str(model.how[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
def test_without_a_mask_no_step_is_moved(kind: str, options: dict) -> None:
    model = right(word_net(rnn(kind, **options), time=None, mask_zero=False), *words())
    assert "GatherND" not in model.operators
    assert "no mask" in str(model.how[0])


@pytest.mark.parametrize(
    ("options", "kind", "activation"),  # an odd number of the last: each with each
    some(itertools.product(OPTIONS[:8], KINDS, ["softmax", "gelu", "mish"]), 2),
)
def test_an_activation_that_the_operator_lacks_is_a_scan(
    kind: str, options: dict, activation: str
) -> None:
    made = word_net(rnn(kind, **{**options, "activation": activation}), time=None)
    model = right(made, *words())
    assert model.operators["Scan"] == 1
    assert f"the operator {NAMES[kind]} has no activation {activation}" in str(
        model.how[0]
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_for_a_runtime_that_ignores_lengths_no_length_matters(
    kind: str, options: dict
) -> None:
    network = Network(word_net(rnn(kind, **options), time=None))
    model = onnx_model(network, OPENVINO)
    assert difference(model, network, *words()) < ALLOWED
    for node in onnx.load_from_string(model.content).graph.node:
        if node.op_type in NAMES.values():
            assert "".join(node.input[4:5]) == ""  # sequence_lens


def test_the_reference_evaluator_ignores_lengths_and_needs_that_form() -> None:
    network, x = Network(word_net(rnn("GRU"), time=None)), words()[0]
    wanted = network.predict(x)
    found = {}
    for dialect in (ONNX_RUNTIME, OPENVINO):
        model = onnx_model(network, dialect)
        (y,) = ReferenceEvaluator(model.content).run(None, {model.inputs[0]: x})
        found[dialect.name] = float(np.abs(y - wanted).max())
    assert found["OpenVINO"] < ALLOWED
    assert found["ONNX Runtime"] > 1e-3


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid", "tanh", "softmax"])
def test_a_gru_resets_before_or_after(after: bool, bias: bool, gate: str) -> None:
    options = {"reset_after": after, "use_bias": bias, "recurrent_activation": gate}
    right(word_net(rnn("GRU", **options), time=None), *words())


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_are_one_operator(
    kind: str, sequences: bool, mode: str
) -> None:
    made = both(kind, kind, mode, return_sequences=sequences)
    model = right(made, *words())
    assert model.operators[NAMES[kind]] == 1
    assert "both directions at once" in str(model.how[0])


def recurrent_layer(
    kind: str, name: str, inputs: int, units: int, seed: int = 0, **config: Any
) -> LayerSpec:
    """A recurrent layer or cell with random weights."""
    cell = kind.removesuffix("Cell")
    width = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[cell] * units
    shapes = [(inputs, width), (units, width)]
    if config.get("use_bias", True):
        rows = cell == "GRU" and config.get("reset_after", True)
        shapes.append((2, width) if rows else (width,))
    return made(kind, name, *shapes, seed=seed, units=units, **config)


WORDS = (
    model_input("ids", None, dtype="int32"),
    made(
        "Embedding", "words", (11, INPUTS), input_dim=11, output_dim=INPUTS,
        mask_zero=True,
    ),
)  # fmt: skip


def both(first: str, second: str, mode: str | None, **options: Any) -> ModelSpec:
    """Embedding and Bidirectional; the inner layers may be of two classes."""
    options["zero_output_for_mask"] = bool(options.get("return_sequences"))
    halves = {
        "forward_layer": recurrent_layer(first, "forth", INPUTS, UNITS, 1, **options),
        "backward_layer": recurrent_layer(
            second, "back", INPUTS, UNITS, 2, go_backwards=True, **options
        ),
    }
    two = made("Bidirectional", "both", inside=halves, merge_mode=mode)
    outputs = ["both"] if mode else [TensorRef("both", 0, k) for k in (0, 1)]
    return net([*WORDS, two], {"words": "ids", "both": "words"}, outputs)


def test_directions_of_two_classes_are_two_operators() -> None:
    model = right(both("LSTM", "GRU", "concat", return_sequences=True), *words())
    assert (model.operators["LSTM"], model.operators["GRU"]) == (1, 1)


def test_directions_may_stay_apart() -> None:
    model = right(both("LSTM", "LSTM", None, return_sequences=True), *words())
    assert model.outputs == ("both", "both.1")


def stack(*kinds: str, **options: Any) -> LayerSpec:
    """An RNN around several cells."""
    inside, inputs = {}, INPUTS
    for k, kind in enumerate(kinds):
        units = UNITS - k
        inside[str(k)] = recurrent_layer(f"{kind}Cell", f"cell_{k}", inputs, units, k)
        inputs = units
    cells = made("StackedRNNCells", "cells", inside=inside)
    return made("RNN", "stack", inside={"cell": cells}, **options)


@pytest.mark.parametrize("options", OPTIONS[:8], ids=str)
def test_stacked_cells_are_a_scan(options: dict) -> None:
    layers = [*WORDS, stack("LSTM", "GRU", "SimpleRNN", **options)]
    model = right(net(layers, {"words": "ids", "stack": "words"}, ["stack"]), *words())
    assert model.operators["Scan"] == 1
    assert "no operator of ONNX computes StackedRNNCells" in str(model.how[0])


def test_an_rnn_around_one_cell_is_the_fused_operator() -> None:
    cell = recurrent_layer("LSTMCell", "cell", INPUTS, UNITS)
    loop = made("RNN", "loop", inside={"cell": cell}, return_sequences=True)
    spec = net([*WORDS, loop], {"words": "ids", "loop": "words"}, ["loop"])
    assert right(spec, *words()).operators["LSTM"] == 1


def encoder_decoder(kind: str, **options: Any) -> ModelSpec:
    """A masked decoder that begins with the states of an encoder, and returns its."""
    count = 2 if kind == "LSTM" else 1
    states = [TensorRef("encoder", 0, k + 1) for k in range(count)]
    return net(
        [
            model_input("source", None, INPUTS),
            *WORDS,
            recurrent_layer(kind, "encoder", INPUTS, UNITS, 3, return_state=True),
            recurrent_layer(
                kind, "decoder", INPUTS, UNITS, 4, return_state=True, **options
            ),
        ],
        {
            "encoder": "source",
            "words": "ids",
            "decoder": (
                "words",
                {"initial_state": states, "mask": MaskOf(TensorRef("words", 0, 0))},
            ),
        },
        [TensorRef("decoder", 0, k) for k in range(count + 1)],
    )


def source_and_words() -> list[dict[str, np.ndarray]]:
    """Inputs of `encoder_decoder`, with a row of padding alone."""
    return [{"source": features(2), "ids": ids()}]


@pytest.mark.parametrize("options", OPTIONS[:8], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_given_states_are_held_through_masked_steps(kind: str, options: dict) -> None:
    model = right(encoder_decoder(kind, **options), *source_and_words())
    assert model.inputs == ("source", "ids")
    assert model.outputs[:2] == ("decoder", "decoder.1")


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_on_jax_a_masked_step_shows_the_state(options: dict) -> None:
    spec = encoder_decoder("GRU", **options)
    right(spec.on("jax"), *source_and_words())
    network = Network(spec)
    apart = difference(onnx_model(network.on("jax")), network, *source_and_words())
    assert apart > 1e-3  # a row of padding alone shows its initial state there


def test_nan_at_a_masked_step_reaches_nothing() -> None:
    spec = net(
        [
            model_input("x", None, INPUTS),
            model_input("mask", None, dtype="bool"),
            recurrent_layer("LSTM", "rnn", INPUTS, UNITS, return_sequences=True),
        ],
        {"rnn": ("x", {"mask": "mask"})},
        ["rnn"],
    )
    x, mask = features(), ids() != 0
    x[~mask] = np.nan
    right(spec, {"x": x, "mask": mask})


def stateful(kind: str, batch: int | None = 2) -> ModelSpec:
    """Features, two stateful layers one after the other."""
    return spec(
        layer("InputLayer", "input", batch_shape=[batch, None, INPUTS]),
        rnn(kind, "first", stateful=True, return_sequences=True),
        rnn(kind, "second", stateful=True),
    )


@pytest.mark.parametrize("kind", [*KINDS, "softmax"])
def test_states_of_a_stateful_model_are_inputs_and_outputs(kind: str) -> None:
    made = stateful("LSTM" if kind == "softmax" else kind)
    if kind == "softmax":  # a Scan
        made = made.with_layer(made["first"].with_options(activation="softmax"))
    network = Network(made)
    model = onnx_model(network)
    x = features(batch=6)
    wanted = network.flat(network.prepare(x))[0]
    run = session(model)
    names = [one.name for one in run.get_outputs()]
    states = {name: np.zeros((2, UNITS), np.float32) for name in model.states}
    found = []
    for k in range(0, 6, 2):
        outputs = run.run(None, {model.inputs[0]: x[k : k + 2], **states})
        by_name = dict(zip(names, outputs, strict=True))
        states = {name: by_name[after] for name, after in model.states.items()}
        found.append(by_name[model.outputs[0]])
    assert np.abs(np.concatenate(found) - wanted).max() < ALLOWED
    assert next(iter(model.states)) == "first/h"
    assert model.states["first/h"] == "first/h_next"
    forgotten = run.run(
        None, {model.inputs[0]: x[2:4], **{k: 0 * v for k, v in states.items()}}
    )
    assert np.abs(forgotten[0] - wanted[2:4]).max() > 1e-3


def test_on_jax_predict_begins_with_zeros_so_there_are_no_states() -> None:
    network = Network(stateful("GRU").on("jax"))
    model = onnx_model(network)
    assert not model.states
    batches = [features(k, batch=2) for k in range(2)]
    assert difference(model, network, *batches) < ALLOWED


def test_gates_that_are_nearly_closed_may_be_off_in_onnx_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Allow for its sigmoid, of which a small result has few right digits."""
    config = layer("LSTM", "lstm", units=UNITS, return_sequences=True)
    made = spec(input_layer(None, 6, INPUTS), config)
    lstm = made["lstm"]
    bias = lstm.weights["bias"].copy()
    bias[-UNITS:] = -9.0
    made = replace(made, root=made.root.replaced("lstm", lstm.with_weights(bias=bias)))
    x = features(3, 40, 6)
    model = onnx_model(Network(made))
    (found,) = session(model).run(list(model.outputs), {model.inputs[0]: x})
    assert np.abs(found).max() < 0.05
    assert verify.compare_outputs(Network(made), x, found).verdict is Verdict.PASS
    monkeypatch.setattr(activation_errors, "KNOWN_RUNTIMES", {})
    assert verify.compare_outputs(Network(made), x, found).verdict is Verdict.FAIL


def test_more_than_two_gigabytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.ports.convert.to_onnx.model.LARGEST", 100)
    with pytest.raises(DataError, match="at most 2 GB as ONNX"):
        onnx_model(Network(word_net(rnn("LSTM"))))


def test_float64_is_written_as_a_scan() -> None:
    made = spec(
        input_layer(None, None, INPUTS, dtype="float64"),
        {**rnn("LSTM"), "config": {**rnn("LSTM")["config"], "dtype": "float64"}},
        dtype=np.float64,
    )
    network = Network(made, "float64")
    model = onnx_model(network)
    assert difference(model, network, features().astype(np.float64)) < 1e-13
    assert "in float32 only" in str(model.how[0])


def test_sixteen_bits_round_at_every_step() -> None:
    entry = rnn("GRU", return_sequences=True)
    entry["config"]["dtype"] = "mixed_float16"
    made = spec(input_layer(None, None, INPUTS), entry)
    network = Network(made)
    model = onnx_model(network)
    found = difference(model, network, features())
    assert found < 2e-3


ARGUMENTS = {
    "leaky_relu": {"negative_slope": 0.3},
    "relu": {"negative_slope": 0.1, "max_value": 0.7, "threshold": 0.2},
    "softmax": {"axis": -2},
}


@pytest.mark.parametrize("name", sorted(activations.ACTIVATIONS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_activation_is_written(name: str, dtype: type) -> None:
    """Also with arguments, and in float64 wherever ONNX Runtime has the operators."""
    if name == "gelu" and dtype is np.float64:
        name = "gelu(approximate=true)"  # ONNX Runtime has Erf in float32 only
    names = [name]
    if name in ARGUMENTS:
        names.append(with_arguments(name, ARGUMENTS[name]))
    x = np.linspace(-5, 5, 2 * 3 * 4, dtype=dtype).reshape(2, 3, 4)
    for chosen in names:
        made = spec(
            input_layer(None, 3, 4, dtype=np.dtype(dtype).name),
            {**layer("Activation", "a", activation="linear")},
        )
        made = made.with_layer(
            replace(
                made["a"].with_options(activation=chosen), policy=np.dtype(dtype).name
            )
        )
        network = Network(made, np.dtype(dtype).name)
        found = difference(onnx_model(network), network, x)
        assert found < (ALLOWED if dtype is np.float32 else 1e-13), chosen


def test_every_activation_of_keras_is_written() -> None:
    assert ACTIVATIONS.keys() <= activations.ACTIVATIONS.keys()


def test_every_layer_that_is_read_is_written_or_stands_inside_another() -> None:
    inside = {name for name in REGISTRY if name.endswith(("Cell", "Cells"))}
    assert REGISTRY.keys() - EMITTERS.keys() == inside


NOT_WRITTEN = {"Det", "Diagonal", "DotProductAttention", "ISTFT", "Inv", "Trace"}


def test_an_operation_is_written_for_each_class_or_refused_by_name() -> None:
    names = {name.removeprefix("ops.") for name in REGISTRY if name.startswith("ops.")}
    assert names - NOT_WRITTEN == operations.FUNCTIONS.keys()
    assert names >= NOT_WRITTEN
    spec = net(
        [
            model_input("x", 4, 2, 3),
            made("ops.DotProductAttention", "dot", is_causal=False),
        ],
        {"dot": ("x", "x", "x")},
        "dot",
    )
    with pytest.raises(UnsupportedError, match=r"'dot' \(ops.DotProductAttention\)"):
        onnx_model(Network(spec))


CHOICES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "activation": st.sampled_from(["tanh", "relu", "softsign", "softmax"]),
        "return_sequences": st.booleans(),
        "go_backwards": st.booleans(),
        "zero_output_for_mask": st.booleans(),
        "unroll": st.booleans(),
        "use_bias": st.booleans(),
    }
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    CHOICES,
    st.integers(1, 4),
    st.integers(1, 7),
    st.randoms(use_true_random=False),
    st.integers(0, 1000),
)
def test_any_options_any_mask(
    choice: dict[str, Any], rows: int, steps: int, random: Any, seed: int
) -> None:
    options = dict(choice)
    kind = options.pop("kind")
    made = word_net(rnn(kind, **options), time=None, seed=seed)
    x = [[random.choice([0, random.randint(1, 10)]) for _ in range(steps)]
         for _ in range(rows)]  # fmt: skip
    right(made, np.array(x, np.int32))


# Mistakes that must show


def test_swapped_gates_show(monkeypatch: pytest.MonkeyPatch) -> None:
    order = {**fused.ORDER, "LSTM": ("i", "f", "o", "c"), "GRU": ("r", "z", "h")}
    monkeypatch.setattr(fused, "ORDER", order)
    for kind in ("LSTM", "GRU"):
        network = Network(word_net(rnn(kind), time=None))
        assert difference(onnx_model(network), network, *words()) > 1e-3


def test_a_dropped_mask_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = recurrent.prepared
    monkeypatch.setattr(
        recurrent, "prepared", lambda *a: prepared(*a)._replace(mask=None)
    )
    for name in ("tanh", "softmax"):
        network = Network(word_net(rnn("LSTM", activation=name), time=None))
        assert difference(onnx_model(network), network, *words()) > 1e-3


def test_lost_states_of_rows_without_steps_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused.Packed, "held", lambda self, after, before: after)
    network = Network(encoder_decoder("LSTM"))
    assert difference(onnx_model(network), network, *source_and_words()) > 1e-3


def test_a_wrong_direction_shows() -> None:
    network = Network(word_net(rnn("GRU", go_backwards=True), time=None))
    forwards = network.spec["rnn"].with_options(go_backwards=False)
    wrong = Network(network.spec.with_layer(forwards))
    assert difference(onnx_model(wrong), network, *words()) > 1e-3


# Refusals


def test_a_planted_mistake_is_refused() -> None:
    made = word_net(rnn("LSTM"))
    changed = made["rnn"].with_overrides(scan=lambda *_: None)
    with pytest.raises(UnsupportedError, match="planted mistake has no form"):
        onnx_model(Network(made.with_layer(changed)))


def test_a_rule_of_another_backend_that_is_not_written_is_refused() -> None:
    made = spec(
        input_layer(None, 6, INPUTS),
        layer("AveragePooling1D", "pool", pool_size=2, padding="same"),
    )
    with pytest.raises(UnsupportedError, match=r"'pool'.*as on TensorFlow alone"):
        onnx_model(Network(made.on("torch")))


def test_without_onnx_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        UnsupportedError, match=r"pip install 'keras-rnn-verify\[onnx\]'"
    ):
        onnx_model(Network(word_net(rnn("LSTM"))))


def test_names_of_inputs_and_outputs_are_the_models_own() -> None:
    model = onnx_model(Network(encoder_decoder("GRU")))
    proto = onnx.load_from_string(model.content)
    assert [one.name for one in proto.graph.input] == ["source", "ids"]
    assert [one.name for one in proto.graph.output] == ["decoder", "decoder.1"]
    dims = [d.dim_param for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "source_1", ""]
