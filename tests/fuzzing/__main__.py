"""``make fuzz N=3000 SEED=1``: random models against Keras, as many as asked.

Every trial is one line of a file, so a run that was stopped goes on where it was. A
failure is cut down to a minimal program, printed and written next to that file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from fuzzing.backends import BACKEND, prepare

from verify.model.backends import Rule

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

DIFFERS = "backend differs"
AGREEING = ("agrees", DIFFERS)
KINDS = (*AGREEING, "amplifies", "refused", "keras cannot", "FAILS")


def main(arguments: list[str] | None = None) -> int:
    """Run the trials that are still to do, then say how all of them ended."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    parser.add_argument(
        "--part", default="1/1", help="k/n: each n-th trial, from the k-th"
    )
    parser.add_argument("--summary", action="store_true", help="only how all ended")
    given = parser.parse_args(arguments)
    part, parts = map(int, given.part.split("/"))
    suffix = "" if BACKEND == "tensorflow" else f"-{BACKEND}"
    folder = given.folder / f"fuzz-{given.seed}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    if given.summary:
        return closing(entries(folder), given.count)
    log = folder / f"trials-{part}-of-{parts}.jsonl"
    done = {entry["trial"] for entry in entries(folder)}
    numbers = [k for k in range(given.count) if k % parts == part - 1 and k not in done]

    prepare()
    from verify.keras_bridge import import_keras

    keras = import_keras()
    from fuzzing.generator import program
    from fuzzing.trial import smallest, try_program

    begun = time.perf_counter()
    with log.open("a") as file:
        for k, number in enumerate(numbers):
            began = time.perf_counter()
            made = program(f"{given.seed}:{number}")
            outcome = try_program(made, number, folder)
            entry = {
                "trial": number,
                "kind": outcome.kind,
                "difference": outcome.difference,
                "detail": outcome.detail[:300],
                "numerics": outcome.numerics,
                "derived": outcome.derived,
                "verdict": outcome.verdict,
                "seconds": round(time.perf_counter() - began, 3),
            }
            if outcome.kind == "FAILS":
                small = smallest(made, number, folder)
                (folder / f"failure-{number}.py").write_text(small.source)
                print(f"\ntrial {number} FAILS: {outcome.detail}\n{small.source}\n")
            file.write(json.dumps(entry) + "\n")
            file.flush()
            if k % 50 == 49:
                rate = (k + 1) / (time.perf_counter() - begun)
                left = (len(numbers) - k - 1) / rate
                print(f"{k + 1}/{len(numbers)}, {rate:.1f}/s, {left / 60:.0f} min left")
                keras.utils.clear_session(free_memory=True)
    if parts > 1:
        return 0
    return closing(entries(folder), given.count)


def entries(folder: Path) -> list[dict]:
    """Every trial written down so far, by whichever part of the run."""
    found = {}
    for log in sorted(folder.glob("trials-*.jsonl")):
        for line in log.read_text().splitlines():
            if line.endswith("}"):  # the last line of a stopped run may be cut off
                entry = json.loads(line)
                found[entry["trial"]] = entry
    return list(found.values())


def closing(trials: list[dict], count: int) -> int:
    """The closing lines; returns the exit code."""
    trials = [t for t in trials if t["trial"] < count]
    kinds = Counter(t["kind"] for t in trials)
    print(f"{len(trials):,} of {count:,} configurations, "
          f"{sum(t['seconds'] for t in trials):,.0f} seconds")  # fmt: skip
    for kind in KINDS:
        if kinds[kind] or kind != "backend differs":
            print(f"  {kind:<15} {kinds[kind]:,}")
    agreed = [t["difference"] for t in trials if t["kind"] in AGREEING]
    print(f"largest difference in float64: {max(agreed, default=0.0):.2g}")
    own = Counter(t.get("numerics") for t in trials)
    print(
        f"predict in 32 or 16 bits: agrees {own['agrees']}, within its bound "
        f"{own['within bound']}, undecided {own['undecided']}"
    )
    shares = [t["derived"] for t in trials if t.get("derived") is not None]
    if shares:
        print(
            f"numbers with a derived bound, of {len(shares):,} models in 32 bits: "
            f"{sum(shares) / len(shares):.1%}"
        )
    verdicts = Counter(t["verdict"] for t in trials if t.get("verdict"))
    said = ", ".join(f"{verdict} {n}" for verdict, n in sorted(verdicts.items()))
    print(f"verify.check of every fifth model: {said or 'none'}")
    refused = Counter(t["detail"] for t in trials if t["kind"] == "refused")
    kinds_of = ", ".join(f"{kind} {n}" for kind, n in sorted(refused.items()))
    print(f"refused, as they must be: {kinds_of or 'none'}")
    for rule in Rule:
        count = sum(rule.name in t["detail"] for t in trials if t["kind"] == DIFFERS)
        if count:
            print(f"differs from TensorFlow {count} times: {rule}")
    return 1 if kinds["FAILS"] else 0


if __name__ == "__main__":
    sys.exit(main())
