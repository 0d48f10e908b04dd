"""Draw a verdict from comparisons, with a sentence for it, and make the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.dtypes import HALF_DTYPES, POLICIES
from verify.model.spec import LayerSpec, ModelSpec
from verify.report.report import LayerResult, Report
from verify.tolerance.compare import Comparison, Verdict, compare
from verify.tolerance.error_bound import policy_format, unbounded, without_bound
from verify.tolerance.formats import NumberFormat
from verify.tolerance.noise_floor import (
    FLUSH_ERROR,
    Rounding,
    Tolerance,
    is_rounding,
)
from verify.tolerance.partial import PartialResult
from verify.tolerance.user_tolerance import UserTolerance

UNDEFINED = (
    "nothing differs, but some outputs are NaN or infinite on both sides, which proves "
    "nothing: leave out the rows that have them (a mean over no step is NaN)"
)
THOSE_OF_THE_MODEL = "the outputs are those of the model"
FORMULAS_DIFFER = "the NumPy forward pass does not match Keras"
NUMERICS_DIFFER = (
    "the formulas agree in float64, but predict differs by more than rounding: "
    "look at the device, the backend's precision (TF32?) or a compiled kernel"
)
ANEW = (
    "the formulas agree in float64, and predict of a new copy of the model agrees, but "
    "not that of this one"
)
KEPT_FROM_BEFORE = (
    "it has been compiled for inputs of another shape, or before the model was "
    "changed; model.make_predict_function(force=True) compiles it anew"
)
SET_AFTERWARDS = (
    "{layer} has a {name} that was set after it was made, which Keras writes into no "
    "config: the model that is saved computes what NumPy computes"
)
OLD_COPIES = (
    "{layer} computes with the mean and variance from before set_weights, and a copy "
    "with those that are saved: call its finalize_state(), then "
    "model.make_predict_function(force=True), or save and load the model"
)
"""Reasons that several verdicts share."""

JUMPS = (
    "the formulas agree in float64, and every layer by itself, but {layer} makes "
    "numbers jump that are near a limit, on whose other side 16 bits may be"
)
JUMPING = frozenset(
    {"Masking", "Discretization", "IntegerLookup", "Hashing", "CategoryEncoding"}
    | {
        f"ops.{name}"
        for name in (
            *("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual"),
            *("Sign", "Signbit", "Heaviside", "Floor", "Ceil", "Round", "Trunc"),
            *("FloorDivide", "Mod", "Fmod", "Cast", "OneHot", "CountNonzero"),
            *("Argmax", "Argmin", "Argsort", "TopK", "HardShrink", "Threshold"),
        )
    }
)
"""Classes whose results jump, so that a small error may become a great one."""

OPEN_STEPS = (
    "once Keras on TensorFlow has compiled predict for several numbers of steps, "
    "{layer} computes as many steps as there are rows: give the Input the number of "
    "steps, or pad all inputs to one length"
)
"""What TimeDistributed over an open axis does, in Keras 3.15."""

WIDE_SHARE = 0.05
"""What a number format may do to outputs, as a share of the greatest, is said from
there on."""


def undefined(
    ours: Sequence[Array], theirs: Sequence[Array], tolerances: Sequence[Tolerance]
) -> tuple[bool, bool]:
    """Look for NaN and infinity in outputs.

    Parameters
    ----------
    ours, theirs : list of (batch, ...)
    tolerances : list of Tolerance
        One for each output.

    Returns
    -------
    bool
        Whether some outputs are not finite on both sides.
    bool
        Whether the sides differ in anything else.
    """
    found = differ = False
    for a, b, tolerance in zip(ours, theirs, tolerances, strict=False):
        if a.shape != b.shape:
            differ = True
            continue
        neither = ~np.isfinite(a) & ~np.isfinite(b.astype(np.float64))
        rest = np.where(neither, 0.0, a), np.where(neither, 0.0, b.astype(np.float64))
        differ |= not compare(*rest, allowed=tolerance.atol).matches
        found |= bool(neither.any())
    return found, differ


def proof_by_layers(proof: Comparison, layers: tuple[LayerResult, ...]) -> Comparison:
    """Return the comparison in float64: of the outputs, or of the layers one by one.

    Keras computes some layers in float32 in a model of float64, too, such as the mean
    of whole numbers. What comes behind is as far apart as float32 rounds. The layers,
    which are compared on Keras's own inputs, prove the formulas all the same.

    Parameters
    ----------
    proof : Comparison
        That of the outputs.
    layers : tuple of LayerResult
        Empty if the layers have not been compared.
    """
    if proof.matches or not any(layer.in_single for layer in layers):
        return proof
    if not all(layer.proof.matches for layer in layers):
        return proof
    return max((layer.proof for layer in layers), key=lambda found: found.error_ratio)


def judge(
    rounding: Rounding,
    x: Inputs,
    result: PartialResult,
    proof: Comparison,
    layers: tuple[LayerResult, ...],
) -> tuple[Verdict, str]:
    """Return the verdict of a comparison with Keras, and the sentence for it.

    Parameters
    ----------
    rounding : Rounding
        What rounding does to the network.
    x : Inputs
        Rows on which to measure, after a failure, how much rounding is amplified.
    result : PartialResult
        Result of the rows that were compared.
    proof : Comparison
        The comparison in float64; see `proof_by_layers`.
    layers : tuple of LayerResult
        Empty if the layers have not been compared.
    """
    if result.undefined:
        return Verdict.INCONCLUSIVE, UNDEFINED
    tolerances = result.tolerances
    failed = [layer for layer in layers if not layer.proof.matches]
    if failed or not proof.matches:
        wrong = [layer for layer in failed if not layer.only_rounding]
        whole = rounding.amplified(x)
        if not wrong and (failed or is_rounding(proof, whole)):
            return (
                Verdict.INCONCLUSIVE,
                "this model amplifies rounding until even float64 answers differ: one "
                f"rounding error in every weight moves its outputs by {whole:.1g}",
            )
        return Verdict.FAIL, FORMULAS_DIFFER
    if not all(tolerance.decides for tolerance in tolerances):
        return Verdict.INCONCLUSIVE, undecided(tolerances)
    if not result.numerics.matches or not all(layer.matches for layer in layers):
        return Verdict.FAIL, NUMERICS_DIFFER
    return Verdict.PASS, "the NumPy forward pass matches Keras"


def jumping(spec: ModelSpec, layers: Sequence[LayerResult]) -> str:
    """Say which layer's numbers may have jumped, so that nothing is decided.

    Every layer agrees on Keras's own inputs to it, in the model's own dtype, and what
    connects them is proved in float64. Empty where that is not so, where the model
    computes in more than 16 bits, or where nothing in it jumps.

    Parameters
    ----------
    spec : ModelSpec
    layers : sequence of LayerResult
    """
    computed = {POLICIES[policy].compute for policy in spec.policies}
    found = _jumping_layers(spec)
    narrow = not computed.isdisjoint(HALF_DTYPES)
    agree = bool(layers) and all(layer.matches for layer in layers)
    return JUMPS.format(layer=found[0]) if found and narrow and agree else ""


def may_jump(spec: ModelSpec, layers: Sequence[LayerResult]) -> bool:
    """Return whether a last bit may decide something, such as that a step is masked.

    Then the whole model may differ while every layer agrees in float64 on Keras's own
    inputs to it.
    """
    agree = bool(layers) and all(layer.proof.matches for layer in layers)
    return agree and bool(_jumping_layers(spec))


def _jumping_layers(spec: ModelSpec) -> list[LayerSpec]:
    return [layer for _, layer in spec.walk() if layer.class_name in JUMPING]


def judge_in_own_dtype(result: PartialResult) -> tuple[Verdict, str]:
    """Return the verdict of a comparison with a Keras that has no float64 answer.

    Parameters
    ----------
    result : PartialResult
        Result of the rows that were compared.
    """
    if result.undefined:
        return Verdict.INCONCLUSIVE, UNDEFINED
    if not all(tolerance.decides for tolerance in result.tolerances):
        return Verdict.INCONCLUSIVE, undecided(result.tolerances)
    if not result.numerics.matches:
        return Verdict.FAIL, FORMULAS_DIFFER
    return (
        Verdict.PASS,
        "the NumPy forward pass matches Keras, in the model's own dtype alone",
    )


def judge_outputs(
    result: PartialResult,
    numerics: Comparison,
    slack: float,
    note: str,
    precision: NumberFormat | None = None,
) -> tuple[Verdict, str]:
    """Return the verdict of a comparison with a port's outputs, and its sentence.

    Parameters
    ----------
    result : PartialResult
        Result of the rows that were compared.
    numerics : Comparison
        Comparison that allows for `slack`.
    slack : float
        Difference that is allowed in addition to the tolerance, where outputs were
        recorded with few decimals; otherwise 0.
    note : str
        Sentence for the case that `slack` is too large to decide anything.
    precision : NumberFormat, optional
        The number format of the port, if it is not float32.
    """
    tolerances = result.tolerances
    # with few decimals only `numerics`, which allows for them, says that all agrees
    if result.undefined or (result.unsound[0] and numerics.matches):
        return Verdict.INCONCLUSIVE, UNDEFINED
    if not all(tolerance.decides for tolerance in tolerances):
        return Verdict.INCONCLUSIVE, undecided(tolerances, precision)
    wrong, right = "the outputs are not those of the model", THOSE_OF_THE_MODEL
    if precision is not None:
        wrong += f", not even computed in {precision}"
        right += f", computed in {precision}"
    if not numerics.matches:
        return Verdict.FAIL, wrong
    if not all(tolerance.widened(slack).decides for tolerance in tolerances):
        return Verdict.INCONCLUSIVE, note
    return Verdict.PASS, right


def judge_by_tolerance(
    result: PartialResult, numerics: Comparison, tolerance: UserTolerance
) -> tuple[Verdict, str]:
    """Return the verdict of a comparison by the user's own tolerance, and its sentence.

    Parameters
    ----------
    result : PartialResult
        Result of the rows that were compared.
    numerics : Comparison
        Comparison by that tolerance, and by what rounding may do where that is more.
    tolerance : UserTolerance
    """
    if result.undefined:
        return Verdict.INCONCLUSIVE, UNDEFINED
    decides = all(floor.decides for floor in result.noise_floors)
    if decides and result.by_noise_floor.matches:
        return Verdict.PASS, THOSE_OF_THE_MODEL
    if tolerance.kind == "classes":
        agreement = result.classes
        if agreement is None:
            raise ValueError("expected a comparison of classes")
        if agreement.share >= tolerance.value:
            return (
                Verdict.PASS,
                f"the classes are those of the model within the tolerance given "
                f"({tolerance} must agree): {agreement}",
            )
        return (
            Verdict.FAIL,
            f"the outputs are not those of the model, by the tolerance given "
            f"({tolerance} must agree): {agreement}",
        )
    if numerics.matches:
        return (
            Verdict.PASS,
            f"{THOSE_OF_THE_MODEL} within the tolerance given ({tolerance})",
        )
    if not decides:
        return Verdict.INCONCLUSIVE, undecided(result.noise_floors)
    return (
        Verdict.FAIL,
        f"the outputs are not those of the model, not even within the tolerance given "
        f"({tolerance})",
    )


def judge_time_chunks(layers: Sequence[LayerResult]) -> tuple[Verdict, str]:
    """Return the verdict of a comparison in time chunks, and the sentence for it."""
    wrong = [x for x in layers if not x.proof.matches]
    if any(not layer.only_rounding for layer in wrong):
        return Verdict.FAIL, FORMULAS_DIFFER
    open_layers = [*wrong, *(x for x in layers if not x.decided)]
    if open_layers:
        return (
            Verdict.INCONCLUSIVE,
            f"even chunks of layer '{open_layers[0].name}' amplify rounding too much",
        )
    if not all(x.numerics.matches for x in layers):
        return Verdict.FAIL, NUMERICS_DIFFER
    return (
        Verdict.PASS,
        "the NumPy forward pass matches Keras, compared in chunks from Keras's own "
        "states; over the whole sequence this model amplifies rounding",
    )


def partial_verdict(
    verdict: Verdict, reason: str, done: int, rows: int
) -> tuple[Verdict, str]:
    """Return verdict and sentence for the rows compared so far; never PASS."""
    head = f"PARTIAL: {done:,} of {rows:,} rows compared"
    if done == rows:
        head = f"PARTIAL: all {rows:,} rows compared, nothing looked at more closely"
    if verdict is Verdict.PASS:
        return Verdict.INCONCLUSIVE, f"{head}, and so far {reason}"
    return verdict, f"{head}: {reason}"


def on_untested(verdict: Verdict, reason: str, untested: str) -> tuple[Verdict, str]:
    """Return verdict and sentence on a Keras that may not have been tested; never FAIL.

    Parameters
    ----------
    untested : str
        Says that the version was not tested; empty if it was.
    """
    if verdict is not Verdict.FAIL or not untested:
        return verdict, reason
    return Verdict.INCONCLUSIVE, f"{untested}. On it {reason}"


def backend_notes(backend: str, result: PartialResult) -> list[str]:
    """Return a sentence for each rule of a backend that has moved the outputs."""
    return [
        f"Keras on {backend}: {rule} (here up to {far:.2g} apart)"
        for rule, far in result.rule_effects.items()
        if rule in frozenset(map(str, Rule))
    ]


def undecided(
    tolerances: Sequence[Tolerance], precision: NumberFormat | None = None
) -> str:
    """Say why a comparison decides nothing.

    Parameters
    ----------
    tolerances : list of Tolerance
        One for each output.
    precision : NumberFormat, optional
        The number format of the port, if it is not float32.
    """
    if not all(np.isfinite(tolerance.atol).all() for tolerance in tolerances):
        return UNDEFINED
    wide = next(tolerance for tolerance in tolerances if not tolerance.decides)
    if precision is not None:
        return (
            f"computing in {precision} changes the outputs of this model, which are "
            f"{wide.scale.max():.1g} at most, by up to {wide.noise.max():.1g}, so no "
            "such answer can be told from another"
        )
    return (
        f"this model amplifies rounding to {wide.noise.max():.1g} on outputs "
        f"of {wide.scale.max():.1g}, so no such answer can be told from another"
    )


def beyond_noise(noisy: Comparison) -> list[str]:
    """Warn of outputs that are within the error bound but beyond the noise floor.

    The bound is what rounding could do at worst, the noise floor what it does.

    Parameters
    ----------
    noisy : Comparison
        Comparison by the noise floor alone.
    """
    if noisy.matches or not np.isfinite(noisy.error_ratio):
        return []
    return [
        "the outputs are within the derived bound, but differ by "
        f"{noisy.error_ratio:.1f} times what this model's own rounding noise allows: "
        "a lower precision, or a mistake too small to prove, may be behind it"
    ]


def make_report(
    net: Network,
    result: PartialResult,
    platform: str,
    *,
    warnings: Sequence[str],
    rule: str = "",
    **more: Any,
) -> Report:
    """Make a report that says which tolerance the outputs were compared with.

    Parameters
    ----------
    net : Network
        The network whose outputs were compared.
    result : PartialResult
        Result of the rows that were compared.
    platform : str
        Platform whose activation errors the error bounds hold for.
    warnings : sequence of str
        Warnings in addition to the notes on the model.
    rule : str
        The rule of the tolerance, if it is not the project's own.
    **more
        Other fields of `verify.report.report.Report`.
    """
    tolerances, (derived, total) = result.tolerances, result.derived
    return Report(
        reference="numpy",
        derived=derived / total if total else None,
        noise=max(float(tolerance.noise.max()) for tolerance in tolerances),
        scale=max(float(tolerance.scale.max()) for tolerance in tolerances),
        allowance=rule
        or _tolerance_rule(net, tolerances[0].rule, derived, total, platform),
        warnings=(*net.spec.notes, *warnings),
        partial_result=result,
        **more,
    )


def hidden_by(result: PartialResult, precision: NumberFormat) -> list[str]:
    """Warn that a number format excuses much, in outputs that pass by it."""
    shares = [
        float(np.max(tolerance.atol / np.maximum(tolerance.scale, FLUSH_ERROR)))
        for tolerance in result.tolerances
    ]
    if max(shares) <= WIDE_SHARE:
        return []
    return [
        f"{precision} may change an output by up to {max(shares):.0%} of the greatest, "
        "so a mistake that changes the outputs by less cannot be seen"
    ]


def format_rule(net: Network, result: PartialResult, precision: NumberFormat) -> str:
    """Say by which rule the outputs of a port in a number format were compared."""
    derived, total = result.derived
    rule, bound = f"noise floor of {precision}", f"derived bound of {precision}"
    if unknown := without_bound(net, precision):
        said = f"{rule} ({unknown})"
    elif derived == total:
        said = bound
    elif derived == 0:
        said = f"{rule} (the derived bound decides nothing here)"
    else:
        said = f"{bound} for {derived:,} of {total:,} numbers, {rule} for the rest"
    return f"{said}; {precision.scheme}"


def _tolerance_rule(
    net: Network, rule: str, derived: int, total: int, platform: str
) -> str:
    """Say by which rule the outputs were compared.

    Parameters
    ----------
    net : Network
    rule : str
        Rule for numbers without a derived bound.
    derived, total : int
        How many numbers have a derived bound, of how many.
    platform : str
        Platform whose activation errors the bound holds for.
    """
    bound, of = "derived bound", f" (kernels of {platform})"
    if unknown := unbounded(net):
        narrow = policy_format(net)
        if narrow is None:
            return rule if rule != "noise floor" else f"noise floor ({unknown})"
        bound, of = f"derived bound of {narrow}", ""
    if derived == 0:
        return f"{rule} (the derived bound decides nothing here)"
    if derived == total:
        return f"{bound}{of}"
    return f"{bound} for {derived:,} of {total:,} numbers{of}, {rule} for the rest"
