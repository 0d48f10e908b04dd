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

import csv
import functools
import hashlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
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
from recipes.run.finish import (
    RunResult,
    print_parameters,
    verify_run,
)
from recipes.run.folder import as_csv
from recipes.run.many import Part, Study, StudyData, TrainedPart
from recipes.run.options import RunOptions
from verify.data.text import TextPipeline, Vocabulary
from verify.errors import DataError, join_and, printable
from verify.report.report import number

NAME = "long_memory"
SHOWN_TEXTS = "i live in india and we often walk to town i speak"
STUDY_FILES = ("memory.csv", "memory.png")
LAYERS = {"SimpleRNN": "simple_rnn", "LSTM": "lstm", "GRU": "gru"}
"""Keras's layer -> how its folders are called."""

CHANCE = 1 / len(LANGUAGES)
SOLVED = 0.995
"""Training accuracy of an epoch after which the training ends."""

SHORTEST, LONGEST = 5, 1000
FRAME = 6
"""Words besides the filler: i live in india, i speak."""


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


@functools.cache
def _sentences(config: Config) -> tuple[dict[int, Sentences], str]:
    """Return the sentences of every gap, and the checksum of all of them."""
    data = {gap: memories(config.seed, gap)[0] for gap in config.gaps}
    checksums = "".join(data[gap].sha256 for gap in sorted(data))
    return data, hashlib.sha256(checksums.encode()).hexdigest()


class MemoryStudy(Study):
    """Train every layer at every gap."""

    scores: ClassVar[tuple[str, ...]] = ("accuracy",)

    @functools.cached_property
    def data(self) -> StudyData:
        """Sentences of a grammar; there is nothing to be noted about them."""
        return StudyData(SENTENCES_SOURCE, _sentences(self.config)[1])

    def earlier(self) -> dict[str, str]:
        """Return the sub-folders that an earlier study may have made."""
        names = f"({'|'.join(LAYERS.values())})-[0-9]+"
        return {
            path.name: NAME
            for path in self.options.folder.path.iterdir()
            if path.is_dir() and re.fullmatch(names, path.name)
        }

    def write_manifest(self, parts: Mapping[str, str]) -> None:
        """Leave it to the run in the study's folder, whose manifest it is."""

    def command(self, part: Part) -> str:
        """Return the command of the study: a part has none of its own."""
        return self.options.command

    def ended(self, part: Part, epochs: int) -> bool:
        """Say whether all epochs are done, or the task was solved before."""
        history = (self.folder_of(part) / "history.csv").read_text().splitlines()
        *_, last = csv.DictReader(history)
        return super().ended(part, epochs) or float(last["accuracy"]) >= SOLVED


def run(config: Config, options: RunOptions) -> RunResult:
    """Train every layer at every gap, compare, verify."""
    learnt = _sentences(config)[0][max(config.gaps)].test.count(False)
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
    data, sha256 = _sentences(_study_config(config))
    sentences, folder = data[config.gap], options.folder
    folder.path.mkdir(parents=True, exist_ok=True)
    languages = tuple(LANGUAGES.values())
    length = config.gap + FRAME
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


def _study_config(config: PartConfig) -> Config:
    """Return the settings that a model shares with the others of its study."""
    return Config(**{f.name: getattr(config, f.name) for f in fields(Config)})


def _report(
    config: Config, trained: Sequence[TrainedPart], options: RunOptions
) -> RunResult:
    """All accuracies and verdicts, and the figure: printed, and kept."""
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
    print(f"\nEverything is in {printable(folder.path)}", file=sys.stderr)
    return RunResult(
        NAME,
        net.spec.parameters,
        trained[0].scores["accuracy"],
        None,
        seconds,
        verdicts,
    )


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


def memory_csv(trained: Iterable[TrainedPart]) -> bytes:
    """Return one line a model as CSV."""
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
