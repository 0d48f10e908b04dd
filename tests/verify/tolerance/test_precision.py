"""What a number format allows: right ports pass by theirs, and mistakes do not."""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support import commands, production
from support.nets import (
    INPUTS,
    OUTPUTS,
    VOCABULARY,
    features,
    ids,
    input_layer,
    layer,
    lstm_file,
    mutated,
    rnn,
    spec,
    stateful_net,
    word_net,
)

import verify
from benchmarks.number_formats import mistakes_of_weights
from benchmarks.ports import Port, bfloat16, exact, fixed, float16, int8, ports
from verify import DataError, LayerSpec, Network, Verdict
from verify.__main__ import main
from verify.backward import backprop
from verify.checks._batches import Limits
from verify.checks.checkpoint import Watch
from verify.model.spec import ModelSpec
from verify.ports.convert.to_onnx.model import onnx_model
from verify.report.report import read_report
from verify.tolerance.error_bound import format_bounds
from verify.tolerance.error_bound.format_bounds import EVEN, FormatVisitor
from verify.tolerance.format_range import beyond_range
from verify.tolerance.formats import NumberFormat
from verify.tolerance.simulation import FormatRounding, Scales, Simulation

refused = functools.partial(commands.refused, main)
ROWS = 24
INSTALLED = importlib.util.find_spec("onnxruntime") is not None
"""It comes with the extra `bench`, as for tests/test_benchmarks.py."""
RIGHT = [
    pytest.param(precision, port, id=f"{precision}-{k}")
    for precision, found in ports().items()
    for k, port in enumerate(found)
    if precision != "fixed<12,4>"
]
PRECISIONS = list(ports())


def like_trained(model: ModelSpec, gain: float = 1.0, seed: int = 0) -> Network:
    """A network with weights of the size that training leaves."""
    rng = np.random.default_rng(seed)

    def change(x: LayerSpec) -> LayerSpec:
        weights = {
            name: (
                rng.normal(size=w.shape)
                * (gain / np.sqrt(len(w)) if "bias" not in name else 0.25)
            ).astype(np.float32)
            for name, w in x.weights.items()
        }
        return replace(x, weights=weights)

    return Network(replace(model, root=model.root.mapped(change)))


def small(kind: str, activation: str = "linear", **options: Any) -> Network:
    """Features, a recurrent layer, Dense."""
    return like_trained(
        spec(
            input_layer(None, None, INPUTS),
            layer(kind, "rnn", units=7, **options),
            layer("Dense", "dense", units=OUTPUTS, activation=activation),
        )
    )


def compared(net: Network, x: Any, outputs: Any, precision: str, **options: Any) -> Any:
    return verify.compare_outputs(
        net, x, outputs, precision=precision, diagnosis_seconds=0, **options
    )


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize(("precision", "port"), RIGHT)
def test_a_right_port_passes_by_its_precision_and_by_no_better_one(
    kind, precision, port
):
    net, x = small(kind, "softmax"), features(batch=ROWS, time=9)
    theirs = port.model(net.spec, x)
    report = compared(net, x, theirs, precision)
    assert report.verdict is Verdict.PASS, report
    assert report.reason == (
        f"the outputs are those of the model, computed in {precision}"
    )
    assert f"allowed  : derived bound of {precision}; weights" in report.to_text()
    free = verify.compare_outputs(net, x, theirs, diagnosis_seconds=0)
    assert free.verdict is Verdict.FAIL
    assert compared(net, x, theirs, "fixed<28,6>").verdict is Verdict.FAIL
    assert read_report(json.loads(report.to_json())).to_dict() == report.to_dict()
    assert report.to_dict()["facts"]["precision"] == precision


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("gain", [0.5, 1.5])
def test_no_right_port_exceeds_its_bound_and_the_bound_is_near(precision, gain):
    """Stacked layers, 40 steps; element by element."""
    net = like_trained(
        spec(
            input_layer(None, None, INPUTS),
            layer("LSTM", "a", units=11, return_sequences=True),
            layer("GRU", "b", units=7),
            layer("Dense", "dense", units=OUTPUTS),
        ),
        gain,
    )
    x = features(batch=ROWS, time=40)
    (ours,) = net.flat(net.prepare(x), dtype="float64")
    found = simulation(net, x, precision)
    (bound,) = format_bounds(found, net.prepare(x), [np.zeros(ours.shape)])
    assert np.isfinite(bound).any()
    for port in ports()[precision]:
        error = np.abs(port.model(net.spec, x) - ours)
        assert not (error > bound).any()
    assert 1 < np.nanmedian(bound / error) < 100


