"""Measure one row and a few rows on one core, by the processor time of the thread.

    python -m benchmarks.few_rows [--out FOLDER]

`benchmarks.speed` lets every program use all cores, and so its figures mean little on a
machine on which others work. This program compares what one thread does: `verify`, ONNX
Runtime and the equations in a plain NumPy loop, on the models of `benchmarks.speed`, in
turns of 20 milliseconds each. The time that the thread waits for a core does not count.
The time of a turn is the median of its calls, so that the calls after a wait, which
find empty caches, do not count either. A ratio is the median of the ratios turn by
turn.

It also measures what the calls of NumPy alone need in one step of an LSTM with one row,
each by itself, on arrays that exist already. ``verify`` cannot take less than these.

It writes few_rows.json to benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import verify
from benchmarks.competitors import Case
from benchmarks.ending import ended
from benchmarks.machine import Machine
from benchmarks.models import OTHER_MODELS, build, inputs
from benchmarks.output import RESULTS_FOLDER, in_json, put
from benchmarks.plain import plain_pass
from benchmarks.results import MAX_DIFFERENCE, OUR_TITLE
from benchmarks.turns import BenchmarkError, Round, quartiles, ratio
from recipes import SENTIMENT_RECIPES
from verify.console.tables import markdown_row, markdown_table
from verify.model.arrays import Array
from verify.ports.convert.to_onnx.model import onnx_model
from verify.tolerance.compare import compare

CASES = (
    *(
        Case(model, 40, 26, rows)
        for model in (*SENTIMENT_RECIPES, *OTHER_MODELS)
        for rows in (1, 32)
    ),
    Case("sentiment_lstm", 40, 500, 1),
    Case("sentiment_lstm", 256, 26, 1),
)

TURN_SECONDS, TURNS = 0.02, 21
"""Least processor time of a turn, and the number of turns of each program."""

OFTEN = 100
"""Calls of NumPy between two looks at the clock."""

TABLE_AFTER = 13_000
"""Ids that are looked up first, so that the table of an embedding times the kernel is
made, as after the first rows of any program that goes on."""

ONNX, PLAIN = "ONNX Runtime", "plain NumPy loop"


def measure(case: Case, path: Path) -> dict[str, Any]:
    """Return the times and ratios of a case.

    Raises
    ------
    BenchmarkError
        The outputs of a program differ from those of ONNX Runtime.
    """
    net, x = verify.load(path), inputs(case.rows, case.length)
    net.predict(inputs(-(-TABLE_AFTER // case.length), case.length))
    plain, session = plain_pass(net.spec), _session(net)
    name = session.get_inputs()[0].name
    calls: dict[str, Callable[[], Array]] = {
        OUR_TITLE: lambda: net.predict(x),
        ONNX: lambda: session.run(None, {name: x})[0],
        PLAIN: lambda: plain(x),
    }
    wanted = calls[ONNX]()
    for title, call in calls.items():
        apart = compare(call(), wanted, allowed=MAX_DIFFERENCE).max_diff
        if not apart <= MAX_DIFFERENCE:
            raise BenchmarkError(f"{case}: {title} differs by {apart:.2g}")
    rounds = turns(calls)
    return {
        **asdict(case),
        "programs": {
            title: {
                "seconds": asdict(quartiles(rounds, title)),
                "times_ours": asdict(ratio(rounds, title, OUR_TITLE)),
            }
            for title in calls
        },
    }


def turns(calls: Mapping[str, Callable[[], object]], count: int = TURNS) -> list[Round]:
    """Return the processor seconds of a call of each, turn by turn."""
    repeats = {}
    for title, call in calls.items():
        call()
        once = max(_seconds(call, 3), 1e-6)
        repeats[title] = min(max(round(TURN_SECONDS / once), 1), 1000)
    return [
        {title: _seconds(call, repeats[title]) for title, call in calls.items()}
        for _ in range(count)
    ]


def _seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median processor seconds of some calls."""
    found = []
    for _ in range(repeats):
        began = time.thread_time()
        call()
        found.append(time.thread_time() - began)
    return float(np.median(found))


def _session(net: verify.Network) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        onnx_model(net).content, options, providers=["CPUExecutionProvider"]
    )


def lstm_calls(units: int = 40) -> dict[str, float]:
    """Return the median seconds of each call of NumPy in a step of an LSTM, one row.

    They are those of `verify.forward.fast.one_row.LSTMRow.advance`.
    """
    rng, kind = np.random.default_rng(0), np.float32
    kernel = rng.normal(0, 0.1, (units, 4 * units)).astype(kind)
    h, part, z, gates = (
        rng.normal(0, 0.1, size).astype(kind)
        for size in (units, 4 * units, 4 * units, 4 * units)
    )
    i_f, factors, products = (
        rng.normal(0, 0.1, (2, units)).astype(kind) for _ in range(3)
    )
    o, c, tanh_c = (rng.normal(0, 0.1, units).astype(kind) for _ in range(3))
    one, half_sum = np.ones((), kind), np.full(2, 0.5, kind).dot
    sigmoids = np.empty(3 * units, kind)
    calls: dict[str, Callable[[], object]] = {
        "h.dot(recurrent_kernel)": lambda: h.dot(kernel, z),
        "add x's part": lambda: np.add(gates, part, gates),
        "tanh of all gates": lambda: np.tanh(z, gates),
        "add 1 to i, f, o": lambda: np.add(sigmoids, one, sigmoids),
        "multiply i, f by c_hat, c": lambda: np.multiply(i_f, factors, products),
        "half the sum": lambda: half_sum(products, c),
        "tanh(c)": lambda: np.tanh(c, tanh_c),
        "multiply by o": lambda: np.multiply(tanh_c, o, h),
    }
    # reading the clock takes longer than one of these calls
    rounds = turns({title: partial(_often, call) for title, call in calls.items()})
    return {title: quartiles(rounds, title).median / OFTEN for title in calls}


def _often(call: Callable[[], object]) -> None:
    for _ in range(OFTEN):
        call()


def table(document: Mapping[str, Any]) -> str:
    """Return the table of docs/speed.md, made from few_rows.json."""
    heads = ("model", "units", "steps", "rows", "microseconds", ONNX, PLAIN)
    lines = []
    for case in document["cases"]:
        programs = case["programs"]
        ours = 1e6 * programs[OUR_TITLE]["seconds"]["median"]
        ratios = [programs[x]["times_ours"]["median"] for x in (ONNX, PLAIN)]
        lines.append(
            markdown_row(
                f"`{case['model']}`",
                *(str(case[key]) for key in ("units", "length", "rows")),
                f"{ours:,.0f}",
                *(f"{x:.2f}" for x in ratios),
            )
        )
    return markdown_table(heads, lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return 2 if a program computes something else."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS_FOLDER)
    out: Path = parser.parse_args(argv).out

    def work() -> int:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
            folder, cases = Path(name), []
            load = os.getloadavg()[0]
            for case in CASES:
                path = folder / case.file
                if not path.exists():
                    build(case.model, case.units, case.length, path)
                cases.append(measure(case, path))
                print(table({"cases": cases[-1:]}).splitlines()[-1], flush=True)
            document = {
                "machine": asdict(Machine.here()),
                "load_before": load,
                "cases": cases,
                "numpy_calls_of_an_lstm_step": lstm_calls(),
            }
        put(in_json(document).encode(), out / "few_rows.json")
        print(f"Wrote {out / 'few_rows.json'}", file=sys.stderr)
        return 0

    return ended("benchmarks.few_rows", work)


if __name__ == "__main__":
    sys.exit(main())
