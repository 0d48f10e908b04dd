"""Train models so that a run can be interrupted, resumed and repeated.

`train` does the whole training of a recipe; `fit` runs Keras epoch by epoch. One seed
makes a run repeatable: it decides the initial weights and, together with the number of
the epoch, the order of the samples. So epoch 7 is the same whether epochs 1 to 6 ran
just before or yesterday.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import verify
from recipes import plots
from recipes.run.backend import (
    require_same_backend,
    take_steps_at_once,
)
from recipes.run.backend import start as start
from recipes.run.folder import RunFolder, as_csv
from recipes.run.jax_epochs import TEST_BATCH, JaxEpochs
from recipes.run.options import RunOptions
from verify.console.signals import Interruption, heard
from verify.data.files import write_atomically, write_error
from verify.data.text import TextPipeline
from verify.errors import DataError, printable
from verify.keras_bridge import backend, versions, without_tensorflow
from verify.model.arrays import Array

History = dict[str, list[float]]

CHECKPOINT_VERSION = 2

SECONDS_UNWRITTEN = 1.0
"""Seconds of training that a killed process may lose where epochs are short."""


class Interrupted(Exception):
    """Report Ctrl-C during training; everything up to `epochs` is on disk."""

    def __init__(self, epochs: int, of: int) -> None:
        super().__init__(f"interrupted after epoch {epochs} of {of}")


@dataclass
class Progress:
    """Hold the history of the epochs trained so far, and the seconds that they took.

    The seconds are those that a user waits for: compiling and checkpoints included, but
    for the last one, which holds this number.
    """

    history: History = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Return the number of finished epochs."""
        return len(self.history.get("loss", []))


@dataclass(frozen=True)
class TrainingSet:
    """Hold the data that a recipe learns from, and their source.

    Attributes
    ----------
    x, y : (samples, ...)
    pipeline : TextPipeline
    source : str
        Where the samples come from, in words, for the manifest.
    sha256 : str
        The checksum of the samples.
    validation : (x, y), optional
        Test data.
    """

    x: Array
    y: Array
    pipeline: TextPipeline
    source: str
    sha256: str
    validation: tuple[Array, Array] | None = None


def one_hot(labels: npt.ArrayLike, classes: int) -> npt.NDArray[np.float32]:
    """Return (..., classes) of float32: 1 in the column of the label, else 0."""
    return np.eye(classes, dtype=np.float32)[np.asarray(labels, dtype=np.int64)]


class TrainedModel(NamedTuple):
    """Hold a model that a run has trained and saved.

    Attributes
    ----------
    model : keras.Model
    progress : Progress
    net : Network
        The same model as the verifier reads it from its file.
    """

    model: Any
    progress: Progress
    net: verify.Network


def train(
    recipe: str,
    config: Any,
    options: RunOptions,
    build: Callable[[], Any],
    data: TrainingSet,
    *,
    batch_size: int,
    report_every: int = 1,
    until: Callable[[History], bool] | None = None,
) -> TrainedModel:
    """Train a model and write the files of the training into the folder of its run.

    Parameters
    ----------
    recipe : str
    config : Config of the recipe
        With ``epochs`` and ``seed``.
    options : RunOptions
        Its folder has been opened.
    build : callable
        ``build()`` returns the compiled model.
    data : TrainingSet
    batch_size, report_every, until : as for `fit`

    Raises
    ------
    DataError
        The folder cannot be used.
    Interrupted
        On Ctrl-C.
    """
    folder = options.folder
    wanted = options.backend
    if options.resume:
        wanted = require_same_backend(folder, wanted)
    start(config.seed, wanted)
    model = build()
    take_steps_at_once(model)
    if not options.resume:
        folder.clear()  # only now: an error before this leaves an earlier run intact
    progress = restore(model, folder, config.epochs)
    content = manifest(recipe, config, options, data.source, data.sha256)
    folder.write_json("manifest.json", content)
    folder.write_pipeline(data.pipeline)
    fit(
        model,
        data.x,
        data.y,
        epochs=config.epochs,
        batch_size=batch_size,
        seed=config.seed,
        folder=folder,
        progress=progress,
        validation=data.validation,
        report_every=report_every,
        until=until,
    )
    _forget_earlier_model(folder)
    save_model(model, folder)
    # Reading the file takes a process of its own, so the figure is drawn meanwhile.
    with ThreadPoolExecutor(1) as executor:
        reading = executor.submit(verify.load, folder / "model.keras")
        folder.write("history.csv", history_csv(progress.history))
        title = f"{recipe}: loss and accuracy by epoch"
        folder.write("curves.png", plots.png(plots.curves(progress.history, title)))
    return TrainedModel(model, progress, reading.result())


