"""Measure the effect of each word on a trained network, and how far its memory reaches.

The verifier computes everything in NumPy, in float64: by its forward pass and its own
backpropagation (`verify.backward`).

::

    words = words_read(pipeline, text)
    words, effects = without_each_word(net, pipeline, text)
    running_predictions(net, pipeline.encode([text]))
    gradient_norms(net, pipeline.encode([text]), output=1)
    jacobian_products(net, pipeline.encode([text]), "lstm")
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from verify import Network, backprop
from verify.backward import backprop_call, refused
from verify.backward.cells import BACKWARD_CELLS
from verify.data.text import Padding, TextPipeline, words
from verify.errors import DataError, UnsupportedError, join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.layers.base import Tensor
from verify.model.arrays import Array


def words_read(pipeline: TextPipeline, text: str) -> list[str]:
    """Return the words of a text that reach the model, in order.

    Parameters
    ----------
    pipeline : TextPipeline
    text : str

    Returns
    -------
    list of str
        The last ``pipeline.length`` words of those that are in the vocabulary.
    """
    known = pipeline.vocabulary.ids
    split = words(text, keep_stop_words=pipeline.keep_stop_words)
    return [word for word in split if word in known][-pipeline.length :]


def unpadded(pipeline: TextPipeline, text: str) -> Inputs:
    """Return a text as model inputs without padding, (1, words).

    Figures are easier to read without padding. A model that masks its padding computes
    the same without it; another model does not.

    Parameters
    ----------
    pipeline : TextPipeline
    text : str

    Raises
    ------
    DataError
        The text has no word that the model knows.
    """
    count = len(_some_words(pipeline, text))
    x = pipeline.encode([text])
    return Inputs([x[:, -count:] if pipeline.padding == "pre" else x[:, :count]])


def without_each_word(
    net: Network, pipeline: TextPipeline, text: str
) -> tuple[list[str], Array]:
    """Compute how much each probability falls when one word is left out of the text.

    The shorter text is encoded anew, so the words behind the gap move up, as if the
    word had never been written.

    Parameters
    ----------
    net : Network
        A model of one output, (batch, classes).
    pipeline : TextPipeline
    text : str

    Returns
    -------
    words : list of str
        See `words_read`.
    effects : (words, classes)
        Outputs for the whole text minus outputs without the word: above 0 where the
        word speaks for the class.

    Raises
    ------
    DataError
        The text has no word that the model knows, or the model another kind of output.
    """
    read = _some_words(pipeline, text)
    shorter = [" ".join(read[:k] + read[k + 1 :]) for k in range(len(read))]
    x = net.prepare(pipeline.encode([" ".join(read), *shorter]))
    outputs = _outputs(net, x[0])
    return read, outputs[0] - outputs[1:]


def running_predictions(net: Network, x: Any, padding: Padding | None = None) -> Array:
    """Compute the answer of the model after each step of its input.

    By default the first step of each row is evaluated alone, then the first two steps,
    and so on; the last answer is the prediction. Each answer is what the later layers
    make of the state at that step. Masks are computed from the shortened input.

    With `padding` each shortened input is padded to the full length, as the model would
    get it if the text ended there. For a model that masks its padding the answers are
    the same. Another model reads the padding too, and answers differently.

    Parameters
    ----------
    net : Network
        A model of one input, (batch, time, ...), and one output, (batch, classes).
    x : (rows, time) or (rows, time, features)
    padding : "post" or "pre", optional
        The side of the zeros. With "pre" the rows must be padded in front, or not at
        all, since the shortened input moves to the end.

    Returns
    -------
    (rows, time, classes)

    Raises
    ------
    DataError
        Inputs or outputs of another kind.
    """
    x = _steps(net, x)
    time = x.shape[1]
    answers = []
    for end in range(1, time + 1):
        begun = x[:, :end]  # (rows, end, ...)
        if padding is not None:
            filling = np.zeros_like(x[:, end:])  # (rows, time - end, ...)
            parts = [filling, begun] if padding == "pre" else [begun, filling]
            begun = np.concatenate(parts, axis=1)  # (rows, time, ...)
        answers.append(_outputs(net, begun))
    return np.stack(answers, axis=1)  # (rows, time, classes)


def gradient_norms(net: Network, x: Any, output: int) -> Array:
    """Compute how strongly an output depends on each step: the norm of ``dy/dx_t``.

    ``x_t`` is the vector that the Embedding returns for the word at step t, or the
    features of that step in a model without Embedding. At a masked step it is 0.

    Parameters
    ----------
    net : Network
        A model of one input, (batch, time, ...), and one output, (batch, classes).
    x : (rows, time) or (rows, time, features)
    output : int
        The class, from 0.

    Returns
    -------
    (rows, time)
        Euclidean norms.

    Raises
    ------
    DataError
        Inputs, outputs or an `output` of another kind, or several Embeddings.
    UnsupportedError
        A layer that cannot be differentiated, by name.
    """
    x = _steps(net, x)
    towards = np.zeros_like(_outputs(net, x))  # (rows, classes)
    classes = towards.shape[1]
    if not 0 <= output < classes:
        raise DataError(
            f"output: expected a class from 0 to {classes - 1}. Received: {output}"
        )
    towards[:, output] = 1.0
    found = backprop(net, Inputs([x]), [towards], weights=False)
    slopes: list[Array | None] = [*found.embedded.values()] or [*found.inputs]
    if len(slopes) != 1 or slopes[0] is None:
        raise DataError(
            "expected a model with one Embedding, or with features for its input. "
            f"Received: {len(found.embedded)} Embeddings"
        )
    return np.linalg.norm(slopes[0], axis=-1)  # (rows, time, size) -> (rows, time)


def jacobian_products(net: Network, x: Any, name: str) -> dict[str, Array]:
    """Compute how strongly the last state depends on the state before each step.

    The state before step t acts on the last one through a product of Jacobians, one for
    each step: ``dh_T/dh_(t-1) = dh_T/dh_(T-1) ... dh_t/dh_(t-1)``. The greatest
    singular value of the product is the factor by which a small change can grow at
    most. The verifier's backpropagation computes the product, through every gate. A
    masked step keeps its state, so it adds no factor.

    Parameters
    ----------
    net : Network
    x : as for `Network.predict`
    name : str
        A SimpleRNN, LSTM or GRU of the model that returns its last output only.

    Returns
    -------
    dict of str to (rows, time)
        ``h``: greatest singular values of ``dh_T/dh_(t-1)``. For an LSTM also ``c``,
        those of ``dh_T/dc_(t-1)``. Each is for a change in one state while the other is
        held. Masked steps at the end of a row have 1 for h and 0 for c.

    Raises
    ------
    DataError
        A layer of another kind.
    UnsupportedError
        Its activations cannot be differentiated.
    """
    layer = net.spec[name]
    if layer.class_name not in BACKWARD_CELLS:
        raise DataError(
            f"{layer}: expected a layer of {join_and(BACKWARD_CELLS)}. "
            f"Received: {layer.class_name}"
        )
    wrong = [
        option
        for option in ("return_sequences", "return_state", "go_backwards")
        if layer.options[option]
    ]
    if wrong:
        raise DataError(
            f"{layer}: expected it to read forwards and to return its last output. "
            f"Received: {wrong[0]}=True"
        )
    if reason := refused(layer):
        raise UnsupportedError(reason)
    trace = net.trace(x, dtype="float64")[name]
    rows, time, units = trace.h.shape
    keep = np.ones((rows, time), bool) if trace.mask is None else trace.mask
    # column t is for the state before step t, so the last one is for h_T itself
    norms = {"h": np.ones((rows, time + 1))}
    if "c" in trace.values:
        norms["c"] = np.zeros((rows, time + 1))

    def visit(_: str, t: int | None, adjoints: Any, __: Any) -> None:
        if t is None:
            return  # not a step of time
        for state, found in norms.items():
            adjoint = adjoints[f"{state}_before"]  # (units of h_T, rows, units)
            jacobian = np.moveaxis(adjoint, 0, 1)  # (rows, units of h_T, units)
            size = greatest_singular_value(jacobian)  # (rows,)
            found[:, t] = np.where(keep[:, t], size, found[:, t + 1])

    # one-hot adjoints, one sweep for each unit of h_T: (units, rows, units)
    towards = np.repeat(np.eye(units)[:, None], rows, axis=1)
    given = [Tensor(trace.input, trace.mask)]
    backprop_call(net, name, given, {}, [towards], visit=visit)
    return {state: found[:, :-1] for state, found in norms.items()}


def greatest_singular_value(matrices: Array) -> Array:
    """Compute the greatest singular value of each matrix.

    It is the root of the greatest eigenvalue of ``m @ m.T``, which takes a fraction of
    the time of a singular value decomposition and is as exact.

    Parameters
    ----------
    matrices : (..., n, n)

    Returns
    -------
    (...)
    """
    squares = matrices @ np.swapaxes(matrices, -1, -2)  # (..., n, n)
    return np.sqrt(np.maximum(np.linalg.eigvalsh(squares)[..., -1], 0.0))


def from_the_end(values: Array, x: Array, steps: int) -> Array:
    """Align rows of different lengths at their last word.

    Parameters
    ----------
    values : (rows, time)
        One number for each step, such as `gradient_norms` returns.
    x : (rows, time) of int
        Ids, with 0 for padding.
    steps : int
        The number of words to go back.

    Returns
    -------
    (rows, steps)
        Column 0 is the last word, column 1 the one before it.

    Raises
    ------
    DataError
        A row with fewer words.
    """
    if np.shape(values) != np.shape(x):
        raise DataError(
            f"values: expected one for each id, {np.shape(x)}. "
            f"Received: shape={np.shape(values)}"
        )
    lined = []
    for row, ids in zip(values, x, strict=True):
        read = row[ids != 0][::-1]
        if len(read) < steps:
            raise DataError(
                f"x: expected rows of {steps} words or more. Received: {len(read)}"
            )
        lined.append(read[:steps])
    return np.array(lined)


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Compute Spearman's rank correlation of two quantities.

    Parameters
    ----------
    a, b : (things,)
        Equal numbers share the mean of their ranks.

    Returns
    -------
    float
        From -1 for the opposite order to 1 for the same; NaN if all of `a`, or all of
        `b`, are equal, or if there are fewer than two.
    """
    import pandas as pd

    ranks = [pd.Series(np.asarray(values)).rank().to_numpy() for values in (a, b)]
    if any(len(np.unique(values)) < 2 for values in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _some_words(pipeline: TextPipeline, text: str) -> list[str]:
    """Return `words_read`, and refuse a text without any."""
    read = words_read(pipeline, text)
    if not read:
        raise DataError(
            "text: expected a word that the model knows. "
            f"Received: '{printable(text, 60)}'"
        )
    return read


def _steps(net: Network, x: Any) -> Array:
    """Return the input, (rows, time, ...), of a model that has a single one."""
    inputs = net.prepare(x)
    if len(inputs) != 1 or inputs[0].ndim < 2:
        raise DataError(
            "expected a model of one input, (batch, time, ...). "
            f"Received: {len(inputs)}, the first of shape {inputs[0].shape}"
        )
    return inputs[0]


def _outputs(net: Network, x: Array) -> Array:
    """Evaluate a model of one output in float64: (rows, classes).

    `x` is prepared, and may have fewer steps than the model's Input says.
    """
    outputs = net.flat(Inputs([x]), dtype="float64")
    if len(outputs) != 1 or outputs[0].ndim != 2:
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise DataError(
            f"expected a model of one output, (batch, classes). Received: {shapes}"
        )
    return outputs[0]
