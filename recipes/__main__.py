"""Run the ``rnn-recipe`` command: train and verify recipes, and use what they trained.

Results go to stdout, progress to stderr. Exit codes: 0 done and verified, 1 a model
failed its verification, 2 wrong usage or unusable data (one line on stderr), 3 a
verification was inconclusive, 70 a defect of this program (one line on stderr, and a
file to send), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import sys

try:
    import ast
    import copy
    import importlib.util
    import shlex
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TYPE_CHECKING, Any, NoReturn

    import click
    from click.exceptions import Exit

    import verify
    from recipes import CHAPTER, GROUPS, PAGE_FILE, RECIPES, STUDIES
    from verify.commands.options import tls_files
    from verify.console.exit_codes import INTERRUPTED, SETTINGS, Commands
    from verify.console.exit_codes import run as run_command
    from verify.console.usage import meant_command
    from verify.data.files import output_path
    from verify.errors import (
        DataError,
        VerifyError,
        WriteError,
        join_and,
        printable,
    )
except KeyboardInterrupt:  # no traceback of somebody else's modules
    sys.exit(130)

if TYPE_CHECKING:
    from recipes.run.folder import RunFolder

# Commands import what they need when they run, so that --help appears at once.


OF_THE_VERIFIER = (
    "check", "compare", "describe", "selftest", "trace", "convert", "vectors", "layers",
    "conventions", "schema", "guess-config",
)  # fmt: skip
"""Commands of ``rnn-verify`` that may be looked for here."""

OTHER_WORDS = {
    "To train a recipe: rnn-recipe run NAME": ("train", "fit", "start", "make"),
    "To go on with a run: rnn-recipe run NAME --resume": ("resume", "continue"),
    "To apply a run to a text: rnn-recipe predict RUN_FOLDER TEXT": (
        "generate", "classify", "infer", "apply", "ask", "sample",
    ),
    "To see a run at work: rnn-recipe explore RUN_FOLDER": (
        "show", "view", "page", "open", "plot", "visualize", "visualise", "html",
    ),
    "To see the recipes: rnn-recipe list; the options of one: rnn-recipe run NAME "
    "--help": ("recipes", "ls", "names", "info", "summary", "options"),
    "To train many and compare them: rnn-recipe sweep": (
        "search", "tune", "grid", "grid-search", "study", "hyperparameters", "seeds-of",
    ),
    "A run verifies its model. To do so again: rnn-verify check "
    "RUN_FOLDER/model.keras": (
        "verify", "validate", "test", "evaluate", "eval", "score", "prove",
    ),
    "To write its model for another framework: rnn-verify convert "
    "RUN_FOLDER/model.keras": ("export", "save", "onnx"),
}  # fmt: skip
"""What is said of words that are commands of other programs."""


def _meant(word: str) -> str:
    """Return what was meant by a word that is no command: a recipe, or rnn-verify."""
    if word.replace("-", "_") in (*RECIPES, *GROUPS):
        return f"To train it: rnn-recipe run {word}"
    if word in OF_THE_VERIFIER:
        return f"It is a command of the verifier: rnn-verify {word}"
    return meant_command(word, OTHER_WORDS)


@click.group(cls=Commands, meant=_meant, context_settings=SETTINGS)
@click.version_option(verify.__version__, message="rnn-recipe %(version)s")
def app() -> None:
    """Build, train and verify the chapter's recurrent networks.

    Exit codes: 0 done and verified, 1 failed verification, 2 wrong usage or unusable
    data, 3 inconclusive verification, 70 a defect of this program, 130 interrupted, 143
    terminated.
    """


@app.command(name="list")
def list_recipes() -> None:
    """List every recipe with the task it learns."""
    width = max(map(len, RECIPES))
    for name in RECIPES:
        print(f"{name:<{width}}  {_summary(name)}")
    print(f"\n{'chapter':<{width}}  {join_and(CHAPTER)}")
    print(f"{'all':<{width}}  every recipe but {join_and(STUDIES)}: many models each")


batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1, max=2**20),
    help="Samples in a gradient step.",
)
csv_option = click.option(
    "--csv",
    metavar="FILE",
    help="Your own tweets, with the columns text and airline_sentiment.",
)

run_argument = click.argument(
    "folder", metavar="RUN_FOLDER", help="The folder of a run, or its model.keras."
)
backend_option = click.option(
    "--backend",
    type=click.Choice(["jax", "tensorflow"]),
    help="What Keras trains on; by default that of the environment variable "
    "KERAS_BACKEND, else jax, which is faster.",
)


def _given(context: click.Context, *others: str) -> dict[str, Any]:
    """Return the options given on the command line, without those named in `others`."""
    options = [param.name for param in context.command.params]
    values = {key: context.params[key] for key in options if key not in others}
    return {
        key: value
        for key, value in values.items()
        if value is not None and value is not False
    }


OPTIONS_OF_ALL = ("backend", "out", "resume", "help")
"""The options of ``rnn-recipe run`` that every recipe has."""


class RunCommand(click.Command):
    """Make ``run NAME --help`` describe this recipe and its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note which recipes and groups are named, for the help."""
        names = [name.replace("-", "_") for name in args]
        self.named = [name for name in names if name in (*RECIPES, *GROUPS)]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; for a single recipe, with its own options and defaults."""
        if len(self.named) != 1 or self.named[0] not in RECIPES:
            super().format_help(ctx, formatter)
            return
        from recipes.run.plan import options_of

        defaults = options_of(self.named[0])
        alone = copy.copy(self)  # the command itself may be called again
        alone.help = _summary(self.named[0])
        alone.params = [copy.copy(param) for param in self.params]
        for param in alone.params:
            if param.name in defaults:
                param.default = defaults[param.name]
            elif isinstance(param, click.Option):
                param.hidden = param.name not in OPTIONS_OF_ALL
        click.Command.format_help(alone, ctx, formatter)


