"""Long memory: "i live in india ... i speak ___". Who still knows after 100 words?

    rnn-recipe run long_memory
    python recipes/long_memory.py --gaps 5,100 --seed 7

The country stands at the start, the language is asked for at the end, and between them
stand 5 to 100 random filler words. For each length of this gap a SimpleRNN, an LSTM and
a GRU are trained under the same conditions: the same sentences in the same order, the
same units, Adam with the same learning rate, at most 20 epochs, and Keras's defaults
for everything else (an orthogonal recurrent kernel, a bias of 1 for the LSTM's forget
gate, no clipping). Training ends early when the accuracy of an epoch reaches 0.995.

The task shows how long a state keeps what it has read; a model that counts words would
find the country at any distance. It also shows what can be learnt, since the gradient
has to travel back over the whole gap to the country.

With the seeds 1, 2 and 42 the LSTM and the GRU are right on at least 399 of 400
sentences at every gap. The SimpleRNN is right on all of them up to 20 words, on 0.25 to
1.00 after 50 and on 0.47 to 0.50 after 100 words (``rnn-recipe run long_memory --seed
1``). With the same units it has fewer parameters; ``--units`` gives it more.

It ends with the accuracies on test sentences beside chance, and the verifier's verdict
on every model. ``memory.csv`` holds the accuracies, ``memory.png`` shows them. The
folder itself is the run of the LSTM at the longest gap, so ``rnn-recipe predict`` works
on it; the other runs are in sub-folders such as ``gru-100``.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

import verify
from recipes import plots, script
from recipes.data.grammar import (
    FILLER_WORDS,
    LANGUAGES,
    SENTENCES_SOURCE,
    Sentences,
    memories,
)
from recipes.run import summary, training
from recipes.run.checks import require_numbers
from recipes.run.finish import RunResult, print_folder, print_parameters, verify_run
from recipes.run.folder import as_csv
from recipes.run.options import RunOptions
from recipes.run.study import Part, Study, StudyData, TrainedPart
from verify.data.text import TextPipeline, Vocabulary
from verify.errors import join_and
from verify.report.report import number

NAME = "long_memory"
SHOWN_TEXTS = "i live in india and we often walk to town i speak"
STUDY_FILES = ("memory.csv", "memory.png")
LAYERS = {"SimpleRNN": "simple_rnn", "LSTM": "lstm", "GRU": "gru"}
"""Keras's layer -> the beginning of its folders' names."""

CHANCE = 1 / len(LANGUAGES)
SOLVED = 0.995
"""Training accuracy of an epoch after which the training ends."""

MIN_GAP, MAX_GAP = 5, 1000
FRAME_WORDS = 6
"""Words besides the filler: i live in india, i speak."""


@dataclass(frozen=True)
class Config:
    """List what can be varied; the seed also decides the filler words."""

    epochs: int = 20
    batch_size: int = 64
    units: int = 32
    seed: int = 42
    gaps: tuple[int, ...] = (5, 10, 20, 50, 100)

    def __post_init__(self) -> None:
        require_numbers("gaps", self.gaps, MIN_GAP, MAX_GAP)


@dataclass(frozen=True)
class PartConfig(Config):
    """Hold the settings of one of the models."""

    layer: str = "LSTM"
    gap: int = 100


def parts(config: Config) -> list[Part]:
    """Return all models, long gaps first, since they take longest.

    The first, the LSTM at the longest gap, has the folder of the study itself.
    """
    order = [
        (layer, gap)
        for gap in sorted(config.gaps, reverse=True)
        for layer in ("LSTM", "GRU", "SimpleRNN")
    ]
    return [
        Part(
            f"{LAYERS[layer]}-{gap}",
            NAME,
            PartConfig(**asdict(config), layer=layer, gap=gap),
            entry="train_part",
            in_folder_of_study=(layer, gap) == order[0],
        )
        for layer, gap in order
    ]


def build_model(config: PartConfig) -> Any:
    """Return the compiled model: (batch, gap + 6) ids in, (batch, languages) out."""
    from keras import Input, Sequential, layers, optimizers

    layer = getattr(layers, config.layer)
    model = Sequential(
        [
            Input((config.gap + FRAME_WORDS,), dtype="int32"),
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
    """Return every word of the sentences; languages are answers, not words."""
    return Vocabulary(("i", "live", "in", "speak", *LANGUAGES, *FILLER_WORDS))


def solved(history: training.History) -> bool:
    """Return whether the last epoch's training accuracy is high enough to end."""
    return history.get("accuracy", [0.0])[-1] >= SOLVED


