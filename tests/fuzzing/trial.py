"""One random model held against Keras, live and through a file."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing.backends import BACKEND, call
from fuzzing.program import OWN_DTYPE, Program
from layer_cases.check import float64, randomise

import verify
from verify.errors import KerasCannotRun, UnsupportedError
from verify.model.backends import Limit, Rule
from verify.model.graph import flatten, map_structure
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.compare import PROOF_TOLERANCE, compare_all
from verify.tolerance.error_bound import bounded_outputs
from verify.tolerance.noise_floor import Rounding

FILES = (".keras", ".h5", ".weights.h5")
DIFFERS = "backend differs"
AGREEING = ("agrees", DIFFERS)

MERGED_APART = 1e-5
"""Greatest difference that rounding to float32 may make of one layer's weights."""

MAX_POOLING = ("MaxPooling1D", "MaxPooling2D", "MaxPooling3D")

CHECKED = 5
"""Each trial of so many is put to `verify.check` too, which compares every layer."""


class KerasCannot(Exception):
    """Report that Keras itself fails on a model that it has built and run."""


@dataclass(frozen=True)
class Outcome:
    """Hold what came of a trial.

    Attributes
    ----------
    kind : str
        ``agrees``, ``refused`` (as it must be), ``keras cannot`` (Keras itself fails on
        the model), ``backend differs`` (agrees too, but computes something else than on
        TensorFlow, by the rules in `detail`), ``amplifies`` (float64 itself is not
        exact enough) or ``FAILS``.
    difference : float
        The greatest one in float64.
    detail : str
    numerics : str
        How `predict` in the model's own dtype compares, where that is not float64:
        ``agrees`` within the noise floor, ``within bound`` where one is derived, or
        ``undecided`` where neither decides anything.
    derived : float or None
        The share of the outputs' numbers that have a derived bound; None where nothing
        was compared in 32 bits.
    verdict : str
        That of `verify.check`, which must not be FAIL; empty if it was not asked.
    """

    kind: str
    difference: float = 0.0
    detail: str = ""
    numerics: str = ""
    derived: float | None = None
    verdict: str = ""


