"""Say what was meant by a command, an option or an argument that there is not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from verify.errors import did_you_mean, join_and, printable

ALSO_CALLED = {
    "--data": ("input", "inputs", "x", "i", "features", "samples", "dataset"),
    "--out": (
        "output", "outputs", "o", "output-file", "output-dir", "save", "save-to",
        "dest", "dir", "folder",
    ),
    "--outputs": ("y", "theirs", "predictions", "predicted", "expected"),
    "--tolerance": ("tol", "atol", "rtol", "eps", "epsilon", "threshold", "allowed"),
    "--precision": ("quantized", "quantised", "half", "fp16", "dtype"),
    "--threads": ("jobs", "j", "n-jobs", "cores", "cpus", "num-threads", "workers"),
    "--processes": ("jobs", "j", "n-jobs", "cores", "cpus", "workers", "threads"),
    "--to": ("format", "f", "target", "framework"),
    "--as": ("framework", "format", "from"),
    "--epochs": ("e", "iterations", "n-epochs", "num-epochs", "passes"),
    "--batch-size": ("bs", "batch", "b", "batchsize"),
    "--units": ("hidden", "hidden-size", "hidden-units", "neurons", "n-units"),
    "--length": ("maxlen", "max-len", "max-length", "timesteps", "steps"),
    "--lengths": ("maxlen", "max-len", "max-length", "timesteps", "length"),
    "--seed": ("random-state", "random-seed", "rng"),
    "--mask-zero": ("mask", "masking"),
    "--csv": ("tweets", "file", "dataset", "data", "input"),
    "--resume": ("continue", "restart", "restore"),
    "--text": ("sentence", "tweet", "t"),
    "--junit": ("xml", "junitxml", "junit-xml"),
    "--html": ("page",),
    "--report": ("save", "log"),
    "--diagnosis-seconds": ("timeout", "seconds", "time-limit"),
}  # fmt: skip
"""Options, and what other programs call them, without dashes."""

TARGETS = {
    ".onnx": "onnx", ".tflite": "tflite", ".xml": "openvino", ".h": "c", ".c": "c",
    ".safetensors": "torch", ".pt": "torch", ".pth": "torch",
}  # fmt: skip
"""Suffix -> what ``rnn-verify convert --to`` calls it."""

SAMPLES = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".txt", ".xlsx", ".json", ".pkl")
MODELS = (".keras", ".h5", ".hdf5")
EXPORTED = (".onnx", ".tflite", ".xml", ".pt2")
ELSEWHERE = {
    ("check", "--backend"): "check runs Keras itself, on KERAS_BACKEND of the "
    "environment.",
    ("check", "--keras"): "check runs the Keras that is installed.",
    (
        "selftest",
        "--backend",
    ): "selftest needs none: it compares the model with itself.",
}
"""What is said of options that a command has no use for."""

MOST = 3
"""Commands that a message names, at most."""


def usage_error(error: click.ClickException, words: Sequence[str]) -> str:
    """Return what is said of arguments that cannot be read, as one sentence or two.

    Parameters
    ----------
    error : click.ClickException
    words : sequence of str
        All that was written behind the name of the program.
    """
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption):
        shown, hint = _no_such_option(error.option_name, context, words)
        return _joined(f"No such option '{printable(shown, 200)}'", hint)
    said = printable(error.format_message().rstrip(), 2000)
    if context is None:
        return said
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return _joined(said, _missing(error.param, context, words))
    if isinstance(error, click.BadParameter) and error.param is not None:
        value = error.message.partition(" is not ")[0].strip("'")
        wanted = _wanted(error.param.type)
        if wanted:
            near = ""
            if isinstance(error.param.type, click.Choice):
                near = did_you_mean(value, map(str, error.param.type.choices))
            return (
                f"{error.param.opts[0]}: expected {wanted}. {near}"
                f"Received: {printable(value, 60)}"
            )
    if said.startswith("Got unexpected extra argument"):
        return _joined(said, _extra(context, words))
    return said


def _joined(said: str, hint: str) -> str:
    stop = "" if said.endswith((".", "?", "!")) else "."
    return f"{said}{stop} {hint}" if hint else said


def _wanted(kind: click.ParamType[Any]) -> str:
    """Return what an option expects, if it says so in its type, or ""."""
    if isinstance(kind, click.Choice):
        *others, last = map(str, kind.choices)
        return f"{', '.join(others)} or {last}"
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    what = "a whole number" if isinstance(kind, click.IntRange) else "a number"
    if kind.max is None:
        return f"{what} of {kind.min} or more"
    return f"{what} from {kind.min} to {kind.max}"


def _options(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by each of their names."""
    return {
        name: param
        for param in command.params
        if isinstance(param, click.Option)
        for name in (*param.opts, *param.secondary_opts)
    }


