"""Hold the results of `benchmarks.speed`, and make their tables, goals and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.competitors import (
    COMPETITORS,
    Activations,
    Case,
    Function,
    OnnxRuntime,
    Plain,
    Predict,
    PredictBest,
    Products,
    Verify,
)
from benchmarks.machine import Machine
from benchmarks.memory import MIB
from benchmarks.output import digits, in_json
from benchmarks.turns import Quartiles, Round, quartiles, ratio
from recipes import SENTIMENT_RECIPES
from verify.console.tables import markdown_row, markdown_table

MAX_DIFFERENCE = 1e-6
"""Greatest difference of probabilities from Keras's at which a program is timed."""

MAX_LOAD_BEFORE, MAX_BUSY_CORES = 0.5, 0.1
"""Limits beyond which the figures are in doubt: the load of the machine before the run,
and the number of cores that other programs kept busy during it."""

OUR_TITLE = Verify.title
PAGE_ROWS = (1, 3463)
PAGE_COLUMNS = (
    ("`predict`, batches of 32", Predict.title),
    ("`predict`, best batch size", PredictBest.title),
    ("`tf.function`", Function.title),
    ("ONNX Runtime", OnnxRuntime.title),
    ("plain NumPy loop", Plain.title),
)
"""The rows and columns of the table in docs/speed.md."""
WHOLE_PASSES = tuple(kind.title for kind in COMPETITORS if kind.whole)
LIMIT_TITLE = "limit"


@dataclass(frozen=True)
class Measured:
    """Hold the measurements of a case.

    Attributes
    ----------
    case : Case
    ways : dict of str to str
        How each competitor was called.
    tried : dict of str to dict of str to float
        Seconds of every way that was tried, by competitor.
    differences : dict of str to float
        Greatest difference of each competitor's outputs from Keras's.
    rounds : list of Round
    """

    case: Case
    ways: dict[str, str]
    tried: dict[str, dict[str, float]]
    differences: dict[str, float]
    rounds: list[Round]

    def __post_init__(self) -> None:
        """Add the limit to each round: products and activations together."""
        for found in self.rounds:
            if Products.title in found and Activations.title in found:
                found[LIMIT_TITLE] = found[Products.title] + found[Activations.title]

    def timed(self, name: str) -> bool:
        """Return whether a competitor was timed."""
        return any(name in found for found in self.rounds)

    def seconds(self, name: str) -> Quartiles:
        """Return the seconds of a call."""
        return quartiles(self.rounds, name)

    def slower(self, name: str) -> Quartiles:
        """Return the ratio of a competitor's time to ours."""
        return ratio(self.rounds, name, OUR_TITLE)

    @property
    def different(self) -> list[str]:
        """Return the competitors whose outputs differ from Keras's or are NaN."""
        return [name for name, d in self.differences.items() if not d <= MAX_DIFFERENCE]


@dataclass(frozen=True)
class Goal:
    """Hold a goal and whether it is met.

    Attributes
    ----------
    text : str
    figure : float
        The ratio of the case that is furthest from the goal.
    met : bool
    """

    text: str
    figure: float
    met: bool

    def __str__(self) -> str:
        return f"{'met' if self.met else 'MISSED'}: {self.text}: {self.figure:.3g}"