@functools.cache
def _sentences(seed: int, gaps: tuple[int, ...], /) -> tuple[dict[int, Sentences], str]:
    """Return the sentences of every gap, and the checksum of all of them."""
    data = {gap: memories(seed, gap)[0] for gap in gaps}
    checksums = "".join(data[gap].sha256 for gap in sorted(data))
    return data, hashlib.sha256(checksums.encode()).hexdigest()


class MemoryStudy(Study):
    """Train every layer at every gap."""

    scores: ClassVar[tuple[str, ...]] = ("accuracy",)

    @functools.cached_property
    def data(self) -> StudyData:
        """Return the name and the checksum of the sentences."""
        _, sha256 = _sentences(self.config.seed, self.config.gaps)
        return StudyData(SENTENCES_SOURCE, sha256)

    def earlier(self) -> dict[str, str]:
        """Return the sub-folders that have the name of a part: name -> recipe."""
        names = f"({'|'.join(LAYERS.values())})-[0-9]+"
        return {
            path.name: NAME
            for path in self.options.folder.path.iterdir()
            if path.is_dir() and re.fullmatch(names, path.name)
        }

    def write_manifest(self, parts: Mapping[str, str]) -> None:
        """Write none: the run in the study's folder writes its own."""

    def command(self, part: Part) -> str:
        """Return the command of the study, since no other trains a part."""
        return self.options.command

    def ended(self, part: Part, epochs: int) -> bool:
        """Return whether all epochs are done, or the task was solved earlier."""
        history = (self.folder_of(part) / "history.csv").read_text().splitlines()
        *_, last = csv.DictReader(history)
        return super().ended(part, epochs) or float(last["accuracy"]) >= SOLVED


def run(config: Config, options: RunOptions) -> RunResult:
    """Train and verify every layer at every gap, and compare their accuracies."""
    sentences, _ = _sentences(config.seed, config.gaps)
    learnt = sentences[max(config.gaps)].test.count(False)
    gaps = join_and([str(gap) for gap in sorted(config.gaps)])
    print(
        f"{NAME}: gaps of {gaps} words; each model learns from {learnt:,} sentences "
        f"for at most {config.epochs} epochs",
        file=sys.stderr,
    )
    trained = MemoryStudy(NAME, config, parts(config), options, STUDY_FILES).train()
    return _report(config, trained, options)


def train_part(config: PartConfig, options: RunOptions) -> RunResult:
    """Train and verify one model in its folder."""
    data, sha256 = _sentences(config.seed, config.gaps)
    sentences, folder = data[config.gap], options.folder
    if options.resume:
        folder.open_for(NAME, asdict(config), sha256, resume=True)
    folder.path.mkdir(parents=True, exist_ok=True)
    languages = tuple(LANGUAGES.values())
    length = config.gap + FRAME_WORDS
    pipeline = TextPipeline(vocabulary(), length, "pre", True, False, languages)
    test = np.array(sentences.test)
    x = pipeline.encode(sentences.texts)
    labels = np.array([languages.index(answer) for answer in sentences.answers])
    model, progress, net = training.train(
        NAME,
        config,
        options,
        lambda: build_model(config),
        training.TrainingSet(
            x[~test],
            training.one_hot(labels[~test], len(languages)),
            pipeline,
            SENTENCES_SOURCE,
            sha256,
        ),
        batch_size=config.batch_size,
        until=solved,
    )
    predicted = model.predict(x[test], verbose=0).argmax(axis=1)
    accuracy = float(np.mean(predicted == labels[test]))
    report, _ = verify_run(folder, net, x[test][: options.verified_rows])
    folder.write_json(
        "metrics.json",
        {
            "recipe": NAME,
            "layer": config.layer,
            "gap": config.gap,
            "epochs": progress.epochs,
            "accuracy": accuracy,
            "chance": CHANCE,
            "seconds": round(progress.seconds, 2),
            "verdict": str(report.verdict),
        },
    )
    return RunResult(
        NAME, net.spec.parameters, accuracy, None, progress.seconds, report
    )


