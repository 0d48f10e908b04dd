"""Prove a converted model before it is written: run it, and compare with the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from verify.checks.against_outputs import compare_outputs
from verify.errors import DataError, VerifyError
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.ports.artefacts.session import open_session
from verify.ports.matching import match
from verify.ports.probes import Probe, probes
from verify.ports.runner import Runner
from verify.tolerance.compare import Verdict

Answers = Callable[[Probe], Sequence[Array]]
"""Returns the outputs of a port for the rows of all calls of a probe."""


class NotProven(VerifyError):
    """Report a conversion that was not written because it is not the model."""


@dataclass(frozen=True)
class Proof:
    """Hold how a conversion was proved.

    Attributes
    ----------
    how : str
        What was run or read back, in a few words.
    verdicts : mapping of str to Verdict
        Name of a probe -> its verdict: PASS, or INCONCLUSIVE where the model amplifies
        rounding so much that nothing can be told.
    difference : float
        The greatest absolute difference from NumPy in float64, over all probes.
    scale : float
        The greatest absolute output.
    """

    how: str
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    difference: float = 0.0
    scale: float = 0.0

    def __str__(self) -> str:
        passed = [name for name, v in self.verdicts.items() if v is Verdict.PASS]
        text = (
            f"{self.how}; passes compare in {len(passed)} probes "
            f"({', '.join(passed)}); greatest difference {self.difference:.2g}, of "
            f"outputs up to {self.scale:.3g}"
        )
        undecided = [name for name in self.verdicts if name not in passed]
        if undecided:
            text += (
                f"; undecided in {', '.join(undecided)}, where the model amplifies "
                "rounding"
            )
        return text


def prove(
    net: Network,
    answers: Answers,
    how: str,
    *,
    precision: str | None = None,
    asked: Sequence[Probe] | None = None,
) -> Proof:
    """Compare a port with the model in every probe.

    Parameters
    ----------
    net : Network
    answers : callable
    how : str
        As in `Proof`.
    precision : str, optional
        As for `compare_outputs`.
    asked : sequence of Probe, optional
        By default every probe that the model has a use for.

    Raises
    ------
    NotProven
        The port differs from the model in a probe, or no probe decides.
    """
    verdicts: dict[str, Verdict] = {}
    difference = scale = 0.0
    for probe in probes(net) if asked is None else asked:
        theirs = answers(probe)
        outputs = theirs[0] if len(theirs) == 1 else list(theirs)
        report = compare_outputs(
            net,
            probe.whole,
            outputs,
            diagnosis_seconds=0,
            precision=precision,
        )
        if report.verdict is Verdict.FAIL:
            raise NotProven(
                f"{how} and differs from the model for '{probe.name}' ({probe.why}): "
                f"greatest difference {report.numerics.max_diff:.3g} (allowed "
                f"{report.numerics.allowed:.2g}). Nothing was written"
            )
        verdicts[probe.name] = report.verdict
        difference = max(difference, report.numerics.max_diff)
        scale = max(scale, report.scale)
    if Verdict.PASS not in verdicts.values():
        raise NotProven(
            f"{how}, but no probe decides whether it is the model, which amplifies "
            "rounding too much. Nothing was written"
        )
    return Proof(how, verdicts, difference, scale)


def prove_file(
    net: Network,
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    states: Mapping[str, str],
    *,
    framework: str | None = None,
    batch: int | None = None,
    precision: str | None = None,
) -> Proof:
    """Run a file in a process of its own, and compare it with the model.

    Parameters
    ----------
    net : Network
    path : Path
    inputs, outputs : sequence of str
        Names in the file, in the order of the model's.
    states : mapping of str to str
        Input of a state -> the output that holds it for the next call.
    framework : str, optional
        As for `open_session`.
    batch : int, optional
        Rows that the file takes in a call, if it does not take any number.
    precision : str, optional
        As for `compare_outputs`.

    Raises
    ------
    NotProven
        It differs from the model, or the runtime refuses the file or its inputs.
    UnsupportedError
        The runtime is missing.
    """
    with open_session(path, framework=framework) as session:
        matching = match(
            net,
            session.signature,
            inputs=dict(zip(net.input_names, inputs, strict=True)),
            outputs=dict(zip(net.output_names, outputs, strict=True)),
            states=states,
        )
        runner = Runner(net, session, matching)
        runner.batch = batch

        def answers(probe: Probe) -> Sequence[Array]:
            answer = runner.answer(probe, whole=batch is None)
            if answer.refused:
                raise DataError(answer.refused)
            return answer.outputs

        return prove(net, answers, f"run by {session.runtime}", precision=precision)
