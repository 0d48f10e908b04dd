"""Calls between the modules that orchestrate a comparison go one way."""

from __future__ import annotations

import types

import pytest

from benchmarks.call_pairs import CallCounter, both_ways, measure, orchestrates

CATALOGUE = "verify.mistakes.catalogue."


@pytest.mark.keras
def test_no_two_modules_that_orchestrate_call_each_other(tmp_path):
    found = measure(tmp_path)
    for name in ("check", "check with a report"):
        pairs = found[name]
        called = {callee for _, callee in pairs}
        assert {
            "verify.checks._row_comparison",
            "verify.tolerance.noise_floor",
        } <= called
        assert both_ways(pairs, orchestrates) == []
    # a mistake of the catalogue is a function, put together by other functions of it
    for pair in both_ways(found["compare_outputs"], orchestrates):
        assert all(module.startswith(CATALOGUE) for module in pair)


def modules(**sources: str) -> dict[str, types.ModuleType]:
    """Modules of a package `planted`, each with these functions in it."""
    made = {}
    for name, source in sources.items():
        made[name] = types.ModuleType(f"planted.{name}")
        made[name].__dict__.update(made)  # each knows those before it
        exec(source, made[name].__dict__)
    return made


LOW = """
def one_way(number): return number + 1
def apply(function): return function(1)
def apply_through_a_library(function): return list(map(function, [1, 2]))
def pull(items): return [item for item in items]
class Base:
    def run(self): return self.step()
"""
HIGH = """
class Kind(low.Base):
    def step(self): return 1
def one_way(): return low.one_way(1)
def lends_a_lambda(): return low.apply(lambda number: number)
def lends_to_a_library(): return low.apply_through_a_library(lambda number: number)
def lends_a_generator(): return low.pull(number for number in range(3))
def overrides_a_method(): return Kind().run()
"""


@pytest.mark.parametrize(
    ("entry", "back"),
    [
        ("one_way", 0),
        ("lends_a_lambda", 1),
        ("lends_to_a_library", 2),
        ("lends_a_generator", 4),  # it starts, and goes on three times
        ("overrides_a_method", 1),
    ],
)
def test_a_planted_call_back_is_seen(entry, back):
    run = getattr(modules(low=LOW, high=HIGH)["high"], entry)
    with CallCounter("planted") as counter:
        run()
    assert counter.pairs["planted.high", "planted.low"] == 1
    assert counter.pairs["planted.low", "planted.high"] == back
    both = [("planted.high", "planted.low")] if back else []
    assert both_ways(counter.pairs, lambda module: True) == both


def test_what_runs_while_a_module_is_imported_is_not_counted():
    low = modules(low=LOW)["low"]
    with CallCounter("planted") as counter:
        exec("low.one_way(1)", {"low": low, "__name__": "planted.high"})
    assert not counter.pairs