def _report(
    config: Config, trained: Sequence[TrainedPart], options: RunOptions
) -> RunResult:
    """Print accuracies and verdicts, and write them with the figure."""
    folder, gaps = options.folder, sorted(config.gaps)
    by = {(one.part.config.layer, one.part.config.gap): one for one in trained}
    net = verify.load(folder / "model.keras")
    print_parameters(net)
    print(f"\n{NAME}: test accuracy by the gap, in words (chance {CHANCE:.4f})")
    print(f"  {'':<12}{''.join(f'{gap:>9}' for gap in gaps)}")
    for layer in LAYERS:
        row = "".join(f"{by[layer, gap].scores['accuracy']:>9.4f}" for gap in gaps)
        print(f"  {layer:<12}{row}")
    print(f"\n  {'':<12}{'gap':>9}{'epochs':>9}{'|NumPy - predict|':>20}  verdict")
    for layer in LAYERS:
        for gap in gaps:
            one = by[layer, gap]
            print(
                f"  {layer:<12}{gap:>9}{one.epochs:>9}"
                f"{number(one.max_diff):>20}  {one.verdict}"
            )
    folder.write("memory.csv", memory_csv(by[k, g] for k in LAYERS for g in gaps))
    accuracies = {
        layer: np.array([[by[layer, gap].scores["accuracy"] for gap in gaps]])
        for layer in LAYERS
    }
    folder.write("memory.png", plots.png(figure(gaps, accuracies)))
    seconds = sum(one.seconds for one in trained)
    verdicts = summary.worst(trained)
    metrics = folder.read_json("metrics.json") | {
        "parameters": net.spec.parameters,
        "gaps": gaps,
        "accuracies": {k: v[0].tolist() for k, v in accuracies.items()},
        "seconds": round(seconds, 2),
        "peak_memory_mib": training.peak_memory_mib(),
        "verdict": str(verdicts.verdict),
    }
    folder.write_json("metrics.json", metrics)
    print_folder(folder)
    return RunResult(
        NAME,
        net.spec.parameters,
        trained[0].scores["accuracy"],
        None,
        seconds,
        verdicts,
    )


def figure(gaps: Sequence[int], accuracies: dict[str, Any]) -> Any:
    """Draw accuracy against the gap.

    Parameters
    ----------
    gaps : sequence of int
    accuracies : dict of str to (seeds, gaps)
        By layer.
    """
    return plots.accuracy_by(
        gaps,
        accuracies,
        "gap between country and question (words)",
        "Which layer learns to remember over the gap?",
        chance=CHANCE,
        chance_label=f"chance, 1 of {len(LANGUAGES)}",
    )


def memory_csv(trained: Iterable[TrainedPart]) -> bytes:
    """Return the models as CSV, one row each."""
    return as_csv(
        ("layer", "gap", "epochs", "test_accuracy", "seconds", "verdict"),
        (
            (
                one.part.config.layer, one.part.config.gap, one.epochs,
                one.scores["accuracy"], f"{one.seconds:.2f}", one.verdict,
            )
            for one in trained
        ),
    )  # fmt: skip


if __name__ == "__main__":
    script(__file__)
