"""Say which rules of a version of Keras took effect, and that one was not tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from verify.errors import KerasCannotRun, UntestedKeras, VerifyError, join_and
from verify.forward.layers import REGISTRY
from verify.mistakes.catalogue.mask_flow import MaskFlow
from verify.model.spec import ModelSpec
from verify.model.versions import (
    REFERENCE,
    VERSIONS,
    VersionRule,
    is_later,
    untested,
)


@contextmanager
def untested_keras() -> Iterator[None]:
    """Make whatever breaks on a version of Keras that was not tested `UntestedKeras`.

    What this package refuses by name stays refused, and so does what broke on a version
    that was tested: that is a defect.
    """
    try:
        yield
    except Exception as error:
        from verify import keras_bridge

        refused = isinstance(error, VerifyError) and not isinstance(
            error, KerasCannotRun
        )
        said = keras_bridge.untested_version()
        if not said or refused or isinstance(error, (MemoryError, UntestedKeras)):
            raise
        known = isinstance(error, VerifyError)
        what = error if known else keras_bridge.first_line(error)
        raise UntestedKeras(
            f"INCONCLUSIVE: {said}. A check cannot go on with it ({what})"
        ) from error


def rule_notes(
    spec: ModelSpec, effects: Mapping[str, float], version: str = ""
) -> list[str]:
    """Return a sentence for each rule of a version that changes the outputs.

    Parameters
    ----------
    spec : ModelSpec
        The model, by the rules that were followed.
    effects : mapping of str to float
        A rule, as text -> how far it moves the outputs.
    version : str
        The version of the Keras that ran; without one, the rules are named by theirs.
    """
    rules = {str(rule): rule for rule in VersionRule}
    name = version or _version_of(spec)
    notes = []
    for text, far in effects.items():
        if text not in rules:
            continue
        ends = rules[text] is VersionRule.LOOP_ENDS_MASK
        said = _where_it_ends(ended_masks(spec)) if ends else text
        notes.append(f"Keras {name}: {said} (here up to {far:.2g} apart)")
    saved = spec.keras_version
    if notes and version and saved != "unknown" and not is_later(saved):
        notes.append(
            f"the model was saved by Keras {saved}, where its outputs were others: "
            f"Keras {version} has changed what it computes"
        )
    return notes


def version_notes(spec: ModelSpec) -> list[str]:
    """Return what is to be said of a model's version without computing the model."""
    notes = file_note(spec)
    if ends := ended_masks(spec):
        notes.append(f"Keras {_version_of(spec)}: {_where_it_ends(ends)}")
    return notes


def _version_of(spec: ModelSpec) -> str:
    """Return the version whose rules a model follows."""
    rules = spec.root.version_rules
    return next((name for name, has in VERSIONS.items() if has == rules), "")


def _where_it_ends(layers: list[str]) -> str:
    return (
        f"the mask ends at {join_and(layers)}, and the layers behind are computed "
        "without one; up to 3.15 it goes on"
    )


def ended_masks(spec: ModelSpec) -> list[str]:
    """Return the layers at which a mask ends that would go on in Keras 3.15."""
    before = MaskFlow.of(spec.by_version(REFERENCE).root)
    went_on = {
        (call.path, call.node.index)
        for call in before.calls
        if any(mask is not None for mask in call.outgoing)
    }
    return list(
        dict.fromkeys(
            f"{call.layer}"
            for call in MaskFlow.of(spec.root).calls
            if not REGISTRY[call.layer.class_name].passes_masks(call.layer)
            and (call.path, call.node.index) in went_on
            and any(mask is not None for mask in call.incoming)
        )
    )


def file_note(spec: ModelSpec) -> list[str]:
    """Return a sentence if a file was saved by a version that is too new."""
    saved = spec.keras_version
    if not is_later(saved) or not (said := untested(saved)):
        return []
    last = list(VERSIONS)[-1]
    return [f"the model was saved by a later Keras; it is read as {last} does. {said}"]