@app.command(name="run", cls=RunCommand)
@click.pass_context
@click.argument(
    "names",
    metavar="NAME...",
    help="Recipes, or the groups chapter and all.",
    nargs=-1,
    required=True,
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1, max=10**6),
    help="Passes over the training data; in a group, only for its sentiment recipes.",
)
@batch_size_option
@click.option(
    "--units",
    type=click.IntRange(min=1, max=4096),
    help="Units of each recurrent layer.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**32 - 1),
    help="Decides the initial weights and the order of the samples.",
)
@click.option("--mask-zero", is_flag=True, help="Mask the padding.")
@click.option(
    "--padding",
    type=click.Choice(["pre", "post"]),
    help="Pad texts with zeros in front or behind.",
)
@click.option(
    "--length",
    type=click.IntRange(min=1, max=1000),
    help="Time steps; by default as many as the longest tweet has words.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1, max=1000),
    help="Number of seeds of a study; --seed is the first.",
)
@click.option(
    "--lengths",
    metavar="N,N,...",
    help="Numbers of time steps that padding_study compares.",
)
@click.option(
    "--gaps",
    metavar="N,N,...",
    help="Numbers of filler words that long_memory compares.",
)
@csv_option
@backend_option
@click.option(
    "--out",
    metavar="FOLDER",
    help="Folder of the run, by default runs/NAME; with several recipes, the "
    "folder in which each gets one of its own.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue after the last finished epoch, with the options of the "
    "earlier run; with several recipes, start those that have no run yet.",
)
def run_recipes(
    context: click.Context,
    names: tuple[str, ...],
    epochs: int | None,
    batch_size: int | None,
    units: int | None,
    seed: int | None,
    mask_zero: bool,
    padding: str | None,
    length: int | None,
    seeds: int | None,
    lengths: str | None,
    gaps: str | None,
    csv: str | None,
    backend: str | None,
    out: str | None,
    resume: bool,
) -> None:
    """Train recipes, verify their models, and print one table of all.

    Without --resume a run starts again and replaces an earlier run in its folder.
    """
    from recipes.run.finish import print_table
    from recipes.run.plan import command_line, module, plan
    from recipes.run.training import Interrupted

    given = _given(context, "names", "out", "resume")
    results = []
    jobs = plan(names, given, out=out, resume=resume)
    try:
        for job in jobs:
            results.append(module(job.recipe).run(job.config, job.options))
    except (Interrupted, KeyboardInterrupt, WriteError) as stop:
        folders = [job.options.folder for job in jobs]
        _end_early(stop, job.recipe, command_line(names, given, out), folders, resume)
    print()
    print_table(results)
    codes = {result.report.verdict.exit_code for result in results}
    raise Exit(1 if 1 in codes else max(codes))


