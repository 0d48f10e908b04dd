"""Train a toy model, print its forward pass done by hand, and verify the model."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import verify
from recipes.data.toy import DOCS, LABELS, SHOWN_TEXT, ToyConfig, pipeline
from recipes.run import training
from recipes.run.finish import RunResult, finish, print_parameters
from recipes.run.options import RunOptions
from verify.model.arrays import Array

Quantity = tuple[str, str, Any]
"""Name, formula with its numbers filled in, value."""


def run(
    recipe: str,
    build_model: Callable[[Any], Any],
    by_hand: Callable[[verify.ModelSpec, Sequence[float]], list[Quantity]],
    config: ToyConfig,
    options: RunOptions,
) -> RunResult:
    """Train a toy model, print its forward pass beside Keras's, and verify it.

    Parameters
    ----------
    recipe : str
    build_model : callable
        ``build_model(config)`` -> compiled model, (batch, 2, 1) in, 5 classes out.
    by_hand : callable
        ``by_hand(spec, inputs)`` -> every quantity of the forward pass, in order; the
        last one is the softmax.
    config : ToyConfig
    options : RunOptions

    Raises
    ------
    DataError
        The folder cannot be used.
    recipes.run.training.Interrupted
        On Ctrl-C.
    """
    folder, text = options.folder, pipeline()
    phrase = "\n".join((*DOCS, *LABELS))
    sha256 = hashlib.sha256(phrase.encode()).hexdigest()
    folder.open_for(recipe, asdict(config), sha256, resume=options.resume)
    print(f"{recipe}: {len(DOCS)} phrases, {config.epochs} epochs", file=sys.stderr)
    x = text.encode(DOCS)  # (2, 2, 1)
    labels = [text.vocabulary.ids[word] for word in LABELS]
    trained = training.train(
        recipe,
        config,
        options,
        lambda: build_model(config),
        training.TrainingSet(
            x,
            training.one_hot(labels, text.vocabulary.size),
            text,
            "the toy phrase",
            sha256,
        ),
        batch_size=len(x),
        report_every=100,
    )

    print_parameters(trained.net)
    shown = text.encode([SHOWN_TEXT])
    said = print_by_hand(
        by_hand(trained.net.spec, shown.ravel().tolist()), shown, trained.model
    )
    print(
        f'\nAfter "{SHOWN_TEXT}" the model says: {text.classes[said]} (the phrase goes '
        f"on with: {LABELS[DOCS.index(SHOWN_TEXT)]})"
    )
    predicted = trained.model.predict(x, verbose=0).argmax(axis=1)
    metrics = {
        "training_accuracy": float(np.mean(predicted == labels)),
        "loss": trained.progress.history["loss"][-1],
    }
    return finish(recipe, options, trained, x, metrics)


def print_by_hand(quantities: list[Quantity], x: Array, model: Any) -> int:
    """Print each quantity, then Keras's prediction, then the greatest difference.

    Returns
    -------
    int
        The class that Keras predicts.
    """
    ids = ", ".join(f"{value:g}" for value in x.ravel())
    print(f'\nThe forward pass by hand, for "{SHOWN_TEXT}", input {ids}')
    width = max(len(name) for name, _, _ in quantities)
    for name, formula, value in quantities:
        left = f"{formula} = " if formula else ""
        print(f"  {name:<{width}}  {left}{shown_value(value)}")
    predicted = model.predict(x, verbose=0)[0]
    print(f"  {'Keras predict':<{width}}  {shown_value(predicted)}")
    difference = np.max(np.abs(np.asarray(quantities[-1][2]) - predicted))
    print(f"  {'difference':<{width}}  {difference:.1e}")
    return int(predicted.argmax())


def shown_value(value: Any) -> str:
    """Format a number, or several in brackets, with eight decimals."""
    if np.ndim(value):
        return f"[{', '.join(f'{v:.8f}' for v in np.asarray(value))}]"
    return f"{float(value):.8f}"


def head(spec: verify.ModelSpec, h: float) -> list[Quantity]:
    """Compute the Dense layer on top of the one unit: logits, then their softmax."""
    dense = spec["dense"].weights
    logits = h * dense["kernel"][0].astype(float) + dense["bias"].astype(float)  # (5,)
    e = np.exp(logits - logits.max())
    return [
        ("logits", "h * kernel + bias", logits),
        ("softmax", "exp(logits) / sum(exp(logits))", e / e.sum()),
    ]
