"""Run frameworks on random weights, and compare with the equations in NumPy."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from verify.forward.activations import resolve
from verify.forward.cells import gru_step, lstm_step, simple_rnn_step
from verify.model.arrays import Array
from verify.model.conventions import Convention, conventions, to_framework
from verify.model.spec import LayerSpec

RUNNERS = Path(__file__).parent / "runners"
BATCH, TIME, INPUTS, UNITS = 2, 7, 3, 5
LIMIT = 1e-6
"""Difference from which a convention is wrong; the best wrong ones miss by 3e-2."""

MODULES: Mapping[str, tuple[str, str]] = {
    "keras": ("run_keras", "keras"),
    "torch": ("run_torch", "torch"),
    "onnxruntime": ("run_onnxruntime", "onnxruntime"),
    "onnx.reference": ("run_onnx_reference", "onnx"),
    "openvino": ("run_openvino", "openvino"),
    "litert": ("run_litert", "ai_edge_litert"),
    "flax.nnx": ("run_flax_nnx", "flax"),
    "flax.linen": ("run_flax_linen", "flax"),
    "haiku": ("run_haiku", "haiku"),
    "equinox": ("run_equinox", "equinox"),
    "mlx": ("run_mlx", "mlx"),
    "tinygrad": ("run_tinygrad", "tinygrad"),
    "paddle": ("run_paddle", "paddle"),
    "sonnet": ("run_sonnet", "sonnet"),
    "mxnet": ("run_mxnet", "mxnet"),
    "chainer": ("run_chainer", "chainer"),
    "rtneural": ("run_rtneural", ""),
    "keras2c": ("run_keras2c", ""),
    "onednn": ("run_onednn", ""),
    "mnn": ("run_mnn", "MNN"),
    "ncnn": ("run_ncnn", "ncnn"),
    "tfjs": ("run_tfjs", ""),
}
"""Framework -> the module that runs it, and the package that has to be importable.
Those that are no package of Python run if they are named."""

COMMAND = "python -m benchmarks.conventions"


@dataclass(frozen=True, eq=False)
class Case:
    """Hold a layer with random weights, its inputs and what it computes in float64.

    Attributes
    ----------
    convention : Convention
    layer : LayerSpec
        A recurrent layer, or a Bidirectional of two.
    x : (batch, time, inputs)
    outputs : list of ndarray
        The outputs, (batch, time, units), and the final states of each direction.
    """

    convention: Convention
    layer: LayerSpec
    x: Array
    outputs: list[Array]

    @property
    def both(self) -> bool:
        """Return whether the layer has both directions."""
        return self.layer.class_name == "Bidirectional"

    @property
    def first_layer(self) -> LayerSpec:
        """Return the layer, or of both directions the first."""
        return self.layer.sublayers["forward_layer"] if self.both else self.layer

    def arrays(self) -> dict[str, Array]:
        """Return the weights as the framework has them."""
        form = self.convention
        return to_framework(self.layer, form.framework, cell=form.cell)

    def difference(self, found: Sequence[Any]) -> float:
        """Return the greatest difference of what a framework computed.

        A framework may return fewer states than there are.

        Raises
        ------
        ValueError
            An output has another shape, or is not finite.
        """
        if not 1 <= len(found) <= len(self.outputs):
            raise ValueError(f"{len(self.outputs)} arrays expected, not {len(found)}")
        worst = 0.0
        for ours, theirs in zip(self.outputs, found, strict=False):
            array = np.asarray(theirs, np.float64)
            if array.shape != ours.shape or not np.isfinite(array).all():
                raise ValueError(f"{ours.shape} expected, not {array.shape}")
            worst = max(worst, float(np.abs(array - ours).max()))
        return worst


def cases(framework: str, seed: int = 0, *, both: bool = True) -> list[Case]:
    """Return a case for each convention of a framework, and one for both directions."""
    found = []
    for k, form in enumerate(conventions(framework)):
        if form.arrays is None:
            continue
        found.append(_case(form, seed + 10 * k, both=False))
        if both:
            found.append(_case(form, seed + 10 * k + 1, both=True))
    return found


def measured(
    framework: str, seed: int = 0, python: str | None = None
) -> tuple[str, list[tuple[Case, float]]]:
    """Run every case of a framework.

    Parameters
    ----------
    framework : str
    seed : int
    python : str, optional
        The interpreter that has the framework; by default it is imported here.

    Returns
    -------
    version : str
    list of (Case, float)
        Each with the greatest difference of its outputs.
    """
    name, _ = MODULES[framework]
    found = cases(framework, seed, both=has_both(RUNNERS / f"{name}.py"))
    if python is None:
        module = import_module(f"benchmarks.conventions.runners.{name}")
        version, run = module.version(), in_this_process(module)
        return version, [(one, one.difference(run(one))) for one in found]
    version, outputs = elsewhere(python, name, found)
    pairs = zip(found, outputs, strict=True)
    return version, [(one, one.difference(arrays)) for one, arrays in pairs]


def in_this_process(module: ModuleType) -> Callable[[Case], Sequence[Any]]:
    """Return a function that runs a case with a module of `runners`."""

    def run(case: Case) -> Sequence[Any]:
        result: Sequence[Any] = module.run(
            case.convention.cell, case.arrays(), case.x, case.both
        )
        return result

    return run


def is_here(framework: str) -> bool:
    """Return whether a framework can be imported in this environment."""
    package = MODULES[framework][1]
    return bool(package) and importlib.util.find_spec(package) is not None


def has_both(path: Path) -> bool:
    """Return what a runner says of both directions; it may not import here."""
    return "\nBOTH = True\n" in path.read_text(encoding="utf-8")


def elsewhere(
    python: str, name: str, found: Sequence[Case]
) -> tuple[str, list[list[Array]]]:
    """Run cases in another interpreter; return the version, and each one's outputs."""
    given: dict[str, Any] = {
        "cells": np.array([case.convention.cell for case in found]),
        "both": np.array([case.both for case in found]),
    }
    for k, case in enumerate(found):
        given[f"{k} x"] = case.x
        given |= {f"{k} {key}": value for key, value in case.arrays().items()}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "cases.npz", Path(folder) / "outputs.npz"
        np.savez(source, allow_pickle=False, **given)
        command = [python, str(RUNNERS / "exchange.py"), name, str(source), str(target)]
        environment = {**os.environ, "PYTHONPATH": str(RUNNERS.parents[2])}
        subprocess.run(command, check=True, env=environment)
        with np.load(target, allow_pickle=False) as held:
            results = [
                [
                    held[key]
                    for key in sorted(
                        (key for key in held.files if key.startswith(f"{k} ")),
                        key=lambda key: int(key.split()[1]),
                    )
                ]
                for k in range(len(found))
            ]
            return str(held["version"]), results