@dataclass(frozen=True)
class Results:
    """Hold the results of a run of the benchmark.

    Attributes
    ----------
    machine : Machine
    plan : str
    load : float
        The load of the machine before the run.
    others : float
        The number of cores that other programs kept busy; NaN if that is not known.
    seconds : float
        The duration of the run.
    measured : list of Measured
    memory : list of dict
        See `benchmarks.memory.predict_growth`.
    """

    machine: Machine
    plan: str
    load: float
    others: float
    seconds: float
    measured: list[Measured]
    memory: list[dict[str, float]]

    def different(self) -> list[str]:
        """Return a line for each competitor and case whose outputs differ."""
        return [
            f"{name}: {_words(m.case)}: differs from Keras by {m.differences[name]:.2g}"
            for m in self.measured
            for name in m.different
        ]

    def goals(self) -> list[Goal]:
        """Return the goals, for the models of recipes: 40 units and 26 steps."""
        worst = [m.differences[OUR_TITLE] for m in self.measured]
        greatest = math.nan if any(map(math.isnan, worst)) else max(worst, default=0.0)
        text = (
            f"outputs as Keras's, max |diff| of all cases (at most {MAX_DIFFERENCE:g})"
        )
        goals = [Goal(text, greatest, greatest <= MAX_DIFFERENCE)]
        for rows, title, least in (
            (3463, OnnxRuntime.title, 1 / 1.1),
            (3463, PredictBest.title, 3.0),
            (32, Predict.title, 40.0),
            (1, Predict.title, 100.0),
        ):
            for m in self.measured:
                case = m.case
                fits = (case.rows, case.units, case.length) == (rows, 40, 26)
                fits = fits and case.model in SENTIMENT_RECIPES
                if not fits or not m.timed(title):
                    continue
                figure = m.slower(title).median
                met = figure >= least
                where = f"{case.model}, {rows:,} row{'s' * (rows > 1)}"
                if least < 1:
                    text = f"{where}: our time over that of {title} (at most 1.1)"
                    goals.append(Goal(text, 1 / figure, met))
                else:
                    text = f"{where}: times as fast as {title} (at least {least:g})"
                    goals.append(Goal(text, figure, met))
        return goals

    def cautions(self) -> list[str]:
        """Return what makes the figures doubtful, a line each."""
        found = self.different()
        if self.load > MAX_LOAD_BEFORE:
            found.append(
                f"the machine was busy before the run began (load {self.load:.1f}), "
                "and perhaps during it: times and ratios are in doubt"
            )
        if self.others > MAX_BUSY_CORES:
            found.append(
                f"other programs kept {self.others:.1f} of {self.machine.cores} cores "
                "busy during the run: times are too long, and ratios are in doubt, "
                "since what waits for threads suffers most"
            )
        return found

    def summary(self) -> str:
        """Return goals, memory and cautions as text."""
        lines = [str(goal) for goal in self.goals()]
        for found in self.memory:
            lines.append(
                f"memory: {int(found['rows']):,} rows: predict grows by "
                f"{found['growth'] / MIB:.0f} MiB over {found['inputs'] / MIB:.0f} MiB "
                f"of inputs, {found['outputs'] / MIB:.0f} MiB of that its outputs"
            )
        lines += [f"CAUTION: {caution}" for caution in self.cautions()]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return all results as JSON."""
        document = {
            "machine": asdict(self.machine),
            "plan": self.plan,
            "load_before": self.load,
            "cores_busy_with_others": self.others,
            "minutes": round(self.seconds / 60, 1),
            "goals": [asdict(goal) for goal in self.goals()],
            "cautions": self.cautions(),
            "cases": [_case_json(m) for m in self.measured],
            "memory": self.memory,
        }
        return in_json(document)

    def to_markdown(self) -> str:
        """Return all tables as a page in Markdown."""
        parts = [
            "# How fast the forward pass is",
            f"{self.machine.words()}; plan: {self.plan}, {len(self.measured)} cases in "
            f"{self.seconds / 60:.0f} minutes, by `python -m benchmarks.speed`.",
            "\n".join(f"* **Caution**: {caution}." for caution in self.cautions()),
            "## Goals",
            "\n".join(f"* {goal}" for goal in self.goals()),
            "## Milliseconds of a call",
            "Median, in brackets the quartiles. How everyone was called is in "
            "`speed.json`.",
            markdown_table(TABLE_HEADS, map(case_line, self.measured)),
            "## How many times as long as `verify`",
            "Median of the ratios round by round, in brackets their quartiles. The "
            "last column is the other way round: `verify` over what the matrix "
            "products and the activations need alone.",
            markdown_table(RATIO_HEADS, map(_ratio_line, self.measured)),
            "## Peak memory of `predict`",
            "LSTM, 40 units, 26 steps; resident growth of a fresh process over its "
            "inputs.",
            _memory_table(self.memory),
            "![Time over rows](speed.png)",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


def page_table(document: Mapping[str, Any]) -> str:
    """Return the table of docs/speed.md, made from speed.json."""
    heads = ("26 time steps, 40 units", "rows", *(head for head, _ in PAGE_COLUMNS))
    lines = []
    for case in document["cases"]:
        shown = case["units"], case["length"], case["rows"] in PAGE_ROWS
        if shown != (40, 26, True):
            continue
        found = [case["competitors"][title]["times_ours"] for _, title in PAGE_COLUMNS]
        ratios = ["-" if x is None else _two_digits(x["median"]) for x in found]
        lines.append(markdown_row(f"`{case['model']}`", f"{case['rows']:,}", *ratios))
    return markdown_table(heads, lines)


def _two_digits(value: float) -> str:
    return f"{value:,.{max(1 - math.floor(math.log10(value)), 0)}f}"


def _words(case: Case) -> str:
    return (
        f"{case.model}, {case.units} units, {case.length} steps, {case.rows:,} "
        f"row{'s' * (case.rows != 1)}"
    )


CASE_HEADS = ("model", "units", "steps", "rows")
TABLE_HEADS = (*CASE_HEADS, *WHOLE_PASSES, LIMIT_TITLE)
RATIO_HEADS = (*CASE_HEADS, *WHOLE_PASSES[1:], f"{OUR_TITLE} / {LIMIT_TITLE}")


def case_line(m: Measured) -> str:
    """Return a row of the table of times."""
    return markdown_row(
        *_start(m.case),
        *(_milliseconds(m, name) for name in (*WHOLE_PASSES, LIMIT_TITLE)),
    )


def _ratio_line(m: Measured) -> str:
    cells = [
        _shown(m.slower(name)) if m.timed(name) else "-" for name in WHOLE_PASSES[1:]
    ]
    over = Quartiles.of(
        [
            found[OUR_TITLE] / found[LIMIT_TITLE]
            for found in m.rounds
            if LIMIT_TITLE in found
        ]
    )
    return markdown_row(*_start(m.case), *cells, _shown(over))


def _memory_table(memory: list[dict[str, float]]) -> str:
    if not memory:
        return "Not measured."
    heads = ("rows", "inputs, MiB", "outputs, MiB", "growth, MiB", "seconds")
    lines = []
    for found in memory:
        sizes = [f"{found[key] / MIB:.1f}" for key in ("inputs", "outputs", "growth")]
        lines.append(
            markdown_row(f"{int(found['rows']):,}", *sizes, f"{found['seconds']:.2f}")
        )
    return markdown_table(heads, lines)


def _start(case: Case) -> tuple[str, str, str, str]:
    return case.model, str(case.units), str(case.length), f"{case.rows:,}"


def _milliseconds(m: Measured, name: str) -> str:
    if not m.timed(name):
        return "differs" if name in m.different else "-"
    found = m.seconds(name)
    low, median, high = (1000 * s for s in (found.low, found.median, found.high))
    return _shown(Quartiles(median, low, high, found.turns))


def _shown(found: Quartiles) -> str:
    median, low, high = (digits(v) for v in (found.median, found.low, found.high))
    return f"{median} ({low} to {high})" if found.turns > 1 else f"{median} (one turn)"


def _case_json(m: Measured) -> dict[str, Any]:
    names = [*(kind.title for kind in COMPETITORS), LIMIT_TITLE]
    return {
        **asdict(m.case),
        "competitors": {
            name: {
                "way": m.ways.get(name),
                "seconds": asdict(m.seconds(name)) if m.timed(name) else None,
                "times_ours": asdict(m.slower(name)) if m.timed(name) else None,
                "difference_from_keras": m.differences.get(name),
                "seconds_of_ways_tried": m.tried.get(name),
            }
            for name in names
        },
    }