def _no_such_option(
    name: str, context: click.Context | None, words: Sequence[str]
) -> tuple[str, str]:
    """Return an option as it was written, and what was likely meant by it."""
    if context is None:
        return name, ""
    command = context.command
    own = _options(command)
    shown = name
    if not name.startswith("--"):  # click has read its letters one by one
        shown = next(
            (
                word.partition("=")[0]
                for word in words
                if re.match(r"-[^-\W]", word) and name[1:] in word
            ),
            name,
        )
    bare = shown.lstrip("-").lower().replace("_", "-")
    long = f"--{bare}"
    if (said := ELSEWHERE.get((context.info_name or "", long))) is not None:
        return shown, said
    if long in own or long == "--help":
        return shown, f"Did you mean {long}?"
    if len(bare) > 1 and (near := did_you_mean(long, [*own, "--help"])):
        return shown, near.strip()
    if meant := [o for o, also in ALSO_CALLED.items() if o in own and bare in also]:
        return shown, f"Did you mean {meant[0]}?"
    for argument in command.params:
        metavar = (argument.metavar or "").strip("[].")
        if isinstance(argument, click.Argument) and bare.replace("-", "_") in (
            metavar.lower(),
            metavar.lower()[:1],
        ):
            places = [
                p.metavar for p in command.params if isinstance(p, click.Argument)
            ]
            whole = " ".join([context.command_path, *filter(None, places)])
            return shown, f"{metavar} is given without an option: {whole}"
    if len(bare) == 1 and bare != "v":
        first = [option for option in own if option.startswith(long)]
        if 0 < len(first) <= MOST:
            return shown, f"Did you mean {' or '.join(first)}?"
    elsewhere = _elsewhere(long, context)
    arguments = (p for p in command.params if isinstance(p, click.Argument))
    if not elsewhere and any(p.metavar == "TEXT..." for p in arguments):
        return shown, f"If it is a text, put -- before it: -- {shown}"
    return shown, elsewhere


def _elsewhere(option: str, context: click.Context) -> str:
    """Say which other commands have an option, or "" where none has it."""
    if option in ("--version", "--v"):
        return f"Did you mean {context.find_root().command_path} --version?"
    inside = isinstance(context.command, click.Group)
    group = context.command if inside else getattr(context.parent, "command", None)
    have = [
        name
        for name, command in getattr(group, "commands", {}).items()
        if option in _options(command)
    ]
    if not have:
        return ""
    more = len(have) - MOST
    names = [*have[:MOST], f"{more} more"] if more > 1 else have
    if inside:
        return f"It goes behind a command: {context.command_path} {have[0]} {option}"
    return f"It is an option of {context.find_root().command_path} {join_and(names)}"


def _spare(context: click.Context, words: Sequence[str]) -> list[str]:
    """Return the arguments that the command has no place for."""
    options = _options(context.command)
    found: list[str] = []
    is_value = False
    for word in _behind(context, words):
        if is_value:
            is_value = False
        elif word.startswith("-") and len(word) > 1:
            name, equals, _ = word.partition("=")
            is_value = not equals and name in options and not options[name].is_flag
        else:
            found.append(word)
    places = [p for p in context.command.params if isinstance(p, click.Argument)]
    return found[len(places) :]


def _behind(context: click.Context, words: Sequence[str]) -> list[str]:
    """Return the words behind the name of the command."""
    name = context.info_name
    return list(words[words.index(name) + 1 :]) if name in words else list(words)


def _missing(
    param: click.Parameter, context: click.Context, words: Sequence[str]
) -> str:
    """Say how to give what is missing, if it was given in another place."""
    spare = _spare(context, words)
    option = param.opts[0]
    if option == "--to":
        given = (
            [*spare, *words[words.index("--out") + 1 :][:1]]
            if "--out" in words
            else spare
        )
        for word in given:
            for suffix, target in TARGETS.items():
                if word.endswith(suffix):
                    out = f" --out {printable(word)}" * (word in spare)
                    return f"Did you mean --to {target}{out}?"
        return ""
    if isinstance(param, click.Option) and spare:
        return f"Did you mean {option} {printable(spare[0])}?"
    return ""


def _extra(context: click.Context, words: Sequence[str]) -> str:
    """Say what to do about an argument too many."""
    options = _options(context.command)
    spare = _spare(context, words)
    for before, word in itertools.pairwise(_behind(context, words)):
        is_flag = before in options and options[before].is_flag
        if word in spare and is_flag and not word.endswith((*SAMPLES, *MODELS)):
            return f"{before} takes no value."
    if spare and all(word.endswith(MODELS) for word in spare):
        return "One model at a time."
    for option, what in (("--text", "Texts"), ("--recipes", "Recipes")):
        if option in options:
            return f"{what} go behind {option}."
    if spare and all(word.endswith(EXPORTED) for word in spare):
        return "An exported file is compared by rnn-verify compare."
    return "Inputs go behind --data." if "--data" in options else ""


def meant_command(word: str, other: Mapping[str, Iterable[str]]) -> str:
    """Return the sentence under which a word stands in a table of a program, or "".

    Parameters
    ----------
    word : str
        What was written in the place of a command.
    other : mapping of str to iterable of str
        What is said, and the words that it is said of.
    """
    plain = word.lower().replace("_", "-")
    return next((said for said, words in other.items() if plain in words), "")