def _case(form: Convention, seed: int, *, both: bool) -> Case:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(BATCH, TIME, INPUTS)).astype(np.float32)
    if not both:
        layer = _layer(form, rng, "layer")
        return Case(form, layer, x, _computed(layer, x))
    inner = {key: _layer(form, rng, key) for key in ("forward_layer", "backward_layer")}
    (y, *states), (y_rev, *states_rev) = (
        _computed(layer, x if key == "forward_layer" else x[:, ::-1])
        for key, layer in inner.items()
    )
    layer = LayerSpec("both", "Bidirectional", {"merge_mode": "concat"}, {}, inner)
    outputs = [np.concatenate([y, y_rev[:, ::-1]], axis=-1), *states, *states_rev]
    return Case(form, layer, x, outputs)


def _layer(form: Convention, rng: np.random.Generator, name: str) -> LayerSpec:
    """Return a layer with random weights and biases that are not zero."""
    width = len(form.gates) * UNITS
    shapes: dict[str, tuple[int, ...]] = {
        "kernel": (INPUTS, width),
        "recurrent_kernel": (UNITS, width),
        "bias": (2, width) if form.reset_after else (width,),
    }
    weights = {
        key: rng.normal(scale=0.6, size=shape).astype(np.float32)
        for key, shape in shapes.items()
    }
    if form.needs is not None:
        weights["bias"][1, 2 * UNITS :] = 0
    only = (form.activations or {}).get("activation", ("tanh",))
    options: dict[str, Any] = {
        "units": UNITS,
        "use_bias": True,
        "activation": "tanh" if "tanh" in only else only[0],
    }
    if form.keras_layer != "SimpleRNN":
        options["recurrent_activation"] = "sigmoid"
    if form.keras_layer == "GRU":
        options["reset_after"] = form.reset_after
    return LayerSpec(name, form.keras_layer, options, weights)


def _computed(layer: LayerSpec, x: Array) -> list[Array]:
    """Return the outputs and final states of a layer in float64."""
    weights: dict[str, Any] = {
        key: value.astype(np.float64) for key, value in layer.weights.items()
    }
    options = layer.options
    functions: dict[str, Any] = {"activation": resolve(options["activation"])}
    h = c = np.zeros((len(x), options["units"]))
    found = []
    if layer.class_name != "SimpleRNN":
        functions["recurrent_activation"] = resolve(options["recurrent_activation"])
    if layer.class_name == "GRU" and not options["reset_after"]:
        weights["bias"] = np.stack([weights["bias"], np.zeros_like(weights["bias"])])
    for t in range(x.shape[1]):
        given = x[:, t].astype(np.float64)
        if layer.class_name == "LSTM":
            step = lstm_step(given, h, c, **weights, **functions)
            h, c = step.h, step.c
        elif layer.class_name == "GRU":
            h = gru_step(
                given, h, **weights, **functions, reset_after=options["reset_after"]
            ).h
        else:
            h = simple_rnn_step(given, h, **weights, **functions).h
        found.append(h)
    return [np.stack(found, axis=1), h, *([c] if layer.class_name == "LSTM" else [])]
