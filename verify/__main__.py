"""Run the ``rnn-verify`` command.

Results go to stdout, messages to stderr. Exit codes: 0 pass, 1 fail, 2 wrong usage or
something unreadable or unsupported (one line on stderr), 3 inconclusive or partial, 70
a defect of this program (one line on stderr, and a file to send), 130 interrupted, 143
terminated.
"""

from __future__ import annotations

import sys

try:
    from pathlib import Path

    import click

    import verify
    from verify.commands.arguments import forget_layers, with_flag_values
    from verify.commands.check import check, selftest
    from verify.commands.compare import compare
    from verify.commands.compute import predict, trace
    from verify.commands.port import convert, vectors
    from verify.commands.read import conventions, describe, guess_config, layers, schema
    from verify.console.exit_codes import SETTINGS, Commands, run
    from verify.console.usage import meant_command
    from verify.errors import printable
except KeyboardInterrupt:  # no traceback of somebody else's modules
    sys.exit(130)

OF_THE_RECIPES = ("run", "list", "explore", "sweep")
"""Commands of ``rnn-recipe`` that may be looked for here."""

OTHER_WORDS = {
    "To compare a model with Keras: rnn-verify check MODEL; with somebody's port: "
    "rnn-verify compare": (
        "verify", "validate", "test", "evaluate", "eval", "prove", "assert", "score",
    ),
    "To compare a port with its model: rnn-verify compare": (
        "diff", "port", "outputs", "match", "equal", "cmp",
    ),
    "To see layers, gates and parameters: rnn-verify describe MODEL": (
        "show", "summary", "info", "inspect", "print", "view", "dump", "weights",
        "structure", "plot", "params",
    ),
    "To write a model for another framework: rnn-verify convert": (
        "export", "save", "to-onnx", "onnx", "tflite", "port-to", "transpile",
    ),
    "To write outputs: rnn-verify predict": ("infer", "inference", "forward"),
    "To write gates and states: rnn-verify trace": (
        "gates", "states", "activations", "debug", "intermediates", "hidden",
    ),
    "To write what proves a port: rnn-verify vectors": (
        "generate", "gen", "test-vectors", "golden", "fixtures", "make-vectors",
    ),
    "To see which layers are read: rnn-verify layers": ("supported", "list-layers"),
    "To see which frameworks are known: rnn-verify conventions": (
        "frameworks", "formats", "gate-order", "gate-orders",
    ),
    "To propose a config for weights: rnn-verify guess-config": ("guess", "config"),
    "To train a recipe: rnn-recipe run NAME": ("train", "fit"),
}  # fmt: skip
"""What is said of words that are commands of other programs."""


def _meant(word: str) -> str:
    """Return what was meant by a word that is no command: a model, or rnn-recipe."""
    if word in OF_THE_RECIPES:
        return f"It is a command of the recipes: rnn-recipe {word}"
    if Path(word).suffix in (".keras", ".h5"):
        return f"To check a model: rnn-verify check {printable(word)}"
    return meant_command(word, OTHER_WORDS)


@click.group(cls=Commands, meant=_meant, context_settings=SETTINGS)
@click.version_option(verify.__version__, message="rnn-verify %(version)s")
def app() -> None:
    """Re-computes a Keras recurrent model in NumPy and compares.

    Exit codes: 0 pass, 1 fail, 2 wrong usage or unreadable, 3 inconclusive or partial,
    70 a defect of this program, 130 interrupted, 143 terminated.
    """


for command in (
    check,
    describe,
    guess_config,
    trace,
    predict,
    compare,
    vectors,
    convert,
    selftest,
    layers,
    conventions,
    schema,
):
    app.add_command(command)


def main(argv: list[str] | None = None) -> int:
    """Run the command with these arguments and return its exit code."""
    try:
        given = with_flag_values(sys.argv[1:] if argv is None else argv)
        return run(app, given, "rnn-verify", ends_process=argv is None)
    finally:
        forget_layers()


if __name__ == "__main__":
    sys.exit(main())