def simulation(net: Network, x: Any, precision: str) -> Simulation:
    rounding = FormatRounding(net, NumberFormat.read(precision))
    return rounding.simulation(net.prepare(x))


MODELS = {
    "masked words": lambda: word_net(rnn("LSTM")),
    "backwards": lambda: word_net(rnn("GRU", go_backwards=True)),
    "reset before": lambda: word_net(rnn("GRU", reset_after=False)),
    "no bias": lambda: word_net(rnn("SimpleRNN", use_bias=False)),
}


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "fixed<16,6>", "int8"])
@pytest.mark.parametrize("name", list(MODELS))
def test_ports_that_round_at_random_are_within_the_bound(name, precision):
    net = like_trained(MODELS[name]())
    x = net.prepare(ids(batch=ROWS))
    (ours,) = net.flat(x, dtype="float64")
    found = simulation(net, x, precision)
    (bound,) = format_bounds(found, x, [np.zeros(ours.shape)])
    assert np.isfinite(bound).mean() > 0.5
    for seed in range(5):
        (port,) = found.network(seed).flat(found.inputs(x, seed), dtype="float64")
        assert not (np.abs(port - ours) > bound).any()


RECORDED = {
    "convolution": [
        layer("Conv1D", "conv", filters=INPUTS, kernel_size=[3], activation="relu")
    ],
    "normalized": [layer("BatchNormalization", "a"), layer("LayerNormalization", "b")],
    "a kink": [layer("Dense", "dense", units=6, activation="relu")],
}


def recorded(name: str) -> Network:
    """Features, layers whose operations are recorded, a GRU, Dense."""
    rest = [layer("GRU", "gru", units=5), layer("Dense", "head", units=OUTPUTS)]
    net = like_trained(spec(input_layer(None, 8, INPUTS), *RECORDED[name], *rest))

    def change(x: LayerSpec) -> LayerSpec:
        variance = {k: abs(w) + 0.5 for k, w in x.weights.items() if "variance" in k}
        return x.with_weights(**variance)

    return Network(replace(net.spec, root=net.spec.root.mapped(change)))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", list(RECORDED))
def test_recorded_layers_have_a_bound_in_floats(name, precision):
    net = recorded(name)
    x = net.prepare(features(batch=ROWS, time=8))
    (ours,) = net.flat(x, dtype="float64")
    found = simulation(net, x, precision)
    (bound,) = format_bounds(found, x, [np.zeros(ours.shape)])
    assert np.isfinite(bound).all()
    errors = []
    for seed in range(5):
        (port,) = found.network(seed).flat(found.inputs(x, seed), dtype="float64")
        errors.append(np.abs(port - ours))
        assert not (errors[-1] > bound).any()
    assert np.median(bound / np.mean(errors, axis=0)) < 60


@pytest.mark.parametrize("name", list(RECORDED))
def test_a_mistake_is_found_beyond_the_bound_of_recorded_layers(name):
    net, x = recorded(name), features(batch=ROWS, time=8)
    found = simulation(net, x, "float16")
    (right,) = found.network(1).flat(found.inputs(net.prepare(x), 1), dtype="float64")
    assert compared(net, x, right, "float16").verdict is Verdict.PASS
    for path, one in net.spec.walk():
        for key, weight in one.weights.items():
            moved = weight.copy()
            moved[-1] += 0.5
            layer = one.with_weights(**{key: moved})
            wrong = Network(net.spec.with_layer(layer, path))
            theirs = wrong.predict(x, dtype="float64")
            report = compared(net, x, theirs, "float16")
            assert report.verdict is Verdict.FAIL, (path, key)


