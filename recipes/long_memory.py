"""Long memory: "i live in india ... i speak ___". Who still knows after 100 words?

    rnn-recipe run long_memory
    python recipes/long_memory.py --gaps 5,100 --seed 7

The country stands at the start, the language is asked for at the end, and in between
stand 5 to 100 filler words drawn at random. For each length of this gap a SimpleRNN, an
LSTM and a GRU are trained, each from scratch and all alike: the same sentences in the
same order, the same units, Adam with the same rate, Keras's defaults in all else (an
orthogonal recurrent kernel, a bias of 1 for the LSTM's forget gate, no clipping), at
most 20 epochs. A training ends early once an epoch's training accuracy is 0.995.

It is about what a state keeps while words go by: a model that counts words would find
the country at any distance. And it is about learning: the gradient has to travel back
over the whole gap to the country.

With the seeds 1, 2 and 42 the LSTM and the GRU answer at least 399 of 400 sentences
right at every gap, the SimpleRNN all of them up to 20 words, 0.25 to 1.00 after 50 and
0.47 to 0.50 after 100 words (``rnn-recipe run long_memory --seed 1``). It has fewer
parameters for the same units; ``--units`` is there to try more.

It ends with the accuracies on sentences that were not learnt, beside chance, and the
verdict of the verifier on every model; ``memory.png`` shows them, ``memory.csv`` has
them. The folder itself is the run of the LSTM at the longest gap, so ``rnn-recipe
predict`` works on it; the others are in sub-folders, such as ``gru-100``.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

import verify
from recipes import plots, script
from recipes.data.grammar import FILLER_WORDS, LANGUAGES, Sentences, memories
from recipes.run import training
from recipes.run.finish import (
    RunResult,
    Verdicts,
    print_parameters,
    print_report,
    verify_run,
)
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions
from verify.data.text import TextPipeline, Vocabulary
from verify.errors import DataError, join_and, printable
from verify.report.report import Report, number

NAME = "long_memory"
SHOWN_TEXTS = "i live in india and we often walk to town i speak"
FILES = ("memory.csv", "memory.png")
LAYERS = {"SimpleRNN": "simple_rnn", "LSTM": "lstm", "GRU": "gru"}
"""Keras's layer -> how its folders are called."""

CHANCE = 1 / len(LANGUAGES)
SOLVED = 0.995
"""Training accuracy of an epoch after which the training ends."""

SHORTEST, LONGEST = 5, 1000
FRAME = 6
"""Words besides the filler: i live in india, i speak."""

VERIFIED_ROWS = 64
"""Test sentences that each model is verified on."""


@dataclass(frozen=True)
class Config:
    """What can be varied; the seed also decides the filler words."""

    epochs: int = 20
    batch_size: int = 64
    units: int = 32
    seed: int = 42
    gaps: tuple[int, ...] = (5, 10, 20, 50, 100)

    def __post_init__(self) -> None:
        usable = [n for n in self.gaps if type(n) is int and SHORTEST <= n <= LONGEST]
        if not usable or len(set(usable)) < len(self.gaps):
            raise DataError(
                f"gaps: expected different whole numbers from {SHORTEST} to "
                f"{LONGEST:,}. Received: {printable(', '.join(map(str, self.gaps)))}"
            )


@dataclass(frozen=True)
class Part(Config):
    """One of the trainings."""

    layer: str = "LSTM"
    gap: int = 100


@dataclass(frozen=True)
class Trained:
    """What a training has come to."""

    part: Part
    epochs: int
    accuracy: float
    seconds: float
    report: Report


def parts(config: Config) -> list[Part]:
    """All trainings, long gaps first, since they take longest."""
    return [
        Part(**asdict(config), layer=layer, gap=gap)
        for gap in sorted(config.gaps, reverse=True)
        for layer in ("LSTM", "GRU", "SimpleRNN")
    ]


