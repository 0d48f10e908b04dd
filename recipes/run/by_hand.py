"""Train a toy model, print its forward pass done by hand, and verify the model."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import verify
from recipes.data.toy import (
    DOCS,
    ENOUGH_UNITS,
    LABELS,
    SHOWN_TEXT,
    ToyConfig,
    pipeline,
)
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
    print_by_hand(
        by_hand(trained.net.spec, shown.ravel().tolist()), shown, trained.model
    )
    predicted = trained.model.predict(x, verbose=0).argmax(axis=1)
    print()
    for phrase, said, label in zip(DOCS, predicted, LABELS, strict=True):
        print(
            f'After "{phrase}" the model says: {text.classes[said]} (the phrase goes '
            f"on with: {label})"
        )
    if (predicted != labels).any():
        print(remedy(recipe, config))
    metrics = {
        "training_accuracy": float(np.mean(predicted == labels)),
        "loss": trained.progress.history["loss"][-1],
    }
    return finish(recipe, options, trained, x, metrics)


def remedy(recipe: str, config: ToyConfig) -> str:
    """Say why a toy model is wrong, and which command makes it right.

    Parameters
    ----------
    recipe : str
    config : ToyConfig
        That of the model that is wrong.

    Returns
    -------
    str
        Two lines; the second is the command.
    """
    chapter = ToyConfig(seed=config.seed)
    units = max(config.units, ENOUGH_UNITS)
    epochs = max(config.epochs, chapter.epochs)
    command = f"rnn-recipe run {recipe} --units {units}"
    if epochs != chapter.epochs:
        command += f" --epochs {epochs}"
    if (units, epochs) == (config.units, config.epochs):
        reason = "That is wrong. Other initial weights may do better:"
        return f"{reason}\n  {command} --seed {config.seed + 1}"
    of_chapter = (config.units, config.epochs) == (chapter.units, chapter.epochs)
    settings = (
        f"the chapter's settings, one unit and {chapter.epochs} epochs,"
        if of_chapter
        else f"{config.units:,} unit(s) and {config.epochs:,} epoch(s)"
    )
    return f"That is wrong: {settings} are too few. Enough is:\n  {command}"


def print_by_hand(quantities: list[Quantity], x: Array, model: Any) -> None:
    """Print each quantity, then Keras's prediction, then the greatest difference."""
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


def formula(text: str, **values: Array) -> str:
    """Return a formula such as ``o * tanh(c)`` with the values of a single unit in it.

    With several units the letters are left as they are.

    Parameters
    ----------
    text : str
        With a letter in braces for each value.
    **values : (units,)
    """
    shown = {
        name: f"{value.item():.8g}" if value.size == 1 else name
        for name, value in values.items()
    }
    return text.format(**shown)


def weighed(x: float, w: Array, h: Array, u: Array, b: Array) -> tuple[str, Array]:
    """Add up what goes into a gate or a state.

    Parameters
    ----------
    x : float
        The word.
    w, h, b : (units,)
        Kernel, hidden value before this step, bias.
    u : (units, units)
        Recurrent kernel.

    Returns
    -------
    formula : str
        See `formula`.
    sums : (units,)
    """
    w, h, u, b = (np.asarray(value, dtype=np.float64) for value in (w, h, u, b))
    product = "*" if h.size == 1 else "@"
    text = f"{x:g} * {{w}} + {{h}} {product} {{u}} + {{b}}"
    return formula(text, w=w, h=h, u=u, b=b), x * w + h @ u + b


def shown_value(value: Any) -> str:
    """Format a number, or several in brackets, with eight decimals."""
    numbers = [f"{v:.8f}" for v in np.atleast_1d(value)]
    return numbers[0] if len(numbers) == 1 else f"[{', '.join(numbers)}]"


def head(spec: verify.ModelSpec, h: Array) -> list[Quantity]:
    """Compute the Dense layer on top: logits, then their softmax."""
    dense = spec["dense"].weights
    logits = h @ dense["kernel"].astype(float) + dense["bias"].astype(float)  # (5,)
    e = np.exp(logits - logits.max())
    return [
        ("logits", "h @ kernel + bias", logits),
        ("softmax", "exp(logits) / sum(exp(logits))", e / e.sum()),
    ]