@pytest.mark.parametrize("name", list(RECORDED))
def test_the_error_of_a_recorded_weight_counts_at_least_by_its_gradient(name):
    net = recorded(name)
    x = net.prepare(features(batch=1, time=8))
    number_format = NumberFormat.read("bfloat16")
    found = Simulation(net, number_format, Scales({}))
    trace = net.trace(x, dtype="float64")
    deviations = {key: {"x": np.zeros(1), "h": np.zeros(1)} for key in trace}
    visitor = FormatVisitor(found, deviations)
    visitor.begin(1, 1)
    gradient = np.array([[1.0, 0.0]])  # of the first output
    backprop(net, x, [gradient[None]], visit=visitor, single=trace, weights=False)
    exact = backprop(net, x, [gradient[None]]).weights
    seen: dict[str, float] = {}
    for (path, *_), moved in visitor.weights_drift.items():
        seen[path] = seen.get(path, 0.0) + float((moved**2).sum())
    assert seen.keys() == {one["config"]["name"] for one in RECORDED[name]}
    for path, variance in seen.items():
        right = 0.0
        for key, weight in net.spec[path].weights.items():
            error = EVEN * number_format.weight_error(key, weight)
            right += float(((exact[path][key][0] * error) ** 2).sum())
        assert right < variance < 100 * right, path


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU", "reset before"])
def test_the_error_of_a_weight_counts_by_its_gradient(kind):
    """Against backpropagation, for a single row."""
    options = {"reset_after": False} if kind == "reset before" else {}
    net = small("GRU" if options else kind, **options)
    x = net.prepare(features(batch=1, time=5))
    number_format = NumberFormat.read("bfloat16")
    found = Simulation(net, number_format, Scales({}))
    gradient = np.array([[1.0, 0.0]])  # of the first output
    deviations = {name: {"x": np.zeros(1), "h": np.zeros(1)} for name in net.trace(x)}
    visitor = FormatVisitor(found, deviations)
    visitor.begin(1, 1)
    exact = backprop(net, x, [gradient[None]], visit=visitor).weights
    seen: dict[tuple[str, str], float] = {}
    for (path, weight, part), products in visitor.products.items():
        variance, mean = visitor.weight_errors(path, weight, part, products)
        assert mean == 0
        seen[path, weight] = seen.get((path, weight), 0.0) + float(variance[0, 0])
    assert len(seen) == 5
    for (path, weight), variance in seen.items():
        error = number_format.weight_error(weight, net.spec[path].weights[weight])
        right = ((exact[path][weight][0] * error * EVEN) ** 2).sum()
        assert variance == pytest.approx(right, rel=1e-9)
        assert variance > 0


def test_a_port_of_fewer_bits_is_not_excused_by_more():
    net, x = small("LSTM"), features(batch=ROWS)
    theirs = Port(fixed(8, 3)).model(net.spec, x)
    assert compared(net, x, theirs, "fixed<18,6>").verdict is Verdict.FAIL
    theirs = Port(fixed(9, 2)).model(net.spec, x)
    assert compared(net, x, theirs, "float16").verdict is Verdict.FAIL


