"""A plugin of pytest: model files as tests, and a fixture for tests of ports.

pytest loads it wherever the distribution is installed (entry point ``pytest11``), so it
imports neither NumPy nor Keras before they are used.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import verify
from verify.errors import VerifyError, error_prefix, printable

PREFIX = "rnn_verify"
ALLOWED = ("inconclusive", "partial")
"""Verdicts that a test may be allowed to end with, besides PASS."""

WEIGHTS_SUFFIX = ".weights.h5"
SUFFIXES = (".keras", ".h5", ".hdf5")
CONFIGS = ("{name}.json", "{name}.config.json", "config.json", "model.json")
"""Where the config of a file of weights is looked for, in its folder, in this order."""

OPTIONS = {
    "data": (
        "PATTERN",
        "inputs for each model file: a path in which {name} stands for the name of "
        "the file without its ending; by default probe inputs are made",
    ),
    "outputs": (
        "PATTERN",
        "what a port returned for these inputs, likewise: compared with the model, "
        "without Keras",
    ),
    "tolerance": (
        "HOW-FAR",
        "how far outputs of a port may be off: 1e-3, 1%%, classes:99%%",
    ),
    "precision": (
        "FORMAT",
        "number format in which a port computes: float16, bfloat16, int8, fixed<W,I>",
    ),
    "backend": (
        "BACKEND",
        "backend on which Keras runs; for outputs of a port, whose rules to follow",
    ),
}
"""Options that take one value: how it is called, and the help."""


@dataclass(frozen=True)
class Settings:
    """Hold the options of the command line, or else of the ini-file.

    Attributes
    ----------
    data, outputs : str or None
        Absolute paths, in which ``{name}`` stands for the name of a model file.
    tolerance, precision, backend : str or None
    partial : bool
    allow : frozenset of str
        Verdicts that pass too, in lower case.
    """

    data: str | None
    outputs: str | None
    tolerance: str | None
    precision: str | None
    backend: str | None
    partial: bool
    allow: frozenset[str]

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Read the options.

        Raises
        ------
        pytest.UsageError
            One has a value that it cannot have.
        """
        found: dict[str, str | None] = {}
        for name in OPTIONS:
            given = config.getoption(f"{PREFIX}_{name}")
            base = config.invocation_params.dir
            if given is None:
                given = config.getini(f"{PREFIX}_{name}") or None
                base = config.rootpath
            if given is not None and name in ("data", "outputs"):
                given = str(base / given)
            found[name] = given
        allow = [
            *config.getoption(f"{PREFIX}_allow"),
            *config.getini(f"{PREFIX}_allow"),
        ]
        for verdict in allow:
            if verdict not in ALLOWED:
                raise pytest.UsageError(
                    f"{PREFIX}_allow: expected {' or '.join(ALLOWED)}. "
                    f"Received: {printable(verdict)}"
                )
        partial = config.getoption(f"{PREFIX}_partial") or config.getini(
            f"{PREFIX}_partial"
        )
        return cls(partial=bool(partial), allow=frozenset(allow), **found)

    def passes(self, verdict: verify.Verdict) -> bool:
        """Return whether a test may end with a verdict."""
        return verdict == "PASS" or verdict.lower() in self.allow


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, on the command line and in the ini-file."""
    group = parser.getgroup("rnn-verify", "rnn-verify: Keras models against NumPy")
    said = "collect model files (.keras, .h5, weights beside their config) as tests"
    group.addoption("--rnn-verify", action="store_true", dest=PREFIX, help=said)
    parser.addini(PREFIX, said, type="bool", default=False)
    for name, (metavar, help_text) in OPTIONS.items():
        group.addoption(
            f"--rnn-verify-{name}",
            dest=f"{PREFIX}_{name}",
            metavar=metavar,
            help=help_text,
        )
        parser.addini(f"{PREFIX}_{name}", help_text.replace("%%", "%"), default="")
    said = "check what can be read of a model of which not all can; see allow"
    group.addoption(
        "--rnn-verify-partial", action="store_true", dest=f"{PREFIX}_partial", help=said
    )
    parser.addini(f"{PREFIX}_partial", said, type="bool", default=False)
    said = "a verdict that passes besides PASS: inconclusive or partial; repeatable"
    group.addoption(
        "--rnn-verify-allow",
        action="append",
        default=[],
        dest=f"{PREFIX}_allow",
        choices=ALLOWED,
        help=said,
    )
    parser.addini(f"{PREFIX}_allow", said, type="args", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that contradict each other, and choose Keras's backend."""
    settings = Settings.of(config)
    if _collects(config):
        _refuse_unusable(config, settings)
    else:
        for name in ("data", "outputs"):
            if config.getoption(f"{PREFIX}_{name}") is not None:
                raise pytest.UsageError(
                    f"--rnn-verify-{name}: expected --rnn-verify too, which has model "
                    "files collected"
                )
    if settings.backend is not None:
        _choose_backend(config, settings.backend)


