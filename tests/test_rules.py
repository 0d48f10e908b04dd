"""The rules for tests hold: `support.rules` fails what it says."""

from __future__ import annotations

import importlib

import pytest
from support.rules import LACKING, LARGE_LIBRARIES

PLUGINS = ("-p", "support.rules", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def _libraries_loaded():
    """pytester unloads what a run has loaded, and some libraries load only once."""
    for name in LARGE_LIBRARIES:
        importlib.import_module(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "where", ["begin(); yield", "yield"], ids=["a fixture", "the test"]
)
def test_a_test_that_takes_longer_than_its_budget_fails(where, pytester):
    pytester.makepyfile(
        f"""
        import time
        import pytest

        def begin():
            until = time.process_time() + 0.3
            while time.process_time() < until:
                pass

        @pytest.fixture
        def made():
            {where}

        def test_long(made):
            {"begin()" if where == "yield" else "pass"}

        def test_short():
            time.sleep(0.3)  # waiting is not counted
        """
    )
    pytester.runpytest_inprocess(*PLUGINS).assert_outcomes(passed=2)
    result = pytester.runpytest_inprocess(*PLUGINS, "--budget", "0.2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.re_match_lines([r"took 0\.[23]\d s of processor time.* mark it slow"])


@pytest.mark.parametrize(
    ("ci", "reason", "code"),
    [("", "any", 0), ("true", "any", 1), *(("true", one, 0) for one in LACKING)],
)
def test_in_ci_a_skipped_test_fails_the_run(ci, reason, code, pytester, monkeypatch):
    monkeypatch.setenv("CI", ci)
    pytester.makepyfile(f"import pytest\ndef test_it(): pytest.skip({reason!r})")
    result = pytester.runpytest_inprocess(*PLUGINS)
    result.assert_outcomes(skipped=1)
    assert result.ret == code