def test_a_format_that_decides_nothing_is_inconclusive_and_says_how_far_it_goes():
    net, x = small("GRU"), features(batch=ROWS, time=12)
    report = compared(net, x, Port(fixed(6, 3)).model(net.spec, x), "fixed<6,3>")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason.startswith("computing in fixed<6,3> changes the outputs of")


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize(
    ("precision", "port"),
    [
        ("float16", Port(float16)),
        ("fixed<16,6>", Port(fixed(16, 6))),
        ("int8", Port(exact, int8, wide=True)),
    ],
)
def test_a_mistake_is_found_and_named_under_the_rounding_of_a_port(
    kind, precision, port
):
    name = {"LSTM": "gate order f,i,c,o", "GRU": "gate order r,z,h"}[kind]
    net, x = small(kind), features(batch=ROWS, time=9)
    theirs = port.model(mutated(net.spec, name).spec, x)
    report = verify.compare_outputs(net, x, theirs, precision=precision)
    assert report.verdict is Verdict.FAIL
    assert report.reason.endswith(f"not even computed in {precision}")
    assert report.diagnosis.explanations[0].mistake == name


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["LSTM", pytest.param("GRU", marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize("precision", ["float16", "fixed<16,6>", "int8"])
def test_no_mistake_that_shows_passes(kind, precision):
    """Every fifth mistake in the weights, in a port of that precision."""
    net, x = small(kind), features(batch=ROWS, time=9)
    (ours,) = net.flat(net.prepare(x), dtype="float64")
    port, shown = ports()[precision][0], 0
    for mutant in mistakes_of_weights(net)[::5]:
        (wrong,) = mutant.evaluate(net.prepare(x))
        report = compared(net, x, port.model(mutant.model, x), precision)
        (tolerance,) = report.partial_result.tolerances
        effect = float(np.max(np.abs(wrong - ours) / tolerance.atol))
        shown += effect > 2
        if effect > 2:
            assert report.verdict is Verdict.FAIL, mutant.name
    assert shown >= 8


def test_a_number_out_of_range_is_said_with_its_layer():
    net, x = small("LSTM"), features(batch=ROWS)
    dense = net.spec["dense"]
    large = dense.weights["kernel"] * np.float32(200)
    root = net.spec.root.replaced("dense", dense.with_weights(kernel=large))
    net = Network(replace(net.spec, root=root))
    (ours,) = net.flat(net.prepare(x), dtype="float64")
    theirs = Port(fixed(24, 6)).model(net.spec, x)  # saturates at 32
    report = compared(net, x, theirs, "fixed<24,6>")
    assert np.abs(ours).max() > 32
    assert report.verdict is Verdict.FAIL
    (said,) = [w for w in report.warnings if "saturates" in w]
    assert said.startswith("Layer 'dense' (Dense): ")
    assert "fixed<24,6> holds numbers up to 32" in said
    right = compared(net, x, Port(fixed(28, 10)).model(net.spec, x), "fixed<28,10>")
    assert right.verdict is Verdict.PASS
    assert not [w for w in right.warnings if "saturates" in w]


def test_the_sum_before_the_activations_must_be_in_range_too():
    net, x = small("LSTM"), features(batch=ROWS)
    x[3, 2] = 3.9
    told = beyond_range(net, net.prepare(x), NumberFormat.read("fixed<16,3>"))
    (said,) = [line for line in told if "'rnn'" in line]
    assert "the sum before the activations reaches" in said


def test_a_model_without_a_bound_is_held_to_what_the_format_does():
    net = like_trained(
        spec(
            input_layer(None, None, INPUTS),
            rnn("LSTM", return_sequences=True),
            layer("LayerNormalization", "norm", axis=-1),
            layer("Dense", "dense", units=OUTPUTS),
        )
    )
    x = features(batch=ROWS)
    for precision in ("fixed<18,6>", "fixed<24,8>"):
        found = simulation(net, x, precision)
        given = found.inputs(net.prepare(x), 99)
        (theirs,) = found.network(99).flat(given, dtype="float64")
        report = compared(net, x, theirs, precision)
        assert report.verdict is Verdict.PASS, report
        said = f"noise floor of {precision} (Layer 'norm' (LayerNormalization): how it "
        assert said in report.to_text()
        wrong = theirs + 0.3 * np.abs(theirs).max()
        assert compared(net, x, wrong, precision).verdict is Verdict.FAIL


@pytest.mark.parametrize("precision", PRECISIONS)
def test_states_and_masks_are_simulated(precision):
    net = like_trained(MODELS["masked words"]())
    x = ids(batch=ROWS)
    assert compared(net, x, net.predict(x), precision).verdict is not Verdict.FAIL
    stateful = stateful_net("GRU", 4)
    x = features(batch=8)
    outputs = stateful.predict(x)
    assert compared(stateful, x, outputs, precision).verdict is not Verdict.FAIL


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_of_many_layers_is_simulated(precision):
    """Convolution, attention, pooling, normalisation, masks, several inputs."""
    net, x = Network(production.model()), production.inputs()
    ours = net.flat(x, dtype="float64")
    report = compared(net, list(x), ours, precision)
    assert report.verdict is not Verdict.FAIL
    floats = precision in ("float16", "bfloat16")
    assert (f"derived bound of {precision}" in report.allowance) == floats
    simulated = simulation(net, list(x), precision)
    theirs = simulated.network(7).flat(simulated.inputs(x, 7), dtype="float64")
    assert all((a != b).any() for a, b in zip(ours, theirs, strict=True))
    assert compared(net, list(x), theirs, precision).verdict is not Verdict.FAIL


def test_infinite_outputs_are_inconclusive_without_a_warning():
    exponential = layer("Activation", "exp", activation="exponential")
    net = Network(spec(input_layer(None, INPUTS), exponential))
    x = np.full((2, INPUTS), 800.0, dtype=np.float32)
    report = compared(net, x, np.full((2, INPUTS), np.inf), "float16")
    assert report.verdict is Verdict.INCONCLUSIVE


def test_batches_add_up_to_the_whole(tmp_path):
    net, x = small("GRU", "softmax"), features(batch=60)
    theirs = Port(float16).model(net.spec, x)
    limits = Limits(batch_rows=25)
    report = compared(net, x, theirs, "float16", limits=limits)
    assert report.verdict is Verdict.PASS
    path = tmp_path / "report.json"
    compared(net, x, theirs, "float16", watch=Watch(path))
    compared(net, x, theirs, "float16", watch=Watch(path, resume=True))
    with pytest.raises(DataError, match="precision"):
        compared(net, x, theirs, "bfloat16", watch=Watch(path, resume=True))


def test_an_allowance_that_hides_much_is_said():
    net, x = small("LSTM"), features(batch=ROWS, time=9)
    wide = compared(net, x, Port(bfloat16).model(net.spec, x), "bfloat16")
    (said,) = [line for line in wide.warnings if "cannot be seen" in line]
    assert wide.verdict is Verdict.PASS
    assert said.startswith("bfloat16 may change an output by up to ")
    near = compared(net, x, Port(float16).model(net.spec, x), "float16")
    assert not [line for line in near.warnings if "cannot be seen" in line]


def test_tolerance_and_precision_exclude_each_other():
    net, x = small("GRU"), features(batch=2)
    with pytest.raises(DataError, match="expected one of the two"):
        compared(net, x, net.predict(x), "float16", tolerance=0.1)


def test_the_command_takes_a_precision(tmp_path, capsys):
    path = lstm_file(tmp_path / "m.keras")
    net, x = verify.load(path), ids(batch=ROWS)
    unmasked = x.copy()
    unmasked[unmasked == 0] = 1  # the port of the tests has no masks
    np.save(tmp_path / "x.npy", unmasked)
    np.save(tmp_path / "y.npy", Port(float16).model(net.spec, unmasked))
    files = [
        *("compare", str(path), "--data", str(tmp_path / "x.npy")),
        *("--outputs", str(tmp_path / "y.npy"), "--diagnosis-seconds", "0"),
    ]
    assert main(files) == 1
    capsys.readouterr()
    assert main([*files, "--precision", "float16"]) == 0
    assert "computed in float16" in capsys.readouterr().out
    said = refused(capsys, *files, "--precision", "float8")
    assert "precision: expected float16, bfloat16" in said


if INSTALLED:

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["LSTM", "GRU"])
    def test_a_quantised_model_in_onnx_runtime_passes_by_its_precision(kind, tmp_path):
        """Weights of 8 bits and dynamic scales: DynamicQuantizeLSTM, MatMulInteger."""
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic

        net = like_trained(word_net(layer(kind, "rnn", units=16), mask_zero=False))
        x = 1 + ids(batch=ROWS) % (VOCABULARY - 1)
        path, small = tmp_path / "m.onnx", tmp_path / "int8.onnx"
        path.write_bytes(onnx_model(net).content)
        logging.disable(logging.WARNING)
        try:
            quantize_dynamic(path, small, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)
        session = onnxruntime.InferenceSession(small.read_bytes())
        (theirs,) = session.run(None, {net.input_names[0]: x})
        assert compared(net, x, theirs, "int8").verdict is Verdict.PASS
        assert compared(net, x, theirs, "fixed<28,6>").verdict is Verdict.FAIL