def _collects(config: pytest.Config) -> bool:
    return bool(config.getoption(PREFIX) or config.getini(PREFIX))


def _refuse_unusable(config: pytest.Config, settings: Settings) -> None:
    if settings.outputs is None:
        for name in ("tolerance", "precision"):
            if config.getoption(f"{PREFIX}_{name}") is not None:
                raise pytest.UsageError(
                    f"--rnn-verify-{name}: expected --rnn-verify-outputs too, of the "
                    "port that it is for; for Keras itself an error bound is derived"
                )
    elif settings.data is None:
        raise pytest.UsageError(
            "--rnn-verify-outputs: expected --rnn-verify-data too, the inputs that the "
            "port was given"
        )
    elif settings.partial:
        raise pytest.UsageError(
            "--rnn-verify-partial: is for models that Keras runs. Received: "
            "--rnn-verify-outputs too"
        )
    if "partial" in settings.allow and not settings.partial:
        raise pytest.UsageError(
            "--rnn-verify-allow partial: expected --rnn-verify-partial too, without "
            "which there is no such verdict"
        )


def _choose_backend(config: pytest.Config, backend: str) -> None:
    """Have Keras run on a backend, until the tests have ended."""
    from verify.model.backends import BACKENDS

    if backend not in BACKENDS:
        raise pytest.UsageError(
            f"--rnn-verify-backend: expected one of {', '.join(BACKENDS)}. "
            f"Received: {printable(backend)}"
        )
    keras = sys.modules.get("keras")
    running = None if keras is None else keras.config.backend()
    if running not in (None, backend):
        raise pytest.UsageError(
            f"--rnn-verify-backend {backend}: Keras was imported before, on {running}"
        )
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = backend

    def restore() -> None:
        os.environ.pop("KERAS_BACKEND")
        if before is not None:
            os.environ["KERAS_BACKEND"] = before

    config.add_cleanup(restore)


def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """Collect a model file, if that was asked for."""
    if file_path.suffix.lower() not in SUFFIXES or not _collects(parent.config):
        return None
    return ModelFile.from_parent(parent, path=file_path)


class ModelFile(pytest.File):
    """Hold the test of one model file."""

    def collect(self) -> Iterable[pytest.Item]:
        """Yield the test: a check against Keras, or of the outputs of a port."""
        settings = Settings.of(self.config)
        name = "check" if settings.outputs is None else "compare"
        yield ModelItem.from_parent(self, name=name, settings=settings)