def _end_early(
    stop: BaseException,
    name: str,
    command: str,
    folders: Sequence[RunFolder],
    resume: bool,
) -> NoReturn:
    """Say what has ended a command, and the command that goes on; end with its code.

    What stands in a folder in which nothing was begun is an earlier run, perhaps of
    other options, and not to be resumed.
    """
    if resume or any(folder.begun for folder in folders):
        command += " --resume"
    elif isinstance(stop, VerifyError):
        raise stop
    if isinstance(stop, VerifyError):
        raise type(stop)(f"{stop}. Go on with: {command}") from None
    what = f"{name} {str(stop) or 'interrupted'}"
    print(f"rnn-recipe: {what}. Go on with: {command}", file=sys.stderr)
    raise Exit(INTERRUPTED) from None


@app.command(name="sweep")
@click.pass_context
@click.option(
    "--recipes", metavar="NAME,...", help="Sentiment recipes, by default the LSTM."
)
@click.option("--seeds", metavar="N,...", help="By default 42,43,44.")
@click.option(
    "--padding", metavar="pre,post", help="Pad texts with zeros in front or behind."
)
@click.option(
    "--mask-zero", type=click.Choice(["on", "off", "both"]), help="Mask the padding."
)
@click.option(
    "--units", metavar="N,...", help="Units of each recurrent layer, by default 40."
)
@click.option(
    "--lengths",
    metavar="N,...",
    help="Time steps; by default as many as the longest tweet has words.",
)
@click.option(
    "--epochs", metavar="N,...", help="Passes over the training data, by default 3."
)
@batch_size_option
@csv_option
@backend_option
@click.option(
    "--out",
    default="runs/sweep",
    metavar="FOLDER",
    help="Folder in which each run gets one of its own.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1, max=1024),
    help="Models trained at the same time, by default one a core.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Train on the workers of a Dask cluster: tcp://host:8786, tls://host:8786, or "
    "local for workers on this machine.",
)
@tls_files
@click.option(
    "--resume",
    is_flag=True,
    help="Keep finished runs; options that are not given are taken from the "
    "earlier sweep.",
)
def run_sweep(
    context: click.Context,
    recipes: str | None,
    seeds: str | None,
    padding: str | None,
    mask_zero: str | None,
    units: str | None,
    lengths: str | None,
    epochs: str | None,
    batch_size: int | None,
    csv: str | None,
    backend: str | None,
    out: str,
    processes: int | None,
    dask: str | None,
    tls_ca_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    resume: bool,
) -> None:
    """Train every combination of options with several seeds, and compare them.

    Several values of an option are separated by commas.
    """
    from recipes import sweep
    from recipes.run.training import Interrupted
    from verify.checks.cluster import ClusterLost, Tls

    tls = ("tls_ca_file", "tls_cert", "tls_key")
    given = _given(context, "out", "processes", "dask", "resume", *tls)
    where = sweep.Where(processes, dask, Tls(tls_ca_file, tls_cert, tls_key))
    job = sweep.plan(given, out, resume=resume, where=where)
    try:
        results = sweep.run(job.config, job.options, job.where)
    except (Interrupted, KeyboardInterrupt, WriteError, ClusterLost) as stop:
        folders = [job.options.folder]
        _end_early(stop, sweep.NAME, job.options.command, folders, resume)
    if results.failures:
        print(
            f"rnn-recipe: {len(results.failures)} of {job.config.runs} runs failed. "
            f"Try these again with: {job.options.command} --resume",
            file=sys.stderr,
        )
    raise Exit(sweep.exit_code(results))