def fit(
    model: Any,
    x: Array,
    y: Array,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    folder: RunFolder,
    progress: Progress,
    validation: tuple[Array, Array] | None = None,
    report_every: int = 1,
    until: Callable[[History], bool] | None = None,
) -> None:
    """Train a compiled model up to a number of epochs, going on from `progress`.

    Parameters
    ----------
    model : keras.Model
    x, y : (samples, ...)
    epochs : int
        All epochs, those of the checkpoint included.
    batch_size : int
        Samples a gradient step.
    seed : int
        Decides the order of the samples in each epoch.
    folder : RunFolder
        Gets ``checkpoint.npz`` and ``history.csv`` with every line of progress, every
        second, and on Ctrl-C.
    progress : Progress
        From `restore`; it grows as epochs are finished.
    validation : (x, y), optional
        Test data, evaluated after every epoch.
    report_every : int
        Epochs between two lines of progress on stderr.
    until : callable, optional
        ``until(history)`` returns whether to end before all epochs are done.

    Raises
    ------
    Interrupted
        On Ctrl-C; the epoch in progress is lost, nothing else.
    """
    if progress.epochs < epochs:
        _build_metrics(model, x, y)

    def ended() -> bool:
        return progress.epochs >= epochs or bool(until and until(progress.history))

    earlier, began = progress.seconds, time.perf_counter()
    checkpoint = _Checkpoint(model, folder, progress)
    try:
        with Interruption(impatient=True) as interruption:
            trainer: KerasEpochs | JaxEpochs = (
                JaxEpochs(model, interruption.raise_if_received)
                if backend() == "jax"
                else KerasEpochs(model, interruption)
            )
            reported = began
            while not ended():
                order = np.random.default_rng([seed, progress.epochs]).permutation(
                    len(x)
                )
                logs = _one_epoch(trainer, x[order], y[order], batch_size, validation)
                interruption.raise_if_received()
                for name, value in logs.items():
                    progress.history.setdefault(name, []).append(float(value))
                progress.seconds = earlier + time.perf_counter() - began
                checkpoint.keep()
                due = progress.epochs % report_every == 0 or progress.epochs == epochs
                if due or ended() or checkpoint.age >= SECONDS_UNWRITTEN:
                    checkpoint.write()
                if due:
                    _print_progress(progress, epochs, time.perf_counter() - reported)
                    reported = time.perf_counter()
    except KeyboardInterrupt:
        heard()  # or it would be raised again while this is written
        checkpoint.write()
        raise Interrupted(checkpoint.epochs, epochs) from None


def _build_metrics(model: Any, x: Array, y: Array) -> None:
    """Make the variables of the metrics before Keras traces a training step.

    TensorFlow traces a function that makes variables twice: with and without them.
    """
    model.compute_metrics(x[:1], y[:1], np.zeros((1, *model.output_shape[1:])))
    model.reset_metrics()


def _one_epoch(
    epochs: KerasEpochs | JaxEpochs, x: Array, y: Array, batch_size: int, test: Any
) -> Mapping[str, float]:
    """Train one epoch and return its loss and metrics, on test data too if given."""
    return epochs.epoch(x, y, batch_size, test)


class KerasEpochs:
    """Train a compiled model by Keras's own loop."""

    def __init__(self, model: Any, interruption: Interruption) -> None:
        self._model = model
        self._interruption = interruption

    def epoch(
        self, x: Array, y: Array, batch_size: int, test: tuple[Array, Array] | None
    ) -> Mapping[str, float]:
        """Train one epoch; return its metrics, and those on test rows (x, y)."""
        model = self._model
        if len(x) > batch_size:
            history = model.fit(
                x, y, batch_size=batch_size, shuffle=False, verbose=0,
                validation_data=test, validation_batch_size=TEST_BATCH,
                callbacks=[_interrupts_fit(self._interruption)],
            )  # fmt: skip
            return {name: values[-1] for name, values in history.history.items()}
        # An epoch of one batch needs no data pipeline, which takes 20 times as long to
        # start as the step itself.
        model.reset_metrics()
        logs = dict(model.train_on_batch(x, y, return_dict=True))
        if test is not None:
            tested = model.evaluate(*test, verbose=0, return_dict=True)
            logs |= {f"val_{name}": value for name, value in tested.items()}
        return logs


def _interrupts_fit(interruption: Interruption) -> Any:
    """Return a Keras callback that acts on Ctrl-C after every batch and epoch."""
    from keras.callbacks import LambdaCallback

    def look(*_: Any, **__: Any) -> None:
        interruption.raise_if_received()

    return LambdaCallback(
        on_train_batch_end=look, on_test_batch_end=look, on_epoch_end=look
    )


def _print_progress(progress: Progress, epochs: int, seconds: float) -> None:
    last = {name: values[-1] for name, values in progress.history.items()}
    text = f"  epoch {progress.epochs:>{len(str(epochs))}}/{epochs}"
    text += f"  loss {last['loss']:.4f}  accuracy {last['accuracy']:.3f}"
    if "val_loss" in last:
        text += f"  test loss {last['val_loss']:.4f}"
        text += f"  test accuracy {last['val_accuracy']:.4f}"
    print(f"{text}  {seconds:.1f} s", file=sys.stderr, flush=True)