class ModelItem(pytest.Item):
    """Hold one check of a model file; its failure is the report as text.

    A file that cannot be read is an error, of the set-up of the test.
    """

    def __init__(self, *, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        self.net: verify.Network | None = None
        self.x: Any = None
        self.theirs: Any = None

    @property
    def model_name(self) -> str:
        """Return the name of the file without its ending."""
        name = self.path.name
        whole = name.lower().endswith(WEIGHTS_SUFFIX)
        return name[: -len(WEIGHTS_SUFFIX)] if whole else self.path.stem

    def setup(self) -> None:
        """Read the model, and open the files that it is tested with."""
        try:
            self.net = self._network()
            self._open_files(self.net)
        except VerifyError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    def runtest(self) -> None:
        """Check the model, and fail with the report."""
        with error_prefix(self.path):
            if self.settings.outputs is None:
                report = verify.check(
                    self.path,
                    self.x,
                    loaded=self.net,
                    partial=self.settings.partial,
                    watch=verify.Watch(interruptible=False),
                )
            else:
                report = verify.compare_outputs(
                    self.net,
                    self.x,
                    self.theirs,
                    tolerance=self.settings.tolerance,
                    precision=self.settings.precision,
                    watch=verify.Watch(interruptible=False),
                )
        self.user_properties += [
            ("verdict", str(report.verdict)),
            ("error / allowed", f"{report.numerics.error_ratio:.2g}"),
        ]
        _require(report, self.settings)

    def teardown(self) -> None:
        """Let go of the model."""
        self.net = self.x = self.theirs = None

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Return the report, or the line that says what cannot be read."""
        if isinstance(excinfo.value, (AssertionError, VerifyError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return what the headline of a failure says."""
        return self.path, None, f"{self.name} {self.path.name}"

    def _open_files(self, net: verify.Network) -> None:
        """Open the files of inputs and of a port's outputs, where there are any."""
        from verify.checks.against_outputs import opened_outputs
        from verify.checks.inputs import as_source

        data, outputs = self.settings.data, self.settings.outputs
        if data is not None:
            self.x = as_source(net, data.replace("{name}", self.model_name))
        if outputs is not None:
            path = outputs.replace("{name}", self.model_name)
            self.theirs = opened_outputs(net, path)

    def _network(self) -> verify.Network:
        """Return the model, with the config beside it if it has none of its own."""
        partial = self.settings.outputs is None and self.settings.partial
        backend = self.settings.backend if self.settings.outputs is not None else None
        beside = [self.path.with_name(x.format(name=self.model_name)) for x in CONFIGS]
        config = next((path for path in beside if path.is_file()), None)
        try:
            return verify.load(self.path, backend=backend, partial=partial)
        except verify.ModelFileError:
            if config is None or self.path.suffix.lower() == ".keras":
                raise
        return verify.load(self.path, config=config, backend=backend, partial=partial)


class RnnVerify:
    """Check models and ports in tests, with the options of the command line.

    What the fixture `rnn_verify` is. Each method fails the test with the whole report
    unless the verdict is PASS, or one that ``--rnn-verify-allow`` names.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check(self, model: Any, x: Any = None, **options: Any) -> verify.Report:
        """Check a model as `verify.check`; ``--rnn-verify-partial`` holds here too."""
        __tracebackhide__ = True
        options.setdefault("partial", self._settings.partial)
        report = verify.check(model, x, **options)
        _require(report, self._settings)
        return report

    def compare_outputs(
        self, model: Any, x: Any, outputs: Any, **options: Any
    ) -> verify.Report:
        """Compare a port's outputs as `verify.assert_outputs_match`.

        The tolerance, precision and backend of the command line hold unless they are
        given here.
        """
        __tracebackhide__ = True
        report = verify.compare_outputs(
            model, x, outputs, **self._with_settings(options)
        )
        _require(report, self._settings)
        return report

    def compare_exported(
        self, model: Any, exported: Any, x: Any = None, **options: Any
    ) -> verify.ExportReport:
        """Compare an exported file as `verify.compare_exported`, likewise."""
        __tracebackhide__ = True
        options = self._with_settings(options)
        report = verify.compare_exported(model, exported, x, **options)
        _require(report, self._settings)
        return report

    def _with_settings(self, options: dict[str, Any]) -> dict[str, Any]:
        settings = self._settings
        given = {"backend": settings.backend}
        if not {"tolerance", "precision"} & options.keys():
            given |= {"tolerance": settings.tolerance, "precision": settings.precision}
        return {**{k: v for k, v in given.items() if v is not None}, **options}


@pytest.fixture(scope="session")
def rnn_verify(pytestconfig: pytest.Config) -> RnnVerify:
    """Check Keras models and ports of them; see `verify.pytest_plugin.RnnVerify`."""
    return RnnVerify(Settings.of(pytestconfig))


def _require(report: verify.Report | verify.ExportReport, settings: Settings) -> None:
    __tracebackhide__ = True
    if not settings.passes(report.verdict):
        raise AssertionError(report.to_text())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the whole text of each report that a failed ``assert report`` is about."""
    made = yield
    if call.excinfo is not None and call.excinfo.errisinstance(AssertionError):
        # where the traceback is text there is none
        add_section: Any = getattr(made.longrepr, "addsection", None)
        if add_section is not None:
            for report in _asserted(call.excinfo):
                add_section("rnn-verify", str(report))
    return made


def _asserted(excinfo: pytest.ExceptionInfo[BaseException]) -> list[Any]:
    """Return the reports in the statement that raised, each once.

    pytest keeps what parts of an ``assert`` came to in variables called ``@py_...``.
    """
    kinds = tuple(
        getattr(sys.modules[module], name)
        for module, name in (
            ("verify.report.report", "Report"),
            ("verify.ports.export_report", "ExportReport"),
            ("verify.checks.selftest", "SelfTest"),
        )
        if module in sys.modules
    )
    entry = excinfo.traceback[-1]
    statement = str(entry.statement).strip()
    if not statement.startswith("assert"):
        return []  # an error that says by itself what it is about
    names = set(re.findall(r"\w+", statement))
    found = {
        id(value): value
        for name, value in entry.frame.f_locals.items()
        if isinstance(value, kinds) and (name.startswith("@py_") or name in names)
    }
    return list(found.values())