@app.command()
@run_argument
@click.argument(
    "words_of_text",
    metavar="TEXT...",
    nargs=-1,
    required=True,
    help="A text. Quotation marks keep a shell from reading signs in it.",
)
def predict(folder: str, words_of_text: tuple[str, ...]) -> None:
    """Apply a trained model to a text, in NumPy, and name words it does not know."""
    from recipes.explore.answer import answer
    from recipes.run.folder import RunFolder
    from verify.data.text import clean, words

    text = " ".join(words_of_text)
    if not Path(folder).exists() and Path(words_of_text[-1]).is_dir():
        raise DataError(
            f"{printable(folder, 60)}: expected the folder of a run first, then the "
            f"text. Did you mean rnn-recipe predict {printable(words_of_text[-1])} "
            f"{shlex.quote(printable(folder, 60))}?"
        )
    run_folder = RunFolder.finished(folder)
    pipeline = run_folder.read_pipeline()
    net = verify.load(run_folder / "model.keras")
    found = clean(text).split()
    kept = words(text, keep_stop_words=pipeline.keep_stop_words)
    ids = pipeline.vocabulary.ids
    known = [word for word in kept if word in ids]
    used = known[-pipeline.length :]
    if not used:
        received = ", ".join(kept) or ("none but stop words" if found else "no word")
        wanted = "a text with words of the vocabulary"
        if pipeline.outputs == "phrase":  # few words, each a class
            wanted = f"one of {printable(', '.join(ids), 400)}"
        raise DataError(f"expected {wanted}. Received: {printable(received, 200)}")
    notes = {
        "used": used,
        "stop words": [word for word in found if word not in kept],
        "not in the vocabulary": [word for word in kept if word not in ids],
        f"before the last {pipeline.length}, cut": known[: -pipeline.length],
    }
    (scores,) = net.predict(pipeline.encode([text]))
    if scores.shape[-1] != len(pipeline.classes):
        raise DataError(
            f"{folder}: expected a model of {len(pipeline.classes)} classes. "
            f"Received: {scores.shape[-1]}"
        )
    for note, which in notes.items():
        if which:
            print(f"{note}: {', '.join(which)}")
    for line in answer(scores, used, pipeline):
        print(line)


@app.command()
@run_argument
@click.option(
    "--out", metavar="FILE", help=f"The page, by default RUN_FOLDER/{PAGE_FILE}."
)
@click.option(
    "--text",
    multiple=True,
    metavar="TEXT",
    help="A text to show first; may be repeated.",
)
def explore(folder: str, out: str | None, text: tuple[str, ...]) -> None:
    """Write a page that shows the model at work, word by word, in any browser."""
    from recipes.explore.page import write_page
    from recipes.run.folder import RunFolder

    run_folder = RunFolder.finished(folder)
    path = run_folder / PAGE_FILE
    if out is not None:
        path = output_path(out, "--out", ".html")
    write_page(run_folder, path, text or ())
    print(printable(path, 4000))


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments, and return the exit code."""
    return run_command(app, argv, "rnn-recipe", known=(*RECIPES, *GROUPS))


def _summary(name: str) -> str:
    """Return the first line of a recipe's docstring, without running the file."""
    spec = importlib.util.find_spec(f"recipes.{name}")
    if spec is None or spec.origin is None:
        return ""
    source = Path(spec.origin).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