def build_model(config: Part) -> Any:
    """The compiled model: (batch, gap + 6) ids in, one probability a language out."""
    from keras import Input, Sequential, layers, optimizers

    layer = getattr(layers, config.layer)
    model = Sequential(
        [
            Input((config.gap + FRAME,), dtype="int32"),
            layers.Embedding(
                len(vocabulary().words) + 1, 16, mask_zero=True, name="embedding"
            ),
            layer(config.units, name=LAYERS[config.layer]),
            layers.Dense(len(LANGUAGES), activation="softmax", name="dense"),
        ],
        name=f"{NAME}_{LAYERS[config.layer]}_{config.gap}",
    )
    model.compile(
        optimizer=optimizers.Adam(0.002),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def vocabulary() -> Vocabulary:
    """Every word of the sentences; the languages are only answered."""
    return Vocabulary(("i", "live", "in", "speak", *LANGUAGES, *FILLER_WORDS))


def solved(history: training.History) -> bool:
    """Whether the last epoch's training accuracy leaves nothing to learn."""
    return history.get("accuracy", [0.0])[-1] >= SOLVED


def run(config: Config, options: RunOptions) -> RunResult:
    """Train every layer at every gap, compare, verify."""
    data = {gap: memories(config.seed, gap)[0] for gap in config.gaps}
    checksums = "".join(data[gap].sha256 for gap in sorted(data))
    sha256 = hashlib.sha256(checksums.encode()).hexdigest()
    options.folder.open_for(NAME, asdict(config), sha256, resume=options.resume)
    if not options.resume:
        remove_earlier(options.folder)
    todo = parts(config)
    gaps = join_and([str(gap) for gap in sorted(config.gaps)])
    print(
        f"{NAME}: {len(todo)} models, gaps of {gaps} words; each learns from "
        f"{data[todo[0].gap].test.count(False):,} sentences for at most "
        f"{config.epochs} epochs",
        file=sys.stderr,
    )
    trained = []
    for k, part in enumerate(todo):
        first = k == 0  # the LSTM at the longest gap has the folder itself
        name = f"{LAYERS[part.layer]}-{part.gap}"
        folder = options.folder if first else RunFolder(options.folder / name)
        folder.path.mkdir(parents=True, exist_ok=True)
        own = replace(options, folder=folder, resume=options.resume or not first)
        print(f"{part.layer}, gap {part.gap}", file=sys.stderr)
        try:
            trained.append(_train(part, own, data[part.gap], sha256))
        except training.Interrupted as stop:
            stop.args = (f"{stop} ({part.layer}, gap {part.gap})",)
            raise
    return _report(config, trained, options)


def _train(
    part: Part, options: RunOptions, sentences: Sentences, sha256: str
) -> Trained:
    """One model, trained and verified in its folder."""
    languages = tuple(LANGUAGES.values())
    length = part.gap + FRAME
    pipeline = TextPipeline(vocabulary(), length, "pre", True, False, languages)
    test = np.array(sentences.test)
    x = pipeline.encode(sentences.texts)
    labels = np.array([languages.index(answer) for answer in sentences.answers])
    model, progress, net = training.train(
        NAME,
        part,
        options,
        lambda: build_model(part),
        training.TrainingSet(
            x[~test],
            training.one_hot(labels[~test], len(languages)),
            pipeline,
            "sentences of recipes/grammar.py",
            sha256,
        ),
        batch_size=part.batch_size,
        report_every=10,
        until=solved,
    )
    predicted = model.predict(x[test], verbose=0).argmax(axis=1)
    accuracy = float(np.mean(predicted == labels[test]))
    report, _ = verify_run(options.folder, net, x[test][:VERIFIED_ROWS])
    if report.verdict is not verify.Verdict.PASS:
        print_report(report)
    ended = "solved" if solved(progress.history) else "not solved"
    print(
        f"  {ended} after epoch {progress.epochs}, test accuracy {accuracy:.4f}, "
        f"{report.verdict}",
        file=sys.stderr,
    )
    options.folder.write_json(
        "metrics.json",
        {
            "recipe": NAME,
            "layer": part.layer,
            "gap": part.gap,
            "epochs": progress.epochs,
            "accuracy": accuracy,
            "chance": CHANCE,
            "seconds": round(progress.seconds, 2),
            "verdict": str(report.verdict),
        },
    )
    return Trained(part, progress.epochs, accuracy, progress.seconds, report)


def _report(
    config: Config, trained: Sequence[Trained], options: RunOptions
) -> RunResult:
    """All accuracies and verdicts, and the figure: printed, and kept."""
    folder, gaps = options.folder, sorted(config.gaps)
    by = {(one.part.layer, one.part.gap): one for one in trained}
    net = verify.load(folder / "model.keras")
    print_parameters(net)
    print(f"\n{NAME}: test accuracy by the gap, in words (chance {CHANCE:.4f})")
    print(f"  {'':<12}{''.join(f'{gap:>9}' for gap in gaps)}")
    for layer in LAYERS:
        row = "".join(f"{by[layer, gap].accuracy:>9.4f}" for gap in gaps)
        print(f"  {layer:<12}{row}")
    print(f"\n  {'':<12}{'gap':>9}{'epochs':>9}{'|NumPy - predict|':>20}  verdict")
    for layer in LAYERS:
        for gap in gaps:
            one = by[layer, gap]
            print(
                f"  {layer:<12}{gap:>9}{one.epochs:>9}"
                f"{number(one.report.numerics.max_diff):>20}  {one.report.verdict}"
            )
    folder.write("memory.csv", memory_csv(by[k, g] for k in LAYERS for g in gaps))
    accuracies = {
        layer: np.array([[by[layer, gap].accuracy for gap in gaps]]) for layer in LAYERS
    }
    folder.write("memory.png", plots.png(figure(gaps, accuracies)))
    seconds = sum(one.seconds for one in trained)
    verdicts = Verdicts(
        max((t.report.verdict for t in trained), key=_severity),
        max(one.report.numerics.max_diff for one in trained),
    )
    metrics = folder.read_json("metrics.json") | {
        "parameters": net.spec.parameters,
        "gaps": gaps,
        "accuracies": {k: v[0].tolist() for k, v in accuracies.items()},
        "seconds": round(seconds, 2),
        "peak_memory_mib": training.peak_memory_mib(),
        "verdict": str(verdicts.verdict),
    }
    folder.write_json("metrics.json", metrics)
    print(f"\nEverything is in {printable(folder.path)}", file=sys.stderr)
    return RunResult(
        NAME, net.spec.parameters, trained[0].accuracy, None, seconds, verdicts
    )


def _severity(verdict: verify.Verdict) -> int:
    return [
        verify.Verdict.PASS, verify.Verdict.INCONCLUSIVE, verify.Verdict.FAIL,
    ].index(verdict)  # fmt: skip


def figure(gaps: Sequence[int], accuracies: dict[str, Any]) -> Any:
    """Accuracy against the gap; accuracies are (seeds, gaps) for each layer."""
    return plots.accuracy_by(
        gaps,
        accuracies,
        "gap between country and question (words)",
        "Which layer learns to remember over the gap?",
        chance=CHANCE,
        chance_label=f"chance, 1 of {len(LANGUAGES)}",
    )


def memory_csv(trained: Iterable[Trained]) -> bytes:
    """One line a model."""
    lines = ["layer,gap,epochs,test_accuracy,seconds,verdict"]
    for one in trained:
        lines.append(
            f"{one.part.layer},{one.part.gap},{one.epochs},{one.accuracy!r},"
            f"{one.seconds:.2f},{one.report.verdict}"
        )
    return ("\n".join(lines) + "\n").encode()


def remove_earlier(folder: RunFolder) -> None:
    """Remove what an earlier run of this recipe left in its sub-folders.

    Raises
    ------
    DataError
        A sub-folder of such a name holds something else.
    """
    names = f"({'|'.join(LAYERS.values())})-[0-9]+"
    earlier = [
        RunFolder(path)
        for path in folder.path.iterdir()
        if path.is_dir() and re.fullmatch(names, path.name)
    ]
    for one in earlier:
        one.examine(NAME, resume=False)
    for one in earlier:
        one.clear()
        if not any(one.path.iterdir()):
            one.path.rmdir()
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


if __name__ == "__main__":
    script(__file__)