def history_csv(history: History) -> bytes:
    """Return the history as CSV: epoch, then one column a quantity."""
    epochs = enumerate(zip(*history.values(), strict=True), start=1)
    return as_csv(["epoch", *history], [(k, *values) for k, values in epochs])


class _Checkpoint:
    """Keep everything that the next epoch depends on, and write it in one file at once.

    Keeping takes next to no time, writing longer than a short epoch. What is kept is
    still whole when Ctrl-C comes in the middle of the epoch after it.

    Attributes
    ----------
    epochs : int
        The number of epochs that are kept.
    """

    def __init__(self, model: Any, folder: RunFolder, progress: Progress) -> None:
        self.epochs = progress.epochs
        self._model, self._folder, self._progress = model, folder, progress
        self._kept: dict[str, Array] = {}
        self._written = time.perf_counter()

    @property
    def age(self) -> float:
        """Return the seconds since the file was written, or since the beginning."""
        return time.perf_counter() - self._written

    def keep(self) -> None:
        """Keep the state after the last epoch of the history."""
        variables = _variables(self._model)
        self._kept = {name: np.array(value) for name, value in variables.items()}
        self.epochs = self._progress.epochs

    def write(self) -> None:
        """Write what was kept last, unless it is written already."""
        if not self._kept:
            return
        found = self._progress.history
        history = {name: values[: self.epochs] for name, values in found.items()}
        about = {
            "version": CHECKPOINT_VERSION,
            "history": history,
            "seconds": self._progress.seconds,
        }
        arrays = {**self._kept, "about": np.array(json.dumps(about))}
        write_atomically(
            self._folder / "checkpoint.npz",
            lambda file: np.savez(file, **arrays),  # type: ignore[arg-type]
        )
        self._folder.write("history.csv", history_csv(history))
        self._kept, self._written = {}, time.perf_counter()


def _variables(model: Any) -> dict[str, Any]:
    """Return the variables of a model and of its optimizer, by names in a file."""
    return {
        **{f"model/{k}": v for k, v in enumerate(model.variables)},
        **{f"optimizer/{k}": v for k, v in enumerate(model.optimizer.variables)},
    }


def restore(model: Any, folder: RunFolder, epochs: int) -> Progress:
    """Put a model into the state of the folder's checkpoint, if there is one.

    Raises
    ------
    DataError
        The checkpoint is damaged, belongs to another model, or is past `epochs`.
    """
    model.optimizer.build(model.trainable_variables)
    path = folder / "checkpoint.npz"
    if not path.exists():
        return Progress()
    variables = _variables(model)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            arrays = {name: archive[name] for name in archive.files if name != "about"}
        history = {
            str(name): [float(value) for value in values]
            for name, values in about["history"].items()
        }
        progress = Progress(history, float(about["seconds"]))
        if about["version"] != CHECKPOINT_VERSION:
            raise ValueError(f"version {about['version']}")
    except Exception as e:  # a damaged file: NumPy, zlib and json raise all kinds
        raise DataError(
            f"{path}: expected a checkpoint of this run. The file is damaged "
            f"({printable(e, 100)})"
        ) from None
    expected = {name: tuple(v.shape) for name, v in variables.items()}
    found = {name: value.shape for name, value in arrays.items()}
    if expected != found:
        raise DataError(
            f"{path}: expected the weights of this model. Received: weights of another "
            "one"
        )
    if progress.epochs > epochs:
        raise DataError(
            f"{folder.path}: has been trained for {progress.epochs} epochs. "
            f"Received: --epochs {epochs}"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    print(f"  resuming after epoch {progress.epochs}", file=sys.stderr)
    return progress


def save_model(model: Any, folder: RunFolder) -> None:
    """Write ``model.keras``, whole or not at all."""
    path = folder / "model.keras"
    temporary = folder / ".partial.model.keras"
    try:
        with without_tensorflow():
            model.save(temporary)
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _forget_earlier_model(folder: RunFolder) -> None:
    """Remove the measurements of the model that a resumed run replaces.

    ``metrics.json`` goes first: a run without it counts as not finished.
    """
    try:
        for name in ("metrics.json", "verification.json"):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise write_error(folder.path, error) from None


def manifest(
    recipe: str, config: Any, options: RunOptions, source: str, sha256: str
) -> dict[str, Any]:
    """Return the content of ``manifest.json``: all that is needed to repeat a run."""
    return {
        "recipe": recipe,
        "config": asdict(config),
        "data": source,
        "csv": options.csv,
        "data_sha256": sha256,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": backend(),
        "versions": versions(),
        "command": options.command,
    }


def peak_memory_mib() -> float | None:
    """Return the peak memory of this process in MiB; None if unknown."""
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)
