"""The ``rnn-recipe`` command.

Results go to stdout, progress to stderr. Exit codes: 0 done and verified, 1 a model
failed its verification, 2 wrong usage or unusable data (one line on stderr), 3 a
verification was inconclusive, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperOption

import verify
from recipes import CHAPTER, GROUPS, PAGE_FILE, RECIPES, STUDIES
from verify.console.exit_codes import INTERRUPTED
from verify.console.exit_codes import run as run_command
from verify.data.files import output_path
from verify.errors import DataError, join_and, printable

# A command imports what it needs: --help is there at once.

app = typer.Typer(
    help="Builds, trains and verifies the chapter's recurrent networks.\n\n"
    "Exit codes: 0 done and verified, 1 failed verification, 2 wrong usage or "
    "unusable data, 3 inconclusive verification, 130 interrupted, 143 terminated.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command(name="list")
def list_recipes() -> None:
    """Name every recipe with what it learns."""
    width = max(map(len, RECIPES))
    for name in RECIPES:
        print(f"{name:<{width}}  {_summary(name)}")
    print(f"\n{'chapter':<{width}}  {join_and(CHAPTER)}")
    print(f"{'all':<{width}}  every recipe but {join_and(STUDIES)}: many models each")


BatchSize = Annotated[int | None, typer.Option(min=1, max=2**20)]
Csv = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Tweets of yours: text, airline_sentiment."),
]


def _given(context: typer.Context, *others: str) -> dict[str, Any]:
    """Return the options on the command line that are not among the others."""
    options = [param.name for param in context.command.params]
    values = {key: context.params[key] for key in options if key not in others}
    return {
        key: value
        for key, value in values.items()
        if value is not None and value is not False
    }


class RunCommand(TyperCommand):
    """Let ``run NAME --help`` say what this recipe is, and which options it has."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note what is named, for the help."""
        names = [name.replace("-", "_") for name in args]
        self.named = [name for name in names if name in (*RECIPES, *GROUPS)]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; that of a single recipe has the defaults of its Config."""
        if len(self.named) == 1 and self.named[0] in RECIPES:
            from recipes.run.plan import options_of

            self.help = _summary(self.named[0])
            defaults = options_of(self.named[0])
            for param in self.params:
                if param.name in defaults:
                    param.default = defaults[param.name]
                elif isinstance(param, TyperOption):
                    param.hidden = param.name not in ("out", "resume", "help")
        super().format_help(ctx, formatter)


@app.command(name="run", cls=RunCommand)
def run_recipes(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Recipes, 'chapter' or 'all'."),
    ],
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, max=10**6, help="With a group: of its sentiment recipes only."
        ),
    ] = None,
    batch_size: BatchSize = None,
    units: Annotated[int | None, typer.Option(min=1, max=4096)] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1)] = None,
    mask_zero: Annotated[
        bool, typer.Option("--mask-zero", help="Mask the padding.")
    ] = False,
    padding: Annotated[
        Literal["pre", "post"] | None, typer.Option(help="Where the zeros go.")
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Time steps; those of the longest tweet by default."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Of a study: how many seeds, from --seed on."
        ),
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Of padding_study: time steps, several."),
    ] = None,
    gaps: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Of long_memory: words to remember over."),
    ] = None,
    csv: Csv = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="The run's folder, runs/NAME by default; of several runs, the folder "
            "that theirs are made in.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on after the last finished epoch, with the options the run was "
            "begun with; of several recipes, those not yet begun are begun.",
        ),
    ] = False,
) -> None:
    """Train recipes, verify what they learnt, and close with one table.

    Without --resume a run begins anew, in place of an earlier run in its folder.
    """
    from recipes.run.finish import print_table
    from recipes.run.plan import command_line, module, plan
    from recipes.run.training import Interrupted

    given = _given(context, "names", "out", "resume")
    results = []
    jobs = plan(names, given, out=out, resume=resume)
    for job in jobs:
        try:
            results.append(module(job.recipe).run(job.config, job.options))
        except (Interrupted, KeyboardInterrupt) as stop:
            what = str(stop) or "interrupted"
            again = command_line(names, given, out)
            if len(jobs) > 1 or (job.options.folder / "manifest.json").exists():
                again += " --resume"  # else there is nothing yet to resume
            print(
                f"rnn-recipe: {job.recipe} {what}. Go on with: {again}",
                file=sys.stderr,
            )
            raise typer.Exit(INTERRUPTED) from None
    print()
    print_table(results)
    codes = {result.report.verdict.exit_code for result in results}
    raise typer.Exit(1 if 1 in codes else max(codes))


@app.command(name="sweep")
def run_sweep(
    context: typer.Context,
    recipes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Sentiment recipes.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N,...", help="42,43,44 by default.")
    ] = None,
    padding: Annotated[
        str | None, typer.Option(metavar="pre,post", help="Where the zeros go.")
    ] = None,
    mask_zero: Annotated[
        Literal["on", "off", "both"] | None, typer.Option(help="Mask the padding?")
    ] = None,
    units: Annotated[
        str | None, typer.Option(metavar="N,...", help="40 by default.")
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option(
            metavar="N,...", help="Time steps; those of the longest tweet by default."
        ),
    ] = None,
    epochs: Annotated[
        str | None, typer.Option(metavar="N,...", help="3 by default.")
    ] = None,
    batch_size: BatchSize = None,
    csv: Csv = None,
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="The folder that the runs go into.")
    ] = "runs/sweep",
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Models trained at a time; one a core by default."
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Have the workers of a Dask cluster train them: tcp://host:8786, or "
            "local.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Keep the runs that are finished; options that are not given are "
            "those the sweep was begun with.",
        ),
    ] = False,
) -> None:
    """Train every combination of options with several seeds, and compare them.

    Where several values may be given, commas go between them.
    """
    from recipes import sweep
    from recipes.run.training import Interrupted

    given = _given(context, "out", "processes", "dask", "resume")
    job = sweep.plan(given, out, resume=resume, where=sweep.Where(processes, dask))
    try:
        results = sweep.run(job.config, job.options, job.where)
    except (Interrupted, KeyboardInterrupt) as stop:
        print(
            f"rnn-recipe: {sweep.NAME} {str(stop) or 'interrupted'}. Go on with: "
            f"{job.options.command} --resume",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    if results.failures:
        print(
            f"rnn-recipe: {len(results.failures)} of {job.config.runs} runs failed. "
            f"Try these again with: {job.options.command} --resume",
            file=sys.stderr,
        )
    raise typer.Exit(sweep.exit_code(results))


@app.command()
def predict(
    folder: Annotated[str, typer.Argument(metavar="RUN_FOLDER")],
    text: Annotated[str, typer.Argument(help="A text, in quotation marks.")],
) -> None:
    """Apply a trained model to a text, in NumPy; says which words it does not know."""
    from recipes.explore.answer import answer
    from recipes.run.folder import RunFolder
    from verify.data.text import clean, words

    run_folder = RunFolder(folder)
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
def explore(
    folder: Annotated[str, typer.Argument(metavar="RUN_FOLDER")],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help=f"The page, RUN_FOLDER/{PAGE_FILE} by default."
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text to show first; may be repeated."),
    ] = None,
) -> None:
    """Write a page in which the model can be watched, word by word; any browser."""
    from recipes.explore.page import write_page
    from recipes.run.folder import RunFolder

    run_folder = RunFolder(folder)
    path = run_folder / PAGE_FILE
    if out is not None:
        path = output_path(out, "--out", ".html")
    write_page(run_folder, path, text or ())
    print(printable(path, 4000))


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit code."""
    return run_command(app, argv, "rnn-recipe")


def _summary(name: str) -> str:
    """Return the first line of a recipe's docstring, without running the file."""
    spec = importlib.util.find_spec(f"recipes.{name}")
    if spec is None or spec.origin is None:
        return ""
    source = Path(spec.origin).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
