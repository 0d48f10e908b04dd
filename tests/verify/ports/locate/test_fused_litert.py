"""Fused operators of LiteRT, whose gates are computed from what the file holds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support import nets

from verify import Network

from .conftest import located, place

ROOT = Path(__file__).parents[4]
ROWS = np.random.default_rng(5).normal(size=(1, nets.TIME, 3)).astype(np.float32)
Weights = dict[str, np.ndarray]


def fused_file(cell: str, weights: dict[str, np.ndarray], path: Path) -> Path:
    """Write a LiteRT file with one fused operator."""
    source = ROOT / "benchmarks" / "conventions" / "runners" / "run_litert.py"
    found = importlib.util.spec_from_file_location("run_litert", source)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    path.write_bytes(module._file(cell, weights, ROWS.shape))
    return path


def test_fused_operators_of_litert(tmp_path: Path) -> None:
    net = nets.feature_net("LSTM", return_sequences=True)
    weights = {}
    names = ("input", "forget", "cell", "output")
    for key, prefix in (("kernel", "input"), ("recurrent_kernel", "recurrent")):
        blocks = np.split(net.spec["rnn"].weights[key].T, 4)
        weights |= {
            f"{prefix}_to_{name}_weights": np.ascontiguousarray(block)
            for name, block in zip(names, blocks, strict=True)
        }
    blocks = np.split(net.spec["rnn"].weights["bias"], 4)
    weights |= {f"{n}_gate_bias": b for n, b in zip(names, blocks, strict=True)}
    cell, path = "UNIDIRECTIONAL_SEQUENCE_LSTM", tmp_path / "fused.tflite"
    assert located(fused_file(cell, weights, path), net, ROWS) is None
    changed = weights["recurrent_to_cell_weights"].copy()
    changed[2, 1] += 0.3
    wrong = {**weights, "recurrent_to_cell_weights": changed}
    found = located(fused_file(cell, wrong, path), net, ROWS)
    assert place(found) == ("rnn", "c_hat", 1, 2)
    wrong = {
        **weights,
        "input_gate_bias": weights["output_gate_bias"],
        "output_gate_bias": weights["input_gate_bias"],
    }
    found = located(fused_file(cell, wrong, path), net, ROWS)
    assert place(found)[:3] == ("rnn", "i", 0)
    assert found is not None
    assert found.sentences[1] == (
        "bias: the operator reads gate o in place of i and gate i in place of o"
    )


class Writer:
    """Write a file with one operator."""

    def __init__(self) -> None:
        self.buffers, self.tensors = [schema.BufferT()], []

    def tensor(self, shape: tuple[int, ...], value: np.ndarray | None = None) -> int:
        """Add a tensor, with a constant in it or not."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"t{len(self.tensors)}", np.array(shape, np.int32)
        tensor.type = schema.TensorType.FLOAT32
        if value is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def states(self, shape: tuple[int, ...]) -> int:
        """Add a tensor that the interpreter keeps."""
        index = self.tensor(shape)
        self.tensors[index].isVariable = True
        return index


def bidirectional(halves: list[Weights], merged: bool, rows: int, path: Path) -> Path:
    """Write the operator for two directions, with one output or two."""
    writer, units = Writer(), nets.UNITS
    shape = (rows, nets.TIME, nets.INPUTS)
    inputs = [writer.tensor(shape)]
    for weights in halves:
        for name, absent in (("kernel", 0), ("recurrent_kernel", 3), ("bias", 2)):
            parts = np.split(weights[name].T, 4)
            inputs += [writer.tensor(part.shape, part) for part in parts]
            inputs += [-1] * absent  # peepholes, then a projection
    inputs += [writer.states((rows, units)) for _ in range(4)]
    inputs += [-1] * 9  # a second input and its weights
    widths = [2 * units] if merged else [units, units]
    outputs = [writer.tensor((*shape[:2], width)) for width in widths]
    operator, options = schema.OperatorT(), schema.BidirectionalSequenceLSTMOptionsT()
    operator.inputs, operator.outputs = inputs, outputs
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    options.mergeOutputs, options.timeMajor = merged, False
    operator.builtinOptionsType = schema.BuiltinOptions.BidirectionalSequenceLSTMOptions
    operator.builtinOptions = options
    code, graph, model = schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = schema.BuiltinOperator.BIDIRECTIONAL_SEQUENCE_LSTM
    code.deprecatedBuiltinCode = code.builtinCode
    graph.tensors, graph.operators = writer.tensors, [operator]
    graph.inputs, graph.outputs = [0], outputs
    model.version, model.subgraphs, model.buffers = 3, [graph], writer.buffers
    model.operatorCodes = [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def network(merge_mode: str | None) -> Network:
    """A Bidirectional LSTM that returns every step."""
    model = nets.FunctionalNet()
    x = model.input("x", None, nets.TIME, nets.INPUTS)
    inner = nets.rnn("LSTM", "lstm", return_sequences=True)
    config = nets.layer("Bidirectional", "bi", merge_mode=merge_mode, layer=inner)
    outputs = model.call(config, x, features=nets.INPUTS)
    return Network(model.spec(*outputs[: 1 if merge_mode else 2]))


def halves(net: Network) -> list[Weights]:
    """The weights of both directions."""
    return [
        {k: v.astype(np.float32) for k, v in net.spec[f"bi/{d}"].weights.items()}
        for d in ("forward_layer", "backward_layer")
    ]


@pytest.mark.parametrize("merged", [True, False])
def test_both_directions(tmp_path: Path, merged: bool) -> None:
    net, path = network("concat" if merged else None), tmp_path / "bi.tflite"
    assert located(bidirectional(halves(net), merged, 1, path), net, ROWS) is None
    for k, (name, step) in enumerate(
        (("forward_layer", 1), ("backward_layer", nets.TIME - 2))
    ):
        wrong = halves(net)
        wrong[k]["recurrent_kernel"][1, 5] += 0.3
        found = located(bidirectional(wrong, merged, 1, path), net, ROWS)
        assert place(found) == (f"bi/{name}", "f", step, 1)


def test_the_runtime_is_wrong_for_several_rows_of_merged_outputs(
    tmp_path: Path,
) -> None:
    net, rows = network("concat"), nets.features(batch=3)
    path = bidirectional(halves(net), True, 3, tmp_path / "bi.tflite")
    found = located(path, net, rows)
    assert found is not None
    assert found.gate == "h"
    assert found.row in (1, 2)
    assert found.sentences[1].endswith(
        "the runtime computes something else than the file says"
    )
    apart = network(None)
    path = bidirectional(halves(apart), False, 3, path)
    assert located(path, apart, rows) is None
