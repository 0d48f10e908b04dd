"""Run ``python -m benchmarks.configs``.

It installs every release line of Keras, one after the other, has it write the config of
each layer class, by default and with every option changed, and collects them in
``benchmarks/results/configs.json``. Then the verifier reads them all. The exit code is
1 if it does not know an option of a class that it reads. Lines that were read before
are kept; ``--only-read`` installs nothing. It needs uv, and Pythons from 3.6 to 3.11.
"""

from __future__ import annotations

import sys
from itertools import groupby

import click
from click.exceptions import Exit

from benchmarks.configs.collection import RESULT, Collection
from benchmarks.configs.environments import Failed, environment, probed
from benchmarks.configs.plan import lines
from benchmarks.configs.reading import Outcome, outcomes
from benchmarks.output import put


@click.command()
@click.argument(
    "names", nargs=-1, help="Lines, such as 'keras 2.1.6'; by default all new ones."
)
@click.option("--only-read", is_flag=True, help="Install nothing.")
def main(names: tuple[str, ...], only_read: bool) -> None:
    """Collect the configs of every Keras, and have the verifier read them."""
    collection = Collection.read(RESULT)
    wanted = [
        line
        for line in lines()
        if (line.name in names if names else line.name not in collection.versions)
    ]
    for _, some in groupby(
        [] if only_read else wanted, key=lambda line: (line.python, line.packages)
    ):
        group = list(some)
        try:
            with environment(group[0]) as python:
                for line in group:
                    try:
                        collection.add(line.name, probed(line, python))
                        print(f"{line.name}: read", flush=True)
                    except Failed as why:
                        print(f"{line.name}: {why}", file=sys.stderr, flush=True)
                    put(collection.in_json().encode(), RESULT)
        except Failed as why:
            names_of = ", ".join(line.name for line in group)
            print(f"{names_of}: {why}", file=sys.stderr, flush=True)
    found = list(outcomes(collection))
    for one in found:
        if one.outcome is Outcome.UNKNOWN:
            print(f"UNKNOWN {one.class_name}: {one.reason} ({one.versions})")
    for outcome in Outcome:
        print(f"{sum(one.outcome is outcome for one in found):6,} {outcome.value}")
    if any(one.outcome is Outcome.UNKNOWN for one in found):
        raise Exit(1)


if __name__ == "__main__":
    main()