def try_program(program: Program, seed: int, folder: Path) -> Outcome:
    """Build it, run it on both sides, save it, read it, run it again."""
    if BACKEND != "tensorflow":  # Keras there trips over variables of earlier models
        import keras

        keras.utils.clear_session(free_memory=False)
    with float64(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = randomise(in_float64(program), seed)
            x = program.data(seed)
            theirs = keras_outputs(model, x, program.batch_size)
        except Exception as error:  # Keras refuses combinations in many ways
            lines = str(error).strip().splitlines() or [""]
            return Outcome("keras cannot", 0.0, f"{type(error).__name__}: {lines[0]}")
        outcome = _attempt(program, _compared, program, model, x, theirs, seed, folder)
    if outcome.kind in AGREEING and program.policy != "float64":
        outcome = _attempt(program, _in_own_dtype, program, outcome, seed)
    if outcome.kind in AGREEING and seed % CHECKED == 0:
        outcome = _attempt(program, _judged, program, outcome, seed)
    return outcome


def _attempt(
    program: Program, trial: Callable[..., Outcome], *arguments: Any
) -> Outcome:
    try:
        return trial(*arguments)
    except KerasCannot as error:
        return Outcome("keras cannot", 0.0, str(error).splitlines()[0])
    except UnsupportedError as error:
        elsewhere = next(
            (f"{x.name} on {BACKEND}" for x in Limit if x in str(error)), ""
        )
        reason = program.refused or (elsewhere if BACKEND != "tensorflow" else "")
        kind = "refused" if reason else "FAILS"
        return Outcome(kind, 0.0, reason or f"refused: {error}")
    except Exception as error:
        return Outcome("FAILS", 0.0, f"{type(error).__name__}: {error}")


def in_float64(program: Program) -> Any:
    """The model with every layer in float64."""
    lines = tuple(
        replace(line, options={k: v for k, v in line.options.items() if v != OWN_DTYPE})
        for line in program.lines
    )
    return replace(program, policy="float64", lines=lines).build()


def keras_outputs(model: Any, x: list[np.ndarray], batch: int | None) -> list[Any]:
    """Every output; batch by batch where the model fixes their size."""
    import keras

    given = for_keras(x)
    if batch is not None:
        return flatten(model.predict(given, batch_size=batch, verbose=0))
    return flatten(map_structure(keras.ops.convert_to_numpy, call(model, given)))


def for_keras(x: list[np.ndarray]) -> Any:
    """The inputs as Keras takes them: as tensors if texts are among them."""
    if BACKEND == "tensorflow" and any(array.dtype.kind == "U" for array in x):
        import tensorflow as tf

        x = list(map(tf.constant, x))
    return x if len(x) > 1 else x[0]


def _compared(
    program: Program,
    model: Any,
    x: list[np.ndarray],
    theirs: list[Any],
    seed: int,
    folder: Path,
) -> Outcome:
    worst, differing = 0.0, set()
    suffix = FILES[seed % len(FILES)]
    for source in ("live", suffix):
        net = (
            verify.load(model) if source == "live" else _through(model, source, folder)
        )
        if program.refused:
            return Outcome(
                "FAILS", 0.0, f"{program.refused} was not refused ({source})"
            )
        net.floatx = "float64"
        inputs = net.prepare(x if len(x) > 1 else x[0])
        ours = net.flat(inputs, dtype="float64")
        if [y.shape for y in ours] != [y.shape for y in theirs]:
            shapes = [y.shape for y in ours], [y.shape for y in theirs]
            return Outcome("FAILS", np.inf, f"{source}: shapes {shapes}")
        found = max(_difference(a, b) for a, b in zip(ours, theirs, strict=True))
        if not found <= PROOF_TOLERANCE:
            if BACKEND == "tensorflow" and pools_nan(net, inputs):
                return Outcome("keras cannot", 0.0, "TensorFlow's maximum of NaN")
            rounds = found <= 1000 * Rounding(net).amplified(inputs)
            rounds = rounds or (
                source == ".h5" and _merges_lora(model) and found < MERGED_APART
            )
            rounds = rounds or _rounds_in_single(model, x, program.batch_size)
            if not rounds and _jumps(net, inputs) > found / 2:
                decided = Outcome("amplifies", found, f"{source}: jumps by {found:.2g}")
                return _judged(program, decided, seed)
            kind = "amplifies" if rounds else "FAILS"
            return Outcome(kind, found, f"{source}: differs by {found:.2g}")
        fast = net.flat(inputs, dtype="float64", fast=True)
        apart = max(_difference(a, b) for a, b in zip(fast, ours, strict=True))
        if not apart <= PROOF_TOLERANCE:
            return Outcome("FAILS", apart, f"{source}: quickly {apart:.2g} apart")
        worst = max(worst, found)
        rules = net.rule_effects(inputs)
        differing |= {
            rule.name
            for rule, by in rules.items()
            if isinstance(rule, Rule) and by > PROOF_TOLERANCE
        }
    if differing:
        return Outcome(DIFFERS, worst, ", ".join(sorted(differing)))
    return Outcome("agrees", worst)


def pools_nan(net: verify.Network, x: Any) -> bool:
    """Tell whether max pooling is given NaN, which TensorFlow leaves out."""
    pooled = (
        value
        for call in net.trace(x, dtype="float64").values()
        if call.layer.class_name in MAX_POOLING
        for value in flatten(call.input)
    )
    return any(np.isnan(value).any() for value in pooled)


def _merges_lora(model: Any) -> bool:
    """Tell whether `.h5` files have matrices of LoRA, which Keras keeps in float32.

    NumPy multiplies them there, and Keras here.
    """
    layers = model._flatten_layers()
    return any(getattr(layer, "lora_enabled", False) for layer in layers)


def _rounds_in_single(model: Any, x: list[np.ndarray], batch: int | None) -> bool:
    """Tell whether Keras has layers in float32 in float64, too, and each agrees."""
    report = verify.check(model, x if len(x) > 1 else x[0], batch_size=batch or 32)
    single = any(layer.in_single for layer in report.layers)
    return single and report.verdict is not verify.Verdict.FAIL


def _jumps(net: verify.Network, x: Any) -> float:
    """Return how far the outputs in float32 are from those in float64.

    As far as the outputs of Keras, if rounding decides something: whether a step is
    masked where a difference comes out as 0 or as 1e-16. `check` then tells whether
    each layer is right on what Keras gives it.
    """
    pairs = zip(net.flat(x, dtype="float32"), net.flat(x, dtype="float64"), strict=True)
    return max(_difference(a.astype(np.float64), b) for a, b in pairs)


def _in_own_dtype(program: Program, outcome: Outcome, seed: int) -> Outcome:
    """`predict` in the program's own policy, which computes in 32 or 16 bits."""
    data = program.data(seed)
    with own_policy():
        try:
            model = randomise(program.build(), seed)
            batch = program.batch_size
            y = model.predict(for_keras(data), batch_size=batch, verbose=0)
        except Exception:  # no such kernel: float64 has been compared
            return outcome
        net = verify.load(model)
        x = net.prepare(data if len(data) > 1 else data[0])
    theirs = [np.asarray(array).astype(float) for array in flatten(y)]
    ours = net.flat(x, dtype="float64")
    floors = Rounding(net).noise_floors(x, ours)
    floors = bounded_outputs(net, x, floors, ours, theirs, worst_known_errors())
    share = None
    if net.spec.policies <= {"float32"}:
        numbers = [a.size for a in ours]
        share = float(np.average([f.derived for f in floors], weights=numbers))
    outcome = replace(outcome, derived=share)
    if not all(floor.decides for floor in floors):
        return replace(outcome, numerics="undecided")
    # The mean of a row that is all masked is NaN, of which a compiled ReLU makes 0.
    known = [np.isfinite(a) for a in ours]
    result = compare_all(
        [np.where(k, a, 0.0) for k, a in zip(known, ours, strict=True)],
        [np.where(k, b, 0.0) for k, b in zip(known, theirs, strict=True)],
        allowed=[floor.atol for floor in floors],
    )
    if result.matches:
        derived = any(floor.derived for floor in floors)
        return replace(outcome, numerics="within bound" if derived else "agrees")
    if "float16" in program.policy:  # a number may jump, which check knows
        judged = _judged(program, outcome, seed)
        if judged.kind != "FAILS":
            return replace(judged, numerics="undecided")
    return Outcome("FAILS", result.max_diff, f"{program.policy}: {result}")


def _judged(program: Program, outcome: Outcome, seed: int) -> Outcome:
    """The verdict of a check of the model as its program makes it."""
    data = program.data(seed)
    with own_policy():
        try:
            model = randomise(program.build(), seed)
        except Exception:  # Keras has no such layer in this policy
            return outcome
    try:
        report = verify.check(
            model,
            data if len(data) > 1 else data[0],
            batch_size=program.batch_size or 32,
        )
    except KerasCannotRun as error:
        return replace(outcome, verdict=f"refused: {error}"[:100])
    if report.verdict is verify.Verdict.FAIL:
        return Outcome("FAILS", outcome.difference, f"check: {report}")
    return replace(outcome, verdict=report.verdict.value)


@contextmanager
def own_policy() -> Iterator[None]:
    """Let a program set Keras's policy in the ``with``, without warnings."""
    import keras

    before = keras.config.dtype_policy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        keras.config.set_dtype_policy(before)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The greatest one, relative where outputs exceed 1; NaN must meet NaN."""
    ours, theirs = ours.astype(float), np.asarray(theirs).astype(float)
    both = ~np.isfinite(ours) & ~np.isfinite(theirs)
    diff = np.where(both | (ours == theirs), 0.0, np.abs(ours - theirs))
    scale = np.maximum(1.0, np.where(np.isfinite(ours), np.abs(ours), 1.0))
    return float(np.max(np.nan_to_num(diff / scale, nan=np.inf), initial=0.0))


def _through(model: Any, suffix: str, folder: Path) -> verify.Network:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / f"model{suffix}"
        if suffix == ".weights.h5":
            _saved(model.save_weights, path)
            config = Path(place) / "model.json"
            config.write_text(json.dumps(json.loads(model.to_json())))
            return verify.load(path, config=config, backend=BACKEND, keras=_version())
        try:
            model.save(path)
        except TypeError:  # Keras cannot write the options of RandomSharpness to HDF5
            path = path.with_suffix(".keras")
            _saved(model.save, path)
        except Exception as error:
            raise KerasCannot(f"save {suffix}: {error}") from error
        return verify.load(path, backend=BACKEND)


def _saved(save: Callable[[Path], None], path: Path) -> None:
    """Have Keras write a file."""
    try:
        save(path)
    except Exception as error:
        raise KerasCannot(f"save {path.suffix}: {error}") from error


def _version() -> str:
    """The version of Keras that runs: a weights file does not say by which it was."""
    import keras

    return str(keras.__version__)


def smallest(program: Program, seed: int, folder: Path) -> Program:
    """The program cut down as far as it still fails."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in program.smaller():
            if try_program(candidate, seed, folder).kind == "FAILS":
                program, smaller = candidate, True
                break
    return program
