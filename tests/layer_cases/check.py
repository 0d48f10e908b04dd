"""Check a case against Keras, and against mistakes that it must notice."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from layer_cases.case import BATCH, Case
from support.outlines import differences

import verify
from verify import Network
from verify.errors import DataError, UnsupportedError
from verify.model.backends import Limit, Rule
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec, ModelSpec
from verify.tolerance.compare import compare

ALLOWED = 1e-10
NOTICED = 1e-8
WITHOUT_EFFECT = (
    (Rule.PREDICT_FORGETS_STATES, None, "stateful"),
    (Rule.NORMALIZES_LAST_AXES, "LayerNormalization", "axis"),
    (Rule.NORMALIZES_LAST_AXES, "RMSNormalization", "axis"),
)
"""A rule, a layer (None: any) and an option of it that has no effect by that rule."""
POSITIVE = ("variance", "scale", "moving_variance", "gamma")


class CaseFailed(AssertionError):
    """Report what was expected of a case and did not happen."""


class CaseRefused(Exception):
    """Report that a case is refused by a `Limit` of the backend.

    Attributes
    ----------
    keras : str
        Keras's own error there; empty if it runs.
    """

    def __init__(self, limit: str, keras: str) -> None:
        super().__init__(limit)
        self.keras = keras


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Keras in float64 altogether, and back."""
    import keras

    from verify.keras_bridge import floatx

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        with floatx("float64"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of masks that end somewhere
            yield
    finally:
        keras.config.set_dtype_policy(before)


def randomise(model: Any, seed: int = 0) -> Any:
    """Weights without a zero among them, of both signs unless they are variances."""
    rng = np.random.default_rng(seed)
    weights = []
    for weight in model.weights:
        whole = not np.issubdtype(np.dtype(str(weight.dtype)), np.floating)
        if whole or weight.name.endswith("_scale"):  # of the whole numbers beside it
            weights.append(np.asarray(weight))
            continue
        value = rng.uniform(0.2, 0.9, size=weight.shape)
        if weight.name not in POSITIVE:
            value = value * rng.choice([-1.0, 1.0], size=weight.shape)
        weights.append(value)
    model.set_weights(weights)
    for layer in model.layers:
        if hasattr(layer, "finalize_state"):  # Normalization computes with copies
            layer.finalize_state()
    return model


def outputs(net: Network, x: list[np.ndarray]) -> list[np.ndarray]:
    """Every output in float64."""
    return net.flat(net.prepare(x if len(x) > 1 else x[0]), dtype="float64")


def check_case(
    case: Case, also: Callable[[ModelSpec, list[np.ndarray]], object] | None = None
) -> float:
    """Hold a case against Keras; returns the greatest difference.

    Raises
    ------
    CaseFailed
        NumPy differs from Keras, or a planted mistake goes unnoticed.
    CaseRefused
        On another backend than TensorFlow: it is refused by name.
    """
    import keras

    from verify.keras_bridge import backend
    from verify.keras_bridge.importing import first_line

    # Weights that `randomise` leaves alone, 8-bit ones, are those of the initialiser.
    keras.utils.set_random_seed(0)
    with float64():
        model = randomise(case.model())
        x = case.arrays()
        spec = verify.load(model).spec
        theirs, failed = [], ""
        try:
            theirs = flatten(_keras_outputs(case, model, x if len(x) > 1 else x[0]))
        except Exception as error:
            if backend() == "tensorflow":
                raise
            failed = first_line(error)
    try:
        ours = outputs(Network(spec, "float64"), x)
    except UnsupportedError as error:
        limit = next((limit for limit in Limit if limit in str(error)), None)
        if limit is None or limit not in spec.root.rules:
            raise
        raise CaseRefused(limit, failed) from error
    given = x if len(x) > 1 else x[0]
    if outlined := differences(Network(spec, "float64"), given, "float64"):
        raise CaseFailed(f"its outline is not its trace: {outlined}")
    if failed:
        raise CaseFailed(f"Keras cannot run it ({failed}), and it is not refused")
    if len(ours) != len(theirs):
        raise CaseFailed(f"{len(theirs)} outputs in Keras, {len(ours)} here")
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        scale = np.max(np.abs(a), where=np.isfinite(a), initial=1.0)
        result = compare(a, np.asarray(b), allowed=ALLOWED * scale)
        if not result.matches:
            raise CaseFailed(f"differs from Keras: {result}")
        worst = max(worst, result.max_diff)
    layers = [(path, x) for path, x in spec.walk() if x.class_name == case.name]
    if not layers:
        raise CaseFailed(f"no {case.name} in the model: {[x for _, x in spec.walk()]}")
    path, layer = layers[0]
    for wrong in case.wrong:
        if any(
            rule in spec.root.rules and option in wrong and name in (None, case.name)
            for rule, name, option in WITHOUT_EFFECT
        ):
            continue
        _must_show(spec, path, layer.with_options(**wrong), x, ours, f"{wrong}")
    if case.weights:
        for key, value in layer.weights.items():
            moved = value + 1 if value.dtype.kind in "iu" else value * 1.25
            changed = replace(layer, weights={**layer.weights, key: moved})
            _must_show(spec, path, changed, x, ours, f"{key} moved")
    if also is not None:
        also(spec, x)
    return worst


def _keras_outputs(case: Case, model: Any, x: Any) -> Any:
    """Return what Keras computes, by `predict` where batches follow each other.

    Otherwise by one call, through XLA where the case is `compiled`. That spares the
    loops around the call, which Keras would trace for every case.
    """
    import keras

    from verify.keras_bridge import backend

    if case.compiled and case.batch_size is None and backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(functools.partial(model, training=False), jit_compile=True)
        return map_structure(keras.ops.convert_to_numpy, run(x))
    if case.batch_size is not None or case.compiled:
        return model.predict(x, batch_size=case.batch_size or BATCH, verbose=0)
    return map_structure(keras.ops.convert_to_numpy, model(x, training=False))


def _must_show(
    spec: Any,
    path: str,
    layer: LayerSpec,
    x: list[np.ndarray],
    right: list[np.ndarray],
    what: str,
) -> None:
    try:
        wrong = outputs(Network(spec.with_layer(layer, path), "float64"), x)
    except (DataError, UnsupportedError, KeyError):
        return  # noticed: it cannot even be computed
    if any(
        a.shape != b.shape or not compare(a, b, allowed=NOTICED).matches
        for a, b in zip(wrong, right, strict=True)
    ):
        return
    raise CaseFailed(f"{what} makes no difference")
